//! What becomes of stored weights on their way to memory.

use std::sync::Arc;

use crate::adapter::Adapter;
use crate::compute::Compute;

/// How the weights of a checkpoint are taken in.
pub(crate) struct Treatment {
    pub(crate) compute: Compute,
    pub(crate) adapter: Option<Arc<Adapter>>,
}

impl Treatment {
    /// Whether matrices in blocks stay in them.
    pub(crate) fn keeps_packed(&self) -> bool {
        self.compute == Compute::Quantized
    }
}
