//! A linear layer over packed int8 weights: integer tiles, then scales, bias, GELU and residual while the tile is hot.

use super::gemm::{Accumulators, Kernel, MAX_ROWS, Tile};
use super::layout::{NR, PackedShape};
use super::math::gelu;
use super::rows::QuantizedRows;

/// What is applied to every output of a linear layer, in this order: activation, residual.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// Whether outputs go through GELU (erf).
    pub gelu: bool,
    /// Added last; `[rows, n]`.
    pub residual: Option<&'a [f32]>,
}

impl Epilogue<'_> {
    /// Finishes `out`, the pre-activation outputs of row `m` from channel `n` on, of rows with `width` channels.
    pub(super) fn apply(&self, out: &mut [f32], m: usize, n: usize, width: usize) {
        if self.gelu {
            for y in out.iter_mut() {
                *y = gelu(*y);
            }
        }
        if let Some(residual) = self.residual {
            let start = m * width + n;
            for (y, r) in out.iter_mut().zip(&residual[start..]) {
                *y += r;
            }
        }
    }
}

/// Borrowed weights of an int8 linear layer.
#[derive(Clone, Copy, Debug)]
pub struct Int8Weights<'a> {
    /// Output channels and inner dimension.
    pub shape: PackedShape,
    /// Packed weights, `shape.packed_len()` values.
    pub packed: &'a [i8],
    /// Per output channel, padded to whole panels: `real weight = weight * scale`.
    pub scales: &'a [f32],
    /// Per output channel, padded to whole panels.
    pub bias: &'a [f32],
    /// Per output channel, padded to whole panels.
    pub column_sums: &'a [i32],
}

/// `out[m][n] = epilogue(a_scale[m] * w_scale[n] * sum_k a[m][k] w[n][k] + bias[n])`; `out` is `[rows, n]`.
///
/// # Panics
/// If lengths do not agree with `weights.shape` and the number of rows.
pub fn linear_i8(
    kernel: &Kernel,
    a: &QuantizedRows,
    weights: &Int8Weights<'_>,
    epilogue: Epilogue<'_>,
    out: &mut [f32],
) {
    let shape = weights.shape;
    let rows = a.scales.len();
    assert_eq!(a.padded_k, shape.padded_k(), "activations are not of width {}", shape.k);
    assert_eq!(weights.packed.len(), shape.packed_len(), "packed weights do not match {shape:?}");
    assert_eq!(out.len(), rows * shape.n, "output does not match {rows} rows of {}", shape.n);
    assert!(epilogue.residual.is_none_or(|r| r.len() == out.len()), "residual does not match the output");
    let (scales, _) = weights.scales.as_chunks::<NR>();
    let (bias, _) = weights.bias.as_chunks::<NR>();
    let (sums, _) = weights.column_sums.as_chunks::<NR>();
    let mut acc: Accumulators = [[0; NR]; MAX_ROWS];
    for (p, panel) in weights.packed.chunks_exact(shape.panel_len()).enumerate() {
        let n0 = p * NR;
        let width = NR.min(shape.n - n0);
        for m0 in (0..rows).step_by(kernel.rows) {
            let tile_rows = kernel.rows.min(rows - m0);
            let activations = &a.values[m0 * a.padded_k..(m0 + tile_rows) * a.padded_k];
            let tile = Tile { activations, rows: tile_rows, padded_k: a.padded_k, panel, column_sums: &sums[p] };
            kernel.run(&tile, &mut acc);
            for (i, acc_row) in acc.iter().enumerate().take(tile_rows) {
                let m = m0 + i;
                let out = &mut out[m * shape.n + n0..][..width];
                for (n, y) in out.iter_mut().enumerate() {
                    *y = acc_row[n] as f32 * (a.scales[m] * scales[p][n]) + bias[p][n];
                }
                epilogue.apply(out, m, n0, shape.n);
            }
        }
    }
}

/// The same layer with `f32` weights: `weights` is `[n, k]`, `bias` has `n` values, `x` is `[rows, k]`.
///
/// # Panics
/// If lengths do not agree.
pub fn linear_f32(x: &[f32], k: usize, weights: &[f32], bias: &[f32], epilogue: Epilogue<'_>, out: &mut [f32]) {
    let n = bias.len();
    let rows = x.len() / k;
    assert_eq!(weights.len(), n * k, "weights do not match {n} x {k}");
    assert_eq!(out.len(), rows * n, "output does not match {rows} rows of {n}");
    assert!(epilogue.residual.is_none_or(|r| r.len() == out.len()), "residual does not match the output");
    // Blocks of rows, so that a block of inputs stays in cache while the weights stream through once per block.
    const BLOCK: usize = 32;
    for m0 in (0..rows).step_by(BLOCK) {
        let block = BLOCK.min(rows - m0);
        for (j, (w, b)) in weights.chunks_exact(k).zip(bias).enumerate() {
            for m in m0..m0 + block {
                out[m * n + j] = super::math::dot(&x[m * k..][..k], w) + b;
            }
        }
        for m in m0..m0 + block {
            epilogue.apply(&mut out[m * n..][..n], m, 0, n);
        }
    }
}
