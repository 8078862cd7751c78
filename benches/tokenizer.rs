//! The shipped model's tokenizer: loading it, a context of some 10 kB, and a question. A byte is a byte of `tokenizer.json` or of
//! the text.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use edgeqa::artifact::Artifact;
use edgeqa::tokenizer::QaTokenizer;

const TEXTS: [&str; 3] = [
    include_str!("../models/demo/texts/bees.txt"),
    include_str!("../models/demo/texts/lighthouse.txt"),
    include_str!("../models/demo/texts/locomotive.txt"),
];
const CONTEXT_BYTES: usize = 10_000;
const QUESTION: &str = "How far out at sea could the light of the old lighthouse be seen on a clear night?";

fn demo_tokenizer(criterion: &mut Criterion) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/model.safetensors");
    let artifact = Artifact::open(&path).expect("the shipped model");
    let mut group = criterion.benchmark_group("tokenizer_demo");

    let json = QaTokenizer::json(&artifact).expect("its tokenizer");
    group.sample_size(10).throughput(Throughput::Bytes(json.len() as u64));
    group.bench_function("load", |bencher| bencher.iter(|| QaTokenizer::from_artifact(black_box(&artifact))));

    let tokenizer = QaTokenizer::from_artifact(&artifact).expect("its tokenizer");
    let texts = TEXTS.join("\n");
    let context = [texts.as_str()].repeat(CONTEXT_BYTES.div_ceil(texts.len())).join("\n");
    group.sample_size(50).throughput(Throughput::Bytes(context.len() as u64));
    group.bench_function("context", |bencher| bencher.iter(|| tokenizer.context(black_box(&context))));
    group.throughput(Throughput::Bytes(QUESTION.len() as u64));
    group.bench_function("question", |bencher| bencher.iter(|| tokenizer.question(black_box(QUESTION))));
}

criterion_group!(benches, demo_tokenizer);
criterion_main!(benches);
