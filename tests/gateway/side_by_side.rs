//! Models side by side: three in room for two, and answers beside a load. Apart from the other tests, and one after the
//! other, for both hold times against times.

use std::pin::pin;
use std::time::{Duration, Instant};

use harness::{MadeModel, Shape, Weighbridge, demo_model};
use serde_json::{Value, json};
use tokio::sync::Mutex;

static ALONE: Mutex<()> = Mutex::const_new(());

fn model(name: &str, model: &MadeModel, settings: &str) -> String {
    let path = model.path().display().to_string();
    format!("[[models]]\nname = {name:?}\npath = {path:?}\nprecision = \"exact\"\n{settings}\n")
}

fn ask(model: &str, seed: usize, max_tokens: usize) -> Value {
    let messages = json!([{"role": "user", "content": "Tell me a story about a fox and a lamp."}]);
    json!({"model": model, "messages": messages, "temperature": 1.5, "seed": seed, "max_tokens": max_tokens})
}

mod three_in_room_for_two {
    use super::*;

    /// 33 MB in bfloat16.
    const SMALL: Shape = Shape { hidden: 512, layers: 4, inner: 2048, vocabulary: 1801 };
    /// 500 MB.
    const LARGE: Shape = Shape { hidden: 1024, layers: 16, inner: 4096, vocabulary: 1801 };
    const NAMES: [&str; 3] = ["a", "b", "c"];
    const CALLERS_OF_EACH: usize = 2;
    /// For how long they ask.
    const ASKING: Duration = Duration::from_secs(8);
    /// The longest that a request waits for its model, half of which a model in use may count on.
    const LOAD_WAIT: Duration = Duration::from_secs(16);

    struct House {
        program: Weighbridge,
        began: Instant,
        /// Memory of the program before any model was there.
        empty_bytes: u64,
        budget_bytes: u64,
    }

    /// What a caller saw of one answer.
    #[derive(Clone, Copy, Debug)]
    struct Heard {
        first: Duration,
        whole: Duration,
    }

    /// The most that a sampler saw, in bytes.
    #[derive(Clone, Copy, Debug, Default)]
    struct Most {
        planned: u64,
        resident: u64,
    }

    impl House {
        /// Asks one model again and again, with hardly a pause.
        async fn call(&self, name: &str, caller: usize) -> Vec<Heard> {
            let mut heard = Vec::new();
            while self.began.elapsed() < ASKING {
                let began = Instant::now();
                let mut stream = self.program.open_stream(&ask(name, 1000 * caller + heard.len(), 12)).await;
                stream.next().await;
                let first = began.elapsed();
                let stream = stream.finish().await;
                assert_eq!((stream.status, stream.done, stream.broken), (200, true, false), "{:?}", stream.last());
                heard.push(Heard { first, whole: began.elapsed() });
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            heard
        }

        /// Looks at the memory all the time.
        async fn watch(&self) -> Most {
            let mut most = Most::default();
            while self.began.elapsed() < ASKING {
                let metrics = self.program.metrics().await;
                let bytes = |name: &str| metrics.sum(name, &[]) as u64;
                assert_eq!(bytes("weighbridge_model_memory_budget_bytes"), self.budget_bytes);
                most.planned = most.planned.max(bytes("weighbridge_model_memory_held_bytes"));
                most.resident = most.resident.max(self.program.memory_bytes());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            most
        }

        /// The longest load of all that the log tells of.
        fn longest_load(&self) -> Duration {
            let log = self.program.stderr();
            let seconds = log.lines().filter(|line| line.contains(" loaded ")).filter_map(|line| {
                let (_, rest) = line.split_once("seconds=")?;
                rest.split_whitespace().next()?.parse::<f64>().ok()
            });
            Duration::from_secs_f64(seconds.fold(0.0, f64::max))
        }
    }

    /// What one of them takes as it is planned, in whole MiB.
    async fn planned_mib(models: &str) -> u64 {
        let program = Weighbridge::start(format!("[engine]\nmemory_budget_mib = 4096\n{models}")).await;
        program.get("/admin/models/a").await.json()["memory_bytes"].as_u64().unwrap_or_default().div_ceil(1 << 20)
    }

    /// A request may have to wait for its turn, which comes after half of the bound at the latest; then until the answers
    /// end that its room is given to, for the load that was begun before its own, and for its own.
    fn longest_wait(load: Duration, answer: Duration) -> Duration {
        LOAD_WAIT / 2 + answer + 2 * load
    }

    #[tokio::test]
    async fn all_callers_are_answered_within_the_time_of_the_loads_and_memory_stays_below_the_budget() {
        let _alone = ALONE.lock().await;
        let made = NAMES.map(|_| MadeModel::random(SMALL));
        let models: String =
            NAMES.iter().zip(&made).map(|(name, made)| model(name, made, "page_memory_mib = 8")).collect();
        let budget_mib = 2 * planned_mib(&models).await;
        let wait_ms = LOAD_WAIT.as_millis();
        let config = format!("[engine]\nmemory_budget_mib = {budget_mib}\nload_wait_ms = {wait_ms}\n{models}");

        let large = MadeModel::hollow(LARGE);
        let fourth = model("fourth", &large, "page_memory_mib = 128");
        let refused = Weighbridge::with(format!("{config}{fourth}")).fail().await.assert_code(2);
        let budget = format!("the memory budget is {budget_mib} MiB");
        for piece in ["the model \"fourth\" takes ", "(weights ", ", pages 128, the rest ", &budget] {
            assert!(refused.stderr.contains(piece), "{piece:?} is not in {}", refused.stderr);
        }

        let program = Weighbridge::start(config).await;
        let (began, empty_bytes, budget_bytes) = (Instant::now(), program.memory_bytes(), budget_mib << 20);
        let house = House { program, began, empty_bytes, budget_bytes };
        let callers = NAMES.iter().flat_map(|name| (0..CALLERS_OF_EACH).map(move |caller| (*name, caller)));
        let calls = callers.map(|(name, caller)| house.call(name, caller));
        let (heard, most) = tokio::join!(futures_util::future::join_all(calls), house.watch());

        let metrics = house.program.metrics().await;
        let loads = |result| metrics.sum("weighbridge_model_loads_total", &[("result", result)]);
        assert!(loads("loaded") > 3.0 && loads("failed") == 0.0, "they took turns {} times", loads("loaded"));
        assert!(heard.iter().all(|heard| heard.len() >= 3), "somebody starves: {heard:?}");
        assert!(most.planned <= budget_bytes, "{most:?} of {budget_bytes} bytes");
        let taken = most.resident.saturating_sub(house.empty_bytes);
        assert!(taken <= budget_bytes, "{taken} bytes are resident of {budget_bytes}, {most:?}");
        let all = || heard.iter().flatten();
        let answer = all().map(|heard| heard.whole - heard.first).max().unwrap_or_default();
        let wait = all().map(|heard| heard.first).max().unwrap_or_default();
        let load = house.longest_load();
        assert!(load > Duration::ZERO, "{}", house.program.stderr());
        let bound = longest_wait(load, answer);
        println!(
            "{} answers, {} loads, the longest {load:?}; longest wait {wait:?}, longest answer {answer:?}; planned {} and \
             resident {} of {budget_mib} MiB",
            all().count(),
            loads("loaded"),
            most.planned >> 20,
            taken >> 20
        );
        assert!(
            wait <= bound,
            "{wait:?} are more than {bound:?}: the longest load took {load:?}, an answer {answer:?}"
        );
    }
}

mod answers_beside_a_load {
    use super::*;

    /// Nearly all of it is one matrix of 400 MB: packed as one piece of work of the kernels' threads it would hold
    /// everybody else up for nearly as long as the load takes.
    const ONE_MATRIX: Shape = Shape { hidden: 1024, layers: 1, inner: 1024, vocabulary: 200_000 };

    /// Has the demo model tell one story after the other until something is over: what that gave, and the times between
    /// two events of the stories, from the last of one to the first of the next too.
    async fn stories<T>(program: &Weighbridge, until: impl Future<Output = T>) -> (T, Vec<Duration>) {
        let mut until = pin!(until);
        let (mut gaps, mut last) = (Vec::new(), Instant::now());
        for seed in 0.. {
            let mut stream = program.open_stream(&ask("demo", seed, 800)).await;
            loop {
                let over = tokio::select! {
                    over = &mut until => Some(over),
                    event = stream.next() => match event {
                        Some(_) => None,
                        None => break,
                    },
                };
                gaps.push(last.elapsed());
                last = Instant::now();
                if let Some(over) = over {
                    gaps.sort_unstable();
                    return (over, gaps);
                }
            }
        }
        unreachable!("there is always another story")
    }

    #[tokio::test]
    async fn a_stream_goes_on_while_a_large_matrix_is_packed() {
        let _alone = ALONE.lock().await;
        let large = MadeModel::hollow(ONE_MATRIX);
        let large = model("large", &large, "page_memory_mib = 64");
        let demo = format!("{}pinned = true\n", demo_model());
        let program = Weighbridge::start(format!("[engine]\nmemory_budget_mib = 2048\n{demo}{large}")).await;
        let (_, before) = stories(&program, tokio::time::sleep(Duration::from_secs(3))).await;
        let loads = async {
            let began = Instant::now();
            let loaded = program.send(program.post("/admin/models/large/load")).await;
            (loaded, began.elapsed())
        };
        let ((loaded, took), beside) = stories(&program, loads).await;
        assert_eq!((loaded.status, &loaded.json()["state"]), (200, &json!("ready")), "{}", loaded.body);
        let longest = |gaps: &[Duration]| gaps.last().copied().unwrap_or_default();
        let told = format!(
            "{} events, the longest gap {:?}, beside a load of {took:?}; before, of {} events, {:?}",
            beside.len(),
            longest(&beside),
            before.len(),
            longest(&before)
        );
        println!("{told}");
        assert!(beside.len() > 20, "{told}");
        assert!(longest(&beside) < took / 3, "{told}");
        // What a busy machine does to one gap it does to another, within bounds.
        assert!(longest(&beside) < 20 * longest(&before).max(Duration::from_millis(10)), "{told}");
    }
}
