//! `gemm_i8_12x64k4_neon32`: the arithmetic of 64-bit NEON without dot products, on the 16 vector registers of 32-bit Arm.
//!
//! Bytes are multiplied to 16 bits, four products are summed there if they fit, as [`quads`](super::quads) says, and pairs of sums
//! are added to 32 bits.

use super::quads::{self, BLOCK, END, QUAD, WIDE, for_blocks, notes_of_part};
use crate::kernels::cpu::{Isa, Neon32};
use crate::kernels::gemm::{Accumulators, Tile, TileKernel};
use crate::kernels::layout::{Form, GROUP, KG, NR};

/// Channels whose sums stay in registers for four rows.
const CHANNELS: usize = 4;
/// Parts of a panel that are multiplied one after the other.
const PARTS: usize = NR / CHANNELS;

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

    fn notes(padded_k: usize) -> usize {
        PARTS * notes_of_part(padded_k)
    }

    fn examine(self, panel: &[i8], notes: &mut [u8]) {
        quads::examine(panel, notes, |quad, part| {
            // SAFETY: the token proves NEON. The function reads 16 bytes of every group, from those of the part on.
            unsafe { edgeqa_neon32_examine(quad.as_flattened()[part * CHANNELS * KG..].as_ptr()) }
        });
    }

    fn tile(self, tile: &Tile<'_>, acc: &mut Accumulators) {
        const BLOCKS: usize = Neon32::ROWS / BLOCK;
        for_blocks::<BLOCKS>(tile, acc, Self::notes(tile.padded_k), |rows, panel, notes, acc| {
            block(self, rows, panel, notes, acc);
        });
    }
}

/// Four rows times a panel.
fn block(
    token: Neon32,
    rows: &[&[[i8; KG]]; BLOCK],
    panel: &[[i8; GROUP]],
    notes: &[u8],
    acc: &mut [[i32; NR]; BLOCK],
) {
    let quads = panel.len() / QUAD;
    // What is left of the groups, with zeros.
    let left = (quads * QUAD < panel.len()).then(|| {
        let (mut last_rows, mut last_panel) = ([[[0; KG]; QUAD]; BLOCK], [[0; GROUP]; QUAD]);
        let groups = quads * QUAD..panel.len();
        for (last, row) in last_rows.iter_mut().zip(rows) {
            last[..groups.len()].copy_from_slice(&row[groups.clone()]);
        }
        last_panel[..groups.len()].copy_from_slice(&panel[groups]);
        (last_rows, last_panel)
    });
    for (part, notes) in notes.chunks_exact(quads + 1).take(PARTS).enumerate() {
        let mut sums = products(token, rows, panel, part, notes);
        if let Some((rows, panel)) = &left {
            let more = products(token, &rows.each_ref().map(|row| &row[..]), panel, part, &[WIDE, END]);
            for (sum, more) in sums.as_flattened_mut().iter_mut().zip(more.as_flattened()) {
                *sum += more;
            }
        }
        for (acc, sums) in acc.iter_mut().zip(sums) {
            acc[part * CHANNELS..][..CHANNELS].copy_from_slice(&sums);
        }
    }
}

/// The sums of four rows and a part of a panel's channels over all fours of groups, as their notes say.
///
/// # Panics
/// If the panel or a row has fewer groups, there is no such part, or the notes have no end.
fn products(
    _: Neon32,
    rows: &[&[[i8; KG]]; BLOCK],
    panel: &[[i8; GROUP]],
    part: usize,
    notes: &[u8],
) -> [[i32; CHANNELS]; BLOCK] {
    quads::check(rows, panel, part, PARTS, notes);
    let mut sums = [[0; CHANNELS]; BLOCK];
    let rows = rows.map(|row| row.as_ptr().cast());
    let weights = panel.as_ptr().cast::<i8>().wrapping_add(part * CHANNELS * KG);
    // SAFETY: the token proves NEON. Every note but the last, which ends the loop, stands for 16 bytes of each row and 256 of the panel, which
    // are there, as checked above. Of a group's bytes, the 16 of the part are read, which begin where the first group's do.
    unsafe { edgeqa_neon32_products(&rows, weights, notes.as_ptr(), &mut sums) };
    sums
}

unsafe extern "C" {
    /// Needs NEON. Reads 16 bytes of weights at each of the first four multiples of 64 bytes and returns the note of these four groups of
    /// four channels.
    fn edgeqa_neon32_examine(weights: *const i8) -> u8;

    /// Needs NEON. Reads notes up to the first that is above [`WIDE`] and for each of those before it 16 bytes of every row and, at the next
    /// four multiples of 64 bytes, 16 bytes of weights. Writes the sums.
    fn edgeqa_neon32_products(
        rows: &[*const i8; BLOCK],
        weights: *const i8,
        notes: *const u8,
        sums: &mut [[i32; CHANNELS]; BLOCK],
    );
}

function!(edgeqa_neon32_examine:
    "mov r12, #64",
    "vld1.8 {{d0-d1}}, [r0], r12",
    "vld1.8 {{d2-d3}}, [r0], r12",
    "vld1.8 {{d4-d5}}, [r0], r12",
    "vld1.8 {{d6-d7}}, [r0]",
    "vabs.s8 q0, q0",
    "vabs.s8 q1, q1",
    "vabs.s8 q2, q2",
    "vabs.s8 q3, q3",
    // Sums of 255 and more are 255, and 255 is taken for more.
    "vqadd.u8 q0, q0, q1",
    "vqadd.u8 q2, q2, q3",
    "vqadd.u8 q0, q0, q2",
    "vpmax.u8 d0, d0, d1",
    "vpmax.u8 d0, d0, d0",
    "vpmax.u8 d0, d0, d0",
    "vpmax.u8 d0, d0, d0",
    "vmov.u8 r1, d0[0]",
    "cmp r1, #255",
    // 0 or WIDE.
    "mov r0, #0",
    "moveq r0, #1",
    "bx lr",
);

/// The products of two groups of a row, `$a` and `$b`, with their weights, the lower and the upper halves of two registers, to q6 and q7.
macro_rules! pair {
    ($op:literal $a:literal, $w:literal $w2:literal, $b:literal, $v:literal $v2:literal) => {
        lines!(
            concat!($op, ".s8 q6, ", $w, ", ", $a),
            concat!($op, ".s8 q7, ", $w2, ", ", $a),
            concat!("vmlal.s8 q6, ", $v, ", ", $b),
            concat!("vmlal.s8 q7, ", $v2, ", ", $b),
        )
    };
}

/// Adds q6 and q7 in pairs.
macro_rules! widen {
    ($low:literal $high:literal) => {
        lines!(concat!("vpadal.s16 ", $low, ", q6"), concat!("vpadal.s16 ", $high, ", q7"))
    };
}

/// Four groups of a row, each byte of which is there for every channel, times their weights, q0 to q3.
macro_rules! row {
    (fits $row:literal, $low:literal $high:literal) => {
        lines!(
            concat!("vld4.32 {{d8[], d9[], d10[], d11[]}}, [", $row, "]!"),
            pair!("vmull" "d8", "d0" "d1", "d9", "d2" "d3"),
            pair!("vmlal" "d10", "d4" "d5", "d11", "d6" "d7"),
            widen!($low $high),
        )
    };
    (wide $row:literal, $low:literal $high:literal) => {
        lines!(
            concat!("vld4.32 {{d8[], d9[], d10[], d11[]}}, [", $row, "]!"),
            pair!("vmull" "d8", "d0" "d1", "d9", "d2" "d3"),
            widen!($low $high),
            pair!("vmull" "d10", "d4" "d5", "d11", "d6" "d7"),
            widen!($low $high),
        )
    };
}

/// Four groups of all rows, and the next note.
macro_rules! quad {
    ($how:tt) => {
        lines!(
            "vld1.8 {{d0-d1}}, [r1], r12",
            "vld1.8 {{d2-d3}}, [r1], r12",
            "vld1.8 {{d4-d5}}, [r1], r12",
            "vld1.8 {{d6-d7}}, [r1], r12",
            row!($how "r4", "q8" "q9"),
            row!($how "r5", "q10" "q11"),
            row!($how "r6", "q12" "q13"),
            row!($how "r7", "q14" "q15"),
            "ldrb r0, [r2], #1",
            "cmp r0, #1",
        )
    };
}

function!(edgeqa_neon32_products:
    // r0: pointers to rows, then a note; r1: weights; r2: notes; r3: sums; r4 to r7: rows; r12: bytes from group to group.
    "push {{r4-r7}}",
    "vpush {{d8-d15}}",
    "ldm r0, {{r4-r7}}",
    "mov r12, #64",
    "vmov.i32 q8, #0",
    "vmov.i32 q9, #0",
    "vmov.i32 q10, #0",
    "vmov.i32 q11, #0",
    "vmov.i32 q12, #0",
    "vmov.i32 q13, #0",
    "vmov.i32 q14, #0",
    "vmov.i32 q15, #0",
    "ldrb r0, [r2], #1",
    "cmp r0, #1",
    "bhs 4f",
    "2:",
    quad!(fits),
    "blo 2b",
    "4:",
    "bhi 9f",
    quad!(wide),
    "blo 2b",
    "b 4b",
    "9:",
    "vpadd.i32 d16, d16, d17",
    "vpadd.i32 d17, d18, d19",
    "vpadd.i32 d18, d20, d21",
    "vpadd.i32 d19, d22, d23",
    "vpadd.i32 d20, d24, d25",
    "vpadd.i32 d21, d26, d27",
    "vpadd.i32 d22, d28, d29",
    "vpadd.i32 d23, d30, d31",
    "vst1.32 {{d16-d19}}, [r3]!",
    "vst1.32 {{d20-d23}}, [r3]",
    "vpop {{d8-d15}}",
    "pop {{r4-r7}}",
    "bx lr",
);
