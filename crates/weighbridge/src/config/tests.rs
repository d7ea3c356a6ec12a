//! A config with its mistakes, and every example beside it.

use std::path::{Path, PathBuf};

use weighbridge_models::{KvType, Precision};

use super::*;
use crate::local;

mod edges;

fn parse(text: &str) -> Result<Config, Mistakes> {
    let environment = |name: &str| (name == "SET").then(|| "a-key".to_owned());
    Config::parse(Path::new("w.toml"), text, &environment)
}

/// Holds the mistakes of `text` against `expected`: line, key, and a piece of the message or the help.
fn check_mistakes(text: &str, expected: &[(usize, &str, &str)]) {
    let mistakes = parse(text).err().map(|mistakes| mistakes.list).unwrap_or_default();
    let found: Vec<_> = mistakes.iter().map(|mistake| (mistake.line, mistake.key.as_str())).collect();
    let wanted: Vec<_> = expected.iter().map(|(line, key, _)| (*line, *key)).collect();
    assert_eq!(found, wanted, "{mistakes:#?}");
    for (mistake, (_, _, piece)) in mistakes.iter().zip(expected) {
        let text = format!("{} {}", mistake.message, mistake.help.as_deref().unwrap_or_default());
        assert!(text.contains(piece), "{text:?} does not say {piece:?}");
    }
}

const DEMO: &str = "[[models]]\nname = \"demo\"\npath = \"builtin:demo\"\n";

#[test]
fn all_mistakes_come_at_once_each_with_its_line_key_and_remedy() {
    check_mistakes(
        r#"
[server]
listen = "here"
max_body_byte = 5

[[models]]
name = "demo"
path = "builtin:demo"
clearance = "secret"

[[routes]]
name = "default"
backends = ["demmo"]
prefer = 7
"#,
        &[
            (3, "server.listen", "127.0.0.1:8080"),
            (4, "server.max_body_byte", "did you mean \"max_body_bytes\"?"),
            (9, "models[0].clearance", "public"),
            (13, "routes[0].backends[0]", "did you mean \"demo\"?"),
            (14, "routes[0].prefer", "expected one of"),
        ],
    );
}

#[test]
fn a_model_is_computed_as_the_config_says() {
    let compute = |more: &str| {
        let model = parse(&format!("{DEMO}{more}")).ok().and_then(|mut config| config.models.pop());
        model.expect("it is a config with a model").compute
    };
    assert_eq!(compute("compute = \"float32\"\n"), Compute::Float32);
    // So small a model is computed in float32 where nothing is said.
    assert_eq!(compute("compute = \"cpu\"\n"), Compute::cpu(Precision::F32));
    assert_eq!(compute("compute = \"cpu\"\nprecision = \"exact\"\n"), Compute::cpu(Precision::Exact));
    assert_eq!(compute("compute = \"cpu\"\nprecision = \"f32\"\n"), Compute::cpu(Precision::F32));
    assert_eq!(compute("precision = \"fast\"\n"), Compute::cpu(Precision::Fast));
    let kept = |precision, kv| Compute::Cpu { precision, tier: None, kv: Some(kv) };
    assert_eq!(compute("kv = \"q8_0\"\n"), kept(Precision::F32, KvType::Q8_0));
    assert_eq!(compute("precision = \"fast\"\nkv = \"f16\"\n"), kept(Precision::Fast, KvType::F16));
    check_mistakes(
        &format!("{DEMO}compute = \"float32\"\nkv = \"q8_0\"\n"),
        &[(2, "models[0].name", "kv = \"q8_0\" is of compute = \"cpu\"")],
    );
    check_mistakes(
        &format!("{DEMO}compute = \"quantized\"\nprecision = \"fast\"\n"),
        &[(2, "models[0].name", "is of compute = \"cpu\"")],
    );
}

#[test]
fn models_share_the_memory_as_the_config_says() {
    let one = |text: &str| {
        let mut config = parse(text).expect("it is a config");
        let model = config.models.pop().expect("with a model");
        (config.pool.budget, config.pool.load_wait.as_millis(), model.pinned, model.keep_alive.map(|it| it.as_millis()))
    };
    assert_eq!(one(DEMO), (None, 120_000, false, None));
    let engine = "[engine]\nmemory_budget_mib = 100\nload_wait_ms = 5000\nkeep_alive_ms = 700\n";
    assert_eq!(one(&format!("{engine}{DEMO}")), (Some(100 << 20), 5000, false, Some(700)));
    assert_eq!(
        one(&format!("{engine}{DEMO}pinned = true\nkeep_alive_ms = 8\n")),
        (Some(100 << 20), 5000, true, Some(8))
    );
    check_mistakes(
        &format!("[engine]\nmemory_budget = 1\nload_wait_ms = 0\n{DEMO}pinned = 1\n"),
        &[
            (2, "engine.memory_budget", "did you mean \"memory_budget_mib\"?"),
            (3, "engine.load_wait_ms", "a whole number from 1"),
            (7, "models[0].pinned", "true or false"),
        ],
    );
}

#[test]
fn whoever_may_load_models_is_named_an_admin_or_is_on_this_machine() {
    let admins = |text: &str| match parse(text).ok().map(|config| (config.callers, config.limits.open_admin)) {
        Some((Callers::Keys(callers), open)) => (callers.iter().map(|caller| caller.admin).collect(), open),
        Some((Callers::Open, open)) => (Vec::new(), open),
        None => unreachable!("it is a config"),
    };
    let caller = |name: &str, settings: &str| {
        let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        format!("[[callers]]\nname = \"{name}\"\nkey_sha256 = \"{hash}\"\n{settings}\n")
    };
    let two = format!("{DEMO}{}{}", caller("web", ""), caller("operator", "admin = true"));
    assert_eq!(admins(&two), (vec![false, true], false));
    assert_eq!(admins(DEMO), (vec![], true));
    let reachable = format!("[server]\nlisten = \"0.0.0.0:80\"\nauth = \"none\"\n{DEMO}");
    assert_eq!(admins(&reachable), (vec![], false));
}

#[test]
fn weights_are_quantised_and_adapted_as_the_config_says() {
    let adapter = "adapter = \"src\"\nadapter_mode = \"apart\"\n";
    let config = parse(&format!("{DEMO}quantize = \"q8_0\"\n{adapter}")).ok();
    let model = config.and_then(|mut config| config.models.pop()).expect("it is a config with a model");
    // What is quantised as it loads is kept so, unless the config says otherwise.
    assert_eq!(
        (model.quantize, model.compute),
        (Some(QuantizedType::Q8_0), local::compute_for(&model.path, model.quantize))
    );
    assert_eq!(model.adapter, Some(AdapterConfig { path: "src".into(), mode: AdapterMode::Apart }));
    check_mistakes(
        &format!("{DEMO}quantize = \"f16\"\nadapter = \"no/such\"\n"),
        &[(4, "models[0].quantize", "q4_k_m"), (5, "models[0].adapter", "no folder at \"no/such\"")],
    );
    check_mistakes(
        &format!("{DEMO}adapter_mode = \"apart\"\n"),
        &[(2, "models[0].name", "adapter_mode and no adapter")],
    );
}

#[test]
fn a_model_is_read_in_the_formats_that_the_config_names() {
    let formats = |more: &str| {
        let model = parse(&format!("{DEMO}{more}")).ok().and_then(|mut config| config.models.pop());
        model.map(|model| (model.tool_format, model.reasoning_format))
    };
    assert_eq!(formats(""), Some((None, None)));
    assert_eq!(
        formats("tool_format = \"qwen_xml\"\nreasoning_format = \"think\"\n"),
        Some((Some(ToolFormat::QwenXml), Some(ReasoningFormat::Think)))
    );
    check_mistakes(
        &format!("{DEMO}tool_format = \"hermse\"\nreasoning_format = \"loud\"\n"),
        &[
            (4, "models[0].tool_format", "did you mean \"hermes\"?"),
            (5, "models[0].reasoning_format", "expected one of \"think\", \"granite\""),
        ],
    );
}

#[test]
fn what_is_not_toml_says_where() {
    check_mistakes("[server\n", &[(1, "", "not valid TOML")]);
}

#[test]
fn a_config_that_serves_nothing_says_so() {
    check_mistakes("", &[(1, "", "nothing can answer")]);
}

#[test]
fn a_missing_model_is_named_with_what_was_tried() {
    check_mistakes(
        "[[models]]\nname = \"m\"\npath = \"no/such\"\n",
        &[(3, "models[0].path", "no folder or file at \"no/such\"")],
    );
}

#[test]
fn a_model_that_was_not_pulled_says_how_to_pull_it() {
    let model = |path: &str| format!("[[models]]\nname = \"m\"\npath = \"{path}\"\n");
    let help = "weighbridge models pull hf:no-such-org/no-such-model";
    check_mistakes(&model("hf:no-such-org/no-such-model"), &[(3, "models[0].path", help)]);
    check_mistakes(&model("hf:../x"), &[(3, "models[0].path", "is no source of a model")]);
}

#[test]
fn offline_is_a_switch_and_nothing_that_looks_like_one() {
    check_mistakes(&format!("[hub]\noffline = \"yes\"\n{DEMO}"), &[(2, "hub.offline", "expected true or false")]);
    check_mistakes(&format!("[hub]\noffine = true\n{DEMO}"), &[(2, "hub.offine", "did you mean \"offline\"?")]);
}

#[test]
fn an_address_that_others_reach_wants_callers() {
    let config = format!("[server]\nlisten = \"0.0.0.0:8080\"\n{DEMO}");
    check_mistakes(&config, &[(2, "server.listen", "there are no [[callers]]")]);
    let config = format!("[server]\nlisten = \"0.0.0.0:8080\"\nauth = \"none\"\n{DEMO}");
    assert!(parse(&config).is_ok());
}

#[test]
fn models_alone_need_no_route() {
    let config = parse(DEMO).expect("it has no mistakes");
    assert_eq!(config.routes.len(), 1);
    assert_eq!(config.models[0].path, ModelPath::Bundled);
}

#[test]
fn a_provider_needs_a_route_and_its_key_is_fetched_by_name() {
    let provider =
        "[[providers]]\nname = \"p\"\nkind = \"openai\"\nbase_url = \"http://h/v1\"\nmodels = [{ name = \"m\" }]\n";
    check_mistakes(&format!("{provider}key_env = \"SET\"\n"), &[(1, "", "no [[routes]]")]);
    let route = "[[routes]]\nname = \"r\"\nbackends = [\"p/m\"]\n";
    let with_key = parse(&format!("{provider}key_env = \"SET\"\n{route}")).expect("it has no mistakes");
    assert!(with_key.providers[0].out.is_none() && !format!("{:?}", with_key.providers[0].options).contains("a-key"));
    let without = parse(&format!("{provider}key_env = \"UNSET\"\n{route}")).expect("it has no mistakes");
    assert_eq!(without.providers[0].out.as_deref(), Some("the key UNSET is not set"));
    // Silence clears a provider for public content alone.
    assert_eq!(without.providers[0].models[0].offer.clearance, DataClass::Public);
}

#[test]
fn every_example_is_without_mistakes() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config"));
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the examples are in the repository") {
        let path = entry.expect("it can be listed").path();
        let text = std::fs::read_to_string(&path).expect("it can be read");
        // From the root of the repository, as its users start it.
        let seen_from = folder.join("..").join(path.file_name().expect("a file has a name"));
        let mistakes = Config::parse(&seen_from, &text, &|_| Some("key".to_owned())).err();
        assert!(mistakes.is_none(), "{}", mistakes.map(|mistakes| mistakes.to_string()).unwrap_or_default());
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn responses_in_the_background_are_bound_as_the_config_says() {
    let read = |more: &str| parse(&format!("{more}{DEMO}")).ok().map(|config| config.limits.background);
    assert_eq!(read(""), Some(weighbridge_gateway::BackgroundLimits::default()));
    let bounds = read("[responses]\nmax_background = 3\nmax_background_per_caller = 2\nbackground_events_kib = 70\n");
    let expected = weighbridge_gateway::BackgroundLimits { most: 3, most_per_caller: 2, event_bytes: 70 << 10 };
    assert_eq!(bounds, Some(expected));
    check_mistakes(&format!("[responses]\nmax_background = 0\n{DEMO}"), &[(2, "responses.max_background", "1")]);
}

#[test]
fn responses_are_kept_as_the_config_says() {
    let read =
        |more: &str| parse(&format!("{more}{DEMO}")).map(|config| (config.responses, config.limits.store_responses));
    let default = (ResponsesConfig::default(), true);
    assert_eq!(read("").ok(), Some(default));
    let (config, store) = read("[responses]\nstore = false\nkeep_days = 2\nmax_mib = 3\n").ok().unwrap_or(default);
    assert_eq!((config.store, store, config.retention.max_bytes), (false, false, 3 << 20));
    assert_eq!(config.retention.term, Duration::from_secs(2 * 24 * 60 * 60));
    check_mistakes(
        &format!("[responses]\nkeep_days = 0\nkept = 1\n{DEMO}"),
        &[(2, "responses.keep_days", "1"), (3, "responses.kept", "")],
    );
}
