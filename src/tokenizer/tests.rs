//! Windows and pieces against the library's own, and questions that are refused.

use serde_json::{Value, json};
use tokenizers::{Tokenizer, TruncationParams, TruncationStrategy};

use super::*;

mod untrusted;

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
