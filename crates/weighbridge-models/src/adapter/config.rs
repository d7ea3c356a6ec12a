//! `adapter_config.json`: what PEFT's `LoraConfig` (`peft/tuners/lora/config.py`) says of an adapter.
//!
//! A field that is set and not known here is refused, since what it asks for would be missing from the numbers.

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value as Json};

use super::AdapterError;

/// Ranks above this belong to no adapter.
const RANK_MAX: u64 = 1 << 16;
/// Patterns that a config may have.
const PATTERNS_MAX: usize = 4096;
/// Memory that a compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Fields that change nothing about the numbers: what was trained and how, and settings of what is switched on by
/// other fields.
const HARMLESS: [&str; 27] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "monteclora_config",
    "parent_library",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
    "target_modules",
    "r",
    "lora_alpha",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
];

/// Fields of these values change nothing; of any other they are refused.
const PLAIN: [(&str, &[&str]); 3] = [
    ("peft_type", &["LORA"]),
    ("bias", &["none"]),
    // The others change the weights beneath the adapter as well, and those are not in it.
    ("init_lora_weights", &["gaussian", "eva", "orthogonal"]),
];

/// What of a config is needed.
pub(super) struct Config {
    rank: usize,
    alpha: f64,
    /// Whether the scale goes by the root of the rank (<https://arxiv.org/abs/2312.03732>).
    is_rank_stabilised: bool,
    /// Modules with ranks of their own, the first that matches counts.
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
    /// The modules that were trained, where they are listed and not described.
    targets: Vec<String>,
}

impl Config {
    pub(super) fn read(config: &Json) -> Result<Self, AdapterError> {
        let Some(fields) = config.as_object() else { return Err(field("peft_type", "is missing")) };
        refuse_others(fields)?;
        let rank = |name: &str, value: &Json| match value.as_u64() {
            Some(rank @ 1..=RANK_MAX) => Ok(rank as usize),
            _ => Err(field(name, &format!("has {value}; a whole number from 1 to {RANK_MAX} is expected"))),
        };
        let alpha = |name: &str, value: &Json| match value.as_f64() {
            Some(alpha) if alpha.is_finite() => Ok(alpha),
            _ => Err(field(name, &format!("has {value}, which is no number"))),
        };
        Ok(Self {
            rank: rank("r", fields.get("r").unwrap_or(&Json::Null))?,
            alpha: alpha("lora_alpha", fields.get("lora_alpha").unwrap_or(&Json::Null))?,
            is_rank_stabilised: is_set(fields.get("use_rslora")),
            ranks: patterns(fields, "rank_pattern", rank)?,
            alphas: patterns(fields, "alpha_pattern", alpha)?,
            targets: targets(fields.get("target_modules"))?,
        })
    }

    /// The rank of a module's update.
    pub(super) fn rank(&self, module: &str) -> usize {
        first(&self.ranks, module).unwrap_or(self.rank)
    }

    /// What the product of a module's factors is multiplied by.
    pub(super) fn scale(&self, module: &str, rank: usize) -> f64 {
        let alpha = first(&self.alphas, module).unwrap_or(self.alpha);
        let rank = rank as f64;
        alpha / if self.is_rank_stabilised { rank.sqrt() } else { rank }
    }

    /// Checks that the adapter has an update for every kind of module it says it has. The file itself says which
    /// modules those are; a description of them by a pattern adds nothing to it.
    pub(super) fn check_targets<'a>(&self, modules: impl Iterator<Item = &'a str> + Clone) -> Result<(), AdapterError> {
        let is = |module: &str, target: &str| {
            module.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        match self.targets.iter().find(|target| !modules.clone().any(|module| is(module, target))) {
            Some(target) => {
                let problem = format!("has `{target}`, and the adapter has no update for any module of that name");
                Err(field("target_modules", &problem))
            }
            None => Ok(()),
        }
    }
}

fn refuse_others(fields: &Map<String, Json>) -> Result<(), AdapterError> {
    if !fields.contains_key("peft_type") {
        return Err(field("peft_type", "is missing"));
    }
    for (name, value) in fields.iter().filter(|(name, value)| is_set(Some(value)) && !HARMLESS.contains(&name.as_str()))
    {
        let allowed = PLAIN.iter().find(|(plain, _)| plain == name).map(|&(_, allowed)| allowed);
        let allowed = match (allowed, value) {
            (Some(_), Json::Bool(true)) if name == "init_lora_weights" => continue,
            (Some(allowed), Json::String(value)) if allowed.contains(&value.as_str()) => continue,
            (Some(allowed), _) => format!("; supported: {}", allowed.join(", ")),
            (None, _) => ", which is not supported yet".to_owned(),
        };
        let shown: String = value.to_string().chars().take(64).collect();
        return Err(field(name, &format!("is {shown}{allowed}")));
    }
    Ok(())
}

/// Whether a field asks for anything.
fn is_set(value: Option<&Json>) -> bool {
    match value {
        None | Some(Json::Null | Json::Bool(false)) => false,
        Some(Json::Array(list)) => !list.is_empty(),
        Some(Json::Object(object)) => !object.is_empty(),
        Some(_) => true,
    }
}

/// An object from patterns of modules to values, in its order, each as PEFT's `get_pattern_key` matches it: the whole
/// name of a module, or its end after a dot.
fn patterns<T>(
    fields: &Map<String, Json>,
    name: &str,
    read: impl Fn(&str, &Json) -> Result<T, AdapterError>,
) -> Result<Vec<(Regex, T)>, AdapterError> {
    let Some(value) = fields.get(name).filter(|value| !value.is_null()) else { return Ok(Vec::new()) };
    let object = value.as_object().ok_or_else(|| field(name, "is no object from modules to numbers"))?;
    if object.len() > PATTERNS_MAX {
        return Err(field(name, &format!("has {} patterns; {PATTERNS_MAX} are allowed", object.len())));
    }
    let compile = |pattern: &str| {
        let whole = RegexBuilder::new(&format!(r"^(?:.*\.)?(?:{pattern})$")).size_limit(PATTERN_BYTES_MAX).build();
        whole.map_err(|_| field(name, &format!("has the pattern `{pattern}`, which cannot be used")))
    };
    object.iter().map(|(pattern, value)| Ok((compile(pattern)?, read(name, value)?))).collect()
}

fn first<T: Copy>(patterns: &[(Regex, T)], module: &str) -> Option<T> {
    patterns.iter().find(|(pattern, _)| pattern.is_match(module)).map(|&(_, value)| value)
}

fn targets(value: Option<&Json>) -> Result<Vec<String>, AdapterError> {
    let wrong = || field("target_modules", "is neither a list of modules nor a pattern");
    match value {
        None | Some(Json::Null | Json::String(_)) => Ok(Vec::new()),
        Some(Json::Array(list)) => list.iter().map(|it| it.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

fn field(field: &str, problem: &str) -> AdapterError {
    AdapterError::Field { field: field.chars().take(64).collect(), problem: problem.to_owned() }
}
