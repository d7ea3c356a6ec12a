//! The kernels for AVX-512, and how they are tested without it.
//!
//! The sources here take their instructions from `super::arch` and are compiled twice: as they run, with those of
//! `std::arch`, and for tests in [`emulated`], with the same instructions written out over plain bytes. So they are
//! held against their scalar twins to the last bit on every x86-64 machine (ADR 0013).
//!
//! There are no closures around instructions: one that is not inlined early is compiled without the features, and every
//! instruction in it becomes a call.

use std::arch::x86_64 as arch;

/// Compiles functions for this tier; all that they call is inlined into them. The emulation has a macro of the same
/// name, which leaves functions as they are.
macro_rules! for_avx512 {
    ($($function:item)*) => {
        $(#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")] $function)*
    };
}

/// The same where bfloat16 is multiplied too.
macro_rules! for_avx512_bf16 {
    ($($function:item)*) => {
        $(#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,avx2,fma,f16c")] $function)*
    };
}

pub(crate) mod blocks;
#[cfg(test)]
mod emulated;
pub(crate) mod floats;
mod formats;
mod many;
mod single;
mod weights;
