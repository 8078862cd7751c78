//! Windows against the library's own truncation, and what is refused.

use serde_json::{Value, json};
use tokenizers::{Tokenizer, TruncationParams, TruncationStrategy};

use super::compile::unpack;
use super::*;
use crate::artifact::ArtifactError;

/// A lower-casing WordPiece tokenizer over a few words and all letters.
fn word_piece() -> Value {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];
    let words = ["the", "tide", "light", "##house", "keeper", "was", ".", "?", ",", "☕", "é"];
    let letters: Vec<String> = ('a'..='z').flat_map(|c| [c.to_string(), format!("##{c}")]).collect();
    let all = special.iter().chain(&words).map(|w| w.to_string()).chain(letters);
    let vocab: serde_json::Map<String, Value> = all.zip(0..).map(|(word, id)| (word, json!(id))).collect();
    let added: Vec<Value> = special.iter().zip(0..).map(|(content, id)| added_token(content, id)).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                        "strip_accents": false, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": template(),
        "decoder": null,
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                   "max_input_chars_per_word": 100, "vocab": vocab },
    })
}

fn added_token(content: &str, id: usize) -> Value {
    json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true })
}

fn template() -> Value {
    let special = |id: &str, type_id: u32| json!({ "SpecialToken": { "id": id, "type_id": type_id } });
    let sequence = |id: &str, type_id: u32| json!({ "Sequence": { "id": id, "type_id": type_id } });
    let (cls, sep) = (special("[CLS]", 0), special("[SEP]", 0));
    json!({
        "type": "TemplateProcessing",
        "single": [cls, sequence("A", 0), sep],
        "pair": [cls, sequence("A", 0), sep, sequence("B", 1), special("[SEP]", 1)],
        "special_tokens": { "[CLS]": { "id": "[CLS]", "ids": [2], "tokens": ["[CLS]"] },
                            "[SEP]": { "id": "[SEP]", "ids": [3], "tokens": ["[SEP]"] } },
    })
}

/// Bytes as tokens, as in GPT-2 and RoBERTa; its post-processor trims the space before a word from the offsets.
fn byte_level(post_processor: Value) -> Value {
    let mut vocab: serde_json::Map<String, Value> =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].iter().zip(0..).map(|(word, id)| (word.to_string(), json!(id))).collect();
    let mut alphabet: Vec<char> = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    vocab.extend(alphabet.iter().zip(4..).map(|(c, id)| (c.to_string(), json!(id))));
    for (pair, id) in [("Ġt", 300), ("Ġthe", 301), ("he", 302)] {
        vocab.insert(pair.into(), json!(id));
    }
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "post_processor": post_processor,
        "decoder": null,
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                   "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                   "vocab": vocab, "merges": ["Ġ t", "h e", "Ġt he"] },
    })
}

/// Words with their leading space, as in SentencePiece models such as DeBERTa-v3's.
fn unigram() -> Value {
    let mut pieces = vec![json!(["[PAD]", 0.0]), json!(["[UNK]", -9.0]), json!(["[CLS]", 0.0]), json!(["[SEP]", 0.0])];
    pieces.extend(["▁the", "▁tide", "▁light", "house", "▁keeper", "▁", "s", ".", "?"].map(|p| json!([p, -2.0])));
    pieces.extend(('a'..='z').filter(|&c| c != 's').map(|c| json!([c.to_string(), -5.0])));
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true },
        "post_processor": template(),
        "decoder": null,
        "model": { "type": "Unigram", "unk_id": 1, "vocab": pieces, "byte_fallback": false },
    })
}

fn load(json: &Value) -> Result<QaTokenizer, TokenizerError> {
    QaTokenizer::from_json(json.to_string().as_bytes(), 512)
}

const QUESTION: &str = "Who was the keeper?";

fn contexts() -> Vec<String> {
    let line = "The lighthouse keeper was tired, the tides were not. ";
    vec![
        "Tide.".into(),
        "  \n\tleading and   trailing space   ".into(),
        line.into(),
        line.repeat(3),
        line.repeat(12),
        "Le café ☕ était fermé — 灯台守は眠い 👩‍🚀🏳️‍🌈, e\u{301}tude.\u{feff}\r\n".repeat(4),
        "[SEP] in the text [CLS] the [UNK]".repeat(3),
        "a".repeat(300),
    ]
}

/// What the library makes when it truncates by itself.
fn library_windows(json: &Value, question: &str, context: &str, max_length: usize, stride: usize) -> Vec<Encoding> {
    let mut tokenizer = Tokenizer::from_bytes(json.to_string()).expect("valid");
    let processor = tokenizer.get_post_processor().cloned();
    tokenizer.with_post_processor(None::<PostProcessorWrapper>);
    let encode = |text, type_id| {
        let mut encoding = tokenizer.encode(text, false).expect("encodes");
        encoding.set_type_ids(vec![type_id; encoding.len()]);
        encoding
    };
    let (question, context) = (encode(question, 0), encode(context, 1));
    tokenizer.with_post_processor(processor);
    let strategy = TruncationStrategy::OnlySecond;
    let params = TruncationParams { max_length, stride, strategy, ..Default::default() };
    tokenizer.with_truncation(Some(params)).expect("valid truncation");
    let mut first = tokenizer.post_process(question, Some(context), true).expect("processes");
    let rest = first.take_overflowing();
    std::iter::once(first).chain(rest).collect()
}

#[test]
fn windows_equal_those_of_the_library() {
    let roberta = json!({ "type": "RobertaProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2],
                          "trim_offsets": true, "add_prefix_space": true });
    let bert = json!({ "type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2] });
    let trim = json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true });
    let sequence = json!({ "type": "Sequence", "processors": [trim, template()] });
    let mut bert_word_piece = word_piece();
    bert_word_piece["post_processor"] = bert;
    let files = [word_piece(), bert_word_piece, unigram(), byte_level(roberta), byte_level(sequence)];
    let mut most = 0;
    for (n, json) in files.iter().enumerate() {
        let tokenizer = load(json).expect("valid");
        let question = tokenizer.question(QUESTION).expect("not empty");
        for text in contexts() {
            let context = tokenizer.context(&text).expect("not empty");
            for (max_length, stride) in [(40, 0), (40, 5), (41, 7), (48, 10), (100, 0), (100, 50), (384, 128)] {
                let expected: Vec<Window> = library_windows(json, QUESTION, &text, max_length, stride)
                    .iter()
                    .map(Window::from_encoding)
                    .collect();
                let windows = tokenizer.windows(&question, &context, max_length, stride).expect("there is room");
                let found: Vec<Window> = windows.iter().collect::<Result<_, _>>().expect("all windows");
                let compact = tokenizer.bare_context(&text).expect("not empty");
                let compact = tokenizer.windows(&question, &compact, max_length, stride).expect("there is room");
                assert!(compact.iter().map(|window| window.expect("a window")).eq(found.iter().cloned()));
                assert_eq!(found, expected, "tokenizer {n}, {max_length}/{stride}, {text:?}");
                assert_eq!(windows.len(), expected.len());
                most = most.max(expected.len());
            }
        }
    }
    assert!(most > 40, "the texts are long enough to need many windows: {most}");
}

#[test]
fn one_window_by_hand() {
    let tokenizer = load(&word_piece()).expect("valid");
    let (question, context) =
        (tokenizer.question("The tide?").unwrap(), tokenizer.context(" Café, lighthouse").unwrap());
    let windows = tokenizer.windows(&question, &context, 384, 128).expect("there is room");
    assert_eq!(windows.len(), 1);
    let window = windows.get(0).expect("the only one");
    let id = |token: &str| i64::from(tokenizer.tokenizer.token_to_id(token).expect("in the vocabulary"));
    let tokens = ["[CLS]", "the", "tide", "?", "[SEP]", "[UNK]", ",", "light", "##house", "[SEP]"];
    assert_eq!(window.ids, tokens.map(id));
    assert_eq!(window.type_ids, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
    let none = [None; 5].into_iter();
    let spans = [Some((1, 6)), Some((6, 7)), Some((8, 13)), Some((13, 18)), None];
    assert_eq!(window.offsets, none.chain(spans).collect::<Vec<_>>());
    assert!(windows.get(1).is_err());
}

#[test]
fn the_last_window_starts_where_the_text_begins_to_not_fit() {
    let tokenizer = load(&word_piece()).expect("valid");
    let question = tokenizer.question("the").unwrap();
    // 4 + room tokens per window; a step of room - stride.
    for (tokens, room, stride, expected) in
        [(10, 10, 3, 1), (11, 10, 3, 2), (17, 10, 3, 2), (18, 10, 3, 3), (11, 10, 9, 2), (20, 10, 0, 2), (5, 1, 0, 5)]
    {
        let context = tokenizer.context(&"the ".repeat(tokens)).unwrap();
        let windows = tokenizer.windows(&question, &context, room + 4, stride).expect("there is room");
        assert_eq!(windows.len(), expected, "{tokens} tokens, room {room}, stride {stride}");
        let last = windows.get(expected - 1).expect("in range");
        assert_eq!(last.offsets.iter().flatten().last(), Some(&(4 * tokens - 4, 4 * tokens - 1)));
    }
}

#[test]
fn what_leaves_no_room_is_refused() {
    let tokenizer = load(&word_piece()).expect("valid");
    let question = tokenizer.question(&"the ".repeat(20)).unwrap();
    let (short, long) = (tokenizer.context("tide").unwrap(), tokenizer.context(&"tide ".repeat(50)).unwrap());
    let windows = |context, max, stride| tokenizer.windows(&question, context, max, stride);
    for max_seq_len in [0, 3, 23] {
        let error = windows(&short, max_seq_len, 0).unwrap_err();
        assert!(matches!(error, TokenizerError::QuestionTooLong { question: 20, special: 3, .. }), "{error}");
    }
    assert_eq!(windows(&short, 24, 128).expect("one window needs no stride").len(), 1);
    for stride in [10, 11, 128, usize::MAX] {
        let error = windows(&long, 33, stride).unwrap_err();
        assert!(matches!(error, TokenizerError::Stride { question: 20, room: 10, .. }), "{error}");
        assert!(error.to_string().contains("doc_stride"), "{error}");
    }
    assert_eq!(windows(&long, 33, 9).expect("a step of 1").len(), 41);
}

#[test]
fn empty_texts_are_refused() {
    let tokenizer = load(&word_piece()).expect("valid");
    for text in ["", " ", "\n\t \u{3000}", "\u{200b}", "\u{0}"] {
        let error = tokenizer.question(text).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the question holds no word that the model can read; give it at least one",
            "{text:?}"
        );
        assert!(matches!(tokenizer.context(text), Err(TokenizerError::Empty { what: "context" })), "{text:?}");
    }
}

#[test]
fn truncation_and_padding_of_the_file_are_ignored() {
    let mut json = word_piece();
    json["truncation"] = json!({ "direction": "Left", "max_length": 8, "strategy": "LongestFirst", "stride": 0 });
    json["padding"] = json!({ "strategy": { "Fixed": 512 }, "direction": "Right", "pad_to_multiple_of": null,
                              "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]" });
    let (strict, plain) = (load(&json).expect("valid"), load(&word_piece()).expect("valid"));
    let text = "the tide ".repeat(30);
    let ids = |tokenizer: &QaTokenizer| {
        let (question, context) = (tokenizer.question(QUESTION).unwrap(), tokenizer.context(&text).unwrap());
        tokenizer.windows(&question, &context, 50, 10).unwrap().iter().map(|w| w.unwrap().ids).collect::<Vec<_>>()
    };
    assert_eq!(ids(&strict), ids(&plain));
}

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
    let packed = include_bytes!("../../tests/fixtures/unigram/tokenizer.json.gz");
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
        let text = include_str!("../../tests/fixtures/exports/tokenizer.json");
        let mut json: serde_json::Value = serde_json::from_str(text).expect("JSON");
        json[key] = value;
        let error = QaTokenizer::from_json(json.to_string().as_bytes(), 101).map(drop).expect_err(key);
        assert!(matches!(error, TokenizerError::Invalid(_)), "{key}: {error}");
    };
    broken("pre_tokenizer", serde_json::json!({"type": "FixedLength", "length": 0}));
    for charsmap in ["", "AAAA", "/////wAA", "BAAAAAAAAAD/"] {
        broken("normalizer", serde_json::json!({"type": "Precompiled", "precompiled_charsmap": charsmap}));
    }
    let text = include_str!("../../tests/fixtures/exports/tokenizer.json");
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
    let mut state = 1_u64;
    let mut random = move |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
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

#[test]
fn only_what_can_be_compiled_is() {
    let compiled = |json: &Value| compile(json.to_string().as_bytes()).expect("valid").is_some();
    assert!(compiled(&word_piece()) && compiled(&unigram()));
    assert!(!compiled(&byte_level(template())));
    let mut twice = unigram();
    twice["model"]["vocab"].as_array_mut().expect("pieces").push(json!(["house", -3.0]));
    assert!(!compiled(&twice), "two pieces of one text");
    let mut same = word_piece();
    same["model"]["vocab"]["kelp"] = json!(7);
    assert!(!compiled(&same), "two pieces of one id");
    let mut empty = unigram();
    empty["model"]["vocab"].as_array_mut().expect("pieces").push(json!(["", -3.0]));
    assert!(!compiled(&empty), "a piece of no bytes");
    assert!(compile(b"{}").is_err());
    let mut wide = unigram();
    wide["model"]["vocab"][6][1] = json!(-2.1);
    let tensors = |json: &Value| compile(json.to_string().as_bytes()).expect("valid").expect("compiles");
    assert!(tensors(&wide).contains_key("tokenizer.scores_f64") && !tensors(&wide).contains_key("tokenizer.scores"));
    assert!(tensors(&unigram()).contains_key("tokenizer.scores"));
}

#[test]
fn a_long_text_is_tokenized_in_pieces_where_words_stand_for_themselves() {
    let mut metaspace = unigram();
    metaspace["pre_tokenizer"]["split"] = json!(false);
    let mut spaced = word_piece();
    spaced["added_tokens"].as_array_mut().expect("tokens").push(added_token("tide light", 4));
    let mut lettered = word_piece();
    lettered["added_tokens"].as_array_mut().expect("tokens").push(added_token("tide", 5));
    // Between words, all that is hard.
    let text = contexts().iter().cycle().take(900).fold(String::new(), |text, hard| {
        text + "The lighthouse keeper was tired, the tides were not; he said so to all that came by the house " + hard
    });
    assert!(text.len() > 200_000);
    let kinds = [(word_piece(), true), (unigram(), true), (byte_level(template()), false), (metaspace, false)];
    let mut reaching = word_piece();
    reaching["normalizer"] = json!({ "type": "Replace", "pattern": { "Regex": "\\([^)]*\\)" }, "content": "" });
    for (json, cut) in kinds.into_iter().chain([(spaced, false), (lettered, false), (reaching, false)]) {
        let tokenizer = load(&json).expect("valid");
        assert_eq!(tokenizer.can_be_cut, cut, "{json}");
        let whole = tokenizer.context(&text).expect("tokens");
        let bare = tokenizer.bare_context(&text).expect("tokens");
        assert!(bare.ids() == whole.ids() && bare.offsets() == whole.offsets(), "{json}");
        if cut {
            let pieces = pieces::tokenize(&tokenizer.tokenizer, &text).expect("tokens").expect("cuts");
            assert!(pieces.get_ids() == whole.ids() && pieces.get_offsets() == whole.offsets(), "{json}");
            for uncut in ["tide", &"tide. ".repeat(9000), &"a".repeat(40_000)] {
                assert!(pieces::tokenize(&tokenizer.tokenizer, uncut).expect("no failure").is_none());
            }
        }
    }
}

/// A text is cut with the pipeline of DeBERTa-v3.
#[test]
fn the_pipeline_of_the_model_is_cut() {
    let packed = include_bytes!("../../tests/fixtures/unigram/tokenizer.json.gz");
    let json: Value = serde_json::from_reader(flate2::read::GzDecoder::new(&packed[..])).expect("JSON");
    let tokenizer = QaTokenizer::from_json(json.to_string().as_bytes(), 1 << 16).expect("valid");
    let text = "The keeper of the lighthouse was tired,  the tides were not; he told all who came. ".repeat(600);
    let whole = tokenizer.context(&text).expect("tokens");
    let pieces = pieces::tokenize(&tokenizer.tokenizer, &text).expect("tokens").expect("cuts");
    assert!(tokenizer.can_be_cut && pieces.get_ids() == whole.ids() && pieces.get_offsets() == whole.offsets());
}

/// A pipeline whose tokens depend on more than their word is found out.
#[test]
fn tokens_that_depend_on_the_cut_are_made_of_the_whole() {
    let mut json = word_piece();
    // Every two words become one, and the first piece has an odd number of them.
    json["normalizer"] = json!({ "type": "Replace", "pattern": { "String": "the the" }, "content": "x" });
    let tokenizer = load(&json).expect("valid");
    assert!(tokenizer.can_be_cut);
    let text = "the ".repeat(10_001);
    assert!(pieces::tokenize(&tokenizer.tokenizer, &text).expect("no failure").is_none());
    let (bare, whole) = (tokenizer.bare_context(&text).unwrap(), tokenizer.context(&text).unwrap());
    assert!(bare.ids() == whole.ids() && bare.offsets() == whole.offsets());
}
