//! Reading a text with a whole, if tiny, model.

use edgeqa::artifact::write::write;
use edgeqa::artifact::{ALIGNMENT, Artifact};
use edgeqa::model::{ModelError, ModelWeights, Session};
use edgeqa::qa::decode::Decoder;
use edgeqa::qa::{Answer, AskOptions, QaError, Reader};
use edgeqa::tokenizer::{QaTokenizer, TokenizerError};
use tempfile::tempdir;

use crate::common;

const TEXT: &str = "Ada Morrow — the keeper ☕ — kept the light on Kelp Rock for nine winters, and a log of ships. ";

fn options() -> AskOptions {
    AskOptions { doc_stride: Some(16), top_k: 5, always_answer: true, ..AskOptions::default() }
}

fn check(answer: &Answer, text: &str) {
    assert_eq!(answer.text, answer.bytes.clone().map_or("", |bytes| &text[bytes]));
    assert_eq!(answer.answered, answer.bytes.is_some());
    for candidate in &answer.candidates {
        assert_eq!(candidate.text, text[candidate.bytes.clone()]);
        assert!(!candidate.text.trim().is_empty());
        let chars: String = text.chars().skip(candidate.chars.start).take(candidate.chars.len()).collect();
        assert_eq!(candidate.text, chars);
        assert!(candidate.window < answer.windows);
        assert!((0.0..=1.0).contains(&candidate.probability));
    }
    assert!(answer.candidates.windows(2).all(|pair| pair[0].score >= pair[1].score));
}

#[test]
fn readers_and_texts_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<(Artifact, Reader, edgeqa::qa::Context)>();
}

#[test]
fn a_long_text_is_read_in_windows() {
    let folder = tempdir().expect("a folder");
    for type_vocab_size in [0, 2] {
        let mut metadata = common::metadata();
        metadata.config.type_vocab_size = type_vocab_size;
        let path = common::write_model(folder.path(), &metadata);
        let reader = Reader::open(&path).expect("a model");
        let text = TEXT.repeat(6);
        let mut seen = Vec::new();
        let context = reader.context(text.as_str()).expect("tokens");
        let question = "Who kept the light?";
        let answer = reader.ask_observed(&context, question, &options(), |done, all| seen.push((done, all)));
        let answer = answer.expect("an answer");
        check(&answer, &text);
        assert_eq!(answer, reader.ask(question, &text, &options()).expect("the same answer"));
        assert!(answer.windows > 5);
        assert_eq!(seen, (1..=answer.windows).map(|done| (done, answer.windows)).collect::<Vec<_>>());

        // The same by hand.
        let artifact = Artifact::open(&path).expect("a model");
        artifact.verify().expect("sound");
        let tokenizer = QaTokenizer::from_artifact(&artifact).expect("a tokenizer");
        let session = Session::new(&ModelWeights::from_artifact(&artifact).expect("weights")).expect("a session");
        let mut decoder = Decoder::new(30);
        let (question, tokens) = (tokenizer.question(question).unwrap(), tokenizer.context(&text).unwrap());
        for window in tokenizer.windows(&question, &tokens, 96, 16).expect("windows").iter() {
            let window = window.expect("a window");
            let types = (type_vocab_size > 0).then_some(window.type_ids.as_slice());
            let logits = session.logits(&window.ids, types).expect("logits");
            decoder.push(&logits.start, &logits.end, &window.offsets);
        }
        let decoded = decoder.finish(&text);
        let best = decoded.best().expect("a candidate");
        assert_eq!((answer.bytes, answer.score), (Some(best.bytes.clone()), best.score));
        assert_eq!((answer.null_score, answer.null_odds), (decoded.null_score, decoded.null_odds));
    }
}

/// Otherwise the model could be opened, and asked nothing.
#[test]
fn a_model_has_an_embedding_for_every_type_of_token() {
    let folder = tempdir().expect("a folder");
    let mut metadata = common::metadata();
    metadata.config.type_vocab_size = 1;
    let error = Reader::open(&common::write_model(folder.path(), &metadata)).expect_err("the context has type 1");
    assert!(matches!(error, QaError::Tokenizer(TokenizerError::TokenType { id: 1, types: 1 })), "{error}");
}

/// Scores of which two cannot be added would have infinite sums, and odds that are no number.
#[test]
fn scores_can_be_added() {
    let folder = tempdir().expect("a folder");
    let metadata = common::metadata();
    let mut data = common::tensors(&metadata.config);
    for (bias, fits) in [(f32::MAX / 5.0, true), (f32::MAX / 3.0, false)] {
        data.insert("head.bias".into(), [bias; 2].iter().flat_map(|bias| bias.to_le_bytes()).collect());
        let path = folder.path().join("model.safetensors");
        write(&path, &metadata, &data).and_then(|pending| pending.publish()).expect("written");
        let answer = Reader::open(&path).expect("a model").ask("Who kept the light?", TEXT, &options());
        match answer {
            Ok(answer) => assert!(fits && answer.score.is_finite() && answer.null_score.is_finite(), "{answer:?}"),
            Err(error) => assert!(!fits && matches!(error, QaError::Model(ModelError::NonFinite)), "{error}"),
        }
    }
}

/// The library's callers give both or neither.
#[test]
fn token_types_are_given_if_the_model_has_them() {
    let folder = tempdir().expect("a folder");
    for type_vocab_size in [0, 2] {
        let mut metadata = common::metadata();
        metadata.config.type_vocab_size = type_vocab_size;
        let reader = Reader::open(&common::write_model(folder.path(), &metadata)).expect("a model");
        for types in [None, Some(&[][..]), Some(&[0, 0][..]), Some(&[0, 0, 0][..])] {
            let logits = reader.model().logits(&[1, 2, 3], types);
            let expected = if type_vocab_size > 0 { types.map_or(0, <[i64]>::len) == 3 } else { types.is_none() };
            assert!(logits.is_ok() == expected || matches!(logits, Err(ModelError::TokenTypes { .. })), "{types:?}");
            assert_eq!(logits.is_ok(), expected, "{type_vocab_size} {types:?}");
        }
    }
}

/// What doctor says is needed of the file.
#[test]
fn every_window_reads_the_encoder() {
    let folder = tempdir().expect("a folder");
    let artifact = Artifact::open(&common::write_model(folder.path(), &common::metadata())).expect("a model");
    let bytes = |part: &str| -> usize {
        artifact.tensors().iter().filter(|(name, _)| name.starts_with(part)).map(|(_, tensor)| tensor.bytes.len()).sum()
    };
    // Fillers between tensors belong to it, the one at the end does not.
    let encoder = artifact.encoder();
    assert!((bytes("encoder.") - ALIGNMENT..=bytes("encoder.")).contains(&encoder.len()), "{encoder:?}");
    assert!(bytes("encoder.") > 0 && bytes("embeddings.") > 0 && encoder.end <= artifact.file_len());
}

#[test]
fn the_threshold_decides() {
    let folder = tempdir().expect("a folder");
    let mut metadata = common::metadata();
    let mut ask = |recommended, options: AskOptions| {
        metadata.null_threshold = recommended;
        let reader = Reader::open(&common::write_model(folder.path(), &metadata)).expect("a model");
        assert_eq!(reader.null_threshold(), recommended.unwrap_or(0.0));
        let answer = reader.ask("Who?", TEXT, &options).expect("an answer");
        check(&answer, TEXT);
        answer
    };
    let default = AskOptions { doc_stride: Some(16), ..AskOptions::default() };
    let with = |null_threshold| AskOptions { null_threshold, ..default.clone() };
    let odds = ask(None, default.clone()).null_odds.expect("a candidate");

    let yes = ask(Some(odds), default.clone());
    assert!(yes.answered && yes.null_threshold == Some(odds), "equal to the threshold is an answer");
    let no = ask(Some(odds - 0.01), default.clone());
    assert!(!no.answered && no.text.is_empty() && no.chars.is_none());
    assert_eq!((no.score, no.null_odds), (no.null_score, Some(odds)));
    assert_eq!(no.candidates, yes.candidates, "what was rejected is shown");

    assert!(!ask(Some(1e9), with(Some(-1e9))).answered, "the option overrides the model");
    assert!(ask(Some(-1e9), with(Some(1e9))).answered);
    let forced = ask(Some(-1e9), AskOptions { always_answer: true, ..default.clone() });
    assert!(forced.answered && forced.null_threshold.is_none());
}

#[test]
fn candidates_are_as_many_as_asked_for_and_distinct() {
    let folder = tempdir().expect("a folder");
    let reader = Reader::open(&common::write_model(folder.path(), &common::metadata())).expect("a model");
    let text = TEXT.repeat(4);
    for top_k in [1, 3, 20] {
        let answer = reader.ask("Who?", &text, &AskOptions { top_k, ..options() }).expect("an answer");
        check(&answer, &text);
        assert!((1..=top_k).contains(&answer.candidates.len()));
        let mut places: Vec<_> = answer.candidates.iter().map(|c| (c.bytes.start, c.bytes.end)).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), answer.candidates.len());
    }
}

#[test]
fn impossible_requests_are_refused() {
    let folder = tempdir().expect("a folder");
    let reader = Reader::open(&common::write_model(folder.path(), &common::metadata())).expect("a model");
    let error =
        |question: &str, text: &str, options: AskOptions| reader.ask(question, text, &options).expect_err("refused");
    for (changed, option) in [
        (
            AskOptions { max_seq_len: Some(97), ..options() },
            "max_seq_len (--max-seq-len) is 97, but this model takes windows of 1 to 96",
        ),
        (AskOptions { max_seq_len: Some(0), ..options() }, "max_seq_len (--max-seq-len) is 0"),
        (AskOptions { max_answer_len: 0, ..options() }, "max_answer_len (--max-answer-len) is 0"),
        (AskOptions { top_k: 0, ..options() }, "top_k (--top-k) is 0"),
        (AskOptions { top_k: 21, ..options() }, "top_k (--top-k) is 21"),
        (AskOptions { null_threshold: Some(f32::NAN), ..options() }, "null_threshold (--null-threshold) is NaN"),
    ] {
        let error = error("Who?", TEXT, changed);
        assert!(matches!(error, QaError::Option { .. }) && error.to_string().contains(option), "{error}");
    }
    let stride = AskOptions { doc_stride: Some(128), ..options() };
    let found = error("Who?", &TEXT.repeat(3), stride);
    assert!(matches!(found, QaError::Tokenizer(TokenizerError::Stride { .. })), "{found}");
    let found = error(&"Who? ".repeat(60), TEXT, options());
    assert!(matches!(found, QaError::Tokenizer(TokenizerError::QuestionTooLong { .. })), "{found}");
    assert!(error(" ", TEXT, options()).to_string().contains("question holds no word"));
    assert!(error("Who?", "\n", options()).to_string().contains("context holds no word"));
    let missing = Reader::open(&folder.path().join("none")).expect_err("missing");
    assert!(matches!(missing, QaError::Artifact { .. }), "{missing}");
}

#[test]
fn a_reader_is_shared_between_threads() {
    let folder = tempdir().expect("a folder");
    let reader = Reader::open(&common::write_model(folder.path(), &common::metadata())).expect("a model");
    let context = reader.context(TEXT).expect("tokens");
    let expected = reader.ask_in(&context, "Who?", &options()).expect("an answer");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(reader.ask_in(&context, "Who?", &options()).expect("an answer"), expected));
        }
    });
}
