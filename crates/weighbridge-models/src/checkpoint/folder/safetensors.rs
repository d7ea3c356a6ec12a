//! Where the tensors of a folder lie: in `model.safetensors`, or in the shards that
//! `model.safetensors.index.json` lists.

use std::collections::{BTreeSet, HashMap};

use ::safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::SMALL_FILE_BYTES_MAX;
use crate::bytes::Bytes;
use crate::checkpoint::CheckpointProblem;
use crate::checkpoint::files::Files;
use crate::element::ElementType;
use crate::weights::Stored;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// More shards than any model is published in.
const SHARDS_MAX: usize = 4096;

#[derive(Deserialize)]
struct Index {
    /// From the name of a tensor to the file that holds it.
    weight_map: HashMap<String, String>,
}

/// All tensors by name, and the bytes of the files that hold them.
pub(super) fn tensors(files: &Files) -> Result<(HashMap<String, Stored>, u64), CheckpointProblem> {
    if let Some(bytes) = files.read(SINGLE, u64::MAX)? {
        let length = bytes.len() as u64;
        return Ok((header(SINGLE, &bytes)?, length));
    }
    let index: Option<Index> = files.json(INDEX, SMALL_FILE_BYTES_MAX)?;
    let index = index.ok_or_else(|| CheckpointProblem::MissingFile(SINGLE.to_owned()))?;
    let mut tensors = HashMap::new();
    let mut file_bytes = 0;
    for shard in shards(&index)? {
        let bytes = files.read(shard, u64::MAX)?;
        let bytes = bytes.ok_or_else(|| CheckpointProblem::MissingFile(shard.to_owned()))?;
        file_bytes += bytes.len() as u64;
        for (name, stored) in header(shard, &bytes)? {
            // Only what the index gives to this shard, so that each name means one tensor.
            if index.weight_map.get(&name).is_some_and(|file| file == shard) {
                tensors.insert(name, stored);
            }
        }
    }
    Ok((tensors, file_bytes))
}

/// The tensors of one file of a folder by name, where there is such a file.
pub(in crate::checkpoint) fn file(
    files: &Files,
    name: &str,
) -> Result<Option<HashMap<String, Stored>>, CheckpointProblem> {
    files.read(name, u64::MAX)?.map(|bytes| header(name, &bytes)).transpose()
}

/// The names of the shards, none of which may leave the folder.
fn shards(index: &Index) -> Result<BTreeSet<&str>, CheckpointProblem> {
    let shards: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
    if shards.len() > SHARDS_MAX {
        return Err(CheckpointProblem::malformed(
            INDEX,
            format!("lists {} files; {SHARDS_MAX} are allowed", shards.len()),
        ));
    }
    match shards.iter().find(|name| name.contains(['/', '\\', ':']) || !name.ends_with(".safetensors")) {
        Some(_) => Err(CheckpointProblem::malformed(INDEX, "lists a file that is no .safetensors file of the folder")),
        None => Ok(shards),
    }
}

/// The tensors of one file. The crate checks that they lie within it, side by side, as long as their types say.
fn header(file: &str, bytes: &Bytes) -> Result<HashMap<String, Stored>, CheckpointProblem> {
    let malformed = |problem: String| CheckpointProblem::malformed(file, problem);
    let (header_bytes, metadata) = SafeTensors::read_metadata(bytes)
        .map_err(|reason| malformed(format!("is not a whole safetensors file, fetch it again: {reason}")))?;
    // The eight bytes of the header's length come first.
    let start = 8 + header_bytes;
    let mut tensors = HashMap::new();
    for (name, info) in metadata.tensors() {
        let element = element(info.dtype);
        let range = start + info.data_offsets.0..start + info.data_offsets.1;
        let wanted =
            element.bytes_of(&info.shape).map_err(|problem| malformed(format!("tensor `{name}` {problem}")))?;
        if range.len() != wanted && element.is_supported() || range.end > bytes.len() {
            return Err(malformed(format!("tensor `{name}` has another length than its shape says")));
        }
        tensors.insert(name, Stored { bytes: bytes.clone(), range, element, shape: info.shape.clone(), scale: None });
    }
    Ok(tensors)
}

fn element(dtype: Dtype) -> ElementType {
    match dtype {
        Dtype::F32 => ElementType::F32,
        Dtype::F16 => ElementType::F16,
        Dtype::U8 => ElementType::U8,
        Dtype::BF16 => ElementType::BF16,
        Dtype::F64 => ElementType::unsupported("F64", 1, 8),
        Dtype::F8_E4M3 => ElementType::F8_E4M3,
        Dtype::F8_E5M2 => ElementType::F8_E5M2,
        Dtype::F8_E8M0 => ElementType::F8_E8M0,
        Dtype::I8 => ElementType::unsupported("I8", 1, 1),
        Dtype::I32 => ElementType::I32,
        Dtype::I64 => ElementType::I64,
        _ => ElementType::unsupported("a type other than F32, F16 and BF16", 1, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, allowed: bool) {
        let index = Index { weight_map: HashMap::from([("a".to_owned(), file.to_owned())]) };
        assert_eq!(shards(&index).is_ok(), allowed, "{file}");
    }

    #[test]
    fn an_index_cannot_reach_outside_its_folder() {
        check("model-00001-of-00002.safetensors", true);
        check("../other.safetensors", false);
        check("/etc/passwd", false);
        check("c:other.safetensors", false);
        check("config.json", false);
    }
}
