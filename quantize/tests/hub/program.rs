//! The program itself with `--hub`, configured through the environment.

use super::fake_hub::{FakeHub, Repo};
use super::{FIRST, ID, WEIGHTS, temp};
use edgeqa::artifact::Artifact;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A real, small model in the hub's layout.
fn converted_repo() -> Repo {
    let exports = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/exports");
    let read = |name: &str| std::fs::read(exports.join(name)).expect("a fixture");
    let files = vec![
        ("config.json", read("base-hf/config.json")),
        ("tokenizer.json", read("tokenizer.json")),
        (WEIGHTS, read("base-hf/model.safetensors")),
    ];
    Repo { id: ID, commit: FIRST.to_owned(), files: files.into_iter().collect() }
}

/// The program with a cache in `home`, and nothing else of this environment.
fn hub_program(home: &TempDir, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeqa-quantize"));
    command.args(["--hub", ID, "--out"]).arg(out).env_clear().env("HOME", home.path()).env("HF_HOME", home.path());
    command
}

#[test]
fn environment_is_followed_and_the_artifact_names_its_commit() {
    let (home, hub) = (temp(), FakeHub::new(&converted_repo()));
    let out = home.path().join("model.safetensors");
    let run = |offline: &str| -> Output {
        hub_program(&home, &out)
            .args(["--revision", "main", "--license", "cc-by-4.0"])
            .env("HF_ENDPOINT", format!("{}/", hub.address))
            .env("HF_TOKEN", "hf_of_the_environment")
            .env("HF_HUB_OFFLINE", offline)
            .output()
            .expect("the program runs")
    };
    let first = run("0");
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let log = hub.take_log();
    assert_eq!(log[0].header("authorization"), Some("Bearer hf_of_the_environment"));
    assert!(log.iter().filter(|r| r.is_for_file()).count() >= 3);
    let artifact = Artifact::open(&out).expect("an artifact");
    let source = &artifact.metadata().source;
    assert_eq!((source.repo.as_deref(), source.revision.as_deref()), (Some(ID), Some(FIRST)));
    assert_eq!(source.kind, "safetensors");

    std::fs::remove_file(&out).expect("the artifact");
    assert!(run("1").status.success() && out.is_file());
    assert!(hub.take_log().is_empty(), "an offline run asks nothing");
}

#[test]
fn a_repo_without_a_tokenizer_is_refused_with_the_way_out() {
    let mut repo = converted_repo();
    repo.files.retain(|(name, _)| *name != "tokenizer.json");
    let (home, hub) = (temp(), FakeHub::new(&repo));
    let out = home.path().join("model.safetensors");
    let output = hub_program(&home, &out).env("HF_ENDPOINT", &hub.address).output().expect("the program runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("tokenizer.json") && error.contains("save_pretrained"), "{error}");
    assert!(!out.exists());
}

#[test]
fn a_token_of_the_environment_that_cannot_be_sent_is_named() {
    let home = temp();
    let output = hub_program(&home, &home.path().join("model.safetensors"))
        .env("HF_TOKEN", "hf_of\nthe environment")
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .expect("the program runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("the access token of HF_TOKEN is unusable") && !error.contains("hf_of"), "{error}");
}

/// Files of this machine are read before anything is asked of the hub.
#[test]
fn what_is_wrong_here_is_found_before_a_download() {
    let (home, hub) = (temp(), FakeHub::new(&converted_repo()));
    let (out, bad) = (home.path().join("model.safetensors"), home.path().join("bad"));
    std::fs::write(&bad, b" \n").expect("written");
    for (option, words) in [("--squad", "bad"), ("--calibrate", "bad holds no text to calibrate with")] {
        for file in [&bad, &home.path().join("missing")] {
            let mut command = hub_program(&home, &out);
            let output = command.env("HF_ENDPOINT", &hub.address).arg(option).arg(file).output().expect("runs");
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{error}");
            let words = if *file == bad { words } else { "missing" };
            assert!(error.contains(words) && error.lines().count() == 1, "{error}");
            assert!(hub.take_log().is_empty(), "{option}: the hub was asked");
        }
    }
}

#[test]
fn the_cache_is_where_hf_hub_cache_says_and_the_token_stays_in_hf_home() {
    let (home, hub) = (temp(), FakeHub::new(&converted_repo()));
    let (out, cache) = (home.path().join("model.safetensors"), home.path().join("elsewhere"));
    std::fs::write(home.path().join("token"), "hf_of_the_file\n").expect("written");
    let mut command = hub_program(&home, &out);
    let output = command.env("HF_ENDPOINT", &hub.address).env("HF_HUB_CACHE", &cache).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let snapshot = cache.join("models--owner--model-squad2/snapshots").join(FIRST);
    assert!(snapshot.join(WEIGHTS).is_file());
    assert!(!home.path().join("hub").exists());
    assert_eq!(hub.take_log()[0].header("authorization"), Some("Bearer hf_of_the_file"));
}

/// The host of its address is not the loopback interface's, but leads there.
#[cfg(unix)]
fn elsewhere(hub: &FakeHub) -> String {
    hub.address.replace("127.0.0.1", "0.0.0.0")
}

#[cfg(unix)]
#[test]
fn proxies_are_for_hosts_that_are_neither_this_machine_nor_excepted() {
    let mut repo = converted_repo();
    // The list is enough to see who is asked.
    repo.files.retain(|(name, _)| *name != "tokenizer.json");
    let (home, hub, proxy) = (temp(), FakeHub::new(&repo), FakeHub::new(&repo));
    let out = home.path().join("model.safetensors");
    for variable in ["ALL_PROXY", "HTTPS_PROXY", "http_proxy"] {
        for (endpoint, except, direct) in [
            (hub.address.clone(), None, true),
            (elsewhere(&hub), None, false),
            (elsewhere(&hub), Some("example.com,0.0.0.0"), true),
        ] {
            let mut command = hub_program(&home, &out);
            command.env(variable, &proxy.address).env("HF_ENDPOINT", &endpoint);
            command.envs(except.map(|hosts| ("NO_PROXY", hosts)));
            let output = command.output().expect("the program runs");
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{error}");
            let context = format!("{variable}, {endpoint}, {except:?}: {error}");
            assert_eq!(error.contains("save_pretrained"), direct, "{context}");
            assert_eq!((hub.take_log().len(), proxy.take_log().len()), (direct.into(), (!direct).into()), "{context}");
        }
    }
}
