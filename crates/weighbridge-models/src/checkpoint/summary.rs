//! What there is to say about a checkpoint.

use std::collections::BTreeMap;

use super::{Container, Inner};
use crate::compute::Compute;
use crate::element::Form;
use crate::parts::{ExpertPart, Part};
use crate::weights::Stored;

/// A checkpoint in a few words and numbers, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Of the folder, or of the file without its ending.
    pub name: String,
    /// Such as `llama`.
    pub architecture: String,
    /// Weights in all; a head that is the embedding counts once.
    pub parameters: u64,
    /// The types of the matrices, the most used first: `BF16`, `Q4_1 + Q8_0`.
    pub quantisation: String,
    /// For each stored type, how many weights it holds, most first.
    pub tensors: Vec<(String, u64)>,
    /// Tensors of a folder that are of no part of the decoder, such as a tower that sees images, in order.
    pub left_out: Vec<String>,
    /// Positions the model was trained for.
    pub context: u32,
    /// Token ids.
    pub vocabulary: u32,
    /// Layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Where the checkpoint names one.
    pub licence: Option<String>,
    /// Of the files that hold the weights.
    pub file_bytes: u64,
}

pub(super) fn summary(inner: &Inner) -> Summary {
    let spec = &inner.spec;
    // Every one was found when the checkpoint was opened.
    let parts = inner.weights.check(spec).unwrap_or_default();
    let counted = by_type(parts.iter().map(|(part, stored)| numbers(*part, stored)));
    // Norms and biases are float32 whatever the file is quantised to.
    let matrices = parts.iter().filter(|(_, stored)| stored.shape.len() > 1);
    let matrices = by_type(matrices.map(|(part, stored)| numbers(*part, stored)));
    let names: Vec<_> = matrices.into_iter().map(|(name, _)| name).collect();
    Summary {
        name: inner.name.clone(),
        architecture: spec.architecture.clone(),
        parameters: counted.iter().map(|(_, count)| count).sum(),
        quantisation: names.join(" + "),
        tensors: counted,
        left_out: left_out(inner),
        context: saturated(spec.context),
        vocabulary: saturated(spec.vocabulary),
        layers: saturated(spec.layers.len()),
        hidden: saturated(spec.hidden),
        licence: inner.licence.clone(),
        file_bytes: inner.file_bytes,
    }
}

/// The block types whose weights are not computed in their blocks.
pub(super) fn expanded(inner: &Inner, compute: Compute) -> Vec<(String, u64)> {
    let parts = inner.weights.check(&inner.spec).unwrap_or_default();
    let is_expanded = |part: Part, stored: &Stored| match stored.element.form() {
        Form::Blocks(_) => !part.may_stay_packed() || !stored.can_stay_packed(),
        Form::Expanded(_) | Form::Bytes | Form::F8E4m3 | Form::F8E5m2 | Form::F8E8m0 => true,
        Form::F32 | Form::F16 | Form::Bf16 | Form::Integers | Form::Unsupported => false,
    };
    let parts = parts.iter().filter(|(part, stored)| compute == Compute::Quantized && is_expanded(*part, stored));
    by_type(parts.map(|(part, stored)| numbers(*part, stored)))
}

fn left_out(inner: &Inner) -> Vec<String> {
    if let Container::Gguf(_) = inner.container {
        return Vec::new();
    }
    let names = &inner.weights.names;
    let own = [names.layer, names.embedding, names.final_norm, names.head].map(|start| format!("{start}."));
    let is_own = |name: &String| own.iter().any(|start| name.starts_with(start));
    let mut left: Vec<String> = inner.weights.tensors.keys().filter(|name| !is_own(name)).cloned().collect();
    left.sort_unstable();
    left
}

/// The type of a weight and the numbers it holds: two in a byte of mxfp4, whose scales count for nothing.
fn numbers(part: Part, stored: &Stored) -> (&'static str, u64) {
    match (stored.element.form(), part) {
        (Form::Bytes, Part::Expert(_, _, ExpertPart::GateUpScales | ExpertPart::DownScales, _)) => ("MXFP4", 0),
        (Form::Bytes, _) => ("MXFP4", 2 * stored.count()),
        _ => (stored.element.name(), stored.count()),
    }
}

/// Sums by name, largest first.
fn by_type(counts: impl Iterator<Item = (&'static str, u64)>) -> Vec<(String, u64)> {
    let mut sums = BTreeMap::new();
    for (name, count) in counts {
        *sums.entry(name).or_insert(0) += count;
    }
    let mut sums: Vec<_> = sums.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    sums.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    sums
}

fn saturated(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
