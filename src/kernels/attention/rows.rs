//! Symmetric quantisation of queries and keys, 16 tokens at a time.

use crate::kernels::elementary::MAGIC;
use crate::kernels::simd::{LANES, Simd, load_part};

/// 16 quantised rows: `real value = byte * scale`.
pub(super) struct Quantized {
    /// One per row; 0 for a row that is zero or too small for its inverse scale to be finite. Not finite if a value is not.
    pub scales: [f32; LANES],
    /// Sum of the bytes of each row.
    pub sums: [i32; LANES],
}

/// Quantises up to 16 rows of `width` values: `scale = max |x| / 127`, `byte = round_half_even(x / scale)`. Row `r` is written to
/// `to` from `r * stride` on. What `row` does not have is zero; rows must be of `width` values or empty.
#[inline(always)]
pub(super) fn quantize<'a, S: Simd>(
    s: S,
    width: usize,
    row: impl Fn(usize) -> &'a [f32],
    to: &mut [i8],
    stride: usize,
) -> Quantized {
    let zero = s.splat(0.0);
    let mut largest = [zero; LANES];
    for (r, largest) in largest.iter_mut().enumerate() {
        let (chunks, tail) = row(r).as_chunks::<LANES>();
        let last = load_part(s, tail);
        *largest = s.max(last, s.sub(zero, last));
        for chunk in chunks {
            let x = s.load(chunk);
            *largest = s.max(s.max(x, s.sub(zero, x)), *largest);
        }
    }
    s.transpose(&mut largest);
    let largest = fold(largest, |a, b| s.max(a, b));
    let mut scales = [0.0; LANES];
    s.store(s.mul(largest, s.splat(1.0 / 127.0)), &mut scales);
    let mut inverses = scales.map(f32::recip);
    for (scale, inverse) in scales.iter_mut().zip(&mut inverses) {
        if !(scale.is_finite() && inverse.is_finite()) {
            *scale = if scale.is_finite() { 0.0 } else { *scale };
            *inverse = 0.0;
        }
    }
    let (lowest, highest, magic) = (s.splat(-127.0), s.splat(127.0), s.splat(MAGIC));
    let mut sums = [zero; LANES];
    for (r, sum) in sums.iter_mut().enumerate() {
        let inverse = s.splat(inverses[r]);
        // NaN passes the bounds, as the second operand, and stays in the sum.
        let round = |x| s.sub(s.add(s.mul(x, inverse), magic), magic);
        let byte = |x| s.min(highest, s.max(lowest, round(x)));
        let (to, to_tail) = to[r * stride..][..width].as_chunks_mut::<LANES>();
        let (chunks, tail) = row(r).as_chunks::<LANES>();
        for (i, to) in to.iter_mut().enumerate() {
            let byte = chunks.get(i).map_or(zero, |chunk| byte(s.load(chunk)));
            s.store_i8(byte, to);
            *sum = s.add(*sum, byte);
        }
        if !to_tail.is_empty() {
            let byte = byte(load_part(s, tail));
            let mut bytes = [0; LANES];
            s.store_i8(byte, &mut bytes);
            to_tail.copy_from_slice(&bytes[..to_tail.len()]);
            *sum = s.add(*sum, byte);
        }
    }
    s.transpose(&mut sums);
    let mut lanes = [0.0; LANES];
    // Sums of small integers, exact in any order.
    s.store(fold(sums, |a, b| s.add(a, b)), &mut lanes);
    for (scale, sum) in scales.iter_mut().zip(lanes) {
        if sum.is_nan() {
            *scale = f32::NAN;
        }
    }
    Quantized { scales, sums: lanes.map(|sum| sum as i32) }
}

#[inline(always)]
fn fold<V: Copy>(mut values: [V; LANES], f: impl Fn(V, V) -> V) -> V {
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            values[i] = f(values[i], values[i + width]);
        }
    }
    values[0]
}
