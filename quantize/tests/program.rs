//! The program as a user runs it: exit codes, messages, output, and what a kill leaves behind.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use edgeqa_quantize::parallel;

use crate::common::fixtures;
use crate::skip::skipped;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_edgeqa-quantize"))
}

fn convert(weights: &str, out: &Path) -> Command {
    let mut command = program();
    command
        .arg(fixtures().join(weights))
        .arg("--tokenizer")
        .arg(fixtures().join("tokenizer.json"))
        .arg("--out")
        .arg(out);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn summary_is_text_or_json() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let out = temp.path().join("model.safetensors");
    let text = convert("ts4-op17/model.onnx", &out).output().expect("runs");
    assert_eq!(text.status.code(), Some(0), "{}", stderr(&text));
    let words = String::from_utf8(text.stdout).expect("UTF-8");
    for word in ["proven against the graph", "layer  1", " dB", "relative RMS error", "x smaller)", "not measured"] {
        assert!(words.contains(word), "{word:?} is missing in\n{words}");
    }
    let json = convert("ts4-op17/model.onnx", &out).arg("--json").output().expect("runs");
    let summary: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(summary["artifact_bytes"], std::fs::metadata(&out).expect("artifact").len());
    assert_eq!(summary["noise"]["layer_snr_db"].as_array().map(Vec::len), Some(2));
    assert!(summary["proof"]["max_difference"].as_f64().is_some_and(|d| d < 1e-4));
}

#[test]
fn a_graph_for_one_length_is_said_to_prove_less() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let out = temp.path().join("model.safetensors");
    let convert = || convert("ts4-op17-static40/model.onnx", &out);
    let warning = "the graph accepts 40 tokens only";
    let text = convert().output().expect("runs");
    let words = String::from_utf8(text.stdout).expect("UTF-8");
    for word in ["at its only length, 40 tokens: ", warning] {
        assert!(words.contains(word), "{word:?} is missing in\n{words}");
    }
    let json = convert().arg("--json").output().expect("runs");
    assert!(stderr(&json).contains(warning), "{}", stderr(&json));
    let summary: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(summary["proof"]["lengths"], serde_json::json!([40]));
    assert!(summary["warnings"][0].as_str().is_some_and(|text| text.contains(warning)), "{summary}");
}

#[test]
fn failures_exit_1_and_say_what_to_do() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let out = temp.path().join("model.safetensors");
    let fails = |command: &mut Command, words: &[&str]| {
        let output = command.output().expect("runs");
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        for word in words {
            assert!(stderr(&output).contains(word), "{word:?} is missing in {}", stderr(&output));
        }
        assert!(!out.exists());
    };
    let nowhere = temp.path().join("no/such/folder/model.safetensors");
    fails(&mut convert("ts4-op17/model.onnx", &nowhere), &["no/such/folder does not exist", "--out"]);
    let folder_to_be = temp.path().join("m2/");
    fails(&mut convert("no-such-file.onnx", &folder_to_be), &["m2/ names a folder that does not exist", "--out"]);
    fails(&mut convert("no-such-file.onnx", &out), &["no-such-file.onnx", "no such file"]);
    fails(&mut convert("cfg-conv3/model.onnx", &out), &["config.json", "conv_kernel_size is 3"]);
    fails(program().arg(fixtures().join("ts4-op17")).arg("--out").arg(&out), &["tokenizer.json", "--tokenizer"]);
    let folder = temp.path().join("old");
    std::fs::create_dir_all(folder.join("model.safetensors")).expect("folders");
    fails(program().arg(&folder).arg("--out").arg(&out), &["model.safetensors is no regular file"]);
    std::fs::remove_dir(folder.join("model.safetensors")).expect("removed");
    std::fs::write(folder.join("pytorch_model.bin"), "x").expect("write");
    fails(program().arg(&folder).arg("--out").arg(&out), &["pytorch_model.bin", "save_pretrained"]);
    std::fs::write(folder.join("model.safetensors"), "no tensors").expect("write");
    std::fs::copy(fixtures().join("base-hf/config.json"), folder.join("config.json")).expect("copy");
    std::fs::copy(fixtures().join("tokenizer.json"), folder.join("tokenizer.json")).expect("copy");
    fails(program().arg(&folder).arg("--out").arg(&out), &["model.safetensors", "no safetensors file"]);
    std::fs::copy(fixtures().join("odd-hf/model.safetensors"), folder.join("model.safetensors")).expect("copy");
    fails(program().arg(&folder).arg("--out").arg(&out), &["word embeddings", "101 x 36", "120 x 32"]);
    std::fs::copy(fixtures().join("base-hf/model.safetensors"), folder.join("model.safetensors")).expect("copy");
    std::fs::write(folder.join("tokenizer.json"), "{}").expect("write");
    let output = program().arg(&folder).arg("--out").arg(&out).output().expect("runs");
    let (error, file) = (stderr(&output), folder.join("tokenizer.json"));
    let begin = format!("edgeqa-quantize: error: {} is no tokenizer that edgeqa can use: ", file.display());
    let end = "; give the tokenizer.json that was saved with the model (--tokenizer)\n";
    assert!(error.starts_with(&begin) && error.ends_with(end) && !error.contains("convert the model again"), "{error}");
}

/// What Git leaves where it keeps the file itself elsewhere, and files that are not all there.
#[test]
fn pointers_and_parts_of_files_are_named_as_such() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let out = temp.path().join("out.safetensors");
    let (config, tokenizer) = (fixtures().join("base-hf/config.json"), fixtures().join("tokenizer.json"));
    let (safetensors, onnx) = (fixtures().join("base-hf/model.safetensors"), fixtures().join("ts4-op17/model.onnx"));
    let external = fixtures().join("ts4-op17-external");
    let error_of = |files: &[(&str, &[u8])]| {
        let folder = tempfile::tempdir().expect("temporary folder");
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).expect("write");
        }
        let output = program().arg(folder.path()).arg("--out").arg(&out).output().expect("runs");
        assert_eq!((output.status.code(), out.exists()), (Some(1), false), "{}", stderr(&output));
        stderr(&output).trim_end().to_owned()
    };
    let read = |path: &Path| std::fs::read(path).expect("a fixture");
    let (config, tokenizer, safetensors, onnx) = (read(&config), read(&tokenizer), read(&safetensors), read(&onnx));
    let files =
        |weights: &'static str| [("config.json", &config[..]), ("tokenizer.json", &tokenizer), (weights, &safetensors)];
    let replaced = |weights, name: &str, bytes| {
        error_of(&files(weights).map(|(file, content)| (file, if file == name { bytes } else { content })))
    };

    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    for (weights, name) in [
        ("model.safetensors", "model.safetensors"),
        ("model.onnx", "model.onnx"),
        ("model.safetensors", "tokenizer.json"),
        ("model.safetensors", "config.json"),
    ] {
        let error = replaced(weights, name, &pointer[..]);
        let words = [&format!("{name} is a Git LFS pointer"), "`git lfs pull`"];
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    let mut names = std::fs::read_dir(&external).expect("a fixture").map(|file| file.expect("a file").file_name());
    let data = names.find_map(|name| name.into_string().ok().filter(|name| name.contains("data"))).expect("data");
    let graph = read(&external.join("model.onnx"));
    let error = error_of(&[
        ("config.json", &read(&external.join("config.json"))),
        ("tokenizer.json", &tokenizer),
        ("model.onnx", &graph),
        (&data, pointer),
    ]);
    assert!(error.contains(&format!("{data} is a Git LFS pointer")), "{error}");

    for (weights, whole) in [("model.safetensors", &safetensors), ("model.onnx", &onnx)] {
        for length in [0, 5, 100, whole.len() / 2, whole.len() - 1] {
            let error = replaced(weights, weights, &whole[..length]);
            assert!(error.contains(weights) && error.ends_with("copy or download it again"), "{length}: {error}");
        }
    }
}

#[test]
fn a_calibration_text_is_read_named_and_counts() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let out = temp.path().join("model.safetensors");
    let calibrate = |name: &str, text: &[u8]| {
        let path = temp.path().join(name);
        std::fs::write(&path, text).expect("write");
        convert("base-hf", &out).arg("--calibrate").arg(path).arg("--json").output().expect("runs")
    };
    let lines =
        |word: &str| (0..60).map(|i| format!("The {word} of {i} is not the {word} of {}.\n\n", i * 7)).collect();
    let texts: [(&str, String); 2] = [("rivers.txt", lines("river")), ("ships.txt", lines("old ship"))];
    let mut sums = BTreeSet::new();
    for (name, text) in texts {
        let output = calibrate(name, text.as_bytes());
        assert!(output.status.success(), "{}", stderr(&output));
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let source = summary["calibration"]["source"].as_str().expect("a name");
        assert_eq!(Path::new(source), temp.path().join(name));
        sums.insert(summary["data_sha256"].as_str().expect("a sum").to_owned());
    }
    assert_eq!(sums.len(), 2, "another text gives other weights");

    std::fs::remove_file(&out).expect("written");
    for (name, text, word) in [
        ("empty.txt", &b""[..], "holds no text to calibrate with"),
        ("blank.txt", b" \n\n", "holds no text to calibrate with"),
        ("latin.txt", b"caf\xe9 au lait", "iconv -f WINDOWS-1252"),
        (
            "tiny.txt",
            b"hi\n",
            "tokens to calibrate with, but int8 loses accuracy with fewer than 500; give a longer text with --calibrate, leave \
             that out for the text that comes with the tool",
        ),
    ] {
        let output = calibrate(name, text);
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(name) && error.contains(word), "{error}");
        assert!(!out.exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error_and_no_panic() {
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("a device");
    let temp = tempfile::tempdir().expect("temporary folder");
    let out = temp.path().join("model.safetensors");
    let output = convert("ts4-op17/model.onnx", &out).arg("--no-calibration").stdout(full()).output().expect("runs");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("cannot write the result to standard output: No space left"),
        "{}",
        stderr(&output)
    );
    let output = program().arg("--help").stdout(full()).output().expect("runs");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let output = convert("no-such-file.onnx", &out).stderr(full()).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    // A pipe, by a name that leads to none.
    let output = convert("ts4-op17/model.onnx", Path::new("/dev/stdout")).output().expect("runs");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{}", stderr(&output));
    assert!(stderr(&output).contains("/dev/stdout is neither a file nor a folder"), "{}", stderr(&output));
}

#[test]
fn wrong_usage_exits_2() {
    for arguments in [
        &[][..],
        &["a.onnx", "--hub", "b/c"],
        &["a.onnx", "--revision", "main"],
        &["a.onnx", "--null-threshold", "much"],
        &["a.onnx", "--no"],
    ] {
        let output = program().args(arguments).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
    }
    let compare = ["compare", "--fp32", "a", "--int8", "b", "--squad", "c"];
    for (ratio, is_share) in [("99", false), ("2", false), ("-0.1", false), ("nan", false), ("0", true), ("1.5", true)]
    {
        for arguments in [&["a.onnx", "--squad", "c"][..], &compare] {
            let output = program().args(arguments).args([format!("--min-f1-ratio={ratio}")]).output().expect("runs");
            assert_eq!(output.status.code(), Some(if is_share { 1 } else { 2 }), "{}", stderr(&output));
            assert_eq!(stderr(&output).contains("a share, such as 0.99"), !is_share, "{}", stderr(&output));
        }
    }
}

#[test]
fn help_shows_examples_as_they_are_typed_and_the_least_text_to_calibrate_with() {
    let help = |command: &[&str], columns: &str| {
        let output = program().args(command).arg("--help").env("COLUMNS", columns).output().expect("runs");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    for command in [&[][..], &["compare"]] {
        let examples = |columns| {
            let text = help(command, columns);
            text[text.find("Examples:\n").expect("examples")..].to_owned()
        };
        assert_eq!(examples("80"), examples("1000"), "{command:?}");
    }
    let text = help(&[], "1000").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("at least 500 tokens"), "{text}");
}

/// A signal to end leaves nothing beside the artifact's place, and ends the program as signals do.
#[cfg(unix)]
#[test]
fn signals_leave_no_temporary_file() {
    use std::os::unix::process::ExitStatusExt;

    let temp = tempfile::tempdir().expect("temporary folder");
    // So many questions that the gate takes long.
    let question =
        |i: usize| serde_json::json!({"id": i.to_string(), "question": "who kept the light?", "answers": []});
    let questions: Vec<_> = (0..20_000).map(question).collect();
    let paragraph =
        serde_json::json!({"context": "ada kept the light on the rock, and a log of ships.", "qas": questions});
    let squad = temp.path().join("squad.json");
    std::fs::write(&squad, serde_json::json!({"data": [{"paragraphs": [paragraph]}]}).to_string()).expect("write");
    // What this process ignores, of `nohup`, say, the program ignores, too.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).expect("a mask"));
    for (name, number) in [("HUP", 1), ("INT", 2), ("TERM", 15)] {
        if ignored >> (number - 1) & 1 == 1 {
            skipped(format!("signals_leave_no_temporary_file: SIG{name} is ignored here"));
            continue;
        }
        let folder = temp.path().join(name);
        std::fs::create_dir(&folder).expect("folder");
        let files = || std::fs::read_dir(&folder).expect("folder").count();
        let mut child = convert("ts4-op17/model.onnx", &folder.join("model.safetensors"))
            .args(["--no-calibration", "--no-cache", "--squad"])
            .arg(&squad)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("runs");
        // What is tried first is there for a moment only.
        let mut seen = 0;
        while seen < 20 {
            assert_eq!(child.try_wait().expect("its state"), None, "ended before the signal");
            seen = if files() == 1 { seen + 1 } else { 0 };
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status().expect("a shell");
        assert!(sent.success());
        let ended = child.wait().expect("ends");
        assert_eq!((ended.signal(), files()), (Some(number), 0), "{ended}");
    }
}

#[cfg(unix)]
#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_leaves_nothing() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let program = convert("ts4-op17/model.onnx", &temp.path().join("model.safetensors"));
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 8 && exec \"$@\"", "sh"]).arg(program.get_program()).args(program.get_args());
    let output = limited.arg("--no-calibration").output().expect("runs");
    assert_eq!(output.status.code(), Some(1), "{}: {}", output.status, stderr(&output));
    assert!(stderr(&output).contains("File too large"), "{}", stderr(&output));
    assert_eq!(std::fs::read_dir(temp.path()).expect("folder").count(), 0);
}

/// A kill at any moment leaves the old file or the complete new one under the name of the artifact.
#[test]
fn a_killed_run_leaves_a_whole_file() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let whole = |model: &str| {
        let out = temp.path().join("whole.safetensors");
        let output = convert(model, &out).output().expect("runs");
        assert!(output.status.success(), "{}", stderr(&output));
        std::fs::read(&out).expect("artifact")
    };
    let new = whole("ts4-op17/model.onnx");
    let old = whole("cfg-heads2/model.onnx");
    assert!(old != new);
    let start = Instant::now();
    assert!(whole("cfg-heads2/model.onnx") == old);
    let duration = start.elapsed();
    let (kept, replaced) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // From the first moment to the end, which the last run reaches, however long it takes.
    const LAST: u32 = 39;
    parallel::for_each((0..=LAST).collect(), |step| {
        let delay = duration * step / 20;
        let out = temp.path().join(format!("{step}.safetensors"));
        std::fs::write(&out, &old).expect("write");
        let mut child =
            convert("ts4-op17/model.onnx", &out).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("runs");
        if step < LAST {
            std::thread::sleep(delay);
            let _ = child.kill(); // it may have ended already
        }
        let ended = child.wait().expect("ends");
        assert!(ended.success() || step < LAST, "{ended}");
        let found = std::fs::read(&out).expect("an artifact is always there");
        assert!(found == old || found == new, "a partial file after {delay:?}");
        let count = if found == old { &kept } else { &replaced };
        count.fetch_add(1, Ordering::Relaxed);
    });
    let (kept, replaced) = (kept.into_inner(), replaced.into_inner());
    assert!(kept > 0 && replaced > 0, "{kept} runs left the old file, {replaced} the new one");
}
