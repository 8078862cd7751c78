//! Quantisation of rows: activations with a scale and an offset per row (token), weights symmetrically.

use super::layout::K_ALIGN;

/// Rows of int8 activations with one scale and one offset each: `real value = value * scale + offset`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuantizedRows {
    /// Values in `[-127, 127]`, `rows x padded_k`; the padding is zero.
    pub values: Vec<i8>,
    /// One per row.
    pub scales: Vec<f32>,
    /// One per row, a multiple of the scale: the middle between the smallest and the largest value, up to half a step.
    pub offsets: Vec<f32>,
    /// Row stride of `values`.
    pub padded_k: usize,
}

impl QuantizedRows {
    /// Quantises `x` (`[rows, k]`), replacing what was held before and keeping the allocation.
    ///
    /// Per row of `y_k = x_k f_k`, where `f` is the optional per-input-channel factor whose inverse is folded into the weights:
    ///
    /// ```text
    /// scale  = (max y - min y) / 2 / 126.5
    /// offset = scale * round_half_even((min y + max y) / 2 / scale)
    /// value  = round_half_even((y - offset) / scale)
    /// ```
    ///
    /// As a multiple of the scale, the offset leaves zero without error where zero is in the range. Otherwise all small values of
    /// a row with a few large ones would have the same error, which adds up over the inner dimension.
    ///
    /// A row of equal values has scale 0 and is exact. A row that holds an infinity or NaN has a scale that is not finite, so
    /// that its outputs are not finite either.
    ///
    /// # Panics
    /// If `k` is 0, `x.len()` is no multiple of it, or `factor` does not have `k` values.
    pub fn quantize(&mut self, x: &[f32], k: usize, factor: Option<&[f32]>) {
        assert!(k > 0 && x.len().is_multiple_of(k), "{} values are no rows of {k}", x.len());
        assert!(factor.is_none_or(|f| f.len() == k), "input factor does not have {k} values");
        let rows = x.len() / k;
        self.padded_k = k.next_multiple_of(K_ALIGN);
        self.values.clear();
        self.values.resize(rows * self.padded_k, 0);
        self.scales.clear();
        self.offsets.clear();
        let mut scaled = vec![0.0; if factor.is_some() { k } else { 0 }];
        for (row, values) in x.chunks_exact(k).zip(self.values.chunks_exact_mut(self.padded_k)) {
            let row = match factor {
                None => row,
                Some(factor) => {
                    for ((s, x), f) in scaled.iter_mut().zip(row).zip(factor) {
                        *s = x * f;
                    }
                    &scaled
                }
            };
            let (low, high) = range(row);
            // Half a step of the 127 is for the rounding of the offset.
            let (middle, scale) = (0.5 * low + 0.5 * high, (0.5 * high - 0.5 * low) / 126.5);
            let steps = (middle / scale).round_ties_even();
            let offset = if (steps * scale).is_finite() { steps * scale } else { middle };
            self.scales.push(quantize_around(row, offset, scale, &mut values[..k]));
            self.offsets.push(offset);
        }
    }
}

/// Quantises one row symmetrically to `[-127, 127]` and returns its scale: `max |x| / 127`, or 0 for a row that is zero or
/// too small for its inverse scale to be finite. If a value is not finite, the scale is not finite and the row is zero.
pub fn quantize_row(x: &[f32], out: &mut [i8]) -> f32 {
    let (low, high) = range(x);
    quantize_around(x, 0.0, (-low).max(high) / 127.0, out)
}

/// Quantises `x`, whose values are at most 127 steps of `scale` away from `offset`. Returns the scale; see [`quantize_row`] for
/// scales that cannot be used.
fn quantize_around(x: &[f32], offset: f32, scale: f32, out: &mut [i8]) -> f32 {
    let inverse = scale.recip();
    if !(scale.is_finite() && inverse.is_finite()) {
        out.fill(0);
        return if scale.is_finite() { 0.0 } else { scale };
    }
    for (q, &x) in out.iter_mut().zip(x) {
        // The clamp catches the last-digit errors of offset and inverse.
        *q = round_small((x - offset) * inverse).clamp(-127.0, 127.0) as i8;
    }
    scale
}

/// `x.round_ties_even()` for `|x| <= 2^22`, in two additions, which every target can vectorise: at `1.5 * 2^23` the spacing
/// of `f32` is 1, so the first addition rounds.
fn round_small(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    (x + MAGIC) - MAGIC
}

/// The smallest and the largest value; both NaN if a value is not finite, both 0 if there is none.
fn range(x: &[f32]) -> (f32, f32) {
    const LANES: usize = 16;
    let Some(&first) = x.first() else { return (0.0, 0.0) };
    // Zero times a value is zero or, for infinities and NaN, NaN, which stays in the sum.
    let (mut low, mut high, mut poison) = ([first; LANES], [first; LANES], [0.0; LANES]);
    let (chunks, tail) = x.as_chunks::<LANES>();
    let mut last = [first; LANES];
    last[..tail.len()].copy_from_slice(tail);
    for chunk in chunks.iter().chain([&last]) {
        for (i, &x) in chunk.iter().enumerate() {
            low[i] = if x < low[i] { x } else { low[i] };
            high[i] = if x > high[i] { x } else { high[i] };
            poison[i] += x * 0.0;
        }
    }
    let poison: f32 = poison.iter().sum();
    (low.into_iter().fold(first, f32::min) + poison, high.into_iter().fold(first, f32::max) + poison)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_map_to_127_and_ties_go_to_even() {
        let mut q = QuantizedRows::default();
        q.quantize(&[126.5, -126.5, 0.5, 1.5, -2.5, 0.0], 6, None);
        assert_eq!(q.values, [126, -126, 0, 2, -2, 0, 0, 0]);
        assert_eq!((&q.scales[..], &q.offsets[..]), (&[1.0][..], &[0.0][..]));
        q.quantize(&[300.0, 47.0, 174.5, 175.5], 4, None);
        assert_eq!(q.values, [126, -127, 0, 2, 0, 0, 0, 0]);
        assert_eq!((&q.scales[..], &q.offsets[..]), (&[1.0][..], &[174.0][..]));
    }

    #[test]
    fn every_value_is_within_half_a_step_of_what_was_quantised() {
        let mut q = QuantizedRows::default();
        for (shift, stretch) in [(0.0, 1.0), (3.0, 0.01), (-1e4, 50.0), (0.0, 1e-30), (0.0, 1e37)] {
            let x: Vec<f32> = (0..400).map(|i| ((i * 7919 % 601) as f32 - 300.0) / 71.0 * stretch + shift).collect();
            q.quantize(&x, 40, None);
            for (i, (&value, &x)) in q.values.iter().zip(&x).enumerate() {
                let (scale, offset) = (f64::from(q.scales[i / 40]), f64::from(q.offsets[i / 40]));
                let error = (f64::from(value) * scale + offset - f64::from(x)).abs();
                assert!(error <= scale * 0.501 + offset.abs() * 1e-7, "{x}: {error} of {scale}");
            }
        }
    }

    #[test]
    fn zero_is_exact_in_every_row_that_spans_it() {
        let mut q = QuantizedRows::default();
        for i in 1..500 {
            let (low, high) = (-(i as f32).sqrt(), (i as f32).ln() + 0.1);
            q.quantize(&[low, 0.0, high], 3, None);
            assert_eq!(f32::from(q.values[1]) * q.scales[0] + q.offsets[0], 0.0, "{low} {high}");
        }
    }

    #[test]
    fn symmetric_rows_have_no_offset() {
        let mut out = [0; 4];
        assert_eq!(quantize_row(&[254.0, 1.0, -3.0, 100.0], &mut out), 2.0);
        assert_eq!(out, [127, 0, -2, 50]);
        assert_eq!(quantize_row(&[-254.0, 1.0, -3.0, 100.0], &mut out), 2.0);
        assert_eq!(out, [-127, 0, -2, 50]);
    }

    #[test]
    fn rounding_equals_the_standard_library() {
        for i in -128 * 4096..=128 * 4096 {
            let x = i as f32 / 4096.0;
            assert_eq!(round_small(x), x.round_ties_even(), "{x}");
        }
        assert!(round_small(f32::NAN).is_nan());
    }

    #[test]
    fn equal_and_tiny_rows_have_scale_0_and_others_are_not_made_finite() {
        let mut q = QuantizedRows::default();
        let tiny = f32::MIN_POSITIVE / 4.0;
        q.quantize(&[5.0, 5.0, tiny, 0.0, f32::NAN, 1.0, f32::INFINITY, 1.0, f32::NEG_INFINITY, 0.0], 2, None);
        assert_eq!(q.scales[..2], [0.0, 0.0]);
        assert_eq!(q.offsets[0], 5.0);
        assert!((0.0..=tiny).contains(&q.offsets[1]));
        assert!(q.scales[2..].iter().all(|scale| !scale.is_finite()));
        assert_eq!(q.values, [0; 5 * 8]);
        for at in [0, 15, 16, 39] {
            let mut long = [1.0; 40];
            long[at] = f32::NAN;
            assert!(range(&long).0.is_nan(), "{at}");
            long[at] = f32::NEG_INFINITY;
            assert!(range(&long).1.is_nan(), "{at}");
            long[at] = 7.0;
            assert_eq!(range(&long), (1.0, 7.0), "{at}");
        }
    }

    #[test]
    fn factor_multiplies_inputs_before_the_scale_is_chosen() {
        let mut plain = QuantizedRows::default();
        let mut factored = QuantizedRows::default();
        plain.quantize(&[4.0, 1.0], 2, None);
        factored.quantize(&[8.0, 0.5], 2, Some(&[0.5, 2.0]));
        assert_eq!(plain, factored);
    }
}
