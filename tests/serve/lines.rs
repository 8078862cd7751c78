//! JSON lines on standard input and output.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::thread;

use serde_json::{Value, json};

use super::common::program::{failure, run};
use super::daemon::{Daemon, edgeqa, long, short, wait};

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
    let replies = replies(&[], &format!("{lines}\n{{\"question\":\"\",\"id\":\"x\"}}"));
    assert_eq!(replies.len(), 6);
    assert_eq!((&replies[5]["error"]["code"], &replies[5]["id"]), (&"empty_question".into(), &"x".into()));
    assert!(replies[1].get("id").is_none());
    assert_eq!((&replies[0]["answer"], &replies[0]["id"]), (&"Jonas Ekdahl".into(), &Value::Null));
    assert_eq!(replies[1]["error"]["code"], "invalid_json");
    assert_eq!((&replies[2]["answer"], &replies[2]["id"]), (&"Jonas Ekdahl".into(), &json!({ "n": 7 })));
    assert_eq!(replies[3]["error"]["code"], "invalid_json");
    assert_eq!(replies[4]["answer"], "Jonas Ekdahl");
}

#[test]
fn ids_are_repeated_as_they_are_written() {
    let id = r#"[12345678901234567890123, 1.50, "\u00e9"]"#;
    let question = |text: &str| format!(r#"{{"question":"{text}","context":"Ada kept the light.","id": {id} }}"#);
    let output =
        run(edgeqa().args(["serve", "--stdio"]), format!("{}\n{}\n", question("Who kept the light?"), question("")));
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.lines().filter(|line| line.starts_with(&format!(r#"{{"id":{id},"#))).count(), 2, "{lines}");
}

#[test]
fn a_line_has_limited_length_and_time() {
    let lines = format!("{}\n{}\n{}\n", "x".repeat(300_000), long(), short());
    let replies = replies(&["--request-timeout", "2", "--threads", "1"], &lines);
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
    let _ = writeln!(input, "{}", short());
    assert!(wait("the end", || child.try_wait().unwrap()).success());
}

#[test]
fn input_and_output_that_fail_are_errors() {
    let fails = |stdin: Stdio, stdout: Stdio| {
        let mut command = edgeqa();
        let command = command.args(["serve", "--stdio"]).stdin(stdin).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        if let Some(mut input) = child.stdin.take() {
            writeln!(input, "{}", short()).unwrap();
        }
        failure(child.wait_with_output().unwrap(), 1)
    };
    let full = File::options().write(true).open("/dev/full").unwrap();
    let errors = fails(Stdio::piped(), full.into());
    assert!(errors.contains("error: cannot write to standard output: No space left"), "{errors}");
    let folder = File::open(env!("CARGO_MANIFEST_DIR")).unwrap();
    let errors = fails(folder.into(), Stdio::null());
    assert!(errors.contains("error: cannot read standard input: Is a directory"), "{errors}");
}

#[test]
fn lines_that_keep_coming_do_not_put_off_the_end() {
    let mut daemon = Daemon::of(
        edgeqa()
            .args(["serve", "--stdio", "--listen", "127.0.0.1:0", "--stop-timeout", "100"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped()),
    );
    let (mut input, output) = (daemon.child.stdin.take().unwrap(), daemon.child.stdout.take().unwrap());
    let writer = thread::spawn(move || while writeln!(input, "{}", short()).is_ok() {});
    let mut lines = BufReader::new(output).lines().map(Result::unwrap);
    lines.next().expect("a reply");
    let reader = thread::spawn(move || lines.for_each(|line| assert!(line.ends_with('}'), "{line}")));
    assert!(daemon.terminate().success());
    writer.join().unwrap();
    reader.join().unwrap();
}
