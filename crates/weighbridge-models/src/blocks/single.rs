//! One token at a time: products and attention of a single row, as plain loops.
//!
//! Decoding is thousands of small products, and candle 0.11.1 reads `/proc/cpuinfo` in every one of its own to learn
//! how many threads it may use (`utils::get_num_threads`), unless `RAYON_NUM_THREADS` says it: 68 of the 74 µs that a
//! product of 256 by 256 took in the dev profile on two cores of a Zen 4. The demo model has 37 products a token, so
//! that is more than half of the 4.7 ms it took; with these loops it takes 0.9 ms.
//! With one row there is nothing to block or to pack; every weight is used once, so the loops below wait for memory
//! even without wide instructions. Large matrices are shared out between the threads of rayon's pool.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Sums kept side by side, so that the additions of one do not wait for those of another. With 16 or fewer the compiler
/// unrolls the loop before it can make vectors of it where it optimises for less than the most: 11 GB/s, not 21.
const LANES: usize = 32;

/// Numbers of a matrix from which threads pay for being woken, some 10 µs: a megabyte.
const SHARED_FROM: usize = 1 << 18;

/// Numbers of a matrix that a thread takes at a time: small, so that the faster thread takes more of them.
const SHARE: usize = 1 << 16;

/// `x Wᵀ` of one row: `[1, in]` and `[out, in]` to `[1, out]`, both contiguous.
pub(crate) fn product(x: &Tensor, matrix: &Tensor) -> Result<Tensor> {
    x.apply_op2_no_bwd(matrix, &Product)
}

/// Attention of one query position over all of `keys` and `values`, `[kv_heads, positions, head_dim]` with heads any
/// distance apart; the query is `[kv_heads, group, head_dim]`, contiguous and scaled: to `[kv_heads, group, head_dim]`.
pub(crate) fn attend(query: &Tensor, keys: &Tensor, values: &Tensor) -> Result<Tensor> {
    query.apply_op3_no_bwd(keys, values, &Attend)
}

struct Product;

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product-of-one-row"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        matrix: &CpuStorage,
        matrix_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, matrix) = (contiguous(x, x_layout)?, contiguous(matrix, matrix_layout)?);
        let (outputs, inputs) = matrix_layout.shape().dims2()?;
        if x.len() != inputs || inputs == 0 {
            candle_core::bail!("a row of {} numbers cannot be multiplied by a matrix of {inputs} columns", x.len());
        }
        let mut y = vec![0.0; outputs];
        if matrix.len() < SHARED_FROM {
            multiply(x, matrix, &mut y);
        } else {
            let rows = (SHARE / inputs).max(1);
            y.par_chunks_mut(rows).zip(matrix.par_chunks(rows * inputs)).for_each(|(y, rows)| multiply(x, rows, y));
        }
        Ok((CpuStorage::F32(y), Shape::from((1, outputs))))
    }
}

struct Attend;

impl CustomOp3 for Attend {
    fn name(&self) -> &'static str {
        "attention-of-one-row"
    }

    fn cpu_fwd(
        &self,
        query: &CpuStorage,
        query_layout: &Layout,
        keys: &CpuStorage,
        keys_layout: &Layout,
        values: &CpuStorage,
        values_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let query = contiguous(query, query_layout)?;
        let shape = query_layout.shape().clone();
        let (kv_heads, group, head_dim) = shape.dims3()?;
        let mut mixed = vec![0.0; query.len()];
        let heads = query.chunks_exact(group * head_dim).zip(mixed.chunks_exact_mut(group * head_dim));
        for (head, (query, mixed)) in heads.enumerate().take(kv_heads) {
            let keys = one_head(keys, keys_layout, head)?;
            let values = one_head(values, values_layout, head)?;
            for (query, mixed) in query.chunks_exact(head_dim).zip(mixed.chunks_exact_mut(head_dim)) {
                let scores: Vec<f32> = keys.chunks_exact(head_dim).map(|key| dot(query, key)).collect();
                mix(&softmax(scores), values, mixed);
            }
        }
        Ok((CpuStorage::F32(mixed), shape))
    }
}

fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else { candle_core::bail!("the tensor is not contiguous") };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// The positions of one head, side by side.
fn one_head<'a>(storage: &'a CpuStorage, layout: &Layout, head: usize) -> Result<&'a [f32]> {
    let (_, positions, head_dim) = layout.shape().dims3()?;
    let [head_stride, position_stride, 1] = *layout.stride() else { candle_core::bail!("the cache is not in rows") };
    if position_stride != head_dim {
        candle_core::bail!("the cache is not in rows");
    }
    let start = layout.start_offset() + head * head_stride;
    Ok(&storage.as_slice::<f32>()?[start..start + positions * head_dim])
}

fn multiply(x: &[f32], rows: &[f32], y: &mut [f32]) {
    for (y, row) in y.iter_mut().zip(rows.chunks_exact(x.len())) {
        *y = dot(x, row);
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_blocks, a_tail) = a.as_chunks::<LANES>();
    let (b_blocks, b_tail) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + tail
}

fn softmax(mut scores: Vec<f32>) -> Vec<f32> {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in &mut scores {
        *score = (*score - largest).exp();
        sum += *score;
    }
    for score in &mut scores {
        *score /= sum;
    }
    scores
}

/// Adds up the rows of `values`, each by its weight.
fn mix(weights: &[f32], values: &[f32], mixed: &mut [f32]) {
    for (weight, value) in weights.iter().zip(values.chunks_exact(mixed.len())) {
        for (mixed, value) in mixed.iter_mut().zip(value) {
            *mixed += weight * value;
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, IndexOp};
    use candle_nn::ops::softmax_last_dim;

    use super::*;

    /// Numbers between −1 and 1 that repeat late.
    fn numbers(shape: impl Into<Shape>, seed: u32) -> Result<Tensor> {
        let shape = shape.into();
        let number =
            |index: u32| (index.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0;
        Tensor::from_vec((0..shape.elem_count() as u32).map(number).collect::<Vec<_>>(), shape, &Device::Cpu)
    }

    fn check_close(found: &Tensor, expected: &Tensor, tolerance: f32) -> Result<()> {
        let worst = (found - expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(worst <= tolerance, "off by {worst}");
        Ok(())
    }

    #[test]
    fn a_product_of_one_row_is_that_of_matmul() -> Result<()> {
        for (outputs, inputs) in [(1, 1), (3, 15), (5, 16), (7, 33), (300, 256), (1030, 257)] {
            let (x, matrix) = (numbers((1, inputs), 1)?, numbers((outputs, inputs), 99)?);
            check_close(&product(&x, &matrix)?, &x.matmul(&matrix.t()?)?, 1e-4)?;
        }
        Ok(())
    }

    #[test]
    fn a_row_of_another_width_is_refused() -> Result<()> {
        assert!(product(&numbers((1, 4), 1)?, &numbers((3, 5), 2)?).is_err());
        Ok(())
    }

    #[test]
    fn attention_of_one_row_is_softmax_of_products() -> Result<()> {
        let query = numbers((2, 3, 20), 1)?;
        let (keys, values) = (numbers((2, 50, 20), 7)?, numbers((2, 50, 20), 8)?);
        for positions in [0..1, 0..17, 5..50] {
            let (keys, values) = (keys.i((.., positions.clone(), ..))?, values.i((.., positions, ..))?);
            let expected = softmax_last_dim(&query.matmul(&keys.t()?)?)?.matmul(&values)?;
            check_close(&attend(&query, &keys, &values)?, &expected, 1e-5)?;
        }
        Ok(())
    }
}
