//! The `f32` parts of the model: dot product, LayerNorm, softmax, GELU.

/// Lanes of the partial sums; enough to fill the registers of any target the compiler vectorises for.
const LANES: usize = 16;

/// `sum a_i b_i` over the shorter of the two, in 16 partial sums.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, a_tail) = a.as_chunks::<LANES>();
    let (b_chunks, b_tail) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    sum_lanes(lanes) + tail
}

fn sum_lanes(lanes: [f32; LANES]) -> f32 {
    let mut lanes = lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x;
        }
    }
    sum_lanes(lanes) + tail.iter().sum::<f32>()
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias`, in place over one row; the variance is the biased one.
///
/// # Panics
/// If `weight` or `bias` is shorter than `x`.
pub fn layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    let inverse_len = 1.0 / x.len() as f32;
    let mean = sum(x) * inverse_len;
    for x in x.iter_mut() {
        *x -= mean;
    }
    let variance = dot(x, x) * inverse_len;
    let inverse_deviation = 1.0 / (variance + eps).sqrt();
    let (weight, bias) = (&weight[..x.len()], &bias[..x.len()]);
    for ((x, w), b) in x.iter_mut().zip(weight).zip(bias) {
        *x = *x * inverse_deviation * w + b;
    }
}

/// `exp(x_i - max x) / sum`, in place over one row.
pub fn softmax(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for x in x.iter_mut() {
        *x = (*x - max).exp();
    }
    let inverse = 1.0 / sum(x);
    for x in x.iter_mut() {
        *x *= inverse;
    }
}

/// `x / 2 * (1 + erf(x / sqrt 2))`: GELU in its exact form, as DeBERTa's `hidden_act = "gelu"`.
pub fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_is_exact_on_small_integers_at_every_length() {
        for len in 0..50 {
            let a: Vec<f32> = (0..len).map(|i| (i % 7) as f32 - 3.0).collect();
            let b: Vec<f32> = (0..len).map(|i| (i % 5) as f32 - 2.0).collect();
            let naive: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert_eq!(dot(&a, &b), naive, "length {len}");
            assert_eq!(sum(&a), a.iter().sum::<f32>(), "length {len}");
        }
    }

    #[test]
    fn layer_norm_and_softmax_agree_with_f64() {
        for len in [1, 2, 15, 16, 17, 384] {
            let x: Vec<f32> = (0..len).map(|i| ((i * 37 % 101) as f32 - 50.0) / 9.0).collect();
            let weight: Vec<f32> = (0..len).map(|i| 1.0 + (i % 3) as f32 / 10.0).collect();
            let bias: Vec<f32> = (0..len).map(|i| (i % 5) as f32 / 10.0).collect();
            let n = len as f64;
            let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
            let mut got = x.clone();
            layer_norm(&mut got, &weight, &bias, 1e-7);
            for i in 0..len {
                let want =
                    (f64::from(x[i]) - mean) / (variance + 1e-7).sqrt() * f64::from(weight[i]) + f64::from(bias[i]);
                assert!((f64::from(got[i]) - want).abs() < 1e-5, "{len} {i}: {} {want}", got[i]);
            }
            let total: f64 = x.iter().map(|&x| f64::from(x).exp()).sum();
            let mut got = x.clone();
            softmax(&mut got);
            for i in 0..len {
                assert!((f64::from(got[i]) - f64::from(x[i]).exp() / total).abs() < 1e-6, "{len} {i}");
            }
        }
    }

    #[test]
    fn gelu_agrees_with_the_f64_error_function() {
        for i in -8000..=8000 {
            let x = i as f32 / 1000.0;
            let want = 0.5 * f64::from(x) * (1.0 + libm::erf(f64::from(x) / std::f64::consts::SQRT_2));
            assert!((f64::from(gelu(x)) - want).abs() < 1e-6, "{x}");
        }
    }
}
