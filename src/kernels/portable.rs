//! Plain Rust shaped so that compilers turn it into the target's widening multiply-add (`pmaddwd` on x86-64).

use super::cpu::Isa;
use super::gemm::{Accumulators, Tile, TileKernel};
use super::layout::{Form, GROUP, KG, NR};

/// Weights that are widened and multiplied together: two channels of four `k`, one 128-bit register of `i16`.
const CHUNK: usize = 2 * KG;
/// Chunks per group.
const CHUNKS: usize = GROUP / CHUNK;

/// Needs nothing of the CPU.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl TileKernel for Portable {
    const NAME: &'static str = "gemm_i8_4x16k4_portable";
    const ROWS: usize = 4;
    const PANELS: usize = 1;
    const FORM: Form = Form::Signed;

    fn detect() -> Option<Self> {
        Some(Self)
    }

    fn isa(self) -> Isa {
        Isa::Portable
    }

    fn tile(self, tile: &Tile<'_>, acc: &mut Accumulators) {
        let row = |m: usize| tile.row(m).as_chunks::<KG>().0;
        let (panel, _) = tile.panel(0).as_chunks::<GROUP>();
        if tile.rows == 4 {
            // Two chunks at a time, so that the sums of four rows stay in sixteen registers.
            for chunk in (0..CHUNKS).step_by(2) {
                block::<4, 2>([row(0), row(1), row(2), row(3)], panel, chunk, &mut acc.0[0]);
            }
        } else {
            for (m, acc_row) in acc.0[0].iter_mut().enumerate().take(tile.rows) {
                block::<1, CHUNKS>([row(m)], panel, 0, std::slice::from_mut(acc_row));
            }
        }
    }
}

/// `M` rows times the `C` chunks of a panel from `first` on.
fn block<const M: usize, const C: usize>(
    rows: [&[[i8; KG]]; M],
    panel: &[[i8; GROUP]],
    first: usize,
    out: &mut [[i32; NR]],
) {
    // Per row and chunk: for each of two channels, the sums of products of k % 4 in {0, 1} and in {2, 3}.
    let mut sums = [[[0i32; CHUNK / 2]; C]; M];
    let rows = rows.map(|row| &row[..panel.len()]);
    for (g, group) in panel.iter().enumerate() {
        let a: [[i16; CHUNK]; M] = std::array::from_fn(|m| std::array::from_fn(|i| i16::from(rows[m][g][i % KG])));
        let (chunks, _) = group.as_chunks::<CHUNK>();
        for (c, chunk) in chunks[first..first + C].iter().enumerate() {
            let w = chunk.map(i16::from);
            for (a, sums) in a.iter().zip(&mut sums) {
                for (i, sum) in sums[c].iter_mut().enumerate() {
                    *sum +=
                        i32::from(a[2 * i]) * i32::from(w[2 * i]) + i32::from(a[2 * i + 1]) * i32::from(w[2 * i + 1]);
                }
            }
        }
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        let channels = sums.as_flattened().chunks_exact(2).map(|pair| pair[0] + pair[1]);
        for (out, sum) in out[2 * first..].iter_mut().zip(channels) {
            *out = sum;
        }
    }
}
