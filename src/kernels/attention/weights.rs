//! From scores to outputs.

use super::int8_values::Int8Values;
use super::{Block, Input, stride};
use crate::kernels::columns::Columns;
use crate::kernels::gemm_f32::{Product, panel_width};
use crate::kernels::math::exponentials;
use crate::kernels::room;
use crate::kernels::simd::{LANES, Simd, load_part, store_part};

/// Values of one head, for products.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// Where they are not quantised: panels of some columns of the matrix `[length, head_dim]`, each a matrix of its own.
    float: Vec<f32>,
    int8: Int8Values,
}

impl Values {
    /// Arranges the values of a head.
    #[inline(always)]
    pub fn load<S: Simd>(&mut self, s: S, input: &Input<'_>, head: usize) {
        if input.is_int8() {
            self.int8.load(s, input, head);
            return;
        }
        let (width, head_dim) = (panel_width::<S>(), input.shape.head_dim);
        let values = room(&mut self.float, head_dim.div_ceil(width) * input.length * width);
        for token in 0..input.length {
            for (i, from) in input.part(2, token, head).chunks(LANES).enumerate() {
                let (panel, column) = (i * LANES / width, i * LANES % width);
                let to = &mut values[(panel * input.length + token) * width + column..];
                s.store(load_part(s, from), to.first_chunk_mut().expect("a vector of a row"));
            }
        }
    }
}

/// Turns the scores of a block of `rows` queries into weights and adds up `values`.
#[inline(always)]
pub(super) fn outputs<S: Simd>(
    s: S,
    input: &Input<'_>,
    values: &Values,
    rows: usize,
    block: &mut Block,
    out: &mut Columns<'_>,
) {
    let (depth, length) = (input.shape.head_dim, input.length);
    let (scores_stride, columns, width) = (stride(length), depth.next_multiple_of(LANES), panel_width::<S>());
    let used = length.next_multiple_of(LANES);
    if used > length {
        for scores in block.scores.chunks_exact_mut(scores_stride).take(rows) {
            scores[length..used].fill(f32::NEG_INFINITY);
        }
    }
    if input.is_int8() {
        values.int8.outputs(s, input, rows, scores_stride, block, out);
        return;
    }
    let sums = room(&mut block.sums, rows);
    for (scores, sum) in block.scores.chunks_exact_mut(scores_stride).zip(sums) {
        let (scores, _) = scores[..used].as_chunks_mut();
        let max = largest(s, scores);
        *sum = exponentials(s, scores, max);
    }
    let outputs = room(&mut block.outputs, rows * columns);
    s.call(Product {
        rows,
        depth: length,
        columns,
        a: &block.scores,
        a_stride: scores_stride,
        b: &values.float,
        b_stride: width,
        b_panel: length * width,
        c: outputs,
        c_stride: columns,
    });
    for (i, (values, sum)) in outputs.chunks_exact(columns).zip(&block.sums).enumerate() {
        let inverse = s.splat(1.0 / sum);
        let (out, out_tail) = out.row(i).as_chunks_mut();
        let (values, _) = values.as_chunks::<LANES>();
        for (out, values) in out.iter_mut().zip(values) {
            s.store(s.mul(s.load(values), inverse), out);
        }
        if !out_tail.is_empty() {
            store_part(s, s.mul(load_part(s, &values[out.len()]), inverse), out_tail);
        }
    }
}

/// The largest of some scores.
#[inline(always)]
pub(super) fn largest<S: Simd>(s: S, scores: &[[f32; LANES]]) -> f32 {
    let mut max = s.splat(f32::NEG_INFINITY);
    for scores in scores {
        max = s.max(s.load(scores), max);
    }
    s.largest(max)
}
