//! The program under limits on memory, and with the model held in memory.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::program::{Bench, run, success};
use common::skip::skipped;
use edgeqa::memory::{Limited, drop_cached, limit};
use serde_json::Value;

/// A copy of the demo model, which no other program has in memory.
fn demo(bench: &Bench) -> PathBuf {
    let copy = bench.folder.path().join("demo.safetensors");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/model.safetensors");
    std::fs::copy(model, &copy).expect("copied");
    drop_cached(&copy).expect("dropped");
    copy
}

/// The arguments of `ask` for this model: one question, and a text of several windows.
fn question<'a>(model: &'a Path, text: &'a str) -> Vec<&'a str> {
    let model = model.to_str().expect("UTF-8");
    vec!["ask", "Who was the last keeper?", "--json", "--threads", "2", "--model", model, "--context-file", text]
}

fn text() -> String {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/texts/lighthouse.txt");
    text.to_str().expect("UTF-8").to_owned()
}

/// Runs the program under a limit.
fn limited(bench: &Bench, limited: &Limited, args: &[&str]) -> Output {
    let plain = bench.command(args);
    let mut command: Command = limited.command(plain.get_program());
    command.args(plain.get_args()).current_dir(bench.folder.path()).env_clear();
    run(&mut command, "")
}

fn answer(output: &str) -> String {
    let record: Value = serde_json::from_str(output).expect("JSON");
    record["answer"].as_str().expect("an answer").to_owned()
}

#[test]
fn answers_come_under_hard_limits() {
    let bench = Bench::new();
    let (model, text) = (demo(&bench), text());
    for megabytes in [96, 64, 48] {
        drop_cached(&model).expect("dropped");
        let limit = Limited::new(megabytes << 20);
        let output = success(limited(&bench, &limit, &question(&model, &text)));
        assert_eq!(answer(&output), "Jonas Ekdahl");
        println!("{megabytes} MiB by {}: at most {:?} bytes were used", limit.limit().kind.name(), limit.peak());
        assert!(limit.peak().is_none_or(|peak| peak <= megabytes << 20));
        assert!(matches!(limit.kills(), None | Some(0)));
    }
}

#[test]
fn what_is_missing_is_said_before_it_is_too_late() {
    let bench = Bench::new();
    let (model, text) = (demo(&bench), text());
    // Too little by the estimate, and enough for what the system reads ahead. Whether an answer comes depends on the disk: where
    // pages are slow to come again, the program goes on for minutes.
    let limit = Limited::new(16 << 20);
    let plain = bench.command(&question(&model, &text));
    let mut command = limit.command("/usr/bin/timeout");
    command.args(["-s", "KILL", "10"]).arg(plain.get_program()).args(plain.get_args());
    let output = run(command.current_dir(bench.folder.path()).env_clear().env("RUST_LOG", "edgeqa=info"), "");
    let errors = String::from_utf8_lossy(&output.stderr);
    let warning = errors.find("the limit of 16.8 MB (").unwrap_or_else(|| panic!("no warning: {errors}"));
    assert!(errors[warning..].contains("that are needed"), "{errors}");
    let computes = errors.find("int8 kernel: ").unwrap_or_else(|| panic!("no kernel: {errors}"));
    assert!(warning < computes, "{errors}");
}

/// What the program itself uses counts, too.
#[cfg(target_os = "linux")]
#[test]
fn addresses_for_the_model_are_compared_with_their_limit() {
    let bench = Bench::new();
    let model = bench.folder.path().join("large.safetensors");
    let bytes = 512 << 20;
    std::fs::File::create(&model).and_then(|file| file.set_len(bytes)).expect("a file with nothing in it");
    let plain = bench.command(&["inspect", model.to_str().expect("UTF-8")]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("ulimit -v {} && exec \"$@\"", (bytes + (2 << 20)) / 1024), "sh"]);
    let output = run(shell.arg(plain.get_program()).args(plain.get_args()).env_clear(), "");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("RLIMIT_AS allows 539.0 MB of addresses, of which "), "{errors}");
    assert!(errors.contains("raise it by at least ") && errors.contains("cannot map"), "{errors}");
}

#[test]
fn doctor_compares_the_need_with_the_limit() {
    let bench = Bench::new();
    let model = demo(&bench);
    let args = ["doctor", "--threads", "1", "--model", model.to_str().expect("UTF-8")];
    let limit = Limited::new(512 << 20);
    let report = success(limited(&bench, &limit, &[&args[..], &["--json"]].concat()));
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let kind = serde_json::to_value(limit.limit().kind).expect("JSON");
    let limits = report["memory"]["limits"].as_array().expect("limits");
    assert!(limits.iter().any(|found| found["bytes"] == (512 << 20) && found["kind"] == kind), "{report}");
    // The estimate, and what was used for a short question: not more than is said to be needed for a long one.
    let need = report["memory_need"]["private"].as_u64().expect("a number");
    let used = report["memory"]["process"]["anonymous"].as_u64().expect("a number");
    assert!(need > used / 2 && need < 10 * used, "{need} estimated, {used} used");
    let page = success(limited(&bench, &limit, &args));
    assert!(page.contains("536.9 MB (") && page.contains("is enough"), "{page}");
}

#[test]
fn a_model_in_memory_gives_the_same_answer() {
    let bench = Bench::new();
    let (model, text) = (demo(&bench), text());
    let args = question(&model, &text);
    let plain = success(run(&mut bench.command(&args), ""));
    let doctor = ["doctor", "--json", "--model", model.to_str().expect("UTF-8")];
    let memory = |options: &[&str]| {
        let report = success(run(bench.command(&doctor).args(options), ""));
        serde_json::from_str::<Value>(&report).expect("JSON")["memory"].clone()
    };
    let resident = |memory: &Value| {
        let bytes = |name: &str| memory["weights"][name].as_u64().expect("a number");
        bytes("resident") as f64 / bytes("bytes") as f64
    };
    let without = resident(&memory(&[]));
    assert!(without < 0.7, "{without} of the model stays anyway");
    for option in ["--prefault", "--mlock"] {
        let size = std::fs::metadata(&model).expect("a file").len();
        let allowed = limit::lockable().is_none_or(|bytes| bytes >= size);
        let output = run(bench.command(&args).arg(option), "");
        if option == "--mlock" && !allowed && !output.status.success() {
            skipped("a_model_in_memory_gives_the_same_answer: RLIMIT_MEMLOCK is below the size of the model");
            continue;
        }
        assert_eq!(success(output), plain, "{option}");
        let memory = memory(&[option]);
        // Pages that are not locked can go again where other programs need memory.
        let least = if option == "--mlock" { 1.0 } else { 0.9 };
        assert!(resident(&memory) >= least, "{option}: {memory}");
        let locked = memory["process"]["locked"].as_u64().expect("a number");
        assert_eq!(locked >= size, option == "--mlock", "{locked} bytes are locked");
    }
}

#[test]
fn a_lock_that_is_not_allowed_says_what_to_do() {
    let bench = Bench::new();
    let (model, text) = (demo(&bench), text());
    let plain = bench.command(&question(&model, &text));
    let unprivileged = || {
        let mut command = Command::new("/bin/sh");
        // Root may lock whatever the limit is, unless that privilege is dropped.
        let drop = "ulimit -l 64 || exit 126; if [ \"$(id -u)\" = 0 ]; then exec setpriv --bounding-set -ipc_lock \"$@\"; fi; exec \"$@\"";
        command.args(["-c", drop, "sh"]);
        command
    };
    if !unprivileged().arg("true").output().is_ok_and(|output| output.status.success()) {
        skipped("a_lock_that_is_not_allowed_says_what_to_do: root, and no setpriv");
        return;
    }
    let mut command = unprivileged();
    command.arg(plain.get_program()).args(plain.get_args()).arg("--mlock");
    let output = run(&mut command, "");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    for part in ["--mlock", "RLIMIT_MEMLOCK is 0.1 MB", "ulimit -l", "--prefault"] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
}
