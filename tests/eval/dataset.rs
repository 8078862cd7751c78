//! Reading and sampling datasets.

use edgeqa::eval::{Dataset, EvalError, Subset};

/// A dataset of one paragraph per number, with that many questions called `p<paragraph>q<question>`; four paragraphs to an
/// article.
fn made_of(counts: &[usize]) -> Dataset {
    let paragraph = |(n, &count): (usize, &usize)| {
        let qas: Vec<String> =
            (0..count).map(|q| format!(r#"{{"id": "p{n}q{q}", "question": "?", "answers": []}}"#)).collect();
        format!(r#"{{"context": "text {n}", "qas": [{}]}}"#, qas.join(", "))
    };
    let paragraphs: Vec<String> = counts.iter().enumerate().map(paragraph).collect();
    let articles: Vec<String> =
        paragraphs.chunks(4).map(|part| format!(r#"{{"paragraphs": [{}]}}"#, part.join(", "))).collect();
    Dataset::parse("made.json", format!(r#"{{"data": [{}]}}"#, articles.join(", ")).as_bytes()).expect("a dataset")
}

fn ids(dataset: &Dataset) -> Vec<&str> {
    dataset.questions().map(|question| question.id.as_str()).collect()
}

#[test]
fn version_2_is_read() {
    let json = r#"{"version": "v2.0", "data": [{"title": "Rock", "paragraphs": [{"context": "Ada kept the light.", "qas": [
        {"id": "1", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 0}, {"text": "the", "answer_start": 9}],
         "is_impossible": false},
        {"plausible_answers": [{"text": "Ada", "answer_start": 0}], "id": "2", "question": "Why?", "answers": [],
         "is_impossible": true}
    ]}]}]}"#;
    let dataset = Dataset::parse("dev.json", json.as_bytes()).expect("a dataset");
    assert_eq!(dataset.paragraphs[0].context, "Ada kept the light.");
    let [who, why] = &dataset.paragraphs[0].questions[..] else { panic!("{dataset:?}") };
    assert_eq!((who.id.as_str(), who.text.as_str(), who.has_answer()), ("1", "Who?", true));
    assert_eq!(who.golds, ["Ada", "the"]);
    assert_eq!((why.id.as_str(), why.has_answer()), ("2", false));
    assert_eq!(why.place.to_string(), "data[0].paragraphs[0].qas[1]");
    assert_eq!((dataset.question_count(), dataset.subset), (2, None));
    let with_mark =
        Dataset::parse("dev.json", format!("\u{feff}{json}").as_bytes()).expect("a byte order mark is no fault");
    assert_ne!(dataset.sha256, with_mark.sha256, "the checksum is of the file");
}

#[test]
fn version_1_and_the_least_that_is_needed_are_read() {
    let json = r#"{"data": [{"paragraphs": [
        {"context": "", "qas": []},
        {"context": "x", "extra": [1, {}], "qas": [{"id": "1", "question": "?", "answers": [{"text": "x"}]}]}
    ]}], "version": 1.1}"#;
    let dataset = Dataset::parse("dev.json", json.as_bytes()).expect("a dataset");
    assert_eq!(dataset.paragraphs.len(), 1, "a paragraph without questions is left out");
    assert_eq!(dataset.paragraphs[0].questions[0].place.to_string(), "data[0].paragraphs[1].qas[0]");
    assert_eq!(dataset.sha256.len(), 64);
    assert_eq!(Dataset::parse("x", br#"{"data": []} "#).err().map(|e| e.to_string()).unwrap_or_default(), NO_QUESTION);
}

const NO_QUESTION: &str = "x: there is no question in data[..].paragraphs[..].qas; give a SQuAD file with questions";

#[test]
fn every_fault_has_its_place() {
    let in_question = |fields: &str| {
        format!(
            r#"{{"data": [{{"paragraphs": [{{"context": "x", "qas": [{{"id": "1", "question": "?", "answers": []}}, {{{fields}}}]}}]}}]}}"#
        )
    };
    let second = "dev.json: data[0].paragraphs[0].qas[1]";
    for (json, expected) in [
        (
            "",
            "dev.json: EOF while parsing a value at line 1 column 0; give a file in the format of SQuAD 1.1 or 2.0"
                .into(),
        ),
        ("[]x", "dev.json: ".into()),
        ("[]", "dev.json: invalid type: sequence, expected an object at line 1 column 0".into()),
        (
            "{\"data\": [[[]]]}",
            "dev.json: data[0]: invalid type: sequence, expected an object at line 1 column 10".into(),
        ),
        ("{\"data\": 3}", "dev.json: data: invalid type: integer `3`, expected a sequence at line 1 column 10".into()),
        ("{\n\"data\": [{}]}", "dev.json: data[0]: missing field `paragraphs` at line 2 column 11".into()),
        ("{\"version\": \"2\"}", "dev.json: missing field `data` at line 1 column 16".into()),
        (
            r#"{"data": [{"paragraphs": [{"qas": []}]}]}"#,
            "dev.json: data[0].paragraphs[0]: missing field `context` at line 1 column 37".into(),
        ),
        (
            r#"{"data": [{"paragraphs": [{"context": "x"}]}]}"#,
            "dev.json: data[0].paragraphs[0]: missing field `qas`".into(),
        ),
        (&in_question(r#""question": "?", "answers": []"#), format!("{second}: missing field `id`")),
        (&in_question(r#""id": "2", "answers": []"#), format!("{second}: missing field `question`")),
        (&in_question(r#""id": "2", "question": "?""#), format!("{second}: missing field `answers`")),
        (
            &in_question(r#""id": "2", "question": "?", "answers": "x""#),
            format!("{second}.answers: invalid type: string \"x\", expected a sequence at line 1 column 139"),
        ),
        (
            &in_question(r#""id": "2", "question": "?", "answers": [{"text": "x"}, {"text": 7}]"#),
            format!("{second}.answers[1].text: invalid type: integer `7`, expected a string at line 1"),
        ),
        (&in_question(r#""id": 2"#), format!("{second}.id: invalid type: integer `2`, expected a string")),
        (
            &in_question(r#""id": "2", "question": "?", "answers": []"#).replace("]}]}", "]}]},"),
            "dev.json: data".into(),
        ),
        (
            &(in_question(r#""id": "2", "question": "?", "answers": []"#) + "\n]"),
            "dev.json: trailing characters at line 2 column 1".into(),
        ),
        (
            &in_question(r#""id": "", "question": "?", "answers": []"#),
            format!("{second}.id is empty; every question needs an id of its own"),
        ),
        (
            &in_question(r#""id": "1", "question": "?", "answers": []"#),
            format!(
                "{second}.id is \"1\", as data[0].paragraphs[0].qas[0].id is; every question needs an id of its own"
            ),
        ),
    ] {
        let error = Dataset::parse("dev.json", json.as_bytes()).expect_err(json).to_string();
        assert!(error.starts_with(&expected), "{json}\n{error}\n{expected}");
    }
    let invalid = Dataset::parse("dev.json", b"{\"data\": [{\"paragraphs\": [{\"context\": \"\xff\"}]}]}");
    let error = invalid.expect_err("no UTF-8").to_string();
    assert!(error.starts_with("dev.json: it is not UTF-8: byte 39 is 0xFF; ") && error.contains("iconv -f"), "{error}");
    let absent = Dataset::read("absent.json".as_ref()).expect_err("absent");
    assert!(matches!(absent, EvalError::Io { .. }) && absent.to_string().starts_with("cannot read absent.json: "));
}

#[test]
fn a_seed_draws_the_same_paragraphs_everywhere() {
    let dataset = made_of(&[2, 1, 0, 3, 1, 2, 1, 1, 4, 1]);
    let sample = dataset.sample(4, 7);
    assert_eq!(ids(&sample), SEED_7);
    assert_eq!(sample.subset, Some(Subset { limit: 4, seed: 7, of_questions: 16, of_paragraphs: 9 }));
    assert_eq!(sample.sha256, dataset.sha256);
    // All of it is no part of it.
    let whole = dataset.sample(16, 7);
    assert_eq!((whole.subset, ids(&whole)), (None, ids(&dataset)));
    assert_eq!(ids(&dataset.sample(4, 8)), SEED_8);
    assert_eq!(sample.questions().map(|question| question.place).collect::<Vec<_>>(), {
        let whole = dataset.questions().filter(|question| SEED_7.contains(&question.id.as_str()));
        whole.map(|question| question.place).collect::<Vec<_>>()
    });
}

/// Found by a transcription to Python.
const SEED_7: &[&str] = &["p3q0", "p3q1", "p3q2", "p4q0", "p6q0"];
const SEED_8: &[&str] = &["p3q0", "p3q1", "p3q2", "p5q0", "p5q1"];

#[test]
fn samples_are_whole_paragraphs_in_order() {
    let dataset = made_of(&[2, 1, 3, 1, 2, 1, 1, 4, 1]);
    let all = ids(&dataset);
    for seed in 0..50 {
        let mut smaller: Vec<&str> = Vec::new();
        for limit in 0..=all.len() + 1 {
            let sample = dataset.sample(limit, seed);
            let found = ids(&sample);
            assert!(found.len() >= limit.clamp(1, all.len()), "{limit} of {seed}: {found:?}");
            assert!(found.len() < limit.max(1) + 4, "no more than one paragraph too many");
            assert!(found.is_sorted(), "in the order of the file");
            assert!(smaller.iter().all(|id| found.contains(id)), "lower limits are contained");
            for paragraph in &sample.paragraphs {
                let whole = dataset.paragraphs.iter().find(|whole| whole.context == paragraph.context);
                assert_eq!(paragraph.questions.len(), whole.expect("in the file").questions.len());
            }
            smaller = all.iter().copied().filter(|id| found.contains(id)).collect();
        }
        assert_eq!(smaller, all);
    }
}
