//! Metadata held against the `config.json` of the same decoder: both have to describe the same.

use serde_json::{Value as Json, json};

use crate::families::{Described, SpecError, from_config, from_gguf};
use crate::gguf::Gguf;
use crate::gguf::samples::Value::{self, Flag, Flags, Number, Text, Whole};
use crate::gguf::samples::sample;
use crate::parts::{Fusion, Names};
use crate::spec::{DecoderSpec, MixerSpec, RopeStyle};

/// Four layers of four heads, as every case here has them.
const COMMON: [(&str, Value); 7] = [
    ("block_count", Whole(4)),
    ("context_length", Whole(512)),
    ("embedding_length", Whole(64)),
    ("feed_forward_length", Whole(32)),
    ("attention.head_count", Whole(4)),
    ("attention.head_count_kv", Whole(2)),
    ("attention.layer_norm_rms_epsilon", Number(1e-5)),
];

/// A file of these metadata; of its tensors only the names count, and the rows of the embedding.
fn file(architecture: &'static str, own: &[(&str, Value)], tensors: &[&str]) -> Gguf {
    let common = COMMON.iter().filter(|(key, _)| own.iter().all(|(other, _)| other != key));
    let keyed = common.chain(own).map(|&(key, value)| (format!("{architecture}.{key}"), value));
    let pairs: Vec<_> = [("general.architecture".to_owned(), Text(architecture))].into_iter().chain(keyed).collect();
    let others = tensors.iter().map(|&name| (name, 1));
    sample(&pairs, &[("token_embd.weight", 100)].into_iter().chain(others).collect::<Vec<_>>())
}

fn config(model_type: &str, own: &Json) -> Json {
    let mut config = json!({
        "model_type": model_type, "vocab_size": 100, "hidden_size": 64, "intermediate_size": 32,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "layer_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": true,
    });
    if let (Json::Object(config), Json::Object(own)) = (&mut config, own.clone()) {
        config.extend(own);
    }
    config
}

/// As the converter leaves them: rows reordered, so that neighbours turn together.
fn reordered(spec: &mut DecoderSpec) {
    for layer in &mut spec.layers {
        if let MixerSpec::Attention(attention) = &mut layer.mixer
            && let Some(rope) = &mut attention.rope
        {
            rope.style = RopeStyle::Interleaved;
        }
    }
}

fn as_stored(_: &mut DecoderSpec) {}

/// Asserts that the file describes the decoder of the config, once `change` has done to it what the converter does.
fn check(
    architecture: &'static str,
    (own, tensors): (&[(&str, Value)], &[&str]),
    config: &Json,
    change: fn(&mut DecoderSpec),
) -> Names {
    let Described { spec, names } = from_gguf(&file(architecture, own, tensors)).expect("the metadata are complete");
    let mut expected = from_config(config).expect("the config is complete").spec;
    expected.architecture = architecture.to_owned();
    change(&mut expected);
    assert_eq!(spec, expected, "{architecture}");
    names
}

/// Names for each of the four layers.
fn in_layers(names: &[&str]) -> Vec<String> {
    (0..4).flat_map(|layer| names.iter().map(move |name| format!("blk.{layer}.{name}"))).collect()
}

fn as_strs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

#[test]
fn llama_and_its_kin_are_described_as_by_their_configs() {
    check("llama", (&[], &[]), &config("llama", &json!({})), reordered);
    let yarn = json!({
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64,
        "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.125,
    });
    let own = [
        ("rope.scaling.type", Text("yarn")),
        ("rope.scaling.factor", Number(4.0)),
        ("rope.scaling.original_context_length", Whole(64)),
        ("rope.scaling.yarn_log_multiplier", Number(1.0)),
        ("attention.temperature_scale", Number(0.125)),
    ];
    let ministral = config("ministral3", &json!({"rope_parameters": yarn, "sliding_window": null}));
    check("mistral3", (&own, &[]), &ministral, reordered);
    let granite = json!({
        "embedding_multiplier": 12.0, "logits_scaling": 8.0, "residual_multiplier": 0.25,
        "attention_multiplier": 0.125,
    });
    let own = [
        ("embedding_scale", Number(12.0)),
        ("logit_scale", Number(8.0)),
        ("residual_scale", Number(0.25)),
        ("attention.scale", Number(0.125)),
    ];
    check("granite", (&own, &[]), &config("granite", &granite), reordered);
    check("smollm3", (&[], &[]), &config("smollm3", &json!({})), reordered);
    let glm4 = json!({"partial_rotary_factor": 0.5});
    let names = check(
        "glm4",
        (&[("rope.dimension_count", Whole(8))], &["blk.0.attn_q.bias"]),
        &config("glm4", &glm4),
        as_stored,
    );
    assert_eq!((names.gate, names.gate_up), ("ffn_up", Fusion::Fused));
}

#[test]
fn llama4_is_described_as_by_its_config() {
    let experts = in_layers(&["ffn_gate_inp.weight", "ffn_up_shexp.weight"]);
    let own = [
        ("expert_count", Whole(16)),
        ("expert_used_count", Whole(1)),
        ("expert_feed_forward_length", Whole(32)),
        ("attention.temperature_scale", Number(0.125)),
    ];
    let llama4 = config("llama4_text", &json!({"attn_scale": 0.125}));
    check("llama4", (&own, &as_strs(&experts)), &llama4, as_stored);
}

#[test]
fn mixtures_are_described_as_by_their_configs() {
    let mixture = [("expert_count", Whole(8)), ("expert_used_count", Whole(2))];
    let router = in_layers(&["ffn_gate_inp.weight", "ffn_gate.0.weight"]);
    let mixtral = config("mixtral", &json!({"num_local_experts": 8, "num_experts_per_tok": 2}));
    let names = check("llama", (&mixture, &as_strs(&router)), &mixtral, reordered);
    assert_eq!((names.expert_gate, names.expert_down), ("ffn_gate.*", "ffn_down.*"));

    let own = [
        mixture[0],
        mixture[1],
        ("expert_feed_forward_length", Whole(16)),
        ("expert_shared_feed_forward_length", Whole(24)),
    ];
    let router = in_layers(&["ffn_gate_inp.weight", "ffn_up_shexp.weight", "ffn_gate_inp_shexp.weight"]);
    let tensors = [&["blk.0.attn_q.bias"], &as_strs(&router)[..]].concat();
    let qwen = json!({
        "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 24, "norm_topk_prob": false,
    });
    check("qwen2moe", (&own, &tensors), &config("qwen2_moe", &qwen), as_stored);

    let router = in_layers(&["ffn_gate_inp.weight", "attn_q_norm.weight"]);
    let olmoe = json!({"num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": false});
    check("olmoe", (&mixture, &as_strs(&router)), &config("olmoe", &olmoe), as_stored);

    let router = in_layers(&["ffn_gate_inp.weight"]);
    let phimoe = json!({"num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": null});
    let phimoe = config("phimoe", &phimoe);
    check("phimoe", (&mixture, &as_strs(&router)), &phimoe, as_stored);
}

#[test]
fn gpt_oss_is_described_as_by_its_config() {
    let own = [
        ("expert_count", Whole(8)),
        ("expert_used_count", Whole(2)),
        ("attention.sliding_window", Whole(20)),
        ("attention.key_length", Whole(16)),
        ("rope.scaling.type", Text("yarn")),
        ("rope.scaling.factor", Number(4.0)),
        ("rope.scaling.original_context_length", Whole(64)),
    ];
    let layers = in_layers(&["ffn_gate_inp.weight", "ffn_gate_inp.bias", "ffn_up_exps.bias"]);
    let biases = ["blk.0.attn_q.bias", "blk.0.attn_output.bias", "blk.0.attn_sinks.weight"];
    let tensors = [&biases, &as_strs(&layers)[..]].concat();
    let gpt_oss = json!({
        "num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": 20,
        "rope_scaling": {
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "truncate": false,
        },
    });
    let names = check("gpt-oss", (&own, &tensors), &config("gpt_oss", &gpt_oss), as_stored);
    assert_eq!(names.feed_forward_norm, "post_attention_norm");
}

#[test]
fn deepseek_is_described_as_by_its_config_whether_keys_and_values_expand_apart_or_not() {
    let common = [
        ("attention.q_lora_rank", Whole(40)),
        ("attention.kv_lora_rank", Whole(32)),
        ("rope.dimension_count", Whole(8)),
        ("expert_count", Whole(16)),
        ("expert_used_count", Whole(4)),
        ("expert_feed_forward_length", Whole(16)),
        ("expert_shared_count", Whole(2)),
        ("expert_group_count", Whole(4)),
        ("expert_group_used_count", Whole(2)),
        ("expert_weights_scale", Number(2.5)),
        ("expert_weights_norm", Flag(true)),
        ("expert_gating_func", Whole(2)),
    ];
    let newer = [
        ("attention.key_length", Whole(40)),
        ("attention.value_length", Whole(32)),
        ("attention.key_length_mla", Whole(24)),
        ("attention.value_length_mla", Whole(20)),
    ];
    let older = [("attention.key_length", Whole(24)), ("attention.value_length", Whole(20))];
    let all = in_layers(&["ffn_gate_inp.weight", "ffn_up_shexp.weight", "exp_probs_b.bias"]);
    // The first layer is dense.
    let sparse: Vec<&str> = as_strs(&all).into_iter().filter(|name| !name.starts_with("blk.0")).collect();
    let deepseek = json!({
        "q_lora_rank": 40, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 20,
        "first_k_dense_replace": 1, "n_routed_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 16,
        "n_shared_experts": 2, "n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5,
    });
    let deepseek = config("deepseek_v3", &deepseek);
    let tensors = [&["blk.0.attn_q_a.weight", "blk.0.attn_k_b.weight"], &sparse[..]].concat();
    let names = check("deepseek2", (&[&common[..], &newer].concat(), &tensors), &deepseek, as_stored);
    assert_eq!(names.latent_kv, Fusion::Apart);
    let tensors = [&["blk.0.attn_q_a.weight", "blk.0.attn_kv_b.weight"], &sparse[..]].concat();
    let names = check("deepseek2", (&[&common[..], &older].concat(), &tensors), &deepseek, as_stored);
    assert_eq!(names.latent_kv, Fusion::Fused);
}

#[test]
fn families_with_other_norms_are_described_as_by_their_configs() {
    let eps = ("attention.layer_norm_epsilon", Number(1e-5));
    let cohere = json!({"logit_scale": 0.25, "use_qk_norm": true});
    let own = [eps, ("logit_scale", Number(0.25)), ("rope.scaling.type", Text("none"))];
    let norms = in_layers(&["attn_q_norm.weight"]);
    check("command-r", (&own, &as_strs(&norms)), &config("cohere", &cohere), as_stored);

    let cohere2 = config("cohere2", &json!({"logit_scale": 0.25, "sliding_window": 20}));
    let own = [eps, ("logit_scale", Number(0.25)), ("attention.sliding_window", Whole(20))];
    check("cohere2", (&own, &[]), &cohere2, as_stored);

    let phi = json!({"partial_rotary_factor": 0.5, "num_key_value_heads": 4});
    let own = [eps, ("rope.dimension_count", Whole(8)), ("attention.head_count_kv", Whole(4))];
    let biases = in_layers(&["attn_qkv.bias", "attn_qkv.weight", "attn_output.bias", "ffn_up.bias"]);
    let tensors = [&["output.bias"], &as_strs(&biases)[..]].concat();
    let names = check("phi2", (&own, &tensors), &config("phi", &phi), as_stored);
    assert_eq!((names.query, names.qkv), ("attn_qkv", Fusion::Fused));

    let own = [eps, ("attention.clamp_kqv", Number(1.5))];
    check("olmo", (&own, &[]), &config("olmo", &json!({"clip_qkv": 1.5})), reordered);

    let own = [
        ("attention.sliding_window", Whole(20)),
        ("attention.sliding_window_pattern", Flags(&[true, false, true, false])),
        ("rope.freq_base", Number(5e5)),
    ];
    let types = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"];
    let olmo3 = config("olmo3", &json!({"sliding_window": 20, "layer_types": types, "rope_theta": 5e5}));
    check("olmo2", (&own, &[]), &olmo3, as_stored);
}

/// The converter has added the one.
fn added(spec: &mut DecoderSpec) {
    spec.norm = crate::spec::Norm::Rms;
}

#[test]
fn gemma_is_described_as_by_its_configs() {
    check("gemma", (&[], &[]), &config("gemma", &json!({})), added);
    let gemma2 = json!({"query_pre_attn_scalar": 16, "sliding_window": 20});
    check("gemma2", (&[("attention.sliding_window", Whole(20))], &[]), &config("gemma2", &gemma2), added);
    let gemma3 = json!({"query_pre_attn_scalar": 16, "sliding_window": 20, "sliding_window_pattern": 3});
    let own = [("attention.sliding_window", Whole(20)), ("attention.sliding_window_pattern", Whole(3))];
    check("gemma3", (&own, &["blk.0.attn_q_norm.weight"]), &config("gemma3_text", &gemma3), added);
}

fn check_refused(architecture: &'static str, own: &[(&str, Value)], tensors: &[&str], expected: &str) {
    let refused: Result<_, SpecError> = from_gguf(&file(architecture, own, tensors));
    let error = refused.err().map_or_else(String::new, |error| error.to_string());
    assert!(error.contains(expected), "`{error}` does not say `{expected}`");
}

#[test]
fn what_would_change_the_numbers_and_is_not_computed_is_refused_by_its_key() {
    check_refused("rwkv", &[], &[], "architecture `rwkv` is not supported yet; supported: llama, ");
    check_refused("mixtral", &[], &[], "architecture `mixtral` is not supported yet");
    check_refused("llama", &[("attention.causal", Flag(false))], &[], "`llama.attention.causal` is false");
    check_refused("llama", &[("attention.value_length", Whole(8))], &[], "`llama.attention.value_length` is 8");
    check_refused("llama", &[("rope.scaling.type", Text("spiral"))], &[], "`llama.rope.scaling.type` is `spiral`");
    check_refused("olmo2", &[("nextn_predict_layers", Whole(4))], &[], "`olmo2.nextn_predict_layers` is 0");
    check_refused("deepseek2", &[("attention.temperature_scale", Number(0.5))], &[], "temperature_scale` is 0.5");
    let window = ("attention.sliding_window", Whole(20));
    let flags = ("attention.sliding_window_pattern", Flags(&[true]));
    check_refused("olmo2", &[window, flags], &[], "has 1 entries for 4 layers");
    let router = ["blk.0.ffn_gate_inp.weight"];
    let mixture = [("expert_count", Whole(8)), ("expert_used_count", Whole(4))];
    check_refused("llama", &[], &router, "`llama.expert_count`");
    let with = |key, value| [mixture[0], mixture[1], (key, value), ("expert_group_used_count", Whole(1))];
    check_refused("llama", &with("expert_gating_func", Whole(4)), &router, "`llama.expert_gating_func` is 4");
    check_refused("llama", &with("expert_group_count", Whole(3)), &router, "does not divide 8 experts");
    check_refused("llama", &with("expert_group_count", Whole(4)), &router, "whose 2 experts are fewer than the 4");
}
