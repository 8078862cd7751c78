//! Two polynomials at once, in assembly. A multiply-add replaces its third operand, so that the compiler copies every coefficient into
//! a register of its own and has none left for what the caller keeps. Here, one load makes two copies.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::kernels::cpu::Neon;
use crate::kernels::simd::Polynomials;

/// [`Simd::polynomials`](crate::kernels::simd::Simd::polynomials) of four registers.
#[inline(always)]
pub(super) fn evaluate(_: Neon, x: [float32x4_t; 4], of: &Polynomials) -> [[float32x4_t; 4]; 2] {
    /// Coefficients `$i` into a free pair of registers `$p`, `$q`, plus `x` times `$a` and `$b`, which become free.
    macro_rules! step {
        ($i:literal, $x:literal, $a:literal $b:literal => $p:literal $q:literal) => {
            concat!(
                concat!("ldp q", $p, ", q", $q, ", [{of}, #", $i, " * 32]\n"),
                concat!("fmla v", $p, ".4s, v", $a, ".4s, {", $x, ":v}.4s\n"),
                concat!("fmla v", $q, ".4s, v", $b, ".4s, {", $x, ":v}.4s"),
            )
        };
    }
    let (p0, p1, p2, p3, q0, q1, q2, q3): (
        float32x4_t,
        float32x4_t,
        float32x4_t,
        float32x4_t,
        float32x4_t,
        float32x4_t,
        float32x4_t,
        float32x4_t,
    );
    // SAFETY: the token proves NEON; the six pairs of coefficients are read.
    unsafe {
        asm!(
            "ldp q26, q27, [{of}]",
            step!(1, "x0", 26 27 => 16 17),
            step!(1, "x1", 26 27 => 18 19),
            step!(1, "x2", 26 27 => 20 21),
            step!(1, "x3", 26 27 => 22 23),
            step!(2, "x0", 16 17 => 24 25),
            step!(2, "x1", 18 19 => 16 17),
            step!(2, "x2", 20 21 => 18 19),
            step!(2, "x3", 22 23 => 20 21),
            step!(3, "x0", 24 25 => 22 23),
            step!(3, "x1", 16 17 => 24 25),
            step!(3, "x2", 18 19 => 16 17),
            step!(3, "x3", 20 21 => 18 19),
            step!(4, "x0", 22 23 => 20 21),
            step!(4, "x1", 24 25 => 22 23),
            step!(4, "x2", 16 17 => 24 25),
            step!(4, "x3", 18 19 => 16 17),
            step!(5, "x0", 20 21 => 18 19),
            step!(5, "x1", 22 23 => 20 21),
            step!(5, "x2", 24 25 => 22 23),
            step!(5, "x3", 16 17 => 24 25),
            of = in(reg) of.0.as_ptr(),
            x0 = in(vreg) x[0], x1 = in(vreg) x[1], x2 = in(vreg) x[2], x3 = in(vreg) x[3],
            out("v18") p0, out("v19") q0, out("v20") p1, out("v21") q1,
            out("v22") p2, out("v23") q2, out("v24") p3, out("v25") q3,
            out("v16") _, out("v17") _, out("v26") _, out("v27") _,
            options(pure, readonly, nostack),
        );
    }
    [[p0, p1, p2, p3], [q0, q1, q2, q3]]
}
