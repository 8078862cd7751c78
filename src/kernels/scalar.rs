//! The definition of correct: one product at a time, in index order, with the layout's own formula.

use super::cpu::Isa;
use super::gemm::{Accumulators, Tile, TileKernel};
use super::layout::{Form, NR, PackedShape};

/// Needs nothing of the CPU.
#[derive(Clone, Copy)]
pub(super) struct Scalar;

impl TileKernel for Scalar {
    const NAME: &'static str = "gemm_i8_1x16k4_scalar";
    const ROWS: usize = 1;
    const PANELS: usize = 1;
    const FORM: Form = Form::Signed;

    fn detect() -> Option<Self> {
        Some(Self)
    }

    fn isa(self) -> Isa {
        Isa::Portable
    }

    fn tile(self, tile: &Tile<'_>, acc: &mut Accumulators) {
        let shape = PackedShape { n: NR, k: tile.padded_k };
        for (m, acc_row) in acc.0[0].iter_mut().enumerate().take(tile.rows) {
            for (n, sum) in acc_row.iter_mut().enumerate() {
                *sum = (0..tile.padded_k)
                    .map(|k| {
                        let a = i32::from(tile.activations[m * tile.padded_k + k]);
                        let w = i32::from(tile.weights[shape.index(n, k)]);
                        a * w
                    })
                    .sum();
            }
        }
    }
}
