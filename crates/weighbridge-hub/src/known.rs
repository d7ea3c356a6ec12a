//! Manifests of known models: a file for each family, with short names for its best-known checkpoints.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::digest::Digest;
use crate::source::Source;

/// What a licence allows, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LicenceClass {
    /// A free licence, and training data and code are published too.
    FullyOpen,
    /// A free licence on the weights.
    OpenPermissive,
    /// The weights can be downloaded; conditions are attached to their use.
    OpenRestricted,
}

impl fmt::Display for LicenceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FullyOpen => "fully-open",
            Self::OpenPermissive => "open-permissive",
            Self::OpenRestricted => "open-restricted",
        })
    }
}

/// A known model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownModel {
    /// Its short name.
    pub name: String,
    /// Where it is, as in `hf:ORG/NAME:PICK`.
    #[serde(deserialize_with = "source")]
    pub source: Source,
    /// Its name, as SPDX has it where it does.
    pub licence: String,
    /// What that allows.
    pub class: LicenceClass,
    /// What to know before its use; none where there is nothing.
    #[serde(default)]
    pub conditions: Option<String>,
    /// Tokens that it was made for.
    pub context: u32,
    /// Whether the hub wants its conditions accepted, and so a token.
    #[serde(default)]
    pub gated: bool,
    /// What to know of its chat template.
    #[serde(default)]
    pub template: Option<String>,
    /// Digests of files, where they are known.
    #[serde(default)]
    pub sha256: BTreeMap<String, Digest>,
}

/// All known models.
#[derive(Clone, Debug, Default)]
pub struct Known {
    models: Vec<(String, KnownModel)>,
}

/// A manifest that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the manifest of {family} cannot be used: {reason}")]
pub struct ManifestError {
    family: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    family: String,
    models: Vec<KnownModel>,
}

impl Known {
    /// Reads manifests, each with a name for messages.
    ///
    /// # Errors
    /// Where one is no manifest, or a short name stands twice.
    pub fn read<'m>(manifests: impl IntoIterator<Item = (&'m str, &'m str)>) -> Result<Self, ManifestError> {
        let mut known = Self::default();
        for (family, text) in manifests {
            let wrong = |reason: String| ManifestError { family: family.to_owned(), reason };
            let manifest: Manifest = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
            for model in manifest.models {
                if known.find(&model.name).is_some() {
                    return Err(wrong(format!("the name {} stands twice", model.name)));
                }
                known.models.push((manifest.family.clone(), model));
            }
        }
        Ok(known)
    }

    /// The model of this short name, in either case.
    pub fn find(&self, name: &str) -> Option<&KnownModel> {
        self.models.iter().map(|(_, model)| model).find(|model| model.name.eq_ignore_ascii_case(name))
    }

    /// All of them, each with its family, in the order of the manifests.
    pub fn models(&self) -> impl Iterator<Item = (&str, &KnownModel)> {
        self.models.iter().map(|(family, model)| (family.as_str(), model))
    }
}

fn source<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Source, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::Known;

    const MODEL: &str = "family = \"F\"\n[[models]]\nname = \"m\"\nsource = \"hf:a/b\"\nlicence = \"MIT\"\nclass = \"open-permissive\"\ncontext = 1\n";

    fn check(manifests: &[&str], expected: Result<(), &str>) {
        match (Known::read(manifests.iter().map(|text| ("f", *text))), expected) {
            (Ok(known), Ok(())) => assert!(known.find("M").is_some()),
            (Err(error), Err(piece)) => assert!(error.to_string().contains(piece), "{error}"),
            (found, expected) => assert_eq!(found.map(|_| ()).map_err(|error| error.to_string()).ok(), expected.ok()),
        }
    }

    #[test]
    fn a_manifest_gives_short_names_and_no_name_twice() {
        check(&[MODEL], Ok(()));
        check(&[MODEL, MODEL], Err("stands twice"));
        check(&[&format!("{MODEL}colour = 1\n")], Err("colour"));
        check(&[&MODEL.replace("hf:a/b", "a/../b")], Err("no source"));
    }
}
