//! `gemm_i8_12x32k4_avx512_vnni`: one group of a panel is one register, `vpdpbusd` adds four products to each of its lanes.

use std::arch::x86_64::*;

use crate::kernels::cpu::{Avx512Vnni, Isa};
use crate::kernels::gemm::{Accumulators, Tile, TileKernel};
use crate::kernels::layout::{Form, GROUP, KG};

impl TileKernel for Avx512Vnni {
    const NAME: &'static str = "gemm_i8_12x32k4_avx512_vnni";
    const ROWS: usize = 12;
    const PANELS: usize = 2;
    const FORM: Form = Form::Offset128;

    fn detect() -> Option<Self> {
        Self::new()
    }

    fn isa(self) -> Isa {
        Isa::Avx512Vnni(self)
    }

    #[inline(always)]
    fn tile(self, tile: &Tile<'_>, acc: &mut Accumulators) {
        // SAFETY: the token proves the features.
        unsafe { rows(tile, acc) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn rows(tile: &Tile<'_>, acc: &mut Accumulators) {
    macro_rules! pick {
        ($($rows:literal)+) => {
            match (tile.rows, tile.panels) {
                $(
                    ($rows, 1) => block::<$rows, 1>(tile, acc),
                    ($rows, _) => block::<$rows, 2>(tile, acc),
                )+
                _ => {}
            }
        };
    }
    pick!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// `M` rows times `P` panels. As activations are 128 too large, the sums start at -128 times the sum of the channel's
/// weights. Lanes wrap around, so the end result is exact.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn block<const M: usize, const P: usize>(tile: &Tile<'_>, acc: &mut Accumulators) {
    let groups = tile.padded_k / KG;
    let mut panels = [&[[0i8; GROUP]; 0][..]; P];
    let mut sums = [[_mm512_setzero_si512(); P]; M];
    for (p, panel) in panels.iter_mut().enumerate() {
        *panel = &tile.panel(p).as_chunks().0[..groups];
        // SAFETY: an array of 16 `i32` has the 64 bytes of a register.
        let columns = unsafe { _mm512_loadu_epi32(tile.column_sums[p].as_ptr()) };
        for sums in &mut sums {
            sums[p] = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32::<7>(columns));
        }
    }
    let mut rows = [&[[0i8; KG]; 0][..]; M];
    for (m, row) in rows.iter_mut().enumerate() {
        *row = &tile.row(m).as_chunks().0[..groups];
    }
    for g in 0..groups {
        let mut w = [_mm512_setzero_si512(); P];
        for (w, panel) in w.iter_mut().zip(panels) {
            // SAFETY: a group has the 64 bytes of a register.
            *w = unsafe { _mm512_loadu_epi8(panel[g].as_ptr()) };
        }
        for (sums, row) in sums.iter_mut().zip(rows) {
            let a = _mm512_set1_epi32(bytemuck::cast(row[g]));
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = _mm512_dpbusd_epi32(*sum, a, w);
            }
        }
    }
    for (m, sums) in sums.iter().enumerate() {
        for (p, sum) in sums.iter().enumerate() {
            // SAFETY: an array of 16 `i32` has the 64 bytes of a register.
            unsafe { _mm512_storeu_epi32(acc.0[p][m].as_mut_ptr(), *sum) }
        }
    }
}
