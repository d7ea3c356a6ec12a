//! The promises of the ledger, on real files.

use std::error::Error;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weighbridge_backend::{AttemptRecord, BackendId, DataClass, FailureKind, NanoUsd, Outcome, Receipt, Stage, Usage};

use super::*;

type Outcomes = Result<(), Box<dyn Error>>;

#[test]
fn receipts_survive_close_and_reopen() -> Outcomes {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("data/ledger.db");
    let ledger = Ledger::open(&path)?;
    ledger.record(receipt("r-1"));
    ledger.record(Receipt { received_at: at(2000), ..receipt("r-2") });
    assert_eq!(ledger.close()?, LedgerClosed { written: 2 });
    assert_eq!(ledger.close()?, LedgerClosed { written: 2 }, "closing is idempotent");
    drop(ledger);

    let rows = Ledger::open(&path)?.recent(10)?;
    assert_eq!(rows.iter().map(|row| row.request_id.as_str()).collect::<Vec<_>>(), ["r-2", "r-1"]);
    let row = &rows[1];
    assert_eq!(row.received_at, at(1000));
    assert_eq!((row.caller.as_deref(), row.model.as_str()), (Some("team"), "auto"));
    assert_eq!((row.class.as_deref(), row.backend.as_deref()), (Some("internal"), Some("demo")));
    assert_eq!((row.outcome.as_str(), row.status, row.stream), ("completed", 200, true));
    assert_eq!((row.usage, row.cost), (receipt("").usage, NanoUsd(700)));
    assert_eq!(row.time_to_first_token, Some(Duration::from_millis(12)));
    assert_eq!(row.attempts[0].failure.as_deref(), Some("timeout_connect"));
    assert_eq!((row.attempts[1].backend.as_str(), &row.attempts[1].failure), ("demo", &None));
    Ok(())
}

#[test]
fn dropping_the_last_handle_writes_what_waits() -> Outcomes {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("ledger.db");
    let ledger = Ledger::open(&path)?;
    ledger.clone().record(receipt("r-1"));
    drop(ledger);
    assert_eq!(Ledger::open(&path)?.totals()?.receipts, 1);
    Ok(())
}

#[test]
fn totals_add_up() -> Outcomes {
    let ledger = Ledger::in_memory()?;
    for id in ["r-1", "r-2", "r-3"] {
        ledger.record(receipt(id));
    }
    ledger.record(Receipt { outcome: Outcome::Failed, ..receipt("r-4") });
    let totals = ledger.totals()?;
    assert_eq!((totals.receipts, totals.prompt_tokens, totals.completion_tokens), (4, 40, 20));
    assert_eq!((totals.cached_tokens, totals.reasoning_tokens, totals.cost), (16, 8, NanoUsd(2800)));
    let by_outcome: Vec<_> = totals.by_outcome.iter().map(|(word, &count)| (word.as_str(), count)).collect();
    assert_eq!(by_outcome, [("completed", 3), ("failed", 1)]);
    Ok(())
}

#[test]
fn receipts_of_many_threads_are_all_written() -> Outcomes {
    let folder = tempfile::tempdir()?;
    let ledger = Ledger::open(&folder.path().join("ledger.db"))?;
    thread::scope(|scope| {
        for worker in 0..8 {
            let ledger = ledger.clone();
            scope.spawn(move || (0..250).for_each(|n| ledger.record(receipt(&format!("r-{worker}-{n}")))));
        }
    });
    assert_eq!(ledger.close()?, LedgerClosed { written: 2000 });
    assert_eq!(ledger.totals()?.receipts, 2000);
    Ok(())
}

#[test]
fn a_receipt_of_a_known_id_changes_nothing() -> Outcomes {
    let ledger = Ledger::in_memory()?;
    ledger.record(receipt("r-1"));
    ledger.record(Receipt { cost: NanoUsd(9), ..receipt("r-1") });
    assert_eq!(ledger.totals()?.cost, NanoUsd(700));
    assert_eq!(ledger.close()?, LedgerClosed { written: 1 });
    Ok(())
}

#[test]
fn counts_beyond_the_files_integers_saturate() -> Outcomes {
    let ledger = Ledger::in_memory()?;
    ledger.record(Receipt { cost: NanoUsd(u64::MAX), duration: Duration::MAX, ..receipt("r-1") });
    assert_eq!(ledger.recent(1)?[0].cost, NanoUsd(i64::MAX.unsigned_abs()));
    Ok(())
}

#[test]
fn receipts_wait_while_writes_fail() -> Outcomes {
    let ledger = Ledger::in_memory()?;
    refuse_writes(&ledger)?;
    (0..3).for_each(|n| ledger.record(receipt(&format!("r-{n}"))));
    assert!(matches!(ledger.totals(), Err(LedgerError::Write(_))));
    ledger.0.writer.read(|connection| connection.execute_batch("DROP TRIGGER disk_full"))?;
    assert_eq!(ledger.totals()?.receipts, 3);
    Ok(())
}

#[test]
fn what_cannot_be_written_at_the_close_is_counted() -> Outcomes {
    let ledger = Ledger::in_memory()?;
    refuse_writes(&ledger)?;
    (0..3).for_each(|n| ledger.record(receipt(&format!("r-{n}"))));
    assert!(matches!(ledger.close(), Err(LedgerError::Unwritten { count: 3, .. })));
    Ok(())
}

#[test]
fn a_damaged_file_is_an_error_that_says_what_to_do() -> Outcomes {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("ledger.db");
    fs::write(&path, "this was a ledger once, and then something wrote over its first page")?;
    check_refused(&path, "move it away");

    let path = folder.path().join("torn.db");
    Ledger::open(&path)?.close()?;
    let mut bytes = fs::read(&path)?;
    bytes[20..100].fill(0xff);
    fs::write(&path, bytes)?;
    check_refused(&path, "move it away");
    Ok(())
}

#[test]
fn a_newer_file_is_left_alone() -> Outcomes {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("ledger.db");
    Ledger::open(&path)?.close()?;
    Connection::open(&path)?.pragma_update(None, "user_version", 1000)?;
    check_refused(&path, "schema 1000");
    Ok(())
}

#[test]
fn a_database_of_another_program_is_left_alone() -> Outcomes {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("photos.db");
    Connection::open(&path)?.execute_batch("CREATE TABLE photos (name TEXT)")?;
    check_refused(&path, "no ledger");
    Ok(())
}

#[cfg(unix)]
#[test]
fn the_file_is_readable_by_its_owner_alone() -> Outcomes {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("data/ledger.db");
    let ledger = Ledger::open(&path)?;
    ledger.record(receipt("r-1"));
    ledger.totals()?;
    let mode = |path: &Path| fs::metadata(path).map(|found| found.permissions().mode() & 0o777);
    assert_eq!(mode(&path)?, 0o600);
    assert_eq!(mode(&path.with_extension("db-wal"))?, 0o600);
    assert_eq!(mode(&folder.path().join("data"))?, 0o700);
    Ok(())
}

fn check_refused(path: &Path, words: &str) {
    let message = Ledger::open(path).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(message.contains(words), "{message:?} should contain {words:?}");
}

/// Makes every insert fail, as a full disk would.
fn refuse_writes(ledger: &Ledger) -> rusqlite::Result<()> {
    ledger.0.writer.read(|connection| {
        connection.execute_batch(
            "CREATE TRIGGER disk_full BEFORE INSERT ON receipts BEGIN SELECT RAISE(ABORT, 'disk full'); END",
        )
    })
}

fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

fn receipt(id: &str) -> Receipt {
    let (openai, demo) = (BackendId::new("openai/m"), BackendId::new("demo"));
    let timeout = Some(FailureKind::Timeout(Stage::Connect));
    Receipt {
        request_id: id.into(),
        received_at: at(1000),
        caller: Some("team".into()),
        model: "auto".to_owned(),
        route: Some("default".into()),
        class: Some(DataClass::Internal),
        backend: Some(demo.clone()),
        attempts: vec![
            AttemptRecord { backend: openai, failure: timeout, duration: Duration::from_millis(5) },
            AttemptRecord { backend: demo, failure: None, duration: Duration::from_millis(20) },
        ],
        stream: true,
        outcome: Outcome::Completed,
        status: 200,
        usage: Usage {
            prompt_tokens: 10,
            cached_tokens: 4,
            completion_tokens: 5,
            reasoning_tokens: 2,
            estimated: false,
        },
        cost: NanoUsd(700),
        time_to_first_token: Some(Duration::from_millis(12)),
        duration: Duration::from_millis(25),
    }
}

fn stored(id: &str, caller: Option<&str>, created_at: SystemTime) -> StoredResponse {
    StoredResponse {
        id: id.into(),
        caller: caller.map(str::to_owned),
        class: DataClass::Confidential,
        created_at,
        previous: Some("resp_0".into()),
        response: "{\"output\":[]}".into(),
        input: "[]".into(),
    }
}

#[test]
fn a_response_is_read_back_by_its_owner_alone_and_at_once() -> Outcomes {
    let folder = tempfile::tempdir()?;
    let ledger = Ledger::open(&folder.path().join("ledger.db"))?;
    for (id, caller) in [("resp_1", Some("team")), ("resp_2", None)] {
        let response = stored(id, caller, SystemTime::now());
        assert!(ledger.keep(response.clone()));
        let found = ledger.kept(id, caller)?.ok_or("it was kept")?;
        assert_eq!(StoredResponse { created_at: response.created_at, ..found }, response);
        for other in [Some("team"), Some("others"), None].into_iter().filter(|other| *other != caller) {
            assert_eq!(ledger.kept(id, other)?, None);
            assert!(!ledger.forget(id, other)?);
        }
        assert!(ledger.forget(id, caller)?);
        assert_eq!(ledger.kept(id, caller)?, None);
    }
    assert!(!format!("{:?}", stored("r", None, at(0))).contains("output"), "it prints without contents");
    Ok(())
}

#[test]
fn a_response_that_is_kept_again_is_kept_as_it_is_then() -> Outcomes {
    let ledger = Ledger::in_memory()?;
    let queued = stored("resp_1", Some("team"), SystemTime::now());
    let ended = StoredResponse { response: "{\"status\":\"completed\"}".into(), ..queued.clone() };
    assert!(ledger.keep(queued) && ledger.keep(ended.clone()));
    assert_eq!(ledger.kept("resp_1", Some("team"))?.map(|found| found.response), Some(ended.response));
    Ok(())
}

#[test]
fn a_response_goes_when_its_term_is_over_and_the_oldest_where_there_is_no_room() -> Outcomes {
    let folder = tempfile::tempdir()?;
    let ledger = Ledger::open(&folder.path().join("ledger.db"))?;
    let bytes = stored("", None, at(0)).bytes() as u64;
    ledger.retain(Retention { term: Duration::from_secs(60), max_bytes: 10 * bytes });
    let now = SystemTime::now();
    for age in (50..=61).rev() {
        assert!(ledger.keep(stored(&age.to_string(), None, now - Duration::from_secs(age))));
    }
    let kept = |age: u64| ledger.kept(&age.to_string(), None).map(|found| found.is_some());
    let kept: Vec<bool> = (50..=61).map(kept).collect::<Result<_, _>>()?;
    // One is too old; of the eleven others ten would fit, and a tenth more goes with the first that does not: the tenth
    // stays where that was written by itself, before the last had come.
    assert!(kept[..9].iter().all(|kept| *kept) && kept[10..].iter().all(|kept| !kept), "{kept:?}");
    Ok(())
}

#[test]
fn nothing_is_left_of_a_response_that_was_deleted() -> Outcomes {
    let folder = tempfile::tempdir()?;
    let ledger = Ledger::open(&folder.path().join("ledger.db"))?;
    let response = StoredResponse { input: "tulip".repeat(5000), ..stored("resp_1", None, SystemTime::now()) };
    assert!(ledger.keep(response) && ledger.kept("resp_1", None)?.is_some());
    let holds = || -> Result<bool, std::io::Error> {
        let mut bytes = Vec::new();
        for file in fs::read_dir(folder.path())? {
            bytes.extend(fs::read(file?.path())?);
        }
        Ok(bytes.windows(5).any(|window| window == b"tulip"))
    };
    assert!(holds()?);
    assert!(ledger.forget("resp_1", None)?);
    assert!(!holds()?);
    Ok(())
}

#[test]
fn a_closed_ledger_keeps_no_more_and_says_so() -> Outcomes {
    let ledger = Ledger::in_memory()?;
    ledger.close()?;
    assert!(!ledger.keep(stored("resp_1", None, SystemTime::now())));
    Ok(())
}
