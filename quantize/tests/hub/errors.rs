//! What a download says when it fails.

use super::fake_hub::{Answer, Request};
use super::*;
use edgeqa_quantize::hub::{HubError, download};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

/// What one download from a hub with a `twist` ends in, into an empty cache.
fn failure(repo: &Repo, twist: impl FnMut(&Request, Answer) -> Answer + Send + 'static) -> (HubError, String) {
    let (hub, cache) = (FakeHub::with_twist(repo, twist), temp());
    let error = download(ID, None, &options(&hub, &cache)).expect_err("must fail");
    let text = error.to_string();
    assert!(text.contains(ID) && text.contains(&hub.address), "{text}");
    assert!(text.contains("revision main"), "{text}");
    (error, text)
}

#[test]
fn missing_files_are_explained() {
    let plain = |_: &Request, answer: Answer| answer;
    let files = [("config.json", 9), ("spm.model", 9), (WEIGHTS, 9)];
    let (error, text) = failure(&repo(&files), plain);
    assert!(matches!(error, HubError::MissingTokenizer { .. }), "{text}");
    assert!(text.contains("spm.model") && text.contains("fast tokenizer"), "{text}");
    assert!(text.contains("AutoTokenizer.from_pretrained('owner/model-squad2')"), "{text}");

    let files = [("config.json", 9), ("tokenizer.json", 9), ("pytorch_model.bin", 9)];
    let (error, text) = failure(&repo(&files), plain);
    assert!(matches!(error, HubError::NoUsableWeights { .. }), "{text}");
    assert!(text.contains("pytorch_model.bin") && text.contains("save_pretrained"), "{text}");

    let (error, text) = failure(&repo(&[("tokenizer.json", 9)]), plain);
    assert!(matches!(error, HubError::MissingFile { .. }), "{text}");
    let (error, text) = failure(&repo(&[("config.json", 9), ("tokenizer.json", 9)]), plain);
    assert!(matches!(error, HubError::NoUsableWeights { .. }) && text.contains("none"), "{text}");
}

#[test]
fn http_errors_are_told_apart() {
    let info = |status: u16, code: &'static str| {
        move |_: &Request, _: Answer| Answer::new(status, "no").with("X-Error-Code", code)
    };
    let (error, text) = failure(&model(), info(404, "RepoNotFound"));
    assert!(matches!(error, HubError::RepoNotFound { .. }), "{text}");
    let (error, text) = failure(&model(), info(404, ""));
    assert!(matches!(error, HubError::RepoNotFound { .. }), "{text}");
    let (error, text) = failure(&model(), info(404, "RevisionNotFound"));
    assert!(matches!(error, HubError::RevisionNotFound { .. }), "{text}");
    let (error, text) = failure(&model(), info(401, "RepoNotFound"));
    assert!(matches!(error, HubError::AccessDenied { status: 401, .. }), "{text}");
    assert!(text.contains("HF_TOKEN"), "{text}");
    let (error, text) = failure(&model(), info(500, ""));
    assert!(matches!(error, HubError::HttpStatus { status: 500, .. }), "{text}");

    // A gated repo shows its list, not its files; the store may fail on its own.
    let (error, text) = failure(&model(), |request, answer| match request.is_for_file() {
        true => Answer::new(403, "").with("X-Error-Code", "GatedRepo"),
        false => answer,
    });
    assert!(matches!(error, HubError::AccessDenied { status: 403, .. }), "{text}");
    assert!(text.contains("GatedRepo") && !text.contains("with the token"), "{text}");
    let (error, text) = failure(&model(), |request, answer| match request.path.starts_with("/store/") {
        true => Answer::new(503, ""),
        false => answer,
    });
    assert!(matches!(error, HubError::HttpStatus { status: 503, .. }), "{text}");
    assert!(text.contains("run the same command again later") && !text.contains("HF_ENDPOINT"), "{text}");
}

/// The hub lists a file and says where it is; whoever has it, be it the hub, does not give it.
#[test]
fn a_store_that_refuses_is_not_taken_for_a_private_repo() {
    for (status, large) in [(401, true), (403, true), (404, true), (403, false)] {
        let (error, text) = failure(&model(), move |request, answer| {
            let is_content = request.is_for_file() && request.open_range().is_some();
            if is_content && request.path.starts_with("/store/") == large { Answer::new(status, "") } else { answer }
        });
        assert!(matches!(error, HubError::StoreRefused { status: found, .. } if found == status), "{text}");
        let file = if large { WEIGHTS } else { "config.json" };
        let words = ["the file store 127.0.0.1:", &format!("refuses {file} (HTTP {status})"), "check proxies"];
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        assert!(!text.contains("HF_TOKEN") && !text.contains("gated"), "{text}");
    }
}

#[test]
fn unusable_answers_are_errors() {
    for body in ["<html>", "", "null", "[]", r#"{"sha":"x","siblings":[]}"#, r#"{"siblings":[]}"#] {
        let (error, text) = failure(&model(), move |_, _| Answer::new(200, body));
        assert!(matches!(error, HubError::BadResponse { .. }), "{text}");
    }
    let (error, text) = failure(&model(), |_, mut answer| {
        answer.sent = 20;
        answer
    });
    assert!(matches!(error, HubError::Network { .. }), "{text}");

    type File = fn(Answer) -> Answer;
    let twists: [(&str, File); 8] = [
        ("no commit", |answer| answer.without("X-Repo-Commit")),
        ("path as commit", |a| a.without("X-Repo-Commit").with("X-Repo-Commit", "../../..")),
        ("no ETag", |answer| answer.without("ETag")),
        ("path as ETag", |a| a.without("ETag").with("ETag", "\"../../x\"")),
        ("no range", |answer| answer.without("Content-Range")),
        ("another range", |a| a.without("Content-Range").with("Content-Range", "bytes 1-299/300")),
        ("redirect to nowhere", |mut answer| {
            answer.status = 302;
            answer
        }),
        ("endless redirect", |mut answer| {
            answer.status = 307;
            answer.with("Location", "/owner/model-squad2/elsewhere")
        }),
    ];
    for (name, twist) in twists {
        let (error, text) = failure(&model(), move |request, answer| {
            let answer = if request.path.ends_with("/elsewhere") { Answer::new(200, "") } else { answer };
            if request.is_for_file() { twist(answer) } else { answer }
        });
        assert!(matches!(error, HubError::BadResponse { .. }), "{name}: {text}");
        assert!(text.contains("config.json"), "{name}: {text}");
    }
}

#[test]
fn answer_about_another_commit_than_the_pinned_one_is_refused() {
    let (repo, cache) = (Repo { commit: SECOND.to_owned(), ..model() }, temp());
    let hub = FakeHub::new(&repo);
    let error = download(ID, Some(FIRST), &options(&hub, &cache)).expect_err("another commit");
    assert!(matches!(error, HubError::BadResponse { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(FIRST) && text.contains(SECOND), "{text}");
    let log = hub.take_log();
    assert!(log.len() == 1 && !log[0].is_for_file(), "{log:?}");
    assert!(!cached(&cache).join("snapshots").join(SECOND).exists());
}

#[test]
fn server_that_changes_its_mind_ends_no_program() {
    // The first answer is good, that with the content a redirect to nowhere.
    let mut asked = 0;
    let (error, text) = failure(&model(), move |request, answer| {
        asked += usize::from(request.is_for_file());
        match asked {
            2 => Answer::new(302, "").with("X-Repo-Commit", FIRST).with("ETag", "\"a\""),
            _ => answer,
        }
    });
    assert!(matches!(error, HubError::Network { .. }), "{text}");
    assert!(text.contains("config.json") && text.contains("location header"), "{text}");
}

#[test]
fn servers_that_never_answer_are_given_up() {
    // The system makes connections to it; nobody reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", silent.local_addr().expect("an address"));
    let (repo, cache, store) = (model(), temp(), address.clone());
    let hub = FakeHub::with_twist(&repo, move |_, mut answer| {
        for (_, value) in answer.headers.iter_mut().filter(|(name, _)| *name == "Location") {
            value.clone_from(&store);
        }
        answer
    });
    // Until the store is asked, answers have to come in time.
    let limited = HubOptions { answer_timeout: Duration::from_secs(5), ..options(&hub, &cache) };
    let silent_hub =
        HubOptions { endpoint: Some(address), answer_timeout: Duration::from_millis(500), ..limited.clone() };
    for (options, what) in [(limited, WEIGHTS), (silent_hub, "the list of files")] {
        let error = download(ID, None, &options).expect_err("given up");
        assert!(matches!(error, HubError::Network { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(what) && text.contains("timeout"), "{text}");
    }
}

#[test]
fn transfers_that_stand_still_are_given_up_and_continued_later() {
    let (repo, cache) = (model(), temp());
    let hub = FakeHub::with_twist(&repo, |request, mut answer| {
        if request.path.starts_with("/store/") && request.open_range().is_some() {
            (answer.sent, answer.kept) = (100_000, true);
        }
        answer
    });
    let limited = HubOptions { answer_timeout: Duration::from_secs(3), retries: 3, ..options(&hub, &cache) };
    let error = download(ID, None, &limited).expect_err("given up");
    assert!(matches!(error, HubError::Silence { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(WEIGHTS) && text.contains("has come for 3 s"), "{text}");
    assert_eq!(starts(&hub), [0], "not tried again");
    // While that connection is still there, another hub sends the rest.
    let silent = hub;
    let hub = FakeHub::new(&repo);
    check(&download(ID, None, &options(&hub, &cache)).expect("continued"), &repo, WEIGHTS);
    assert_eq!(starts(&hub), [100_000]);
    drop(silent);
}

#[test]
fn no_more_is_taken_than_was_announced() {
    let (repo, cache) = (model(), temp());
    let hub = FakeHub::with_twist(&repo, |request, answer| match request.path.ends_with("/config.json") {
        true if request.open_range().is_some() => Answer::new(200, vec![b' '; 3_000_000]),
        _ => answer,
    });
    let error = download(ID, None, &options(&hub, &cache)).expect_err("too long");
    assert!(matches!(error, HubError::Integrity { .. }), "{error}");
    assert!(error.to_string().contains("more than 300 bytes"), "{error}");
}

type Damage = fn(&Request, Answer) -> Answer;

/// Weights of which a bit is another one.
fn flip(request: &Request, mut answer: Answer) -> Answer {
    if request.path.starts_with("/store/") && request.open_range().is_some() {
        answer.body[77] ^= 1;
    }
    answer
}

#[test]
fn damaged_files_do_not_stay() {
    let shorten: Damage = |request, mut answer| {
        if request.path.ends_with("/config.json") && request.open_range().is_some() {
            answer.body.pop();
        }
        answer
    };
    for (damage, file, word) in [(flip as Damage, WEIGHTS, "SHA-256"), (shorten, "config.json", "299 bytes")] {
        let (repo, cache) = (model(), temp());
        let hub = FakeHub::with_twist(&repo, damage);
        let error = download(ID, None, &options(&hub, &cache)).expect_err("damaged");
        assert!(matches!(error, HubError::Integrity { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(file) && text.contains(word), "{text}");
        // A sound hub is asked again, and its file is taken.
        let hub = FakeHub::new(&repo);
        check(&download(ID, None, &options(&hub, &cache)).expect("sound"), &repo, WEIGHTS);
        assert!(hub.take_log().iter().any(|r| r.path.ends_with(file)));
    }
}

#[test]
fn ids_revisions_endpoints_and_tokens_are_checked() {
    let offline = HubOptions {
        cache_dir: Some(Path::new("never-made").to_owned()),
        offline: Some(true),
        environment: false,
        ..HubOptions::default()
    };
    for repo in ["", "/", "a/", "/b", "a/b/c", "a/..", "../a", "a/b--c", "a b/c", "a/b\n", ".a/b"] {
        let error = download(repo, None, &offline).expect_err(repo);
        assert!(matches!(error, HubError::InvalidRepo { .. }), "{repo:?}: {error}");
    }
    for revision in ["", "..", "a/../b", "/a", "a/", "a//b", "a b", "a?b", "-a", "a/./b"] {
        let error = download(ID, Some(revision), &offline).expect_err(revision);
        assert!(matches!(error, HubError::InvalidRevision { .. }), "{revision:?}: {error}");
    }
    for revision in ["main", "refs/pr/1", "v1.0", FIRST] {
        let error = download(ID, Some(revision), &offline).expect_err(revision);
        assert!(matches!(error, HubError::NotCached { .. }), "{revision:?}: {error}");
    }
    for endpoint in ["", "hub", "ftp://hub", "http://", "https://me:pw@hub", "https://hub/?q"] {
        let options = HubOptions { endpoint: Some(endpoint.to_owned()), ..offline.clone() };
        let error = download(ID, None, &options).expect_err(endpoint);
        assert!(matches!(error, HubError::InvalidEndpoint { .. }), "{endpoint:?}: {error}");
        assert!(!error.to_string().contains("pw"), "{error}");
    }
    for token in ["hf_a\nhf_b", "hf_\u{7f}", "hf_\u{e4}", "hf a"] {
        let options = HubOptions { token: Some(token.to_owned()), ..offline.clone() };
        let error = download(ID, None, &options).expect_err(token);
        assert!(matches!(error, HubError::InvalidToken { .. }), "{token:?}: {error}");
        assert!(!error.to_string().contains(token), "{error}");
    }
}

/// A list that says nothing of files but their names.
fn bare(request: &Request, mut answer: Answer) -> Answer {
    if !request.is_for_file() {
        let mut info: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        for file in info["siblings"].as_array_mut().expect("files") {
            *file = serde_json::json!({"rfilename": file["rfilename"]});
        }
        answer.body = info.to_string().into_bytes();
    }
    answer
}

#[test]
fn what_the_list_does_not_say_of_files_is_taken_from_their_answers() {
    let whole: Damage = |request, answer| match request.path.starts_with("/store/") {
        true if request.open_range().is_some() => Answer::new(200, vec![1; 500_000]),
        _ => answer,
    };
    let longer: Damage = |request, mut answer| {
        if request.path.starts_with("/store/") && request.open_range().is_some() {
            answer.body.push(1);
        }
        answer.without("X-Linked-Size")
    };
    let small: Damage = |request, answer| match request.path.ends_with("/config.json") {
        true if request.open_range().is_some() => Answer::new(200, vec![b' '; 3000]),
        _ => answer,
    };
    for (damage, words) in [
        (flip as Damage, "SHA-256"),
        (whole, "more than 400000 bytes"),
        (longer, "more than 400000 bytes"),
        (small, "more than 300 bytes"),
    ] {
        let (repo, cache) = (model(), temp());
        let hub = FakeHub::with_twist(&repo, move |request, answer| damage(request, bare(request, answer)));
        let error = download(ID, None, &options(&hub, &cache)).expect_err(words);
        assert!(matches!(error, HubError::Integrity { .. }), "{error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

/// As for a repo that was renamed.
#[test]
fn redirects_within_the_hub_are_followed() {
    let (repo, cache) = (model(), temp());
    let hub = FakeHub::with_twist(&repo, |request, answer| {
        let is_old = request.is_for_file() && !request.path.starts_with("/store/") && !request.path.ends_with("?moved");
        if is_old { Answer::new(307, "").with("Location", format!("{}?moved", request.path)) } else { answer }
    });
    check(&download(ID, None, &options(&hub, &cache)).expect("the download"), &repo, WEIGHTS);
}

#[test]
fn an_endpoint_may_end_with_a_slash() {
    let (repo, cache) = (model(), temp());
    let hub = FakeHub::new(&repo);
    let options = HubOptions { endpoint: Some(format!("{}/", hub.address)), ..options(&hub, &cache) };
    check(&download(ID, None, &options).expect("the download"), &repo, WEIGHTS);
}

#[test]
fn the_longest_names_are_taken() {
    let (repo, cache) = (model(), temp());
    let hub = FakeHub::new(&repo);
    let offline = HubOptions { offline: Some(true), ..options(&hub, &cache) };
    let error = |repo: &str, revision: &str| download(repo, Some(revision), &offline).expect_err("nothing is there");
    assert!(matches!(error(&"r".repeat(193), "main"), HubError::NotCached { .. }));
    assert!(matches!(error(&"r".repeat(194), "main"), HubError::InvalidRepo { .. }));
    assert!(matches!(error("r", &"v".repeat(255)), HubError::NotCached { .. }));
    assert!(matches!(error("r", &"v".repeat(256)), HubError::InvalidRevision { .. }));
}
