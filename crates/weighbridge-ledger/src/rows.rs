//! Receipts to rows and back.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::types::{ToSql, ToSqlOutput};
use rusqlite::{Connection, Row, params};
use weighbridge_backend::{NanoUsd, Receipt, Usage};

/// What all receipts of the ledger come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many there are.
    pub receipts: u64,
    /// Tokens of prompts, those from a cache among them.
    pub prompt_tokens: u64,
    /// Of these, how many came from a cache.
    pub cached_tokens: u64,
    /// Tokens of answers, those of reasoning among them.
    pub completion_tokens: u64,
    /// Of these, how many were reasoning.
    pub reasoning_tokens: u64,
    /// What they cost.
    pub cost: NanoUsd,
    /// How many there are of each outcome, by its word.
    pub by_outcome: BTreeMap<String, u64>,
}

/// A receipt as the ledger keeps it: the fields of [`Receipt`], times in whole milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the one of its name in `Receipt`")]
pub struct ReceiptRow {
    pub request_id: String,
    pub received_at: SystemTime,
    pub caller: Option<String>,
    pub model: String,
    pub route: Option<String>,
    pub class: Option<String>,
    pub backend: Option<String>,
    pub attempts: Vec<AttemptRow>,
    pub stream: bool,
    pub outcome: String,
    pub status: u16,
    pub usage: Usage,
    pub cost: NanoUsd,
    pub time_to_first_token: Option<Duration>,
    pub duration: Duration,
}

/// An attempt as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRow {
    /// Who was asked.
    pub backend: String,
    /// What went wrong, in one word; `None` where it answered.
    pub failure: Option<String>,
    /// How long it took, in whole milliseconds.
    pub duration: Duration,
}

/// Writes one receipt. False when one of the same id is there already, which then stays as it was.
pub(crate) fn insert(connection: &Connection, receipt: &Receipt) -> rusqlite::Result<bool> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO receipts (request_id, received_at_ms, caller, model, route, class, backend, stream, outcome,
             status, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, usage_estimated,
             cost_nano_usd, time_to_first_token_ms, duration_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (request_id) DO NOTHING",
    )?;
    let added = insert.execute(params![
        &*receipt.request_id,
        Int::of_time(receipt.received_at),
        receipt.caller.as_deref(),
        receipt.model,
        receipt.route.as_deref(),
        receipt.class.map(|class| class.as_str()),
        receipt.backend.as_ref().map(|backend| backend.as_str()),
        receipt.stream,
        receipt.outcome.as_str(),
        receipt.status,
        Int::of(receipt.usage.prompt_tokens),
        Int::of(receipt.usage.cached_tokens),
        Int::of(receipt.usage.completion_tokens),
        Int::of(receipt.usage.reasoning_tokens),
        receipt.usage.estimated,
        Int::of(receipt.cost.0),
        receipt.time_to_first_token.map(Int::of_duration),
        Int::of_duration(receipt.duration),
    ])?;
    if added == 0 {
        return Ok(false);
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO attempts (request_id, ordinal, backend, failure, duration_ms) VALUES (?, ?, ?, ?, ?)",
    )?;
    for (ordinal, attempt) in (0_i64..).zip(&receipt.attempts) {
        insert.execute(params![
            &*receipt.request_id,
            ordinal,
            attempt.backend.as_str(),
            attempt.failure.map(|failure| failure.as_str()),
            Int::of_duration(attempt.duration),
        ])?;
    }
    Ok(true)
}

/// Adds all receipts up.
pub(crate) fn totals(connection: &Connection) -> rusqlite::Result<Totals> {
    let mut select = connection.prepare_cached(
        "SELECT outcome, count(*), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens),
             sum(reasoning_tokens), sum(cost_nano_usd)
         FROM receipts GROUP BY outcome",
    )?;
    let mut totals = Totals::default();
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let count = unsigned(row, 1)?;
        totals.receipts += count;
        totals.prompt_tokens = totals.prompt_tokens.saturating_add(unsigned(row, 2)?);
        totals.cached_tokens = totals.cached_tokens.saturating_add(unsigned(row, 3)?);
        totals.completion_tokens = totals.completion_tokens.saturating_add(unsigned(row, 4)?);
        totals.reasoning_tokens = totals.reasoning_tokens.saturating_add(unsigned(row, 5)?);
        totals.cost = totals.cost + NanoUsd(unsigned(row, 6)?);
        totals.by_outcome.insert(row.get(0)?, count);
    }
    Ok(totals)
}

/// The latest receipts by arrival, newest first.
pub(crate) fn recent(connection: &Connection, limit: u32) -> rusqlite::Result<Vec<ReceiptRow>> {
    let mut select = connection.prepare_cached(
        "SELECT request_id, received_at_ms, caller, model, route, class, backend, stream, outcome, status,
             prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, usage_estimated, cost_nano_usd,
             time_to_first_token_ms, duration_ms
         FROM receipts ORDER BY received_at_ms DESC, rowid DESC LIMIT ?",
    )?;
    let mut receipts = select.query_map([limit], receipt_of_row)?.collect::<rusqlite::Result<Vec<_>>>()?;
    for receipt in &mut receipts {
        receipt.attempts = attempts(connection, &receipt.request_id)?;
    }
    Ok(receipts)
}

fn receipt_of_row(row: &Row<'_>) -> rusqlite::Result<ReceiptRow> {
    let milliseconds = |column| unsigned(row, column).map(Duration::from_millis);
    Ok(ReceiptRow {
        request_id: row.get(0)?,
        received_at: UNIX_EPOCH + milliseconds(1)?,
        caller: row.get(2)?,
        model: row.get(3)?,
        route: row.get(4)?,
        class: row.get(5)?,
        backend: row.get(6)?,
        attempts: Vec::new(),
        stream: row.get(7)?,
        outcome: row.get(8)?,
        status: row.get(9)?,
        usage: Usage {
            prompt_tokens: unsigned(row, 10)?,
            cached_tokens: unsigned(row, 11)?,
            completion_tokens: unsigned(row, 12)?,
            reasoning_tokens: unsigned(row, 13)?,
            estimated: row.get(14)?,
        },
        cost: NanoUsd(unsigned(row, 15)?),
        time_to_first_token: row.get::<_, Option<i64>>(16)?.map(|ms| Duration::from_millis(ms.max(0).unsigned_abs())),
        duration: milliseconds(17)?,
    })
}

fn attempts(connection: &Connection, request_id: &str) -> rusqlite::Result<Vec<AttemptRow>> {
    let mut select = connection
        .prepare_cached("SELECT backend, failure, duration_ms FROM attempts WHERE request_id = ? ORDER BY ordinal")?;
    let attempt = |row: &Row<'_>| {
        Ok(AttemptRow {
            backend: row.get(0)?,
            failure: row.get(1)?,
            duration: Duration::from_millis(unsigned(row, 2)?),
        })
    };
    select.query_map([request_id], attempt)?.collect()
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.max(0).unsigned_abs())
}

/// A count as SQLite keeps it: 64 bits with a sign, so that the largest counts become the largest it has.
struct Int(i64);

impl Int {
    fn of(count: u64) -> Self {
        Self(i64::try_from(count).unwrap_or(i64::MAX))
    }

    fn of_duration(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }

    /// Milliseconds since 1970; a clock set before that counts as 1970.
    fn of_time(time: SystemTime) -> Self {
        Self::of_duration(time.duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

impl ToSql for Int {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}
