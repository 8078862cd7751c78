//! Symmetric quantisation of queries and keys, 16 tokens at a time.

use super::Input;
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
/// `to` from `r * stride` on. Rows of no values are zero.
#[inline(always)]
pub(super) fn quantize<S: Simd>(s: S, width: usize, rows: &[&[f32]; LANES], to: &mut [i8], stride: usize) -> Quantized {
    let zero = s.splat(0.0);
    let mut largest = [zero; LANES];
    for (row, largest) in rows.iter().zip(&mut largest) {
        let (chunks, tail) = row.as_chunks::<LANES>();
        let last = load_part(s, tail);
        *largest = s.max(last, s.sub(zero, last));
        for chunk in chunks {
            let x = s.load(chunk);
            *largest = s.max(s.max(x, s.sub(zero, x)), *largest);
        }
    }
    s.transpose(&mut largest);
    let mut all = largest[0];
    for largest in largest {
        all = s.max(largest, all);
    }
    let mut scales = [0.0; LANES];
    s.store(s.mul(all, s.splat(1.0 / 127.0)), &mut scales);
    let mut inverses = scales.map(f32::recip);
    for (scale, inverse) in scales.iter_mut().zip(&mut inverses) {
        if !(scale.is_finite() && inverse.is_finite()) {
            *scale = if scale.is_finite() { 0.0 } else { *scale };
            *inverse = 0.0;
        }
    }
    let mut sums = [zero; LANES];
    for (r, sum) in sums.iter_mut().enumerate() {
        let inverse = s.splat(inverses[r]);
        let (to, to_tail) = to[r * stride..][..width].as_chunks_mut::<LANES>();
        let (chunks, tail) = rows[r].as_chunks::<LANES>();
        if rows[r].is_empty() {
            to.as_flattened_mut().fill(0);
            to_tail.fill(0);
            continue;
        }
        for (chunk, to) in chunks.iter().zip(to) {
            let byte = steps(s, s.load(chunk), inverse);
            s.store_i8(byte, to);
            *sum = s.add(*sum, byte);
        }
        if !to_tail.is_empty() {
            let byte = steps(s, load_part(s, tail), inverse);
            let mut bytes = [0; LANES];
            s.store_i8(byte, &mut bytes);
            to_tail.copy_from_slice(&bytes[..to_tail.len()]);
            *sum = s.add(*sum, byte);
        }
    }
    s.transpose(&mut sums);
    let mut lanes = [0.0; LANES];
    let mut all = zero;
    for sum in sums {
        all = s.add(all, sum);
    }
    s.store(all, &mut lanes);
    for (scale, sum) in scales.iter_mut().zip(lanes) {
        if sum.is_nan() {
            *scale = f32::NAN;
        }
    }
    Quantized { scales, sums: lanes.map(|sum| sum as i32) }
}

/// `x / scale` in whole steps of `[-127, 127]`, or NaN.
#[inline(always)]
fn steps<S: Simd>(s: S, x: S::F32, inverse: S::F32) -> S::F32 {
    let magic = s.splat(MAGIC);
    let steps = s.sub(s.add(s.mul(x, inverse), magic), magic);
    // NaN passes the bounds, as the second operand.
    s.min(s.splat(127.0), s.max(s.splat(-127.0), steps))
}

/// The 16 queries (`part` 0) or keys (1) of a head from `first` on; none beyond the length.
#[inline(always)]
pub(super) fn rows_of<'a>(input: &Input<'a>, part: usize, first: usize, head: usize) -> [&'a [f32]; LANES] {
    let mut rows = [&[][..]; LANES];
    for (row, token) in rows.iter_mut().zip(first..input.length) {
        *row = input.part(part, token, head);
    }
    rows
}
