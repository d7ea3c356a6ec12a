//! The ledger's file, as anyone with SQLite reads it.

use std::path::PathBuf;

use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags};

/// The file that a program keeps its receipts in.
#[derive(Debug)]
pub struct LedgerFile {
    pub(crate) path: PathBuf,
}

impl LedgerFile {
    /// The one value that `select` asks for.
    pub fn one<T: FromSql>(&self, select: &str) -> T {
        self.open().query_row(select, [], |row| row.get(0)).expect(select)
    }

    /// The first column of what `select` asks for.
    pub fn column<T: FromSql>(&self, select: &str) -> Vec<T> {
        let connection = self.open();
        let mut statement = connection.prepare(select).expect(select);
        let rows = statement.query_map([], |row| row.get(0)).expect(select);
        rows.map(|value| value.expect(select)).collect()
    }

    fn open(&self) -> Connection {
        // Read and write: a reader of a file in WAL mode makes the shared memory beside it where it is missing.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        Connection::open_with_flags(&self.path, flags).expect("the program keeps a ledger in its data folder")
    }
}
