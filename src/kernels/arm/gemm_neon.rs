//! `gemm_i8_12x64k4_neon32`: the arithmetic of 64-bit NEON without dot products, on the 16 vector registers of 32-bit Arm.
//!
//! Bytes are multiplied to 16 bits, two products are summed there, pairs of sums are added to 32 bits. Weights are at least -127, so that
//! two products are at most `2 * 128 * 127 = 32512` in magnitude and fit.

use crate::kernels::cpu::{Isa, Neon32};
use crate::kernels::gemm::{Accumulators, Tile, TileKernel};
use crate::kernels::layout::{Form, KG, NR};

/// Bytes of one group of one panel.
const GROUP: usize = NR * KG;
/// Channels whose sums stay in registers for both rows.
const HALF: usize = NR / 2;
/// Groups whose products are summed in 16 bits.
const PAIR: usize = 2;
/// Rows that are multiplied together.
const BLOCK: usize = 2;

impl TileKernel for Neon32 {
    const NAME: &'static str = "gemm_i8_12x64k4_neon32";
    const ROWS: usize = 12;
    const PANELS: usize = 4;
    const ROW_STEP: usize = BLOCK;
    const FORM: Form = Form::Signed;

    fn detect() -> Option<Self> {
        Self::new()
    }

    fn isa(self) -> Isa {
        Isa::Neon32(self)
    }

    fn tile(self, tile: &Tile<'_>, acc: &mut Accumulators) {
        for (p, acc) in acc.0.iter_mut().enumerate().take(tile.panels) {
            let panel = tile.panel(p).as_chunks().0;
            let (pairs, last) = acc[..tile.rows].as_chunks_mut();
            for (m, acc) in pairs.iter_mut().enumerate() {
                block(self, [tile.row(BLOCK * m), tile.row(BLOCK * m + 1)], panel, acc);
            }
            if let [last] = last {
                let (row, mut twice) = (tile.row(tile.rows - 1), [*last; BLOCK]);
                block(self, [row; BLOCK], panel, &mut twice);
                *last = twice[0];
            }
        }
    }
}

/// Two rows times a panel.
fn block(token: Neon32, rows: [&[i8]; BLOCK], panel: &[[i8; GROUP]], acc: &mut [[i32; NR]; BLOCK]) {
    let (pairs, last) = panel.as_chunks::<PAIR>();
    for half in 0..2 {
        let mut sums = products(token, rows, pairs, half);
        if let [last] = last {
            // The last group is alone: what is multiplied with its companion of zeros does not count.
            let ends = rows.map(|row| {
                let mut end = [0; PAIR * KG];
                end[..KG].copy_from_slice(&row[row.len() - KG..]);
                end
            });
            let more = products(token, [&ends[0], &ends[1]], &[[*last, [0; GROUP]]], half);
            for (sum, more) in sums.as_flattened_mut().iter_mut().zip(more.as_flattened()) {
                *sum += more;
            }
        }
        for (acc, sums) in acc.iter_mut().zip(sums) {
            acc[half * HALF..][..HALF].copy_from_slice(&sums);
        }
    }
}

/// The sums of two rows and one half of a panel's channels over pairs of groups.
///
/// # Panics
/// If a row has fewer values than the pairs of groups take.
fn products(_: Neon32, rows: [&[i8]; BLOCK], pairs: &[[[i8; GROUP]; PAIR]], half: usize) -> [[i32; HALF]; BLOCK] {
    assert!(rows.iter().all(|row| row.len() >= pairs.len() * PAIR * KG) && half < 2, "{} pairs of groups", pairs.len());
    let mut sums = [[0; HALF]; BLOCK];
    if !pairs.is_empty() {
        let weights = pairs.as_flattened().as_flattened()[half * GROUP / 2..].as_ptr();
        // SAFETY: the token proves NEON. For every pair of groups, of which there is one at least, the function reads eight values of
        // either row, which are there, as checked above, and half of either group, and at the end it writes all the sums.
        unsafe { edgeqa_neon32_products(rows[0].as_ptr(), rows[1].as_ptr(), weights, pairs.len(), &mut sums) };
    }
    sums
}

unsafe extern "C" {
    /// Needs NEON. Reads `pairs` times 8 bytes of either row and, of weights, the 32 bytes at every multiple of 64 up to that of the last
    /// group. `pairs` must not be 0.
    fn edgeqa_neon32_products(
        upper: *const i8,
        lower: *const i8,
        weights: *const i8,
        pairs: usize,
        sums: &mut [[i32; HALF]; BLOCK],
    );
}

/// Half of a register of weights of both groups, times one row: `$w` and `$next` are the weights, `$a` and `$b` the row's groups, four
/// times over, `$sum` two channels' sums of products of `k % 4` in {0, 1} and in {2, 3}. q6 and q7 take turns.
macro_rules! half {
    ($t:literal, $sum:literal, $w:literal, $next:literal, $a:literal, $b:literal) => {
        lines!(
            concat!("vmull.s8 ", $t, ", ", $w, ", ", $a),
            concat!("vmlal.s8 ", $t, ", ", $next, ", ", $b),
            concat!("vpadal.s16 ", $sum, ", ", $t),
        )
    };
}

function!(edgeqa_neon32_products:
    // r0, r1: rows; r2: weights; r3: pairs of groups.
    "vpush {{d8-d15}}",
    "mov r12, #64",
    "vmov.i32 q8, #0",
    "vmov.i32 q9, #0",
    "vmov.i32 q10, #0",
    "vmov.i32 q11, #0",
    "vmov.i32 q12, #0",
    "vmov.i32 q13, #0",
    "vmov.i32 q14, #0",
    "vmov.i32 q15, #0",
    "2:",
    "vld1.8 {{d0-d3}}, [r2], r12",
    "vld1.8 {{d4-d7}}, [r2], r12",
    "vld1.32 {{d8[]}}, [r0]!",
    "vld1.32 {{d9[]}}, [r0]!",
    "vld1.32 {{d10[]}}, [r1]!",
    "vld1.32 {{d11[]}}, [r1]!",
    half!("q6", "q8", "d0", "d4", "d8", "d9"),
    half!("q7", "q9", "d1", "d5", "d8", "d9"),
    half!("q6", "q10", "d2", "d6", "d8", "d9"),
    half!("q7", "q11", "d3", "d7", "d8", "d9"),
    half!("q6", "q12", "d0", "d4", "d10", "d11"),
    half!("q7", "q13", "d1", "d5", "d10", "d11"),
    half!("q6", "q14", "d2", "d6", "d10", "d11"),
    half!("q7", "q15", "d3", "d7", "d10", "d11"),
    "subs r3, r3, #1",
    "bne 2b",
    // The fifth argument lies above the eight registers that were pushed.
    "ldr r12, [sp, #64]",
    "vpadd.i32 d16, d16, d17",
    "vpadd.i32 d17, d18, d19",
    "vpadd.i32 d18, d20, d21",
    "vpadd.i32 d19, d22, d23",
    "vpadd.i32 d20, d24, d25",
    "vpadd.i32 d21, d26, d27",
    "vpadd.i32 d22, d28, d29",
    "vpadd.i32 d23, d30, d31",
    "vst1.32 {{d16-d19}}, [r12]!",
    "vst1.32 {{d20-d23}}, [r12]",
    "vpop {{d8-d15}}",
    "bx lr",
);
