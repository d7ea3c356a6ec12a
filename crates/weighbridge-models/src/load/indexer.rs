//! Indexers, and queries that grow with the logarithm of their position.

use super::Loader;
use crate::blocks::indexer::{Growth, Indexer};
use crate::blocks::norm::Norm;
use crate::parts::Part;
use crate::parts::own::index::{self as names};
use crate::spec::{IndexQueries, IndexSpec};
use crate::weights::WeightError;

/// Of the norms of an indexer: `DeepseekV32Indexer` and `MistralLarge4TextIndexer` of transformers.
const NORM_EPS: f32 = 1e-6;

impl Loader<'_> {
    pub(super) fn indexer(&mut self, index: usize, spec: &IndexSpec) -> Result<Indexer, WeightError> {
        let is_of_stream = spec.queries == IndexQueries::Stream;
        let own = if is_of_stream { &names::MISTRAL } else { &names::DEEPSEEK };
        let hidden = self.spec.hidden;
        Ok(Indexer {
            spec: spec.clone(),
            input_norm: if is_of_stream { Some(self.layer_norm_of(index, names::INPUT_NORM, hidden)?) } else { None },
            query: self.own_linear(Some(index), own.query)?,
            growth: if is_of_stream { Some(self.growth(index, names::GROWTH)?) } else { None },
            key: self.own_linear(Some(index), own.key)?,
            key_norm: self.layer_norm_of(index, own.key_norm, spec.head_dim)?,
            weights: self.own_linear(Some(index), own.weights)?,
        })
    }

    pub(super) fn growth(&mut self, index: usize, [slopes, starts]: [&'static str; 2]) -> Result<Growth, WeightError> {
        Ok(Growth { slopes: self.own_numbers(Some(index), slopes)?, starts: self.own_numbers(Some(index), starts)? })
    }

    /// A norm by mean and deviation, whatever the decoder's norms are.
    fn layer_norm_of(
        &mut self,
        index: usize,
        [weight, bias]: [&'static str; 2],
        width: usize,
    ) -> Result<Norm, WeightError> {
        let part = Part::Own(Some(index), weight);
        let weight = self.dense(part)?;
        let bias = self.dense(Part::Own(Some(index), bias))?;
        Norm::layer(width, Some(weight), Some(bias), NORM_EPS).map_err(|source| self.failed(part, source))
    }
}
