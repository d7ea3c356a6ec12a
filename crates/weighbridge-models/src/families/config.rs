//! What a `config.json` says, read field by field, and the decoder that most of them describe: Llama's, from which each
//! family then differs.

use serde_json::{Map, Value as Json};

use super::{LAYERS_MAX, SIZE_MAX, SpecError, check_heads, positive, size};
use crate::spec::{
    Activation, AttentionSpec, DecoderSpec, FeedForwardSpec, KeysValues, LayerSpec, MixerSpec, MlpSpec, Norm,
    Placement, Span,
};

/// A config with the defaults of its family where it does not say.
pub(super) struct Config {
    fields: Map<String, Json>,
    /// Whether its family knows heads that turn in part.
    may_turn_in_part: bool,
}

impl Config {
    /// Takes a config, and `defaults`, an object, for fields that it does not have.
    pub(super) fn new(config: &Json, defaults: Json) -> Result<Self, SpecError> {
        let Some(config) = config.as_object() else {
            return Err(SpecError::Config("it is no object of fields".to_owned()));
        };
        let mut fields = match defaults {
            Json::Object(fields) => fields,
            _ => Map::new(),
        };
        let may_turn_in_part = fields.contains_key(super::rope::PARTIAL);
        // A null says what the family does without, a window say; of ropes it says nothing.
        let said =
            config.iter().filter(|(name, value)| !(value.is_null() && super::rope::STYLES.contains(&name.as_str())));
        fields.extend(said.map(|(name, value)| (name.clone(), value.clone())));
        Ok(Self { fields, may_turn_in_part })
    }

    /// Whether heads may turn in part: where the family has a default for how much of them does.
    pub(super) fn may_turn_in_part(&self) -> bool {
        self.may_turn_in_part
    }

    /// Leaves out fields that the family does not have, whatever a config says of them.
    pub(super) fn without(mut self, fields: &[&str]) -> Self {
        self.fields.retain(|name, _| !fields.contains(&name.as_str()));
        self
    }

    /// Reads `field` under another name as well, as the family's `attribute_map` in transformers has it.
    pub(super) fn or_named(mut self, other: &str, field: &str) -> Self {
        if let Some(value) = self.fields.remove(other) {
            self.fields.insert(field.to_owned(), value);
        }
        self
    }

    /// The same with another value of a field.
    pub(super) fn with(&self, field: &str, value: Json) -> Self {
        let mut fields = self.fields.clone();
        fields.insert(field.to_owned(), value);
        Self { fields, may_turn_in_part: self.may_turn_in_part }
    }

    /// All fields, defaults included.
    pub(super) fn to_json(&self) -> Json {
        Json::Object(self.fields.clone())
    }

    /// A field that is there and not null.
    pub(super) fn get(&self, field: &str) -> Option<&Json> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// A whole number from 1 to `most`.
    pub(super) fn size_up_to(&self, field: &str, most: u64) -> Result<usize, SpecError> {
        let value = self.get(field).ok_or_else(|| SpecError::field(field, "is missing from config.json"))?;
        size(field, whole(field, value)?, most)
    }

    /// A whole number above 0.
    pub(super) fn size(&self, field: &str) -> Result<usize, SpecError> {
        self.size_up_to(field, SIZE_MAX)
    }

    /// A whole number above 0 that need not be there.
    pub(super) fn optional_size(&self, field: &str) -> Result<Option<usize>, SpecError> {
        self.get(field).map(|value| size(field, whole(field, value)?, SIZE_MAX)).transpose()
    }

    /// A whole number, 0 included; 0 where it is not there.
    pub(super) fn count(&self, field: &str) -> Result<usize, SpecError> {
        self.get(field).map_or(Ok(0), |value| match whole(field, value)? {
            0 => Ok(0),
            count => size(field, count, SIZE_MAX),
        })
    }

    /// A number above 0.
    pub(super) fn number(&self, field: &str) -> Result<f64, SpecError> {
        let number = self.optional_number(field)?;
        number.ok_or_else(|| SpecError::field(field, "is missing from config.json"))
    }

    /// A number above 0 that need not be there.
    pub(super) fn optional_number(&self, field: &str) -> Result<Option<f64>, SpecError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let number =
            value.as_f64().ok_or_else(|| SpecError::field(field, format!("is {value}, which is no number")))?;
        positive(field, number).map(Some)
    }

    /// A number of at least 0.
    pub(super) fn number_from_zero(&self, field: &str) -> Result<f64, SpecError> {
        match self.get(field).and_then(Json::as_f64) {
            Some(0.0) => Ok(0.0),
            _ => self.number(field),
        }
    }

    /// Whether a field is true; a missing one is not.
    pub(super) fn flag(&self, field: &str) -> Result<bool, SpecError> {
        let Some(value) = self.get(field) else { return Ok(false) };
        value.as_bool().ok_or_else(|| SpecError::field(field, format!("is {value}, where true or false is expected")))
    }

    /// A text.
    pub(super) fn text(&self, field: &str) -> Result<Option<&str>, SpecError> {
        let text = |value: &'_ Json| SpecError::field(field, format!("is {value}, where a text is expected"));
        self.get(field).map(|value| value.as_str().ok_or_else(|| text(value))).transpose()
    }

    /// A list of whole numbers.
    pub(super) fn numbers(&self, field: &str) -> Result<Option<Vec<u64>>, SpecError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let wrong = || SpecError::field(field, "is no list of whole numbers");
        let list = value.as_array().ok_or_else(wrong)?;
        list.iter().map(|number| number.as_u64().ok_or_else(wrong)).collect::<Result<_, _>>().map(Some)
    }

    /// For each of `layers`, whether `field` has something other than 0 for it.
    pub(super) fn switches(&self, field: &str, layers: usize) -> Result<Option<Vec<bool>>, SpecError> {
        let Some(numbers) = self.numbers(field)?.filter(|numbers| !numbers.is_empty()) else { return Ok(None) };
        if numbers.len() != layers {
            return Err(SpecError::field(field, format!("has {} entries for {layers} layers", numbers.len())));
        }
        Ok(Some(numbers.into_iter().map(|number| number != 0).collect()))
    }

    /// For each of `layers`, whether `layer_types` calls it `name`, where it is anything other than full attention.
    pub(super) fn layers_of_type(&self, name: &str, layers: usize) -> Result<Option<Vec<bool>>, SpecError> {
        self.named_layers("layer_types", [name, "full_attention"], layers)
    }

    /// For each of `layers`, whether the list in `field` calls it by the first of two names, where it may go by either.
    pub(super) fn named_layers(
        &self,
        field: &str,
        [name, other]: [&str; 2],
        layers: usize,
    ) -> Result<Option<Vec<bool>>, SpecError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let types = value.as_array().ok_or_else(|| SpecError::field(field, "is no list"))?;
        if types.len() != layers {
            return Err(SpecError::field(field, format!("has {} entries for {layers} layers", types.len())));
        }
        let is = |kind: &Json| match kind.as_str() {
            Some(kind) if kind == name => Ok(true),
            Some(kind) if kind == other => Ok(false),
            _ => Err(SpecError::field(field, format!("has {kind}; supported: {other}, {name}"))),
        };
        types.iter().map(is).collect::<Result<_, _>>().map(Some)
    }

    /// For each layer whether it looks back over a window only: as `layer_types` says, else as `default` has it.
    pub(super) fn sliding_layers(
        &self,
        layers: usize,
        default: impl Fn(usize) -> bool,
    ) -> Result<Vec<bool>, SpecError> {
        let said = self.layers_of_type("sliding_attention", layers)?;
        Ok(said.unwrap_or_else(|| (0..layers).map(default).collect()))
    }

    /// The window of layers that have one.
    pub(super) fn window(&self) -> Result<Span, SpecError> {
        Ok(self.optional_size("sliding_window")?.map_or(Span::Full, Span::Sliding))
    }

    /// Refuses a field that asks for what is not supported.
    pub(super) fn refuse(&self, field: &str) -> Result<(), SpecError> {
        match self.get(field) {
            None | Some(Json::Bool(false)) => Ok(()),
            Some(_) => Err(SpecError::field(field, "asks for what is not supported yet")),
        }
    }

    /// Refuses a text other than the one that is computed.
    pub(super) fn expect(&self, field: &str, only: &str) -> Result<(), SpecError> {
        match self.text(field)? {
            Some(other) if other != only => Err(SpecError::field(field, format!("is `{other}`; supported: {only}"))),
            _ => Ok(()),
        }
    }

    /// The function between the projections, by the first of `fields` that is there.
    pub(super) fn activation(&self, fields: &[&str]) -> Result<Activation, SpecError> {
        for field in fields {
            if self.fields.get(*field).is_some_and(Json::is_null) {
                return Err(SpecError::field(*field, "is null, where the name of a function is expected"));
            }
            if let Some(name) = self.text(field)? {
                return match name {
                    "silu" | "swish" => Ok(Activation::Silu),
                    "gelu" | "gelu_python" => Ok(Activation::Gelu),
                    "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_python_tanh" | "gelu_accurate" => {
                        Ok(Activation::GeluTanh)
                    }
                    "quick_gelu" => Ok(Activation::GeluQuick),
                    "relu" => Ok(Activation::Relu),
                    "relu2" => Ok(Activation::ReluSquared),
                    name => {
                        const KNOWN: &str = "silu, gelu, gelu_new, gelu_pytorch_tanh, quick_gelu, relu, relu2";
                        Err(SpecError::field(*field, format!("is `{name}`; supported: {KNOWN}")))
                    }
                };
            }
        }
        Ok(Activation::Silu)
    }

    /// The decoder of Llama's shape that the common fields describe; epsilon is in `rms_norm_eps`.
    pub(super) fn decoder(&self) -> Result<DecoderSpec, SpecError> {
        self.decoder_with_eps("rms_norm_eps")
    }

    /// The same with epsilon in another field.
    pub(super) fn decoder_with_eps(&self, eps: &str) -> Result<DecoderSpec, SpecError> {
        if self.get("quantization_config").is_some() {
            let problem = "asks for packed weights that are not supported yet";
            return Err(SpecError::field("quantization_config", problem));
        }
        let context = self.size_up_to("max_position_embeddings", u32::MAX.into())?;
        let layers = self.size_up_to("num_hidden_layers", LAYERS_MAX)?;
        let mlp = MlpSpec {
            inner: self.size("intermediate_size")?,
            activation: self.activation(&["hidden_act"])?,
            gated: true,
            bias: self.flag("mlp_bias")?,
        };
        let layer = LayerSpec {
            mixer: MixerSpec::Attention(self.attention(context)?),
            feed_forward: FeedForwardSpec::Dense(mlp),
            placement: Placement::Before,
            residual_scale: 1.0,
            laurel: None,
            output_scale: false,
        };
        Ok(DecoderSpec {
            architecture: self.text("model_type")?.unwrap_or_default().to_owned(),
            hidden: self.size("hidden_size")?,
            vocabulary: self.size("vocab_size")?,
            context,
            norm: Norm::Rms,
            norm_eps: self.number(eps)? as f32,
            embedding_scale: 1.0,
            tied_head: self.flag("tie_word_embeddings")?,
            head_bias: false,
            logit_scale: 1.0,
            logit_cap: None,
            per_layer: None,
            streams: None,
            hyper: None,
            learned_rope: false,
            layers: vec![layer; layers],
        })
    }

    fn attention(&self, context: usize) -> Result<AttentionSpec, SpecError> {
        let heads = self.size("num_attention_heads")?;
        let kv_heads = self.optional_size("num_key_value_heads")?.unwrap_or(heads);
        let head_dim = match self.optional_size("head_dim")? {
            Some(width) => width,
            None => size("head_dim", (self.size("hidden_size")? / heads) as u64, SIZE_MAX)?,
        };
        check_heads(heads, kv_heads, head_dim)?;
        let bias = self.flag("attention_bias")?;
        Ok(AttentionSpec {
            heads,
            kv_heads,
            head_dim,
            rope: Some(super::rope::read(self, None, head_dim, context)?),
            span: Span::Full,
            qkv_bias: bias,
            output_bias: bias,
            head_norm: None,
            clip: None,
            scale: (head_dim as f64).powf(-0.5) as f32,
            score_cap: None,
            temperature: None,
            sinks: false,
            keys_values: KeysValues::Apart,
            value_norm: false,
            gated: false,
        })
    }
}

fn whole(field: &str, value: &Json) -> Result<u64, SpecError> {
    value.as_u64().ok_or_else(|| SpecError::field(field, format!("is {value}, where a whole number is expected")))
}

/// Changes the attention of every layer, by its number.
pub(super) fn each_attention(spec: &mut DecoderSpec, mut change: impl FnMut(usize, &mut AttentionSpec)) {
    for (index, layer) in spec.layers.iter_mut().enumerate() {
        if let MixerSpec::Attention(attention) = &mut layer.mixer {
            change(index, attention);
        }
    }
}

/// Changes the feed-forward part of every layer that has one for all tokens.
pub(super) fn each_mlp(spec: &mut DecoderSpec, mut change: impl FnMut(&mut MlpSpec)) {
    for layer in &mut spec.layers {
        if let FeedForwardSpec::Dense(mlp) = &mut layer.feed_forward {
            change(mlp);
        }
    }
}

/// Gives the layers that look back over a window only their span.
pub(super) fn slide(spec: &mut DecoderSpec, sliding: &[bool], window: Span) {
    each_attention(spec, |index, attention| {
        if sliding.get(index).is_some_and(|&sliding| sliding) {
            attention.span = window;
        }
    });
}
