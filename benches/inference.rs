//! Runs a model some times on one sequence of tokens, on one thread, and does nothing else, for programs that count instructions: what
//! one more run costs is what an inference costs. Prints the kernel.
//!
//! usage: inference MODEL TOKENS RUNS

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::Path;

use edgeqa::artifact::Artifact;
use edgeqa::kernels::gemm;
use edgeqa::model::{ModelWeights, Session};
use edgeqa::threads::Threads;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<usize> = arguments.iter().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let ([model, ..], [tokens, runs]) = (&arguments[..], &numbers[..]) else {
        // `cargo bench` and `cargo test` run every bench with arguments of their own.
        println!("usage: inference MODEL TOKENS RUNS");
        return;
    };
    let artifact = Artifact::open(Path::new(model)).expect("a model");
    let session = Session::new(&ModelWeights::from_artifact(&artifact).expect("weights")).expect("a session");
    let session = session.on(Threads::new(NonZeroUsize::MIN, false).expect("a thread"));
    let config = session.config();
    let ids: Vec<i64> = (0..*tokens).map(|i| ((i * 7919 + 1) % config.vocab_size) as i64).collect();
    let types = (config.type_vocab_size > 0).then(|| vec![0; *tokens]);
    for _ in 0..*runs {
        black_box(session.logits(black_box(&ids), types.as_deref()).expect("logits"));
    }
    println!("{}", gemm::chosen().name);
}
