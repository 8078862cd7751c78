//! A whole model, tokens to logits, by length and threads, and where the time goes. `EDGEQA_BENCH_MODEL` names the artifact; without
//! it, the shipped one runs.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use edgeqa::artifact::Artifact;
use edgeqa::kernels::gemm;
use edgeqa::model::{ModelWeights, Session};
use edgeqa::threads::Threads;

const TOKENS: [usize; 5] = [64, 128, 256, 384, 512];
/// Runs of which the share of every operator is the median.
const PROFILED: usize = 15;

/// The model, and the lengths that it takes.
fn session() -> (Session, Vec<usize>) {
    let shipped = || Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/model.safetensors");
    let path = std::env::var_os("EDGEQA_BENCH_MODEL").map_or_else(shipped, PathBuf::from);
    let artifact = Artifact::open(&path).expect("a model");
    let session = Session::new(&ModelWeights::from_artifact(&artifact).expect("weights")).expect("a session");
    let max = session.config().max_positions;
    (session, TOKENS.into_iter().filter(|length| *length <= max).collect())
}

/// Tokens and, if the model has them, types.
fn sequence(session: &Session, length: usize) -> (Vec<i64>, Option<Vec<i64>>) {
    let config = session.config();
    let ids = (0..length).map(|i| ((i * 7919 + 1) % config.vocab_size) as i64).collect();
    (ids, (config.type_vocab_size > 0).then(|| vec![0; length]))
}

fn lengths(criterion: &mut Criterion) {
    let (session, lengths) = session();
    let mut counts = vec![1, Threads::default_count().get()];
    counts.dedup();
    for count in counts {
        let threads = Threads::new(NonZeroUsize::new(count).expect("not 0"), false).expect("threads");
        let session = session.on(threads);
        let mut group = criterion.benchmark_group(format!("model_{}_{count}_threads", gemm::chosen().name));
        group.sample_size(10);
        for &length in &lengths {
            let (ids, types) = sequence(&session, length);
            group.bench_function(BenchmarkId::from_parameter(length), |bencher| {
                bencher.iter(|| session.logits(black_box(&ids), types.as_deref()).expect("logits"));
            });
        }
    }
}

/// Prints the share of every kind of operator in the time of one run on one thread.
fn shares(_: &mut Criterion) {
    let (session, lengths) = session();
    for length in lengths {
        let (ids, types) = sequence(&session, length);
        let mut samples: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
        for _ in 0..PROFILED {
            for (name, time) in session.profile(&ids, types.as_deref()).expect("a profile") {
                samples.entry(name).or_default().push(time);
            }
        }
        let medians: Vec<_> = samples
            .into_iter()
            .map(|(name, mut times)| {
                times.sort();
                (name, times[times.len() / 2].as_secs_f64())
            })
            .collect();
        let all: f64 = medians.iter().map(|(_, time)| time).sum();
        let shares: Vec<_> = medians.iter().map(|(name, time)| format!("{name} {:.1} %", 100.0 * time / all)).collect();
        println!("{length} tokens, {:.2} ms: {}", all * 1e3, shares.join(", "));
    }
}

criterion_group!(benches, lengths, shares);
criterion_main!(benches);
