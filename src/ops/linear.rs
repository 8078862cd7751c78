//! Linear layers with fused bias, GELU and residual.

use half::f16;
use tract_core::internal::*;

use super::int8::Int8Linear;
use super::{LayerNorm, Workspace, rows_fact, slice_of};
use crate::artifact::View;
use crate::kernels::gemm;
use crate::kernels::layout::PackedShape;
use crate::kernels::linear::Epilogue;
use crate::kernels::linear_float::{self, HalfWeights, linear_f16, linear_f32};
use crate::kernels::rows::QuantizedRows;
use crate::threads::{Threads, cut, split};

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
    /// Packed int8 per output channel.
    Int8(Int8Linear),
}

impl LinearWeights {
    /// Output and input channels.
    pub fn shape(&self) -> PackedShape {
        match self {
            LinearWeights::F32 { shape, .. } | LinearWeights::F16 { shape, .. } => *shape,
            LinearWeights::Int8(int8) => int8.shape,
        }
    }

    /// Rows that are multiplied together.
    fn row_step(&self) -> usize {
        match self {
            LinearWeights::F32 { .. } | LinearWeights::F16 { .. } => 1,
            LinearWeights::Int8(_) => gemm::chosen().row_step,
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
            LinearWeights::Int8(int8) => int8.apply(x, epilogue, &mut scratch.quantized, out),
        }
    }
}

/// Rows of a part, if there are more parts than threads: those are worth reading all weights for once more.
const PART: usize = 48;

/// A share of the work: some rows.
struct Part<'a> {
    x: &'a [f32],
    residual: Option<&'a [f32]>,
    scratch: &'a mut Scratch,
    out: &'a mut [f32],
}

/// Memory of one share of the rows. The first also serves all rows, where threads share channels.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Inputs of int8 layers.
    quantized: QuantizedRows,
    float: linear_float::Scratch,
}

impl Linear {
    /// Applies the layer to `x` (`[rows, k]`), writing `out` (`[rows, n]`), by threads that share the rows.
    fn apply_by_rows(
        &self,
        threads: &Threads,
        x: &[f32],
        residual: Option<&[f32]>,
        memory: &mut Vec<Scratch>,
        out: &mut [f32],
    ) {
        let PackedShape { n, k } = self.weights.shape();
        let rows = x.len() / k;
        let ranges = split(rows, self.weights.row_step(), threads.parts(rows, PART));
        memory.resize_with(memory.len().max(ranges.len()), Scratch::default);
        let outputs = cut(out, ranges.clone().map(|rows| rows.len() * n));
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
        threads.for_each(&mut parts, |part| {
            let epilogue = Epilogue { gelu: self.gelu, residual: part.residual };
            self.weights.apply(part.x, epilogue, part.scratch, part.out);
            if let Some(norm) = &self.norm {
                norm.apply(part.out);
            }
        });
    }
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
            let mut view = output.try_as_plain_ram_mut()?;
            let out = view.as_slice_mut::<f32>()?;
            let Workspace { threads, linear: memory, .. } = workspace;
            match &self.weights {
                LinearWeights::Int8(int8) if int8.is_shared(rows, threads) => {
                    memory.resize_with(memory.len().max(1), Scratch::default);
                    let epilogue = Epilogue { gelu: self.gelu, residual };
                    int8.apply_by_channels(threads, x, epilogue, &mut memory[0].quantized, out);
                    if let Some(norm) = &self.norm {
                        norm.apply_on(threads, out);
                    }
                }
                _ => self.apply_by_rows(threads, x, residual, memory, out),
            }
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
