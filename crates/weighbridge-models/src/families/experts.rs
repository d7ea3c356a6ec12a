//! Mixtures of experts as configs describe them.

use super::config::Config;
use super::{SIZE_MAX, SpecError};
use crate::spec::{DecoderSpec, ExpertsSpec, FeedForwardSpec, MlpSpec, RouterSpec};

/// More experts than a layer of any model has.
pub(super) const EXPERTS_MAX: u64 = 1 << 12;

/// Experts whose number and width are in these fields; how many a token goes through is in `num_experts_per_tok`.
pub(super) fn mixture(config: &Config, count: &str, inner: &str, router: RouterSpec) -> Result<ExpertsSpec, SpecError> {
    let count = config.size_up_to(count, EXPERTS_MAX)?;
    Ok(ExpertsSpec {
        count,
        chosen: config.size_up_to("num_experts_per_tok", count as u64)?,
        expert: MlpSpec {
            inner: config.size_up_to(inner, SIZE_MAX)?,
            activation: config.activation(&["hidden_act"])?,
            gated: true,
            bias: false,
        },
        router,
        shared: None,
        shared_scale: 1.0,
        shared_gate: false,
    })
}

/// Puts the experts in every layer that `is_sparse`.
pub(super) fn place(spec: &mut DecoderSpec, mixture: &ExpertsSpec, is_sparse: impl Fn(usize) -> bool) {
    for (index, layer) in spec.layers.iter_mut().enumerate() {
        if is_sparse(index) {
            layer.feed_forward = FeedForwardSpec::Experts(mixture.clone());
        }
    }
}
