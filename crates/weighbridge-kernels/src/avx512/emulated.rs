//! The same sources with their instructions emulated, held against the scalar twins.

/// Instructions by name, as in `std::arch::x86_64`.
mod arch;

/// Leaves functions as they are: there is nothing to be compiled for.
macro_rules! for_avx512 {
    ($($function:item)*) => { $($function)* };
}
macro_rules! for_avx512_bf16 {
    ($($function:item)*) => { $($function)* };
}

#[expect(clippy::duplicate_mod, reason = "compiled twice on purpose, each time with other instructions")]
#[path = "blocks.rs"]
mod blocks;
#[expect(clippy::duplicate_mod, reason = "as above")]
#[path = "floats.rs"]
mod floats;
#[expect(clippy::duplicate_mod, reason = "as above")]
#[path = "formats.rs"]
mod formats;
#[expect(clippy::duplicate_mod, reason = "as above")]
#[path = "many.rs"]
mod many;
#[expect(clippy::duplicate_mod, reason = "as above")]
#[path = "single.rs"]
mod single;
#[expect(clippy::duplicate_mod, reason = "as above")]
#[path = "weights.rs"]
mod weights;

mod tests;
