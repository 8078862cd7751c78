//! Quantisation of rows: activations with a scale and an offset per row (token), weights symmetrically.

use super::cpu::Isa;
use super::layout::{Form, K_ALIGN};
use super::room;
use super::simd::{BLOCK, LANES, Simd, Task, load_part, store_part};
use crate::threads::{Threads, cut, split};

/// Rows of int8 activations with one scale and one offset each: `real value = value * scale + offset`.
#[derive(Clone, Debug, Default)]
pub struct QuantizedRows {
    /// Values in `[-127, 127]`, `rows x padded_k`, as `form` stores them; the padding is zero.
    pub values: Vec<i8>,
    /// What a byte of `values` stands for.
    pub form: Form,
    /// One per row.
    pub scales: Vec<f32>,
    /// One per row, a multiple of the scale: the middle between the smallest and the largest value, up to half a step.
    pub offsets: Vec<f32>,
    /// Row stride of `values`.
    pub padded_k: usize,
    /// Rows times factors, on their way to `values`.
    scaled: Vec<f32>,
}

impl QuantizedRows {
    /// Quantises `x` (`[rows, k]`), replacing what was held before and keeping the allocation, and stores the values in `form`.
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
    /// A row of equal values has scale 0 and is exact. A row that holds an infinity or NaN has a scale that is not finite, so that
    /// its outputs are not finite either. Subnormal numbers may count as zero.
    ///
    /// # Panics
    /// If `k` is 0, `x.len()` is no multiple of it, or `factor` does not have `k` values.
    pub fn quantize(&mut self, x: &[f32], k: usize, factor: Option<&[f32]>, form: Form) {
        self.quantize_on(&Threads::one(), x, k, factor, form);
    }

    /// [`QuantizedRows::quantize`], by several threads if there are rows enough.
    ///
    /// # Panics
    /// As [`QuantizedRows::quantize`].
    pub(crate) fn quantize_on(&mut self, threads: &Threads, x: &[f32], k: usize, factor: Option<&[f32]>, form: Form) {
        self.run(Isa::chosen(), threads, x, k, factor, form);
    }

    fn run(&mut self, isa: Isa, threads: &Threads, x: &[f32], k: usize, factor: Option<&[f32]>, form: Form) {
        assert!(k > 0 && x.len().is_multiple_of(k), "{} values are no rows of {k}", x.len());
        assert!(factor.is_none_or(|f| f.len() == k), "input factor does not have {k} values");
        let rows = x.len() / k;
        self.padded_k = k.next_multiple_of(K_ALIGN);
        self.form = form;
        // What is left of earlier rows is overwritten.
        self.values.resize(rows * self.padded_k, 0);
        self.scales.resize(rows, 0.0);
        self.offsets.resize(rows, 0.0);
        let ranges = split(rows, GROUP, threads.row_parts(rows));
        let width = if factor.is_some() { GROUP * k } else { 0 };
        let scaled = room(&mut self.scaled, ranges.len() * width);
        let lengths = ranges.clone().map(|rows| rows.len());
        let values = cut(&mut self.values, lengths.clone().map(|rows| rows * self.padded_k));
        let scales = cut(&mut self.scales, lengths.clone());
        let offsets = cut(&mut self.offsets, lengths.clone());
        let scaled = cut(scaled, lengths.map(|_| width));
        let padded_k = self.padded_k;
        let mut parts: Vec<_> = ranges.zip(values).zip(scales.zip(offsets)).zip(scaled).collect();
        threads.for_each(&mut parts, |(((rows, values), (scales, offsets)), scaled)| {
            let x = &x[rows.start * k..rows.end * k];
            isa.run(QuantizeRows { x, k, padded_k, factor, form, values, scales, offsets, scaled });
        });
    }
}

/// Rows whose ranges come before their bytes, so that one row's bytes do not wait for its own range.
const GROUP: usize = 4;

/// Some rows, and where they go.
struct QuantizeRows<'a> {
    x: &'a [f32],
    k: usize,
    padded_k: usize,
    factor: Option<&'a [f32]>,
    form: Form,
    values: &'a mut [i8],
    scales: &'a mut [f32],
    offsets: &'a mut [f32],
    /// Room for [`GROUP`] rows, if there is a factor.
    scaled: &'a mut [f32],
}

impl Task for QuantizeRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, k, padded_k, factor, form, values, scales, offsets, scaled } = self;
        let bytes = values.chunks_mut(GROUP * padded_k);
        let units = scales.chunks_mut(GROUP).zip(offsets.chunks_mut(GROUP));
        for ((mut x, bytes), (scales, offsets)) in x.chunks(GROUP * k).zip(bytes).zip(units) {
            if let Some(factor) = factor {
                for (x, scaled) in x.chunks_exact(k).zip(scaled.chunks_exact_mut(k)) {
                    multiply(s, x, factor, scaled);
                }
                x = &scaled[..x.len()];
            }
            for ((x, scale), offset) in x.chunks_exact(k).zip(&mut *scales).zip(&mut *offsets) {
                (*scale, *offset) = unit(s, x);
            }
            let units = scales.iter_mut().zip(offsets);
            for ((x, bytes), (scale, offset)) in x.chunks_exact(k).zip(bytes.chunks_exact_mut(padded_k)).zip(units) {
                let (values, padding) = bytes.split_at_mut(k);
                *scale = quantize_around(s, x, *offset, *scale, form, values);
                padding.fill(form.convert(0));
            }
        }
    }
}

/// The scale and the offset of a row, as [`QuantizedRows::quantize`] defines them.
#[inline(always)]
fn unit<S: Simd>(s: S, x: &[f32]) -> (f32, f32) {
    let (low, high) = range(s, x);
    // Half a step of the 127 is for the rounding of the offset.
    let (middle, scale) = (0.5 * low + 0.5 * high, (0.5 * high - 0.5 * low) / 126.5);
    let steps = (middle / scale).round_ties_even();
    (scale, if (steps * scale).is_finite() { steps * scale } else { middle })
}

/// Quantises one row symmetrically to `[-127, 127]` and returns its scale: `max |x| / 127`, or 0 for a row that is zero or
/// too small for its inverse scale to be finite. If a value is not finite, the scale is not finite and the row is zero.
///
/// # Panics
/// If `out` is shorter than `x`.
pub fn quantize_row(x: &[f32], out: &mut [i8]) -> f32 {
    Isa::chosen().run(QuantizeRow { x, out: &mut out[..x.len()] })
}

struct QuantizeRow<'a> {
    x: &'a [f32],
    out: &'a mut [i8],
}

impl Task for QuantizeRow<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (low, high) = range(s, self.x);
        quantize_around(s, self.x, 0.0, (-low).max(high) / 127.0, Form::Signed, self.out)
    }
}

/// `out_i = x_i f_i`, for slices of equal length.
#[inline(always)]
fn multiply<S: Simd>(s: S, x: &[f32], factor: &[f32], out: &mut [f32]) {
    let ((x_chunks, x_tail), (f_chunks, f_tail)) = (x.as_chunks(), factor.as_chunks());
    let (out_chunks, out_tail) = out.as_chunks_mut();
    for ((out, x), f) in out_chunks.iter_mut().zip(x_chunks).zip(f_chunks) {
        s.store(s.mul(s.load(x), s.load(f)), out);
    }
    store_part(s, s.mul(load_part(s, x_tail), load_part(s, f_tail)), out_tail);
}

/// Quantises `x`, whose values are about 127 steps of `scale` away from `offset` at most, to as many values. Returns the scale; see
/// [`quantize_row`] for scales that cannot be used.
#[inline(always)]
fn quantize_around<S: Simd>(s: S, x: &[f32], offset: f32, scale: f32, form: Form, out: &mut [i8]) -> f32 {
    let inverse = scale.recip();
    if !(scale.is_finite() && inverse.is_finite()) {
        out.fill(form.convert(0));
        return if scale.is_finite() { 0.0 } else { scale };
    }
    let (offset, inverse) = (s.splat(offset), s.splat(inverse));
    let ((x_blocks, x_tail), (out_blocks, out_tail)) = (x.as_chunks(), out.as_chunks_mut());
    for (out, x) in out_blocks.iter_mut().zip(x_blocks) {
        quantize_block(s, x, offset, inverse, form, out);
    }
    if !x_tail.is_empty() {
        let (mut last, mut bytes) = ([0.0; BLOCK], [0; BLOCK]);
        last[..x_tail.len()].copy_from_slice(x_tail);
        quantize_block(s, &last, offset, inverse, form, &mut bytes);
        out_tail.copy_from_slice(&bytes[..out_tail.len()]);
    }
    scale
}

#[inline(always)]
fn quantize_block<S: Simd>(s: S, x: &[f32; BLOCK], offset: S::F32, inverse: S::F32, form: Form, out: &mut [i8; BLOCK]) {
    // What the errors of offset and inverse may add beyond 127 steps, storing bounds.
    let mut steps = [inverse; BLOCK / LANES];
    for (steps, x) in steps.iter_mut().zip(x.as_chunks().0) {
        *steps = s.mul(s.sub(s.load(x), offset), inverse);
    }
    s.store_i8(steps, form.convert(0), out);
}

/// The smallest and the largest value; both NaN if a value is not finite, both 0 if there is none.
#[inline(always)]
fn range<S: Simd>(s: S, x: &[f32]) -> (f32, f32) {
    let Some(&first) = x.first() else { return (0.0, 0.0) };
    let zero = s.splat(0.0);
    // Zero times a value is zero or, for infinities and NaN, NaN, which stays in the sum.
    let [low, high, mut poison] = if S::NAN_STAYS { range_of_all(s, x, first) } else { range_in_chains(s, x, first) };
    poison = s.mul_add(low, zero, s.mul_add(high, zero, poison));
    let poison = s.sum(poison);
    (s.smallest(low) + poison, s.largest(high) + poison)
}

/// The smallest and the largest values of all lanes, which are NaN if a value is, and zero.
#[inline(always)]
fn range_of_all<S: Simd>(s: S, x: &[f32], first: f32) -> [S::F32; 3] {
    let (mut low, mut high) = (s.splat(first), s.splat(first));
    let (vectors, tail) = x.as_chunks();
    s.extend_range(vectors, &mut low, &mut high);
    if !tail.is_empty() {
        let mut last = [first; LANES];
        last[..tail.len()].copy_from_slice(tail);
        s.extend_range(&[last], &mut low, &mut high);
    }
    [low, high, s.splat(0.0)]
}

/// The smallest and the largest values of all lanes, and what is NaN if one is not finite.
#[inline(always)]
fn range_in_chains<S: Simd>(s: S, x: &[f32], first: f32) -> [S::F32; 3] {
    let zero = s.splat(0.0);
    // One operation would wait for the other.
    let mut chains = [[s.splat(first), s.splat(first), zero]; BLOCK / LANES];
    let (blocks, tail) = x.as_chunks();
    let mut last = [first; BLOCK];
    if !tail.is_empty() {
        last[..tail.len()].copy_from_slice(tail);
    }
    for block in blocks.iter().chain((!tail.is_empty()).then_some(&last)) {
        for ([low, high, poison], x) in chains.iter_mut().zip(block.as_chunks().0) {
            let x = s.load(x);
            *low = s.min(x, *low);
            *high = s.max(x, *high);
            *poison = s.mul_add(x, zero, *poison);
        }
    }
    let [mut low, mut high, mut poison] = chains[0];
    for [other_low, other_high, other_poison] in &chains[1..] {
        (low, high, poison) = (s.min(low, *other_low), s.max(high, *other_high), s.add(poison, *other_poison));
    }
    [low, high, poison]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_map_to_127_and_ties_go_to_even() {
        let mut q = QuantizedRows::default();
        q.quantize(&[126.5, -126.5, 0.5, 1.5, -2.5, 0.0], 6, None, Form::Signed);
        assert_eq!(q.values, [126, -126, 0, 2, -2, 0, 0, 0]);
        assert_eq!((&q.scales[..], &q.offsets[..]), (&[1.0][..], &[0.0][..]));
        q.quantize(&[300.0, 47.0, 174.5, 175.5], 4, None, Form::Signed);
        assert_eq!(q.values, [126, -127, 0, 2, 0, 0, 0, 0]);
        assert_eq!((&q.scales[..], &q.offsets[..]), (&[1.0][..], &[174.0][..]));
    }

    #[test]
    fn every_value_is_within_half_a_step_of_what_was_quantised() {
        let mut q = QuantizedRows::default();
        for (shift, stretch) in [(0.0, 1.0), (3.0, 0.01), (-1e4, 50.0), (0.0, 1e-30), (0.0, 1e37)] {
            let x: Vec<f32> = (0..400).map(|i| ((i * 7919 % 601) as f32 - 300.0) / 71.0 * stretch + shift).collect();
            q.quantize(&x, 40, None, Form::Signed);
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
            q.quantize(&[low, 0.0, high], 3, None, Form::Signed);
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

    struct Bytes<'a>(&'a [f32; BLOCK], i8);

    impl Task for Bytes<'_> {
        type Output = [i8; BLOCK];

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let mut bytes = [0; BLOCK];
            let x = self.0.as_chunks().0;
            s.store_i8([s.load(&x[0]), s.load(&x[1]), s.load(&x[2]), s.load(&x[3])], self.1, &mut bytes);
            bytes
        }
    }

    #[test]
    fn rounding_equals_the_standard_library() {
        for isa in Isa::available() {
            let far = [32_767.0, 32_768.0, 40_000.0, 65_536.0, 4e6];
            let near = (-130 * 64..=130 * 64).map(|i| i as f32 / 64.0);
            for x in near.chain(far).chain(far.map(|x| -x)) {
                let x: [f32; BLOCK] = std::array::from_fn(|lane| x + lane as f32 / 4096.0);
                for flip in [0, -128] {
                    let want = x.map(|x| (x.round_ties_even() as i8).max(-127) ^ flip);
                    assert_eq!(isa.run(Bytes(&x, flip)), want, "{} {}", isa.name(), x[0]);
                }
            }
        }
    }

    #[test]
    fn equal_and_tiny_rows_have_scale_0_and_others_are_not_made_finite() {
        let mut q = QuantizedRows::default();
        let tiny = f32::MIN_POSITIVE / 4.0;
        q.quantize(
            &[5.0, 5.0, tiny, 0.0, f32::NAN, 1.0, f32::INFINITY, 1.0, f32::NEG_INFINITY, 0.0],
            2,
            None,
            Form::Signed,
        );
        assert_eq!(q.scales[..2], [0.0, 0.0]);
        assert_eq!(q.offsets[0], 5.0);
        assert!((0.0..=tiny).contains(&q.offsets[1]));
        assert!(q.scales[2..].iter().all(|scale| !scale.is_finite()));
        assert_eq!(q.values, [0; 5 * 8]);
    }

    struct Range<'a>(&'a [f32]);

    impl Task for Range<'_> {
        type Output = (f32, f32);

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> (f32, f32) {
            range(s, self.0)
        }
    }

    #[test]
    fn a_value_that_is_not_finite_makes_both_ends_nan_wherever_it_is() {
        for isa in Isa::available() {
            for len in [1, 16, 64, 70, 200] {
                for at in 0..len {
                    let mut x = vec![1.0; len];
                    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                        x[at] = bad;
                        let (low, high) = isa.run(Range(&x));
                        assert!(low.is_nan() && high.is_nan(), "{} {at} of {len}: {bad} {low} {high}", isa.name());
                    }
                    x[at] = 7.0;
                    let low = if len == 1 { 7.0 } else { 1.0 };
                    assert_eq!(isa.run(Range(&x)), (low, 7.0), "{} {at} of {len}", isa.name());
                }
            }
        }
    }

    #[test]
    fn factor_multiplies_inputs_before_the_scale_is_chosen() {
        let mut plain = QuantizedRows::default();
        let mut factored = QuantizedRows::default();
        plain.quantize(&[4.0, 1.0], 2, None, Form::Signed);
        factored.quantize(&[8.0, 0.5], 2, Some(&[0.5, 2.0]), Form::Signed);
        assert_eq!((plain.values, plain.scales, plain.offsets), (factored.values, factored.scales, factored.offsets));
    }

    /// The definition, one value at a time.
    fn definition(x: &[f32], factor: Option<&[f32]>) -> (Vec<i8>, f32, f32) {
        let y: Vec<f32> = x.iter().enumerate().map(|(i, x)| x * factor.map_or(1.0, |f| f[i])).collect();
        let low = y.iter().copied().fold(f32::INFINITY, f32::min);
        let high = y.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let scale = (0.5 * high - 0.5 * low) / 126.5;
        let offset = ((0.5 * low + 0.5 * high) / scale).round_ties_even() * scale;
        let inverse = 1.0 / scale;
        let value = |y: &f32| ((y - offset) * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
        (y.iter().map(value).collect(), scale, offset)
    }

    #[test]
    fn threads_change_nothing() {
        let threads = Threads::new(std::num::NonZeroUsize::new(3).expect("three"), false).expect("threads");
        let (mut alone, mut shared) = (QuantizedRows::default(), QuantizedRows::default());
        for (rows, k) in [(40, 19), (0, 3), (1, 70), (17, 1), (23, 64), (24, 9)] {
            let x: Vec<f32> = (0..rows * k).map(|i| (i * 7 % 1009) as f32 / 9.0 + (i / k) as f32).collect();
            let factors: Vec<f32> = (0..k).map(|i| 1.0 + (i % 3) as f32).collect();
            for factor in [None, Some(&factors[..])] {
                alone.quantize(&x, k, factor, Form::Offset128);
                shared.quantize_on(&threads, &x, k, factor, Form::Offset128);
                assert_eq!((&alone.values, alone.padded_k), (&shared.values, shared.padded_k), "{rows} x {k}");
                assert_eq!((&alone.scales, &alone.offsets), (&shared.scales, &shared.offsets), "{rows} x {k}");
                assert_eq!(alone.form, shared.form);
            }
        }
    }

    #[test]
    fn every_instruction_set_gives_the_definition() {
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            ((state >> 8) as f32 / (1 << 24) as f32 - 0.5) * [1.0, 1.0, 10.0, 0.01][(state >> 5) as usize % 4]
        };
        for k in (2..=50).chain([63, 64, 65, 384, 1536]) {
            for shift in [0.0, 3.0, -0.7] {
                let x: Vec<f32> = (0..3 * k).map(|_| random() + shift).collect();
                let factors: Vec<f32> = (0..k).map(|_| random() + 1.5).collect();
                for factor in [None, Some(&factors[..])] {
                    let want: Vec<_> = x.chunks_exact(k).map(|row| definition(row, factor)).collect();
                    for isa in Isa::available() {
                        let mut got = QuantizedRows::default();
                        got.run(isa, &Threads::one(), &x, k, factor, Form::Signed);
                        let mut offset = QuantizedRows::default();
                        offset.run(isa, &Threads::one(), &x, k, factor, Form::Offset128);
                        assert!(offset.values.iter().zip(&got.values).all(|(o, v)| Form::Offset128.convert(*o) == *v));
                        assert_eq!((&offset.scales, &offset.offsets), (&got.scales, &got.offsets));
                        for (m, (values, scale, offset)) in want.iter().enumerate() {
                            let row = &got.values[m * got.padded_k..][..k];
                            assert_eq!(row, values, "{} row {m} of {k}", isa.name());
                            assert!(got.values[m * got.padded_k..][k..got.padded_k].iter().all(|v| *v == 0));
                            assert_eq!((got.scales[m], got.offsets[m]), (*scale, *offset), "{}", isa.name());
                        }
                    }
                }
            }
        }
    }
}
