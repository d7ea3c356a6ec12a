//! A crowd at the door: a hundred clients at once, some of whom walk away in the middle.

use harness::{Golden, Streamed, Weighbridge, demo_model, eventually, goldens};

/// Clients at once.
const CROWD: usize = 100;

/// One in so many hangs up.
const HANGS_UP: usize = 10;

/// How much more memory than after the crowd before the program may hold: what an allocator keeps back in
/// pieces, and far less than the keys and values of a hundred sequences, which take 28 MiB.
const SLACK_BYTES: u64 = 8 << 20;

/// Lets a whole crowd in, and holds what each of those who stay has heard against the reference.
async fn visit(program: &Weighbridge) {
    let story = &goldens()[0];
    let questions = goldens().iter().filter(|golden| golden.tools.is_null()).cycle();
    let visits = (0..CROWD).zip(questions).map(async |(place, golden)| match place % HANGS_UP {
        // Hears the beginning of a long story and hangs up.
        0 => program.open_stream(&story.body()).await.read_texts(2).await,
        _ => assert_heard_whole(golden, &program.open_stream(&golden.body()).await.finish().await),
    });
    futures_util::future::join_all(visits).await;
    let gone = async || program.metrics().await.sum("weighbridge_requests_in_flight", &[]) == 0.0;
    assert!(eventually(gone).await, "somebody is still inside");
}

#[track_caller]
fn assert_heard_whole(golden: &Golden, stream: &Streamed) {
    assert_eq!((stream.status, stream.done, stream.broken), (200, true, false), "{:?}", stream.last());
    assert_eq!(stream.text(), golden.answer);
    assert_eq!(stream.finish_of(0).as_deref(), Some("stop"));
}

#[tokio::test]
async fn a_crowd_is_answered_whole_though_some_hang_up_and_leaves_nothing_behind() {
    let mut program = Weighbridge::start(demo_model()).await;
    // The first crowd makes the program take what it needs, once.
    visit(&program).await;
    let before = program.memory_bytes();
    visit(&program).await;
    let after = program.memory_bytes();
    assert!(after <= before + SLACK_BYTES, "memory grew from {before} to {after} bytes");

    let metrics = program.metrics().await;
    assert_eq!(metrics.sum("weighbridge_queue_running", &[]) + metrics.sum("weighbridge_queue_waiting", &[]), 0.0);
    let counted = |kind| metrics.sum("weighbridge_tokens_total", &[("kind", kind)]);
    let (prompt, completion) = (counted("prompt"), counted("completion"));
    assert!(program.stop().await.success());

    let ledger = program.ledger();
    let count =
        |outcome: &str| ledger.one::<i64>(&format!("SELECT count(*) FROM receipts WHERE outcome = '{outcome}'"));
    let cancelled = 2 * (CROWD / HANGS_UP) as i64;
    assert_eq!((count("completed"), count("cancelled")), (2 * CROWD as i64 - cancelled, cancelled));
    assert_eq!(ledger.one::<i64>("SELECT count(*) FROM receipts"), 2 * CROWD as i64);
    assert_eq!(ledger.one::<i64>("SELECT sum(prompt_tokens) FROM receipts") as f64, prompt);
    assert_eq!(ledger.one::<i64>("SELECT sum(completion_tokens) FROM receipts") as f64, completion);
    let sent: i64 = ledger.one("SELECT sum(completion_tokens) FROM receipts WHERE outcome = 'completed'");
    assert_eq!(sent, tokens_heard(), "receipts add up to the tokens sent");
    let longest: i64 = ledger.one("SELECT max(completion_tokens) FROM receipts WHERE outcome = 'cancelled'");
    let story = goldens()[0].greedy.len() as i64;
    assert!(longest < story, "a story of {story} tokens was told to its end for a client that had hung up");
}

/// Tokens of all answers that both crowds heard to the end.
fn tokens_heard() -> i64 {
    let questions = goldens().iter().filter(|golden| golden.tools.is_null()).cycle();
    let heard = (0..CROWD).zip(questions).filter(|(place, _)| place % HANGS_UP != 0);
    2 * heard.map(|(_, golden)| golden.greedy.len() as i64).sum::<i64>()
}
