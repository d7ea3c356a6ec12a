//! Mixtures of experts as metadata and tensors describe them: `llm_graph_context::build_moe_ffn` of llama.cpp.

use super::super::experts::EXPERTS_MAX;
use super::super::{SIZE_MAX, SpecError};
use super::Meta;
use crate::spec::{Activation, ExpertsSpec, GroupsSpec, MlpSpec, RouterSpec, Scoring};

/// Gate, up and down without biases, as most have them.
pub(super) fn mlp(inner: usize) -> MlpSpec {
    MlpSpec { inner, activation: Activation::Silu, gated: true, bias: false }
}

/// The experts of a layer, chosen as `router` says where the metadata leave it open.
pub(super) fn read(meta: &Meta<'_>, router: RouterSpec, layer: usize) -> Result<ExpertsSpec, SpecError> {
    let count = meta.required("expert_count", EXPERTS_MAX)?;
    let inner = meta.optional("expert_feed_forward_length")?;
    let inner = inner.map_or_else(|| meta.required("feed_forward_length", SIZE_MAX), Ok)?;
    let chosen = meta.required("expert_used_count", count as u64)?;
    let shared = meta.has_in(layer, "ffn_up_shexp.weight").then(|| shared_inner(meta, inner)).transpose()?;
    let router = RouterSpec {
        bias: meta.has_in(layer, "ffn_gate_inp.bias"),
        choice_bias: meta.has_in(layer, "exp_probs_b.bias"),
        ..self::router(meta, router, count, chosen)?
    };
    Ok(ExpertsSpec {
        count,
        chosen,
        expert: MlpSpec { bias: meta.has_in(layer, "ffn_up_exps.bias"), ..mlp(inner) },
        router,
        shared: shared.map(mlp),
        shared_scale: 1.0,
        shared_gate: meta.has_in(layer, "ffn_gate_inp_shexp.weight"),
    })
}

/// Width of what every token goes through: its own key, else so many experts side by side.
fn shared_inner(meta: &Meta<'_>, expert: usize) -> Result<usize, SpecError> {
    const OWN: &str = "expert_shared_feed_forward_length";
    if let Some(inner) = meta.optional(OWN)? {
        return Ok(inner);
    }
    let count = meta.optional("expert_shared_count")?.unwrap_or(1);
    super::size(&meta.key("expert_shared_count"), (count as u64).saturating_mul(expert as u64), SIZE_MAX)
}

fn router(meta: &Meta<'_>, router: RouterSpec, count: usize, chosen: usize) -> Result<RouterSpec, SpecError> {
    const GATING: &str = "expert_gating_func";
    let scoring = match meta.optional(GATING)? {
        None => router.scoring,
        Some(1) => Scoring::Softmax,
        Some(2) => Scoring::Sigmoid,
        Some(3) => Scoring::SoftmaxOfChosen,
        Some(other) => {
            let problem = format!("is {other}; supported: 1 (softmax), 2 (sigmoid), 3 (softmax over the chosen)");
            return Err(SpecError::field(meta.key(GATING), problem));
        }
    };
    Ok(RouterSpec {
        scoring,
        renormalise: meta.flag("expert_weights_norm")?.unwrap_or(router.renormalise),
        scale: meta.optional_number("expert_weights_scale")?.map_or(router.scale, |scale| scale as f32),
        groups: groups(meta, scoring, count, chosen)?,
        ..router
    })
}

/// With sigmoids a group is as good as its two best experts (DeepSeek V3), else as its best (DeepSeek V2).
fn groups(meta: &Meta<'_>, scoring: Scoring, experts: usize, chosen: usize) -> Result<Option<GroupsSpec>, SpecError> {
    const COUNT: &str = "expert_group_count";
    const USED: &str = "expert_group_used_count";
    let Some(count) = meta.optional(COUNT)?.filter(|&count| count > 1) else { return Ok(None) };
    if !experts.is_multiple_of(count) {
        let problem = format!("is {count}, which does not divide {experts} experts");
        return Err(SpecError::field(meta.key(COUNT), problem));
    }
    let used = meta.required(USED, count as u64)?;
    let open = experts / count * used;
    if chosen > open {
        let problem = format!("is {used}, whose {open} experts are fewer than the {chosen} that a token goes through");
        return Err(SpecError::field(meta.key(USED), problem));
    }
    let best = if scoring == Scoring::Sigmoid { 2 } else { 1 };
    Ok(Some(GroupsSpec { count, chosen: used, best }))
}
