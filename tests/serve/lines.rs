//! JSON lines on standard input and output.

use std::process::Stdio;

use serde_json::{Value, json};

use super::common::program::run;
use super::daemon::{edgeqa, short};

fn replies(args: &[&str], input: &str) -> Vec<Value> {
    let output = run(edgeqa().args(["serve", "--stdio"]).args(args), input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn every_line_has_its_reply_in_order() {
    let mut numbered = short();
    numbered["id"] = json!({ "n": 7 });
    let lines = format!("{}\n\n{{\"question\":\n{numbered}\n\u{1}\n{}", short(), short());
    let replies = replies(&[], &lines);
    assert_eq!(replies.len(), 5);
    assert_eq!((&replies[0]["answer"], &replies[0]["id"]), (&"Jonas Ekdahl".into(), &Value::Null));
    assert_eq!(replies[1]["error"]["code"], "invalid_json");
    assert_eq!((&replies[2]["answer"], &replies[2]["id"]), (&"Jonas Ekdahl".into(), &json!({ "n": 7 })));
    assert_eq!(replies[3]["error"]["code"], "invalid_json");
    assert_eq!(replies[4]["answer"], "Jonas Ekdahl");
}

#[test]
fn a_line_has_limited_length_and_time() {
    let long = super::daemon::long();
    let lines = format!("{}\n{long}\n{}\n", "x".repeat(300_000), short());
    let replies = replies(&["--request-timeout", "0.3"], &lines);
    let codes = [&replies[0]["error"]["code"], &replies[1]["error"]["code"]];
    assert_eq!(
        (codes, &replies[2]["answer"]),
        ([&"body_too_large".into(), &"time_limit".into()], &"Jonas Ekdahl".into())
    );
}

#[test]
fn a_reader_that_goes_ends_it() {
    let mut child = edgeqa()
        .args(["serve", "--stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    let _ = std::io::Write::write_all(&mut input, format!("{}\n", short()).as_bytes());
    super::daemon::wait("the end", || child.try_wait().unwrap());
}
