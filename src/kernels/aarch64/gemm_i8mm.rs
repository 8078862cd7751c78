//! `gemm_i8_12x128k4_neon_i8mm`: `smmla` multiplies two rows of eight `k` with two channels of as many.
//!
//! Two neighbouring groups of a panel, zipped, give the eight `k` of a channel side by side. Rows are brought into pairs once for
//! all panels of the tile.

use std::arch::aarch64::*;
use std::arch::asm;
use std::ops::Range;

use crate::kernels::cpu::{Isa, NeonI8mm};
use crate::kernels::gemm::{Accumulators, Tile, TileKernel};
use crate::kernels::layout::{Form, GROUP, KG, NR};

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
    const NAME: &'static str = "gemm_i8_12x128k4_neon_i8mm";
    const ROWS: usize = ROWS;
    const PANELS: usize = 8;
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
        let k = k..tile.padded_k.min(k + DEPTH);
        match count {
            1 => interleave::<1>(tile, k.clone(), &mut pairs),
            2 => interleave::<2>(tile, k.clone(), &mut pairs),
            3 => interleave::<3>(tile, k.clone(), &mut pairs),
            4 => interleave::<4>(tile, k.clone(), &mut pairs),
            5 => interleave::<5>(tile, k.clone(), &mut pairs),
            _ => interleave::<6>(tile, k.clone(), &mut pairs),
        }
        for (p, acc) in acc.0.iter_mut().enumerate().take(tile.panels) {
            let (doubles, last) = tile.panel(p)[k.start * NR..k.end * NR].as_chunks::<GROUP>().0.as_chunks();
            let acc = &mut acc[..tile.rows];
            for first in (0..GROUP / CHUNK).step_by(PASS) {
                pass(&pairs, count, doubles, first, acc, k.start > 0);
                if let [last] = last {
                    let pairs = &pairs[doubles.len() * count..];
                    pass(pairs, count, &[[*last, [0; GROUP]]], first, acc, k.start > 0 || !doubles.is_empty());
                }
            }
        }
    }
}

/// Writes every eight values of two rows side by side, `P` pairs of rows one after the other; what is missing of the last eight is
/// zero.
#[inline]
#[target_feature(enable = "neon")]
fn interleave<const P: usize>(tile: &Tile<'_>, k: Range<usize>, to: &mut [[i8; CHUNK]]) {
    let to = to.as_chunks_mut::<P>().0;
    for m in 0..P {
        let row = |m: usize| tile.row(m.min(tile.rows - 1))[k.clone()].as_chunks::<{ 2 * CHUNK }>();
        let ((upper, upper_last), (lower, lower_last)) = (row(2 * m), row(2 * m + 1));
        for ((to, upper), lower) in to.as_chunks_mut::<4>().0.iter_mut().zip(upper).zip(lower) {
            for (to, at) in to.as_chunks_mut::<2>().0.iter_mut().zip([0, CHUNK]) {
                // SAFETY: chunks have the 16 bytes of a register.
                unsafe {
                    let upper = vld1q_s64(upper[at..][..CHUNK].as_ptr().cast());
                    let lower = vld1q_s64(lower[at..][..CHUNK].as_ptr().cast());
                    vst1q_s64(to[0][m].as_mut_ptr().cast(), vzip1q_s64(upper, lower));
                    vst1q_s64(to[1][m].as_mut_ptr().cast(), vzip2q_s64(upper, lower));
                }
            }
        }
        let last = upper_last.chunks(DEEP).zip(lower_last.chunks(DEEP));
        for (to, (upper, lower)) in to[4 * upper.len()..].iter_mut().zip(last) {
            to[m] = [0; CHUNK];
            to[m][..upper.len()].copy_from_slice(upper);
            to[m][DEEP..][..lower.len()].copy_from_slice(lower);
        }
    }
}

/// The products of the [`PASS`] chunks of every group from `first` on, of all pairs of groups with `count` pairs of rows, which are
/// added to `acc` or put there. In assembly, as the instruction has no stable intrinsic, and as the loop lives from what it need not
/// do: one load for two registers, no pointer counted up by itself.
///
/// # Panics
/// If there are fewer than `count` pairs of rows for every pair of groups, more than [`PAIRS`], or no such chunks.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn pass(
    pairs: &[[i8; CHUNK]],
    count: usize,
    groups: &[[[i8; GROUP]; 2]],
    first: usize,
    acc: &mut [[i32; NR]],
    add: bool,
) {
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
    macro_rules! zero {
        ($($sum:literal)*) => { concat!($("movi ", $sum, ".2d, #0\n"),*) };
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
    // Per pair of rows and two channels: row 0, row 1 with either channel.
    let (s00, s01, s02, s03, s10, s11, s12, s13, s20, s21, s22, s23): Twelve;
    let (s30, s31, s32, s33, s40, s41, s42, s43, s50, s51, s52, s53): Twelve;
    /// Two pairs of groups a round; one by itself first if their number is odd.
    macro_rules! rounds {
        ($rows:expr) => {
            asm!(
                zero!("v8" "v9" "v10" "v11" "v12" "v13" "v14" "v15" "v16" "v17" "v18" "v19"),
                zero!("v20" "v21" "v22" "v23" "v24" "v25" "v26" "v27" "v28" "v29" "v30" "v31"),
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
                out("v8") s00, out("v9") s01, out("v10") s02, out("v11") s03,
                out("v12") s10, out("v13") s11, out("v14") s12, out("v15") s13,
                out("v16") s20, out("v17") s21, out("v18") s22, out("v19") s23,
                out("v20") s30, out("v21") s31, out("v22") s32, out("v23") s33,
                out("v24") s40, out("v25") s41, out("v26") s42, out("v27") s43,
                out("v28") s50, out("v29") s51, out("v30") s52, out("v31") s53,
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
    let sums = [
        [s00, s01, s02, s03],
        [s10, s11, s12, s13],
        [s20, s21, s22, s23],
        [s30, s31, s32, s33],
        [s40, s41, s42, s43],
        [s50, s51, s52, s53],
    ];
    for (rows, [a, b, c, d]) in acc.chunks_mut(2).zip(sums) {
        let upper = [vzip1q_s64(a, b), vzip1q_s64(c, d)];
        let lower = [vzip2q_s64(a, b), vzip2q_s64(c, d)];
        for (row, chunks) in rows.iter_mut().zip([upper, lower]) {
            let out = &mut row.as_chunks_mut::<{ CHUNK / KG }>().0[first..first + PASS];
            for (out, four) in out.iter_mut().zip(chunks) {
                let four = vreinterpretq_s32_s64(four);
                // SAFETY: four `i32` have the 16 bytes of a register.
                unsafe {
                    vst1q_s32(out.as_mut_ptr(), if add { vaddq_s32(vld1q_s32(out.as_ptr()), four) } else { four })
                }
            }
        }
    }
}

/// Twelve registers of four `i32`.
type Twelve = (V, V, V, V, V, V, V, V, V, V, V, V);
type V = int64x2_t;
