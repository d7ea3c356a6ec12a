//! The metadata of a decoder, by the keys of llama.cpp's `gguf-py/gguf/constants.py`.

use super::target::{Experts, Target};
use super::{Folder, Inexpressible, inexpressible};
use crate::gguf::GgufHeader;
use crate::spec::{AttentionSpec, FeedForwardSpec, MixerSpec, RopeScaling, RopeSpec, Span};

pub(super) fn write(header: &mut GgufHeader, folder: &Folder<'_>, target: &Target) -> Result<(), Inexpressible> {
    let spec = folder.spec;
    header.text("general.architecture", target.architecture);
    header.text("general.type", "model");
    header.text("general.name", folder.name);
    if let Some(licence) = folder.licence {
        header.text("general.license", licence);
    }
    let mut keys = Keys { header, architecture: target.architecture };
    keys.count("block_count", spec.layers.len())?;
    keys.count("context_length", spec.context)?;
    keys.count("embedding_length", spec.hidden)?;
    keys.count("vocab_size", spec.vocabulary)?;
    keys.number("attention.layer_norm_rms_epsilon", spec.norm_eps.into());
    if let Some(cap) = spec.logit_cap {
        keys.number("final_logit_softcapping", cap.into());
    }
    let Some(layer) = spec.layers.first() else { return Ok(()) };
    match &layer.feed_forward {
        FeedForwardSpec::Dense(mlp) => keys.count("feed_forward_length", mlp.inner)?,
        // Refused before: no target has both.
        FeedForwardSpec::Beside(..) => {}
        FeedForwardSpec::Experts(experts) => {
            keys.count("expert_count", experts.count)?;
            keys.count("expert_used_count", experts.chosen)?;
            keys.count("feed_forward_length", experts.expert.inner)?;
            if target.experts == Experts::Always {
                keys.count("expert_feed_forward_length", experts.expert.inner)?;
            }
        }
    }
    let attention = |is: fn(&AttentionSpec) -> bool| {
        spec.layers.iter().find_map(|layer| match &layer.mixer {
            MixerSpec::Attention(attention) if is(attention) => Some(attention),
            _ => None,
        })
    };
    let sliding = attention(|attention| attention.span != Span::Full);
    // What is said of all layers holds for those that see everything, where there are any.
    let Some(full) = attention(|attention| attention.span == Span::Full).or(sliding) else { return Ok(()) };
    keys.attention(full)?;
    if let Some(AttentionSpec { span: Span::Sliding(window), rope, .. }) = sliding {
        keys.count("attention.sliding_window", *window)?;
        if let Some(rope) = rope.as_ref().filter(|_| target.architecture == "gemma3") {
            keys.number("rope.freq_base_swa", rope.theta);
        }
    } else if target.architecture == "phi3" {
        // By which readers tell that there is none from that it was forgotten.
        keys.count("attention.sliding_window", 0)?;
    }
    full.rope.as_ref().map_or(Ok(()), |rope| keys.rope(rope, spec.context, target.architecture))
}

/// The keys of one architecture.
struct Keys<'a> {
    header: &'a mut GgufHeader,
    architecture: &'static str,
}

impl Keys<'_> {
    fn attention(&mut self, spec: &AttentionSpec) -> Result<(), Inexpressible> {
        self.count("attention.head_count", spec.heads)?;
        self.count("attention.head_count_kv", spec.kv_heads)?;
        self.count("attention.key_length", spec.head_dim)?;
        self.count("attention.value_length", spec.head_dim)?;
        if let Some(cap) = spec.score_cap {
            self.number("attn_logit_softcapping", cap.into());
        }
        Ok(())
    }

    fn rope(&mut self, rope: &RopeSpec, context: usize, architecture: &str) -> Result<(), Inexpressible> {
        self.count("rope.dimension_count", rope.width)?;
        self.number("rope.freq_base", rope.theta);
        match &rope.scaling {
            RopeScaling::Linear { factor } => {
                self.text("rope.scaling.type", "linear");
                self.number("rope.scaling.factor", *factor);
            }
            RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, magnitude, .. } => {
                self.text("rope.scaling.type", "yarn");
                self.number("rope.scaling.factor", *factor);
                self.count("rope.scaling.original_context_length", *original_context as usize)?;
                self.number("rope.scaling.yarn_beta_fast", *beta_fast);
                self.number("rope.scaling.yarn_beta_slow", *beta_slow);
                // Readers multiply it by what attention grows by where nothing is said: YaRN, equation 22.
                let own = magnitude / (0.1 * factor.max(1.0).ln() + 1.0);
                if (own - 1.0).abs() > 1e-6 {
                    self.number("rope.scaling.attn_factor", own);
                }
            }
            RopeScaling::Long { original_context, short_magnitude, .. } => {
                self.count("rope.scaling.original_context_length", *original_context as usize)?;
                self.number("rope.scaling.attn_factor", *short_magnitude);
            }
            _ if architecture == "phi3" => self.count("rope.scaling.original_context_length", context)?,
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, name: &str, count: usize) -> Result<(), Inexpressible> {
        let key = format!("{}.{name}", self.architecture);
        let count = u32::try_from(count).map_err(|_| inexpressible(&key, "is too large for gguf"))?;
        self.header.u32(&key, count);
        Ok(())
    }

    fn number(&mut self, name: &str, number: f64) {
        self.header.f32(&format!("{}.{name}", self.architecture), number as f32);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.header.text(&format!("{}.{name}", self.architecture), text);
    }
}
