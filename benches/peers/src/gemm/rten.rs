//! rten-gemm, with weights that it has packed in advance.

use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions, PackedBMatrix, QuantParams};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

use super::{Problem, Product};
use crate::versions::version_of;

/// What is added to an activation to make it unsigned.
const ZERO: u8 = 128;

/// Its `u8` x `i8` product, the only one it has, of activations shifted by 128 with 128 as their zero point.
pub struct Rten {
    gemm: GemmExecutor<u8, i8, i32>,
    activations: NdTensor<u8, 2>,
    zero_points: Vec<u8>,
    weights: PackedBMatrix<i8>,
    out: Vec<i32>,
}

impl Rten {
    /// Packs the weights.
    pub fn new(problem: &Problem) -> Self {
        let Problem { m, n, k, .. } = *problem;
        let gemm = GemmExecutor::new();
        let weights = NdTensor::from_data([n, k], problem.weights.clone());
        Self {
            weights: gemm.prepack_b(weights.transposed()),
            gemm,
            activations: NdTensor::from_data(
                [m, k],
                problem.activations.iter().map(|&a| a.cast_unsigned() ^ ZERO).collect::<Vec<_>>(),
            ),
            zero_points: vec![ZERO; m],
            out: vec![0; m * n],
        }
    }
}

impl Product for Rten {
    fn label(&self) -> String {
        let exact = if self.is_exact() { "" } else { " (saturates)" };
        format!("rten-gemm {} {}{exact}", version_of("rten-gemm"), self.gemm.kernel_name())
    }

    fn is_exact(&self) -> bool {
        !self.gemm.may_saturate()
    }

    fn run(&mut self) {
        let options =
            GemmOptions { a_quant: Some(QuantParams { zero_point: &self.zero_points }), ..GemmOptions::default() };
        let (a, b) = (GemmInputA::Unpacked(self.activations.view()), GemmInputB::Packed(&self.weights));
        self.gemm.gemm(&mut self.out, a, b, options).expect("shapes that agree");
    }

    fn equals(&self, want: &[i32]) -> bool {
        self.out == want
    }
}
