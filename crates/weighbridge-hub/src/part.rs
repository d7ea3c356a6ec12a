//! A file on its way: its bytes, and beside them which of its pieces have arrived how far, so that a pull that broke
//! off goes on from there.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{HubError, failed};

/// Bytes that a killed program may have to fetch again.
const UNSAVED_BYTES_MAX: u64 = 16 << 20;
const STATE_BYTES_MAX: u64 = 4 << 20;
const MIB: u64 = 1 << 20;
/// Pieces of a file at least, where they are not too small for it.
const PIECES: u64 = 64;

pub(crate) struct Part {
    path: PathBuf,
    state_path: PathBuf,
    state: Mutex<State>,
    /// Whether its bytes are those of an earlier attempt; else nothing of it is on the disk yet.
    begun: bool,
}

/// What is saved beside the bytes. They count only for a file of the same identity and size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// The entity tag: the digest that the hub states.
    etag: String,
    size: u64,
    piece_bytes: u64,
    /// Of each piece, how many of its bytes have arrived.
    done: Vec<u64>,
    #[serde(skip)]
    unsaved: u64,
}

impl Part {
    /// Finds what is left of an earlier attempt at the same file. Writes nothing.
    pub(crate) fn find(path: &Path, etag: &str, size: u64, piece_bytes: Option<u64>) -> Self {
        let state_path = path.with_added_extension("state");
        let earlier = read_state(&state_path).filter(|state| state.is_of(etag, size) && is_file_of(path, size));
        let begun = earlier.is_some();
        let state = earlier.unwrap_or_else(|| State::new(etag, size, piece_bytes));
        Self { path: path.to_owned(), state_path, state: Mutex::new(state), begun }
    }

    /// Makes it ready to be written: a new one is begun, where there is nothing of an earlier attempt.
    pub(crate) fn prepare(&self) -> Result<(), HubError> {
        if self.begun { Ok(()) } else { self.begin() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that have arrived.
    pub(crate) fn done(&self) -> u64 {
        self.lock().done.iter().sum()
    }

    /// What of each unfinished piece is to come, as ranges of the file, with the piece's number.
    pub(crate) fn missing(&self) -> Vec<(usize, Range<u64>)> {
        let state = self.lock();
        let missing = |piece: usize| {
            let range = state.range(piece);
            (range.start + state.done[piece]..range.end, piece)
        };
        let pieces = (0..state.done.len()).map(missing).filter(|(range, _)| !range.is_empty());
        pieces.map(|(range, piece)| (piece, range)).collect()
    }

    /// Opens the file for writing from `offset` on.
    pub(crate) fn writer(&self, offset: u64) -> Result<File, HubError> {
        let mut file = open_unlinked(&self.path).map_err(failed("write", &self.path))?;
        file.seek(SeekFrom::Start(offset)).map_err(failed("write", &self.path))?;
        Ok(file)
    }

    /// Notes that `bytes` more of a piece are in the file.
    pub(crate) fn arrived(&self, piece: usize, bytes: u64) -> Result<(), HubError> {
        let mut state = self.lock();
        state.done[piece] += bytes;
        state.unsaved += bytes;
        let whole = state.done[piece] == state.range(piece).end - state.range(piece).start;
        if state.unsaved >= UNSAVED_BYTES_MAX || whole { self.write(&mut state) } else { Ok(()) }
    }

    /// Saves how far it is.
    pub(crate) fn save(&self) -> Result<(), HubError> {
        self.write(&mut self.lock())
    }

    /// Forgets what has arrived. From here on the file is one piece: its server hands out no others.
    pub(crate) fn restart_whole(&self) -> Result<(), HubError> {
        {
            let mut state = self.lock();
            *state = State { piece_bytes: state.size.max(1), done: vec![0], ..state.clone() };
        }
        self.begin()
    }

    /// Deletes it.
    pub(crate) fn delete(&self) {
        // What cannot be deleted is never renamed into place, and its state is gone or will not fit.
        let _ = std::fs::remove_file(&self.state_path);
        let _ = std::fs::remove_file(&self.path);
    }

    /// Deletes what was noted, and keeps the bytes for whoever renames them.
    pub(crate) fn delete_state(&self) {
        let _ = std::fs::remove_file(&self.state_path);
    }

    fn begin(&self) -> Result<(), HubError> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("replace", &self.path)(error)),
            _ => {}
        }
        let mut state = self.lock();
        let file = open_unlinked(&self.path).map_err(failed("create", &self.path))?;
        file.set_len(state.size).map_err(failed("make room for", &self.path))?;
        self.write(&mut state)
    }

    fn write(&self, state: &mut State) -> Result<(), HubError> {
        let temporary = self.state_path.with_added_extension("new");
        let text = serde_json::to_vec(state).map_err(|error| failed("write", &self.state_path)(error.into()))?;
        let _ = std::fs::remove_file(&temporary);
        let written = open_unlinked(&temporary).and_then(|mut file| file.write_all(&text));
        written
            .and_then(|()| std::fs::rename(&temporary, &self.state_path))
            .map_err(failed("write", &self.state_path))?;
        state.unsaved = 0;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Counters are whole also where a thread died while it held them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(etag: &str, size: u64, piece_bytes: Option<u64>) -> Self {
        // Pieces are small enough to begin again and large enough to be worth a request.
        let piece_bytes = piece_bytes.unwrap_or_else(|| (size / PIECES).clamp(8 * MIB, 64 * MIB)).max(1);
        let pieces = usize::try_from(size.div_ceil(piece_bytes)).unwrap_or(usize::MAX);
        Self { etag: etag.to_owned(), size, piece_bytes, done: vec![0; pieces], unsaved: 0 }
    }

    fn range(&self, piece: usize) -> Range<u64> {
        let start = self.piece_bytes * piece as u64;
        start..(start + self.piece_bytes).min(self.size)
    }

    /// Whether it is of this file, and adds up: it was read from a disk.
    fn is_of(&self, etag: &str, size: u64) -> bool {
        self.etag == etag
            && self.size == size
            && self.piece_bytes > 0
            && self.piece_bytes.checked_add(size).is_some()
            && self.done.len() as u64 == size.div_ceil(self.piece_bytes)
            && self.done.iter().enumerate().all(|(i, done)| {
                let range = self.range(i);
                *done <= range.end - range.start
            })
    }
}

fn read_state(path: &Path) -> Option<State> {
    let length = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file)?.len();
    if length > STATE_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn is_file_of(path: &Path, size: u64) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
}

/// Opens a file for writing, never through a link.
fn open_unlinked(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
        options.custom_flags(no_follow);
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(path: &Path, etag: &str, size: u64) -> Result<Part, HubError> {
        let part = Part::find(path, etag, size, Some(4));
        part.prepare()?;
        Ok(part)
    }

    #[test]
    fn a_part_goes_on_where_it_was_saved_and_only_for_the_same_file() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("x.part");
        let part = begun(&path, "one", 10)?;
        assert_eq!(part.missing(), [(0, 0..4), (1, 4..8), (2, 8..10)]);
        part.arrived(1, 3)?;
        part.save()?;
        assert_eq!(Part::find(&path, "one", 10, Some(4)).missing(), [(0, 0..4), (1, 7..8), (2, 8..10)]);
        assert_eq!(Part::find(&path, "two", 10, Some(4)).done(), 0);
        Ok(())
    }

    #[test]
    fn a_state_that_does_not_add_up_is_not_believed() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("x.part");
        for done in ["[4,4,3]", "[4,4]", "[]", "[99,0,0]", "\"\""] {
            drop(begun(&path, "one", 10)?);
            let state = format!("{{\"etag\":\"one\",\"size\":10,\"piece_bytes\":4,\"done\":{done}}}");
            std::fs::write(path.with_added_extension("state"), state)?;
            assert_eq!(Part::find(&path, "one", 10, Some(4)).done(), 0, "{done}");
        }
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_written_through_a_link() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let (path, target) = (folder.path().join("x.part"), folder.path().join("precious"));
        std::fs::write(&target, "precious")?;
        std::os::unix::fs::symlink(&target, &path)?;
        let part = begun(&path, "one", 8)?;
        part.writer(0)?.write_all(b"12345678")?;
        assert_eq!(std::fs::read(&target)?, b"precious");
        Ok(())
    }
}
