//! Of compressed attention: DeepSeek V4.

use super::Own;
use crate::spec::CompressedSpec;

pub(crate) const QUERY_DOWN: &str = "attn.wq_a.weight";
pub(crate) const QUERY_DOWN_NORM: &str = "attn.q_norm.weight";
pub(crate) const QUERY: &str = "attn.wq_b.weight";
pub(crate) const ROW: &str = "attn.wkv.weight";
pub(crate) const ROW_NORM: &str = "attn.norm.weight";
pub(crate) const SINKS: &str = "attn.attn_sink";
pub(crate) const GROUPS: &str = "attn.wo_a.weight";
pub(crate) const OUTPUT: &str = "attn.wo_b.weight";
pub(crate) const INDEX_QUERY: &str = "attn.indexer.wq_b.weight";
pub(crate) const INDEX_WEIGHTS: &str = "attn.indexer.weights_proj.weight";

/// What sums up runs of tokens.
pub(crate) struct CompressorNames {
    pub(crate) value: &'static str,
    pub(crate) gate: &'static str,
    pub(crate) bias: &'static str,
    pub(crate) norm: &'static str,
}

pub(crate) const ROWS: CompressorNames = CompressorNames {
    value: "attn.compressor.wkv.weight",
    gate: "attn.compressor.wgate.weight",
    bias: "attn.compressor.ape",
    norm: "attn.compressor.norm.weight",
};
pub(crate) const INDEX_ROWS: CompressorNames = CompressorNames {
    value: "attn.indexer.compressor.wkv.weight",
    gate: "attn.indexer.compressor.wgate.weight",
    bias: "attn.indexer.compressor.ape",
    norm: "attn.indexer.compressor.norm.weight",
};

/// Those of a layer's compressed attention.
pub(super) fn table(spec: &CompressedSpec, hidden: usize) -> Vec<Own> {
    let CompressedSpec { head_dim, query_rank, groups, output_rank, .. } = *spec;
    let mut own = vec![
        (QUERY_DOWN, vec![query_rank, hidden]),
        (QUERY_DOWN_NORM, vec![query_rank]),
        (QUERY, vec![spec.query_width(), query_rank]),
        (ROW, vec![head_dim, hidden]),
        (ROW_NORM, vec![head_dim]),
        (SINKS, vec![spec.heads]),
        (GROUPS, vec![groups * output_rank, spec.query_width() / groups]),
        (OUTPUT, vec![hidden, groups * output_rank]),
    ];
    let Some(compression) = spec.compression else { return own };
    let compressor = |names: &CompressorNames, width: usize| {
        let given = compression.series() * width;
        [
            (names.value, vec![given, hidden]),
            (names.gate, vec![given, hidden]),
            (names.bias, vec![compression.every, given]),
            (names.norm, vec![width]),
        ]
    };
    own.extend(compressor(&ROWS, head_dim));
    if let Some(index) = compression.index {
        own.extend(compressor(&INDEX_ROWS, index.head_dim));
        own.push((INDEX_QUERY, vec![index.heads * index.head_dim, query_rank]));
        own.push((INDEX_WEIGHTS, vec![index.heads, hidden]));
    }
    own
}
