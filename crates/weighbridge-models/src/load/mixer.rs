//! What mixes the tokens of a layer.

use candle_core::Tensor;

use super::Loader;
use crate::blocks::attention::Attention;
use crate::blocks::latent::Latent;
use crate::blocks::norm::Norm;
use crate::decoder::Mixer;
use crate::parts::{Fusion, Kind, LayerPart, Part, own};
use crate::spec::{AttentionSpec, HeadNorm, LatentSpec, MixerSpec};
use crate::weights::WeightError;

impl Loader<'_> {
    pub(super) fn mixer(&mut self, index: usize, spec: &MixerSpec) -> Result<Mixer, WeightError> {
        match spec {
            MixerSpec::Attention(spec) => self.attention(index, spec).map(Mixer::Attention),
            MixerSpec::Latent(spec) => self.latent(index, spec).map(Mixer::Latent),
            MixerSpec::Delta(spec) => self.delta(index, spec).map(Mixer::Delta),
            MixerSpec::Compressed(spec) => self.compressed(index, spec).map(Mixer::Compressed),
        }
    }

    fn attention(&mut self, index: usize, spec: &AttentionSpec) -> Result<Attention, WeightError> {
        let (query_norm, query_weight) = self.head_norm(index, spec, LayerPart::QueryNorm, spec.heads)?;
        let (has_keys, has_values) = (spec.keys_values.has_keys(), spec.keys_values.has_values());
        let (key_norm, key_weight) = match has_keys {
            true => self.head_norm(index, spec, LayerPart::KeyNorm, spec.kv_heads)?,
            false => (None, None),
        };
        let value_norm = spec.value_norm.then(|| Norm::plain_rms(spec.head_dim, self.spec.norm_eps)).transpose();
        let value = Part::Layer(index, LayerPart::Value, Kind::Weight);
        let value_norm = value_norm.map_err(|source| self.failed(value, source))?;
        let sinks = Part::Layer(index, LayerPart::Sinks, Kind::Weight);
        let sinks = spec.sinks.then(|| self.reshaped(sinks, &[spec.heads, 1, 1])).transpose()?;
        Ok(Attention {
            spec: spec.clone(),
            query: self.layer_linear(index, LayerPart::Query, spec.qkv_bias)?,
            key: if has_keys { Some(self.layer_linear(index, LayerPart::Key, spec.qkv_bias)?) } else { None },
            value: if has_values { Some(self.layer_linear(index, LayerPart::Value, spec.qkv_bias)?) } else { None },
            output: self.layer_linear(index, LayerPart::Output, spec.output_bias)?,
            query_norm,
            key_norm,
            value_norm,
            query_weight,
            key_weight,
            sinks,
        })
    }

    /// The norm of queries or keys, and the weight that follows where each head has its own.
    fn head_norm(
        &mut self,
        index: usize,
        spec: &AttentionSpec,
        part: LayerPart,
        heads: usize,
    ) -> Result<(Option<Norm>, Option<Tensor>), WeightError> {
        let of = |kind| Part::Layer(index, part, kind);
        let eps = self.spec.norm_eps;
        let norm = match spec.head_norm {
            None => return Ok((None, None)),
            Some(HeadNorm::Shared) => self.norm(of, spec.head_dim)?,
            Some(HeadNorm::Whole) => self.norm(of, heads * spec.head_dim)?,
            Some(HeadNorm::Each) => {
                let weight = self.reshaped(of(Kind::Weight), &[heads, 1, spec.head_dim])?;
                let norm = Norm::layer(spec.head_dim, None, None, eps);
                let norm = norm.map_err(|source| self.failed(of(Kind::Weight), source))?;
                return Ok((Some(norm), Some(weight)));
            }
            Some(HeadNorm::AfterRope) => Norm::plain_rms(spec.head_dim, eps)
                .map_err(|source| self.failed(Part::Layer(index, LayerPart::Query, Kind::Weight), source))?,
        };
        Ok((Some(norm), None))
    }

    fn latent(&mut self, index: usize, spec: &LatentSpec) -> Result<Latent, WeightError> {
        let eps = spec.norm_eps;
        let of = |part| Part::Layer(index, part, Kind::Weight);
        let (query_down, query) = match spec.query_rank {
            None => (None, LayerPart::Query),
            Some(_) => {
                let down = self.layer_linear(index, LayerPart::QueryDown, spec.bias)?;
                let norm = Norm::Rms { weight: self.dense(of(LayerPart::QueryDownNorm))?, eps };
                (Some((down, norm)), LayerPart::QueryUp)
            }
        };
        let latent = match spec.source {
            Some(_) => None,
            None => {
                let projection = self.layer_linear(index, LayerPart::Latent, spec.bias)?;
                Some((projection, Norm::Rms { weight: self.dense(of(LayerPart::LatentNorm))?, eps }))
            }
        };
        let (key, value) = self.latent_up(index, spec)?;
        Ok(Latent {
            spec: spec.clone(),
            query_down,
            query: self.layer_linear(index, query, false)?,
            latent,
            growth: if spec.growth { Some(self.growth(index, own::index::ATTENTION_GROWTH)?) } else { None },
            indexer: spec.index().map(|indexer| self.indexer(index, indexer)).transpose()?,
            key,
            value,
            output: self.layer_linear(index, LayerPart::Output, spec.bias)?,
        })
    }

    /// What expands a latent row to keys, `[heads, plain_dim, rank]`, and to values, `[heads, value_dim, rank]`.
    fn latent_up(&mut self, index: usize, spec: &LatentSpec) -> Result<(Tensor, Tensor), WeightError> {
        let of = |part| Part::Layer(index, part, Kind::Weight);
        if self.weights.names.latent_kv == Fusion::Apart {
            let key = self.dense(of(LayerPart::LatentKey))?;
            let key = key.transpose(1, 2).and_then(|key| key.contiguous());
            let key = key.map_err(|source| self.failed(of(LayerPart::LatentKey), source))?;
            return Ok((key, self.dense(of(LayerPart::LatentValue))?));
        }
        let both = of(LayerPart::LatentUp);
        let up = self.reshaped(both, &[spec.heads, spec.plain_dim + spec.value_dim, spec.rank])?;
        let part = |start, length| {
            let part = up.narrow(1, start, length).and_then(|part| part.contiguous());
            part.map_err(|source| self.failed(both, source))
        };
        Ok((part(0, spec.plain_dim)?, part(spec.plain_dim, spec.value_dim)?))
    }

    pub(super) fn reshaped(&mut self, part: Part, shape: &[usize]) -> Result<Tensor, WeightError> {
        let tensor = self.dense(part)?;
        tensor.reshape(shape).map_err(|source| self.failed(part, source))
    }
}
