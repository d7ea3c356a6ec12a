//! Prompts that begin alike: what they share is computed once, and nobody is later for it.

use super::*;

/// Prompts that begin with the same tokens and end with some of their own.
fn alike(id: u64, shared: usize, own: usize) -> Vec<u32> {
    (0..shared as u32).chain((0..own as u32).map(|at| 100_000 * (id as u32 + 1) + at)).collect()
}

fn of(caller: &str, arrival: Arrival) -> Arrival {
    Arrival { caller: Some(caller.into()), ..arrival }
}

/// Takes steps until all have drawn a token, each of which ends then. Tokens of prompts that were computed.
fn until_all_have_drawn(scheduler: &mut Scheduler) -> usize {
    let mut tokens = 0;
    while !scheduler.sequences.is_empty() {
        for (id, _, count, draws) in turn(scheduler) {
            tokens += count;
            if draws {
                scheduler.remove(SequenceId(id));
            }
        }
    }
    tokens
}

#[test]
fn what_sixteen_clients_begin_with_is_computed_once() {
    for budget in [7, 64, 5000] {
        let mut scheduler = scheduler(32, budget, 10_000);
        for id in 0..16 {
            scheduler.enqueue(of(&id.to_string(), arrival(id, &alike(id, 1024, 40))));
        }
        // Each by itself would be 16 times 1,064, which is 17,024.
        assert_eq!(until_all_have_drawn(&mut scheduler), 1024 + 16 * 40, "{budget} tokens a step");
        assert_eq!(scheduler.pages().available(), 10_000);
        assert_eq!(scheduler.totals().prefix_hit_tokens, 15 * 1024);
    }
}

#[test]
fn who_comes_in_the_middle_waits_for_the_rest_and_a_page_is_not_waited_for() {
    let mut scheduler = scheduler(8, 16, 1000);
    scheduler.enqueue(arrival(0, &alike(0, 40, 4)));
    assert_eq!(turn(&mut scheduler), [(0, 0, 16, false)]);
    scheduler.enqueue(of("other", arrival(1, &alike(1, 40, 4))));
    assert_eq!(turn(&mut scheduler), [(0, 16, 16, false)]);
    // Of what the third shares, the first has a page to compute: it does that itself.
    scheduler.enqueue(of("third", arrival(2, &alike(2, 36, 4))));
    assert_eq!(turn(&mut scheduler), [(0, 32, 8, false), (2, 32, 8, true)]);
    assert_eq!(turn(&mut scheduler)[1..], [(0, 40, 4, true), (1, 40, 4, true)]);
}

#[test]
fn where_the_one_that_computes_goes_another_goes_on_from_there() {
    let mut scheduler = scheduler(8, 16, 1000);
    for id in 0..4 {
        scheduler.enqueue(of(&id.to_string(), arrival(id, &alike(id, 60, 4))));
    }
    assert_eq!(turn(&mut scheduler), [(0, 0, 16, false)]);
    assert_eq!(turn(&mut scheduler), [(0, 16, 16, false)]);
    scheduler.remove(SequenceId(0));
    assert_eq!(turn(&mut scheduler), [(1, 32, 16, false)], "one of them, for all");
    scheduler.remove(SequenceId(2));
    assert_eq!(until_all_have_drawn(&mut scheduler), 12 + 2 * 4);
    assert_eq!(scheduler.pages().available(), 1000);
}

#[test]
fn nobody_waits_for_content_of_another_class_nor_of_another_caller_where_reuse_is_confined() {
    let mut scheduler = scheduler(8, 64, 1000);
    let confined = |caller: &str| Some(Arc::new(Realm { class: DataClass::ALL[0], caller: Some(caller.into()) }));
    scheduler.enqueue(arrival(0, &alike(0, 60, 4)));
    scheduler.enqueue(Arrival { realm: Some(realm(1)), ..arrival(1, &alike(1, 60, 4)) });
    scheduler.enqueue(Arrival { realm: confined("a"), ..arrival(2, &alike(2, 60, 4)) });
    scheduler.enqueue(Arrival { realm: confined("b"), ..arrival(3, &alike(3, 60, 4)) });
    scheduler.enqueue(Arrival { realm: None, ..arrival(4, &alike(4, 60, 4)) });
    scheduler.enqueue(Arrival { realm: None, ..arrival(5, &alike(5, 60, 4)) });
    assert_eq!(until_all_have_drawn(&mut scheduler), 6 * 64);
}

#[test]
fn who_waits_counts_for_what_it_computes_itself() {
    let mut scheduler = scheduler(8, 16, 1000);
    for id in 0..3 {
        scheduler.enqueue(of(&id.to_string(), arrival(id, &alike(id, 60, 4))));
    }
    turn(&mut scheduler);
    let mut pending = Vec::new();
    scheduler.pending(&mut pending);
    assert_eq!(pending.iter().map(|pending| pending.tokens).collect::<Vec<_>>(), [48, 4, 4]);
}

#[test]
fn a_prompt_that_waits_for_a_batch_lends_it_its_turns() {
    let mut scheduler = scheduler(8, 32, 1000);
    scheduler.enqueue(Arrival { priority: Priority::Batch, ..of("batch", arrival(0, &alike(0, 64, 32))) });
    assert_eq!(turn(&mut scheduler), [(0, 0, 32, false)]);
    scheduler.enqueue(of("busy", arrival(1, &different(7, 96))));
    scheduler.enqueue(of("one", arrival(2, &alike(2, 128, 32))));
    scheduler.enqueue(of("one", arrival(3, &alike(3, 64, 32))));
    let steps: Vec<_> = (0..12).flat_map(|_| turn(&mut scheduler)).filter(|&(_, _, count, _)| count > 1).collect();
    assert!(steps[..2].contains(&(0, 32, 32, false)), "{steps:?}");
    let drawn: Vec<u64> = steps.iter().filter(|(.., draws)| *draws).map(|&(id, ..)| id).collect();
    assert_eq!((drawn.len(), drawn.last()), (4, Some(&0)), "what the batch has for itself comes after all others");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn whoever_begins_alike_and_whenever_it_is_computed_about_once(
        shared in 1usize..30,
        others in prop::collection::vec((0usize..12, 0u8..4, any::<bool>(), 1usize..20), 1..20),
        budget in 1usize..60,
    ) {
        let shared = shared * PAGE;
        let mut scheduler = scheduler(64, budget, 10_000);
        let (mut computed, mut own) = (0, 0);
        for at in 0..12 {
            let arriving = (0..).zip(&others).filter(|(_, (arrives, ..))| *arrives == at);
            for (id, &(_, caller, batch, tail)) in arriving {
                let priority = if batch { Priority::Batch } else { Priority::Interactive };
                let arrival = arrival(id, &alike(id, shared, tail));
                scheduler.enqueue(Arrival { priority, ..of(&caller.to_string(), arrival) });
                own += tail;
            }
            for (id, _, count, draws) in turn(&mut scheduler) {
                computed += count;
                if draws {
                    scheduler.remove(SequenceId(id));
                }
            }
        }
        computed += until_all_have_drawn(&mut scheduler);
        // Each may compute a page again that it would have waited for.
        prop_assert!(computed <= shared + own + others.len() * PAGE, "{computed} for {shared} and {own}");
    }

    /// The one that computes for it may be the last of many of another caller, or a batch.
    #[test]
    fn nobody_is_later_for_having_waited(
        flood in 1usize..40,
        is_batch in any::<bool>(),
        shared in 1usize..80,
        own in 1usize..40,
        budget in 32usize..128,
    ) {
        let mut scheduler = scheduler(1000, budget, 10_000);
        let priority = if is_batch { Priority::Batch } else { Priority::Interactive };
        for id in 0..flood as u64 {
            let prompt = if id + 1 < flood as u64 { different(5000 + id as u32, 90) } else { alike(id, shared, 90) };
            scheduler.enqueue(Arrival { priority, ..of("many", arrival(id, &prompt)) });
        }
        scheduler.enqueue(of("one", arrival(999, &alike(999, shared, own))));
        let steps = (0..).take_while(|_| !turn(&mut scheduler).iter().any(|&(id, .., draws)| id == 999 && draws));
        // It has every other slice, of what is shared and of its own; what follows the shared comes a step later.
        let slices = shared.div_ceil(SLICE) + own.div_ceil(SLICE) + 1;
        prop_assert!(steps.count() <= ((2 * slices + 1) * SLICE).div_ceil(budget) + 1);
    }
}
