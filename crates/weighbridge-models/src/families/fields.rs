//! What configs say field by field, and what their families have where they do not.

use serde_json::{Value as Json, json};

use super::from_config;
use super::tests::{check_refused, small};
use crate::spec::{Activation, DecoderSpec, FeedForwardSpec, LayerSpec, MixerSpec, RopeScaling};

fn check_spec<T: PartialEq + std::fmt::Debug>(
    model_type: &str,
    own: &Json,
    what: impl Fn(&DecoderSpec) -> T,
    expected: T,
) {
    let found = from_config(&small(model_type, own)).map(|it| what(&it.spec));
    assert_eq!(found.map_err(|error| error.to_string()), Ok(expected), "{model_type} with {own}");
}

#[test]
fn activations_go_by_their_names_in_transformers() {
    let activation = |spec: &DecoderSpec| match spec.layers[0].feed_forward {
        FeedForwardSpec::Dense(mlp) => Some(mlp.activation),
        _ => None,
    };
    let check = |model_type, name: &str, expected| {
        check_spec(model_type, &json!({"hidden_act": name}), activation, Some(expected));
    };
    check("llama", "swish", Activation::Silu);
    check("llama", "gelu", Activation::Gelu);
    check("llama", "gelu_new", Activation::GeluTanh);
    check("llama", "quick_gelu", Activation::GeluQuick);
    check("llama", "relu", Activation::Relu);
    check("llama", "relu2", Activation::ReluSquared);
    check("gemma", "gelu", Activation::GeluTanh);
    check_refused("llama", &json!({"hidden_act": "mish"}), "`hidden_act` is `mish`; supported: silu, gelu");
}

#[test]
fn bases_of_the_rotary_embedding_come_from_config_or_family() {
    let bases = |spec: &DecoderSpec| {
        let base = |layer: &LayerSpec| layer.mixer.rope().map_or(0.0, |rope| rope.theta);
        spec.layers.iter().map(base).collect::<Vec<_>>()
    };
    let check = |model_type, own: &Json, expected: [f64; 2]| {
        let own = json!({"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]})
            .as_object()
            .into_iter()
            .chain(own.as_object())
            .flat_map(|fields| fields.clone())
            .collect();
        check_spec(model_type, &Json::Object(own), bases, expected.to_vec());
    };
    check("llama", &json!({}), [1e4; 2]);
    check("llama", &json!({"rope_theta": 5e5, "rope_scaling": {}}), [5e5; 2]);
    check("llama", &json!({"rope_theta": 5e5, "rope_parameters": {"rope_theta": 7e5}}), [7e5; 2]);
    check("cohere", &json!({}), [5e5; 2]);
    check("cohere2", &json!({}), [1e4, 0.0]);
    check("gpt_oss", &json!({"rope_scaling": null}), [1.5e5; 2]);
    check("gemma3_text", &json!({}), [1e4, 1e6]);
    check("gemma3_text", &json!({"rope_theta": 5e5, "rope_local_base_freq": 300.0}), [300.0, 5e5]);
    let own = json!({"sliding_attention": {"rope_theta": 300.0}, "full_attention": {"rope_type": "default"}});
    check("gemma3_text", &json!({"rope_parameters": own}), [300.0, 1e6]);
    check("olmo3", &json!({"rope_theta": 300.0}), [5e5, 300.0]);
    check("olmo3", &json!({"rope_theta": 300.0, "rope_parameters": own}), [300.0, 300.0]);
}

#[test]
fn stretchings_of_the_rotary_embedding_come_from_config_or_family() {
    let scaling =
        |layer: usize| move |spec: &DecoderSpec| spec.layers[layer].mixer.rope().map(|rope| rope.scaling.clone());
    let yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64});
    let expected = |truncate| RopeScaling::Yarn {
        factor: 4.0,
        original_context: 64.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
        truncate,
        magnitude: 0.1 * 4_f64.ln() + 1.0,
    };
    check_spec("llama", &json!({"rope_parameters": yarn}), scaling(0), Some(expected(true)));
    // The older style stretches the layers that see everything, and leaves those that slide alone.
    check_spec("olmo3", &json!({"rope_scaling": yarn}), scaling(0), Some(RopeScaling::None));
    check_spec("olmo3", &json!({"rope_scaling": yarn}), scaling(3), Some(expected(true)));
    // In parameters of their own, `truncate` is not heeded.
    let mut own = yarn;
    own["truncate"] = json!(false);
    check_spec("qwen3", &json!({"rope_parameters": own}), scaling(0), Some(expected(false)));
    check_spec("olmo3", &json!({"rope_parameters": {"full_attention": own}}), scaling(3), Some(expected(true)));
}

#[test]
fn longrope_of_phi_3_goes_by_several_names_and_a_context_of_its_own() {
    let original = |spec: &DecoderSpec| match spec.layers[0].mixer.rope().map(|rope| &rope.scaling) {
        Some(RopeScaling::Long { original_context, .. }) => *original_context,
        _ => 0.0,
    };
    for name in ["longrope", "su", "yarn"] {
        let long = json!({"type": name, "short_factor": vec![1.0; 8], "long_factor": vec![2.0; 8]});
        check_spec("phi3", &json!({"rope_scaling": long}), original, 4096.0);
        let own = json!({"rope_scaling": long, "original_max_position_embeddings": 128});
        check_spec("phi3", &own, original, 128.0);
    }
}

#[test]
fn fields_that_a_family_does_not_have_say_nothing() {
    let biases = |spec: &DecoderSpec| match (&spec.layers[0].mixer, &spec.layers[0].feed_forward) {
        (MixerSpec::Attention(attention), FeedForwardSpec::Dense(mlp)) => {
            [attention.qkv_bias, attention.output_bias, mlp.bias]
        }
        _ => [false; 3],
    };
    let all = json!({"attention_bias": true, "mlp_bias": true});
    check_spec("llama", &all, biases, [true; 3]);
    check_spec("mistral", &all, biases, [false; 3]);
    check_spec("qwen2", &all, biases, [true, false, false]);
    let cap = |spec: &DecoderSpec| match &spec.layers[0].mixer {
        MixerSpec::Attention(attention) => attention.score_cap,
        _ => None,
    };
    check_spec("gemma2", &json!({"attn_logit_softcapping": 4.0}), cap, Some(4.0));
    check_spec("gemma3_text", &json!({"attn_logit_softcapping": 4.0}), cap, None);
}

#[test]
fn counts_of_experts_go_by_either_name() {
    let count = |spec: &DecoderSpec| match &spec.layers[3].feed_forward {
        FeedForwardSpec::Experts(experts) => experts.count,
        _ => 0,
    };
    for model_type in ["mixtral", "gpt_oss", "deepseek_v3"] {
        check_spec(model_type, &json!({"num_experts": 16, "moe_intermediate_size": 8}), count, 16);
    }
    for model_type in ["qwen3_moe", "olmoe", "deepseek_v3"] {
        check_spec(model_type, &json!({"num_local_experts": 16, "moe_intermediate_size": 8}), count, 16);
    }
}

#[test]
fn the_decoder_of_a_model_that_sees_images_is_the_one_within() {
    let check = |whole: &Json, architecture: &str, tied: bool| {
        let described = from_config(whole).map(|it| (it.spec.architecture, it.spec.tied_head));
        let expected = (architecture.to_owned(), tied);
        assert_eq!(described.map_err(|error| error.to_string()), Ok(expected), "{whole}");
    };
    check(&json!({"model_type": "gemma3", "text_config": {"num_hidden_layers": 2}}), "gemma3_text", true);
    let text = small("ministral3", &json!({}));
    check(&json!({"model_type": "mistral3", "text_config": text}), "ministral3", true);
    let whole = json!({"model_type": "mistral3", "tie_word_embeddings": false, "text_config": text});
    check(&whole, "ministral3", false);
    let text = small("llama4_text", &json!({}));
    check(&json!({"model_type": "llama4", "tie_word_embeddings": true, "text_config": text}), "llama4_text", false);
    check_refused("llama4", &json!({}), "`text_config` is missing");
    let packed = json!({"text_config": {}, "quantization_config": {"quant_method": "awq"}});
    check_refused("gemma3", &packed, "`quantization_config` asks for");
}
