//! Elementary functions on vectors, with bounds on their errors.

use super::simd::{Polynomials, Simd};

/// `1.5 * 2^23`: at this size the spacing of `f32` is 1, so adding it rounds to an integer, kept in the lowest bits.
pub(super) const MAGIC: f32 = 12_582_912.0;

/// `e^x`, with a relative error below 2e-7 for `x` in `[-87, 88]`. Below, it is at most `e^-87`, about 1.6e-38, and never
/// subnormal; above, it is unspecified. NaN stays NaN.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::F32) -> S::F32 {
    s.exp(x)
}

/// What `e^x` is computed of.
pub(super) struct Exp {
    /// The smallest `x`.
    pub low: f32,
    /// ln 2 in two parts, of which the first has few enough bits for its products with n to be exact, with the sign turned around.
    pub ln_2: [f32; 2],
    /// `e^r = 1 + r + r^2 (c_0 + c_1 r + ...)` for `|r| <= ln(2) / 2`.
    pub c: [f32; 5],
}

pub(super) const EXP: Exp = Exp {
    low: -87.0,
    ln_2: [-0.693_359_4, 2.121_944_4e-4],
    c: [0.499_999_93, 0.166_665_15, 4.166_845_6e-2, 8.369_412e-3, 1.381_315_6e-3],
};

/// [`exp`], by the operations of the vectors.
#[inline(always)]
pub(super) fn exp_of_operations<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let Exp { low, ln_2, c } = EXP;
    let x = s.max(s.splat(low), x);
    let shifted = s.mul_add(x, s.splat(std::f32::consts::LOG2_E), s.splat(MAGIC));
    let n = s.sub(shifted, s.splat(MAGIC));
    let r = s.mul_add(n, s.splat(ln_2[0]), x);
    let r = s.mul_add(n, s.splat(ln_2[1]), r);
    let mut p = s.splat(c[4]);
    for c in [c[3], c[2], c[1], c[0]] {
        p = s.mul_add(p, r, s.splat(c));
    }
    let p = s.mul_add(s.mul(p, r), r, s.add(r, s.splat(1.0)));
    s.mul(p, s.bits_add_shl23(shifted, 127))
}

/// `x / 2 * (1 + erf(x / sqrt 2))`: GELU in its exact form, as DeBERTa's `hidden_act = "gelu"`. The error is below
/// `1e-6 * max(1, x)`. NaN stays NaN.
///
/// `erf` is an odd rational function of `x`, fitted on `[-5.5, 5.5]`; beyond, it is 1 to the last digit.
#[inline(always)]
pub(super) fn gelu<S: Simd>(s: S, x: S::F32) -> S::F32 {
    s.gelu(x)
}

/// Where `erf(x / sqrt 2)` is 1 to the last digit.
pub(super) const GELU_END: f32 = 5.5;
/// `erf(x / sqrt 2) / (2 x) = P(x^2) / Q(x^2)`
pub(super) static GELU: Polynomials = {
    const P: [f32; 6] = [0.398_942_18, 3.446_137e-2, 4.716_505_3e-3, 1.752_767_1e-4, 6.418_363e-6, 2.240_592e-8];
    const Q: [f32; 6] = [1.0, 0.253_047_13, 2.899_938e-2, 1.920_744_4e-3, 7.583_439e-5, 1.192_401e-6];
    Polynomials::new(P, Q)
};

/// [`gelu`], by the operations of the vectors.
#[inline(always)]
pub(super) fn gelu_of_operations<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let x = s.max(s.splat(-GELU_END), x);
    let y = s.min(s.splat(GELU_END), x);
    let [p, q] = s.polynomials(s.mul(y, y), &GELU);
    s.mul(x, s.add(s.splat(0.5), s.div(s.mul(y, p), q)))
}

#[cfg(test)]
mod tests {
    use super::super::cpu::Isa;
    use super::super::simd::{LANES, Task};
    use super::super::tested::isas;
    use super::*;

    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Gelu,
    }

    struct Apply<'a>(Function, &'a mut [f32]);

    impl Task for Apply<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for x in self.1.as_chunks_mut::<LANES>().0 {
                let v = s.load(x);
                s.store(if matches!(self.0, Function::Exp) { exp(s, v) } else { gelu(s, v) }, x);
            }
        }
    }

    /// Numbers from one that is looked at to the next: fewer on Arm, where emulators take long for the oracle.
    const STEP: usize = if cfg!(target_arch = "x86_64") { 251 } else { 1009 };

    /// The largest of `error(x, f(x))` over every [`STEP`]th `f32` of `low..=high`, and both ends.
    fn worst(isa: Isa, f: Function, low: f32, high: f32, error: impl Fn(f64, f64) -> f64) -> f64 {
        // Bits of floats, in the order of the floats.
        let key =
            |x: f32| if x.is_sign_negative() { -i64::from(x.to_bits() & 0x7fff_ffff) } else { i64::from(x.to_bits()) };
        let of_key = |key: i64| f32::from_bits(key.unsigned_abs() as u32 | if key < 0 { 1 << 31 } else { 0 });
        let mut keys = (key(low)..key(high)).step_by(STEP).chain([key(high)]).peekable();
        let mut worst = 0.0;
        while keys.peek().is_some() {
            let x: Vec<f32> = keys.by_ref().take(1 << 16).map(of_key).collect();
            let mut got = x.clone();
            got.resize(x.len().next_multiple_of(LANES), 0.0);
            isa.run(Apply(f, &mut got));
            let errors = x.iter().zip(&got).map(|(x, y)| error(f64::from(*x), f64::from(*y)));
            // `f64::max` would pass over what is not a number.
            worst = errors.fold(worst, |worst, error| if error.is_nan() { f64::INFINITY } else { worst.max(error) });
        }
        worst
    }

    #[test]
    fn exp_is_within_its_bound_over_its_range() {
        for isa in isas() {
            let error = worst(isa, Function::Exp, -87.0, 88.0, |x, y| (y / x.exp() - 1.0).abs());
            println!("{}: relative error of exp {error:.3e}", isa.name());
            assert!(error < 2e-7, "{}: {error}", isa.name());
            let below = worst(isa, Function::Exp, f32::MIN, -87.0, |_, y| y);
            assert!(below <= 1.7e-38 && below >= f64::from(f32::MIN_POSITIVE), "{}: {below}", isa.name());
        }
    }

    #[test]
    fn gelu_is_within_its_bound_over_all_numbers() {
        for isa in isas() {
            let error = worst(isa, Function::Gelu, f32::MIN, f32::MAX, |x, y| {
                let want = 0.5 * x * libm::erfc(-x / std::f64::consts::SQRT_2);
                (y - want).abs() / x.max(1.0)
            });
            println!("{}: error of gelu {error:.3e}", isa.name());
            assert!(error < 1e-6, "{}: {error}", isa.name());
        }
    }

    /// Functions by the vectors' own code and by their operations.
    struct Both<'a>(&'a [f32], Vec<[u32; 4]>);

    impl Task for Both<'_> {
        type Output = Vec<[u32; 4]>;

        #[inline(always)]
        fn run<S: Simd>(mut self, s: S) -> Self::Output {
            for x in self.0.as_chunks::<LANES>().0 {
                let mut lanes = [[0.0; LANES]; 4];
                let v = s.load(x);
                let all = [s.exp(v), exp_of_operations(s, v), s.gelu(v), gelu_of_operations(s, v)];
                for (lanes, v) in lanes.iter_mut().zip(all) {
                    s.store(v, lanes);
                }
                self.1.extend((0..LANES).map(|l| lanes.map(|of| of[l].to_bits())));
            }
            self.1
        }
    }

    #[test]
    fn functions_are_their_operations_to_the_last_bit() {
        // Every sign and exponent, with some mantissas.
        let bits = (0..1u32 << 9)
            .flat_map(|top| [0, 1, 0x12_3456, 0x40_0000, 0x55_5555, 0x7f_ffff].map(|low| top << 23 | low));
        let x: Vec<f32> = bits.map(f32::from_bits).filter(|x| !x.is_nan()).collect();
        for isa in isas() {
            let got = isa.run(Both(&x, Vec::new()));
            assert!(got.len() > 3000, "{}", got.len());
            for (x, [exp, exp_of_operations, gelu, gelu_of_operations]) in x.iter().zip(got) {
                // Beyond 88, exp is unspecified.
                assert!(*x > 88.0 || exp == exp_of_operations, "{}: exp({x})", isa.name());
                assert_eq!(gelu, gelu_of_operations, "{}: gelu({x})", isa.name());
            }
        }
    }

    #[test]
    fn nan_stays_nan() {
        for isa in isas() {
            for f in [Function::Exp, Function::Gelu] {
                for bits in [0x7fc0_0000, 0xffc0_0001, 0x7fff_ffff] {
                    let mut x = [1.0; LANES];
                    x[3] = f32::from_bits(bits);
                    isa.run(Apply(f, &mut x));
                    assert!(x[3].is_nan() && x.iter().filter(|x| x.is_nan()).count() == 1, "{}: {x:?}", isa.name());
                }
            }
        }
    }
}
