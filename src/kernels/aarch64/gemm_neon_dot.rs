//! `gemm_i8_12x64k4_neon_dotprod`: one group of a panel is four registers, `sdot` adds four products to each of their lanes.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::kernels::cpu::{Isa, NeonDot};
use crate::kernels::gemm::{Accumulators, Tile, TileKernel};
use crate::kernels::layout::{Form, KG, NR};

/// Bytes of one group of one panel.
const GROUP: usize = NR * KG;
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

/// A few rows times one panel at a time, in blocks of nearly equal height: the panel stays in the cache next to the core for all rows.
#[target_feature(enable = "neon,dotprod")]
fn blocks(tile: &Tile<'_>, acc: &mut Accumulators) {
    let count = tile.rows.div_ceil(BLOCK);
    for (p, acc) in acc.0.iter_mut().enumerate().take(tile.panels) {
        let panel = tile.panel(p);
        for b in 0..count {
            let rows = tile.rows * b / count..tile.rows * (b + 1) / count;
            let (first, acc) = (rows.start, &mut acc[rows]);
            match acc.len() {
                1 => block::<1>(tile, first, panel, acc),
                2 => block::<2>(tile, first, panel, acc),
                3 => block::<3>(tile, first, panel, acc),
                4 => block::<4>(tile, first, panel, acc),
                5 => block::<5>(tile, first, panel, acc),
                _ => block::<6>(tile, first, panel, acc),
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
    for (g, group) in groups.iter().enumerate() {
        for (m, sums) in sums.iter_mut().enumerate() {
            let bytes = tile.row(first + m)[steps.len() * CHUNK + g * KG..].first_chunk::<KG>().expect("a group");
            let a = vreinterpretq_s8_s32(vdupq_n_s32(i32::from_ne_bytes(bytes.map(|byte| byte as u8))));
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
