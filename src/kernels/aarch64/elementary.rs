//! Elementary functions in assembly, of the same operations as [`crate::kernels::elementary`]. A multiply-add replaces its third operand, so
//! that the compiler copies every coefficient into a register of its own and has none left for what the caller keeps. Here, one load makes
//! the copies of four registers.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::kernels::cpu::Neon;
use crate::kernels::elementary::{EXP, Exp, GELU, GELU_END, MAGIC};

/// An instruction of two operands for four registers, of which the last operand may be the same for all.
macro_rules! four {
    ($op:literal $($to:literal $a:literal $b:literal),*) => {
        lines!($(concat!($op, " v", $to, ".4s, v", $a, ".4s, v", $b)),*)
    };
}

/// What [`exp`] loads, in the order in which it does. An array of equal values is loaded as copies of its first one, or as a register.
#[repr(C, align(16))]
struct Constants {
    low: [f32; 4],
    /// `log2 e`, both parts of `-ln 2`, the highest coefficient.
    factors: [f32; 4],
    magic: [f32; 4],
    /// The other coefficients, the highest first.
    c: [[f32; 4]; 4],
}

static EXP_CONSTANTS: Constants = {
    let Exp { low, ln_2: [high, rest], c } = EXP;
    Constants {
        low: [low; 4],
        factors: [std::f32::consts::LOG2_E, high, rest, c[4]],
        magic: [MAGIC; 4],
        c: [[c[3]; 4], [c[2]; 4], [c[1]; 4], [c[0]; 4]],
    }
};

/// [`Simd::exp`](crate::kernels::simd::Simd::exp).
#[inline(always)]
pub(super) fn exp(_: Neon, mut x: [float32x4_t; 4]) -> [float32x4_t; 4] {
    let [x0, x1, x2, x3] = &mut x;
    // SAFETY: the token proves NEON; the constants are read.
    unsafe {
        asm!(
            "ldp q28, q29, [{of}], #32",
            "ldr q30, [{of}]",
            "ld4r {{v20.4s, v21.4s, v22.4s, v23.4s}}, [{of}], #16",
            four!("fmax" "16" "16" "28.4s", "17" "17" "28.4s", "18" "18" "28.4s", "19" "19" "28.4s"),
            // Shifted, then n.
            four!("fmla" "20" "16" "29.s[0]", "21" "17" "29.s[0]", "22" "18" "29.s[0]", "23" "19" "29.s[0]"),
            four!("fsub" "24" "20" "30.4s", "25" "21" "30.4s", "26" "22" "30.4s", "27" "23" "30.4s"),
            // r
            four!("fmla" "16" "24" "29.s[1]", "17" "25" "29.s[1]", "18" "26" "29.s[1]", "19" "27" "29.s[1]"),
            four!("fmla" "16" "24" "29.s[2]", "17" "25" "29.s[2]", "18" "26" "29.s[2]", "19" "27" "29.s[2]"),
            // p
            "ld4r {{v24.4s, v25.4s, v26.4s, v27.4s}}, [{of}], #16",
            four!("fmla" "24" "16" "29.s[3]", "25" "17" "29.s[3]", "26" "18" "29.s[3]", "27" "19" "29.s[3]"),
            "ld4r {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{of}], #16",
            four!("fmla" "28" "24" "16.4s", "29" "25" "17.4s", "30" "26" "18.4s", "31" "27" "19.4s"),
            "ld4r {{v24.4s, v25.4s, v26.4s, v27.4s}}, [{of}], #16",
            four!("fmla" "24" "28" "16.4s", "25" "29" "17.4s", "26" "30" "18.4s", "27" "31" "19.4s"),
            "ld4r {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{of}]",
            four!("fmla" "28" "24" "16.4s", "29" "25" "17.4s", "30" "26" "18.4s", "31" "27" "19.4s"),
            // r + 1 + p r^2, times 2^n.
            four!("fmul" "28" "28" "16.4s", "29" "29" "17.4s", "30" "30" "18.4s", "31" "31" "19.4s"),
            "fmov v24.4s, #1.0",
            "shl v20.4s, v20.4s, #23",
            "shl v21.4s, v21.4s, #23",
            "shl v22.4s, v22.4s, #23",
            "shl v23.4s, v23.4s, #23",
            // The exponent of 1 is 127.
            four!("add" "20" "20" "24.4s", "21" "21" "24.4s", "22" "22" "24.4s", "23" "23" "24.4s"),
            "fadd v25.4s, v17.4s, v24.4s",
            "fadd v26.4s, v18.4s, v24.4s",
            "fadd v27.4s, v19.4s, v24.4s",
            "fadd v24.4s, v16.4s, v24.4s",
            four!("fmla" "24" "28" "16.4s", "25" "29" "17.4s", "26" "30" "18.4s", "27" "31" "19.4s"),
            four!("fmul" "16" "24" "20.4s", "17" "25" "21.4s", "18" "26" "22.4s", "19" "27" "23.4s"),
            of = inout(reg) &raw const EXP_CONSTANTS => _,
            inout("v16") *x0, inout("v17") *x1, inout("v18") *x2, inout("v19") *x3,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    x
}

/// [`Simd::gelu`](crate::kernels::simd::Simd::gelu).
#[inline(always)]
pub(super) fn gelu(_: Neon, mut x: [float32x4_t; 4]) -> [float32x4_t; 4] {
    const _: () = assert!(GELU_END == 5.5);
    let [x0, x1, x2, x3] = &mut x;
    // SAFETY: the token proves NEON; the six pairs of coefficients, in four copies each, are read.
    unsafe {
        asm!(
            "fmov v28.4s, #-5.5",
            "fmov v29.4s, #5.5",
            four!("fmax" "16" "16" "28.4s", "17" "17" "28.4s", "18" "18" "28.4s", "19" "19" "28.4s"),
            "ldp q28, q30, [{of}], #32",
            four!("fmin" "20" "16" "29.4s", "21" "17" "29.4s", "22" "18" "29.4s", "23" "19" "29.4s"),
            four!("fmul" "24" "20" "20.4s", "25" "21" "21.4s", "26" "22" "22.4s", "27" "23" "23.4s"),
            // Both polynomials are in two of three times four registers, and the coefficients come into the third.
            "ld4r {{v4.4s, v5.4s, v6.4s, v7.4s}}, [{of}], #16",
            four!("fmla" "4" "24" "28.4s", "5" "25" "28.4s", "6" "26" "28.4s", "7" "27" "28.4s"),
            "ld4r {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{of}], #16",
            four!("fmla" "0" "24" "30.4s", "1" "25" "30.4s", "2" "26" "30.4s", "3" "27" "30.4s"),
            "ld4r {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{of}], #16",
            four!("fmla" "28" "4" "24.4s", "29" "5" "25.4s", "30" "6" "26.4s", "31" "7" "27.4s"),
            "ld4r {{v4.4s, v5.4s, v6.4s, v7.4s}}, [{of}], #16",
            four!("fmla" "4" "0" "24.4s", "5" "1" "25.4s", "6" "2" "26.4s", "7" "3" "27.4s"),
            "ld4r {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{of}], #16",
            four!("fmla" "0" "28" "24.4s", "1" "29" "25.4s", "2" "30" "26.4s", "3" "31" "27.4s"),
            "ld4r {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{of}], #16",
            four!("fmla" "28" "4" "24.4s", "29" "5" "25.4s", "30" "6" "26.4s", "31" "7" "27.4s"),
            "ld4r {{v4.4s, v5.4s, v6.4s, v7.4s}}, [{of}], #16",
            four!("fmla" "4" "0" "24.4s", "5" "1" "25.4s", "6" "2" "26.4s", "7" "3" "27.4s"),
            "ld4r {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{of}], #16",
            four!("fmla" "0" "28" "24.4s", "1" "29" "25.4s", "2" "30" "26.4s", "3" "31" "27.4s"),
            "ld4r {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{of}], #16",
            four!("fmla" "28" "4" "24.4s", "29" "5" "25.4s", "30" "6" "26.4s", "31" "7" "27.4s"),
            "ld4r {{v4.4s, v5.4s, v6.4s, v7.4s}}, [{of}]",
            four!("fmla" "4" "0" "24.4s", "5" "1" "25.4s", "6" "2" "26.4s", "7" "3" "27.4s"),
            // y P / Q + 1/2, times x.
            four!("fmul" "28" "20" "28.4s", "29" "21" "29.4s", "30" "22" "30.4s", "31" "23" "31.4s"),
            "movi v0.4s, #0x3f, lsl #24",
            four!("fdiv" "28" "28" "4.4s", "29" "29" "5.4s", "30" "30" "6.4s", "31" "31" "7.4s"),
            four!("fadd" "28" "28" "0.4s", "29" "29" "0.4s", "30" "30" "0.4s", "31" "31" "0.4s"),
            four!("fmul" "16" "16" "28.4s", "17" "17" "29.4s", "18" "18" "30.4s", "19" "19" "31.4s"),
            of = inout(reg) GELU.0.as_ptr() => _,
            inout("v16") *x0, inout("v17") *x1, inout("v18") *x2, inout("v19") *x3,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    x
}
