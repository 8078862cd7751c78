//! The int8 products of DeBERTa-v3-xsmall's linear layers in edgeqa, tract-linalg and rten-gemm, on one thread. An element is a
//! multiply-add of two bytes: `Gelem/s` are GMAC/s.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use edgeqa_peers::gemm::{Problem, on_one_thread, products};

/// Output and input channels.
const SHAPES: [(usize, usize); 4] = [(1152, 384), (384, 384), (1536, 384), (384, 1536)];
const TOKENS: [usize; 2] = [64, 384];

fn libraries(criterion: &mut Criterion) {
    on_one_thread().expect("no threads yet");
    for rows in TOKENS {
        for (n, k) in SHAPES {
            let problem = Problem::random(rows, n, k);
            let want = problem.naive();
            let mut group = criterion.benchmark_group(format!("gemm_i8_{rows}x{n}x{k}"));
            group.sample_size(20).measurement_time(Duration::from_secs(2));
            group.throughput(Throughput::Elements(problem.multiply_adds()));
            for mut product in products(&problem).expect("every library to take the shape") {
                product.run();
                let label = product.label();
                assert!(product.equals(&want) || !product.is_exact(), "{label} does not give the naive product");
                group.bench_function(label, |bencher| bencher.iter(|| product.run()));
            }
        }
    }
}

criterion_group!(benches, libraries);
criterion_main!(benches);
