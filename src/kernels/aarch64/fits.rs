//! How many products of bytes fit into 16 bits when they are summed.
//!
//! Two always fit: weights are at least -127, and `2 * 128 * 127 = 32512`. Of four or eight, the sum is at most the product of the lengths
//! of both vectors (Cauchy and Schwarz). Four fit, too, if the magnitudes of their weights add up to 254 at most, as `128 * 254 = 32512`.
//!
//! A note on a step of rows has units of length that none of its vectors exceeds: three of vectors of eight values, by the lane in which
//! they are summed, and one of those of four. A note on a step of weights has the units that fit with these weights. All of them
//! are found out once for weights and once per layer for rows; what remains per step and block of the product is to compare four bytes.

use std::arch::aarch64::*;
use std::arch::asm;
use std::mem::MaybeUninit;

use super::arrange::STEP;
use crate::kernels::layout::MAX_K;

/// Bytes of a note: lanes 0 and 1, 2 and 3, and 4 to 7 of eight products, and all lanes of four.
pub(super) const NOTE: usize = 4;
/// Notes on weights that each step has.
pub(super) const PAIRS: usize = 8;
/// Steps that are compared at once.
const AT_ONCE: usize = 2;

// What the assembly knows.
const _: () = assert!(NOTE == 4 && PAIRS == 8 && AT_ONCE == 2 && MOST_STEPS.is_multiple_of(AT_ONCE));

/// All eight products of a step are summed in 16 bits.
pub(super) const EIGHT: u8 = 0;
/// Four and four of them.
pub(super) const FOUR: u8 = 0xff;
/// Two each.
pub(super) const TWO: u8 = 0xfe;
/// There are no more steps.
pub(super) const END: u8 = 2;

/// A unit of length: 255 of them are more than the length of eight bytes, `sqrt(8) 128`.
const UNIT: f32 = 1.42;
/// What a product of lengths may be, so that products of rounded lengths are at most what 16 bits hold.
const MOST: f32 = 32_760.0;

/// Bytes of the notes on so many steps.
pub(super) fn notes_len(steps: usize) -> usize {
    steps.next_multiple_of(AT_ONCE) * NOTE
}

/// Bounds of the squares of the lengths of all vectors of a lane.
pub(super) struct Squares {
    pub four: uint16x8_t,
    pub eight: uint16x8_t,
}

impl Squares {
    /// Those of lanes 0 and 1, 2 and 3, and 4 to 7 of eight values, and of all lanes of four, times `scales`.
    #[inline]
    #[target_feature(enable = "neon")]
    fn of_groups(self, scales: [f32; NOTE]) -> float32x4_t {
        let twos = vpmaxq_u16(self.eight, self.four);
        let fours = vpmaxq_u16(twos, twos);
        let eights = vpmaxq_u16(fours, fours);
        let groups = vsetq_lane_u16::<2>(vgetq_lane_u16::<1>(fours), twos);
        let groups = vsetq_lane_u16::<3>(vgetq_lane_u16::<1>(eights), groups);
        // SAFETY: four `f32` have the 16 bytes of a register.
        let scales = unsafe { vld1q_f32(scales.as_ptr()) };
        vmulq_f32(vcvtq_f32_u32(vmovl_u16(vget_low_u16(groups))), scales)
    }
}

/// The lanes, which are below 256, as bytes, without what is behind the point.
#[inline]
#[target_feature(enable = "neon")]
fn bytes(x: float32x4_t) -> [u8; NOTE] {
    let narrow = vmovn_u32(vcvtq_u32_f32(x));
    let narrow = vmovn_u16(vcombine_u16(narrow, narrow));
    vget_lane_u32::<0>(vreinterpret_u32_u8(narrow)).to_le_bytes()
}

/// The note on rows, of whose squares of four and of eight values these are halves and quarters.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn of_rows(squares: Squares) -> [u8; NOTE] {
    const SCALES: [f32; NOTE] = {
        let unit = 1.0 / (UNIT * UNIT);
        [4.0 * unit, 4.0 * unit, 4.0 * unit, 2.0 * unit]
    };
    // Rounded up; that the operations before have errors, `MOST` makes up for.
    bytes(vrndpq_f32(vsqrtq_f32(squares.of_groups(SCALES))))
}

/// The note on weights, of which `squares` has those of four values and halves of those of eight. `small` says that four products fit
/// whatever the rows are.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn of_weights(squares: Squares, small: bool) -> [u8; NOTE] {
    const SCALES: [f32; NOTE] = {
        let unit = UNIT * UNIT / (MOST * MOST);
        [2.0 * unit, 2.0 * unit, 2.0 * unit, unit]
    };
    /// As many units as rows can have.
    const ANY: f32 = 255.0;
    let units = vdivq_f32(vdupq_n_f32(1.0), vsqrtq_f32(squares.of_groups(SCALES)));
    let mut note = bytes(vminq_f32(units, vdupq_n_f32(ANY)));
    if small {
        note[NOTE - 1] = ANY as u8;
    }
    note
}

/// How all pairs of channels of a panel are multiplied with a block of rows.
pub(super) struct Ways {
    /// By step: [`EIGHT`], [`FOUR`] or [`TWO`]; then [`END`] for each.
    of_steps: [MaybeUninit<[u8; PAIRS]>; MOST_STEPS + 1],
    steps: usize,
}

/// Steps of the largest inner dimension.
const MOST_STEPS: usize = MAX_K / STEP;

impl Ways {
    /// Those of no steps.
    pub fn new() -> Self {
        let mut of_steps = [MaybeUninit::uninit(); MOST_STEPS + 1];
        of_steps[0].write([END; PAIRS]);
        Self { of_steps, steps: 0 }
    }

    /// As many steps as were looked at last.
    #[inline(always)]
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The ways of the first step. After those of [`Ways::steps`] steps, there is the end.
    #[inline(always)]
    pub fn as_ptr(&self) -> *const u8 {
        self.of_steps.as_ptr().cast()
    }

    /// Finds the ways of `steps` steps, of which `of_rows` has a note each and `of_weights` one for every pair: in assembly, as the compiler
    /// takes more instructions for a test of bits and counts every pointer up by itself.
    ///
    /// # Panics
    /// If there are fewer notes, or more steps than the largest inner dimension has.
    #[inline]
    #[target_feature(enable = "neon")]
    pub fn find(&mut self, of_rows: &[u8], of_weights: &[u8], steps: usize) {
        let rows = of_rows.as_chunks::<{ AT_ONCE * NOTE }>().0;
        let weights = of_weights.as_chunks::<{ AT_ONCE * PAIRS * NOTE }>().0;
        let all = rows.len().min(weights.len()) >= steps.div_ceil(AT_ONCE);
        assert!(all && steps <= MOST_STEPS, "not the notes on {steps} steps");
        /// Notes on rows and weights become what is left: one less for each kind that does not fit.
        macro_rules! way {
            ($rows:literal $weights:literal, $to:literal) => {
                lines!(
                    concat!("cmhi ", $weights, ".16b, ", $rows, ".16b, ", $weights, ".16b"),
                    concat!("cmtst ", $to, ".4s, ", $weights, ".4s, {eight:v}.4s"),
                    concat!("ssra ", $to, ".4s, ", $weights, ".4s, #31"),
                )
            };
        }
        if steps > 0 {
            // SAFETY: NEON. For each two steps, 8 bytes of notes on rows and 64 of those on weights are read, and 16 are written, which are there,
            // as checked above; `of_steps` has an even number of steps and one.
            unsafe {
                asm!(
                    "2:",
                    "ld2r {{v0.4s, v1.4s}}, [{rows}], #8",
                    "ld1 {{v2.16b, v3.16b, v4.16b, v5.16b}}, [{weights}], #64",
                    way!("v0" "v2", "v16"),
                    way!("v0" "v3", "v17"),
                    way!("v1" "v4", "v18"),
                    way!("v1" "v5", "v19"),
                    "uzp1 v16.8h, v16.8h, v17.8h",
                    "uzp1 v18.8h, v18.8h, v19.8h",
                    "uzp1 v16.16b, v16.16b, v18.16b",
                    "subs {twos}, {twos}, #1",
                    "str q16, [{to}], #16",
                    "b.ne 2b",
                    rows = inout(reg) of_rows.as_ptr() => _,
                    weights = inout(reg) of_weights.as_ptr() => _,
                    to = inout(reg) self.of_steps.as_mut_ptr() => _,
                    twos = inout(reg) steps.div_ceil(AT_ONCE) => _,
                    eight = in(vreg) vdupq_n_u32(0x00ff_ffff),
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
                    out("v16") _, out("v17") _, out("v18") _, out("v19") _,
                    options(nostack),
                );
            }
        }
        self.of_steps[steps].write([END; PAIRS]);
        self.steps = steps;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What sums of 16 bits hold.
    const LARGEST: u64 = i16::MAX as u64;

    /// The notes on rows and on weights that have this square in `lane` of eight and of four.
    fn notes(lane: usize, square: u16) -> [[u8; NOTE]; 2] {
        let mut lanes = [0; 8];
        lanes[lane] = square;
        // SAFETY: every CPU of 64-bit Arm that Rust knows has NEON; eight `u16` have the 16 bytes of a register.
        unsafe {
            let squares = || Squares { four: vld1q_u16(lanes.as_ptr()), eight: vld1q_u16(lanes.as_ptr()) };
            [of_rows(squares()), of_weights(squares(), false)]
        }
    }

    /// The bytes of a note that a lane counts in.
    fn bytes_of(lane: usize) -> [usize; 2] {
        [[0, 0, 1, 1, 2, 2, 2, 2][lane], NOTE - 1]
    }

    /// All squares, each in one of the lanes: notes never say less of rows, or more of weights, than is so.
    #[test]
    fn products_that_are_said_to_fit_do() {
        // A note on rows stands for lengths up to the largest square with it, and one on weights for that with the largest square.
        let mut longest = [[None; 256]; 2];
        let mut heaviest = [[None; 256]; 2];
        for square in 0..=u16::MAX {
            let [rows, weights] = notes(usize::from(square) % 8, square);
            for (i, byte) in bytes_of(usize::from(square) % 8).into_iter().enumerate() {
                let (of_rows, of_weights) = ([4, 2][i] * u64::from(square), [2, 1][i] * u64::from(square));
                // Squares of eight bytes are 8 * 2^14 at most, of four 4 * 2^14.
                if of_rows <= [1 << 17, 1 << 16][i] {
                    longest[i][usize::from(rows[byte])] = Some(of_rows);
                }
                heaviest[i][usize::from(weights[byte])] = Some(of_weights);
            }
        }
        for (longest, heaviest) in longest.iter().zip(&heaviest) {
            let mut compared = 0;
            for (rows, of_rows) in longest.iter().enumerate() {
                for of_weights in heaviest[rows..].iter().flatten() {
                    let Some(of_rows) = of_rows else { continue };
                    assert!(of_rows * of_weights <= LARGEST * LARGEST, "{of_rows} and {of_weights}");
                    compared += 1;
                }
            }
            assert!(compared > 1000, "{compared}");
        }
    }

    /// What is noted is not far from what is so, or nothing would ever fit.
    #[test]
    fn most_products_that_fit_are_said_to() {
        let mut fit = [0; 2];
        for square in (100..=1u16 << 15).step_by(7) {
            let lane = usize::from(square) % 8;
            let ([rows, _], bytes) = (notes(lane, square), bytes_of(lane));
            // Of eight, a quarter of the rows' and half of the weights'; of four, half and all. Two percent more would not fit.
            for (i, halves) in [8, 2].into_iter().enumerate() {
                let most = LARGEST * LARGEST * 96 / 100 / u64::from(square) / halves;
                if let Ok(most) = u16::try_from(most) {
                    let [_, weights] = notes(lane, most);
                    fit[i] += 1;
                    assert!(rows[bytes[i]] <= weights[bytes[i]].saturating_add(1), "{square} and {most}");
                }
            }
        }
        assert!(fit[0] > 1000 && fit[1] > 1000, "{fit:?}");
    }

    /// All kinds of notes, on both sides of 128, for every pair of channels and for odd and even numbers of steps.
    #[test]
    fn ways_are_those_of_the_notes() {
        for steps in [1, 2, 3, 32] {
            let mut of_rows = vec![0; notes_len(steps)];
            let mut of_weights = vec![0; PAIRS * notes_len(steps)];
            let (mut want, mut kinds) = (Vec::new(), [0; 3]);
            for s in 0..steps {
                let rows =
                    [[100u8, 101, 102, 103], [127, 128, 129, 130], [200, 1, 255, 126], [0, 250, 127, 255]][s % 4];
                of_rows[s * NOTE..][..NOTE].copy_from_slice(&rows);
                for pair in 0..PAIRS {
                    // Which bytes are one too few, if that can be.
                    let bits = (s * PAIRS + pair) / 2;
                    let mut weights = rows;
                    for (i, note) in weights.iter_mut().enumerate() {
                        *note = if bits >> i & 1 == 1 {
                            note.saturating_sub(1)
                        } else {
                            note.saturating_add((pair % 2) as u8)
                        };
                    }
                    let eight = weights[..3].iter().zip(&rows).all(|(weights, rows)| rows <= weights);
                    let four = rows[3] <= weights[3];
                    // If eight fit, so do four, whatever the notes say.
                    want.push(match (eight, four) {
                        (true, true) => EIGHT,
                        (false, false) => TWO,
                        _ => FOUR,
                    });
                    kinds[usize::from(!eight) + usize::from(!four)] += 1;
                    of_weights[(s * PAIRS + pair) * NOTE..][..NOTE].copy_from_slice(&weights);
                }
            }
            assert!(steps < 32 || kinds.iter().all(|kind| *kind > 5), "{kinds:?}");
            want.extend([END; PAIRS]);
            let mut ways = Ways::new();
            // SAFETY: every CPU of 64-bit Arm that Rust knows has NEON.
            unsafe { ways.find(&of_rows, &of_weights, steps) };
            assert_eq!(ways.steps(), steps);
            // SAFETY: the ways of all steps, and their end, were written.
            let got = unsafe { std::slice::from_raw_parts(ways.as_ptr(), want.len()) };
            assert_eq!(got, want, "{steps} steps");
        }
    }

    #[test]
    fn four_products_of_small_weights_fit_whatever_the_rows_are() {
        // SAFETY: every CPU of 64-bit Arm that Rust knows has NEON.
        let of = |square: u16, small| unsafe {
            of_weights(Squares { four: vdupq_n_u16(square), eight: vdupq_n_u16(square) }, small)
        };
        assert_eq!((of(60_000, false)[NOTE - 1] < 100, of(60_000, true)[NOTE - 1]), (true, u8::MAX));
        assert_eq!(of(60_000, false)[..NOTE - 1], of(60_000, true)[..NOTE - 1]);
        assert_eq!(of(0, false), [u8::MAX; NOTE]);
    }

    #[test]
    #[should_panic(expected = "not the notes on 3 steps")]
    fn missing_notes_are_refused() {
        // SAFETY: every CPU of 64-bit Arm that Rust knows has NEON.
        unsafe { Ways::new().find(&[0; 8], &[0; 4 * PAIRS * NOTE], 3) }
    }
}
