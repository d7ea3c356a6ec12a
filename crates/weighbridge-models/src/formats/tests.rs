//! Every block format against what the PyPI package `gguf` gives for the same bytes.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::bytes::Bytes;
use crate::element::{ElementType, Form};
use crate::weights::Stored;

/// Blocks in each file of the fixtures.
const BLOCKS: usize = 2;

/// Names with ggml's numbers.
const TYPES: [(&str, u32); 22] = [
    ("Q4_0", 2),
    ("Q4_1", 3),
    ("Q5_0", 6),
    ("Q5_1", 7),
    ("Q8_0", 8),
    ("Q2_K", 10),
    ("Q3_K", 11),
    ("Q4_K", 12),
    ("Q5_K", 13),
    ("Q6_K", 14),
    ("IQ2_XXS", 16),
    ("IQ2_XS", 17),
    ("IQ3_XXS", 18),
    ("IQ1_S", 19),
    ("IQ4_NL", 20),
    ("IQ3_S", 21),
    ("IQ2_S", 22),
    ("IQ4_XS", 23),
    ("IQ1_M", 29),
    ("TQ1_0", 34),
    ("TQ2_0", 35),
    ("MXFP4", 39),
];

fn check(name: &str, number: u32) -> Result<(), Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/blocks").join(format!("{name}.bin"));
    let file = fs::read(path)?;
    let element = ElementType::from_gguf(number).map_err(|number| format!("{name} is not {number}"))?;
    assert_eq!(element.name(), name);
    let numbers = BLOCKS * element.block();
    let blocks = element.bytes_of(&[numbers])?;
    let expected: Vec<u32> = file[blocks..].as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect();
    assert_eq!(expected.len(), numbers, "{name}");

    let stored = Stored {
        bytes: Bytes::Owned(Arc::new(file.clone())),
        range: 0..blocks,
        element,
        shape: vec![numbers],
        scale: None,
    };
    let found: Vec<u32> = stored.numbers()?.into_iter().map(f32::to_bits).collect();
    assert_eq!(found, expected, "{name}");
    if let Form::Expanded(format) = element.form() {
        for length in 0..=blocks {
            let whole = length % (blocks / BLOCKS) == 0;
            assert_eq!(format.expand(&file[..length]).is_some(), whole, "{name}: {length} of {blocks} bytes");
        }
    }
    Ok(())
}

#[test]
fn every_block_expands_to_the_reference_to_the_bit_and_no_part_of_one_does() -> Result<(), Box<dyn Error>> {
    TYPES.into_iter().try_for_each(|(name, number)| check(name, number))
}
