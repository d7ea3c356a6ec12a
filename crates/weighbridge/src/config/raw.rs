//! The file as it stands: every key with its type, nothing checked against anything else.

use std::time::Duration;

use weighbridge_backend::{DataClass, NanoUsd, Priority};
use weighbridge_engine::{PrefixReuse, ReasoningFormat, ToolFormat};
use weighbridge_models::{AdapterMode, Compute, KvType, Precision, QuantizedType};
use weighbridge_policy::{Named, Prefer};

use super::edges::Edges;
use super::reader::{Located, Place, Reader, Table};
use super::{HubConfig, ResponsesConfig};

pub(super) struct Config {
    pub(super) server: Server,
    pub(super) log: Log,
    pub(super) ledger_path: Option<Located<String>>,
    pub(super) responses: ResponsesConfig,
    pub(super) hub: HubConfig,
    pub(super) dispatch: Dispatch,
    pub(super) engine: Engine,
    pub(super) models: Vec<Model>,
    pub(super) providers: Vec<Provider>,
    pub(super) callers: Vec<Caller>,
    pub(super) routes: Vec<Route>,
}

#[derive(Default)]
pub(super) struct Server {
    pub(super) listen: Vec<Located<String>>,
    pub(super) auth: Option<Auth>,
    pub(super) metrics_auth: Option<MetricsAuth>,
    pub(super) max_body_bytes: Option<usize>,
    pub(super) body_timeout: Option<Duration>,
    pub(super) max_connections: Option<usize>,
    pub(super) head_timeout: Option<Duration>,
    pub(super) max_in_flight: Option<usize>,
    pub(super) grace: Option<Duration>,
    pub(super) edges: Edges,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Auth {
    Keys,
    None,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricsAuth {
    Loopback,
    Keys,
    None,
}

#[derive(Default)]
pub(super) struct Log {
    pub(super) json: bool,
    pub(super) level: Option<Located<String>>,
}

#[derive(Default)]
pub(super) struct Dispatch {
    pub(super) retries: Option<u64>,
    pub(super) backoff: Option<Duration>,
    pub(super) longest_wait: Option<Duration>,
    pub(super) first_event: Option<Duration>,
    pub(super) keep_alive: Option<Duration>,
    pub(super) expected_output_tokens: Option<u64>,
}

#[derive(Default)]
pub(super) struct Engine {
    pub(super) memory_budget_mib: Option<u64>,
    pub(super) load_wait: Option<Duration>,
    pub(super) keep_alive: Option<Duration>,
}

pub(super) struct Model {
    pub(super) name: Option<Located<String>>,
    pub(super) path: Option<Located<String>>,
    pub(super) compute: Option<Compute>,
    pub(super) precision: Option<Precision>,
    pub(super) kv: Option<KvType>,
    pub(super) quantize: Option<QuantizedType>,
    pub(super) adapter: Option<Located<String>>,
    pub(super) adapter_mode: Option<AdapterMode>,
    pub(super) context: Option<u64>,
    pub(super) max_running: Option<usize>,
    pub(super) max_waiting: Option<usize>,
    pub(super) prefill_chunk: Option<usize>,
    pub(super) prefill_time: Option<Duration>,
    pub(super) page_memory_mib: Option<u64>,
    pub(super) prefix_reuse: Option<PrefixReuse>,
    pub(super) parse_special_tokens: Option<bool>,
    pub(super) tool_format: Option<ToolFormat>,
    pub(super) reasoning_format: Option<ReasoningFormat>,
    pub(super) pinned: Option<bool>,
    pub(super) keep_alive: Option<Duration>,
    pub(super) offer: Offer,
}

/// What models and providers' models say alike.
pub(super) struct Offer {
    pub(super) clearance: Option<DataClass>,
    pub(super) region: Option<String>,
    pub(super) quality: Option<f64>,
    pub(super) input: Option<NanoUsd>,
    pub(super) cached_input: Option<NanoUsd>,
    pub(super) output: Option<NanoUsd>,
}

pub(super) struct Provider {
    pub(super) place: Place,
    pub(super) name: Option<Located<String>>,
    pub(super) base_url: Option<Located<String>>,
    pub(super) key_env: Option<Located<String>>,
    pub(super) optional: bool,
    pub(super) clearance: Option<DataClass>,
    pub(super) region: Option<String>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) first_token_timeout: Option<Duration>,
    pub(super) between_tokens_timeout: Option<Duration>,
    pub(super) total_timeout: Option<Duration>,
    pub(super) stream: Option<bool>,
    pub(super) include_usage: Option<bool>,
    pub(super) max_tokens_field: Option<weighbridge_providers::MaxTokensField>,
    pub(super) parameters: Parameters,
    pub(super) headers: Vec<(Located<String>, String)>,
    pub(super) models: Vec<Hosted>,
}

/// What a server takes beyond OpenAI's own parameters, or does not take of them.
pub(super) struct Parameters {
    pub(super) extra: Vec<Located<String>>,
    pub(super) unsupported: Vec<Located<String>>,
}

pub(super) struct Hosted {
    pub(super) name: Option<Located<String>>,
    pub(super) upstream_name: Option<String>,
    pub(super) context: Option<u64>,
    pub(super) parameters: Parameters,
    pub(super) offer: Offer,
}

pub(super) struct Caller {
    pub(super) name: Option<Located<String>>,
    pub(super) key_sha256: Option<Located<String>>,
    pub(super) highest_class: Option<DataClass>,
    pub(super) class: Option<DataClass>,
    pub(super) routes: Option<Vec<Located<String>>>,
    pub(super) priority: Option<Priority>,
    pub(super) admin: Option<bool>,
}

pub(super) struct Route {
    pub(super) place: Place,
    pub(super) name: Option<Located<String>>,
    pub(super) matches: Match,
    pub(super) class: Option<DataClass>,
    pub(super) backends: Option<Vec<Located<String>>>,
    pub(super) prefer: Option<Prefer>,
    pub(super) named: Option<Named>,
    pub(super) regions: Vec<String>,
    pub(super) min_quality: Option<f64>,
}

#[derive(Default)]
pub(super) struct Match {
    pub(super) models: Vec<Located<String>>,
    pub(super) headers: Vec<(Located<String>, String)>,
    pub(super) callers: Vec<Located<String>>,
    pub(super) paths: Vec<Located<String>>,
    pub(super) capabilities: Vec<Located<String>>,
}

impl Config {
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        reader.root(|root| Self {
            server: root.table("server", Server::read).unwrap_or_default(),
            log: root.table("log", Log::read).unwrap_or_default(),
            ledger_path: root.table("ledger", |ledger| ledger.text("path")).flatten(),
            responses: root.table("responses", ResponsesConfig::read).unwrap_or_default(),
            hub: root.table("hub", read_hub).unwrap_or_default(),
            dispatch: root.table("dispatch", Dispatch::read).unwrap_or_default(),
            engine: root.table("engine", Engine::read).unwrap_or_default(),
            models: root.tables("models", Model::read),
            providers: root.tables("providers", Provider::read),
            callers: root.tables("callers", Caller::read),
            routes: root.tables("routes", Route::read),
        })
    }
}

impl Server {
    fn read(table: &Table<'_, '_>) -> Self {
        let auth = |word: &str| match word {
            "keys" => Some(Auth::Keys),
            "none" => Some(Auth::None),
            _ => None,
        };
        let metrics_auth = |word: &str| match word {
            "loopback" => Some(MetricsAuth::Loopback),
            "keys" => Some(MetricsAuth::Keys),
            "none" => Some(MetricsAuth::None),
            _ => None,
        };
        Self {
            listen: table.texts("listen").unwrap_or_default(),
            auth: table.word("auth", &["keys", "none"], auth),
            metrics_auth: table.word("metrics_auth", &["loopback", "keys", "none"], metrics_auth),
            max_body_bytes: table.size("max_body_bytes", 1024..(1 << 30) + 1),
            body_timeout: table.milliseconds("body_timeout_ms"),
            max_connections: table.size("max_connections", 1..1_000_001),
            head_timeout: table.milliseconds("head_timeout_ms"),
            max_in_flight: table.size("max_in_flight", 1..1_000_001),
            grace: table.milliseconds("grace_ms"),
            edges: Edges::read(table),
        }
    }
}

impl Log {
    fn read(table: &Table<'_, '_>) -> Self {
        let json = |word: &str| match word {
            "text" => Some(false),
            "json" => Some(true),
            _ => None,
        };
        Self { json: table.word("format", &["text", "json"], json).unwrap_or(false), level: table.text("level") }
    }
}

fn read_hub(table: &Table<'_, '_>) -> HubConfig {
    HubConfig {
        offline: table.boolean("offline").unwrap_or(false),
        endpoint: table.text("endpoint").map(|endpoint| endpoint.value),
        token_env: table.text("token_env").map(|variable| variable.value),
    }
}

impl Dispatch {
    fn read(table: &Table<'_, '_>) -> Self {
        Self {
            retries: table.integer("retries", 0..11),
            backoff: table.milliseconds("backoff_ms"),
            longest_wait: table.milliseconds("longest_wait_ms"),
            first_event: table.milliseconds("first_event_timeout_ms"),
            keep_alive: table.milliseconds("keep_alive_ms"),
            expected_output_tokens: table.integer("expected_output_tokens", 1..1_000_001),
        }
    }
}

impl Engine {
    fn read(table: &Table<'_, '_>) -> Self {
        Self {
            memory_budget_mib: table.integer("memory_budget_mib", 1..1_073_741_825),
            load_wait: table.milliseconds("load_wait_ms"),
            keep_alive: table.milliseconds("keep_alive_ms"),
        }
    }
}

impl Model {
    fn read(table: &Table<'_, '_>) -> Self {
        Self {
            name: table.required_text("name"),
            path: table.required_text("path"),
            compute: table.word("compute", &Compute::NAMES, |word| word.parse().ok()),
            precision: table.word("precision", &Precision::NAMES, |word| word.parse().ok()),
            kv: table.word("kv", &KvType::NAMES, |word| word.parse().ok()),
            quantize: table.word("quantize", &QuantizedType::BLOCKS, blocks),
            adapter: table.text("adapter"),
            adapter_mode: table.word("adapter_mode", &AdapterMode::NAMES, |word| word.parse().ok()),
            context: table.integer("context", 1..u64::from(u32::MAX)),
            max_running: table.size("max_running", 1..65_537),
            max_waiting: table.size("max_waiting", 1..1_000_001),
            prefill_chunk: table.size("prefill_chunk", 1..65_537),
            prefill_time: table.milliseconds("prefill_ms"),
            page_memory_mib: table.integer("page_memory_mib", 1..1_073_741_825),
            prefix_reuse: table.word("prefix_reuse", &PrefixReuse::NAMES, |word| word.parse().ok()),
            parse_special_tokens: table.boolean("parse_special_tokens"),
            tool_format: table.word("tool_format", ToolFormat::NAMES, |word| word.parse().ok()),
            reasoning_format: table.word("reasoning_format", ReasoningFormat::NAMES, |word| word.parse().ok()),
            pinned: table.boolean("pinned"),
            keep_alive: table.milliseconds("keep_alive_ms"),
            offer: Offer::read(table),
        }
    }
}

/// A block format; halves would save nothing, for they are computed in float32.
fn blocks(word: &str) -> Option<QuantizedType> {
    QuantizedType::BLOCKS.contains(&word).then(|| word.parse().ok()).flatten()
}

impl Offer {
    fn read(table: &Table<'_, '_>) -> Self {
        Self {
            clearance: class(table, "clearance"),
            region: table.text("region").map(|region| region.value),
            quality: table.share("quality"),
            input: table.dollars("input_usd_per_mtok"),
            cached_input: table.dollars("cached_input_usd_per_mtok"),
            output: table.dollars("output_usd_per_mtok"),
        }
    }
}

impl Provider {
    fn read(table: &Table<'_, '_>) -> Self {
        use weighbridge_providers::MaxTokensField;
        let field = |word: &str| {
            [MaxTokensField::MaxTokens, MaxTokensField::MaxCompletionTokens].into_iter().find(|f| f.as_str() == word)
        };
        table.required_text("kind");
        table.word("kind", &["openai"], |word| (word == "openai").then_some(()));
        Self {
            place: table.place.clone(),
            name: table.required_text("name"),
            base_url: table.required_text("base_url"),
            key_env: table.text("key_env"),
            optional: table.boolean("optional").unwrap_or(false),
            clearance: class(table, "clearance"),
            region: table.text("region").map(|region| region.value),
            connect_timeout: table.milliseconds("connect_timeout_ms"),
            first_token_timeout: table.milliseconds("first_token_timeout_ms"),
            between_tokens_timeout: table.milliseconds("between_tokens_timeout_ms"),
            total_timeout: table.milliseconds("total_timeout_ms"),
            stream: table.boolean("stream"),
            include_usage: table.boolean("include_usage"),
            max_tokens_field: table.word("max_tokens_field", &["max_tokens", "max_completion_tokens"], field),
            parameters: Parameters::read(table),
            headers: table.pairs("headers"),
            models: table.tables("models", Hosted::read),
        }
    }
}

impl Parameters {
    fn read(table: &Table<'_, '_>) -> Self {
        Self {
            extra: table.texts("extra_parameters").unwrap_or_default(),
            unsupported: table.texts("unsupported_parameters").unwrap_or_default(),
        }
    }
}

impl Hosted {
    fn read(table: &Table<'_, '_>) -> Self {
        Self {
            name: table.required_text("name"),
            upstream_name: table.text("upstream_name").map(|name| name.value),
            context: table.integer("context", 1..u64::from(u32::MAX)),
            parameters: Parameters::read(table),
            offer: Offer::read(table),
        }
    }
}

impl Caller {
    fn read(table: &Table<'_, '_>) -> Self {
        Self {
            name: table.required_text("name"),
            key_sha256: table.required_text("key_sha256"),
            highest_class: class(table, "highest_class"),
            class: class(table, "class"),
            routes: table.texts("routes"),
            priority: table.word("priority", &Priority::NAMES, |word| word.parse().ok()),
            admin: table.boolean("admin"),
        }
    }
}

impl Route {
    fn read(table: &Table<'_, '_>) -> Self {
        let require = |require: &Table<'_, '_>| (require.texts("regions"), require.share("min_quality"));
        let (regions, min_quality) = table.table("require", require).unwrap_or_default();
        Self {
            place: table.place.clone(),
            name: table.required_text("name"),
            matches: table.table("match", Match::read).unwrap_or_default(),
            class: class(table, "class"),
            backends: table.texts("backends"),
            prefer: table.word("prefer", &Prefer::NAMES, |word| word.parse().ok()),
            named: table.word("named", &Named::NAMES, |word| word.parse().ok()),
            regions: regions.unwrap_or_default().into_iter().map(|region| region.value).collect(),
            min_quality,
        }
    }
}

impl Match {
    fn read(table: &Table<'_, '_>) -> Self {
        Self {
            models: table.texts("models").unwrap_or_default(),
            headers: table.pairs("headers"),
            callers: table.texts("caller").unwrap_or_default(),
            paths: table.texts("path").unwrap_or_default(),
            capabilities: table.texts("capabilities").unwrap_or_default(),
        }
    }
}

fn class(table: &Table<'_, '_>, key: &'static str) -> Option<DataClass> {
    table.word(key, &DataClass::ALL.map(DataClass::as_str), |word| word.parse().ok())
}
