//! Downloads from a hub on the loopback interface.

mod downloads;
mod environment;
mod errors;
mod fake_hub;
mod program;

use edgeqa_quantize::hub::{Downloaded, HubOptions};
use fake_hub::{FakeHub, Repo, Request};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

const ID: &str = "owner/model-squad2";
const FIRST: &str = "0123456789abcdef0123456789abcdef01234567";
const SECOND: &str = "89abcdef0123456789abcdef0123456789abcdef";
const WEIGHTS: &str = "model.safetensors";

fn repo(files: &[(&'static str, usize)]) -> Repo {
    let content = |(name, length): &(&'static str, usize)| {
        let seed = name.bytes().map(usize::from).sum::<usize>();
        let byte = |i: usize| match name.ends_with(".json") {
            // A string of letters.
            true if i == 0 || i + 1 == *length => b'"',
            true => b'a' + ((i * 7 + i / 251 + seed) % 26) as u8,
            false => ((i * 7 + i / 251 + seed) % 256) as u8,
        };
        (*name, (0..*length).map(byte).collect())
    };
    Repo { id: ID, commit: FIRST.to_owned(), files: files.iter().map(content).collect() }
}

fn model() -> Repo {
    repo(&[
        ("README.md", 10),
        ("config.json", 300),
        ("onnx/model.onnx", 99),
        ("pytorch_model.bin", 99),
        ("tokenizer.json", 5_000),
        (WEIGHTS, 400_000),
    ])
}

fn options(hub: &FakeHub, cache: &TempDir) -> HubOptions {
    HubOptions {
        endpoint: Some(hub.address.clone()),
        cache_dir: Some(cache.path().join("hub")),
        progress: false,
        retries: 0,
        offline: Some(false),
        environment: false,
        ..HubOptions::default()
    }
}

fn temp() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Where the repo is in the cache.
fn cached(cache: &TempDir) -> PathBuf {
    cache.path().join("hub/models--owner--model-squad2")
}

#[track_caller]
fn check(found: &Downloaded, repo: &Repo, weights: &str) {
    assert_eq!((found.repo.as_str(), &found.commit), (repo.id, &repo.commit));
    assert!(found.dir.ends_with(format!("snapshots/{}", repo.commit)));
    for (path, name) in
        [(found.config.as_path(), "config.json"), (&found.tokenizer, "tokenizer.json"), (found.weights.path(), weights)]
    {
        assert_eq!(path, found.dir.join(name));
        assert!(fs::read(path).expect("the file") == repo.data(name));
    }
}

/// Where the transfers of the weights' content began.
fn starts(hub: &FakeHub) -> Vec<usize> {
    let log = hub.take_log();
    let store = log.iter().filter(|r| r.path.starts_with("/store/"));
    store.filter_map(Request::open_range).collect()
}
