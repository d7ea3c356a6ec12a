//! Of latent attention with an indexer: DeepSeek V3.2 and Mistral Large 4.

use super::Own;
use crate::spec::{IndexQueries, LatentSpec};

/// What one of the two calls them; of the norms and of growth first the weight or slope, then the bias or start.
pub(crate) struct IndexNames {
    pub(crate) query: &'static str,
    pub(crate) key: &'static str,
    pub(crate) key_norm: [&'static str; 2],
    pub(crate) weights: &'static str,
}

pub(crate) const DEEPSEEK: IndexNames = IndexNames {
    query: "self_attn.indexer.wq_b.weight",
    key: "self_attn.indexer.wk.weight",
    key_norm: ["self_attn.indexer.k_norm.weight", "self_attn.indexer.k_norm.bias"],
    weights: "self_attn.indexer.weights_proj.weight",
};
pub(crate) const MISTRAL: IndexNames = IndexNames {
    query: "attention.indexer.wq_b.weight",
    key: "attention.indexer.wk.weight",
    key_norm: ["attention.indexer.k_norm.weight", "attention.indexer.k_norm.bias"],
    weights: "attention.indexer.weights_proj.weight",
};
pub(crate) const INPUT_NORM: [&str; 2] =
    ["attention.indexer.q_input_norm.weight", "attention.indexer.q_input_norm.bias"];
pub(crate) const GROWTH: [&str; 2] = ["attention.indexer.ssmax_scaling.s", "attention.indexer.ssmax_scaling.b"];
pub(crate) const ATTENTION_GROWTH: [&str; 2] = ["attention.ssmax_scaling.s", "attention.ssmax_scaling.b"];

/// Those of a layer's latent attention.
pub(super) fn table(spec: &LatentSpec, hidden: usize) -> Vec<Own> {
    let mut own = Vec::new();
    if spec.growth {
        own.extend(ATTENTION_GROWTH.map(|name| (name, vec![spec.heads])));
    }
    let Some(index) = spec.index() else { return own };
    let (names, input) = match index.queries {
        IndexQueries::Compressed { rank } => (&DEEPSEEK, rank),
        IndexQueries::Stream => (&MISTRAL, hidden),
    };
    own.extend([
        (names.query, vec![index.heads * index.head_dim, input]),
        (names.key, vec![index.head_dim, hidden]),
        (names.weights, vec![index.heads, hidden]),
    ]);
    own.extend(names.key_norm.map(|name| (name, vec![index.head_dim])));
    if index.queries == IndexQueries::Stream {
        own.extend(INPUT_NORM.map(|name| (name, vec![hidden])));
        own.extend(GROWTH.map(|name| (name, vec![index.heads])));
    }
    own
}
