//! Running models on datasets.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use edgeqa::config::ModelConfig;
use edgeqa::eval::{Dataset, EvalError, Metrics, Observer, Prediction, Random, evaluate, evaluate_with, files};
use edgeqa::model::{Logits, ModelError};
use edgeqa::qa::{AskOptions, QaError, Reader, Scorer};
use edgeqa::tokenizer::QaTokenizer;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::common;

/// A model that is a function of the token ids.
struct Fake {
    config: ModelConfig,
    logits: fn(&[i64]) -> Result<Logits, ModelError>,
}

impl Scorer for Fake {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn logits(&self, ids: &[i64], _types: Option<&[i64]>) -> Result<Logits, ModelError> {
        (self.logits)(ids)
    }
}

fn fake(logits: fn(&[i64]) -> Result<Logits, ModelError>) -> Reader<Fake> {
    let config = common::metadata().config;
    let tokenizer = include_bytes!("../fixtures/exports/tokenizer.json");
    let tokenizer = QaTokenizer::from_json(tokenizer, config.vocab_size).expect("a tokenizer");
    Reader::new(tokenizer, Fake { config, logits }, 0.0)
}

/// Logits that depend on every token.
fn scrambled(ids: &[i64]) -> Result<Logits, ModelError> {
    let mut random = Random(ids.iter().fold(7u64, |sum, &id| sum.wrapping_mul(31).wrapping_add(id as u64)));
    let mut numbers = || ids.iter().map(|_| random.index(16001) as f32 / 1000.0 - 8.0).collect();
    Ok(Logits { start: numbers(), end: numbers() })
}

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("a thread")
}

/// A dataset with questions of all lengths, some about a text of several windows.
fn dataset(questions: &[&str]) -> Dataset {
    let text = "Ada kept the light on the rock, and a log of ships. ";
    let paragraph = |n: usize| {
        let qas: Vec<Value> = questions
            .iter()
            .enumerate()
            .map(|(q, question)| json!({"id": format!("{n}-{q}"), "question": question, "answers": []}))
            .collect();
        json!({"context": text.repeat(1 + n % 3 * 2), "qas": qas})
    };
    let json = json!({"data": [{"paragraphs": (0..6).map(paragraph).collect::<Vec<_>>()}]});
    Dataset::parse("made.json", json.to_string().as_bytes()).expect("a dataset")
}

/// Predictions without what differs from run to run.
fn timeless(mut predictions: Vec<Prediction>) -> Vec<Prediction> {
    for prediction in &mut predictions {
        assert!(prediction.seconds.is_finite() && prediction.seconds >= 0.0);
        prediction.seconds = 0.0;
    }
    predictions
}

/// Counts what it sees.
#[derive(Default)]
struct Witness {
    windows: Mutex<Vec<(usize, usize)>>,
    answered: AtomicUsize,
}

impl Observer for Witness {
    fn window(&self, question: usize, logits: &Logits) {
        self.windows.lock().expect("sound").push((question, logits.start.len()));
    }

    fn answered(&self, done: usize, all: usize) {
        assert!((1..=all).contains(&done));
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn predictions_are_in_order_whatever_the_number_of_threads() {
    let (reader, dataset) =
        (fake(scrambled), dataset(&["Who?", "What did Ada keep?", "Which light?", "Why on a rock?"]));
    let options = AskOptions::default();
    let expected = timeless(evaluate(&reader, &dataset, &options, threads(1), &()).expect("predictions"));
    assert!(expected.iter().map(|p| p.id.as_str()).eq(dataset.questions().map(|q| q.id.as_str())));
    assert!(expected.iter().any(|p| p.windows > 1) && expected.iter().any(|p| p.windows == 1));
    for count in [2, 3, 64] {
        let witness = Witness::default();
        let found = evaluate(&reader, &dataset, &options, threads(count), &witness).expect("predictions");
        assert_eq!(timeless(found), expected, "{count} threads");
        assert_eq!(witness.answered.into_inner(), expected.len());
        let seen = witness.windows.into_inner().expect("sound");
        for (question, prediction) in expected.iter().enumerate() {
            assert_eq!(seen.iter().filter(|(of, _)| *of == question).count(), prediction.windows);
        }
    }
}

#[test]
fn logits_from_elsewhere_count_and_the_readers_own_model_does_not_run() {
    let dataset = dataset(&["Who?", "What did Ada keep?"]);
    let options = AskOptions::default();
    let expected = timeless(evaluate(&fake(scrambled), &dataset, &options, threads(1), &()).expect("predictions"));
    let idle = fake(|_| panic!("not asked"));
    for count in [1, 3] {
        let seen = Mutex::new(Vec::new());
        let found = evaluate_with(
            &idle,
            &dataset,
            &options,
            threads(count),
            |question, index, window| {
                seen.lock().expect("sound").push((question, index));
                scrambled(&window.ids)
            },
            &(),
        );
        assert_eq!(timeless(found.expect("predictions")), expected);
        let mut seen = seen.into_inner().expect("sound");
        seen.sort_unstable();
        let windows = expected.iter().enumerate().flat_map(|(q, p)| (0..p.windows).map(move |w| (q, w)));
        assert!(seen.into_iter().eq(windows), "each window once");
    }
    let error = evaluate_with(&idle, &dataset, &options, threads(2), |_, _, _| Err(ModelError::NonFinite), &());
    let error = error.expect_err("no logits").to_string();
    assert!(error.contains("\"0-0\"") && error.contains("not finite"), "{error}");
}

#[test]
fn predictions_are_what_the_reader_answers() {
    let (reader, dataset) = (fake(scrambled), dataset(&["Who?", "What?"]));
    for (null_threshold, always_answer) in [(None, false), (Some(-3.0), false), (Some(4.5), false), (None, true)] {
        let options = AskOptions { null_threshold, always_answer, top_k: 20, ..AskOptions::default() };
        let predictions = evaluate(&reader, &dataset, &options, threads(2), &()).expect("predictions");
        let questions = dataset.paragraphs.iter().flat_map(|p| p.questions.iter().map(move |q| (p, q)));
        for (prediction, (paragraph, question)) in predictions.iter().zip(questions) {
            let answer = reader.ask(&question.text, &paragraph.context, &options).expect("an answer");
            assert_eq!(prediction.text, answer.text);
            assert_eq!((prediction.null_score, Some(prediction.null_odds)), (answer.null_score, answer.null_odds));
            assert_eq!(prediction.windows, answer.windows);
            assert_eq!(prediction.text_at(answer.null_threshold), answer.text);
            let best: Vec<&str> = prediction.n_best.iter().map(|e| e.text.as_str()).filter(|t| !t.is_empty()).collect();
            assert!(answer.candidates.iter().all(|candidate| best.contains(&candidate.text.as_str())));
            let null = prediction.n_best.iter().find(|entry| entry.text.is_empty()).expect("a null entry");
            assert_eq!(null.score, prediction.null_score);
            assert!(prediction.n_best.iter().all(|entry| entry.start_logit + entry.end_logit == entry.score));
        }
    }
}

#[test]
fn without_any_candidate_the_null_odds_are_the_null_score() {
    // The best ends are all before the best starts.
    let apart = |ids: &[i64]| {
        let start: Vec<f32> = (0..ids.len()).map(|position| position as f32 / 8.0).collect();
        Ok(Logits { end: start.iter().map(|x| 1.5 - x).collect(), start })
    };
    let reader = fake(apart);
    for always_answer in [false, true] {
        let options = AskOptions { always_answer, ..AskOptions::default() };
        let predictions = evaluate(&reader, &dataset(&["Who?"]), &options, threads(1), &()).expect("predictions");
        let long = predictions.iter().find(|prediction| prediction.windows > 1).expect("a long text");
        assert_eq!((long.text.as_str(), long.null_score, long.null_odds), ("", 1.5, 1.5));
        assert_eq!(long.n_best.len(), 1);
    }
}

#[test]
fn the_first_question_that_fails_is_named_before_anything_is_read() {
    let reader = fake(|_| unreachable!("the model is not run"));
    let options = AskOptions::default();
    for (question, part) in [(" ", "the question holds no word"), (&*"why ".repeat(120), "shorten the question")] {
        let dataset = dataset(&["Who?", question]);
        for count in [1, 3] {
            let error = evaluate(&reader, &dataset, &options, threads(count), &()).expect_err("no answer").to_string();
            let start = "cannot answer question \"0-1\" (data[0].paragraphs[0].qas[1] of made.json): ";
            assert!(error.starts_with(start) && error.contains(part), "{error}");
        }
    }
    let mut empty = dataset(&["Who?"]);
    empty.paragraphs[2].context = " \n".into();
    let error = evaluate(&reader, &empty, &options, threads(2), &()).expect_err("no text").to_string();
    assert!(
        error.contains("\"2-0\" (data[0].paragraphs[2].qas[0] of made.json): the context holds no word"),
        "{error}"
    );

    let absurd = fake(|ids| Ok(Logits { start: vec![3e38; ids.len()], end: vec![3e38; ids.len()] }));
    let error = evaluate(&absurd, &dataset(&["Who?"]), &options, threads(2), &()).expect_err("infinite").to_string();
    assert!(error.contains("\"0-0\"") && error.contains("not finite"), "{error}");

    let options = AskOptions { max_seq_len: Some(1000), ..options };
    let error = evaluate(&reader, &empty, &options, threads(2), &()).expect_err("too long");
    assert!(matches!(error, EvalError::Options(QaError::Option { option: "max_seq_len", .. })), "{error}");
}

#[test]
fn a_failure_stops_the_evaluation_soon() {
    static RUN: AtomicUsize = AtomicUsize::new(0);
    let failing =
        fake(|ids| if RUN.fetch_add(1, Ordering::Relaxed) < 3 { scrambled(ids) } else { Err(ModelError::NonFinite) });
    let dataset = dataset(&["Who?"; 100]);
    evaluate(&failing, &dataset, &AskOptions::default(), threads(2), &()).expect_err("it fails");
    assert!(RUN.load(Ordering::Relaxed) <= 5, "{RUN:?} runs");
}

#[test]
fn the_shipped_dataset_holds_the_shipped_texts_and_questions() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let bytes = fs::read(demo.join("squad.json")).expect("a file");
    let dataset = Dataset::parse("squad.json", &bytes).expect("a dataset");
    let json: Value = serde_json::from_slice(&bytes).expect("JSON");
    let names = ["lighthouse", "bees", "locomotive"];
    assert_eq!(dataset.paragraphs.len(), names.len());
    for ((name, paragraph), article) in
        names.iter().zip(&dataset.paragraphs).zip(json["data"].as_array().expect("a list"))
    {
        let shipped =
            |folder: &str| fs::read_to_string(demo.join(folder).join(name).with_extension("txt")).expect("a text");
        assert_eq!(paragraph.context, shipped("texts"));
        assert!(shipped("questions").lines().eq(paragraph.questions.iter().map(|question| question.text.as_str())));
        for qa in article["paragraphs"][0]["qas"].as_array().expect("a list") {
            let answers = qa["answers"].as_array().expect("a list");
            assert_eq!(qa["is_impossible"], answers.is_empty(), "{qa}");
            for answer in answers {
                let (text, start) = (answer["text"].as_str().expect("a text"), answer["answer_start"].as_u64());
                let there: String = paragraph
                    .context
                    .chars()
                    .skip(start.expect("a number") as usize)
                    .take(text.chars().count())
                    .collect();
                assert_eq!(there, text, "{qa}");
            }
        }
    }
}

#[test]
fn the_shipped_model_on_shipped_questions_is_evaluated_as_it_answers() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let reader = Reader::open(&demo.join("model.safetensors")).expect("the demo model");
    let mut dataset = Dataset::read(&demo.join("squad.json")).expect("a dataset");
    // One with an answer and one without, of each text.
    dataset.paragraphs.iter_mut().for_each(|paragraph| {
        let last = paragraph.questions.pop();
        paragraph.questions.truncate(1);
        paragraph.questions.extend(last);
    });
    let options = AskOptions::default();
    let evaluated = |count| timeless(evaluate(&reader, &dataset, &options, threads(count), &()).expect("predictions"));
    let predictions = evaluated(1);
    assert_eq!(evaluated(2), predictions);
    assert_eq!(evaluated(3), predictions);
    let texts: Vec<&str> = predictions.iter().map(|prediction| prediction.text.as_str()).collect();
    assert_eq!(texts, ["Jonas Ekdahl", "", "2,000", "", "Greta", ""], "as tests/demo.rs has them");

    let null_odds = files::null_odds(&predictions);
    let metrics = Metrics::new(&dataset, &files::texts(&predictions), Some(&null_odds), None).expect("metrics");
    assert_eq!((metrics.all.exact, metrics.all.f1, metrics.all.total), (100.0, 100.0, 6));
    let folder = tempdir().expect("a folder");
    let out = folder.path().join("new/folder");
    files::write(&out, &predictions, &metrics).expect("written");
    let read = files::read_predictions(&out.join(files::PREDICTIONS)).expect("predictions");
    let odds = files::read_null_odds(&out.join(files::NULL_ODDS)).expect("null odds");
    assert_eq!(Metrics::new(&dataset, &read, Some(&odds), None).expect("metrics"), metrics, "to the last bit");
}

#[test]
fn files_have_the_form_of_the_scripts() {
    let dataset = dataset(&["Who?", "What?"]);
    let predictions =
        evaluate(&fake(scrambled), &dataset, &AskOptions::default(), threads(2), &()).expect("predictions");
    let null_odds = files::null_odds(&predictions);
    let metrics = Metrics::new(&dataset, &files::texts(&predictions), Some(&null_odds), None).expect("metrics");
    let folder = tempdir().expect("a folder");
    fs::write(folder.path().join(files::PREDICTIONS), "old").expect("written");
    files::write(folder.path(), &predictions, &metrics).expect("written");
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("a file").file_name()).collect();
    names.sort_unstable();
    assert_eq!(names, [files::METRICS, files::N_BEST, files::NULL_ODDS, files::PREDICTIONS], "and nothing else");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a file");

    let texts = read(files::PREDICTIONS);
    assert!(texts.starts_with("{\n    \"0-0\": \"") && texts.ends_with("\"\n}\n"), "{texts}");
    let n_best: indexmap::IndexMap<String, Vec<Value>> = serde_json::from_str(&read(files::N_BEST)).expect("JSON");
    let parsed: Value = serde_json::from_str(&texts).expect("JSON");
    let odds: Value = serde_json::from_str(&read(files::NULL_ODDS)).expect("JSON");
    assert!(n_best.keys().eq(dataset.questions().map(|question| &question.id)), "in the order of the questions");
    for (entries, prediction) in n_best.values().zip(&predictions) {
        assert_eq!(parsed[&prediction.id], prediction.text);
        assert_eq!(odds[&prediction.id], f64::from(prediction.null_odds));
        assert_eq!(entries.iter().filter(|entry| entry["text"] == "").count(), 1, "null is an entry");
        for entry in entries {
            let keys: Vec<&String> = entry.as_object().expect("an object").keys().collect();
            assert_eq!(keys.len(), 5, "{keys:?}");
            assert!(
                ["score", "start_logit", "end_logit", "probability"].iter().all(|key| entry[key].is_f64()),
                "{entry}"
            );
        }
    }
    let blocked = folder.path().join(files::METRICS).join("folder");
    let error = files::write(&blocked, &predictions, &metrics).expect_err("not a folder").to_string();
    assert!(error.starts_with("cannot make the folder ") && error.contains("eval.json"), "{error}");
}
