//! Who used what and what it cost: receipts.
//!
//! The ledger calls no one. It takes the [`Receipt`](weighbridge_backend::Receipt) of every request off
//! the request path, writes it to SQLite on a thread of its own, and lends out sums and rows. A receipt
//! holds no contents. Responses that callers want kept do, and stand in a table of their own
//! ([`StoredResponse`]) that nothing is put into unless the gateway hands it over.
//!
//! What is promised about loss: what was handed over before [`Ledger::close`] is in the file when that
//! returns, or its error says how many are not, and each of those is in the log. A process that is killed
//! loses what waits in memory, normally a few milliseconds of receipts; a machine that loses power may
//! lose the last transactions, never the file (WAL, `synchronous = NORMAL`).

mod error;
mod ledger;
mod responses;
mod rows;
mod schema;
mod writer;

pub use error::LedgerError;
pub use ledger::{Ledger, LedgerClosed};
pub use responses::{Retention, StoredResponse};
pub use rows::{AttemptRow, ReceiptRow, Totals};
