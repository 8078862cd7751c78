//! The definition of correct: one product at a time, in index order, with the layout's own formula.

use super::gemm::{Accumulators, Tile};
use super::layout::{NR, PackedShape};

pub(super) fn tile(tile: &Tile<'_>, acc: &mut Accumulators) {
    let shape = PackedShape { n: NR, k: tile.padded_k };
    for (m, acc_row) in acc.iter_mut().enumerate().take(tile.rows) {
        for (n, sum) in acc_row.iter_mut().enumerate() {
            *sum = (0..tile.padded_k)
                .map(|k| {
                    let a = i32::from(tile.activations[m * tile.padded_k + k]);
                    let w = i32::from(tile.panel[shape.index(n, k)]);
                    a * w
                })
                .sum();
        }
    }
}
