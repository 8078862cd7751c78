//! `gemm_i8_6x16k4_neon_dotprod`: one group of a panel is four registers, `sdot` adds four products to each of their lanes.

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

impl TileKernel for NeonDot {
    const NAME: &'static str = "gemm_i8_6x16k4_neon_dotprod";
    const ROWS: usize = 6;
    const PANELS: usize = 1;
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
        unsafe { rows(tile, acc) }
    }
}

#[target_feature(enable = "neon,dotprod")]
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

/// `M` rows times the panel.
#[target_feature(enable = "neon,dotprod")]
fn block<const M: usize>(tile: &Tile<'_>, acc: &mut Accumulators) {
    let (steps, groups): (&[[[i8; GROUP]; STEP]], _) = tile.panel(0).as_chunks::<GROUP>().0.as_chunks();
    let mut rows = [&[[0; CHUNK]; 0][..]; M];
    for (m, row) in rows.iter_mut().enumerate() {
        *row = &tile.row(m).as_chunks::<CHUNK>().0[..steps.len()];
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
            let bytes = tile.row(m)[steps.len() * CHUNK + g * KG..].first_chunk::<KG>().expect("a group");
            let a = vreinterpretq_s8_s32(vdupq_n_s32(i32::from_ne_bytes(bytes.map(|byte| byte as u8))));
            for (c, sum) in sums.iter_mut().enumerate() {
                sdot!(*sum, load(group, c), a, 0);
            }
        }
    }
    for (m, sums) in sums.iter().enumerate() {
        for (sum, out) in sums.iter().zip(acc.0[0][m].as_chunks_mut::<{ NR / CHUNKS }>().0) {
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
