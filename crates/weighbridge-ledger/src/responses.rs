//! Responses that are kept for later requests: unlike receipts they hold contents, so they have an owner, a term and a
//! bound, and their bytes are overwritten when they go.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, params};
use weighbridge_backend::DataClass;

/// A response as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// Its id.
    pub id: String,
    /// Whose it is; `None` where the gateway is open.
    pub caller: Option<String>,
    /// How far its content may travel.
    pub class: DataClass,
    /// When it was made.
    pub created_at: SystemTime,
    /// The response that it went on from.
    pub previous: Option<String>,
    /// The response, JSON.
    pub response: String,
    /// The items that came in with its request, a JSON array.
    pub input: String,
}

impl StoredResponse {
    /// The bytes of its contents.
    pub fn bytes(&self) -> usize {
        self.response.len() + self.input.len()
    }
}

/// It prints without contents.
impl std::fmt::Debug for StoredResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (id, class, bytes) = (&self.id, self.class, self.bytes());
        f.debug_struct("StoredResponse").field("id", id).field("class", &class).field("bytes", &bytes).finish()
    }
}

/// For how long responses are kept, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The longest time.
    pub term: Duration,
    /// The most bytes of all together; beyond it the oldest go.
    pub max_bytes: u64,
}

impl Default for Retention {
    /// Thirty days, a gibibyte.
    fn default() -> Self {
        Self { term: Duration::from_secs(30 * 24 * 60 * 60), max_bytes: 1 << 30 }
    }
}

/// Writes one.
pub(crate) fn insert(connection: &Connection, stored: &StoredResponse) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO responses (id, caller, class, created_at_ms, previous, response, input, bytes)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    insert.execute(params![
        stored.id,
        stored.caller,
        stored.class.as_str(),
        milliseconds(stored.created_at),
        stored.previous,
        stored.response,
        stored.input,
        i64::try_from(stored.bytes()).unwrap_or(i64::MAX),
    ])?;
    Ok(())
}

/// The one of this id that is this caller's, unless its term is over.
pub(crate) fn find(
    connection: &Connection,
    id: &str,
    caller: Option<&str>,
    oldest: SystemTime,
) -> rusqlite::Result<Option<StoredResponse>> {
    let mut select = connection.prepare_cached(
        "SELECT class, created_at_ms, previous, response, input FROM responses
         WHERE id = ? AND caller IS ? AND created_at_ms >= ?",
    )?;
    let row = |row: &rusqlite::Row<'_>| {
        let class: String = row.get(0)?;
        let created: i64 = row.get(1)?;
        Ok(StoredResponse {
            id: id.to_owned(),
            caller: caller.map(str::to_owned),
            // A word of a newer release: what is not understood travels nowhere.
            class: class.parse().unwrap_or(DataClass::Restricted),
            created_at: UNIX_EPOCH + Duration::from_millis(created.try_into().unwrap_or(0)),
            previous: row.get(2)?,
            response: row.get(3)?,
            input: row.get(4)?,
        })
    };
    select.query_row(params![id, caller, milliseconds(oldest)], row).optional()
}

/// Deletes the one of this id that is this caller's; false where there is none.
pub(crate) fn delete(connection: &Connection, id: &str, caller: Option<&str>) -> rusqlite::Result<bool> {
    let mut delete = connection.prepare_cached("DELETE FROM responses WHERE id = ? AND caller IS ?")?;
    let deleted = delete.execute(params![id, caller])? > 0;
    if deleted {
        clear_log(connection)?;
    }
    Ok(deleted)
}

/// Empties the write-ahead log, where what was deleted stands too. Another process that reads the file puts it off.
pub(crate) fn clear_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// The bytes of all, read from an index that holds no contents.
pub(crate) fn total_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let mut select = connection.prepare_cached("SELECT coalesce(sum(bytes), 0) FROM responses")?;
    let bytes: i64 = select.query_row([], |row| row.get(0))?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Deletes those that were made before `oldest`; whether there were any.
pub(crate) fn delete_before(connection: &Connection, oldest: SystemTime) -> rusqlite::Result<bool> {
    let mut delete = connection.prepare_cached("DELETE FROM responses WHERE created_at_ms < ?")?;
    Ok(delete.execute(params![milliseconds(oldest)])? > 0)
}

/// Deletes the oldest beyond so many bytes.
pub(crate) fn delete_beyond(connection: &Connection, max_bytes: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM responses WHERE rowid IN (
                 SELECT rowid FROM (
                     SELECT rowid, sum(bytes) OVER (ORDER BY created_at_ms DESC, rowid DESC) AS newer
                     FROM responses)
                 WHERE newer > ?)",
        )?
        .execute(params![i64::try_from(max_bytes).unwrap_or(i64::MAX)])?;
    Ok(())
}

fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
