//! Delta nets, in each of the ways they are stored.

use candle_core::{Device, Result as Computed, Tensor};

use super::Loader;
use crate::blocks::delta::Delta;
use crate::blocks::linear::Linear;
use crate::parts::own::delta::{self as names, kimi};
use crate::parts::{Fusion, Part};
use crate::spec::{DeltaKind, DeltaSpec};
use crate::weights::WeightError;

impl Loader<'_> {
    pub(super) fn delta(&mut self, index: usize, spec: &DeltaSpec) -> Result<Delta, WeightError> {
        if let DeltaKind::PerChannel { .. } = spec.kind {
            return self.delta_per_channel(index, spec);
        }
        let (mixed, gate, rate, decay) = match self.weights.names.delta {
            Fusion::Apart => (
                self.own_linear(Some(index), names::QUERY_KEY_VALUE)?,
                self.own_linear(Some(index), names::GATE)?,
                self.own_linear(Some(index), names::RATE)?,
                self.own_linear(Some(index), names::DECAY)?,
            ),
            Fusion::Fused => {
                let per_key = spec.value_heads / spec.key_heads;
                let widths = [spec.key_dim, spec.key_dim, per_key * spec.value_dim, per_key * spec.value_dim];
                let [query, key, value, gate] = self.unfused(index, names::FUSED, spec.key_heads, widths)?;
                let [rate, decay] = self.unfused(index, names::FUSED_RATE_DECAY, spec.key_heads, [per_key; 2])?;
                let mixed = Tensor::cat(&[query, key, value], 0);
                let mixed = mixed.map_err(|source| self.failed(Part::Own(Some(index), names::FUSED), source))?;
                let linear = |matrix| Linear::dense(matrix, None);
                (linear(mixed), linear(gate), linear(rate), linear(decay))
            }
        };
        Ok(Delta {
            spec: spec.clone(),
            mixed: vec![mixed],
            convolution: self.own_numbers(Some(index), names::CONVOLUTION)?,
            rate,
            decay: vec![decay],
            decay_bias: self.own_numbers(Some(index), names::DECAY_BIAS)?,
            decay_log: self.own_numbers(Some(index), names::DECAY_LOG)?,
            gate: vec![gate],
            norm: self.own_norm(Some(index), names::NORM, spec.norm_eps)?,
            output: self.own_linear(Some(index), names::OUTPUT)?,
        })
    }

    fn delta_per_channel(&mut self, index: usize, spec: &DeltaSpec) -> Result<Delta, WeightError> {
        let mut convolution = Vec::new();
        for name in kimi::CONVOLUTIONS {
            convolution.extend(self.own_numbers(Some(index), name)?);
        }
        let mut linears = |names: &[&'static str]| -> Result<Vec<Linear>, WeightError> {
            names.iter().map(|name| self.own_linear(Some(index), name)).collect()
        };
        let (mixed, decay, gate) = (linears(&kimi::PROJECTIONS)?, linears(&kimi::DECAY)?, linears(&kimi::GATE)?);
        Ok(Delta {
            spec: spec.clone(),
            mixed,
            convolution,
            rate: self.own_linear(Some(index), kimi::RATE)?,
            decay,
            decay_bias: self.own_numbers(Some(index), kimi::DECAY_BIAS)?,
            decay_log: self.own_numbers(Some(index), kimi::DECAY_LOG)?,
            gate,
            norm: self.own_norm(Some(index), kimi::NORM, spec.norm_eps)?,
            output: self.own_linear(Some(index), kimi::OUTPUT)?,
        })
    }

    /// The matrices that a tensor holds in runs of so many rows, run after run for one head after the other.
    fn unfused<const N: usize>(
        &mut self,
        index: usize,
        name: &'static str,
        heads: usize,
        widths: [usize; N],
    ) -> Result<[Tensor; N], WeightError> {
        let part = Part::Own(Some(index), name);
        let fused = self.dense(part)?;
        let stride: usize = widths.iter().sum();
        let mut first = 0;
        let mut matrices = Vec::with_capacity(N);
        for width in widths {
            let rows = (0..heads).flat_map(|head| head * stride + first..head * stride + first + width);
            matrices.push(rows_of(&fused, rows).map_err(|source| self.failed(part, source))?);
            first += width;
        }
        let found = matrices.len();
        matrices.try_into().map_err(|_| {
            let problem = format!("it gave {found} matrices where {N} are expected");
            self.failed(part, candle_core::Error::Msg(problem))
        })
    }
}

fn rows_of(matrix: &Tensor, rows: impl Iterator<Item = usize>) -> Computed<Tensor> {
    let rows: Vec<u32> = rows.map(|row| row as u32).collect();
    matrix.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)
}
