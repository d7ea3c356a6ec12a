//! Rotary embeddings as Hugging Face configs write them, in both styles: `rope_theta` beside `rope_scaling`, and
//! everything in `rope_parameters`.

use serde::Deserialize;

use super::{SpecError, positive};
use crate::spec::{RopeScaling, RopeSpec, RopeStyle};

/// Where the config does not say.
const THETA_DEFAULT: f64 = 10_000.0;

/// The fields of a config that concern it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RopeConfig {
    rope_theta: Option<f64>,
    rope_scaling: Option<Parameters>,
    rope_parameters: Option<Parameters>,
    partial_rotary_factor: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Parameters {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    partial_rotary_factor: Option<f64>,
}

impl RopeConfig {
    /// The embedding for a model trained on `context` positions.
    pub(super) fn spec(&self, context: usize) -> Result<RopeSpec, SpecError> {
        let parameters = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref());
        let partial = self.partial_rotary_factor.or_else(|| parameters?.partial_rotary_factor);
        if let Some(part) = partial.filter(|&part| part != 1.0) {
            return Err(SpecError::field("partial_rotary_factor", format!("is {part}, which is not supported yet")));
        }
        let theta = parameters.and_then(|it| it.rope_theta).or(self.rope_theta).unwrap_or(THETA_DEFAULT);
        let scaling = parameters.map_or(Ok(RopeScaling::None), |it| it.scaling(context as f64))?;
        Ok(RopeSpec { theta: positive("rope_theta", theta)?, style: RopeStyle::Neox, scaling })
    }
}

impl Parameters {
    fn scaling(&self, context: f64) -> Result<RopeScaling, SpecError> {
        let original_context = self.original_max_position_embeddings.unwrap_or(context);
        let original_context = positive("original_max_position_embeddings", original_context)?;
        Ok(match self.rope_type.as_deref().unwrap_or("default") {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: number("factor", self.factor)? },
            "dynamic" => RopeScaling::Dynamic { factor: number("factor", self.factor)?, original_context },
            "llama3" => RopeScaling::Llama3 {
                factor: number("factor", self.factor)?,
                low: number("low_freq_factor", self.low_freq_factor)?,
                high: number("high_freq_factor", self.high_freq_factor)?,
                original_context,
            },
            other => return Err(SpecError::field("rope_type", format!("is `{other}`, which is not supported yet"))),
        })
    }
}

fn number(field: &str, value: Option<f64>) -> Result<f64, SpecError> {
    positive(field, value.ok_or_else(|| SpecError::field(field, "is missing from the rope parameters"))?)
}
