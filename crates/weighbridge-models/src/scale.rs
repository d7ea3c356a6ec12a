//! The scales of matrices in eight-bit floats, as DeepSeek V3 ships them and transformers' `FineGrainedFP8Config`
//! (`integrations/finegrained_fp8.py`) describes them: a number is `float8 · scale`, both in float32, where a scale
//! holds for a block of rows and columns, blocks at the edges being smaller, or for the whole matrix.
//!
//! Only the weights are read so: activations stay in float32, where the published kernels round them to eight bits too.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::element::Form;
use crate::parts::{Names, Part};
use crate::spec::DecoderSpec;
use crate::weights::{Stored, WeightError};

/// Where the config does not say: transformers' own default.
const BLOCK_DEFAULT: [usize; 2] = [128, 128];

/// What the names of scales end with, instead of `weight`. Either multiplies.
const SUFFIXES: [&str; 2] = ["_scale_inv", WHOLE_SUFFIX];
const WHOLE_SUFFIX: &str = "_scale";

/// The scales of one matrix, or of some of its rows.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    /// `[rows / block, columns / block]`, or a single number.
    numbers: Arc<Stored>,
    block: [usize; 2],
    /// The row of the whole matrix that its first row is.
    first_row: usize,
}

/// What a config says of matrices in eight-bit floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScaledFloats {
    /// Rows and columns that a scale holds for; all of them without one.
    block: Option<[usize; 2]>,
    /// Whether the config leaves that open, and a single scale would do as well.
    is_assumed: bool,
}

impl ScaledFloats {
    /// Takes the description out of a config, where there is one of this kind.
    ///
    /// # Errors
    /// The field of `quantization_config` that asks for what is not supported.
    pub(crate) fn take(config: &mut Json) -> Result<Option<Self>, (String, String)> {
        const FIELD: &str = "quantization_config";
        let Some(own) = config.get(FIELD).filter(|own| own.get("quant_method").and_then(Json::as_str) == Some("fp8"))
        else {
            return Ok(None);
        };
        for (field, only) in [("fmt", "e4m3"), ("expert_dtype", "fp8")] {
            if let Some(other) = own.get(field).filter(|value| !value.is_null() && value.as_str() != Some(only)) {
                return Err((format!("{FIELD}.{field}"), format!("is {other}; supported: {only}")));
            }
        }
        let is_assumed = own.get("weight_block_size").is_none();
        let block = match own.get("weight_block_size") {
            None => Some(BLOCK_DEFAULT),
            Some(Json::Null) => None,
            Some(sizes) => Some(block(sizes).ok_or_else(|| {
                (format!("{FIELD}.weight_block_size"), format!("is {sizes}; two whole numbers above 0 are expected"))
            })?),
        };
        if let Some(fields) = config.as_object_mut() {
            fields.remove(FIELD);
        }
        Ok(Some(Self { block, is_assumed }))
    }

    /// The scales of a matrix, by whichever name they have.
    fn scale(self, name: &str, stored: &Stored, tensors: &HashMap<String, Stored>) -> Result<Scale, WeightError> {
        let wrong = |problem: String| WeightError::Scale { name: name.to_owned(), problem };
        let found = SUFFIXES.iter().find_map(|suffix| Some((suffix, tensors.get(&format!("{name}{suffix}"))?)));
        let (&suffix, scales) =
            found.ok_or_else(|| wrong(format!("is in FP8, and there is no `{name}_scale_inv` beside it")))?;
        if !(scales.element.is_float() || scales.element.form() == Form::F8E8m0) {
            return Err(wrong(format!("has scales stored as {}, which is not supported", scales.element.name())));
        }
        let &[rows, columns] = stored.shape.as_slice() else {
            return Err(wrong(format!("is in FP8 and has the shape {:?}; only matrices have scales", stored.shape)));
        };
        let whole = [rows.max(1), columns.max(1)];
        let numbers = Arc::new(scales.clone());
        let of = |block| Ok(Scale { numbers, block, first_row: 0 });
        // transformers scales embeddings as a whole and by this name, whatever it does to the others.
        let is_whole = scales.count() == 1 && (self.is_assumed || suffix == WHOLE_SUFFIX);
        let block = self.block.filter(|_| !is_whole);
        let Some([high, wide]) = block else {
            return match scales.count() {
                1 => of(whole),
                _ => Err(wrong(format!("has scales of {:?}; one for the whole matrix is expected", scales.shape))),
            };
        };
        let wanted = [rows.div_ceil(high), columns.div_ceil(wide)];
        if scales.shape != wanted && !(scales.count() == 1 && wanted == [1, 1]) {
            let found = &scales.shape;
            return Err(wrong(format!(
                "has scales of {found:?}; {wanted:?} are expected for blocks of {high} × {wide}"
            )));
        }
        of([high, wide])
    }
}

fn block(sizes: &Json) -> Option<[usize; 2]> {
    let [high, wide] = sizes.as_array()?.as_slice() else { return None };
    let size = |value: &Json| value.as_u64().filter(|&size| size > 0).and_then(|size| usize::try_from(size).ok());
    Some([size(high)?, size(wide)?])
}

/// Gives the matrices of a decoder that are in eight-bit floats their scales.
///
/// # Errors
/// Where `floats` says that there are scales and a matrix has none that fit it, and where there are scales of which the
/// config says nothing.
pub(crate) fn attach(
    tensors: &mut HashMap<String, Stored>,
    floats: Option<ScaledFloats>,
    (spec, names): (&DecoderSpec, &Names),
) -> Result<(), WeightError> {
    for part in Part::all(spec, names) {
        let name = names.of(part);
        let Some(stored) = tensors.get(&name).filter(|stored| stored.element.form() == Form::F8E4m3) else { continue };
        let Some(floats) = floats else {
            if let Some(suffix) = SUFFIXES.iter().find(|suffix| tensors.contains_key(&format!("{name}{suffix}"))) {
                let problem = format!("has scales in `{name}{suffix}`, of which config.json says nothing");
                return Err(WeightError::Scale { name, problem });
            }
            continue;
        };
        let scale = floats.scale(&name, stored, tensors)?;
        if let Some(stored) = tensors.get_mut(&name) {
            stored.scale = Some(scale);
        }
    }
    Ok(())
}

impl Scale {
    /// Of the rows from this one on.
    pub(crate) fn starting_at(&self, row: usize) -> Self {
        Self { first_row: self.first_row + row, ..self.clone() }
    }

    /// Multiplies rows of `columns` numbers.
    pub(crate) fn multiply(&self, numbers: &mut [f32], columns: usize) -> candle_core::Result<()> {
        let scales = self.numbers.numbers()?;
        let [high, wide] = self.block;
        let in_row = columns.div_ceil(wide).max(1);
        for (row, numbers) in numbers.chunks_mut(columns.max(1)).enumerate() {
            let first = (self.first_row + row) / high * in_row;
            let Some(scales) = scales.get(first..first + in_row) else { candle_core::bail!("it lacks scales") };
            for (numbers, scale) in numbers.chunks_mut(wide).zip(scales) {
                numbers.iter_mut().for_each(|number| *number *= scale);
            }
        }
        Ok(())
    }
}
