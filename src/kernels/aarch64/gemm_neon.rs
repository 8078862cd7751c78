//! `gemm_i8_64x16k4_neon`: bytes are multiplied to 16 bits, as many products are summed there as are sure to fit, and pairs of sums are
//! added to 32 bits.
//!
//! A register holds 16 `k` of a row or of a channel, so that both halves of a product of two registers are added to the same sums: those
//! of one sum are 8 `k` apart. [`TileKernel::arrange`] and [`TileKernel::arrange_rows`] bring the operands into that order, 64 `k` of two
//! channels or eight rows after the other. How many products of such a step are summed in 16 bits, eight, four or two,
//! [`fits`](super::fits) says.

use std::arch::aarch64::*;
use std::arch::asm;

use super::fits::{self, EIGHT, END, FOUR, NOTE, PAIRS, Squares, TWO, Ways};
use crate::kernels::cpu::{Isa, Neon};
use crate::kernels::gemm::{Accumulators, Tile, TileKernel};
use crate::kernels::layout::{Form, GROUP, KG, NR};

/// Rows that are multiplied together.
const BLOCK: usize = 8;
/// Channels that are multiplied together.
const PAIR: usize = NR / PAIRS;
/// Inner-dimension values of a step: four registers of a row or a channel, of which eight products add up to a sum.
const STEP: usize = 64;
/// Groups of a step.
const GROUPS: usize = STEP / KG;
/// Bytes of a register: of a group, four channels of four `k`; of a row or a channel, 16 `k`.
const CHUNK: usize = 16;
/// Channels of a chunk of a group.
const CHANNELS: usize = CHUNK / KG;
/// A step of a block of rows, and of a pair of channels.
type BlockStep = [[i8; STEP]; BLOCK];
type PairStep = [[i8; STEP]; PAIR];

impl TileKernel for Neon {
    const NAME: &'static str = "gemm_i8_64x16k4_neon";
    const ROWS: usize = 64;
    const PANELS: usize = 1;
    const ROW_STEP: usize = BLOCK;
    const FORM: Form = Form::Signed;

    fn detect() -> Option<Self> {
        Self::new()
    }

    fn isa(self) -> Isa {
        Isa::Neon(self)
    }

    /// Step, pair.
    fn notes(padded_k: usize) -> usize {
        PAIRS * fits::notes_len(padded_k.div_ceil(STEP))
    }

    fn examine(self, panel: &[i8], notes: &mut [u8]) {
        // SAFETY: the token proves the feature.
        unsafe { examine(panel, notes) }
    }

    /// Pair, step, channel, `k`; what is missing of the last step is zero.
    fn arranged(padded_k: usize) -> usize {
        PAIRS * padded_k.div_ceil(STEP) * size_of::<PairStep>()
    }

    fn arrange(self, panel: &[i8], to: &mut [i8]) {
        // SAFETY: the token proves the feature.
        unsafe { arrange(panel, to) }
    }

    /// Step, row, `k`; what is missing of the last step, and missing rows, are zero. Then notes on every step.
    fn arranged_rows(padded_k: usize) -> usize {
        let steps = padded_k.div_ceil(STEP);
        steps * size_of::<BlockStep>() + fits::notes_len(steps)
    }

    fn arrange_rows(self, rows: &[i8], padded_k: usize, to: &mut [i8]) {
        // SAFETY: the token proves the feature.
        unsafe { arrange_rows(rows, padded_k, to) }
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
    let (groups, _) = panel.as_chunks::<GROUP>();
    let (whole, last) = groups.as_chunks::<GROUPS>();
    let (notes, _) = notes.as_chunks_mut::<NOTE>().0.as_chunks_mut::<PAIRS>();
    let mut notes = notes.iter_mut();
    for (groups, notes) in whole.iter().zip(&mut notes) {
        examine_step(groups, notes);
    }
    if !last.is_empty() {
        let mut groups = [[0; GROUP]; GROUPS];
        groups[..last.len()].copy_from_slice(last);
        examine_step(&groups, notes.next().expect("notes on the last step"));
    }
}

/// The notes on a step.
#[inline]
#[target_feature(enable = "neon")]
fn examine_step(groups: &[[i8; GROUP]; GROUPS], notes: &mut [[u8; NOTE]; PAIRS]) {
    for (chunk, notes) in notes.as_chunks_mut::<{ CHANNELS / PAIR }>().0.iter_mut().enumerate() {
        // By half of the step and by groups that are even and odd, which become the lower and the upper lanes of a channel: of the first
        // pair of channels and of the second.
        let mut squares = [[[vdupq_n_u16(0); CHANNELS / PAIR]; 2]; 2];
        let mut magnitudes = [[vdupq_n_u8(0); 2]; 2];
        let (halves, _) = groups.as_chunks::<{ GROUPS / 2 }>();
        for ((half, squares), magnitudes) in halves.iter().zip(&mut squares).zip(&mut magnitudes) {
            for two in half.as_chunks::<2>().0 {
                for ((group, [low, high]), sum) in two.iter().zip(&mut *squares).zip(&mut *magnitudes) {
                    // SAFETY: a chunk has the 16 bytes of a register.
                    let w = unsafe { vld1q_s8(group[chunk * CHUNK..][..CHUNK].as_ptr()) };
                    // Four squares are below 2^16.
                    *low = vreinterpretq_u16_s16(vmlal_s8(vreinterpretq_s16_u16(*low), vget_low_s8(w), vget_low_s8(w)));
                    *high = vreinterpretq_u16_s16(vmlal_high_s8(vreinterpretq_s16_u16(*high), w, w));
                    // Sums of 255 and more are 255.
                    *sum = vqaddq_u8(*sum, vreinterpretq_u8_s8(vabsq_s8(w)));
                }
            }
        }
        let [[a, b], [c, d]] = magnitudes;
        let magnitudes = vmaxq_u8(vmaxq_u8(a, b), vmaxq_u8(c, d));
        let magnitudes = [vmaxv_u8(vget_low_u8(magnitudes)), vmaxv_u8(vget_high_u8(magnitudes))];
        for (pair, note) in notes.iter_mut().enumerate() {
            let [[a, b], [c, d]] = squares.map(|half| half.map(|parity| parity[pair]));
            // The larger ones of both channels.
            let lanes = |even: uint16x8_t, odd: uint16x8_t| {
                let larger = |x: uint16x8_t| vmax_u16(vget_low_u16(x), vget_high_u16(x));
                vcombine_u16(larger(even), larger(odd))
            };
            let four = vmaxq_u16(lanes(a, b), lanes(c, d));
            let eight = lanes(vrhaddq_u16(a, c), vrhaddq_u16(b, d));
            *note = fits::of_weights(Squares { four, eight }, magnitudes[pair] < u8::MAX);
        }
    }
}

/// [`TileKernel::arrange`].
#[target_feature(enable = "neon")]
fn arrange(panel: &[i8], to: &mut [i8]) {
    let (groups, _) = panel.as_chunks::<GROUP>();
    let (whole, last) = groups.as_chunks::<GROUPS>();
    let steps = groups.len().div_ceil(GROUPS);
    let (to, _) = to.as_chunks_mut::<STEP>().0.as_chunks_mut::<PAIR>();
    for (chunk, to) in to.chunks_exact_mut(CHANNELS / PAIR * steps).enumerate() {
        let (first, second) = to.split_at_mut(steps);
        let mut pairs = first.iter_mut().zip(second);
        for (groups, (first, second)) in whole.iter().zip(&mut pairs) {
            transpose(groups, chunk, first, second);
        }
        if let Some((first, second)) = pairs.next() {
            let mut groups = [[0; GROUP]; GROUPS];
            groups[..last.len()].copy_from_slice(last);
            transpose(&groups, chunk, first, second);
        }
    }
}

/// A step of two pairs of channels, those of a chunk of each group: in assembly, as the compiler counts every pointer up by itself.
#[inline]
#[target_feature(enable = "neon")]
fn transpose(groups: &[[i8; GROUP]; GROUPS], chunk: usize, first: &mut PairStep, second: &mut PairStep) {
    assert!(chunk < GROUP / CHUNK, "chunk {chunk}");
    /// 16 `k` of all channels from the chunks of four groups.
    macro_rules! four {
        ($a:literal $b:literal $c:literal $d:literal) => {
            lines!(
                concat!("ldr q0, [{from}, #", $a, " * {group}]"),
                concat!("ldr q1, [{from}, #", $b, " * {group}]"),
                concat!("ldr q2, [{from}, #", $c, " * {group}]"),
                concat!("ldr q3, [{from}, #", $d, " * {group}]"),
                "st4 {{v0.s, v1.s, v2.s, v3.s}}[0], [{a}], #16",
                "st4 {{v0.s, v1.s, v2.s, v3.s}}[1], [{b}], #16",
                "st4 {{v0.s, v1.s, v2.s, v3.s}}[2], [{c}], #16",
                "st4 {{v0.s, v1.s, v2.s, v3.s}}[3], [{d}], #16",
            )
        };
    }
    let [[a, b], [c, d]] = [first, second].map(|pair| pair.each_mut().map(|to| to.as_mut_ptr()));
    // SAFETY: NEON. Of each of the groups, which come one after the other, the 16 bytes of a chunk are read; each channel's 64 are written.
    unsafe {
        asm!(
            four!(0 1 2 3),
            four!(4 5 6 7),
            four!(8 9 10 11),
            four!(12 13 14 15),
            from = in(reg) groups.as_ptr().cast::<i8>().wrapping_add(chunk * CHUNK),
            group = const GROUP,
            a = inout(reg) a => _, b = inout(reg) b => _, c = inout(reg) c => _, d = inout(reg) d => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            options(nostack, preserves_flags),
        );
    }
}

/// [`TileKernel::arrange_rows`].
#[target_feature(enable = "neon")]
fn arrange_rows(rows: &[i8], padded_k: usize, to: &mut [i8]) {
    let (values, notes) = to.split_at_mut(padded_k.div_ceil(STEP) * size_of::<BlockStep>());
    let (values, _) = values.as_chunks_mut::<STEP>().0.as_chunks_mut::<BLOCK>();
    let (notes, _) = notes.as_chunks_mut::<NOTE>();
    let rest = padded_k % STEP;
    for ((s, values), note) in values.iter_mut().enumerate().zip(notes) {
        let mut squares = Squares { four: vdupq_n_u16(0), eight: vdupq_n_u16(0) };
        let whole = rest == 0 || (s + 1) * STEP <= padded_k;
        let mut to = values.iter_mut();
        for (row, to) in rows.chunks_exact(padded_k).zip(&mut to) {
            let mut part = [0; STEP];
            let row = if whole {
                row[s * STEP..].first_chunk().expect("a whole step")
            } else {
                part[..rest].copy_from_slice(&row[s * STEP..]);
                &part
            };
            // SAFETY: a step has the 64 bytes of four registers.
            let int8x16x4_t(a, b, c, d) = unsafe {
                let row = vld1q_s8_x4(row.as_ptr());
                vst1q_s8_x4(to.as_mut_ptr(), row);
                row
            };
            // Two squares are 2^15 at most.
            let [a, b, c, d] = [a, b, c, d].map(|x| {
                let squares = vmull_s8(vget_low_s8(x), vget_low_s8(x));
                vreinterpretq_u16_s16(vmlal_high_s8(squares, x, x))
            });
            let halves = [vrhaddq_u16(a, b), vrhaddq_u16(c, d)];
            squares.four = vmaxq_u16(squares.four, vmaxq_u16(halves[0], halves[1]));
            squares.eight = vmaxq_u16(squares.eight, vrhaddq_u16(halves[0], halves[1]));
        }
        to.for_each(|missing| *missing = [0; STEP]);
        *note = fits::of_rows(squares).map(u8::cast_signed);
    }
}

/// Eight rows at a time.
#[target_feature(enable = "neon")]
fn blocks(tile: &Tile<'_>, acc: &mut Accumulators) {
    let steps = tile.padded_k.div_ceil(STEP);
    let mut ways = Ways::new();
    let rows = tile.arranged_rows.chunks_exact(Neon::arranged_rows(tile.padded_k));
    for (rows, acc) in rows.zip(acc.0.as_flattened_mut()[..tile.rows].chunks_mut(BLOCK)) {
        let (rows, notes) = rows.split_at(steps * size_of::<BlockStep>());
        ways.find(bytemuck::cast_slice(notes), tile.notes, steps);
        if let Some(acc) = acc.first_chunk_mut() {
            block(rows, tile.arranged, &ways, acc);
        } else {
            let mut sums = [[0; NR]; BLOCK];
            block(rows, tile.arranged, &ways, &mut sums);
            acc.copy_from_slice(&sums[..acc.len()]);
        }
    }
}

/// Eight rows times a panel: in assembly, as the compiler does not keep all sums in registers.
///
/// # Panics
/// If rows or weights have fewer steps than `ways`.
#[inline]
#[target_feature(enable = "neon")]
fn block(rows: &[i8], weights: &[i8], ways: &Ways, acc: &mut [[i32; NR]; BLOCK]) {
    let steps = ways.steps();
    let all = rows.len() >= steps * size_of::<BlockStep>() && weights.len() >= PAIRS * steps * size_of::<PairStep>();
    assert!(all, "not {steps} steps");
    /// A step of a row, in v24 to v27.
    macro_rules! load {
        () => {
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{a}], #64"
        };
    }
    /// One half of a register of a row times those of both channels.
    macro_rules! half {
        ($op:literal "8b" $a:literal, $t:literal $v:literal, $u:literal $w:literal) => {
            lines!(
                concat!($op, " ", $t, ".8h, ", $v, ".8b, ", $a, ".8b"),
                concat!($op, " ", $u, ".8h, ", $w, ".8b, ", $a, ".8b"),
            )
        };
        ($op:literal "16b" $a:literal, $t:literal $v:literal, $u:literal $w:literal) => {
            lines!(
                concat!($op, "2 ", $t, ".8h, ", $v, ".16b, ", $a, ".16b"),
                concat!($op, "2 ", $u, ".8h, ", $w, ".16b, ", $a, ".16b"),
            )
        };
    }
    /// The loaded row: eight products, four or two are summed in 16 bits. `$next` comes as soon as the row is no longer needed.
    macro_rules! row {
        ($which:ident 8 $next:expr, $a:literal $b:literal) => {
            lines!(
                half!("smull" "8b" "v24", "v28" "v0", "v29" "v4"),
                half!("smlal" "16b" "v24", "v28" "v0", "v29" "v4"),
                half!("smlal" "8b" "v25", "v28" "v1", "v29" "v5"),
                half!("smlal" "16b" "v25", "v28" "v1", "v29" "v5"),
                half!("smlal" "8b" "v26", "v28" "v2", "v29" "v6"),
                half!("smlal" "16b" "v26", "v28" "v2", "v29" "v6"),
                half!("smlal" "8b" "v27", "v28" "v3", "v29" "v7"),
                half!("smlal" "16b" "v27", "v28" "v3", "v29" "v7"),
                $next,
                widen!($which $a "v28", $b "v29"),
            )
        };
        ($which:ident 4 $next:expr, $a:literal $b:literal) => {
            lines!(
                half!("smull" "8b" "v24", "v28" "v0", "v29" "v4"),
                half!("smull" "8b" "v26", "v30" "v2", "v31" "v6"),
                half!("smlal" "16b" "v24", "v28" "v0", "v29" "v4"),
                half!("smlal" "16b" "v26", "v30" "v2", "v31" "v6"),
                half!("smlal" "8b" "v25", "v28" "v1", "v29" "v5"),
                half!("smlal" "8b" "v27", "v30" "v3", "v31" "v7"),
                half!("smlal" "16b" "v25", "v28" "v1", "v29" "v5"),
                half!("smlal" "16b" "v27", "v30" "v3", "v31" "v7"),
                $next,
                widen!($which $a "v28", $b "v29"),
                widen!(next $a "v30", $b "v31"),
            )
        };
        ($which:ident 2 $next:expr, $a:literal $b:literal) => {
            lines!(
                half!("smull" "8b" "v24", "v28" "v0", "v29" "v4"),
                half!("smull" "8b" "v25", "v30" "v1", "v31" "v5"),
                half!("smlal" "16b" "v24", "v28" "v0", "v29" "v4"),
                half!("smlal" "16b" "v25", "v30" "v1", "v31" "v5"),
                widen!($which $a "v28", $b "v29"),
                widen!(next $a "v30", $b "v31"),
                half!("smull" "8b" "v26", "v28" "v2", "v29" "v6"),
                half!("smull" "8b" "v27", "v30" "v3", "v31" "v7"),
                half!("smlal" "16b" "v26", "v28" "v2", "v29" "v6"),
                half!("smlal" "16b" "v27", "v30" "v3", "v31" "v7"),
                $next,
                widen!(next $a "v28", $b "v29"),
                widen!(next $a "v30", $b "v31"),
            )
        };
    }
    /// A step: v0 to v3 are the weights of the first channel, v4 to v7 those of the second. And how the next one is multiplied.
    macro_rules! step {
        ($which:ident $sum:tt) => {
            lines!(
                "ld1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{w}], #64",
                load!(),
                "ld1 {{v4.16b, v5.16b, v6.16b, v7.16b}}, [{w}], #64",
                row!($which $sum load!(), "v8" "v9"),
                row!($which $sum load!(), "v10" "v11"),
                row!($which $sum load!(), "v12" "v13"),
                row!($which $sum load!(), "v14" "v15"),
                row!($which $sum load!(), "v16" "v17"),
                row!($which $sum load!(), "v18" "v19"),
                row!($which $sum load!(), "v20" "v21"),
                row!($which $sum "ldrb {way:w}, [{ways}], #{pairs}", "v22" "v23"),
            )
        };
    }
    /// Adds neighbours: to those of both registers in the first one.
    macro_rules! neighbours {
        ($($a:literal $b:literal),*) => { lines!($(concat!("addp ", $a, ".4s, ", $a, ".4s, ", $b, ".4s")),*) };
    }
    // The bits by which ways are told apart.
    const _: () = assert!(EIGHT == 0 && FOUR & 1 == 1 && TWO & 0x81 == 0x80 && END & 0x81 == 0 && END != 0);
    // SAFETY: NEON. Every way but the end, which ends a pair of channels, stands for 512 bytes of rows and 128 of weights, which are there,
    // as checked above, as the ways of each pair end after `steps`. Of each row of `acc`, eight bytes are written per pair.
    unsafe {
        asm!(
            // A pair of channels.
            "2:",
            "mov {ways}, {first_way}",
            "ldrb {way:w}, [{ways}], #{pairs}",
            "mov {a}, {rows}",
            "cbnz {way:w}, 3f",
            step!(first 8),
            "cbz {way:w}, 7f",
            "b 8f",
            "3:",
            "tbz {way:w}, #0, 4f",
            step!(first 4),
            "tbnz {way:w}, #0, 9f",
            "b 6f",
            "4:",
            step!(first 2),
            // Further steps.
            "6:",
            "cbnz {way:w}, 8f",
            "7:",
            step!(next 8),
            "cbz {way:w}, 7b",
            "8:",
            "tbz {way:w}, #0, 12f",
            "9:",
            step!(next 4),
            "cbz {way:w}, 7b",
            "tbnz {way:w}, #0, 9b",
            "12:",
            "tbz {way:w}, #7, 13f",
            step!(next 2),
            "tbnz {way:w}, #0, 9b",
            "b 6b",
            "13:",
            // To the lower half of v8 for the first row, to the upper half for the second, to v12 for the next two.
            neighbours!("v8" "v9", "v10" "v11", "v12" "v13", "v14" "v15", "v16" "v17", "v18" "v19", "v20" "v21", "v22" "v23"),
            neighbours!("v8" "v10", "v12" "v14", "v16" "v18", "v20" "v22"),
            "add {way}, {acc}, #{row}",
            "str d8, [{acc}]",
            "st1 {{v8.d}}[1], [{way}], {two_rows}",
            "str d12, [{acc}, #2 * {row}]",
            "st1 {{v12.d}}[1], [{way}], {two_rows}",
            "str d16, [{acc}, #4 * {row}]",
            "st1 {{v16.d}}[1], [{way}], {two_rows}",
            "str d20, [{acc}, #6 * {row}]",
            "st1 {{v20.d}}[1], [{way}]",
            "add {acc}, {acc}, #8",
            "add {first_way}, {first_way}, #1",
            "subs {left:w}, {left:w}, #1",
            "b.ne 2b",
            rows = in(reg) rows.as_ptr(),
            a = out(reg) _,
            w = inout(reg) weights.as_ptr() => _,
            first_way = inout(reg) ways.as_ptr() => _,
            ways = out(reg) _,
            way = out(reg) _,
            acc = inout(reg) acc.as_mut_ptr() => _,
            two_rows = in(reg) 2 * size_of::<[i32; NR]>(),
            left = inout(reg) PAIRS => _,
            row = const size_of::<[i32; NR]>(),
            pairs = const PAIRS,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack),
        );
    }
}
