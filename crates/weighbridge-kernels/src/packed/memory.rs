//! Memory for packed weights and pages.

#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::MmapMut;

/// From this size on memory is mapped by itself, on huge pages where the system has them: a step reads all weights once,
/// and with pages of 4 KiB would look up each of them.
const MAPPED_BYTES: usize = 4 << 20;

/// A cache line, so that tiles start on one.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Line {
    _bytes: [u8; 64],
}

/// Bytes that start on a cache line.
#[derive(Debug)]
pub(crate) enum Memory {
    Lines(Vec<Line>),
    Mapped(MmapMut),
}

impl Memory {
    /// So many zeros, a multiple of 64.
    pub(crate) fn zeros(bytes: usize) -> Self {
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

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            // SAFETY: a `Line` is 64 bytes without padding, and a byte needs no alignment.
            Self::Lines(lines) => unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 64) },
            Self::Mapped(map) => map,
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            // SAFETY: as above, and any bytes make a `Line`.
            Self::Lines(lines) => unsafe {
                std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 64)
            },
            Self::Mapped(map) => map,
        }
    }

    /// So many numbers, of which it is made larger where it has fewer; what they are is left open.
    pub(crate) fn floats(&mut self, count: usize) -> &mut [f32] {
        if self.bytes().len() < count * 4 {
            *self = Self::zeros((count * 4).next_power_of_two());
        }
        // SAFETY: any four bytes are a float32, and a float32 is four bytes. Nothing is cut off in front, where a cache
        // line begins.
        &mut unsafe { self.bytes_mut().align_to_mut() }.1[..count]
    }
}
