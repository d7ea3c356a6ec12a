//! What `check` says of a config.

use std::collections::BTreeSet;

use harness::{Finished, repository, run, run_in};

/// Checks a config.
async fn check(config: &str) -> (String, Finished) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("w.toml").display().to_string();
    std::fs::write(&file, config).expect("a file can be written there");
    let finished = run(["check", "--config", &file], "", &[]).await;
    (file, finished)
}

#[tokio::test]
async fn five_mistakes_are_told_at_once_each_with_its_place_and_remedy() {
    let config = r#"
[server]
listen = "everywhere"
max_body_byte = 5

[[models]]
name = "demo"
path = "builtin:demo"
clearance = "secret"

[[routes]]
name = "default"
backends = ["demmo"]
prefer = "cheap"
"#;
    let (file, finished) = check(config).await;
    let finished = finished.assert_code(2);
    for (place, key, remedy) in [
        ("3:", "server.listen", "127.0.0.1:8080"),
        ("4:", "server.max_body_byte", "max_body_bytes"),
        ("9:", "models[0].clearance", "restricted"),
        ("13:", "routes[0].backends[0]", "demo"),
        ("14:", "routes[0].prefer", "cost"),
    ] {
        let begin = format!("{file}:{place}");
        let line = finished.stderr.lines().find(|line| line.starts_with(&begin));
        let right = line.is_some_and(|line| line.contains(key) && line.contains(remedy));
        assert!(right, "{begin} does not say {key} and {remedy}:\n{}", finished.stderr);
    }
    assert!(finished.stderr.contains("5 mistakes"), "{}", finished.stderr);
}

#[tokio::test]
async fn a_config_with_mistakes_is_not_served() {
    let refused = harness::Weighbridge::with("[server]\nlisten = 5\n[[modles]]\n").fail().await.assert_code(2);
    assert!(refused.stderr.contains("server.listen") && refused.stderr.contains("models"), "{}", refused.stderr);
}

#[tokio::test]
async fn a_file_that_is_not_there_or_no_toml_is_told() {
    let missing = run(["check", "--config", "/no/such/file.toml"], "", &[]).await.assert_code(2);
    assert!(missing.stderr.contains("/no/such/file.toml"), "{}", missing.stderr);
    let (file, broken) = check("[server\nlisten = 5").await;
    assert!(broken.assert_code(2).stderr.contains(&format!("{file}:1:")));
}

#[tokio::test]
async fn every_example_passes() {
    let folder = repository().join("config");
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).expect("the examples are in the repository") {
        let path = entry.expect("it can be listed").path();
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let keys = keys_of(&text);
        let environment: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "a-key")).collect();
        let passed = run_in(repository(), ["check", "--config", &path.display().to_string()], "", &environment).await;
        let passed = passed.assert_code(0);
        assert!(passed.said().contains("no mistakes"), "{}", passed.said());
        names.insert(path);
    }
    assert!(names.contains(&folder.join("weighbridge.toml")));
}

/// Every environment variable that a config names.
fn keys_of(config: &str) -> Vec<String> {
    let lines = config.lines().filter_map(|line| line.trim().strip_prefix("key_env"));
    lines.filter_map(|line| Some(line.split('"').nth(1)?.to_owned())).collect()
}

#[tokio::test]
async fn the_config_is_found_by_flag_then_variable_then_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (here, elsewhere) = (folder.path().join("weighbridge.toml"), folder.path().join("w.toml"));
    std::fs::write(&here, harness::demo_model()).expect("a file can be written there");
    std::fs::write(&elsewhere, harness::demo_model()).expect("a file can be written there");
    let elsewhere = elsewhere.display().to_string();
    let in_folder = run_in(folder.path(), ["check"], "", &[]).await.assert_code(0);
    assert!(in_folder.stdout.contains("weighbridge.toml (found in the working folder)"), "{}", in_folder.stdout);
    let by_variable = run_in(folder.path(), ["check"], "", &[("WEIGHBRIDGE_CONFIG", &elsewhere)]).await.assert_code(0);
    assert!(by_variable.stdout.contains(&elsewhere), "{}", by_variable.stdout);
    let flag = ["check", "--config", "/no/such/file.toml"];
    run_in(folder.path(), flag, "", &[("WEIGHBRIDGE_CONFIG", &elsewhere)]).await.assert_code(2);
}

#[tokio::test]
async fn a_folder_of_examples_is_never_read_by_itself() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    std::fs::create_dir(folder.path().join("config")).expect("a folder can be made there");
    std::fs::write(folder.path().join("config/weighbridge.toml"), "nonsense").expect("a file can be written there");
    let nothing = run_in(folder.path(), ["check"], "", &[]).await.assert_code(2);
    assert!(nothing.stderr.contains("no config"), "{}", nothing.stderr);
}
