//! Models from the hub, as this program keeps them: where, by which names, and how the hub is reached.

use weighbridge_hub::{Hub, HubOptions, Known, Source as HubSource, Store, Token};

use crate::config::{Config, HubConfig, Source};
use crate::data;
use crate::failure::Failure;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

macro_rules! manifests {
    ($($family:literal)*) => {
        &[$(($family, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/", $family, ".toml")))),*]
    };
}

/// The manifests in `models/`, by family.
const MANIFESTS: &[(&str, &str)] =
    manifests!("llama" "mistral" "deepseek" "qwen" "cohere" "phi" "gemma" "olmo" "gpt-oss" "granite" "smollm" "glm");

/// The folder of models that were pulled: `models/` in the data directory.
pub(crate) fn store() -> Result<Store, Failure> {
    Ok(Store::new(data::folder()?.join("models")))
}

/// All models with a short name.
pub(crate) fn known() -> Result<Known, Failure> {
    Known::read(MANIFESTS.iter().copied()).map_err(Failure::failed)
}

/// What `hf:ORG/NAME[:…]`, a pulled repository's name or a short name stands for; none where it is none of these.
pub(crate) fn named(name: &str) -> Result<Option<HubSource>, Failure> {
    if HubSource::is_meant(name) {
        return name.parse().map(Some).map_err(Failure::usage);
    }
    if let Some(repo) = store()?.named(name).map_err(Failure::usage)? {
        return Ok(Some(HubSource { repo, pick: None }));
    }
    Ok(known()?.find(name).map(|model| model.source.clone()))
}

/// The hub as flags, the config and the environment say, in this order.
pub(crate) fn connect(source: &Source, token_env: Option<&str>) -> Result<Hub, Failure> {
    let config = match source {
        Source::None => HubConfig::default(),
        Source::File(path, _) => Config::read_hub(path).map_err(Failure::Config)?,
    };
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let endpoint = config.endpoint.or_else(|| environment("HF_ENDPOINT"));
    let token = token_env.or(config.token_env.as_deref()).map(|variable| {
        let missing = || Failure::usage(format!("the token's variable {variable} is not set"));
        environment(variable).map(Token::new).ok_or_else(missing)
    });
    let offline = if config.offline {
        Some("offline = true in [hub] of the config".to_owned())
    } else {
        environment("HF_HUB_OFFLINE").filter(|value| is_yes(value)).map(|value| format!("HF_HUB_OFFLINE is {value}"))
    };
    let options = HubOptions {
        token: token.transpose()?,
        offline,
        ..HubOptions::new(endpoint.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()))
    };
    Hub::new(options).map_err(Failure::usage)
}

/// As the hub's own tools read their variables.
fn is_yes(value: &str) -> bool {
    matches!(value.trim().to_ascii_lowercase().as_str(), "1" | "on" | "yes" | "true")
}

#[cfg(test)]
mod tests {
    use weighbridge_hub::LicenceClass;

    use super::*;

    #[test]
    fn whoever_is_restricted_says_by_what() {
        let known = known().unwrap_or_default();
        for (_, model) in known.models().filter(|(_, model)| model.class == LicenceClass::OpenRestricted) {
            assert!(model.conditions.is_some(), "{} states no conditions", model.name);
        }
    }

    #[test]
    fn every_manifest_is_carried_and_without_mistakes() {
        let known = known().map_err(|failure| failure.to_string());
        assert_eq!(known.as_ref().err(), None);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");
        for entry in std::fs::read_dir(folder).expect("the manifests are in the repository") {
            let path = entry.expect("it can be listed").path();
            let family = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let is_manifest = path.extension().is_some_and(|ending| ending == "toml");
            assert!(!is_manifest || MANIFESTS.iter().any(|(name, _)| *name == family), "{family} is not carried");
        }
    }
}
