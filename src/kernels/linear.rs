//! A linear layer over packed int8 weights: integer tiles, then scales, bias, GELU and residual while the tile is hot.

use std::cell::Cell;
use std::ops::Range;

use super::columns::Columns;
use super::elementary::gelu as gelu_vector;
use super::gemm::{Accumulators, Kernel, Tile};
use super::layout::{NR, PackedShape};
use super::math::gelu;
use super::rows::{QuantizedRows, RowsView};
use super::simd::{Simd, Task, load_part, store_part};

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
            gelu(out);
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
    /// What [`Kernel::examine`] noted about `packed`; that of the kernel that multiplies.
    pub notes: &'a [u8],
}

/// `out[m][n] = epilogue(w_scale[n] * (a_scale[m] * sum_k a[m][k] w[n][k] + a_offset[m] * sum_k w[n][k]) + bias[n])`; `out` is
/// `[rows, n]`.
///
/// # Panics
/// If lengths do not agree with `weights.shape` and the number of rows, or the activations were not quantised for the kernel.
pub fn linear_i8(
    kernel: &Kernel,
    a: &QuantizedRows,
    weights: &Int8Weights<'_>,
    epilogue: Epilogue<'_>,
    out: &mut [f32],
) {
    let shape = weights.shape;
    linear_i8_panels(kernel, a, weights, 0..shape.panels(), epilogue, &mut Columns::of(out, shape.n));
}

/// [`linear_i8`] for the channels of some panels, so that threads can share a layer's channels: `out` has a column for each of these
/// that exists. The residual is that of all channels, `[rows, n]`.
///
/// # Panics
/// As [`linear_i8`], or if there are no such panels.
pub(crate) fn linear_i8_panels(
    kernel: &Kernel,
    a: &QuantizedRows,
    weights: &Int8Weights<'_>,
    range: Range<usize>,
    epilogue: Epilogue<'_>,
    out: &mut Columns<'_>,
) {
    kernel.isa().run(LinearI8::new(kernel, a.view(), weights, range, epilogue, out));
}

thread_local! {
    /// Room for panels as a kernel arranges them, which the next layer needs again.
    static ARRANGED: Cell<Vec<i8>> = const { Cell::new(Vec::new()) };
}

/// [`linear_i8_panels`] with checked lengths.
pub(super) struct LinearI8<'a, 'b> {
    kernel: &'a Kernel,
    a: RowsView<'a>,
    shape: PackedShape,
    packed: &'a [i8],
    scales: &'a [[f32; NR]],
    bias: &'a [[f32; NR]],
    sums: &'a [[i32; NR]],
    notes: &'a [u8],
    range: Range<usize>,
    epilogue: Epilogue<'a>,
    out: &'a mut Columns<'b>,
}

impl<'a, 'b> LinearI8<'a, 'b> {
    /// # Panics
    /// As [`linear_i8_panels`].
    pub fn new(
        kernel: &'a Kernel,
        a: RowsView<'a>,
        weights: &Int8Weights<'a>,
        range: Range<usize>,
        epilogue: Epilogue<'a>,
        out: &'a mut Columns<'b>,
    ) -> Self {
        let shape = weights.shape;
        let rows = a.scales.len();
        assert_eq!(a.form, kernel.form, "activations are not in the form of {}", kernel.name);
        assert_eq!(a.padded_k, shape.padded_k(), "activations are not of width {}", shape.k);
        assert!(a.values.len() == rows * a.padded_k && a.offsets.len() == rows, "activations are no {rows} rows");
        let arranged = rows.div_ceil(kernel.row_step) * kernel.arranged_rows_len(a.padded_k);
        assert_eq!(a.arranged.len(), arranged, "activations are not arranged for {}", kernel.name);
        assert_eq!(weights.packed.len(), shape.packed_len(), "packed weights do not match {shape:?}");
        let panels = shape.panels();
        assert!(range.start <= range.end && range.end <= panels, "{range:?} of {panels} panels");
        let width = shape.channels(range.clone()).len();
        assert!(out.has_shape(rows, width), "output does not match {rows} rows of {width}");
        assert!(epilogue.residual.is_none_or(|r| r.len() == rows * shape.n), "residual does not match the output");
        assert_eq!(
            weights.notes.len(),
            panels * kernel.notes_of_panel(shape.padded_k()),
            "notes are not those of {} on {shape:?}",
            kernel.name
        );
        let Int8Weights { packed, scales, bias, column_sums, notes, .. } = *weights;
        let lengths = [scales.len(), bias.len(), column_sums.len()];
        assert!(lengths.iter().all(|len| *len == shape.padded_n()), "vectors of {lengths:?} do not match {shape:?}");
        let (scales, bias, sums) = (scales.as_chunks().0, bias.as_chunks().0, column_sums.as_chunks().0);
        Self { kernel, a, shape, packed, scales, bias, sums, notes, range, epilogue, out }
    }
}

impl Task for LinearI8<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { kernel, a, shape, packed, scales, bias, sums, notes, range, epilogue, out } = self;
        let (rows, padded_k) = (a.scales.len(), a.padded_k);
        // Tiles of nearly equal height, as a last tile of few rows would cost nearly as much as a full one.
        let tiles = rows.div_ceil(kernel.rows);
        let steps = rows.div_ceil(kernel.row_step);
        let of_panel = kernel.notes_of_panel(padded_k);
        let of_rows = kernel.arranged_rows_len(padded_k);
        let mut arranged_panels = ARRANGED.take();
        let mut acc = Accumulators::splat(0);
        let packed = &packed[..range.end * shape.panel_len()];
        for p0 in range.clone().step_by(kernel.panels) {
            let p1 = range.end.min(p0 + kernel.panels);
            let (weights, later) = packed[p0 * shape.panel_len()..].split_at((p1 - p0) * shape.panel_len());
            let next = &later[..later.len().min(weights.len())];
            let notes = &notes[p0 * of_panel..p1 * of_panel];
            kernel.arrange(weights, padded_k, &mut arranged_panels);
            for t in 0..tiles {
                // The weights of a model do not fit into the caches near the core.
                let [start, end] = [t, t + 1].map(|t| (next.len() as u64 * t as u64 / tiles as u64) as usize);
                s.prefetch(&next[start..end]);
                let [m0, m1] = [t, t + 1].map(|t| rows.min(steps * t / tiles * kernel.row_step));
                let activations = &a.values[m0 * padded_k..m1 * padded_k];
                let [first, end] = [m0, m1].map(|m| m.div_ceil(kernel.row_step) * of_rows);
                let (arranged, arranged_rows) = (&arranged_panels[..], &a.arranged[first..end]);
                let (rows, panels, column_sums) = (m1 - m0, p1 - p0, &sums[p0..p1]);
                let operands =
                    Tile { activations, rows, padded_k, weights, panels, column_sums, notes, arranged, arranged_rows };
                kernel.run(&operands, &mut acc);
                for p in p0..p1 {
                    let first = p * NR;
                    s.call(Finish {
                        acc: acc.panel(p - p0, rows),
                        row_scales: &a.scales[m0..m1],
                        row_offsets: &a.offsets[m0..m1],
                        scales: &scales[p],
                        bias: &bias[p],
                        sums: &sums[p],
                        gelu: epilogue.gelu,
                        residual: epilogue.residual.map(|residual| &residual[m0 * shape.n + first..]),
                        stride: shape.n,
                        out,
                        m0,
                        first: first - range.start * NR,
                        width: NR.min(shape.n - first),
                    });
                }
            }
        }
        ARRANGED.set(arranged_panels);
    }
}

/// Turns the sums of one panel into outputs.
struct Finish<'a, 'b> {
    /// Per row.
    acc: &'a [[i32; NR]],
    row_scales: &'a [f32],
    row_offsets: &'a [f32],
    scales: &'a [f32; NR],
    bias: &'a [f32; NR],
    sums: &'a [i32; NR],
    gelu: bool,
    /// From the first output on, rows `stride` apart.
    residual: Option<&'a [f32]>,
    stride: usize,
    out: &'a mut Columns<'b>,
    /// Place of the first row in `out`.
    m0: usize,
    /// Place of the panel's first channel in `out`.
    first: usize,
    /// Channels of the panel that exist.
    width: usize,
}

impl Task for Finish<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // Nearly all panels have all their channels, and need neither copies nor calls.
        match (self.width == NR, self.gelu, self.residual) {
            (true, false, None) => self.whole::<S, false, false>(s, &[]),
            (true, false, Some(residual)) => self.whole::<S, false, true>(s, residual),
            (true, true, None) => self.whole::<S, true, false>(s, &[]),
            _ => self.part(s),
        }
    }
}

impl Finish<'_, '_> {
    /// A panel with all its channels.
    #[inline(always)]
    fn whole<S: Simd, const GELU: bool, const RESIDUAL: bool>(self, s: S, residual: &[f32]) {
        let channels = self.channels(s);
        let rows = self.acc.iter().zip(self.row_scales.iter().zip(self.row_offsets));
        let mut residual = residual.chunks(self.stride);
        let out = self.out.chunks::<NR>(self.m0..self.m0 + self.acc.len(), self.first);
        for ((acc, (scale, offset)), out) in rows.zip(out) {
            let mut y = s.scaled(acc, [*scale, *offset], &channels);
            if GELU {
                y = gelu_vector(s, y);
            }
            if RESIDUAL {
                let residual = residual.next().and_then(|row| row.first_chunk());
                y = s.add(y, s.load(residual.expect("a row of the residual")));
            }
            s.store(y, out);
        }
    }

    /// Any panel.
    #[inline(always)]
    fn part<S: Simd>(self, s: S) {
        let channels = self.channels(s);
        let rows = self.acc.iter().zip(self.row_scales.iter().zip(self.row_offsets));
        for (i, (acc, (scale, offset))) in rows.enumerate() {
            let mut y = s.scaled(acc, [*scale, *offset], &channels);
            if self.gelu {
                y = gelu_vector(s, y);
            }
            if let Some(residual) = self.residual {
                y = s.add(y, load_part(s, &residual[i * self.stride..][..self.width]));
            }
            store_part(s, y, &mut self.out.row(self.m0 + i)[self.first..][..self.width]);
        }
    }

    /// What the channels have in common for all rows: sums, scales and bias.
    #[inline(always)]
    fn channels<S: Simd>(&self, s: S) -> [S::F32; 3] {
        [s.to_f32(s.load_i32(self.sums)), s.load(self.scales), s.load(self.bias)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::gemm::MAX_PANELS;
    use super::super::layout::Form;
    use super::*;

    /// A layer of two panels, of which the second has few channels, for inputs in the form of `kernel`.
    fn layer(kernel: &Kernel, rows: usize, epilogue: Epilogue<'_>) -> Vec<f32> {
        let (n, k) = (NR + 3, 23);
        let x: Vec<f32> = (0..rows * k).map(|i| (i * 7 % 13) as f32 / 13.0 - 0.4).collect();
        let w: Vec<i8> = (0..n * k).map(|i| (i * 31 % 255) as i8).map(|w| w.max(-127)).collect();
        let shape = PackedShape { n, k };
        let (packed, sums) = (super::super::pack::pack(shape, &w), super::super::pack::column_sums(shape, &w));
        let (scales, bias) = (vec![0.01; shape.padded_n()], vec![0.1; shape.padded_n()]);
        let notes = &kernel.examine(&packed, shape.padded_k());
        let weights = Int8Weights { shape, packed: &packed, scales: &scales, bias: &bias, column_sums: &sums, notes };
        let mut quantized = QuantizedRows::default();
        quantized.quantize(&x, k, None, kernel);
        let mut out = vec![0.0; rows * n];
        linear_i8(kernel, &quantized, &weights, epilogue, &mut out);
        out
    }

    #[test]
    fn every_output_goes_through_the_epilogue() {
        for kernel in super::super::gemm::TABLE.iter().filter(|kernel| kernel.is_available()) {
            for rows in [1, 12, 13, 30, 2 * kernel.rows + 3] {
                let plain = layer(kernel, rows, Epilogue { gelu: false, residual: None });
                let residual: Vec<f32> = (0..plain.len()).map(|i| i as f32).collect();
                for (gelu, with_residual) in [(false, false), (false, true), (true, false), (true, true)] {
                    let epilogue = Epilogue { gelu, residual: with_residual.then_some(&residual[..]) };
                    let mut want = plain.clone();
                    epilogue.apply(&mut want, 0, 0, NR + 3);
                    let got = layer(kernel, rows, epilogue);
                    for (i, (got, want)) in got.iter().zip(want).enumerate() {
                        assert!((got - want).abs() <= 1e-6 * (2 + i) as f32, "{} {i} {epilogue:?}", kernel.name);
                    }
                }
            }
        }
    }

    /// Parts of one panel, of more than a tile, and of none, of which the last panel has few channels.
    #[test]
    fn parts_of_the_panels_give_the_channels_of_the_whole() {
        // For some kernels, of more than a tile, too.
        let (rows, n, k) = (70, (2 * MAX_PANELS + 3) * NR + 5, 20);
        let shape = PackedShape { n, k };
        let x: Vec<f32> = (0..rows * k).map(|i| (i * 7 % 13) as f32 - 4.0).collect();
        let w: Vec<i8> = (0..n * k).map(|i| (i * 31 % 255) as i8).map(|w| w.max(-127)).collect();
        let (packed, sums) = (super::super::pack::pack(shape, &w), super::super::pack::column_sums(shape, &w));
        let (scales, bias): (Vec<_>, Vec<_>) = (0..shape.padded_n()).map(|i| (0.01 + i as f32, i as f32)).unzip();
        let residual: Vec<f32> = (0..rows * n).map(|i| i as f32).collect();
        let mut quantized = QuantizedRows::default();
        for kernel in super::super::gemm::TABLE.iter().filter(|kernel| kernel.is_available()) {
            let notes = &kernel.examine(&packed, shape.padded_k());
            let weights =
                Int8Weights { shape, packed: &packed, scales: &scales, bias: &bias, column_sums: &sums, notes };
            quantized.quantize(&x, k, None, kernel);
            for (gelu, residual) in [(false, None), (true, None), (false, Some(&residual[..]))] {
                let epilogue = Epilogue { gelu, residual };
                let mut want = vec![0.0; rows * n];
                linear_i8(kernel, &quantized, &weights, epilogue, &mut want);
                let ends = [0, 1, 1, 2 + MAX_PANELS, shape.panels()];
                let ranges: Vec<_> = ends.windows(2).map(|ends| ends[0]..ends[1]).collect();
                let widths = ranges.iter().map(|panels| shape.channels(panels.clone()).len());
                let mut got = vec![f32::NAN; rows * n];
                for (panels, mut out) in ranges.iter().cloned().zip(Columns::of(&mut got, n).cut(widths)) {
                    linear_i8_panels(kernel, &quantized, &weights, panels, epilogue, &mut out);
                }
                assert_eq!(got, want, "{} {gelu}", kernel.name);
            }
        }
    }

    /// A layer of one channel and one input, applied to one row in `form`, of which some panels are computed.
    fn one(form: Form, panels: Range<usize>) {
        with_vectors(form, panels, &[0.0; NR]);
    }

    /// The same with these scales.
    fn with_vectors(form: Form, panels: Range<usize>, scales: &[f32]) {
        let weights = Int8Weights {
            shape: PackedShape { n: 1, k: 1 },
            packed: &[0; 8 * NR],
            scales,
            bias: &[0.0; NR],
            column_sums: &[0; NR],
            notes: &[],
        };
        let mut quantized = QuantizedRows::default();
        quantized.quantize_as(&[1.0], 1, None, form);
        let (kernel, epilogue) = (&super::super::gemm::TABLE[0], Epilogue { gelu: false, residual: None });
        let mut out = [0.0];
        let mut out = Columns::of(&mut out, 1).split_off(weights.shape.channels(panels.clone()).len());
        linear_i8_panels(kernel, &quantized, &weights, panels, epilogue, &mut out);
    }

    #[test]
    #[should_panic(expected = "not in the form")]
    fn activations_in_another_form_are_refused() {
        one(Form::Signed, 0..1);
        one(Form::Offset128, 0..1);
    }

    #[test]
    #[should_panic(expected = "vectors of [31, 16, 16] do not match")]
    fn vectors_that_are_too_long_are_refused() {
        with_vectors(Form::Signed, 0..1, &[0.0; 2 * NR - 1]);
    }

    #[test]
    #[should_panic(expected = "1..2 of 1 panels")]
    fn panels_that_are_not_there_are_refused() {
        one(Form::Signed, 1..1);
        one(Form::Signed, 1..2);
    }

    #[test]
    fn offsets_of_rows_reach_the_outputs() {
        // Rows far from zero: without the column sums, the outputs would be off by the offsets. Channels of small weights, then some of
        // large ones in another tile, about which kernels note different things.
        let small = NR * MAX_PANELS;
        let (rows, n, k) = (67, small + 19, 71);
        let x: Vec<f32> = (0..rows * k).map(|i| 100.0 + (i * 7 % 13) as f32).collect();
        let w: Vec<i8> =
            (0..n * k).map(|i| if i / k < small { (i * 7 % 31) as i8 - 15 } else { [127, -127][i / 5 % 2] }).collect();
        let shape = PackedShape { n, k };
        let padded = |values: Vec<f32>| [values, vec![0.0; shape.padded_n() - n]].concat();
        let (packed, sums) = (super::super::pack::pack(shape, &w), super::super::pack::column_sums(shape, &w));
        let (scales, bias) = (padded(vec![0.5; n]), padded((0..n).map(|i| i as f32).collect()));
        let mut quantized = QuantizedRows::default();
        let mut out = vec![0.0; rows * n];
        for kernel in super::super::gemm::TABLE.iter().filter(|kernel| kernel.is_available()) {
            let notes = &kernel.examine(&packed, shape.padded_k());
            let weights =
                Int8Weights { shape, packed: &packed, scales: &scales, bias: &bias, column_sums: &sums, notes };
            quantized.quantize(&x, k, None, kernel);
            linear_i8(kernel, &quantized, &weights, Epilogue { gelu: false, residual: None }, &mut out);
            for m in 0..rows {
                for j in 0..n {
                    let terms = (0..k).map(|i| f64::from(x[m * k + i]) * f64::from(w[j * k + i]) * 0.5);
                    let want = terms.sum::<f64>() + j as f64;
                    let steps: f64 = (0..k).map(|i| f64::from(w[j * k + i]).abs() * 0.5).sum();
                    let bound = 0.51 * f64::from(quantized.scales[m]) * steps + 1e-4 * want.abs();
                    assert!((f64::from(out[m * n + j]) - want).abs() <= bound, "{} ({m}, {j})", kernel.name);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "residual does not match the output")]
    fn a_residual_of_other_rows_is_refused() {
        let residual = Some(&[0.0; 2 * (NR + 3)][..]);
        layer(super::super::gemm::chosen(), 1, Epilogue { gelu: false, residual });
    }
}
