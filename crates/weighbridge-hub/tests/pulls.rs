//! Pulls from a hub that keeps its promises, and from one that does not.

mod simulator;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use simulator::{NEWER, Simulator, lock, sha256};
use tempfile::TempDir;
use weighbridge_hub::{Hub, HubError, HubOptions, Progress, Pulled, Record, Source, Store, Token, Verdict, Wish, pull};

type Done = Result<(), Box<dyn std::error::Error>>;

/// A simulator, and a store to pull into in pieces of 1000 bytes.
struct Bench {
    hub: Simulator,
    folder: TempDir,
    token: Option<Token>,
    offline: Option<String>,
}

impl Bench {
    async fn new() -> Self {
        let hub = Simulator::start().await;
        hub.small("config.json", b"{}");
        hub.small("README.md", b"read me");
        hub.small("pytorch_model.bin", b"not wanted");
        hub.large("model.safetensors", &weights());
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        Self { hub, folder, token: None, offline: None }
    }

    fn store(&self) -> Store {
        Store::new(self.folder.path().join("models"))
    }

    fn model_folder(&self) -> std::path::PathBuf {
        self.store().root().join("org/name")
    }

    fn options(&self) -> HubOptions {
        HubOptions {
            token: self.token.clone(),
            offline: self.offline.clone(),
            piece_bytes: Some(1000),
            retries: 2,
            backoff: Duration::from_millis(1),
            ..HubOptions::new(self.hub.endpoint.clone())
        }
    }

    async fn pull(&self, source: &str) -> Result<Pulled, HubError> {
        self.wish(&wish(source)).await
    }

    async fn wish(&self, wish: &Wish) -> Result<Pulled, HubError> {
        pull(&Hub::new(self.options())?, &self.store(), wish, &|_| ()).await
    }

    /// The text of the failure of a pull, after which there is no model.
    async fn refused(&self, source: &str) -> String {
        let error = self.pull(source).await.expect_err("it has to fail").to_string();
        assert!(!self.model_folder().join("model.safetensors").exists(), "something half is in place: {error}");
        assert!(self.store().list().expect("the store can be read").is_empty(), "there is a record: {error}");
        assert!(!error.contains("secret"), "{error}");
        error
    }

    fn verify(&self) -> Vec<(String, Verdict)> {
        let list = self.store().list().expect("the store can be read");
        let mut verdicts = Vec::new();
        for (repo, record) in list {
            let files = self.store().verify(&repo, &record, &mut |_| ()).expect("files can be read");
            verdicts.extend(files.into_iter().map(|(file, verdict)| (file.path, verdict)));
        }
        verdicts
    }
}

fn wish(source: &str) -> Wish {
    let source: Source = source.parse().expect("the test names a source");
    Wish { source, revision: None, update: false, sha256: BTreeMap::new() }
}

fn weights() -> Vec<u8> {
    (0..9500_u32).map(|i| (i * i / 7) as u8).collect()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("it is there")
}

fn check_says(text: &str, piece: &str) {
    assert!(text.contains(piece), "\"{text}\" does not say \"{piece}\"");
}

#[tokio::test]
async fn a_folder_checkpoint_is_pulled_whole_with_its_record() -> Done {
    let bench = Bench::new().await;
    let pulled = bench.pull("hf:org/name").await?;
    assert_eq!((pulled.fetched, pulled.path.clone()), (3, bench.model_folder()));
    assert_eq!(read(&pulled.path.join("model.safetensors")), weights());
    let Record { revision, licence, files, .. } = pulled.record;
    assert_eq!((revision.as_str(), licence.as_deref()), (simulator::COMMIT, Some("apache-2.0")));
    let stated: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.size, file.stated_by_hub)).collect();
    assert_eq!(stated, [("README.md", 7, false), ("config.json", 2, false), ("model.safetensors", 9500, true)]);
    assert_eq!(files[2].sha256.to_string(), sha256(&weights()));
    assert!(bench.verify().iter().all(|(_, verdict)| *verdict == Verdict::Whole));
    assert!(!pulled.path.join(".parts").exists());
    Ok(())
}

#[tokio::test]
async fn pieces_are_fetched_at_once_but_not_too_many() -> Done {
    let bench = Bench::new().await;
    bench.pull("hf:org/name").await?;
    let most = bench.hub.world.most_in_flight.load(Ordering::Relaxed);
    assert!((2..=4).contains(&most), "{most} at once");
    assert_eq!(bench.hub.world.cdn_requests.load(Ordering::Relaxed), 10);
    Ok(())
}

#[tokio::test]
async fn what_is_here_already_is_not_asked_for_again() -> Done {
    let bench = Bench::new().await;
    bench.pull("hf:org/name").await?;
    let before = bench.hub.world.requests.load(Ordering::Relaxed);
    assert_eq!(bench.pull("hf:org/name").await?.fetched, 0);
    assert_eq!(bench.hub.world.requests.load(Ordering::Relaxed), before);
    Ok(())
}

#[tokio::test]
async fn connections_that_break_off_are_taken_up_where_they_broke() -> Done {
    let bench = Bench::new().await;
    bench.hub.world.cut_after.store(300, Ordering::Relaxed);
    bench.hub.world.cuts_left.store(8, Ordering::Relaxed);
    let pulled = bench.pull("hf:org/name").await?;
    assert_eq!(read(&pulled.path.join("model.safetensors")), weights());
    // Nothing that had arrived came twice.
    assert_eq!(bench.hub.world.cdn_bytes.load(Ordering::Relaxed), 9500);
    Ok(())
}

#[tokio::test]
async fn a_pull_that_failed_goes_on_where_it_ended() -> Done {
    let bench = Bench::new().await;
    let world = &bench.hub.world;
    world.cut_after.store(1, Ordering::Relaxed);
    world.cuts_left.store(usize::MAX, Ordering::Relaxed);
    check_says(&bench.refused("hf:org/name").await, "run the same command again");
    world.cut_after.store(0, Ordering::Relaxed);
    let before = world.cdn_bytes.load(Ordering::Relaxed);
    assert!(before > 0);
    let planned = std::sync::Mutex::new(0);
    let note = |progress: Progress<'_>| {
        if let Progress::Planned { done, .. } = progress {
            *lock(&planned) = done;
        }
    };
    pull(&Hub::new(bench.options())?, &bench.store(), &wish("hf:org/name"), &note).await?;
    // More than the two small files.
    assert!(*lock(&planned) > 9, "{}", lock(&planned));
    assert_eq!(read(&bench.model_folder().join("model.safetensors")), weights());
    assert!(world.cdn_bytes.load(Ordering::Relaxed) <= 9500 + 12, "it began anew");
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_down_for_a_moment_is_asked_again() -> Done {
    let bench = Bench::new().await;
    bench.hub.world.unavailable.store(2, Ordering::Relaxed);
    bench.pull("hf:org/name").await?;
    Ok(())
}

#[tokio::test]
async fn a_server_without_ranges_hands_out_the_whole_file() -> Done {
    let bench = Bench::new().await;
    bench.hub.world.no_ranges.store(true, Ordering::Relaxed);
    bench.hub.world.cut_after.store(4000, Ordering::Relaxed);
    bench.hub.world.cuts_left.store(1, Ordering::Relaxed);
    let pulled = bench.pull("hf:org/name").await?;
    assert_eq!(read(&pulled.path.join("model.safetensors")), weights());
    Ok(())
}

#[tokio::test]
async fn wrong_bytes_are_deleted_and_the_next_pull_begins_anew() -> Done {
    let bench = Bench::new().await;
    bench.hub.world.swap_byte.store(true, Ordering::Relaxed);
    let error = bench.refused("hf:org/name").await;
    check_says(&error, "model.safetensors has SHA-256");
    check_says(&error, &sha256(&weights()));
    bench.hub.world.swap_byte.store(false, Ordering::Relaxed);
    let pulled = bench.pull("hf:org/name").await?;
    assert_eq!(read(&pulled.path.join("model.safetensors")), weights());
    Ok(())
}

#[tokio::test]
async fn lies_about_lengths_are_named() {
    let bench = Bench::new().await;
    bench.hub.world.length_lie.store(5, Ordering::Relaxed);
    check_says(&bench.refused("hf:org/name").await, "1000 bytes were asked for, and it announces 1005");
    bench.hub.world.length_lie.store(0, Ordering::Relaxed);
    bench.hub.world.range_lie.store(true, Ordering::Relaxed);
    check_says(&bench.refused("hf:org/name").await, "was asked for, and it is \"bytes");
    bench.hub.world.range_lie.store(false, Ordering::Relaxed);
    bench.hub.world.redirect_lie.store(true, Ordering::Relaxed);
    check_says(&bench.refused("hf:org/name").await, "its list says 9500 bytes, its redirect 9501");
}

#[tokio::test]
async fn the_token_goes_to_the_hub_and_never_to_where_it_redirects() -> Done {
    let mut bench = Bench::new().await;
    *lock(&bench.hub.world.wants_token) = Some("hf_x".to_owned());
    check_says(&bench.refused("hf:org/name").await, "--token-env");
    bench.token = Some(Token::new("hf_y"));
    let error = bench.refused("hf:org/name").await;
    check_says(&error, "accept its conditions");
    assert!(!error.contains("hf_y") && !format!("{:?}", bench.options()).contains("hf_y"));
    bench.token = Some(Token::new("hf_x"));
    bench.pull("hf:org/name").await?;
    assert!(!bench.hub.world.cdn_saw_token.load(Ordering::Relaxed));
    Ok(())
}

#[tokio::test]
async fn offline_no_request_leaves_and_what_is_here_is_found() -> Done {
    let mut bench = Bench::new().await;
    bench.offline = Some("offline = true in the config".to_owned());
    let error = bench.refused("hf:org/name").await;
    check_says(&error, "offline = true in the config");
    assert_eq!(bench.hub.world.requests.load(Ordering::Relaxed), 0);
    bench.offline = None;
    bench.pull("hf:org/name").await?;
    let before = bench.hub.world.requests.load(Ordering::Relaxed);
    bench.offline = Some("HF_HUB_OFFLINE".to_owned());
    assert_eq!(bench.pull("hf:org/name").await?.fetched, 0);
    let moved = bench.wish(&Wish { update: true, ..wish("hf:org/name") }).await;
    check_says(&moved.expect_err("it cannot be asked").to_string(), "HF_HUB_OFFLINE");
    assert_eq!(bench.hub.world.requests.load(Ordering::Relaxed), before);
    Ok(())
}

#[tokio::test]
async fn a_repository_that_is_not_there_says_so() {
    let bench = Bench::new().await;
    check_says(&bench.refused("hf:org/missing").await, "the hub has no org/missing");
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_never_written() {
    let bench = Bench::new().await;
    for name in ["../../evil.gguf", "/tmp/evil.gguf", "a/../../evil.gguf", ".parts/evil.gguf"] {
        *lock(&bench.hub.world.listed_too) = Some(name.to_owned());
        check_says(&bench.refused(&format!("hf:org/name:{name}")).await, "it names a file");
    }
    assert!(!bench.folder.path().join("evil.gguf").exists());
}

#[cfg(unix)]
#[tokio::test]
async fn nothing_is_written_through_a_link() -> Done {
    let bench = Bench::new().await;
    let elsewhere = bench.folder.path().join("elsewhere");
    std::fs::create_dir_all(&elsewhere)?;
    std::fs::create_dir_all(bench.store().root())?;
    std::os::unix::fs::symlink(&elsewhere, bench.store().root().join("org"))?;
    check_says(&bench.pull("hf:org/name").await.expect_err("it is a link").to_string(), "a link");
    assert_eq!(std::fs::read_dir(&elsewhere)?.count(), 0);
    Ok(())
}

#[tokio::test]
async fn a_quantisation_is_pulled_alone_and_a_second_joins_it() -> Done {
    let bench = Bench::new().await;
    for quant in ["Q4_K_M", "Q8_0"] {
        bench.hub.large(&format!("m-{quant}.gguf"), quant.as_bytes());
    }
    let first = bench.pull("hf:org/name:q4_k_m").await?;
    assert_eq!(first.path, bench.model_folder().join("m-Q4_K_M.gguf"));
    bench.pull("hf:org/name:Q8_0").await?;
    let store = bench.store();
    let (repo, record) = store.list()?.remove(0);
    let models: Vec<String> = store.models(&repo, &record).iter().map(ToString::to_string).collect();
    assert_eq!(models, ["hf:org/name:m-Q4_K_M.gguf", "hf:org/name:m-Q8_0.gguf"]);
    store.remove(&"hf:org/name:Q8_0".parse()?)?;
    assert!(store.find(&"hf:org/name:Q8_0".parse()?).is_err());
    assert!(store.find(&"hf:org/name:Q4_K_M".parse()?).is_ok());
    store.remove(&"hf:org/name".parse()?)?;
    assert!(!bench.model_folder().exists() && store.list()?.is_empty());
    check_says(&bench.refused("hf:org/name:Q2_K").await, "m-Q4_K_M.gguf, m-Q8_0.gguf");
    Ok(())
}

#[tokio::test]
async fn a_damaged_file_is_found_and_one_that_is_gone_is_fetched_again() -> Done {
    let bench = Bench::new().await;
    bench.pull("hf:org/name").await?;
    let path = bench.model_folder().join("model.safetensors");
    let mut bytes = weights();
    bytes[77] ^= 1;
    std::fs::write(&path, bytes)?;
    let verdicts = bench.verify();
    assert!(matches!(verdicts[2].1, Verdict::OtherDigest(_)), "{verdicts:?}");
    std::fs::remove_file(&path)?;
    assert_eq!(bench.verify()[2].1, Verdict::Missing);
    assert!(bench.store().find(&"hf:org/name".parse()?).is_err());
    assert_eq!(bench.pull("hf:org/name").await?.fetched, 1);
    assert_eq!(read(&path), weights());
    Ok(())
}

#[tokio::test]
async fn a_digest_of_the_first_pull_is_held_to() -> Done {
    let bench = Bench::new().await;
    bench.pull("hf:org/name").await?;
    // The same commit, and other bytes of the same length in a file for which the hub states no digest.
    bench.hub.small("config.json", b"[]");
    std::fs::remove_file(bench.model_folder().join("config.json"))?;
    let error = bench.pull("hf:org/name").await.expect_err("it is another file").to_string();
    check_says(&error, "was promised (by the first pull)");
    assert!(!bench.model_folder().join("config.json").exists());
    Ok(())
}

#[tokio::test]
async fn a_digest_of_a_manifest_is_held_to() -> Done {
    let bench = Bench::new().await;
    let sha256 = BTreeMap::from([("config.json".to_owned(), sha256(b"[]").parse()?)]);
    let error = bench.wish(&Wish { sha256, ..wish("hf:org/name") }).await.expect_err("it is another file");
    check_says(&error.to_string(), "was promised (by the manifest)");
    Ok(())
}

#[tokio::test]
async fn another_commit_is_moved_to_only_when_asked() -> Done {
    let bench = Bench::new().await;
    bench.pull("hf:org/name").await?;
    bench.hub.add(NEWER, "config.json", b"{\"newer\":1}", false);
    bench.hub.add(NEWER, "model.safetensors", &weights(), true);
    bench.hub.move_main(NEWER);
    assert_eq!(bench.pull("hf:org/name").await?.record.revision, simulator::COMMIT);
    let named = Wish { revision: Some(NEWER.to_owned()), ..wish("hf:org/name") };
    check_says(&bench.wish(&named).await.expect_err("it would move").to_string(), "--update");
    let moved = bench.wish(&Wish { update: true, ..wish("hf:org/name") }).await?;
    // The weights are the same, and the readme is gone.
    assert_eq!((moved.record.revision.as_str(), moved.fetched), (NEWER, 1));
    assert_eq!(read(&bench.model_folder().join("config.json")), b"{\"newer\":1}");
    assert!(!bench.model_folder().join("README.md").exists());
    Ok(())
}
