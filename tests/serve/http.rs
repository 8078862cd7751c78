//! What programs and browsers get.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::common::program::{failure, run};
use super::daemon::{Client, Daemon, edgeqa, post, short, wait};

/// A reply without what no two replies share.
fn answer(mut reply: Value) -> Value {
    let ms = reply.as_object_mut().expect("an object").remove("ms");
    assert!(ms.is_some_and(|ms| ms.as_f64().is_some_and(|ms| ms > 0.0)));
    reply
}

#[test]
fn names_of_this_machine_are_those_that_its_owner_gives() {
    let daemon = Daemon::start(&["--host", "kiosk.example", "--host", "Other.Example"]);
    for (host, status) in
        [("kiosk.example", 200), ("KIOSK.example:80", 200), ("other.example", 200), ("evil.example", 403)]
    {
        let mut client = daemon.connect();
        client.send(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.reply().status, status, "{host}");
    }
    let mut command = edgeqa();
    let errors = failure(run(command.args(["serve", "--host", "http://kiosk.example"]), ""), 2);
    assert!(errors.contains("not the name of a machine"), "{errors}");
}

#[test]
fn replies_are_those_of_the_command_line() {
    let daemon = Daemon::start(&[]);
    let text = fs::read_to_string("models/demo/texts/lighthouse.txt").expect("a text");
    for (question, options, args) in [
        ("Who was the last keeper?", json!({}), vec![]),
        ("What is the ticket price?", json!({}), vec![]),
        ("How high is the tower?", json!({"top_k": 3, "always_answer": true}), vec!["--top-k=3", "--always-answer"]),
        (
            "Who owns it today?",
            json!({"max_seq_len": 64, "doc_stride": 16, "max_answer_len": 5, "null_threshold": 2.5}),
            vec!["--max-seq-len=64", "--doc-stride=16", "--max-answer-len=5", "--null-threshold=2.5"],
        ),
    ] {
        let mut body = json!({ "question": question, "context": text });
        body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        let reply = daemon.ask(&body);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let output = edgeqa()
            .args(["ask", question, "--json", "--context-file", "models/demo/texts/lighthouse.txt"])
            .args(args)
            .output()
            .expect("run");
        let want: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(answer(reply.json()), want);
    }
}

#[test]
fn connections_stay_open_and_requests_may_follow_each_other() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.connect();
    client.send(format!(
        "{}GET /healthz HTTP/1.1\r\nHost: a.example\r\n\r\n{}",
        post(&short().to_string()),
        post("{}")
    ));
    let replies = [client.reply(), client.reply(), client.reply()];
    assert_eq!(replies.each_ref().map(|reply| reply.status), [200, 403, 400]);
    assert_eq!(replies[0].json()["answer"], "Jonas Ekdahl");
    assert_eq!(client.get("/healthz").header("Connection"), Some("keep-alive"));
    client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(client.reply().header("Connection"), Some("close"));
    assert!(client.is_closed());
    let mut client = daemon.connect();
    client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100));
    assert!((0..100).all(|_| client.reply().status == 200));
    drop(client);
    let mut client = daemon.connect();
    client.send("GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!((client.reply().text().as_str(), client.is_closed()), ("ok\n", true));
    wait("the end of the connections", || (daemon.metric("edgeqa_connections") == 1.0).then_some(()));
}

#[test]
fn a_target_may_name_this_machine() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.connect();
    for (target, status) in [
        ("http://localhost/healthz", 200),
        ("http://127.0.0.1:1/healthz?x", 200),
        ("http://localhost", 200),
        ("http://localhost/nothing", 404),
        ("http://evil.example/healthz", 403),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!(client.reply().status, status, "{target}");
    }
}

#[test]
fn empty_lines_between_requests_begin_none() {
    let daemon = Daemon::start(&["--client-timeout", "0.5"]);
    let mut client = daemon.connect();
    client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n\r\n");
    assert_eq!(client.reply().status, 200);
    for more in ["\n\r\n", "\r"] {
        client.send(more);
        // A request that had begun would be too slow.
        std::thread::sleep(Duration::from_millis(700));
    }
    client.send("\n");
    assert_eq!(client.get("/healthz").status, 200);
}

#[test]
fn a_client_may_ask_before_it_sends_the_body() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.connect();
    let request = post(&short().to_string()).replacen("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n", 1);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    client.send(format!("{head}\r\n\r\n"));
    assert_eq!(client.reply().status, 100);
    client.send(body);
    assert_eq!(client.reply().json()["answer"], "Jonas Ekdahl");
}

#[test]
fn the_page_may_do_nothing_but_ask() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("kiosk.toml");
    fs::write(&config, "[page]\ntitle = 'Harbour <Museum>'\nexamples = ['Who?']\n").unwrap();
    let daemon = Daemon::start(&["--config", config.to_str().unwrap()]);
    let page = daemon.get("/");
    assert_eq!((page.status, page.header("Content-Type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("Content-Security-Policy").expect("a policy");
    for part in [
        "default-src 'none'",
        "connect-src 'self'",
        "script-src 'sha256-",
        "style-src 'sha256-",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(page.text().contains(r#""title":"Harbour \u003cMuseum>""#));
    let mut client = daemon.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let rest = |mut client: Client<std::net::TcpStream>| {
        let mut raw = String::new();
        std::io::Read::read_to_string(&mut client.stream, &mut raw).unwrap();
        raw
    };
    let raw = rest(client);
    assert!(raw.ends_with("\r\n\r\n") && raw.contains(&format!("Content-Length: {}\r\n", page.body.len())), "{raw}");
    // Nor has a refusal a body that nobody waits for: no host.
    let mut client = daemon.connect();
    client.send("HEAD / HTTP/1.1\r\n\r\n");
    let raw = rest(client);
    assert!(raw.starts_with("HTTP/1.1 400 ") && raw.ends_with("\r\n\r\n"), "{raw}");

    fs::write(&config, "[page]\ntitle = 'x'\ncolour = 'red'\n").unwrap();
    let output =
        edgeqa().args(["serve", "--listen", "127.0.0.1:0", "--config", config.to_str().unwrap()]).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && errors.contains("line 3: unknown field `colour`"), "{errors}");
}

#[test]
fn the_log_says_once_that_there_are_no_documents() {
    let documents = tempfile::tempdir().unwrap();
    fs::write(documents.path().join("a.txt"), "Ada kept the light.").unwrap();
    for (args, times) in [(&[][..], 1), (&["--docs", documents.path().to_str().unwrap()], 0)] {
        // Before it listens.
        let log = Daemon::start(args).log();
        assert_eq!(log.lines().filter(|line| line.contains("WARN") && line.contains("--docs")).count(), times, "{log}");
    }
}

#[test]
fn a_limit_that_another_keeps_from_being_reached_is_named() {
    for (context, named) in [("1001", true), ("1000", false)] {
        let log = Daemon::start(&["--max-body", "1000", "--max-context", context]).log();
        assert_eq!(log.contains("no context can have the 1001 bytes of --max-context"), named, "{log}");
    }
}

#[test]
fn the_state_can_be_read() {
    let daemon = Daemon::start(&[]);
    assert_eq!(daemon.get("/healthz").text(), "ok\n");
    assert_eq!(daemon.get("/readyz").text(), "ready\n");
    daemon.ask(&short());
    daemon.ask(&json!({ "question": "What does it cost?", "context": "It is red." }));
    daemon.ask(&json!({}));
    let metrics = daemon.get("/metrics");
    assert_eq!(metrics.header("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(daemon.metric("edgeqa_request_seconds_count"), 2.0);
    assert_eq!(daemon.metric("edgeqa_answers_total") + daemon.metric("edgeqa_no_answers_total"), 2.0);
    assert_eq!(daemon.metric("edgeqa_rejected_total{code=\"invalid_request\"}"), 1.0);
    assert!(daemon.metric("edgeqa_memory_bytes{kind=\"anonymous\"}") > 1e6);
    let info = daemon.get("/v1/info").json();
    let sha256 = info["model"]["data_sha256"].as_str().expect("a checksum");
    assert!(metrics.text().contains(&format!("edgeqa_model_info{{data_sha256=\"{sha256}\",path=")));
    assert_eq!(
        (&info["ready"], &info["documents"], &info["limits"]["queue"]),
        (&true.into(), &Value::Null, &16.into())
    );
}

#[test]
fn every_refusal_reaches_its_client() {
    let daemon = Daemon::start(&[]);
    let reply = daemon.ask(&json!({"question": "x ".repeat(180), "context": "a", "doc_stride": 90}));
    assert_eq!(reply.status, 200, "windows that overlap by less than half");
    let ask = |body: &str| post(body);
    for (request, status, code) in [
        ("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 404, "not_found"),
        ("GET /v1/ask HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 405, "method_not_allowed"),
        ("POST / HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 405, "method_not_allowed"),
        ("nonsense\r\n\r\n".into(), 400, "malformed_request"),
        ("GET / HTTP/9.9\r\n\r\n".into(), 505, "http_version"),
        (format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000)), 431, "header_too_large"),
        (
            "POST /v1/ask HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            411,
            "length_required",
        ),
        (ask(&"x".repeat(1 << 20)), 413, "body_too_large"),
        (ask(&json!({"question": "?", "context": "x".repeat(200_001)}).to_string()), 413, "context_too_long"),
        (ask(&json!({"question": "?".repeat(1001)}).to_string()), 400, "question_too_long"),
        (ask("{\"question\":"), 400, "invalid_json"),
        (ask("{\"question\":\"Who?\",\"contxt\":\"\"}"), 400, "invalid_request"),
        (ask("{\"question\":\"Who?\"}"), 400, "no_context"),
        (ask("{\"question\":\"Who?\",\"id\":7}"), 400, "invalid_request"),
        (ask(&json!({"question": "Who?", "context": "a", "top_k": 21}).to_string()), 400, "invalid_option"),
        // Half of what a window holds of the text, beside a short and beside a long question.
        (ask(&json!({"question": "Who?", "context": "a", "doc_stride": 200}).to_string()), 400, "invalid_option"),
        (
            ask(&json!({"question": "x ".repeat(180), "context": "a", "doc_stride": 110}).to_string()),
            400,
            "invalid_option",
        ),
        (
            ask(&json!({"question": "Who? ".repeat(100), "context": "a", "max_seq_len": 50}).to_string()),
            400,
            "question_too_long",
        ),
        (ask("{}").replace("application/json", "text/plain"), 415, "unsupported_media_type"),
        (ask("{}").replace("Host: localhost", "Host: localhost\r\nOrigin: http://evil.example"), 403, "foreign_origin"),
        (ask("{}").replace("Host: localhost", "Host: evil.example"), 403, "foreign_origin"),
        (
            ask("{}").replace("Host: localhost", "Host: localhost\r\nOrigin: a\r\nOrigin: http://localhost"),
            400,
            "malformed_request",
        ),
        (ask("{}").replace("Host:", "Expect: tea\r\nHost:"), 417, "expectation_failed"),
    ] {
        let mut client = daemon.connect();
        // The daemon may stop reading before the end.
        let _ = std::io::Write::write_all(&mut client.stream, request.as_bytes());
        let reply = client.reply();
        let short: String = request.chars().take(120).collect();
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{short}: {}", reply.text());
        let allow = (status == 405).then_some(if short.starts_with("POST") { "GET, HEAD" } else { "POST" });
        assert_eq!(reply.header("Allow"), allow, "{short}");
    }
    let same = ask(&short().to_string()).replace("Host: localhost", "Host: localhost\r\nOrigin: http://localhost");
    let mut client = daemon.connect();
    client.send(same);
    assert_eq!(client.reply().status, 200);
}

#[test]
fn documents_are_answered_from_and_renewed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("light.txt"), "Jonas Ekdahl kept the light of Brenn Point until 1968.").unwrap();
    fs::write(folder.path().join("picture.gif"), "GIF").unwrap();
    let docs = folder.path().to_str().unwrap();
    let daemon = Daemon::start(&["--docs", docs]);
    let question = json!({ "question": "Who kept the light of Brenn Point?" });
    let reply = daemon.ask(&question).json();
    assert_eq!((&reply["answer"], &reply["source"]["file"]), (&"Jonas Ekdahl".into(), &"light.txt".into()), "{reply}");
    let output =
        edgeqa().args(["ask", "Who kept the light of Brenn Point?", "--json", "--docs", docs]).output().unwrap();
    assert_eq!(answer(reply), serde_json::from_slice::<Value>(&output.stdout).expect("JSON"));
    let documents = &daemon.get("/v1/info").json()["documents"];
    assert_eq!((&documents["files"], &documents["skipped"][0]["file"]), (&1.into(), &"picture.gif".into()));
    assert_eq!(documents["skipped_count"], 1);
    // A context goes before the documents.
    assert_eq!(daemon.ask(&short()).json()["source"], Value::Null);

    fs::write(folder.path().join("light.txt"), "Marta Lindqvist kept the light of Brenn Point until 1968.").unwrap();
    daemon.signal("HUP");
    wait("the new text", || (daemon.ask(&question).json()["answer"] == "Marta Lindqvist").then_some(()));
    fs::write(folder.path().join("list\n.pdf"), "PDF").unwrap();
    daemon.signal("HUP");
    daemon.wait_for_log(
        "WARN  edgeqa::documents::shelf] 2 files are neither .txt nor .md (list .pdf, picture.gif) and are left out",
    );
    let log = daemon.log();
    assert_eq!(log.matches("1 file is neither .txt nor .md (picture.gif) and is left out").count(), 1, "{log}");
    assert!(log.contains("1 document with 1 passage\n") && !log.contains("\n.pdf"), "{log}");
    assert_eq!(["edgeqa_documents_skipped", "edgeqa_documents_readable"].map(|name| daemon.metric(name)), [2.0, 1.0]);

    // A folder that is away, a share that is not mounted, say, is told of until it is back.
    let problem = || daemon.get("/v1/info").json()["documents"]["problem"].clone();
    assert_eq!(problem(), Value::Null);
    let away = folder.path().with_extension("away");
    fs::rename(folder.path(), &away).unwrap();
    daemon.signal("HUP");
    wait("the problem", || problem().as_str().map(|problem| assert!(problem.contains(docs), "{problem}")));
    assert_eq!(daemon.metric("edgeqa_documents_readable"), 0.0);
    assert_eq!(daemon.ask(&question).json()["answer"], "Marta Lindqvist");
    fs::rename(&away, folder.path()).unwrap();
    daemon.signal("HUP");
    daemon.wait_for_log("is as it should be again");
    assert_eq!((problem(), daemon.metric("edgeqa_documents_readable")), (Value::Null, 1.0));
    // As where a stick is pulled out, of which the folder that it was in is left.
    fs::remove_file(folder.path().join("light.txt")).unwrap();
    daemon.signal("HUP");
    daemon.wait_for_log("WARN  edgeqa::documents::shelf] ");
    wait("the problem", || {
        problem().as_str().map(|problem| assert!(problem.contains("holds no .txt or .md"), "{problem}"))
    });
    assert_eq!(daemon.metric("edgeqa_documents_readable"), 0.0);
}
