//! The record beside the files of a repository that was pulled: where they are from, and what they have to be.

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{HubError, failed};
use crate::path;

/// Its name in the folder of the repository.
pub(crate) const FILE_NAME: &str = "weighbridge-model.toml";
const RECORD_BYTES_MAX: u64 = 8 << 20;
const HEADER: &str = "# Written by `weighbridge models pull`; `weighbridge models verify` holds the files to it.\n\n";

/// What was pulled of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// `hf:ORG/NAME`
    pub source: String,
    /// The hub that it came from.
    pub endpoint: String,
    /// The commit that all files are of.
    pub revision: String,
    /// As the repository's card states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// In the order of their paths.
    pub files: Vec<FileRecord>,
}

/// A file that was pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Below the folder of the repository, divided by `/`.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// What it has to be, from its first pull on.
    pub sha256: Digest,
    /// Whether the hub stated the digest; else it was taken at the first pull.
    pub stated_by_hub: bool,
}

impl Record {
    /// The record in `folder`; none where there is none.
    ///
    /// # Errors
    /// Where it is not as it was written: its paths are checked as a hub's are.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, HubError> {
        let path = folder.join(FILE_NAME);
        let metadata = match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed("read", &path))?,
        };
        let damaged = |reason: String| HubError::Damaged {
            path: path.clone(),
            reason: format!("{reason}; remove it and pull the model again"),
        };
        if !metadata.is_file() || metadata.len() > RECORD_BYTES_MAX {
            return Err(damaged("is no record of ours".to_owned()));
        }
        let text = std::fs::read_to_string(&path).map_err(failed("read", &path))?;
        let record: Self =
            toml::from_str(&text).map_err(|error| damaged(format!("is no record: {}", error.message())))?;
        match record.files.iter().find_map(|file| path::objection(&file.path)) {
            Some(objection) => Err(damaged(format!("names a file that cannot be: {objection}"))),
            None => Ok(Some(record)),
        }
    }

    /// Writes it into `folder`: whole, or not at all.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), HubError> {
        let path = folder.join(FILE_NAME);
        let text = toml::to_string(self).map_err(|error| failed("write", &path)(std::io::Error::other(error)))?;
        let temporary = folder.join(format!(".{FILE_NAME}.new"));
        let _ = std::fs::remove_file(&temporary);
        let written = std::fs::File::create_new(&temporary).and_then(|mut file| {
            file.write_all(HEADER.as_bytes())?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.and_then(|()| std::fs::rename(&temporary, &path)).map_err(failed("write", &path))
    }

    /// Deletes it: from here on there is no model.
    pub(crate) fn delete(folder: &Path) -> Result<(), HubError> {
        let path = folder.join(FILE_NAME);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// The file at `path`.
    pub fn file(&self, path: &str) -> Option<&FileRecord> {
        self.files.iter().find(|file| file.path == path)
    }
}
