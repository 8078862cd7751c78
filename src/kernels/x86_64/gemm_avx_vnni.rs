//! `gemm_i8_6x16k4_avx_vnni`: half a group of a panel is one register, `vpdpbusd` adds four products to each of its lanes.

use std::arch::x86_64::*;

use crate::kernels::cpu::{AvxVnni, Isa};
use crate::kernels::gemm::{Accumulators, Tile, TileKernel};
use crate::kernels::layout::{Form, GROUP, KG, NR};

/// Registers per group.
const PARTS: usize = 2;
/// Channels of a register.
const PART: usize = NR / PARTS;

impl TileKernel for AvxVnni {
    const NAME: &'static str = "gemm_i8_6x16k4_avx_vnni";
    const ROWS: usize = 6;
    const PANELS: usize = 1;
    const FORM: Form = Form::Offset128;

    fn detect() -> Option<Self> {
        Self::new()
    }

    fn isa(self) -> Isa {
        Isa::AvxVnni(self)
    }

    #[inline(always)]
    fn tile(self, tile: &Tile<'_>, acc: &mut Accumulators) {
        // SAFETY: the token proves the features.
        unsafe { rows(tile, &mut acc.0[0]) }
    }
}

#[target_feature(enable = "avx2,avxvnni")]
fn rows(tile: &Tile<'_>, acc: &mut [[i32; NR]]) {
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

/// `M` rows times one panel. As activations are 128 too large, the sums start at -128 times the sum of the channel's
/// weights. Lanes wrap around, so the end result is exact.
#[target_feature(enable = "avx2,avxvnni")]
fn block<const M: usize>(tile: &Tile<'_>, acc: &mut [[i32; NR]]) {
    let groups = tile.padded_k / KG;
    let panel: &[[i8; GROUP]] = &tile.panel(0).as_chunks().0[..groups];
    let mut sums = [[_mm256_setzero_si256(); PARTS]; M];
    for (c, columns) in tile.column_sums[0].as_chunks::<PART>().0.iter().enumerate() {
        // SAFETY: an array of 8 `i32` has the 32 bytes of a register.
        let columns = unsafe { _mm256_loadu_si256(columns.as_ptr().cast()) };
        for row in &mut sums {
            row[c] = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32::<7>(columns));
        }
    }
    let mut rows = [&[[0i8; KG]; 0][..]; M];
    for (m, row) in rows.iter_mut().enumerate() {
        *row = &tile.row(m).as_chunks().0[..groups];
    }
    for (g, group) in panel.iter().enumerate() {
        let mut w = [_mm256_setzero_si256(); PARTS];
        for (w, part) in w.iter_mut().zip(group.as_chunks::<{ GROUP / PARTS }>().0) {
            // SAFETY: half a group has the 32 bytes of a register.
            *w = unsafe { _mm256_loadu_si256(part.as_ptr().cast()) };
        }
        for (sums, row) in sums.iter_mut().zip(rows) {
            let a = _mm256_set1_epi32(bytemuck::cast(row[g]));
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = _mm256_dpbusd_avx_epi32(*sum, a, w);
            }
        }
    }
    for (acc, sums) in acc.iter_mut().zip(sums) {
        for (out, sum) in acc.as_chunks_mut::<PART>().0.iter_mut().zip(sums) {
            // SAFETY: an array of 8 `i32` has the 32 bytes of a register.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sum) }
        }
    }
}
