//! `edgeqa eval` as people and scripts use it.

use std::fs;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::common::program::{Bench, failure, run, success};

const DATA: &str = r#"{"version": "v2.0", "data": [{"title": "Rock", "paragraphs": [
    {"context": "Ada Morrow kept the light.", "qas": [
        {"id": "who", "question": "Who?", "answers": [{"text": "Ada Morrow", "answer_start": 0}]},
        {"id": "why", "question": "Why?", "answers": []}
    ]},
    {"context": "She kept a log of ships.", "qas": [
        {"id": "what", "question": "What?", "answers": [{"text": "a log"}]}
    ]},
    {"context": "A seal came.", "qas": [
        {"id": "seal", "question": "Which seal?", "answers": []}
    ]}
]}]}"#;

struct Eval {
    bench: Bench,
    data: String,
}

impl Eval {
    fn new() -> Self {
        let bench = Bench::new();
        let data = bench.file("dev.json", DATA);
        Self { bench, data }
    }

    /// Runs the model on the data.
    fn run(&self, args: &[&str]) -> Output {
        let model = self.bench.model.to_str().expect("UTF-8");
        run(self.bench.command(&["eval", "--squad", &self.data, "--model", model]).args(args), "")
    }

    /// Scores files.
    fn score(&self, args: &[&str]) -> Output {
        run(self.bench.command(&["eval", "--squad", &self.data]).args(args), "")
    }
}

fn json(output: Output) -> Value {
    serde_json::from_str(&success(output)).expect("JSON")
}

#[test]
fn json_says_everything() {
    let eval = Eval::new();
    let report = json(eval.run(&["--json", "--threads", "2", "--null-threshold", "-1.5"]));
    assert_eq!(report["data"]["file"], eval.data);
    assert_eq!(report["data"]["sha256"].as_str().map(str::len), Some(64));
    assert_eq!((&report["data"]["questions"], &report["data"]["paragraphs"]), (&4.into(), &3.into()));
    assert_eq!(report["data"]["subset"], Value::Null);
    let run = &report["run"];
    assert_eq!(run["model"], eval.bench.model.to_str().expect("UTF-8"));
    assert_eq!((&run["null_threshold"], &run["threads"]), (&Value::from(-1.5), &2.into()));
    assert_eq!((&run["max_answer_len"], &run["max_seq_len"]), (&30.into(), &96.into()));
    assert!(run["kernel"].as_str().is_some_and(|name| name.starts_with("gemm_i8_")), "{run}");
    assert_eq!(run["windows"], 4);
    for key in ["total", "mean", "median", "longest"] {
        assert!(run["seconds"][key].as_f64().is_some_and(|seconds| seconds > 0.0), "{run}");
    }
    let metrics = report["metrics"].as_object().expect("metrics");
    for key in ["exact", "f1", "HasAns_exact", "NoAns_f1", "best_exact", "best_exact_thresh", "best_f1_thresh"] {
        assert!(metrics[key].is_f64(), "{key} in {metrics:?}");
    }
    assert_eq!(
        (&metrics["total"], &metrics["HasAns_total"], &metrics["NoAns_total"]),
        (&4.into(), &2.into(), &2.into())
    );
    assert!(report.get("files").is_none());
}

#[test]
fn data_without_unanswerable_questions_wants_another_option() {
    let eval = Eval::new();
    let data = r#"{"data": [{"paragraphs": [{"context": "Ada kept the light.", "qas": [
        {"id": "who", "question": "Who kept it?", "answers": [{"text": "Ada", "answer_start": 0}]}]}]}]}"#;
    let (data, model) = (eval.bench.file("old.json", data), eval.bench.model.to_str().expect("UTF-8"));
    let warned = |data: &str, args: &[&str]| {
        let output = run(eval.bench.command(&["eval", "--squad", data, "--model", model]).args(args), "");
        assert!(output.status.success());
        String::from_utf8(output.stderr).expect("UTF-8").contains("--always-answer")
    };
    assert_eq!([&[][..], &["--limit", "1"], &["--always-answer"]].map(|args| warned(&data, args)), [true, true, false]);
    // A draw of one that has an answer is no such file.
    assert_eq!([&[][..], &["--limit", "1"]].map(|args| warned(&eval.data, args)), [false, false]);
}

#[test]
fn text_has_all_figures_under_their_official_names() {
    let eval = Eval::new();
    let text = success(eval.run(&["--threads", "1"]));
    let value = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))
            .unwrap_or_else(|| panic!("{name} in {text}"));
        line.trim_start_matches(name).trim().to_owned()
    };
    assert_eq!(value("questions"), "4 in 3 paragraphs");
    assert_eq!((value("total"), value("HasAns_total"), value("threads")), ("4".into(), "2".into(), "1".into()));
    assert_eq!(value("null threshold"), "0 (the model recommends none)");
    for name in ["exact", "f1", "HasAns_exact", "HasAns_f1", "NoAns_exact", "NoAns_f1", "best_exact", "best_f1_thresh"]
    {
        assert!(value(name).parse::<f64>().is_ok_and(f64::is_finite), "{name} in {text}");
    }
    assert!(value("time").ends_with(" windows") && value("per question").starts_with("mean "));
    assert!(text.contains("null odds exceed best_*_thresh") && !text.contains("NaN"), "{text}");
    assert!(!text.lines().any(|line| line.ends_with(' ')), "{text:?}");
    let always = success(eval.run(&["--always-answer"]));
    assert!(always.contains("null threshold     none (always answer)"), "{always}");
}

#[test]
fn the_files_score_as_the_run_did() {
    let eval = Eval::new();
    let out = eval.bench.folder.path().join("results");
    let out = out.to_str().expect("UTF-8");
    let file = |name: &str| format!("{out}/{name}");
    for args in [&["--always-answer"][..], &["--null-threshold", "0.25"], &["--limit", "1", "--seed", "3"]] {
        let report = json(eval.run(&[args, &["--json", "--out", out]].concat()));
        let (predictions, null_odds) = (file("predictions.json"), file("null_odds.json"));
        let part = if args[0] == "--limit" { args } else { &[] };
        let scored = ["--json", "--predictions", &predictions, "--null-odds", &null_odds];
        let again = json(eval.score(&[&scored, part].concat()));
        assert_eq!(again["metrics"], report["metrics"]);
        assert_eq!(again["data"], report["data"]);
        assert_eq!(again["files"]["predictions"], predictions);
        let written: Value = serde_json::from_slice(&fs::read(file("eval.json")).expect("a file")).expect("JSON");
        assert_eq!(written, report["metrics"]);
        let written: Value = serde_json::from_slice(&fs::read(file("run.json")).expect("a file")).expect("JSON");
        assert_eq!(written, report);
        let run = &report["run"];
        assert_eq!((&run["version"], &run["doc_stride"]), (&env!("CARGO_PKG_VERSION").into(), &128.into()));
        assert!(run["max_seq_len"].is_u64() && run["date"].as_str().is_some_and(|date| date.ends_with('Z')), "{run}");
    }
}

/// A data set that has the name of a result.
#[test]
fn results_do_not_replace_what_is_read() {
    let eval = Eval::new();
    let folder = eval.bench.folder.path().join("both");
    fs::create_dir(&folder).expect("made");
    let data = folder.join("predictions.json");
    fs::copy(&eval.data, &data).expect("copied");
    let (data, out) = (data.to_str().expect("UTF-8"), folder.to_str().expect("UTF-8"));
    let model = eval.bench.model.to_str().expect("UTF-8");
    let args = ["eval", "--squad", data, "--model", model, "--out", out];
    let error = failure(run(&mut eval.bench.command(&args), ""), 2);
    assert!(error.contains("predictions.json is an input; name another"), "{error}");
    assert_eq!(fs::read(data).expect("read"), fs::read(&eval.data).expect("read"));
}

#[cfg(target_os = "linux")]
#[test]
fn figures_are_printed_where_files_cannot_be_written() {
    let eval = Eval::new();
    let out = eval.bench.folder.path().join("results");
    // What is full is seen by who writes.
    fs::create_dir(&out).expect("made");
    std::os::unix::fs::symlink("/dev/full", out.join("null_odds.json")).expect("linked");
    let out = out.to_str().expect("UTF-8");
    let output = eval.run(&["--out", out]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("\nexact ") && text.contains("\nbest_f1 ") && !text.contains("written to"), "{text}");
    let error = failure(output, 1);
    assert!(error.contains(&format!("cannot write {out}/null_odds.json")), "{error}");
    let output = eval.run(&["--out", out, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["metrics"]["total"], &report["run"]["out"]), (&4.into(), &Value::Null));
    failure(output, 1);
}

#[test]
fn given_files_are_scored_without_a_model() {
    let eval = Eval::new();
    let predictions = eval.bench.file(
        "predictions.json",
        r#"{"who": "ada  morrow!", "why": "a log", "what": "log of ships", "seal": "", "other": "x"}"#,
    );
    let null_odds = eval.bench.file("odds.json", r#"{"who": -2, "why": 3.5, "what": 0, "seal": 9}"#);
    let figures = |args: &[&str]| {
        json(eval.score(&[&["--json", "--predictions", &predictions], args].concat()))["metrics"].clone()
    };
    let plain = figures(&[]);
    assert_eq!((&plain["exact"], &plain["f1"]), (&50.0.into(), &62.5.into()));
    assert!(plain.get("best_exact").is_none(), "without null odds there is no best threshold");
    assert_eq!(figures(&["--null-odds", &null_odds])["exact"], 50.0, "nothing is dropped by default");
    let dropped = figures(&["--null-odds", &null_odds, "--null-odds-threshold", "1"]);
    assert_eq!((&dropped["exact"], &dropped["NoAns_exact"]), (&75.0.into(), &100.0.into()));
    assert_eq!((&dropped["best_exact"], &dropped["best_exact_thresh"]), (&75.0.into(), &Value::from(-2.0)));
    let text = success(eval.score(&["--predictions", &predictions]));
    assert!(text.contains("exact              50.0000\n") && text.contains("null odds          none\n"), "{text}");

    let few = eval.bench.file("few.json", r#"{"who": ""}"#);
    let error = failure(eval.score(&["--predictions", &few]), 1);
    assert!(error.contains("3 of 4 questions have no prediction, first \"why\""), "{error}");
    let error = failure(eval.score(&["--predictions", &predictions, "--null-odds", &few]), 1);
    assert!(error.contains("few.json: who: invalid type: string"), "{error}");
}

#[test]
fn a_part_is_drawn_by_seed() {
    let eval = Eval::new();
    let subset = |seed: &str| json(eval.run(&["--json", "--limit", "2", "--seed", seed]))["data"].clone();
    let first = subset("1");
    assert_eq!(first, subset("1"));
    assert_eq!((&first["subset"]["limit"], &first["subset"]["seed"]), (&2.into(), &1.into()));
    assert_eq!((&first["subset"]["of_questions"], &first["subset"]["of_paragraphs"]), (&4.into(), &3.into()));
    assert!(first["questions"].as_u64().is_some_and(|count| (2..=3).contains(&count)), "{first}");
    let text = success(eval.run(&["--limit", "1"]));
    assert!(text.contains("of 4 in 3 paragraphs, drawn with seed 0:\n"), "{text}");
    assert!(text.contains("whole paragraphs, until there are at least 1 questions"), "{text}");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let eval = Eval::new();
    let data = |content: &str| {
        let path = eval.bench.file("bad.json", content);
        failure(run(&mut eval.bench.command(&["eval", "--squad", &path]), ""), 1)
    };
    let error = data(r#"{"data": [{"paragraphs": [{"context": "x", "qas": "none"}]}]}"#);
    assert!(error.starts_with("edgeqa: error: ") && error.lines().count() == 1, "{error}");
    assert!(
        error.contains(
            "bad.json: data[0].paragraphs[0].qas: invalid type: string \"none\", expected a sequence at line 1"
        ),
        "{error}"
    );
    assert!(data("{\"data\": []}").contains("there is no question"));
    let error = failure(run(&mut eval.bench.command(&["eval", "--squad", "absent.json"]), ""), 1);
    assert_eq!(error.matches("No such file").count(), 1, "{error}");
    let error = failure(run(&mut eval.bench.command(&["eval", "--squad", &eval.data]), ""), 1);
    assert!(error.contains("found no model"), "{error}");
    // Before a model is read, which may not be there either.
    let out = |folder: &str| {
        let args = ["eval", "--squad", &eval.data, "--model", "absent.safetensors", "--out", folder];
        failure(run(&mut eval.bench.command(&args), ""), 1)
    };
    let error = out(&format!("{}/results", eval.data));
    assert!(error.contains("cannot make the folder"), "{error}");
    if cfg!(target_os = "linux") {
        assert!(out("/proc/self").contains("cannot write /proc/self/predictions.json"), "nobody writes there");
    }
    let folder = eval.bench.folder.path().join("taken");
    fs::create_dir_all(folder.join("null_odds.json")).expect("made");
    let error = out(folder.to_str().expect("UTF-8"));
    assert!(error.contains("cannot write ") && error.contains("taken/null_odds.json"), "{error}");

    let blank = eval.bench.file("blank.json", DATA.replace("Why?", " "));
    let model = eval.bench.model.to_str().expect("UTF-8");
    let error = failure(run(&mut eval.bench.command(&["eval", "--squad", &blank, "--model", model]), ""), 1);
    let expected = "cannot answer question \"why\" (data[0].paragraphs[0].qas[1] of ";
    assert!(error.contains(expected) && error.matches("the question holds no word").count() == 1, "{error}");
}

#[test]
fn wrong_usage_has_its_exit_code() {
    let eval = Eval::new();
    for args in [
        &["--threads", "0"][..],
        &["--threads", "1025"],
        &["--limit", "0"],
        &["--seed", "1"],
        &["--max-answer-len", "0"],
        &["--max-seq-len", "97"],
        &["--null-threshold", "1", "--always-answer"],
        &["--predictions", "x"],
        &["--null-odds", "x"],
        &["--null-odds-threshold", "1"],
        &["--top-k", "2"],
    ] {
        let error = failure(eval.run(args), 2);
        assert!(error.contains("error: "), "{args:?}: {error}");
    }
    for args in [
        &["--threads", "1"][..],
        &["--verify"],
        &["--model", "x"],
        &["--mlock"],
        &["--always-answer"],
        &["--max-answer-len", "30"],
        &["--doc-stride", "8"],
        &["--out", "x"],
        &["--null-odds-threshold", "1"],
        &["--null-odds", "x", "--null-odds-threshold", "inf"],
    ] {
        failure(eval.score(&[&["--predictions", "x"], args].concat()), 2);
    }
    assert!(failure(run(&mut eval.bench.command(&["eval"]), ""), 2).contains("--squad"));
    let error = failure(run(&mut eval.bench.command(&["eval", "--squad", "-"]), ""), 2);
    assert!(error.contains("--squad - is no file; give a file, such as /dev/stdin"), "{error}");
}

#[test]
fn help_has_defaults_and_examples() {
    let bench = Bench::new();
    let help = success(run(&mut bench.command(&["eval", "--help"]), ""));
    assert!(help.lines().all(|line| line.len() <= 100), "{help}");
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "Examples:",
        "[default: 0]",
        "[default: 30]",
        "EDGEQA_MODEL",
        "number of available cores",
        "--na-prob-thresh 1e9",
    ] {
        assert!(help.contains(part), "{part:?} in {help}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let eval = Eval::new();
    let predictions = eval.bench.file("predictions.json", r#"{"who": "", "why": "", "what": "", "seal": ""}"#);
    let mut command = eval.bench.command(&["eval", "--squad", &eval.data, "--predictions", &predictions]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    drop(child.stdout.take());
    assert_eq!(success(child.wait_with_output().expect("ended")), "");
}
