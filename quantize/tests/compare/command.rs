//! `edgeqa-quantize compare`: its reports, its cache, its gate, and what it refuses.

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::{Bench, data, stderr};

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
        "F1 of int8 is **1.0000** of that of fp32 (95 % interval 0.",
        "**Warning:** no F1 changed on these 8 questions",
        "**Warning:** 2 paragraphs are few",
        "| questions | 8 about 2 paragraphs |",
        "of 16 in 4 paragraphs: whole paragraphs, drawn with seed 3 until there are at least 8 questions",
        "the exported graph, run by tract",
        "| sha256 of model.onnx | `",
        "| sha256 of config.json | `",
        "| sha256 of its data | `",
        "| int8 kernel | `gemm_i8_",
        "| null threshold | -1000 on both sides |",
        "| F1 | 50.0000 | 50.0000 | +0.0000 [-25.0000, +25.0000] | 1.0000 [0.5000, 1.5000] |",
        "| HasAns F1 | 0.0000 | 0.0000 | +0.0000 | undefined |",
        "| NoAns EM | 100.0000 | 100.0000 | +0.0000 | 1.0000 |",
        "percentiles of 10000 bootstrap draws of whole paragraphs with seed 45063, both sides drawn together, and of two that are made",
        "| the same text | 8 | 100.00 % |",
        "| 99.9th percentile | ",
        "numbers at least as uneven as 0 and 0 would have a probability of 1.0000 (exact two-sided sign test)",
        "Null odds, int8 minus fp32: mean ",
        " (standard error 0.",
        "is known to about ±25.00 points: a loss above 25.00 points is unlikely, a smaller one not excluded",
        "They say nothing about other kinds of text",
        "## The 8 worst questions",
        "   - right: \"ada\", \"the light\", \"ada kept",
        "in the night. \"\n   - fp32: no answer, F1 0.00, null odds ",
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
fn nothing_that_is_read_is_written_over() {
    let bench = Bench::new();
    let out = bench.path("out");
    fs::create_dir_all(out.join("int8")).expect("a folder");
    for name in ["report.json", "int8/predictions.json"] {
        let name = out.join(name);
        fs::hard_link(&bench.data, &name).expect("a second name");
        let output = bench.run("ts5-op17/model.onnx", &["--out", out.to_str().expect("UTF-8")]);
        let message = format!("{} is an input; give another place with --out", name.display());
        assert!(output.status.code() == Some(1) && stderr(&output).contains(&message), "{}", stderr(&output));
        fs::remove_file(name).expect("there");
    }
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
    let gate = |report: &Value| report["warnings"].to_string().contains("on both sides of the gate");
    assert!(gate(&report), "three of eight right answers may be lost: {report}");
    let report = bench.json("ts5-op17/model.onnx", &["--null-threshold=-1000", "--min-f1-ratio", "0.5"]);
    assert!(!gate(&report), "the gate leaves more than that: {report}");
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
fn a_question_that_is_too_long_is_refused_with_what_helps() {
    let bench = Bench::new();
    let mut long = data();
    long["data"][0]["paragraphs"][0]["qas"][1]["question"] = "what came? ".repeat(50).into();
    fs::write(&bench.data, long.to_string()).expect("written");
    let output = bench.run("ts5-op17/model.onnx", &["--no-cache"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let error = stderr(&output);
    assert!(error.contains("question \"0-1\"") && error.contains("leave it out of the file"), "{error}");
    assert!(!error.contains("--max-seq-len"), "{error}");
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
    let int8 = bench.int8.to_str().expect("UTF-8");
    fails(bench.run(int8, &[]), 1, &[int8, "is an edgeqa model already; give the original that it was made from"]);
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
        &["--min-f1-ratio=-0.1"],
        &["--min-f1-ratio", "2"],
        &["--min-f1-ratio", "NaN"],
        &["--null-threshold", "inf"],
        &["--out", "a", "--hub", "b/c"],
    ] {
        fails(bench.run("ts5-op17/model.onnx", args), 2, &[]);
    }
    let bare = Command::new(env!("CARGO_BIN_EXE_edgeqa-quantize")).arg("compare").output().expect("runs");
    fails(bare, 2, &["--fp32", "--int8", "--squad"]);
}
