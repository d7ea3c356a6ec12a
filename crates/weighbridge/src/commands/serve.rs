//! `weighbridge serve`: builds what the config says, serves it, and ends in order.

mod listen;

use std::sync::Arc;

use tracing::info;
use weighbridge_backend::Backend;
use weighbridge_engine::{Footprint, ModelPool, PoolPlan};
use weighbridge_gateway::{Callers, Drained, Gateway, Options};
use weighbridge_ledger::{Ledger, LedgerClosed};
use weighbridge_policy::Route;
use weighbridge_providers::{Client, HostedModel};

pub(super) use self::listen::load_certificate;
use crate::cli::ServeArguments;
use crate::config::{Config, Listen, LogOptions, ModelConfig, ProviderConfig, Source};
use crate::failure::Failure;
use crate::terminal::say;
use crate::{data, local, terminal};

pub(crate) fn run(source: Source, arguments: &ServeArguments) -> Result<(), Failure> {
    let (config, origin) = read_config(&source, arguments)?;
    start_log(&config.log)?;
    stop_on_missing_keys(&config.providers)?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::failed(format!("cannot start the threads of the gateway: {error}")))?;
    runtime.block_on(serve(config, origin))
}

/// The config, and a sentence that says where it came from.
fn read_config(source: &Source, arguments: &ServeArguments) -> Result<(Config, String), Failure> {
    let (mut config, origin) = match source {
        _ if !arguments.paths.is_empty() => {
            let models = local::at_paths(&arguments.paths)?;
            (Config::without_file(models), "none: the checkpoints on the command line".to_owned())
        }
        Source::None => {
            let origin = "none: the model that the program carries (write weighbridge.toml here to change that)";
            (Config::without_file(vec![local::demo()]), origin.to_owned())
        }
        Source::File(path, found) => {
            let config = Config::read(path).map_err(Failure::Config)?;
            (config, format!("{} ({})", path.display(), found.as_str()))
        }
    };
    if !arguments.listen.is_empty() {
        config.listen_on(arguments.listen.clone()).map_err(Failure::usage)?;
    }
    Ok((config, origin))
}

/// A provider whose key is missing stops the start, unless the config says that it is optional.
fn stop_on_missing_keys(providers: &[ProviderConfig]) -> Result<(), Failure> {
    let missing = providers.iter().find(|provider| !provider.optional && provider.out.is_some());
    match missing {
        None => Ok(()),
        Some(provider) => Err(Failure::usage(format!(
            "provider \"{}\": {}; set it, or say optional = true to start without this provider",
            provider.options.name,
            provider.out.as_deref().unwrap_or_default()
        ))),
    }
}

async fn serve(config: Config, origin: String) -> Result<(), Failure> {
    // The address first: a port that is taken should not wait for a model to be loaded.
    let (listeners, urls) = listen::bind(&config).await?;
    let ledger = open_ledger(&config)?;
    let plan = local::plan(&config)?;
    let footprints: Vec<Footprint> = plan.models().map(|(_, footprint)| footprint).collect();
    let mut stop = Box::pin(stop_signal()?);
    let pool = tokio::select! {
        pool = start(plan) => Arc::new(pool?),
        () = &mut stop => {
            say!("stopped before its models were loaded");
            ledger.close()?;
            return Ok(());
        }
    };
    let mut backends: Vec<Arc<dyn Backend>> = Vec::new();
    backends.extend(pool.backends().iter().map(|model| Arc::clone(model) as Arc<dyn Backend>));
    for provider in &config.providers {
        backends.extend(hosted(provider)?);
    }
    welcome(&config, &footprints, &origin, &urls, &ledger);
    let gateway = Gateway::new(Options {
        routes: config.routes,
        backends,
        models: Some(pool.models()),
        providers: config.providers.iter().map(|provider| provider.options.name.clone()).collect(),
        callers: config.callers,
        ledger: ledger.handle.clone(),
        limits: config.limits,
    });
    let closing = Arc::clone(&pool);
    let stop = async move {
        stop.await;
        // The answers that run may end; nobody's load is worth waiting for any more.
        closing.close();
    };
    let served = gateway.serve(listeners, stop, config.grace).await;
    pool.stop();
    let closed = ledger.close();
    farewell(served);
    let closed = closed?;
    info!(receipts = closed.written, "stopped");
    Ok(())
}

struct OpenLedger {
    handle: Ledger,
    path: std::path::PathBuf,
}

impl OpenLedger {
    fn close(&self) -> Result<LedgerClosed, Failure> {
        self.handle.close().map_err(|error| Failure::failed(format!("receipts were lost at the end: {error}")))
    }
}

/// Loads what is to be there from the start, on a thread of its own, so that a signal is heard meanwhile.
async fn start(plan: PoolPlan) -> Result<ModelPool, Failure> {
    let (done, started) = tokio::sync::oneshot::channel();
    let loads = std::thread::Builder::new().name("start".to_owned());
    // Where nobody waits any more, what was loaded is let go of.
    let loads = loads.spawn(move || _ = done.send(local::start(plan)));
    loads.map_err(|error| Failure::failed(format!("cannot start the thread that loads models: {error}")))?;
    started.await.unwrap_or_else(|_| Err(Failure::failed("loading the models panicked; the log says where")))
}

fn open_ledger(config: &Config) -> Result<OpenLedger, Failure> {
    let path = match &config.ledger {
        Some(path) => path.clone(),
        None => data::folder()?.join("ledger.sqlite"),
    };
    let handle = Ledger::open(&path).map_err(Failure::failed)?;
    handle.retain(config.responses.retention);
    Ok(OpenLedger { handle, path })
}

/// The models of a provider as backends.
pub(super) fn hosted(provider: &ProviderConfig) -> Result<Vec<Arc<dyn Backend>>, Failure> {
    let name = &provider.options.name;
    let client = Client::new(provider.options.clone())
        .map_err(|error| Failure::usage(format!("provider \"{name}\": {error}")))?;
    let backend = |model: &crate::config::HostedConfig| {
        let hosted = HostedModel::new(&client, model.offer.clone(), model.upstream_name.clone(), provider.out.clone());
        Arc::new(hosted) as Arc<dyn Backend>
    };
    Ok(provider.models.iter().map(backend).collect())
}

fn start_log(options: &LogOptions) -> Result<(), Failure> {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_new(&options.filter)
        .map_err(|error| Failure::usage(format!("log.level \"{}\" is no filter: {error}", options.filter)))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if options.json {
        log.json().flatten_event(true).try_init()
    } else {
        log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).with_target(false).try_init()
    };
    started.map_err(|error| Failure::failed(format!("cannot start the log: {error}")))
}

/// What a person needs to know, on standard output; the log goes to standard error.
fn welcome(config: &Config, footprints: &[Footprint], origin: &str, urls: &[String], ledger: &OpenLedger) {
    for url in urls {
        say!("\x1b[1mWeighbridge {}\x1b[0m listening on \x1b[1;36m{url}\x1b[0m", env!("CARGO_PKG_VERSION"));
    }
    say!("  config   {origin}");
    say!("  ledger   {}", ledger.path.display());
    for (model, footprint) in config.models.iter().zip(footprints) {
        let residence = residence(config.pool.budget, model, *footprint);
        say!("  model    {} (local, {}, cleared for {}{residence})", model.name, model.compute, model.clearance);
    }
    if let Some(budget) = config.pool.budget {
        say!("  memory   {} for the models in memory together", terminal::bytes(budget));
    }
    for provider in &config.providers {
        for model in &provider.models {
            let state = provider.out.as_ref().map_or_else(String::new, |reason| format!(", out: {reason}"));
            say!("  hosted   {} (cleared for {}{state})", model.offer.id, model.offer.clearance);
        }
    }
    match &config.callers {
        Callers::Open if config.listen.iter().all(Listen::is_local) => {
            say!("  callers  open: anyone on this machine who reaches it, without a key")
        }
        Callers::Open => {
            say!("  callers  \x1b[1;33mopen: anyone who reaches {}, without a key\x1b[0m", urls.join(", "))
        }
        Callers::Keys(callers) => say!("  callers  {} with a key each", callers.len()),
    }
    for note in &config.notes {
        say!("  \x1b[1;33mnote\x1b[0m     {note}");
    }
    let key = if matches!(config.callers, Callers::Keys(_)) { " -H 'Authorization: Bearer YOUR_KEY'" } else { "" };
    let model = first_name(&config.routes);
    say!("\nTry it:\n");
    let curl = match urls.first() {
        Some(url) if !url.starts_with("unix:") => url.clone(),
        url => format!("--unix-socket {} http://localhost", url.map_or("", |url| url.trim_start_matches("unix:"))),
    };
    say!("  curl {curl}/v1/chat/completions -H 'Content-Type: application/json'{key} \\");
    say!(
        "    -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Tell me a story about a fox and a lamp.\"}}]}}'\n"
    );
    say!("Go on: serve a model of yours with `weighbridge serve PATH`, chat with `weighbridge run {model}`, put a");
    say!("provider beside it with a config (config/weighbridge.toml shows every key), stop with Ctrl-C.\n");
}

/// When a model is in memory and what it takes there, where models share a budget.
fn residence(budget: Option<u64>, model: &ModelConfig, footprint: Footprint) -> String {
    let when = if model.pinned { "pinned" } else { "loaded when it is asked" };
    budget.map_or_else(String::new, |_| format!(", {when}, {}", terminal::bytes(footprint.total())))
}

/// A name that some route takes, to begin with.
fn first_name(routes: &[Route]) -> String {
    let named = routes.iter().flat_map(|route| {
        let models = &route.matches.models;
        let taken = move |id: &&weighbridge_backend::BackendId| {
            models.is_empty() || models.iter().any(|pattern| pattern.matches(id.as_str()))
        };
        let aliases = models.iter().filter(|pattern| pattern.is_literal()).map(|pattern| pattern.as_str().to_owned());
        route.backends.iter().filter(taken).map(ToString::to_string).chain(aliases)
    });
    named.into_iter().next().unwrap_or_else(|| "auto".to_owned())
}

fn farewell(drained: Drained) {
    let Drained { in_flight, cut } = drained;
    match cut {
        0 => say!("stopped; {in_flight} requests were under way and all of them ended"),
        _ => {
            say!("stopped; {in_flight} requests were under way, {cut} of them were cut off when the grace was over")
        }
    }
}

/// Ready on SIGTERM or Ctrl-C.
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let listen =
            |kind| signal(kind).map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")));
        let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        // Without a signal there is nothing to stop for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
