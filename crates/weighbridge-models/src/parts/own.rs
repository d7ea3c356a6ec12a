//! Weights that few families have. Whoever has them calls them alike, so one table gives their names, below the layer
//! they belong to, and their shapes.

use super::names::{Fusion, Names};
use crate::spec::{
    CompressedSpec, DecoderSpec, DeltaKind, DeltaSpec, FeedForwardSpec, HyperSpec, IndexQueries, LatentSpec, LayerSpec,
    MixerSpec,
};

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
        MixerSpec::Delta(delta) => self::delta(delta, hidden, names.delta),
        MixerSpec::Latent(latent) => self::latent(latent, hidden),
        MixerSpec::Compressed(compressed) => self::compressed(compressed, hidden),
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

/// Of DeepSeek V4: weights, base and scales of each.
pub(crate) mod hyper {
    pub(crate) const PARTS: [[&str; 3]; 2] =
        [["hc_attn_fn", "hc_attn_base", "hc_attn_scale"], ["hc_ffn_fn", "hc_ffn_base", "hc_ffn_scale"]];
    pub(crate) const HEAD: [&str; 3] = ["hc_head_fn", "hc_head_base", "hc_head_scale"];
}

/// Of DeepSeek V4.
pub(crate) mod compressed {
    pub(crate) const QUERY_DOWN: &str = "attn.wq_a.weight";
    pub(crate) const QUERY_DOWN_NORM: &str = "attn.q_norm.weight";
    pub(crate) const QUERY: &str = "attn.wq_b.weight";
    pub(crate) const ROW: &str = "attn.wkv.weight";
    pub(crate) const ROW_NORM: &str = "attn.norm.weight";
    pub(crate) const SINKS: &str = "attn.attn_sink";
    pub(crate) const GROUPS: &str = "attn.wo_a.weight";
    pub(crate) const OUTPUT: &str = "attn.wo_b.weight";
    pub(crate) const INDEX_QUERY: &str = "attn.indexer.wq_b.weight";
    pub(crate) const INDEX_WEIGHTS: &str = "attn.indexer.weights_proj.weight";

    /// What sums up runs of tokens.
    pub(crate) struct CompressorNames {
        pub(crate) value: &'static str,
        pub(crate) gate: &'static str,
        pub(crate) bias: &'static str,
        pub(crate) norm: &'static str,
    }

    pub(crate) const ROWS: CompressorNames = CompressorNames {
        value: "attn.compressor.wkv.weight",
        gate: "attn.compressor.wgate.weight",
        bias: "attn.compressor.ape",
        norm: "attn.compressor.norm.weight",
    };
    pub(crate) const INDEX_ROWS: CompressorNames = CompressorNames {
        value: "attn.indexer.compressor.wkv.weight",
        gate: "attn.indexer.compressor.wgate.weight",
        bias: "attn.indexer.compressor.ape",
        norm: "attn.indexer.compressor.norm.weight",
    };
}

/// Of DeepSeek V3.2 and Mistral Large 4.
pub(crate) mod index {
    /// What one of the two calls them; of the norms and of growth first the weight or slope, then the bias or start.
    pub(crate) struct IndexNames {
        pub(crate) query: &'static str,
        pub(crate) key: &'static str,
        pub(crate) key_norm: [&'static str; 2],
        pub(crate) weights: &'static str,
    }

    pub(crate) const DEEPSEEK: IndexNames = IndexNames {
        query: "self_attn.indexer.wq_b.weight",
        key: "self_attn.indexer.wk.weight",
        key_norm: ["self_attn.indexer.k_norm.weight", "self_attn.indexer.k_norm.bias"],
        weights: "self_attn.indexer.weights_proj.weight",
    };
    pub(crate) const MISTRAL: IndexNames = IndexNames {
        query: "attention.indexer.wq_b.weight",
        key: "attention.indexer.wk.weight",
        key_norm: ["attention.indexer.k_norm.weight", "attention.indexer.k_norm.bias"],
        weights: "attention.indexer.weights_proj.weight",
    };
    pub(crate) const INPUT_NORM: [&str; 2] =
        ["attention.indexer.q_input_norm.weight", "attention.indexer.q_input_norm.bias"];
    pub(crate) const GROWTH: [&str; 2] = ["attention.indexer.ssmax_scaling.s", "attention.indexer.ssmax_scaling.b"];
    pub(crate) const ATTENTION_GROWTH: [&str; 2] = ["attention.ssmax_scaling.s", "attention.ssmax_scaling.b"];
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

/// Of Qwen 3 Next and 3.5, and of Kimi Linear, as published.
pub(crate) mod delta {
    pub(crate) const QUERY_KEY_VALUE: &str = "linear_attn.in_proj_qkv.weight";
    pub(crate) const GATE: &str = "linear_attn.in_proj_z.weight";
    pub(crate) const RATE: &str = "linear_attn.in_proj_b.weight";
    pub(crate) const DECAY: &str = "linear_attn.in_proj_a.weight";
    /// Query, key, value and gate of one key head after the other.
    pub(crate) const FUSED: &str = "linear_attn.in_proj_qkvz.weight";
    /// Rates and decays of one key head after the other.
    pub(crate) const FUSED_RATE_DECAY: &str = "linear_attn.in_proj_ba.weight";
    pub(crate) const CONVOLUTION: &str = "linear_attn.conv1d.weight";
    pub(crate) const DECAY_BIAS: &str = "linear_attn.dt_bias";
    pub(crate) const DECAY_LOG: &str = "linear_attn.A_log";
    pub(crate) const NORM: &str = "linear_attn.norm.weight";
    pub(crate) const OUTPUT: &str = "linear_attn.out_proj.weight";

    pub(crate) mod kimi {
        pub(crate) const PROJECTIONS: [&str; 3] =
            ["self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"];
        pub(crate) const CONVOLUTIONS: [&str; 3] =
            ["self_attn.q_conv1d.weight", "self_attn.k_conv1d.weight", "self_attn.v_conv1d.weight"];
        pub(crate) const DECAY: [&str; 2] = ["self_attn.f_a_proj.weight", "self_attn.f_b_proj.weight"];
        pub(crate) const GATE: [&str; 2] = ["self_attn.g_a_proj.weight", "self_attn.g_b_proj.weight"];
        pub(crate) const RATE: &str = "self_attn.b_proj.weight";
        pub(crate) const DECAY_BIAS: &str = "self_attn.dt_bias";
        pub(crate) const DECAY_LOG: &str = "self_attn.A_log";
        pub(crate) const NORM: &str = "self_attn.o_norm.weight";
        pub(crate) const OUTPUT: &str = "self_attn.o_proj.weight";
    }
}

fn delta(spec: &DeltaSpec, hidden: usize, fusion: Fusion) -> Vec<Own> {
    use self::delta::*;
    let (keys, values, heads) = (spec.key_width(), spec.value_width(), spec.value_heads);
    let DeltaKind::PerChannel { rank } = spec.kind else {
        let mut own = match fusion {
            Fusion::Fused => {
                vec![(FUSED, vec![2 * (keys + values), hidden]), (FUSED_RATE_DECAY, vec![2 * heads, hidden])]
            }
            Fusion::Apart => vec![
                (QUERY_KEY_VALUE, vec![spec.channels(), hidden]),
                (GATE, vec![values, hidden]),
                (RATE, vec![heads, hidden]),
                (DECAY, vec![heads, hidden]),
            ],
        };
        own.extend([
            (CONVOLUTION, vec![spec.channels(), 1, spec.kernel]),
            (DECAY_BIAS, vec![heads]),
            (DECAY_LOG, vec![heads]),
            (NORM, vec![spec.value_dim]),
            (OUTPUT, vec![hidden, values]),
        ]);
        return own;
    };
    let widths = [keys, keys, values];
    let mut own: Vec<Own> =
        kimi::PROJECTIONS.into_iter().zip(widths).map(|(name, width)| (name, vec![width, hidden])).collect();
    let convolution = |(name, width)| (name, vec![width, 1, spec.kernel]);
    own.extend(kimi::CONVOLUTIONS.into_iter().zip(widths).map(convolution));
    own.extend([
        (kimi::DECAY[0], vec![rank, hidden]),
        (kimi::DECAY[1], vec![heads * spec.key_dim, rank]),
        (kimi::GATE[0], vec![rank, hidden]),
        (kimi::GATE[1], vec![values, rank]),
        (kimi::RATE, vec![heads, hidden]),
        (kimi::DECAY_BIAS, vec![heads * spec.key_dim]),
        (kimi::DECAY_LOG, vec![1, 1, heads, 1]),
        (kimi::NORM, vec![spec.value_dim]),
        (kimi::OUTPUT, vec![hidden, values]),
    ]);
    own
}

fn latent(spec: &LatentSpec, hidden: usize) -> Vec<Own> {
    let mut own = Vec::new();
    if spec.growth {
        own.extend(index::ATTENTION_GROWTH.map(|name| (name, vec![spec.heads])));
    }
    let Some(index) = spec.index() else { return own };
    let (names, input) = match index.queries {
        IndexQueries::Compressed { rank } => (&index::DEEPSEEK, rank),
        IndexQueries::Stream => (&index::MISTRAL, hidden),
    };
    own.extend([
        (names.query, vec![index.heads * index.head_dim, input]),
        (names.key, vec![index.head_dim, hidden]),
        (names.weights, vec![index.heads, hidden]),
    ]);
    own.extend(names.key_norm.map(|name| (name, vec![index.head_dim])));
    if index.queries == IndexQueries::Stream {
        own.extend(index::INPUT_NORM.map(|name| (name, vec![hidden])));
        own.extend(index::GROWTH.map(|name| (name, vec![index.heads])));
    }
    own
}

fn compressed(spec: &CompressedSpec, hidden: usize) -> Vec<Own> {
    use self::compressed::*;
    let CompressedSpec { head_dim, query_rank, groups, output_rank, .. } = *spec;
    let mut own = vec![
        (QUERY_DOWN, vec![query_rank, hidden]),
        (QUERY_DOWN_NORM, vec![query_rank]),
        (QUERY, vec![spec.query_width(), query_rank]),
        (ROW, vec![head_dim, hidden]),
        (ROW_NORM, vec![head_dim]),
        (SINKS, vec![spec.heads]),
        (GROUPS, vec![groups * output_rank, spec.query_width() / groups]),
        (OUTPUT, vec![hidden, groups * output_rank]),
    ];
    let Some(compression) = spec.compression else { return own };
    let compressor = |names: &CompressorNames, width: usize| {
        let given = compression.series() * width;
        [
            (names.value, vec![given, hidden]),
            (names.gate, vec![given, hidden]),
            (names.bias, vec![compression.every, given]),
            (names.norm, vec![width]),
        ]
    };
    own.extend(compressor(&ROWS, head_dim));
    if let Some(index) = compression.index {
        own.extend(compressor(&INDEX_ROWS, index.head_dim));
        own.push((INDEX_QUERY, vec![index.heads * index.head_dim, query_rank]));
        own.push((INDEX_WEIGHTS, vec![index.heads, hidden]));
    }
    own
}
