//! edgeqa's kernels, as the linear layer calls them.

use edgeqa::kernels::gemm::{Kernel, chosen};
use edgeqa::kernels::layout::PackedShape;
use edgeqa::kernels::linear::{Epilogue, Int8Weights, linear_i8};
use edgeqa::kernels::pack::{column_sums, pack};
use edgeqa::kernels::rows::QuantizedRows;

use super::{Problem, Product};

/// The chosen kernel in a linear layer with scales of 1: the product, converted to `f32`.
pub struct EdgeQa {
    kernel: &'static Kernel,
    shape: PackedShape,
    packed: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<f32>,
    column_sums: Vec<i32>,
    notes: Vec<u8>,
    activations: QuantizedRows,
    out: Vec<f32>,
}

impl EdgeQa {
    /// Packs the weights.
    pub fn new(problem: &Problem) -> Self {
        let shape = PackedShape { n: problem.n, k: problem.k };
        let padded_k = shape.padded_k();
        let kernel = chosen();
        let mut activations = QuantizedRows::default();
        activations.values = vec![kernel.form.convert(0); problem.m * padded_k];
        let rows = activations.values.chunks_exact_mut(padded_k).zip(problem.activations.chunks_exact(problem.k));
        for (to, from) in rows {
            to.iter_mut().zip(from).for_each(|(to, value)| *to = kernel.form.convert(*value));
        }
        activations.form = kernel.form;
        activations.scales = vec![1.0; problem.m];
        activations.offsets = vec![0.0; problem.m];
        activations.padded_k = padded_k;
        activations.arrange(kernel);
        let packed = pack(shape, &problem.weights);
        Self {
            kernel,
            shape,
            notes: kernel.examine(&packed, padded_k),
            packed,
            scales: vec![1.0; shape.padded_n()],
            bias: vec![0.0; shape.padded_n()],
            column_sums: column_sums(shape, &problem.weights),
            activations,
            out: vec![0.0; problem.m * problem.n],
        }
    }
}

impl Product for EdgeQa {
    fn label(&self) -> String {
        format!("edgeqa {}", self.kernel.name)
    }

    fn run(&mut self) {
        let weights = Int8Weights {
            shape: self.shape,
            packed: &self.packed,
            scales: &self.scales,
            bias: &self.bias,
            column_sums: &self.column_sums,
            notes: &self.notes,
        };
        linear_i8(self.kernel, &self.activations, &weights, Epilogue { gelu: false, residual: None }, &mut self.out);
    }

    fn equals(&self, want: &[i32]) -> bool {
        self.out.iter().copied().eq(want.iter().map(|&sum| sum as f32))
    }
}
