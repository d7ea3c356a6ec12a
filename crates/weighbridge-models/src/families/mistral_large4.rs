//! Mistral Large 4, text (transformers' `modeling_mistral_large4.py`): latent attention that looks at what an indexer
//! chose, in that layer or in one before; layers that know no positions; layers that use the latent rows of earlier
//! ones; queries that grow with the logarithm of their position; learned rotary frequencies.

use serde_json::{Value as Json, json};

use super::config::Config;
use super::{Described, Family, SpecError, deepseek, llama, rope, text_of};
use crate::parts::Names;
use crate::spec::{
    Choosing, DecoderSpec, IndexQueries, LatentSpec, MixerSpec, RopeScaling, RopeStyle, RouterSpec, Scoring,
};

pub(super) const FAMILY: Family = Family { architecture: "mistral_large4", from_config, from_gguf: None };

const NAMES: Names = Names {
    embedding: "tok_embeddings",
    final_norm: "norm",
    head: "output",
    layer: "layers",
    attention_norm: "attention_norm",
    query: "attention.wq",
    latent: "attention.wkv_a_with_mqa",
    latent_norm: "attention.kv_a_norm",
    latent_up: "attention.wkv_b",
    output: "attention.wo",
    feed_forward_norm: "ffn_norm",
    gate: "feed_forward.w1",
    up: "feed_forward.w3",
    down: "feed_forward.w2",
    router: "gate",
    expert_gate: "experts.*.w1",
    expert_up: "experts.*.w3",
    expert_down: "experts.*.w2",
    shared_gate: "shared_experts.w1",
    shared_up: "shared_experts.w3",
    shared_down: "shared_experts.w2",
    ..llama::NAMES
};

fn from_config(config: &Json) -> Result<Described, SpecError> {
    let text = text_of(config)?;
    let config = Config::new(&text, defaults(&text))?.with("q_lora_rank", Json::Null);
    let router =
        RouterSpec { groups: deepseek::groups(&config, 2)?, renormalise: true, ..RouterSpec::of(Scoring::Softmax) };
    let mut spec = deepseek::described(&config, router)?.spec;
    spec.logit_cap = Some(config.number("final_logit_softcapping")? as f32);
    spec.learned_rope = true;
    layers(&config, &mut spec)?;
    Ok(Described { spec, names: NAMES })
}

fn layers(config: &Config, spec: &mut DecoderSpec) -> Result<(), SpecError> {
    let layers = spec.layers.len();
    let every = config.size("no_rope_layer_interval")?;
    let turning = config.switches("no_rope_layers", layers)?;
    let turning = turning.unwrap_or_else(|| (0..layers).map(|index| !(index + 1).is_multiple_of(every)).collect());
    let choosing = choosing(config, layers)?;
    let sources = sources(config, &turning)?;
    let eps = spec.norm_eps;
    for (index, layer) in spec.layers.iter_mut().enumerate() {
        let MixerSpec::Latent(latent) = &mut layer.mixer else { continue };
        if let Some(RopeScaling::Dynamic { .. } | RopeScaling::Long { .. }) = latent.rope.as_ref().map(|it| &it.scaling)
        {
            return Err(SpecError::field("rope_type", "grows with the sequence, which learned frequencies cannot"));
        }
        latent.norm_eps = eps;
        latent.growth = true;
        latent.source = sources[index];
        latent.choosing = if choosing[index] {
            let style = RopeStyle::Interleaved;
            Choosing::Own(deepseek::index(config, IndexQueries::Stream, latent.rope_dim, style)?)
        } else {
            Choosing::Before
        };
        if !turning[index] {
            without_positions(latent);
        }
    }
    Ok(())
}

/// What would carry the position is part of the query and the key that do not.
fn without_positions(latent: &mut LatentSpec) {
    latent.plain_dim += latent.rope_dim;
    latent.rope_dim = 0;
    latent.rope = None;
}

/// For each layer whether it has an indexer; the others go by the choice of one before.
fn choosing(config: &Config, layers: usize) -> Result<Vec<bool>, SpecError> {
    const FIELD: &str = "indexer_types";
    let own = match (config.named_layers(FIELD, ["full", "shared"], layers)?, config.get("index_topk_pattern")) {
        (Some(own), _) => own,
        (None, Some(Json::String(pattern)))
            if pattern.len() == layers && pattern.chars().all(|it| "FS".contains(it)) =>
        {
            pattern.chars().map(|kind| kind == 'F').collect()
        }
        (None, Some(_)) => {
            let problem = format!("is no text of {layers} letters F and S");
            return Err(SpecError::field("index_topk_pattern", problem));
        }
        (None, None) => {
            let every = config.count("index_topk_freq")?.max(1);
            let offset = config.count("index_skip_topk_offset")?;
            (0..layers).map(|index| (index + 1).saturating_sub(offset).is_multiple_of(every)).collect()
        }
    };
    if own.first() == Some(&false) {
        return Err(SpecError::field(FIELD, "has no choice before the first layer, which needs one"));
    }
    Ok(own)
}

/// The layer whose latent rows each uses, where they are not its own.
fn sources(config: &Config, turning: &[bool]) -> Result<Vec<Option<usize>>, SpecError> {
    const FIELD: &str = "kv_source_layers";
    let layers = turning.len();
    let Some(sources) = config.numbers(FIELD)? else { return Ok(vec![None; layers]) };
    if sources.len() != layers {
        return Err(SpecError::field(FIELD, format!("has {} entries for {layers} layers", sources.len())));
    }
    let used = |source: usize| sources.iter().enumerate().any(|(index, &it)| index > source && it == source as u64);
    let of_layer = |index: usize| {
        let source = sources[index] as usize;
        if source == index {
            return Ok(None);
        }
        // Layers of one kind share one place: what the last of them left there is what others find.
        let last = (0..index).rev().find(|&it| sources[it] == it as u64 && turning[it] == turning[index] && used(it));
        if last != Some(source) {
            let problem =
                format!("has {source} for layer {index}, which is not the last layer of its kind that shares");
            return Err(SpecError::field(FIELD, problem));
        }
        Ok(Some(source))
    };
    (0..layers).map(of_layer).collect()
}

/// Those of `MistralLarge4TextConfig`; the rope's own where the config has none.
fn defaults(config: &Json) -> Json {
    let mut defaults = json!({
        "rms_norm_eps": 1e-5, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 64,
        "n_shared_experts": 1, "n_routed_experts": 128, "moe_intermediate_size": 6144, "routed_scaling_factor": 1.0,
        "n_group": 1, "topk_group": 1, "num_experts_per_tok": 4, "first_k_dense_replace": 1, "rope_interleave": true,
        "index_topk": 2048, "index_head_dim": 128, "index_n_heads": 32, "index_topk_freq": 1,
        "index_skip_topk_offset": 2, "no_rope_layer_interval": 4, "final_logit_softcapping": 30.0,
    });
    if !rope::is_said(config) {
        defaults["rope_parameters"] = json!({
            "rope_type": "yarn", "rope_theta": 1e4, "factor": 2048.0, "original_max_position_embeddings": 512,
            "beta_fast": 32.0, "beta_slow": 1.0, "attention_factor": 1.0,
        });
    }
    defaults
}
