//! A register as bytes, and as lanes of them.

/// A register of so many bytes, the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Register<const N: usize>(pub(super) [u8; N]);

impl<const N: usize> Register<N> {
    /// Its lane `at`.
    pub(super) fn lane<T: Lane>(self, at: usize) -> T {
        T::of_bytes(&self.0[at * size_of::<T>()..][..size_of::<T>()])
    }

    /// Of lanes.
    pub(crate) fn of<T: Lane>(mut lane: impl FnMut(usize) -> T) -> Self {
        let mut bytes = [0; N];
        bytes.chunks_exact_mut(size_of::<T>()).enumerate().for_each(|(at, place)| lane(at).to_bytes(place));
        Self(bytes)
    }

    /// # Safety
    /// There are so many bytes.
    pub(super) unsafe fn read(place: *const u8) -> Self {
        // SAFETY: by the promise; bytes need no alignment.
        Self(unsafe { place.cast::<[u8; N]>().read() })
    }

    /// # Safety
    /// There is room for so many bytes.
    pub(super) unsafe fn write(self, place: *mut u8) {
        // SAFETY: by the promise; bytes need no alignment.
        unsafe { place.cast::<[u8; N]>().write(self.0) }
    }
}

/// A number that registers are made of.
pub(crate) trait Lane: Copy {
    fn of_bytes(bytes: &[u8]) -> Self;
    fn to_bytes(self, place: &mut [u8]);
}

macro_rules! lanes {
    ($($number:ty)*) => { $(
        impl Lane for $number {
            fn of_bytes(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("a lane has the bytes of its number"))
            }

            fn to_bytes(self, place: &mut [u8]) {
                place.copy_from_slice(&self.to_le_bytes());
            }
        }
    )* };
}
lanes! { u8 i8 u16 i16 u32 i32 f32 }
