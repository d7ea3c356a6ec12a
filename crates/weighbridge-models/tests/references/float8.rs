//! Matrices in eight-bit floats with scales, as DeepSeek V3 ships them, equal the numbers they stand for.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};
use serde_json::{Value as Json, json};
use weighbridge_models::{Checkpoint, Compute, evaluate};

use crate::support::{Outcome, json, load, repository};

/// Tokens that the models are compared on.
const TOKENS: [u32; 9] = [1, 40, 300, 7, 1800, 512, 99, 3, 1024];

/// A tensor to be written.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// How the matrices of the first layer are stored.
#[derive(Clone, Copy)]
struct Scaling {
    /// Rows and columns of a block.
    block: [usize; 2],
    /// What the name of the scales ends with, and their shape where it is not that of the blocks.
    suffix: &'static str,
    shape: Option<&'static [usize]>,
}

/// The magnitude of `float8_e4m3fn`: `(8 + fraction) · 2^(exponent - 10)`, without the 8 where the exponent is 0.
fn magnitude(code: u8) -> f32 {
    let (exponent, fraction) = (i32::from(code >> 3), f32::from(code & 7));
    if exponent == 0 { fraction * 2_f32.powi(-9) } else { (8.0 + fraction) * 2_f32.powi(exponent - 10) }
}

/// The code of the largest magnitude that is no larger than a number's, with its sign.
fn code(number: f32) -> u8 {
    let above = (1..=0x7e).collect::<Vec<u8>>().partition_point(|&code| magnitude(code) <= number.abs());
    above as u8 | if number < 0.0 { 0x80 } else { 0 }
}

/// Codes, scales, and the numbers that both stand for.
fn quantised(numbers: &[f32], [rows, columns]: [usize; 2], [high, wide]: [usize; 2]) -> (Vec<u8>, Vec<f32>, Vec<f32>) {
    let in_row = columns.div_ceil(wide);
    let mut largest = vec![0_f32; rows.div_ceil(high) * in_row];
    let place = |index: usize| index / columns / high * in_row + index % columns / wide;
    for (index, number) in numbers.iter().enumerate() {
        largest[place(index)] = largest[place(index)].max(number.abs());
    }
    let scales: Vec<f32> = largest.iter().map(|largest| largest / 448.0).collect();
    let codes: Vec<u8> =
        numbers.iter().enumerate().map(|(index, number)| code(number / scales[place(index)])).collect();
    let meant = codes.iter().enumerate().map(|(index, &code)| {
        let sign = if code & 0x80 == 0 { 1.0 } else { -1.0 };
        sign * magnitude(code & 0x7f) * scales[place(index)]
    });
    let meant = meant.collect();
    (codes, scales, meant)
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Writes the demo model twice: with the matrices of its first layer in eight-bit floats, and with the numbers that
/// those stand for.
fn write(packed: &Path, plain: &Path, scaling: Scaling, description: &Json) -> Outcome {
    let file = fs::read(repository("models/demo/model.safetensors"))?;
    let mut tensors = [HashMap::new(), HashMap::new()];
    for (name, tensor) in SafeTensors::deserialize(&file)?.tensors() {
        let stored = |dtype, bytes| Stored { dtype, shape: tensor.shape().to_vec(), bytes };
        if let ([rows, columns], true) = (tensor.shape(), name.contains("layers.0.")) {
            let halves = tensor.data().as_chunks::<2>().0;
            let numbers: Vec<f32> =
                halves.iter().map(|&half| f32::from_bits(u32::from(u16::from_le_bytes(half)) << 16)).collect();
            let (codes, scales, meant) = quantised(&numbers, [*rows, *columns], scaling.block);
            let grid = vec![rows.div_ceil(scaling.block[0]), columns.div_ceil(scaling.block[1])];
            let shape = scaling.shape.map_or(grid, <[usize]>::to_vec);
            let scales = Stored { dtype: Dtype::F32, shape, bytes: bytes(&scales) };
            tensors[0].insert(format!("{name}{}", scaling.suffix), scales);
            tensors[0].insert(name.clone(), stored(Dtype::F8_E4M3, codes));
            tensors[1].insert(name, stored(Dtype::F32, bytes(&meant)));
        } else {
            for tensors in &mut tensors {
                tensors.insert(name.clone(), stored(tensor.dtype(), tensor.data().to_vec()));
            }
        }
    }
    let mut config: Json = json(&repository("models/demo/config.json"))?;
    for (folder, tensors) in [plain, packed].into_iter().zip(tensors.iter().rev()) {
        fs::write(folder.join("config.json"), config.to_string())?;
        let mut views = Vec::new();
        for (name, it) in tensors {
            views.push((name.clone(), TensorView::new(it.dtype, it.shape.clone(), &it.bytes)?));
        }
        serialize_to_file(views, None, &folder.join("model.safetensors"))?;
        config["quantization_config"] = description.clone();
    }
    Ok(())
}

fn check(scaling: Scaling, description: &Json) -> Outcome {
    let (packed, plain) = (tempfile::tempdir()?, tempfile::tempdir()?);
    write(packed.path(), plain.path(), scaling, description)?;
    let opened = Checkpoint::open(packed.path())?;
    assert!(opened.summary().quantisation.contains("F8_E4M3"), "{description}");
    let found = evaluate(&load(&opened, Compute::Float32)?, &TOKENS, None, 0, &[])?;
    let expected = evaluate(&load(&Checkpoint::open(plain.path())?, Compute::Float32)?, &TOKENS, None, 0, &[])?;
    assert_eq!(found, expected, "{description}");
    Ok(())
}

fn check_refused(scaling: Scaling, description: &Json, expected: &str) -> Outcome {
    let (packed, plain) = (tempfile::tempdir()?, tempfile::tempdir()?);
    write(packed.path(), plain.path(), scaling, description)?;
    let message = Checkpoint::open(packed.path()).err().map_or_else(String::new, |error| error.to_string());
    assert!(message.contains(expected), "`{message}` does not say `{expected}`");
    Ok(())
}

const BLOCKS: Scaling = Scaling { block: [128, 128], suffix: "_scale_inv", shape: None };
const RAGGED: Scaling = Scaling { block: [100, 96], ..BLOCKS };
const WHOLE: Scaling = Scaling { block: [1 << 20, 1 << 20], suffix: "_scale", shape: Some(&[]) };

#[test]
fn scaled_by_blocks_they_are_the_numbers_they_stand_for() -> Outcome {
    check(BLOCKS, &json!({"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}))?;
    check(BLOCKS, &json!({"quant_method": "fp8", "activation_scheme": "dynamic"}))?;
    check(RAGGED, &json!({"quant_method": "fp8", "weight_block_size": [100, 96]}))
}

#[test]
fn scaled_as_a_whole_they_are_the_numbers_they_stand_for() -> Outcome {
    check(WHOLE, &json!({"quant_method": "fp8", "weight_block_size": null}))?;
    check(WHOLE, &json!({"quant_method": "fp8", "activation_scheme": "static"}))?;
    check(WHOLE, &json!({"quant_method": "fp8", "weight_block_size": [128, 128]}))
}

#[test]
fn scales_that_are_missing_or_do_not_fit_are_refused_by_name() -> Outcome {
    let blocks = |high| json!({"quant_method": "fp8", "weight_block_size": [high, 128]});
    check_refused(BLOCKS, &Json::Null, "of which config.json says nothing")?;
    check_refused(BLOCKS, &json!({"quant_method": "fbgemm_fp8"}), "`quantization_config` asks for packed weights")?;
    check_refused(BLOCKS, &json!({"quant_method": "fp8", "fmt": "e5m2"}), "`quantization_config.fmt` is \"e5m2\"")?;
    check_refused(BLOCKS, &blocks(0), "`quantization_config.weight_block_size` is [0,128]")?;
    check_refused(BLOCKS, &blocks(64), "has scales of [2, 2]; [4, 2] are expected for blocks of 64 × 128")?;
    check_refused(Scaling { suffix: "_zero", ..BLOCKS }, &blocks(128), "there is no `model.layers.0.")
}
