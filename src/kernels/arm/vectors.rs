//! Operations on vectors of 16 `f32`, which lie in memory between them. Numbers too small for a full mantissa count as zero.

use std::mem::MaybeUninit;

use crate::kernels::cpu::Neon32;
use crate::kernels::simd::{BLOCK, LANES, Polynomials};

type F32 = [f32; LANES];

/// Functions of `$symbol`, which makes a vector of what it is given pointers to and stores it where the last one says. It has the registers
/// that belong to no caller: q8 to q11 are called 1 and hold the result, q12 to q15 are called 2, q0 to q3 are called 3.
macro_rules! lanes {
    ($($(#[$doc:meta])* fn $name:ident($($x:ident: $type:ty),+) = $symbol:ident $($line:expr),+;)+) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub(super) fn $name(_: Neon32, $($x: &$type),+) -> F32 {
            unsafe extern "C" {
                /// Needs NEON. Reads the vectors and writes all of `to`.
                fn $symbol($($x: &$type,)+ to: &mut MaybeUninit<F32>);
            }
            let mut to = MaybeUninit::uninit();
            // SAFETY: the token proves NEON, and the function has written the vector when it returns.
            unsafe {
                $symbol($($x,)+ &mut to);
                to.assume_init()
            }
        }

        function!($symbol: $($line,)+ "bx lr");
    )+};
}

/// Loads the registers called 1, 2 or 3 from where a pointer says.
macro_rules! load {
    (1 $from:literal) => {
        lines!(concat!("vld1.32 {{d16-d19}}, [", $from, "]!"), concat!("vld1.32 {{d20-d23}}, [", $from, "]"))
    };
    (2 $from:literal) => {
        lines!(concat!("vld1.32 {{d24-d27}}, [", $from, "]!"), concat!("vld1.32 {{d28-d31}}, [", $from, "]"))
    };
    (3 $from:literal) => {
        lines!(concat!("vld1.32 {{d0-d3}}, [", $from, "]!"), concat!("vld1.32 {{d4-d7}}, [", $from, "]"))
    };
}

/// Stores the registers called 1 where a pointer says.
macro_rules! store {
    ($to:literal) => {
        lines!(concat!("vst1.32 {{d16-d19}}, [", $to, "]!"), concat!("vst1.32 {{d20-d23}}, [", $to, "]"))
    };
}

/// An operation of each register called 1 with what is said or, without, with one called 2.
macro_rules! each {
    ($op:literal) => {
        lines!(
            concat!($op, " q8, q8, q12"),
            concat!($op, " q9, q9, q13"),
            concat!($op, " q10, q10, q14"),
            concat!($op, " q11, q11, q15"),
        )
    };
    ($op:literal $with:literal) => {
        lines!(
            concat!($op, " q8, q8", $with),
            concat!($op, " q9, q9", $with),
            concat!($op, " q10, q10", $with),
            concat!($op, " q11, q11", $with),
        )
    };
}

/// Adds the products of the registers called 2 and 3 to those called 1.
macro_rules! add_products {
    () => {
        lines!("vmla.f32 q8, q12, q0", "vmla.f32 q9, q13, q1", "vmla.f32 q10, q14, q2", "vmla.f32 q11, q15, q3")
    };
}

lanes! {
    /// `a + b`.
    fn add(a: F32, b: F32) = edgeqa_neon32_add load!(1 "r0"), load!(2 "r1"), each!("vadd.f32"), store!("r2");
    /// `a - b`.
    fn sub(a: F32, b: F32) = edgeqa_neon32_sub load!(1 "r0"), load!(2 "r1"), each!("vsub.f32"), store!("r2");
    /// `a b`.
    fn mul(a: F32, b: F32) = edgeqa_neon32_mul load!(1 "r0"), load!(2 "r1"), each!("vmul.f32"), store!("r2");
    /// The smaller one, or NaN if one is.
    fn min(a: F32, b: F32) = edgeqa_neon32_min load!(1 "r0"), load!(2 "r1"), each!("vmin.f32"), store!("r2");
    /// The larger one, or NaN if one is.
    fn max(a: F32, b: F32) = edgeqa_neon32_max load!(1 "r0"), load!(2 "r1"), each!("vmax.f32"), store!("r2");
    /// `a b + c`, rounded twice.
    fn mul_add(a: F32, b: F32, c: F32) = edgeqa_neon32_mul_add
        load!(2 "r0"),
        load!(3 "r1"),
        load!(1 "r2"),
        add_products!(),
        store!("r3");
    /// The integers as `f32`, rounded to nearest even.
    fn to_f32(x: [i32; LANES]) = edgeqa_neon32_to_f32 load!(1 "r0"), each!("vcvt.f32.s32" ""), store!("r1");
    /// The bits of `x` plus `add`, shifted left by 23.
    fn bits_add_shl23(x: F32, add: i32) = edgeqa_neon32_bits_add_shl23
        load!(1 "r0"),
        "vld1.32 {{d24[], d25[]}}, [r1]",
        each!("vadd.i32" ", q12"),
        each!("vshl.i32" ", #23"),
        store!("r2");
    /// [`crate::kernels::simd::Simd::scaled`].
    fn scaled(x: [i32; LANES], row: [f32; 2], channels: [F32; 3]) = edgeqa_neon32_scaled
        load!(1 "r0"),
        each!("vcvt.f32.s32" ""),
        "vld1.32 {{d0[], d1[]}}, [r1]!",
        "vld1.32 {{d2[], d3[]}}, [r1]",
        "vld1.32 {{d24-d27}}, [r2]!",
        "vld1.32 {{d28-d31}}, [r2]!",
        "vmul.f32 q12, q12, q1",
        "vmul.f32 q13, q13, q1",
        "vmul.f32 q14, q14, q1",
        "vmul.f32 q15, q15, q1",
        "vmla.f32 q12, q8, q0",
        "vmla.f32 q13, q9, q0",
        "vmla.f32 q14, q10, q0",
        "vmla.f32 q15, q11, q0",
        "vld1.32 {{d0-d3}}, [r2]!",
        "vld1.32 {{d4-d7}}, [r2]!",
        load!(1 "r2"),
        add_products!(),
        store!("r3");
}

/// [`crate::kernels::simd::Simd::extend_range`].
#[inline(always)]
pub(super) fn extend_range(_: Neon32, vectors: &[F32], low: &mut F32, high: &mut F32) {
    unsafe extern "C" {
        /// Needs NEON. Reads `count` vectors from `vectors` on, and changes `low` and `high`.
        fn edgeqa_neon32_extend_range(vectors: *const F32, count: usize, low: &mut F32, high: &mut F32);
    }
    // SAFETY: the token proves NEON; there are as many vectors.
    unsafe { edgeqa_neon32_extend_range(vectors.as_ptr(), vectors.len(), low, high) }
}

function!(edgeqa_neon32_extend_range:
    // r0: vectors; r1: how many still come; r2: the smallest values, q8 to q11; r3: the largest, q12 to q15.
    "cmp r1, #0",
    "bxeq lr",
    "mov r12, r2",
    load!(1 "r12"),
    "mov r12, r3",
    load!(2 "r12"),
    "2:",
    "vld1.32 {{d0-d3}}, [r0]!",
    "vld1.32 {{d4-d7}}, [r0]!",
    "vmin.f32 q8, q8, q0",
    "vmin.f32 q9, q9, q1",
    "vmin.f32 q10, q10, q2",
    "vmin.f32 q11, q11, q3",
    "vmax.f32 q12, q12, q0",
    "vmax.f32 q13, q13, q1",
    "vmax.f32 q14, q14, q2",
    "vmax.f32 q15, q15, q3",
    "subs r1, r1, #1",
    "bne 2b",
    store!("r2"),
    "vst1.32 {{d24-d27}}, [r3]!",
    "vst1.32 {{d28-d31}}, [r3]",
    "bx lr",
);

/// [`crate::kernels::simd::Simd::store_i8`].
#[inline(always)]
pub(super) fn store_i8(_: Neon32, x: &[F32; BLOCK / LANES], flip: i8, to: &mut [i8; BLOCK]) {
    unsafe extern "C" {
        /// Needs NEON. Reads the vectors and writes all of `to`.
        fn edgeqa_neon32_store_i8(x: &[F32; BLOCK / LANES], flip: i8, to: &mut [i8; BLOCK]);
    }
    // SAFETY: the token proves NEON.
    unsafe { edgeqa_neon32_store_i8(x, flip, to) }
}

function!(edgeqa_neon32_store_i8:
    "vdup.8 q15, r1",
    "vmov.i8 q14, #0x81",
    // Adding 1.5 * 2^23 rounds.
    "mov r3, #0x4b000000",
    "orr r3, r3, #0x400000",
    "vdup.32 q13, r3",
    "mov r3, #4",
    "2:",
    "vld1.32 {{d16-d19}}, [r0]!",
    "vld1.32 {{d20-d23}}, [r0]!",
    each!("vadd.f32" ", q13"),
    each!("vsub.f32" ", q13"),
    each!("vcvt.s32.f32" ""),
    "vqmovn.s32 d0, q8",
    "vqmovn.s32 d1, q9",
    "vqmovn.s32 d2, q10",
    "vqmovn.s32 d3, q11",
    "vqmovn.s16 d4, q0",
    "vqmovn.s16 d5, q1",
    "vmax.s8 q2, q2, q14",
    "veor q2, q2, q15",
    "vst1.8 {{d4-d5}}, [r2]!",
    "subs r3, r3, #1",
    "bne 2b",
    "bx lr",
);

/// [`crate::kernels::simd::Simd::polynomials`].
#[inline(always)]
pub(super) fn polynomials(_: Neon32, x: &F32, of: &Polynomials) -> [F32; 2] {
    unsafe extern "C" {
        /// Needs NEON. Reads the vector and the coefficients, and writes all of `to`.
        fn edgeqa_neon32_polynomials(x: &F32, of: &Polynomials, to: &mut MaybeUninit<[F32; 2]>);
    }
    let mut to = MaybeUninit::uninit();
    // SAFETY: the token proves NEON, and the function has written both vectors when it returns.
    unsafe {
        edgeqa_neon32_polynomials(x, of, &mut to);
        to.assume_init()
    }
}

/// A step of Horner's rule for eight lanes of both polynomials, whose values are `$p, $q, $r, $s`, to `$t, $u, $v, $w`. q0 and q1 are `x`.
macro_rules! step {
    ($t:literal $u:literal $v:literal $w:literal, $p:literal $q:literal $r:literal $s:literal) => {
        lines!(
            "vld1.32 {{d24-d27}}, [r3]!",
            concat!("vmov ", $t, ", q12"),
            concat!("vmov ", $u, ", q12"),
            concat!("vmov ", $v, ", q13"),
            concat!("vmov ", $w, ", q13"),
            concat!("vmla.f32 ", $t, ", ", $p, ", q0"),
            concat!("vmla.f32 ", $u, ", ", $q, ", q1"),
            concat!("vmla.f32 ", $v, ", ", $r, ", q0"),
            concat!("vmla.f32 ", $w, ", ", $s, ", q1"),
        )
    };
}

function!(edgeqa_neon32_polynomials:
    // r0: x; r1: coefficients; r2: values; r3: coefficients still to come; r12: halves of the vector.
    "mov r12, #2",
    "2:",
    "mov r3, r1",
    "vld1.32 {{d0-d3}}, [r0]!",
    "vld1.32 {{d16-d19}}, [r3]!",
    step!("q2" "q3" "q14" "q15", "q8" "q8" "q9" "q9"),
    step!("q8" "q9" "q10" "q11", "q2" "q3" "q14" "q15"),
    step!("q2" "q3" "q14" "q15", "q8" "q9" "q10" "q11"),
    step!("q8" "q9" "q10" "q11", "q2" "q3" "q14" "q15"),
    step!("q2" "q3" "q14" "q15", "q8" "q9" "q10" "q11"),
    "add r3, r2, #64",
    "vst1.32 {{d4-d7}}, [r2]!",
    "vst1.32 {{d28-d31}}, [r3]",
    "subs r12, r12, #1",
    "bne 2b",
    "bx lr",
);
