//! Weights that few families have. Whoever has them calls them alike, so one table gives their names, below the layer
//! they belong to, and their shapes.

pub(crate) mod compressed;
pub(crate) mod delta;
pub(crate) mod index;

use super::names::Names;
use crate::spec::{DecoderSpec, FeedForwardSpec, HyperSpec, LayerSpec, MixerSpec};

/// A name and a shape, outermost dimension first.
type Own = (&'static str, Vec<usize>);

/// What leaves a layer is multiplied by it.
pub(crate) const OUTPUT_SCALE: &str = "layer_scalar";

/// Powers that rotary frequencies are multiplied by: "LeRoPE" of Mistral Large 4.
pub(crate) const LEARNED_ROPE: &str = "lerope.alpha";

/// The experts of each token, of DeepSeek V4.
pub(crate) const EXPERTS_OF_TOKENS: &str = "ffn.gate.tid2eid";

/// Those of the decoder.
pub(crate) fn of_decoder(spec: &DecoderSpec) -> Vec<Own> {
    let hidden = spec.hidden;
    let mut own = Vec::new();
    if let Some(rows) = spec.per_layer {
        let width = spec.layers.len() * rows.width;
        own.extend([
            (per_layer::TABLE, vec![rows.vocabulary, width]),
            (per_layer::MODEL_PROJECTION, vec![width, hidden]),
            (per_layer::MODEL_NORM, vec![rows.width]),
        ]);
    }
    if let Some(HyperSpec { count, .. }) = spec.hyper {
        own.extend([
            (hyper::HEAD[0], vec![count, count * hidden]),
            (hyper::HEAD[1], vec![count]),
            (hyper::HEAD[2], vec![1]),
        ]);
    }
    if spec.learned_rope {
        let rope = spec.layers.iter().find_map(|layer| layer.mixer.rope());
        own.push((LEARNED_ROPE, vec![rope.map_or(0, |rope| rope.width / 2)]));
    }
    if let Some(streams) = spec.streams {
        let ends = self::streams::ENTER.iter().zip(self::streams::LEAVE).take(streams.count - 1);
        own.extend(ends.flat_map(|(enter, leave)| [(*enter, vec![hidden, hidden]), (leave, vec![hidden, hidden])]));
    }
    own
}

/// Those of a layer.
pub(crate) fn of_layer(spec: &DecoderSpec, layer: &LayerSpec, names: &Names) -> Vec<Own> {
    let hidden = spec.hidden;
    let mut own = match &layer.mixer {
        MixerSpec::Delta(spec) => delta::table(spec, hidden, names.delta),
        MixerSpec::Latent(spec) => index::table(spec, hidden),
        MixerSpec::Compressed(spec) => compressed::table(spec, hidden),
        MixerSpec::Attention(_) => vec![],
    };
    if let FeedForwardSpec::Beside(_, experts) = &layer.feed_forward {
        own.extend([
            (beside::ROUTER, vec![experts.count, hidden]),
            (beside::ROUTER_SCALE, vec![hidden]),
            (beside::EXPERT_SCALES, vec![experts.count]),
            (beside::DENSE_AFTER, vec![hidden]),
            (beside::EXPERTS_BEFORE, vec![hidden]),
            (beside::EXPERTS_AFTER, vec![hidden]),
        ]);
    }
    if let Some(rows) = spec.per_layer {
        own.extend([
            (per_layer::GATE, vec![rows.width, hidden]),
            (per_layer::PROJECTION, vec![hidden, rows.width]),
            (per_layer::NORM, vec![hidden]),
        ]);
    }
    if let Some(streams) = spec.streams {
        let count = streams.count;
        own.extend([
            (streams::ROUTER_NORM, vec![hidden]),
            (streams::ROUTER, vec![count, hidden]),
            (streams::PREDICTION, vec![count * count, count]),
            (streams::CORRECTION, vec![count, count]),
            (streams::OUTPUT_SCALE, vec![hidden]),
        ]);
    }
    if let Some(rank) = layer.laurel {
        own.extend([
            (laurel::LEFT, vec![rank, hidden]),
            (laurel::RIGHT, vec![hidden, rank]),
            (laurel::NORM, vec![hidden]),
        ]);
    }
    if let Some(hyper) = spec.hyper {
        let weights = hyper.count * (hyper.count + 2);
        for names in hyper::PARTS {
            own.extend([
                (names[0], vec![weights, hyper.count * hidden]),
                (names[1], vec![weights]),
                (names[2], vec![3]),
            ]);
        }
    }
    if let Some(experts) = layer.feed_forward.experts().filter(|experts| experts.router.by_token) {
        own.push((EXPERTS_OF_TOKENS, vec![spec.vocabulary, experts.chosen]));
    }
    if layer.output_scale {
        own.push((OUTPUT_SCALE, vec![1]));
    }
    own
}

/// The shape of one; empty where there is none of the name.
pub(super) fn shape(spec: &DecoderSpec, layer: Option<usize>, name: &str, names: &Names) -> Vec<usize> {
    let all = layer.map_or_else(|| of_decoder(spec), |layer| of_layer(spec, &spec.layers[layer], names));
    all.into_iter().find(|(other, _)| *other == name).map(|(_, shape)| shape).unwrap_or_default()
}

/// Of Gemma 3n and 4.
pub(crate) mod per_layer {
    pub(crate) const TABLE: &str = "embed_tokens_per_layer.weight";
    pub(crate) const MODEL_PROJECTION: &str = "per_layer_model_projection.weight";
    pub(crate) const MODEL_NORM: &str = "per_layer_projection_norm.weight";
    pub(crate) const GATE: &str = "per_layer_input_gate.weight";
    pub(crate) const PROJECTION: &str = "per_layer_projection.weight";
    pub(crate) const NORM: &str = "post_per_layer_input_norm.weight";
}

/// Of Gemma 4 with experts.
pub(crate) mod beside {
    pub(crate) const ROUTER: &str = "router.proj.weight";
    pub(crate) const ROUTER_SCALE: &str = "router.scale";
    pub(crate) const EXPERT_SCALES: &str = "router.per_expert_scale";
    pub(crate) const DENSE_AFTER: &str = "post_feedforward_layernorm_1.weight";
    pub(crate) const EXPERTS_BEFORE: &str = "pre_feedforward_layernorm_2.weight";
    pub(crate) const EXPERTS_AFTER: &str = "post_feedforward_layernorm_2.weight";
}

/// Of Gemma 3n; one projection for each stream but the first.
pub(crate) mod streams {
    pub(crate) const ENTER: [&str; 7] = [
        "altup_projections.0.weight",
        "altup_projections.1.weight",
        "altup_projections.2.weight",
        "altup_projections.3.weight",
        "altup_projections.4.weight",
        "altup_projections.5.weight",
        "altup_projections.6.weight",
    ];
    pub(crate) const LEAVE: [&str; 7] = [
        "altup_unembed_projections.0.weight",
        "altup_unembed_projections.1.weight",
        "altup_unembed_projections.2.weight",
        "altup_unembed_projections.3.weight",
        "altup_unembed_projections.4.weight",
        "altup_unembed_projections.5.weight",
        "altup_unembed_projections.6.weight",
    ];
    pub(crate) const ROUTER_NORM: &str = "altup.router_norm.weight";
    pub(crate) const ROUTER: &str = "altup.modality_router.weight";
    pub(crate) const PREDICTION: &str = "altup.prediction_coefs.weight";
    pub(crate) const CORRECTION: &str = "altup.correction_coefs.weight";
    pub(crate) const OUTPUT_SCALE: &str = "altup.correct_output_scale";
}

/// Of Gemma 3n.
pub(crate) mod laurel {
    pub(crate) const LEFT: &str = "laurel.linear_left.weight";
    pub(crate) const RIGHT: &str = "laurel.linear_right.weight";
    pub(crate) const NORM: &str = "laurel.post_laurel_norm.weight";
}

/// Of DeepSeek V4: weights, base and scales of each.
pub(crate) mod hyper {
    pub(crate) const PARTS: [[&str; 3]; 2] =
        [["hc_attn_fn", "hc_attn_base", "hc_attn_scale"], ["hc_ffn_fn", "hc_ffn_base", "hc_ffn_scale"]];
    pub(crate) const HEAD: [&str; 3] = ["hc_head_fn", "hc_head_base", "hc_head_scale"];
}
