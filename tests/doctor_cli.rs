//! `edgeqa doctor` as people and scripts use it, and `ask` with threads.

use serde_json::Value;

use crate::common::program::{Bench, failure, run, success};

fn doctor(bench: &Bench, args: &[&str], kernel: Option<&str>) -> Value {
    let model = bench.model.to_str().expect("UTF-8");
    let mut command = bench.command(&["doctor", "--json", "--model", model]);
    command.args(args).env_remove("EDGEQA_KERNEL");
    if let Some(kernel) = kernel {
        command.env("EDGEQA_KERNEL", kernel);
    }
    serde_json::from_str(&success(run(&mut command, ""))).expect("JSON")
}

fn chosen(report: &Value) -> Vec<&str> {
    let kernels = report["kernels"].as_array().expect("kernels").iter();
    kernels.filter(|kernel| kernel["chosen"] == true).filter_map(|kernel| kernel["name"].as_str()).collect()
}

#[test]
fn doctor_says_what_runs_here() {
    let bench = Bench::new();
    let report = doctor(&bench, &["--threads", "3"], None);
    assert_eq!((&report["threads"], &report["problem"]), (&3.into(), &Value::Null));
    assert_eq!(report["model"], bench.model.to_str().expect("UTF-8"));
    assert!(report["load_ms"].as_f64() > Some(0.0) && report["answer_ms"].as_f64() > Some(0.0), "{report}");
    assert_eq!(chosen(&report), [report["kernel"].as_str().expect("a name")]);
    let available = |kernel: &&Value| kernel["available"] == true;
    let kernels = report["kernels"].as_array().expect("kernels");
    assert_eq!(kernels.iter().rfind(available).expect("one")["chosen"], true, "the fastest that can run is chosen");
    assert!(report["page_bytes"].as_u64().is_some_and(|bytes| bytes.is_power_of_two()));
    assert!(report["default_threads"].as_u64() <= report["usable_cpus"].as_u64());
    if cfg!(target_os = "linux") {
        assert_eq!(report["weights_are_mapped"], true);
        let memory = &report["memory"];
        assert_eq!(memory["weights"]["anonymous"], 0);
        assert!(memory["weights"]["bytes"].as_u64() >= Some(4096));
        let process = |name: &str| memory["process"][name].as_u64();
        assert!(process("private_dirty") > Some(0) && process("resident") > process("private_dirty"), "{memory}");
        assert!(memory["peak_resident"].as_u64() > process("private_dirty"), "{memory}");
    }
}

#[test]
fn the_override_is_obeyed_and_shown() {
    let bench = Bench::new();
    for kernel in ["gemm_i8_4x16k4_portable", "gemm_i8_1x16k4_scalar"] {
        let report = doctor(&bench, &[], Some(kernel));
        assert_eq!(chosen(&report), [kernel]);
        assert_eq!((&report["kernel_override"], &report["vectors"]), (&kernel.into(), &"portable".into()));
        assert_eq!(report["kernel_override_taken"], true);
    }
    let model = bench.model.to_str().expect("UTF-8");
    let nonsense = |args: &[&str]| {
        let mut command = bench.command(&["doctor", "--model", model]);
        let output = run(command.args(args).env("EDGEQA_KERNEL", "gemm_i8_nonsense"), "");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let report: Value = serde_json::from_str(&nonsense(&["--json"])).expect("JSON");
    assert_eq!(report["kernel_override_taken"], false);
    assert!(nonsense(&[]).contains("EDGEQA_KERNEL=gemm_i8_nonsense (ignored: no kernel of this CPU)"));
    assert_eq!(doctor(&bench, &[], None)["kernel_override_taken"], Value::Null);
    let page = success(run(&mut bench.command(&["doctor", "--model", model, "--threads", "1"]), ""));
    for name in ["kernels", "features", "threads", "page size", "weights", "memory"] {
        assert!(page.lines().any(|line| line.starts_with(name)), "{name}: {page}");
    }
}

#[test]
fn doctor_fails_where_nothing_can_be_answered() {
    let bench = Bench::new();
    let broken = bench.file("broken.safetensors", "no model");
    let args = ["doctor", "--model", &broken, "--threads", "2"];
    let output = run(&mut bench.command(&args), "");
    let page = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    let row = |name: &str| page.lines().find(|line| line.starts_with(name));
    for name in ["edgeqa", "features", "kernels", "threads", "page size", "memory"] {
        assert!(row(name).is_some() || !cfg!(target_os = "linux"), "{name}: {page}");
    }
    assert!(row("model").is_some_and(|line| line.ends_with("(none can be used)")), "{page}");
    assert!(
        row("problem").is_some_and(|line| line.contains(&broken) && line.contains("not a safetensors file")),
        "{page}"
    );
    assert!(row("weights").is_none() && row("answer").is_none(), "{page}");
    let error = failure(output, 1);
    assert!(error.contains(&broken) && error.contains("not a safetensors file"), "{error}");

    let output = run(bench.command(&args).arg("--json"), "");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for key in ["model", "memory_need", "weights_are_mapped", "load_ms", "answer_ms"] {
        assert_eq!(report.get(key), Some(&Value::Null), "{key}");
    }
    assert_eq!((&report["threads"], chosen(&report).len()), (&2.into(), 1));
    assert!(report["problem"].as_str().is_some_and(|problem| problem.contains(&broken)), "{report}");
    failure(output, 1);

    // Nor where there is no model.
    let output = run(&mut bench.command(&["doctor", "--json"]), "");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["model"], Value::Null);
    assert!(report["problem"].as_str().is_some_and(|problem| problem.starts_with("found no model")), "{report}");
    failure(output, 1);
    for count in ["0", "1025"] {
        failure(run(&mut bench.command(&["doctor", "--threads", count]), ""), 2);
    }
}

#[test]
fn answers_do_not_depend_on_threads() {
    let bench = Bench::new();
    let model = bench.model.to_str().expect("UTF-8");
    let text = "Ada Morrow kept the light and a log of ships. ".repeat(40);
    let ask = |args: &[&str]| {
        let common = ["ask", "Who kept the light?", "--json", "--model", model, "--max-seq-len", "64"];
        success(run(bench.command(&common).args(args), &text))
    };
    let one = ask(&["--threads", "1"]);
    for args in [&["--threads", "2"][..], &["--threads", "1", "--pin"], &[]] {
        assert_eq!(ask(args), one, "{args:?}");
    }
    // More than any board has CPUs.
    let mut shared = bench.command(&["ask", "Who kept the light?", "--json", "--model", model, "--max-seq-len", "64"]);
    let shared = run(shared.args(["--threads", "300", "--pin"]), &text);
    assert_eq!(String::from_utf8_lossy(&shared.stdout), one);
    let errors = String::from_utf8_lossy(&shared.stderr);
    assert!(
        errors.contains("300 threads cannot have a CPU each") || errors.contains("could not be pinned"),
        "{errors}"
    );
}
