//! Compressed attention, and the streams that stand around it.

use super::Loader;
use crate::blocks::compressed::{Compressed, RowIndexer};
use crate::blocks::compressor::Compressor;
use crate::blocks::hyper::{Hyper, HyperHead};
use crate::blocks::norm::Norm;
use crate::parts::Part;
use crate::parts::own::compressed::{self as names, CompressorNames};
use crate::parts::own::hyper;
use crate::spec::{CompressedSpec, CompressionSpec, HyperSpec, RowIndexSpec};
use crate::weights::WeightError;

impl Loader<'_> {
    pub(super) fn compressed(&mut self, index: usize, spec: &CompressedSpec) -> Result<Compressed, WeightError> {
        let layer = Some(index);
        let eps = self.spec.norm_eps;
        let group_width = spec.query_width() / spec.groups;
        let groups = [spec.groups, spec.output_rank, group_width];
        let query_norm = self.plain_norm(Part::Own(layer, names::QUERY), spec.head_dim)?;
        Ok(Compressed {
            spec: spec.clone(),
            query_down: self.own_linear(layer, names::QUERY_DOWN)?,
            query_down_norm: self.own_norm(layer, names::QUERY_DOWN_NORM, eps)?,
            query: self.own_linear(layer, names::QUERY)?,
            query_norm,
            row: self.own_linear(layer, names::ROW)?,
            row_norm: self.own_norm(layer, names::ROW_NORM, eps)?,
            sinks: self.reshaped(Part::Own(layer, names::SINKS), &[spec.heads, 1, 1])?,
            groups: self.reshaped(Part::Own(layer, names::GROUPS), &groups)?,
            output: self.own_linear(layer, names::OUTPUT)?,
            compressor: spec
                .compression
                .map(|compression| self.compressor(index, compression, spec.head_dim, &names::ROWS))
                .transpose()?,
            indexer: match spec.compression {
                Some(CompressionSpec { index: Some(rows), .. }) => Some(self.row_indexer(index, spec, rows)?),
                _ => None,
            },
        })
    }

    fn row_indexer(
        &mut self,
        index: usize,
        spec: &CompressedSpec,
        rows: RowIndexSpec,
    ) -> Result<RowIndexer, WeightError> {
        let compression = spec.compression.unwrap_or(CompressionSpec { every: 1, overlapping: false, index: None });
        Ok(RowIndexer {
            spec: rows,
            compressor: self.compressor(index, compression, rows.head_dim, &names::INDEX_ROWS)?,
            query: self.own_linear(Some(index), names::INDEX_QUERY)?,
            weights: self.own_linear(Some(index), names::INDEX_WEIGHTS)?,
        })
    }

    fn compressor(
        &mut self,
        index: usize,
        spec: CompressionSpec,
        width: usize,
        names: &CompressorNames,
    ) -> Result<Compressor, WeightError> {
        Ok(Compressor {
            spec,
            width,
            value: self.own_linear(Some(index), names.value)?,
            gate: self.own_linear(Some(index), names.gate)?,
            bias: self.own_numbers(Some(index), names.bias)?,
            norm: self.own_norm(Some(index), names.norm, self.spec.norm_eps)?,
        })
    }

    pub(super) fn hyper(&mut self, index: usize, spec: HyperSpec) -> Result<[Hyper; 2], WeightError> {
        let [attention, feed_forward] = hyper::PARTS;
        Ok([self.hyper_part(index, spec, attention)?, self.hyper_part(index, spec, feed_forward)?])
    }

    fn hyper_part(
        &mut self,
        index: usize,
        spec: HyperSpec,
        [weights, base, scales]: [&'static str; 3],
    ) -> Result<Hyper, WeightError> {
        Ok(Hyper {
            spec,
            norm: self.plain_norm(Part::Own(Some(index), weights), spec.count * self.spec.hidden)?,
            weights: self.own_linear(Some(index), weights)?,
            base: self.own_numbers(Some(index), base)?,
            scales: self.own_numbers(Some(index), scales)?,
        })
    }

    pub(super) fn hyper_head(&mut self, spec: HyperSpec) -> Result<HyperHead, WeightError> {
        let [weights, base, scale] = hyper::HEAD;
        Ok(HyperHead {
            spec,
            norm: self.plain_norm(Part::Own(None, weights), spec.count * self.spec.hidden)?,
            weights: self.own_linear(None, weights)?,
            base: self.dense(Part::Own(None, base))?,
            scale: self.own_numbers(None, scale)?.first().copied().map_or(1.0, f64::from),
        })
    }

    /// A norm by root mean square without a weight, of what the part gives or takes.
    fn plain_norm(&self, part: Part, width: usize) -> Result<Norm, WeightError> {
        Norm::plain_rms(width, self.spec.norm_eps).map_err(|source| self.failed(part, source))
    }
}
