//! Operands of the products of NEON without dot products, in the order in which they are read, with notes on lengths for [`fits`].
//!
//! A register holds 16 `k` of a row or of a channel, and four of them a step of each.

use std::arch::aarch64::*;
use std::arch::asm;

use super::fits::{self, NOTE, PAIRS, Squares};
use crate::kernels::layout::{GROUP, KG, NR};

/// Rows that are multiplied together.
pub(super) const BLOCK: usize = 8;
/// Channels that are multiplied together.
pub(super) const PAIR: usize = NR / PAIRS;
/// Inner-dimension values of a step: four registers of a row or a channel, of which eight products add up to a sum.
pub(super) const STEP: usize = 64;
/// Groups of a step.
const GROUPS: usize = STEP / KG;
/// Bytes of a register: of a group, four channels of four `k`; of a row or a channel, 16 `k`.
const CHUNK: usize = 16;
/// Channels of a chunk of a group.
const CHANNELS: usize = CHUNK / KG;
/// A step of a block of rows: of two rows the first half of the step, then the second, so that one load has as much of each and there are
/// sums enough that do not wait for each other.
pub(super) type BlockStep = [[[[i8; STEP / 2]; 2]; 2]; BLOCK / 2];
/// A step of a pair of channels.
pub(super) type PairStep = [[i8; STEP]; PAIR];

/// Writes the notes on a panel.
#[target_feature(enable = "neon")]
pub(super) fn examine(panel: &[i8], notes: &mut [u8]) {
    let (notes, _) = notes.as_chunks_mut::<NOTE>().0.as_chunks_mut::<PAIRS>();
    for_steps(panel, |s, groups| examine_step(groups, &mut notes[s]));
}

/// Calls `f` with every step of a panel and its number; what is missing of the last one is zero.
#[inline(always)]
fn for_steps(panel: &[i8], mut f: impl FnMut(usize, &[[i8; GROUP]; GROUPS])) {
    let (groups, _) = panel.as_chunks::<GROUP>();
    let (whole, last) = groups.as_chunks::<GROUPS>();
    for (s, groups) in whole.iter().enumerate() {
        f(s, groups);
    }
    if !last.is_empty() {
        let mut groups = [[0; GROUP]; GROUPS];
        groups[..last.len()].copy_from_slice(last);
        f(whole.len(), &groups);
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
                    // Sums of 255 and more are 255, and 255 is taken for more.
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

/// Arranges a panel: pair, step, channel, `k`; what is missing of the last step is zero.
#[target_feature(enable = "neon")]
pub(super) fn arrange(panel: &[i8], to: &mut [i8]) {
    let steps = panel.len().div_ceil(NR * STEP);
    let (to, _) = to.as_chunks_mut::<STEP>().0.as_chunks_mut::<PAIR>();
    for_steps(panel, |s, groups| {
        for (chunk, to) in to.chunks_exact_mut(CHANNELS / PAIR * steps).enumerate() {
            let (first, second) = to.split_at_mut(steps);
            transpose(groups, chunk, &mut first[s], &mut second[s]);
        }
    });
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

/// Arranges up to [`BLOCK`] rows: steps, in which zeros stand for missing rows and for what is missing of the last step; then the notes.
#[target_feature(enable = "neon")]
pub(super) fn arrange_rows(rows: &[i8], padded_k: usize, to: &mut [i8]) {
    let (values, notes) = to.split_at_mut(padded_k.div_ceil(STEP) * size_of::<BlockStep>());
    let (values, _) = values.as_chunks_mut().0.as_chunks_mut().0.as_chunks_mut().0.as_chunks_mut();
    let mut steps = values.iter_mut().zip(notes.as_chunks_mut().0);
    let (count, rest) = (rows.len() / padded_k, padded_k % STEP);
    for (s, (to, note)) in steps.by_ref().take(padded_k / STEP).enumerate() {
        *note = arrange_step(&rows[s * STEP..], padded_k, count, to).map(u8::cast_signed);
    }
    if let Some((to, note)) = steps.next() {
        let mut last = [[0; STEP]; BLOCK];
        for (last, row) in last.iter_mut().zip(rows.chunks_exact(padded_k)) {
            last[..rest].copy_from_slice(&row[padded_k - rest..]);
        }
        *note = arrange_step(last.as_flattened(), STEP, count, to).map(u8::cast_signed);
    }
}

/// Arranges a step of `count` rows that begin `stride` values after each other. Returns the note on it.
#[inline]
#[target_feature(enable = "neon")]
fn arrange_step(rows: &[i8], stride: usize, count: usize, to: &mut BlockStep) -> [u8; NOTE] {
    let mut squares = Squares { four: vdupq_n_u16(0), eight: vdupq_n_u16(0) };
    for (r, row) in rows.chunks(stride).take(count).enumerate() {
        let row: &[i8; STEP] = row.first_chunk().expect("a whole step");
        let [first, second] = to[r / 2].each_mut().map(|half| half[r % 2].as_mut_ptr());
        // SAFETY: a step has the 64 bytes of four registers, and a half of it those of two.
        let int8x16x4_t(a, b, c, d) = unsafe {
            let row = vld1q_s8_x4(row.as_ptr());
            vst1q_s8_x2(first, int8x16x2_t(row.0, row.1));
            vst1q_s8_x2(second, int8x16x2_t(row.2, row.3));
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
    for r in count..BLOCK {
        for half in &mut to[r / 2] {
            half[r % 2].fill(0);
        }
    }
    fits::of_rows(squares)
}
