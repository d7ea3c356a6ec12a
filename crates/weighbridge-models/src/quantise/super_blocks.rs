//! Numbers to blocks of 256, whose groups have small scales of their own. The search for scales is that of
//! `quantize_row_q4_K_ref` and `quantize_row_q6_K_ref` in llama.cpp's `ggml/src/ggml-quants.c`, sum for sum, so that
//! the blocks are the same.

use half::f16;

/// Below this a group counts as zeros.
const TINY: f32 = 1e-15;

/// Scale and scale of the minima; for eight groups of 32 six bits each of scale and minimum; four bits a number.
pub(super) fn q4_k(numbers: &[f32; 256], block: &mut [u8; 144]) {
    let groups = numbers.as_chunks::<32>().0;
    let mut steps = [[0_u8; 32]; 8];
    let mut scales = [0.0; 8];
    let mut minima = [0.0; 8];
    for (index, group) in groups.iter().enumerate() {
        (scales[index], minima[index]) = affine(group, &mut steps[index]);
    }
    let largest = |values: &[f32; 8]| values.iter().fold(0_f32, |largest, &value| largest.max(value));
    let (scale_max, minimum_max) = (largest(&scales), largest(&minima));
    let share = |max: f32, value: f32| if max > 0.0 { nearest(63.0 / max * value).clamp(0, 63) as u8 } else { 0 };
    let (scale, minimum) = (f16::from_f32(scale_max / 63.0), f16::from_f32(minimum_max / 63.0));

    block.fill(0);
    block[..2].copy_from_slice(&scale.to_le_bytes());
    block[2..4].copy_from_slice(&minimum.to_le_bytes());
    for (index, group) in groups.iter().enumerate() {
        let small = (share(scale_max, scales[index]), share(minimum_max, minima[index]));
        put_six_bits(&mut block[4..16], index, small);
        let step = scale.to_f32() * f32::from(small.0);
        let lift = minimum.to_f32() * f32::from(small.1);
        if step != 0.0 {
            for (place, number) in steps[index].iter_mut().zip(group) {
                *place = nearest((number + lift) / step).clamp(0, 15) as u8;
            }
        }
    }
    for (pair, bytes) in steps.as_chunks::<2>().0.iter().zip(block[16..].as_chunks_mut::<32>().0) {
        for (byte, (low, high)) in bytes.iter_mut().zip(pair[0].iter().zip(&pair[1])) {
            *byte = low | high << 4;
        }
    }
}

/// The scale and minimum of a group, packed: the first four groups have a byte each, the others share what is left.
fn put_six_bits(packed: &mut [u8], group: usize, (scale, minimum): (u8, u8)) {
    if group < 4 {
        packed[group] = scale;
        packed[group + 4] = minimum;
    } else {
        packed[group + 4] = scale & 15 | (minimum & 15) << 4;
        packed[group - 4] |= scale >> 4 << 6;
        packed[group] |= minimum >> 4 << 6;
    }
}

/// Finds scale and minimum (positive, to be taken off) of a group, and its steps from 0 to 15: of 21 widths the one
/// whose least-squares fit is off least, where larger numbers weigh more.
fn affine(numbers: &[f32; 32], steps: &mut [u8; 32]) -> (f32, f32) {
    let squares = numbers.iter().fold(0.0, |sum, number| sum + number * number);
    let mean: f32 = f32::sqrt(squares / 32.0);
    let weights = numbers.map(|number| mean + number.abs());
    let (mut low, mut high) = (numbers[0], numbers[0]);
    let (mut sum_w, mut sum_x) = (0.0, 0.0);
    for (&number, &weight) in numbers.iter().zip(&weights) {
        low = low.min(number);
        high = high.max(number);
        sum_w += weight;
        sum_x += weight * number;
    }
    low = low.min(0.0);
    if high == low {
        return (0.0, -low);
    }
    let round = |width: f32, low: f32| numbers.map(|number| nearest(width * (number - low)).clamp(0, 15) as u8);
    let error = |steps: &[u8; 32], scale: f32, minimum: f32| {
        let each = steps.iter().zip(numbers).zip(&weights);
        each.fold(0.0, |sum, ((&step, number), weight)| {
            let off = scale * f32::from(step) + minimum - number;
            sum + weight * (off * off)
        })
    };
    let width = 15.0 / (high - low);
    let (mut scale, mut minimum) = (1.0 / width, low);
    *steps = round(width, low);
    let mut best = error(steps, scale, minimum);
    for attempt in 0..=20_u8 {
        // From the best minimum so far, as the reference does.
        let tried = round((-1.0 + 0.1 * f32::from(attempt) + 15.0) / (high - minimum), minimum);
        let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0_f32, 0.0_f32, 0.0_f32);
        for ((&step, number), weight) in tried.iter().zip(numbers).zip(&weights) {
            let step = f32::from(step);
            sum_l += weight * step;
            sum_l2 += weight * step * step;
            sum_xl += weight * step * number;
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        if determinant <= 0.0 {
            continue;
        }
        let mut fitted = (sum_w * sum_xl - sum_x * sum_l) / determinant;
        let mut fitted_minimum = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
        if fitted_minimum > 0.0 {
            fitted_minimum = 0.0;
            fitted = sum_xl / sum_l2;
        }
        let off = error(&tried, fitted, fitted_minimum);
        if off < best {
            (best, *steps, scale, minimum) = (off, tried, fitted, fitted_minimum);
        }
    }
    (scale, -minimum)
}

/// Low four bits of the numbers, their high two, sixteen signed small scales, scale.
pub(super) fn q6_k(numbers: &[f32; 256], block: &mut [u8; 210]) {
    let groups = numbers.as_chunks::<16>().0;
    let mut steps = [[0_u8; 16]; 16];
    let mut scales = [0.0_f32; 16];
    for (index, group) in groups.iter().enumerate() {
        scales[index] = symmetric(group, &mut steps[index]);
    }
    let furthest = scales.iter().fold(0.0_f32, |found, &scale| if scale.abs() > found.abs() { scale } else { found });
    block.fill(0);
    if furthest.abs() < TINY {
        return;
    }
    let inverse = -128.0 / furthest;
    let scale = f16::from_f32(1.0 / inverse);
    block[208..].copy_from_slice(&scale.to_le_bytes());
    for (index, group) in groups.iter().enumerate() {
        let small = nearest(inverse * scales[index]).clamp(-128, 127) as i8;
        block[192 + index] = small as u8;
        let step = scale.to_f32() * f32::from(small);
        if step != 0.0 {
            steps[index] = group.map(|number| (nearest(number / step).clamp(-32, 31) + 32) as u8);
        }
    }
    let steps = steps.as_flattened();
    for half in 0..2 {
        for index in 0..32 {
            let [a, b, c, d] = [0, 32, 64, 96].map(|offset| steps[128 * half + offset + index]);
            block[64 * half + index] = a & 15 | c << 4;
            block[64 * half + index + 32] = b & 15 | d << 4;
            block[128 + 32 * half + index] = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6;
        }
    }
}

/// Finds the scale of a group and its steps from 0 to 63, of which 32 is zero: of 19 widths the one whose least-squares
/// fit is best, where a number weighs as its square.
fn symmetric(numbers: &[f32; 16], steps: &mut [u8; 16]) -> f32 {
    let furthest = numbers.iter().fold(0.0_f32, |found, &it| if it.abs() > found.abs() { it } else { found });
    if furthest.abs() < TINY {
        return 0.0;
    }
    let round = |width: f32| numbers.map(|number| nearest(width * number).clamp(-32, 31));
    let sums = |rounded: &[i32; 16]| {
        rounded.iter().zip(numbers).fold((0.0_f32, 0.0_f32), |(sum_xl, sum_l2), (&step, number)| {
            let (step, weight) = (step as f32, number * number);
            (sum_xl + weight * number * step, sum_l2 + weight * step * step)
        })
    };
    let first = round(-32.0 / furthest);
    let (sum_xl, sum_l2) = sums(&first);
    let mut scale = if sum_l2 == 0.0 { 0.0 } else { sum_xl / sum_l2 };
    let mut best = scale * sum_xl;
    *steps = first.map(|step| (step + 32) as u8);
    for attempt in (-9_i8..=9).filter(|&attempt| attempt != 0) {
        let tried = round(-(32.0 + 0.1 * f32::from(attempt)) / furthest);
        let (sum_xl, sum_l2) = sums(&tried);
        if sum_l2 > 0.0 && sum_xl * sum_xl > best * sum_l2 {
            *steps = tried.map(|step| (step + 32) as u8);
            scale = sum_xl / sum_l2;
            best = scale * sum_xl;
        }
    }
    scale
}

/// The nearest whole number, of two the even one.
fn nearest(number: f32) -> i32 {
    number.round_ties_even() as i32
}
