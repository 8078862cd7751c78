//! Answers from documents, with a made-up model.

use edgeqa::documents::{DocumentAnswer, Library, LibraryOptions, RetrievalOptions, Source};
use edgeqa::qa::{AskOptions, QaError, Reader};
use edgeqa::tokenizer::TokenizerError;
use tempfile::tempdir;

use crate::common;

fn reader() -> Reader {
    let folder = tempdir().expect("a folder");
    Reader::open(&common::write_model(folder.path(), &common::metadata())).expect("a model")
}

fn options() -> AskOptions {
    AskOptions { doc_stride: Some(16), always_answer: true, ..AskOptions::default() }
}

const TEXTS: [(&str, &str); 4] = [
    ("a.txt", "\u{feff}Ada Morrow — the keeper ☕ — kept the light.\r\n"),
    ("b.txt", "She kept a log of ships. The log of the keeper is lost."),
    ("c/c.md", "# Ships\n\nThe keeper saw ninety ships ☕, and one seal.\n\n# Seals\n\nA seal ate the log."),
    ("d.txt", "Nothing to see here."),
];

fn library() -> Library {
    Library::of_texts(TEXTS.map(|(name, text)| (name.to_owned(), text.to_owned())))
}

fn text_of(file: &str) -> &'static str {
    TEXTS.iter().find(|(name, _)| *name == file).expect("a file").1
}

fn chars(text: &str, range: &std::ops::Range<usize>) -> String {
    text.chars().skip(range.start).take(range.len()).collect()
}

/// Everything that has offsets is the slice that they say.
fn check(found: &DocumentAnswer) {
    for candidate in &found.answer.candidates {
        let text = text_of(&candidate.file);
        assert_eq!(candidate.candidate.text, text[candidate.candidate.bytes.clone()]);
        assert_eq!(candidate.candidate.text, chars(text, &candidate.candidate.chars));
    }
    let source = |source: &Source| {
        let text = text_of(&source.file);
        assert_eq!(source.text, text[source.bytes.clone()]);
        assert_eq!(source.text, chars(text, &source.chars));
    };
    assert_eq!((found.source.is_some(), found.nearest.is_some()), (found.answer.answered, !found.answer.answered));
    found.nearest.iter().for_each(source);
    if let Some(from) = &found.source {
        source(from);
        let (bytes, place) = (found.answer.bytes.clone().expect("bytes"), found.answer.chars.clone().expect("chars"));
        assert_eq!(found.answer.text, text_of(&from.file)[bytes]);
        assert_eq!(found.answer.text, chars(text_of(&from.file), &place));
        assert_eq!(found.answer.text, chars(&from.text, from.highlight.as_ref().expect("a highlight")));
    }
}

#[test]
fn a_library_knows_the_files_and_folders_that_it_holds() {
    let library = library();
    for (name, held) in [
        ("a.txt", true),
        ("c", true),
        ("c/c.md", true),
        ("c/", false),
        ("b", false),
        ("c/c", false),
        ("e", false),
        ("", false),
    ] {
        assert_eq!(library.holds(name), held, "{name:?}");
    }
}

/// Copies would fill all places, and share the probability of one answer.
#[test]
fn what_stands_in_several_files_is_read_once() {
    let (reader, library) = (reader(), library());
    let copies = (0..6).map(|copy| (format!("b copy {copy}.txt"), TEXTS[1].1.to_owned()));
    let texts = TEXTS.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let copied = Library::of_texts(texts.into_iter().chain(copies));
    assert_eq!(copied.passage_count(), library.passage_count() + 6);
    for passages in [3, 5, 20] {
        let found = copied.retrieve("Who kept a log of ships?", &RetrievalOptions { passages });
        let texts: Vec<&str> = found.iter().map(|(passage, _)| passage.text).collect();
        assert_eq!(texts.len(), passages.min(4 + usize::from(passages == 20)), "{texts:?}");
        assert_eq!(found.iter().filter(|(passage, _)| passage.text == TEXTS[1].1).count(), 1);
    }
    let all = RetrievalOptions { passages: 20 };
    let answer =
        |library: &Library| library.ask(&reader, "Who kept a log of ships?", &options(), &all).expect("an answer");
    let found = answer(&copied);
    assert!(found.answer.answered && found.answer.windows == answer(&library).answer.windows);
    // The same words under another heading are another passage.
    let hours = "Open at 9. ".repeat(60);
    let twice = Library::of_texts([("a.md".to_owned(), format!("# Tower\n\n{hours}\n\n# Hall\n\n{hours}\n"))]);
    assert!(twice.passage_count() > 1);
    let found = twice.retrieve("When is the hall open?", &all);
    assert_eq!(found.len(), twice.passage_count());
}

#[test]
fn the_best_odds_of_all_passages_win() {
    let (reader, library) = (reader(), library());
    for question in ["Who kept the log?", "Which keeper saw the ships?", "What did the seal eat?"] {
        let all = RetrievalOptions { passages: 9 };
        let found = library.ask(&reader, question, &AskOptions { top_k: 20, ..options() }, &all).expect("an answer");
        check(&found);
        assert!(found.answer.answered);
        // One passage at a time, by the reader alone.
        let mut odds: Vec<(f32, String)> = Vec::new();
        let retrieved = library.retrieve(question, &all);
        assert_eq!(retrieved.len(), library.passage_count());
        for (passage, match_score) in &retrieved {
            let handicap = 4.0 * (1.0 - match_score / retrieved[0].1);
            let context = reader.context(passage.text).expect("tokens");
            let decoded = reader.decode(&context, question, &options(), |_, _, _| ()).expect("decoded");
            for entry in decoded.n_best.iter().filter(|entry| !entry.bytes.is_empty()) {
                odds.push((decoded.null_score - entry.score + handicap, passage.text[entry.bytes.clone()].to_owned()));
            }
        }
        odds.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert_eq!((found.answer.null_odds, &found.answer.text), (Some(odds[0].0), &odds[0].1));
        assert_eq!(found.answer.windows, library.passage_count());
        let kept: Vec<f32> = found.answer.candidates.iter().map(|candidate| candidate.null_odds).collect();
        assert!(kept.is_sorted() && kept.len() > 5);
        let sum: f64 = 1.0 + kept.iter().map(|odds| f64::from(-odds).exp()).sum::<f64>();
        for candidate in &found.answer.candidates {
            let want = f64::from(-candidate.null_odds).exp() / sum;
            assert!((f64::from(candidate.candidate.probability) - want).abs() < 1e-5);
        }
        let one = library.ask(&reader, question, &options(), &all).expect("an answer");
        assert_eq!((one.answer.candidates.len(), one.answer.text), (1, found.answer.text));
    }
}

#[test]
fn the_threshold_decides_and_the_nearest_passage_is_named() {
    let (reader, library) = (reader(), library());
    let retrieval = RetrievalOptions { passages: 2 };
    let question = "What did the seal eat?";
    let odds = library.ask(&reader, question, &options(), &retrieval).expect("an answer").answer.null_odds;
    let odds = odds.expect("odds");
    let at = |threshold| AskOptions { always_answer: false, null_threshold: Some(threshold), ..options() };
    let yes = library.ask(&reader, question, &at(odds), &retrieval).expect("an answer");
    check(&yes);
    assert!(yes.answer.answered);
    let no = library.ask(&reader, question, &at(odds - 0.01), &retrieval).expect("an answer");
    check(&no);
    assert!(!no.answer.answered && no.answer.text.is_empty() && no.answer.null_odds == Some(odds));
    assert_eq!(no.answer.candidates, yes.answer.candidates, "what was rejected is shown");
    let (nearest, best) = (no.nearest.expect("a passage"), &no.answer.candidates[0]);
    assert_eq!((&nearest.file, nearest.passage, nearest.highlight), (&best.file, best.passage, None));
}

#[test]
fn only_passages_with_a_word_of_the_question_are_read() {
    let (reader, library) = (reader(), library());
    let ask = |question, passages| library.ask(&reader, question, &options(), &RetrievalOptions { passages });
    assert_eq!(ask("Which seal?", 3).expect("an answer").answer.windows, 2);
    let none = ask("Zebra?", 3).expect("an answer");
    check(&DocumentAnswer { nearest: Some(no_source()), ..none.clone() });
    assert_eq!((none.answer.windows, none.answer.null_odds, &none.nearest), (0, None, &None));
    assert_eq!((none.answer.score, none.answer.null_score, none.answer.probability), (0.0, 0.0, 1.0));
    let json = serde_json::to_value(&none).expect("JSON");
    assert!(["score", "null_score", "probability"].iter().all(|key| json[key].is_number()), "{json}");
    assert_eq!(ask("Zebra?", 5).expect("an answer").answer.windows, 5, "all, where these are no more than asked for");
    assert!(matches!(ask(" ", 3), Err(QaError::Tokenizer(_))), "no question");
    let long = ask(&"zebra ".repeat(200), 3);
    assert!(
        matches!(long, Err(QaError::Tokenizer(TokenizerError::QuestionTooLong { .. }))),
        "no passage is looked for"
    );
    let wrong = AskOptions { top_k: 0, ..options() };
    let error = library.ask(&reader, "Zebra?", &wrong, &RetrievalOptions { passages: 1 });
    assert!(matches!(error, Err(QaError::Option { .. })));

    let folder = tempdir().expect("a folder");
    let (empty, _) = Library::open(folder.path(), &LibraryOptions::default()).expect("a library");
    assert!(!empty.ask(&reader, "Who?", &options(), &RetrievalOptions::default()).expect("an answer").answer.answered);
}

/// A passage that is in the texts, for [`check`].
fn no_source() -> Source {
    let text = text_of("d.txt");
    Source {
        file: "d.txt".into(),
        passage: 1,
        title: None,
        text: text.into(),
        bytes: 0..text.len(),
        chars: 0..text.len(),
        highlight: None,
    }
}

#[test]
fn a_library_is_shared_between_threads() {
    let (reader, library) = (reader(), library());
    let ask =
        || library.ask(&reader, "Who kept the log?", &options(), &RetrievalOptions::default()).expect("an answer");
    let expected = ask();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(ask(), expected));
        }
    });
}
