//! Disentangled attention as one operator.

use tract_core::internal::*;

use super::relative::RelativeIndex;
use super::{Table, matrix, rows_fact, slice_of};
use crate::config::ModelConfig;
use crate::kernels::math::{dot, softmax};

/// Multi-head attention with relative positions, for one sequence without padding.
///
/// Input: queries, keys and values side by side, `f32`, `[S, 3 * hidden]`. Output: `f32`, `[S, hidden]`. For each head, with
/// `r = row(i - j)` of [`RelativeIndex`]:
///
/// ```text
/// score(i, j) = (q_i . k_j + q_i . Kr[r] + k_j . Qr[r]) / scale        out_i = sum_j softmax_j(score(i, j)) v_j
/// ```
///
/// Only the table rows that the sequence's distances reach are read, and memory grows with `S`, not with its square.
#[derive(Clone, Debug, PartialEq)]
pub struct DisentangledAttention {
    /// Number of heads.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Divisor of the scores.
    pub scale: f32,
    /// `None` for plain attention.
    pub relative: Option<RelativeTables>,
}

// `scale` of a validated configuration is finite, so equality is reflexive.
impl Eq for DisentangledAttention {}

/// Relative positions projected through a layer's key and query weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelativeTables {
    /// Spans and buckets.
    pub config: crate::config::RelativeConfig,
    /// `Kr` of the content-to-position term: `[2 * span, hidden]`.
    pub key: Option<Table>,
    /// `Qr` of the position-to-content term: `[2 * span, hidden]`.
    pub query: Option<Table>,
}

impl DisentangledAttention {
    /// The operator of one layer of a model.
    pub fn new(config: &ModelConfig, relative: Option<RelativeTables>) -> Self {
        Self { heads: config.num_heads, head_dim: config.head_dim(), scale: config.score_scale(), relative }
    }

    fn hidden(&self) -> usize {
        self.heads * self.head_dim
    }
}

impl Op for DisentangledAttention {
    fn name(&self) -> StaticName {
        "EdgeqaDisentangledAttention".into()
    }

    op_as_typed_op!();
}

impl EvalOp for DisentangledAttention {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let hidden = self.hidden();
        let qkv = slice_of::<f32>(&inputs, 0)?;
        ensure!(qkv.len().is_multiple_of(3 * hidden), "input is not of width 3 x {hidden}");
        let length = qkv.len() / (3 * hidden);
        let index = self.relative.as_ref().map(|r| RelativeIndex::new(&r.config, length));
        let mut out = vec![0.0; length * hidden];
        let mut scratch = Scratch::default();
        for head in 0..self.heads {
            let from = head * self.head_dim;
            scratch.load(qkv, 3 * hidden, [from, hidden + from, 2 * hidden + from], self.head_dim);
            if let (Some(relative), Some(index)) = (&self.relative, &index) {
                scratch.load_positions(relative, index, from, self.head_dim);
            }
            for i in 0..length {
                self.query(i, &mut scratch, index.as_ref(), &mut out[i * hidden + from..][..self.head_dim]);
            }
        }
        Ok(tvec!(matrix(length, hidden, &out)?))
    }
}

impl DisentangledAttention {
    /// One query of one head: scores, softmax, weighted sum of values.
    fn query(&self, i: usize, scratch: &mut Scratch, index: Option<&RelativeIndex>, out: &mut [f32]) {
        let d = self.head_dim;
        let Scratch { q, k, v, position_key, position_query, first_row, scores } = scratch;
        let q = &q[i * d..][..d];
        scores.clear();
        scores.extend(k.chunks_exact(d).map(|k| dot(q, k)));
        if let Some(index) = index {
            let rows = index.of_query(i).iter().rev().map(|row| row - *first_row);
            for ((score, k), row) in scores.iter_mut().zip(k.chunks_exact(d)).zip(rows) {
                if let Some(key) = position_key.get(row * d..(row + 1) * d) {
                    *score += dot(q, key);
                }
                if let Some(query) = position_query.get(row * d..(row + 1) * d) {
                    *score += dot(k, query);
                }
            }
        }
        for score in scores.iter_mut() {
            *score /= self.scale;
        }
        softmax(scores);
        for (p, v) in scores.iter().zip(v.chunks_exact(d)) {
            for (out, v) in out.iter_mut().zip(v) {
                *out += p * v;
            }
        }
    }
}

/// One head's operands, contiguous; reused from head to head.
#[derive(Default)]
struct Scratch {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    /// Reachable rows of the tables, dequantised; empty if the term is absent.
    position_key: Vec<f32>,
    position_query: Vec<f32>,
    /// Table row of the first row held.
    first_row: usize,
    scores: Vec<f32>,
}

impl Scratch {
    fn load(&mut self, qkv: &[f32], stride: usize, from: [usize; 3], d: usize) {
        for (to, from) in [&mut self.q, &mut self.k, &mut self.v].into_iter().zip(from) {
            to.clear();
            for row in qkv.chunks_exact(stride) {
                to.extend_from_slice(&row[from..from + d]);
            }
        }
    }

    fn load_positions(&mut self, tables: &RelativeTables, index: &RelativeIndex, from: usize, d: usize) {
        let range = index.range();
        self.first_row = range.start;
        let pairs = [(&mut self.position_key, &tables.key), (&mut self.position_query, &tables.query)];
        for (to, table) in pairs {
            to.clear();
            if let Some(table) = table {
                to.resize(range.len() * d, 0.0);
                for (row, to) in range.clone().zip(to.chunks_exact_mut(d)) {
                    table.read_part(row, from, to);
                }
            }
        }
    }
}

impl TypedOp for DisentangledAttention {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        rows_fact(inputs, self.hidden())
    }

    as_op!();
}
