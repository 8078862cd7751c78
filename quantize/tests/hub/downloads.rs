//! Downloads that succeed, at once or after a break.

use super::fake_hub::{Answer, FakeHub, Request, sha256};
use super::*;
use edgeqa_quantize::hub::{HubError, Weights, download};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

#[test]
fn fresh_download_then_nothing_more() {
    let (repo, cache) = (model(), temp());
    let hub = FakeHub::new(&repo);
    let options = options(&hub, &cache);

    let found = download(ID, None, &options).expect("the download");
    check(&found, &repo, WEIGHTS);
    assert!(matches!(found.weights, Weights::Safetensors(_)));
    assert_eq!(found.requested_revision, "main");
    assert_eq!(fs::read_to_string(cached(&cache).join("refs/main")).ok().as_deref(), Some(FIRST));
    let log = hub.take_log();
    assert_eq!(log[0].path, format!("/api/models/{ID}/revision/main?blobs=true"));
    assert!(!log.iter().any(|r| r.path.contains("README") || r.path.contains(".bin")));

    assert_eq!(download(ID, None, &options).expect("again"), found);
    let log = hub.take_log();
    assert!(log.len() == 1 && !log[0].is_for_file(), "{log:?}");

    // Without the hub: the commit and the branch, tried or not.
    drop(hub);
    for (revision, offline) in [(FIRST, false), (FIRST, true), ("main", false), ("main", true)] {
        let options = HubOptions { offline: Some(offline), ..options.clone() };
        let found = download(ID, Some(revision), &options).expect("the cache");
        check(&found, &repo, WEIGHTS);
        assert_eq!(found.requested_revision, revision);
    }
    let error = download(ID, Some(SECOND), &options).expect_err("not there");
    assert!(matches!(error, HubError::Network { .. }), "{error}");
    let options = HubOptions { offline: Some(true), ..options };
    let error = download(ID, Some("v2"), &options).expect_err("not there");
    assert!(matches!(error, HubError::NotCached { .. }), "{error}");
}

#[test]
fn pinned_commit_asks_nothing_once_cached() {
    let (repo, cache) = (model(), temp());
    let hub = FakeHub::new(&repo);
    let options = options(&hub, &cache);
    check(&download(ID, Some(FIRST), &options).expect("the download"), &repo, WEIGHTS);
    assert!(!hub.take_log().is_empty());
    check(&download(ID, Some(FIRST), &options).expect("again"), &repo, WEIGHTS);
    assert!(hub.take_log().is_empty());
}

#[test]
fn a_hub_in_trouble_is_replaced_by_the_cache() {
    let (repo, cache, status) = (model(), temp(), Arc::new(AtomicU16::new(200)));
    let hub = FakeHub::with_twist(&repo, {
        let status = Arc::clone(&status);
        move |_, answer| match status.load(Ordering::SeqCst) {
            200 => answer,
            status => Answer::new(status, "no"),
        }
    });
    let options = options(&hub, &cache);
    let found = download(ID, None, &options).expect("the download");
    for trouble in [429, 500, 503] {
        status.store(trouble, Ordering::SeqCst);
        let again = download(ID, None, &options).unwrap_or_else(|error| panic!("{trouble}: {error}"));
        assert_eq!(again, found, "{trouble}");
        let error = download(ID, Some("v2"), &options).expect_err("not in the cache");
        assert!(matches!(error, HubError::HttpStatus { status, .. } if status == trouble), "{error}");
    }
    // This is no trouble, but what the hub has to say.
    status.store(404, Ordering::SeqCst);
    let error = download(ID, None, &options).expect_err("gone");
    assert!(matches!(error, HubError::RepoNotFound { .. }), "{error}");
}

#[test]
fn new_commit_with_the_same_weights_transfers_only_the_rest() {
    let (mut repo, cache) = (model(), temp());
    let hub = FakeHub::new(&repo);
    download(ID, None, &options(&hub, &cache)).expect("the download");
    repo.commit = SECOND.to_owned();
    repo.files[1].1.push(b' ');
    let hub = FakeHub::new(&repo);
    let found = download(ID, None, &options(&hub, &cache)).expect("the second commit");
    check(&found, &repo, WEIGHTS);
    if cfg!(unix) {
        let log = hub.take_log();
        assert!(log.iter().all(|r| !r.path.starts_with("/store/")), "{log:?}");
    }
}

/// Cuts the first transfer of the weights' content.
fn cut_once(at: usize) -> impl FnMut(&Request, Answer) -> Answer + Send {
    let mut done = false;
    move |request, mut answer| {
        if !done && request.path.starts_with("/store/") && request.open_range().is_some() {
            done = true;
            answer.sent = at;
        }
        answer
    }
}

#[test]
fn broken_transfer_is_continued_by_the_next_call() {
    let (repo, cache) = (model(), temp());
    let hub = FakeHub::with_twist(&repo, cut_once(150_000));
    let options = options(&hub, &cache);
    let error = download(ID, None, &options).expect_err("cut");
    assert!(matches!(error, HubError::Network { .. }), "{error}");
    assert!(error.to_string().contains(WEIGHTS), "{error}");
    assert_eq!(starts(&hub), [0]);

    check(&download(ID, None, &options).expect("the rest"), &repo, WEIGHTS);
    let starts = starts(&hub);
    assert!(matches!(starts[..], [start] if start > 100_000 && start <= 150_000), "{starts:?}");
}

#[test]
fn broken_transfer_is_continued_in_the_same_call() {
    let (repo, cache) = (model(), temp());
    let hub = FakeHub::with_twist(&repo, cut_once(150_000));
    let options = HubOptions { retries: 1, ..options(&hub, &cache) };
    check(&download(ID, None, &options).expect("the download"), &repo, WEIGHTS);
    let starts = starts(&hub);
    assert!(matches!(starts[..], [0, start] if start > 100_000), "{starts:?}");
}

/// However often it takes, but no server that gives next to nothing is asked for ever.
#[test]
fn progress_makes_up_for_breaks() {
    let repo = model();
    for (sent, finishes) in [(150_000, true), (1000, false)] {
        let cache = temp();
        let hub = FakeHub::with_twist(&repo, move |request, mut answer| {
            if request.path.starts_with("/store/") && request.open_range().is_some() {
                answer.sent = sent;
            }
            answer
        });
        let found = download(ID, None, &HubOptions { retries: 1, ..options(&hub, &cache) });
        let starts = starts(&hub);
        if finishes {
            check(&found.expect("the download"), &repo, WEIGHTS);
            assert!(starts.len() > 2, "{starts:?}");
        } else {
            let error = found.expect_err("given up");
            assert!(matches!(error, HubError::Network { .. }) && starts.len() == 2, "{error}: {starts:?}");
        }
    }
}

/// The hub and the store answer with 429 or 5xx, each as often as there are attempts, or once too often.
#[test]
fn servers_in_trouble_are_asked_again() {
    let repo = model();
    for (status, wish, at) in [(503, None, "/store/"), (429, Some("1"), "/store/"), (502, None, "/config.json")] {
        for retries in [1, 0] {
            let (cache, mut done) = (temp(), false);
            let hub = FakeHub::with_twist(&repo, move |request, answer| {
                if done || !request.path.contains(at) {
                    return answer;
                }
                done = true;
                let answer = Answer::new(status, "");
                if let Some(wish) = wish { answer.with("Retry-After", wish) } else { answer }
            });
            let start = Instant::now();
            let found = download(ID, None, &HubOptions { retries, ..options(&hub, &cache) });
            let waited = start.elapsed();
            if retries == 0 {
                let error = found.expect_err("given up");
                assert!(matches!(error, HubError::HttpStatus { status: found, .. } if found == status), "{error}");
                assert!(!error.to_string().contains("HF_ENDPOINT"), "{error}");
                continue;
            }
            check(&found.expect("the download"), &repo, WEIGHTS);
            let wished = wish.map_or(Duration::ZERO, |_| Duration::from_secs(1));
            assert!(waited >= wished && waited < Duration::from_secs(20), "{waited:?}");
        }
    }
}

/// A disk that was full, or a copied cache, can leave less of a file than there is.
#[test]
fn a_damaged_file_of_the_cache_is_fetched_again() {
    let (repo, cache) = (model(), temp());
    let hub = FakeHub::new(&repo);
    let options = options(&hub, &cache);
    let found = download(ID, None, &options).expect("the download");
    let cut = |name| repo.data(name)[..99].to_vec();
    let changed = |name| [&[!repo.data(name)[0]], &repo.data(name)[1..]].concat();
    for (name, revision, damaged) in [
        ("config.json", "main", cut("config.json")),
        (WEIGHTS, "main", cut(WEIGHTS)),
        (WEIGHTS, "main", changed(WEIGHTS)),
        (WEIGHTS, FIRST, cut(WEIGHTS)),
        (WEIGHTS, FIRST, changed(WEIGHTS)),
        ("config.json", FIRST, cut("config.json")),
        ("tokenizer.json", FIRST, cut("tokenizer.json")),
    ] {
        hub.take_log();
        fs::write(found.dir.join(name), damaged).expect("damaged");
        // Without the hub it is not used.
        let offline = HubOptions { offline: Some(true), ..options.clone() };
        let error = download(ID, Some(revision), &offline).expect_err("damaged");
        assert!(matches!(error, HubError::NotCached { .. }), "{error}");
        let again = download(ID, Some(revision), &options).expect("again");
        assert_eq!(again, Downloaded { requested_revision: revision.to_owned(), ..found.clone() });
        check(&found, &repo, WEIGHTS);
        let log = hub.take_log();
        assert!(log.iter().filter(|request| request.is_for_file()).all(|request| {
            request.path.ends_with(name) || (name == WEIGHTS && request.path.starts_with("/store/"))
        }));
        assert!(log.iter().any(|request| request.path.ends_with(name)), "{log:?}");
    }
}

/// Leaves `part` of the weights in the cache, as a transfer does that broke.
fn leave_part(cache: &TempDir, repo: &Repo, part: &[u8]) {
    let blobs = cached(cache).join("blobs");
    fs::create_dir_all(&blobs).expect("a folder");
    fs::write(blobs.join(format!("{}.part", sha256(repo.data(WEIGHTS)))), part).expect("a file");
}

#[test]
fn partial_files_that_cannot_be_continued_are_replaced() {
    let repo = model();
    let right = repo.data(WEIGHTS);
    // Complete, too long, of other content, and continued by servers that send all or refuse.
    for (part, status) in [
        (right.to_vec(), None),
        (vec![1; right.len() + 1], None),
        (vec![1; 1000], None),
        (right[..1000].to_vec(), Some(200)),
        (right[..1000].to_vec(), Some(416)),
    ] {
        let cache = temp();
        leave_part(&cache, &repo, &part);
        let whole = right.to_vec();
        let hub = FakeHub::with_twist(&repo, move |request, answer| match (request.open_range(), status) {
            (Some(1..), Some(200)) => Answer::new(200, whole.clone()),
            (Some(1..), Some(status)) => Answer::new(status, ""),
            _ => answer,
        });
        let found = download(ID, None, &options(&hub, &cache)).expect("the download");
        check(&found, &repo, WEIGHTS);
        // A server that sends all when asked for the rest is taken at its word.
        let starts = starts(&hub);
        assert!(starts.last() == Some(if status == Some(200) { &1000 } else { &0 }), "{starts:?}");
    }
}

#[test]
fn complete_partial_file_is_replaced_where_only_the_store_knows_the_size() {
    let (repo, cache) = (model(), temp());
    leave_part(&cache, &repo, repo.data(WEIGHTS));
    let hub = FakeHub::with_twist(&repo, |request, mut answer| {
        if !request.is_for_file() {
            let mut info: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            for file in info["siblings"].as_array_mut().expect("files") {
                *file = serde_json::json!({"rfilename": file["rfilename"]});
            }
            answer.body = info.to_string().into_bytes();
        }
        answer.without("X-Linked-Size")
    });
    check(&download(ID, None, &options(&hub, &cache)).expect("the download"), &repo, WEIGHTS);
    assert_eq!(starts(&hub), [400_000, 0]);
}

#[cfg(unix)]
#[test]
fn second_answers_name_no_files() {
    let (repo, cache) = (model(), temp());
    let elsewhere = cache.path().join("elsewhere");
    fs::write(&elsewhere, "mine").expect("written");
    let other = elsewhere.to_str().expect("UTF-8").to_owned();
    let hub = FakeHub::with_twist(&repo, move |request, answer| match request.open_range() {
        // The content: what was announced of it holds.
        Some(_) => answer.without("ETag").with("ETag", format!("\"{other}\"")).with("X-Linked-Etag", other.clone()),
        None => answer,
    });
    check(&download(ID, None, &options(&hub, &cache)).expect("the download"), &repo, WEIGHTS);
    assert_eq!(fs::read_to_string(&elsewhere).expect("read"), "mine");
    assert_eq!(fs::read_dir(cache.path()).expect("a folder").count(), 2, "nothing beside it");
}

#[test]
fn content_is_asked_for_as_it_is() {
    let (repo, cache) = (model(), temp());
    let hub = FakeHub::new(&repo);
    download(ID, None, &options(&hub, &cache)).expect("the download");
    let log = hub.take_log();
    let files: Vec<_> = log.iter().filter(|request| request.is_for_file()).collect();
    assert!(files.iter().all(|request| request.header("accept-encoding") == Some("identity")), "{files:?}");
    assert!(files.iter().any(|request| request.path.starts_with("/store/")));
}

#[cfg(unix)]
#[test]
fn link_to_nothing_is_replaced() {
    let (repo, cache) = (model(), temp());
    let snapshot = cached(&cache).join("snapshots").join(FIRST);
    fs::create_dir_all(&snapshot).expect("a folder");
    for name in ["config.json", WEIGHTS] {
        std::os::unix::fs::symlink("../../blobs/gone", snapshot.join(name)).expect("a link");
    }
    let hub = FakeHub::new(&repo);
    check(&download(ID, None, &options(&hub, &cache)).expect("the download"), &repo, WEIGHTS);
}

#[cfg(unix)]
#[test]
fn file_of_a_faster_process_is_taken_and_its_link_left_alone() {
    let (repo, cache) = (model(), temp());
    let blob = cached(&cache).join("blobs").join(sha256(repo.data(WEIGHTS)));
    let pointer = cached(&cache).join("snapshots").join(FIRST).join(WEIGHTS);
    let hub = FakeHub::with_twist(&repo, {
        let (data, blob, pointer) = (repo.data(WEIGHTS).to_vec(), blob.clone(), pointer.clone());
        move |request: &Request, answer: Answer| {
            // After this process has looked into the cache; an absolute link, unlike its own.
            if request.path.ends_with(WEIGHTS) {
                fs::write(&blob, &data).expect("a blob");
                std::os::unix::fs::symlink(&blob, &pointer).expect("a link");
            }
            answer
        }
    });
    check(&download(ID, None, &options(&hub, &cache)).expect("the download"), &repo, WEIGHTS);
    assert_eq!(fs::read_link(&pointer).expect("a link"), blob);
    assert!(hub.take_log().iter().all(|r| !r.path.starts_with("/store/")));
}

#[test]
fn onnx_is_taken_with_its_external_data() {
    for (files, weights, data) in [
        (vec!["onnx/model.onnx", "onnx/model.onnx_data", "model.onnx"], "onnx/model.onnx", true),
        (vec!["model.onnx.data", "model.onnx", "onnx/other.onnx"], "model.onnx", true),
        (vec!["model.onnx"], "model.onnx", false),
    ] {
        let mut list = vec![("config.json", 200), ("tokenizer.json", 300)];
        list.extend(files.iter().map(|name| (*name, 5000)));
        let (repo, cache) = (repo(&list), temp());
        let hub = FakeHub::new(&repo);
        let options = options(&hub, &cache);
        let found = download(ID, Some(FIRST), &options).expect("the download");
        check(&found, &repo, weights);
        assert!(matches!(found.weights, Weights::Onnx(_)));
        for name in files.iter().filter(|name| name.ends_with("data")) {
            assert!(fs::read(found.dir.join(name)).expect("the data") == repo.data(name));
        }
        assert!(!found.dir.join("onnx/other.onnx").exists());
        assert_eq!(hub.take_log().iter().any(|r| r.path.ends_with("data")), data);
        drop(hub);
        assert_eq!(download(ID, Some(FIRST), &options).expect("the cache"), found);
        for name in files.iter().filter(|name| name.ends_with("data")) {
            fs::write(found.dir.join(name), [&[!repo.data(name)[0]], &repo.data(name)[1..]].concat()).expect("damaged");
            let offline = HubOptions { offline: Some(true), ..options.clone() };
            let error = download(ID, Some(FIRST), &offline).expect_err("damaged tensors");
            assert!(matches!(error, HubError::NotCached { .. }), "{error}");
        }
    }
}

#[test]
fn token_is_used_where_it_is_needed() {
    let (repo, bearer) = (model(), Some("Bearer hf_secret"));
    for private in [false, true] {
        let (cache, store) = (temp(), FakeHub::new(&repo));
        let target = store.address.clone();
        let hub = FakeHub::with_twist(&repo, move |request, mut answer| {
            if private && request.header("authorization") != bearer {
                return Answer::new(401, "").with("X-Error-Code", "RepoNotFound");
            }
            for (name, value) in &mut answer.headers {
                if *name == "Location" {
                    let hash = value.rsplit('/').next().unwrap_or_default();
                    *value = format!("{target}/store/{hash}");
                }
            }
            answer
        });
        let options = HubOptions { token: Some("hf_secret".to_owned()), ..options(&hub, &cache) };
        assert!(!format!("{options:?}").contains("hf_secret"));
        check(&download(ID, None, &options).expect("the download"), &repo, WEIGHTS);
        let has_token = |request: &Request| request.header("authorization") == bearer;
        let log = hub.take_log();
        assert!(has_token(&log[0]));
        assert_eq!(log[1..].iter().any(has_token), private);
        let log = store.take_log();
        assert!(!log.is_empty() && !log.iter().any(has_token), "a store gets no token");

        let options = HubOptions { token: Some("hf_wrong".to_owned()), ..options };
        let again = download(ID, None, &options);
        assert_eq!(matches!(again, Err(HubError::AccessDenied { .. })), private);
    }
}

#[test]
fn an_expired_token_does_not_keep_from_public_files() {
    let (repo, cache) = (model(), temp());
    let hub = FakeHub::with_twist(&repo, |request, answer| match request.header("authorization") {
        Some(_) => Answer::new(401, ""),
        None => answer,
    });
    let options = HubOptions { token: Some("hf_expired".to_owned()), ..options(&hub, &cache) };
    check(&download(ID, None, &options).expect("the download"), &repo, WEIGHTS);
}

#[test]
fn what_another_process_transfers_is_left_to_it() {
    let (repo, cache) = (model(), temp());
    let blobs = cached(&cache).join("blobs");
    fs::create_dir_all(&blobs).expect("a folder");
    let lock = fs::File::create(blobs.join(format!("{}.lock", sha256(repo.data(WEIGHTS))))).expect("a lock");
    lock.lock().expect("locked");
    let hub = FakeHub::new(&repo);
    let error = download(ID, None, &options(&hub, &cache)).expect_err("locked");
    assert!(matches!(error, HubError::Locked { .. }), "{error}");
    assert!(starts(&hub).is_empty());
}
