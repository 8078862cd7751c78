//! `edgeqa model`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use edgeqa::artifact::write::write;
use serde_json::Value;
use tempfile::TempDir;

use super::common;
use super::common::program::{failure, run, success};
use super::common::skip::skipped;
use super::daemon::{demo, edgeqa, short, variant};

/// A folder with models to install, and one to install into.
struct Models {
    folder: TempDir,
}

impl Models {
    fn new() -> Self {
        let models = Self { folder: tempfile::tempdir().unwrap() };
        for threshold in ["-3.4", "-3.5"] {
            variant(&models.offer(threshold), threshold);
        }
        fs::create_dir(models.folder.path().join("in")).unwrap();
        models
    }

    fn offer(&self, threshold: &str) -> std::path::PathBuf {
        self.folder.path().join(format!("{threshold}.safetensors"))
    }

    fn installed(&self) -> std::path::PathBuf {
        self.folder.path().join("in/model.safetensors")
    }

    fn model(&self, args: &[&str]) -> Command {
        let mut command = edgeqa();
        command.arg("model").args(args).args(["--to", self.installed().to_str().unwrap()]);
        command
    }

    fn install(&self, file: &Path) -> Output {
        run(&mut self.model(&["install", file.to_str().unwrap()]), "")
    }

    /// The threshold of the model that a daemon starts with.
    fn threshold(&self) -> f64 {
        let mut command = edgeqa();
        let command = command.args(["serve", "--stdio", "--model", self.installed().to_str().unwrap()]);
        let output = run(command, short().to_string());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let reply: Value = serde_json::from_slice(&output.stdout).expect("a reply");
        assert_eq!(reply["answer"], "Jonas Ekdahl");
        reply["null_threshold"].as_f64().expect("a number")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("in")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn models_are_installed_brought_back_and_shown() {
    let models = Models::new();
    assert!(failure(run(&mut models.model(&["rollback"]), ""), 1).contains("there is no "));
    assert!(success(models.install(&models.offer("-3.4"))).starts_with("installed "));
    assert_eq!((models.threshold(), models.names()), (-3.4, vec!["model.safetensors".to_owned()]));
    assert!(success(models.install(&models.offer("-3.4"))).starts_with("there already: "));
    assert!(success(models.install(&models.offer("-3.5"))).starts_with("installed "));
    assert_eq!(models.threshold(), -3.5);
    let both = ["model.safetensors", "model.safetensors.previous"];
    assert_eq!(models.names(), both);
    let again = ["install", "--json", models.offer("-3.5").to_str().unwrap()].map(str::to_owned);
    let json = |args: &[&str]| -> Value { serde_json::from_str(&success(run(&mut models.model(args), ""))).unwrap() };
    assert_eq!(json(&again.each_ref().map(String::as_str))["changed"], false);
    for _ in 0..2 {
        let back = json(&["rollback", "--json"]);
        assert_eq!((&back["changed"], back["data_sha256"].as_str().map(str::len)), (&true.into(), Some(64)));
        assert_eq!(back["path"], models.folder.path().join("in/model.safetensors").to_str().unwrap());
    }
    for threshold in [-3.4, -3.5] {
        assert!(success(run(&mut models.model(&["rollback"]), "")).starts_with("brought back "));
        assert_eq!((models.threshold(), models.names()), (threshold, both.map(String::from).to_vec()));
    }
    let status: Value = serde_json::from_str(&success(run(&mut models.model(&["status", "--json"]), ""))).unwrap();
    assert!(status["installed"]["data_sha256"].is_string());
    assert_eq!(status["installed"]["data_sha256"], status["previous"]["data_sha256"]);
    assert_eq!((&status["installed"]["exists"], &status["previous"]["problem"]), (&true.into(), &Value::Null));
}

/// Not the fallback of a kiosk whose model has become unreadable.
#[test]
fn what_cannot_be_used_does_not_become_the_previous_model() {
    let models = Models::new();
    success(models.install(&models.offer("-3.4")));
    success(models.install(&models.offer("-3.5")));
    let mut damaged = fs::read(models.installed()).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(models.installed(), &damaged).unwrap();
    let output = models.install(&models.offer("-3.5"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("could not be used (") && said.contains("checksum"), "{said}");
    assert!(said.contains("model.safetensors.previous stays the previous model"), "{said}");
    assert_eq!(models.threshold(), -3.5);
    success(run(&mut models.model(&["rollback"]), ""));
    assert_eq!(models.threshold(), -3.4);

    // Nor does one that cannot be read, as on a bad sector: Linux has nothing at address 0.
    fs::remove_file(models.installed()).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", models.installed()).unwrap();
    let output = models.install(&models.offer("-3.4"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("could not be used (Input/output error"), "{said}");
    assert_eq!(models.threshold(), -3.4);
    success(run(&mut models.model(&["rollback"]), ""));
    assert_eq!(models.threshold(), -3.5);

    // A model that is refused is named as it was given.
    let bad = models.folder.path().join("bad.safetensors");
    fs::write(&bad, &damaged).unwrap();
    let error = failure(models.install(&bad), 1);
    assert!(error.contains("bad.safetensors: checksum mismatch") && !error.contains("install-"), "{error}");
}

#[test]
fn status_fails_for_an_installed_model_that_cannot_be_used_and_shows_it() {
    let models = Models::new();
    let status = || run(models.model(&["status"]).env("EDGEQA_MODEL", models.offer("-3.4")), "");
    let page = success(status());
    assert!(page.contains("there is none") && page.contains(&format!("taken     {}", models.offer("-3.4").display())));
    success(models.install(&models.offer("-3.4")));
    success(models.install(&models.offer("-3.5")));
    let previous = models.folder.path().join("in/model.safetensors.previous");
    fs::write(&previous, "no model").unwrap();
    assert!(success(status()).contains("cannot be used"));
    fs::rename(&previous, models.installed()).unwrap();
    let output = status();
    assert!(String::from_utf8_lossy(&output.stdout).contains("cannot be used"));
    assert!(failure(output, 1).contains("the installed model cannot be used"));
}

#[test]
fn models_that_stay_or_come_back_are_for_all_to_read() {
    let models = Models::new();
    let previous = models.folder.path().join("in/model.safetensors.previous");
    let private = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    let mode = || fs::metadata(models.installed()).unwrap().permissions().mode() & 0o777;
    success(models.install(&models.offer("-3.4")));
    success(models.install(&models.offer("-3.5")));
    private(&models.installed());
    assert!(success(models.install(&models.offer("-3.5"))).starts_with("there already: "));
    assert_eq!(mode(), 0o644);
    private(&previous);
    success(run(&mut models.model(&["rollback"]), ""));
    assert_eq!(mode(), 0o644);
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("model.safetensors");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 1000 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_edgeqa"), "model", "install"]);
    let errors = failure(run(command.arg(demo()).arg("--to").arg(&to), ""), 1);
    assert!(errors.contains("File too large"), "{errors}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn folders_that_root_makes_are_for_all_to_read() {
    if !rustix::process::geteuid().is_root() {
        skipped("folders_that_root_makes_are_for_all_to_read: not root");
        return;
    }
    let models = Models::new();
    let path = |name: &str| models.folder.path().join(name);
    fs::set_permissions(path("in"), Permissions::from_mode(0o700)).unwrap();
    let mut command = Command::new("/bin/sh");
    command.env_clear().args([
        "-c",
        "umask 077; exec \"$0\" model install \"$1\" --to \"$2\"",
        env!("CARGO_BIN_EXE_edgeqa"),
    ]);
    success(run(command.arg(models.offer("-3.4")).arg(path("in/a/b/model.safetensors")), ""));
    let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(["in/a", "in/a/b", "in/a/b/model.safetensors"].map(mode), [0o755, 0o755, 0o644]);
    assert_eq!(mode("in"), 0o700, "what was there stays as it was");
}

#[test]
fn what_is_no_working_model_is_not_installed() {
    let models = Models::new();
    success(models.install(&models.offer("-3.4")));
    let bad = models.folder.path().join("bad.safetensors");
    let good = fs::read(models.offer("-3.5")).unwrap();
    let mut flipped = good.clone();
    let at = flipped.len() - 5000;
    flipped[at] ^= 1;
    for (bytes, part) in
        [(&flipped[..], "checksum mismatch"), (&good[..good.len() / 2], "truncated"), (b"", "not a safetensors file")]
    {
        fs::write(&bad, bytes).unwrap();
        let errors = failure(models.install(&bad), 1);
        assert!(errors.contains("bad.safetensors is not installed") && errors.contains(part), "{errors}");
        assert_eq!((models.threshold(), models.names()), (-3.4, vec!["model.safetensors".to_owned()]));
    }
    assert!(failure(models.install(Path::new("/nowhere")), 1).contains("cannot open /nowhere"));
    fs::write(models.folder.path().join("in/model.safetensors.previous"), flipped).unwrap();
    assert!(failure(run(&mut models.model(&["rollback"]), ""), 1).contains("checksum mismatch"));
    assert_eq!(models.threshold(), -3.4);
}

/// Kills `count` installations and `count` rollbacks, each at another time of its life.
fn killed(count: u32) {
    let models = Models::new();
    success(models.install(&models.offer("-3.4")));
    let begun = Instant::now();
    success(models.install(&models.offer("-3.5")));
    // A little more than it takes, so that some are through; where the disk is slow, what can be waited for.
    let whole = (begun.elapsed() * 11 / 10).min(Duration::from_secs(1));
    let (mut old, mut new, mut finished) = (0, 0, 0);
    for number in 0..count {
        let before = models.threshold();
        let other = if before == -3.4 { "-3.5" } else { "-3.4" };
        // Spread over the whole time, in an order that mixes early and late (the golden ratio's multiples).
        let share = (f64::from(number) * 0.618_033_988_749_894_9).fract();
        let offer = models.offer(other);
        let args: &[&str] = if number % 4 == 3 { &["rollback"] } else { &["install", offer.to_str().unwrap()] };
        let mut child = models.model(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        thread::sleep(whole.mul_f64(share));
        finished += u32::from(child.try_wait().unwrap().is_some());
        let _ = child.kill();
        child.wait().unwrap();
        let after = models.threshold();
        assert!([-3.4, -3.5].contains(&after), "{after}");
        *(if after == before { &mut old } else { &mut new }) += 1;
    }
    println!(
        "{count} kills within {whole:?}: {old} old, {new} new ({finished} had ended by themselves), none without a model"
    );
    // None of which is worth anything if nothing was interrupted.
    assert!(finished < count, "all {count} had ended by themselves");
    // What is left of them is cleaned by the next.
    success(models.install(&models.offer(if models.threshold() == -3.4 { "-3.5" } else { "-3.4" })));
    let names = models.names();
    assert_eq!(names, ["model.safetensors", "model.safetensors.previous"]);
}

#[test]
fn a_killed_installation_leaves_the_old_or_the_new_model() {
    killed(6);
}

#[test]
#[ignore = "takes a minute"]
fn a_hundred_killed_installations_leave_the_old_or_the_new_model() {
    killed(100);
}

#[test]
fn a_second_installation_waits_for_nobody() {
    let models = Models::new();
    let folder = fs::File::open(models.folder.path().join("in")).unwrap();
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let begun = Instant::now();
    let errors = failure(models.install(&models.offer("-3.4")), 1);
    assert!(errors.contains("another program installs") && begun.elapsed() < Duration::from_secs(5), "{errors}");
}

/// Its checksums are right, and nothing else is.
#[test]
fn a_model_that_computes_nothing_is_refused() {
    let models = Models::new();
    let file = models.folder.path().join("zero.safetensors");
    let metadata = common::metadata();
    let mut data = common::tensors(&metadata.config);
    data.get_mut("head.weight").expect("there").fill(0);
    write(&file, &metadata, &data).and_then(|pending| pending.publish()).expect("written");
    let error = failure(models.install(&file), 1);
    assert!(error.contains("an answer scores exactly as much as none"), "{error}");
    assert!(!models.installed().exists());
}

#[test]
fn only_a_file_is_replaced() {
    let models = Models::new();
    let path = |name: &str| models.folder.path().join(name);
    let pipe = path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for target in [&pipe, &path("in")] {
        for args in [&["install", models.offer("-3.4").to_str().unwrap()][..], &["rollback"]] {
            let mut command = edgeqa();
            let error = failure(run(command.arg("model").args(args).arg("--to").arg(target), ""), 1);
            assert!(error.contains("is no file; give the path of one"), "{error}");
        }
    }
    assert!(fs::metadata(&pipe).is_ok_and(|found| !found.is_file()));
    let error = failure(run(edgeqa().args(["model", "rollback", "--to"]).arg(path("new/x")), ""), 1);
    assert!(error.contains("there is no ") && error.contains("model install"), "{error}");
    let error = failure(run(edgeqa().args(["model", "install", "nothing", "--to"]).arg(path("new/x")), ""), 1);
    assert!(error.contains("nothing") && !path("new").exists(), "{error}");
}
