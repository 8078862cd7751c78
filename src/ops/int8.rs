//! Int8 weights of a linear layer, and how threads share its channels.

use super::Packed;
use crate::artifact::View;
use crate::kernels::columns::Columns;
use crate::kernels::gemm;
use crate::kernels::layout::PackedShape;
use crate::kernels::linear::{Epilogue, Int8Weights, linear_i8, linear_i8_panels};
use crate::kernels::rows::QuantizedRows;
use crate::threads::{Threads, split};

/// Packed int8 weights per output channel; inputs are quantised per row. The vectors are padded to whole panels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Int8Linear {
    /// Output channels `n` and input channels `k`.
    pub shape: PackedShape,
    /// In the layout of [`crate::kernels::layout`].
    pub packed: Packed,
    /// `real weight = weight * scale`.
    pub scales: View<f32>,
    /// Added after scaling.
    pub bias: View<f32>,
    /// Sum of each channel's weights.
    pub column_sums: View<i32>,
    /// `[k]`: inputs are multiplied by it before they are quantised; its inverse is folded into the weights.
    pub input_factor: Option<View<f32>>,
}

impl Int8Linear {
    /// Applies the layer to `x` (`[rows, k]`), writing `out` (`[rows, n]`).
    pub(super) fn apply(&self, x: &[f32], epilogue: Epilogue<'_>, quantized: &mut QuantizedRows, out: &mut [f32]) {
        let kernel = gemm::chosen();
        quantized.quantize(x, self.shape.k, self.input_factor.as_deref(), kernel);
        linear_i8(kernel, quantized, &self.weights(), epilogue, out);
    }

    /// [`Int8Linear::apply`], by threads that share the channels, so that each reads a part of the weights only.
    pub(super) fn apply_by_channels(
        &self,
        threads: &Threads,
        x: &[f32],
        epilogue: Epilogue<'_>,
        quantized: &mut QuantizedRows,
        out: &mut [f32],
    ) {
        let (kernel, shape, weights) = (gemm::chosen(), self.shape, self.weights());
        quantized.quantize_on(threads, x, shape.k, self.input_factor.as_deref(), kernel);
        let quantized = &*quantized;
        let ranges = split(shape.panels(), 1, threads.count());
        let widths = ranges.clone().map(|panels| shape.channels(panels).len());
        let mut parts: Vec<_> = ranges.zip(Columns::of(out, shape.n).cut(widths)).collect();
        threads.for_each(&mut parts, |(panels, out)| {
            linear_i8_panels(kernel, quantized, &weights, panels.clone(), epilogue, out);
        });
    }

    /// Whether threads should share the channels of the layer for so many rows.
    pub(super) fn is_shared(&self, rows: usize, threads: &Threads) -> bool {
        shares_channels(rows, gemm::chosen().row_step, self.shape.panels(), threads.count())
    }

    fn weights(&self) -> Int8Weights<'_> {
        let Self { shape, packed, scales, bias, column_sums, .. } = self;
        Int8Weights { shape: *shape, packed, scales, bias, column_sums, notes: packed.notes(shape.padded_k()) }
    }
}

/// Whether `threads` threads should share the channels of a layer, of as many panels, rather than its rows, of which `step` are multiplied
/// together. What decides is how much the slowest thread multiplies.
pub(super) fn shares_channels(rows: usize, step: usize, panels: usize, threads: usize) -> bool {
    /// Rows per thread up to which reading all weights takes a thread longer than waiting for the others once or twice more.
    const FEW: usize = 16;
    let by_rows = rows.div_ceil(threads).next_multiple_of(step) * panels;
    let by_channels = rows.next_multiple_of(step) * panels.div_ceil(threads);
    // In sixteenths: what reading fewer weights makes up for, and what waiting must be made up for by.
    let factor = if rows <= FEW * threads { 14 } else { 17 };
    threads > 1 && factor * by_channels <= 16 * by_rows
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::kernels::pack::{column_sums, pack};

    #[test]
    fn sharing_channels_changes_nothing() {
        let (n, k) = (100, 37);
        let shape = PackedShape { n, k };
        let w: Vec<i8> = (0..n * k).map(|i| (i * 31 % 255) as i8).map(|w| w.max(-127)).collect();
        let padded = |f: fn(usize) -> f32| -> View<f32> { (0..shape.padded_n()).map(f).collect::<Vec<_>>().into() };
        let plain = Int8Linear {
            shape,
            packed: View::from(pack(shape, &w)).into(),
            scales: padded(|i| 0.01 + i as f32),
            bias: padded(|i| i as f32),
            column_sums: column_sums(shape, &w).into(),
            input_factor: None,
        };
        let factor = Some((0..k).map(|i| 1.0 + (i % 3) as f32).collect::<Vec<_>>().into());
        let layers = [Int8Linear { input_factor: factor, ..plain.clone() }, plain];
        for threads in [1, 2, 3, 9] {
            let threads = Threads::new(NonZeroUsize::new(threads).expect("not 0"), false).expect("threads");
            for rows in [0, 1, 7, 40] {
                let x: Vec<f32> = (0..rows * k).map(|i| (i * 7 % 1009) as f32 - 300.0).collect();
                let residual: Vec<f32> = (0..rows * n).map(|i| i as f32).collect();
                for layer in &layers {
                    let epilogue = Epilogue { gelu: false, residual: Some(&residual) };
                    let (mut want, mut got) = (vec![0.0; rows * n], vec![f32::NAN; rows * n]);
                    layer.apply(&x, epilogue, &mut QuantizedRows::default(), &mut want);
                    layer.apply_by_channels(&threads, &x, epilogue, &mut QuantizedRows::default(), &mut got);
                    assert_eq!(got, want, "{rows} rows, {} threads", threads.count());
                }
            }
        }
    }

    #[test]
    fn channels_are_shared_where_rows_are_few_or_would_be_wasted() {
        for step in [1, 2, 4] {
            assert!((0..300).all(|rows| !shares_channels(rows, step, 24, 1)), "{step}");
            // Few rows, which all threads get as many panels of.
            for (rows, threads) in [(1, 2), (32, 2), (5, 4), (64, 4), (128, 8)] {
                assert!(shares_channels(rows, step, 24, threads), "{rows} rows, {step}, {threads} threads");
            }
            for (rows, threads) in [(40, 2), (128, 4), (384, 4), (385, 2)] {
                assert!(!shares_channels(rows, step, 96, threads), "{rows} rows, {step}, {threads} threads");
            }
            // 25 rows of each thread, of which four are multiplied together, are as good as 28.
            assert_eq!(shares_channels(100, step, 24, 4), step == 4);
            // Of 24 panels, some of 7 and of 16 threads get one more than others.
            assert!(!shares_channels(112, step, 24, 7) && !shares_channels(256, step, 24, 16), "{step}");
            assert!(shares_channels(112, step, 72, 7), "{step}");
        }
        // 20 rows of each thread, of which eight are multiplied together, are as good as 24.
        assert!(shares_channels(40, 8, 96, 2) && !shares_channels(48, 8, 96, 2));
    }
}
