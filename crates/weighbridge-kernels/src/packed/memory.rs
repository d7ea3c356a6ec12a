//! Memory for packed weights and pages.
//!
//! A step reads all weights once, and with pages of 4 KiB would look up each of them. Matrices of small models are
//! smaller than a huge page, so they share slabs: mapped memory on huge pages, of which each takes a part of its own.
//! New pages are zeros that the system makes when they are first written: by the threads that pack, not by one alone.

use std::sync::{Arc, Mutex, PoisonError, Weak};

#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::MmapMut;

/// From this size on memory is a part of a slab. What is smaller is no loss on small pages.
const PART_BYTES: usize = 256 << 10;
/// Addresses of a slab; it takes memory for what is written alone. What is larger than half of it has one of its own.
const SLAB_BYTES: usize = 64 << 20;

/// A multiple of the size of a small page on every machine.
#[cfg(target_os = "linux")]
const SMALL_PAGE_BYTES: usize = 64 << 10;

/// The slab that parts are taken of while any of its parts lives, and how much of it is taken.
static CURRENT: Mutex<(Weak<Slab>, usize)> = Mutex::new((Weak::new(), 0));

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
    Part(Part),
}

/// A part of a slab that nobody else has. Its memory goes with it, its addresses with the last part of the slab.
#[derive(Debug)]
pub(crate) struct Part {
    slab: Arc<Slab>,
    start: usize,
    length: usize,
}

#[derive(Debug)]
struct Slab {
    start: *mut u8,
    length: usize,
    /// Whose bytes these are. Nobody looks at them through it: that would be a look at all parts at once.
    map: MmapMut,
}

// SAFETY: the pointer is to the map beside it, whose bytes any thread may use; a byte of it belongs to one part alone.
unsafe impl Send for Slab {}
// SAFETY: as above, and a slab by itself gives out no byte.
unsafe impl Sync for Slab {}

impl Memory {
    /// So many zeros, a multiple of 64.
    pub(crate) fn zeros(bytes: usize) -> Self {
        if bytes >= PART_BYTES
            && let Some(part) = Part::take(bytes.next_multiple_of(64))
        {
            return Self::Part(part);
        }
        Self::Lines(vec![Line { _bytes: [0; 64] }; bytes.div_ceil(64)])
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            // SAFETY: a `Line` is 64 bytes without padding, and a byte needs no alignment.
            Self::Lines(lines) => unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 64) },
            // SAFETY: a part lies within its slab (`Part::take`), which it keeps alive, and what is borrowed here is
            // this part, of which there is one.
            Self::Part(part) => unsafe { std::slice::from_raw_parts(part.slab.start.add(part.start), part.length) },
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            // SAFETY: as above, and any bytes make a `Line`.
            Self::Lines(lines) => unsafe {
                std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 64)
            },
            // SAFETY: as above, and the part is borrowed for this alone; the map is written through no other pointer.
            Self::Part(part) => unsafe { std::slice::from_raw_parts_mut(part.slab.start.add(part.start), part.length) },
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

impl Part {
    /// So many zeros, a multiple of 64; none where the system has no memory to map.
    fn take(length: usize) -> Option<Self> {
        if length > SLAB_BYTES / 2 {
            return Some(Self { slab: Slab::new(length)?, start: 0, length });
        }
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        let (slab, start) = match current.0.upgrade() {
            Some(slab) if length <= slab.length - current.1 => (slab, current.1),
            _ => (Slab::new(SLAB_BYTES)?, 0),
        };
        *current = (Arc::downgrade(&slab), start + length);
        Some(Self { slab, start, length })
    }
}

/// The last part takes the slab along; before that, parts of other models may live on in it.
impl Drop for Part {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        if Arc::strong_count(&self.slab) > 1 {
            let start = self.start.next_multiple_of(SMALL_PAGE_BYTES);
            let end = (self.start + self.length) / SMALL_PAGE_BYTES * SMALL_PAGE_BYTES;
            if start < end {
                // SAFETY: the range lies within this part (`Part::take`), which nobody borrows as it is dropped, and
                // is never made a part again, so that nobody sees that its bytes have become zeros.
                let _ = unsafe {
                    self.slab.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start)
                };
            }
        }
    }
}

impl Slab {
    fn new(length: usize) -> Option<Arc<Self>> {
        let mut map = MmapMut::map_anon(length).ok()?;
        // It is a wish; small pages do as well.
        #[cfg(target_os = "linux")]
        let _ = map.advise(Advice::HugePage);
        Some(Arc::new(Self { start: map.as_mut_ptr(), length, map }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_memory_of_a_part_goes_with_it_and_leaves_its_neighbours_alone() {
        let resident = |memory: &Memory| {
            let smaps = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
            let _ = memory.bytes()[0];
            smaps.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
        };
        let size = SLAB_BYTES / 4;
        let mut parts: Vec<Memory> = (0..8).map(|_| Memory::zeros(size)).collect();
        parts.iter_mut().zip(1..).for_each(|(part, number)| part.bytes_mut().fill(number));
        let last = parts.pop().unwrap_or_else(|| Memory::zeros(64));
        let first = parts.swap_remove(0);
        let before = resident(&first);
        drop(parts);
        // Other tests of this process take and give memory meanwhile, of which half is left out of account.
        assert!(before.saturating_sub(resident(&first)) > 3 * size, "the memory of six parts stays");
        assert!(first.bytes().iter().all(|&byte| byte == 1) && last.bytes().iter().all(|&byte| byte == 8));
    }

    #[test]
    fn parts_are_zeros_of_their_own_that_start_on_a_line() {
        let sizes = [64, PART_BYTES, PART_BYTES + 64, SLAB_BYTES / 2, SLAB_BYTES / 2 + 64, 3 << 20, PART_BYTES];
        let mut parts: Vec<Memory> = sizes.into_iter().map(Memory::zeros).collect();
        for (number, part) in parts.iter_mut().enumerate() {
            assert!(part.bytes().len() == sizes[number] && part.bytes().iter().all(|&byte| byte == 0));
            assert!(part.bytes().as_ptr().cast::<Line>().is_aligned());
            part.bytes_mut().fill(number as u8 + 1);
        }
        for (number, part) in parts.iter().enumerate() {
            assert!(part.bytes().iter().all(|&byte| byte == number as u8 + 1));
        }
    }
}
