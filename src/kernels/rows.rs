//! Quantisation of rows: activations with a scale and an offset per row (token), weights symmetrically.

use super::cpu::Isa;
use super::gemm::Kernel;
use super::layout::{Form, K_ALIGN};
use super::room;
use super::simd::{BLOCK, LANES, Simd, Task, load_part, store_part};
use super::steps::{Steps, is_usable, store_steps};
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
    /// `values` as [`Kernel::arrange_rows`] arranges them.
    arranged: Vec<i8>,
    /// Rows times factors, on their way to `values`.
    scaled: Vec<f32>,
}

/// Rows of int8 activations that are stored anywhere; see [`QuantizedRows`].
#[derive(Clone, Copy, Debug)]
pub(super) struct RowsView<'a> {
    pub values: &'a [i8],
    pub form: Form,
    pub scales: &'a [f32],
    pub offsets: &'a [f32],
    pub padded_k: usize,
    /// See [`Kernel::arrange_rows`].
    pub arranged: &'a [i8],
}

impl QuantizedRows {
    /// These rows.
    pub(super) fn view(&self) -> RowsView<'_> {
        let Self { values, form, scales, offsets, padded_k, arranged, .. } = self;
        RowsView { values, form: *form, scales, offsets, padded_k: *padded_k, arranged }
    }

    /// Quantises `x` (`[rows, k]`) for `kernel`, replacing what was held before and keeping the allocation.
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
    pub fn quantize(&mut self, x: &[f32], k: usize, factor: Option<&[f32]>, kernel: &Kernel) {
        self.quantize_on(&Threads::one(), x, k, factor, kernel);
    }

    /// [`QuantizedRows::quantize`], by several threads if there are rows enough.
    ///
    /// # Panics
    /// As [`QuantizedRows::quantize`].
    pub(crate) fn quantize_on(
        &mut self,
        threads: &Threads,
        x: &[f32],
        k: usize,
        factor: Option<&[f32]>,
        kernel: &Kernel,
    ) {
        self.run(Isa::chosen(), threads, x, k, factor, kernel.form);
        self.arrange_on(threads, kernel);
    }

    /// Arranges the values, as a kernel of their form wants them: for who has put them there, as [`QuantizedRows::quantize`] does it.
    ///
    /// # Panics
    /// If the values are no whole rows.
    pub fn arrange(&mut self, kernel: &Kernel) {
        self.arrange_on(&Threads::one(), kernel);
    }

    fn arrange_on(&mut self, threads: &Threads, kernel: &Kernel) {
        let Self { values, padded_k, arranged, .. } = self;
        let len = kernel.arranged_rows_len(*padded_k);
        if len == 0 || values.is_empty() {
            return arranged.clear();
        }
        assert!(values.len().is_multiple_of(*padded_k), "{} values are no rows of {padded_k}", values.len());
        let rows = values.len() / *padded_k;
        arranged.resize(rows.div_ceil(kernel.row_step) * len, 0);
        let ranges = split(rows, kernel.row_step, threads.row_parts(rows));
        let to = cut(arranged, ranges.clone().map(|rows| rows.len().div_ceil(kernel.row_step) * len));
        let mut parts: Vec<_> = ranges.zip(to).collect();
        threads.for_each(&mut parts, |(rows, to)| {
            kernel.arrange_rows(&values[rows.start * *padded_k..rows.end * *padded_k], *padded_k, to);
        });
    }

    /// [`QuantizedRows::quantize`] in a form, for no kernel.
    #[cfg(test)]
    pub(super) fn quantize_as(&mut self, x: &[f32], k: usize, factor: Option<&[f32]>, form: Form) {
        self.run(Isa::chosen(), &Threads::one(), x, k, factor, form);
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
        let ranges = split(rows, ROWS, threads.row_parts(rows));
        let width = if factor.is_some() { ROWS * k } else { 0 };
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
const ROWS: usize = 4;

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
    /// Room for [`ROWS`] rows, if there is a factor.
    scaled: &'a mut [f32],
}

impl Task for QuantizeRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, k, padded_k, factor, form, values, scales, offsets, scaled } = self;
        let bytes = values.chunks_mut(ROWS * padded_k);
        let units = scales.chunks_mut(ROWS).zip(offsets.chunks_mut(ROWS));
        for ((mut x, bytes), (scales, offsets)) in x.chunks(ROWS * k).zip(bytes).zip(units) {
            let units = scales.iter_mut().zip(&mut *offsets);
            if let Some(factor) = factor {
                for ((x, scaled), (scale, offset)) in x.chunks_exact(k).zip(scaled.chunks_exact_mut(k)).zip(units) {
                    (*scale, *offset) = unit(multiply(s, x, factor, scaled));
                }
                x = &scaled[..x.len()];
            } else {
                for (x, (scale, offset)) in x.chunks_exact(k).zip(units) {
                    (*scale, *offset) = unit(range(s, x));
                }
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

/// The scale and the offset of a row with this range, as [`QuantizedRows::quantize`] defines them.
#[inline(always)]
fn unit((low, high): (f32, f32)) -> (f32, f32) {
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

/// `out_i = x_i f_i`, for slices of equal length, and the [`range`] of these.
#[inline(always)]
fn multiply<S: Simd>(s: S, x: &[f32], factor: &[f32], out: &mut [f32]) -> (f32, f32) {
    let ((x_chunks, x_tail), (f_chunks, f_tail)) = (x.as_chunks(), factor.as_chunks());
    let (out_chunks, out_tail) = out.as_chunks_mut();
    let first = x.iter().zip(factor).next().map_or(0.0, |(x, f)| x * f);
    let (mut low, mut high) = (s.splat(first), s.splat(first));
    for ((out, x), f) in out_chunks.iter_mut().zip(x_chunks).zip(f_chunks) {
        let y = s.mul(s.load(x), s.load(f));
        if S::RANGE_IN_PASSING {
            (low, high) = (s.min(y, low), s.max(y, high));
        }
        s.store(y, out);
    }
    store_part(s, s.mul(load_part(s, x_tail), load_part(s, f_tail)), out_tail);
    if !S::RANGE_IN_PASSING {
        return range(s, out);
    }
    extend_by_part(s, out_tail, first, &mut low, &mut high);
    of_lanes(s, [low, high, s.splat(0.0)])
}

/// Quantises `x`, whose values are about 127 steps of `scale` away from `offset` at most, to as many values. Returns the scale; see
/// [`quantize_row`] for scales that cannot be used.
#[inline(always)]
fn quantize_around<S: Simd>(s: S, x: &[f32], offset: f32, scale: f32, form: Form, out: &mut [i8]) -> f32 {
    let inverse = scale.recip();
    if !is_usable(scale, inverse) {
        out.fill(form.convert(0));
        return if scale.is_finite() { 0.0 } else { scale };
    }
    let mut around = Around::<S> { offset: s.splat(offset), inverse: s.splat(inverse) };
    store_steps(s, x, &mut around, form.convert(0), out);
    scale
}

/// `(x - offset) inverse`. What the errors of offset and inverse may add beyond 127 steps, storing bounds.
struct Around<S: Simd> {
    offset: S::F32,
    inverse: S::F32,
}

impl<S: Simd> Steps<S> for Around<S> {
    #[inline(always)]
    fn of(&mut self, s: S, x: &[f32; BLOCK]) -> [S::F32; BLOCK / LANES] {
        let mut steps = [self.inverse; BLOCK / LANES];
        for (steps, x) in steps.iter_mut().zip(x.as_chunks().0) {
            *steps = s.mul(s.sub(s.load(x), self.offset), self.inverse);
        }
        steps
    }
}

/// The smallest and the largest value; both NaN if a value is not finite, both 0 if there is none.
#[inline(always)]
fn range<S: Simd>(s: S, x: &[f32]) -> (f32, f32) {
    let Some(&first) = x.first() else { return (0.0, 0.0) };
    of_lanes(s, if S::NAN_STAYS { range_of_all(s, x, first) } else { range_in_chains(s, x, first) })
}

/// The smallest and the largest of all lanes; both NaN if one or what is added to `poison` is not finite.
#[inline(always)]
fn of_lanes<S: Simd>(s: S, [low, high, mut poison]: [S::F32; 3]) -> (f32, f32) {
    let zero = s.splat(0.0);
    // Zero times a value is zero or, for infinities and NaN, NaN, which stays in the sum.
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
    extend_by_part(s, tail, first, &mut low, &mut high);
    [low, high, s.splat(0.0)]
}

/// Takes lanes of `low` and `high` to the values of a part of a vector; `first` is one that they had before.
#[inline(always)]
fn extend_by_part<S: Simd>(s: S, part: &[f32], first: f32, low: &mut S::F32, high: &mut S::F32) {
    if !part.is_empty() {
        let mut last = [first; LANES];
        last[..part.len()].copy_from_slice(part);
        s.extend_range(&[last], low, high);
    }
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
mod tests;
