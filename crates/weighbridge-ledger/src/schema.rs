//! The tables, and how a file of an older release comes to have them.

use std::path::Path;

use rusqlite::Connection;

use crate::LedgerError;

/// Marks a SQLite file as a ledger of ours (`PRAGMA application_id`): `WBlg` in ASCII.
const APPLICATION_ID: i32 = 0x5742_6c67;

/// The steps from an empty file to the present schema. A step that was released never changes; the number
/// of steps taken is the file's `PRAGMA user_version`.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE receipts (
        request_id             TEXT PRIMARY KEY NOT NULL,
        received_at_ms         INTEGER NOT NULL,
        caller                 TEXT,
        model                  TEXT NOT NULL,
        route                  TEXT,
        class                  TEXT,
        backend                TEXT,
        stream                 INTEGER NOT NULL,
        outcome                TEXT NOT NULL,
        status                 INTEGER NOT NULL,
        prompt_tokens          INTEGER NOT NULL,
        cached_tokens          INTEGER NOT NULL,
        completion_tokens      INTEGER NOT NULL,
        reasoning_tokens       INTEGER NOT NULL,
        usage_estimated        INTEGER NOT NULL,
        cost_nano_usd          INTEGER NOT NULL,
        time_to_first_token_ms INTEGER,
        duration_ms            INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX receipts_by_time ON receipts (received_at_ms);
    CREATE TABLE attempts (
        request_id  TEXT NOT NULL REFERENCES receipts (request_id) ON DELETE CASCADE,
        ordinal     INTEGER NOT NULL,
        backend     TEXT NOT NULL,
        failure     TEXT,
        duration_ms INTEGER NOT NULL,
        PRIMARY KEY (request_id, ordinal)
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE responses (
        id            TEXT PRIMARY KEY NOT NULL,
        caller        TEXT,
        class         TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL,
        previous      TEXT,
        response      TEXT NOT NULL,
        input         TEXT NOT NULL,
        bytes         INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX responses_by_time ON responses (created_at_ms, bytes);
",
];

/// Brings the file behind `connection` to the present schema. `path` is for messages.
pub(crate) fn bring_up_to_date(connection: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let opening = |source| LedgerError::opening(path.to_owned(), source);
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(opening)?;
    let application: i32 = transaction.pragma_query_one(None, "application_id").map_err(opening)?;
    let tables: u32 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(opening)?;
    if application != APPLICATION_ID && (application != 0 || tables != 0) {
        return Err(LedgerError::Foreign { path: path.to_owned() });
    }
    let found: u32 = transaction.pragma_query_one(None, "user_version").map_err(opening)?;
    let known = MIGRATIONS.len();
    let Some(missing) = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found..)) else {
        return Err(LedgerError::Newer {
            path: path.to_owned(),
            found,
            known: u32::try_from(known).unwrap_or(u32::MAX),
        });
    };
    for step in missing {
        transaction.execute_batch(step).map_err(opening)?;
    }
    if !missing.is_empty() {
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(opening)?;
        transaction.pragma_update(None, "user_version", u32::try_from(known).unwrap_or(u32::MAX)).map_err(opening)?;
    }
    transaction.commit().map_err(opening)
}
