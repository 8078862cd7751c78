//! `edgeqa bench` as people and scripts use it.

use std::fs;

use edgeqa::artifact::Artifact;
use serde_json::Value;

use crate::common::program::{Bench, failure, run, success};
use crate::common::skip::skipped;

/// Few runs of a tiny model.
const QUICK: [&str; 11] =
    ["--lengths", "24,48", "--threads", "1,2", "--min-runs", "9", "--min-time", "0", "--rounds", "3", "--starts"];

/// `sha256sum models/demo/texts/lighthouse.txt`, and of the usual questions, one per line without a line feed at the end.
const SUMS: [&str; 2] = [
    "b0f7a4a31244b404489c7931be554ec35948fc5537a4d59a590e9d63ab5487c7",
    "74da3597b78a0a8793ffd0b90d68860908e050fab743449cda04e17ccba6d726",
];

/// Runs `bench` with the tiny model; errors are not expected, warnings of a busy machine are.
fn bench(bench: &Bench, args: &[&str]) -> String {
    let model = bench.model.to_str().expect("UTF-8");
    success(run(bench.command(&["bench", "--model", model]).args(args), ""))
}

fn quick(folder: &Bench, args: &[&str]) -> Value {
    serde_json::from_str(&bench(folder, &[&QUICK[..], &["2", "--json"], args].concat())).expect("JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|number| number.as_f64().expect("a number")).collect()
}

/// The percentile by counting: the value with `rank` others below, and the part of the way to the next.
fn percentile(times: &[f64], percent: usize) -> f64 {
    let value = |rank: usize| {
        let below = |x: f64| times.iter().filter(|y| **y < x).count();
        let upto = |x: f64| times.iter().filter(|y| **y <= x).count();
        *times.iter().find(|x| below(**x) <= rank && rank < upto(**x)).expect("a value of that rank")
    };
    let hundredths = percent * (times.len() - 1);
    let (rank, part) = (hundredths / 100, (hundredths % 100) as f64 / 100.0);
    if part == 0.0 { value(rank) } else { value(rank) * (1.0 - part) + value(rank + 1) * part }
}

fn assert_close(found: &Value, want: f64) {
    let found = found.as_f64().expect("a number");
    assert!((found - want).abs() <= 1e-9 * want.abs(), "{found} {want}");
}

#[test]
fn figures_follow_from_the_raw_times_and_pages_are_written() {
    let folder = Bench::new();
    let (page, file) = (folder.folder.path().join("page.html"), folder.folder.path().join("record.json"));
    let paths = [page.to_str().expect("UTF-8"), file.to_str().expect("UTF-8")];
    let record = quick(&folder, &["--html", paths[0], "--out", paths[1]]);
    let points = record["points"].as_array().expect("points");
    let at: Vec<_> = points.iter().map(|point| (point["tokens"].as_u64(), point["threads"].as_u64())).collect();
    let of = |tokens, threads| (Some(tokens), Some(threads));
    assert_eq!(at, [of(24, 1), of(48, 1), of(24, 2), of(48, 2)]);
    let questions = record["questions"].as_array().expect("questions");
    assert_eq!(questions.len(), 2);
    for point in points.iter().chain(questions) {
        let processes = point["seconds"].as_array().expect("processes");
        assert_eq!(processes.len(), 3, "{point}");
        let times: Vec<f64> = processes.iter().flat_map(numbers).collect();
        assert_eq!(times.len(), 9, "{point}");
        let summary = &point["summary"];
        assert_eq!(summary["runs"], 9);
        for (name, percent) in [("min", 0), ("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)] {
            assert_close(&summary[name], percentile(&times, percent));
        }
        let mean = times.iter().sum::<f64>() / 9.0;
        assert_close(&summary["mean"], mean);
        let squares: f64 = times.iter().map(|time| time * time).sum();
        let variance = (squares - 9.0 * mean * mean) / 8.0;
        let deviation = summary["deviation"].as_f64().expect("a number");
        assert!((deviation * deviation - variance).abs() <= 1e-6 * mean * mean, "{deviation} {variance}");
        match point["tokens"].as_f64() {
            Some(tokens) => assert_close(&point["tokens_per_second"], tokens / percentile(&times, 50)),
            None => assert_close(&point["per_second"], 1.0 / mean),
        }
        assert_eq!(point["failure"], Value::Null);
        if cfg!(target_os = "linux") {
            let memory = |name: &str| point["memory"][name].as_u64().expect("bytes");
            assert!(memory("peak") >= memory("resident") && memory("resident") >= memory("pss"), "{point}");
            assert!(memory("resident") > memory("private_dirty") && memory("private_dirty") > 0, "{point}");
            assert!(point["minor_faults"].is_f64() && point["major_faults"].is_f64(), "{point}");
        }
    }
    for starts in [&record["load"], &record["first_answer"]] {
        assert_eq!(starts["warm"].as_array().map(Vec::len), Some(2), "{starts}");
        let cold = starts["cold"].as_array().expect("times").len();
        assert!(
            cold == 2 || starts["note"].as_str().is_some_and(|note| note.starts_with("not measured: ")),
            "{starts}"
        );
    }
    let sha256 = |name: &str| record[name]["sha256"].as_str().map(str::len);
    assert_eq!((sha256("model"), sha256("program")), (Some(64), Some(64)));
    assert_eq!(["text_sha256", "questions_sha256"].map(|name| &record["settings"][name]), SUMS);
    assert_eq!([&record["load"]["threads"], &record["first_answer"]["threads"]], [2, 2]);
    assert_eq!(record["limit"], Value::Null);

    let written: Value = serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
    assert_eq!(written, record);
    let page = fs::read_to_string(&page).expect("a file");
    assert_eq!((page.matches("<svg ").count(), page.contains("<script")), (3, false));

    // A record differs from itself by nothing.
    let compare =
        |args: &[&str]| success(run(folder.command(&["bench", "--compare", paths[1], paths[1]]).args(args), ""));
    let same = compare(&[]);
    assert!(same.contains("1.000") && same.contains("not judged: ") && !same.contains("slower"), "{same}");
    let same: Value = serde_json::from_str(&compare(&["--json"])).expect("JSON");
    assert_eq!(
        same["rows"].as_array().map(|rows| rows.iter().filter(|row| row["others"][0]["exceeds_noise"] == true).count()),
        Some(0)
    );
    let markdown = compare(&["--markdown"]);
    assert!(markdown.starts_with("# edgeqa bench: comparison\n"), "{markdown}");
    let other = folder.file("other.json", "{}");
    let error = failure(run(&mut folder.command(&["bench", "--compare", paths[1], &other]), ""), 1);
    assert!(error.contains("other.json is no record of edgeqa bench"), "{error}");
}

#[test]
fn one_s_own_text_is_read_and_a_table_shown() {
    let folder = Bench::new();
    let text = folder.file("text.txt", "Ada Morrow kept the light and a log of ships. ".repeat(20));
    let questions = folder.file("questions.txt", "Who kept the light?\n\nWhat log?\n");
    let args = [
        "--lengths",
        "32, 40",
        "--threads",
        "1",
        "--min-runs",
        "2",
        "--min-time",
        "0",
        "--rounds",
        "1",
        "--starts",
        "0",
    ];
    let page = bench(&folder, &[&args[..], &["--text", &text, "--questions", &questions]].concat());
    assert!(page.contains("\n  tokens  threads "), "{page}");
    assert!(page.contains(&format!("2 questions on {text}, 920 bytes")), "{page}");
    assert!(page.contains("\n  throttled ") && page.contains("\n  kernel  "), "{page}");
    assert!(!page.lines().any(|line| line.ends_with(' ')), "{page:?}");
    let markdown = bench(&folder, &[&args[..], &["--markdown"]].concat());
    assert!(markdown.contains("| tokens | threads | min | p50 |"), "{markdown}");
}

/// Whoever enforces the limit: what fits is measured, what does not is said.
#[test]
fn a_limit_is_obeyed_and_named() {
    if !cfg!(target_os = "linux") {
        skipped("a_limit_is_obeyed_and_named: no limits here");
        return;
    }
    let folder = Bench::new();
    let limited = |limit: &str| {
        let model = folder.model.to_str().expect("UTF-8");
        let args = [&QUICK[..], &["0", "--json", "--memory-limit", limit]].concat();
        run(folder.command(&["bench", "--model", model]).args(args), "")
    };
    let record: Value = serde_json::from_str(&success(limited("512M"))).expect("JSON");
    let limit = &record["limit"];
    assert_eq!(limit["bytes"], 512 << 20);
    println!("limited by {}", limit["by"]);
    assert!(
        limit["by"].is_string() && limit["meaning"].as_str().is_some_and(|meaning| meaning.contains("memory")),
        "{limit}"
    );
    // A process that maps the model keeps it from being counted.
    let mapped = folder.folder.path().join("model.safetensors");
    let kept = Artifact::open(&mapped).expect("a model");
    kept.prefault();
    let record: Value = serde_json::from_str(&success(limited("512M"))).expect("JSON");
    drop(kept);
    let group = limit["by"].as_str().is_some_and(|by| by.starts_with("control group"));
    if group {
        let told = |text: &Value| text.as_str().is_some_and(|text| text.contains("may not count the model"));
        assert!(record["warnings"].as_array().is_some_and(|all| all.iter().any(told)), "{record}");
        assert!(
            record["limit"]["meaning"].as_str().is_some_and(|meaning| !meaning.contains("was dropped")),
            "{record}"
        );
    } else {
        skipped("a_limit_is_obeyed_and_named: control groups cannot be made here");
    }
    if group {
        let error = failure(limited("1M"), 1);
        assert!(error.contains("nothing could be measured: "), "{error}");
        return;
    }
    // Pages of files do not count, so that a thread alone may do with that little, but there is no room for the stack of another one.
    let record: Value = serde_json::from_str(&success(limited("1M"))).expect("JSON");
    let points = record["points"].as_array().expect("points");
    let two: Vec<_> = points.iter().filter(|point| point["threads"] == 2).collect();
    assert!(!two.is_empty() && two.iter().all(|point| point["failure"].is_string()), "{record}");
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = Bench::new();
    let model = folder.model.to_str().expect("UTF-8");
    let refused = |args: &[&str]| failure(run(folder.command(&["bench", "--model", model]).args(args), ""), 2);
    let error = refused(&["--lengths", "97", "--threads", "1"]);
    assert!(error.contains("--lengths 97: this model takes ") && error.contains(" to 96 tokens"), "{error}");
    let most = usize::MAX.to_string();
    let error = refused(&["--lengths", &most, "--threads", "1"]);
    assert!(error.contains(&format!("--lengths {most}: this model takes ")), "{error}");
    for args in [
        &["--lengths", "0"][..],
        &["--threads", "0"],
        &["--rounds", "0"],
        &["--rounds", "-1"],
        &["--min-time", "-1"],
        &["--min-time", "nan"],
        &["--memory-limit", "64X"],
        &["--text", "x"],
        &["--compare", "a.json"],
        &["--json", "--markdown"],
    ] {
        refused(args);
    }
    assert!(refused(&["--min-time", "-1"]).contains("'-1' for '--min-time <S>'"));
    let compared = |records: &[&str]| failure(run(folder.command(&["bench", "--compare"]).args(records), ""), 2);
    assert!(compared(&["record.json"; 27]).contains("--compare takes 26 records at most; here are 27"));
    assert!(compared(&["a.json", "-"]).contains("--compare - is no file; give a file, such as /dev/stdin"));
    let error = refused(&["--out", "-"]);
    assert!(error.contains("--out - is no file; --json prints to standard output"), "{error}");
    // What is read stays as it is.
    let (text, copy) = (folder.file("text.txt", "Ada kept it."), folder.file("copy.txt", "Who?"));
    let linked = folder.folder.path().join("linked.json");
    std::fs::hard_link(&text, &linked).expect("linked");
    let linked = linked.to_str().expect("UTF-8");
    for args in [
        &["--out", model][..],
        &["--html", model],
        &["--text", &text, "--questions", &copy, "--out", &text],
        &["--text", &text, "--questions", &copy, "--html", &copy],
        &["--text", &text, "--questions", &copy, "--out", linked],
    ] {
        let error = refused(args);
        assert!(error.contains("is an input; name another file for the output"), "{error}");
    }
    let compare = ["bench", "--compare", &text, &copy, "--out", &copy];
    let error = failure(run(&mut folder.command(&compare), ""), 2);
    assert!(error.contains("copy.txt is an input"), "{error}");
    assert_eq!([&text, &copy].map(|file| std::fs::read_to_string(file).expect("read")), ["Ada kept it.", "Who?"]);
    let error = refused(&["--text", "-", "--questions", "-"]);
    assert!(
        error.contains("give one of them as a file") && error.contains("--text FILE or --questions FILE"),
        "{error}"
    );
    // In the words of these options.
    let (empty, folder_name) = (folder.file("empty.txt", " \n"), folder.folder.path().to_str().expect("UTF-8"));
    let line = folder.file("line.txt", "Why?");
    for (text, questions, said) in [
        (&empty[..], &line[..], "empty.txt holds no text; give a file with --text"),
        (folder_name, &line, "is a folder; give a file with --text"),
        (&line, folder_name, "is a folder; give a file with one question per line"),
    ] {
        let args = ["bench", "--model", model, "--text", text, "--questions", questions];
        let error = failure(run(&mut folder.command(&args), ""), 1);
        assert!(error.contains(said) && !error.contains("--docs") && !error.contains("--context"), "{error}");
    }
    let error = refused(&["--text", &line, "--questions", &empty]);
    assert!(error.contains("empty.txt holds no question; write one per line"), "{error}");
    // Before anything is measured, for which it says nothing about the length.
    for target in ["--out", "--html"] {
        let args = ["bench", "--model", model, "--lengths", "97", target, "missing/file"];
        let error = failure(run(&mut folder.command(&args), ""), 1);
        assert!(error.contains("cannot write missing/file: ") && !error.contains(".tmp"), "{error}");
    }
    let long = folder.file("long.txt", "why ".repeat(200));
    // Not the first one.
    let questions = folder.file("questions.txt", format!("Why?\n{}", "why ".repeat(200)));
    let args = ["bench", "--model", model, "--questions", &questions, "--text", &long];
    let error = failure(run(&mut folder.command(&args), ""), 1);
    assert!(error.contains("cannot ask \"why why ") && error.contains("it has 600 tokens"), "{error}");
    assert!(error.contains("shorten it") && !error.contains("--max-seq-len"), "{error}");
    let error = failure(run(&mut folder.command(&["bench", "--worker"]), "{}"), 1);
    assert!(error.contains("missing field"), "{error}");
}

#[test]
fn a_model_may_have_any_name() {
    use std::os::unix::ffi::OsStrExt;
    let folder = Bench::new();
    let model = folder.folder.path().join(std::ffi::OsStr::from_bytes(b"m\xff.safetensors"));
    fs::copy(&folder.model, &model).expect("copied");
    let page =
        success(run(folder.command(&["bench", "--starts", "0"]).args(&QUICK[..10]).arg("--model").arg(model), ""));
    assert!(page.contains("m\u{fffd}.safetensors"), "{page}");
}

#[test]
fn usual_lengths_are_those_that_the_question_leaves_room_for() {
    let folder = Bench::new();
    let question = folder.file("questions.txt", "why ".repeat(13));
    let text = folder.file("text.txt", "because ".repeat(40));
    let args = [
        "--questions",
        &question,
        "--text",
        &text,
        "--threads",
        "1",
        "--min-runs",
        "1",
        "--min-time",
        "0",
        "--rounds",
        "1",
    ];
    let page = bench(&folder, &[&args[..], &["--starts", "0", "--json"]].concat());
    let record: Value = serde_json::from_str(&page).expect("JSON");
    let tokens: Vec<_> = record["points"].as_array().expect("points").iter().map(|point| &point["tokens"]).collect();
    assert_eq!(tokens, [64]);
}
