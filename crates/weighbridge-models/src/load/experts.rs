//! Mixtures of experts, in each of the ways they are stored.

use candle_core::{Device, Result as Computed, Tensor};

use super::Loader;
use crate::blocks::experts::Experts;
use crate::blocks::feed_forward::Mlp;
use crate::blocks::linear::Linear;
use crate::parts::own::EXPERTS_OF_TOKENS;
use crate::parts::{ExpertPart, Kind, LayerPart, Packing, Part};
use crate::spec::{ExpertsSpec, MlpSpec};
use crate::weights::WeightError;

/// What the four bits of a number stand for, of the MX specification's E2M1:
/// <https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf>, section 5.3.3.
const E2M1: [f32; 16] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// A scale of `s` multiplies by `2^(s - 127)`.
const SCALE_BIAS: i32 = 127;

impl Loader<'_> {
    pub(super) fn experts(&mut self, index: usize, spec: &ExpertsSpec) -> Result<Experts, WeightError> {
        let gate = self.layer_linear(index, LayerPart::Router, spec.router.bias)?;
        self.experts_with(index, spec, gate)
    }

    /// The same with a router that is already read.
    pub(super) fn experts_with(
        &mut self,
        index: usize,
        spec: &ExpertsSpec,
        gate: Linear,
    ) -> Result<Experts, WeightError> {
        let choice = Part::Layer(index, LayerPart::ChoiceBias, Kind::Weight);
        let choice_bias = spec.router.choice_bias.then(|| self.dense(choice)).transpose()?;
        let choice_bias = choice_bias.map(|bias| bias.to_vec1()).transpose();
        Ok(Experts {
            router: spec.router,
            chosen: spec.chosen,
            gate,
            scales: None,
            table: if spec.router.by_token { Some(self.experts_of_tokens(index, spec)?) } else { None },
            choice_bias: choice_bias.map_err(|source| self.failed(choice, source))?,
            experts: (0..spec.count)
                .map(|expert| self.expert(index, expert, &spec.expert))
                .collect::<Result<_, _>>()?,
            shared: spec
                .shared
                .map(|shared| {
                    self.mlp(index, &shared, [LayerPart::SharedGate, LayerPart::SharedUp, LayerPart::SharedDown])
                })
                .transpose()?,
            shared_scale: f64::from(spec.shared_scale),
            shared_gate: spec
                .shared_gate
                .then(|| self.layer_linear(index, LayerPart::SharedSwitch, false))
                .transpose()?,
        })
    }

    /// The experts of each token, all of which there must be.
    fn experts_of_tokens(&mut self, index: usize, spec: &ExpertsSpec) -> Result<Vec<u32>, WeightError> {
        let part = Part::Own(Some(index), EXPERTS_OF_TOKENS);
        let (experts, bytes) = self.weights.integers(part, self.spec)?;
        self.advance(bytes)?;
        let known = |expert: i64| u32::try_from(expert).ok().filter(|&expert| (expert as usize) < spec.count);
        let known = |expert: i64| {
            let problem = || candle_core::Error::Msg(format!("it names expert {expert} of {}", spec.count));
            known(expert).ok_or_else(problem).map_err(|source| self.failed(part, source))
        };
        experts.into_iter().map(known).collect()
    }

    fn expert(&mut self, index: usize, expert: usize, spec: &MlpSpec) -> Result<Mlp, WeightError> {
        let of = |part, kind| Part::Expert(index, expert, part, kind);
        if self.weights.names.packing == Packing::Plain {
            let mut linear = |part| self.linear(of(part, Kind::Weight), spec.bias.then_some(of(part, Kind::Bias)));
            return Ok(Mlp {
                activation: spec.activation,
                gate: Some(linear(ExpertPart::Gate)?),
                up: linear(ExpertPart::Up)?,
                down: linear(ExpertPart::Down)?,
            });
        }
        let gate_up =
            self.outputs_first(of(ExpertPart::GateUp, Kind::Weight), of(ExpertPart::GateUpScales, Kind::Weight))?;
        let down = self.outputs_first(of(ExpertPart::Down, Kind::Weight), of(ExpertPart::DownScales, Kind::Weight))?;
        let mut bias = |part| spec.bias.then(|| self.dense(of(part, Kind::Bias))).transpose();
        let gate_up_bias = bias(ExpertPart::GateUp)?;
        let down_bias = bias(ExpertPart::Down)?;
        let half = |part, second| {
            let cut = |tensor: &Tensor| {
                self.half(tensor, second).map_err(|source| self.failed(of(ExpertPart::GateUp, Kind::Weight), source))
            };
            self.expert_linear(of(part, Kind::Weight), cut(&gate_up)?, gate_up_bias.as_ref().map(cut).transpose()?)
        };
        Ok(Mlp {
            activation: spec.activation,
            gate: Some(half(ExpertPart::Gate, false)?),
            up: half(ExpertPart::Up, true)?,
            down: self.expert_linear(of(ExpertPart::Down, Kind::Weight), down, down_bias)?,
        })
    }

    /// A projection of an expert whose matrix was stored in a way of its own, put into blocks where that is asked for.
    fn expert_linear(&self, part: Part, matrix: Tensor, bias: Option<Tensor>) -> Result<Linear, WeightError> {
        let matrix = match self.treatment.blocks_of_floats(part, matrix.dims()) {
            Some(element) => self.quantised(part, &matrix, element)?,
            None => self.of_floats(matrix).map_err(|source| self.failed(part, source))?,
        };
        matrix.linear(bias).map_err(|source| self.failed(part, source))
    }

    /// A matrix of an expert in float32, `[out, in]`, however it is stored.
    fn outputs_first(&mut self, part: Part, scales: Part) -> Result<Tensor, WeightError> {
        if self.weights.names.packing == Packing::Mxfp4 {
            let blocks = self.weights.bytes(part, self.spec)?;
            let scales = self.weights.bytes(scales, self.spec)?;
            self.advance((blocks.len() + scales.len()) as u64)?;
            let rows = self.weights.names.shape(part, self.spec)[0];
            return mxfp4(&blocks, &scales, rows).map_err(|source| self.failed(part, source));
        }
        let stored = self.dense(part)?;
        if self.weights.names.packing == Packing::Stacked {
            return Ok(stored);
        }
        stored.t().and_then(|matrix| matrix.contiguous()).map_err(|source| self.failed(part, source))
    }

    /// The rows of gate or, `second`, of up in a matrix of both.
    fn half(&self, both: &Tensor, second: bool) -> Computed<Tensor> {
        let rows = both.dim(0)? / 2;
        let at = usize::from(second);
        if matches!(self.weights.names.packing, Packing::Stacked | Packing::Transposed { in_turns: false }) {
            return both.narrow(0, at * rows, rows);
        }
        let places: Vec<u32> = (0..rows).map(|row| (2 * row + at) as u32).collect();
        both.index_select(&Tensor::new(places, &Device::Cpu)?, 0)
    }
}

/// Expands blocks of 32 numbers of four bits, the low half of a byte first, each block times its power of two.
fn mxfp4(blocks: &[u8], scales: &[u8], rows: usize) -> Computed<Tensor> {
    let (blocks, _) = blocks.as_chunks::<16>();
    let expand = |(block, &scale): (&[u8; 16], &u8)| {
        let scale = 2_f32.powi(i32::from(scale) - SCALE_BIAS);
        block.map(|byte| [E2M1[usize::from(byte & 15)] * scale, E2M1[usize::from(byte >> 4)] * scale])
    };
    let numbers: Vec<f32> = blocks.iter().zip(scales).flat_map(expand).flatten().collect();
    let columns = numbers.len() / rows.max(1);
    Tensor::from_vec(numbers, (rows, columns), &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_bit_floats_expand_low_half_first_and_by_their_power_of_two() -> Computed<()> {
        let mut block = [0_u8; 16];
        block[0] = 0xf1;
        block[1] = 0x27;
        let expanded: Vec<f32> = mxfp4(&block, &[129], 1)?.flatten_all()?.to_vec1()?;
        assert_eq!(expanded[..5], [2.0, -24.0, 24.0, 4.0, 0.0]);
        assert_eq!(expanded.len(), 32);
        Ok(())
    }
}
