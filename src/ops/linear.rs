//! Linear layers with fused bias, GELU and residual.

use half::f16;
use tract_core::internal::*;

use super::{LayerNorm, Packed, Workspace, cut, rows_fact, slice_of};
use crate::artifact::View;
use crate::kernels::gemm;
use crate::kernels::layout::PackedShape;
use crate::kernels::linear::{Epilogue, Int8Weights, linear_i8};
use crate::kernels::linear_float::{self, HalfWeights, linear_f16, linear_f32};
use crate::kernels::rows::QuantizedRows;
use crate::threads::split;

/// `y = norm(act(x W^T + b) + residual)`.
///
/// Inputs: `x` (`f32`, `[S, k]`) and, with `residual`, `f32` `[S, n]`. Output: `f32`, `[S, n]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linear {
    /// The weights, in one of the stored precisions.
    pub weights: LinearWeights,
    /// Whether outputs go through GELU (erf).
    pub gelu: bool,
    /// Whether a second input is added.
    pub residual: bool,
    /// The LayerNorm that outputs go through last.
    pub norm: Option<LayerNorm>,
}

/// Weights of a linear layer of `shape.n` output and `shape.k` input channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinearWeights {
    /// `f32`, output channel major.
    F32 {
        /// `n` and `k`.
        shape: PackedShape,
        /// `[n, k]`.
        weight: View<f32>,
        /// `[n]`.
        bias: View<f32>,
    },
    /// `f16`, output channel major, for layers that int8 does not serve.
    F16 {
        /// `n` and `k`.
        shape: PackedShape,
        /// `[n, k]`.
        weight: View<f16>,
        /// `[n]`: `real weight = weight * scale`.
        scales: View<f32>,
        /// `[n]`.
        bias: View<f32>,
    },
    /// Packed int8 per output channel; inputs are quantised per row. The vectors are padded to whole panels.
    Int8 {
        /// `n` and `k`.
        shape: PackedShape,
        /// In the layout of [`crate::kernels::layout`].
        packed: Packed,
        /// `real weight = weight * scale`.
        scales: View<f32>,
        /// Added after scaling.
        bias: View<f32>,
        /// Sum of each channel's weights.
        column_sums: View<i32>,
        /// `[k]`: inputs are multiplied by it before they are quantised; its inverse is folded into the weights.
        input_factor: Option<View<f32>>,
    },
}

impl LinearWeights {
    /// Output and input channels.
    pub fn shape(&self) -> PackedShape {
        match self {
            LinearWeights::F32 { shape, .. } | LinearWeights::F16 { shape, .. } | LinearWeights::Int8 { shape, .. } => {
                *shape
            }
        }
    }

    /// Applies the layer to `x` (`[rows, k]`), writing `out` (`[rows, n]`).
    fn apply(&self, x: &[f32], epilogue: Epilogue<'_>, scratch: &mut Scratch, out: &mut [f32]) {
        match self {
            LinearWeights::F32 { shape, weight, bias } => {
                linear_f32(x, shape.k, weight, bias, epilogue, &mut scratch.float, out);
            }
            LinearWeights::F16 { shape, weight, scales, bias } => {
                let weights = HalfWeights { shape: *shape, values: weight, scales, bias };
                linear_f16(x, &weights, epilogue, &mut scratch.float, out);
            }
            LinearWeights::Int8 { shape, packed, scales, bias, column_sums, input_factor } => {
                let kernel = gemm::chosen();
                let Scratch { quantized, .. } = scratch;
                quantized.quantize(x, shape.k, input_factor.as_deref(), kernel.form);
                let notes = packed.notes(shape.padded_k());
                let weights = Int8Weights { shape: *shape, packed, scales, bias, column_sums, notes };
                linear_i8(kernel, quantized, &weights, epilogue, out);
            }
        }
    }
}

/// Rows that are worth reading all weights for once more.
const PART: usize = 48;

/// A share of the work: some rows.
struct Part<'a> {
    x: &'a [f32],
    residual: Option<&'a [f32]>,
    scratch: &'a mut Scratch,
    out: &'a mut [f32],
}

/// Memory of one share.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Inputs of int8 layers.
    quantized: QuantizedRows,
    float: linear_float::Scratch,
}

impl Op for Linear {
    fn name(&self) -> StaticName {
        "EdgeqaLinear".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        let Self { gelu, residual, norm, .. } = self;
        let norm = norm.is_some();
        Ok(vec![format!("{:?}, gelu {gelu}, residual {residual}, norm {norm}", self.weights.shape())])
    }

    op_as_typed_op!();
}

impl EvalOp for Linear {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let PackedShape { n, k } = self.weights.shape();
        Workspace::with(context, |workspace| {
            let x = slice_of::<f32>(&inputs, 0)?;
            ensure!(x.len().is_multiple_of(k), "input is not of width {k}");
            let rows = x.len() / k;
            let residual = if self.residual { Some(slice_of::<f32>(&inputs, 1)?) } else { None };
            ensure!(residual.is_none_or(|r| r.len() == rows * n), "residual is not of shape [{rows}, {n}]");
            let mut output = workspace.tensor(rows, n)?;
            let ranges = split(rows, 1, workspace.threads.parts(rows, PART));
            let memory = &mut workspace.linear;
            memory.resize_with(memory.len().max(ranges.len()), Scratch::default);
            let mut view = output.try_as_plain_ram_mut()?;
            let outputs = cut(view.as_slice_mut::<f32>()?, ranges.clone().map(|rows| rows.len() * n));
            let mut parts: Vec<_> = ranges
                .zip(outputs)
                .zip(memory)
                .map(|((rows, out), scratch)| Part {
                    x: &x[rows.start * k..rows.end * k],
                    residual: residual.map(|r| &r[rows.start * n..rows.end * n]),
                    scratch,
                    out,
                })
                .collect();
            workspace.threads.for_each(&mut parts, |part| {
                let epilogue = Epilogue { gelu: self.gelu, residual: part.residual };
                self.weights.apply(part.x, epilogue, part.scratch, part.out);
                if let Some(norm) = &self.norm {
                    norm.apply(part.out);
                }
            });
            workspace.recycle(inputs);
            Ok(tvec!(output.into_tvalue()))
        })
    }
}

impl TypedOp for Linear {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        rows_fact(inputs, self.weights.shape().n)
    }

    fn cost(&self, inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        let PackedShape { n, k } = self.weights.shape();
        Ok(tvec!((Cost::FMA(f32::datum_type()), inputs[0].shape[0].clone() * n * k)))
    }

    as_op!();
}
