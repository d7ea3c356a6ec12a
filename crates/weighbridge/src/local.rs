//! Local models: found by name or path, opened, loaded.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weighbridge_backend::{BackendId, DataClass, Price};
use weighbridge_engine::{LocalModel, ModelOptions, ModelPool, PoolModel, PoolPlan, PrefixReuse};
use weighbridge_models::{Checkpoint, Compute, Precision, QuantizedType, Tier};

use crate::bundled;
use crate::cli::WeightsArguments;
use crate::config::{AdapterConfig, BUNDLED, Config, ModelConfig, ModelPath, Source};
use crate::failure::Failure;
use crate::hub;
use crate::terminal::LoadBar;

/// Opens the checkpoint at `path`: its headers, not its weights.
pub(crate) fn open(path: &ModelPath) -> Result<Checkpoint, Failure> {
    match path {
        ModelPath::Bundled => bundled::checkpoint().map_err(Failure::failed),
        ModelPath::At(path) => Checkpoint::open(path).map_err(Failure::failed),
    }
}

/// Opens a model as it will be loaded: quantised, and with its adapter.
pub(crate) fn open_model(model: &ModelConfig) -> Result<Checkpoint, Failure> {
    let mut checkpoint = open(&model.path)?;
    if let Some(adapter) = &model.adapter {
        checkpoint = checkpoint.with_adapter(&adapter.path, adapter.mode).map_err(Failure::failed)?;
    }
    Ok(model.quantize.map_or_else(|| checkpoint.clone(), |target| checkpoint.quantized(target)))
}

/// How a model is computed where nothing is said: on the kernels where they have good instructions here. Without those
/// candle is faster, and what is quantised as it loads was meant to stay small.
pub(crate) fn compute_for(path: &ModelPath, quantize: Option<QuantizedType>) -> Compute {
    match quantize {
        _ if Tier::best() > Tier::Scalar => Compute::cpu(precision_for(path)),
        Some(_) => Compute::Quantized,
        None => Compute::Float32,
    }
}

/// How exactly: of a small model float32 costs nothing that anyone would notice.
pub(crate) fn precision_for(path: &ModelPath) -> Precision {
    const SMALL_BYTES: u64 = 64 << 20;
    let bytes = match path {
        ModelPath::Bundled => 0,
        ModelPath::At(path) if path.is_dir() => {
            let files = std::fs::read_dir(path).into_iter().flatten().flatten();
            files.filter_map(|file| file.metadata().ok()).map(|it| it.len()).sum()
        }
        ModelPath::At(path) => path.metadata().map_or(u64::MAX, |it| it.len()),
    };
    if bytes < SMALL_BYTES { Precision::F32 } else { Precision::default() }
}

/// How a model is computed here, in words: on the kernels with how exactly and with which instructions.
pub(crate) fn computation(compute: Compute) -> String {
    match compute {
        Compute::Cpu { precision, tier, kv } => {
            let kv = kv.map(|kv| format!(", keys and values in {kv}")).unwrap_or_default();
            format!("cpu, {precision}, {}{kv}", tier.unwrap_or_else(Tier::best))
        }
        other => other.to_string(),
    }
}

/// The model as the command line wants its weights.
pub(crate) fn with_weights(model: ModelConfig, arguments: &WeightsArguments) -> ModelConfig {
    let quantize = arguments.quantize.or(model.quantize);
    let adapter = arguments.adapter.clone().map(|path| (path, arguments.adapter_mode.unwrap_or_default()));
    ModelConfig {
        compute: computed(&model.path, model.compute, arguments),
        quantize,
        adapter: adapter.map(|(path, mode)| AdapterConfig { path, mode }).or(model.adapter),
        ..model
    }
}

/// How the command line wants a model computed that would be computed so.
fn computed(path: &ModelPath, compute: Compute, arguments: &WeightsArguments) -> Compute {
    let (own_precision, own_tier, own_kv) = match compute {
        Compute::Cpu { precision, tier, kv } => (Some(precision), tier, kv),
        _ => (None, None, None),
    };
    let on_cpu = Compute::Cpu {
        precision: arguments.precision.or(own_precision).unwrap_or_default(),
        tier: arguments.tier.or(own_tier),
        kv: arguments.kv.or(own_kv),
    };
    let is_asked = arguments.precision.is_some() || arguments.tier.is_some() || arguments.kv.is_some();
    match arguments.compute {
        Some(Compute::Cpu { .. }) => on_cpu,
        Some(other) => other,
        None if own_precision.is_some() || is_asked => on_cpu,
        None => arguments.quantize.map_or(compute, |target| compute_for(path, Some(target))),
    }
}

/// What is done to the weights of a model as they load, in words; empty where nothing is.
pub(crate) fn changes(model: &ModelConfig) -> String {
    let quantised = model.quantize.map(|target| format!("{target} at load"));
    let adapter = model.adapter.as_ref().map(|it| format!("adapter {} {}", file_name(&it.path), it.mode));
    quantised.into_iter().chain(adapter).collect::<Vec<_>>().join(", ")
}

/// The options of a model of the config.
pub(crate) fn options(model: &ModelConfig, checkpoint: Checkpoint) -> ModelOptions {
    let defaults = ModelOptions::new(BackendId::new(&model.name), checkpoint);
    ModelOptions {
        compute: model.compute,
        clearance: model.clearance,
        region: model.region.clone(),
        price: model.price,
        quality: model.quality,
        context: model.context,
        max_running: model.max_running.unwrap_or(defaults.max_running),
        max_waiting: model.max_waiting.unwrap_or(defaults.max_waiting),
        prefill_chunk: model.prefill_chunk,
        prefill_time: model.prefill_time.unwrap_or(defaults.prefill_time),
        page_memory: model.page_memory,
        prefix_reuse: model.prefix_reuse,
        parse_special_tokens: model.parse_special_tokens,
        tool_format: model.tool_format,
        reasoning_format: model.reasoning_format,
        ..defaults
    }
}

/// Loads a model and starts it, with a progress bar.
pub(crate) fn load(model: &ModelConfig) -> Result<Arc<LocalModel>, Failure> {
    let checkpoint = open_model(model)?;
    let bar = LoadBar::new(&model.name);
    LocalModel::load(options(model, checkpoint), &mut |progress| bar.show(progress))
        .map_err(|error| Failure::failed(format!("cannot load the model \"{}\": {error}", model.name)))
}

/// What each model of a config takes, held against the memory that they may take together.
pub(crate) fn plan(config: &Config) -> Result<PoolPlan, Failure> {
    let pooled = |model: &ModelConfig| {
        let options = options(model, open_model(model)?);
        Ok(PoolModel { options, pinned: model.pinned, keep_alive: model.keep_alive })
    };
    let models = config.models.iter().map(pooled).collect::<Result<_, Failure>>()?;
    PoolPlan::new(config.pool, models).map_err(Failure::usage)
}

/// Starts the models of a plan, with a progress bar for each that is loaded now.
pub(crate) fn start(plan: PoolPlan) -> Result<ModelPool, Failure> {
    let mut shown: Option<(BackendId, LoadBar)> = None;
    let mut show = |id: &BackendId, progress| {
        if shown.as_ref().is_none_or(|(other, _)| other != id) {
            shown = Some((id.clone(), LoadBar::new(id.as_str())));
        }
        if let Some((_, bar)) = &shown {
            bar.show(progress);
        }
    };
    ModelPool::start(plan, &mut show).map_err(Failure::failed)
}

/// A model that was named on the command line: a path that exists, else a model of the config, else the one
/// that the program carries, else one that was pulled.
pub(crate) fn find(name: &str, source: &Source) -> Result<ModelConfig, Failure> {
    let path = Path::new(name);
    if path.exists() {
        return Ok(unnamed(file_name(path), ModelPath::At(path.to_owned())));
    }
    if let Source::File(file, _) = source {
        let config = Config::read(file).map_err(Failure::Config)?;
        if let Some(model) = config.models.into_iter().find(|model| model.name == name) {
            return Ok(model);
        }
    }
    if name == bundled::NAME || name == BUNDLED {
        return Ok(demo());
    }
    pulled(name)?.ok_or_else(|| {
        Failure::usage(format!(
            "there is no folder or file at \"{name}\" and no model of that name; \"{}\" is the one that the program \
             carries, and weighbridge models pull fetches others",
            bundled::NAME
        ))
    })
}

/// A model that was pulled, by `hf:ORG/NAME[:…]`, by the repository's name, or by its short name; none where nothing of
/// that name is known.
fn pulled(name: &str) -> Result<Option<ModelConfig>, Failure> {
    let Some(source) = hub::named(name)? else { return Ok(None) };
    let found = hub::store()?.find(&source).map_err(Failure::usage)?;
    Ok(Some(unnamed(file_name(&found.path), ModelPath::At(found.path))))
}

/// The models at these paths, or pulled under these names, each named by its folder or file.
pub(crate) fn at_paths(paths: &[PathBuf]) -> Result<Vec<ModelConfig>, Failure> {
    let mut names = BTreeSet::new();
    let named = |path: &PathBuf| {
        let path = match path.to_str().filter(|_| !path.exists()).map(pulled).transpose()?.flatten() {
            Some(ModelConfig { path: ModelPath::At(path), .. }) => path,
            _ if path.exists() => path.clone(),
            _ => return Err(Failure::usage(format!("there is no folder or file at \"{}\"", path.display()))),
        };
        let stem = file_name(&path);
        let candidates = std::iter::once(stem.clone()).chain((2..).map(|n| format!("{stem}-{n}")));
        let name = candidates.into_iter().find(|name| names.insert(name.clone())).unwrap_or(stem);
        Ok(unnamed(name, ModelPath::At(path)))
    };
    paths.iter().map(named).collect()
}

/// The model that the program carries.
pub(crate) fn demo() -> ModelConfig {
    unnamed(bundled::NAME.to_owned(), ModelPath::Bundled)
}

pub(crate) fn unnamed(name: String, path: ModelPath) -> ModelConfig {
    ModelConfig {
        compute: compute_for(&path, None),
        name,
        path,
        quantize: None,
        adapter: None,
        clearance: DataClass::Restricted,
        region: None,
        price: Price::default(),
        quality: None,
        context: None,
        max_running: None,
        max_waiting: None,
        prefill_chunk: None,
        prefill_time: None,
        page_memory: None,
        prefix_reuse: PrefixReuse::default(),
        parse_special_tokens: false,
        tool_format: None,
        reasoning_format: None,
        pinned: false,
        keep_alive: None,
    }
}

/// The last part of a path, without `.gguf`. A slash divides a provider from its model, so there is none.
pub(crate) fn file_name(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().replace('/', "-");
    name.strip_suffix(".gguf").unwrap_or(&name).to_owned()
}
