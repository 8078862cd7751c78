//! The `f32` parts of one layer of DeBERTa-v3-xsmall, with the vectors that go with the chosen kernel. Softmax is part of attention.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use edgeqa::config::RelativeConfig;
use edgeqa::kernels::attention::{Distances, Positions, Scratch, Shape, Table, attention};
use edgeqa::kernels::cpu::Isa;
use edgeqa::kernels::gemm;
use edgeqa::kernels::math::{gelu, layer_norm};
use edgeqa::kernels::rows::QuantizedRows;
use edgeqa::ops::RelativeIndex;
use edgeqa::threads::Threads;

const TOKENS: [usize; 5] = [64, 128, 256, 384, 512];
const HEADS: usize = 6;
const HEAD_DIM: usize = 64;
const HIDDEN: usize = HEADS * HEAD_DIM;
const INNER: usize = 1536;

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 31 % 1009) as f32 / 500.0 - 1.0).collect()
}

fn attentions(criterion: &mut Criterion) {
    let relative = RelativeConfig {
        position_buckets: 256,
        max_relative_positions: 512,
        content_to_position: true,
        position_to_content: true,
    };
    let bytes: Vec<i8> = (0..relative.rows() * HIDDEN).map(|i| ((i * 7919 % 255) as i16 - 127) as i8).collect();
    let scales = vec![0.01; relative.rows() * HEADS];
    let table = Table::Int8 { values: &bytes, scales: &scales };
    let mut scratch = Scratch::default();
    let shape = Shape { heads: HEADS, head_dim: HEAD_DIM, scale: ((3 * HEAD_DIM) as f32).sqrt() };
    let mut group = criterion.benchmark_group(format!("attention_{}", Isa::chosen().name()));
    group.sample_size(10);
    for length in TOKENS {
        let qkv = values(length * 3 * HIDDEN);
        let distances = Distances::new(RelativeIndex::new(&relative, length).into_rows());
        let mut out = vec![0.0; length * HIDDEN];
        for (name, relative) in [("disentangled", true), ("plain", false)] {
            // A multiply-add per pair of tokens and channel: scores, values, and the two relative terms.
            let terms = if relative { 4 } else { 2 };
            group.throughput(Throughput::Elements((terms * length * length * HIDDEN) as u64));
            let positions =
                relative.then_some(Positions { distances: &distances, key: Some(table), query: Some(table) });
            group.bench_function(BenchmarkId::new(name, length), |bencher| {
                let threads = Threads::one();
                bencher.iter(|| attention(&threads, shape, black_box(&qkv), positions, &mut scratch, &mut out));
            });
        }
    }
}

fn rows(criterion: &mut Criterion) {
    const ROWS: usize = 384;
    let mut group = criterion.benchmark_group(format!("rows_{}", Isa::chosen().name()));
    let (weight, bias) = (values(HIDDEN), values(HIDDEN));
    let mut x = values(ROWS * HIDDEN);
    group.throughput(Throughput::Elements(x.len() as u64));
    group.bench_function("layer_norm", |bencher| bencher.iter(|| layer_norm(black_box(&mut x), &weight, &bias, 1e-7)));
    let x = values(ROWS * HIDDEN);
    let mut quantized = QuantizedRows::default();
    let kernel = gemm::chosen();
    group
        .bench_function("quantize", |bencher| bencher.iter(|| quantized.quantize(black_box(&x), HIDDEN, None, kernel)));
    group.bench_function("quantize_with_factors", |bencher| {
        bencher.iter(|| quantized.quantize(black_box(&x), HIDDEN, Some(&weight), kernel));
    });
    group.throughput(Throughput::Elements((ROWS * INNER) as u64));
    // New values for every run: what goes through it again and again becomes zero.
    group.bench_function("gelu", |bencher| {
        bencher.iter_batched_ref(|| values(ROWS * INNER), |x| gelu(black_box(x)), BatchSize::LargeInput);
    });
}

criterion_group!(benches, attentions, rows);
criterion_main!(benches);
