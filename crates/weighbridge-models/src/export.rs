//! Folders as GGUF files: the metadata and tensors that llama.cpp's converter (`conversion/` there) writes for a
//! checkpoint of Hugging Face, so that llama.cpp and we read the same model from it.
//!
//! What a file of an architecture cannot say is refused by name: a reader would fill it in with something else.

mod metadata;
mod target;
mod tokenizer;

use std::collections::HashMap;

use candle_core::Result as Computed;
use serde_json::Value as Json;

use self::target::Target;
use crate::blocks::rope::divisors;
use crate::gguf::GgufHeader;
use crate::parts::{Kind, LayerPart, Part, Place};
use crate::spec::{DecoderSpec, MixerSpec, Norm, RopeScaling, RopeSpec};
use crate::weights::{Stored, Weights};

/// A folder, read: all that goes into a file.
pub(crate) struct Folder<'a> {
    pub(crate) name: &'a str,
    pub(crate) licence: Option<&'a str>,
    pub(crate) spec: &'a DecoderSpec,
    pub(crate) weights: &'a Weights,
    pub(crate) tokenizer: Option<Vocabulary<'a>>,
}

/// What a folder says of its tokenizer.
pub(crate) struct Vocabulary<'a> {
    /// `tokenizer.json`.
    pub(crate) json: &'a Json,
    pub(crate) chat_template: Option<&'a str>,
    /// Such as `("bos_token", "<s>")`.
    pub(crate) special_tokens: Vec<(String, String)>,
    /// Tokens that the tokenizer puts before a prompt and behind it.
    pub(crate) before: Vec<u32>,
    pub(crate) after: Vec<u32>,
    pub(crate) stop_tokens: &'a [u32],
}

/// Why a folder has no GGUF form: the field or part, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Inexpressible {
    pub(crate) what: String,
    pub(crate) problem: String,
}

/// A tensor of the file.
pub(crate) struct Exported {
    pub(crate) name: String,
    /// Outermost dimension first.
    pub(crate) shape: Vec<usize>,
    source: Source,
}

/// Where its numbers come from.
enum Source {
    /// As stored, perhaps changed.
    Stored(Stored, Change),
    /// The matrices of all experts, one after another.
    Stacked(Vec<Stored>),
    Numbers(Vec<f32>),
}

/// What the converter does to a tensor.
#[derive(Clone, Copy)]
enum Change {
    None,
    /// Rows of query or key, head by head, so that those which turn together are neighbours.
    Neighbours {
        heads: usize,
    },
    /// One is added to a norm, whose formula then leaves it out.
    PlusOne,
}

impl Exported {
    /// Its numbers in float32.
    pub(crate) fn numbers(&self) -> Computed<Vec<f32>> {
        match &self.source {
            Source::Numbers(numbers) => Ok(numbers.clone()),
            Source::Stacked(parts) => {
                let mut numbers = Vec::new();
                for part in parts {
                    numbers.extend(part.numbers()?);
                }
                Ok(numbers)
            }
            Source::Stored(stored, change) => {
                let numbers = stored.numbers()?;
                Ok(match *change {
                    Change::None => numbers,
                    Change::PlusOne => numbers.into_iter().map(|number| number + 1.0).collect(),
                    Change::Neighbours { heads } => neighbours(&numbers, heads, self.shape[0]),
                })
            }
        }
    }

    /// Bytes that are read for it.
    pub(crate) fn stored_bytes(&self) -> u64 {
        match &self.source {
            Source::Stored(stored, _) => stored.range.len() as u64,
            Source::Stacked(parts) => parts.iter().map(|part| part.range.len() as u64).sum(),
            Source::Numbers(numbers) => 4 * numbers.len() as u64,
        }
    }
}

/// Rows that turned with those half a head away, put beside them.
fn neighbours(numbers: &[f32], heads: usize, rows: usize) -> Vec<f32> {
    let (width, head) = (numbers.len() / rows.max(1), rows / heads.max(1));
    let from = |row: usize| row / head * head + row % head / 2 + row % 2 * (head / 2);
    (0..rows).flat_map(|row| &numbers[from(row) * width..(from(row) + 1) * width]).copied().collect()
}

/// The metadata and the tensors of a folder's file, without the type it is written in.
pub(crate) fn export(folder: &Folder<'_>) -> Result<(GgufHeader, Vec<Exported>), Inexpressible> {
    let target = target::find(folder.spec)?;
    target.check(folder.spec)?;
    let mut header = GgufHeader::default();
    metadata::write(&mut header, folder, target)?;
    tokenizer::write(&mut header, folder)?;
    let tensors = tensors(folder, target)?;
    Ok((header, tensors))
}

fn tensors(folder: &Folder<'_>, target: &Target) -> Result<Vec<Exported>, Inexpressible> {
    let Folder { spec, weights, .. } = folder;
    let names = target.names();
    let mut tensors: Vec<Exported> = Vec::new();
    let mut places = HashMap::new();
    for part in Part::all(spec, &weights.names) {
        let name = names.of(part);
        let stored = weights.find(part, spec).map_err(|error| inexpressible(names.of(part), &error.to_string()))?;
        match (part, places.get(&name)) {
            (Part::Expert(..), Some(&at)) => {
                let Exported { shape, source: Source::Stacked(parts), .. } = &mut tensors[at] else { continue };
                shape[0] += 1;
                parts.push(stored);
                continue;
            }
            // What shares a tensor with others was written with the first of them.
            (_, Some(_)) => continue,
            _ => {}
        }
        places.insert(name.clone(), tensors.len());
        tensors.push(match part {
            Part::Expert(..) => {
                let shape = [&[1], stored.shape.as_slice()].concat();
                Exported { name, shape, source: Source::Stacked(vec![stored]) }
            }
            _ => {
                let stored = whole(weights, part, spec, stored);
                let change = change(part, spec, target);
                Exported { name, shape: stored.shape.clone(), source: Source::Stored(stored, change) }
            }
        });
    }
    tensors.extend(factors(spec));
    Ok(tensors)
}

/// The tensor that a weight is in, with whatever else is in it.
fn whole(weights: &Weights, part: Part, spec: &DecoderSpec, stored: Stored) -> Stored {
    let Place { name, slice } = weights.names.place(part, spec);
    slice.and_then(|_| weights.tensors.get(&name).cloned()).unwrap_or(stored)
}

fn change(part: Part, spec: &DecoderSpec, target: &Target) -> Change {
    let is_norm = match part {
        Part::FinalNorm(_) => true,
        Part::Layer(_, part, Kind::Weight) => matches!(
            part,
            LayerPart::AttentionNorm
                | LayerPart::AttentionAfter
                | LayerPart::FeedForwardNorm
                | LayerPart::FeedForwardAfter
                | LayerPart::QueryNorm
                | LayerPart::KeyNorm
        ),
        _ => false,
    };
    if is_norm && spec.norm == Norm::RmsPlusOne {
        return Change::PlusOne;
    }
    let Part::Layer(layer, part @ (LayerPart::Query | LayerPart::Key), _) = part else { return Change::None };
    match &spec.layers[layer].mixer {
        MixerSpec::Attention(attention) if target.turns_neighbours => {
            let heads = if part == LayerPart::Query { attention.heads } else { attention.kv_heads };
            Change::Neighbours { heads }
        }
        _ => Change::None,
    }
}

/// The factors of stretched frequencies, which are tensors of the file.
fn factors(spec: &DecoderSpec) -> Vec<Exported> {
    let numbers = |name: &str, numbers: Vec<f32>| Exported {
        name: name.to_owned(),
        shape: vec![numbers.len()],
        source: Source::Numbers(numbers),
    };
    match spec.layers.first().and_then(|layer| layer.mixer.rope()) {
        Some(rope @ RopeSpec { scaling: RopeScaling::Llama3 { .. }, .. }) => {
            vec![numbers("rope_freqs.weight", divisors(rope))]
        }
        Some(RopeSpec { scaling: RopeScaling::Long { short, long, .. }, .. }) => {
            vec![numbers("rope_factors_long.weight", long.clone()), numbers("rope_factors_short.weight", short.clone())]
        }
        _ => Vec::new(),
    }
}

fn inexpressible(what: impl Into<String>, problem: &str) -> Inexpressible {
    Inexpressible { what: what.into(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_turn_together_become_neighbours_within_each_head() {
        let rows: Vec<f32> = (0..8).flat_map(|row| [row as f32, row as f32 + 0.5]).collect();
        let found: Vec<f32> = neighbours(&rows, 2, 8).into_iter().step_by(2).collect();
        assert_eq!(found, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    }
}
