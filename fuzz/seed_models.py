#!/usr/bin/env python3
"""Write the seeds of the safetensors target that are models: the configs of the references, made small.

    pip install torch transformers safetensors tokenizers
    fuzz/seed_models.py GOLDENS

GOLDENS is the folder `goldens/core` of the references beside the project. transformers draws the weights, so each run
writes others; what is in the corpus stays as good as any.
"""
import json
import pathlib
import sys
import tempfile

import torch
from safetensors.torch import load, load_file, save
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForCausalLM

OUT = pathlib.Path(__file__).parent / "corpus" / "safetensors"
WIDTHS = [
    "hidden_size", "intermediate_size", "intermediate_size_mlp", "head_dim", "q_lora_rank", "kv_lora_rank",
    "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "moe_intermediate_size", "shared_expert_intermediate_size",
]  # fmt: skip
# Where a part of the head turns, a quarter of the width would leave an odd number of dimensions.
HIDDEN = {"phi": 40, "phi3": 32, "phimoe": 32}
VOCABULARY = 16
WEIGHTS = "model.safetensors"


def write(name, files):
    """`files` begin with the config; the others are pairs of a name and bytes."""
    config, *others = files
    content = json.dumps(config, separators=(",", ":")).encode() if isinstance(config, dict) else config
    content += b"".join(f"\n=== {file}\n".encode() + data for file, data in others)
    (OUT / f"seed-model-{name}").write_bytes(content)


def small_config(golden):
    config = json.loads((golden / "config.json").read_text())
    config["vocab_size"] = VOCABULARY
    for key in WIDTHS:
        if isinstance(config.get(key), int):
            width = config[key] // 4
            config[key] = 8 if key == "head_dim" else max(2, width - width % 2)
    config["hidden_size"] = HIDDEN.get(golden.name, config["hidden_size"])
    for key in ("pad_token_id", "eos_token_id", "bos_token_id"):
        if isinstance(config.get(key), int) and config[key] >= VOCABULARY:
            config[key] = 2
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    for field in ("rope_scaling", "rope_parameters"):
        rope = config.get(field) or {}
        for key in {"short_factor", "long_factor"} & rope.keys():
            part = rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1
            rope[key] = rope[key][: int(head * part) // 2]
    return config


def drawn(config):
    """The bytes of weights that transformers draws."""
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config)).to(torch.bfloat16)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return (pathlib.Path(folder) / WEIGHTS).read_bytes()


def packed(golden):
    """The model with experts in MXFP4, which transformers does not write: cut to one layer."""
    config = json.loads((golden / "config.json").read_text())
    config |= {"vocab_size": VOCABULARY, "num_hidden_layers": 1, "layer_types": config["layer_types"][:1]}
    tensors = {name: it for name, it in load_file(golden / WEIGHTS).items() if ".layers.1." not in name}
    for name, tensor in tensors.items():
        tensor = tensor[:VOCABULARY] if tensor.shape[0] == 256 else tensor
        tensors[name] = (tensor.to(torch.bfloat16) if tensor.dtype == torch.float32 else tensor).contiguous()
    write(golden.name, [config, (WEIGHTS, save(tensors))])


def variants(config, weights):
    """Other types of numbers, and shards."""
    tensors = load(weights)
    for name, kind in (("f32", torch.float32), ("f16", torch.float16)):
        write(f"llama-{name}", [config, (WEIGHTS, save({key: it.to(kind) for key, it in tensors.items()}))])
    names = [f"model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    halves = [dict(sorted(tensors.items())[:10]), dict(sorted(tensors.items())[10:])]
    index = {"metadata": {}, "weight_map": {key: name for name, half in zip(names, halves) for key in half}}
    shards = [(name, save(half)) for name, half in zip(names, halves)]
    write("llama-shards", [config, ("model.safetensors.index.json", json.dumps(index).encode()), *shards])


def tokenizers():
    ids = lambda tokens: {token: number for number, token in enumerate(tokens)}
    byte_level = Tokenizer(models.BPE(ids(["<s>", "</s>", "<|im_end|>", "h", "e", "l", "o", "Ġ", "he", "ll"]), [("h", "e"), ("l", "l")]))
    byte_level.pre_tokenizer, byte_level.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    byte_level.add_special_tokens([AddedToken("<s>", special=True), AddedToken("<|im_end|>", special=True)])
    byte_level.post_processor = processors.TemplateProcessing(single="<s> $A", pair=None, special_tokens=[("<s>", 0)])
    yield "byte-level", byte_level
    pieces = ["<unk>", "<s>", "</s>", "<0x0A>", "<0xF0>", "▁", "h", "e", "▁h"]
    spm = Tokenizer(models.BPE(ids(pieces), [("▁", "h")], byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    spm.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    spm.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    yield "sentencepiece-bpe", spm
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁", -1.0), ("▁he", -2.0), ("llo", -3.0), ("l", -4.0)], 0))
    unigram.pre_tokenizer, unigram.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    yield "unigram", unigram
    words = Tokenizer(models.WordPiece({"[UNK]": 0, "he": 1, "##llo": 2, "h": 3}, unk_token="[UNK]"))
    words.pre_tokenizer, words.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    yield "wordpiece", words


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    made = {}
    for golden in sorted(pathlib.Path(sys.argv[1]).iterdir()):
        if golden.name == "gpt_oss_mxfp4":
            packed(golden)
            continue
        config = small_config(golden)
        made[golden.name] = config, drawn(config)
        write(golden.name, [config, (WEIGHTS, made[golden.name][1])])
    variants(*made["llama"])
    config, weights = made["granite"]
    settings = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": [{"name": "default", "template": "{{ messages[0].content }}"}]}
    beside = [
        ("tokenizer_config.json", json.dumps(settings).encode()),
        ("generation_config.json", json.dumps({"eos_token_id": [1, 2], "temperature": 0.6, "top_p": 0.9, "top_k": 20}).encode()),
        ("chat_template.jinja", b"{{ bos_token }}"),
        ("README.md", b"---\nlicense: mit\n---\n"),
    ]  # fmt: skip
    for name, tokenizer in tokenizers():
        write(f"tokenizer-{name}", [config, (WEIGHTS, weights), ("tokenizer.json", tokenizer.to_str().encode()), *beside])


if __name__ == "__main__":
    main()
