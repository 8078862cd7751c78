//! One linear layer to int8 or half precision.

use edgeqa::artifact::View;
use edgeqa::kernels::gemm;
use edgeqa::kernels::layout::PackedShape;
use edgeqa::kernels::linear::{Epilogue, Int8Weights, linear_i8};
use edgeqa::kernels::linear_float::{Scratch, linear_f32};
use edgeqa::kernels::pack::{column_sums, pack};
use edgeqa::kernels::rows::{QuantizedRows, quantize_row};
use edgeqa::ops::{self, LinearWeights};
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::calibrate::rounding::Rounding;
use crate::calibrate::{Inputs, smooth};
use crate::checkpoint::Dense;

/// A linear layer in int8; vectors are padded to whole panels.
#[derive(Clone, Debug, PartialEq)]
pub struct Int8Linear {
    /// Output channels and inner dimension.
    pub shape: PackedShape,
    /// Packed weights.
    pub packed: Vec<i8>,
    /// Per output channel.
    pub scales: Vec<f32>,
    /// Per output channel.
    pub bias: Vec<f32>,
    /// Per output channel.
    pub column_sums: Vec<i32>,
    /// Per input channel, if inputs are to be multiplied before they are quantised.
    pub factors: Option<Vec<f32>>,
}

/// A linear layer in half precision.
#[derive(Clone, Debug, PartialEq)]
pub struct HalfLinear {
    /// `[n, k]`.
    pub values: Vec<f16>,
    /// Per output channel: a power of two, times the factor of the channel where [`crate::quantize::tensors`] moved one there.
    pub scales: Vec<f32>,
    /// Per output channel.
    pub bias: Vec<f32>,
}

/// What calibration chose for a layer.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Choice {
    /// Strength of the migration from activations to weights, if it helps.
    pub strength: Option<f32>,
    /// Whether weights are rounded so that their errors cancel.
    pub cancelling: bool,
    /// RMS error of the outputs on the tokens that choose the factors, as a share of their RMS, with nearest rounding and no factors.
    pub error_before: f64,
    /// The same with what was chosen.
    pub error: f64,
}

/// A choice must reduce the error at least to this share of the other's, as it costs a multiplication per input.
const WORTHWHILE: f64 = 0.98;
/// Largest weights of a channel, as shares of the largest, to try for the end of the int8 range.
const CLIPS: [f32; 5] = [1.0, 0.95, 0.9, 0.85, 0.8];

impl Int8Linear {
    /// Quantises `dense` in the way that has the smallest output error on `inputs`, or with nearest rounding without them.
    pub fn new(dense: &Dense, inputs: Option<&Inputs>) -> (Self, Option<Choice>) {
        let plain = Self::rounded(dense, None, None);
        let Some(inputs) = inputs else { return (plain, None) };
        let exact = outputs(dense, &inputs.held_out);
        let power: f64 = exact.iter().map(|y| f64::from(*y).powi(2)).sum();
        let error = |linear: &Self| linear.squared_error(&inputs.held_out, &exact);
        let error_before = error(&plain);
        if !(error_before > 0.0 && error_before.is_finite() && power.is_finite()) {
            return (plain, None);
        }
        let mut best = (plain, error_before);
        let mut strength = None;
        for candidate in smooth::STRENGTHS {
            let factors = smooth::factors(dense, inputs, candidate);
            let linear = Self::rounded(dense, Some(factors), None);
            let error = error(&linear);
            // A stronger factor costs no more than a weaker one.
            if error < best.1 * if strength.is_none() { WORTHWHILE } else { 1.0 } {
                (best, strength) = ((linear, error), Some(candidate));
            }
        }
        let mut cancelling = false;
        if let Some(rounding) = Rounding::new(inputs, best.0.factors.as_deref()) {
            let linear = Self::rounded(dense, best.0.factors.clone(), Some(&rounding));
            let error = error(&linear);
            if error < best.1 {
                (best, cancelling) = ((linear, error), true);
            }
        }
        let relative = |error: f64| (error / power).sqrt();
        let (error_before, error) = (relative(error_before), relative(best.1));
        (best.0, Some(Choice { strength, cancelling, error_before, error }))
    }

    fn rounded(dense: &Dense, factors: Option<Vec<f32>>, rounding: Option<&Rounding>) -> Self {
        let shape = PackedShape { n: dense.weight.rows, k: dense.weight.cols };
        let mut values = vec![0; shape.n * shape.k];
        let mut scales = Vec::with_capacity(shape.padded_n());
        let mut divided = vec![0.0; shape.k];
        for (row, out) in dense.weight.data.chunks_exact(shape.k).zip(values.chunks_exact_mut(shape.k)) {
            divided.copy_from_slice(row);
            for (w, f) in divided.iter_mut().zip(factors.iter().flatten()) {
                *w /= f;
            }
            let mut scale = quantize_row(&divided, out);
            if let Some(rounding) = rounding {
                scale = rounding.best_scale(&divided, scale, &CLIPS, out);
            }
            scales.push(scale);
        }
        let mut bias = dense.bias.clone();
        scales.resize(shape.padded_n(), 0.0);
        bias.resize(shape.padded_n(), 0.0);
        Self { packed: pack(shape, &values), column_sums: column_sums(shape, &values), shape, scales, bias, factors }
    }

    /// As the runtime takes it.
    pub fn weights(&self) -> LinearWeights {
        LinearWeights::Int8(ops::Int8Linear {
            shape: self.shape,
            packed: View::from(self.packed.clone()).into(),
            scales: self.scales.clone().into(),
            bias: self.bias.clone().into(),
            column_sums: self.column_sums.clone().into(),
            input_factor: self.factors.clone().map(Into::into),
        })
    }

    /// The squared differences of the outputs for `x` from `exact`, computed as the runtime does.
    fn squared_error(&self, x: &[f32], exact: &[f32]) -> f64 {
        let kernel = gemm::chosen();
        let mut rows = QuantizedRows::default();
        rows.quantize(x, self.shape.k, self.factors.as_deref(), kernel);
        let Self { shape, packed, scales, bias, column_sums, .. } = self;
        let notes = &kernel.examine(packed, shape.padded_k());
        let weights = Int8Weights { shape: *shape, packed, scales, bias, column_sums, notes };
        let mut out = vec![0.0; exact.len()];
        linear_i8(kernel, &rows, &weights, Epilogue { gelu: false, residual: None }, &mut out);
        out.iter().zip(exact).map(|(got, want)| f64::from(got - want).powi(2)).sum()
    }
}

impl HalfLinear {
    /// Rounds weights to half precision. Per output channel, the scale is the power of two that brings the largest weight into
    /// `[1, 2)`, so that magnitudes that `f16` does not reach survive.
    pub fn new(dense: &Dense) -> Self {
        let width = dense.weight.cols;
        let mut values = vec![f16::ZERO; dense.weight.data.len()];
        let mut scales = Vec::with_capacity(dense.weight.rows);
        let mut scaled = vec![0.0; width];
        for (row, out) in dense.weight.data.chunks_exact(width).zip(values.chunks_exact_mut(width)) {
            let largest = row.iter().fold(0.0f32, |max, w| max.max(w.abs()));
            // Exact, as only exponents change; subnormal weights count as zero.
            let scale = if largest.is_normal() { f32::from_bits(largest.to_bits() & 0x7f80_0000) } else { 1.0 };
            for (s, w) in scaled.iter_mut().zip(row) {
                *s = w / scale;
            }
            out.convert_from_f32_slice(&scaled);
            scales.push(scale);
        }
        Self { values, scales, bias: dense.bias.clone() }
    }
}

fn outputs(dense: &Dense, x: &[f32]) -> Vec<f32> {
    let k = dense.weight.cols;
    let mut out = vec![0.0; x.len() / k * dense.weight.rows];
    let epilogue = Epilogue { gelu: false, residual: None };
    linear_f32(x, k, &dense.weight.data, &dense.bias, epilogue, &mut Scratch::default(), &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Matrix;

    fn dense(n: usize, k: usize, weight: impl Fn(usize, usize) -> f32) -> Dense {
        let data = (0..n * k).map(|i| weight(i / k, i % k)).collect();
        Dense { weight: Matrix { rows: n, cols: k, data }, bias: vec![0.5; n] }
    }

    /// Inputs with 400 tokens in which channel 0 is 100 times as large as the others.
    fn outlier_inputs(k: usize) -> Inputs {
        let mut random = crate::random::Random(3);
        let mut uniform = || (random.number() >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
        let rows: Vec<Vec<f32>> =
            (0..400).map(|_| (0..k).map(|i| uniform() * if i == 0 { 100.0 } else { 1.0 }).collect()).collect();
        let mut products = vec![0.0; k * k];
        for row in &rows[100..] {
            for i in 0..k {
                for j in i..k {
                    products[i * k + j] += row[i] * row[j];
                }
            }
        }
        let max_abs = (0..k).map(|i| rows.iter().map(|r| r[i].abs()).fold(0.0, f32::max)).collect();
        Inputs { width: k, products, max_abs, held_out: rows[..100].concat() }
    }

    #[test]
    fn calibration_finds_factors_for_channels_that_spoil_the_scale() {
        let dense = dense(24, 40, |n, k| ((n * 31 + k * 17) % 29) as f32 / 29.0 - 0.5);
        let (linear, choice) = Int8Linear::new(&dense, Some(&outlier_inputs(40)));
        let choice = choice.expect("a choice");
        assert!(choice.strength.is_some() && linear.factors.is_some(), "{choice:?}");
        assert!(choice.error < 0.5 * choice.error_before, "{choice:?}");
    }

    #[test]
    fn without_inputs_weights_go_to_the_nearest_step() {
        let dense = dense(3, 50, |n, k| ((n * 7919 + k * 271) % 601) as f32 / 71.0 - 4.0);
        let (linear, choice) = Int8Linear::new(&dense, None);
        assert_eq!((choice, &linear.factors), (None, &None));
        for n in 0..3 {
            for k in 0..50 {
                let value = linear.packed[linear.shape.index(n, k)];
                assert_ne!(value, i8::MIN);
                let error = f32::from(value) * linear.scales[n] - dense.weight.data[n * 50 + k];
                assert!(error.abs() <= linear.scales[n] * 0.5001);
            }
        }
    }

    #[test]
    fn half_precision_keeps_eleven_bits_of_giant_and_of_tiny_weights() {
        let magnitudes = [1e30, 7e4, 1.0, 1e-30];
        let dense = dense(4, 64, |n, k| magnitudes[n] * (((k * 13) % 64) as f32 - 32.0));
        let half = HalfLinear::new(&dense);
        for (i, w) in dense.weight.data.iter().enumerate() {
            let got = half.values[i].to_f32() * half.scales[i / 64];
            assert!((got - w).abs() <= w.abs() / 2048.0, "{got} {w}");
        }
        let zero = HalfLinear::new(&dense_zero());
        assert!(zero.values.iter().all(|v| *v == f16::ZERO) && zero.scales == [1.0]);
    }

    fn dense_zero() -> Dense {
        dense(1, 8, |_, _| 0.0)
    }

    #[test]
    fn errors_are_shares_of_the_outputs() {
        let (dense, inputs) = (dense(24, 40, |n, k| ((n * 31 + k * 17) % 29) as f32 / 29.0 - 0.5), outlier_inputs(40));
        let exact = outputs(&dense, &inputs.held_out);
        let power: f64 = exact.iter().map(|y| f64::from(*y).powi(2)).sum();
        let share = |linear: &Int8Linear| (linear.squared_error(&inputs.held_out, &exact) / power).sqrt();
        let (plain, _) = Int8Linear::new(&dense, None);
        let (chosen, choice) = Int8Linear::new(&dense, Some(&inputs));
        let choice = choice.expect("a choice");
        assert_eq!((choice.error_before, choice.error), (share(&plain), share(&chosen)));
    }
}
