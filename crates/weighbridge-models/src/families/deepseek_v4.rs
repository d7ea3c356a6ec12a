//! DeepSeek V4 (transformers' `modeling_deepseek_v4.py`): attention over a window and over summaries of what lies before
//! it, all of them or the best few; several residual streams; experts that a table chooses for each token in the first
//! layers, scores in the others.

use serde_json::{Map, Value as Json, json};

use super::config::Config;
use super::{Described, Family, SpecError, experts, llama, rope};
use crate::parts::Names;
use crate::spec::{
    Activation, CompressedSpec, CompressionSpec, DecoderSpec, FeedForwardSpec, HyperSpec, MixerSpec, RopeScaling,
    RopeSpec, RopeStyle, RouterSpec, RowIndexSpec, Scoring,
};

pub(super) const FAMILY: Family = Family { architecture: "deepseek_v4", from_config, from_gguf: None };

const NAMES: Names = Names {
    embedding: "embed",
    final_norm: "norm",
    head: "head",
    layer: "layers",
    attention_norm: "attn_norm",
    feed_forward_norm: "ffn_norm",
    router: "ffn.gate",
    choice_bias: "ffn.gate.bias",
    expert_gate: "ffn.experts.*.w1",
    expert_up: "ffn.experts.*.w3",
    expert_down: "ffn.experts.*.w2",
    shared_gate: "ffn.shared_experts.w1",
    shared_up: "ffn.shared_experts.w3",
    shared_down: "ffn.shared_experts.w2",
    ..llama::NAMES
};

/// The kinds of layers.
const SLIDING: &str = "sliding_attention";
const SPARSE: &str = "compressed_sparse_attention";
const HEAVY: &str = "heavily_compressed_attention";

/// How positions enter layers without and with summaries.
const MAIN: &str = "main";
const COMPRESS: &str = "compress";

/// Streams, and rounds of their mixing, are far below these in any model.
const STREAMS_MAX: u64 = 64;
const ROUNDS_MAX: u64 = 1 << 10;

fn from_config(config: &Json) -> Result<Described, SpecError> {
    let config = Config::new(config, defaults())?;
    for field in ["attention_bias", "mlp_bias"] {
        config.refuse(field)?;
    }
    for field in ["num_key_value_heads", "n_shared_experts"] {
        if config.size(field)? != 1 {
            return Err(SpecError::field(field, "is more than 1; supported: 1"));
        }
    }
    if !config.flag("norm_topk_prob")? {
        return Err(SpecError::field("norm_topk_prob", "is false; supported: true"));
    }
    let inner = json!(config.size("moe_intermediate_size")?);
    // The attention that this describes is replaced; its widths are not to be checked.
    let plain = config.with("intermediate_size", inner).with("head_dim", json!(2)).with(rope::PARTIAL, json!(1.0));
    let mut spec = plain.with("rope_scaling", Json::Null).with("rope_parameters", Json::Null).decoder()?;
    spec.hyper = Some(HyperSpec {
        count: config.size_up_to("hc_mult", STREAMS_MAX)?,
        iterations: config.size_up_to("hc_sinkhorn_iters", ROUNDS_MAX)?,
        eps: config.number("hc_eps")? as f32,
    });
    mixers(&config, &mut spec)?;
    mixtures(&config, &mut spec)?;
    Ok(Described { spec, names: NAMES })
}

fn mixers(config: &Config, spec: &mut DecoderSpec) -> Result<(), SpecError> {
    let head_dim = config.size("head_dim")?;
    let ropes = ropes(config, head_dim)?;
    let [main, compress] = [MAIN, COMPRESS].map(|kind| rope(&ropes, kind, head_dim, spec.context));
    let (main, compress) = (main?, compress?);
    let sliding = CompressedSpec {
        heads: config.size("num_attention_heads")?,
        head_dim,
        query_rank: config.size("q_lora_rank")?,
        rope: main,
        window: config.size("sliding_window")?,
        compression: None,
        groups: config.size("o_groups")?,
        output_rank: config.size("o_lora_rank")?,
    };
    if !sliding.heads.is_multiple_of(sliding.groups) {
        let problem = format!("is {}, which does not divide {} heads", sliding.groups, sliding.heads);
        return Err(SpecError::field("o_groups", problem));
    }
    let index = RowIndexSpec {
        heads: config.size("index_n_heads")?,
        head_dim: config.size("index_head_dim")?,
        chosen: config.size("index_topk")?,
    };
    if index.head_dim < compress.width {
        let problem = format!("is {}, less than the {} dimensions that turn", index.head_dim, compress.width);
        return Err(SpecError::field("index_head_dim", problem));
    }
    let compressed = |every, overlapping, index| {
        let compression = Some(CompressionSpec { every, overlapping, index });
        CompressedSpec { rope: compress.clone(), compression, ..sliding.clone() }
    };
    let kinds = kinds(config, spec.layers.len())?;
    for (layer, kind) in spec.layers.iter_mut().zip(kinds) {
        layer.mixer = MixerSpec::Compressed(match kind {
            SLIDING => sliding.clone(),
            SPARSE => compressed(rate(config, SPARSE, "compress_rate_csa", 4)?, true, Some(index)),
            _ => compressed(rate(config, HEAVY, "compress_rate_hca", 128)?, false, None),
        });
    }
    Ok(())
}

/// Tokens in a run of one kind of layer.
fn rate(config: &Config, kind: &str, older: &str, default: u64) -> Result<usize, SpecError> {
    const FIELD: &str = "compress_rates";
    if let Some(rate) = config.optional_size(older)? {
        return Ok(rate);
    }
    let rate = match config.get(FIELD) {
        None => default,
        Some(rates) => rates.get(kind).and_then(Json::as_u64).unwrap_or(0),
    };
    super::size(FIELD, rate, super::SIZE_MAX)
}

/// The kind of each layer.
fn kinds(config: &Config, layers: usize) -> Result<Vec<&'static str>, SpecError> {
    const FIELD: &str = "layer_types";
    const OLDER: &str = "compress_ratios";
    let too_few =
        |field: &str, found: usize| Err(SpecError::field(field, format!("has {found} entries for {layers} layers")));
    if let Some(value) = config.get(FIELD) {
        let list = value.as_array().ok_or_else(|| SpecError::field(FIELD, "is no list"))?;
        if list.len() != layers {
            return too_few(FIELD, list.len());
        }
        let known = |kind: &Json| [SLIDING, SPARSE, HEAVY].into_iter().find(|known| kind == known);
        let unknown = |kind: &Json| format!("has {kind}; supported: {SLIDING}, {SPARSE}, {HEAVY}");
        let kind = |kind: &Json| known(kind).ok_or_else(|| SpecError::field(FIELD, unknown(kind)));
        return list.iter().map(kind).collect();
    }
    let Some(ratios) = config.numbers(OLDER)? else {
        let default = |index: usize| if index < 2 || index.is_multiple_of(2) { HEAVY } else { SPARSE };
        return Ok((0..layers).map(default).collect());
    };
    if ratios.len() < layers {
        return too_few(OLDER, ratios.len());
    }
    let kind = |ratio| match ratio {
        0 => Ok(SLIDING),
        4 => Ok(SPARSE),
        128 => Ok(HEAVY),
        other => Err(SpecError::field(OLDER, format!("has {other}; supported: 0, 4, 128"))),
    };
    ratios.into_iter().take(layers).map(kind).collect()
}

/// The config with parameters for both kinds of ropes: `DeepseekV4Config` of transformers.
fn ropes(config: &Config, head_dim: usize) -> Result<Config, SpecError> {
    let object = |field: &str| config.get(field).and_then(Json::as_object);
    let said = object("rope_scaling").or_else(|| object("rope_parameters"));
    if said.is_some_and(|said| [MAIN, COMPRESS].iter().all(|kind| said.get(*kind).is_some_and(Json::is_object))) {
        return Ok(config.with(rope::PARTIAL, json!(config.optional_number(rope::PARTIAL)?.unwrap_or(1.0))));
    }
    let turning = config.optional_size("qk_rope_head_dim")?;
    let turning = turning.map(|turning| turning as f64 / head_dim as f64);
    let part = config.optional_number(rope::PARTIAL)?.or(turning).unwrap_or(64.0 / 512.0);
    let mut compress: Map<String, Json> = said.cloned().unwrap_or_default();
    compress.insert("rope_theta".to_owned(), json!(config.number("compress_rope_theta")?));
    compress.insert(rope::PARTIAL.to_owned(), json!(part));
    let kind = compress.get("rope_type").or_else(|| compress.get("type"));
    if kind.is_some_and(|kind| kind == "yarn") && !compress.contains_key("attention_factor") {
        compress.insert("attention_factor".to_owned(), json!(1.0));
    }
    let theta = config.number("rope_theta")?;
    let main = json!({"rope_type": "default", "rope_theta": theta, rope::PARTIAL: part});
    Ok(config.with("rope_scaling", Json::Null).with("rope_parameters", json!({MAIN: main, COMPRESS: compress})))
}

fn rope(config: &Config, kind: &str, head_dim: usize, context: usize) -> Result<RopeSpec, SpecError> {
    let spec = rope::read(config, Some(kind), head_dim, context)?;
    match spec.scaling {
        RopeScaling::Dynamic { .. } | RopeScaling::Long { .. } | RopeScaling::Proportional { .. } => {
            Err(SpecError::field("rope_type", "asks for what compressed attention does not compute"))
        }
        _ => Ok(RopeSpec { style: RopeStyle::Interleaved, ..spec }),
    }
}

fn mixtures(config: &Config, spec: &mut DecoderSpec) -> Result<(), SpecError> {
    let scoring = match config.text("scoring_func")? {
        None | Some("sqrtsoftplus") => Scoring::SqrtSoftplus,
        Some("sigmoid") => Scoring::Sigmoid,
        Some(other) => {
            let problem = format!("is `{other}`; supported: sqrtsoftplus, sigmoid");
            return Err(SpecError::field("scoring_func", problem));
        }
    };
    let scale = config.number("routed_scaling_factor")? as f32;
    let router = RouterSpec { renormalise: true, scale, ..RouterSpec::of(scoring) };
    let mut mixture = experts::mixture(config, "n_routed_experts", "moe_intermediate_size", router)?;
    if mixture.expert.activation != Activation::Silu {
        return Err(SpecError::field("hidden_act", "is not silu, the one that is computed with `swiglu_limit`"));
    }
    mixture.expert.activation = Activation::ClampedSilu { limit: config.number("swiglu_limit")? as f32 };
    mixture.shared = Some(mixture.expert);
    let layers = spec.layers.len();
    let first = config.count("num_hash_layers")?;
    let by_token = config.named_layers("mlp_layer_types", ["hash_moe", "moe"], layers)?;
    let by_token = by_token.unwrap_or_else(|| (0..layers).map(|index| index < first).collect());
    for (layer, by_token) in spec.layers.iter_mut().zip(by_token) {
        let mut mixture = mixture.clone();
        mixture.router.by_token = by_token;
        mixture.router.choice_bias = !by_token;
        layer.feed_forward = FeedForwardSpec::Experts(mixture);
    }
    Ok(())
}

/// Those of `DeepseekV4Config`.
fn defaults() -> Json {
    json!({
        "rms_norm_eps": 1e-6, "num_key_value_heads": 1, "head_dim": 512, "q_lora_rank": 1024,
        "num_experts_per_tok": 6, "n_routed_experts": 256, "n_shared_experts": 1, "moe_intermediate_size": 2048,
        "norm_topk_prob": true, "routed_scaling_factor": 1.5, "rope_theta": 1e4, "compress_rope_theta": 160000.0,
        "partial_rotary_factor": null, "hc_mult": 4, "hc_sinkhorn_iters": 20, "hc_eps": 1e-6, "num_hash_layers": 3,
        "swiglu_limit": 10.0, "sliding_window": 128, "o_groups": 8, "o_lora_rank": 1024, "index_n_heads": 64,
        "index_head_dim": 128, "index_topk": 512, "max_position_embeddings": 1048576,
    })
}
