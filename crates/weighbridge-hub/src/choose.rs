//! Which files of a repository make the model that is meant. The same rules hold for what a hub lists and for what
//! has been pulled.

use std::collections::BTreeMap;

use crate::error::HubError;
use crate::source::Source;

/// Files of a folder checkpoint beside its weights, as they are named.
const BESIDE: [&str; 14] = [
    "added_tokens.json",
    "adapter_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "model.safetensors.index.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
];
/// What says under which conditions a model may be used.
const LICENCES: [&str; 5] = ["README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "USE_POLICY.md"];
/// How many names an error lists.
const LISTED_MAX: usize = 40;

/// A model as files.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice<'a> {
    /// All its files, in order.
    pub(crate) files: Vec<&'a str>,
    /// The file that is opened; none where it is the folder.
    pub(crate) entry: Option<&'a str>,
}

/// The model that `source` means among `paths`.
pub(crate) fn choose<'a>(paths: &[&'a str], source: &Source) -> Result<Choice<'a>, HubError> {
    let models = gguf_models(paths);
    let Some(pick) = &source.pick else {
        return match folder(paths)? {
            Some(files) => Ok(Choice { files, entry: None }),
            None if models.len() == 1 => of_gguf(&models, paths),
            None if models.is_empty() => {
                Err(wrong(source, "holds neither a .gguf file nor config.json with *.safetensors", paths))
            }
            None => Err(wrong(source, "holds several models; add which one, as in :Q4_K_M", &names(&models))),
        };
    };
    let meant: BTreeMap<_, _> = models.iter().filter(|(_, parts)| is_meant(parts, pick)).collect();
    let meant: BTreeMap<&str, Vec<&'a str>> = meant.into_iter().map(|(name, parts)| (*name, parts.clone())).collect();
    match meant.len() {
        1 => of_gguf(&meant, paths),
        0 => Err(wrong(source, "has no model of that name; it holds", &names(&models))),
        _ => Err(wrong(source, "means several models; name one of", &names(&meant))),
    }
}

/// The files of a folder checkpoint; none where there are no weights or no config.
fn folder<'a>(paths: &[&'a str]) -> Result<Option<Vec<&'a str>>, HubError> {
    let has = |name: &str| paths.contains(&name);
    let weights: Vec<&str> = if has("config.json") && has("model.safetensors") {
        vec!["model.safetensors"]
    } else if has("config.json") {
        paths.iter().copied().filter(|path| shard(path, "safetensors").is_some() && !path.contains('/')).collect()
    } else if has("adapter_config.json") && has("adapter_model.safetensors") {
        vec!["adapter_model.safetensors"]
    } else {
        Vec::new()
    };
    if weights.is_empty() {
        return Ok(None);
    }
    let mut sets: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for (stem, part, of) in weights.iter().filter_map(|path| shard(path, "safetensors")) {
        sets.entry((stem, of)).or_default().push(part);
    }
    // Mistral's repositories hold the same weights twice; those under the usual name are the ones with an index.
    let usual = sets.keys().find(|(stem, _)| *stem == "model").or(sets.keys().next()).copied();
    if let Some((stem, of)) = usual {
        refuse_missing(stem, of, "safetensors", &sets[&(stem, of)])?;
    }
    let is_weight = |path: &str| match shard(path, "safetensors") {
        Some((stem, _, of)) => usual == Some((stem, of)) && weights.contains(&path),
        None => weights.contains(&path),
    };
    let sharded = usual.is_some();
    let beside = |path: &str| BESIDE.contains(&path) && (sharded || path != "model.safetensors.index.json");
    let wanted = |path: &&str| is_weight(path) || beside(path) || LICENCES.contains(path);
    Ok(Some(paths.iter().copied().filter(wanted).collect()))
}

/// GGUF models by the path without part and ending, each with its parts in order.
fn gguf_models<'a>(paths: &[&'a str]) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut models: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for path in paths.iter().filter(|path| path.ends_with(".gguf")) {
        let stem = shard(path, "gguf").map_or(path.trim_end_matches(".gguf"), |(stem, _, _)| stem);
        // Projectors of images and matrices of importance are no models.
        let name = stem.rsplit('/').next().unwrap_or(stem);
        if !name.starts_with("mmproj") && !name.contains("imatrix") {
            models.entry(stem).or_default().push(path);
        }
    }
    models.values_mut().for_each(|parts| parts.sort_unstable());
    models
}

/// The one model of `models` with all its parts, and what says its licence.
fn of_gguf<'a>(models: &BTreeMap<&str, Vec<&'a str>>, paths: &[&'a str]) -> Result<Choice<'a>, HubError> {
    let parts: Vec<&'a str> = models.values().flatten().copied().collect();
    let numbered: Vec<_> = parts.iter().filter_map(|path| shard(path, "gguf")).collect();
    if let Some(&(stem, _, of)) = numbered.first() {
        refuse_missing(stem, of, "gguf", &numbered.iter().map(|&(_, part, _)| part).collect::<Vec<_>>())?;
    }
    let licences = paths.iter().copied().filter(|path| LICENCES.contains(path));
    Ok(Choice { entry: parts.first().copied(), files: parts.iter().copied().chain(licences).collect() })
}

/// Whether `pick` names one of the parts, or a quantisation that stands in their name as a word of its own.
fn is_meant(parts: &[&str], pick: &str) -> bool {
    let file_name = |path: &str| path.rsplit('/').next().is_some_and(|name| name == pick);
    if pick.to_ascii_lowercase().ends_with(".gguf") {
        return parts.iter().any(|path| *path == pick || file_name(path));
    }
    let pick = pick.to_ascii_lowercase();
    parts.iter().any(|path| {
        let name = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".gguf").to_ascii_lowercase();
        name.match_indices(&pick).any(|(at, _)| {
            let before = name[..at].chars().next_back();
            let after = name[at + pick.len()..].chars().next();
            // Q4_K is not Q4_K_M, and Q4_XS is not IQ4_XS.
            before.is_none_or(|c| !c.is_alphanumeric()) && after.is_none_or(|c| !c.is_alphanumeric() && c != '_')
        })
    })
}

/// `STEM-00001-of-00002.ENDING` as its stem, its part and the number of parts.
fn shard<'p>(path: &'p str, ending: &str) -> Option<(&'p str, u32, u32)> {
    let stem = path.strip_suffix(ending)?.strip_suffix('.')?;
    let (rest, of) = stem.rsplit_once("-of-")?;
    let (stem, part) = rest.rsplit_once('-')?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    (part.len() == 5 && of.len() == 5).then_some((stem, number(part)?, number(of)?))
}

fn refuse_missing(stem: &str, of: u32, ending: &str, parts: &[u32]) -> Result<(), HubError> {
    match (1..=of).find(|part| !parts.contains(part)) {
        None => Ok(()),
        Some(part) => Err(HubError::Choice(format!("{stem}-{part:05}-of-{of:05}.{ending} is missing among the files"))),
    }
}

fn names<'a>(models: &BTreeMap<&str, Vec<&'a str>>) -> Vec<&'a str> {
    models.values().filter_map(|parts| parts.first().copied()).collect()
}

fn wrong(source: &Source, what: &str, names: &[&str]) -> HubError {
    let mut list: Vec<String> = names.iter().take(LISTED_MAX).map(|name| name.escape_default().to_string()).collect();
    match names.len().saturating_sub(LISTED_MAX) {
        0 if names.is_empty() => list.push("no files".to_owned()),
        0 => {}
        more => list.push(format!("and {more} more")),
    }
    HubError::Choice(format!("{source} {what}: {}", list.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds the files chosen against `expected`, or the refusal against a piece of its text.
    fn check(paths: &[&str], source: &str, expected: Result<&[&str], &str>) {
        let source: Source = source.parse().expect("the test names a source");
        match (choose(paths, &source), expected) {
            (Ok(choice), Ok(files)) => assert_eq!(choice.files, files, "{source}"),
            (Err(error), Err(piece)) => assert!(error.to_string().contains(piece), "{error} does not say {piece}"),
            (found, expected) => {
                assert_eq!(found.map(|choice| choice.files).ok().as_deref(), expected.ok(), "{source}")
            }
        }
    }

    const QUANTS: [&str; 8] = [
        "README.md",
        "m-IQ4_XS.gguf",
        "m-Q4_K_M.gguf",
        "m-Q4_K_S.gguf",
        "big/m-Q8_0-00001-of-00002.gguf",
        "big/m-Q8_0-00002-of-00002.gguf",
        "mmproj-F16.gguf",
        "notes.txt",
    ];

    #[test]
    fn a_quantisation_is_a_word_of_the_name_in_either_case() {
        check(&QUANTS, "hf:a/b:q4_k_m", Ok(&["m-Q4_K_M.gguf", "README.md"]));
        check(&QUANTS, "hf:a/b:Q4_K", Err("m-Q4_K_M.gguf, m-Q4_K_S.gguf"));
        check(&QUANTS, "hf:a/b:Q4_XS", Err("no model of that name"));
        check(&QUANTS, "hf:a/b:F16", Err("no model of that name"));
        check(&["x-q4.gguf", "x-q4_0.gguf", "x-UD-q4.gguf"], "hf:a/b:q4", Err("means several"));
    }

    #[test]
    fn all_parts_of_a_split_file_belong_together() {
        let both = ["big/m-Q8_0-00001-of-00002.gguf", "big/m-Q8_0-00002-of-00002.gguf", "README.md"];
        check(&QUANTS, "hf:a/b:Q8_0", Ok(&both));
        check(&QUANTS, "hf:a/b:m-Q8_0-00002-of-00002.gguf", Ok(&both));
        check(&["m-00002-of-00002.gguf"], "hf:a/b", Err("m-00001-of-00002.gguf is missing"));
    }

    #[test]
    fn several_models_want_a_choice_and_one_needs_none() {
        check(&QUANTS, "hf:a/b", Err("m-IQ4_XS.gguf"));
        check(&["one.gguf", "mmproj-one.gguf"], "hf:a/b", Ok(&["one.gguf"]));
        check(&["README.md"], "hf:a/b", Err("holds neither"));
    }

    #[test]
    fn a_folder_checkpoint_is_its_weights_and_what_stands_beside_them() {
        let files =
            ["config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json", "x.gguf", "onnx/config.json"];
        check(&files, "hf:a/b", Ok(&["config.json", "model.safetensors", "tokenizer.json"]));
        check(&files, "hf:a/b:x.gguf", Ok(&["x.gguf"]));
    }

    #[test]
    fn weights_that_are_published_twice_are_taken_once() {
        let files = [
            "config.json",
            "consolidated-00001-of-00001.safetensors",
            "consolidated.safetensors",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "original/model-00001-of-00001.safetensors",
        ];
        let taken = ["config.json", files[3], files[4], files[5]];
        check(&files, "hf:a/b", Ok(&taken));
        check(&[files[0], files[3]], "hf:a/b", Err("model-00002-of-00002.safetensors is missing"));
    }
}
