#!/usr/bin/env python3
"""Write the seeds that are made by hand: tiny GGUF models of each family and block type, and what means harm.

    fuzz/seeds.py [GOLDENS]

GOLDENS is the folder `goldens/gguf` of the references beside the project; the headers of its files are taken where
it is given. Names of seeds begin with `seed-`, so that `cargo fuzz cmin` (README.md) may drop them: run this again.
"""
import json
import pathlib
import struct
import sys

CORPUS = pathlib.Path(__file__).parent / "corpus"
# Of each type its number, bytes of a block, and numbers in it.
F32, F16, BF16 = (0, 4, 1), (1, 2, 1), (30, 2, 1)
SMALL = [(2, 18, 32), (3, 20, 32), (6, 22, 32), (7, 24, 32), (8, 34, 32), (20, 18, 32), (39, 17, 32)]
LARGE = [
    (10, 84, 256), (11, 110, 256), (12, 144, 256), (13, 176, 256), (14, 210, 256), (16, 66, 256), (17, 74, 256),
    (18, 98, 256), (19, 50, 256), (21, 110, 256), (22, 82, 256), (23, 136, 256), (29, 56, 256), (34, 54, 256),
    (35, 66, 256),
]  # fmt: skip
U8, U32, I32, FLOAT, BOOL, STRING, ARRAY, U64 = 0, 4, 5, 6, 7, 8, 9, 10


def text(value):
    value = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(value)) + value


def value(kind, content):
    if kind == STRING:
        return text(content)
    if isinstance(kind, tuple):
        return struct.pack("<IQ", kind[1], len(content)) + b"".join(value(kind[1], item) for item in content)
    return struct.pack({U8: "<B", U32: "<I", I32: "<i", FLOAT: "<f", BOOL: "<B", U64: "<Q"}[kind], content)


def pair(key, kind, content):
    number = ARRAY if isinstance(kind, tuple) else kind
    return text(key) + struct.pack("<I", number) + value(kind, content)


def tensor(name, dimensions, number, offset):
    return text(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, number, offset)


def file(pairs, tensors, alignment=32):
    """`pairs` are (key, kind, content), `tensors` are (name, dimensions innermost first, type)."""
    infos, data = b"", b""
    for name, dimensions, (number, block_bytes, block) in tensors:
        count = 1
        for size in dimensions:
            count *= size
        infos += tensor(name, dimensions, number, len(data))
        # Small scales, so that what is computed stays finite.
        data += (bytes((7 * i + len(data)) % 251 % 56 for i in range(count // block * block_bytes))) if block > 1 else (
            struct.pack("<f" if block_bytes == 4 else "<e", 0.125) * count if number != 30 else b"\0\x3e" * count
        )
        data += bytes(-len(data) % alignment)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pair(*it) for it in pairs) + infos
    return head + bytes(-len(head) % alignment) + data


TOKENS = ["<unk>", "<s>", "</s>", "<|im_end|>", "H", "e", "l", "o", "Ġ", "Ċ", "He", "ll", "Hell", "Hello", "1", "2"]
BPE = [
    ("tokenizer.ggml.model", STRING, "gpt2"),
    ("tokenizer.ggml.pre", STRING, "llama-bpe"),
    ("tokenizer.ggml.tokens", (ARRAY, STRING), TOKENS),
    ("tokenizer.ggml.token_type", (ARRAY, I32), [2, 3, 3, 3] + [1] * 12),
    ("tokenizer.ggml.merges", (ARRAY, STRING), ["H e", "l l", "He ll", "Hell o"]),
    ("tokenizer.ggml.bos_token_id", U32, 1),
    ("tokenizer.ggml.eos_token_id", U32, 2),
    ("tokenizer.chat_template", STRING, "{% for m in messages %}{{ m.content }}{% endfor %}"),
]
PIECES = ["<unk>", "<s>", "</s>", "<0x0A>", "<0xF0>", "▁", "▁He", "llo", "▁Hello", "H", "e", "l", "o", "[INST]", "w", "ö"]
SPM = [
    ("tokenizer.ggml.model", STRING, "llama"),
    ("tokenizer.ggml.tokens", (ARRAY, STRING), PIECES),
    ("tokenizer.ggml.scores", (ARRAY, FLOAT), [-float(i) for i in range(16)]),
    ("tokenizer.ggml.token_type", (ARRAY, I32), [2, 3, 3, 6, 6] + [1] * 8 + [4, 1, 1]),
    ("tokenizer.ggml.bos_token_id", U32, 1),
    ("tokenizer.ggml.add_bos_token", BOOL, 1),
    ("tokenizer.ggml.add_space_prefix", BOOL, 1),
]


def settings(architecture, hidden, inner, head, further=()):
    numbers = {
        "block_count": 1, "context_length": 64, "embedding_length": hidden, "feed_forward_length": inner,
        "attention.head_count": 2, "attention.head_count_kv": 1, "attention.key_length": head,
        "attention.value_length": head, "vocab_size": 16,
    }  # fmt: skip
    pairs = [("general.architecture", STRING, architecture), ("general.alignment", U32, 32)]
    pairs += [(f"{architecture}.{key}", U32, number) for key, number in numbers.items()]
    pairs += [(f"{architecture}.attention.layer_norm_rms_epsilon", FLOAT, 1e-5)]
    pairs += [(f"{architecture}.rope.freq_base", FLOAT, 10000.0), ("general.license", STRING, "mit")]
    return pairs + [(f"{architecture}.{key}", kind, content) for key, kind, content in further]


def model(architecture, types, hidden=8, inner=8, head=4, further=(), tokenizer=BPE, extra=(), without=()):
    """`types` are taken in turn for the matrices whose rows are `hidden` long."""
    queue = iter(types * 16)
    wide = lambda name, rows: (name, [hidden, rows], next(queue))
    short = F32 if types[0] == F32 else F16
    norm = lambda name, size: (name, [size], F32)
    tensors = [
        wide("token_embd.weight", 16), norm("output_norm.weight", hidden), norm("blk.0.attn_norm.weight", hidden),
        wide("blk.0.attn_q.weight", 2 * head), wide("blk.0.attn_k.weight", head), wide("blk.0.attn_v.weight", head),
        ("blk.0.attn_output.weight", [2 * head, hidden], short), norm("blk.0.ffn_norm.weight", hidden),
        wide("blk.0.ffn_gate.weight", inner), wide("blk.0.ffn_up.weight", inner),
        ("blk.0.ffn_down.weight", [inner, hidden], short),
    ]  # fmt: skip
    tensors = [it for it in tensors if it[0] not in without] + [*extra]
    return file(settings(architecture, hidden, inner, head, further) + tokenizer, tensors)


def models():
    yield "llama-f32", model("llama", [F32])
    yield "llama-spm-bf16", model("llama", [BF16], tokenizer=SPM)
    yield "llama-rope-freqs", model("llama", [F16], extra=[("rope_freqs.weight", [2], F32), ("output.weight", [8, 16], F16)])
    small = [SMALL[i : i + 4] for i in (0, 3)]
    for i, types in enumerate(small):
        yield f"llama-small-blocks-{i}", model("llama", types, hidden=64, inner=2, head=2)
    for i in range(0, len(LARGE), 5):
        yield f"llama-large-blocks-{i}", model("llama", LARGE[i : i + 5], hidden=256, inner=2, head=2)
    norms = [("blk.0.attn_q_norm.weight", [4], F32), ("blk.0.attn_k_norm.weight", [4], F32)]
    yield "qwen3", model("qwen3", [F16], extra=norms)
    bias = [(f"blk.0.attn_{it}.bias", [size], F32) for it, size in (("q", 8), ("k", 4), ("v", 4))]
    yield "qwen2", model("qwen2", [F16], extra=bias)
    after = [("blk.0.post_attention_norm.weight", [8], F32), ("blk.0.post_ffw_norm.weight", [8], F32)]
    window = [("attention.sliding_window", U32, 3), ("rope.scaling.type", STRING, "linear"), ("rope.scaling.factor", FLOAT, 4.0)]
    yield "gemma3", model("gemma3", [F16], further=window, extra=norms + after, tokenizer=SPM)
    fused = [("blk.0.attn_qkv.weight", [8, 16], F16), ("blk.0.ffn_up.weight", [8, 16], F16)]
    factors = [("rope_factors_long.weight", [2], F32), ("rope_factors_short.weight", [2], F32)]
    apart = {f"blk.0.{it}.weight" for it in ("attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up")}
    long = [("rope.scaling.original_context_length", U32, 4), ("rope.scaling.attn_factor", FLOAT, 1.1), ("rope.dimension_count", U32, 4)]
    yield "phi3", model("phi3", [F16], further=long, extra=fused + factors, without=apart)
    experts = [("expert_count", U32, 3), ("expert_used_count", U32, 2), ("expert_feed_forward_length", U32, 4)]
    mixed = [
        ("blk.0.ffn_gate_inp.weight", [8, 3], F32), ("blk.0.ffn_gate_exps.weight", [8, 4, 3], F16),
        ("blk.0.ffn_up_exps.weight", [8, 4, 3], F16), ("blk.0.ffn_down_exps.weight", [4, 8, 3], F16),
    ]  # fmt: skip
    dense = {f"blk.0.ffn_{it}.weight" for it in ("gate", "up", "down")}
    yield "qwen3moe", model("qwen3moe", [F16], further=experts, extra=norms + mixed, without=dense)


def parts():
    split = lambda no: [("split.no", U32, no), ("split.count", U32, 2), ("split.tensors.count", U32, 2)]
    first, second = (file(split(no), [(f"t{no}", [8], F32)]) for no in (0, 1))
    yield "split", first + b"\n=== m-00002-of-00002.gguf\n" + second


def header(pairs=b"", tensors=b"", counts=(0, 0), version=3):
    return b"GGUF" + struct.pack("<IQQ", version, *counts) + pairs + tensors


def nasties():
    huge = 2**64 - 1
    yield "empty", b""
    yield "magic-alone", b"GGUF"
    yield "big-endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0)
    yield "tensor-count-huge", header(counts=(huge, 0)) + bytes(64)
    yield "pair-count-huge", header(counts=(0, huge)) + bytes(64)
    yield "counts-fit-and-lie", header(counts=(1 << 20, 1 << 20)) + bytes(1 << 10)
    yield "key-length-huge", header(struct.pack("<Q", huge) + b"k", counts=(0, 1))
    yield "key-not-utf8", header(pair(b"\xff\xfe", U32, 1), counts=(0, 1))
    yield "text-length-huge", header(text("k") + struct.pack("<IQ", STRING, 1 << 40) + b"x", counts=(0, 1))
    yield "array-length-huge", header(text("k") + struct.pack("<IIQ", ARRAY, U64, 1 << 61) + bytes(64), counts=(0, 1))
    yield "array-of-texts-huge", header(text("k") + struct.pack("<IIQ", ARRAY, STRING, 7) + bytes(48), counts=(0, 1))
    nested = struct.pack("<IQ", ARRAY, 1) * 4000
    yield "arrays-nested", header(text("k") + struct.pack("<I", ARRAY) + nested, counts=(0, 1))
    yield "bool-of-2", header(text("k") + struct.pack("<IB", BOOL, 2), counts=(0, 1))
    yield "alignment-0", header(pair("general.alignment", U32, 0), counts=(0, 1))
    yield "alignment-huge", header(pair("general.alignment", U32, 1 << 31), counts=(0, 1))
    yield "dimensions-overflow", header(tensors=tensor("t", [huge, huge], 0, 0), counts=(1, 0)) + bytes(64)
    yield "dimensions-5", header(tensors=tensor("t", [1] * 5, 0, 0), counts=(1, 0)) + bytes(64)
    yield "offset-huge", header(tensors=tensor("t", [8], 0, huge - 31), counts=(1, 0)) + bytes(64)
    two = tensor("t", [16], 0, 0) + tensor("u", [16], 0, 32)
    yield "tensors-overlap", header(tensors=two, counts=(2, 0)) + bytes(256)
    yield "type-unknown", header(tensors=tensor("t", [8], 4, 0), counts=(1, 0)) + bytes(64)
    yield "split-later", file([("split.no", U32, 1), ("split.count", U32, 2)], [("t", [8], F32)])
    yield "split-count-huge", file([("split.no", U32, 0), ("split.count", U64, huge)], [("t", [8], F32)])
    broken = [*BPE[:2], ("tokenizer.ggml.tokens", (ARRAY, STRING), [b"\xff", b"", b"a", b"a"]), *BPE[3:]]
    yield "tokens-not-utf8", model("llama", [F32], tokenizer=broken)
    yield "merges-of-nothing", model("llama", [F32], tokenizer=BPE[:4] + [("tokenizer.ggml.merges", (ARRAY, STRING), ["", " ", "a", "x y z"])])
    for key, number in (("block_count", 4096), ("embedding_length", 1 << 24), ("context_length", 2**32 - 1), ("attention.head_count", 1 << 24), ("attention.head_count", 3)):
        further = [(key, U64, number)]
        pairs = [it for it in settings("llama", 8, 8, 4, further) if it[2] == number or it[0] != f"llama.{key}"]
        yield f"{key.replace('.', '-')}-{number}", file(pairs + BPE, [("token_embd.weight", [8, 16], F32)])
    many = [("expert_count", U32, 1 << 24), ("expert_used_count", U32, 1 << 24), ("expert_feed_forward_length", U32, 4)]
    layers = [it if it[0] != "qwen3moe.block_count" else (it[0], U32, 4096) for it in settings("qwen3moe", 8, 8, 4, many)]
    yield "experts-huge", file(layers + BPE, [("token_embd.weight", [8, 16], F32)])
    whole = model("llama", [F32])
    for cut in (24, 200, 700, len(whole) - 1):
        yield f"cut-at-{cut}", whole[:cut]


CONFIG = {
    "model_type": "llama", "vocab_size": 4, "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}  # fmt: skip


def folder(config, **files):
    """`files` by their names, with `_` for what no name of Python may have."""
    content = config if isinstance(config, bytes) else json.dumps(config).encode()
    names = {"weights": "model.safetensors", "index": "model.safetensors.index.json"}
    for key, file_content in files.items():
        file_content = file_content if isinstance(file_content, bytes) else json.dumps(file_content).encode()
        content += f"\n=== {names.get(key, key.replace('_json', '.json'))}\n".encode() + file_content
    return content


def weights(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def one(dtype="F32", shape=(4, 4), offsets=(0, 64)):
    return {"model.embed_tokens.weight": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


def folder_nasties():
    huge = 2**64 - 1
    yield "no-config", b""
    yield "config-not-json", folder(b"{")
    yield "config-nested", folder(b"[" * 5000)
    yield "config-not-utf8", folder(b'{"model_type": "\xff"}')
    for field in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "head_dim"):
        for number in (0, -1, 1 << 24, 4096, 2**32 - 1, huge, 1e308, "4", None, [4]):
            yield f"config-{field}-{number}".replace(" ", ""), folder(CONFIG | {field: number}, weights=weights(one(), bytes(64)))
    experts = {"model_type": "qwen3_moe", "num_experts": 4096, "num_experts_per_tok": 4096, "num_hidden_layers": 4096}
    yield "config-experts-huge", folder(CONFIG | experts, weights=weights(one(), bytes(64)))
    for kind in ("linear", "dynamic", "llama3", "yarn", "longrope", "default", "?"):
        rope = {"rope_type": kind, "factor": 1e300, "low_freq_factor": 1e-300, "high_freq_factor": 1e-300, "original_max_position_embeddings": 1e-9, "short_factor": [1e-40], "long_factor": [1e38], "beta_fast": 1e-9, "beta_slow": 1e9}
        yield f"config-rope-{kind.replace('?', 'unknown')}", folder(CONFIG | {"rope_parameters": rope}, weights=weights(one(), bytes(64)))
    yield "header-length-huge", folder(CONFIG, weights=weights(b"{}", length=huge))
    yield "header-length-beyond", folder(CONFIG, weights=weights(b"{}", length=3))
    yield "header-length-cut", folder(CONFIG, weights=b"\0\0\0")
    yield "header-not-utf8", folder(CONFIG, weights=weights(b'{"\xff": 1}'))
    yield "header-nested", folder(CONFIG, weights=weights(b"[" * 9000))
    yield "header-empty", folder(CONFIG, weights=weights({}))
    yield "offsets-beyond", folder(CONFIG, weights=weights(one(offsets=(0, 1 << 40)), bytes(64)))
    yield "offsets-reversed", folder(CONFIG, weights=weights(one(offsets=(64, 0)), bytes(64)))
    yield "offsets-huge", folder(CONFIG, weights=weights(one(offsets=(huge - 63, huge)), bytes(64)))
    yield "shape-overflows", folder(CONFIG, weights=weights(one(shape=(huge, huge)), bytes(64)))
    yield "shape-empty", folder(CONFIG, weights=weights(one(shape=(), offsets=(0, 4)), bytes(4)))
    yield "dtype-unknown", folder(CONFIG, weights=weights(one("F7"), bytes(64)))
    for dtype in ("BOOL", "I8", "F8_E4M3", "F8_E5M2", "I64", "F64", "F4"):
        yield f"dtype-{dtype}", folder(CONFIG, weights=weights(one(dtype), bytes(64)))
    two = one() | {"u": {"dtype": "F32", "shape": [8], "data_offsets": [32, 64]}}
    yield "tensors-overlap", folder(CONFIG, weights=weights(two, bytes(64)))
    yield "index-leaves", folder(CONFIG, index={"weight_map": {"a": "../../etc/passwd.safetensors"}})
    yield "index-of-nothing", folder(CONFIG, index={"weight_map": {}})
    yield "index-missing-file", folder(CONFIG, index={"weight_map": {"a": "x.safetensors"}})
    yield "tokenizer-nested", folder(CONFIG, tokenizer_json=b'{"added_tokens":' + b"[" * 3000)
    yield "tokenizer-empty-pattern", folder(CONFIG, tokenizer_json={"version": "1.0", "added_tokens": [], "normalizer": {"type": "Replace", "pattern": {"Regex": ""}, "content": "x"}, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a|b)*$"}, "behavior": "Isolated", "invert": False}, "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})
    yield "tokenizer-huge-id", folder(CONFIG, tokenizer_json={"version": "1.0", "added_tokens": [{"id": 4294967295, "content": "x", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}], "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": {"a": 4294967295}, "merges": []}})


TEMPLATES = {
    "chatml": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "tools": "{%- if tools %}{{ tools | tojson(indent=4) }}{% endif %}{% for m in messages if m.tool_calls %}{% for c in m.tool_calls %}{{ c.function.name }}({{ c.function.arguments | items | list }}){% endfor %}{% endfor %}",
    "namespace": "{% set ns = namespace(a=0, b=[]) %}{% for m in messages[::-1] %}{% set ns.a = ns.a + loop.index0 %}{% set ns.b = ns.b + [m] %}{% endfor %}{{ ns.a }}{{ ns.b | length }}",
    "methods": "{{ 'a b'.split(' ')[-1].strip().upper().startswith('B') }}{{ messages[0].content.replace('H', 'h') }}{{ '%s' | format(1) }}{{ 'a'.join(['b', 'c']) }}{{ {'a': 1}.items() }}{{ {'a': 1}.get('b', 2) }}",
    "macro": "{% macro f(x, y=2) %}{{ x ~ y }}{{ caller() if caller }}{% endmacro %}{{ f(1) }}{% call f(2) %}z{% endcall %}",
    "filters": "{{ messages | map(attribute='role') | unique | join(',') }}{{ [3,1] | sort | first }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ 'ä' | upper | e }}{{ 5 // 2 % 3 }}{{ none is none }}",
    "raise": "{{ raise_exception('no') }}",
    "time": "{{ strftime_now('%d %b %Y %H:%M') }}{{ date_string is defined }}",
    "cycle": "{% for x in [1] %}{{ loop.cycle() }}{{ loop.previtem }}{{ loop.nextitem }}{% endfor %}",
    "recursion": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "growth": "{% set ns = namespace(x='a') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}{% raw %}{{ }}{% endraw %}{# note #}",
    "nested": "{{ " + "(" * 200 + "1" + ")" * 200 + " }}",
    "ranges": "{{ range(10) | batch(3) | list }}{{ range(99999999999) | length }}{{ 'a'.center(99999999999) }}{{ 9223372036854775807 + 1 }}{{ messages[-1:][0] }}",
    "blocks": "{% if messages[0]['role'] == 'system' -%} s {%- elif tools is not none %} t {% else %} u {% endif %}{% filter upper %}x{% endfilter %}{% with a=1 %}{{ a }}{% endwith %}{% break %}{% continue %}",
}  # fmt: skip

# An answer in each format of calls, in the order of `ToolFormat::ALL`; thoughts as in the first of `ReasoningFormat::ALL`.
JSON = '{"name": "f", "arguments": {"a": [1, "x\\n"]}}'
ACTIONS = '[{"tool_name": "f", "parameters": {"a": 1}}, {"tool_name": "g", "parameters": {}}]'
TAGS = "<function=f>\n<parameter=a>\n[1]\n</parameter>\n<parameter=b>\nx y\n</parameter>\n</function>\n"
DSML = '<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="a" string="false">1</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
ANSWERS = {
    "hermes": f"<think>\nSo.\n</think>\n\nText\n<tool_call>\n{JSON}\n</tool_call>\n<tool_call>[{JSON}, {JSON}]</tool_call> end",
    "tool_calls": f"<tool_calls>[{JSON}, {JSON}]</tool_calls>",
    "qwen_xml": f"<tool_call>\n{TAGS}</tool_call>\n{TAGS}</tool_call>",
    "seed": f"<seed:tool_call>\n{TAGS}</seed:tool_call>",
    "glm": "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>[1]</arg_value>\n</tool_call><tool_call>g</tool_call>",
    "minimax": '<minimax:tool_call>\n<invoke name="f">\n<parameter name="a">1</parameter>\n</invoke>\n</minimax:tool_call>',
    "dsml": f"a\n\n<｜DSML｜function_calls>\n{DSML}{DSML}</｜DSML｜function_calls>",
    "dsml_tool_calls": f"<think>a<｜DSML｜tool_calls>\n{DSML}</｜DSML｜tool_calls>",
    "deepseek": '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{"a": 1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "deepseek_v31": '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "kimi": '<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"a": 1}<|tool_call_end|><|tool_calls_section_end|>',
    "mistral": f"[TOOL_CALLS] [{JSON}, {JSON}]",
    "mistral_args": '[TOOL_CALLS]f[CALL_ID]abc123XYZ[ARGS]{"a": 1}[TOOL_CALLS]g[ARGS]{}',
    "llama": '{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}',
    "pythonic": "[f(a=1, b='x\\'y', c=[True, {'k': None}]), g()]",
    "lfm": '<|tool_call_start|>[f(a="x")]<|tool_call_end|>',
    "olmo": "<function_calls>\nf(a=1.5)\ng(b=(1, 2,))\n</function_calls>",
    "command": f"<|START_ACTION|>{ACTIONS}<|END_ACTION|>",
    "command_r": f"Action:\n```json\n{ACTIONS}```",
    "gemma": '<|tool_call>call:f{a:<|"|>x<|"|>,b:[{<|"|>k<|"|>:true}]}<tool_call|>',
    "phi": f"<|tool_call|>[{JSON}]<|/tool_call|>",
    "functools": f"functools[{JSON}]",
    "functionary": '<function=f>{"a": 1}</function>',
    "harmony": '<|channel|>analysis<|message|>So.<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>',
}  # fmt: skip


def answers():
    for number, (name, answer) in enumerate(ANSWERS.items()):
        yield name, bytes([number, 0, 3]) + answer.encode()
        # As far as an answer gets whose length is bounded.
        yield f"{name}-cut", bytes([number, 0, 1]) + answer[: len(answer) * 2 // 3].encode()


# Bodies by the order of `Api::ALL`.
USER = [{"role": "user", "content": "hi"}]
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
FUNCTION = {"name": "f", "description": "d", "strict": True, "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
GRAMMAR = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {"type": "object"}}}
CHAT = {
    "plain": {"messages": USER},
    "parts": {"messages": [{"role": "user", "name": "u", "content": [
        {"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}, {"type": "file", "file": {"file_id": "x"}}, {"type": "new"},
    ]}]},
    "calls": {"messages": [*USER, {"role": "assistant", "content": None, "refusal": "no", "reasoning_content": "hm", "annotations": [], "tool_calls": [CALL, {"id": "d", "type": "custom", "custom": {"name": "sh", "input": "ls"}}]}, {"role": "tool", "tool_call_id": "c", "content": "1"}]},
    "tools": {"messages": USER, "tools": [{"type": "function", "function": FUNCTION}, {"type": "custom", "custom": {"name": "sh", "format": GRAMMAR}}], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}}, "parallel_tool_calls": False},
    "drawing": {"messages": USER, "temperature": 2, "top_p": 0.5, "top_k": 1, "min_p": 0, "seed": -9223372036854775808, "frequency_penalty": -2.0, "presence_penalty": 2, "stop": ["a", "b"], "max_tokens": 1, "max_completion_tokens": 1, "n": 128, "logit_bias": {"0": 100, "4294967295": -100}, "logprobs": True, "top_logprobs": 20, "repetition_penalty": 1.1, "min_tokens": 1, "ignore_eos": True},
    "settings": {"messages": USER, "stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}, "reasoning_effort": "high", "verbosity": "low", "modalities": ["text", "audio"], "audio": {}, "store": True, "moderation": {}, "service_tier": "flex", "web_search_options": {}, "user": "u", "safety_identifier": "s", "metadata": {"a": "b"}, "prediction": {}, "prompt_cache_key": "k"},
    "template": {"messages": [*USER, {"role": "assistant", "content": "so"}], "continue_final_message": True, "add_generation_prompt": False, "chat_template_kwargs": {"enable_thinking": True}},
    "schema": {"messages": USER, "response_format": SCHEMA},
    "guided": {"messages": USER, "structured_outputs": {"json_object": False, "choice": ["a", "b"]}},
    "guided-twice": {"messages": USER, "guided_regex": "a", "guided_json": '{"type": "object"}'},
    "unknown": {"messages": USER, "new": 1, "": 2, "n" * 3000: 3},
    "unknown-in-schema": {"messages": USER, "structured_outputs": {"n" * 3000: 3}},
    "nothing": {"messages": None},
    "function-role": {"messages": [{"role": "function", "name": "f", "content": "x"}]},
}  # fmt: skip
COMPLETE = {
    "text": {"prompt": "a"}, "tokens": {"prompt": [1, 2, 4294967295]}, "several": {"prompt": ["a", [1], "b"], "n": 2, "best_of": 2},
    "all": {"prompt": "a", "suffix": "b", "echo": True, "logprobs": 5, "max_tokens": 0, "stream": True, "stream_options": {"include_usage": True}, "user": "u", "guided_choice": ["x"]},
    "unknown": {"prompt": "a", "new": [1]}, "empty": {"prompt": []},
}  # fmt: skip
SAY = {
    "plain": {"max_tokens": 1, "messages": USER},
    "blocks": {"max_tokens": 1, "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}], "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}, {"type": "document", "title": "t", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "weighbridge-unsigned"}, {"type": "redacted_thinking", "data": "x"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "is_error": True, "content": [{"type": "text", "text": "no"}, {"type": "image", "source": {"type": "url", "url": "https://x/y"}}]}]},
    ]},
    "prefill": {"max_tokens": 1, "messages": [*USER, {"role": "assistant", "content": "so"}]},
    "settings": {"max_tokens": 4096, "messages": USER, "stop_sequences": ["a"], "temperature": 1, "top_p": 0, "top_k": 0, "stream": True, "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True}, "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"}, "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}}, "metadata": {}, "service_tier": "auto"},
    "refused": {"max_tokens": 1, "messages": USER, "mcp_servers": [1], "container": "c"},
    "unknown": {"max_tokens": 1, "messages": USER, **{f"new-{i}": i for i in range(30)}, "n" * 3000: 1},
}  # fmt: skip
RESPOND = {
    "text": {"input": "hi"},
    "items": {"instructions": "i", "input": [
        {"role": "user", "content": "hi"}, {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "https://x/y", "detail": "auto"}]},
        {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "s"}], "content": [{"type": "reasoning_text", "text": "t"}], "encrypted_content": "x"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}, {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "1"}]},
        {"type": "custom_tool_call", "call_id": "d", "name": "sh", "input": "ls"}, {"type": "custom_tool_call_output", "call_id": "d", "output": "x"},
        {"type": "message", "role": "assistant", "id": "m", "status": "completed", "content": [{"type": "output_text", "text": "a", "annotations": []}, {"type": "refusal", "refusal": "no"}]},
    ]},
    "settings": {"input": "hi", "temperature": 0, "top_p": 1, "max_output_tokens": 1, "reasoning": {"effort": "low", "summary": "auto"}, "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"}, "tools": [{"type": "function", **FUNCTION}, {"type": "custom", "name": "sh", "format": {"type": "grammar", "syntax": "regex", "definition": "a"}}], "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": False, "max_tool_calls": 1, "top_logprobs": 20, "include": ["message.output_text.logprobs", "reasoning.encrypted_content"], "store": False, "metadata": {"a": "b"}, "service_tier": "flex", "user": "u", "truncation": "disabled", "stream": True, "stream_options": {"include_obfuscation": True}},
    "reference": {"input": [{"type": "item_reference", "id": "msg_" + "n" * 3000}]}, "goes-on": {"previous_response_id": "resp_1"},
    "hosted-tool": {"input": "hi", "tools": [{"type": "web_search"}]}, "unknown": {"input": "hi", "n" * 3000: 1}, "prompt": {"prompt": {"id": "p"}}, "background": {"input": "hi", "background": True},
}  # fmt: skip
COUNT = {"text": {"prompt": "a", "add_special_tokens": True, "return_token_strs": True}, "chat": {"messages": USER, "add_special_tokens": False}, "unknown": {"prompt": "a", "n" * 3000: 1}}
BODIES = [
    ("chat", CHAT), ("completions", COMPLETE), ("messages", SAY), ("new-messages", SAY), ("count-tokens", SAY), ("responses", RESPOND),
    ("tokenize", COUNT), ("detokenize", {"tokens": {"tokens": [0, 1, 4294967295]}, "negative": {"tokens": [-1]}}), ("template", {"chat": {"messages": USER, "tools": [{"type": "function", "function": FUNCTION}]}}),
]  # fmt: skip
BROKEN = {"empty": b"", "list": b"[1]", "half": b'{"model": "m", "messages": [', "deep": b'{"model": ' + b"[" * 2000, "not-utf8": b'{"model": "\xff"}', "half-a-pair": b'{"model": "\\ud800"}', "twice": b'{"model": "a", "model": 1e999}', "huge": b'{"model": "m", "n": 1e400, "seed": 99999999999999999999}'}


def bodies():
    for number, (api, kinds) in enumerate(BODIES):
        for name, fields in kinds.items():
            yield f"{api}-{name}", bytes([number]) + json.dumps({"model": "m", **fields}).encode()
        for name, body in BROKEN.items():
            if number == 0 or name in ("list", "huge"):
                yield f"{api}-{name}", bytes([number]) + body
    fields = [(0, key) for key in ("messages", "tools", "tool_choice", "response_format", "stop", "logit_bias", "metadata")]
    fields += [(2, key) for key in ("messages", "system", "tools", "tool_choice", "thinking", "output_config")]
    fields += [(5, key) for key in ("input", "tools", "tool_choice", "text", "reasoning", "include", "metadata")]
    for number, key in fields:
        good = {"model": "m", "max_tokens": 1, "messages": USER} if number < 5 else {"model": "m", "input": "hi"}
        for name, value in (("wrong", 5), ("odd", [{"type": 5}, [], None]), ("bare", {})):
            yield f"{BODIES[number][0]}-{name}-{key}", bytes([number]) + json.dumps({**good, key: value}).encode()


def main():
    targets = {
        "answer": answers(),
        "body": bodies(),
        "safetensors": folder_nasties(),
        "chat_template": ((name, source.encode()) for name, source in TEMPLATES.items()),
    }
    for target, seeds in targets.items():
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        for name, content in seeds:
            (CORPUS / target / f"seed-{name}").write_bytes(content)
    folder = CORPUS / "gguf"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in [*((f"model-{name}", content) for name, content in models()), *parts(), *nasties()]:
        (folder / f"seed-{name}").write_bytes(content)
    for golden in sorted(pathlib.Path(sys.argv[1]).glob("*/*-Q4_K_M.gguf")) if len(sys.argv) > 1 else []:
        # The longest header takes 10.4 KB.
        (folder / f"seed-header-{golden.stem}").write_bytes(golden.read_bytes()[: 11 << 10])


if __name__ == "__main__":
    main()
