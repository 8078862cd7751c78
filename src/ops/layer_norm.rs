//! LayerNorm over the last axis.

use tract_core::internal::*;

use super::Workspace;
use crate::artifact::View;
use crate::kernels::math::layer_norm;
use crate::threads::{Threads, cut, split};

/// `(x - mean) / sqrt(variance + eps) * weight + bias` for every row of `[S, width]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// `[width]`.
    pub weight: View<f32>,
    /// `[width]`.
    pub bias: View<f32>,
    /// Added to the variance.
    pub eps: f32,
}

// `eps` of a validated configuration is finite, so equality is reflexive.
impl Eq for LayerNorm {}

impl LayerNorm {
    /// Normalises rows of `[.., width]` in place.
    pub(super) fn apply(&self, rows: &mut [f32]) {
        layer_norm(rows, &self.weight, &self.bias, self.eps);
    }

    /// [`LayerNorm::apply`], by several threads if there are rows enough.
    ///
    /// # Panics
    /// If the values are no whole rows.
    pub(super) fn apply_on(&self, threads: &Threads, rows: &mut [f32]) {
        let width = self.weight.len();
        assert!(rows.len().is_multiple_of(width), "{} values are no rows of {width}", rows.len());
        let count = rows.len().checked_div(width).unwrap_or_default();
        let ranges = split(count, 1, threads.row_parts(count));
        let mut parts: Vec<_> = cut(rows, ranges.map(|rows| rows.len() * width)).collect();
        threads.for_each(&mut parts, |rows| self.apply(rows));
    }
}

impl Op for LayerNorm {
    fn name(&self) -> StaticName {
        "EdgeqaLayerNorm".into()
    }

    op_as_typed_op!();
}

impl EvalOp for LayerNorm {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut x = args_1!(inputs).into_tensor();
        let width = self.weight.len();
        let mut view = x.try_as_plain_ram_mut()?;
        let values = view.as_slice_mut::<f32>()?;
        ensure!(values.len().is_multiple_of(width), "input is not of width {width}");
        Workspace::with(context, |workspace| {
            self.apply_on(&workspace.threads, values);
            Ok(())
        })?;
        Ok(tvec!(x.into_tvalue()))
    }
}

impl TypedOp for LayerNorm {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    as_op!();
}
