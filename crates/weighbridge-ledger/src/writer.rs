//! What waits to be written, and the thread that writes it.
//!
//! Receipts wait in a queue under a lock that is held for a push or a take. Whoever writes first takes the
//! connection and only then the receipts, so that a flush that returns has seen every write before it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use weighbridge_backend::Receipt;

use crate::{Retention, StoredResponse, responses, rows};

/// Receipts that wait in memory while the disk cannot take them, about 50 MB. Beyond it the oldest go to
/// the log.
const MAX_WAITING: usize = 100_000;

/// Receipts in one transaction: some milliseconds of work, so that a reader never waits long for its turn.
const BATCH: usize = 1024;

/// Bytes of responses that wait in memory while the disk cannot take them.
const MAX_WAITING_BYTES: usize = 128 << 20;

/// How often responses whose term is over are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);

/// The pause after a write that failed; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The log is told of failing writes at most this often.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// The queue and the connection, shared by the handles and the thread.
pub(crate) struct Writer {
    queue: Mutex<Queue>,
    wake: Condvar,
    file: Mutex<File>,
    retention: Mutex<Retention>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Receipt>,
    responses: VecDeque<StoredResponse>,
    response_bytes: usize,
    closing: bool,
}

struct File {
    connection: Connection,
    written: u64,
    pruned: Option<Instant>,
    /// Bytes of the responses in the file, or more: what callers delete is not taken off. `None` before they were added up.
    kept_bytes: Option<u64>,
}

impl Writer {
    /// A writer to a connection whose schema is up to date.
    pub(crate) fn new(connection: Connection) -> Self {
        let file = Mutex::new(File { connection, written: 0, pruned: None, kept_bytes: None });
        Self { queue: Mutex::default(), wake: Condvar::new(), file, retention: Mutex::default() }
    }

    /// How responses are kept from now on.
    pub(crate) fn retain(&self, retention: Retention) {
        *lock(&self.retention) = retention;
        lock(&self.file).pruned = None;
        self.wake.notify_one();
    }

    /// The oldest that a response may be.
    pub(crate) fn oldest(&self) -> SystemTime {
        SystemTime::now().checked_sub(lock(&self.retention).term).unwrap_or(UNIX_EPOCH)
    }

    /// Puts a response in the queue; false where it finds no place.
    pub(crate) fn keep(&self, response: StoredResponse) -> bool {
        let mut queue = lock(&self.queue);
        let bytes = queue.response_bytes.saturating_add(response.bytes());
        if queue.closing || bytes > MAX_WAITING_BYTES {
            drop(queue);
            tracing::error!(id = response.id, "a response is not kept: the ledger cannot take it now");
            return false;
        }
        queue.response_bytes = bytes;
        queue.responses.push_back(response);
        drop(queue);
        self.wake.notify_one();
        true
    }

    /// Puts a receipt in the queue. After [`Writer::begin_closing`] it goes to the log instead.
    pub(crate) fn push(&self, receipt: Receipt) {
        let mut queue = lock(&self.queue);
        if queue.closing {
            drop(queue);
            return log_unwritten(&receipt, "the ledger is closed");
        }
        queue.waiting.push_back(receipt);
        let oldest = (queue.waiting.len() > MAX_WAITING).then(|| queue.waiting.pop_front()).flatten();
        drop(queue);
        self.wake.notify_one();
        if let Some(oldest) = oldest {
            log_unwritten(&oldest, "too many receipts wait for the disk");
        }
    }

    /// Takes no more receipts and lets [`Writer::run`] return.
    pub(crate) fn begin_closing(&self) {
        lock(&self.queue).closing = true;
        self.wake.notify_all();
    }

    /// Writes what comes until closing begins; what waits then is left for a last [`Writer::flush`].
    pub(crate) fn run(&self) {
        let mut pause = None;
        let mut logged: Option<Instant> = None;
        while self.wait(pause) {
            pause = match self.flush() {
                Ok(()) => None,
                Err(error) => {
                    if logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
                        logged = Some(Instant::now());
                        let waiting = lock(&self.queue).waiting.len();
                        tracing::error!(%error, waiting, "cannot write to the ledger; its receipts wait in memory");
                    }
                    Some(pause.map_or(FIRST_PAUSE, |pause: Duration| (pause * 2).min(LONGEST_PAUSE)))
                }
            };
        }
    }

    /// Waits for something to do, or for a pause after a failure; false when closing began.
    fn wait(&self, pause: Option<Duration>) -> bool {
        let queue = lock(&self.queue);
        let queue = match pause {
            None => {
                self.wake
                    .wait_timeout_while(queue, PRUNE_EVERY, |queue| queue.is_empty() && !queue.closing)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
            Some(pause) => {
                self.wake
                    .wait_timeout_while(queue, pause, |queue| !queue.closing)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        !queue.closing
    }

    /// Writes what waits, and returns when all that was pushed before is in the file. What could not be
    /// written is back in the queue, in its order.
    pub(crate) fn flush(&self) -> rusqlite::Result<()> {
        let mut file = lock(&self.file);
        loop {
            let batch = self.take_batch();
            if batch.is_empty() {
                return self.write_responses(&mut file);
            }
            if let Err(error) = file.write(&batch) {
                self.put_back(batch);
                return Err(error);
            }
        }
    }

    /// Writes the responses that wait, then deletes those that are beyond their term or the bound.
    fn write_responses(&self, file: &mut File) -> rusqlite::Result<()> {
        loop {
            let Some(response) = lock(&self.queue).responses.pop_front() else { break };
            let bytes = response.bytes();
            if let Err(error) = responses::insert(&file.connection, &response) {
                lock(&self.queue).responses.push_front(response);
                return Err(error);
            }
            lock(&self.queue).response_bytes -= bytes;
            file.kept_bytes = file.kept_bytes.map(|kept| kept.saturating_add(bytes as u64));
        }
        let retention = *lock(&self.retention);
        file.prune(&retention, self.oldest())
    }

    fn take_batch(&self) -> Vec<Receipt> {
        let mut queue = lock(&self.queue);
        let count = queue.waiting.len().min(BATCH);
        queue.waiting.drain(..count).collect()
    }

    fn put_back(&self, batch: Vec<Receipt>) {
        let mut queue = lock(&self.queue);
        let room = MAX_WAITING.saturating_sub(queue.waiting.len());
        let excess = batch.len().saturating_sub(room);
        let mut kept = batch;
        let oldest: Vec<_> = kept.drain(..excess).collect();
        for receipt in kept.into_iter().rev() {
            queue.waiting.push_front(receipt);
        }
        drop(queue);
        for receipt in &oldest {
            log_unwritten(receipt, "too many receipts wait for the disk");
        }
    }

    /// Empties the queue into the log and returns how many that were.
    pub(crate) fn give_up(&self) -> u64 {
        let queue = std::mem::take(&mut *lock(&self.queue));
        lock(&self.queue).closing = queue.closing;
        if !queue.responses.is_empty() {
            tracing::error!(count = queue.responses.len(), "responses that were to be kept are lost");
        }
        let waiting = queue.waiting;
        for receipt in &waiting {
            log_unwritten(receipt, "the ledger cannot be written");
        }
        waiting.len() as u64
    }

    /// How many receipts were written.
    pub(crate) fn written(&self) -> u64 {
        lock(&self.file).written
    }

    /// Reads from the file, between two writes.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        read(&lock(&self.file).connection)
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.responses.is_empty()
    }
}

impl File {
    /// Deletes responses whose term is over, now and then, and the oldest where all together are too large.
    fn prune(&mut self, retention: &Retention, oldest: SystemTime) -> rusqlite::Result<()> {
        if self.pruned.is_none_or(|at| at.elapsed() >= PRUNE_EVERY) {
            if responses::delete_before(&self.connection, oldest)? {
                responses::clear_log(&self.connection)?;
            }
            self.kept_bytes = None;
            self.pruned = Some(Instant::now());
        }
        let kept = match self.kept_bytes {
            Some(kept) => kept,
            None => responses::total_bytes(&self.connection)?,
        };
        self.kept_bytes = Some(kept);
        if kept > retention.max_bytes {
            // A tenth more goes, so that this is not to be done for every response from here on.
            responses::delete_beyond(&self.connection, retention.max_bytes - retention.max_bytes / 10)?;
            responses::clear_log(&self.connection)?;
            self.kept_bytes = Some(responses::total_bytes(&self.connection)?);
        }
        Ok(())
    }

    /// Writes a batch in one transaction: all of it or nothing.
    fn write(&mut self, batch: &[Receipt]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        let mut known = Vec::new();
        for receipt in batch {
            if !rows::insert(&transaction, receipt)? {
                known.push(receipt);
            }
        }
        transaction.commit()?;
        self.written += (batch.len() - known.len()) as u64;
        for receipt in known {
            log_unwritten(receipt, "a receipt of this id was written before");
        }
        Ok(())
    }
}

/// The last resort: a receipt as one structured line of the log.
fn log_unwritten(receipt: &Receipt, why: &str) {
    tracing::error!(
        why,
        request_id = %receipt.request_id,
        caller = receipt.caller.as_deref(),
        model = receipt.model,
        route = receipt.route.as_deref(),
        class = receipt.class.map(|class| class.as_str()),
        backend = receipt.backend.as_ref().map(|backend| backend.as_str()),
        attempts = receipt.attempts.len(),
        stream = receipt.stream,
        outcome = receipt.outcome.as_str(),
        status = receipt.status,
        prompt_tokens = receipt.usage.prompt_tokens,
        cached_tokens = receipt.usage.cached_tokens,
        completion_tokens = receipt.usage.completion_tokens,
        reasoning_tokens = receipt.usage.reasoning_tokens,
        usage_estimated = receipt.usage.estimated,
        cost_nano_usd = receipt.cost.0,
        duration_ms = receipt.duration.as_millis() as u64,
        "receipt not written to the ledger"
    );
}

/// A panic while a lock was held leaves the queue and the connection usable: each change of them is one
/// call, and SQLite rolls an open transaction back.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
