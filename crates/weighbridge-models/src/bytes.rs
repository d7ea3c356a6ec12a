//! The bytes of a file, wherever they live.

use std::ops::{Deref, Range};
use std::sync::Arc;

use weighbridge_kernels::MappedFile;

/// Bytes of weights: mapped from disk, carried in the binary, or made as they load. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Bytes {
    Mapped(Arc<MappedFile>),
    Carried(&'static [u8]),
    /// Made here, of what was in a file.
    Owned(Arc<Vec<u8>>),
}

impl Bytes {
    /// Whether a mapped file is still as long as it was.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Self::Mapped(map) => map.is_whole(),
            Self::Carried(_) | Self::Owned(_) => true,
        }
    }

    /// Lets go of the memory that reading a mapped file has filled.
    pub(crate) fn release(&self) {
        if let Self::Mapped(map) = self {
            map.release();
        }
    }

    /// The same of a part of it, which must lie within it.
    pub(crate) fn release_part(&self, part: Range<usize>) {
        if let Self::Mapped(map) = self {
            map.release_part(part);
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Carried(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}
