//! 16 `f32` in four NEON registers.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{elementary, scores};
use crate::kernels::cpu::{Neon, NeonDot};
use crate::kernels::score_products::{Operands, Sums};
use crate::kernels::simd::{BLOCK, Dot, LANES, Simd, Task, TaskDot};

/// Runs `task` in code compiled for NEON.
pub(in crate::kernels) fn run<T: Task>(token: Neon, task: T) -> T::Output {
    // SAFETY: the token proves the feature.
    unsafe { run_neon(token, task) }
}

#[target_feature(enable = "neon")]
fn run_neon<T: Task>(token: Neon, task: T) -> T::Output {
    task.run(token)
}

/// Runs `task`, which needs products of bytes, in code compiled for NEON.
pub(in crate::kernels) fn run_dot_neon<T: TaskDot>(token: Neon, task: T) -> T::Output {
    // SAFETY: the token proves the feature.
    unsafe { run_dot(token, task) }
}

#[target_feature(enable = "neon")]
fn run_dot<T: TaskDot>(token: Neon, task: T) -> T::Output {
    task.run(token, token)
}

/// Runs `task` in code compiled for NEON with dot products.
pub(in crate::kernels) fn run_dot_sdot<T: TaskDot>(token: NeonDot, task: T) -> T::Output {
    // SAFETY: the token proves the features.
    unsafe { run_neon_dot(token, task) }
}

#[target_feature(enable = "neon,dotprod")]
fn run_neon_dot<T: TaskDot>(token: NeonDot, task: T) -> T::Output {
    task.run(Neon::from(token), token)
}

/// Lanes of one register.
const QUARTER: usize = LANES / 4;

/// An expression of every register `$i` of a vector.
macro_rules! each {
    ($i:ident => $x:expr) => {
        [
            {
                const $i: usize = 0;
                $x
            },
            {
                const $i: usize = 1;
                $x
            },
            {
                const $i: usize = 2;
                $x
            },
            {
                const $i: usize = 3;
                $x
            },
        ]
    };
}

/// Transposes 4 x 4 values.
#[inline]
#[target_feature(enable = "neon")]
fn transpose_4x4(r: [float32x4_t; 4]) -> [float32x4_t; 4] {
    // Lanes of even and of odd columns, in pairs of rows.
    let pair = |a, b| [vreinterpretq_f64_f32(vtrn1q_f32(a, b)), vreinterpretq_f64_f32(vtrn2q_f32(a, b))];
    let (upper, lower) = (pair(r[0], r[1]), pair(r[2], r[3]));
    [
        vreinterpretq_f32_f64(vzip1q_f64(upper[0], lower[0])),
        vreinterpretq_f32_f64(vzip1q_f64(upper[1], lower[1])),
        vreinterpretq_f32_f64(vzip2q_f64(upper[0], lower[0])),
        vreinterpretq_f32_f64(vzip2q_f64(upper[1], lower[1])),
    ]
}

/// Values of a vector as [`Simd::store_i8`] stores them.
#[inline]
#[target_feature(enable = "neon")]
fn narrow(x: [float32x4_t; 4]) -> int8x16_t {
    let [a, b, c, d] = each!(I => vcvtnq_s32_f32(x[I]));
    // The lower halves of integers of 16 bits are the integers.
    let halves = |a, b| vuzp1q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b));
    let (low, high) = (halves(a, b), halves(c, d));
    vmaxq_s8(vqmovn_high_s16(vqmovn_s16(low), high), vdupq_n_s8(-127))
}

impl Simd for Neon {
    type F32 = [float32x4_t; 4];
    type I32 = [int32x4_t; 4];
    type Four<'a> = float32x4_t;

    const TILE: (usize, usize) = (5, 1);
    const FOURS: bool = true;
    const NAN_STAYS: bool = true;
    const RANGE_IN_PASSING: bool = true;

    #[inline(always)]
    fn call<T: Task>(self, task: T) -> T::Output {
        run(self, task)
    }

    #[expect(clippy::pointers_in_nomem_asm_block, reason = "what is fetched is neither read nor written")]
    #[inline(always)]
    fn prefetch(self, bytes: &[i8]) {
        /// Bytes of a line of the caches.
        const LINE: usize = 64;
        // Into the second-level cache: the first has 32 kB on A53 and A72, and holds the weights that are being multiplied.
        let (blocks, lines) = bytes.as_chunks::<{ 4 * LINE }>();
        for block in blocks {
            // SAFETY: hints, which read nothing that the program could see. No address can do harm, and these are valid.
            unsafe {
                asm!(
                    "prfm pldl2keep, [{block}]",
                    "prfm pldl2keep, [{block}, #64]",
                    "prfm pldl2keep, [{block}, #128]",
                    "prfm pldl2keep, [{block}, #192]",
                    block = in(reg) block.as_ptr(),
                    options(nomem, nostack, preserves_flags),
                );
            }
        }
        for line in lines.chunks(LINE) {
            // SAFETY: as above.
            unsafe { asm!("prfm pldl2keep, [{}]", in(reg) line.as_ptr(), options(nomem, nostack, preserves_flags)) }
        }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F32 {
        // SAFETY: the token proves NEON.
        [unsafe { vdupq_n_f32(x) }; 4]
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F32 {
        // SAFETY: the token proves NEON; each quarter has the 16 bytes of a register.
        unsafe { each!(I => vld1q_f32(x[I * QUARTER..][..QUARTER].as_ptr())) }
    }

    #[inline(always)]
    fn store(self, x: Self::F32, to: &mut [f32; LANES]) {
        // SAFETY: the token proves NEON; each quarter has the 16 bytes of a register.
        unsafe { each!(I => vst1q_f32(to[I * QUARTER..][..QUARTER].as_mut_ptr(), x[I])) };
    }

    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: the token proves NEON.
        unsafe { each!(I => vaddq_f32(a[I], b[I])) }
    }

    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: the token proves NEON.
        unsafe { each!(I => vsubq_f32(a[I], b[I])) }
    }

    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: the token proves NEON.
        unsafe { each!(I => vmulq_f32(a[I], b[I])) }
    }

    #[inline(always)]
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: the token proves NEON.
        unsafe { each!(I => vdivq_f32(a[I], b[I])) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        // SAFETY: the token proves NEON.
        unsafe { each!(I => vfmaq_f32(c[I], a[I], b[I])) }
    }

    #[inline(always)]
    fn four<'a>(self, x: &'a [f32; 4]) -> Self::Four<'a> {
        // SAFETY: the token proves NEON; four values have the 16 bytes of a register.
        unsafe { vld1q_f32(x.as_ptr()) }
    }

    #[inline(always)]
    fn mul_add_of_four<const I: i32>(self, a: Self::Four<'_>, b: Self::F32, c: Self::F32) -> Self::F32 {
        // SAFETY: the token proves NEON.
        unsafe { each!(J => vfmaq_laneq_f32::<I>(c[J], b[J], a)) }
    }

    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: the token proves NEON.
        unsafe { each!(I => vminq_f32(a[I], b[I])) }
    }

    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: the token proves NEON.
        unsafe { each!(I => vmaxq_f32(a[I], b[I])) }
    }

    #[inline(always)]
    fn to_f32(self, x: Self::I32) -> Self::F32 {
        // SAFETY: the token proves NEON.
        unsafe { each!(I => vcvtq_f32_s32(x[I])) }
    }

    #[inline(always)]
    fn load_i32(self, x: &[i32; LANES]) -> Self::I32 {
        // SAFETY: the token proves NEON; each quarter has the 16 bytes of a register.
        unsafe { each!(I => vld1q_s32(x[I * QUARTER..][..QUARTER].as_ptr())) }
    }

    #[inline(always)]
    fn array_i32(self, x: Self::I32) -> [i32; LANES] {
        let mut lanes = [0; LANES];
        // SAFETY: the token proves NEON; each quarter has the 16 bytes of a register.
        unsafe { each!(I => vst1q_s32(lanes[I * QUARTER..][..QUARTER].as_mut_ptr(), x[I])) };
        lanes
    }

    #[inline(always)]
    fn bits_add_shl23(self, x: Self::F32, add: i32) -> Self::F32 {
        // SAFETY: the token proves NEON.
        unsafe {
            let add = vdupq_n_s32(add);
            each!(I => vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vreinterpretq_s32_f32(x[I]), add))))
        }
    }

    #[inline(always)]
    fn store_i8(self, x: [Self::F32; BLOCK / LANES], flip: i8, to: &mut [i8; BLOCK]) {
        for (x, to) in x.iter().zip(to.as_chunks_mut::<LANES>().0) {
            // SAFETY: the token proves NEON; the part has the 16 bytes of a register.
            unsafe { vst1q_s8(to.as_mut_ptr(), veorq_s8(narrow(*x), vdupq_n_s8(flip))) }
        }
    }

    #[inline(always)]
    fn store_i8_in_fours(self, x: [Self::F32; BLOCK / LANES], to: &mut [i8; BLOCK]) {
        // SAFETY: the token proves NEON; the array has the 64 bytes of four registers.
        unsafe { vst4q_s8(to.as_mut_ptr(), int8x16x4_t(narrow(x[0]), narrow(x[1]), narrow(x[2]), narrow(x[3]))) }
    }

    #[inline(always)]
    fn positions(self, bytes: &[i8; BLOCK], byte: i8) -> u64 {
        // SAFETY: the token proves NEON; each quarter has the 16 bytes of a register.
        unsafe {
            // Bit i of byte i: neighbouring bytes are added up to one of eight.
            let (bits, byte) = (vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201)), vdupq_n_s8(byte));
            let [a, b, c, d] =
                each!(I => vandq_u8(vceqq_s8(vld1q_s8(bytes[I * LANES..][..LANES].as_ptr()), byte), bits));
            let sums = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
            vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)))
        }
    }

    #[inline(always)]
    fn fold(self, x: Self::F32, f: impl Fn(Self::F32, Self::F32) -> Self::F32) -> f32 {
        let x = f(x, [x[2], x[3], x[0], x[1]]);
        let x = f(x, [x[1], x[0], x[3], x[2]])[0];
        let f = |a, b| f([a; 4], [b; 4])[0];
        // SAFETY: the token proves NEON.
        unsafe {
            let x = f(x, vextq_f32::<2>(x, x));
            vgetq_lane_f32::<0>(f(x, vrev64q_f32(x)))
        }
    }

    #[inline(always)]
    fn largest_of_each(self, vectors: [Self::F32; LANES]) -> Self::F32 {
        // SAFETY: the token proves NEON.
        unsafe {
            let of_one = |x: Self::F32| vmaxq_f32(vmaxq_f32(x[0], x[1]), vmaxq_f32(x[2], x[3]));
            each!(I => {
                let of_two = |r: usize| vpmaxq_f32(of_one(vectors[4 * I + r]), of_one(vectors[4 * I + r + 1]));
                vpmaxq_f32(of_two(0), of_two(2))
            })
        }
    }

    #[inline(always)]
    fn lookup(self, window: &[f32; LANES], columns: &[u32; LANES]) -> Self::F32 {
        // SAFETY: the token proves NEON; each quarter has the 16 bytes of a register. Bytes beyond the table are read as 0.
        unsafe {
            let table = uint8x16x4_t(
                vld1q_u8(window[..QUARTER].as_ptr().cast()),
                vld1q_u8(window[QUARTER..][..QUARTER].as_ptr().cast()),
                vld1q_u8(window[2 * QUARTER..][..QUARTER].as_ptr().cast()),
                vld1q_u8(window[3 * QUARTER..][..QUARTER].as_ptr().cast()),
            );
            let first = vdupq_n_u32(columns[0]);
            // The four bytes of entry e begin with byte 4 e.
            let (bytes, within) = (vdupq_n_u32(0x0404_0404), vdupq_n_u32(0x0302_0100));
            each!(I => {
                let entries = vsubq_u32(vld1q_u32(columns[I * QUARTER..][..QUARTER].as_ptr()), first);
                let indices = vmlaq_u32(within, entries, bytes);
                vreinterpretq_f32_u8(vqtbl4q_u8(table, vreinterpretq_u8_u32(indices)))
            })
        }
    }

    #[inline(always)]
    fn exp(self, x: Self::F32) -> Self::F32 {
        elementary::exp(self, x)
    }

    #[inline(always)]
    fn gelu(self, x: Self::F32) -> Self::F32 {
        elementary::gelu(self, x)
    }

    #[inline(always)]
    fn transpose(self, rows: &mut [Self::F32; LANES]) {
        let r = *rows;
        for i in 0..4 {
            for j in 0..4 {
                // SAFETY: the token proves NEON.
                let square = unsafe { transpose_4x4([r[4 * i][j], r[4 * i + 1][j], r[4 * i + 2][j], r[4 * i + 3][j]]) };
                for (row, square) in rows[4 * j..].iter_mut().zip(square) {
                    row[i] = square;
                }
            }
        }
    }
}

/// Bytes are multiplied to 16 bits and added in pairs there: two products of bytes in `[-127, 127]` are at most 32258.
impl Dot<Neon> for Neon {
    type Bytes = [int8x16_t; 4];

    const FLIP: u8 = 0;
    const SQUARES: usize = 1;

    #[inline(always)]
    fn load(self, bytes: &[u8; 4 * LANES]) -> Self::Bytes {
        // SAFETY: the token proves NEON; each quarter has the 16 bytes of a register.
        unsafe { each!(I => vld1q_s8(bytes[I * LANES..][..LANES].as_ptr().cast())) }
    }

    #[inline(always)]
    fn splat(self, bytes: &[u8; 4]) -> Self::Bytes {
        // SAFETY: the token proves NEON.
        [unsafe { vreinterpretq_s8_u32(vdupq_n_u32(u32::from_ne_bytes(*bytes))) }; 4]
    }

    #[inline(always)]
    fn dot(self, sum: [int32x4_t; 4], a: Self::Bytes, b: Self::Bytes) -> [int32x4_t; 4] {
        // SAFETY: the token proves NEON.
        unsafe {
            each!(I => {
                let low = vmull_s8(vget_low_s8(a[I]), vget_low_s8(b[I]));
                vpadalq_s16(sum[I], vpaddq_s16(low, vmull_high_s8(a[I], b[I])))
            })
        }
    }

    #[inline(always)]
    fn score_sums<const T: usize>(
        self,
        operands: &Operands<'_, T>,
        row: usize,
        start: Sums<[int32x4_t; 4], T>,
    ) -> Sums<[int32x4_t; 4], T> {
        scores::neon(self, operands, row, start)
    }
}

impl Dot<Neon> for NeonDot {
    type Bytes = [int8x16_t; 4];

    const FLIP: u8 = 0;
    const SQUARES: usize = 1;

    #[inline(always)]
    fn load(self, bytes: &[u8; 4 * LANES]) -> Self::Bytes {
        Dot::load(Neon::from(self), bytes)
    }

    #[inline(always)]
    fn splat(self, bytes: &[u8; 4]) -> Self::Bytes {
        Dot::splat(Neon::from(self), bytes)
    }

    #[inline(always)]
    fn dot(self, sum: [int32x4_t; 4], a: Self::Bytes, b: Self::Bytes) -> [int32x4_t; 4] {
        // SAFETY: the token proves dot products.
        unsafe { each!(I => sdot(sum[I], a[I], b[I])) }
    }

    #[inline(always)]
    fn score_sums<const T: usize>(
        self,
        operands: &Operands<'_, T>,
        row: usize,
        start: Sums<[int32x4_t; 4], T>,
    ) -> Sums<[int32x4_t; 4], T> {
        scores::sdot(self, operands, row, start)
    }
}

/// `sum + a_0 b_0 + ... + a_3 b_3` in every lane. The intrinsic is not stable yet.
///
/// # Safety
/// The CPU must have dot products.
#[inline(always)]
unsafe fn sdot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the caller promises the instruction, which works on registers only.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
