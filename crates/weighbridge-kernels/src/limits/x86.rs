//! The instructions of the limits.

use std::arch::x86_64::*;
use std::hint::black_box;

use super::{REGISTERS, REPETITIONS, Repeated};
use crate::tier::Tier;

/// Products of bytes. Those of AVX2 are added in pairs into sixteen bits, those of AVX-512 by fours into 32.
pub(super) fn int8(tier: Tier) -> Option<Repeated> {
    match tier {
        Tier::Scalar => None,
        // SAFETY: called for a tier that the processor has.
        Tier::Avx2 => Some(Repeated { products: 32, kernel: || unsafe { maddubs() } }),
        // SAFETY: as above.
        Tier::Avx512 => Some(Repeated { products: 64, kernel: || unsafe { dpbusd() } }),
    }
}

/// Fused products of float32.
pub(super) fn f32_fused(tier: Tier) -> Option<Repeated> {
    match tier {
        Tier::Scalar => None,
        // SAFETY: called for a tier that the processor has.
        Tier::Avx2 => Some(Repeated { products: 8, kernel: || unsafe { fmadd_256() } }),
        // SAFETY: as above.
        Tier::Avx512 => Some(Repeated { products: 16, kernel: || unsafe { fmadd_512() } }),
    }
}

/// Products of bfloat16, added in pairs into float32.
pub(super) fn bf16(tier: Tier) -> Option<Repeated> {
    // SAFETY: the processor has the instruction.
    tier.has_bf16().then_some(Repeated { products: 32, kernel: || unsafe { dpbf16() } })
}

/// Repeats one instruction on registers that start as `start`, each with `by`.
macro_rules! repeated {
    ($name:ident, $features:literal, $start:expr, $by:expr, |$register:ident, $other:ident| $instruction:expr) => {
        #[target_feature(enable = $features)]
        fn $name() {
            let $other = black_box($by);
            let mut registers = black_box([$start; REGISTERS]);
            for _ in 0..REPETITIONS {
                for place in &mut registers {
                    let $register = *place;
                    *place = $instruction;
                }
            }
            black_box(registers);
        }
    };
}
repeated!(maddubs, "avx2", _mm256_set1_epi8(5), _mm256_set1_epi8(3), |x, by| _mm256_maddubs_epi16(x, by));
repeated!(fmadd_256, "avx2,fma", _mm256_set1_ps(1.0), _mm256_set1_ps(0.5), |x, by| _mm256_fmadd_ps(x, by, by));
repeated!(fmadd_512, "avx512f", _mm512_set1_ps(1.0), _mm512_set1_ps(0.5), |x, by| _mm512_fmadd_ps(x, by, by));
repeated!(dpbusd, "avx512f,avx512bw,avx512vnni", _mm512_set1_epi8(5), _mm512_set1_epi8(3), |x, by| {
    _mm512_dpbusd_epi32(x, by, by)
});
repeated!(
    dpbf16,
    "avx512f,avx512bw,avx512bf16",
    _mm512_set1_ps(1.0),
    _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5), _mm512_set1_ps(0.5)),
    |x, by| _mm512_dpbf16_ps(x, by, by)
);
