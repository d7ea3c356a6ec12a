//! On the kernels: pages that sequences share, give back and run out of, and texts that do not show it.

use weighbridge_backend::{DataClass, Priority, Stage};
use weighbridge_models::{Compute, Precision};

use super::*;

/// The demo model on pages, with what a test changes.
fn on_pages(change: impl FnOnce(&mut ModelOptions)) -> Result<(Desk, Engine), Box<dyn Error>> {
    opened(|options| {
        options.compute = Compute::cpu(Precision::F32);
        (options.max_running, options.max_waiting, options.prefill_chunk) = (40, 40, None);
        change(options);
    })
}

/// A request of more than two pages whose text is drawn.
pub(super) fn long(seed: i64) -> Request {
    let question = format!("{} {STORY}", "a fox and a lamp, ".repeat(12));
    Request { sampling: Sampling { temperature: Some(1.5), seed: Some(seed), ..Sampling::default() }, ..ask(&question) }
}

fn of_class(class: DataClass, caller: &str, request: Request) -> Request {
    let caller = (!caller.is_empty()).then(|| caller.into());
    Request { standing: Standing { class, caller, ..Standing::default() }, ..request }
}

pub(super) fn texts(events: &[Result<Event, Failure>], choice: u32) -> String {
    let text = |event: &Result<Event, Failure>| match event {
        Ok(Event::Text { choice: whose, text, .. }) if *whose == choice => Some(text.clone()),
        _ => None,
    };
    events.iter().filter_map(text).collect()
}

/// Takes steps until the answers are whole, and gives their texts and what they used.
pub(super) fn finish(engine: &mut Engine, mut answerings: Vec<Answering>) -> Vec<(String, Usage)> {
    let mut events = vec![Vec::new(); answerings.len()];
    let is_over = |event: Option<&Result<Event, Failure>>| matches!(event, Some(Ok(Event::Usage(_)) | Err(_)));
    while !events.iter().all(|events: &Vec<_>| is_over(events.last())) {
        turn(engine);
        for (answering, events) in answerings.iter_mut().zip(&mut events) {
            events.extend(published(&mut answering.events));
        }
    }
    answerings.iter().zip(events).map(|(answering, events)| (texts(&events, 0), answering.meter.usage())).collect()
}

fn alone(request: &Request) -> Result<(String, Usage), Box<dyn Error>> {
    let (desk, mut engine) = on_pages(|options| options.prefix_reuse = PrefixReuse::Off)?;
    let answering = desk.start(request)?;
    Ok(finish(&mut engine, vec![answering]).remove(0))
}

#[test]
fn a_prompt_that_begins_like_another_is_not_computed_again_and_says_the_same() -> Outcome {
    let (expected, usage) = alone(&long(7))?;
    assert!(usage.prompt_tokens > 70 && usage.cached_tokens == 0 && expected.len() > 20);
    let (desk, mut engine) = on_pages(|_| {})?;
    let whole = engine.free_pages();
    for round in 0..3 {
        let answering = desk.start(&long(7))?;
        let (text, used) = finish(&mut engine, vec![answering]).remove(0);
        let cached = if round == 0 { 0 } else { (usage.prompt_tokens - 1) / 32 * 32 };
        assert_eq!((text.as_str(), used), (expected.as_str(), Usage { cached_tokens: cached, ..usage }));
        assert_eq!(engine.free_pages(), whole);
    }
    Ok(())
}

#[test]
fn a_prefix_never_serves_another_class_nor_another_caller_where_it_is_confined() -> Outcome {
    use DataClass::{Confidential, Internal};
    let asked = [(Internal, "a"), (Confidential, "a"), (Internal, "b"), (Internal, "a"), (Confidential, "b")];
    for (reuse, hits) in [
        (PrefixReuse::Class, [false, false, true, true, true]),
        (PrefixReuse::Caller, [false, false, false, true, false]),
        (PrefixReuse::Off, [false; 5]),
    ] {
        let (desk, mut engine) = on_pages(|options| options.prefix_reuse = reuse)?;
        for ((class, caller), hit) in asked.into_iter().zip(hits) {
            let answering = desk.start(&of_class(class, caller, long(7)))?;
            let used = finish(&mut engine, vec![answering]).remove(0).1;
            assert_eq!(used.cached_tokens > 0, hit, "{reuse:?}: {class} of {caller}");
        }
    }
    Ok(())
}

#[test]
fn a_text_is_the_same_in_chunks_of_any_size_and_among_many() -> Outcome {
    let (expected, _) = alone(&long(7))?;
    for chunk in [1, 7, 33, 512] {
        let (desk, mut engine) = on_pages(|options| options.prefill_chunk = Some(chunk))?;
        let mut answerings = vec![desk.start(&long(7))?];
        let others = if chunk == 7 { 31 } else { 1 };
        for seed in 0..others {
            answerings.push(desk.start(&if seed % 2 == 0 { ask(STORY) } else { long(seed) })?);
        }
        let found = finish(&mut engine, answerings);
        assert_eq!(found[0].0, expected, "in chunks of {chunk}");
    }
    Ok(())
}

#[test]
fn what_many_begin_with_at_once_is_computed_once_and_each_says_what_it_says_alone() -> Outcome {
    const CLIENTS: i64 = 16;
    let system = "You know all about foxes and lamps. ".repeat(20);
    let asked = |client: i64| {
        let question = Said::of_text(Role::User, format!("Tell me of fox {client}."));
        let messages = vec![Said::of_text(Role::System, system.as_str()), question];
        let request = Request { sampling: long(client).sampling, ..Request::new("r-1", "demo", messages) };
        of_class(DataClass::Internal, &client.to_string(), Request { max_output_tokens: Some(8), ..request })
    };
    let (desk, mut engine) = on_pages(|options| options.prefix_reuse = PrefixReuse::Off)?;
    let mut expected = Vec::new();
    for client in 0..CLIENTS {
        let answering = desk.start(&asked(client))?;
        expected.extend(finish(&mut engine, vec![answering]));
    }
    for reuse in [PrefixReuse::Class, PrefixReuse::Caller] {
        let (desk, mut engine) = on_pages(|options| options.prefix_reuse = reuse)?;
        let whole = engine.free_pages();
        let answerings = (0..CLIENTS).map(|client| desk.start(&asked(client))).collect::<Result<Vec<_>, _>>()?;
        let found = finish(&mut engine, answerings);
        for ((text, used), (expected, alone)) in found.iter().zip(&expected) {
            assert_eq!((text, used.prompt_tokens), (expected, alone.prompt_tokens));
        }
        let cached: Vec<u64> = found.iter().map(|(_, used)| used.cached_tokens).collect();
        assert_eq!(cached[0], 0);
        let shared = if reuse == PrefixReuse::Class { cached[1] } else { 0 };
        assert!(cached[1..].iter().all(|&cached| cached == shared), "{cached:?}");
        assert!(shared >= 128 || reuse == PrefixReuse::Caller, "{shared} tokens");
        assert_eq!(engine.free_pages(), whole);
    }
    Ok(())
}

#[test]
fn several_answers_share_their_prompt() -> Outcome {
    let (expected, usage) = alone(&long(7))?;
    let (desk, mut engine) = on_pages(|_| {})?;
    let whole = engine.free_pages();
    let several = Request { choices: NonZeroU32::MIN.saturating_add(3), ..long(7) };
    let mut answering = desk.start(&several)?;
    let pages = (usage.prompt_tokens as usize).div_ceil(32);
    while answering.meter.usage().completion_tokens < 8 {
        turn(&mut engine);
    }
    let taken = whole - engine.free_pages();
    assert!(taken < 4 * pages && taken >= pages, "{taken} pages for four answers to a prompt of {pages}");
    let mut events = published(&mut answering.events);
    while !matches!(events.last(), Some(Ok(Event::Usage(_)))) {
        turn(&mut engine);
        events.extend(published(&mut answering.events));
    }
    assert_eq!(texts(&events, 0), expected);
    assert_ne!(texts(&events, 1), expected);
    assert_eq!(answering.meter.usage().prompt_tokens, usage.prompt_tokens, "it is counted once");
    assert_eq!(engine.free_pages(), whole);
    Ok(())
}

#[test]
fn a_text_is_the_same_though_its_pages_were_taken_in_between() -> Outcome {
    let drawn = Request { sampling: long(3).sampling, max_output_tokens: Some(80), ..ask(STORY) };
    let asked = [ask(STORY), ask(STORY), ask(STORY), drawn];
    let page_bytes = on_pages(|_| {})?.1.page_bytes();
    let expected = asked.iter().map(alone).collect::<Result<Vec<_>, _>>()?;
    for reuse in [PrefixReuse::Off, PrefixReuse::Class] {
        let (desk, mut engine) = on_pages(|options| {
            (options.context, options.page_memory) = (Some(160), Some(6 * page_bytes));
            options.prefix_reuse = reuse;
        })?;
        assert_eq!(engine.free_pages(), 6);
        let mut answerings = asked.iter().map(|request| desk.start(request)).collect::<Result<Vec<_>, _>>()?;
        let mut events = vec![Vec::new(); asked.len()];
        let mut stalled = 0;
        while !events.iter().all(|events: &Vec<_>| matches!(events.last(), Some(Ok(Event::Usage(_))))) {
            let before: Vec<Usage> = answerings.iter().map(|answering| answering.meter.usage()).collect();
            turn(&mut engine);
            for ((answering, events), before) in answerings.iter_mut().zip(&mut events).zip(before) {
                events.extend(published(&mut answering.events));
                let stands = before.completion_tokens > 0 && answering.meter.usage() == before;
                stalled += usize::from(stands && !events.iter().any(is_finish));
            }
        }
        // Those that share come to stand on the same pages, for they say the same.
        assert!(stalled > 0 || reuse == PrefixReuse::Class, "nobody was preempted");
        for ((events, answering), (text, usage)) in events.iter().zip(&answerings).zip(&expected) {
            let used = answering.meter.usage();
            assert_eq!((&texts(events, 0), used.completion_tokens), (text, usage.completion_tokens));
            assert_eq!(used.prompt_tokens, usage.prompt_tokens, "counted once");
        }
        assert_eq!(engine.free_pages(), 6);
    }
    Ok(())
}

#[test]
fn whoever_hangs_up_gives_all_pages_back_within_a_step_wherever_it_stands() -> Outcome {
    let (desk, mut engine) = on_pages(|options| {
        (options.max_running, options.max_waiting, options.prefill_chunk) = (6, 60, Some(16));
    })?;
    let whole = engine.free_pages();
    let keeps = desk.start(&ask(STORY))?;
    let mut others = Vec::new();
    for round in 0..30_usize {
        let choices = NonZeroU32::MIN.saturating_add(round as u32 % 3);
        others.push(desk.start(&Request { choices, ..long(round as i64) })?);
        turn(&mut engine);
        // In the queue, in mid-prefill, among followers and in the midst of an answer.
        if round % 3 == 2 {
            others.swap_remove(round * 7 % others.len());
        }
        if round % 10 == 9 {
            others.clear();
            turn(&mut engine);
            assert_eq!(desk.places.load().waiting + desk.places.load().running, 1);
        }
    }
    drop((keeps, others));
    // Wakes the loop, which sleeps once nobody is left.
    let last = desk.start(&ask("Hello"))?;
    finish(&mut engine, vec![last]);
    assert_eq!(engine.free_pages(), whole);
    assert_eq!(desk.places.load(), Load::default());
    Ok(())
}

#[test]
fn a_request_fails_when_its_time_is_over_also_in_the_queue() -> Outcome {
    let (desk, mut engine) = on_pages(|options| options.max_running = 1)?;
    let running = desk.start(&ask(STORY))?;
    let standing = Standing { deadline: Some(std::time::Instant::now()), ..Standing::default() };
    let mut late = desk.start(&Request { standing, ..ask(STORY) })?;
    turn(&mut engine);
    let last = published(&mut late.events).pop();
    assert!(matches!(last, Some(Err(failure)) if failure.kind == FailureKind::Timeout(Stage::Total)));
    assert_eq!(desk.places.load(), Load { waiting: 0, running: 1 });
    drop(running);
    Ok(())
}

#[test]
fn a_batch_begins_after_those_who_wait_before_the_answer() -> Outcome {
    let (desk, mut engine) = on_pages(|options| options.max_running = 1)?;
    let standing = Standing { priority: Priority::Batch, ..Standing::default() };
    let mut batch = desk.start(&Request { standing, ..ask("Hello") })?;
    let waits = desk.start(&ask("Hello"))?;
    finish(&mut engine, vec![waits]);
    assert_eq!(published(&mut batch.events), []);
    finish(&mut engine, vec![batch]);
    Ok(())
}

#[test]
fn pages_that_do_not_hold_the_context_are_refused_with_figures() -> Outcome {
    let page_bytes = on_pages(|_| {})?.1.page_bytes();
    let refused = on_pages(|options| options.page_memory = Some(31 * page_bytes)).err().map(|error| error.to_string());
    assert!(refused.is_some_and(|why| why.contains("1024 tokens") && why.contains("hold 992 tokens")));
    let (desk, _) = on_pages(|options| options.page_memory = Some(32 * page_bytes))?;
    assert_eq!(desk.offer.context, Some(1024));
    Ok(())
}

#[test]
fn a_forecast_follows_what_is_computed_and_what_waits() -> Outcome {
    let (desk, mut engine) = on_pages(|_| {})?;
    let forecast = |request: &Request| desk.forecast(request, &request.standing);
    let request = long(7);
    let unknown = forecast(&request)?;
    let tokens = unknown.prompt.tokens();
    assert_eq!(unknown.cached_tokens, 0);
    assert!(unknown.first_token.is_some() && unknown.compute_time(5).is_some(), "a step was measured as it loaded");
    let answering = desk.start(&request)?;
    let usage = finish(&mut engine, vec![answering]).remove(0).1;
    let again = forecast(&request)?;
    assert_eq!(again.cached_tokens, (tokens - 1) / 32 * 32);
    assert!(again.first_token.is_some() && again.compute_time(5).is_some());
    let other = of_class(DataClass::Public, "", request.clone());
    let apart = forecast(&other)?;
    assert_eq!(apart.cached_tokens, 0, "nothing is foretold across classes");
    assert!(apart.first_token >= again.first_token);
    // Whoever is on the way to the engine counts, and so does what the engine has taken in.
    let mut others = Vec::new();
    for seed in 0..8 {
        others.push(desk.start(&of_class(DataClass::Public, "", long(seed)))?);
    }
    let behind = forecast(&other)?;
    assert!(behind.first_token > apart.first_token);
    finish(&mut engine, others);
    let last = desk.start(&request)?;
    finish(&mut engine, vec![last]);
    let figures = desk.board.computation();
    let pages = figures.pages.ok_or("the kernels compute on pages")?;
    assert_eq!((pages.used, pages.capacity), (0, engine.free_pages()));
    assert!(pages.cached > 0);
    // Of the eight that came at once one computed it for the others, and the last found it.
    assert_eq!(figures.prefix_hit_tokens, (7 + 1) * again.cached_tokens);
    assert!(figures.steps > usage.completion_tokens);
    Ok(())
}

#[test]
fn a_queue_is_told_as_the_step_begins_and_nothing_is_left_of_it_at_the_end() -> Outcome {
    let (desk, mut engine) = on_pages(|options| (options.max_running, options.prefill_chunk) = (1, Some(16)))?;
    let first = desk.start(&long(1))?;
    let second = desk.start(&long(2))?;
    turn(&mut engine);
    assert!(desk.board.computation().pages.is_some_and(|pages| pages.used > 0));
    drop(second);
    finish(&mut engine, vec![first]);
    assert!(desk.board.computation().pages.is_some_and(|pages| pages.used == 0));
    let alone = desk.forecast(&ask(STORY), &Standing::default())?;
    let again = desk.forecast(&ask(STORY), &Standing::default())?;
    assert_eq!(alone, again, "nobody is left ahead");
    Ok(())
}
