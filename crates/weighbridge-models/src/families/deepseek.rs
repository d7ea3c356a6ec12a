//! DeepSeek V2 (<https://arxiv.org/abs/2405.04434>): latent attention, and experts of a few groups beside shared ones.
//! DeepSeek V3 and R1 (<https://arxiv.org/abs/2412.19437>): sigmoid scores with a bias that counts in the choice alone.
//! DeepSeek V3.2 (<https://arxiv.org/abs/2512.02556>): V3 with an indexer that chooses what attention looks at.

use serde_json::{Value as Json, json};

use super::config::Config;
use super::{Described, Family, SIZE_MAX, SpecError, experts, gguf, llama, positive, rope};
use crate::gguf::Gguf;
use crate::parts::{Fusion, Names};
use crate::spec::{
    Choosing, DecoderSpec, ExpertsSpec, GroupsSpec, IndexQueries, IndexSpec, LatentSpec, MixerSpec, MlpSpec,
    RopeScaling, RopeStyle, RouterSpec, Scoring,
};

pub(super) const V2: Family = Family { architecture: "deepseek_v2", from_config: v2, from_gguf: None };
pub(super) const V3: Family = Family { architecture: "deepseek_v3", from_config: v3, from_gguf: None };
pub(super) const V32: Family = Family { architecture: "deepseek_v32", from_config: v32, from_gguf: None };

/// Of the norms within attention, whatever the config says: `DeepseekV2RMSNorm` of transformers.
const INNER_EPS: f32 = 1e-6;

fn v2(config: &Json) -> Result<Described, SpecError> {
    let own = json!({
        "q_lora_rank": 1536, "first_k_dense_replace": 0, "n_routed_experts": 64, "moe_intermediate_size": 1407,
        "routed_scaling_factor": 1.0, "n_shared_experts": 2, "topk_method": "greedy", "vocab_size": 102_400,
        "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
        "max_position_embeddings": 2048,
    });
    let config = Config::new(config, defaults(own))?.or_named("num_experts", "n_routed_experts");
    // Neighbours turn together, whatever a config says.
    let config = config.with("rope_interleave", json!(true));
    config.expect("scoring_func", "softmax")?;
    // DeepSeek's own code heeds it and transformers' does not; no published model asks for it.
    config.refuse("norm_topk_prob")?;
    let groups = match config.text("topk_method")? {
        Some("greedy") => None,
        Some("group_limited_greedy") => groups(&config, 1)?,
        other => {
            let problem = format!("is `{}`; supported: greedy, group_limited_greedy", other.unwrap_or("null"));
            return Err(SpecError::field("topk_method", problem));
        }
    };
    described(&config, RouterSpec { groups, ..RouterSpec::of(Scoring::Softmax) })
}

fn v3(config: &Json) -> Result<Described, SpecError> {
    let own = json!({
        "q_lora_rank": 1536, "first_k_dense_replace": 3, "n_routed_experts": 256, "moe_intermediate_size": 2048,
        "routed_scaling_factor": 2.5, "n_shared_experts": 1, "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4,
        "norm_topk_prob": true, "num_attention_heads": 128, "vocab_size": 129_280, "hidden_size": 7168,
        "intermediate_size": 18432, "num_hidden_layers": 61, "max_position_embeddings": 4096,
    });
    let config = Config::new(config, defaults(own))?.without(&["mlp_bias"]);
    let config = config.or_named("num_experts", "n_routed_experts").or_named("num_local_experts", "n_routed_experts");
    config.expect("scoring_func", "sigmoid")?;
    config.expect("topk_method", "noaux_tc")?;
    let router = RouterSpec {
        choice_bias: true,
        groups: groups(&config, 2)?,
        renormalise: config.flag("norm_topk_prob")?,
        ..RouterSpec::of(Scoring::Sigmoid)
    };
    described(&config, router)
}

fn v32(config: &Json) -> Result<Described, SpecError> {
    let own = json!({
        "index_topk": 2048, "index_head_dim": 128, "index_n_heads": 64, "max_position_embeddings": 163840,
    });
    // Neighbours turn together, whatever the config says.
    let config = Config::new(config, own)?.with("rope_interleave", json!(true));
    let mut described = v3(&config.to_json())?;
    for layer in &mut described.spec.layers {
        let MixerSpec::Latent(latent) = &mut layer.mixer else { continue };
        let rank = latent.query_rank;
        let rank = rank.ok_or_else(|| SpecError::field("q_lora_rank", "is null, and an indexer needs it"))?;
        let queries = IndexQueries::Compressed { rank };
        latent.choosing = Choosing::Own(index(&config, queries, latent.rope_dim, RopeStyle::Neox)?);
    }
    Ok(described)
}

/// An indexer whose heads turn in their first `turning` dimensions.
pub(super) fn index(
    config: &Config,
    queries: IndexQueries,
    turning: usize,
    style: RopeStyle,
) -> Result<IndexSpec, SpecError> {
    const WIDTH: &str = "index_head_dim";
    let head_dim = config.size(WIDTH)?;
    if head_dim < turning {
        let problem = format!("is {head_dim}, less than the {turning} dimensions that turn");
        return Err(SpecError::field(WIDTH, problem));
    }
    let (heads, chosen) = (config.size("index_n_heads")?, config.size("index_topk")?);
    Ok(IndexSpec { queries, heads, head_dim, chosen, style })
}

fn defaults(own: Json) -> Json {
    let mut defaults = json!({
        "rms_norm_eps": 1e-6, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "rope_interleave": true,
    });
    if let (Json::Object(defaults), Json::Object(own)) = (&mut defaults, own) {
        defaults.extend(own);
    }
    defaults
}

pub(super) fn described(config: &Config, router: RouterSpec) -> Result<Described, SpecError> {
    // Latent attention has widths of its own; those of the attention that it replaces are not to be checked, but for
    // the dimensions that turn.
    let width = config.count("qk_rope_head_dim")?.max(2);
    let mut spec = config.with("head_dim", json!(width)).with("num_key_value_heads", json!(1)).decoder()?;
    let latent = latent(config, spec.context)?;
    for layer in &mut spec.layers {
        layer.mixer = MixerSpec::Latent(latent.clone());
    }
    let router = RouterSpec { scale: config.number("routed_scaling_factor")? as f32, ..router };
    let mixture = mixture(config, router)?;
    sparse(config, &mut spec, &mixture)?;
    Ok(Described { spec, names: llama::NAMES })
}

fn latent(config: &Config, context: usize) -> Result<LatentSpec, SpecError> {
    let rope_dim = config.size("qk_rope_head_dim")?;
    let plain_dim = config.size("qk_nope_head_dim")?;
    let mut rope = rope::read(config, None, rope_dim, context)?;
    rope.style = if config.flag("rope_interleave")? { RopeStyle::Interleaved } else { RopeStyle::Neox };
    let scale = ((plain_dim + rope_dim) as f64).powf(-0.5);
    Ok(LatentSpec {
        heads: config.size("num_attention_heads")?,
        query_rank: config.optional_size("q_lora_rank")?,
        rank: config.size("kv_lora_rank")?,
        plain_dim,
        rope_dim,
        value_dim: config.size("v_head_dim")?,
        scale: (scale * stretched(config, &rope.scaling)?) as f32,
        rope: Some(rope),
        temperature: None,
        growth: false,
        choosing: Choosing::All,
        source: None,
        bias: config.flag("attention_bias")?,
        norm_eps: INNER_EPS,
    })
}

/// What scores grow by where positions are stretched: `yarn_apply_mscale` of transformers.
fn stretched(config: &Config, scaling: &RopeScaling) -> Result<f64, SpecError> {
    let Some(all) = rope::extra(config, "mscale_all_dim")?.filter(|&all| all != 0.0) else { return Ok(1.0) };
    if *scaling == RopeScaling::None {
        return Ok(1.0);
    }
    let factor = rope::extra(config, "factor")?.unwrap_or(1.0);
    Ok(rope::yarn_magnitude(factor, positive("mscale_all_dim", all)?).powi(2))
}

/// Both go by the name `deepseek2`. Newer files keep what expands keys and values in two tensors, older ones in one.
pub(super) fn from_gguf(file: &Gguf) -> Result<Described, SpecError> {
    let meta = gguf::Meta::new(file, "deepseek2");
    meta.refuse("attention.temperature_scale")?;
    let router = RouterSpec::of(Scoring::Softmax);
    let fixed = gguf::Fixed { router, ..gguf::Fixed::new(RopeStyle::Interleaved) };
    let mut described = gguf::around(&meta, &fixed, &MixerSpec::Latent(latent_gguf(&meta)?))?;
    if meta.has("blk.0.attn_k_b.weight") {
        described.names = Names { latent_kv: Fusion::Apart, ..described.names };
    }
    Ok(described)
}

fn latent_gguf(meta: &gguf::Meta<'_>) -> Result<LatentSpec, SpecError> {
    // Of a head as it is expanded; the same without `_mla` is that of the latent row where there is one.
    let width = |own: &str, old: &str| match meta.optional(own)? {
        Some(width) => Ok(width),
        None => meta.required(old, SIZE_MAX),
    };
    const QUERY: &str = "attention.key_length_mla";
    let query_dim = width(QUERY, "attention.key_length")?;
    let rope_dim = meta.required("rope.dimension_count", SIZE_MAX)?;
    let Some(plain_dim) = query_dim.checked_sub(rope_dim).filter(|&plain_dim| plain_dim > 0) else {
        let problem = format!("is {query_dim}, of which {rope_dim} turn; some have to stay");
        return Err(SpecError::field(meta.key(QUERY), problem));
    };
    let mut rope = gguf::rope(meta, rope_dim, RopeStyle::Interleaved)?;
    let mut scale = (query_dim as f64).powf(-0.5);
    // The converter writes a tenth of `mscale_all_dim`, and not `mscale`, which is the same in all published models.
    if let (Some(tenth), RopeScaling::Yarn { factor, magnitude, .. }) =
        (meta.optional_number("rope.scaling.yarn_log_multiplier")?, &mut rope.scaling)
    {
        scale *= rope::yarn_magnitude(*factor, 10.0 * tenth).powi(2);
        *magnitude = 1.0;
    }
    let is_compressed = meta.has("blk.0.attn_q_a.weight");
    Ok(LatentSpec {
        heads: meta.required("attention.head_count", SIZE_MAX)?,
        query_rank: is_compressed.then(|| meta.required("attention.q_lora_rank", SIZE_MAX)).transpose()?,
        rank: meta.required("attention.kv_lora_rank", SIZE_MAX)?,
        plain_dim,
        rope_dim,
        value_dim: width("attention.value_length_mla", "attention.value_length")?,
        scale: scale as f32,
        rope: Some(rope),
        temperature: None,
        growth: false,
        choosing: Choosing::All,
        source: None,
        bias: meta.has("blk.0.attn_kv_a_mqa.bias"),
        norm_eps: INNER_EPS,
    })
}

pub(super) fn groups(config: &Config, best: usize) -> Result<Option<GroupsSpec>, SpecError> {
    let experts = config.size("n_routed_experts")?;
    let count = config.size_up_to("n_group", experts as u64)?;
    let chosen = config.size_up_to("topk_group", count as u64)?;
    if !experts.is_multiple_of(count) {
        return Err(SpecError::field("n_group", format!("is {count}, which does not divide {experts} experts")));
    }
    let open = experts / count * chosen;
    if config.size("num_experts_per_tok")? > open {
        let problem = format!("asks for more than the {open} experts of {chosen} groups");
        return Err(SpecError::field("num_experts_per_tok", problem));
    }
    Ok(Some(GroupsSpec { count, chosen, best }))
}

pub(super) fn mixture(config: &Config, router: RouterSpec) -> Result<ExpertsSpec, SpecError> {
    let mut mixture = experts::mixture(config, "n_routed_experts", "moe_intermediate_size", router)?;
    let shared = config.count("n_shared_experts")?;
    if shared > 0 {
        mixture.shared =
            Some(MlpSpec { inner: shared * mixture.expert.inner, bias: config.flag("mlp_bias")?, ..mixture.expert });
    }
    Ok(mixture)
}

/// Experts in all layers but the first few.
pub(super) fn sparse(config: &Config, spec: &mut DecoderSpec, mixture: &ExpertsSpec) -> Result<(), SpecError> {
    let frequency = config.count("moe_layer_freq")?;
    if frequency > 1 {
        return Err(SpecError::field("moe_layer_freq", format!("is {frequency}; supported: 1")));
    }
    let dense = config.count("first_k_dense_replace")?;
    let said = config.named_layers("mlp_layer_types", ["sparse", "dense"], spec.layers.len())?;
    experts::place(spec, mixture, |index| said.as_ref().map_or(index >= dense, |sparse| sparse[index]));
    Ok(())
}
