//! Symmetric quantisation of queries and keys, 16 tokens at a time.

use super::Input;
use crate::kernels::elementary::MAGIC;
use crate::kernels::simd::{BLOCK, LANES, Simd, load_part};
use crate::kernels::steps::{Steps, is_usable, store_steps};

/// 16 quantised rows: `real value = byte * scale`.
pub(super) struct Quantized {
    /// One per row; 0 for a row that is zero or too small for its inverse scale to be finite, and maybe for one whose scale is subnormal. Not
    /// finite if a value is not.
    pub scales: [f32; LANES],
    /// Sum of the bytes of each row, if they were wanted.
    pub sums: [i32; LANES],
}

/// Quantises up to 16 rows of `width` values: `scale = max |x| / 127`, `byte = round_half_even(x / scale)`. Row `r` is written to
/// `to` from `r * stride` on, its bytes xored with `flip`. Rows of no values are zero. `sums` says whether sums are wanted.
#[inline(always)]
pub(super) fn quantize<S: Simd>(
    s: S,
    width: usize,
    rows: &[&[f32]; LANES],
    flip: i8,
    to: &mut [i8],
    stride: usize,
    sums: bool,
) -> Quantized {
    let (mut scales, inverses) = units(s, rows);
    // What is not finite and does not show in the largest value shows in the sum.
    let add = sums || !S::NAN_STAYS;
    let mut steps = [s.splat(0.0); LANES];
    for (r, steps) in steps.iter_mut().enumerate() {
        *steps = quantize_row(s, rows[r], inverses[r], flip, &mut to[r * stride..][..width], add);
    }
    let mut totals = [0.0; LANES];
    if add {
        s.transpose(&mut steps);
        let mut all = s.splat(0.0);
        for steps in steps {
            all = s.add(all, steps);
        }
        s.store(all, &mut totals);
        for (scale, total) in scales.iter_mut().zip(totals) {
            if total.is_nan() {
                *scale = f32::NAN;
            }
        }
    }
    Quantized { scales, sums: totals.map(|total| total as i32) }
}

/// Scales of rows, and what their values are multiplied by.
#[inline(always)]
fn units<S: Simd>(s: S, rows: &[&[f32]; LANES]) -> ([f32; LANES], [f32; LANES]) {
    let mut largest = [s.splat(0.0); LANES];
    for (row, largest) in rows.iter().zip(&mut largest) {
        let (chunks, tail) = row.as_chunks::<LANES>();
        let mut low = load_part(s, tail);
        let mut high = low;
        s.extend_range(chunks, &mut low, &mut high);
        *largest = s.max(s.sub(s.splat(0.0), low), high);
    }
    let mut scales = [0.0; LANES];
    s.store(s.mul(s.largest_of_each(largest), s.splat(1.0 / 127.0)), &mut scales);
    let mut inverses = scales.map(f32::recip);
    for (scale, inverse) in scales.iter_mut().zip(&mut inverses) {
        if !is_usable(*scale, *inverse) {
            let known = S::NAN_STAYS && !scale.is_finite();
            (*scale, *inverse) = (if known { f32::NAN } else { 0.0 }, 0.0);
        }
    }
    (scales, inverses)
}

/// Writes `x / scale` in whole steps of `[-127, 127]`, xored with `flip`. If asked to `add` them, returns what makes the sum of the steps,
/// which is NaN if a value is not finite.
#[inline(always)]
fn quantize_row<S: Simd>(s: S, x: &[f32], inverse: f32, flip: i8, to: &mut [i8], add: bool) -> S::F32 {
    if x.is_empty() {
        to.fill(flip);
        return s.splat(0.0);
    }
    let mut times = Times::<S> { inverse: s.splat(inverse), add, sum: s.splat(0.0) };
    store_steps(s, x, &mut times, flip, to);
    times.sum
}

/// `x inverse`, at most 127: the scale is a 127th of the largest but for some roundings. If asked to, adds them up, as whole steps.
struct Times<S: Simd> {
    inverse: S::F32,
    add: bool,
    sum: S::F32,
}

impl<S: Simd> Steps<S> for Times<S> {
    #[inline(always)]
    fn of(&mut self, s: S, x: &[f32; BLOCK]) -> [S::F32; BLOCK / LANES] {
        let mut steps = [self.inverse; BLOCK / LANES];
        for (steps, x) in steps.iter_mut().zip(x.as_chunks().0) {
            *steps = s.mul(s.load(x), *steps);
        }
        if self.add {
            let magic = s.splat(MAGIC);
            for steps in &mut steps {
                *steps = s.sub(s.add(*steps, magic), magic);
            }
            self.sum = s.add(self.sum, s.add(s.add(steps[0], steps[1]), s.add(steps[2], steps[3])));
        }
        steps
    }
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
    use crate::kernels::simd::Task;
    use crate::kernels::tested::isas;

    struct Bytes<'a>([&'a [f32]; LANES], bool);

    impl Task for Bytes<'_> {
        type Output = (Vec<i8>, Quantized);

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let width = self.0[0].len();
            let mut bytes = vec![0; LANES * width];
            let quantized = quantize(s, width, &self.0, 0, &mut bytes, width, self.1);
            (bytes, quantized)
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
            for isa in isas().into_iter().filter(|isa| exponent >= 8 || isa.name() != "neon32") {
                let (bytes, quantized) = isa.run(Bytes(views, true));
                for (bytes, sum) in bytes.chunks_exact(70).zip(quantized.sums) {
                    assert_eq!(bytes.iter().map(|byte| i32::from(*byte)).sum::<i32>(), sum, "{}", isa.name());
                    assert_eq!((bytes[0], bytes[1]), (127, -127), "{} 2^{exponent}", isa.name());
                }
                let without = isa.run(Bytes(views, false));
                assert_eq!((without.0, without.1.scales), (bytes, quantized.scales), "{} 2^{exponent}", isa.name());
            }
        }
    }

    #[test]
    fn the_scale_of_a_row_with_a_value_that_is_not_finite_is_not_and_that_of_others_stays() {
        for isa in isas() {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in [0, 15, 16, 63, 64, 69] {
                    for sums in [false, true] {
                        let rows: [Vec<f32>; LANES] = std::array::from_fn(|r| {
                            (0..70).map(|i| if r == 9 && i == at { bad } else { (r * i) as f32 - 100.0 }).collect()
                        });
                        let (_, quantized) = isa.run(Bytes(std::array::from_fn(|r| &rows[r][..]), sums));
                        for (r, scale) in quantized.scales.into_iter().enumerate() {
                            assert_eq!(scale.is_finite(), r != 9, "{} {bad} at {at} of row {r}", isa.name());
                            assert!(r == 9 || scale > 0.7, "{}", isa.name());
                        }
                    }
                }
            }
        }
    }
}
