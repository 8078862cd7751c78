//! What the variables of the environment mean to a download that is to do without them.

use super::*;
use edgeqa_quantize::hub::{HubError, download};
use std::process::Command;

/// Set where the test below is run once more, with the variables.
const AGAIN: &str = "EDGEQA_TEST_OF_THE_ENVIRONMENT";

/// A process cannot change its own environment while it has threads; one that it starts has another.
#[test]
fn none_of_it_counts_on_request() {
    if std::env::var_os(AGAIN).is_some() {
        return with_variables();
    }
    let home = temp();
    // Nobody answers there: neither a hub nor a proxy.
    let nobody = "http://127.0.0.1:1";
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "hub::environment::none_of_it_counts_on_request"])
        .env_clear()
        .envs([(AGAIN, "1"), ("HF_HUB_OFFLINE", "1"), ("HF_TOKEN", "hf_of_the_environment")])
        .envs(["HF_ENDPOINT", "ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"].map(|name| (name, nobody)))
        .env("HOME", home.path())
        .env("HF_HOME", home.path().join("of-the-environment"))
        .env("HF_HUB_CACHE", home.path().join("of-the-environment/cache"))
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn with_variables() {
    let (repo, cache) = (model(), temp());
    let hub = FakeHub::new(&repo);
    let mut options = HubOptions { offline: None, ..options(&hub, &cache) };
    if cfg!(unix) {
        // A host that a proxy would be asked for.
        options.endpoint = Some(hub.address.replace("127.0.0.1", "0.0.0.0"));
    }
    check(&download(ID, None, &options).expect("the download"), &repo, WEIGHTS);
    let log = hub.take_log();
    assert!(!log.is_empty() && log.iter().all(|request| request.header("authorization").is_none()), "{log:?}");

    let options = HubOptions { endpoint: None, cache_dir: None, offline: Some(true), ..options };
    let error = download(ID, None, &options).expect_err("not there");
    assert!(matches!(error, HubError::NotCached { .. }), "{error}");
    let text = error.to_string();
    assert!(!text.contains("127.0.0.1") && !text.contains("of-the-environment"), "{text}");
}
