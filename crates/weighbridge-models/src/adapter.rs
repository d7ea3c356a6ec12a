//! Low-rank adapters (LoRA, <https://arxiv.org/abs/2106.09685>) as PEFT writes them: a folder with
//! `adapter_config.json` and `adapter_model.safetensors`.
//!
//! A module's update is `scale · B A`, where `A` is `[rank, in]` and `B` is `[out, rank]`. It is added to the matrix
//! once, as the weights load, or kept apart and computed beside the matrix at every step.

mod config;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use candle_core::{Result as Computed, Tensor};
use serde_json::Value as Json;
use thiserror::Error;

use self::config::Config;
use crate::parts::{Kind, LayerPart, Names, Part, Place};
use crate::spec::DecoderSpec;
use crate::weights::Stored;

/// What becomes of an adapter's updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AdapterMode {
    /// Added to the weights as they load: a step costs what it costs without. A packed matrix that is adapted is
    /// expanded for it and stays so, unless it is quantised as it loads.
    #[default]
    Merged,
    /// Computed beside the weights, which stay as they are stored: two small products more for each adapted matrix.
    /// The projection from DeepSeek's latent rows to keys and values is merged all the same, for it is never
    /// multiplied as a whole.
    Apart,
}

/// A name that is not one of [`AdapterMode::NAMES`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is nothing to do with an adapter; known: merged, apart")]
pub struct UnknownMode(pub String);

/// Why an adapter was refused.
#[derive(Debug, Error)]
pub enum AdapterError {
    /// A file that must be there is not.
    #[error(
        "there is no {0} in it; an adapter is a folder with adapter_config.json and adapter_model.safetensors, as PEFT \
         writes it"
    )]
    Missing(&'static str),
    /// The config asks for what is not supported, or is broken.
    #[error("`{field}` in adapter_config.json {problem}")]
    Field {
        /// In the config.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor does not go with the model.
    #[error("tensor `{name}` of the adapter {problem}")]
    Tensor {
        /// As the file names it.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The model is of a kind that no adapter goes with.
    #[error("the adapter cannot be used with this model: {0}")]
    Model(String),
}

/// What there is to say about an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterSummary {
    /// Where it came from.
    pub path: PathBuf,
    /// Merged or apart.
    pub mode: AdapterMode,
    /// How many matrices it changes.
    pub modules: usize,
    /// Its numbers in all.
    pub parameters: u64,
    /// The largest rank of its updates.
    pub rank: usize,
}

/// An adapter that was held against its model: every update belongs to a matrix and has its shape.
#[derive(Debug)]
pub(crate) struct Adapter {
    pub(crate) path: PathBuf,
    pub(crate) mode: AdapterMode,
    /// By the name of the tensor that each changes.
    updates: HashMap<String, Update>,
}

/// The update of one matrix.
#[derive(Debug)]
struct Update {
    /// `[rank, in]`.
    down: Stored,
    /// `[out, rank]`.
    up: Stored,
    scale: f64,
}

/// Both factors in float32: `[rank, in]`, and `[out, rank]` times the scale.
#[derive(Debug)]
pub(crate) struct LowRank {
    pub(crate) down: Tensor,
    pub(crate) up: Tensor,
}

impl AdapterMode {
    /// The names by which configs ask for them.
    pub const NAMES: [&'static str; 2] = ["merged", "apart"];
}

impl FromStr for AdapterMode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        match name {
            "merged" => Ok(Self::Merged),
            "apart" => Ok(Self::Apart),
            other => Err(UnknownMode(other.to_owned())),
        }
    }
}

impl fmt::Display for AdapterMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Merged => "merged",
            Self::Apart => "apart",
        })
    }
}

impl Adapter {
    /// Holds the contents of an adapter's folder against a decoder whose tensors go by `names`.
    ///
    /// # Errors
    /// Where the config asks for what is not supported, and where a tensor belongs to no matrix of the decoder, or to
    /// one of another shape.
    pub(crate) fn new(
        path: PathBuf,
        mode: AdapterMode,
        config: &Json,
        tensors: HashMap<String, Stored>,
        (spec, names): (&DecoderSpec, &Names),
    ) -> Result<Self, AdapterError> {
        let config = Config::read(config)?;
        let matrices = matrices(spec, names);
        let mut updates = HashMap::new();
        let modules = modules(tensors)?;
        config.check_targets(modules.keys().map(String::as_str))?;
        for (module, factors) in modules {
            let name = format!("{module}.weight");
            let (down, up) = factors.both(&module)?;
            let Some(shape) = matrices.get(&name) else {
                return Err(tensor(&module, "belongs to no matrix of the model that an adapter can change"));
            };
            let rank = config.rank(&module);
            let (wanted_down, wanted_up) = ([rank, shape[1]], [shape[0], rank]);
            if down.shape != wanted_down || up.shape != wanted_up {
                let found = format!("has factors of {:?} and {:?}", down.shape, up.shape);
                let problem = format!("{found}, where config and model say {wanted_down:?} and {wanted_up:?}");
                return Err(tensor(&module, &problem));
            }
            let scale = config.scale(&module, rank);
            updates.insert(name, Update { down, up, scale });
        }
        Ok(Self { path, mode, updates })
    }

    pub(crate) fn summary(&self) -> AdapterSummary {
        AdapterSummary {
            path: self.path.clone(),
            mode: self.mode,
            modules: self.updates.len(),
            parameters: self.updates.values().map(|update| update.down.count() + update.up.count()).sum(),
            rank: self.updates.values().map(|update| update.down.shape[0]).max().unwrap_or(0),
        }
    }

    /// Whether a weight is changed as it loads.
    pub(crate) fn is_merged_into(&self, part: Part, place: &Place) -> bool {
        let always = matches!(part, Part::Layer(_, LayerPart::LatentUp, _));
        (always || self.mode == AdapterMode::Merged) && self.updates.contains_key(&place.name)
    }

    /// The update of a weight that is all of a tensor, or some of its `rows`.
    pub(crate) fn low_rank(&self, place: &Place, rows: Option<Range<usize>>) -> Option<Computed<LowRank>> {
        self.updates.get(&place.name).map(|update| update.low_rank(rows))
    }

    /// Bytes of all factors in float32.
    pub(crate) fn bytes(&self) -> u64 {
        4 * self.summary().parameters
    }
}

impl Update {
    fn low_rank(&self, rows: Option<Range<usize>>) -> Computed<LowRank> {
        let up = (self.up.dense()? * self.scale)?;
        let up = match rows {
            Some(rows) => up.narrow(0, rows.start, rows.len())?.contiguous()?,
            None => up,
        };
        Ok(LowRank { down: self.down.dense()?, up })
    }
}

impl LowRank {
    /// `[tokens, in]` to `[tokens, out]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Computed<Tensor> {
        x.matmul(&self.down.t()?)?.matmul(&self.up.t()?)
    }

    /// The update as a matrix, `[out, in]`.
    pub(crate) fn product(&self) -> Computed<Tensor> {
        self.up.matmul(&self.down)
    }
}

/// The matrices that an adapter can change by the names of their tensors, with the shape of the whole tensor.
fn matrices(spec: &DecoderSpec, names: &Names) -> HashMap<String, Vec<usize>> {
    // A head that is the embedding is a module of its own all the same, and can be changed without it.
    let parts = Part::all(spec, names).chain([Part::Head(Kind::Weight)]);
    let mut matrices = HashMap::new();
    for part in parts.filter(|&part| part != Part::Embedding) {
        let Place { name, slice } = names.place(part, spec);
        let shape = names.shape(part, spec);
        let is_item = slice.is_some_and(|slice| slice.is_item);
        if shape.len() == 2 && name.ends_with(".weight") && !is_item {
            matrices.insert(name, slice.map_or_else(|| shape.clone(), |slice| slice.whole(&shape)));
        }
    }
    matrices
}

/// The two factors of a module, as far as they were met.
#[derive(Default)]
struct Factors {
    down: Option<Stored>,
    up: Option<Stored>,
}

impl Factors {
    fn both(self, module: &str) -> Result<(Stored, Stored), AdapterError> {
        match (self.down, self.up) {
            (Some(down), Some(up)) => Ok((down, up)),
            (None, _) => Err(tensor(&format!("{module}.lora_A.weight"), "is missing from the file")),
            (_, None) => Err(tensor(&format!("{module}.lora_B.weight"), "is missing from the file")),
        }
    }
}

/// What PEFT puts before the name of every module of the model.
const PREFIX: &str = "base_model.model.";

/// Sorts the tensors of an adapter by the modules they belong to.
fn modules(tensors: HashMap<String, Stored>) -> Result<BTreeMap<String, Factors>, AdapterError> {
    let mut modules: BTreeMap<String, Factors> = BTreeMap::new();
    for (name, stored) in tensors {
        let Some(path) = name.strip_prefix(PREFIX) else {
            return Err(tensor(&name, &format!("does not start with `{PREFIX}`, as PEFT names them")));
        };
        if !stored.element.is_float() {
            return Err(tensor(&name, &format!("is stored as {}; supported: F32, F16, BF16", stored.element.name())));
        }
        if let Some(module) = path.strip_suffix(".lora_A.weight") {
            modules.entry(module.to_owned()).or_default().down = Some(stored);
        } else if let Some(module) = path.strip_suffix(".lora_B.weight") {
            modules.entry(module.to_owned()).or_default().up = Some(stored);
        } else {
            return Err(tensor(&name, "is no factor of a matrix (lora_A or lora_B), which is not supported yet"));
        }
    }
    if modules.is_empty() {
        return Err(AdapterError::Model("it changes nothing: there are no tensors in it".to_owned()));
    }
    Ok(modules)
}

fn tensor(name: &str, problem: &str) -> AdapterError {
    // Of a name from outside a start is enough.
    AdapterError::Tensor { name: name.chars().take(256).collect(), problem: problem.to_owned() }
}
