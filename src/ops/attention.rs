//! Disentangled attention as one operator.

use tract_core::internal::*;

use super::{Table, Workspace, rows_fact, slice_of};
use crate::config::ModelConfig;
use crate::kernels::attention::{Positions, Shape, attention};

/// Multi-head attention with relative positions, for one sequence without padding.
///
/// Input: queries, keys and values side by side, `f32`, `[S, 3 * hidden]`. Output: `f32`, `[S, hidden]`. For each head, with
/// `r = row(i - j)` of [`RelativeIndex`](super::RelativeIndex):
///
/// ```text
/// score(i, j) = (q_i . k_j + q_i . Kr[r] + k_j . Qr[r]) / scale        out_i = sum_j softmax_j(score(i, j)) v_j
/// ```
///
/// With int8 tables, all operands are quantised, as [`attention`] says.
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

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let hidden = self.hidden();
        Workspace::with(context, |workspace| {
            let qkv = slice_of::<f32>(&inputs, 0)?;
            ensure!(qkv.len().is_multiple_of(3 * hidden), "input is not of width 3 x {hidden}");
            let length = qkv.len() / (3 * hidden);
            let mut output = workspace.tensor(length, hidden)?;
            let shape = Shape { heads: self.heads, head_dim: self.head_dim, scale: self.scale };
            let (threads, scratch, distances) =
                workspace.for_attention(self.relative.as_ref().map(|r| &r.config), length);
            let positions = self.relative.as_ref().zip(distances).map(|(relative, distances)| Positions {
                distances,
                key: relative.key.as_ref().map(Table::positions),
                query: relative.query.as_ref().map(Table::positions),
            });
            let mut view = output.try_as_plain_ram_mut()?;
            attention(threads, shape, qkv, positions, scratch, view.as_slice_mut::<f32>()?);
            workspace.recycle(inputs);
            Ok(tvec!(output.into_tvalue()))
        })
    }
}

impl TypedOp for DisentangledAttention {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        rows_fact(inputs, self.hidden())
    }

    as_op!();
}
