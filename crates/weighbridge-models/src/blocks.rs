//! The parts of a decoder's computation, each once for all families, in candle's operators and float32: plain enough
//! to check against the papers, exact enough to be the oracle of faster ones.

pub(crate) mod attention;
pub(crate) mod compressed;
pub(crate) mod compressor;
pub(crate) mod delta;
pub(crate) mod embedding;
pub(crate) mod experts;
pub(crate) mod feed_forward;
pub(crate) mod hyper;
pub(crate) mod indexer;
pub(crate) mod latent;
pub(crate) mod linear;
pub(crate) mod mask;
pub(crate) mod norm;
pub(crate) mod per_layer;
pub(crate) mod rope;
pub(crate) mod router;
pub(crate) mod single;
pub(crate) mod streams;

use candle_core::{Result, Tensor};

/// `x` times a scale that is 1 in most models.
pub(crate) fn scaled(x: Tensor, scale: f64) -> Result<Tensor> {
    if scale == 1.0 { Ok(x) } else { x * scale }
}
