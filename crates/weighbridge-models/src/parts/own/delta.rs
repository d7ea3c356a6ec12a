//! Of delta nets: Qwen 3 Next and 3.5, and Kimi Linear, as published.

use super::super::names::Fusion;
use super::Own;
use crate::spec::{DeltaKind, DeltaSpec};

pub(crate) const QUERY_KEY_VALUE: &str = "linear_attn.in_proj_qkv.weight";
pub(crate) const GATE: &str = "linear_attn.in_proj_z.weight";
pub(crate) const RATE: &str = "linear_attn.in_proj_b.weight";
pub(crate) const DECAY: &str = "linear_attn.in_proj_a.weight";
/// Query, key, value and gate of one key head after the other.
pub(crate) const FUSED: &str = "linear_attn.in_proj_qkvz.weight";
/// Rates and decays of one key head after the other.
pub(crate) const FUSED_RATE_DECAY: &str = "linear_attn.in_proj_ba.weight";
pub(crate) const CONVOLUTION: &str = "linear_attn.conv1d.weight";
pub(crate) const DECAY_BIAS: &str = "linear_attn.dt_bias";
pub(crate) const DECAY_LOG: &str = "linear_attn.A_log";
pub(crate) const NORM: &str = "linear_attn.norm.weight";
pub(crate) const OUTPUT: &str = "linear_attn.out_proj.weight";

pub(crate) mod kimi {
    pub(crate) const PROJECTIONS: [&str; 3] =
        ["self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"];
    pub(crate) const CONVOLUTIONS: [&str; 3] =
        ["self_attn.q_conv1d.weight", "self_attn.k_conv1d.weight", "self_attn.v_conv1d.weight"];
    pub(crate) const DECAY: [&str; 2] = ["self_attn.f_a_proj.weight", "self_attn.f_b_proj.weight"];
    pub(crate) const GATE: [&str; 2] = ["self_attn.g_a_proj.weight", "self_attn.g_b_proj.weight"];
    pub(crate) const RATE: &str = "self_attn.b_proj.weight";
    pub(crate) const DECAY_BIAS: &str = "self_attn.dt_bias";
    pub(crate) const DECAY_LOG: &str = "self_attn.A_log";
    pub(crate) const NORM: &str = "self_attn.o_norm.weight";
    pub(crate) const OUTPUT: &str = "self_attn.o_proj.weight";
}

/// Those of a layer's delta net.
pub(super) fn table(spec: &DeltaSpec, hidden: usize, fusion: Fusion) -> Vec<Own> {
    let (keys, values, heads) = (spec.key_width(), spec.value_width(), spec.value_heads);
    let DeltaKind::PerChannel { rank } = spec.kind else {
        let mut own = match fusion {
            Fusion::Fused => {
                vec![(FUSED, vec![2 * (keys + values), hidden]), (FUSED_RATE_DECAY, vec![2 * heads, hidden])]
            }
            Fusion::Apart => vec![
                (QUERY_KEY_VALUE, vec![spec.channels(), hidden]),
                (GATE, vec![values, hidden]),
                (RATE, vec![heads, hidden]),
                (DECAY, vec![heads, hidden]),
            ],
        };
        own.extend([
            (CONVOLUTION, vec![spec.channels(), 1, spec.kernel]),
            (DECAY_BIAS, vec![heads]),
            (DECAY_LOG, vec![heads]),
            (NORM, vec![spec.value_dim]),
            (OUTPUT, vec![hidden, values]),
        ]);
        return own;
    };
    let widths = [keys, keys, values];
    let mut own: Vec<Own> =
        kimi::PROJECTIONS.into_iter().zip(widths).map(|(name, width)| (name, vec![width, hidden])).collect();
    let convolution = |(name, width)| (name, vec![width, 1, spec.kernel]);
    own.extend(kimi::CONVOLUTIONS.into_iter().zip(widths).map(convolution));
    own.extend([
        (kimi::DECAY[0], vec![rank, hidden]),
        (kimi::DECAY[1], vec![heads * spec.key_dim, rank]),
        (kimi::GATE[0], vec![rank, hidden]),
        (kimi::GATE[1], vec![values, rank]),
        (kimi::RATE, vec![heads, hidden]),
        (kimi::DECAY_BIAS, vec![heads * spec.key_dim]),
        (kimi::DECAY_LOG, vec![1, 1, heads, 1]),
        (kimi::NORM, vec![spec.value_dim]),
        (kimi::OUTPUT, vec![hidden, values]),
    ]);
    own
}
