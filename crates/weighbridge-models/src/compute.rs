//! How a model is computed.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

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
}

/// A name that is not one of [`Compute::NAMES`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is no way to compute; known: float32, quantized")]
pub struct UnknownCompute(pub String);

impl Compute {
    /// The names by which configs ask for them.
    pub const NAMES: [&'static str; 2] = ["float32", "quantized"];
}

impl FromStr for Compute {
    type Err = UnknownCompute;

    /// Takes one of [`Compute::NAMES`], or `reference`, which is float32.
    fn from_str(name: &str) -> Result<Self, UnknownCompute> {
        match name {
            "float32" | "reference" => Ok(Self::Float32),
            "quantized" => Ok(Self::Quantized),
            other => Err(UnknownCompute(other.to_owned())),
        }
    }
}

impl fmt::Display for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float32 => "float32",
            Self::Quantized => "quantized",
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
        assert_eq!("reference".parse(), Ok(Compute::Float32));
        assert!("int8".parse::<Compute>().is_err());
    }
}
