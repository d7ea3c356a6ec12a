//! The stored tensors of a checkpoint, whatever container they came in.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::{QStorage, QTensor};
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use thiserror::Error;
use weighbridge_kernels::{Cpu, PackedMatrix};

use crate::bytes::Bytes;
use crate::element::{ElementType, Form};
use crate::formats::{e4m3_to_f32, e5m2_to_f32, e8m0_to_f32};
use crate::parts::{Names, Part, Place};
use crate::quantise::pack;
use crate::scale::Scale;
use crate::spec::DecoderSpec;

/// What is wrong with the tensors of a checkpoint.
#[derive(Debug, Error)]
pub enum WeightError {
    /// A tensor that the architecture needs is not there.
    #[error("there is no tensor `{0}`")]
    Missing(String),
    /// A tensor has another shape than the config says.
    #[error("tensor `{name}` has the shape {found:?}, where the config says {wanted:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// In the file, outermost dimension first.
        found: Vec<usize>,
        /// By the config.
        wanted: Vec<usize>,
    },
    /// A tensor is stored in a type that cannot be computed.
    #[error("tensor `{name}` is stored as {element}, which is not supported yet")]
    Element {
        /// The tensor.
        name: String,
        /// The type's name.
        element: String,
    },
    /// A tensor of eight-bit floats lacks its scales, or they are of no use.
    #[error("tensor `{name}` {problem}")]
    Scale {
        /// The tensor.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The file has become shorter since it was opened.
    #[error("the file of tensor `{0}` was cut short since it was opened; put it back, or restart with another one")]
    Cut(String),
    /// Whoever wanted it wants it no more.
    #[error("the load was stopped")]
    Stopped,
    /// The processor lacks the instructions that were asked for.
    #[error(transparent)]
    Tier(#[from] weighbridge_kernels::TierError),
    /// The tensor library refused it.
    #[error("could not read tensor `{name}`")]
    Tensor {
        /// The tensor.
        name: String,
        /// What it said.
        source: candle_core::Error,
    },
}

/// One tensor as it lies in its file. Its range is known to be within the file and as long as shape and type say.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) bytes: Bytes,
    pub(crate) range: Range<usize>,
    pub(crate) element: ElementType,
    /// Outermost dimension first.
    pub(crate) shape: Vec<usize>,
    /// What its numbers are multiplied by.
    pub(crate) scale: Option<Scale>,
}

/// All tensors of a checkpoint, with the names by which a decoder asks for them.
#[derive(Debug)]
pub(crate) struct Weights {
    pub(crate) tensors: HashMap<String, Stored>,
    pub(crate) names: Names,
}

impl Stored {
    pub(crate) fn count(&self) -> u64 {
        self.shape.iter().map(|&size| size as u64).product()
    }

    /// Whether it can be multiplied in the blocks it is stored in.
    pub(crate) fn can_stay_packed(&self) -> bool {
        self.element.stays_packed(self.shape.last().copied())
    }

    /// Numbers in a type, if they are a whole number of its blocks.
    pub(crate) fn made(numbers: &[f32], element: ElementType, shape: &[usize]) -> Option<Self> {
        let bytes = Bytes::Owned(Arc::new(pack(numbers, element)?));
        Some(Self { range: 0..bytes.len(), bytes, element, shape: shape.to_owned(), scale: None })
    }

    /// As the kernels have it, where it is a matrix of a type that they know.
    pub(crate) fn for_kernels(&self, cpu: &Cpu) -> candle_core::Result<Option<PackedMatrix>> {
        if self.scale.is_some() {
            return Ok(None);
        }
        let (Some(layout), [outputs, inputs]) = (self.element.layout(), &self.shape[..]) else { return Ok(None) };
        if !inputs.is_multiple_of(layout.block()) {
            return Ok(None);
        }
        let packed = PackedMatrix::pack(layout, *outputs, *inputs, self.data(), cpu);
        packed.map(Some).map_err(candle_core::Error::wrap)
    }

    /// Some of its outermost rows, seen as a tensor of `shape`.
    fn rows(&self, rows: Range<usize>, shape: Vec<usize>) -> Self {
        let row_bytes = self.range.len() / self.shape.first().copied().unwrap_or(1).max(1);
        let start = self.range.start + rows.start * row_bytes;
        Self {
            bytes: self.bytes.clone(),
            range: start..start + rows.len() * row_bytes,
            element: self.element,
            shape,
            scale: self.scale.as_ref().map(|scale| scale.starting_at(rows.start)),
        }
    }

    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }

    /// As float32, expanded where it was packed.
    pub(crate) fn dense(&self) -> candle_core::Result<Tensor> {
        match self.element.form() {
            Form::Blocks(_) => self.packed()?.dequantize(&Device::Cpu),
            _ => Tensor::from_vec(self.numbers()?, self.shape.as_slice(), &Device::Cpu),
        }
    }

    /// All its numbers in float32, expanded where they were packed.
    pub(crate) fn numbers(&self) -> candle_core::Result<Vec<f32>> {
        let mut numbers = self.unscaled()?;
        if let Some(scale) = &self.scale {
            scale.multiply(&mut numbers, self.shape.last().copied().unwrap_or(1))?;
        }
        Ok(numbers)
    }

    fn unscaled(&self) -> candle_core::Result<Vec<f32>> {
        let data = self.data();
        let bytes = |number: fn(u8) -> f32| data.iter().map(|&byte| number(byte)).collect();
        Ok(match self.element.form() {
            Form::F32 => data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            Form::F16 => data.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
            Form::Bf16 => data.as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect(),
            Form::F8E4m3 => bytes(e4m3_to_f32),
            Form::F8E5m2 => bytes(e5m2_to_f32),
            Form::F8E8m0 => bytes(e8m0_to_f32),
            Form::Blocks(_) => self.packed()?.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1()?,
            Form::Expanded(format) => match format.expand(data) {
                Some(numbers) => numbers,
                None => candle_core::bail!("its bytes are no whole number of blocks"),
            },
            Form::Bytes | Form::Integers | Form::Unsupported => {
                candle_core::bail!("{} cannot be expanded", self.element.name())
            }
        })
    }

    pub(crate) fn packed(&self) -> candle_core::Result<QTensor> {
        let Form::Blocks(kind) = self.element.form() else {
            candle_core::bail!("{} is not a block format", self.element.name())
        };
        // Candle casts the bytes to its blocks, whose scales are two-byte floats; GGUF aligns to eight at least, so
        // only bytes that were never in a file could fail here.
        if self.data().as_ptr().align_offset(2) != 0 {
            candle_core::bail!("its bytes are not aligned")
        }
        let storage = QStorage::from_data(self.data().into(), &Device::Cpu, kind)?;
        QTensor::new(storage, self.shape.as_slice())
    }
}

impl Weights {
    /// Checks that every tensor of the decoder is there, in the shape that the spec says and a type that can be
    /// computed; gives back all of them.
    pub(crate) fn check(&self, spec: &DecoderSpec) -> Result<Vec<(Part, Stored)>, WeightError> {
        Part::all(spec, &self.names).map(|part| Ok((part, self.find(part, spec)?))).collect()
    }

    pub(crate) fn find(&self, part: Part, spec: &DecoderSpec) -> Result<Stored, WeightError> {
        let Place { name, slice } = self.names.place(part, spec);
        let Some(stored) = self.tensors.get(&name) else { return Err(WeightError::Missing(name)) };
        let shape = self.names.shape(part, spec);
        let wanted = slice.map_or_else(|| shape.clone(), |slice| slice.whole(&shape));
        // A leading 1 makes no difference, and llama.cpp's converter leaves it out where a matrix has one row.
        let essence = |shape: &[usize]| shape.iter().copied().skip_while(|&size| size == 1).collect::<Vec<_>>();
        if stored.shape != wanted && essence(&stored.shape) != essence(&wanted) {
            return Err(WeightError::Shape { name, found: stored.shape.clone(), wanted });
        }
        if stored.element.form() == Form::Unsupported {
            return Err(WeightError::Element { name, element: stored.element.name().to_owned() });
        }
        Ok(match slice {
            Some(slice) => stored.rows(slice.rows(&shape), shape),
            None => Stored { shape, ..stored.clone() },
        })
    }

    /// Checks that all files are still as long as when they were opened, which may be long ago.
    pub(crate) fn check_whole(&self) -> Result<(), WeightError> {
        match self.tensors.iter().find(|(_, stored)| !stored.bytes.is_whole()) {
            Some((name, _)) => Err(WeightError::Cut(name.clone())),
            None => Ok(()),
        }
    }

    /// Lets go of the memory that reading has filled.
    pub(crate) fn release(&self) {
        // Most tensors share a file; telling it of every one costs nothing beside reading it.
        self.tensors.values().for_each(|stored| stored.bytes.release());
    }

    /// The bytes of a weight that is stored in a way of its family's own.
    pub(crate) fn bytes(&self, part: Part, spec: &DecoderSpec) -> Result<Vec<u8>, WeightError> {
        let stored = self.find(part, spec)?;
        if stored.element.form() != Form::Bytes {
            let name = self.names.of(part);
            return Err(WeightError::Element { name, element: stored.element.name().to_owned() });
        }
        Ok(stored.data().to_vec())
    }

    /// A table of whole numbers, and the bytes it takes in the file.
    pub(crate) fn integers(&self, part: Part, spec: &DecoderSpec) -> Result<(Vec<i64>, u64), WeightError> {
        let stored = self.find(part, spec)?;
        let data = stored.data();
        let numbers = match stored.element {
            ElementType::I32 => data.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes).into()).collect(),
            ElementType::I64 => data.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect(),
            other => {
                let (name, element) = (self.names.of(part), other.name().to_owned());
                return Err(WeightError::Element { name, element });
            }
        };
        Ok((numbers, data.len() as u64))
    }

    /// A weight as float32, and the bytes it takes in the file.
    pub(crate) fn dense(&self, part: Part, spec: &DecoderSpec) -> Result<(Tensor, u64), WeightError> {
        let stored = self.find(part, spec)?;
        let tensor = stored.dense().map_err(|source| self.failed(part, source))?;
        Ok((tensor, stored.range.len() as u64))
    }

    /// A weight in the blocks it is stored in, where it can be multiplied in them.
    pub(crate) fn packed(&self, part: Part, spec: &DecoderSpec) -> Result<Option<(QTensor, u64)>, WeightError> {
        let stored = self.find(part, spec)?;
        if !stored.can_stay_packed() {
            return Ok(None);
        }
        let tensor = stored.packed().map_err(|source| self.failed(part, source))?;
        Ok(Some((tensor, stored.range.len() as u64)))
    }

    /// A matrix as the kernels have it, where they know the blocks it is stored in, and the bytes it takes in the file.
    pub(crate) fn for_kernels(
        &self,
        part: Part,
        spec: &DecoderSpec,
        cpu: &Cpu,
    ) -> Result<Option<(PackedMatrix, u64)>, WeightError> {
        let stored = self.find(part, spec)?;
        let packed = stored.for_kernels(cpu).map_err(|source| self.failed(part, source))?;
        // Its copy is there: both at once are held of one matrix alone, not of the model.
        stored.bytes.release_part(stored.range.clone());
        Ok(packed.map(|packed| (packed, stored.range.len() as u64)))
    }

    fn failed(&self, part: Part, source: candle_core::Error) -> WeightError {
        WeightError::Tensor { name: self.names.of(part), source }
    }
}
