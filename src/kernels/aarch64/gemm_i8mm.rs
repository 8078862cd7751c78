//! `gemm_i8_12x64k4_neon_i8mm`: `smmla` multiplies two rows of eight `k` with two channels of as many.
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
const ROWS: usize = 12;
/// Pairs of rows.
const PAIRS: usize = ROWS / 2;

impl TileKernel for NeonI8mm {
    const NAME: &'static str = "gemm_i8_12x64k4_neon_i8mm";
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

/// All rows times all panels. The second row of the last pair may be missing.
#[target_feature(enable = "neon,i8mm")]
fn rows(tile: &Tile<'_>, acc: &mut Accumulators) {
    let count = tile.rows.div_ceil(2);
    // For every eight `k`, the pairs of rows.
    let mut pairs = [[0; CHUNK]; DEPTH / DEEP * PAIRS];
    for k in (0..tile.padded_k).step_by(DEPTH) {
        let depth = DEPTH.min(tile.padded_k - k);
        let row = |m: usize| &tile.row(m.min(tile.rows - 1))[k..k + depth];
        for m in 0..count {
            interleave(row(2 * m), row(2 * m + 1), &mut pairs[m..], count);
        }
        for (p, acc) in acc.0.iter_mut().enumerate().take(tile.panels) {
            let groups: &[[i8; GROUP]] = tile.panel(p)[k * NR..(k + depth) * NR].as_chunks().0;
            for first in (0..GROUP / CHUNK).step_by(PASS) {
                pass(&pairs, count, groups, first, &mut acc[..tile.rows], k > 0);
            }
        }
    }
}

/// Writes every eight values of `upper` and of `lower` side by side to every `stride`th element; what is missing of the last eight is
/// zero.
#[inline]
#[target_feature(enable = "neon")]
fn interleave(upper: &[i8], lower: &[i8], to: &mut [[i8; CHUNK]], stride: usize) {
    let ((upper, upper_last), (lower, lower_last)) = (upper.as_chunks::<CHUNK>(), lower.as_chunks::<CHUNK>());
    for (i, (upper, lower)) in upper.iter().zip(lower).enumerate() {
        let to = &mut to[2 * i * stride..][..stride + 1];
        // SAFETY: chunks have the 16 bytes of a register.
        unsafe {
            let (upper, lower) = (vld1q_s64(upper.as_ptr().cast()), vld1q_s64(lower.as_ptr().cast()));
            vst1q_s64(to[0].as_mut_ptr().cast(), vzip1q_s64(upper, lower));
            vst1q_s64(to[stride].as_mut_ptr().cast(), vzip2q_s64(upper, lower));
        }
    }
    let last = upper_last.chunks(DEEP).zip(lower_last.chunks(DEEP));
    for (i, (up, low)) in last.enumerate() {
        let to = &mut to[(2 * upper.len() + i) * stride];
        *to = [0; CHUNK];
        to[..up.len()].copy_from_slice(up);
        to[DEEP..][..low.len()].copy_from_slice(low);
    }
}

/// Per pair of rows and two channels: row 0, row 1 with either channel.
type Sums = [[[int32x4_t; 2]; PASS]; PAIRS];

/// The products of the [`PASS`] chunks of every group from `first` on, which are added to `acc` or put there.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn pass(pairs: &[[i8; CHUNK]], count: usize, groups: &[[i8; GROUP]], first: usize, acc: &mut [[i32; NR]], add: bool) {
    let mut sums = [[[vdupq_n_s32(0); 2]; PASS]; PAIRS];
    let (doubles, last) = groups.as_chunks::<2>();
    let (before, after) = pairs.split_at(doubles.len() * count);
    add_products(&mut sums, before, count, doubles, first);
    if let [last] = last {
        add_products(&mut sums, after, count, &[[*last, [0; GROUP]]], first);
    }
    for (rows, sums) in acc.chunks_mut(2).zip(sums) {
        for (c, sums) in sums.iter().enumerate() {
            let [a, b] = sums.map(|sum| vreinterpretq_s64_s32(sum));
            for (row, four) in rows.iter_mut().zip([vzip1q_s64(a, b), vzip2q_s64(a, b)]) {
                let out = row[(first + c) * (CHUNK / KG)..].first_chunk_mut::<{ CHUNK / KG }>().expect("four channels");
                let four = vreinterpretq_s32_s64(four);
                // SAFETY: four `i32` have the 16 bytes of a register.
                unsafe {
                    vst1q_s32(out.as_mut_ptr(), if add { vaddq_s32(vld1q_s32(out.as_ptr()), four) } else { four })
                }
            }
        }
    }
}

/// Adds the products of all pairs of groups with `count` pairs of rows. In assembly, as the instruction has no stable intrinsic, and
/// as the loop lives from what it need not do: one load for two registers, no pointer counted up by itself.
///
/// # Panics
/// If there are fewer than `count` pairs of rows for every pair of groups, more than [`PAIRS`], or no such chunks.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn add_products(sums: &mut Sums, pairs: &[[i8; CHUNK]], count: usize, groups: &[[[i8; GROUP]; 2]], first: usize) {
    assert!((1..=PAIRS).contains(&count) && pairs.len() >= groups.len() * count, "{count} pairs of rows");
    assert!((first + PASS) * CHUNK <= GROUP, "chunk {first}");
    if groups.is_empty() {
        return;
    }
    /// v4 to v7 are two chunks of two groups, v0 to v3 the eight `k` of two channels each.
    macro_rules! weights {
        ($even:literal, $odd:literal) => {
            concat!(
                "ldp q4, q5, [{w}, #",
                $even,
                "]\n",
                "ldp q6, q7, [{w}, #",
                $odd,
                "]\n",
                "zip1 v0.4s, v4.4s, v6.4s\n",
                "zip2 v1.4s, v4.4s, v6.4s\n",
                "zip1 v2.4s, v5.4s, v7.4s\n",
                "zip2 v3.4s, v5.4s, v7.4s\n",
            )
        };
    }
    /// One pair of rows, in `$a`, times the weights.
    macro_rules! smmla {
        ($a:literal, $s0:literal, $s1:literal, $s2:literal, $s3:literal) => {
            concat!(
                "smmla ",
                $s0,
                ".4s, ",
                $a,
                ".16b, v0.16b\n",
                "smmla ",
                $s1,
                ".4s, ",
                $a,
                ".16b, v1.16b\n",
                "smmla ",
                $s2,
                ".4s, ",
                $a,
                ".16b, v2.16b\n",
                "smmla ",
                $s3,
                ".4s, ",
                $a,
                ".16b, v3.16b\n",
            )
        };
    }
    /// The sums of one pair or of two.
    macro_rules! rows {
        (0) => {
            concat!("ldr q4, [{a}], #16\n", smmla!("v4", "v8", "v9", "v10", "v11"))
        };
        (2) => {
            concat!("ldr q4, [{a}], #16\n", smmla!("v4", "v16", "v17", "v18", "v19"))
        };
        (4) => {
            concat!("ldr q4, [{a}], #16\n", smmla!("v4", "v24", "v25", "v26", "v27"))
        };
        (0, 1) => {
            concat!(
                "ldp q4, q5, [{a}], #32\n",
                smmla!("v4", "v8", "v9", "v10", "v11"),
                smmla!("v5", "v12", "v13", "v14", "v15"),
            )
        };
        (2, 3) => {
            concat!(
                "ldp q4, q5, [{a}], #32\n",
                smmla!("v4", "v16", "v17", "v18", "v19"),
                smmla!("v5", "v20", "v21", "v22", "v23"),
            )
        };
        (4, 5) => {
            concat!(
                "ldp q4, q5, [{a}], #32\n",
                smmla!("v4", "v24", "v25", "v26", "v27"),
                smmla!("v5", "v28", "v29", "v30", "v31"),
            )
        };
    }
    let [s0, s1, s2, s3, s4, s5] = sums;
    /// Two pairs of groups a round; one by itself first if their number is odd.
    macro_rules! rounds {
        ($rows:expr) => {
            asm!(
                "tbz {n}, #0, 2f",
                weights!("0", "64"),
                $rows,
                "add {w}, {w}, #128",
                "subs {n}, {n}, #1",
                "b.eq 3f",
                "2:",
                weights!("0", "64"),
                $rows,
                weights!("128", "192"),
                $rows,
                "add {w}, {w}, #256",
                "subs {n}, {n}, #2",
                "b.ne 2b",
                "3:",
                w = inout(reg) groups[0][0][first * CHUNK..].as_ptr() => _,
                a = inout(reg) pairs.as_ptr() => _,
                n = inout(reg) groups.len() => _,
                inout("v8") s0[0][0], inout("v9") s0[0][1], inout("v10") s0[1][0], inout("v11") s0[1][1],
                inout("v12") s1[0][0], inout("v13") s1[0][1], inout("v14") s1[1][0], inout("v15") s1[1][1],
                inout("v16") s2[0][0], inout("v17") s2[0][1], inout("v18") s2[1][0], inout("v19") s2[1][1],
                inout("v20") s3[0][0], inout("v21") s3[0][1], inout("v22") s3[1][0], inout("v23") s3[1][1],
                inout("v24") s4[0][0], inout("v25") s4[0][1], inout("v26") s4[1][0], inout("v27") s4[1][1],
                inout("v28") s5[0][0], inout("v29") s5[0][1], inout("v30") s5[1][0], inout("v31") s5[1][1],
                out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                options(readonly, nostack),
            )
        };
    }
    // SAFETY: the function has the instructions. For every pair of groups, of which there is one at least, they read `count` pairs of
    // rows, which are there, and two chunks of either group, which are within the group, as checked above.
    unsafe {
        match count {
            1 => rounds!(rows!(0)),
            2 => rounds!(rows!(0, 1)),
            3 => rounds!(concat!(rows!(0, 1), rows!(2))),
            4 => rounds!(concat!(rows!(0, 1), rows!(2, 3))),
            5 => rounds!(concat!(rows!(0, 1), rows!(2, 3), rows!(4))),
            _ => rounds!(concat!(rows!(0, 1), rows!(2, 3), rows!(4, 5))),
        }
    }
}
