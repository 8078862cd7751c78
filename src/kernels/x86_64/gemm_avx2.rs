//! `gemm_i8_6x64k4_avx2`: weights and activations are sign-extended to 16 bits, `vpmaddwd` adds pairs of products.
//!
//! `vpmaddubsw` would take the bytes as they are, but its sums saturate.

use std::arch::x86_64::*;

use crate::kernels::cpu::{Avx2, Isa};
use crate::kernels::gemm::{Accumulators, MAX_ROWS, Tile, TileKernel};
use crate::kernels::layout::{Form, GROUP, KG, NR};

/// Bytes that are widened to one register: four channels of four `k`.
const CHUNK: usize = 16;
/// Channels of a register of widened weights.
const CHANNELS: usize = CHUNK / KG;
/// Registers of a group that one pass takes: their sums for all rows stay in registers.
const PASS: usize = 2;
/// Inner-dimension values whose widened activations are kept at once.
const DEPTH: usize = 384;
const ROWS: usize = 6;

impl TileKernel for Avx2 {
    const NAME: &'static str = "gemm_i8_6x64k4_avx2";
    const ROWS: usize = ROWS;
    const PANELS: usize = 4;
    const FORM: Form = Form::Signed;

    fn detect() -> Option<Self> {
        Self::new()
    }

    fn isa(self) -> Isa {
        Isa::Avx2(self)
    }

    #[inline(always)]
    fn tile(self, tile: &Tile<'_>, acc: &mut Accumulators) {
        // SAFETY: the token proves the features.
        unsafe { rows(tile, acc) }
    }
}

#[target_feature(enable = "avx2")]
fn rows(tile: &Tile<'_>, acc: &mut Accumulators) {
    match tile.rows {
        1 => block::<1>(tile, acc),
        2 => block::<2>(tile, acc),
        3 => block::<3>(tile, acc),
        4 => block::<4>(tile, acc),
        5 => block::<5>(tile, acc),
        6 => block::<6>(tile, acc),
        _ => {}
    }
}

/// Widened activations of a row.
type Wide = [[i16; CHUNK]; DEPTH / CHUNK];

/// `M` rows times all panels.
#[target_feature(enable = "avx2")]
fn block<const M: usize>(tile: &Tile<'_>, acc: &mut Accumulators) {
    let mut wide: [Wide; M] = [[[0; CHUNK]; DEPTH / CHUNK]; M];
    for acc in acc.0.iter_mut().take(tile.panels) {
        acc[..M].fill([0; NR]);
    }
    for k in (0..tile.padded_k).step_by(DEPTH) {
        let depth = DEPTH.min(tile.padded_k - k);
        for (m, wide) in wide.iter_mut().enumerate() {
            let (chunks, tail) = tile.row(m)[k..k + depth].as_chunks::<CHUNK>();
            let mut last = [0; CHUNK];
            last[..tail.len()].copy_from_slice(tail);
            for (wide, chunk) in wide.iter_mut().zip(chunks.iter().chain([&last])) {
                // SAFETY: a chunk has the 16 bytes of a 128-bit register, its widened values the 32 of a 256-bit one.
                unsafe {
                    let chunk = _mm_loadu_si128(chunk.as_ptr().cast());
                    _mm256_storeu_si256(wide.as_mut_ptr().cast(), _mm256_cvtepi8_epi16(chunk));
                }
            }
        }
        for (p, acc) in acc.0.iter_mut().enumerate().take(tile.panels) {
            let groups: &[[i8; GROUP]] = tile.panel(p)[k * NR..(k + depth) * NR].as_chunks().0;
            for first in (0..GROUP / CHUNK).step_by(PASS) {
                pass::<M>(&wide, groups, first, acc);
            }
        }
    }
}

/// Adds the products of the [`PASS`] chunks of every group from `first` on.
#[target_feature(enable = "avx2")]
fn pass<const M: usize>(wide: &[Wide; M], groups: &[[i8; GROUP]], first: usize, acc: &mut [[i32; NR]; MAX_ROWS]) {
    let groups = &groups[..groups.len().min(DEPTH / KG)];
    let mut rows = [&[[0; KG]; 0][..]; M];
    for (row, wide) in rows.iter_mut().zip(wide) {
        *row = &wide.as_flattened().as_chunks().0[..groups.len()];
    }
    // Per row and chunk: for each of four channels, the sums of products of k % 4 in {0, 1} and in {2, 3}.
    let mut sums = [[_mm256_setzero_si256(); PASS]; M];
    for (g, group) in groups.iter().enumerate() {
        let chunks = &group.as_chunks::<CHUNK>().0[first..first + PASS];
        let mut w = [_mm256_setzero_si256(); PASS];
        for (w, chunk) in w.iter_mut().zip(chunks) {
            // SAFETY: a chunk has the 16 bytes of a 128-bit register.
            *w = _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(chunk.as_ptr().cast()) });
        }
        for (sums, row) in sums.iter_mut().zip(rows) {
            // SAFETY: four `i16` are the 8 bytes that are read.
            let a = unsafe { row[g].as_ptr().cast::<i64>().read_unaligned() };
            let a = _mm256_set1_epi64x(a);
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(a, w));
            }
        }
    }
    for (acc, [low, high]) in acc.iter_mut().zip(sums) {
        let out = acc[first * CHANNELS..].first_chunk_mut::<{ PASS * CHANNELS }>().expect("the channels of a pass");
        // Two channels of either chunk in the lower half, the other two in the upper one.
        let channels = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low, high));
        // SAFETY: 8 `i32` have the 32 bytes of a register.
        unsafe {
            let out = out.as_mut_ptr().cast();
            _mm256_storeu_si256(out, _mm256_add_epi32(_mm256_loadu_si256(out), channels));
        }
    }
}
