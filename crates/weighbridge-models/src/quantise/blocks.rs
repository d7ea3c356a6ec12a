//! Numbers to blocks of 32 that share one scale. The choices are those of `quantize_row_*_ref` in llama.cpp's
//! `ggml/src/ggml-quants.c`, so that the blocks are the same to the bit.

use half::f16;

/// Scale, then 32 signed bytes.
pub(super) fn q8_0(numbers: &[f32; 32], block: &mut [u8; 34]) {
    let largest = numbers.iter().fold(0_f32, |largest, number| largest.max(number.abs()));
    let scale = largest / 127.0;
    let inverse = inverse(scale);
    block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    for (byte, number) in block[2..].iter_mut().zip(numbers) {
        *byte = (number * inverse).round() as i8 as u8;
    }
}

/// Scale, then four bits a number, the first half of the numbers in the low halves.
pub(super) fn q4_0(numbers: &[f32; 32], block: &mut [u8; 18]) {
    let scale = furthest(numbers) / -8.0;
    let inverse = inverse(scale);
    block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    let step = |number: f32| ((number * inverse + 8.5) as u8).min(15);
    for (index, byte) in block[2..].iter_mut().enumerate() {
        *byte = step(numbers[index]) | step(numbers[index + 16]) << 4;
    }
}

/// Scale, the fifth bits of all, then four bits a number as in Q4_0.
pub(super) fn q5_0(numbers: &[f32; 32], block: &mut [u8; 22]) {
    let scale = furthest(numbers) / -16.0;
    let inverse = inverse(scale);
    block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    let step = |number: f32| ((number * inverse + 16.5) as u8).min(31);
    let mut fifth = 0_u32;
    for index in 0..16 {
        let (low, high) = (step(numbers[index]), step(numbers[index + 16]));
        block[6 + index] = low & 15 | high << 4;
        fifth |= u32::from(low >> 4) << index | u32::from(high >> 4) << (index + 16);
    }
    block[2..6].copy_from_slice(&fifth.to_le_bytes());
}

/// The number furthest from zero, of several the first.
fn furthest(numbers: &[f32; 32]) -> f32 {
    numbers.iter().fold(0.0, |found: f32, &number| if number.abs() > found.abs() { number } else { found })
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}
