//! How a model is computed.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use weighbridge_kernels::{KvType, Rounding, Tier};

/// How the weights are held and multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compute {
    /// Weights expanded to float32 and multiplied exactly: four bytes a weight, and the model's own answers.
    #[default]
    Float32,
    /// Weights kept in the blocks of a GGUF file and multiplied by candle's quantised product, which rounds
    /// activations to eight bits: for models too large to expand. What is not stored in blocks is float32 as well.
    /// It saves memory, not always time: candle 0.11 has tiled products on x86 for Q4_K, Q6_K and Q8_0, and none for
    /// Q4_1, of which SmolLM2-135M takes 1.5 times as long for a token as in float32 and 8 times for a prompt.
    Quantized,
    /// On kernels of our own, with weights at the bits they have in their file. Where a file stores a matrix in a type
    /// that they have no packing for, it is expanded to float32.
    Cpu {
        /// What activations are rounded to.
        precision: Precision,
        /// Which instructions are used; the best that the processor has where none is named.
        tier: Option<Tier>,
        /// What keys and values are kept as; where nothing is named, what `precision` says.
        kv: Option<KvType>,
    },
}

/// How exactly the `cpu` computation multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Weights widened to float32, keys and values in float32: as the reference computation, up to the order of sums.
    F32,
    /// Packed weights times activations of 16 bits with a scale for each 32 or 256, keys and values in half precision.
    #[default]
    Exact,
    /// The same with activations of 8 bits, but of 16 for attention's queries, keys and values; for weights of bfloat16,
    /// activations of bfloat16 where the processor multiplies it.
    Fast,
}

/// A name that is not one of [`Compute::NAMES`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is no way to compute; known: cpu, float32, quantized")]
pub struct UnknownCompute(pub String);

/// A name that is not one of [`Precision::NAMES`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is no precision; known: f32, exact, fast")]
pub struct UnknownPrecision(pub String);

impl Compute {
    /// The names by which configs ask for them.
    pub const NAMES: [&'static str; 3] = ["cpu", "float32", "quantized"];

    /// On the kernels with this precision, with the best instructions there are.
    pub fn cpu(precision: Precision) -> Self {
        Self::Cpu { precision, tier: None, kv: None }
    }

    /// What the kernels keep keys and values as.
    pub(crate) fn kv_type(self) -> KvType {
        match self {
            Self::Cpu { precision, kv, .. } => kv.unwrap_or(precision.kv_type()),
            Self::Float32 | Self::Quantized => KvType::F32,
        }
    }
}

impl Precision {
    /// The names by which configs ask for them.
    pub const NAMES: [&'static str; 3] = ["f32", "exact", "fast"];

    /// How activations are rounded before they meet weights in blocks.
    pub(crate) fn rounding(self) -> Rounding {
        match self {
            Self::F32 => Rounding::None,
            Self::Exact => Rounding::Bits16,
            Self::Fast => Rounding::Bits8,
        }
    }

    /// What keys and values are kept as where nothing else is said.
    fn kv_type(self) -> KvType {
        match self {
            Self::F32 => KvType::F32,
            Self::Exact | Self::Fast => KvType::F16,
        }
    }
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Self, UnknownPrecision> {
        match name {
            "f32" => Ok(Self::F32),
            "exact" => Ok(Self::Exact),
            "fast" => Ok(Self::Fast),
            other => Err(UnknownPrecision(other.to_owned())),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Exact => "exact",
            Self::Fast => "fast",
        })
    }
}

impl FromStr for Compute {
    type Err = UnknownCompute;

    /// Takes one of [`Compute::NAMES`], or `reference`, which is float32.
    fn from_str(name: &str) -> Result<Self, UnknownCompute> {
        match name {
            "float32" | "reference" => Ok(Self::Float32),
            "quantized" => Ok(Self::Quantized),
            "cpu" => Ok(Self::cpu(Precision::default())),
            other => Err(UnknownCompute(other.to_owned())),
        }
    }
}

impl fmt::Display for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float32 => "float32",
            Self::Quantized => "quantized",
            Self::Cpu { .. } => "cpu",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_it_is_shown() {
        for name in Compute::NAMES {
            assert_eq!(name.parse::<Compute>().map(|compute| compute.to_string()), Ok(name.to_owned()));
        }
        for name in Precision::NAMES {
            assert_eq!(name.parse::<Precision>().map(|precision| precision.to_string()), Ok(name.to_owned()));
        }
        assert_eq!("reference".parse(), Ok(Compute::Float32));
        assert!("int8".parse::<Compute>().is_err());
    }
}
