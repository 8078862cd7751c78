//! Comparing an int8 model with the fp32 one that it was made from.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
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
use edgeqa_quantize::convert::{Input, Options, convert};
use serde_json::{Value, json};
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/exports")
}

/// Four paragraphs, the third of several windows; every other question has no answer.
fn data() -> Value {
    let text = "ada kept the light on the rock, and a log of ships. a seal came in the night. ";
    let paragraph = |p: usize| {
        let qas: Vec<Value> = ["who kept the light?", "what came?", "why on a rock?", "which ships?"]
            .iter()
            .enumerate()
            .map(|(q, question)| {
                let answers = if q % 2 == 0 { json!([{"text": "ada"}, {"text": "the light"}]) } else { json!([]) };
                json!({"id": format!("{p}-{q}"), "question": question, "answers": answers})
            })
            .collect();
        json!({"context": text.repeat([1, 2, 5, 1][p]), "qas": qas})
    };
    json!({"data": [{"paragraphs": (0..4).map(paragraph).collect::<Vec<_>>()}]})
}

fn dataset() -> Dataset {
    Dataset::parse("made.json", data().to_string().as_bytes()).expect("a dataset")
}

/// A folder with an int8 model, made of `ts5-op17`, and data.
struct Bench {
    folder: TempDir,
    int8: PathBuf,
    data: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (int8, file) = (folder.path().join("int8.safetensors"), folder.path().join("dev.json"));
        let tokenizer = Some(fixtures().join("tokenizer.json"));
        let input = Input::local(&fixtures().join("ts5-op17/model.onnx"), None, tokenizer).expect("input");
        convert(&input, &int8, &Options::default(), |_, _, _| {}).expect("converts");
        fs::write(&file, data().to_string()).expect("written");
        Self { folder, int8, data: file }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.int8).expect("a model")
    }

    /// Compares with the export `fp32`; logits are kept in the folder `cache`.
    fn command(&self, fp32: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeqa-quantize"));
        command.arg("compare").arg("--fp32").arg(fixtures().join(fp32));
        command.arg("--int8").arg(&self.int8).arg("--squad").arg(&self.data);
        command.env("XDG_CACHE_HOME", self.path("cache")).env_remove("RUST_LOG").args(args);
        command
    }

    fn run(&self, fp32: &str, args: &[&str]) -> Output {
        self.command(fp32, args).output().expect("runs")
    }

    fn json(&self, fp32: &str, args: &[&str]) -> Value {
        let output = self.command(fp32, args).arg("--json").output().expect("runs");
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The one file in the default cache.
    fn cached(&self) -> PathBuf {
        let mut files: Vec<PathBuf> = fs::read_dir(self.path("cache/edgeqa/fp32"))
            .expect("a cache")
            .map(|entry| entry.expect("a file").path())
            .collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("a thread")
}

/// What does not depend on the run: no times, threads and origin of the logits.
fn timeless(mut report: Value) -> Value {
    for side in ["fp32", "int8"] {
        for name in ["mean_seconds", "median_seconds"] {
            assert!(report["comparison"][side][name].take().as_f64().is_some_and(|seconds| seconds > 0.0));
        }
    }
    report["fp32_model"]["cached"].take();
    report["threads"].take();
    report
}

#[test]
fn markdown_says_what_was_found_and_what_it_is_worth() {
    let bench = Bench::new();
    let output = bench.run("ts5-op17/model.onnx", &["--limit", "8", "--seed", "3", "--null-threshold=-1000"]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for part in [
        "F1 of int8 is **1.0000** of that of fp32 (95 % interval 1.0000 to 1.0000).",
        "| questions | 8 about 2 paragraphs |",
        "of 16 in 4 paragraphs: whole paragraphs, drawn with seed 3 until there are at least 8 questions",
        "the exported graph, run by tract",
        "| sha256 of model.onnx | `",
        "| sha256 of config.json | `",
        "| sha256 of its data | `",
        "| int8 kernel | `gemm_i8_",
        "| null threshold | -1000 on both sides |",
        "| F1 | 50.0000 | 50.0000 | +0.0000 [+0.0000, +0.0000] | 1.0000 [1.0000, 1.0000] |",
        "| HasAns F1 | 0.0000 | 0.0000 | +0.0000 | undefined |",
        "| NoAns EM | 100.0000 | 100.0000 | +0.0000 | 1.0000 |",
        "percentiles of 10000 bootstrap draws of whole paragraphs with seed 45063, both sides drawn together",
        "| the same text | 8 | 100.00 % |",
        "| 99.9th percentile | ",
        "Null odds, int8 minus fp32: mean ",
        "No F1 changed on these 8 questions about 2 paragraphs",
        "- 2 paragraphs are few",
        "They say nothing about other kinds of text",
        "## The 8 worst questions",
        "   - right: \"ada\", \"the light\"\n   - fp32: no answer, F1 0.00, null odds ",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(!text.contains("Gate") && !text.contains("earlier run"), "{text}");
}

#[test]
fn a_second_run_reads_the_logits_and_says_the_same() {
    let bench = Bench::new();
    let first = bench.json("ts5-op17/model.onnx", &[]);
    assert_eq!(first["fp32_model"]["cached"], Value::Null);
    let file = bench.cached();
    let written = fs::metadata(&file).and_then(|m| m.modified()).expect("a time");
    let second = bench.json("ts5-op17/model.onnx", &["--threads", "3"]);
    assert_eq!(second["fp32_model"]["cached"], file.to_str().expect("UTF-8"));
    let times = |report: &Value| report["comparison"]["fp32"]["mean_seconds"].clone();
    assert_eq!(times(&first), times(&second), "the times of the run that was");
    assert_eq!(timeless(first), timeless(second.clone()));
    let text = String::from_utf8(bench.run("ts5-op17/model.onnx", &[]).stdout).expect("UTF-8");
    assert!(text.contains("are those of an earlier run"), "{text}");
    // Another threshold needs no other logits.
    let other = bench.json("ts5-op17/model.onnx", &["--null-threshold", "1.5"]);
    assert_eq!(other["fp32_model"]["cached"], second["fp32_model"]["cached"]);
    let fresh = bench.json("ts5-op17/model.onnx", &["--null-threshold", "1.5", "--no-cache"]);
    assert_eq!(fresh["fp32_model"]["cached"], Value::Null);
    assert_eq!(timeless(other), timeless(fresh));
    assert_eq!(fs::metadata(&file).and_then(|m| m.modified()).expect("a time"), written);
    // Other questions, another backend and other files do.
    for args in [&["--limit", "4"][..], &["--imported"]] {
        let folder = bench.path("other");
        let args = [args, &["--cache", folder.to_str().expect("UTF-8")]].concat();
        assert_eq!(bench.json("ts5-op17/model.onnx", &args)["fp32_model"]["cached"], Value::Null);
    }
    assert_eq!(fs::read_dir(bench.path("other")).expect("a folder").count(), 2);
    bench.cached();
}

#[test]
fn damaged_logits_are_reported_and_made_again() {
    let bench = Bench::new();
    let good = bench.json("ts5-op17/model.onnx", &[]);
    let file = bench.cached();
    let bytes = fs::read(&file).expect("a file");
    let header_end = 8 + u64::from_le_bytes(*bytes.first_chunk().expect("a header")) as usize;
    let changed = |place: usize| {
        let mut bytes = bytes.clone();
        bytes[place] ^= 1;
        bytes
    };
    let json_place = |part: &[u8]| bytes.windows(part.len()).position(|w| w == part).expect("in the header");
    for (damaged, reason) in [
        (changed(header_end + 11), "checksum"),
        (changed(bytes.len() - 1), "checksum"),
        (bytes[..bytes.len() - 4].to_vec(), ""),
        (bytes[..5].to_vec(), ""),
        (Vec::new(), ""),
        (changed(json_place(b"fp32 logits")), "not a file of fp32 logits"),
        (changed(json_place(b"graph")), "something else"),
    ] {
        fs::write(&file, &damaged).expect("written");
        let output = bench.run("ts5-op17/model.onnx", &["--json"]);
        let warning = stderr(&output);
        assert!(output.status.success() && warning.contains("cannot be used, so fp32 runs again"), "{warning}");
        assert!(warning.contains(reason) && warning.lines().count() == 1, "{reason}: {warning}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report["fp32_model"]["cached"], Value::Null);
        assert_eq!(timeless(report), timeless(good.clone()));
        assert!(bench.json("ts5-op17/model.onnx", &[])["fp32_model"]["cached"].is_string(), "replaced");
    }
    // A cache that cannot be written costs a warning.
    let blocked = bench.data.to_str().expect("UTF-8");
    let output = bench.run("ts5-op17/model.onnx", &["--json", "--cache", blocked]);
    assert!(output.status.success() && stderr(&output).contains("not kept for the next run"), "{}", stderr(&output));
}

#[test]
fn the_out_folder_has_both_reports_and_the_official_files() {
    let bench = Bench::new();
    let out = bench.path("some/where");
    let report = bench.json("ts5-op17/model.onnx", &["--out", out.to_str().expect("UTF-8"), "--threads", "1"]);
    let read = |name: &str| fs::read_to_string(out.join(name)).expect(name);
    assert_eq!(serde_json::from_str::<Value>(&read("report.json")).expect("JSON"), report);
    assert!(read("report.md").starts_with("# int8 against fp32\n"));
    for side in ["fp32", "int8"] {
        let metrics: Value = serde_json::from_str(&read(&format!("{side}/eval.json"))).expect("JSON");
        assert_eq!(metrics, report["comparison"][side]["metrics"]);
        for name in ["predictions.json", "nbest_predictions.json", "null_odds.json"] {
            let by_id: Value = serde_json::from_str(&read(&format!("{side}/{name}"))).expect("JSON");
            assert_eq!(by_id.as_object().map(|map| map.len()), Some(16));
        }
    }
    let answers = &report["comparison"]["answers"];
    let sum: u64 = ["identical", "changed_span", "to_no_answer", "from_no_answer"]
        .iter()
        .map(|kind| answers[kind].as_u64().expect("a count"))
        .sum();
    assert_eq!(sum, 16);
    assert_eq!(report["comparison"]["worst"].as_array().map(Vec::len), Some(16));
}

#[test]
fn a_gate_decides_the_exit_code() {
    let bench = Bench::new();
    let none = ["--null-threshold=-1000"];
    let gated = |ratio: &'static str| [none[0], "--min-f1-ratio", ratio];
    assert_eq!(bench.run("ts5-op17/model.onnx", &gated("1")).status.code(), Some(0));
    let failed = bench.run("ts5-op17/model.onnx", &gated("1.01"));
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        stderr(&failed).contains("1.0000 of that of fp32, below the 1.01 of --min-f1-ratio"),
        "{}",
        stderr(&failed)
    );
    let text = String::from_utf8_lossy(&failed.stdout).into_owned();
    assert!(text.contains("Gate: at least 1.01 of the F1 of fp32: **failed**"), "the report comes anyway: {text}");
    // Only questions with answers, and none is given: F1 is 0 on both sides.
    let mut all = data();
    for paragraph in all["data"][0]["paragraphs"].as_array_mut().expect("paragraphs") {
        paragraph["qas"].as_array_mut().expect("questions").retain(|qa| qa["answers"] != json!([]));
    }
    fs::write(&bench.data, all.to_string()).expect("written");
    let undefined = bench.run("ts5-op17/model.onnx", &gated("0.5"));
    assert_eq!(undefined.status.code(), Some(1));
    assert!(stderr(&undefined).contains("F1 of fp32 is 0"), "{}", stderr(&undefined));
    let text = String::from_utf8_lossy(&undefined.stdout).into_owned();
    assert!(text.contains("the ratio of int8 to it is undefined") && text.contains("**Warning:** fp32 has an F1 of 0"));
    let ungated = bench.json("ts5-op17/model.onnx", &none);
    assert_eq!((&ungated["comparison"]["f1"]["ratio"], &ungated["gate"]), (&Value::Null, &Value::Null));
}

#[test]
fn an_interval_wider_than_the_gate_is_warned_of() {
    let bench = Bench::new();
    let report = bench.json("ts5-op17/model.onnx", &["--limit", "1", "--null-threshold=-1000"]);
    assert!(report["warnings"][0].as_str().is_some_and(|w| w.contains("too few for an interval")), "{report}");
    let report = bench.json("ts5-op17/model.onnx", &["--null-threshold=-1000"]);
    assert!(
        report["warnings"][0].as_str().is_some_and(|w| w.contains("no F1 changed on these 16 questions")),
        "{report}"
    );
    let report = bench.json("ts5-op17/model.onnx", &["--null-threshold=-1000", "--min-f1-ratio", "0.5"]);
    assert_eq!(report["warnings"], json!([]), "the gate leaves more than that");
}

#[test]
fn every_kind_of_fp32_model_is_run() {
    let bench = Bench::new();
    let graph = bench.json("ts5-op17/model.onnx", &["--no-cache"]);
    assert_eq!(graph["fp32_model"]["backend"], "graph");
    let imported = bench.json("ts5-op17/model.onnx", &["--no-cache", "--imported"]);
    let folder = bench.json("base-hf", &["--no-cache"]);
    for report in [&imported, &folder] {
        assert_eq!(report["fp32_model"]["backend"], "imported");
        let rms = |report: &Value| report["comparison"]["logits"]["rms"].as_f64().expect("a number");
        assert!((rms(report) - rms(&graph)).abs() < 1e-5, "the same weights");
    }
    let external = bench.json("ts4-op17-external/model.onnx", &["--no-cache"]);
    assert_eq!(external["fp32_model"]["sha256"].as_object().map(|sums| sums.len()), Some(3), "with its data");
    let fixed = bench.run("ts4-op17-static40/model.onnx", &["--no-cache"]);
    assert_eq!(fixed.status.code(), Some(1));
    assert!(stderr(&fixed).contains("exported for exactly 40 tokens") && stderr(&fixed).contains("--imported"));
    bench.json("ts4-op17-static40/model.onnx", &["--no-cache", "--imported"]);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let bench = Bench::new();
    let fails = |output: Output, code: i32, words: &[&str]| {
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(words.iter().all(|word| stderr(&output).contains(word)), "{words:?} in {}", stderr(&output));
        assert!(output.stdout.is_empty());
    };
    fails(bench.run("cfg-heads2/model.onnx", &[]), 1, &["num_heads 2, the int8 model 4", "give the model that was"]);
    fails(bench.run("no-such.onnx", &[]), 1, &["no-such.onnx", "no such file"]);
    fails(bench.run("ts5-op17/model.onnx", &["--config", "nowhere.json"]), 1, &["nowhere.json", "--config"]);
    let data = bench.data.to_str().expect("UTF-8");
    fails(bench.run("ts5-op17/model.onnx", &["--out", data]), 1, &["cannot make the folder", data]);
    fs::write(&bench.data, r#"{"data": []}"#).expect("written");
    fails(bench.run("ts5-op17/model.onnx", &[]), 1, &["there is no question"]);
    for args in [
        &["--cache", "a", "--no-cache"][..],
        &["--seed", "1"],
        &["--limit", "0"],
        &["--threads", "0"],
        &["--min-f1-ratio", "0"],
        &["--min-f1-ratio", "NaN"],
        &["--null-threshold", "inf"],
        &["--out", "a", "--hub", "b/c"],
    ] {
        fails(bench.run("ts5-op17/model.onnx", args), 2, &[]);
    }
    let bare = Command::new(env!("CARGO_BIN_EXE_edgeqa-quantize")).arg("compare").output().expect("runs");
    fails(bare, 2, &["--fp32", "--int8", "--squad"]);
}

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
    // The first paragraph alone: -0.8 of 3; the second alone: -1 of 2.
    let [low, high] = found.f1.difference_interval.expect("an interval");
    assert!((low + 50.0).abs() < 1e-9 && (high + 80.0 / 3.0).abs() < 1e-9, "{low} {high}");
    let worst: Vec<&str> = found.worst.iter().map(|pair| pair.id.as_str()).collect();
    assert_eq!(worst, ["made", "lost", "none", "same", "span"], "by loss, then by change of null odds");
    let made = &found.worst[0];
    assert_eq!((made.fp32.as_str(), made.int8.as_str(), made.fp32_f1, made.int8_f1), ("", "x", 1.0, 0.0));
    assert_eq!((found.null_odds.max, found.null_odds.mean), (6.0, (-0.5 + 1.0 + 0.25 - 1.5 + 6.0) / 5.0));
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
