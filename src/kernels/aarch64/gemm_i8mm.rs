//! `gemm_i8_10x64k4_neon_i8mm`: `smmla` multiplies two rows of eight `k` with two channels of as many.
//!
//! Two neighbouring groups of a panel, zipped, give the eight `k` of a channel side by side. Rows are brought into pairs once for
//! all panels of the tile.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::kernels::cpu::{Isa, NeonI8mm};
use crate::kernels::gemm::{Accumulators, Tile, TileKernel};
use crate::kernels::layout::{Form, KG, NR};

/// Bytes of one group of one panel.
const GROUP: usize = NR * KG;
/// Bytes of a register: four channels of four `k`, or eight `k` of two rows or channels.
const CHUNK: usize = 16;
/// Inner-dimension values of an instruction: two groups.
const DEEP: usize = 2 * KG;
/// Registers of a group that one pass takes: their sums for all rows stay in registers.
const PASS: usize = 2;
/// Inner-dimension values whose paired activations are kept at once.
const DEPTH: usize = 384;
const ROWS: usize = 10;

impl TileKernel for NeonI8mm {
    const NAME: &'static str = "gemm_i8_10x64k4_neon_i8mm";
    const ROWS: usize = ROWS;
    const PANELS: usize = 4;
    const ROW_STEP: usize = 2;
    const FORM: Form = Form::Signed;

    fn detect() -> Option<Self> {
        Self::new()
    }

    fn isa(self) -> Isa {
        Isa::NeonI8mm(self)
    }

    #[inline(always)]
    fn tile(self, tile: &Tile<'_>, acc: &mut Accumulators) {
        // SAFETY: the token proves the features.
        unsafe { rows(tile, acc) }
    }
}

#[target_feature(enable = "neon,i8mm")]
fn rows(tile: &Tile<'_>, acc: &mut Accumulators) {
    match tile.rows {
        1 | 2 => block::<1>(tile, acc),
        3 | 4 => block::<2>(tile, acc),
        5 | 6 => block::<3>(tile, acc),
        7 | 8 => block::<4>(tile, acc),
        9 | 10 => block::<5>(tile, acc),
        _ => {}
    }
}

/// Eight `k` of `P` pairs of rows, for all of a part of the inner dimension.
type Pairs<const P: usize> = [[[i8; CHUNK]; P]; DEPTH / DEEP];

/// `P` pairs of rows times all panels. The second row of the last pair may be missing.
#[target_feature(enable = "neon,i8mm")]
fn block<const P: usize>(tile: &Tile<'_>, acc: &mut Accumulators) {
    let mut pairs: Pairs<P> = [[[0; CHUNK]; P]; DEPTH / DEEP];
    for acc in acc.0.iter_mut().take(tile.panels) {
        acc[..tile.rows].fill([0; NR]);
    }
    for k in (0..tile.padded_k).step_by(DEPTH) {
        let depth = DEPTH.min(tile.padded_k - k);
        for m in 0..P {
            let row = |m: usize| &tile.row(m.min(tile.rows - 1))[k..k + depth];
            interleave(row(2 * m), row(2 * m + 1), &mut pairs, m);
        }
        for (p, acc) in acc.0.iter_mut().enumerate().take(tile.panels) {
            let groups: &[[i8; GROUP]] = tile.panel(p)[k * NR..(k + depth) * NR].as_chunks().0;
            for first in (0..GROUP / CHUNK).step_by(PASS) {
                pass::<P>(&pairs, groups, first, &mut acc[..tile.rows]);
            }
        }
    }
}

/// Writes every eight values of `upper` and of `lower` side by side, as pair `m`; what is missing of the last eight is zero.
#[target_feature(enable = "neon")]
fn interleave<const P: usize>(upper: &[i8], lower: &[i8], to: &mut Pairs<P>, m: usize) {
    let ((upper, upper_last), (lower, lower_last)) = (upper.as_chunks::<CHUNK>(), lower.as_chunks::<CHUNK>());
    for ((to, upper), lower) in to.as_chunks_mut::<2>().0.iter_mut().zip(upper).zip(lower) {
        // SAFETY: chunks have the 16 bytes of a register.
        unsafe {
            let (upper, lower) = (vld1q_s64(upper.as_ptr().cast()), vld1q_s64(lower.as_ptr().cast()));
            vst1q_s64(to[0][m].as_mut_ptr().cast(), vzip1q_s64(upper, lower));
            vst1q_s64(to[1][m].as_mut_ptr().cast(), vzip2q_s64(upper, lower));
        }
    }
    let last = upper_last.chunks(DEEP).zip(lower_last.chunks(DEEP));
    for (to, (upper, lower)) in to[2 * upper.len()..].iter_mut().zip(last) {
        to[m] = [0; CHUNK];
        to[m][..upper.len()].copy_from_slice(upper);
        to[m][DEEP..][..lower.len()].copy_from_slice(lower);
    }
}

/// Adds the products of the [`PASS`] chunks of every group from `first` on.
#[target_feature(enable = "neon,i8mm")]
fn pass<const P: usize>(pairs: &Pairs<P>, groups: &[[i8; GROUP]], first: usize, acc: &mut [[i32; NR]]) {
    let (doubles, last) = groups.as_chunks::<2>();
    // Per pair and two channels: row 0, row 1 with either channel.
    let mut sums = [[[vdupq_n_s32(0); 2]; PASS]; P];
    for (pairs, [even, odd]) in pairs.iter().zip(doubles) {
        add(&mut sums, pairs, even, odd, first);
    }
    if let ([group], Some(pairs)) = (last, pairs.get(doubles.len())) {
        add(&mut sums, pairs, group, &[0; GROUP], first);
    }
    for (m, row) in acc.iter_mut().enumerate() {
        for (c, sums) in sums[m / 2].iter().enumerate() {
            let (a, b) = (vreinterpretq_s64_s32(sums[0]), vreinterpretq_s64_s32(sums[1]));
            let four = vreinterpretq_s32_s64(if m % 2 == 0 { vzip1q_s64(a, b) } else { vzip2q_s64(a, b) });
            let out = row[(first + c) * (CHUNK / KG)..].first_chunk_mut::<{ CHUNK / KG }>().expect("four channels");
            // SAFETY: four `i32` have the 16 bytes of a register.
            unsafe { vst1q_s32(out.as_mut_ptr(), vaddq_s32(vld1q_s32(out.as_ptr()), four)) }
        }
    }
}

/// Adds the products of two groups.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn add<const P: usize>(
    sums: &mut [[[int32x4_t; 2]; PASS]; P],
    pairs: &[[i8; CHUNK]; P],
    even: &[i8; GROUP],
    odd: &[i8; GROUP],
    first: usize,
) {
    let mut w = [[vdupq_n_s8(0); 2]; PASS];
    for (c, w) in w.iter_mut().enumerate() {
        let at = (first + c) * CHUNK;
        // SAFETY: a chunk has the 16 bytes of a register.
        let (even, odd) =
            unsafe { (vld1q_s32(even[at..][..CHUNK].as_ptr().cast()), vld1q_s32(odd[at..][..CHUNK].as_ptr().cast())) };
        *w = [vreinterpretq_s8_s32(vzip1q_s32(even, odd)), vreinterpretq_s8_s32(vzip2q_s32(even, odd))];
    }
    for (sums, pairs) in sums.iter_mut().zip(pairs) {
        // SAFETY: eight values of two rows have the 16 bytes of a register.
        let a = unsafe { vld1q_s8(pairs.as_ptr()) };
        for (sums, w) in sums.iter_mut().zip(w) {
            for (sum, w) in sums.iter_mut().zip(w) {
                // SAFETY: the function has the instruction, which works on registers only. The intrinsic is not stable yet.
                unsafe {
                    asm!(
                        "smmla {sum:v}.4s, {a:v}.16b, {w:v}.16b",
                        sum = inout(vreg) *sum, a = in(vreg) a, w = in(vreg) w,
                        options(pure, nomem, nostack, preserves_flags),
                    );
                }
            }
        }
    }
}
