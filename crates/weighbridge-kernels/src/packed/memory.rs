//! Memory for packed weights.

#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::MmapMut;

/// From this size on memory is mapped by itself, on huge pages where the system has them: a step reads all weights once,
/// and with pages of 4 KiB would look up each of them.
const MAPPED_BYTES: usize = 4 << 20;

/// A cache line, so that tiles start on one.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Line {
    _bytes: [u8; 64],
}

/// Bytes that start on a cache line.
#[derive(Debug)]
pub(super) enum Memory {
    Lines(Vec<Line>),
    Mapped(MmapMut),
}

impl Memory {
    /// So many zeros, a multiple of 64.
    pub(super) fn zeros(bytes: usize) -> Self {
        if bytes >= MAPPED_BYTES
            && let Ok(map) = MmapMut::map_anon(bytes)
        {
            // It is a wish; small pages do as well.
            #[cfg(target_os = "linux")]
            let _ = map.advise(Advice::HugePage);
            return Self::Mapped(map);
        }
        Self::Lines(vec![Line { _bytes: [0; 64] }; bytes.div_ceil(64)])
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            // SAFETY: a `Line` is 64 bytes without padding, and a byte needs no alignment.
            Self::Lines(lines) => unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 64) },
            Self::Mapped(map) => map,
        }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            // SAFETY: as above, and any bytes make a `Line`.
            Self::Lines(lines) => unsafe {
                std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 64)
            },
            Self::Mapped(map) => map,
        }
    }
}
