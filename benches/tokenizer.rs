//! The compiled tokenizer beside the tokenizers library with the same `tokenizer.json`, in one run: time and private
//! memory to load, throughput on texts.
//!
//! `EDGEQA_BENCH_TOKENIZER` names a `tokenizer.json`; without it, a small Unigram one and, where it is at hand, the
//! shipped model's are measured. Loading is measured in a process of its own each time, the first in it; throughput is
//! that of rounds in which both take turns.

#[path = "../tests/common/mod.rs"]
mod common;

use std::env;
use std::fs;
use std::hint::black_box;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use edgeqa::artifact::Artifact;
use edgeqa::tokenizer::QaTokenizer;
use tokenizers::Tokenizer;

/// Says to a process that it is one to measure loading in, and what to load: `library` or `compiled`.
const CHILD: &str = "EDGEQA_BENCH_CHILD";
const LOADS: usize = 9;
const ROUNDS: usize = 15;
const TEXTS: [&str; 3] = [
    include_str!("../models/demo/texts/bees.txt"),
    include_str!("../models/demo/texts/lighthouse.txt"),
    include_str!("../models/demo/texts/locomotive.txt"),
];
const QUESTION: &str = "How far out at sea could the light of the old lighthouse be seen on a clear night?";

fn main() {
    if let Ok(what) = env::var(CHILD) {
        return load(&what, Path::new(&env::args().nth(1).expect("a file")));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let jsons: Vec<(String, Vec<u8>)> = match env::var_os("EDGEQA_BENCH_TOKENIZER").map(PathBuf::from) {
        Some(path) => vec![(path.display().to_string(), fs::read(&path).expect("the tokenizer.json"))],
        None => {
            let packed = fs::read(root.join("tests/fixtures/unigram/tokenizer.json.gz")).expect("the fixture");
            let mut small = Vec::new();
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut small).expect("gzip");
            let demo = fs::read(root.join("../shared/demo/tokenizer.json"));
            let demo = demo.map(|json| ("WordPiece of the shipped model".to_owned(), json));
            [("small Unigram".to_owned(), small)].into_iter().chain(demo).collect()
        }
    };
    let texts = texts(root);
    for (name, json) in &jsons {
        compare(name, json, &texts);
    }
}

/// SQuAD's texts, or those that ship with the demo model.
fn texts(root: &Path) -> Vec<String> {
    let squad = ["../shared/squad2/dev-10-articles.json", "models/demo/squad.json"].map(|path| root.join(path));
    let squad = squad.iter().find_map(|path| fs::read(path).ok()).expect("the shipped questions");
    let squad: serde_json::Value = serde_json::from_slice(&squad).expect("JSON");
    let paragraphs =
        squad["data"].as_array().expect("articles").iter().flat_map(|a| a["paragraphs"].as_array().expect("a list"));
    paragraphs.filter_map(|paragraph| paragraph["context"].as_str().map(str::to_owned)).collect()
}

fn compare(name: &str, json: &[u8], texts: &[String]) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let library = Tokenizer::from_bytes(json).expect("a tokenizer");
    let artifact = common::open_with_tokenizer(folder.path(), json, library.get_vocab_size(true));
    let compiled = QaTokenizer::from_artifact(&artifact).expect("a tokenizer");
    println!("{name}: {} tokens, tokenizer.json of {} bytes", library.get_vocab_size(true), json.len());
    for (tensor, info) in artifact.tensors().iter().filter(|(name, _)| name.starts_with("tokenizer.")) {
        println!("  {tensor:<28}{:>10} bytes", info.bytes.len());
    }
    let path = folder.path().join("tokenizer.json");
    fs::write(&path, json).expect("write");
    for (what, path) in [("library", &path), ("compiled", &folder.path().join("tokenizer.safetensors"))] {
        let mut loads: Vec<[f64; 3]> = (0..LOADS).map(|_| in_child(what, path)).collect();
        let mut median = |figure: usize| {
            loads.sort_by(|a, b| a[figure].total_cmp(&b[figure]));
            loads[LOADS / 2][figure]
        };
        let (load, private, used) = (median(0), median(1), median(2));
        println!("  load {what:<10}{load:>10.3} ms, private {private:>8.0} kB, after 60 texts {used:>8.0} kB");
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    let run_library = || texts.iter().map(|text| library.encode(text.as_str(), false).expect("tokens").len()).sum();
    let run_compiled = || texts.iter().map(|text| compiled.context(text).expect("tokens").len()).sum();
    turns("texts", bytes, run_library, run_compiled);
    let ask_library = || (0..1000).map(|_| library.encode(black_box(QUESTION), false).expect("tokens").len()).sum();
    let ask_compiled = || (0..1000).map(|_| compiled.question(black_box(QUESTION)).expect("tokens").len()).sum();
    turns("one question", 1000 * QUESTION.len(), ask_library, ask_compiled);
}

/// Lets both run in turn and prints the medians.
fn turns(what: &str, bytes: usize, library: impl Fn() -> usize, compiled: impl Fn() -> usize) {
    let time = |run: &dyn Fn() -> usize| {
        let start = Instant::now();
        (black_box(run()), start.elapsed().as_secs_f64())
    };
    assert_eq!(library(), compiled(), "both make the same tokens");
    let mut rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (time(&library).1, time(&compiled).1)).collect();
    let rate = |seconds: f64| bytes as f64 / seconds / 1e6;
    let fastest = |side: fn(&(f64, f64)) -> f64| rounds.iter().map(side).fold(f64::INFINITY, f64::min);
    let (library, compiled) = (fastest(|round| round.0), fastest(|round| round.1));
    rounds.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let median = rounds[ROUNDS / 2];
    println!(
        "  {what}: library {:.2} MB/s, compiled {:.2} MB/s in the fastest rounds, ratio {:.2}; median of ratios {:.2}",
        rate(library),
        rate(compiled),
        library / compiled,
        median.0 / median.1,
    );
}

/// Milliseconds, kilobytes after loading and kilobytes after some texts, of a fresh process.
fn in_child(what: &str, path: &Path) -> [f64; 3] {
    let program = env::current_exe().expect("this program");
    let output = Command::new(program).arg(path).env(CHILD, what).output().expect("runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut figures = text.split_whitespace().map(|figure| figure.parse().expect("a number"));
    [(); 3].map(|()| figures.next().expect("three figures"))
}

fn load(what: &str, path: &Path) {
    let artifact = (what == "compiled").then(|| Artifact::open(path).expect("opens"));
    let before = private();
    let start = Instant::now();
    let count: Box<dyn Fn(&str) -> usize> = match &artifact {
        Some(artifact) => {
            let tokenizer = QaTokenizer::from_artifact(artifact).expect("a tokenizer");
            Box::new(move |text| tokenizer.context(text).expect("tokens").len())
        }
        None => {
            let tokenizer = Tokenizer::from_file(path).expect("a tokenizer");
            Box::new(move |text| tokenizer.encode(text, false).expect("tokens").len())
        }
    };
    let time = start.elapsed().as_secs_f64() * 1e3;
    let loaded = private();
    (0..20).flat_map(|_| TEXTS).for_each(|text| assert!(black_box(count(text)) > 0));
    println!("{time} {} {}", loaded - before, private() - before);
}

/// Memory of this process that no file holds, in kilobytes; 0 where the system does not tell.
fn private() -> f64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    line.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}
