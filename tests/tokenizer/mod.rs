//! Compiled vocabularies against the tokenizers library with the `tokenizer.json` that they were made of.

mod damage;
mod oracle;
mod texts;

use std::io::Read;
use std::path::{Path, PathBuf};

use edgeqa::tokenizer::QaTokenizer;
use oracle::Pair;

use crate::common;
use crate::common::skip::skipped;

/// A small Unigram tokenizer with the pipeline of DeBERTa-v3.
fn unigram() -> Vec<u8> {
    let packed = include_bytes!("../fixtures/unigram/tokenizer.json.gz");
    let mut json = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut json).expect("gzip");
    json
}

fn shared(path: &str) -> Option<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    std::fs::read(&path).ok()
}

/// The `tokenizer.json` of the shipped model: 30,522 pieces of WordPiece.
fn demo() -> Option<Vec<u8>> {
    shared("demo/tokenizer.json")
}

/// Every question and every line of every text.
fn squad() -> Option<Vec<String>> {
    let squad: serde_json::Value = serde_json::from_slice(&shared("squad2/dev-10-articles.json")?).expect("JSON");
    let articles = squad["data"].as_array().expect("articles");
    let paragraphs = articles.iter().flat_map(|article| article["paragraphs"].as_array().expect("paragraphs"));
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let mut all = Vec::new();
    for paragraph in paragraphs {
        all.push(text(&paragraph["context"]));
        all.extend(all.last().expect("the context").clone().lines().map(str::to_owned));
        all.extend(paragraph["qas"].as_array().expect("questions").iter().map(|question| text(&question["question"])));
    }
    Some(all)
}

#[test]
fn unigram_equals_the_library_on_generated_texts() {
    let pair = Pair::new(&unigram());
    pair.compare(texts::generate(1, 12_000, &pair.pieces()));
}

#[test]
fn word_piece_equals_the_library_on_generated_texts() {
    let pair = Pair::new(common::TOKENIZER);
    pair.compare(texts::generate(2, 6_000, &pair.pieces()));
    let Some(json) = demo() else {
        skipped("the shipped model's vocabulary on generated texts: no ../shared/demo/tokenizer.json");
        return;
    };
    let pair = Pair::new(&json);
    pair.compare(texts::generate(3, 12_000, &pair.pieces()));
}

#[test]
fn all_equal_the_library_on_squad() {
    let (Some(json), Some(squad)) = (demo(), squad()) else {
        skipped("vocabularies on SQuAD: no ../shared/squad2 or no ../shared/demo/tokenizer.json");
        return;
    };
    assert!(squad.len() > 4000, "{} texts", squad.len());
    for json in [&json, &unigram()] {
        let pair = Pair::new(json);
        pair.compare(squad.iter().cloned());
        for gap in [" ", "\n\n"] {
            pair.compare_long(&squad.join(gap));
        }
    }
}

/// They are not seen by whoever copies a text, and would shift every answer.
#[test]
fn characters_that_are_removed_from_the_beginning_count_in_offsets() {
    let (json, words) = (unigram(), "the keeper was out of the light.");
    let folder = tempfile::tempdir().expect("temporary folder");
    let artifact = common::open_with_tokenizer(folder.path(), &json, 1000);
    let mapped = QaTokenizer::from_artifact(&artifact).expect("a tokenizer");
    let read = QaTokenizer::from_json(&json, 1000).expect("a tokenizer");
    for tokenizer in [&mapped, &read] {
        let plain = tokenizer.context(words).expect("tokens");
        for first in ["\u{1}", "\u{7f}", "\u{1}\u{7f}\u{1f}", " \u{1}", "\u{9f}\u{8f}"] {
            let tokens = tokenizer.context(&format!("{first}{words}")).expect("tokens");
            let moved = plain.offsets().iter().map(|(start, end)| (start + first.len(), end + first.len()));
            assert_eq!(tokens.ids(), plain.ids());
            assert_eq!(tokens.offsets(), moved.collect::<Vec<_>>(), "{first:?}");
        }
        // Each part between special tokens has a beginning of its own.
        let text = format!("\u{1}{words}[SEP]\u{7f}{words}");
        let tokens = tokenizer.context(&text).expect("tokens");
        for (piece, &(start, end)) in tokens.pieces().iter().zip(tokens.offsets()) {
            assert_eq!(text[start..end].trim_start(), piece.trim_start_matches('▁'), "{start}..{end}");
        }
        let long = format!("\u{1}{}", "the keeper was out of the light ".repeat(2_000));
        let (bare, whole) = (tokenizer.bare_context(&long).expect("tokens"), tokenizer.context(&long).expect("tokens"));
        assert!(bare.ids() == whole.ids() && bare.offsets() == whole.offsets());
        assert_eq!(long[whole.offsets()[0].0..].find("the"), Some(0));
    }
}

/// Words beside all that is hard, so that some pieces can be cut and others must grow.
#[test]
fn long_texts_equal_the_library() {
    for json in [unigram(), common::TOKENIZER.to_vec()] {
        let pair = Pair::new(&json);
        for (seed, every) in [(11, 1), (12, 5), (13, 50)] {
            let texts: Vec<String> = texts::generate(seed, 2_000, &pair.pieces()).collect();
            let long = texts.iter().enumerate().fold(String::new(), |mut long, (n, text)| {
                if n % every == 0 {
                    long.push_str(" the keeper of the lighthouse saw that the tide was high and the night was long");
                }
                long.extend([" ", text.as_str()]);
                long
            });
            pair.compare_long(&long);
        }
    }
}

/// The long run, with a vocabulary of 128,000 pieces that tests/tools/make_unigram.py has trained, and the shipped model's:
///
/// EDGEQA_TOKENIZER=tokenizer.json EDGEQA_TEXTS=100000 cargo test -p edgeqa --test suite tokenizer:: -- --ignored --nocapture
///
/// EDGEQA_SEED makes other texts.
#[test]
#[ignore = "takes minutes, and needs a tokenizer.json"]
fn long_run() {
    let number = |name: &str, default| std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"));
    let count = number("EDGEQA_TEXTS", 100_000) as usize;
    let named = std::env::var_os("EDGEQA_TOKENIZER").map(PathBuf::from);
    let named = named.map(|path| std::fs::read(path).expect("the file that EDGEQA_TOKENIZER names"));
    for json in [named, demo()].into_iter().flatten() {
        let pair = Pair::new(&json);
        match squad() {
            Some(texts) => pair.compare(texts),
            None => skipped("long_run: no texts of SQuAD beside the project"),
        }
        pair.compare(texts::generate(number("EDGEQA_SEED", 7), count, &pair.pieces()));
    }
}
