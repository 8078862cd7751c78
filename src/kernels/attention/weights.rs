//! From scores to outputs.

use std::ops::Range;

use super::{Block, Input, stride};
use crate::kernels::gemm_f32::Product;
use crate::kernels::math::exponentials;
use crate::kernels::room;
use crate::kernels::simd::{LANES, Simd, load_part, store_part};

/// Values of one head, row after row, for products: `[length, head_dim]`.
#[derive(Debug, Default)]
pub(super) struct Values {
    values: Vec<f32>,
}

/// Distance between rows of values.
fn values_stride(input: &Input<'_>) -> usize {
    input.shape.head_dim.next_multiple_of(LANES)
}

impl Values {
    /// Copies the values of a head.
    #[inline(always)]
    pub fn load(&mut self, input: &Input<'_>, head: usize) {
        let stride = values_stride(input);
        let rows = room(&mut self.values, input.length * stride).chunks_exact_mut(stride);
        for (token, to) in rows.enumerate() {
            let (to, padding) = to.split_at_mut(input.shape.head_dim);
            to.copy_from_slice(input.part(2, token, head));
            padding.fill(0.0);
        }
    }
}

/// Turns the scores of a block of queries into weights and adds up `values`. `out` begins with the first query's outputs of the
/// head; rows are those of all heads.
#[inline(always)]
pub(super) fn outputs<S: Simd>(
    s: S,
    input: &Input<'_>,
    values: &Values,
    queries: Range<usize>,
    block: &mut Block,
    out: &mut [f32],
) {
    let (depth, rows, length) = (input.shape.head_dim, queries.len(), input.length);
    let (scores_stride, values_stride) = (stride(length), values_stride(input));
    let sums = room(&mut block.sums, rows);
    for (scores, sum) in block.scores.chunks_exact_mut(scores_stride).zip(sums) {
        let (scores, _) = scores[..length.next_multiple_of(LANES)].as_chunks_mut::<LANES>();
        if let Some(last) = scores.last_mut()
            && !length.is_multiple_of(LANES)
        {
            last[length % LANES..].fill(f32::NEG_INFINITY);
        }
        let mut max = s.splat(f32::NEG_INFINITY);
        for scores in scores.iter() {
            max = s.max(s.load(scores), max);
        }
        *sum = exponentials(s, scores, s.largest(max));
    }
    let outputs = room(&mut block.outputs, rows * values_stride);
    s.call(Product {
        rows,
        depth: length,
        columns: values_stride,
        a: &block.scores,
        a_stride: scores_stride,
        b: &values.values,
        b_stride: values_stride,
        c: outputs,
        c_stride: values_stride,
    });
    let rows = out.chunks_mut(input.shape.hidden()).zip(outputs.chunks_exact(values_stride));
    for ((out, values), sum) in rows.zip(&block.sums) {
        let inverse = s.splat(1.0 / sum);
        let (out, out_tail) = out[..depth].as_chunks_mut();
        let (values, _) = values.as_chunks::<LANES>();
        for (out, values) in out.iter_mut().zip(values) {
            s.store(s.mul(s.load(values), inverse), out);
        }
        if !out_tail.is_empty() {
            store_part(s, s.mul(load_part(s, &values[out.len()]), inverse), out_tail);
        }
    }
}
