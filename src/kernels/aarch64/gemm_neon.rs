//! `gemm_i8_12x64k4_neon`: bytes are multiplied to 16 bits, three products are summed there if they fit, and pairs of sums are added
//! to 32 bits.
//!
//! Two products always fit: weights are at least -127, and `2 * 128 * 127 = 32512`. Three fit whatever the activations are if the
//! magnitudes of their weights add up to 255 at most, as `128 * 255 = 32640`. That is so for nearly all triples of weights that are
//! spread like those of models. [`TileKernel::examine`] finds it out once for all rows.

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
/// Groups whose products always fit into 16 bits.
const PAIR: usize = 2;
/// Groups of a round of the inner loop.
const TRIPLE: usize = 3;
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

    /// One note per triple of groups, and an end.
    fn notes(padded_k: usize) -> usize {
        padded_k / KG / TRIPLE + 1
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

/// The note of a triple whose products fit into 16 bits, of one where only two are sure to, and what ends the notes of a panel.
const FITS: u8 = 0;
const WIDE: u8 = 1;
const END: u8 = 2;

/// Writes [`TileKernel::examine`]'s notes on a panel.
#[target_feature(enable = "neon")]
fn examine(panel: &[i8], notes: &mut [u8]) {
    let triples = panel.as_chunks::<GROUP>().0.as_chunks::<TRIPLE>().0;
    for (note, triple) in notes.iter_mut().zip(triples) {
        let mut largest = vdupq_n_u8(0);
        for c in 0..CHUNKS {
            let mut sum = vdupq_n_u8(0);
            for group in triple {
                // SAFETY: a chunk has the 16 bytes of a register.
                let w = unsafe { vld1q_s8(group[c * CHUNK..][..CHUNK].as_ptr()) };
                // Sums of 255 and more are 255, and 255 is taken for more.
                sum = vqaddq_u8(sum, vreinterpretq_u8_s8(vabsq_s8(w)));
            }
            largest = vmaxq_u8(largest, sum);
        }
        *note = if vmaxvq_u8(largest) == u8::MAX { WIDE } else { FITS };
    }
    notes[triples.len()] = END;
}

/// Two rows times one panel at a time: the panel stays in the cache next to the core for all rows.
#[target_feature(enable = "neon")]
fn blocks(tile: &Tile<'_>, acc: &mut Accumulators) {
    let notes = tile.notes.chunks_exact(Neon::notes(tile.padded_k));
    for ((p, acc), notes) in acc.0.iter_mut().enumerate().take(tile.panels).zip(notes) {
        let panel = tile.panel(p).as_chunks().0;
        let rows = tile.activations.chunks(BLOCK * tile.padded_k);
        for (acc, rows) in acc[..tile.rows].chunks_mut(BLOCK).zip(rows) {
            // A row that is alone is multiplied twice.
            let [first, last] = [&rows[..tile.padded_k], &rows[rows.len() - tile.padded_k..]];
            let sums = block([first, last], panel, notes);
            for (acc, sums) in acc.iter_mut().zip(sums) {
                *acc = sums;
            }
        }
    }
}

/// Per row and chunk, for two channels each in the lower and the upper register: the sums of products of `k % 4` in {0, 1} and in
/// {2, 3}.
type Sums = [[[int32x4_t; 2]; CHUNKS]; BLOCK];

/// Two rows times a panel.
#[inline]
#[target_feature(enable = "neon")]
fn block(rows: [&[i8]; BLOCK], panel: &[[i8; GROUP]], notes: &[u8]) -> [[i32; NR]; BLOCK] {
    let rows = rows.map(|row| &row.as_chunks::<KG>().0[..panel.len()]);
    let mut sums = [[[vdupq_n_s32(0); 2]; CHUNKS]; BLOCK];
    let triples = panel.len() / TRIPLE;
    add_triples(&mut sums, rows, panel, &notes[..=triples]);
    for g in (triples * TRIPLE..panel.len()).step_by(PAIR) {
        // The last group may be alone.
        let second = |row: &[[i8; KG]]| row.get(g + 1).map_or(vdupq_n_s8(0), |group| splat(*group));
        let pair = [panel[g], panel.get(g + 1).copied().unwrap_or([0; GROUP])];
        add(&mut sums, &pair, rows.map(|row| [splat(row[g]), second(row)]));
    }
    sums.map(|sums| {
        let mut out = [0; NR];
        for (sums, out) in sums.iter().zip(out.as_chunks_mut::<{ NR / CHUNKS }>().0) {
            // SAFETY: four `i32` have the 16 bytes of a register.
            unsafe { vst1q_s32(out.as_mut_ptr(), vpaddq_s32(sums[0], sums[1])) }
        }
        out
    })
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

/// Adds the products of all triples of groups, as their notes say: in assembly, as the compiler, which knows that both halves of a
/// splat are the same, moves halves of the weights down instead, and increments every pointer by itself.
///
/// # Panics
/// If the panel or a row has fewer groups, or the notes have no end.
#[inline]
#[target_feature(enable = "neon")]
fn add_triples(sums: &mut Sums, rows: [&[[i8; KG]]; BLOCK], panel: &[[i8; GROUP]], notes: &[u8]) {
    let groups = notes.len().saturating_sub(1) * TRIPLE;
    assert!(panel.len() >= groups && rows.iter().all(|row| row.len() >= groups), "{groups} groups");
    assert!(notes.last() == Some(&END), "notes without an end");
    /// An instruction for the lower and its second part for the upper halves, of both chunks of a group of weights, `$u` and `$v`, with a group of
    /// activations.
    macro_rules! products {
        ($op:literal, $u:literal, $v:literal, $a:literal) => {
            concat!(
                $op,
                " v24.8h, ",
                $u,
                ".8b, ",
                $a,
                ".8b\n",
                $op,
                "2 v25.8h, ",
                $u,
                ".16b, ",
                $a,
                ".16b\n",
                $op,
                " v26.8h, ",
                $v,
                ".8b, ",
                $a,
                ".8b\n",
                $op,
                "2 v27.8h, ",
                $v,
                ".16b, ",
                $a,
                ".16b\n",
            )
        };
    }
    /// Adds the sums of 16 bits to four of 32.
    macro_rules! widen {
        ($a:literal, $b:literal, $c:literal, $d:literal) => {
            concat!(
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
    /// One row, whose three groups are given, times two chunks.
    macro_rules! row {
        (fits $x:literal $y:literal $z:literal, $a:literal $b:literal $c:literal $d:literal) => {
            concat!(
                products!("smull", "v0", "v1", $x),
                products!("smlal", "v2", "v3", $y),
                products!("smlal", "v4", "v31", $z),
                widen!($a, $b, $c, $d),
            )
        };
        (wide $x:literal $y:literal $z:literal, $a:literal $b:literal $c:literal $d:literal) => {
            concat!(
                products!("smull", "v0", "v1", $x),
                products!("smlal", "v2", "v3", $y),
                widen!($a, $b, $c, $d),
                products!("smull", "v4", "v31", $z),
                widen!($a, $b, $c, $d),
            )
        };
    }
    /// A triple: v28 to v30 are the groups of row 0, v5 to v7 of row 1; v0, v1 and v2, v3 and v4, v31 the weights of two chunks of
    /// each group.
    macro_rules! triple {
        ($how:tt) => {
            concat!(
                "ld3r {{v28.4s, v29.4s, v30.4s}}, [{a}], #12\n",
                "ld3r {{v5.4s, v6.4s, v7.4s}}, [{b}], #12\n",
                "ldp q0, q1, [{w}], #192\n",
                "ldp q2, q3, [{w}, #-128]\n",
                "ldp q4, q31, [{w}, #-64]\n",
                row!($how "v28" "v29" "v30", "v8" "v9" "v10" "v11"),
                row!($how "v5" "v6" "v7", "v16" "v17" "v18" "v19"),
                "ldp q0, q1, [{w}, #-160]\n",
                "ldp q2, q3, [{w}, #-96]\n",
                "ldp q4, q31, [{w}, #-32]\n",
                row!($how "v28" "v29" "v30", "v12" "v13" "v14" "v15"),
                row!($how "v5" "v6" "v7", "v20" "v21" "v22" "v23"),
            )
        };
    }
    let [[s0, s1, s2, s3], [t0, t1, t2, t3]] = sums;
    // SAFETY: NEON. Every note but the last, which ends the loop, stands for 192 bytes of the panel and 12 of either row, which are
    // there, as checked above.
    unsafe {
        asm!(
            "ldrb {note:w}, [{notes}], #1",
            "cbnz {note:w}, 4f",
            "2:",
            triple!(fits),
            "ldrb {note:w}, [{notes}], #1",
            "cbz {note:w}, 2b",
            "4:",
            "tbnz {note:w}, #{end}, 9f",
            triple!(wide),
            "ldrb {note:w}, [{notes}], #1",
            "cbz {note:w}, 2b",
            "b 4b",
            "9:",
            w = inout(reg) panel.as_ptr() => _,
            a = inout(reg) rows[0].as_ptr() => _,
            b = inout(reg) rows[1].as_ptr() => _,
            notes = inout(reg) notes.as_ptr() => _,
            note = out(reg) _,
            end = const END.ilog2(),
            inout("v8") s0[0], inout("v9") s0[1], inout("v10") s1[0], inout("v11") s1[1],
            inout("v12") s2[0], inout("v13") s2[1], inout("v14") s3[0], inout("v15") s3[1],
            inout("v16") t0[0], inout("v17") t0[1], inout("v18") t1[0], inout("v19") t1[1],
            inout("v20") t2[0], inout("v21") t2[1], inout("v22") t3[0], inout("v23") t3[1],
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(readonly, nostack),
        );
    }
}
