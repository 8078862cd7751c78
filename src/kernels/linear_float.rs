//! Linear layers whose weights are not quantised: in `f32`, or in half precision for layers that int8 does not serve.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::cpu::Isa;
use super::gemm_f32::{Product, panel_width};
use super::layout::{NR, PackedShape};
use super::linear::Epilogue;
use super::room;
use super::simd::{Simd, Task};
use super::transposed::{Row, Transposed};

/// Borrowed weights of a linear layer in half precision.
#[derive(Clone, Copy, Debug)]
pub struct HalfWeights<'a> {
    /// Output channels and inner dimension.
    pub shape: PackedShape,
    /// `[n, k]`.
    pub values: &'a [f16],
    /// Per output channel: `real weight = value * scale`.
    pub scales: &'a [f32],
    /// Per output channel.
    pub bias: &'a [f32],
}

/// Memory of [`linear_f32`] and [`linear_f16`], kept from call to call.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Weights of some channels.
    weights: Vec<f32>,
    /// The same, transposed.
    columns: Vec<f32>,
    products: Vec<f32>,
}

/// A linear layer with `f32` weights: `weights` is `[n, k]`, `bias` has `n` values, `x` is `[rows, k]`.
///
/// # Panics
/// If lengths do not agree, or `k` is 0.
pub fn linear_f32(
    x: &[f32],
    k: usize,
    weights: &[f32],
    bias: &[f32],
    epilogue: Epilogue<'_>,
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    assert_eq!(weights.len(), bias.len() * k, "weights do not match {} x {k}", bias.len());
    linear_float(x, k, bias, epilogue, scratch, out, |channel, row| row.copy_from_slice(&weights[channel * k..][..k]));
}

/// The same layer with `f16` weights and one scale per output channel: `real weight = weight * scale`. Arithmetic is in `f32`.
///
/// # Panics
/// If lengths do not agree, or `k` is 0.
pub fn linear_f16(
    x: &[f32],
    weights: &HalfWeights<'_>,
    epilogue: Epilogue<'_>,
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let PackedShape { n, k } = weights.shape;
    assert_eq!(weights.values.len(), n * k, "weights do not match {n} x {k}");
    assert!(weights.scales.len() == n && weights.bias.len() == n, "scales or bias do not match {n} channels");
    linear_float(x, k, weights.bias, epilogue, scratch, out, |channel, row| {
        weights.values[channel * k..][..k].convert_to_f32_slice(row);
        for value in row {
            *value *= weights.scales[channel];
        }
    });
}

/// `load` writes the `k` weights of an output channel.
fn linear_float(
    x: &[f32],
    k: usize,
    bias: &[f32],
    epilogue: Epilogue<'_>,
    scratch: &mut Scratch,
    out: &mut [f32],
    load: impl Fn(usize, &mut [f32]),
) {
    assert!(k > 0 && x.len().is_multiple_of(k), "{} values are no rows of {k}", x.len());
    let n = bias.len();
    let rows = x.len() / k;
    assert_eq!(out.len(), rows * n, "output does not match {rows} rows of {n}");
    assert!(epilogue.residual.is_none_or(|r| r.len() == out.len()), "residual does not match the output");
    Isa::chosen().run(LinearFloat { x, k, bias, epilogue, scratch, out, load });
}

/// Output channels at a time.
const CHANNELS: usize = 2 * NR;

/// [`linear_float`] with checked lengths.
struct LinearFloat<'a, L> {
    x: &'a [f32],
    k: usize,
    bias: &'a [f32],
    epilogue: Epilogue<'a>,
    scratch: &'a mut Scratch,
    out: &'a mut [f32],
    load: L,
}

impl<L: Fn(usize, &mut [f32])> Task for LinearFloat<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, k, bias, epilogue, scratch, out, load } = self;
        let (n, rows) = (bias.len(), x.len() / k);
        let Scratch { weights, columns, products } = scratch;
        let (weights, columns) = (room(weights, CHANNELS * k), room(columns, CHANNELS * k));
        let products = room(products, CHANNELS * rows);
        for first in (0..n).step_by(CHANNELS) {
            let channels = CHANNELS.min(n - first);
            for (channel, row) in weights.chunks_exact_mut(k).enumerate().take(channels) {
                load(first + channel, row);
            }
            let read = |channel: usize| Row::F32(&weights[channel * k..][..k]);
            s.call(Transposed { read, rows: channels, width: k, factor: 1.0, to: columns, stride: CHANNELS });
            s.call(Product {
                rows,
                depth: k,
                columns: channels.next_multiple_of(NR),
                a: x,
                a_stride: k,
                b: columns,
                b_stride: CHANNELS,
                b_panel: panel_width::<S>(),
                c: products,
                c_stride: CHANNELS,
            });
            for (m, products) in products.chunks_exact(CHANNELS).enumerate() {
                let out = &mut out[m * n + first..][..channels];
                for ((y, product), b) in out.iter_mut().zip(products).zip(&bias[first..]) {
                    *y = product + b;
                }
                epilogue.apply(out, m, first, n);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_weights_give_the_products_of_their_values() {
        for (rows, n, k) in [(1, 1, 1), (3, 5, 17), (33, 16, 8), (64, 3, 40)] {
            let x: Vec<f32> = (0..rows * k).map(|i| (i * 7 % 13) as f32 - 6.0).collect();
            let values: Vec<f16> = (0..n * k).map(|i| f16::from_f32((i * 5 % 11) as f32 - 5.0)).collect();
            let scales: Vec<f32> = (0..n).map(|i| 0.5 * (i + 1) as f32).collect();
            let bias: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let weights = HalfWeights { shape: PackedShape { n, k }, values: &values, scales: &scales, bias: &bias };
            let residual = vec![0.25; rows * n];
            let mut out = vec![0.0; rows * n];
            linear_f16(
                &x,
                &weights,
                Epilogue { gelu: false, residual: Some(&residual) },
                &mut Scratch::default(),
                &mut out,
            );
            for m in 0..rows {
                for j in 0..n {
                    let product: f32 = (0..k).map(|i| x[m * k + i] * values[j * k + i].to_f32()).sum();
                    assert_eq!(out[m * n + j], product * scales[j] + bias[j] + 0.25, "{rows} {n} {k} ({m}, {j})");
                }
            }
        }
    }

    #[test]
    fn lengths_are_checked() {
        let run = |x: &[f32], k: usize, out: usize| {
            let (weights, mut out) = (vec![1.0; 2 * k], vec![0.0; out]);
            let epilogue = Epilogue { gelu: false, residual: None };
            linear_f32(x, k, &weights, &[0.0; 2], epilogue, &mut Scratch::default(), &mut out);
        };
        let panics = |x: &[f32], k, out| std::panic::catch_unwind(|| run(x, k, out)).is_err();
        assert!(!panics(&[1.0; 6], 3, 4));
        assert!(panics(&[1.0; 6], 3, 5), "an output too many");
        assert!(panics(&[1.0; 7], 3, 4), "no whole rows");
        assert!(panics(&[], 0, 0), "rows of nothing");
    }
}
