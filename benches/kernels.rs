//! Every row of the kernel table at the shapes of DeBERTa-v3-xsmall, as a whole linear layer. An element is a multiply-add of two
//! bytes: `Gelem/s` are GMAC/s.
//!
//! The table at the end compares them with the peak of the kernel's multiply-add instruction (on x86-64), measured after every sample of
//! criterion's. Calls and measurements of the peak are timed one by one, and most are too short for other programs to interrupt.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use edgeqa::kernels::gemm::TABLE;
use edgeqa::kernels::layout::PackedShape;
use edgeqa::kernels::linear::{Epilogue, Int8Weights, linear_i8};
use edgeqa::kernels::pack::{column_sums, pack};
use edgeqa::kernels::rows::QuantizedRows;

mod peak;
mod weights;

/// Output and input channels.
const SHAPES: [(usize, usize); 4] = [(1152, 384), (384, 384), (1536, 384), (384, 1536)];
const TOKENS: [usize; 2] = [64, 384];

/// What a kernel reached at a shape: medians over all calls, warm-up included.
struct Measurement {
    kernel: &'static str,
    shape: String,
    gigamacs: f64,
    peak: Option<f64>,
}

/// Values that begin with a cache line, as those of artifacts and tensors do.
struct Aligned<T> {
    buffer: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    fn new(values: &[T]) -> Self {
        const LINE: usize = 64;
        let mut buffer = vec![T::default(); values.len() + LINE];
        let start = buffer.as_ptr().align_offset(LINE);
        buffer[start..][..values.len()].copy_from_slice(values);
        Self { buffer, start, len: values.len() }
    }

    fn values(&self) -> &[T] {
        &self.buffer[self.start..][..self.len]
    }

    fn values_mut(&mut self) -> &mut [T] {
        &mut self.buffer[self.start..][..self.len]
    }
}

fn linear_layers(criterion: &mut Criterion) -> Vec<Measurement> {
    let mut results = Vec::new();
    for kernel in TABLE {
        if !kernel.is_available() {
            println!("SKIPPED {}: this CPU cannot run it", kernel.name);
            continue;
        }
        let peak = peak::of(kernel.name);
        let mut group = criterion.benchmark_group(kernel.name);
        group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        for (n, k) in SHAPES {
            let shape = PackedShape { n, k };
            let values = weights::bell(n * k);
            let (packed, sums) = (pack(shape, &values), column_sums(shape, &values));
            let (scales, bias) = (vec![0.01; shape.padded_n()], vec![0.1; shape.padded_n()]);
            let packed = Aligned::new(&packed);
            let notes = &kernel.examine(packed.values(), shape.padded_k());
            let packed = packed.values();
            let weights = Int8Weights { shape, packed, scales: &scales, bias: &bias, column_sums: &sums, notes };
            for rows in TOKENS {
                let x: Vec<f32> = (0..rows * k).map(|i| (i * 31 % 1000) as f32 / 500.0 - 1.0).collect();
                let mut a = QuantizedRows::default();
                a.quantize(&x, k, None, kernel);
                let mut out = Aligned::new(&vec![0.0; rows * n]);
                let epilogue = Epilogue { gelu: false, residual: None };
                let macs = (rows * n * k) as u64;
                let name = format!("{rows}x{n}x{k}");
                let (mut rates, mut peaks) = (Vec::new(), Vec::new());
                group.throughput(Throughput::Elements(macs));
                group.bench_function(BenchmarkId::from_parameter(&name), |bencher| {
                    bencher.iter_custom(|count| {
                        let mut total = Duration::ZERO;
                        for _ in 0..count {
                            let start = Instant::now();
                            linear_i8(kernel, black_box(&a), &weights, epilogue, out.values_mut());
                            let time = start.elapsed();
                            rates.push(macs as f64 / time.as_secs_f64() / 1e9);
                            total += time;
                        }
                        peaks.extend(peak.iter().flat_map(|peak| [(); 10].map(|()| peak.gigamacs())));
                        total
                    });
                });
                // No call, if the filter of the command line leaves the shape out.
                if let Some(gigamacs) = median(&mut rates) {
                    results.push(Measurement { kernel: kernel.name, shape: name, gigamacs, peak: median(&mut peaks) });
                }
            }
        }
    }
    results
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let results = linear_layers(&mut criterion);
    criterion.final_summary();
    println!("\n{:<30} {:>14} {:>8} {:>8} {:>8}", "kernel", "shape", "GMAC/s", "peak", "of peak");
    for Measurement { kernel, shape, gigamacs, peak } in results {
        let (peak, share) = peak.map_or(("?".into(), "?".into()), |peak| {
            (format!("{peak:.1}"), format!("{:.1} %", 100.0 * gigamacs / peak))
        });
        println!("{kernel:<30} {shape:>14} {gigamacs:>8.1} {peak:>8} {share:>8}");
    }
}
