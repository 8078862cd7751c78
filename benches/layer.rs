//! Runs one int8 linear layer some times and does nothing else, for programs that count instructions: what one more run costs is what
//! the layer costs. Prints the kernel and the multiply-adds of one run.
//!
//! usage: layer [products] ROWS OUTPUTS INPUTS RUNS
//!
//! With `products`, only integer products are computed, without the conversion to fp32.

use std::hint::black_box;

use edgeqa::kernels::gemm::{self, Accumulators, Kernel, Tile};
use edgeqa::kernels::layout::{NR, PackedShape};
use edgeqa::kernels::linear::{Epilogue, Int8Weights, linear_i8};
use edgeqa::kernels::pack::{column_sums, pack};
use edgeqa::kernels::rows::QuantizedRows;

mod weights;

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let [rows, n, k, runs] = numbers[..] else {
        // `cargo bench` and `cargo test` run every bench with arguments of their own.
        println!("usage: layer [products] ROWS OUTPUTS INPUTS RUNS");
        return;
    };
    let (kernel, shape) = (gemm::chosen(), PackedShape { n, k });
    let values = weights::bell(n * k);
    let (packed, column_sums) = (pack(shape, &values), column_sums(shape, &values));
    let (scales, bias) = (vec![0.01; shape.padded_n()], vec![0.1; shape.padded_n()]);
    let notes = &kernel.examine(&packed, shape.padded_k());
    let weights =
        Int8Weights { shape, packed: &packed, scales: &scales, bias: &bias, column_sums: &column_sums, notes };
    let x: Vec<f32> = (0..rows * k).map(|i| (i * 31 % 1000) as f32 / 500.0 - 1.0).collect();
    let mut a = QuantizedRows::default();
    a.quantize(&x, k, None, kernel);
    let mut out = vec![0.0; rows * n];
    let products_only = std::env::args().any(|argument| argument == "products");
    for _ in 0..runs {
        if products_only {
            products(kernel, black_box(&a), &weights);
            continue;
        }
        linear_i8(kernel, black_box(&a), &weights, Epilogue { gelu: false, residual: None }, &mut out);
        black_box(&out);
    }
    println!("{} {}", kernel.name, rows * n * k);
}

/// Computes the tiles of a product and lets them go.
fn products(kernel: &Kernel, a: &QuantizedRows, weights: &Int8Weights<'_>) {
    let padded_k = a.padded_k;
    let mut acc = Accumulators::splat(0);
    let Int8Weights { packed, notes, .. } = weights;
    let of_panel = kernel.notes_of_panel(padded_k);
    let of_tile = kernel.rows / kernel.row_step * kernel.arranged_rows_len(padded_k);
    let mut arranged = Vec::new();
    let rows = a.values.len() / padded_k;
    let mut arranged_rows = vec![0; rows.div_ceil(kernel.row_step) * kernel.arranged_rows_len(padded_k)];
    kernel.arrange_rows(&a.values, padded_k, &mut arranged_rows);
    for (i, column_sums) in weights.column_sums.as_chunks().0.chunks(kernel.panels).enumerate() {
        let (first, panels) = (i * kernel.panels, column_sums.len());
        let weights = &packed[first * NR * padded_k..][..panels * NR * padded_k];
        let notes = &notes[first * of_panel..][..panels * of_panel];
        kernel.arrange(weights, padded_k, &mut arranged);
        let arranged = &arranged[..];
        for (t, activations) in a.values.chunks(kernel.rows * padded_k).enumerate() {
            let rows = activations.len() / padded_k;
            let arranged_rows = &arranged_rows[t * of_tile..arranged_rows.len().min((t + 1) * of_tile)];
            let tile =
                Tile { activations, rows, padded_k, weights, panels, column_sums, notes, arranged, arranged_rows };
            kernel.run(&tile, &mut acc);
            black_box(&acc);
        }
    }
}
