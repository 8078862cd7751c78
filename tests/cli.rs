//! The `edgeqa` command as people and scripts use it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use edgeqa::artifact::schema;
use edgeqa::artifact::write::write;
use serde_json::Value;

use crate::common;
use crate::common::program::{Bench, failure, json_lines, run, success};

const TEXT: &str = "Ada Morrow — the keeper ☕ — kept the light.\nShe kept a log of ships.\n";

fn range(value: &Value) -> std::ops::Range<usize> {
    let number = |key| value[key].as_u64().expect("a number") as usize;
    number("start")..number("end")
}

#[test]
fn json_says_everything() {
    let bench = Bench::new();
    let context = bench.file("light.txt", TEXT);
    let questions = bench.file("questions.txt", "\u{feff}What log?\r\n\n  Which light?\n");
    let args =
        ["Who?", "--questions", &questions, "--context-file", &context, "--json", "--top-k", "4", "--always-answer"];
    let lines = json_lines(&success(bench.ask(&args, "")));
    let asked: Vec<&str> = lines.iter().filter_map(|line| line["question"].as_str()).collect();
    assert_eq!(asked, ["Who?", "What log?", "Which light?"]);
    for line in &lines {
        let answer = line["answer"].as_str().expect("a string");
        assert_eq!(answer, &TEXT[range(&line["bytes"])]);
        let chars = range(&line["chars"]);
        assert_eq!(answer, TEXT.chars().skip(chars.start).take(chars.len()).collect::<String>());
        assert_eq!(line["answered"], true);
        assert_eq!(line["null_threshold"], Value::Null);
        assert_eq!(line["model"], bench.model.to_str().expect("UTF-8"));
        for key in ["score", "probability", "null_score", "null_odds"] {
            assert!(line[key].is_f64(), "{key} in {line}");
        }
        let candidates = line["candidates"].as_array().expect("a list");
        assert!((1..=4).contains(&candidates.len()));
        assert_eq!(candidates[0]["text"], *answer);
        assert!(candidates.iter().all(|c| c["text"] == TEXT[range(&c["bytes"])]));
    }
}

#[test]
fn control_characters_reach_json_and_no_terminal() {
    let bench = Bench::new();
    let question = "Who\u{1b}[31m is \u{9b}1m\u{7f}?";
    let args = [question, "Who?", "--context", TEXT];
    let line = &json_lines(&success(bench.ask(&[&args[..], &["--json"]].concat(), "")))[0];
    assert_eq!(line["question"], question);
    let text = success(bench.ask(&args, ""));
    assert!(text.starts_with("Who\u{fffd}[31m is \u{fffd}1m\u{fffd}?\n"), "{text:?}");
}

#[test]
fn no_answer_is_a_success() {
    let bench = Bench::new();
    let args = ["Who?", "--context", TEXT, "--null-threshold", "-1e9"];
    let text = success(bench.ask(&args, ""));
    assert!(text.starts_with("No answer in this text.\n  null odds "), "{text}");
    let line = &json_lines(&success(bench.ask(&[&args[..], &["--json"]].concat(), "")))[0];
    assert_eq!((&line["answer"], &line["answered"]), (&"".into(), &false.into()));
    assert_eq!((&line["bytes"], &line["chars"]), (&Value::Null, &Value::Null));
    assert_eq!(line["null_threshold"], -1e9);
    assert_eq!(line["candidates"].as_array().map(Vec::len), Some(1));
}

#[test]
fn text_marks_the_answer_in_its_sentence() {
    let bench = Bench::new();
    let args = ["Who?", "--context", TEXT, "--always-answer"];
    let text = success(bench.ask(&args, ""));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[1].starts_with("  score ") && lines[1].ends_with(" %"), "{text}");
    assert!(lines[2].contains(&format!("[{}]", lines[0])), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours outside a terminal");

    let several = success(bench.ask(&["Who?", "What?", "--context", TEXT, "--always-answer"], ""));
    assert!(several.starts_with("Who?\n") && several.contains("\n\nWhat?\n"), "{several}");
    let best = success(bench.ask(&["Who?", "--top-k", "3", "--context", TEXT, "--always-answer"], ""));
    assert!(best.starts_with("1. ") && best.contains("\n2. "), "{best}");
}

#[test]
fn the_text_can_come_from_standard_input() {
    let bench = Bench::new();
    let file = bench.file("light.txt", TEXT);
    let args = ["Who?", "--json", "--always-answer"];
    let from_stdin = success(bench.ask(&args, TEXT));
    assert_eq!(from_stdin, success(bench.ask(&[&args[..], &["--context", TEXT]].concat(), "")));
    assert_eq!(from_stdin, success(bench.ask(&[&args[..], &["--context-file", &file]].concat(), "")));
    assert_eq!(from_stdin, success(bench.ask(&args, format!("\u{feff}{TEXT}"))), "offsets start after the mark");
}

#[test]
fn texts_that_cannot_be_read_are_named() {
    let bench = Bench::new();
    let latin = bench.file("latin.txt", b"Caf\xe9 Zo\xe9");
    let error = failure(bench.ask(&["Who?", "--context-file", &latin], ""), 1);
    assert!(
        error.starts_with("edgeqa: error: ") && error.contains("latin.txt is not UTF-8: byte 3 is 0xE9"),
        "{error}"
    );
    assert!(failure(bench.ask(&["Who?", "--questions", &latin, "--context", "x"], ""), 1).contains("latin.txt"));
    assert!(failure(bench.ask(&["Who?"], b"\xff"), 1).contains("standard input is not UTF-8: byte 0"));
    assert!(failure(bench.ask(&["Who?"], " \n"), 1).contains("standard input holds no text"));
    assert!(failure(bench.ask(&["Who?", "--context", ""], ""), 1).contains("--context holds no text"));
    let error = failure(bench.ask(&["Who?", "--context-file", "absent.txt"], ""), 1);
    assert_eq!(error.matches("No such file").count(), 1, "{error}");
    assert!(error.contains("absent.txt"), "{error}");
    assert!(failure(bench.ask(&[" ", "--context", TEXT], ""), 1).contains("the question holds no word"));
    let unreadable = bench.file("unreadable.txt", "\u{1}\u{2}");
    let error = failure(bench.ask(&["Who?", "--context-file", &unreadable], ""), 1);
    assert!(error.contains("unreadable.txt: the context holds no word that the model can read"), "{error}");
    let long = "why ".repeat(60);
    assert!(failure(bench.ask(&[&long, "--context", TEXT], ""), 1).contains("shorten the question"));
}

#[test]
fn wrong_usage_has_its_exit_code() {
    let bench = Bench::new();
    let blank = bench.file("blank.txt", "\n\n");
    for args in [
        &["--context", TEXT][..],
        &["--context", TEXT, "--questions", &blank],
        &["Who?", "--context", TEXT, "--context-file", "x"],
        &["Who?", "--context", TEXT, "--top-k", "0"],
        &["Who?", "--context", TEXT, "--top-k", "21"],
        &["Who?", "--context", TEXT, "--max-answer-len", "0"],
        &["Who?", "--context", TEXT, "--max-seq-len", "97"],
        &["Who?", "--context", TEXT, "--null-threshold", "nan"],
        &["Who?", "--context", TEXT, "--null-threshold", "1", "--always-answer"],
        &["Who?", "--context", TEXT, "--threads", "0"],
        &["Who?", "--context", TEXT, "--threads", "1025"],
        &["Who?", "--context", TEXT, "--frobnicate"],
    ] {
        let error = failure(bench.ask(args, ""), 2);
        assert!(error.contains("error: "), "{args:?}: {error}");
    }
    for (option, value, meant) in [
        ("--top-k", "0", "a whole number from 1 to 20"),
        ("--top-k", "-1", "a whole number from 1 to 20"),
        ("--threads", "-2", "a whole number from 1 to 1024"),
        ("--max-answer-len", "0", "a whole number of at least 1"),
        ("--max-seq-len", "x", "a whole number of at least 1"),
        ("--threads", "many", "a whole number from 1 to 1024"),
        ("--null-threshold", "nan", "a finite number"),
    ] {
        let error = failure(bench.ask(&["Who?", "--context", TEXT, option, value], ""), 2);
        assert!(
            error.contains(&format!("'{value}' for '{option} <")) && error.contains(&format!(": not {meant}\n")),
            "{error}"
        );
    }
    let error = failure(bench.ask(&["--context", TEXT], ""), 2);
    assert!(error.contains("there is no question") && error.contains("Usage: edgeqa ask"), "{error}");
    // What the shell makes of `*.txt`.
    let (first, second) = (bench.file("first.txt", TEXT), bench.file("second.txt", TEXT));
    let error = failure(bench.ask(&["Who?", "--context-file", &first, &second], ""), 2);
    assert!(error.contains("second.txt is a file, and was given as a question"), "{error}");
    let folder = bench.folder.path().display().to_string();
    let error = failure(bench.ask(&["Who?", &folder], TEXT), 2);
    assert!(error.contains("is a folder, and was given as a question; --docs takes a folder of texts"), "{error}");
    // More than any text.
    let much = bench.file("much.txt", "a".repeat((16 << 20) + 1));
    let error = failure(bench.ask(&["Who?", "--context-file", &much], ""), 1);
    assert!(error.contains("much.txt is larger than 16777216 bytes; cut it into several files"), "{error}");
    let report = bench.file("report", "");
    for other in
        ["report", "./report", &format!("../{}/report", bench.folder.path().file_name().expect("a name").display())]
    {
        for task in [&[][..], &["--compare", "a.json", "b.json"]] {
            let mut command = bench.command(&["bench", "--html", &report, "--out", other]);
            let error = failure(run(command.args(task).current_dir(bench.folder.path()), ""), 2);
            assert!(error.contains("--html and --out are both"), "{error}");
            assert!(fs::read(&report).expect("read").is_empty());
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_cannot_be_written_is_a_failure() {
    let bench = Bench::new();
    for args in [&["--help"][..], &["--version"], &["ask", "--help"], &["help", "ask"]] {
        let full = fs::File::options().write(true).open("/dev/full").expect("a device");
        let output = bench.command(args).stdout(full).output().expect("started");
        let error = failure(output, 1);
        assert!(error.contains("error: cannot write to standard output: No space left"), "{args:?}: {error}");
    }
}

#[test]
fn examples_of_help_fit_into_80_columns() {
    let bench = Bench::new();
    for command in ["ask", "eval", "inspect", "serve", "model", "doctor", "bench"] {
        let help = |columns: &str| {
            let help = success(run(bench.command(&[command, "--help"]).env("COLUMNS", columns), ""));
            help[help.find("Example").unwrap_or_else(|| panic!("{command} has no example: {help}"))..].to_owned()
        };
        assert_eq!(help("80"), help("1000"), "{command}");
    }
}

#[test]
fn help_has_defaults_and_examples() {
    let bench = Bench::new();
    let help = success(run(&mut bench.command(&["ask", "--help"]), ""));
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "Examples:",
        "[default: 128",
        "[default: 30]",
        "384",
        "EDGEQA_MODEL",
        "/var/lib/edgeqa/model.safetensors",
        "[default: standard input]",
    ] {
        assert!(help.contains(part), "{part:?} in {help}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let bench = Bench::new();
    let model = bench.model.to_str().expect("UTF-8");
    for args in [&["ask", "Who?", "--doc-stride", "1", "--model", model][..], &["inspect", model]] {
        let mut command = bench.command(args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        drop(child.stdout.take());
        let _ = child.stdin.take().expect("piped").write_all(TEXT.as_bytes());
        assert_eq!(success(child.wait_with_output().expect("ended")), "");
    }
    // What fails fails for nobody, too.
    let mut data = fs::read(model).expect("read");
    *data.last_mut().expect("a byte") ^= 1;
    let damaged = bench.file("damaged.safetensors", data);
    let missing = bench.folder.path().join("missing/model.safetensors");
    for args in [&["inspect", &damaged][..], &["doctor", "--model", missing.to_str().expect("UTF-8")]] {
        let mut child = bench.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        drop(child.stdout.take());
        failure(child.wait_with_output().expect("ended"), 1);
    }
}

#[test]
fn models_are_found() {
    let bench = Bench::new();
    let ask = |variables: &[(&str, &Path)]| {
        let mut command = bench.command(&["ask", "Who?", "--json", "--context", TEXT]);
        run(command.envs(variables.iter().copied()), "")
    };
    let used = |output| json_lines(&success(output))[0]["model"].as_str().map(PathBuf::from);
    let error = failure(ask(&[]), 1);
    for part in ["found no model", "./models/demo/model.safetensors", ".local/share/edgeqa/model.safetensors", "--hub"]
    {
        assert!(error.contains(part), "{part:?} in {error}");
    }

    let put = |place: &Path| {
        fs::create_dir_all(place.parent().expect("a folder")).expect("made");
        fs::copy(&bench.model, place).expect("copied");
        place.to_owned()
    };
    let data = put(&bench.folder.path().join(".local/share/edgeqa/model.safetensors"));
    assert_eq!(used(ask(&[])), Some(data));
    let xdg = put(&bench.folder.path().join("xdg/edgeqa/model.safetensors"));
    assert_eq!(used(ask(&[("XDG_DATA_HOME", &bench.folder.path().join("xdg"))])), Some(xdg));
    put(&bench.folder.path().join("models/demo/model.safetensors"));
    assert_eq!(used(ask(&[])), Some("./models/demo/model.safetensors".into()));
    assert_eq!(used(ask(&[("EDGEQA_MODEL", &bench.model)])), Some(bench.model.clone()));
    let error = failure(ask(&[("EDGEQA_MODEL", Path::new("absent"))]), 1);
    assert!(error.contains("EDGEQA_MODEL names absent"), "no fallback: {error}");
}

#[test]
fn inspect_shows_and_checks() {
    let bench = Bench::new();
    let model = bench.model.to_str().expect("UTF-8");
    let inspect = |args: &[&str]| run(bench.command(&["inspect", model]).args(args), "");
    let text = success(inspect(&[]));
    let named = success(run(&mut bench.command(&["inspect", "--model", model]), ""));
    let but_memory =
        |text: &str| text.lines().filter(|line| !line.contains("MB")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(but_memory(&named), but_memory(&text));
    for part in [
        "onnx, ada/tiny at abc123",
        "model.onnx sha256 5e5e",
        "CC0-1.0",
        "test 1.0",
        "2 layers, hidden 16",
        "verified (",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(!text.contains("encoder.0.attention.qkv.weight"));
    assert!(success(inspect(&["--tensors"])).contains("encoder.0.attention.qkv.weight I8 ["));

    let report: Value = serde_json::from_str(&success(inspect(&["--json"]))).expect("JSON");
    assert_eq!((&report["verified"], &report["problem"]), (&true.into(), &Value::Null));
    assert_eq!(report["config"]["vocab_size"], 101);
    let size = fs::metadata(&bench.model).expect("a file").len();
    assert_eq!(report["file_bytes"], size);
    let parts = report["bytes"].as_object().expect("parts");
    assert_eq!(parts.values().filter_map(Value::as_u64).sum::<u64>(), size, "the parts add up to the file: {parts:?}");
    assert!(!parts.contains_key("other"));
    let tensors = report["tensors"].as_array().expect("tensors");
    let word = tensors.iter().find(|t| t["name"] == "embeddings.word.weight").expect("a tensor");
    assert_eq!((&word["dtype"], &word["shape"]), (&"I8".into(), &serde_json::json!([101, 16])));
    assert_eq!(word["bytes"], 101 * 16);
}

#[test]
fn inspect_says_what_the_questions_chose() {
    let bench = Bench::new();
    let scores = |promoted: &str| {
        let json = format!(
            r#"{{"data":"dev.json","data_sha256":"ab","questions":50,"null_threshold":0.0,"fp32":{{"exact":60.0,"f1":80.0}},
                "int8":{{"exact":58.0,"f1":78.0}},"identical":47{promoted}}}"#
        );
        let mut metadata = common::metadata();
        metadata.accuracy = Some(serde_json::from_str(&json).expect("scores"));
        let model = common::write_model(bench.folder.path(), &metadata);
        success(run(bench.command(&["inspect"]).arg(model), ""))
    };
    let text = scores(r#","promoted":{"layers":2,"f1_ratio_before":0.95}"#);
    assert!(text.contains("too good: layers promoted to half precision because of these questions: 2"), "{text}");
    assert!(text.contains("F1 ratio before 0.9500"), "{text}");
    let text = scores("");
    assert!(text.contains("F1 ratio 0.9750") && !text.contains("too good"), "{text}");
}

#[test]
fn damaged_models_are_refused() {
    let bench = Bench::new();
    let model = bench.model.to_str().expect("UTF-8");
    let sound = fs::read(&bench.model).expect("read");
    let mut damaged = sound.clone();
    // In the middle of the data lie weights, which are only read when they are used.
    let middle = sound.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&bench.model, &damaged).expect("written");
    let output = run(&mut bench.command(&["inspect", model]), "");
    assert!(String::from_utf8_lossy(&output.stdout).contains("MISMATCH (the data should have sha256 "));
    let error = failure(output, 1);
    assert!(error.contains("checksum mismatch") && error.contains(model), "{error}");
    let output = run(&mut bench.command(&["inspect", "--json", model]), "");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["verified"], &report["problem"]), (&false.into(), &Value::Null));
    let error = failure(bench.ask(&["Who?", "--context", TEXT, "--verify"], ""), 1);
    assert!(error.contains("checksum mismatch"), "{error}");

    fs::write(&bench.model, &sound[..sound.len() - 1]).expect("written");
    assert!(failure(bench.ask(&["Who?", "--context", TEXT], ""), 1).contains("truncated"));
    fs::write(&bench.model, "no model").expect("written");
    assert!(failure(run(&mut bench.command(&["inspect", model]), ""), 1).contains("not a safetensors file"));
    fs::remove_file(&bench.model).expect("removed");
    let error = failure(bench.ask(&["Who?", "--context", TEXT], ""), 1);
    assert_eq!(error.matches("No such file").count(), 1, "{error}");
}

#[test]
fn a_sound_model_whose_tokenizer_cannot_be_used_has_its_checksum() {
    let bench = Bench::new();
    let model = bench.model.to_str().expect("UTF-8");
    let metadata = common::metadata();
    let mut data = common::tensors(&metadata.config);
    data.insert(schema::PIPELINE.into(), b"{".to_vec());
    write(&bench.model, &metadata, &data).and_then(|pending| pending.publish()).expect("written");
    let output = run(&mut bench.command(&["inspect", model]), "");
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    assert!(row("checksum").contains(" verified (sha256 ") && row("problem").contains("tokenizer.json"), "{text}");
    let error = failure(output, 1);
    assert!(error.contains(model) && error.contains("tokenizer.json"), "{error}");
    let output = run(&mut bench.command(&["inspect", "--json", model]), "");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["verified"], true);
    assert!(report["problem"].as_str().is_some_and(|problem| problem.contains(model)), "{}", report["problem"]);
}

/// Its checksum is right, and it opens.
#[test]
fn a_model_that_nothing_can_be_asked_is_a_problem() {
    let bench = Bench::new();
    let model = bench.model.to_str().expect("UTF-8");
    let metadata = common::metadata();
    let mut data = common::tensors(&metadata.config);
    data.insert("head.bias".into(), [f32::MAX / 3.0; 2].iter().flat_map(|bias| bias.to_le_bytes()).collect());
    write(&bench.model, &metadata, &data).and_then(|pending| pending.publish()).expect("written");
    let output = run(&mut bench.command(&["inspect", "--json", model]), "");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["verified"], true);
    assert!(report["problem"].as_str().is_some_and(|problem| problem.contains("cannot ask the model")), "{report}");
    assert!(failure(output, 1).contains("cannot ask the model"));
}

#[test]
fn a_question_that_cannot_be_answered_does_not_stop_the_others() {
    let bench = Bench::new();
    let long = "why ".repeat(200);
    let args = ["--context", TEXT, "Who?", &long, "What?"];
    let text = bench.ask(&args, "");
    let shown = String::from_utf8(text.stdout.clone()).expect("UTF-8");
    assert!(shown.contains("Who?") && shown.contains("What?"), "{shown}");
    let errors = failure(text, 1);
    assert!(errors.contains("1 of 3 questions") && errors.contains("cannot answer \"why why"), "{errors}");
    assert!(errors.lines().all(|line| line.len() < 400), "{errors}");
    let output = bench.ask(&[&args[..], &["--json"]].concat(), "");
    let lines = json_lines(std::str::from_utf8(&output.stdout).expect("UTF-8"));
    assert_eq!(lines.len(), 3);
    assert!(lines[1]["error"].is_string() && lines[2]["answer"].is_string());
    failure(output, 1);
}

#[test]
fn a_dash_is_standard_input_and_the_default_overlap_fits_small_windows() {
    let bench = Bench::new();
    let model = bench.model.to_str().expect("UTF-8");
    let ask = |args: &[&str], stdin: &str| run(bench.command(&["ask", "--json", "--model", model]).args(args), stdin);
    let from_file = json_lines(&success(ask(&["Who?", "--context-file", "-"], TEXT)));
    assert_eq!(from_file, json_lines(&success(ask(&["Who?", "--context", TEXT], ""))));
    let questions = json_lines(&success(ask(&["--questions", "-", "--context", TEXT], "Who?\nWhat?\n")));
    assert_eq!(questions.len(), 2);
    for args in [&["--questions", "-"][..], &["Who?", "--questions", "-", "--context-file", "-"]] {
        let error = failure(ask(args, "Who?\n"), 2);
        assert!(error.contains("both the questions and the text"), "{error}");
    }
    let long = TEXT.repeat(20);
    let windows = json_lines(&success(ask(&["Who?", "--max-seq-len", "40", "--context", &long], "")));
    assert!(windows[0]["windows"].as_u64().is_some_and(|n| n > 5), "{windows:?}");
}
