//! Which tensor becomes what. As llama.cpp's `src/llama-quant.cpp` decides without an importance matrix, with one
//! difference: where that takes Q5_K, this takes Q6_K.

use super::QuantizedType;
use crate::element::ElementType;
use crate::spec::{DecoderSpec, FeedForwardSpec};

/// What the decisions depend on.
pub(crate) struct Mixture {
    pub(super) target: QuantizedType,
    pub(super) layers: usize,
    pub(super) experts: u64,
    /// Whether the embedding is the head as well.
    pub(super) tied: bool,
}

/// Parts of names of matrices that stay as they are: they are small, and a model is sensitive to them.
const KEPT: [&str; 9] = [
    "_norm.weight",
    "ffn_gate_inp.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "position_embd",
    "token_types",
];

impl Mixture {
    /// For a decoder.
    pub(crate) fn of(spec: &DecoderSpec, target: QuantizedType) -> Self {
        let experts = spec.layers.iter().find_map(|layer| match &layer.feed_forward {
            FeedForwardSpec::Experts(experts) | FeedForwardSpec::Beside(_, experts) => Some(experts.count as u64),
            FeedForwardSpec::Dense(_) => None,
        });
        Self { target, layers: spec.layers.len(), experts: experts.unwrap_or(0), tied: spec.tied_head }
    }

    /// The type of a tensor in the file to be written; `stored` where it stays as it is.
    pub(crate) fn choose(&self, name: &str, shape: &[usize], stored: ElementType) -> ElementType {
        let dimensions = shape.iter().skip_while(|&&size| size == 1).count();
        let kept = KEPT.iter().any(|part| name.contains(part)) || !name.ends_with("weight");
        if dimensions < 2 || kept {
            return stored;
        }
        let columns = shape.last().copied().unwrap_or(1);
        match self.target {
            QuantizedType::F32 => ElementType::F32,
            QuantizedType::F16 => ElementType::F16,
            QuantizedType::Bf16 => ElementType::BF16,
            _ => fitting(self.wanted(name, columns), columns),
        }
    }

    fn wanted(&self, name: &str, columns: usize) -> ElementType {
        let plain = match self.target {
            QuantizedType::Q8_0 => return ElementType::Q8_0,
            QuantizedType::Q4_0 => ElementType::Q4_0,
            QuantizedType::Q6K => ElementType::Q6_K,
            _ => ElementType::Q4_K,
        };
        if name == "output.weight" || self.tied && name == "token_embd.weight" {
            return if plain.fits(columns) { ElementType::Q6_K } else { ElementType::Q8_0 };
        }
        let is = |part: &str| name.contains(part);
        let mixed = self.target == QuantizedType::Q4KM;
        if is("attn_v.weight") || is("attn_qkv.weight") || is("attn_kv_b.weight") {
            return match self.experts {
                8 => ElementType::Q8_0,
                _ if mixed && (self.is_sensitive(name) || self.layers == 80) => ElementType::Q6_K,
                _ => plain,
            };
        }
        match self.experts {
            8 if is("attn_k.weight") => ElementType::Q8_0,
            8 if mixed && is("attn_output.weight") => ElementType::Q6_K,
            _ if mixed && is("ffn_down") && self.is_sensitive(name) => ElementType::Q6_K,
            _ => plain,
        }
    }

    /// The first and the last eighth of the layers, and every third between.
    fn is_sensitive(&self, name: &str) -> bool {
        let layer = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        let eighth = self.layers / 8;
        layer.is_some_and(|layer| layer < eighth || layer >= 7 * self.layers / 8 || (layer - eighth) % 3 == 2)
    }
}

/// The type, or the one that takes its place where rows are no multiple of its blocks.
fn fitting(wanted: ElementType, columns: usize) -> ElementType {
    let narrow = match wanted {
        ElementType::Q4_K => ElementType::Q5_0,
        ElementType::Q6_K => ElementType::Q8_0,
        other => other,
    };
    [wanted, narrow].into_iter().find(|element| element.fits(columns)).unwrap_or(ElementType::F16)
}
