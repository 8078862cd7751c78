//! A whole model, tokens to logits, by length. `EDGEQA_BENCH_MODEL` names the artifact; without it, the shipped one runs.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use edgeqa::artifact::Artifact;
use edgeqa::kernels::gemm;
use edgeqa::model::{ModelWeights, Session};

const TOKENS: [usize; 5] = [64, 128, 256, 384, 512];

fn lengths(criterion: &mut Criterion) {
    let shipped = || Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/model.safetensors");
    let path = std::env::var_os("EDGEQA_BENCH_MODEL").map_or_else(shipped, PathBuf::from);
    let artifact = Artifact::open(&path).expect("a model");
    let session = Session::new(&ModelWeights::from_artifact(&artifact).expect("weights")).expect("a session");
    let config = session.config();
    let mut group = criterion.benchmark_group(format!("model_{}", gemm::chosen().name));
    group.sample_size(10);
    for length in TOKENS.into_iter().filter(|length| *length <= config.max_positions) {
        let ids: Vec<i64> = (0..length).map(|i| ((i * 7919 + 1) % config.vocab_size) as i64).collect();
        let types = (config.type_vocab_size > 0).then(|| vec![0; length]);
        group.bench_function(BenchmarkId::from_parameter(length), |bencher| {
            bencher.iter(|| session.logits(black_box(&ids), types.as_deref()).expect("logits"));
        });
    }
}

criterion_group!(benches, lengths);
criterion_main!(benches);
