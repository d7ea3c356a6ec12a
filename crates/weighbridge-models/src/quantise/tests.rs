//! Blocks against those that llama.cpp makes of the same numbers.

use std::error::Error;
use std::fs;
use std::path::Path;

use super::pack;
use crate::element::ElementType;

fn check(file: &str, element: ElementType) -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/quantised");
    let numbers = fs::read(folder.join("numbers.bin"))?;
    let numbers: Vec<f32> = numbers.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let expected = fs::read(folder.join(file))?;
    let found = pack(&numbers, element).ok_or("it is not written")?;
    assert_eq!(found.len(), expected.len(), "{file}");
    let first = found.iter().zip(&expected).position(|(one, other)| one != other);
    assert_eq!(first, None, "{file}: the first byte that differs");
    assert_eq!(pack(&numbers[1..], element), None, "{file}: part of a block");
    Ok(())
}

#[test]
fn blocks_are_those_of_the_reference() -> Result<(), Box<dyn Error>> {
    check("q8_0.bin", ElementType::Q8_0)?;
    check("q5_0.bin", ElementType::Q5_0)?;
    check("q4_0.bin", ElementType::Q4_0)?;
    check("q4_K.bin", ElementType::Q4_K)?;
    check("q6_K.bin", ElementType::Q6_K)
}
