//! The config file: found, read into [`raw::Config`] where unknown keys are refused, then resolved into
//! [`Config`], ready to use. All mistakes come back together.

mod edges;
mod listen;
mod mistake;
mod raw;
mod reader;
mod resolve;
mod responses;
mod routes;

use std::path::{Path, PathBuf};
use std::time::Duration;

use weighbridge_backend::{DataClass, Price};
use weighbridge_engine::{PoolOptions, PrefixReuse, ReasoningFormat, ToolFormat};
use weighbridge_gateway::{Callers, Limits, TlsFiles};
use weighbridge_models::{AdapterMode, Compute, QuantizedType};
use weighbridge_policy::Route;
use weighbridge_providers::ProviderOptions;

pub(crate) use listen::{Listen, parse_listen};
pub(crate) use mistake::Mistakes;
pub(crate) use resolve::BUNDLED;
pub(crate) use responses::ResponsesConfig;

/// Everything that a config says, ready to use.
pub(crate) struct Config {
    /// At least one place.
    pub(crate) listen: Vec<Listen>,
    /// The rights of the sockets among them.
    pub(crate) socket_mode: u32,
    pub(crate) tls: Option<TlsConfig>,
    /// The config says outright that keys are not wanted.
    pub(crate) open_to_all: bool,
    pub(crate) callers: Callers,
    pub(crate) limits: Limits,
    pub(crate) grace: Duration,
    pub(crate) log: LogOptions,
    pub(crate) ledger: Option<PathBuf>,
    /// How responses are kept.
    pub(crate) responses: ResponsesConfig,
    /// How the models share the memory.
    pub(crate) pool: PoolOptions,
    pub(crate) models: Vec<ModelConfig>,
    pub(crate) providers: Vec<ProviderConfig>,
    pub(crate) routes: Vec<Route>,
    /// What is no mistake but worth saying: a key that is not set.
    pub(crate) notes: Vec<String>,
}

/// The certificate of every TCP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsConfig {
    pub(crate) files: TlsFiles,
    pub(crate) handshake_timeout: Duration,
}

/// Where models come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct HubConfig {
    /// No request for a model leaves this machine.
    pub(crate) offline: bool,
    pub(crate) endpoint: Option<String>,
    /// The environment variable that holds the token.
    pub(crate) token_env: Option<String>,
}

/// How to log.
#[derive(Clone, Debug)]
pub(crate) struct LogOptions {
    pub(crate) json: bool,
    pub(crate) filter: String,
}

/// A model of the built-in engine.
#[derive(Clone)]
pub(crate) struct ModelConfig {
    pub(crate) name: String,
    pub(crate) path: ModelPath,
    pub(crate) compute: Compute,
    /// What its matrices are put into as they load.
    pub(crate) quantize: Option<QuantizedType>,
    pub(crate) adapter: Option<AdapterConfig>,
    pub(crate) clearance: DataClass,
    pub(crate) region: Option<String>,
    pub(crate) price: Price,
    pub(crate) quality: Option<f64>,
    pub(crate) context: Option<u32>,
    pub(crate) max_running: Option<usize>,
    pub(crate) max_waiting: Option<usize>,
    pub(crate) prefill_chunk: Option<usize>,
    pub(crate) prefill_time: Option<Duration>,
    /// Bytes.
    pub(crate) page_memory: Option<u64>,
    pub(crate) prefix_reuse: PrefixReuse,
    pub(crate) parse_special_tokens: bool,
    pub(crate) tool_format: Option<ToolFormat>,
    pub(crate) reasoning_format: Option<ReasoningFormat>,
    /// Loaded at the start, and never unloaded.
    pub(crate) pinned: bool,
    /// How long after its last request it is unloaded.
    pub(crate) keep_alive: Option<Duration>,
}

/// A low-rank adapter of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdapterConfig {
    /// A folder.
    pub(crate) path: PathBuf,
    pub(crate) mode: AdapterMode,
}

/// Where a checkpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModelPath {
    /// The one that the program carries.
    Bundled,
    /// A folder or a file.
    At(PathBuf),
}

/// A provider and its models.
pub(crate) struct ProviderConfig {
    pub(crate) options: ProviderOptions,
    /// Why it is out from the start.
    pub(crate) out: Option<String>,
    /// Whether the start goes on without it.
    pub(crate) optional: bool,
    pub(crate) models: Vec<HostedConfig>,
}

/// A model at a provider.
pub(crate) struct HostedConfig {
    pub(crate) offer: weighbridge_backend::Offer,
    pub(crate) upstream_name: String,
}

/// Which config the program uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// None was named and none was found.
    None,
    /// This file, and how it was found.
    File(PathBuf, Found),
}

/// How a config was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    ByFlag,
    ByVariable,
    InWorkingFolder,
}

impl Found {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ByFlag => "named by --config",
            Self::ByVariable => "named by WEIGHBRIDGE_CONFIG",
            Self::InWorkingFolder => "found in the working folder",
        }
    }
}

impl Source {
    /// `--config`, else `WEIGHBRIDGE_CONFIG`, else `weighbridge.toml` in the working folder, else none.
    pub(crate) fn find(flag: Option<&Path>) -> Self {
        if let Some(path) = flag {
            return Self::File(path.to_owned(), Found::ByFlag);
        }
        if let Some(path) = std::env::var_os("WEIGHBRIDGE_CONFIG").filter(|path| !path.is_empty()) {
            return Self::File(path.into(), Found::ByVariable);
        }
        let here = Path::new("weighbridge.toml");
        if here.is_file() { Self::File(here.to_owned(), Found::InWorkingFolder) } else { Self::None }
    }
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Every mistake in it; one that says so where it cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Self, Mistakes> {
        let text = std::fs::read_to_string(path).map_err(|error| Mistakes::unreadable(path, &error))?;
        Self::parse(path, &text, &|name| std::env::var(name).ok())
    }

    /// Reads what the file says of the hub, and no more: a config whose models are not pulled yet is no reason not
    /// to pull them.
    ///
    /// # Errors
    /// Every mistake that shows without looking anything up: a file that is not understood whole could hold
    /// `offline` in a way that was not.
    pub(crate) fn read_hub(path: &Path) -> Result<HubConfig, Mistakes> {
        let text = std::fs::read_to_string(path).map_err(|error| Mistakes::unreadable(path, &error))?;
        let reader = reader::Reader::new(path, &text);
        let raw = raw::Config::read(&reader);
        reader.into_mistakes().map_or(Ok(raw.hub), Err)
    }

    fn parse(path: &Path, text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        let reader = reader::Reader::new(path, text);
        let raw = raw::Config::read(&reader);
        let config = resolve::resolve(raw, &reader, environment);
        reader.into_mistakes().map_or(Ok(config), Err)
    }

    /// Listens elsewhere than the file says, by the same rule on who may be served there.
    ///
    /// # Errors
    /// Where others can reach it and there are no callers.
    pub(crate) fn listen_on(&mut self, listen: Vec<Listen>) -> Result<(), String> {
        let without_keys = matches!(self.callers, Callers::Open);
        let open = without_keys && !self.open_to_all;
        let reachable = listen.iter().find(|place| !place.is_local());
        if let (true, Some(place)) = (open, reachable) {
            return Err(format!(
                "{place} can be reached from other machines, and there are no callers; add [[callers]] to a config, \
                 listen on 127.0.0.1, or say auth = \"none\" in its [server]"
            ));
        }
        self.limits.local_host_only = open;
        self.limits.open_admin = without_keys && reachable.is_none();
        self.listen = listen;
        Ok(())
    }

    /// The config of a program that was given none: the bundled model, or the checkpoints in `paths`, for
    /// whoever is on this machine.
    pub(crate) fn without_file(models: Vec<ModelConfig>) -> Self {
        resolve::without_file(models)
    }
}

#[cfg(test)]
mod tests;
