//! What the numbers of a tensor are stored as.

use candle_core::quantized::GgmlDType;
use weighbridge_kernels::Layout;

use crate::formats::Format;

/// A stored type. Those that nothing here expands are known by name and size, so that a file that holds one is refused
/// for that reason and by that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ElementType {
    name: &'static str,
    /// Numbers in one block.
    block: usize,
    /// Bytes of one block.
    block_bytes: usize,
    form: Form,
}

/// How its blocks become float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    F32,
    F16,
    Bf16,
    /// The eight-bit floats, times a scale where there is one beside them.
    F8E4m3,
    F8E5m2,
    /// Powers of two, which scale others.
    F8E8m0,
    /// One of ggml's block formats that candle knows, and can multiply as it is.
    Blocks(GgmlDType),
    /// One of ggml's block formats that is expanded here.
    Expanded(Format),
    /// Bytes that mean something to their family alone.
    Bytes,
    /// Whole numbers, for tables.
    Integers,
    /// Known, but nothing here expands it.
    Unsupported,
}

/// Candle's packed products take their blocks of 32 in pairs, so rows of an odd number of blocks are expanded.
const PACKED_COLUMNS: usize = 64;

/// Above the number of any type of ggml.
const GGUF_NUMBERS: u32 = 64;

impl ElementType {
    pub(crate) const F32: Self = Self::plain("F32", 4, Form::F32);
    pub(crate) const F16: Self = Self::plain("F16", 2, Form::F16);
    pub(crate) const BF16: Self = Self::plain("BF16", 2, Form::Bf16);
    pub(crate) const F8_E4M3: Self = Self::plain("F8_E4M3", 1, Form::F8E4m3);
    pub(crate) const F8_E5M2: Self = Self::plain("F8_E5M2", 1, Form::F8E5m2);
    pub(crate) const F8_E8M0: Self = Self::plain("F8_E8M0", 1, Form::F8E8m0);
    pub(crate) const I32: Self = Self::plain("I32", 4, Form::Integers);
    pub(crate) const I64: Self = Self::plain("I64", 8, Form::Integers);
    pub(crate) const U8: Self = Self::plain("U8", 1, Form::Bytes);

    pub(crate) const Q4_0: Self = Self::blocks("Q4_0", 32, 18, GgmlDType::Q4_0);
    pub(crate) const Q5_0: Self = Self::blocks("Q5_0", 32, 22, GgmlDType::Q5_0);
    pub(crate) const Q8_0: Self = Self::blocks("Q8_0", 32, 34, GgmlDType::Q8_0);
    pub(crate) const Q4_K: Self = Self::blocks("Q4_K", 256, 144, GgmlDType::Q4K);
    pub(crate) const Q6_K: Self = Self::blocks("Q6_K", 256, 210, GgmlDType::Q6K);

    const fn plain(name: &'static str, bytes: usize, form: Form) -> Self {
        Self { name, block: 1, block_bytes: bytes, form }
    }

    const fn blocks(name: &'static str, block: usize, block_bytes: usize, kind: GgmlDType) -> Self {
        Self { name, block, block_bytes, form: Form::Blocks(kind) }
    }

    const fn expanded(name: &'static str, block: usize, block_bytes: usize, format: Format) -> Self {
        Self { name, block, block_bytes, form: Form::Expanded(format) }
    }

    /// A type that can be located but not computed.
    pub(crate) const fn unsupported(name: &'static str, block: usize, block_bytes: usize) -> Self {
        Self { name, block, block_bytes, form: Form::Unsupported }
    }

    /// The type that ggml numbers so, with the sizes of `ggml-common.h`.
    ///
    /// # Errors
    /// The number itself, where nothing is known by it.
    pub(crate) fn from_gguf(number: u32) -> Result<Self, u32> {
        Ok(match number {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::blocks("Q4_1", 32, 20, GgmlDType::Q4_1),
            6 => Self::Q5_0,
            7 => Self::blocks("Q5_1", 32, 24, GgmlDType::Q5_1),
            8 => Self::Q8_0,
            9 => Self::unsupported("Q8_1", 32, 36),
            10 => Self::blocks("Q2_K", 256, 84, GgmlDType::Q2K),
            11 => Self::blocks("Q3_K", 256, 110, GgmlDType::Q3K),
            12 => Self::Q4_K,
            13 => Self::blocks("Q5_K", 256, 176, GgmlDType::Q5K),
            14 => Self::Q6_K,
            15 => Self::unsupported("Q8_K", 256, 292),
            16 => Self::expanded("IQ2_XXS", 256, 66, Format::Iq2Xxs),
            17 => Self::expanded("IQ2_XS", 256, 74, Format::Iq2Xs),
            18 => Self::expanded("IQ3_XXS", 256, 98, Format::Iq3Xxs),
            19 => Self::expanded("IQ1_S", 256, 50, Format::Iq1S),
            20 => Self::expanded("IQ4_NL", 32, 18, Format::Iq4Nl),
            21 => Self::expanded("IQ3_S", 256, 110, Format::Iq3S),
            22 => Self::expanded("IQ2_S", 256, 82, Format::Iq2S),
            23 => Self::expanded("IQ4_XS", 256, 136, Format::Iq4Xs),
            24 => Self::unsupported("I8", 1, 1),
            25 => Self::unsupported("I16", 1, 2),
            26 => Self::unsupported("I32", 1, 4),
            27 => Self::unsupported("I64", 1, 8),
            28 => Self::unsupported("F64", 1, 8),
            29 => Self::expanded("IQ1_M", 256, 56, Format::Iq1M),
            30 => Self::BF16,
            34 => Self::expanded("TQ1_0", 256, 54, Format::Tq1_0),
            35 => Self::expanded("TQ2_0", 256, 66, Format::Tq2_0),
            39 => Self::expanded("MXFP4", 32, 17, Format::Mxfp4),
            other => return Err(other),
        })
    }

    /// The number by which ggml knows it, if it does.
    pub(crate) fn gguf_number(self) -> Option<u32> {
        (0..GGUF_NUMBERS).find(|&number| Self::from_gguf(number) == Ok(self))
    }

    pub(crate) fn name(self) -> &'static str {
        self.name
    }

    /// Numbers in one block; 1 of those that come without blocks.
    #[cfg(test)]
    pub(crate) fn block(self) -> usize {
        self.block
    }

    /// Whether rows of so many numbers are whole blocks.
    pub(crate) fn fits(self, columns: usize) -> bool {
        columns.is_multiple_of(self.block)
    }

    pub(crate) fn form(self) -> Form {
        self.form
    }

    /// Whether every number is a float of its own.
    pub(crate) fn is_float(self) -> bool {
        matches!(self.form, Form::F32 | Form::F16 | Form::Bf16)
    }

    /// Whether a matrix with rows of so many numbers can be multiplied in its blocks.
    pub(crate) fn stays_packed(self, columns: Option<usize>) -> bool {
        matches!(self.form, Form::Blocks(_)) && columns.unwrap_or(1).is_multiple_of(PACKED_COLUMNS)
    }

    /// How the kernels pack it, where they know it.
    pub(crate) fn layout(self) -> Option<Layout> {
        Some(match self.form {
            Form::F32 => Layout::F32,
            Form::F16 => Layout::F16,
            Form::Bf16 => Layout::Bf16,
            Form::Blocks(GgmlDType::Q4_0) => Layout::Q4_0,
            Form::Blocks(GgmlDType::Q4_1) => Layout::Q4_1,
            Form::Blocks(GgmlDType::Q5_0) => Layout::Q5_0,
            Form::Blocks(GgmlDType::Q5_1) => Layout::Q5_1,
            Form::Blocks(GgmlDType::Q8_0) => Layout::Q8_0,
            Form::Blocks(GgmlDType::Q4K) => Layout::Q4K,
            Form::Blocks(GgmlDType::Q5K) => Layout::Q5K,
            Form::Blocks(GgmlDType::Q6K) => Layout::Q6K,
            Form::Expanded(Format::Mxfp4) => Layout::Mxfp4,
            Form::Expanded(Format::Iq4Nl) => Layout::Iq4Nl,
            Form::Expanded(Format::Iq4Xs) => Layout::Iq4Xs,
            _ => return None,
        })
    }

    /// Whether the kernels have a matrix with rows of so many numbers at the bits of its file.
    pub(crate) fn packs(self, columns: Option<usize>) -> bool {
        self.layout().is_some_and(|layout| columns.unwrap_or(1).is_multiple_of(layout.block()))
    }

    /// Whether something here can compute it.
    pub(crate) fn is_supported(self) -> bool {
        self.form != Form::Unsupported
    }

    /// Bytes of so many numbers in whole blocks.
    pub(crate) fn bytes_for(self, count: u64) -> u64 {
        count / self.block as u64 * self.block_bytes as u64
    }

    /// Bytes of a tensor of this shape, outermost dimension first.
    ///
    /// # Errors
    /// What is wrong with the shape: rows that are no whole number of blocks, or a size that no machine holds.
    pub(crate) fn bytes_of(self, shape: &[usize]) -> Result<usize, String> {
        let row = shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(self.block) {
            return Err(format!("has rows of {row} numbers, but {} comes in blocks of {}", self.name, self.block));
        }
        shape
            .iter()
            .try_fold(1_usize, |product, &size| product.checked_mul(size))
            .and_then(|count| (count / self.block).checked_mul(self.block_bytes))
            .ok_or_else(|| "has dimensions whose product overflows".to_owned())
    }
}
