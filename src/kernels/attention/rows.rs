//! Symmetric quantisation of queries and keys, 16 tokens at a time.

use super::Input;
use crate::kernels::elementary::MAGIC;
use crate::kernels::simd::{BLOCK, LANES, Simd, load_part};

/// 16 quantised rows: `real value = byte * scale`.
pub(super) struct Quantized {
    /// One per row; 0 for a row that is zero or too small for its inverse scale to be finite, and maybe for one whose scale is subnormal. Not
    /// finite if a value is not.
    pub scales: [f32; LANES],
    /// Sum of the bytes of each row.
    pub sums: [i32; LANES],
}

/// Quantises up to 16 rows of `width` values: `scale = max |x| / 127`, `byte = round_half_even(x / scale)`. Row `r` is written to
/// `to` from `r * stride` on, its bytes xored with `flip`. Rows of no values are zero.
#[inline(always)]
pub(super) fn quantize<S: Simd>(
    s: S,
    width: usize,
    rows: &[&[f32]; LANES],
    flip: i8,
    to: &mut [i8],
    stride: usize,
) -> Quantized {
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
            // What is not finite shows in the sum.
            (*scale, *inverse) = (0.0, 0.0);
        }
    }
    let mut sums = [zero; LANES];
    for (r, sum) in sums.iter_mut().enumerate() {
        let to = &mut to[r * stride..][..width];
        if rows[r].is_empty() {
            to.fill(flip);
            continue;
        }
        let inverse = s.splat(inverses[r]);
        let (blocks, last) = rows[r].as_chunks::<BLOCK>();
        let (to_blocks, to_last) = to.as_chunks_mut::<BLOCK>();
        for (x, to) in blocks.iter().zip(to_blocks) {
            *sum = s.add(*sum, quantize_block(s, x, inverse, flip, to));
        }
        if !last.is_empty() {
            let (mut x, mut bytes) = ([0.0; BLOCK], [0; BLOCK]);
            x[..last.len()].copy_from_slice(last);
            *sum = s.add(*sum, quantize_block(s, &x, inverse, flip, &mut bytes));
            to_last.copy_from_slice(&bytes[..last.len()]);
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

/// Writes `x / scale` in whole steps of `[-127, 127]`, xored with `flip`. Returns what makes the sum of the steps, which is NaN if
/// a value is not finite.
#[inline(always)]
fn quantize_block<S: Simd>(s: S, x: &[f32; BLOCK], inverse: S::F32, flip: i8, to: &mut [i8; BLOCK]) -> S::F32 {
    let magic = s.splat(MAGIC);
    let mut steps = [s.splat(0.0); BLOCK / LANES];
    for (steps, x) in steps.iter_mut().zip(x.as_chunks().0) {
        // At most 127: the scale is a 127th of the largest but for some roundings.
        *steps = s.sub(s.add(s.mul(s.load(x), inverse), magic), magic);
    }
    s.store_i8(steps, flip, to);
    s.add(s.add(steps[0], steps[1]), s.add(steps[2], steps[3]))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::Isa;
    use crate::kernels::simd::Task;

    struct Bytes<'a>([&'a [f32]; LANES]);

    impl Task for Bytes<'_> {
        type Output = (Vec<i8>, [i32; LANES]);

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let width = self.0[0].len();
            let mut bytes = vec![0; LANES * width];
            let quantized = quantize(s, width, &self.0, 0, &mut bytes, width);
            (bytes, quantized.sums)
        }
    }

    #[test]
    fn sums_are_those_of_the_bytes_however_large_the_largest_value_is() {
        let mut state = 1u32;
        // From where the scale has an inverse up to the largest numbers, with mantissas at random.
        for exponent in 6..=254u32 {
            let rows: Vec<Vec<f32>> = (0..LANES)
                .map(|_| {
                    state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
                    let largest = f32::from_bits(exponent << 23 | state >> 9);
                    (0..70).map(|i| largest * [1.0, -1.0, 0.37, -0.011][i % 4]).collect()
                })
                .collect();
            let views: [&[f32]; LANES] = std::array::from_fn(|r| &rows[r][..]);
            // Below 8, scales are subnormal, which NEON of 32-bit Arm takes for zero.
            for isa in Isa::available().into_iter().filter(|isa| exponent >= 8 || isa.name() != "neon32") {
                let (bytes, sums) = isa.run(Bytes(views));
                for (bytes, sum) in bytes.chunks_exact(70).zip(sums) {
                    assert_eq!(bytes.iter().map(|byte| i32::from(*byte)).sum::<i32>(), sum, "{}", isa.name());
                    assert_eq!((bytes[0], bytes[1]), (127, -127), "{} 2^{exponent}", isa.name());
                }
            }
        }
    }
}
