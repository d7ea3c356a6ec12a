//! The handle that the rest of the house holds.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use weighbridge_backend::Receipt;

use crate::writer::Writer;
use crate::{LedgerError, ReceiptRow, Retention, StoredResponse, Totals, responses, rows, schema};

/// How long a write waits for another process that holds the file, before it counts as failed.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Tries to write what waits when the ledger is closed, and the pause between two of them.
const CLOSING_TRIES: u32 = 3;
const CLOSING_PAUSE: Duration = Duration::from_millis(200);

/// The receipts of this gateway. Clones share one file and one writing thread; when the last is dropped
/// without [`Ledger::close`], it closes all the same, and what that reports goes to the log.
#[derive(Clone)]
pub struct Ledger(Arc<Handle>);

struct Handle {
    writer: Arc<Writer>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What a closed ledger reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerClosed {
    /// Receipts written since it was opened.
    pub written: u64,
}

impl Ledger {
    /// Opens the ledger at `path`. Makes the file, readable by this user alone, and its folder where they
    /// are missing, and brings the schema up to date.
    ///
    /// # Errors
    /// When the file cannot be made or opened, is damaged, belongs to another program, or was written by a
    /// newer release.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        create(path).map_err(|source| LedgerError::Create { path: path.to_owned(), source })?;
        let opening = |source| LedgerError::opening(path.to_owned(), source);
        let connection = Connection::open(path).map_err(opening)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(opening)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(opening)?;
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(opening)?;
        // What is deleted is overwritten: some of it are contents.
        connection.pragma_update(None, "secure_delete", "ON").map_err(opening)?;
        Self::start(connection, path)
    }

    /// A ledger that is forgotten when it is dropped.
    ///
    /// # Errors
    /// When the thread cannot be started or memory is short.
    pub fn in_memory() -> Result<Self, LedgerError> {
        let path = PathBuf::from(":memory:");
        let connection = Connection::open_in_memory().map_err(|source| LedgerError::opening(path.clone(), source))?;
        Self::start(connection, &path)
    }

    fn start(mut connection: Connection, path: &Path) -> Result<Self, LedgerError> {
        schema::bring_up_to_date(&mut connection, path)?;
        let writer = Arc::new(Writer::new(connection));
        let thread = thread::Builder::new()
            .name("ledger".to_owned())
            .spawn({
                let writer = Arc::clone(&writer);
                move || writer.run()
            })
            .map_err(LedgerError::Thread)?;
        Ok(Self(Arc::new(Handle { writer, thread: Mutex::new(Some(thread)) })))
    }

    /// Hands a receipt over. Returns at once, whatever the disk does; while the disk cannot take them, the
    /// latest 100 000 receipts wait in memory and older ones go to the log.
    pub fn record(&self, receipt: Receipt) {
        self.0.writer.push(receipt);
    }

    /// For how long responses are kept from now on, and how many; what is beyond that goes within the hour.
    pub fn retain(&self, retention: Retention) {
        self.0.writer.retain(retention);
    }

    /// Hands a response over that is to be kept. Returns at once; false where it is not taken, since more waits for the
    /// disk than may, or the ledger is closed.
    pub fn keep(&self, response: StoredResponse) -> bool {
        self.0.writer.keep(response)
    }

    /// A response that was kept for this caller. Blocks on the disk.
    ///
    /// # Errors
    /// When what waits cannot be written, or the file cannot be read.
    pub fn kept(&self, id: &str, caller: Option<&str>) -> Result<Option<StoredResponse>, LedgerError> {
        let oldest = self.0.writer.oldest();
        self.read(|connection| responses::find(connection, id, caller, oldest))
    }

    /// Deletes a response that was kept for this caller; false where there is none. Blocks on the disk.
    ///
    /// # Errors
    /// When what waits cannot be written, or the file cannot be changed.
    pub fn forget(&self, id: &str, caller: Option<&str>) -> Result<bool, LedgerError> {
        self.read(|connection| responses::delete(connection, id, caller))
    }

    /// Writes everything handed over, then stops the thread. Receipts recorded later go to the log. Calling
    /// it again reports the same. Blocks on the disk.
    ///
    /// # Errors
    /// When receipts could not be written after several tries; each of them is in the log then.
    pub fn close(&self) -> Result<LedgerClosed, LedgerError> {
        self.0.close()
    }

    /// What all receipts come to, those handed over before this call among them. Blocks on the disk.
    ///
    /// # Errors
    /// When what waits cannot be written, or the file cannot be read.
    pub fn totals(&self) -> Result<Totals, LedgerError> {
        self.read(rows::totals)
    }

    /// The latest `limit` receipts by arrival, newest first, those handed over before this call among them.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// When what waits cannot be written, or the file cannot be read.
    pub fn recent(&self, limit: u32) -> Result<Vec<ReceiptRow>, LedgerError> {
        self.read(|connection| rows::recent(connection, limit))
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        self.0.writer.flush().map_err(LedgerError::Write)?;
        self.0.writer.read(read).map_err(LedgerError::Read)
    }
}

impl Handle {
    fn close(&self) -> Result<LedgerClosed, LedgerError> {
        self.writer.begin_closing();
        // Held to the end, so that a second call waits for the first and then reports the same.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes the ledger had stopped before its time");
        }
        let mut tries = 1;
        while let Err(source) = self.writer.flush() {
            if tries == CLOSING_TRIES {
                return Err(LedgerError::Unwritten { count: self.writer.give_up(), source });
            }
            tries += 1;
            thread::sleep(CLOSING_PAUSE);
        }
        Ok(LedgerClosed { written: self.writer.written() })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the ledger did not close cleanly");
        }
    }
}

/// Makes the file and its folder where they are missing, for this user alone: receipts name callers.
/// SQLite gives its files beside it the same mode.
fn create(path: &Path) -> io::Result<()> {
    let mut folder = DirBuilder::new();
    folder.recursive(true);
    let mut file = OpenOptions::new();
    file.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        folder.mode(0o700);
        file.mode(0o600);
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        folder.create(parent)?;
    }
    file.open(path).map(drop)
}

#[cfg(test)]
mod tests;
