//! What is wrong with a config, and how to mend it.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use anstream::AutoStream;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    /// `models[0].path`; empty where the file as a whole is meant.
    pub(crate) key: String,
    /// What is wrong, and what was expected.
    pub(crate) message: String,
    /// The nearest known key or name, or what to do.
    pub(crate) help: Option<String>,
}

/// All mistakes of one file, in the order of its lines.
#[derive(Debug)]
pub(crate) struct Mistakes {
    pub(crate) file: PathBuf,
    pub(crate) list: Vec<Mistake>,
}

impl Mistakes {
    pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> Self {
        let message = format!("cannot be read: {error}");
        let mistake = Mistake { line: 0, column: 0, key: String::new(), message, help: None };
        Self { file: file.to_owned(), list: vec![mistake] }
    }

    /// Prints them to standard error, in colour where that is a terminal.
    pub(crate) fn print(&self) {
        let mut out = AutoStream::auto(std::io::stderr());
        for mistake in &self.list {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(out, "{}", self.line(mistake, "\x1b[1m", "\x1b[1;31m", "\x1b[36m", "\x1b[0m"));
        }
        let (count, s) = (self.list.len(), if self.list.len() == 1 { "" } else { "s" });
        let _ = writeln!(out, "\x1b[1;31m{count} mistake{s}\x1b[0m in {}", self.file.display());
    }

    fn line(&self, mistake: &Mistake, place: &str, key: &str, help: &str, plain: &str) -> String {
        let mut text = format!("{place}{}", self.file.display());
        if mistake.line > 0 {
            text += &format!(":{}:{}", mistake.line, mistake.column);
        }
        text += &format!("{plain}: ");
        if !mistake.key.is_empty() {
            text += &format!("{key}{}{plain}: ", mistake.key);
        }
        text += &mistake.message;
        if let Some(advice) = &mistake.help {
            text += &format!("; {help}{advice}{plain}");
        }
        text
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.list {
            writeln!(f, "{}", self.line(mistake, "", "", "", ""))?;
        }
        Ok(())
    }
}

/// `did you mean "path"?`, where one of `known` is near to `word`.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let slips = (word.chars().count() / 3).max(2);
    let distance = |name: &&str| strsim::osa_distance(word, name);
    let near = known.into_iter().filter(|name| distance(name) <= slips && *name != word).min_by_key(distance)?;
    Some(format!("did you mean \"{near}\"?"))
}
