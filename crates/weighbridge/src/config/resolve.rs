//! From the file as it stands to a config ready to use: defaults put in, names looked up, secrets fetched,
//! and everything that contradicts something else noted as a mistake.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use weighbridge_backend::{BackendId, Capability, DataClass, Dialect, Offer, Price};
use weighbridge_engine::PoolOptions;
use weighbridge_gateway::{CallerKey, Callers, KeyHash, Limits};
use weighbridge_hub::{NotASource, Source};
use weighbridge_models::{Compute, Tier};
use weighbridge_policy::{CallerFacts, Known};
use weighbridge_providers::{ProviderOptions, Secret};

use super::mistake::nearest;
use super::raw::{self, Auth, MetricsAuth};
use super::reader::{Located, Place, Reader};
use super::{
    AdapterConfig, Config, HostedConfig, Listen, LogOptions, ModelConfig, ModelPath, ProviderConfig, ResponsesConfig,
    edges, parse_listen, routes,
};
use crate::local;

const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// What names the model that the program carries.
pub(crate) const BUNDLED: &str = "builtin:demo";

pub(super) fn resolve(raw: raw::Config, reader: &Reader<'_>, environment: &dyn Fn(&str) -> Option<String>) -> Config {
    let mut notes = Vec::new();
    let models: Vec<ModelConfig> =
        raw.models.iter().filter_map(|model| resolve_model(model, &raw.engine, reader)).collect();
    let providers: Vec<ProviderConfig> = raw
        .providers
        .iter()
        .filter_map(|provider| resolve_provider(provider, reader, environment, &mut notes))
        .collect();
    refuse_twice(reader, "model", raw.models.iter().map(|model| model.name.as_ref()));
    refuse_twice(reader, "provider", raw.providers.iter().map(|provider| provider.name.as_ref()));
    refuse_twice(reader, "caller", raw.callers.iter().map(|caller| caller.name.as_ref()));
    refuse_twice(reader, "route", raw.routes.iter().map(|route| route.name.as_ref()));
    for provider in &raw.providers {
        refuse_twice(reader, "model of this provider", provider.models.iter().map(|model| model.name.as_ref()));
    }
    // Names as they were meant, also of what has another mistake: one mistake is not told twice.
    let backends = backend_names(&raw);
    let provider_names: Vec<String> =
        raw.providers.iter().filter_map(|provider| Some(provider.name.as_ref()?.value.clone())).collect();
    let known = Known { backends: &backends, providers: &provider_names };
    if backends.is_empty() && !reader.is_broken() {
        let help = Some(format!("add [[models]] with name = \"demo\" and path = \"{BUNDLED}\", or [[providers]]"));
        reader.mistake(&Place::default(), "nothing can answer: there are neither [[models]] nor [[providers]]", help);
    }
    let routes = routes::resolve(&raw.routes, known, raw.providers.is_empty(), reader);
    let route_names: BTreeSet<&str> =
        raw.routes.iter().filter_map(|route| Some(route.name.as_ref()?.value.as_str())).collect();
    let callers: Vec<CallerKey> =
        raw.callers.iter().filter_map(|caller| resolve_caller(caller, &route_names, reader)).collect();
    let auth = raw.server.auth.unwrap_or(Auth::Keys);
    let listen = resolve_listen(&raw.server.listen, auth == Auth::Keys && raw.callers.is_empty(), reader);
    let open = auth == Auth::None || raw.callers.is_empty();
    if let (Some(tls), None) = (&raw.server.edges.tls, listen.iter().find_map(Listen::as_tcp)) {
        reader.mistake(&tls.place, "a certificate, and no address but sockets to show it at", None);
    }
    let limits = Limits {
        store_responses: raw.responses.store,
        background: raw.responses.background,
        cors: raw.server.edges.cors.as_ref().map(|cors| edges::cors(cors, open, reader)),
        ..resolve_limits(&raw.server, &raw.dispatch, &listen, open)
    };
    Config {
        listen,
        socket_mode: edges::socket_mode(raw.server.edges.socket_mode.as_ref(), reader),
        tls: raw.server.edges.tls.as_ref().and_then(|tls| edges::tls(tls, reader)),
        open_to_all: auth == Auth::None,
        callers: if open { Callers::Open } else { Callers::Keys(callers) },
        limits,
        grace: raw.server.grace.unwrap_or(DEFAULT_GRACE),
        log: LogOptions {
            json: raw.log.json,
            filter: raw.log.level.map_or_else(|| "info".to_owned(), |level| level.value),
        },
        responses: raw.responses,
        ledger: raw.ledger_path.map(|path| reader.folder().join(path.value)),
        pool: resolve_pool(&raw.engine),
        models,
        providers,
        routes,
        notes,
    }
}

/// The config without a file: these models, one route, open on loopback.
pub(super) fn without_file(models: Vec<ModelConfig>) -> Config {
    let listen = vec![Listen::default_place()];
    let backends: Vec<BackendId> = models.iter().map(|model| BackendId::new(&model.name)).collect();
    Config {
        limits: resolve_limits(&raw::Server::default(), &raw::Dispatch::default(), &listen, true),
        listen,
        socket_mode: edges::SOCKET_MODE,
        tls: None,
        open_to_all: false,
        callers: Callers::Open,
        grace: DEFAULT_GRACE,
        log: LogOptions { json: false, filter: "info".to_owned() },
        responses: ResponsesConfig::default(),
        ledger: None,
        routes: vec![routes::implicit(&backends)],
        pool: PoolOptions::default(),
        models,
        providers: Vec::new(),
        notes: Vec::new(),
    }
}

fn backend_names(raw: &raw::Config) -> Vec<BackendId> {
    let local = raw.models.iter().filter_map(|model| Some(BackendId::new(&model.name.as_ref()?.value)));
    let hosted = raw.providers.iter().flat_map(|provider| {
        let names = provider.models.iter().filter_map(|model| Some(&model.name.as_ref()?.value));
        let provider = provider.name.as_ref().map(|name| name.value.as_str());
        names.filter_map(move |name| Some(BackendId::new(&format!("{}/{name}", provider?))))
    });
    local.chain(hosted).collect()
}

fn refuse_twice<'l>(reader: &Reader<'_>, what: &str, names: impl Iterator<Item = Option<&'l Located<String>>>) {
    let mut seen = BTreeSet::new();
    for name in names.flatten() {
        if name.value.is_empty() {
            reader.mistake(&name.place, format!("the name of a {what} is empty"), None);
        } else if !seen.insert(&name.value) {
            reader.mistake(&name.place, format!("a {what} named \"{}\" stands above already", name.value), None);
        }
    }
}

/// Where to listen; nowhere that others reach where there are no keys to want.
fn resolve_listen(listen: &[Located<String>], keyless: bool, reader: &Reader<'_>) -> Vec<Listen> {
    let mut places = Vec::new();
    for listen in listen {
        let Some(place) = parse_listen(&listen.value) else {
            let message =
                format!("expected an address and a port, or the path of a socket, found \"{}\"", listen.value);
            let help = format!("such as \"{DEFAULT_LISTEN}\" or \"unix:/run/weighbridge/http.sock\"");
            reader.mistake(&listen.place, message, Some(help));
            continue;
        };
        if keyless && !place.is_local() {
            let help = "add [[callers]] with keys, listen on 127.0.0.1, or say auth = \"none\" in [server]".to_owned();
            let message = format!("{place} can be reached from other machines, and there are no [[callers]]");
            reader.mistake(&listen.place, message, Some(help));
        }
        if places.contains(&place) {
            reader.mistake(&listen.place, format!("{place} stands before already"), None);
        } else {
            places.push(place);
        }
    }
    if places.is_empty() { vec![Listen::default_place()] } else { places }
}

fn resolve_limits(server: &raw::Server, dispatch: &raw::Dispatch, listen: &[Listen], open: bool) -> Limits {
    let default = Limits::default();
    let local = listen.iter().all(Listen::is_local);
    let edges = &server.edges;
    Limits {
        body_bytes: server.max_body_bytes.unwrap_or(default.body_bytes),
        body_timeout: server.body_timeout.unwrap_or(default.body_timeout),
        connections: server.max_connections.unwrap_or(default.connections),
        head_timeout: server.head_timeout.unwrap_or(default.head_timeout),
        head_bytes: edges.max_header_bytes.unwrap_or(default.head_bytes),
        streams: edges.max_streams.unwrap_or(default.streams),
        in_flight: server.max_in_flight.unwrap_or(default.in_flight),
        retries: dispatch.retries.map_or(default.retries, |retries| u32::try_from(retries).unwrap_or(u32::MAX)),
        backoff: dispatch.backoff.unwrap_or(default.backoff),
        longest_wait: dispatch.longest_wait.unwrap_or(default.longest_wait),
        request_timeout: edges.request_timeout,
        repeat_window: edges.repeat_window.unwrap_or(default.repeat_window),
        repeat_bytes: edges.repeat_bytes.unwrap_or(default.repeat_bytes),
        first_event: dispatch.first_event.unwrap_or(default.first_event),
        keep_alive: dispatch.keep_alive.unwrap_or(default.keep_alive),
        expected_output_tokens: dispatch.expected_output_tokens.unwrap_or(default.expected_output_tokens),
        metrics_need_key: match server.metrics_auth.unwrap_or(MetricsAuth::Loopback) {
            MetricsAuth::Loopback => !local,
            MetricsAuth::Keys => true,
            MetricsAuth::None => false,
        },
        local_host_only: open && local && server.auth != Some(Auth::None),
        open_admin: open && local,
        compression: edges.compression.unwrap_or(default.compression),
        ..default
    }
}

fn resolve_pool(engine: &raw::Engine) -> PoolOptions {
    PoolOptions {
        budget: engine.memory_budget_mib.map(|mib| mib << 20),
        load_wait: engine.load_wait.unwrap_or(PoolOptions::default().load_wait),
    }
}

fn resolve_model(model: &raw::Model, engine: &raw::Engine, reader: &Reader<'_>) -> Option<ModelConfig> {
    let name = model.name.as_ref()?;
    if name.value.contains('/') {
        let help = Some("a / divides a provider's name from its model's".to_owned());
        reader.mistake(&name.place, format!("the model's name \"{}\" holds a /", name.value), help);
    }
    let path = resolve_path(model.path.as_ref()?, reader)?;
    Some(ModelConfig {
        name: name.value.clone(),
        compute: resolve_compute(model, &path, reader),
        path,
        quantize: model.quantize,
        adapter: resolve_adapter(model, reader),
        clearance: model.offer.clearance.unwrap_or(DataClass::Restricted),
        region: model.offer.region.clone(),
        price: price(&model.offer),
        quality: model.offer.quality,
        context: model.context.and_then(|context| u32::try_from(context).ok()),
        max_running: model.max_running,
        max_waiting: model.max_waiting,
        prefill_chunk: model.prefill_chunk,
        prefill_time: model.prefill_time,
        page_memory: model.page_memory_mib.map(|mib| mib << 20),
        prefix_reuse: model.prefix_reuse.unwrap_or_default(),
        parse_special_tokens: model.parse_special_tokens.unwrap_or(false),
        tool_format: model.tool_format,
        reasoning_format: model.reasoning_format,
        pinned: model.pinned.unwrap_or(false),
        keep_alive: model.keep_alive.or(engine.keep_alive),
    })
}

fn resolve_compute(model: &raw::Model, path: &ModelPath, reader: &Reader<'_>) -> Compute {
    let compute = model.compute.unwrap_or_else(|| local::compute_for(path, model.quantize));
    // What is said of `cpu` asks for it, unless another is named.
    let asks = model.precision.is_some() || model.kv.is_some();
    match compute {
        Compute::Cpu { tier, .. } => on_cpu(model, path, tier),
        _ if asks && model.compute.is_none() => on_cpu(model, path, None),
        other => {
            let precision = model.precision.map(|precision| format!("precision = \"{precision}\""));
            let kv = model.kv.map(|kv| format!("kv = \"{kv}\""));
            if let Some(name) = &model.name {
                for setting in precision.into_iter().chain(kv) {
                    let message = format!("{setting} is of compute = \"cpu\", and this model has \"{other}\"");
                    reader.mistake(&name.place, message, Some("leave one of the two out".to_owned()));
                }
            }
            other
        }
    }
}

fn on_cpu(model: &raw::Model, path: &ModelPath, tier: Option<Tier>) -> Compute {
    let precision = model.precision.unwrap_or_else(|| local::precision_for(path));
    Compute::Cpu { precision, tier, kv: model.kv }
}

fn resolve_adapter(model: &raw::Model, reader: &Reader<'_>) -> Option<AdapterConfig> {
    let Some(path) = &model.adapter else {
        if let (Some(_), Some(name)) = (model.adapter_mode, &model.name) {
            reader.mistake(&name.place, "the model has adapter_mode and no adapter", None);
        }
        return None;
    };
    let from_config = reader.folder().join(&path.value);
    let found = [from_config.as_path(), Path::new(&path.value)].into_iter().find(|path| path.is_dir());
    if found.is_none() {
        let help = Some("a folder with adapter_config.json and adapter_model.safetensors".to_owned());
        let tried = from_config.display();
        let message = format!("no folder at \"{}\" (tried {tried}, and the working folder)", path.value);
        reader.mistake(&path.place, message, help);
    }
    Some(AdapterConfig { path: found?.to_owned(), mode: model.adapter_mode.unwrap_or_default() })
}

/// A path as it was meant: from the config's folder, or from the working folder.
fn resolve_path(path: &Located<String>, reader: &Reader<'_>) -> Option<ModelPath> {
    if path.value == BUNDLED {
        return Some(ModelPath::Bundled);
    }
    if Source::is_meant(&path.value) {
        return resolve_pulled(path, reader);
    }
    let from_config = reader.folder().join(&path.value);
    let found = [from_config.as_path(), Path::new(&path.value)].into_iter().find(|path| path.exists());
    if found.is_none() {
        let tried = from_config.display();
        let help = Some(format!("a folder with config.json and model.safetensors, a .gguf file, or \"{BUNDLED}\""));
        let message = format!("no folder or file at \"{}\" (tried {tried}, and the working folder)", path.value);
        reader.mistake(&path.place, message, help);
    }
    found.map(|path| ModelPath::At(PathBuf::from(path)))
}

/// A model that was pulled. Nothing is fetched here: a start never waits for another machine.
fn resolve_pulled(path: &Located<String>, reader: &Reader<'_>) -> Option<ModelPath> {
    let refuse = |message: String| reader.mistake(&path.place, message, None);
    let source: Source = path.value.parse().map_err(|error: NotASource| refuse(error.to_string())).ok()?;
    let found = crate::hub::store().map_err(|failure| failure.to_string());
    let found = found.and_then(|store| store.find(&source).map_err(|error| error.to_string()));
    found.map(|found| ModelPath::At(found.path)).map_err(refuse).ok()
}

fn price(offer: &raw::Offer) -> Price {
    Price {
        input: offer.input.unwrap_or_default(),
        cached_input: offer.cached_input,
        output: offer.output.unwrap_or_default(),
    }
}

fn resolve_provider(
    provider: &raw::Provider,
    reader: &Reader<'_>,
    environment: &dyn Fn(&str) -> Option<String>,
    notes: &mut Vec<String>,
) -> Option<ProviderConfig> {
    let name = provider.name.as_ref()?;
    let base_url = provider.base_url.as_ref()?;
    if !["http://", "https://"].iter().any(|scheme| base_url.value.starts_with(scheme)) {
        let help = Some("such as \"https://api.openai.com/v1\"".to_owned());
        reader.mistake(&base_url.place, format!("expected an http or https URL, found \"{}\"", base_url.value), help);
    }
    if provider.models.is_empty() {
        let help = Some("add models = [{ name = \"…\" }]".to_owned());
        reader.mistake(&provider.place, "the provider has no models", help);
    }
    let defaults = ProviderOptions::new(&name.value, &base_url.value);
    let mut timeouts = defaults.timeouts;
    timeouts.connect = provider.connect_timeout.unwrap_or(timeouts.connect);
    timeouts.first_token = provider.first_token_timeout.unwrap_or(timeouts.first_token);
    timeouts.between_tokens = provider.between_tokens_timeout.unwrap_or(timeouts.between_tokens);
    timeouts.total = provider.total_timeout.unwrap_or(timeouts.total);
    let key_env = provider.key_env.as_ref().map(|key_env| key_env.value.as_str());
    let key = key_env.and_then(environment).filter(|key| !key.trim().is_empty());
    let out = key_env.filter(|_| key.is_none()).map(|variable| format!("the key {variable} is not set"));
    if let Some(reason) = &out {
        let consequence = if provider.optional { "it is out" } else { "the start will stop here" };
        notes.push(format!("provider \"{}\": {reason}; {consequence}", name.value));
    }
    let options = ProviderOptions {
        key: key.map(|key| Secret::new(key.trim().to_owned())),
        headers: provider.headers.iter().map(|(name, value)| (name.value.clone(), value.clone())).collect(),
        timeouts,
        max_tokens_field: provider.max_tokens_field,
        include_usage: provider.include_usage.unwrap_or(defaults.include_usage),
        stream: provider.stream.unwrap_or(defaults.stream),
        ..defaults
    };
    let models = provider.models.iter().filter_map(|model| resolve_hosted(provider, model, reader, notes)).collect();
    Some(ProviderConfig { options, out, optional: provider.optional, models })
}

fn resolve_hosted(
    provider: &raw::Provider,
    model: &raw::Hosted,
    reader: &Reader<'_>,
    notes: &mut Vec<String>,
) -> Option<HostedConfig> {
    let name = model.name.as_ref()?;
    let id = format!("{}/{}", provider.name.as_ref()?.value, name.value);
    if model.offer.input.is_none() || model.offer.output.is_none() {
        notes.push(format!("{id}: it has no price, so that it counts as free where cost is preferred"));
    }
    let mut capabilities = weighbridge_providers::capabilities();
    for parameters in [&provider.parameters, &model.parameters] {
        capabilities.extend(resolve_capabilities(&parameters.extra, reader));
        for unsupported in resolve_capabilities(&parameters.unsupported, reader) {
            capabilities.remove(&unsupported);
        }
    }
    let offer = Offer {
        id: BackendId::new(&id),
        local: false,
        // Who says nothing clears a provider for nothing but what anyone may know.
        clearance: model.offer.clearance.or(provider.clearance).unwrap_or(DataClass::Public),
        region: model.offer.region.clone().or_else(|| provider.region.clone()),
        price: price(&model.offer),
        quality: model.offer.quality,
        context: model.context.and_then(|context| u32::try_from(context).ok()),
        capabilities,
        dialect: Some(Dialect::OpenAiChat),
        fingerprint: None,
        licence: None,
    };
    let upstream_name = model.upstream_name.clone().unwrap_or_else(|| name.value.clone());
    Some(HostedConfig { offer, upstream_name })
}

/// Capabilities by their words; one that is none is a mistake.
pub(super) fn resolve_capabilities(words: &[Located<String>], reader: &Reader<'_>) -> Vec<Capability> {
    let known = || Capability::ALL.iter().map(|capability| capability.as_str());
    let find = |word: &Located<String>| {
        let found = Capability::ALL.iter().copied().find(|capability| capability.as_str() == word.value);
        if found.is_none() {
            let all: Vec<&str> = known().collect();
            let help = nearest(&word.value, known()).or_else(|| Some(format!("there are {}", all.join(", "))));
            reader.mistake(&word.place, format!("\"{}\" is no capability", word.value), help);
        }
        found
    };
    words.iter().filter_map(find).collect()
}

fn resolve_caller(caller: &raw::Caller, routes: &BTreeSet<&str>, reader: &Reader<'_>) -> Option<CallerKey> {
    for route in caller.routes.iter().flatten().filter(|route| !routes.contains(route.value.as_str())) {
        let help = nearest(&route.value, routes.iter().copied());
        reader.mistake(&route.place, format!("there is no route named \"{}\"", route.value), help);
    }
    let hash = caller.key_sha256.as_ref()?;
    let key = KeyHash::from_hex(&hash.value);
    if key.is_none() {
        let help = Some("weighbridge keys hash makes one of a key on its standard input".to_owned());
        reader.mistake(&hash.place, "expected 64 hexadecimal digits", help);
    }
    let names = |routes: &Vec<Located<String>>| routes.iter().map(|route| Arc::from(route.value.as_str())).collect();
    let facts = CallerFacts {
        name: caller.name.as_ref()?.value.as_str().into(),
        highest_class: caller.highest_class.unwrap_or(DataClass::Restricted),
        class: caller.class,
        routes: caller.routes.as_ref().map(names),
        priority: caller.priority.unwrap_or_default(),
    };
    Some(CallerKey { key: key?, facts: facts.into(), admin: caller.admin.unwrap_or(false) })
}
