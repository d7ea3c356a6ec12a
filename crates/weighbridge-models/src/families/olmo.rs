//! OLMo (<https://arxiv.org/abs/2402.00838>): norms without weights, clipped projections. OLMo 2
//! (<https://arxiv.org/abs/2501.00656>): RMS norms after each part instead of before, and over all of query and of key.
//! OLMo 3 (transformers' `modeling_olmo3.py`): three of four layers look back over a window, and only the others have
//! their rotary embedding stretched. OLMoE (<https://arxiv.org/abs/2409.02060>): experts, norms before each part.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention, slide};
use super::{Described, Family, SpecError, experts, gguf, llama, rope};
use crate::gguf::Gguf;
use crate::parts::Names;
use crate::spec::{DecoderSpec, HeadNorm, Norm, Placement, RopeStyle, RouterSpec, Scoring};

pub(super) const OLMO: Family = Family { architecture: "olmo", from_config: olmo, from_gguf: Some(olmo_gguf) };
pub(super) const OLMO2: Family = Family { architecture: "olmo2", from_config: olmo2, from_gguf: Some(olmo2_gguf) };
/// GGUF files of it go by the name of the second generation.
pub(super) const OLMO3: Family = Family { architecture: "olmo3", from_config: olmo3, from_gguf: None };
pub(super) const OLMOE: Family = Family { architecture: "olmoe", from_config: olmoe, from_gguf: Some(olmoe_gguf) };

const NAMES: Names = Names {
    attention_after: "post_attention_layernorm",
    feed_forward_after: "post_feedforward_layernorm",
    ..llama::NAMES
};

/// The rotary base of OLMo 3 where the config does not say, and in sliding layers unless it says so for them alone:
/// `convert_rope_params_to_dict` of transformers' `configuration_olmo3.py`.
const OLMO3_THETA: f64 = 5e5;

fn olmo(config: &Json) -> Result<Described, SpecError> {
    // The epsilon is in no config; it is that of `OlmoLayerNorm`.
    let config = Config::new(config, defaults(json!({})))?.with("layer_norm_eps", json!(1e-5));
    let mut spec = config.decoder_with_eps("layer_norm_eps")?;
    spec.norm = Norm::Plain;
    let clip = config.optional_number("clip_qkv")?.map(|clip| clip as f32);
    each_attention(&mut spec, |_, attention| attention.clip = clip);
    Ok(Described { spec, names: NAMES })
}

fn olmo2(config: &Json) -> Result<Described, SpecError> {
    let config = Config::new(config, defaults(json!({})))?;
    after(&config)
}

fn olmo3(config: &Json) -> Result<Described, SpecError> {
    let own = json!({"rope_theta": OLMO3_THETA, "sliding_window": 4096});
    let config = Config::new(config, defaults(own))?.with("rope_local_base_freq", json!(OLMO3_THETA));
    let mut described = after(&config)?;
    let spec = &mut described.spec;
    let context = spec.context;
    let sliding = config.sliding_layers(spec.layers.len(), |index| (index + 1) % 4 != 0)?;
    slide(spec, &sliding, config.window()?);
    let mut problem = None;
    each_attention(spec, |index, attention| {
        let kind = if sliding[index] { rope::SLIDING } else { rope::FULL };
        match rope::read(&config, Some(kind), attention.head_dim, context) {
            Ok(rope) => attention.rope = Some(rope),
            Err(reason) => problem = Some(reason),
        }
    });
    problem.map_or(Ok(described), Err)
}

/// What all generations have where a config does not say, and `own`.
fn defaults(own: Json) -> Json {
    let mut defaults = json!({
        "rms_norm_eps": 1e-5, "vocab_size": 50304, "hidden_size": 4096, "intermediate_size": 11008,
        "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 2048,
    });
    if let (Json::Object(defaults), Json::Object(own)) = (&mut defaults, own) {
        defaults.extend(own);
    }
    defaults
}

fn after(config: &Config) -> Result<Described, SpecError> {
    let mut spec = config.decoder()?;
    for layer in &mut spec.layers {
        layer.placement = Placement::After;
    }
    each_attention(&mut spec, |_, attention| attention.head_norm = Some(HeadNorm::Whole));
    Ok(Described { spec, names: NAMES })
}

fn olmoe(config: &Json) -> Result<Described, SpecError> {
    let own = json!({
        "hidden_size": 2048, "intermediate_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 16,
        "max_position_embeddings": 4096, "num_experts": 64, "num_experts_per_tok": 8,
    });
    let config = Config::new(config, defaults(own))?.or_named("num_local_experts", "num_experts");
    let mut spec = config.decoder()?;
    let clip = config.optional_number("clip_qkv")?.map(|clip| clip as f32);
    each_attention(&mut spec, |_, attention| {
        attention.clip = clip;
        attention.head_norm = Some(HeadNorm::Whole);
    });
    let router = RouterSpec { renormalise: config.flag("norm_topk_prob")?, ..RouterSpec::of(Scoring::Softmax) };
    experts::place(&mut spec, &experts::mixture(&config, "num_experts", "intermediate_size", router)?, |_| true);
    Ok(Described { spec, names: llama::NAMES })
}

/// Rows of query and key are reordered as Llama's are.
fn olmo_gguf(file: &Gguf) -> Result<Described, SpecError> {
    let fixed = gguf::Fixed { norm: Norm::Plain, ..gguf::Fixed::new(RopeStyle::Interleaved) };
    gguf::decoder(&gguf::Meta::new(file, "olmo"), &fixed)
}

/// OLMo 3 where there is a window: only layers that see everything have their rotary embedding stretched.
fn olmo2_gguf(file: &Gguf) -> Result<Described, SpecError> {
    let meta = gguf::Meta::new(file, "olmo2");
    let mut described = gguf::decoder(&meta, &gguf::Fixed::new(RopeStyle::Neox))?;
    let spec = &mut described.spec;
    for layer in &mut spec.layers {
        layer.placement = Placement::After;
    }
    whole_norms(spec);
    let sliding = meta.slide(spec, None, 4)?;
    each_attention(spec, |index, attention| {
        if sliding[index] {
            attention.rope = attention.rope.as_ref().map(|turning| rope::plain(turning, turning.theta));
        }
    });
    Ok(described)
}

/// Without a word about it, the weights of the chosen are not divided by their sum.
fn olmoe_gguf(file: &Gguf) -> Result<Described, SpecError> {
    let fixed = gguf::Fixed { router: RouterSpec::of(Scoring::Softmax), ..gguf::Fixed::new(RopeStyle::Neox) };
    let mut described = gguf::decoder(&gguf::Meta::new(file, "olmoe"), &fixed)?;
    whole_norms(&mut described.spec);
    Ok(described)
}

fn whole_norms(spec: &mut DecoderSpec) {
    each_attention(spec, |_, attention| attention.head_norm = Some(HeadNorm::Whole));
}
