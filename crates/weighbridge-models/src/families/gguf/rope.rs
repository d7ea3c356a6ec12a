//! Rotary embeddings as metadata describe them: `llama_model_base::load_hparams` and `ggml_rope_ext` of llama.cpp.

use super::super::SpecError;
use super::super::rope::yarn_magnitude;
use super::Meta;
use crate::spec::{RopeScaling, RopeSpec, RopeStyle};

/// The embedding of heads of `head_dim`.
pub(crate) fn read(meta: &Meta<'_>, head_dim: usize, style: RopeStyle) -> Result<RopeSpec, SpecError> {
    const WIDTH: &str = "rope.dimension_count";
    let width = meta.optional(WIDTH)?.unwrap_or(head_dim);
    if width > head_dim || !width.is_multiple_of(2) {
        let problem = format!("is {width}, where an even number up to the head's {head_dim} is expected");
        return Err(SpecError::field(meta.key(WIDTH), problem));
    }
    let theta = meta.optional_number("rope.freq_base")?.unwrap_or(10_000.0);
    Ok(RopeSpec { width, theta, style, scaling: scaling(meta, width)? })
}

fn scaling(meta: &Meta<'_>, width: usize) -> Result<RopeScaling, SpecError> {
    const TYPE: &str = "rope.scaling.type";
    if let Some(long) = long(meta, width)? {
        return Ok(long);
    }
    let factors = meta.file.small_tensor("rope_freqs.weight", width / 2)?;
    Ok(match (meta.file.string(&meta.key(TYPE))?.unwrap_or("linear"), factors) {
        ("none", Some(factors)) => RopeScaling::Factors(factors),
        ("none", None) => RopeScaling::None,
        ("linear", factors) => match (linear_factor(meta)?, factors) {
            (None, Some(factors)) => RopeScaling::Factors(factors),
            (None, None) => RopeScaling::None,
            (Some(all), Some(factors)) => {
                RopeScaling::Factors(factors.into_iter().map(|factor| factor * all as f32).collect())
            }
            (Some(factor), None) => RopeScaling::Linear { factor },
        },
        ("yarn", None) => yarn(meta)?,
        ("yarn", Some(_)) => {
            return Err(SpecError::field("rope_freqs.weight", "stands beside yarn, which is not supported yet"));
        }
        (other, _) => {
            let problem = format!("is `{other}`, which is not supported yet; supported: none, linear, yarn, longrope");
            return Err(SpecError::field(meta.key(TYPE), problem));
        }
    })
}

/// In files of 2023 under another name.
fn linear_factor(meta: &Meta<'_>) -> Result<Option<f64>, SpecError> {
    let factor = meta.optional_number("rope.scaling.factor")?;
    let factor = factor.map_or_else(|| meta.optional_number("rope.scale_linear"), |factor| Ok(Some(factor)))?;
    Ok(factor.filter(|&factor| factor != 1.0))
}

/// The factors of longrope, where the file has them.
fn long(meta: &Meta<'_>, width: usize) -> Result<Option<RopeScaling>, SpecError> {
    let factors = |name| meta.file.small_tensor(name, width / 2);
    let (Some(short), Some(long)) = (factors("rope_factors_short.weight")?, factors("rope_factors_long.weight")?)
    else {
        return Ok(None);
    };
    let magnitude = meta.optional_number("rope.scaling.attn_factor")?.unwrap_or(1.0);
    Ok(Some(RopeScaling::Long {
        short,
        long,
        original_context: original_context(meta)?,
        short_magnitude: magnitude,
        long_magnitude: magnitude,
    }))
}

/// The magnitude grows by the logarithm of the factor, less by what the multiplier says. Where the model's makers have
/// one of their own, that is it: llama.cpp reads its key and does not use it.
fn yarn(meta: &Meta<'_>) -> Result<RopeScaling, SpecError> {
    let factor = meta.number("rope.scaling.factor")?;
    let given = meta.optional_number("rope.scaling.attn_factor")?.unwrap_or(1.0);
    let grown = match meta.optional_number("rope.scaling.yarn_attn_factor")? {
        Some(own) => own,
        None => match meta.optional_number("rope.scaling.yarn_log_multiplier")? {
            Some(all) => yarn_magnitude(factor, 1.0) / yarn_magnitude(factor, all),
            None => yarn_magnitude(factor, 1.0),
        },
    };
    Ok(RopeScaling::Yarn {
        factor,
        original_context: original_context(meta)?,
        beta_fast: meta.optional_number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
        beta_slow: meta.optional_number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
        truncate: true,
        magnitude: given * grown,
    })
}

fn original_context(meta: &Meta<'_>) -> Result<f64, SpecError> {
    const NAME: &str = "rope.scaling.original_context_length";
    let name = if meta.optional(NAME)?.is_some() { NAME } else { "context_length" };
    Ok(meta.required(name, u32::MAX.into())? as f64)
}
