//! Dynamic quantisation of activations: symmetric int8, one scale per row (token).

use super::layout::K_ALIGN;

/// Rows of int8 activations with one scale each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuantizedRows {
    /// Values in `[-127, 127]`, `rows x padded_k`; the padding is zero.
    pub values: Vec<i8>,
    /// `real value = value * scale`, one per row.
    pub scales: Vec<f32>,
    /// Row stride of `values`.
    pub padded_k: usize,
}

impl QuantizedRows {
    /// Quantises `x` (`[rows, k]`), replacing what was held before and keeping the allocation.
    ///
    /// Per row: `scale = max |x_k f_k| / 127`, `value = round_half_even(x_k f_k / scale)`, where `f` is the optional
    /// per-input-channel factor whose inverse is folded into the weights. A row of zeros has scale 0; a row that holds an
    /// infinity or NaN has a scale that is not finite, so that its outputs are not finite either.
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
            self.scales.push(quantize_row(row, &mut values[..k]));
        }
    }
}

/// Quantises one row symmetrically to `[-127, 127]` and returns its scale: `max |x| / 127`, or 0 for a row that is zero or
/// too small for its inverse scale to be finite. If a value is not finite, the scale is not finite and the row is zero.
pub fn quantize_row(x: &[f32], out: &mut [i8]) -> f32 {
    let scale = max_abs(x) / 127.0;
    let inverse = scale.recip();
    if !(scale.is_finite() && inverse.is_finite()) {
        out.fill(0);
        return if scale.is_finite() { 0.0 } else { scale };
    }
    for (q, &x) in out.iter_mut().zip(x) {
        // The clamp catches the last-digit error of the division.
        *q = round_small(x * inverse).clamp(-127.0, 127.0) as i8;
    }
    scale
}

/// `x.round_ties_even()` for `|x| <= 2^22`, in two additions, which every target can vectorise: at `1.5 * 2^23` the spacing
/// of `f32` is 1, so the first addition rounds.
fn round_small(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    (x + MAGIC) - MAGIC
}

/// The largest absolute value; NaN if there is one.
fn max_abs(x: &[f32]) -> f32 {
    const LANES: usize = 16;
    // The bits of non-negative floats are ordered as the floats are, with NaN above infinity, so that NaN is kept.
    let bits = |x: f32| x.abs().to_bits() as i32;
    let mut lanes = [0i32; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = bits(x).max(*lane);
        }
    }
    let max = lanes.into_iter().chain(tail.iter().map(|&x| bits(x))).fold(0, i32::max);
    f32::from_bits(max as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_map_to_127_and_ties_go_to_even() {
        let mut q = QuantizedRows::default();
        q.quantize(&[127.0, -127.0, 0.5, 1.5, -2.5, 0.0], 6, None);
        assert_eq!(q.values, [127, -127, 0, 2, -2, 0, 0, 0]);
        assert_eq!(q.scales, [1.0]);
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
    fn zero_and_tiny_rows_have_scale_0_and_others_are_not_made_finite() {
        let mut q = QuantizedRows::default();
        q.quantize(&[0.0, 0.0, f32::MIN_POSITIVE / 4.0, 0.0, f32::NAN, 1.0, f32::INFINITY, 1.0], 2, None);
        assert_eq!(q.scales[..2], [0.0, 0.0]);
        assert!(q.scales[2].is_nan() && q.scales[3] == f32::INFINITY);
        assert_eq!(q.values, [0; 4 * 8]);
        for at in [0, 15, 16, 39] {
            let mut long = [1.0; 40];
            long[at] = f32::NAN;
            assert!(max_abs(&long).is_nan(), "{at}");
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
