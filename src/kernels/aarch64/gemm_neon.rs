//! `gemm_i8_2x16k4_neon`: bytes are multiplied to 16 bits, two products are summed there, pairs of sums are added to 32 bits.
//!
//! Weights are at least -127, so that two products are at most `2 * 128 * 127 = 32512` in magnitude and fit.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::kernels::cpu::{Isa, Neon};
use crate::kernels::gemm::{Accumulators, Tile, TileKernel};
use crate::kernels::layout::{Form, KG, NR};

/// Bytes of one group of one panel.
const GROUP: usize = NR * KG;
/// Bytes of a register: four channels of four `k`.
const CHUNK: usize = 16;
/// Registers of a group.
const CHUNKS: usize = GROUP / CHUNK;
/// Groups whose products are summed in 16 bits.
const PAIR: usize = 2;

impl TileKernel for Neon {
    const NAME: &'static str = "gemm_i8_2x16k4_neon";
    const ROWS: usize = 2;
    const PANELS: usize = 1;
    const FORM: Form = Form::Signed;

    fn detect() -> Option<Self> {
        Self::new()
    }

    fn isa(self) -> Isa {
        Isa::Neon(self)
    }

    #[inline(always)]
    fn tile(self, tile: &Tile<'_>, acc: &mut Accumulators) {
        // SAFETY: the token proves the feature.
        unsafe { rows(tile, acc) }
    }
}

#[target_feature(enable = "neon")]
fn rows(tile: &Tile<'_>, acc: &mut Accumulators) {
    match tile.rows {
        1 => block::<1>(tile, acc),
        2 => block::<2>(tile, acc),
        _ => {}
    }
}

/// `M` rows times the panel.
#[target_feature(enable = "neon")]
fn block<const M: usize>(tile: &Tile<'_>, acc: &mut Accumulators) {
    let mut rows = [&[[[0; KG]; PAIR]; 0][..]; M];
    let (pairs, last): (&[[[i8; GROUP]; PAIR]], _) = tile.panel(0).as_chunks::<GROUP>().0.as_chunks();
    for (m, row) in rows.iter_mut().enumerate() {
        *row = &tile.row(m).as_chunks::<KG>().0.as_chunks().0[..pairs.len()];
    }
    // Per row and chunk, for two channels each in the lower and the upper register: the sums of products of k % 4 in {0, 1} and {2, 3}.
    let mut sums = [[[vdupq_n_s32(0); 2]; CHUNKS]; M];
    for (g, pair) in pairs.iter().enumerate() {
        let mut a = [[vdupq_n_s8(0); PAIR]; M];
        for (a, row) in a.iter_mut().zip(rows) {
            *a = [splat(row[g][0]), splat(row[g][1])];
        }
        add(&mut sums, pair, a);
    }
    // A panel of which kernels are given part of a pair.
    if let [group] = last {
        let mut a = [[vdupq_n_s8(0); PAIR]; M];
        for (m, a) in a.iter_mut().enumerate() {
            *a = [splat(*tile.row(m).last_chunk().expect("a group")), vdupq_n_s8(0)];
        }
        add(&mut sums, &[*group, [0; GROUP]], a);
    }
    for (m, sums) in sums.iter().enumerate() {
        for (sums, out) in sums.iter().zip(acc.0[0][m].as_chunks_mut::<{ NR / CHUNKS }>().0) {
            // SAFETY: four `i32` have the 16 bytes of a register.
            unsafe { vst1q_s32(out.as_mut_ptr(), vpaddq_s32(sums[0], sums[1])) }
        }
    }
}

/// Four bytes, four times.
#[inline]
#[target_feature(enable = "neon")]
fn splat(bytes: [i8; KG]) -> int8x16_t {
    vreinterpretq_s8_s32(vdupq_n_s32(i32::from_ne_bytes(bytes.map(|byte| byte as u8))))
}

/// The products of the upper halves of both groups, summed. In assembly, as the compiler knows that both halves of `a` are the same
/// and moves those of `w` down instead.
#[inline]
#[target_feature(enable = "neon")]
fn products_high(w: [int8x16_t; PAIR], a: [int8x16_t; PAIR]) -> int16x8_t {
    let mut sum: int16x8_t;
    // SAFETY: NEON, which works on registers only.
    unsafe {
        asm!(
            "smull2 {sum:v}.8h, {w0:v}.16b, {a0:v}.16b",
            "smlal2 {sum:v}.8h, {w1:v}.16b, {a1:v}.16b",
            sum = out(vreg) sum, w0 = in(vreg) w[0], a0 = in(vreg) a[0], w1 = in(vreg) w[1], a1 = in(vreg) a[1],
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// Adds the products of two groups.
#[inline]
#[target_feature(enable = "neon")]
fn add<const M: usize>(
    sums: &mut [[[int32x4_t; 2]; CHUNKS]; M],
    pair: &[[i8; GROUP]; PAIR],
    a: [[int8x16_t; PAIR]; M],
) {
    for c in 0..CHUNKS {
        let mut w = [vdupq_n_s8(0); PAIR];
        for (w, group) in w.iter_mut().zip(pair) {
            // SAFETY: a chunk has the 16 bytes of a register.
            *w = unsafe { vld1q_s8(group[c * CHUNK..][..CHUNK].as_ptr()) };
        }
        for (sums, a) in sums.iter_mut().zip(a) {
            let low = vmull_s8(vget_low_s8(w[0]), vget_low_s8(a[0]));
            let low = vmlal_s8(low, vget_low_s8(w[1]), vget_low_s8(a[1]));
            let high = products_high(w, a);
            sums[c] = [vpadalq_s16(sums[c][0], low), vpadalq_s16(sums[c][1], high)];
        }
    }
}
