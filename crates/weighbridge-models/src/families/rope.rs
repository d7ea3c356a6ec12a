//! Rotary embeddings as Hugging Face configs write them, in both styles: `rope_theta` beside `rope_scaling`, and
//! everything in `rope_parameters`, where each kind of layer may have its own. The formulas that fill in what a config
//! leaves out are those of transformers' `modeling_rope_utils.py`.

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::config::Config;
use super::{HEAD_DIM_MAX, SpecError, positive};
use crate::spec::{RopeScaling, RopeSpec, RopeStyle};

/// Where neither the config nor its family says.
const THETA_DEFAULT: f64 = 10_000.0;
/// Every layer keeps the factors, so that many layers of long lists are more than a config may ask for.
const FACTORS_MAX: usize = HEAD_DIM_MAX / 2;

#[derive(Debug, Default, Deserialize)]
struct Parameters {
    rope_type: Option<String>,
    /// The older name.
    r#type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    partial_rotary_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    truncate: Option<bool>,
    attention_factor: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    short_factor: Option<Vec<f32>>,
    long_factor: Option<Vec<f32>>,
    short_mscale: Option<f64>,
    long_mscale: Option<f64>,
}

/// The embedding of layers of type `layers`, or of all, for heads of `head_dim` and a model of `context` positions.
///
/// Of a type, the older style stretches full attention alone, and a base that is not said is `rope_theta` there and
/// `rope_local_base_freq` elsewhere: `convert_rope_params_to_dict` of transformers' `Gemma3TextConfig`.
pub(super) fn read(
    config: &Config,
    layers: Option<&str>,
    head_dim: usize,
    context: usize,
) -> Result<RopeSpec, SpecError> {
    let parameters = parameters(config, layers)?;
    let partial =
        parameters.partial_rotary_factor.map_or_else(|| config.optional_number(PARTIAL), |it| Ok(Some(it)))?;
    let theta = match parameters.rope_theta {
        Some(theta) => Some(theta),
        None if layers.is_some_and(|layers| layers != FULL) => config.optional_number("rope_local_base_freq")?,
        None => None,
    };
    let theta = theta.map_or_else(|| config.optional_number("rope_theta"), |it| Ok(Some(it)))?;
    if parameters.kind() == "proportional" {
        return parameters.proportional(theta.unwrap_or(THETA_DEFAULT), head_dim);
    }
    if let Some(part) = partial.filter(|&part| part != 1.0 && !config.may_turn_in_part()) {
        return Err(SpecError::field(PARTIAL, format!("is {part}, which is not supported yet")));
    }
    let width = width(head_dim, partial.unwrap_or(1.0))?;
    Ok(RopeSpec {
        width,
        theta: positive("rope_theta", theta.unwrap_or(THETA_DEFAULT))?,
        style: RopeStyle::Neox,
        scaling: parameters.scaling(config, layers, context as f64, width)?,
    })
}

/// The same without any stretching and with another base.
pub(super) fn plain(spec: &RopeSpec, theta: f64) -> RopeSpec {
    RopeSpec { theta, scaling: RopeScaling::None, ..spec.clone() }
}

/// A number of the parameters that no rope needs and some families do.
pub(super) fn extra(config: &Config, field: &str) -> Result<Option<f64>, SpecError> {
    let Some(value) = object(config).and_then(|object| object.get(field)).filter(|it| !it.is_null()) else {
        return Ok(None);
    };
    value.as_f64().map(Some).ok_or_else(|| SpecError::field(field, format!("is {value}, which is no number")))
}

pub(super) const PARTIAL: &str = "partial_rotary_factor";
pub(super) const ORIGINAL: &str = "original_max_position_embeddings";

/// The fields that hold parameters, in either style.
pub(super) const STYLES: [&str; 2] = ["rope_scaling", "rope_parameters"];

/// The types of layers that may have parameters of their own.
pub(super) const FULL: &str = "full_attention";
pub(super) const SLIDING: &str = "sliding_attention";

/// The families whose architectures start so know them; of any other architecture they would say nothing.
const LAYERED: [&str; 3] = ["gemma3", "gemma4", "olmo3"];

/// The parameters in either style; an empty `rope_scaling` says nothing.
fn object(config: &Config) -> Option<&Json> {
    let said = |it: &&Json| it.as_object().is_none_or(|object| !object.is_empty());
    config.get("rope_scaling").filter(said).or_else(|| config.get("rope_parameters"))
}

fn parameters(config: &Config, layers: Option<&str>) -> Result<Parameters, SpecError> {
    let parse = |object: &Json| {
        let parsed = Parameters::deserialize(object);
        parsed.map_err(|reason| SpecError::field("rope_parameters", format!("is wrong: {reason}")))
    };
    let Some(layers) = layers else {
        let name = config.text("model_type")?.unwrap_or_default();
        let is_known = LAYERED.into_iter().any(|family| name.starts_with(family));
        if !is_known && [FULL, SLIDING].into_iter().any(|layers| has_own(config, layers)) {
            let problem = "differ between types of layers, which this architecture does not know";
            return Err(SpecError::field("rope_parameters", problem));
        }
        return object(config).map_or(Ok(Parameters::default()), parse);
    };
    let parameters = config.get("rope_parameters");
    let mut own = match parameters.and_then(|all| all.get(layers)) {
        Some(Json::Object(own)) => own.clone(),
        _ => Map::new(),
    };
    if let Some(Json::Object(scaling)) = config.get("rope_scaling").filter(|_| layers == FULL) {
        own.extend(scaling.clone());
    }
    let mut own = parse(&Json::Object(own))?;
    // Of this one field transformers asks the whole: `_compute_yarn_parameters`.
    own.truncate = parameters.and_then(|all| all.get("truncate")).and_then(Json::as_bool);
    Ok(own)
}

/// Whether a config says anything of it, in either style.
pub(super) fn is_said(config: &Json) -> bool {
    let said = |field| config.get(field).is_some_and(|it| it.as_object().is_some_and(|it| !it.is_empty()));
    said("rope_scaling") || config.get("rope_parameters").is_some_and(|it| !it.is_null())
}

/// Whether a type of layer has parameters of its own.
pub(super) fn has_own(config: &Config, layers: &str) -> bool {
    object(config).and_then(|object| object.get(layers)).is_some_and(Json::is_object)
}

/// Dimensions that turn.
fn width(head_dim: usize, partial: f64) -> Result<usize, SpecError> {
    let width = (head_dim as f64 * positive(PARTIAL, partial)?) as usize;
    if width == 0 || width > head_dim || !width.is_multiple_of(2) {
        let problem = format!("is {partial}, which makes {width} of {head_dim} dimensions turn; an even number can");
        return Err(SpecError::field(PARTIAL, problem));
    }
    Ok(width)
}

impl Parameters {
    fn kind(&self) -> &str {
        self.rope_type.as_deref().or(self.r#type.as_deref()).unwrap_or("default")
    }

    /// The first pairs of a whole head turn: `_compute_proportional_rope_parameters` of transformers.
    fn proportional(&self, theta: f64, head_dim: usize) -> Result<RopeSpec, SpecError> {
        let part = positive(PARTIAL, self.partial_rotary_factor.unwrap_or(1.0))?;
        if part > 1.0 {
            return Err(SpecError::field(PARTIAL, format!("is {part}; up to 1 of a head can turn")));
        }
        let pairs = (part * head_dim as f64 / 2.0) as usize;
        let factor = positive("factor", self.factor.unwrap_or(1.0))?;
        Ok(RopeSpec {
            width: head_dim,
            theta: positive("rope_theta", theta)?,
            style: RopeStyle::Neox,
            scaling: RopeScaling::Proportional { factor, pairs },
        })
    }

    fn scaling(
        self,
        config: &Config,
        layers: Option<&str>,
        context: f64,
        width: usize,
    ) -> Result<RopeScaling, SpecError> {
        let whole = if layers.is_none() { config.optional_number(ORIGINAL)? } else { None };
        let said = whole.or(self.original_max_position_embeddings);
        let original_context = positive(ORIGINAL, said.unwrap_or(context))?;
        let stretch = self.factor.unwrap_or(context / original_context);
        let named = self.kind();
        // Early configs of Phi-3 call longrope `su` or `yarn`.
        let is_long = named == "su" || named == "yarn" && self.long_factor.is_some();
        Ok(match if is_long { "longrope" } else { named } {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: number("factor", self.factor)? },
            "dynamic" => RopeScaling::Dynamic { factor: number("factor", self.factor)?, original_context: context },
            "llama3" => RopeScaling::Llama3 {
                factor: number("factor", self.factor)?,
                low: number("low_freq_factor", self.low_freq_factor)?,
                high: number("high_freq_factor", self.high_freq_factor)?,
                original_context,
            },
            "yarn" => RopeScaling::Yarn {
                factor: positive("factor", stretch)?,
                original_context,
                beta_fast: positive("beta_fast", self.beta_fast.unwrap_or(32.0))?,
                beta_slow: positive("beta_slow", self.beta_slow.unwrap_or(1.0))?,
                truncate: self.truncate.unwrap_or(true),
                magnitude: positive("attention_factor", self.yarn_magnitude(stretch))?,
            },
            "longrope" => {
                let grown = (1.0 + stretch.ln().max(0.0) / original_context.ln()).sqrt();
                let magnitude = positive("attention_factor", self.attention_factor.unwrap_or(grown))?;
                RopeScaling::Long {
                    short: factors("short_factor", self.short_factor, width)?,
                    long: factors("long_factor", self.long_factor, width)?,
                    original_context,
                    short_magnitude: self.short_mscale.unwrap_or(magnitude),
                    long_magnitude: self.long_mscale.unwrap_or(magnitude),
                }
            }
            other => return Err(SpecError::field("rope_type", format!("is `{other}`, which is not supported yet"))),
        })
    }

    fn yarn_magnitude(&self, factor: f64) -> f64 {
        let of = |scale| yarn_magnitude(factor, scale);
        let given = |scale: Option<f64>| scale.filter(|&scale| scale != 0.0);
        match (self.attention_factor, given(self.mscale), given(self.mscale_all_dim)) {
            (Some(magnitude), ..) => magnitude,
            (None, Some(scale), Some(all)) => of(scale) / of(all),
            _ => of(1.0),
        }
    }
}

/// How much attention grows when positions are stretched by `factor`: YaRN, equation 22.
pub(super) fn yarn_magnitude(factor: f64, scale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 }
}

fn factors(field: &str, factors: Option<Vec<f32>>, width: usize) -> Result<Vec<f32>, SpecError> {
    let factors = factors.ok_or_else(|| SpecError::field(field, "is missing from the rope parameters"))?;
    if factors.len() != width / 2 || factors.len() > FACTORS_MAX {
        let problem = format!("has {} numbers, where {} are expected", factors.len(), width / 2);
        return Err(SpecError::field(field, problem));
    }
    for &factor in &factors {
        positive(field, factor.into())?;
    }
    Ok(factors)
}

fn number(field: &str, value: Option<f64>) -> Result<f64, SpecError> {
    positive(field, value.ok_or_else(|| SpecError::field(field, "is missing from the rope parameters"))?)
}
