//! Demo models that share a memory.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use futures_util::StreamExt;
use weighbridge_backend::{Backend, Event, FailureKind, Health, Load, ModelState};
use weighbridge_models::{Checkpoint, Compute, Precision};

use super::*;
use crate::local::tests::ask;

type Outcome = Result<(), Box<dyn Error>>;

const STORY: &str = "Tell me a story about a fox and a lamp.";

fn demo_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo")
}

fn model(name: &str, folder: &Path) -> Result<PoolModel, Box<dyn Error>> {
    let options = ModelOptions::new(BackendId::new(name), Checkpoint::open(folder)?);
    let options = ModelOptions { compute: Compute::cpu(Precision::F32), ..options };
    Ok(PoolModel { options, pinned: false, keep_alive: None })
}

/// Demo models under these names.
fn models(names: &[&str]) -> Result<Vec<PoolModel>, Box<dyn Error>> {
    names.iter().map(|name| model(name, &demo_folder())).collect()
}

/// What the demo model takes.
fn demo_bytes() -> Result<u64, Box<dyn Error>> {
    let plan = PoolPlan::new(budget(u64::MAX >> 1), models(&["demo"])?)?;
    Ok(plan.models().map(|(_, footprint)| footprint.total()).sum())
}

fn budget(bytes: u64) -> PoolOptions {
    PoolOptions { budget: Some(bytes), load_wait: Duration::from_secs(30) }
}

/// A budget that holds so many demo models.
fn room_for(count: u64) -> Result<PoolOptions, Box<dyn Error>> {
    Ok(budget(count * demo_bytes()? + (1 << 20)))
}

fn start(pool: PoolOptions, models: Vec<PoolModel>) -> Result<ModelPool, Box<dyn Error>> {
    Ok(ModelPool::start(PoolPlan::new(pool, models)?, &mut |_, _| {})?)
}

async fn read(model: &PooledModel) -> Result<String, weighbridge_backend::Failure> {
    let mut answering = model.answer(Arc::new(ask(STORY))).await?;
    let mut text = String::new();
    while let Some(event) = answering.events.next().await {
        if let Event::Text { text: more, .. } = event? {
            text += &more;
        }
    }
    Ok(text)
}

/// Waits until a claim holds.
async fn eventually(claim: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while !claim() && began.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    claim()
}

fn states(pool: &ModelPool) -> Vec<&'static str> {
    pool.models().status().models.iter().map(|model| model.state.as_str()).collect()
}

#[test]
fn a_model_that_can_never_fit_is_refused_with_figures() -> Outcome {
    let refused = |pool, models| PoolPlan::new(pool, models).err().map(|error| error.to_string()).unwrap_or_default();
    let said = refused(budget(20 << 20), models(&["demo"])?);
    assert!(said.contains("the model \"demo\" takes ") && said.contains("the memory budget is 20 MiB"), "{said}");
    let pinned =
        |name| -> Result<PoolModel, Box<dyn Error>> { Ok(PoolModel { pinned: true, ..model(name, &demo_folder())? }) };
    // One fits, two do not, were it with a single page each.
    let little = || budget(60 << 20);
    assert_eq!(refused(little(), models(&["demo"])?), "");
    let said = refused(little(), vec![pinned("a")?, pinned("b")?]);
    assert!(said.contains("pinned take") && said.contains("\"a\" ") && said.contains("\"b\" "), "{said}");
    let said = refused(little(), vec![pinned("a")?, model("b", &demo_folder())?]);
    assert!(said.contains("the model \"b\" takes ") && said.contains("of which pinned models hold"), "{said}");
    let mut short = model("short", &demo_folder())?;
    short.options.page_memory = Some(100 << 10);
    let said = refused(budget(1 << 30), vec![short]);
    assert!(said.contains("100 KiB") || said.contains("are set aside for pages"), "{said}");
    Ok(())
}

#[test]
fn what_is_pinned_leaves_room_for_the_others() -> Outcome {
    let mut models = models(&["pinned", "other"])?;
    models[0].pinned = true;
    let plan = PoolPlan::new(budget(demo_bytes()?), models)?;
    let taken: u64 = plan.models().map(|(_, footprint)| footprint.total()).sum();
    assert!(taken <= demo_bytes()?, "{taken}");
    let own = Checkpoint::open(&demo_folder())?.summary().context;
    assert!(plan.models().all(|(model, _)| model.options.context == Some(own)), "each has its whole context");
    Ok(())
}

#[test]
fn where_there_is_less_room_there_are_fewer_pages_and_less_context() -> Outcome {
    let whole = PoolPlan::new(budget(1 << 30), models(&["demo"])?)?;
    let fixed = whole.models().map(|(_, footprint)| footprint.weights + footprint.rest).sum::<u64>();
    let planned = |room: u64, change: fn(&mut ModelOptions)| -> Result<(u64, Option<u32>, u64), Box<dyn Error>> {
        let mut models = models(&["demo"])?;
        change(&mut models[0].options);
        let plan = PoolPlan::new(budget(fixed + room), models)?;
        let (model, footprint) = plan.models().next().ok_or("there is one")?;
        Ok((footprint.pages, model.options.context, footprint.total()))
    };
    let (pages, context, total) = planned(1 << 20, |_| {})?;
    assert!(pages <= 1 << 20 && context < Some(1024) && context > Some(0) && total <= fixed + (1 << 20));
    assert!(planned(1 << 20, |options| options.context = Some(1024)).is_err(), "what is asked for is not served less");
    let (pages, context, _) = planned(64 << 20, |options| options.page_memory = Some(32 << 20))?;
    assert_eq!((pages, context), (32 << 20, Some(1024)));
    Ok(())
}

#[tokio::test]
async fn three_models_in_room_for_two_all_answer() -> Outcome {
    let pool = start(room_for(2)?, models(&["a", "b", "c"])?)?;
    assert_eq!(states(&pool), ["unloaded"; 3]);
    let status = || pool.models().status();
    let budget = status().budget_bytes.unwrap_or_default();
    let mut texts = Vec::new();
    for round in 0..3 {
        for model in pool.backends() {
            assert_eq!(model.health(), Health::Ready, "round {round}");
            texts.push(read(model).await?);
            assert!(status().held_bytes <= budget);
        }
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "they are the same model: {texts:?}");
    // All at once: whoever comes third waits until one of the others has ended.
    let both = futures_util::future::join_all(pool.backends().iter().map(|model| read(model))).await;
    assert!(both.iter().all(|answer| answer.as_ref().ok() == texts.first()), "{both:?}");
    assert!(status().held_bytes <= budget);
    assert_eq!(pool.backends().iter().map(|model| model.load()).collect::<Vec<_>>(), [Load::default(); 3]);
    Ok(())
}

#[tokio::test]
async fn what_is_away_is_foretold_with_its_load() -> Outcome {
    let pool = start(room_for(1)?, models(&["a", "b"])?)?;
    let [a, b] = pool.backends() else { return Err("there are two".into()) };
    let foretold = |model: &PooledModel| model.forecast(&ask(STORY), &Default::default());
    assert_eq!(foretold(a)?.first_token, None, "nothing was ever loaded");
    read(a).await?;
    let there = foretold(a)?;
    assert!(there.first_token.is_some());
    assert_eq!(foretold(b)?.first_token, None, "how fast it computes is not known");
    read(b).await?;
    assert_eq!(states(&pool), ["unloaded", "ready"]);
    let away = foretold(a)?;
    let load = away.first_token.zip(away.compute_time(0)).map(|(first, computing)| first.saturating_sub(computing));
    assert!(load > Some(Duration::from_millis(1)) && load < Some(Duration::from_secs(60)), "{load:?} of {away:?}");
    assert_eq!((away.prompt, away.cached_tokens), (there.prompt, 0));
    Ok(())
}

#[tokio::test]
async fn a_model_under_way_stays_and_who_waits_in_vain_is_told_figures() -> Outcome {
    let pool = start(PoolOptions { load_wait: Duration::from_millis(300), ..room_for(1)? }, models(&["a", "b"])?)?;
    let [a, b] = pool.backends() else { return Err("there are two".into()) };
    let answering = a.answer(Arc::new(ask(STORY))).await?;
    let refused = read(b).await.err().ok_or("there is no room")?;
    assert_eq!(refused.kind, FailureKind::Unavailable);
    for piece in ["found no room within 0.3 s", "(a ", "1 answers under way", "memory_budget_mib"] {
        assert!(refused.message.contains(piece), "{}", refused.message);
    }
    assert!(refused.retry_after.is_some());
    let unload = pool.models().unload(&BackendId::new("a")).await;
    assert_eq!(unload, Err(ModelRefusal::Busy { requests: 1 }));
    assert_eq!(states(&pool), ["ready", "unloaded"]);
    drop(answering);
    assert!(!read(b).await?.is_empty());
    assert_eq!(states(&pool), ["unloaded", "ready"]);
    Ok(())
}

#[tokio::test]
async fn who_goes_while_waiting_is_forgotten() -> Outcome {
    let pool = start(room_for(1)?, models(&["a", "b"])?)?;
    let [a, b] = pool.backends() else { return Err("there are two".into()) };
    let answering = a.answer(Arc::new(ask(STORY))).await?;
    {
        let waits = b.answer(Arc::new(ask(STORY)));
        let gone = tokio::time::timeout(Duration::from_millis(50), waits).await;
        assert!(gone.is_err(), "it waits");
    }
    assert_eq!(b.load(), Load::default());
    let mut late = ask(STORY);
    late.standing.deadline = Some(Instant::now() + Duration::from_millis(50));
    let failure = b.answer(Arc::new(late)).await.err().ok_or("its deadline passes")?;
    assert_eq!(failure.kind.as_str(), "timeout_total");
    drop(answering);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(states(&pool), ["ready", "unloaded"], "nobody waits for the other any more");
    Ok(())
}

#[tokio::test]
async fn a_model_goes_when_it_has_been_idle_for_its_time_and_a_pinned_one_does_not() -> Outcome {
    let short = Some(Duration::from_millis(100));
    let kept = PoolModel { keep_alive: short, ..model("kept", &demo_folder())? };
    let pinned = PoolModel { keep_alive: short, pinned: true, ..model("pinned", &demo_folder())? };
    let pool = start(room_for(2)?, vec![kept, pinned])?;
    assert_eq!(states(&pool), ["unloaded", "ready"]);
    let [kept, pinned] = pool.backends() else { return Err("there are two".into()) };
    for _ in 0..2 {
        read(kept).await?;
        read(pinned).await?;
        assert!(eventually(|| states(&pool) == ["unloaded", "ready"]).await, "{:?}", states(&pool));
    }
    let status = pool.models().status().models;
    assert_eq!((status[0].loads, status[0].unloads, status[1].loads, status[1].unloads), (2, 2, 1, 0));
    assert_eq!(pool.models().unload(&BackendId::new("pinned")).await, Err(ModelRefusal::Pinned));
    Ok(())
}

#[tokio::test]
async fn without_a_budget_all_are_there_from_the_start_and_go_at_will() -> Outcome {
    let pool = start(PoolOptions::default(), models(&["a", "b"])?)?;
    assert_eq!(states(&pool), ["ready", "ready"]);
    let handle = pool.models();
    assert_eq!(handle.status().budget_bytes, None);
    handle.unload(&BackendId::new("a")).await?;
    assert_eq!(states(&pool), ["unloaded", "ready"]);
    handle.load(&BackendId::new("a")).await?;
    assert_eq!(states(&pool), ["ready", "ready"]);
    assert_eq!(handle.load(&BackendId::new("nobody")).await, Err(ModelRefusal::Unknown));
    assert_eq!(handle.unload(&BackendId::new("nobody")).await, Err(ModelRefusal::Unknown));
    pool.stop();
    let failure = read(&pool.backends()[0]).await.err().ok_or("it is stopped")?;
    assert_eq!(failure.kind, FailureKind::ShuttingDown);
    Ok(())
}

#[tokio::test]
async fn a_dead_engine_fails_its_own_requests_gives_its_memory_back_and_is_loaded_anew() -> Outcome {
    let pool = start(room_for(2)?, models(&["dies", "lives"])?)?;
    let [dies, lives] = pool.backends() else { return Err("there are two".into()) };
    let told = read(lives).await?;
    let status = || pool.models().status();
    let kill = || pool.keeper.loaded(ModelIndex(0)).map(|local| local.kill()).ok_or("it is there");
    for deaths in 1..=2 {
        let mut cut = dies.answer(Arc::new(ask(STORY))).await?;
        let beside = tokio::spawn({
            let lives = Arc::clone(lives);
            async move { read(&lives).await }
        });
        kill()?;
        let mut last = None;
        while let Some(event) = cut.events.next().await {
            last = Some(event);
        }
        let failure = last.and_then(Result::err).ok_or("its answer was cut")?;
        assert_eq!(failure.kind, FailureKind::Internal);
        assert!(failure.message.contains("the engine of the model has died"), "{}", failure.message);
        // Also while somebody holds on to what is left of the answer.
        assert!(eventually(|| states(&pool) == ["failed", "ready"]).await, "{:?}", states(&pool));
        let refused = read(dies).await.err().ok_or("it rests")?;
        assert_eq!(refused.kind, FailureKind::Unavailable);
        assert!(refused.message.contains("its engine has died"), "{}", refused.message);
        assert!(matches!(dies.health(), Health::Out(reason) if reason.contains("models load dies")));
        let ModelState::Failed { retry_in, .. } = status().models[0].state else { return Err("it rests".into()) };
        assert!(retry_in <= Duration::from_secs(deaths), "{retry_in:?} after {deaths} deaths");
        assert_eq!(status().held_bytes, status().models[1].memory_bytes, "its memory is there for others");
        assert_eq!(beside.await??, told, "the other one has noticed nothing");
        drop(cut);
        tokio::time::sleep(retry_in).await;
        assert_eq!(read(dies).await?, told);
        let of_it = &status().models[0];
        assert_eq!((of_it.deaths, of_it.loads, of_it.failures, of_it.answering), (deaths, deaths + 1, 0, 0));
    }
    kill()?;
    assert!(eventually(|| states(&pool)[0] == "failed").await);
    assert_eq!(pool.models().load(&BackendId::new("dies")).await, Ok(()), "an operator need not wait");
    Ok(())
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_says_why_and_leaves_the_others_alone() -> Outcome {
    let folder = std::env::temp_dir().join(format!("weighbridge-pool-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(demo_folder().join(file), folder.join(file))?;
    }
    let pool = start(room_for(2)?, vec![model("broken", &folder)?, model("whole", &demo_folder())?])?;
    let [broken, whole] = pool.backends() else { return Err("there are two".into()) };
    let weights = folder.join("model.safetensors");
    let bytes = std::fs::read(&weights)?;
    std::fs::File::options().write(true).open(&weights)?.set_len(1 << 20)?;

    let failure = read(broken).await.err().ok_or("its file is cut short")?;
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.message.contains("was cut short since it was opened"), "{}", failure.message);
    assert!(!failure.message.contains("weighbridge-pool-"), "a path is nobody's business: {}", failure.message);
    assert!(failure.retry_after.is_some_and(|wait| wait <= Duration::from_secs(5)));
    assert!(matches!(broken.health(), Health::Out(reason) if reason.contains("cut short")));
    let again = read(broken).await.err().map(|failure| failure.kind);
    assert_eq!(again, Some(FailureKind::Unavailable), "it is left alone for a while");
    let status = pool.models().status();
    assert!(matches!(&status.models[0].state, ModelState::Failed { reason, .. } if reason.contains("cut short")));
    assert_eq!(status.models[0].failures, 1);
    assert!(!read(whole).await?.is_empty());

    std::fs::write(&weights, bytes)?;
    let loaded = pool.models().load(&BackendId::new("broken")).await;
    assert_eq!(loaded, Ok(()), "an operator need not wait");
    assert!(!read(broken).await?.is_empty());
    pool.stop();
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
