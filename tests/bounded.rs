//! Memory does not grow with the number of questions. One test per run of this program, so that nothing else is measured.

#[path = "common/skip.rs"]
mod skip;

use std::path::{Path, PathBuf};

use edgeqa::eval::Random;
use edgeqa::memory::{Usage, usage};
use edgeqa::qa::{AskOptions, Reader};
use skip::skipped;

/// What private memory may grow by: the allocator's splinters.
const SLACK: u64 = 512 << 10;

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo")
}

/// Asks `count` questions about texts of 1 to 400 words, drawn from all texts that are shipped and from made-up words.
fn ask(reader: &Reader, random: &mut Random, count: usize) {
    let words: Vec<String> = ["lighthouse", "bees", "locomotive"]
        .iter()
        .map(|name| std::fs::read_to_string(demo().join(format!("texts/{name}.txt"))).expect("a text"))
        .flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    for _ in 0..count {
        let length = 1 + random.index(400) * random.index(400) / 400;
        let text: Vec<String> = (0..length)
            .map(|_| match random.index(4) {
                // Letters of several alphabets, so that all of the vocabulary comes up.
                0 => (0..1 + random.index(9))
                    .filter_map(|_| {
                        char::from_u32([0x61, 0x430, 0x3b1, 0x4e00][random.index(4)] + random.index(26) as u32)
                    })
                    .collect(),
                _ => words[random.index(words.len())].clone(),
            })
            .collect();
        let question =
            format!("{} {}?", ["Who", "When was", "How many"][random.index(3)], words[random.index(words.len())]);
        reader.ask(&question, &text.join(" "), &AskOptions::default()).expect("an answer");
    }
}

/// Asks `first` questions and then `rest`, and compares.
fn check(name: &str, first: usize, rest: usize) {
    if usage().is_none() {
        skipped(format!("{name}: no /proc/self/smaps_rollup"));
        return;
    }
    let usage = || usage().expect("as before");
    // As the program does. The threads of this test are not the first, so a heap of their own may be there already.
    edgeqa::memory::keep_little();
    let reader = Reader::open(&demo().join("model.safetensors")).expect("the demo model");
    let mut random = Random(1);
    // The longest window there is, for buffers of full size.
    let long = std::fs::read_to_string(demo().join("texts/lighthouse.txt")).expect("a text").repeat(4);
    reader.ask("Who was the last keeper?", &long, &AskOptions::default()).expect("an answer");
    ask(&reader, &mut random, first);
    let before = usage();
    ask(&reader, &mut random, rest);
    let after = usage();
    println!("after {first} questions {before:?}");
    println!("after {rest} more      {after:?}");
    assert!(after.anonymous <= before.anonymous + SLACK, "private memory grows: {before:?} {after:?}");
    // Pages of the file come and go, so that at no time more of them are mapped than a few questions touch.
    let files = |usage: &Usage| usage.resident - usage.anonymous;
    assert!(files(&after) <= files(&before) + (8 << 20), "mapped pages grow: {before:?} {after:?}");
}

#[test]
fn memory_does_not_grow_with_questions() {
    check("memory_does_not_grow_with_questions", 100, 150);
}

/// The whole of it: `cargo test --test bounded -- --ignored --nocapture --test-threads 1`.
#[test]
#[ignore = "takes minutes"]
fn memory_does_not_grow_with_10_000_questions() {
    check("memory_does_not_grow_with_10_000_questions", 100, 10_000);
}

/// A text of 1 MB costs memory while it is used, and a second one no more than the first.
#[test]
#[ignore = "takes minutes"]
fn a_text_of_1_mb_costs_no_more_the_second_time() {
    let Some(start) = usage() else {
        skipped("a_text_of_1_mb_costs_no_more_the_second_time: no /proc/self/smaps_rollup");
        return;
    };
    let usage = || usage().expect("as before");
    // As the program does. The threads of this test are not the first, so a heap of their own may be there already.
    edgeqa::memory::keep_little();
    let reader = Reader::open(&demo().join("model.safetensors")).expect("the demo model");
    let text = std::fs::read_to_string(demo().join("texts/lighthouse.txt")).expect("a text");
    let text = text.repeat((1 << 20) / text.len() + 1);
    println!("at first {start:?}");
    let mut after = Vec::new();
    for round in 0..3 {
        let context = reader.context(text.as_str()).expect("tokens");
        // The text, ids and offsets; not what tokenizing took.
        if cfg!(all(target_os = "linux", target_env = "gnu")) {
            assert!(usage().anonymous < start.anonymous + (32 << 20), "{start:?} {:?}", usage());
        }
        println!("round {round}, tokens made {:?}, peak {:?}", usage(), edgeqa::memory::peak());
        let answer = reader.ask_in(&context, "Who was the last keeper?", &AskOptions::default()).expect("an answer");
        assert!(answer.windows > 100);
        drop(context);
        after.push(usage());
        println!("round {round}, answered {:?}, peak {:?}", usage(), edgeqa::memory::peak());
    }
    assert!(after[1..].iter().all(|later| later.anonymous <= after[0].anonymous + SLACK), "{after:?}");
}
