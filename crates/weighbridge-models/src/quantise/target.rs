//! What there is to quantise to, and its names.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What a checkpoint is quantised to. Norms and biases stay as they are, and some matrices get more bits than the rest,
/// as in llama.cpp's mixtures of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuantizedType {
    /// All numbers as they are, 32 bits a weight: to convert a folder and lose nothing.
    F32,
    /// Half precision, 16 bits a weight.
    F16,
    /// bfloat16, 16 bits a weight.
    Bf16,
    /// 8.5 bits a weight.
    Q8_0,
    /// 6.6 bits a weight.
    Q6K,
    /// About 4.9 bits a weight: Q4_K and, where it matters, Q6_K.
    Q4KM,
    /// About 4.5 bits a weight.
    Q4_0,
}

/// A name that is not one of [`QuantizedType::NAMES`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is nothing to quantise to; known: f32, f16, bf16, q8_0, q6_k, q4_k_m, q4_0")]
pub struct UnknownType(pub String);

impl QuantizedType {
    /// The names by which it is asked for.
    pub const NAMES: [&'static str; 7] = ["f32", "f16", "bf16", "q8_0", "q6_k", "q4_k_m", "q4_0"];
    /// Those of block formats, which are computed in their blocks.
    pub const BLOCKS: [&'static str; 4] = ["q8_0", "q6_k", "q4_k_m", "q4_0"];

    /// As `general.file_type` numbers it (`llama_ftype` in `llama.h`).
    pub(super) fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::Q4KM => 15,
            Self::Q6K => 18,
            Self::Bf16 => 32,
        }
    }
}

impl FromStr for QuantizedType {
    type Err = UnknownType;

    fn from_str(name: &str) -> Result<Self, UnknownType> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "f32" => Self::F32,
            "f16" => Self::F16,
            "bf16" => Self::Bf16,
            "q8_0" => Self::Q8_0,
            "q6_k" => Self::Q6K,
            "q4_k_m" => Self::Q4KM,
            "q4_0" => Self::Q4_0,
            _ => return Err(UnknownType(name.to_owned())),
        })
    }
}

impl fmt::Display for QuantizedType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q6K => "q6_k",
            Self::Q4KM => "q4_k_m",
            Self::Q4_0 => "q4_0",
        })
    }
}
