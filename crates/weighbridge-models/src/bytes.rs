//! The bytes of a file, wherever they live.

use std::ops::Deref;
use std::sync::Arc;

use weighbridge_kernels::MappedFile;

/// A file's bytes: mapped from disk or carried in the binary. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Bytes {
    Mapped(Arc<MappedFile>),
    Carried(&'static [u8]),
    #[cfg(test)]
    Owned(Arc<Vec<u8>>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Carried(bytes) => bytes,
            #[cfg(test)]
            Self::Owned(bytes) => bytes,
        }
    }
}
