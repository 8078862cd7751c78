//! The span classifier.

use tract_core::internal::*;

use super::{Workspace, slice_of};
use crate::artifact::View;
use crate::kernels::math::dot;

/// Two scores per token. Input: `f32`, `[S, hidden]`. Outputs: start logits and end logits, `f32`, `[S]` each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanHead {
    /// `[2, hidden]`: row 0 scores starts, row 1 ends.
    pub weight: View<f32>,
    /// `[2]`.
    pub bias: View<f32>,
}

impl Op for SpanHead {
    fn name(&self) -> StaticName {
        "EdgeqaSpanHead".into()
    }

    op_as_typed_op!();
}

impl EvalOp for SpanHead {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = slice_of::<f32>(&inputs, 0)?;
        let width = self.weight.len() / 2;
        let heads = self.weight.chunks_exact(width).zip(self.bias.iter());
        let outputs = heads
            .map(|(weight, bias)| {
                let logits: Vec<f32> = x.chunks_exact(width).map(|row| dot(row, weight) + bias).collect();
                tensor1(&logits).into_tvalue()
            })
            .collect();
        Workspace::with(context, |workspace| {
            workspace.recycle(inputs);
            Ok(outputs)
        })
    }
}

impl TypedOp for SpanHead {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let fact = f32::fact([inputs[0].shape[0].clone()]);
        Ok(tvec!(fact.clone(), fact))
    }

    as_op!();
}
