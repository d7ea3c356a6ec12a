//! The header: metadata pairs, then where each tensor lies.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::reader::Reader;
use super::value::Value;
use super::{GgufError, GgufTensor};
use crate::element::ElementType;

/// The longest key that the format allows.
const KEY_BYTES_MAX: usize = 65_535;
/// The format says 64; a little more does no harm.
const TENSOR_NAME_BYTES_MAX: usize = 256;
/// The most dimensions that ggml has.
const DIMENSIONS_MAX: u32 = 4;
/// Of the data, where the metadata does not say otherwise.
const ALIGNMENT_DEFAULT: u64 = 32;
/// More than a page serves nobody, and a bound keeps the arithmetic small.
const ALIGNMENT_MAX: u64 = 1 << 20;

/// Bytes that one pair takes at least: an empty key's length, its type, and one byte of value.
const PAIR_BYTES_MIN: usize = 8 + 4 + 1;
/// Bytes that one tensor takes at least: its name's length, count of dimensions, one dimension, type and offset.
const TENSOR_BYTES_MIN: usize = 8 + 4 + 8 + 4 + 8;

pub(super) struct Header {
    pub(super) metadata: HashMap<String, Value>,
    /// Where each pair stands, key included, in the file's order.
    pub(super) pairs: Vec<(String, Range<usize>)>,
    pub(super) tensors: Vec<GgufTensor>,
}

/// A tensor whose offset still counts from the start of the data.
struct Placed {
    name: String,
    shape: Vec<usize>,
    element: ElementType,
    offset: u64,
    bytes: usize,
}

pub(super) fn read(file: &[u8]) -> Result<Header, GgufError> {
    let mut reader = Reader::new(file);
    if !file.starts_with(b"GGUF") {
        return Err(GgufError::NotGguf);
    }
    reader.take(4, "the magic number")?;
    let version = reader.u32("the version")?;
    if version != 2 && version != 3 {
        return Err(GgufError::Version(version));
    }
    // The count of pairs comes second, so only the first of the two is held against the whole rest.
    let tensor_count = reader.count(TENSOR_BYTES_MIN, "the count of tensors")?;
    let pair_count = reader.count(PAIR_BYTES_MIN, "the count of metadata pairs")?;

    let (metadata, pairs) = read_metadata(&mut reader, pair_count)?;
    let placed = read_tensors(&mut reader, tensor_count)?;
    let alignment = alignment(&metadata)?;
    let data_start = (reader.position() as u64).next_multiple_of(alignment);
    let tensors = locate(placed, data_start, alignment, file.len() as u64)?;
    check_apart(&tensors)?;
    Ok(Header { metadata, pairs, tensors })
}

/// The values of all pairs by their keys, and where the pairs stand.
type Metadata = (HashMap<String, Value>, Vec<(String, Range<usize>)>);

fn read_metadata(reader: &mut Reader<'_>, count: usize) -> Result<Metadata, GgufError> {
    let mut metadata = HashMap::new();
    let mut pairs = Vec::new();
    for index in 0..count {
        let start = reader.position();
        let key = reader.name(KEY_BYTES_MAX, &format!("the key of metadata pair {index}"))?;
        let value = Value::read(reader, key)?;
        if metadata.insert(key.to_owned(), value).is_some() {
            return Err(GgufError::field(format!("`{key}`"), "occurs twice"));
        }
        pairs.push((key.to_owned(), start..reader.position()));
    }
    Ok((metadata, pairs))
}

fn alignment(metadata: &HashMap<String, Value>) -> Result<u64, GgufError> {
    const KEY: &str = "`general.alignment`";
    match metadata.get("general.alignment") {
        None => Ok(ALIGNMENT_DEFAULT),
        Some(&Value::Unsigned(bytes)) if bytes.is_power_of_two() && (8..=ALIGNMENT_MAX).contains(&bytes) => Ok(bytes),
        Some(Value::Unsigned(bytes)) => {
            Err(GgufError::field(KEY, format!("is {bytes}; a power of two from 8 to {ALIGNMENT_MAX} is expected")))
        }
        Some(value) => Err(GgufError::field(KEY, format!("is {}, where a whole number is expected", value.kind()))),
    }
}

fn read_tensors(reader: &mut Reader<'_>, count: usize) -> Result<Vec<Placed>, GgufError> {
    let mut names = HashSet::new();
    let mut tensors = Vec::new();
    for index in 0..count {
        let name = reader.name(TENSOR_NAME_BYTES_MAX, &format!("the name of tensor {index}"))?;
        let what = format!("tensor `{name}`");
        if !names.insert(name) {
            return Err(GgufError::field(what, "occurs twice"));
        }
        let shape = read_shape(reader, &what)?;
        let element = ElementType::from_gguf(reader.u32(&what)?)
            .map_err(|number| GgufError::field(&what, format!("has the unknown type {number}")))?;
        let bytes = element.bytes_of(&shape).map_err(|problem| GgufError::field(&what, problem))?;
        let offset = reader.u64(&what)?;
        tensors.push(Placed { name: name.to_owned(), shape, element, offset, bytes });
    }
    Ok(tensors)
}

/// Dimensions come innermost first, and leave outermost first.
fn read_shape(reader: &mut Reader<'_>, what: &str) -> Result<Vec<usize>, GgufError> {
    let dimensions = reader.u32(what)?;
    if dimensions == 0 || dimensions > DIMENSIONS_MAX {
        return Err(GgufError::field(what, format!("has {dimensions} dimensions; 1 to {DIMENSIONS_MAX} are allowed")));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        let size = reader.u64(what)?;
        match usize::try_from(size) {
            Ok(size) if size > 0 => shape.push(size),
            _ => return Err(GgufError::field(what, format!("has a dimension of {size}"))),
        }
    }
    shape.reverse();
    Ok(shape)
}

/// Turns offsets into ranges of the file, all of them within it.
fn locate(placed: Vec<Placed>, data_start: u64, alignment: u64, file_bytes: u64) -> Result<Vec<GgufTensor>, GgufError> {
    let mut tensors = Vec::with_capacity(placed.len());
    for Placed { name, shape, element, offset, bytes } in placed {
        let what = format!("tensor `{name}`");
        if !offset.is_multiple_of(alignment) {
            return Err(GgufError::field(what, format!("starts at {offset}, which is no multiple of {alignment}")));
        }
        let start = data_start.checked_add(offset);
        let end = start.and_then(|start| start.checked_add(bytes as u64));
        let (Some(start), Some(end)) = (start, end) else {
            return Err(GgufError::field(what, format!("starts at {offset}, far outside the file")));
        };
        if end > file_bytes {
            return Err(GgufError::Truncated(format!("the data of {what}")));
        }
        // Both fit, for the file is in memory and they are no larger than its length.
        tensors.push(GgufTensor { name, shape, element, part: 0, range: start as usize..end as usize });
    }
    Ok(tensors)
}

fn check_apart(tensors: &[GgufTensor]) -> Result<(), GgufError> {
    let mut by_place: Vec<_> = tensors.iter().collect();
    by_place.sort_by_key(|tensor| tensor.range.start);
    for pair in by_place.windows(2) {
        if pair[0].range.end > pair[1].range.start {
            let what = format!("tensor `{}`", pair[1].name);
            return Err(GgufError::field(what, format!("overlaps tensor `{}`", pair[0].name)));
        }
    }
    Ok(())
}
