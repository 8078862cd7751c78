//! Values of one head in int8, as the weights of a linear layer whose inputs are attention weights.
//!
//! Attention weights lie between 0 and 1, and most of them near 0. Two things keep the small ones in int8. What a weight has above the `cap`
//! of its query is not quantised but multiplied in `f32`: the cap is an eighth of all weights but the largest, so that eight keys at most
//! have more, and one that takes nearly all does not make the others coarse. And values are quantised around their mean, which is added with
//! the weights as they were, so that what rounding adds to a weight or takes from it counts with the mean. For every query and column `c`:
//!
//! ```text
//! e_j      = exp(score_j - max)               the largest is 1
//! cap      = (sum_j e_j - 1) / 8              at least 1/64, at most 1
//! weight_j = round_half_even(254 min(e_j / cap, 1) - 127)
//! mean_c   = sum_j v_jc / length
//! scale_c  = max_j |v_jc - mean_c| / 127
//! value_jc = round_half_even((v_jc - mean_c) / scale_c)
//!
//! out_c = mean_c + (cap / 254 * scale_c * sum_j (weight_j + 127) value_jc + sum_j max(e_j - cap, 0) (v_jc - mean_c)) / sum_j e_j
//! ```

use super::weights::largest;
use super::{Block, Input, Shape};
use crate::kernels::columns::Columns;
use crate::kernels::elementary::MAGIC;
use crate::kernels::layout::{KG, NR, PackedShape};
use crate::kernels::linear::{Epilogue, Int8Weights, LinearI8};
use crate::kernels::math::exponentials;
use crate::kernels::room;
use crate::kernels::rows::RowsView;
use crate::kernels::simd::{BLOCK, LANES, Simd, load_part, store_part};
use crate::kernels::steps::{Steps, is_usable, store_steps};

/// The byte that stands for the cap. Its negative stands for no weight.
const TOP: i8 = 127;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Int8Values {
    head: usize,
    /// Inputs are tokens, channels are columns.
    packed: Vec<i8>,
    /// Of every column, like the rest; what pads columns to whole panels is 0.
    scales: Vec<f32>,
    means: Vec<f32>,
    sums: Vec<i32>,
    notes: Vec<u8>,
}

/// Of the layer: tokens are padded to whole vectors, as scores are.
fn shape(input: &Input<'_>) -> PackedShape {
    PackedShape { n: input.shape.head_dim, k: input.length.next_multiple_of(LANES) }
}

/// Up to 16 columns of a head's values.
#[derive(Clone, Copy)]
struct Panel<'a> {
    /// From the first token's on, rows `stride` apart.
    values: &'a [f32],
    stride: usize,
    width: usize,
}

impl<'a> Panel<'a> {
    /// The columns of a head from `first` on.
    #[inline(always)]
    fn new(input: &Input<'a>, head: usize, first: usize) -> Self {
        let Shape { head_dim, .. } = input.shape;
        let hidden = input.shape.hidden();
        let values = &input.qkv[2 * hidden + head * head_dim + first..];
        Self { values, stride: 3 * hidden, width: NR.min(head_dim - first) }
    }

    /// The columns of a token; lanes that are no columns are 0.
    #[inline(always)]
    fn of_token<S: Simd>(self, s: S, token: usize) -> S::F32 {
        let row = &self.values[token * self.stride..];
        match row.first_chunk() {
            Some(row) if self.width == NR => s.load(row),
            _ => load_part(s, &row[..self.width]),
        }
    }
}

impl Int8Values {
    /// Quantises the values of a head.
    #[inline(always)]
    pub fn load<S: Simd>(&mut self, s: S, input: &Input<'_>, head: usize) {
        self.head = head;
        let shape = shape(input);
        let packed = room(&mut self.packed, shape.packed_len());
        let scales = room(&mut self.scales, shape.padded_n()).as_chunks_mut::<NR>().0;
        let means = room(&mut self.means, shape.padded_n()).as_chunks_mut::<NR>().0;
        let sums = room(&mut self.sums, shape.padded_n()).as_chunks_mut::<NR>().0;
        let panels = packed.chunks_exact_mut(shape.panel_len()).zip(scales.iter_mut().zip(means).zip(sums));
        for (p, (panel, ((scales, means), sums))) in panels.enumerate() {
            let columns = Panel::new(input, head, p * NR);
            let first = columns.of_token(s, 0);
            let (mut sum, mut low, mut high) = (first, first, first);
            for token in 1..input.length {
                let x = columns.of_token(s, token);
                sum = s.add(sum, x);
                low = s.min(x, low);
                high = s.max(x, high);
            }
            let mean = s.mul(sum, s.splat(1.0 / input.length as f32));
            s.store(mean, means);
            let reach = s.max(s.sub(high, mean), s.sub(mean, low));
            s.store(s.mul(reach, s.splat(1.0 / 127.0)), scales);
            let inverses = scales.map(f32::recip);
            let mut factors = [0.0; LANES];
            for (i, scale) in scales.iter_mut().enumerate() {
                // A sum that is not finite comes of a value that is not, or of values too large to be added.
                if !means[i].is_finite() {
                    *scale = f32::NAN;
                } else if is_usable(*scale, inverses[i]) {
                    factors[i] = inverses[i];
                } else {
                    *scale = if scale.is_finite() { 0.0 } else { f32::NAN };
                }
            }
            let (factor, magic, mut total) = (s.load(&factors), s.splat(MAGIC), s.splat(0.0));
            for (group, to) in panel.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
                let mut steps = [s.splat(0.0); KG];
                for (i, steps) in steps.iter_mut().enumerate() {
                    let token = group * KG + i;
                    if token < input.length {
                        *steps = s.mul(s.sub(columns.of_token(s, token), mean), factor);
                        total = s.add(total, s.sub(s.add(*steps, magic), magic));
                    }
                }
                s.store_i8_in_fours(steps, to);
            }
            let mut totals = [0.0; LANES];
            s.store(total, &mut totals);
            *sums = totals.map(|total| total as i32);
        }
        input.kernel.examine_to(packed, shape.padded_k(), &mut self.notes);
    }

    /// Turns scores of a block of queries, `stride` apart and minus infinity after the last key, into outputs of the head
    /// whose values these are.
    #[inline(always)]
    pub fn outputs<S: Simd>(
        &self,
        s: S,
        input: &Input<'_>,
        rows: usize,
        stride: usize,
        block: &mut Block,
        out: &mut Columns<'_>,
    ) {
        let (shape, form) = (shape(input), input.kernel.form);
        let padded_k = shape.padded_k();
        let bytes = room(&mut block.bytes, rows * padded_k);
        let scales = room(&mut block.scales, rows);
        let offsets = room(&mut block.offsets, rows);
        let sums = room(&mut block.sums, rows);
        for (i, scores) in block.scores.chunks_exact_mut(stride).take(rows).enumerate() {
            let (scores, _) = scores[..padded_k].as_chunks_mut();
            let max = largest(s, scores);
            sums[i] = exponentials(s, scores, max);
            let unit = cap(sums[i]) / (2.0 * f32::from(TOP));
            let mut weights = Weights::<S> { factor: s.splat(1.0 / unit), zero: s.splat(-f32::from(TOP)) };
            let to = &mut bytes[i * padded_k..][..padded_k];
            store_steps(s, scores.as_flattened(), &mut weights, form.convert(0), to);
            scales[i] = unit / sums[i];
            offsets[i] = f32::from(TOP) * scales[i];
        }
        let arranged = &mut block.arranged;
        arranged.resize(rows.div_ceil(input.kernel.row_step) * input.kernel.arranged_rows_len(padded_k), 0);
        input.kernel.arrange_rows(bytes, padded_k, arranged);
        let a = RowsView { values: bytes, form, scales, offsets, padded_k, arranged };
        let weights = Int8Weights {
            shape,
            packed: &self.packed[..shape.packed_len()],
            scales: &self.scales[..shape.padded_n()],
            bias: &self.means[..shape.padded_n()],
            column_sums: &self.sums[..shape.padded_n()],
            notes: &self.notes,
        };
        let epilogue = Epilogue { gelu: false, residual: None };
        s.call(LinearI8::new(input.kernel, a, &weights, 0..shape.panels(), epilogue, out));
        let bytes = bytes.chunks_exact(padded_k).zip(&*sums);
        for (i, (weights, (bytes, sum))) in block.scores.chunks_exact(stride).zip(bytes).enumerate() {
            // A cap of 1 leaves nothing.
            if cap(*sum) < 1.0 {
                self.add_large(s, input, weights, bytes, *sum, out.row(i));
            }
        }
    }

    /// Adds what the weights of a query have above the cap, times the values of these keys; `weights` are the exponentials that add up to
    /// `sum`, of which the bytes were made.
    #[inline(always)]
    fn add_large<S: Simd>(&self, s: S, input: &Input<'_>, weights: &[f32], bytes: &[i8], sum: f32, out: &mut [f32]) {
        let (top, cap) = (input.kernel.form.convert(TOP), cap(sum));
        for (first, bytes) in (0..).step_by(BLOCK).zip(bytes.chunks(BLOCK)) {
            let mut found = match bytes.first_chunk() {
                Some(bytes) => s.positions(bytes, top),
                None => {
                    let mut last = [0; BLOCK];
                    last[..bytes.len()].copy_from_slice(bytes);
                    s.positions(&last, top)
                }
            };
            // One or two of a hundred: with a branch on every byte, wrong guesses would take longer than all the rest.
            while found != 0 {
                let key = first + found.trailing_zeros() as usize;
                found &= found - 1;
                // What is below is by less than half a step.
                let above = s.splat(((weights[key] - cap) / sum).max(0.0));
                let values = input.part(2, key, self.head).chunks(LANES).zip(self.means.as_chunks().0);
                for (out, (values, means)) in out.chunks_mut(LANES).zip(values) {
                    let deviation = s.sub(load_part(s, values), s.load(means));
                    store_part(s, s.mul_add(deviation, above, load_part(s, out)), out);
                }
            }
        }
    }
}

/// The weight that the largest byte stands for, of a query whose largest weight is 1 and whose weights add up to `sum`; 1 if that is NaN.
#[inline(always)]
fn cap(sum: f32) -> f32 {
    let cap = (sum - 1.0) / 8.0;
    if cap < 1.0 { cap.max(LEAST_CAP) } else { 1.0 }
}

/// Keeps steps within what [`Simd::store_i8`] takes.
const LEAST_CAP: f32 = 1.0 / 64.0;

/// `weight factor - 127`: at most 254 * 64, as no weight is above 1.
struct Weights<S: Simd> {
    factor: S::F32,
    zero: S::F32,
}

impl<S: Simd> Steps<S> for Weights<S> {
    #[inline(always)]
    fn of(&mut self, s: S, x: &[f32; BLOCK]) -> [S::F32; BLOCK / LANES] {
        let mut steps = [self.zero; BLOCK / LANES];
        for (steps, x) in steps.iter_mut().zip(x.as_chunks().0) {
            *steps = s.mul_add(s.load(x), self.factor, *steps);
        }
        steps
    }
}
