use super::*;
use crate::kernels::tested::{isas, kernels};

#[test]
fn extremes_map_to_127_and_ties_go_to_even() {
    let mut q = QuantizedRows::default();
    q.quantize_as(&[126.5, -126.5, 0.5, 1.5, -2.5, 0.0], 6, None, Form::Signed);
    assert_eq!(q.values, [126, -126, 0, 2, -2, 0, 0, 0]);
    assert_eq!((&q.scales[..], &q.offsets[..]), (&[1.0][..], &[0.0][..]));
    q.quantize_as(&[300.0, 47.0, 174.5, 175.5], 4, None, Form::Signed);
    assert_eq!(q.values, [126, -127, 0, 2, 0, 0, 0, 0]);
    assert_eq!((&q.scales[..], &q.offsets[..]), (&[1.0][..], &[174.0][..]));
}

#[test]
fn every_value_is_within_half_a_step_of_what_was_quantised() {
    let mut q = QuantizedRows::default();
    for (shift, stretch) in [(0.0, 1.0), (3.0, 0.01), (-1e4, 50.0), (0.0, 1e-30), (0.0, 8e37), (2.5e38, 1e37)] {
        let x: Vec<f32> = (0..400).map(|i| ((i * 7919 % 601) as f32 - 300.0) / 71.0 * stretch + shift).collect();
        q.quantize_as(&x, 40, None, Form::Signed);
        for (i, (&value, &x)) in q.values.iter().zip(&x).enumerate() {
            let (scale, offset) = (f64::from(q.scales[i / 40]), f64::from(q.offsets[i / 40]));
            let error = (f64::from(value) * scale + offset - f64::from(x)).abs();
            assert!(error <= scale * 0.501 + offset.abs() * 1e-7, "{x}: {error} of {scale}");
        }
    }
}

#[test]
fn zero_is_exact_in_every_row_that_spans_it() {
    let mut q = QuantizedRows::default();
    for i in 1..500 {
        let (low, high) = (-(i as f32).sqrt(), (i as f32).ln() + 0.1);
        q.quantize_as(&[low, 0.0, high], 3, None, Form::Signed);
        assert_eq!(f32::from(q.values[1]) * q.scales[0] + q.offsets[0], 0.0, "{low} {high}");
    }
}

#[test]
fn symmetric_rows_have_no_offset() {
    let mut out = [0; 4];
    assert_eq!(quantize_row(&[254.0, 1.0, -3.0, 100.0], &mut out), 2.0);
    assert_eq!(out, [127, 0, -2, 50]);
    assert_eq!(quantize_row(&[-254.0, 1.0, -3.0, 100.0], &mut out), 2.0);
    assert_eq!(out, [-127, 0, -2, 50]);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(!quantize_row(&[1.0, bad, -3.0, 100.0], &mut out).is_finite());
        assert_eq!(out, [0; 4]);
    }
}

struct Bytes<'a>(&'a [f32; BLOCK], i8);

impl Task for Bytes<'_> {
    type Output = [i8; BLOCK];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let mut bytes = [0; BLOCK];
        let x = self.0.as_chunks().0;
        s.store_i8([s.load(&x[0]), s.load(&x[1]), s.load(&x[2]), s.load(&x[3])], self.1, &mut bytes);
        bytes
    }
}

#[test]
fn rounding_equals_the_standard_library() {
    for isa in isas() {
        let far = [255.0, 256.0, 1e3, 16_384.0, 32_767.0];
        let near = (-130 * 64..=130 * 64).map(|i| i as f32 / 64.0);
        for x in near.chain(far).chain(far.map(|x| -x)) {
            let x: [f32; BLOCK] = std::array::from_fn(|lane| x + lane as f32 / 4096.0);
            for flip in [0, -128] {
                let want = x.map(|x| (x.round_ties_even() as i8).max(-127) ^ flip);
                assert_eq!(isa.run(Bytes(&x, flip)), want, "{} {}", isa.name(), x[0]);
            }
        }
        for flip in [0, -128] {
            let bytes = isa.run(Bytes(&[f32::NAN; BLOCK], flip)).map(|byte| byte ^ flip);
            assert!(!bytes.contains(&-128), "{}: {bytes:?}", isa.name());
        }
    }
}

struct Fours<'a>(&'a [f32; BLOCK]);

impl Task for Fours<'_> {
    type Output = [i8; BLOCK];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [i8; BLOCK] {
        let (x, _) = self.0.as_chunks::<LANES>();
        let mut bytes = [0; BLOCK];
        s.store_i8_in_fours([s.load(&x[0]), s.load(&x[1]), s.load(&x[2]), s.load(&x[3])], &mut bytes);
        bytes
    }
}

#[test]
fn bytes_in_fours_are_those_of_a_lane() {
    for isa in isas() {
        // All bytes differ; then many are beyond the range.
        for step in [1.49, 5.3, 700.0] {
            let x: [f32; BLOCK] = std::array::from_fn(|i| (i as f32 - 31.5) * step);
            let want: [i8; BLOCK] =
                std::array::from_fn(|i| (x[i % 4 * LANES + i / 4].round_ties_even() as i8).max(-127));
            assert_eq!(isa.run(Fours(&x)), want, "{} {step}", isa.name());
        }
        assert!(!isa.run(Fours(&[f32::NAN; BLOCK])).contains(&-128), "{}", isa.name());
    }
}

struct Positions<'a>(&'a [i8; BLOCK], i8);

impl Task for Positions<'_> {
    type Output = u64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> u64 {
        s.positions(self.0, self.1)
    }
}

#[test]
fn positions_are_those_of_the_byte() {
    let sets = (0..BLOCK).map(|i| 1 << i).chain([0, u64::MAX, 0x8000_0000_0000_0001, 0x5a5a_0ff0_1234_89ab]);
    for set in sets {
        // Neighbours of the byte, too, and those that differ in the top bit.
        for (byte, others) in [(127, [126, -1, 0, -128]), (-1, [127, -2, 0, 1]), (0, [1, -128, -1, 127])] {
            let bytes = std::array::from_fn(|i| if set >> i & 1 == 1 { byte } else { others[i % 4] });
            for isa in isas() {
                assert_eq!(isa.run(Positions(&bytes, byte)), set, "{} {byte}", isa.name());
            }
        }
    }
}

#[test]
fn equal_and_tiny_rows_have_scale_0_and_others_are_not_made_finite() {
    let mut q = QuantizedRows::default();
    let tiny = f32::MIN_POSITIVE / 4.0;
    q.quantize_as(
        &[5.0, 5.0, tiny, 0.0, f32::NAN, 1.0, f32::INFINITY, 1.0, f32::NEG_INFINITY, 0.0],
        2,
        None,
        Form::Signed,
    );
    assert_eq!(q.scales[..2], [0.0, 0.0]);
    assert_eq!(q.offsets[0], 5.0);
    assert!((0.0..=tiny).contains(&q.offsets[1]));
    assert!(q.scales[2..].iter().all(|scale| !scale.is_finite()));
    assert_eq!(q.values, [0; 5 * 8]);
}

struct Range<'a>(&'a [f32]);

impl Task for Range<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, f32) {
        range(s, self.0)
    }
}

#[test]
fn a_value_that_is_not_finite_makes_both_ends_nan_wherever_it_is() {
    for isa in isas() {
        for len in [1, 16, 64, 70, 200] {
            for at in 0..len {
                let mut x = vec![1.0; len];
                for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    x[at] = bad;
                    let (low, high) = isa.run(Range(&x));
                    assert!(low.is_nan() && high.is_nan(), "{} {at} of {len}: {bad} {low} {high}", isa.name());
                }
                x[at] = 7.0;
                let low = if len == 1 { 7.0 } else { 1.0 };
                assert_eq!(isa.run(Range(&x)), (low, 7.0), "{} {at} of {len}", isa.name());
            }
        }
    }
}

#[test]
fn a_value_that_is_not_finite_makes_a_scale_that_is_not_with_a_factor_too() {
    for isa in isas() {
        for k in [1, 16, 64, 70] {
            let factors = vec![0.5; k];
            for at in 0..k {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut x = vec![1.0; 2 * k];
                    x[at] = bad;
                    let mut q = QuantizedRows::default();
                    q.run(isa, &Threads::one(), &x, k, Some(&factors), Form::Signed);
                    assert!(!q.scales[0].is_finite() && q.scales[1] == 0.0, "{} {bad} at {at} of {k}", isa.name());
                }
            }
        }
    }
}

#[test]
fn threads_arrange_rows_as_one_does() {
    let threads = Threads::new(std::num::NonZeroUsize::new(3).expect("three"), false).expect("threads");
    for kernel in kernels("threads_arrange_rows_as_one_does") {
        for (rows, k) in [(40, 19), (0, 3), (1, 70), (17, 1), (23, 64), (75, 200)] {
            let x: Vec<f32> = (0..rows * k).map(|i| (i * 7 % 1009) as f32 / 9.0 + (i / k) as f32).collect();
            let (mut alone, mut shared) = (QuantizedRows::default(), QuantizedRows::default());
            alone.quantize(&x, k, None, kernel);
            shared.quantize_on(&threads, &x, k, None, kernel);
            assert_eq!(alone.arranged, shared.arranged, "{} {rows} x {k}", kernel.name);
            let blocks = rows.div_ceil(kernel.row_step);
            assert_eq!(alone.arranged.len(), blocks * kernel.arranged_rows_len(alone.padded_k), "{}", kernel.name);
        }
    }
}

#[test]
fn factor_multiplies_inputs_before_the_scale_is_chosen() {
    let mut plain = QuantizedRows::default();
    let mut factored = QuantizedRows::default();
    plain.quantize_as(&[4.0, 1.0], 2, None, Form::Signed);
    factored.quantize_as(&[8.0, 0.5], 2, Some(&[0.5, 2.0]), Form::Signed);
    assert_eq!((plain.values, plain.scales, plain.offsets), (factored.values, factored.scales, factored.offsets));
}

/// The definition, one value at a time.
fn definition(x: &[f32], factor: Option<&[f32]>) -> (Vec<i8>, f32, f32) {
    let y: Vec<f32> = x.iter().enumerate().map(|(i, x)| x * factor.map_or(1.0, |f| f[i])).collect();
    let low = y.iter().copied().fold(f32::INFINITY, f32::min);
    let high = y.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = (0.5 * high - 0.5 * low) / 126.5;
    let offset = ((0.5 * low + 0.5 * high) / scale).round_ties_even() * scale;
    let inverse = 1.0 / scale;
    let value = |y: &f32| ((y - offset) * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
    (y.iter().map(value).collect(), scale, offset)
}

#[test]
fn threads_change_nothing() {
    let threads = Threads::new(std::num::NonZeroUsize::new(3).expect("three"), false).expect("threads");
    let (mut alone, mut shared) = (QuantizedRows::default(), QuantizedRows::default());
    for (rows, k) in [(40, 19), (0, 3), (1, 70), (17, 1), (23, 64), (24, 9)] {
        let x: Vec<f32> = (0..rows * k).map(|i| (i * 7 % 1009) as f32 / 9.0 + (i / k) as f32).collect();
        let factors: Vec<f32> = (0..k).map(|i| 1.0 + (i % 3) as f32).collect();
        for factor in [None, Some(&factors[..])] {
            alone.quantize_as(&x, k, factor, Form::Offset128);
            shared.run(Isa::chosen(), &threads, &x, k, factor, Form::Offset128);
            assert_eq!((&alone.values, alone.padded_k), (&shared.values, shared.padded_k), "{rows} x {k}");
            assert_eq!((&alone.scales, &alone.offsets), (&shared.scales, &shared.offsets), "{rows} x {k}");
            assert_eq!(alone.form, shared.form);
        }
    }
}

#[test]
fn every_instruction_set_gives_the_definition() {
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        ((state >> 8) as f32 / (1 << 24) as f32 - 0.5) * [1.0, 1.0, 10.0, 0.01][(state >> 5) as usize % 4]
    };
    for k in (2..=50).chain([63, 64, 65, 384, 1536]) {
        for shift in [0.0, 3.0, -0.7] {
            let x: Vec<f32> = (0..3 * k).map(|_| random() + shift).collect();
            let factors: Vec<f32> = (0..k).map(|_| random() + 1.5).collect();
            for factor in [None, Some(&factors[..])] {
                let want: Vec<_> = x.chunks_exact(k).map(|row| definition(row, factor)).collect();
                for isa in isas() {
                    let mut got = QuantizedRows::default();
                    got.run(isa, &Threads::one(), &x, k, factor, Form::Signed);
                    let mut offset = QuantizedRows::default();
                    offset.run(isa, &Threads::one(), &x, k, factor, Form::Offset128);
                    assert!(offset.values.iter().zip(&got.values).all(|(o, v)| Form::Offset128.convert(*o) == *v));
                    assert_eq!((&offset.scales, &offset.offsets), (&got.scales, &got.offsets));
                    for (m, (values, scale, offset)) in want.iter().enumerate() {
                        let row = &got.values[m * got.padded_k..][..k];
                        assert_eq!(row, values, "{} row {m} of {k}", isa.name());
                        assert!(got.values[m * got.padded_k..][k..got.padded_k].iter().all(|v| *v == 0));
                        assert_eq!((got.scales[m], got.offsets[m]), (*scale, *offset), "{}", isa.name());
                    }
                }
            }
        }
    }
}
