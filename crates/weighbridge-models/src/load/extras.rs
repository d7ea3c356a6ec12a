//! What a few decoders have beside layers of two parts.

use super::Loader;
use crate::blocks::feed_forward::Beside;
use crate::blocks::linear::Linear;
use crate::blocks::norm::Norm;
use crate::blocks::per_layer::{RowGate, Rows};
use crate::blocks::streams::{Ends, Laurel, Streams};
use crate::parts::own::{beside, laurel, per_layer, streams};
use crate::parts::{LayerPart, Part};
use crate::spec::{ExpertsSpec, MlpSpec, PerLayerSpec, StreamsSpec};
use crate::weights::WeightError;

impl Loader<'_> {
    pub(super) fn rows(&mut self, spec: PerLayerSpec) -> Result<Rows, WeightError> {
        Ok(Rows {
            spec,
            table: self.dense(Part::Own(None, per_layer::TABLE))?,
            projection: self.own_linear(None, per_layer::MODEL_PROJECTION)?,
            norm: self.own_norm(None, per_layer::MODEL_NORM, self.spec.norm_eps)?,
        })
    }

    pub(super) fn row_gate(&mut self, index: usize, spec: PerLayerSpec) -> Result<RowGate, WeightError> {
        Ok(RowGate {
            activation: spec.activation,
            gate: self.own_linear(Some(index), per_layer::GATE)?,
            projection: self.own_linear(Some(index), per_layer::PROJECTION)?,
            norm: self.own_norm(Some(index), per_layer::NORM, self.spec.norm_eps)?,
        })
    }

    pub(super) fn ends(&mut self, spec: StreamsSpec) -> Result<Ends, WeightError> {
        let mut all = |names: &[&'static str]| -> Result<Vec<Linear>, WeightError> {
            names.iter().take(spec.count - 1).map(|name| self.own_linear(None, name)).collect()
        };
        Ok(Ends { enter: all(&streams::ENTER)?, leave: all(&streams::LEAVE)? })
    }

    pub(super) fn streams(&mut self, index: usize, spec: StreamsSpec) -> Result<Streams, WeightError> {
        let layer = Some(index);
        Ok(Streams {
            spec,
            router_norm: self.own_norm(layer, streams::ROUTER_NORM, self.spec.norm_eps)?,
            router: self.own_linear(layer, streams::ROUTER)?,
            prediction: self.own_linear(layer, streams::PREDICTION)?,
            correction: self.own_linear(layer, streams::CORRECTION)?,
            output_scale: self.dense(Part::Own(layer, streams::OUTPUT_SCALE))?,
        })
    }

    pub(super) fn laurel(&mut self, index: usize) -> Result<Laurel, WeightError> {
        Ok(Laurel {
            left: self.own_linear(Some(index), laurel::LEFT)?,
            right: self.own_linear(Some(index), laurel::RIGHT)?,
            norm: self.own_norm(Some(index), laurel::NORM, self.spec.norm_eps)?,
        })
    }

    /// Experts beside a feed-forward part for all tokens. The scale of what the router sees is multiplied into its
    /// matrix once.
    pub(super) fn beside(&mut self, index: usize, mlp: &MlpSpec, spec: &ExpertsSpec) -> Result<Beside, WeightError> {
        let layer = Some(index);
        let (hidden, eps) = (self.spec.hidden, self.spec.norm_eps);
        let scale = Part::Own(layer, beside::ROUTER_SCALE);
        let failed = |this: &Self, source| this.failed(scale, source);
        let columns = (self.dense(scale)? * (hidden as f64).powf(-0.5)).map_err(|source| failed(self, source))?;
        let matrix = self.dense(Part::Own(layer, beside::ROUTER))?;
        let matrix = matrix.broadcast_mul(&columns).map_err(|source| failed(self, source))?;
        let mut experts = self.experts_with(index, spec, Linear::dense(matrix, None))?;
        experts.scales = Some(self.own_numbers(layer, beside::EXPERT_SCALES)?);
        Ok(Beside {
            dense: self.mlp(index, mlp, [LayerPart::Gate, LayerPart::Up, LayerPart::Down])?,
            dense_after: self.own_norm(layer, beside::DENSE_AFTER, eps)?,
            router_norm: Norm::plain_rms(hidden, eps).map_err(|source| failed(self, source))?,
            experts_before: self.own_norm(layer, beside::EXPERTS_BEFORE, eps)?,
            experts,
            experts_after: self.own_norm(layer, beside::EXPERTS_AFTER, eps)?,
        })
    }

    /// What leaves a layer is multiplied by this.
    pub(super) fn output_scale(&mut self, index: usize) -> Result<f64, WeightError> {
        Ok(self.own_numbers(Some(index), crate::parts::own::OUTPUT_SCALE)?.first().copied().map_or(1.0, f64::from))
    }
}
