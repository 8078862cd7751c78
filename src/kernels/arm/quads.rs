//! Products of bytes that are summed in 16 bits before they are added to 32: two or four at a time.
//!
//! Two products always fit: weights are at least -127, and `2 * 128 * 127 = 32512`. Four fit whatever the activations are if the
//! magnitudes of their weights add up to 254 at most, as `128 * 254 = 32512`. That is so for nearly all fours of weights that are
//! spread like those of models. [`TileKernel::examine`](crate::kernels::gemm::TileKernel::examine) finds it out once for all rows, and notes it for
//! every part of a panel, which is as many channels as are multiplied together: a note for each four groups, and an
//! end.

use crate::kernels::gemm::{Accumulators, Tile};
use crate::kernels::layout::{GROUP, KG, NR};

/// Groups that a note is about.
pub(super) const QUAD: usize = 4;
/// Rows that are multiplied together.
pub(super) const BLOCK: usize = 4;

/// The note of four groups of which only the products of two are sure to fit into 16 bits; that of others is 0.
pub(super) const WIDE: u8 = 1;
/// What ends the notes of a part: above all others.
pub(super) const END: u8 = 2;

// What the assembly knows.
const _: () = assert!(WIDE == 1 && END > WIDE);

/// How many notes there are about a part of a panel.
pub(super) fn notes_of_part(padded_k: usize) -> usize {
    padded_k / KG / QUAD + 1
}

/// Writes the notes on a panel that has as many parts as `notes` has room for. `note` gives that on four groups of a part.
#[inline(always)]
pub(super) fn examine(panel: &[i8], notes: &mut [u8], note: impl Fn(&[[i8; GROUP]; QUAD], usize) -> u8) {
    let quads = panel.as_chunks().0.as_chunks().0;
    for (part, notes) in notes.chunks_exact_mut(quads.len() + 1).enumerate() {
        for (to, quad) in notes.iter_mut().zip(quads) {
            *to = note(quad, part);
        }
        notes[quads.len()] = END;
    }
}

/// Makes sure that assembly which reads the notes up to the end, and as many fours of groups of a part, reads nothing that is not there.
///
/// # Panics
/// If the panel or a row has fewer groups, the panel has no such part, or the notes have no end.
#[inline(always)]
pub(super) fn check(rows: &[&[[i8; KG]]; BLOCK], panel: &[[i8; GROUP]], part: usize, parts: usize, notes: &[u8]) {
    let groups = notes.len().saturating_sub(1) * QUAD;
    assert!(panel.len() >= groups && rows.iter().all(|row| row.len() >= groups), "{groups} groups");
    assert!(part < parts && notes.last() == Some(&END), "part {part} and notes without an end");
}

/// Has `block` multiply four rows, as groups, with a panel that has these notes, for all rows and panels of a tile of at most `4 BLOCKS`
/// rows: the panel stays in the cache next to the core for all rows.
#[inline(always)]
pub(super) fn for_blocks<const BLOCKS: usize>(
    tile: &Tile<'_>,
    acc: &mut Accumulators,
    notes_of_panel: usize,
    block: impl Fn(&[&[[i8; KG]]; BLOCK], &[[i8; GROUP]], &[u8], &mut [[i32; NR]; BLOCK]),
) {
    let last = tile.rows - 1;
    // For rows that the last block lacks, the last row is multiplied again.
    let blocks: [[&[[i8; KG]]; BLOCK]; BLOCKS] =
        std::array::from_fn(|b| std::array::from_fn(|r| tile.row((b * BLOCK + r).min(last)).as_chunks().0));
    let notes = tile.notes.chunks_exact(notes_of_panel);
    for ((p, acc), notes) in acc.0.iter_mut().enumerate().take(tile.panels).zip(notes) {
        let panel = tile.panel(p).as_chunks().0;
        for (rows, acc) in blocks.iter().zip(acc[..tile.rows].chunks_mut(BLOCK)) {
            if let Some(acc) = acc.first_chunk_mut() {
                block(rows, panel, notes, acc);
            } else {
                let mut sums = [[0; NR]; BLOCK];
                block(rows, panel, notes, &mut sums);
                acc.copy_from_slice(&sums[..acc.len()]);
            }
        }
    }
}
