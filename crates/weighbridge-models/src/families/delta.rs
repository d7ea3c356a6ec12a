//! What all delta nets ask of a config.

use super::SpecError;
use super::config::Config;
use crate::spec::{Activation, DeltaSpec};

/// Numbers that a layer's memory has at most: 256 MB for each sequence, a hundred times that of published models. It
/// is a product of widths that tensors confirm one by one only.
const MEMORY_MAX: u64 = 1 << 26;

/// The spec, if it can be computed.
pub(super) fn checked(config: &Config, spec: DeltaSpec) -> Result<DeltaSpec, SpecError> {
    if !spec.value_heads.is_multiple_of(spec.key_heads) {
        let problem = format!("are {}, which is no multiple of {} key heads", spec.value_heads, spec.key_heads);
        return Err(SpecError::field("value heads of linear attention", problem));
    }
    let widths = [spec.value_heads, spec.key_dim, spec.value_dim];
    let memory = widths.into_iter().try_fold(1_u64, |product, width| product.checked_mul(width as u64));
    if memory.is_none_or(|numbers| numbers > MEMORY_MAX) {
        let problem = format!("ask for a memory of more than {MEMORY_MAX} numbers in each layer");
        return Err(SpecError::field("heads of linear attention", problem));
    }
    // The same function stands behind the convolution, where no other is computed.
    if config.activation(&["hidden_act"])? != Activation::Silu {
        return Err(SpecError::field("hidden_act", "is not silu, which linear attention needs"));
    }
    Ok(spec)
}
