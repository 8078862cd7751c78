//! `gemm_i8_12x64k4_neon`: bytes are multiplied to 16 bits, two products are summed there, pairs of sums are added to 32 bits.
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
/// Pairs of groups of a round of the inner loop.
const UNROLL: usize = 2;
/// Rows whose sums stay in registers.
const BLOCK: usize = 2;

impl TileKernel for Neon {
    const NAME: &'static str = "gemm_i8_12x64k4_neon";
    const ROWS: usize = 12;
    const PANELS: usize = 4;
    const ROW_STEP: usize = BLOCK;
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
        unsafe { blocks(tile, acc) }
    }
}

/// Two rows times one panel at a time: the panel stays in the cache next to the core for all rows.
#[target_feature(enable = "neon")]
fn blocks(tile: &Tile<'_>, acc: &mut Accumulators) {
    for (p, acc) in acc.0.iter_mut().enumerate().take(tile.panels) {
        let panel = tile.panel(p).as_chunks().0;
        let (pairs, last) = acc[..tile.rows].as_chunks_mut();
        for (m, acc) in pairs.iter_mut().enumerate() {
            block([tile.row(BLOCK * m), tile.row(BLOCK * m + 1)], panel, acc);
        }
        if let [last] = last {
            let (row, mut twice) = (tile.row(tile.rows - 1), [*last; BLOCK]);
            block([row; BLOCK], panel, &mut twice);
            *last = twice[0];
        }
    }
}

/// Per row and chunk, for two channels each in the lower and the upper register: the sums of products of `k % 4` in {0, 1} and in
/// {2, 3}.
type Sums = [[[int32x4_t; 2]; CHUNKS]; BLOCK];

/// Two rows times a panel.
#[target_feature(enable = "neon")]
fn block(rows: [&[i8]; BLOCK], panel: &[[i8; GROUP]], acc: &mut [[i32; NR]; BLOCK]) {
    let rows = rows.map(|row| &row.as_chunks::<KG>().0[..panel.len()]);
    let mut sums = [[[vdupq_n_s32(0); 2]; CHUNKS]; BLOCK];
    let rounds = panel.len() / (PAIR * UNROLL);
    add_rounds(&mut sums, rows, panel, rounds);
    for g in (rounds * PAIR * UNROLL..panel.len()).step_by(PAIR) {
        // The last group may be alone.
        let second = |row: &[[i8; KG]]| row.get(g + 1).map_or(vdupq_n_s8(0), |group| splat(*group));
        let pair = [panel[g], panel.get(g + 1).copied().unwrap_or([0; GROUP])];
        add(&mut sums, &pair, rows.map(|row| [splat(row[g]), second(row)]));
    }
    for (sums, acc) in sums.iter().zip(acc) {
        for (sums, out) in sums.iter().zip(acc.as_chunks_mut::<{ NR / CHUNKS }>().0) {
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

/// Adds the products of two groups.
#[inline]
#[target_feature(enable = "neon")]
fn add(sums: &mut Sums, pair: &[[i8; GROUP]; PAIR], a: [[int8x16_t; PAIR]; BLOCK]) {
    for c in 0..CHUNKS {
        let mut w = [vdupq_n_s8(0); PAIR];
        for (w, group) in w.iter_mut().zip(pair) {
            // SAFETY: a chunk has the 16 bytes of a register.
            *w = unsafe { vld1q_s8(group[c * CHUNK..][..CHUNK].as_ptr()) };
        }
        for (sums, a) in sums.iter_mut().zip(a) {
            let low = vmull_s8(vget_low_s8(w[0]), vget_low_s8(a[0]));
            let low = vmlal_s8(low, vget_low_s8(w[1]), vget_low_s8(a[1]));
            let high = vmlal_high_s8(vmull_high_s8(w[0], a[0]), w[1], a[1]);
            sums[c] = [vpadalq_s16(sums[c][0], low), vpadalq_s16(sums[c][1], high)];
        }
    }
}

/// Adds the products of the groups of `rounds` rounds: [`add`] in assembly, as the compiler, which knows that both halves of a
/// splat are the same, moves halves of the weights down instead, and increments every pointer by itself.
///
/// # Panics
/// If the panel or a row has fewer groups.
#[inline]
#[target_feature(enable = "neon")]
fn add_rounds(sums: &mut Sums, rows: [&[[i8; KG]]; BLOCK], panel: &[[i8; GROUP]], rounds: usize) {
    let groups = rounds * PAIR * UNROLL;
    assert!(panel.len() >= groups && rows.iter().all(|row| row.len() >= groups), "{rounds} rounds");
    if rounds == 0 {
        return;
    }
    /// Two chunks of two groups, loaded from `$first` and `$second`, times both rows: v0 to v3 are the weights of two chunks of the
    /// first and of the second group, v4 and v5 the two groups of row 0, v6 and v7 of row 1, v24 to v27 sums of 16 bits.
    macro_rules! chunks {
        ($first:literal, $second:literal, $a:literal, $b:literal, $c:literal, $d:literal, $e:literal, $f:literal, $g:literal, $h:literal) => {
            concat!(
                "ldp q0, q1, [{w}",
                $first,
                "\n",
                "ldp q2, q3, [{w}, #",
                $second,
                "]\n",
                row!("v4", "v5", $a, $b, $c, $d),
                row!("v6", "v7", $e, $f, $g, $h),
            )
        };
    }
    /// The four sums of one row.
    macro_rules! row {
        ($even:literal, $odd:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
            concat!(
                "smull v24.8h, v0.8b, ",
                $even,
                ".8b\n",
                "smull2 v25.8h, v0.16b, ",
                $even,
                ".16b\n",
                "smull v26.8h, v1.8b, ",
                $even,
                ".8b\n",
                "smull2 v27.8h, v1.16b, ",
                $even,
                ".16b\n",
                "smlal v24.8h, v2.8b, ",
                $odd,
                ".8b\n",
                "smlal2 v25.8h, v2.16b, ",
                $odd,
                ".16b\n",
                "smlal v26.8h, v3.8b, ",
                $odd,
                ".8b\n",
                "smlal2 v27.8h, v3.16b, ",
                $odd,
                ".16b\n",
                "sadalp ",
                $a,
                ".4s, v24.8h\n",
                "sadalp ",
                $b,
                ".4s, v25.8h\n",
                "sadalp ",
                $c,
                ".4s, v26.8h\n",
                "sadalp ",
                $d,
                ".4s, v27.8h\n",
            )
        };
    }
    /// A pair of groups.
    macro_rules! pair {
        ($first:literal, $second:literal, $third:literal, $fourth:literal) => {
            concat!(
                "ld1r {{v4.4s}}, [{a}], #4\n",
                "ld1r {{v5.4s}}, [{a}], #4\n",
                "ld1r {{v6.4s}}, [{b}], #4\n",
                "ld1r {{v7.4s}}, [{b}], #4\n",
                chunks!($first, $second, "v8", "v9", "v10", "v11", "v16", "v17", "v18", "v19"),
                chunks!($third, $fourth, "v12", "v13", "v14", "v15", "v20", "v21", "v22", "v23"),
            )
        };
    }
    let [[s0, s1, s2, s3], [t0, t1, t2, t3]] = sums;
    // SAFETY: NEON. Every round reads 256 bytes of the panel and 16 of either row, which are there, as checked above. The first load
    // moves `w` on.
    unsafe {
        asm!(
            "2:",
            pair!("], #256", "-192", ", #-224]", "-160"),
            pair!(", #-128]", "-64", ", #-96]", "-32"),
            "subs {rounds}, {rounds}, #1",
            "b.ne 2b",
            w = inout(reg) panel.as_ptr() => _,
            a = inout(reg) rows[0].as_ptr() => _,
            b = inout(reg) rows[1].as_ptr() => _,
            rounds = inout(reg) rounds => _,
            inout("v8") s0[0], inout("v9") s0[1], inout("v10") s1[0], inout("v11") s1[1],
            inout("v12") s2[0], inout("v13") s2[1], inout("v14") s3[0], inout("v15") s3[1],
            inout("v16") t0[0], inout("v17") t0[1], inout("v18") t1[0], inout("v19") t1[1],
            inout("v20") t2[0], inout("v21") t2[1], inout("v22") t3[0], inout("v23") t3[1],
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            options(readonly, nostack),
        );
    }
}
