//! `generation_config.json`: how the model's makers would sample, and where answers end.

use serde::Deserialize;
use serde_json::Value as Json;

use crate::checkpoint::GenerationDefaults;

/// The fields that are read. Numbers are taken as they come, since they only ever become defaults.
#[derive(Debug, Default, Deserialize)]
pub(super) struct GenerationConfig {
    do_sample: Option<bool>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<u32>,
    eos_token_id: Option<Json>,
}

impl GenerationConfig {
    /// The sampling it asks for: none where it asks not to sample, for then the numbers beside it are leftovers.
    pub(super) fn defaults(&self) -> GenerationDefaults {
        if self.do_sample == Some(false) {
            return GenerationDefaults::default();
        }
        GenerationDefaults {
            temperature: self.temperature.filter(|&it| it.is_finite() && it >= 0.0),
            top_p: self.top_p.filter(|it| (0.0..=1.0).contains(it)),
            top_k: self.top_k,
        }
    }

    pub(super) fn stop_tokens(&self) -> Vec<u64> {
        token_ids(self.eos_token_id.as_ref())
    }
}

/// Token ids where a config allows one or a list of them.
pub(super) fn token_ids(value: Option<&Json>) -> Vec<u64> {
    match value {
        Some(Json::Array(ids)) => ids.iter().filter_map(Json::as_u64).collect(),
        Some(id) => id.as_u64().into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(config: Json, defaults: GenerationDefaults, stop: &[u64]) -> Result<(), serde_json::Error> {
        let config = GenerationConfig::deserialize(config)?;
        assert_eq!(config.defaults(), defaults);
        assert_eq!(config.stop_tokens(), stop);
        Ok(())
    }

    #[test]
    fn sampling_is_taken_unless_it_is_switched_off() -> Result<(), serde_json::Error> {
        let defaults = GenerationDefaults { temperature: Some(0.6), top_p: Some(0.9), top_k: None };
        check(json!({"temperature": 0.6, "top_p": 0.9}), defaults, &[])?;
        check(json!({"do_sample": false, "temperature": 0.6}), GenerationDefaults::default(), &[])
    }

    #[test]
    fn one_stop_token_or_several_are_taken() -> Result<(), serde_json::Error> {
        check(json!({"eos_token_id": 2}), GenerationDefaults::default(), &[2])?;
        check(json!({"eos_token_id": [2, 7]}), GenerationDefaults::default(), &[2, 7])?;
        check(json!({"eos_token_id": null}), GenerationDefaults::default(), &[])
    }
}
