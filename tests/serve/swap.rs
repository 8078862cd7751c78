//! Models that come while questions are asked.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::daemon::{Daemon, edgeqa, medium, post, short, variant, wait};

/// Everything of a reply that the model decides.
fn answer(reply: &Value) -> String {
    let keys = ["answer", "score", "probability", "null_odds", "bytes", "null_threshold"];
    keys.map(|key| reply[key].to_string()).join(" ")
}

#[test]
fn new_models_are_taken_and_corrupt_ones_refused_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.safetensors");
    let path = model.to_str().unwrap();
    variant(&model, "-3.4");
    let mut daemon = Daemon::start(&["--model", path]);
    let old = answer(&daemon.ask(&short()).json());
    let (stop, seen) = (AtomicBool::new(false), std::sync::Mutex::new(BTreeSet::new()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = daemon.connect();
                while !stop.load(Relaxed) {
                    let reply = client.ask(&short());
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    seen.lock().unwrap().insert(answer(&reply.json()));
                    thread::sleep(Duration::from_millis(5));
                }
            });
        }
        // Also if an assertion fails.
        let _stop = Stop(&stop);
        let threshold = || daemon.ask(&short()).json()["null_threshold"].clone();

        // A good one, noticed by itself.
        variant(&model, "-3.5");
        wait("the new model", || (threshold() == -3.5).then_some(()));
        assert_eq!(daemon.metric("edgeqa_model_swaps_total"), 1.0);

        // One with a flipped bit in its weights, one with a flipped bit in its header, and one that is cut off.
        let good = fs::read(&model).unwrap();
        let mut flipped = good.clone();
        let at = flipped.len() - 5000;
        flipped[at] ^= 1;
        let licence = good.windows(10).position(|window| window == b"Apache-2.0").expect("a licence");
        let mut renamed = good.clone();
        renamed[licence] ^= 1;
        for (bytes, reason, words) in [
            (&flipped[..], "checksum", "the tensor data have sha256"),
            (&renamed[..], "checksum", "the header has sha256"),
            (&good[..good.len() / 2], "truncated", "is truncated"),
            (&b"nonsense"[..], "invalid", "not a safetensors file"),
        ] {
            let before = daemon.metric("edgeqa_model_refusals_total");
            let beside = folder.path().join("beside");
            fs::write(&beside, bytes).unwrap();
            fs::rename(&beside, &model).unwrap();
            daemon.signal("HUP");
            wait("the refusal", || (daemon.metric("edgeqa_model_refusals_total") > before).then_some(()));
            let metrics = daemon.get("/metrics").text();
            assert!(metrics.contains(&format!("edgeqa_model_refused_info{{reason=\"{reason}\",path=")), "{metrics}");
            assert_eq!(daemon.get("/v1/info").json()["refused_model"]["reason"], reason);
            let line = daemon.wait_for_log(words);
            assert!(line.contains("is refused: "), "{line}");
            assert_eq!(threshold(), -3.5);
        }
        // It is not tried again and again.
        let refusals = daemon.metric("edgeqa_model_refusals_total");
        thread::sleep(Duration::from_millis(2500));
        assert_eq!(daemon.metric("edgeqa_model_refusals_total"), refusals);

        // And a good one again.
        variant(&model, "-3.6");
        daemon.signal("HUP");
        wait("the new model", || (threshold() == -3.6).then_some(()));
        assert!(!daemon.get("/metrics").text().contains("refused_info"));
    });
    let expected = ["-3.4", "-3.5", "-3.6"].map(|threshold| old.replace("-3.4", threshold));
    assert_eq!(seen.into_inner().unwrap(), BTreeSet::from(expected));
    assert!(daemon.terminate().success());
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_model_that_is_written_to_in_place_answers_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (model, previous) = (folder.path().join("model.safetensors"), folder.path().join("model.safetensors.previous"));
    for with_previous in [false, true] {
        variant(&model, "-3.4");
        let daemon = Daemon::start(&["--model", model.to_str().unwrap()]);
        assert_eq!(daemon.ask(&short()).json()["null_threshold"], -3.4);
        if with_previous {
            variant(&previous, "-3.7");
        }
        let mut asking = daemon.connect();
        asking.send(post(&medium().to_string()));
        wait("the question", || (daemon.metric("edgeqa_busy") == 1.0).then_some(()));
        let mut file = fs::File::options().write(true).open(&model).unwrap();
        let len = file.metadata().unwrap().len();
        file.seek(SeekFrom::Start(len / 2)).unwrap();
        file.write_all(&[7; 100_000]).unwrap();
        drop(file);
        let reply = asking.reply();
        assert_eq!((reply.status, reply.code().as_str()), (503, "model_damaged"), "what was being answered");
        if !with_previous {
            // Where there is another model, it may be in place by now.
            let reply = daemon.ask(&short());
            assert_eq!((reply.status, reply.code().as_str()), (503, "model_damaged"), "at once");
            assert_eq!(daemon.get("/readyz").status, 503);
        }
        daemon.wait_for_log("is refused: ");
        if with_previous {
            daemon.wait_for_log("answering with ");
            wait("the previous model", || (daemon.get("/readyz").status == 200).then_some(()));
            assert_eq!(daemon.ask(&short()).json()["null_threshold"], -3.7);
        } else {
            daemon.wait_for_log("nothing is answered");
            assert_eq!(daemon.ask(&short()).code(), "model_damaged");
            // What takes its place heals it.
            variant(&model, "-3.5");
            wait("the new model", || (daemon.get("/readyz").status == 200).then_some(()));
            assert_eq!(daemon.ask(&short()).json()["null_threshold"], -3.5);
        }
    }
}

#[test]
fn a_model_that_was_damaged_gives_way_whatever_became_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let (model, previous) = (folder.path().join("model.safetensors"), folder.path().join("model.safetensors.previous"));
    let answers = |daemon: &Daemon, swaps: f64, threshold: f64| {
        wait("the model", || (daemon.metric("edgeqa_model_swaps_total") == swaps).then_some(()));
        assert_eq!(daemon.get("/readyz").status, 200);
        assert_eq!(daemon.ask(&short()).json()["null_threshold"], threshold);
    };
    // Written to, and removed.
    variant(&model, "-3.4");
    variant(&previous, "-3.7");
    let daemon = Daemon::start(&["--model", model.to_str().unwrap()]);
    answers(&daemon, 0.0, -3.4);
    fs::File::options().write(true).open(&model).unwrap().write_all(&[7; 1000]).unwrap();
    fs::remove_file(&model).unwrap();
    answers(&daemon, 1.0, -3.7);
    // The previous model is touched while there is no other.
    fs::File::options().write(true).open(&previous).unwrap().set_modified(SystemTime::now()).unwrap();
    answers(&daemon, 2.0, -3.7);
    // What comes in the place of the first is taken.
    variant(&model, "-3.5");
    answers(&daemon, 3.0, -3.5);
    // Every refusal of another file is told.
    for (refusals, content) in [(1.0, "nonsense"), (2.0, "nonsense, too")] {
        let beside = folder.path().join("new");
        fs::write(&beside, content).unwrap();
        fs::rename(&beside, &model).unwrap();
        wait("the refusal", || (refused(&daemon) == refusals).then_some(()));
    }
    daemon.signal("HUP");
    wait("the refusal", || (refused(&daemon) == 3.0).then_some(()));
    assert_eq!(daemon.ask(&short()).json()["null_threshold"], -3.5);
}

/// How many models were refused.
fn refused(daemon: &Daemon) -> f64 {
    daemon.metric("edgeqa_model_refusals_total")
}

#[test]
fn the_previous_model_is_taken_while_somebody_writes_into_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.safetensors");
    variant(&model, "-3.4");
    variant(&folder.path().join("model.safetensors.previous"), "-3.7");
    let daemon = Daemon::start(&["--model", model.to_str().unwrap()]);
    let file = fs::File::options().write(true).open(&model).unwrap();
    for _ in 0..100 {
        (&file).write_all(&[7; 1000]).unwrap();
        thread::sleep(Duration::from_millis(100));
        if daemon.metric("edgeqa_model_swaps_total") == 1.0 {
            assert_eq!(daemon.ask(&short()).json()["null_threshold"], -3.7);
            return;
        }
    }
    panic!("the previous model was not taken: {}", daemon.log());
}

#[test]
fn a_model_that_was_refused_for_want_of_descriptors_is_taken_when_there_are_some() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};

    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.safetensors");
    variant(&model, "-3.4");
    let daemon = Daemon::start(&["--model", model.to_str().unwrap()]);
    assert_eq!(daemon.ask(&short()).json()["null_threshold"], -3.4);
    let pid = Pid::from_child(&daemon.child);
    let limit =
        |soft| prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(soft), maximum: Some(4096) }).unwrap();
    let before = limit(3);
    variant(&model, "-3.5");
    daemon.wait_for_log("Too many open files");
    limit(before.current.unwrap().min(4096));
    wait("the new model", || (daemon.ask(&short()).json()["null_threshold"] == -3.5).then_some(()));
}

#[test]
fn a_daemon_starts_with_the_previous_model_rather_than_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.safetensors");
    fs::write(&model, "nonsense").unwrap();
    let args = ["serve", "--listen", "127.0.0.1:0", "--model", model.to_str().unwrap()];
    let output = edgeqa().args(args).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("cannot serve with") && errors.contains("not a safetensors file"), "{errors}");
    variant(&folder.path().join("model.safetensors.previous"), "-3.7");
    let daemon = Daemon::of(edgeqa().args(args));
    assert_eq!(daemon.ask(&short()).json()["null_threshold"], -3.7);
    daemon.wait_for_log("answering with ");
}

#[test]
fn the_previous_model_is_taken_however_the_model_was_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.safetensors");
    variant(&folder.path().join("model.safetensors.previous"), "-3.7");
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    for command in [edgeqa().args(serve).arg("--model").arg(&model), edgeqa().args(serve).env("EDGEQA_MODEL", &model)] {
        let daemon = Daemon::of(command);
        assert_eq!(daemon.ask(&short()).json()["null_threshold"], -3.7);
    }
}
