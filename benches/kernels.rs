//! Every row of the kernel table at the shapes of DeBERTa-v3-xsmall, as a whole linear layer. An element is a multiply-add of two
//! bytes: `Gelem/s` are GMAC/s.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use edgeqa::kernels::gemm::TABLE;
use edgeqa::kernels::layout::PackedShape;
use edgeqa::kernels::linear::{Epilogue, Int8Weights, linear_i8};
use edgeqa::kernels::pack::{column_sums, pack};
use edgeqa::kernels::rows::QuantizedRows;

/// Output and input channels.
const SHAPES: [(usize, usize); 4] = [(1152, 384), (384, 384), (1536, 384), (384, 1536)];
const TOKENS: [usize; 2] = [64, 384];

fn linear_layers(criterion: &mut Criterion) {
    for kernel in TABLE {
        if !kernel.is_available() {
            println!("SKIPPED {}: this CPU cannot run it", kernel.name);
            continue;
        }
        let mut group = criterion.benchmark_group(kernel.name);
        group.sample_size(10);
        for (n, k) in SHAPES {
            let shape = PackedShape { n, k };
            let values: Vec<i8> = (0..n * k).map(|i| (i * 7919 % 255) as u8 as i8).map(|w| w.max(-127)).collect();
            let (packed, sums) = (pack(shape, &values), column_sums(shape, &values));
            let (scales, bias) = (vec![0.01; shape.padded_n()], vec![0.1; shape.padded_n()]);
            let weights = Int8Weights { shape, packed: &packed, scales: &scales, bias: &bias, column_sums: &sums };
            for rows in TOKENS {
                let x: Vec<f32> = (0..rows * k).map(|i| (i * 31 % 1000) as f32 / 500.0 - 1.0).collect();
                let mut a = QuantizedRows::default();
                a.quantize(&x, k, None);
                let mut out = vec![0.0; rows * n];
                let epilogue = Epilogue { gelu: false, residual: None };
                group.throughput(Throughput::Elements((rows * n * k) as u64));
                group.bench_function(BenchmarkId::from_parameter(format!("{rows}x{n}x{k}")), |bencher| {
                    bencher.iter(|| linear_i8(kernel, black_box(&a), &weights, epilogue, &mut out));
                });
            }
        }
    }
}

criterion_group!(benches, linear_layers);
criterion_main!(benches);
