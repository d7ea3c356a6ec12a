//! Layers with windows: pages behind them are let go, and no text shows it.

use std::fs;

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use weighbridge_models::{Compute, Precision};

use super::pages::{finish, long, texts};
use super::*;

/// Tokens of the windows here.
const WINDOW: usize = 40;
/// Tokens of prompts in a step.
const STEP: usize = 32;
/// The most pages that a sequence may have in layers with windows.
const MOST: usize = (WINDOW + STEP).div_ceil(32) + 1;

/// The demo model with windows in its layers: in all of them, or in every other.
fn with_windows(everywhere: bool) -> Result<TempDir, Box<dyn Error>> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo");
    let folder = TempDir::new()?;
    for file in ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        fs::copy(demo.join(file), folder.path().join(file))?;
    }
    let mut config: Json = serde_json::from_slice(&fs::read(demo.join("config.json"))?)?;
    config["sliding_window"] = json!(WINDOW);
    if everywhere {
        (config["model_type"], config["architectures"]) = (json!("mistral"), json!(["MistralForCausalLM"]));
    } else {
        (config["model_type"], config["architectures"]) = (json!("smollm3"), json!(["SmolLM3ForCausalLM"]));
        config["use_sliding_window"] = json!(true);
        config["no_rope_layers"] = json!([1, 1, 1, 1]);
        config["layer_types"] = json!(["full_attention", "sliding_attention", "full_attention", "sliding_attention"]);
    }
    fs::write(folder.path().join("config.json"), config.to_string())?;
    Ok(folder)
}

fn on(folder: &TempDir, change: impl FnOnce(&mut ModelOptions)) -> Result<(Desk, Engine), Box<dyn Error>> {
    let checkpoint = Checkpoint::open(folder.path())?;
    opened(|options| {
        (options.checkpoint, options.compute) = (checkpoint, Compute::cpu(Precision::F32));
        (options.max_running, options.max_waiting, options.prefill_chunk) = (40, 40, Some(STEP));
        change(options);
    })
}

fn alone(folder: &TempDir, request: &Request) -> Result<(String, Usage), Box<dyn Error>> {
    let (desk, mut engine) = on(folder, |options| options.prefix_reuse = PrefixReuse::Off)?;
    let answering = desk.start(request)?;
    Ok(finish(&mut engine, vec![answering]).remove(0))
}

/// For both kinds of model.
fn each(check: impl Fn(&TempDir) -> Outcome) -> Outcome {
    [true, false].into_iter().try_for_each(|everywhere| check(&with_windows(everywhere)?))
}

/// A long question with an answer of 200 tokens.
fn longer(seed: i64) -> Request {
    Request { max_output_tokens: Some(200), ..long(seed) }
}

#[test]
fn a_long_answer_holds_what_its_window_sees_and_no_more() -> Outcome {
    each(|folder| {
        let (desk, mut engine) = on(folder, |_| {})?;
        let mut answering = desk.start(&longer(7))?;
        let (mut pages, mut events) = (0, Vec::new());
        while !events.iter().any(is_finish) {
            turn(&mut engine);
            events.extend(published(&mut answering.events));
            pages = pages.max(engine.windowed().used);
        }
        let tokens = answering.meter.usage().prompt_tokens + answering.meter.usage().completion_tokens;
        assert!(tokens > 3 * WINDOW as u64, "{tokens} tokens");
        assert!((2..=MOST).contains(&pages), "{pages} pages");
        assert_eq!((engine.windowed().used, engine.windowed().unpromised), (0, engine.windowed().capacity));
        Ok(())
    })
}

#[test]
fn a_prefix_whose_beginning_the_windows_have_passed_is_found_and_says_the_same() -> Outcome {
    each(|folder| {
        let (expected, usage) = alone(folder, &longer(7))?;
        assert!(usage.prompt_tokens > 2 * WINDOW as u64 && usage.cached_tokens == 0);
        let (desk, mut engine) = on(folder, |_| {})?;
        for round in 0..3 {
            let answering = desk.start(&longer(7))?;
            let (text, used) = finish(&mut engine, vec![answering]).remove(0);
            let cached = if round == 0 { 0 } else { (usage.prompt_tokens - 1) / 32 * 32 };
            assert_eq!((text.as_str(), used), (expected.as_str(), Usage { cached_tokens: cached, ..usage }));
            assert_eq!(
                desk.forecast(&longer(7), &Standing::default())?.cached_tokens,
                (usage.prompt_tokens - 1) / 32 * 32
            );
        }
        Ok(())
    })
}

#[test]
fn what_was_taken_from_the_windows_of_a_prefix_is_computed_again() -> Outcome {
    each(|folder| {
        let (expected, usage) = alone(folder, &longer(7))?;
        // Pages of two sequences at most: the windows of all others are taken from those before.
        let page_bytes = on(folder, |_| {})?.1.page_bytes();
        let (desk, mut engine) = on(folder, |options| {
            (options.context, options.page_memory) = (Some(640), Some(24 * page_bytes));
        })?;
        let mut cached = Vec::new();
        for seed in [7, 7, 8, 9, 7, 7] {
            let other = Request { messages: ask(&format!("{seed} {}", "lamp ".repeat(60))).messages, ..longer(seed) };
            let answering = desk.start(&if seed == 7 { longer(7) } else { other })?;
            let (text, used) = finish(&mut engine, vec![answering]).remove(0);
            if seed == 7 {
                assert_eq!((&text, used.completion_tokens), (&expected, usage.completion_tokens));
                cached.push(used.cached_tokens);
            }
        }
        assert_eq!(
            (cached[0], cached[1], cached[3]),
            (0, cached[3], (usage.prompt_tokens - 1) / 32 * 32),
            "{cached:?}"
        );
        Ok(())
    })
}

#[test]
fn a_text_is_the_same_among_many_and_though_pages_run_out() -> Outcome {
    each(|folder| {
        let requests = [longer(1), ask(STORY), longer(2), long(3), longer(4), ask("Hello")];
        let expected = requests.iter().map(|request| alone(folder, request)).collect::<Result<Vec<_>, _>>()?;
        let page_bytes = on(folder, |_| {})?.1.page_bytes();
        for pages in [20, 26, 400] {
            let (desk, mut engine) = on(folder, |options| {
                (options.context, options.page_memory) = (Some(512), Some(pages * page_bytes));
            })?;
            let whole = (engine.free_pages(), engine.windowed().unpromised);
            let answerings = requests.iter().map(|request| desk.start(request)).collect::<Result<Vec<_>, _>>()?;
            let found = finish(&mut engine, answerings);
            for ((text, used), (expected, usage)) in found.iter().zip(&expected) {
                assert_eq!((text, used.completion_tokens), (expected, usage.completion_tokens), "on {pages} pages");
            }
            assert_eq!((engine.free_pages(), engine.windowed().unpromised), whole);
        }
        Ok(())
    })
}

#[test]
fn several_answers_and_those_who_hang_up_leave_no_page_behind() -> Outcome {
    each(|folder| {
        let (expected, _) = alone(folder, &longer(7))?;
        let (desk, mut engine) = on(folder, |_| {})?;
        let several = Request { choices: NonZeroU32::MIN.saturating_add(3), ..longer(7) };
        let mut kept = desk.start(&several)?;
        for seed in 0..12 {
            let dropped = desk.start(&longer(seed))?;
            (0..seed * 3).for_each(|_| turn(&mut engine));
            drop(dropped);
        }
        let mut events = Vec::new();
        while !matches!(events.last(), Some(Ok(Event::Usage(_)))) {
            turn(&mut engine);
            events.extend(published(&mut kept.events));
        }
        assert_eq!(texts(&events, 0), expected);
        assert_ne!(texts(&events, 1), expected);
        assert_eq!((engine.windowed().used, engine.windowed().unpromised), (0, engine.windowed().capacity));
        Ok(())
    })
}
