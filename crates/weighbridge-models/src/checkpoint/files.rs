//! The files of a folder, on disk or carried in the binary.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use weighbridge_kernels::MappedFile;

use super::CheckpointProblem;
use crate::bytes::Bytes;

/// A folder.
pub(crate) struct Files {
    name: String,
    place: Place,
}

enum Place {
    Disk(PathBuf),
    Memory(&'static [(&'static str, &'static [u8])]),
}

impl Files {
    pub(crate) fn at(path: &Path) -> Self {
        // `.` has no name of its own, so it is asked where it is.
        let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = full.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into());
        Self { name, place: Place::Disk(path.to_owned()) }
    }

    pub(crate) fn carried(name: &str, files: &'static [(&'static str, &'static [u8])]) -> Self {
        Self { name: name.to_owned(), place: Place::Memory(files) }
    }

    /// The folder's own name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The bytes of a file, where there is one of that name and no more than `most` bytes.
    pub(crate) fn read(&self, file: &str, most: u64) -> Result<Option<Bytes>, CheckpointProblem> {
        let bytes = match &self.place {
            Place::Memory(files) => {
                files.iter().find(|(name, _)| *name == file).map(|&(_, bytes)| Bytes::Carried(bytes))
            }
            Place::Disk(folder) => map(&folder.join(file), file)?,
        };
        match bytes {
            Some(bytes) if bytes.len() as u64 > most => {
                Err(CheckpointProblem::malformed(file, format!("has {} bytes; {most} are allowed", bytes.len())))
            }
            other => Ok(other),
        }
    }

    /// A JSON file, where there is one.
    pub(crate) fn json<T: DeserializeOwned>(&self, file: &str, most: u64) -> Result<Option<T>, CheckpointProblem> {
        let Some(bytes) = self.read(file, most)? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|reason| CheckpointProblem::malformed(file, format!("is not the json it should be: {reason}")))
    }

    /// A text file, where there is one.
    pub(crate) fn text(&self, file: &str, most: u64) -> Result<Option<String>, CheckpointProblem> {
        let Some(bytes) = self.read(file, most)? else { return Ok(None) };
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(CheckpointProblem::malformed(file, "is not valid utf-8")),
        }
    }
}

/// Maps a file; none where there is no such file.
pub(super) fn map(path: &Path, file: &str) -> Result<Option<Bytes>, CheckpointProblem> {
    match MappedFile::open(path) {
        Ok(map) => Ok(Some(Bytes::Mapped(Arc::new(map)))),
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(CheckpointProblem::File { file: file.to_owned(), reason }),
    }
}
