//! Comparing by calls of the library.

use std::sync::atomic::{AtomicUsize, Ordering};

use edgeqa::artifact::Artifact;
use edgeqa::config::ModelConfig;
use edgeqa::eval::{Dataset, NBestEntry, Prediction, evaluate};
use edgeqa::model::{Logits, ModelError};
use edgeqa::qa::{AskOptions, Reader, Scorer};
use edgeqa::tokenizer::QaTokenizer;
use edgeqa_quantize::compare::cache::{self, Identity};
use edgeqa_quantize::compare::fp32::{Backend, Fp32};
use edgeqa_quantize::compare::logits::LogitError;
use edgeqa_quantize::compare::paired::Answers;
use edgeqa_quantize::compare::{Comparison, Recording, Reference, Task, compare};
use serde_json::json;

use super::{Bench, dataset, fixtures, threads};

/// Counts how often it is asked.
struct Counting<'a, M> {
    model: &'a M,
    calls: &'a AtomicUsize,
}

impl<M: Scorer> Scorer for Counting<'_, M> {
    fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    fn logits(&self, ids: &[i64], types: Option<&[i64]>) -> Result<Logits, ModelError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.model.logits(ids, types)
    }
}

#[test]
fn a_model_compared_with_itself_is_the_same_and_runs_once() {
    let bench = Bench::new();
    let (reader, dataset, options) = (bench.reader(), dataset(), AskOptions::default());
    let task = |count| Task { reader: &reader, dataset: &dataset, options: &options, threads: threads(count) };
    let sums = || ["5e".repeat(32)];
    let identity = Identity::new(Backend::Imported, reader.config(), sums(), "7a".repeat(32), &task(1));
    let (calls, cache) = (AtomicUsize::new(0), bench.path("cache"));
    let reference = |count| {
        let load = || Ok(Counting { model: reader.model(), calls: &calls });
        Reference::run_or_cached(Some(&cache), &identity, load, &task(count), &()).expect("a reference")
    };
    let first = reference(3);
    let windows = calls.load(Ordering::Relaxed);
    assert_eq!(windows, first.recording.window_len().len());
    assert!(windows > dataset.question_count() && first.cached.is_none());
    let second = reference(1);
    assert_eq!(calls.load(Ordering::Relaxed), windows, "nothing was run again");
    assert_eq!(second.cached.as_deref(), Some(&*identity.file(&cache).expect("a name")));
    assert_eq!((&second.predictions, &second.recording), (&first.predictions, &first.recording));

    let mut reports = Vec::new();
    for (reference, count) in [(&first, 1), (&second, 2), (&second, 5)] {
        let found = compare(reference, &task(count), &()).expect("a comparison");
        assert_eq!((found.f1_ratio(), found.passes(1.0)), (Some(1.0), true), "some answers are right");
        assert_eq!(found.answers, Answers { identical: 16, ..Answers::default() });
        assert_eq!((found.logits.max, found.null_odds.max, found.f1.difference), (0.0, 0.0, 0.0));
        let mut report = serde_json::to_value(&found).expect("JSON");
        ["fp32", "int8"].iter().for_each(|side| {
            report[side]["mean_seconds"].take();
            report[side]["median_seconds"].take();
        });
        reports.push(report);
    }
    assert!(reports.iter().all(|report| *report == reports[0]));

    // Other questions or windows cannot be compared with it.
    let part = dataset.sample(4, 0);
    let other = Task { dataset: &part, ..task(1) };
    assert!(compare(&first, &other, &()).expect_err("refused").to_string().contains("other questions"));
    let narrow = AskOptions { max_seq_len: Some(40), ..AskOptions::default() };
    let other = Task { options: &narrow, ..task(1) };
    assert!(compare(&first, &other, &()).expect_err("refused").to_string().contains("different windows"));
    assert!(first.recording.replay(&other).is_err());
    let other = Identity::new(Backend::Graph, reader.config(), sums(), "7a".repeat(32), &task(1));
    assert!(cache::read(&identity.file(&cache).expect("a name"), &other).is_err(), "another model's logits");
}

#[test]
fn logits_replay_to_what_the_model_answers_under_any_options() {
    let bench = Bench::new();
    let (reader, dataset) = (bench.reader(), dataset());
    let fp32 = Fp32::open(&fixtures().join("ts5-op17/model.onnx"), None, false).expect("a model").load().expect("runs");
    let tokenizer = QaTokenizer::from_artifact(&Artifact::open(&bench.int8).expect("a model")).expect("a tokenizer");
    let fp32_reader = Reader::new(tokenizer, fp32, 0.0);
    let options = AskOptions::default();
    let task = Task { reader: &reader, dataset: &dataset, options: &options, threads: threads(2) };
    let reference = Reference::run(fp32_reader.model(), &task, &()).expect("a reference");
    for (null_threshold, max_answer_len, always_answer) in
        [(None, 30, false), (Some(-0.5), 3, false), (Some(9.0), 1, false), (None, 2, true)]
    {
        let options = AskOptions { null_threshold, max_answer_len, always_answer, ..AskOptions::default() };
        let replayed = reference.recording.replay(&Task { options: &options, ..task }).expect("predictions");
        let mut expected = evaluate(&fp32_reader, &dataset, &options, threads(1), &()).expect("predictions");
        for (prediction, &seconds) in expected.iter_mut().zip(reference.recording.seconds()) {
            prediction.seconds = seconds;
        }
        assert_eq!(replayed, expected);
    }
}

fn prediction(id: &str, text: &str, null_odds: f32) -> Prediction {
    let entry = NBestEntry { score: 1.0, start_logit: 0.5, end_logit: 0.5, text: text.into(), probability: 1.0 };
    let seconds = 0.5;
    Prediction {
        id: id.into(),
        text: String::new(),
        null_score: 0.0,
        null_odds,
        n_best: vec![entry],
        windows: 1,
        seconds,
    }
}

#[test]
fn answers_are_counted_and_ranked() {
    let json = json!({"data": [{"paragraphs": [
        {"context": "c", "qas": [
            {"id": "same", "question": "?", "answers": [{"text": "grey seals"}]},
            {"id": "span", "question": "?", "answers": [{"text": "two grey seals"}]},
            {"id": "lost", "question": "?", "answers": [{"text": "a rock"}]},
        ]},
        {"context": "d", "qas": [
            {"id": "made", "question": "?", "answers": []},
            {"id": "none", "question": "?", "answers": []},
        ]},
    ]}]});
    let dataset = Dataset::parse("made.json", json.to_string().as_bytes()).expect("a dataset");
    // Above 2.0 there is no answer.
    let fp32 = vec![
        prediction("same", "grey seals", -1.0),
        prediction("span", "two seals", 0.0),
        prediction("lost", "the rock", 2.0),
        prediction("made", "x", 2.5),
        prediction("none", "x", 3.0),
    ];
    let int8 = vec![
        prediction("same", "grey seals", -1.5),
        prediction("span", "two grey seals", 1.0),
        prediction("lost", "the rock", 2.25),
        prediction("made", "x", 1.0),
        prediction("none", "y", 9.0),
    ];
    let recording = Recording::new(vec![0.0], vec![1.0], vec![1], vec![1], vec![0.5]).expect("fits");
    let logits = LogitError::new(&recording, &recording).expect("the same");
    let found = Comparison::new(&dataset, Some(2.0), fp32, int8, logits).expect("a comparison");
    let expected = Answers { identical: 2, changed_span: 1, to_no_answer: 1, from_no_answer: 1, better: 1, worse: 2 };
    assert_eq!(found.answers, expected);
    // F1 of fp32: 1, 0.8, 1, 1, 1; of int8: 1, 1, 0, 0, 1.
    assert!((found.fp32.metrics.all.f1 - 96.0).abs() < 1e-9 && (found.int8.metrics.all.f1 - 60.0).abs() < 1e-9);
    assert!((found.f1.difference + 36.0).abs() < 1e-9);
    assert!(found.f1_ratio().is_some_and(|ratio| (ratio - 0.625).abs() < 1e-12));
    assert!(found.passes(0.62) && !found.passes(0.63));
    // The mean paragraph loses 0.9 of 2.5, those that are made 1.9, or win 0.1.
    let [low, high] = found.f1.difference_interval.expect("an interval");
    assert!((low + 76.0).abs() < 1e-9 && (high - 4.0).abs() < 1e-9, "{low} {high}");
    assert_eq!(found.flips_p, 1.0, "one each");
    let worst: Vec<&str> = found.worst.iter().map(|pair| pair.id.as_str()).collect();
    assert_eq!(worst, ["made", "lost", "none", "same", "span"], "by loss, then by change of null odds");
    let made = &found.worst[0];
    assert_eq!((made.fp32.as_str(), made.int8.as_str(), made.fp32_f1, made.int8_f1), ("", "x", 1.0, 0.0));
    assert_eq!((found.null_odds.max, found.null_odds.mean), (6.0, (-0.5 + 1.0 + 0.25 - 1.5 + 6.0) / 5.0));
    // The mean is 1.05, the sums of the paragraphs 0.75 of 3 and 4.5 of 2: 2.4 below and above.
    assert!(
        found.null_odds.standard_error.is_some_and(|error| (error - (4.0f64 * 2.4 * 2.4).sqrt() / 5.0).abs() < 1e-7)
    );
    assert_eq!((found.fp32.mean_seconds, found.int8.median_seconds), (0.5, 0.5));
}

#[test]
fn the_failure_of_a_model_names_the_question() {
    struct Failing(ModelConfig);
    impl Scorer for Failing {
        fn config(&self) -> &ModelConfig {
            &self.0
        }
        fn logits(&self, ids: &[i64], _: Option<&[i64]>) -> Result<Logits, ModelError> {
            Ok(Logits { start: vec![0.0; ids.len()], end: vec![0.0; ids.len() - 1] })
        }
    }
    let bench = Bench::new();
    let (reader, dataset, options) = (bench.reader(), dataset(), AskOptions::default());
    let task = Task { reader: &reader, dataset: &dataset, options: &options, threads: threads(1) };
    let error = Reference::run(&Failing(reader.config().clone()), &task, &()).expect_err("a logit is missing");
    let error = format!("{error:#}");
    assert!(error.starts_with("the fp32 model cannot answer: question \"0-0\": "), "{error}");
    assert!(error.contains("64 start and 63 end logits for a window of 64 tokens"), "{error}");
}
