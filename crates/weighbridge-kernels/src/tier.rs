//! Which instructions the kernels use.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A set of instructions that the kernels are written for. All of them give the same numbers to the last bit, but where
/// [`Rounding::Bf16`](crate::Rounding) is asked for, which only some can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// What every machine has: the plain twin of every kernel, which the others are held against.
    Scalar,
    /// AVX2, FMA and F16C: x86 machines since 2013.
    Avx2,
    /// AVX-512 F, BW, VL, DQ and VNNI beside those: AMD since Zen 4 (2022), Intel's servers since Cascade Lake (2019).
    Avx512,
}

/// A tier that does not run here, or does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TierError {
    /// This processor lacks its instructions.
    #[error("this processor has no {0}; the best tier it has is {best}", best = Tier::best())]
    Unavailable(Tier),
    /// No tier is called so.
    #[error("there is no tier `{0}`; choose scalar, avx2 or avx512")]
    Unknown(String),
}

impl Tier {
    /// All of them, the plainest first.
    pub const ALL: [Self; 3] = [Self::Scalar, Self::Avx2, Self::Avx512];

    /// The best one that this processor has.
    pub fn best() -> Self {
        Self::ALL.into_iter().rev().find(|tier| tier.is_available()).unwrap_or(Self::Scalar)
    }

    /// Whether this processor has its instructions.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// Whether the kernels of this tier multiply bfloat16 on this processor (`avx512_bf16`: Zen 4, Cooper Lake).
    pub fn has_bf16(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self == Self::Avx512 && self.is_available() && is_x86_feature_detected!("avx512bf16");
        #[cfg(not(target_arch = "x86_64"))]
        false
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        })
    }
}

impl FromStr for Tier {
    type Err = TierError;

    fn from_str(name: &str) -> Result<Self, TierError> {
        let found = Self::ALL.into_iter().find(|tier| tier.to_string() == name);
        found.ok_or_else(|| TierError::Unknown(name.chars().take(32).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_goes_by_its_name() {
        for tier in Tier::ALL {
            assert_eq!(tier.to_string().parse(), Ok(tier));
        }
        assert_eq!("sse9".parse::<Tier>(), Err(TierError::Unknown("sse9".to_owned())));
    }

    #[test]
    fn the_best_tier_is_there() {
        assert!(Tier::best().is_available());
    }

    #[test]
    fn what_has_a_tier_has_those_below_it() {
        assert!(!Tier::Avx512.is_available() || Tier::Avx2.is_available());
        assert!(!Tier::Scalar.has_bf16() && !Tier::Avx2.has_bf16());
    }
}
