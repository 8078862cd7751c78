//! `gemm_i8_12x64k4_neon`: bytes are multiplied to 16 bits, four products are summed there if they fit, as
//! [`quads`](crate::kernels::quads) says, and pairs of sums are added to 32 bits.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::kernels::cpu::{Isa, Neon};
use crate::kernels::gemm::{Accumulators, Tile, TileKernel};
use crate::kernels::layout::{Form, GROUP, KG, NR};
use crate::kernels::quads::{self, BLOCK, END, QUAD, WIDE, for_blocks, notes_of_part};

/// Bytes of a register: four channels of four `k`.
const CHUNK: usize = 16;
/// Registers of a group that are multiplied together, each with a note of its own.
const CHUNKS: usize = 2;
/// Parts of a panel that are multiplied one after the other, so that all sums stay in registers.
const PARTS: usize = GROUP / CHUNK / CHUNKS;
/// Channels of a part.
const CHANNELS: usize = NR / PARTS;
/// Groups whose products always fit into 16 bits.
const PAIR: usize = 2;

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

    fn notes(padded_k: usize) -> usize {
        PARTS * notes_of_part(padded_k)
    }

    fn examine(self, panel: &[i8], notes: &mut [u8]) {
        // SAFETY: the token proves the feature.
        unsafe { examine(panel, notes) }
    }

    #[inline(always)]
    fn tile(self, tile: &Tile<'_>, acc: &mut Accumulators) {
        // SAFETY: the token proves the feature.
        unsafe { blocks(tile, acc) }
    }
}

/// Writes [`TileKernel::examine`]'s notes on a panel.
#[target_feature(enable = "neon")]
fn examine(panel: &[i8], notes: &mut [u8]) {
    quads::examine(panel, notes, |quad, part| {
        let mut note = 0;
        for c in 0..CHUNKS {
            let mut sum = vdupq_n_u8(0);
            for group in quad {
                // SAFETY: a chunk has the 16 bytes of a register.
                let w = unsafe { vld1q_s8(group[(part * CHUNKS + c) * CHUNK..][..CHUNK].as_ptr()) };
                // Sums of 255 and more are 255, and 255 is taken for more.
                sum = vqaddq_u8(sum, vreinterpretq_u8_s8(vabsq_s8(w)));
            }
            note |= if vmaxvq_u8(sum) == u8::MAX { WIDE << c } else { 0 };
        }
        note
    });
}

/// Four rows times a part of a panel at a time.
#[target_feature(enable = "neon")]
fn blocks(tile: &Tile<'_>, acc: &mut Accumulators) {
    const BLOCKS: usize = Neon::ROWS / BLOCK;
    for_blocks::<BLOCKS>(tile, acc, Neon::notes(tile.padded_k), |rows, panel, notes, acc| {
        block(rows, panel, notes, acc)
    });
}

/// Four rows times a panel.
#[inline]
#[target_feature(enable = "neon")]
fn block(rows: &[&[[i8; KG]]; BLOCK], panel: &[[i8; GROUP]], notes: &[u8], acc: &mut [[i32; NR]; BLOCK]) {
    let quads = panel.len() / QUAD;
    for (part, notes) in notes.chunks_exact(quads + 1).take(PARTS).enumerate() {
        let mut sums = [[[vdupq_n_s32(0); 2]; CHUNKS]; BLOCK];
        add_quads(&mut sums, rows, panel, part, notes);
        if quads * QUAD < panel.len() {
            sums = add_rest(sums, rows, panel, part);
        }
        for (acc, sums) in acc.iter_mut().zip(sums) {
            let (acc, _) = acc[part * CHANNELS..][..CHANNELS].as_chunks_mut::<{ CHANNELS / CHUNKS }>();
            for (acc, sums) in acc.iter_mut().zip(sums) {
                // SAFETY: four `i32` have the 16 bytes of a register.
                unsafe { vst1q_s32(acc.as_mut_ptr(), vpaddq_s32(sums[0], sums[1])) }
            }
        }
    }
}

/// Per row and chunk, for two channels each in the lower and the upper register: the sums of products of `k % 4` in {0, 1} and in
/// {2, 3}.
type Sums = [[[int32x4_t; 2]; CHUNKS]; BLOCK];

/// Adds the products of the groups after the last four.
#[cold]
#[target_feature(enable = "neon")]
fn add_rest(mut sums: Sums, rows: &[&[[i8; KG]]; BLOCK], panel: &[[i8; GROUP]], part: usize) -> Sums {
    for g in (panel.len() / QUAD * QUAD..panel.len()).step_by(PAIR) {
        // The last group may be alone.
        let second = |row: &[[i8; KG]]| row.get(g + 1).map_or(vdupq_n_s8(0), |group| splat(*group));
        let pair = [panel[g], panel.get(g + 1).copied().unwrap_or([0; GROUP])];
        add(&mut sums, &pair, part, rows.map(|row| [splat(row[g]), second(row)]));
    }
    sums
}

/// Four bytes, four times.
#[inline]
#[target_feature(enable = "neon")]
fn splat(bytes: [i8; KG]) -> int8x16_t {
    vreinterpretq_s8_s32(vdupq_n_s32(bytemuck::cast(bytes)))
}

/// Adds the products of two groups.
#[inline]
#[target_feature(enable = "neon")]
fn add(sums: &mut Sums, pair: &[[i8; GROUP]; PAIR], part: usize, a: [[int8x16_t; PAIR]; BLOCK]) {
    for c in 0..CHUNKS {
        let mut w = [vdupq_n_s8(0); PAIR];
        for (w, group) in w.iter_mut().zip(pair) {
            // SAFETY: a chunk has the 16 bytes of a register.
            *w = unsafe { vld1q_s8(group[(part * CHUNKS + c) * CHUNK..][..CHUNK].as_ptr()) };
        }
        for (sums, a) in sums.iter_mut().zip(a) {
            let low = vmull_s8(vget_low_s8(w[0]), vget_low_s8(a[0]));
            let low = vmlal_s8(low, vget_low_s8(w[1]), vget_low_s8(a[1]));
            let high = vmlal_high_s8(vmull_high_s8(w[0], a[0]), w[1], a[1]);
            sums[c] = [vpadalq_s16(sums[c][0], low), vpadalq_s16(sums[c][1], high)];
        }
    }
}

/// Adds the products of all fours of groups, as their notes say: in assembly, as the compiler, which knows that both halves of a
/// splat are the same, moves halves of the weights down instead, and increments every pointer by itself.
///
/// # Panics
/// If the panel or a row has fewer groups, there is no such part, or the notes have no end.
#[inline]
#[target_feature(enable = "neon")]
fn add_quads(sums: &mut Sums, rows: &[&[[i8; KG]]; BLOCK], panel: &[[i8; GROUP]], part: usize, notes: &[u8]) {
    quads::check(rows, panel, part, PARTS, notes);
    /// The first or the second chunk of a group of weights times a group of activations.
    macro_rules! chunk {
        (1 $op:literal, $w:literal, $a:literal) => {
            long!($op, "v24", "v25", $w, $a)
        };
        (2 $op:literal, $w:literal, $a:literal) => {
            long!($op, "v26", "v27", $w, $a)
        };
    }
    /// Both chunks.
    macro_rules! chunks {
        ($op:literal, $u:literal, $v:literal, $a:literal) => { lines!(chunk!(1 $op, $u, $a), chunk!(2 $op, $v, $a)) };
    }
    /// Four groups of a row, in v28 to v31.
    macro_rules! load {
        ($row:literal) => {
            concat!("ld4r {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{", $row, "}], #16")
        };
    }
    /// The third group of a row: for a chunk that is wide, the sums of two products are added to `$a` and `$b` before, and new ones begin.
    macro_rules! third {
        (fits $chunk:tt $w:literal, $a:literal $b:literal) => { chunk!($chunk "smlal", $w, "v30") };
        (wide 1 $w:literal, $a:literal $b:literal) => {
            lines!(widen!($a "v24", $b "v25"), chunk!(1 "smull", $w, "v30"))
        };
        (wide 2 $w:literal, $a:literal $b:literal) => {
            lines!(widen!($a "v26", $b "v27"), chunk!(2 "smull", $w, "v30"))
        };
    }
    /// The loaded row times the part. `$next` comes as soon as the row is no longer needed: cores that execute in order wait for a load
    /// only where its value is used.
    macro_rules! row {
        ($first:tt $second:tt $next:expr, $a:literal $b:literal $c:literal $d:literal) => {
            lines!(
                chunks!("smull", "v0", "v1", "v28"),
                chunks!("smlal", "v2", "v3", "v29"),
                third!($first 1 "v4", $a $b),
                third!($second 2 "v5", $c $d),
                chunks!("smlal", "v6", "v7", "v31"),
                $next,
                widen!($a "v24", $b "v25", $c "v26", $d "v27"),
            )
        };
    }
    /// Four groups: v0 and v1, v2 and v3, v4 and v5, v6 and v7 are their weights. And where to go on.
    macro_rules! quad {
        ($first:tt $second:tt) => {
            lines!(
                "ldp q0, q1, [{w}], #256",
                load!("a"),
                "ldp q2, q3, [{w}, #-192]",
                "ldp q4, q5, [{w}, #-128]",
                "ldp q6, q7, [{w}, #-64]",
                row!($first $second load!("b"), "v8" "v9" "v10" "v11"),
                row!($first $second load!("c"), "v12" "v13" "v14" "v15"),
                row!($first $second load!("d"), "v16" "v17" "v18" "v19"),
                row!($first $second "ldrb {note:w}, [{notes}], #1", "v20" "v21" "v22" "v23"),
                "cbz {note:w}, 2b",
            )
        };
    }
    let [[s0, s1], [t0, t1], [u0, u1], [x0, x1]] = sums;
    // Neither the first nor the second chunk is wide at the end.
    const _: () = assert!(END > WIDE << 1 && END.is_power_of_two());
    // SAFETY: NEON. Every note but the last, which ends the loop, stands for 256 bytes of the panel and 16 of each row, which are
    // there, as checked above. Of a group's bytes, those of a part are read, which begin where the first group's do.
    unsafe {
        asm!(
            "ldrb {note:w}, [{notes}], #1",
            "cbnz {note:w}, 3f",
            "2:",
            quad!(fits fits),
            "3:",
            "tbz {note:w}, #{first}, 4f",
            "tbnz {note:w}, #{second}, 5f",
            quad!(wide fits),
            "b 3b",
            "4:",
            "tbz {note:w}, #{second}, 9f",
            quad!(fits wide),
            "b 3b",
            "5:",
            quad!(wide wide),
            "b 3b",
            "9:",
            w = inout(reg) panel.as_ptr().cast::<i8>().wrapping_add(part * CHUNKS * CHUNK) => _,
            a = inout(reg) rows[0].as_ptr() => _,
            b = inout(reg) rows[1].as_ptr() => _,
            c = inout(reg) rows[2].as_ptr() => _,
            d = inout(reg) rows[3].as_ptr() => _,
            notes = inout(reg) notes.as_ptr() => _,
            note = out(reg) _,
            first = const WIDE.ilog2(),
            second = const (WIDE << 1).ilog2(),
            inout("v8") s0[0], inout("v9") s0[1], inout("v10") s1[0], inout("v11") s1[1],
            inout("v12") t0[0], inout("v13") t0[1], inout("v14") t1[0], inout("v15") t1[1],
            inout("v16") u0[0], inout("v17") u0[1], inout("v18") u1[0], inout("v19") u1[1],
            inout("v20") x0[0], inout("v21") x0[1], inout("v22") x1[0], inout("v23") x1[1],
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(readonly, nostack),
        );
    }
}
