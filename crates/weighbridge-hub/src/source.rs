//! What to pull: `hf:ORG/NAME`, `hf:ORG/NAME:FILE`, `hf:ORG/NAME:QUANT`.

use std::fmt;
use std::str::FromStr;

/// What a source begins with.
const SCHEME: &str = "hf:";
/// Bytes of an organisation's or a repository's name; the hub allows 96.
const NAME_BYTES_MAX: usize = 96;
/// Bytes of what follows the colon: a file's path.
const PICK_BYTES_MAX: usize = 512;

/// A repository of the hub. Both names are safe as the name of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repo {
    org: String,
    name: String,
}

/// A repository, and which of its models is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub repo: Repo,
    /// A file's name or a quantisation's, such as `Q4_K_M`. None means the repository's only model.
    pub pick: Option<String>,
}

/// Text that names no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is no source of a model: {reason}; write hf:ORG/NAME, hf:ORG/NAME:Q4_K_M or hf:ORG/NAME:FILE.gguf")]
pub struct NotASource {
    text: String,
    reason: &'static str,
}

impl Repo {
    /// A repository by its two names; none where a name cannot be one on the hub.
    pub fn new(org: &str, name: &str) -> Option<Self> {
        (is_name(org) && is_name(name)).then(|| Self { org: org.to_owned(), name: name.to_owned() })
    }

    /// Whom it belongs to.
    pub fn org(&self) -> &str {
        &self.org
    }

    /// Its name there.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.org, self.name)
    }
}

impl Source {
    /// Whether `text` is meant as a source, well-formed or not.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.repo)?;
        match &self.pick {
            Some(pick) => write!(f, ":{pick}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Source {
    type Err = NotASource;

    fn from_str(text: &str) -> Result<Self, NotASource> {
        let wrong = |reason| NotASource { text: text.chars().take(200).collect(), reason };
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| wrong("it does not begin with hf:"))?;
        let (repo, pick) = match rest.split_once(':') {
            None => (rest, None),
            Some((_, "")) => return Err(wrong("nothing follows the colon")),
            Some((_, pick)) if pick.len() > PICK_BYTES_MAX => return Err(wrong("what follows the colon is too long")),
            Some((repo, pick)) => (repo, Some(pick.to_owned())),
        };
        let (org, name) = repo.split_once('/').ok_or_else(|| wrong("it does not name ORG/NAME"))?;
        let repo = Repo::new(org, name).ok_or_else(|| wrong("ORG/NAME holds what no name on the hub holds"))?;
        Ok(Self { repo, pick })
    }
}

/// Letters, digits, `-`, `_` and `.`, as the hub has them; never a folder's `.` or `..`.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.chars().all(allowed)
        && !text.starts_with(['.', '-'])
        && !text.ends_with('.')
        && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, Option<&str>)>) {
        let found: Option<Source> = text.parse().ok();
        let parts = found.as_ref().map(|source| (source.repo.to_string(), source.pick.clone()));
        let expected = expected.map(|(repo, pick)| (repo.to_owned(), pick.map(str::to_owned)));
        assert_eq!(parts, expected, "{text}");
        if let Some(source) = found {
            assert_eq!(source.to_string(), text);
        }
    }

    #[test]
    fn a_source_names_a_repository_and_perhaps_a_model_in_it() {
        check("hf:Qwen/Qwen3-0.6B", Some(("Qwen/Qwen3-0.6B", None)));
        check("hf:Qwen/Qwen3-0.6B-GGUF:Q8_0", Some(("Qwen/Qwen3-0.6B-GGUF", Some("Q8_0"))));
        check("hf:a/b:c/d.gguf", Some(("a/b", Some("c/d.gguf"))));
    }

    #[test]
    fn what_could_leave_its_folder_is_no_source() {
        let wrong = ["Qwen/Qwen3-0.6B", "hf:gpt2", "hf:../x", "hf:a/..", "hf:a/b/c", "hf:a/", "hf:/b", "hf:a/b:"];
        for text in wrong.into_iter().chain(["hf:.a/b", "hf:a/b\\c", "hf:a/b c", "hf:a/b%2f", "hf:a/-b", "hf:a/b."]) {
            check(text, None);
        }
        check(&format!("hf:a/{}", "b".repeat(97)), None);
    }
}
