//! Where references are, how they are read, and how numbers are compared.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use weighbridge_models::{Checkpoint, Compute, Decoder, Evaluation};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A file or folder of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A folder of the references beside the project; says so and gives none where they are absent.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let folder = env::var_os("WEIGHBRIDGE_SHARED").map_or_else(|| repository("../shared"), PathBuf::from);
    let found = folder.join(path);
    if found.exists() {
        return Some(found);
    }
    println!("skipped: there is no {path} in the references beside the project ({})", folder.display());
    None
}

pub(crate) fn json<T: DeserializeOwned>(path: &Path) -> Outcome<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

pub(crate) fn load(checkpoint: &Checkpoint, compute: Compute) -> Outcome<Decoder> {
    Ok(checkpoint.load(compute, &mut |_| {})?)
}

/// The largest difference between two rows of equal length; infinite where one holds what is no number.
pub(crate) fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(one, other)| (one - other).abs());
    differences.fold(0.0, |worst, it| if it.is_nan() { f32::INFINITY } else { worst.max(it) })
}

/// What a reference says of one prompt.
pub(crate) struct Expected<'a> {
    pub(crate) logits_last: &'a [f32],
    pub(crate) argmax: &'a [u32],
    pub(crate) logsumexp: &'a [f32],
    pub(crate) greedy: &'a [u32],
    pub(crate) tolerance: f32,
}

/// Asserts that an evaluation is what the reference says.
pub(crate) fn check(what: &str, found: &Evaluation, expected: &Expected<'_>) {
    let logits = error(&found.logits_last, expected.logits_last);
    assert!(logits <= expected.tolerance, "{what}: the last logits are off by {logits}");
    assert_eq!(found.argmax, expected.argmax, "{what}: the likeliest tokens differ");
    let logsumexp = error(&found.logsumexp, expected.logsumexp);
    assert!(logsumexp <= expected.tolerance, "{what}: a log-sum-exp is off by {logsumexp}");
    assert_eq!(found.greedy, expected.greedy, "{what}: the greedy tokens differ");
}
