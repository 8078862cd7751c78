//! Files that do not fit, ask for too much, or are damaged.

use super::super::compile::unpack;
use super::*;
use crate::artifact::ArtifactError;

#[test]
fn files_that_do_not_fit_are_refused() {
    let problem = |change: &dyn Fn(&mut Value)| {
        let mut json = word_piece();
        change(&mut json);
        load(&json).expect_err("refused").to_string()
    };
    assert!(QaTokenizer::from_json(b"", 512).is_err());
    assert!(QaTokenizer::from_json(b"{}", 512).is_err());
    assert!(problem(&|j| j["post_processor"] = Value::Null).contains("no post-processor"));
    assert!(problem(&|j| j["post_processor"]["special_tokens"] = json!({})).contains("does not define"));
    let nested = |j: &mut Value| {
        j["post_processor"]["special_tokens"] = json!({});
        j["post_processor"] = json!({ "type": "Sequence", "processors": [j["post_processor"]] });
    };
    assert!(problem(&nested).contains("does not define"));
    assert!(
        problem(&|j| j["post_processor"]["pair"][0] = json!({ "Sequence": { "id": "B", "type_id": 0 } }))
            .contains("post-processor")
    );
    assert!(
        problem(&|j| j["post_processor"]["pair"] =
            json!([{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }]))
        .contains("in front")
    );
    assert!(problem(&|j| j["post_processor"]["special_tokens"]["[SEP]"]["ids"] = json!([512])).contains("512"));
    assert!(
        problem(&|j| j["model"]["vocab"]["kelp"] = json!(600)).contains("\"kelp\" with id 600, but the model has 512")
    );
    let size = word_piece()["model"]["vocab"].as_object().map_or(0, |vocab| vocab.len());
    let mut json = word_piece();
    json["added_tokens"] = json!([added_token("kelp", size)]);
    let error = QaTokenizer::from_json(json.to_string().as_bytes(), size).unwrap_err();
    assert!(error.to_string().contains("\"kelp\""), "{error}");
    let size_of_unigram = unigram()["model"]["vocab"].as_array().map_or(0, Vec::len);
    for (json, size) in [(word_piece(), size), (unigram(), size_of_unigram)] {
        assert!(QaTokenizer::from_json(json.to_string().as_bytes(), size).is_ok());
        let error = QaTokenizer::from_json(json.to_string().as_bytes(), size - 1).unwrap_err();
        assert!(matches!(error, TokenizerError::Vocabulary { id, .. } if id as usize == size - 1), "{error}");
    }
}

#[test]
fn only_sound_archives_unpack() {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"{\"a\": 1}").expect("memory");
    let packed = gzip.finish().expect("memory");
    assert_eq!(unpack(&packed).expect("sound"), b"{\"a\": 1}");
    for len in 0..packed.len() {
        let error = unpack(&packed[..len]).expect_err("cut off");
        assert!(matches!(error, ArtifactError::Packed { tensor: "tokenizer.json.gz", .. }), "{error}");
    }
    let mut flipped = packed.clone();
    let crc = packed.len() - 8;
    flipped[crc] ^= 1;
    assert!(unpack(&flipped).is_err());
    // Megabytes of zeros in kilobytes.
    let zeros = |len: usize| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&vec![0; len]).expect("memory");
        unpack(&gzip.finish().expect("memory"))
    };
    assert_eq!(zeros(limits::MAX_JSON).expect("as large as may be").len(), 32 << 20);
    let error = zeros(limits::MAX_JSON + 1).expect_err("too large").to_string();
    assert!(error.contains("more than 33554432 bytes when unpacked"), "{error}");
}

/// What the library would take gigabytes or minutes for is refused before it sees it.
#[test]
fn tokenizers_that_ask_for_too_much_are_refused() {
    let replace =
        |part: &str, content: &str| json!({"type": "Replace", "pattern": {"String": part}, "content": content});
    let steps = |step: Value, count: usize| json!({"type": "Sequence", "normalizers": vec![step; count]});
    let metaspace = json!({"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": true});
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let ids = |count: usize| {
        let mut template = template();
        template["special_tokens"]["[CLS]"]["ids"] = json!(vec![2; count]);
        template["special_tokens"]["[CLS]"]["tokens"] = json!(vec!["[CLS]"; count]);
        template
    };
    let model = |extra: Value| {
        let mut model = word_piece()["model"].take();
        model["extra"] = extra;
        model
    };
    let mut random = 1_u32;
    let mut letters = |count: usize| -> String {
        let next = std::iter::from_fn(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some(char::from(b'a' + (random >> 24) as u8 % 26))
        });
        next.take(count).collect()
    };
    let pieces: Vec<Value> = (0..1100).map(|_| json!([letters(1000), -1.0])).collect();
    let tokens = |count: usize, len: usize, normalized: bool| {
        let token = |n| {
            let mut token = added_token(&format!("{n:03}{}", "q".repeat(len - 3)), 5);
            token["normalized"] = json!(normalized);
            token
        };
        Value::Array((0..count).map(token).collect())
    };
    let load_with = |changes: &[(&str, Value)]| {
        let mut json = word_piece();
        changes.iter().for_each(|(part, value)| json[*part] = value.clone());
        load(&json).map(drop)
    };
    let pre_tokenizers = |steps: &[&Value]| json!({"type": "Sequence", "pretokenizers": steps});
    let charsmap = json!({"type": "Precompiled", "precompiled_charsmap": "A".repeat((4 << 20) + 1)});
    let grown = replace("q", "eightfold");
    for (changes, expected) in [
        (vec![("normalizer", charsmap)], "bytes, and 4194304 are"),
        (vec![("normalizer", json!({"type": "NFC", "x": vec![0; 1024]}))], "values, and 1024 are"),
        (vec![("padding", json!(vec![0; 1025]))], "padding has 1025 values, and 1024 are"),
        (vec![("truncation", json!(vec![0; 1025]))], "truncation has 1025 values, and 1024 are"),
        (vec![("decoder", json!(vec![0; 1025]))], "decoder has 1025 values, and 1024 are"),
        (vec![("normalizer", replace("q", &"x".repeat(1025)))], "normalizer has 1025 bytes in one text, and 1024 are"),
        (vec![("normalizer", replace(&"x".repeat(1025), ""))], "normalizer has 1025 bytes in one text, and 1024 are"),
        (vec![("normalizer", json!({"type": "Prepend", "prepend": "x".repeat(1025)}))], "1025 bytes in one text"),
        (vec![("normalizer", steps(json!({"type": "NFC"}), 33))], "normalizer has 33 steps, and 32 are"),
        (vec![("normalizer", steps(replace("x", "y"), 9))], "normalizer has 9 patterns, and 8 are"),
        (
            vec![("pre_tokenizer", pre_tokenizers(&[&bytes, &metaspace, &bytes]))],
            "pre_tokenizer has 3 steps that lengthen a text, and 2 are",
        ),
        (
            vec![("post_processor", ids(63))],
            "post_processor has 65 special tokens around question and context, and 64 are",
        ),
        (vec![("model", model(json!(vec![json!({}); 15])))], "model has 17 objects, and 16 are"),
        (vec![("model", model(json!(vec![0; 1 << 20])))], "values, and 1048576 are"),
        (
            vec![("model", json!({"type": "Unigram", "unk_id": 0, "vocab": pieces}))],
            "nodes in the trie of its vocabulary, and 1048576 are",
        ),
        (vec![("added_tokens", tokens(513, 3, false))], "added_tokens has 513 tokens, and 512 are"),
        (vec![("added_tokens", tokens(1, 4096, false))], "bytes in one token, and 4096 are"),
        (vec![("added_tokens", tokens(300, 3600, false))], "bytes in all, and 1048576 are"),
        (
            vec![("added_tokens", tokens(300, 500, true)), ("normalizer", grown.clone())],
            "bytes in all, and 1048576 are",
        ),
    ] {
        let error = load_with(&changes).expect_err(expected);
        assert!(matches!(error, TokenizerError::Excess { .. }), "{expected}: {error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.to_string().ends_with("convert the model again with a tokenizer.json that has fewer"), "{error}");
    }
    for (part, most) in [
        ("normalizer", replace("q", &"x".repeat(1024))),
        ("normalizer", steps(json!({"type": "NFC"}), 32)),
        ("normalizer", steps(replace("x", "y"), 8)),
        ("pre_tokenizer", pre_tokenizers(&[&metaspace, &bytes])),
        ("post_processor", ids(62)),
        ("added_tokens", tokens(300, 500, true)),
    ] {
        assert!(load_with(&[(part, most)]).is_ok(), "{part}");
    }
    let mut twice = word_piece().to_string();
    twice.insert_str(1, "\"model\": {\"vocab\": [[\"a\", 0]]},");
    let error = QaTokenizer::from_json(twice.as_bytes(), 512).map(drop).expect_err("two models");
    assert!(error.to_string().contains("duplicate field `model`"), "{error}");
}

/// The library asks for the memory that a map's first bytes name, and a process that gets none is ended.
#[test]
fn maps_of_characters_that_are_cut_off_are_refused() {
    let load_with = |map: &str| {
        let mut json = unigram();
        json["normalizer"] =
            json!({"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": map}]});
        load(&json).map(drop)
    };
    // 2^32 - 1 bytes, also without padding, and with some that are there; 512 bytes.
    for map in ["/////w==", "/////w", "/////wAA", &format!("/////w{}", "A".repeat(4000)), "AAIAAA=="] {
        let error = load_with(map).expect_err(map).to_string();
        assert!(error.contains("its normalizer has a map of characters that is cut off"), "{map}: {error}");
    }
    // What has no length is the library's to refuse.
    for map in ["AAA=", "?????w=="] {
        let error = load_with(map).expect_err(map).to_string();
        assert!(!error.contains("cut off"), "{map}: {error}");
    }
}

/// No chain of steps makes gigabytes of a few words, or takes tokens of another text than it made.
#[test]
fn what_a_normalizer_makes_of_a_text_is_bounded() {
    let with = |normalizer: Value| {
        let mut json = word_piece();
        json["normalizer"] = normalizer;
        load(&json)
    };
    let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
    let chain = |step: &Value| json!({"type": "Sequence", "normalizers": [step, step, step]});
    let long = "q".repeat(1000);
    for bad in [
        chain(&replace(json!({"Regex": "."}), &long)),
        chain(&replace(json!({"Regex": ""}), &long)),
        chain(&replace(json!({"String": ""}), &long)),
        chain(&json!({"type": "Prepend", "prepend": long})),
        json!({"type": "Sequence", "normalizers": vec![json!({"type": "ByteLevel"}); 16]}),
    ] {
        let error = with(bad).map(drop).expect_err("refused");
        assert!(matches!(error, TokenizerError::Invalid(_)), "{error}");
        assert!(error.to_string().contains("the normalizer makes more than 520 bytes of 38 bytes of text"), "{error}");
    }
    for pattern in [json!({"String": "q"}), json!({"Regex": "q+?"})] {
        let tokenizer = with(chain(&replace(pattern, &long))).expect("the probe has no such letter");
        assert_eq!(tokenizer.context("the tide").expect("tokens").len(), 2);
        let error = tokenizer.context("the q").expect_err("too long");
        assert!(matches!(error, TokenizerError::Text { what: "context", .. }), "{error}");
        assert!(error.to_string().contains("makes more than 124 bytes of 5 bytes of text"), "{error}");
        assert!(tokenizer.bare_context(&"the tide q".repeat(9000)).is_err());
        assert_eq!(tokenizer.context("the tide").expect("tokens, again").len(), 2);
    }
    // A ligature of 18 letters, by the library and by the map of characters.
    let packed = include_bytes!("../../../tests/fixtures/unigram/tokenizer.json.gz");
    let mapped: Value = serde_json::from_reader(flate2::read::GzDecoder::new(&packed[..])).expect("JSON");
    let mapped = QaTokenizer::from_json(mapped.to_string().as_bytes(), 1 << 16).expect("valid");
    for tokenizer in [&with(json!({"type": "NFKC"})).expect("valid"), &mapped] {
        for (count, fits) in [(1, true), (1000, true), (1_500, true), (1_700, false), (60_000, false)] {
            assert_eq!(tokenizer.context(&"\u{fdfa}".repeat(count)).is_ok(), fits, "{count}");
        }
    }
    let letters = json!({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Prepend", "prepend": "▁"}]});
    assert!(with(letters).expect("valid").context(&"한국어 ".repeat(20_000)).is_ok(), "Hangul in letters");
}

/// Files on which the library panics, while it reads them or when it tokenizes.
#[test]
fn files_that_make_the_library_panic_are_refused() {
    let broken = |key: &str, value: serde_json::Value| {
        let text = include_str!("../../../tests/fixtures/exports/tokenizer.json");
        let mut json: serde_json::Value = serde_json::from_str(text).expect("JSON");
        json[key] = value;
        let error = QaTokenizer::from_json(json.to_string().as_bytes(), 101).map(drop).expect_err(key);
        assert!(matches!(error, TokenizerError::Invalid(_)), "{key}: {error}");
    };
    broken("pre_tokenizer", serde_json::json!({"type": "FixedLength", "length": 0}));
    for charsmap in ["", "AAAA", "/////wAA", "BAAAAAAAAAD/"] {
        broken("normalizer", serde_json::json!({"type": "Precompiled", "precompiled_charsmap": charsmap}));
    }
    let text = include_str!("../../../tests/fixtures/exports/tokenizer.json");
    let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let twice = [json["post_processor"].clone(), json["post_processor"].clone()];
    broken("post_processor", serde_json::json!({"type": "Sequence", "processors": twice}));
}

/// The mapped models on damaged bytes, called directly: [`call`] would hide a panic.
#[test]
fn damaged_vocabularies_give_tokens_or_errors() {
    use super::unigram::{Scores, Unigram, UnigramSpec};
    use super::word_piece::{WordPiece, WordPieceSpec};
    use crate::artifact::schema::TRIE;
    let words = ["the", "thé", "keepers", "▁the▁keeper", "灯台守", "aaaaaaaaaa", "é", "##house", "[UNK]"];
    let mut numbers = crate::eval::Random(1);
    let mut random = |bound| numbers.index(bound);
    let (mut good, mut bad) = (0, 0);
    for (json, is_unigram) in [(unigram(), true), (word_piece(), false)] {
        let sound =
            compile(json.to_string().as_bytes()).expect("valid").expect("compiles").remove(TRIE).expect("a trie");
        for _ in 0..20_000 {
            let mut trie = sound.clone();
            for _ in 0..=random(4) {
                let at = random(trie.len());
                trie[at] = random(256) as u8;
            }
            let results: Vec<_> = if is_unigram {
                let scores = (0..39).map(|n| if random(50) == 0 { f32::NAN } else { n as f32 }).collect::<Vec<_>>();
                let spec = UnigramSpec {
                    size: 39,
                    longest: 12,
                    unk_id: Some(1),
                    min_score: -9.0,
                    byte_fallback: random(2) == 0,
                };
                let Ok(model) = Unigram::new(spec, trie.into(), Scores::F32(scores.into())) else { continue };
                words.map(|word| model.tokenize(word)).into()
            } else {
                let spec = WordPieceSpec {
                    size: 67,
                    longest: 12,
                    unk_token: "[UNK]".into(),
                    continuing_subword_prefix: "##".into(),
                    max_input_chars_per_word: 8,
                };
                let Ok(model) = WordPiece::new(spec, trie.into(), 67) else { continue };
                words.map(|word| model.tokenize(word)).into()
            };
            for result in results {
                match result {
                    Ok(tokens) => {
                        good += 1;
                        assert!(tokens.iter().all(|token| token.id < if is_unigram { 39 } else { 67 }));
                    }
                    Err(_) => bad += 1,
                }
            }
        }
    }
    assert!(good > 100_000 && bad > 1000, "{good} {bad}");
}
