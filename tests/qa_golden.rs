//! Windows and decoding against Python: `tests/golden/qa.json`, written by `tests/tools/qa_golden.py`.

use std::fs;
use std::path::Path;

use edgeqa::qa::decode::Decoder;
use edgeqa::tokenizer::QaTokenizer;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    tokenizer: String,
    vocab_size: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    question: String,
    context: String,
    max_seq_len: usize,
    stride: usize,
    max_answer_len: usize,
    seed: u64,
    windows: Vec<Window>,
    n_best: Vec<Entry>,
    null_score: f32,
    null_odds: Option<f32>,
    answer: String,
}

#[derive(Deserialize)]
struct Window {
    ids: Vec<i64>,
    type_ids: Vec<i64>,
    context_from: usize,
    context_chars: Vec<(usize, usize)>,
}

#[derive(Deserialize)]
struct Entry {
    chars: Option<(usize, usize)>,
    score: f32,
    probability: f32,
}

/// The numbers of the Python program that made the golden file.
struct Logits(u64);

impl Logits {
    fn take(&mut self, count: usize) -> Vec<f32> {
        let next = |_| {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((self.0 >> 33) % 16001) as f32 / 1000.0 - 8.0
        };
        (0..count).map(next).collect()
    }
}

/// The character index of byte `offset`.
fn to_chars(text: &str, offset: usize) -> usize {
    text[..offset].chars().count()
}

#[test]
fn windows_and_answers_equal_python() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = std::env::var_os("EDGEQA_QA_GOLDEN").map_or(root.join("tests/golden/qa.json"), Into::into);
    let golden: Golden = serde_json::from_slice(&fs::read(file).expect("golden file")).expect("golden JSON");
    let json = fs::read(root.join(&golden.tokenizer)).expect("tokenizer file");
    let tokenizer = QaTokenizer::from_json(&json, golden.vocab_size).expect("valid tokenizer");
    assert!(golden.cases.len() > 10);
    for case in &golden.cases {
        check(&tokenizer, case);
    }
}

fn check(tokenizer: &QaTokenizer, case: &Case) {
    let text = &case.context;
    let (question, context) = (tokenizer.question(&case.question).unwrap(), tokenizer.context(text).unwrap());
    let windows = tokenizer.windows(&question, &context, case.max_seq_len, case.stride).expect("there is room");
    assert_eq!(windows.len(), case.windows.len(), "{}", case.question);
    let mut decoder = Decoder::new(case.max_answer_len);
    let mut logits = Logits(case.seed);
    for (window, expected) in windows.iter().map(|w| w.expect("a window")).zip(&case.windows) {
        assert_eq!(window.ids, expected.ids, "{}", case.question);
        assert_eq!(window.type_ids, expected.type_ids, "{}", case.question);
        let context_from = window.offsets.iter().position(Option::is_some);
        assert_eq!(context_from, Some(expected.context_from), "{}", case.question);
        let offsets = window.offsets.iter().flatten();
        let chars: Vec<_> = offsets.map(|&(start, end)| (to_chars(text, start), to_chars(text, end))).collect();
        assert_eq!(chars, expected.context_chars, "{}", case.question);
        let (start, end) = (logits.take(window.ids.len()), logits.take(window.ids.len()));
        decoder.push(&start, &end, &window.offsets);
    }

    let decoded = decoder.finish(text);
    assert_eq!(decoded.n_best.len(), case.n_best.len(), "{}", case.question);
    for (entry, expected) in decoded.n_best.iter().zip(&case.n_best) {
        let chars = entry.span.map(|_| (to_chars(text, entry.bytes.start), to_chars(text, entry.bytes.end)));
        assert_eq!((chars, entry.score), (expected.chars, expected.score), "{}", case.question);
        assert!((entry.probability - expected.probability).abs() < 1e-6, "{}", case.question);
    }
    assert_eq!(decoded.null_score, case.null_score, "{}", case.question);
    assert_eq!(decoded.null_odds, case.null_odds, "{}", case.question);
    let answer = decoded.answer(0.0).map_or("", |best| &text[best.bytes.clone()]);
    assert_eq!(answer, case.answer, "{}", case.question);
}
