//! The scorer against Python: `tests/golden/squad_score.json`, written by `tests/tools/squad_score.py`, and the official
//! scorer's output for real predictions.

use std::fs;
use std::path::{Path, PathBuf};

use edgeqa::eval::score::{Figure, NullOdds, Predictions, Scores, normalise};
use edgeqa::eval::{Dataset, EvalError, Metrics, files};
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

use crate::common::skip::skipped;

#[derive(Deserialize)]
struct Golden {
    normalised: Vec<(String, String)>,
    pairs: Vec<Pair>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Pair {
    gold: String,
    prediction: String,
    exact: f64,
    f1: f64,
}

#[derive(Deserialize)]
struct Case {
    squad: Value,
    predictions: Predictions,
    null_odds: Option<NullOdds>,
    threshold: Option<f64>,
    metrics: IndexMap<String, f64>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn golden() -> Golden {
    let file = fs::read(root().join("tests/golden/squad_score.json")).expect("golden file");
    serde_json::from_slice(&file).expect("golden JSON")
}

fn number(figure: Figure) -> f64 {
    match figure {
        Figure::Number(number) => number,
        Figure::Count(count) => count as f64,
    }
}

/// Compares names, order and values with the scorer's output. Later versions of Python than the golden file's add up in
/// another way, hence the `tolerance`.
fn check(metrics: &Metrics, expected: &IndexMap<String, f64>, tolerance: f64) {
    let rows = metrics.rows();
    assert!(rows.iter().map(|(name, _)| *name).eq(expected.keys()), "{rows:?}, but {expected:?}");
    for (name, figure) in rows {
        let (found, expected) = (number(figure), expected[name]);
        assert!((found - expected).abs() <= tolerance, "{name} is {found}, but must be {expected}");
    }
    let written: IndexMap<String, f64> =
        serde_json::from_str(&serde_json::to_string(metrics).expect("JSON")).expect("numbers");
    assert!(written.keys().eq(expected.keys()), "written in another order: {written:?}");
}

#[test]
fn texts_are_normalised_as_by_python() {
    let golden = golden();
    assert!(golden.normalised.len() > 30);
    for (text, expected) in &golden.normalised {
        assert_eq!(normalise(text), *expected, "{text:?}");
    }
}

#[test]
fn pairs_score_as_in_python() {
    let golden = golden();
    assert!(golden.pairs.len() > 100);
    for Pair { gold, prediction, exact, f1 } in &golden.pairs {
        assert_eq!(Scores::of(prediction, &[gold]), Scores { exact: *exact, f1: *f1 }, "{prediction:?} for {gold:?}");
    }
}

#[test]
fn made_up_datasets_score_as_in_python() {
    let golden = golden();
    assert!(golden.cases.iter().any(|case| case.threshold.is_some()));
    for case in &golden.cases {
        let dataset = Dataset::parse("case", case.squad.to_string().as_bytes()).expect("a dataset");
        let metrics = Metrics::new(&dataset, &case.predictions, case.null_odds.as_ref(), case.threshold);
        check(&metrics.expect("metrics"), &case.metrics, 0.0);
    }
}

#[test]
fn real_predictions_score_as_by_the_official_script() {
    let shared = root().join("../shared");
    let (data, given) = (shared.join("squad2/dev-10-articles.json"), shared.join("golden/squad-eval"));
    if !data.is_file() || !given.is_dir() {
        skipped(
            "real_predictions_score_as_by_the_official_script: no ../shared/squad2 or no ../shared/golden/squad-eval",
        );
        return;
    }
    let expected = |name: &str| -> IndexMap<String, f64> {
        serde_json::from_slice(&fs::read(given.join(name)).expect("expected figures")).expect("JSON")
    };
    let dataset = Dataset::read(&data).expect("a dataset");
    let predictions = files::read_predictions(&given.join("predictions.json")).expect("predictions");
    let null_odds = files::read_null_odds(&given.join("null_odds.json")).expect("null odds");
    let score = |null_odds, threshold| Metrics::new(&dataset, &predictions, null_odds, threshold).expect("metrics");
    check(&score(None, None), &expected("expected.json"), 1e-9);
    check(&score(Some(&null_odds), Some(0.75)), &expected("expected-null-odds-thresh-0.75.json"), 1e-9);
}

fn dataset() -> Dataset {
    let json = r#"{"data": [{"paragraphs": [{"context": "x", "qas": [
        {"id": "a", "question": "?", "answers": [{"text": "seal"}]},
        {"id": "b", "question": "?", "answers": []},
        {"id": "c", "question": "?", "answers": []}
    ]}]}]}"#;
    Dataset::parse("three.json", json.as_bytes()).expect("a dataset")
}

fn predictions(entries: &[(&str, &str)]) -> Predictions {
    entries.iter().map(|&(id, text)| (id.to_owned(), text.to_owned())).collect()
}

#[test]
fn missing_predictions_and_null_odds_are_counted() {
    let error = Metrics::new(&dataset(), &predictions(&[("b", ""), ("z", "")]), None, None).expect_err("missing");
    assert!(matches!(&error, EvalError::MissingPrediction { id, missing: 2, total: 3 } if id == "a"), "{error}");
    assert!(error.to_string().starts_with("2 of 3 questions have no prediction, first \"a\"; "), "{error}");
    let all = predictions(&[("a", "seal"), ("b", ""), ("c", "")]);
    let null_odds: NullOdds = [("a".to_owned(), 0.0), ("c".to_owned(), 0.0)].into();
    for threshold in [None, Some(1.0)] {
        let error = Metrics::new(&dataset(), &all, Some(&null_odds), threshold).expect_err("missing");
        assert!(matches!(&error, EvalError::MissingNullOdds { id, missing: 1, total: 3 } if id == "b"), "{error}");
    }
}

#[test]
fn equal_null_odds_are_taken_in_the_order_of_their_file() {
    let all = predictions(&[("a", "seal"), ("b", "walrus"), ("c", "")]);
    let best = |order: [&str; 3]| {
        let null_odds: NullOdds = order.iter().map(|id| ((*id).to_owned(), -1.5)).collect();
        let best = Metrics::new(&dataset(), &all, Some(&null_odds), None).expect("metrics").best.expect("null odds");
        (best.exact, best.exact_thresh)
    };
    assert_eq!(best(["a", "b", "c"]), (100.0, -1.5));
    assert_eq!(best(["b", "a", "c"]), (200.0 / 3.0, 0.0), "never better than all unanswered");
}

#[test]
fn a_question_that_is_given_twice_counts_as_in_python() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("twice.json");
    fs::write(&path, r#"{"a": "x", "b": "y", "a": "z"}"#).expect("written");
    let read = files::read_predictions(&path).expect("predictions");
    assert!(read.iter().map(|(id, text)| (id.as_str(), text.as_str())).eq([("a", "z"), ("b", "y")]));
}

#[test]
fn score_files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path: PathBuf = folder.path().join("given.json");
    let error = |content: &str| {
        fs::write(&path, content).expect("written");
        let errors = (files::read_predictions(&path).err(), files::read_null_odds(&path).err());
        (errors.0.map(|e| e.to_string()).unwrap_or_default(), errors.1.map(|e| e.to_string()).unwrap_or_default())
    };
    let (texts, odds) = error(r#"{"a": "x", "q7": null}"#);
    assert!(texts.contains("given.json: q7: invalid type: null, expected a string at line 1 column 21"), "{texts}");
    assert!(texts.ends_with("; give a JSON object of texts by question id"), "{texts}");
    assert!(odds.contains("given.json: a: invalid type: string \"x\", expected f64"), "{odds}");
    assert!(error("{\"q\": NaN}").1.contains("given.json: q: expected"), "Python writes that");
    assert!(error("[]").0.contains("expected an object"));
    assert!(error("{} {}").0.contains("trailing characters at line 1 column 4"));
    let absent = files::read_null_odds(&folder.path().join("absent.json")).expect_err("absent").to_string();
    assert!(absent.starts_with("cannot read ") && absent.contains("absent.json: No such file"), "{absent}");
}
