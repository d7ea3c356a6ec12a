//! The metadata of one architecture.

use std::collections::HashSet;

use super::super::config::{each_attention, slide};
use super::super::{SIZE_MAX, SpecError, positive, size};
use crate::gguf::{Gguf, GgufError};
use crate::spec::{DecoderSpec, Norm, Span};

/// The keys of one architecture, and the names of the tensors.
pub(crate) struct Meta<'a> {
    pub(super) file: &'a Gguf,
    pub(super) architecture: &'static str,
    tensors: HashSet<&'a str>,
}

impl<'a> Meta<'a> {
    pub(crate) fn new(file: &'a Gguf, architecture: &'static str) -> Self {
        let tensors = file.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
        Self { file, architecture, tensors }
    }

    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// Whether there is such a tensor.
    pub(crate) fn has(&self, tensor: &str) -> bool {
        self.tensors.contains(tensor)
    }

    /// Whether the layer of this number has such a tensor.
    pub(crate) fn has_in(&self, layer: usize, tensor: &str) -> bool {
        self.has(&format!("blk.{layer}.{tensor}"))
    }

    pub(crate) fn required(&self, name: &str, most: u64) -> Result<usize, SpecError> {
        let key = self.key(name);
        let value = self.file.unsigned(&key)?.ok_or_else(|| GgufError::Missing(key.clone()))?;
        size(&key, value, most)
    }

    /// A whole number that need not be there; 0 stands for a missing one.
    pub(crate) fn optional(&self, name: &str) -> Result<Option<usize>, SpecError> {
        let key = self.key(name);
        let value = self.file.unsigned(&key)?.filter(|&value| value > 0);
        value.map(|value| size(&key, value, SIZE_MAX)).transpose()
    }

    /// Whether a whole number is there and 0.
    pub(crate) fn is_zero(&self, name: &str) -> Result<bool, SpecError> {
        Ok(self.file.unsigned(&self.key(name))? == Some(0))
    }

    /// A number above 0.
    pub(crate) fn number(&self, name: &str) -> Result<f64, SpecError> {
        let key = self.key(name);
        positive(&key, self.file.float(&key)?.ok_or_else(|| GgufError::Missing(key.clone()))?)
    }

    /// A number above 0 that need not be there; 0 stands for a missing one, as llama.cpp has it.
    pub(crate) fn optional_number(&self, name: &str) -> Result<Option<f64>, SpecError> {
        let key = self.key(name);
        let number = self.file.float(&key)?.filter(|&number| number != 0.0);
        number.map(|number| positive(&key, number)).transpose()
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, SpecError> {
        Ok(self.file.boolean(&self.key(name))?)
    }

    /// Refuses a flag that is there and not `only`.
    pub(crate) fn refuse_unless(&self, name: &str, only: bool, problem: &str) -> Result<(), SpecError> {
        match self.flag(name)? {
            Some(flag) if flag != only => Err(SpecError::field(self.key(name), format!("is {flag}, which {problem}"))),
            _ => Ok(()),
        }
    }

    /// Refuses a number that asks for what is not supported.
    pub(crate) fn refuse(&self, name: &str) -> Result<(), SpecError> {
        match self.file.float(&self.key(name))?.filter(|&number| number != 0.0) {
            None => Ok(()),
            Some(number) => Err(SpecError::field(self.key(name), format!("is {number}, which is not supported yet"))),
        }
    }

    /// Epsilon of norms of this kind. Phi-3.5-MoE keeps that of its LayerNorm under the other name.
    pub(super) fn eps(&self, norm: Norm) -> Result<f64, SpecError> {
        const RMS: &str = "attention.layer_norm_rms_epsilon";
        const LAYER: &str = "attention.layer_norm_epsilon";
        let own = if matches!(norm, Norm::Rms | Norm::RmsPlusOne) { RMS } else { LAYER };
        match self.optional_number(own)? {
            Some(eps) => Ok(eps),
            None => self.number(RMS),
        }
    }

    /// Width of one head.
    pub(super) fn head_dim(&self) -> Result<usize, SpecError> {
        const NAME: &str = "attention.key_length";
        if let Some(width) = self.optional(NAME)? {
            return Ok(width);
        }
        let hidden = self.required("embedding_length", SIZE_MAX)?;
        size(&self.key(NAME), (hidden / self.required("attention.head_count", SIZE_MAX)?) as u64, SIZE_MAX)
    }

    /// Rows of the embedding: the metadata may leave them out, the tensor cannot.
    pub(super) fn vocabulary(&self) -> Result<usize, SpecError> {
        let embedding = self.file.tensors().iter().find(|tensor| tensor.name == "token_embd.weight");
        let embedding =
            embedding.ok_or_else(|| SpecError::field("token_embd.weight", "is missing from the tensors"))?;
        size("rows of token_embd.weight", embedding.shape[0] as u64, SIZE_MAX)
    }

    /// For each of `layers` whether it looks back over a window only: as a list says it, else all but every so many,
    /// a number that is in the metadata or the family's own.
    pub(crate) fn sliding(&self, layers: usize, every: usize) -> Result<Vec<bool>, SpecError> {
        const NAME: &str = "attention.sliding_window_pattern";
        let key = self.key(NAME);
        if let Some(flags) = self.file.flags(&key)? {
            if flags.len() < layers {
                let problem = format!("has {} entries for {layers} layers", flags.len());
                return Err(SpecError::field(key, problem));
            }
            return Ok(flags.into_iter().take(layers).collect());
        }
        let every = self.optional(NAME)?.unwrap_or(every);
        Ok((0..layers).map(|index| !(index + 1).is_multiple_of(every)).collect())
    }

    /// Gives the layers that look back over a window their span, and their rotary base where they have one of their
    /// own; `window` is for files that do not say. Tells which layers these are.
    pub(crate) fn slide(
        &self,
        spec: &mut DecoderSpec,
        window: Option<usize>,
        every: usize,
    ) -> Result<Vec<bool>, SpecError> {
        let layers = spec.layers.len();
        let Some(window) = self.optional("attention.sliding_window")?.or(window) else {
            return Ok(vec![false; layers]);
        };
        let sliding = self.sliding(layers, every)?;
        slide(spec, &sliding, Span::Sliding(window));
        if let Some(theta) = self.optional_number("rope.freq_base_swa")? {
            each_attention(spec, |index, attention| {
                if let (true, Some(rope)) = (sliding[index], &mut attention.rope) {
                    rope.theta = theta;
                }
            });
        }
        Ok(sliding)
    }
}
