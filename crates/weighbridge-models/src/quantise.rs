//! Checkpoints to GGUF files of smaller numbers.
//!
//! One tensor at a time is expanded to float32, put into blocks and written, so that memory holds no more than that.
//! Metadata, tokenizer and template of a GGUF file are kept as they are; those of a folder are written anew (`export`).

mod blocks;
mod mixture;
mod super_blocks;
mod target;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, process};

use half::{bf16, f16};
use rayon::prelude::*;
use thiserror::Error;
use weighbridge_kernels::MappedFile;

pub(crate) use self::mixture::Mixture;
pub use self::target::{QuantizedType, UnknownType};
use crate::bytes::Bytes;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::element::ElementType;
use crate::export::{Exported, Inexpressible};
use crate::gguf::{Gguf, GgufError, GgufHeader, GgufTensor};
use crate::load::LoadProgress;
use crate::weights::Stored;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantized {
    /// Weights by type, largest first.
    pub tensors: Vec<(String, u64)>,
    /// Size of the file.
    pub file_bytes: u64,
}

/// Why a checkpoint was not quantised.
#[derive(Debug, Error)]
pub enum QuantizeError {
    /// The checkpoint cannot be read.
    #[error("could not read {path}: {problem}")]
    Input {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A folder says what GGUF files cannot say, or not be made to say yet.
    #[error("could not write {path} as gguf: {what} {problem}")]
    Inexpressible {
        /// The folder.
        path: PathBuf,
        /// The field or part.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor cannot be taken over.
    #[error("tensor `{name}` {problem}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Something is there already.
    #[error("there is already something at {0}; remove it or name another file")]
    Exists(PathBuf),
    /// The file cannot be written.
    #[error("could not write {path}: {source}")]
    Output {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Writes the checkpoint at `input`, a GGUF file of whatever architecture or a folder of one that GGUF has, to `output`
/// with smaller numbers. The file appears under its name once it is whole.
///
/// # Errors
/// Where the input is broken, where a folder is of a kind that GGUF files cannot say or that is not written yet, where a
/// tensor is of a type that cannot be expanded, and where `output` exists or cannot be written.
pub fn quantize(
    input: &Path,
    output: &Path,
    target: QuantizedType,
    progress: &mut dyn FnMut(LoadProgress),
) -> Result<Quantized, QuantizeError> {
    if output.try_exists().unwrap_or(true) {
        return Err(QuantizeError::Exists(output.to_owned()));
    }
    let (mut header, plan) = if input.is_dir() { of_folder(input, target)? } else { of_file(input, target)? };
    header.u32("general.file_type", target.file_type());
    header.u32("general.quantization_version", 2);
    for tensor in &plan {
        header.tensor(&tensor.name, &tensor.shape, tensor.element).map_err(|problem| tensor.failed(problem))?;
    }

    let partial = partial(output);
    let written = write(&partial, header, &plan, progress).and_then(|()| {
        fs::rename(&partial, output).map_err(|source| QuantizeError::Output { path: output.to_owned(), source })
    });
    if let Err(error) = written {
        // What is left of the attempt is of no use; that it cannot be removed either is not the news.
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    let file_bytes = fs::metadata(output).map_or(0, |data| data.len());
    Ok(Quantized { tensors: by_type(&plan), file_bytes })
}

/// A tensor and what it becomes.
struct Planned {
    name: String,
    /// Outermost dimension first.
    shape: Vec<usize>,
    source: Source,
    element: ElementType,
}

/// Where the numbers of a tensor come from.
enum Source {
    /// A tensor of another file.
    Stored(Stored),
    /// Tensors of a folder.
    Exported(Exported),
}

impl Planned {
    fn failed(&self, problem: impl fmt::Display) -> QuantizeError {
        QuantizeError::Tensor { name: self.name.clone(), problem: problem.to_string() }
    }

    fn stored_bytes(&self) -> u64 {
        match &self.source {
            Source::Stored(stored) => stored.range.len() as u64,
            Source::Exported(exported) => exported.stored_bytes(),
        }
    }

    /// Its bytes in the file.
    fn bytes(&self) -> Result<Cow<'_, [u8]>, QuantizeError> {
        let numbers = match &self.source {
            Source::Stored(stored) if stored.element == self.element => return Ok(Cow::Borrowed(stored.data())),
            Source::Stored(stored) => stored.numbers(),
            Source::Exported(exported) => exported.numbers(),
        };
        let packed = pack(&numbers.map_err(|problem| self.failed(problem))?, self.element);
        packed.map(Cow::Owned).ok_or_else(|| self.failed("cannot be put into its blocks"))
    }
}

/// What is written of a GGUF file: its metadata as they are, and its tensors in their new types.
fn of_file(input: &Path, target: QuantizedType) -> Result<(GgufHeader, Vec<Planned>), QuantizeError> {
    let unreadable = |problem: String| QuantizeError::Input { path: input.to_owned(), problem };
    let file = open(input).map_err(|problem| unreadable(problem.to_string()))?;
    let mixture = mixture(&file, target).map_err(|problem| unreadable(problem.to_string()))?;
    let mut header = GgufHeader::default();
    let replaced = |key: &str| {
        let own = ["general.alignment", "general.file_type", "general.quantization_version"];
        own.contains(&key) || key.starts_with("split.")
    };
    for (_, pair) in file.pairs().filter(|(key, _)| !replaced(key)) {
        header.copied(pair);
    }
    let planned = |tensor: &GgufTensor| {
        let stored = file.stored(tensor);
        let element = mixture.choose(&tensor.name, &stored.shape, stored.element);
        Planned { name: tensor.name.clone(), shape: stored.shape.clone(), source: Source::Stored(stored), element }
    };
    let plan = file.tensors().iter().map(planned).collect();
    Ok((header, plan))
}

/// What is written of a folder. What is not quantised is written in float32, as llama.cpp expects norms and routers.
fn of_folder(input: &Path, target: QuantizedType) -> Result<(GgufHeader, Vec<Planned>), QuantizeError> {
    let unreadable =
        |error: CheckpointError| QuantizeError::Input { path: input.to_owned(), problem: error.problem().to_string() };
    let checkpoint = Checkpoint::open(input).map_err(unreadable)?;
    let (header, tensors) = checkpoint.export().map_err(unreadable)?.map_err(|Inexpressible { what, problem }| {
        QuantizeError::Inexpressible { path: input.to_owned(), what, problem }
    })?;
    let mixture = Mixture::of(checkpoint.spec(), target);
    let planned = |exported: Exported| {
        let element = mixture.choose(&exported.name, &exported.shape, ElementType::F32);
        let (name, shape) = (exported.name.clone(), exported.shape.clone());
        Planned { name, shape, source: Source::Exported(exported), element }
    };
    Ok((header, tensors.into_iter().map(planned).collect()))
}

fn open(path: &Path) -> Result<Gguf, Unreadable> {
    let map = |path: &Path| MappedFile::open(path).map(|map| Bytes::Mapped(Arc::new(map)));
    let mut file = Gguf::parse(map(path)?)?;
    file.add_parts(path, |part| match map(part) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(Unreadable::from(reason)),
    })?;
    Ok(file)
}

/// Why the input cannot be opened.
#[derive(Debug, Error)]
enum Unreadable {
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error(transparent)]
    File(#[from] io::Error),
}

fn mixture(file: &Gguf, target: QuantizedType) -> Result<Mixture, GgufError> {
    const ARCHITECTURE: &str = "general.architecture";
    let architecture = file.string(ARCHITECTURE)?.ok_or_else(|| GgufError::Missing(ARCHITECTURE.to_owned()))?;
    let number = |key: &str| file.unsigned(&format!("{architecture}.{key}"));
    Ok(Mixture {
        target,
        layers: number("block_count")?.and_then(|layers| usize::try_from(layers).ok()).unwrap_or(0),
        experts: number("expert_count")?.unwrap_or(0),
        tied: !file.has_tensor("output.weight"),
    })
}

fn write(
    path: &Path,
    header: GgufHeader,
    plan: &[Planned],
    report: &mut dyn FnMut(LoadProgress),
) -> Result<(), QuantizeError> {
    let failed = |source| QuantizeError::Output { path: path.to_owned(), source };
    let total_bytes = plan.iter().map(Planned::stored_bytes).sum();
    let mut progress = LoadProgress { done_bytes: 0, total_bytes };
    report(progress);
    let mut tensors = header.start(BufWriter::new(File::create_new(path).map_err(failed)?)).map_err(failed)?;
    for tensor in plan {
        tensors.tensor(&tensor.bytes()?).map_err(failed)?;
        progress.done_bytes += tensor.stored_bytes();
        report(progress);
    }
    let out = tensors.finish().map_err(failed)?;
    let file = out.into_inner().map_err(|reason| failed(reason.into_error()))?;
    file.sync_all().map_err(failed)
}

/// The numbers in a type; none where it is none that is written, or they are no whole number of its blocks.
pub(crate) fn pack(numbers: &[f32], element: ElementType) -> Option<Vec<u8>> {
    match element {
        ElementType::F32 => Some(numbers.iter().flat_map(|number| number.to_le_bytes()).collect()),
        ElementType::F16 => Some(numbers.iter().flat_map(|&number| f16::from_f32(number).to_le_bytes()).collect()),
        ElementType::BF16 => Some(numbers.iter().flat_map(|&number| bf16::from_f32(number).to_le_bytes()).collect()),
        ElementType::Q8_0 => each(numbers, blocks::q8_0),
        ElementType::Q5_0 => each(numbers, blocks::q5_0),
        ElementType::Q4_0 => each(numbers, blocks::q4_0),
        ElementType::Q4_K => each(numbers, super_blocks::q4_k),
        ElementType::Q6_K => each(numbers, super_blocks::q6_k),
        _ => None,
    }
}

/// Packs block by block, from `NUMBERS` to `BYTES`.
fn each<const NUMBERS: usize, const BYTES: usize>(
    numbers: &[f32],
    pack: fn(&[f32; NUMBERS], &mut [u8; BYTES]),
) -> Option<Vec<u8>> {
    let (groups, []) = numbers.as_chunks::<NUMBERS>() else { return None };
    let mut bytes = vec![0; groups.len() * BYTES];
    let (blocks, _) = bytes.as_chunks_mut::<BYTES>();
    blocks.par_iter_mut().zip(groups).for_each(|(block, group)| pack(group, block));
    Some(bytes)
}

/// The name of the file while it is written, beside its own so that renaming moves no bytes.
fn partial(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", process::id()));
    output.with_file_name(name)
}

fn by_type(plan: &[Planned]) -> Vec<(String, u64)> {
    let mut sums = BTreeMap::new();
    for tensor in plan {
        let count: u64 = tensor.shape.iter().map(|&size| size as u64).product();
        *sums.entry(tensor.element.name()).or_insert(0) += count;
    }
    let mut sums: Vec<_> = sums.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    sums.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    sums
}
