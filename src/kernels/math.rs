//! The `f32` parts of the model: dot product, LayerNorm, the exponentials of softmax, GELU.

use super::cpu::Isa;
use super::elementary::exp;
use super::simd::{LANES, Simd, Task, load_part, store_part};

/// `sum a_i b_i` over the shorter of the two, in 16 partial sums.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    Isa::chosen().run(Dot(a, b))
}

struct Dot<'a>(&'a [f32], &'a [f32]);

impl Task for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let len = self.0.len().min(self.1.len());
        let (a_chunks, a_tail) = self.0[..len].as_chunks::<LANES>();
        let (b_chunks, b_tail) = self.1[..len].as_chunks::<LANES>();
        // Two sums, as one multiply-add would wait for the other.
        let mut sums = [s.splat(0.0); 2];
        let (a_pairs, a_last) = a_chunks.as_chunks::<2>();
        let (b_pairs, b_last) = b_chunks.as_chunks::<2>();
        for (a, b) in a_pairs.iter().zip(b_pairs) {
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                *sum = s.mul_add(s.load(a), s.load(b), *sum);
            }
        }
        for (a, b) in a_last.iter().zip(b_last) {
            sums[0] = s.mul_add(s.load(a), s.load(b), sums[0]);
        }
        sums[1] = s.mul_add(load_part(s, a_tail), load_part(s, b_tail), sums[1]);
        s.sum(s.add(sums[0], sums[1]))
    }
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias`, in place over every row of `weight.len()` values; the variance is the
/// biased one.
///
/// # Panics
/// If `x` is not made of whole rows, or `bias` is shorter than `weight`.
pub fn layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    assert!(x.len().is_multiple_of(weight.len()), "{} values are no rows of {}", x.len(), weight.len());
    Isa::chosen().run(LayerNorm { x, weight, bias: &bias[..weight.len()], eps });
}

struct LayerNorm<'a> {
    x: &'a mut [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
}

impl Task for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        /// Rows at a time, as the sums of one row wait for each other.
        const ROWS: usize = 4;
        let Self { x, weight, bias, eps } = self;
        let width = weight.len().max(1);
        let mut groups = x.chunks_exact_mut(ROWS * width);
        for rows in &mut groups {
            normalize::<S, ROWS>(s, rows, weight, bias, eps);
        }
        for row in groups.into_remainder().chunks_exact_mut(width) {
            normalize::<S, 1>(s, row, weight, bias, eps);
        }
    }
}

/// [`layer_norm`] of `R` rows.
#[inline(always)]
fn normalize<S: Simd, const R: usize>(s: S, x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    let width = weight.len();
    let inverse_len = 1.0 / width as f32;
    let ((weights, last_weight), (biases, last_bias)) = (weight.as_chunks(), bias.as_chunks());
    let mut rows = [&[[0.0; LANES]; 0][..]; R];
    let (mut means, mut factors, mut lasts) = ([s.splat(0.0); R], [s.splat(0.0); R], [s.splat(0.0); R]);
    for ((row, sum), x) in rows.iter_mut().zip(&mut means).zip(x.chunks_exact(width)) {
        let (chunks, tail) = x.as_chunks();
        *row = &chunks[..weights.len()];
        *sum = load_part(s, tail);
    }
    for i in 0..weights.len() {
        for (sum, row) in means.iter_mut().zip(rows) {
            *sum = s.add(*sum, s.load(&row[i]));
        }
    }
    for ((mean, last), x) in means.iter_mut().zip(&mut lasts).zip(x.chunks_exact(width)) {
        *mean = s.splat(s.sum(*mean) * inverse_len);
        // In the last vector, lanes after the row's end must not count: their value is the mean.
        let tail = x.as_chunks::<LANES>().1;
        if !tail.is_empty() {
            let mut lanes = [0.0; LANES];
            s.store(*mean, &mut lanes);
            lanes[..tail.len()].copy_from_slice(tail);
            *last = s.sub(s.load(&lanes), *mean);
        }
    }
    for (squares, last) in factors.iter_mut().zip(lasts) {
        *squares = s.mul(last, last);
    }
    for i in 0..weights.len() {
        for ((squares, row), mean) in factors.iter_mut().zip(rows).zip(means) {
            let x = s.sub(s.load(&row[i]), mean);
            *squares = s.mul_add(x, x, *squares);
        }
    }
    for factor in &mut factors {
        *factor = s.splat(1.0 / (s.sum(*factor) * inverse_len + eps).sqrt());
    }
    for (((row, mean), factor), last) in x.chunks_exact_mut(width).zip(means).zip(factors).zip(lasts) {
        let (chunks, tail) = row.as_chunks_mut();
        for ((x, w), b) in chunks.iter_mut().zip(weights).zip(biases) {
            let y = s.mul(s.sub(s.load(x), mean), factor);
            s.store(s.mul_add(y, s.load(w), s.load(b)), x);
        }
        let y = s.mul_add(s.mul(last, factor), load_part(s, last_weight), load_part(s, last_bias));
        store_part(s, y, tail);
    }
}

/// Replaces all values, of which none is above `max`, by `exp(x - max)` and returns their sum. The `-inf` that stands for nothing
/// adds less than 1e-37.
#[inline(always)]
pub(super) fn exponentials<S: Simd>(s: S, x: &mut [[f32; LANES]], max: f32) -> f32 {
    let max = s.splat(max);
    let mut sum = s.splat(0.0);
    for x in x {
        let e = exp(s, s.sub(s.load(x), max));
        s.store(e, x);
        sum = s.add(sum, e);
    }
    s.sum(sum)
}

/// `x / 2 * (1 + erf(x / sqrt 2))` for every value, within `1e-6 * max(1, x)`: GELU in its exact form, as DeBERTa's
/// `hidden_act = "gelu"`.
pub fn gelu(x: &mut [f32]) {
    Isa::chosen().run(Gelu(x));
}

struct Gelu<'a>(&'a mut [f32]);

impl Task for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (chunks, tail) = self.0.as_chunks_mut::<LANES>();
        for x in chunks {
            s.store(super::elementary::gelu(s, s.load(x)), x);
        }
        store_part(s, super::elementary::gelu(s, load_part(s, tail)), tail);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tested::isas;
    use super::*;

    #[test]
    fn dot_is_exact_on_small_integers_at_every_length() {
        for len in 0..50 {
            let a: Vec<f32> = (0..len).map(|i| (i % 7) as f32 - 3.0).collect();
            let b: Vec<f32> = (0..len).map(|i| (i % 5) as f32 - 2.0).collect();
            let naive: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert_eq!(dot(&a, &b), naive, "length {len}");
        }
    }

    #[test]
    fn layer_norm_agrees_with_f64() {
        // A small variance beside a large `eps`, too.
        let cases = [1, 2, 15, 16, 17, 384].into_iter().flat_map(|len| [(len, 1e-7, 1.0), (len, 0.01, 0.02)]);
        for (len, eps, stretch) in cases {
            let x: Vec<f32> = (0..len).map(|i| ((i * 37 % 101) as f32 - 50.0) / 9.0 * stretch).collect();
            let weight: Vec<f32> = (0..len).map(|i| 1.0 + (i % 3) as f32 / 10.0).collect();
            let bias: Vec<f32> = (0..len).map(|i| (i % 5) as f32 / 10.0).collect();
            let n = len as f64;
            let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
            let mut got = x.clone();
            layer_norm(&mut got, &weight, &bias, eps);
            for i in 0..len {
                let factor = f64::from(weight[i]) / (variance + f64::from(eps)).sqrt();
                let want = (f64::from(x[i]) - mean) * factor + f64::from(bias[i]);
                assert!((f64::from(got[i]) - want).abs() < 1e-5, "{len} {i}: {} {want}", got[i]);
            }
        }
    }

    #[test]
    fn rows_are_normalised_as_if_each_were_alone() {
        for width in [1, 16, 21, 64] {
            let weight: Vec<f32> = (0..width).map(|i| 1.0 + (i % 3) as f32 / 10.0).collect();
            let bias: Vec<f32> = (0..width).map(|i| (i % 5) as f32 / 10.0).collect();
            for rows in 0..=9 {
                let x: Vec<f32> = (0..rows * width).map(|i| ((i * 37 % 101) as f32 - 50.0) / 9.0).collect();
                for isa in isas() {
                    let normalized = |mut x: Vec<f32>| {
                        isa.run(LayerNorm { x: &mut x, weight: &weight, bias: &bias, eps: 1e-7 });
                        x
                    };
                    let alone: Vec<f32> = x.chunks(width).flat_map(|row| normalized(row.to_vec())).collect();
                    assert_eq!(normalized(x.clone()), alone, "{} {rows} rows of {width}", isa.name());
                }
            }
        }
    }

    #[test]
    fn gelu_agrees_with_the_f64_error_function() {
        let mut x: Vec<f32> = (-8000..=8000).map(|i| i as f32 / 1000.0).collect();
        let want: Vec<f64> =
            x.iter().map(|&x| 0.5 * f64::from(x) * libm::erfc(-f64::from(x) / std::f64::consts::SQRT_2)).collect();
        gelu(&mut x);
        for (x, want) in x.iter().zip(want) {
            assert!((f64::from(*x) - want).abs() < 1e-6 * want.max(1.0), "{x} {want}");
        }
    }
}
