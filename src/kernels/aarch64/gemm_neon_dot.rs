//! `gemm_i8_12x64k4_neon_dotprod`: one group of a panel is four registers, `sdot` adds four products to each of their lanes.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::kernels::cpu::{Isa, NeonDot};
use crate::kernels::gemm::{Accumulators, Tile, TileKernel};
use crate::kernels::layout::{Form, GROUP, KG, NR};

/// Bytes of a register: four channels of four `k`, or four groups of a row.
const CHUNK: usize = 16;
/// Registers of a group.
const CHUNKS: usize = GROUP / CHUNK;
/// Groups of a row in a register.
const STEP: usize = CHUNK / KG;
/// Rows whose sums stay in registers, at most.
const BLOCK: usize = 6;

impl TileKernel for NeonDot {
    const NAME: &'static str = "gemm_i8_12x64k4_neon_dotprod";
    const ROWS: usize = 12;
    const PANELS: usize = 4;
    const ROW_STEP: usize = BLOCK;
    const FORM: Form = Form::Signed;

    fn detect() -> Option<Self> {
        Self::new()
    }

    fn isa(self) -> Isa {
        Isa::NeonDot(self)
    }

    #[inline(always)]
    fn tile(self, tile: &Tile<'_>, acc: &mut Accumulators) {
        // SAFETY: the token proves the features.
        unsafe { blocks(tile, acc) }
    }
}

/// Six rows times one panel at a time: the panel stays in the cache next to the core for all rows.
#[target_feature(enable = "neon,dotprod")]
fn blocks(tile: &Tile<'_>, acc: &mut Accumulators) {
    for (p, acc) in acc.0.iter_mut().enumerate().take(tile.panels) {
        let panel = tile.panel(p);
        for (first, acc) in (0..tile.rows).step_by(BLOCK).zip(acc[..tile.rows].chunks_mut(BLOCK)) {
            match acc.len() {
                1 => block::<1>(tile, first, panel, acc),
                2 => block::<2>(tile, first, panel, acc),
                3 => block::<3>(tile, first, panel, acc),
                4 => block::<4>(tile, first, panel, acc),
                5 => block::<5>(tile, first, panel, acc),
                _ => block::<BLOCK>(tile, first, panel, acc),
            }
        }
    }
}

/// `sum` plus the products of four channels of `w` with group `LANE` of `a`. The intrinsic is not stable yet.
macro_rules! sdot {
    ($sum:expr, $w:expr, $a:expr, $lane:literal) => {
        // SAFETY: the function around has dot products, and the instruction works on registers only.
        unsafe {
            asm!(
                concat!("sdot {sum:v}.4s, {w:v}.16b, {a:v}.4b[", $lane, "]"),
                sum = inout(vreg) $sum, w = in(vreg) $w, a = in(vreg) $a,
                options(pure, nomem, nostack, preserves_flags),
            )
        }
    };
}

/// `M` rows from `first` on times a panel.
#[target_feature(enable = "neon,dotprod")]
fn block<const M: usize>(tile: &Tile<'_>, first: usize, panel: &[i8], acc: &mut [[i32; NR]]) {
    let (steps, groups): (&[[[i8; GROUP]; STEP]], _) = panel.as_chunks::<GROUP>().0.as_chunks();
    let mut rows = [&[[0; CHUNK]; 0][..]; M];
    for (m, row) in rows.iter_mut().enumerate() {
        *row = &tile.row(first + m).as_chunks::<CHUNK>().0[..steps.len()];
    }
    let mut sums = [[vdupq_n_s32(0); CHUNKS]; M];
    // Most rows are in blocks of full height.
    if let (Ok(sums), Ok(rows)) =
        (<&mut [_; BLOCK]>::try_from(sums.as_mut_slice()), <[_; BLOCK]>::try_from(rows.as_slice()))
    {
        add_steps(sums, rows, steps);
    } else {
        for (g, step) in steps.iter().enumerate() {
            let mut a = [vdupq_n_s8(0); M];
            for (a, row) in a.iter_mut().zip(rows) {
                // SAFETY: a chunk has the 16 bytes of a register.
                *a = unsafe { vld1q_s8(row[g].as_ptr()) };
            }
            macro_rules! group {
                ($lane:literal) => {
                    for c in 0..CHUNKS {
                        let w = load(&step[$lane], c);
                        for (sums, a) in sums.iter_mut().zip(a) {
                            sdot!(sums[c], w, a, $lane);
                        }
                    }
                };
            }
            group!(0);
            group!(1);
            group!(2);
            group!(3);
        }
    }
    for (g, group) in groups.iter().enumerate() {
        for (m, sums) in sums.iter_mut().enumerate() {
            let bytes = tile.row(first + m)[steps.len() * CHUNK + g * KG..].first_chunk::<KG>().expect("a group");
            let a = vreinterpretq_s8_s32(vdupq_n_s32(bytemuck::cast(*bytes)));
            for (c, sum) in sums.iter_mut().enumerate() {
                sdot!(*sum, load(group, c), a, 0);
            }
        }
    }
    for (sums, acc) in sums.iter().zip(acc) {
        for (sum, out) in sums.iter().zip(acc.as_chunks_mut::<{ NR / CHUNKS }>().0) {
            // SAFETY: four `i32` have the 16 bytes of a register.
            unsafe { vst1q_s32(out.as_mut_ptr(), *sum) }
        }
    }
}

/// A register of a group.
#[inline]
#[target_feature(enable = "neon")]
fn load(group: &[i8; GROUP], chunk: usize) -> int8x16_t {
    // SAFETY: a chunk has the 16 bytes of a register.
    unsafe { vld1q_s8(group[chunk * CHUNK..][..CHUNK].as_ptr()) }
}

/// Adds the products of a block of full height with all steps: in assembly, as the compiler loads every register by itself and
/// counts every pointer up.
///
/// # Panics
/// If a row has not as many chunks as there are steps.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn add_steps(sums: &mut [[int32x4_t; CHUNKS]; BLOCK], rows: [&[[i8; CHUNK]]; BLOCK], steps: &[[[i8; GROUP]; STEP]]) {
    assert!(rows.iter().all(|row| row.len() == steps.len()), "{} steps", steps.len());
    if steps.is_empty() {
        return;
    }
    /// Two chunks of a group, in v6 and v7, times group `$lane` of all rows, in v0 to v5.
    macro_rules! chunks {
        ($at:literal, $lane:literal; $($row:literal $first:literal $second:literal)*) => {
            concat!(
                "ldp q6, q7, [{w}", $at, "\n",
                $(
                    "sdot ", $first, ".4s, v6.16b, ", $row, ".4b[", $lane, "]\n",
                    "sdot ", $second, ".4s, v7.16b, ", $row, ".4b[", $lane, "]\n",
                )*
            )
        };
    }
    macro_rules! group {
        ($first:literal, $second:literal, $lane:literal) => {
            concat!(
                chunks!($first, $lane; "v0" "v8" "v9" "v1" "v12" "v13" "v2" "v16" "v17" "v3" "v20" "v21" "v4" "v24" "v25" "v5" "v28" "v29"),
                chunks!($second, $lane; "v0" "v10" "v11" "v1" "v14" "v15" "v2" "v18" "v19" "v3" "v22" "v23" "v4" "v26" "v27" "v5" "v30" "v31"),
            )
        };
    }
    let [s0, s1, s2, s3, s4, s5] = sums;
    // SAFETY: the function has the instructions. For every step they read its 256 bytes and 16 of every row, which are there, as
    // checked above. The first load of weights moves `w` on.
    unsafe {
        asm!(
            "2:",
            "ldr q0, [{r0}], #16",
            "ldr q1, [{r1}], #16",
            "ldr q2, [{r2}], #16",
            "ldr q3, [{r3}], #16",
            "ldr q4, [{r4}], #16",
            "ldr q5, [{r5}], #16",
            group!("], #256", ", #-224]", "0"),
            group!(", #-192]", ", #-160]", "1"),
            group!(", #-128]", ", #-96]", "2"),
            group!(", #-64]", ", #-32]", "3"),
            "subs {n}, {n}, #1",
            "b.ne 2b",
            w = inout(reg) steps.as_ptr() => _,
            n = inout(reg) steps.len() => _,
            r0 = inout(reg) rows[0].as_ptr() => _,
            r1 = inout(reg) rows[1].as_ptr() => _,
            r2 = inout(reg) rows[2].as_ptr() => _,
            r3 = inout(reg) rows[3].as_ptr() => _,
            r4 = inout(reg) rows[4].as_ptr() => _,
            r5 = inout(reg) rows[5].as_ptr() => _,
            inout("v8") s0[0], inout("v9") s0[1], inout("v10") s0[2], inout("v11") s0[3],
            inout("v12") s1[0], inout("v13") s1[1], inout("v14") s1[2], inout("v15") s1[3],
            inout("v16") s2[0], inout("v17") s2[1], inout("v18") s2[2], inout("v19") s2[3],
            inout("v20") s3[0], inout("v21") s3[1], inout("v22") s3[2], inout("v23") s3[3],
            inout("v24") s4[0], inout("v25") s4[1], inout("v26") s4[2], inout("v27") s4[3],
            inout("v28") s5[0], inout("v29") s5[1], inout("v30") s5[2], inout("v31") s5[3],
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            options(readonly, nostack),
        );
    }
}
