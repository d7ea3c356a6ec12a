//! What can go wrong with the ledger's file.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

/// Why the ledger could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The file or its folder cannot be made.
    #[error("cannot make the ledger {}; check that the folder may be written by this user: {source}", path.display())]
    Create {
        /// The ledger's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no SQLite database, or a damaged one.
    #[error(
        "the ledger {} is damaged; move it away to start a new one, or put a backup in its place: {source}",
        path.display()
    )]
    Corrupt {
        /// The ledger's file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file is a database of some other program.
    #[error("{} is a database, but no ledger of weighbridge; name another file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer release has written the file.
    #[error(
        "the ledger {} has schema {found}, and this release knows none above {known}; run the newer release, or \
         name another file",
        path.display()
    )]
    Newer {
        /// The ledger's file.
        path: PathBuf,
        /// The schema in the file.
        found: u32,
        /// The newest schema that this release knows.
        known: u32,
    },
    /// SQLite could not open the file.
    #[error("cannot open the ledger {}: {source}", path.display())]
    Open {
        /// The ledger's file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The thread that writes could not be started.
    #[error("cannot start the thread that writes the ledger: {0}")]
    Thread(#[source] io::Error),
    /// Receipts could not be written; they wait in memory for the next try.
    #[error("cannot write to the ledger; check that its disk has room and that nothing holds it locked: {0}")]
    Write(#[source] rusqlite::Error),
    /// The ledger could not be read.
    #[error("cannot read the ledger: {0}")]
    Read(#[source] rusqlite::Error),
    /// The ledger was closed before all was written. Each of the receipts is in the log.
    #[error("the ledger was closed with {count} receipts unwritten, which are in the log instead: {source}")]
    Unwritten {
        /// How many receipts are not in the file.
        count: u64,
        /// Why the last try failed.
        source: rusqlite::Error,
    },
}

impl LedgerError {
    /// What `source`, met while opening `path`, means for the operator.
    pub(crate) fn opening(path: PathBuf, source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Corrupt { path, source },
            _ => Self::Open { path, source },
        }
    }
}
