//! From start to stop: signals, systemd's sockets and messages.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use edgeqa::eval::Random;
use edgeqa::memory::limit;

use super::common::program::{failure, run};
use super::common::skip::skipped;
use super::daemon::{Client, Daemon, demo, edgeqa, long, medium, post, short, variant, wait};

#[test]
fn what_is_being_answered_is_finished_before_the_end() {
    let mut daemon = Daemon::start(&[]);
    let mut idle = daemon.connect();
    assert_eq!(idle.get("/healthz").status, 200);
    let mut busy = daemon.connect();
    busy.send(post(&medium().to_string()));
    wait("the question", || (daemon.metric("edgeqa_connections") == 3.0).then_some(()));
    daemon.signal("TERM");
    assert!(idle.is_closed());
    let reply = busy.reply();
    assert_eq!((reply.status, reply.header("Connection")), (200, Some("close")));
    // Not even a little later.
    assert!(TcpStream::connect(("127.0.0.1", daemon.port)).is_err());
    assert!(daemon.end().success());
    daemon.wait_for_log("stopping, after what is being answered");
}

#[test]
fn requests_that_came_before_the_signal_are_answered() {
    // Which of the two the daemon sees first is chance.
    for _ in 0..16 {
        let mut daemon = Daemon::start(&[]);
        let (mut asks, mut idle) = (daemon.connect(), daemon.connect());
        assert_eq!([&mut asks, &mut idle].map(|client| client.get("/healthz").status), [200, 200]);
        daemon.stop();
        asks.send(post(&short().to_string()));
        daemon.signal("TERM");
        daemon.signal("CONT");
        assert_eq!(asks.reply().json()["answer"], "Jonas Ekdahl");
        assert!(idle.is_closed());
        assert!(daemon.end().success());
    }
}

/// Nobody knows whether the rest will ever come.
#[test]
fn requests_that_stay_incomplete_do_not_delay_the_end() {
    let post = "POST /v1/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{";
    for (part, limit) in [("G", "20"), ("GET / HT", "20"), (post, "20"), (post, "0.2")] {
        let mut daemon = Daemon::start(&["--stop-timeout", limit]);
        let mut client = daemon.connect();
        client.send(part);
        wait("the connection", || (daemon.metric("edgeqa_connections") == 2.0).then_some(()));
        let begun = Instant::now();
        daemon.signal("TERM");
        let reply = client.reply();
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (503, &"stopping".into()));
        assert!(daemon.end().success());
        // --client-timeout is 10 s.
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    }
}

#[test]
fn the_end_does_not_wait_forever() {
    for signals in [1, 2] {
        let mut daemon = Daemon::start(&["--threads", "1", "--stop-timeout", if signals == 1 { "0.2" } else { "100" }]);
        let mut busy = daemon.connect();
        busy.send(post(&long().to_string()));
        wait("the question", || (daemon.metric("edgeqa_connections") == 2.0).then_some(()));
        let begun = Instant::now();
        // Who sends a signal to a process and to its group sends it twice.
        daemon.signals(&["INT", "TERM"][..signals as usize]);
        if signals == 2 {
            daemon.wait_for_log("stopping, after");
            std::thread::sleep(Duration::from_millis(700));
            assert!(daemon.child.try_wait().unwrap().is_none(), "{}", daemon.log());
            daemon.signal("INT");
        } else {
            let reply = busy.reply();
            assert_eq!((reply.status, &reply.json()["error"]["code"]), (503, &"stopping".into()));
            daemon.wait_for_log("stopping with 1 question not answered in 0.2 s");
        }
        assert_eq!(daemon.end().code(), Some(signals - 1));
        // Reading the text takes longer.
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}

#[test]
fn the_end_of_input_and_a_signal_are_one_request() {
    for wait in 0..8 {
        let mut daemon =
            Daemon::spawn(edgeqa().args(["serve", "--stdio"]).stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut input = daemon.child.stdin.take().unwrap();
        writeln!(input, "{}", short()).unwrap();
        let mut reply = String::new();
        BufReader::new(daemon.child.stdout.as_mut().unwrap()).read_line(&mut reply).unwrap();
        assert!(reply.contains("Jonas Ekdahl"), "{reply}");
        drop(input);
        std::thread::sleep(Duration::from_millis(wait));
        daemon.signal("TERM");
        assert!(daemon.end().success(), "{wait} ms: {}", daemon.log());
    }
}

#[test]
fn a_start_ends_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let (docs, path) = (folder.path().join("docs"), folder.path().join("edgeqa.sock"));
    fs::create_dir(&docs).unwrap();
    for file in 0..4_u64 {
        let mut random = Random(file);
        let words = (0..1_000_000).map(|_| format!("w{}. ", random.number() % 100_000));
        fs::write(docs.join(format!("{file}.txt")), words.collect::<String>()).unwrap();
    }
    let args = ["--docs", docs.to_str().unwrap(), "--socket", path.to_str().unwrap()];
    let mut daemon = Daemon::spawn(edgeqa().arg("serve").args(args));
    wait("the socket", || path.exists().then_some(()));
    assert!(daemon.terminate().success());
    daemon.wait_for_log("stopped before all was read");
    assert!(!path.exists());
}

#[test]
fn whoever_does_not_read_the_log_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let docs = folder.path().join("docs");
    fs::create_dir(&docs).unwrap();
    fs::write(docs.join("a.txt"), "Jonas Ekdahl kept the light.").unwrap();
    let (log, mut filler) = std::io::pipe().unwrap();
    let args = ["serve", "--listen", "127.0.0.1:0", "--docs", docs.to_str().unwrap(), "--stop-timeout", "0.2"];
    let child = edgeqa().args(args).stderr(filler.try_clone().unwrap()).spawn().unwrap();
    let mut log = BufReader::new(log);
    let port = loop {
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        if let Some((_, address)) = line.split_once("listening on http://127.0.0.1:") {
            break address.trim_end().trim_end_matches('/').parse().unwrap();
        }
    };
    let mut daemon = Daemon::over(child, port);
    // Writes for as long as there is room, and waits for room until the test is over.
    std::thread::spawn(move || while filler.write_all(&[b'\n'; 4096]).is_ok() {});
    // What is the matter with the folder is logged, which takes for ever.
    fs::rename(&docs, folder.path().join("away")).unwrap();
    wait("the loss of the folder", || (daemon.metric("edgeqa_documents_readable") == 0.0).then_some(()));
    assert_eq!(daemon.ask(&short()).json()["answer"], "Jonas Ekdahl");
    // Nor does what is said at the end: that a question was not answered.
    let mut busy = daemon.connect();
    busy.send(post(&long().to_string()));
    wait("the question", || (daemon.metric("edgeqa_busy") == 1.0).then_some(()));
    assert!(daemon.terminate().success());
    assert_eq!(busy.reply().code(), "stopping");
    drop(log);
}

#[test]
fn lines_of_the_journal_have_their_priority() {
    let lines = |stream: &str, args: &[&str]| {
        let script = format!("export JOURNAL_STREAM={stream}; exec \"$0\" serve --stdio \"$@\"");
        let mut command = Command::new("sh");
        let output = run(command.args(["-c", &script, env!("CARGO_BIN_EXE_edgeqa")]).args(args), "");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let this = "$(stat -Lc %d:%i /proc/self/fd/2)";
    assert!(lines(this, &[]).starts_with("<6>int8 kernel: "));
    let failed = lines(this, &["--model", "absent"]);
    assert!(failed.lines().all(|line| line.starts_with('<')) && failed.contains("<3>edgeqa: error: "), "{failed}");
    let wrong = lines(this, &["--docs", "/", "--passages", "0"]);
    assert!(!wrong.contains("<3>"), "what the arguments say is told before there is a log: {wrong}");
    // Another one's, whose environment was inherited.
    assert!(!lines("8:1", &[]).contains("<6>"));
}

#[test]
fn a_unix_socket_is_made_used_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edgeqa.sock");
    let name = path.to_str().unwrap();
    for _ in 0..2 {
        let mut daemon = Daemon::of(edgeqa().args(["serve", "--socket", name]));
        let ask = || Client::new(UnixStream::connect(&path).unwrap()).ask(&short()).json();
        assert_eq!(ask()["answer"], "Jonas Ekdahl");
        let second = edgeqa().args(["serve", "--socket", name]).output().unwrap();
        assert!(String::from_utf8_lossy(&second.stderr).contains("another program listens there"));
        assert_eq!(ask()["answer"], "Jonas Ekdahl");
        assert!(daemon.terminate().success());
        assert!(!path.exists());
        // What a killed daemon leaves is no obstacle.
        drop(UnixListener::bind(&path).unwrap());
    }
    fs::remove_file(&path).unwrap();
    fs::write(&path, "mine").unwrap();
    let refused = edgeqa().args(["serve", "--socket", name]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no socket"));
    assert_eq!(fs::read(&path).unwrap(), b"mine");

    // One whose clients wait: there is no room for one more.
    fs::remove_file(&path).unwrap();
    let busy = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&busy, 0).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    let refused = edgeqa().args(["serve", "--socket", name]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another program listens there"), "{refused:?}");

    fs::remove_file(&path).unwrap();
    let other = UnixDatagram::bind(&path).unwrap();
    let refused = edgeqa().args(["serve", "--socket", name]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another program may use"), "{refused:?}");
    UnixDatagram::unbound().unwrap().send_to(b"mine", &path).unwrap();
    assert_eq!(other.recv(&mut [0; 8]).unwrap(), 4);
}

/// The TCP addresses that a process listens on, as `/proc/net/tcp` writes them.
fn bound(pid: u32) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("the daemon's descriptors");
    let links = descriptors.filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok());
    let sockets: Vec<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    let listens = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let ours = columns[3] == "0A" && sockets.contains(&format!("socket:[{}]", columns[9]));
        ours.then(|| columns[1].to_owned())
    };
    let tables = ["tcp", "tcp6"].map(|name| fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(listens).collect()
}

#[test]
fn other_addresses_have_to_be_asked_for() {
    let loopback = |port: u16| format!("{:08X}:{port:04X}", u32::from_ne_bytes([127, 0, 0, 1]));
    let daemon = Daemon::start(&[]);
    assert_eq!(bound(daemon.child.id()), [loopback(daemon.port)]);
    let args = ["serve", "--stdio", "--listen", "127.0.0.1:0"];
    let daemon = Daemon::of(edgeqa().args(args).stdin(Stdio::piped()));
    assert_eq!(bound(daemon.child.id()), [loopback(daemon.port)]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edgeqa.sock");
    let daemon = Daemon::of(edgeqa().args(["serve", "--socket", path.to_str().unwrap()]));
    assert_eq!(bound(daemon.child.id()), Vec::<String>::new());

    // Nothing is asked for, and sockets of systemd, if any, are for another process.
    for pid in [None, Some("1")] {
        let mut command = edgeqa();
        if let Some(pid) = pid {
            command.env("LISTEN_FDS", "1").env("LISTEN_PID", pid);
        }
        let daemon = Daemon::spawn(command.arg("serve"));
        // It may be that another program has the port.
        let line = daemon.wait_for_log("127.0.0.1:8017");
        if line.contains("cannot listen on 127.0.0.1:8017 ") && line.contains("Address already in use") {
            skipped(format!("what a plain `edgeqa serve` is bound to: {line}"));
        } else {
            assert!(line.ends_with("listening on http://127.0.0.1:8017/"), "{line}");
            assert_eq!(bound(daemon.child.id()), [loopback(8017)]);
        }
    }
}

#[test]
fn a_socket_for_both_protocols_knows_this_machine() {
    let listener = TcpListener::bind("[::]:0");
    let reached = listener.as_ref().is_ok_and(|listener| {
        listener.local_addr().is_ok_and(|address| TcpStream::connect(("127.0.0.1", address.port())).is_ok())
    });
    if !reached {
        skipped("a_socket_for_both_protocols_knows_this_machine: there is no IPv6, or it is kept apart");
        return;
    }
    let daemon = Daemon::of(edgeqa().args(["serve", "--listen", "[::]:0"]));
    assert_eq!(daemon.get("/healthz").status, 200);
    let mut client = daemon.connect();
    client.send("GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    let reply = client.reply();
    assert_eq!((reply.status, reply.code().as_str()), (403, "foreign_origin"));
}

#[test]
fn a_socket_of_systemd_is_used() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // A connection waits before there is a daemon.
    let mut early = Client::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
    early.send(post(&short().to_string()));
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve 3<&0 0</dev/null";
    let mut daemon = Daemon::of(
        Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_edgeqa")])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::from(OwnedFd::from(listener))),
    );
    assert_eq!(daemon.port, port);
    assert_eq!(early.reply().json()["answer"], "Jonas Ekdahl");
    assert!(!daemon.log().contains("8017"));
    assert!(daemon.terminate().success());
}

#[test]
fn a_question_may_not_outlast_the_watchdog() {
    let serve = |seconds: &str| {
        let mut command = edgeqa();
        run(command.args(["serve", "--stdio", "--request-timeout", seconds]).env("WATCHDOG_USEC", "6000000"), "")
    };
    let errors = failure(serve("3"), 1);
    for part in ["a question may take 3 s", "a watchdog of 6 s", "--request-timeout", "WatchdogSec="] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
    assert!(serve("2.9").status.success());
}

#[test]
fn systemd_is_told_and_the_watchdog_only_after_a_test() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.safetensors");
    variant(&model, "-3.4");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let receive = || {
        let mut buffer = [0; 4096];
        let len = loop {
            match socket.recv(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.expect("a message"),
            }
        };
        String::from_utf8(buffer[..len].to_vec()).expect("UTF-8")
    };
    let mut daemon = Daemon::of(
        edgeqa()
            .args(["serve", "--listen", "127.0.0.1:0", "--request-timeout", "2", "--model", model.to_str().unwrap()])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "6000000"),
    );
    let ready = receive();
    assert!(ready.starts_with("READY=1\nSTATUS=answering with ") && ready.contains("(data sha256 "), "{ready}");
    assert_eq!((receive(), receive()), ("WATCHDOG=1".into(), "WATCHDOG=1".into()));
    assert!(daemon.metric("edgeqa_self_tests_total{result=\"passed\"}") >= 2.0);

    // Whoever cuts the file makes the test fail: systemd hears why, and no ping. That the file is no other model is told, too.
    fs::File::options().write(true).open(&model).unwrap().set_len(1000).unwrap();
    let message = loop {
        match receive() {
            message if message == "WATCHDOG=1" || message.starts_with("STATUS=answering with ") => {}
            message => break message,
        }
    };
    assert!(message.starts_with("STATUS=the self-test failed: "), "{message}");
    assert!(message.contains("changed in place") || message.contains("truncated"), "{message}");
    let reply = daemon.ask(&short());
    assert_eq!((reply.status, reply.code().as_str()), (503, "model_damaged"));
    assert_eq!(daemon.get("/readyz").status, 503);
    assert_eq!(daemon.get("/healthz").status, 200);

    // A good file in its place heals it.
    variant(&model, "-3.5");
    wait("the new model", || (daemon.get("/readyz").status == 200).then_some(()));
    assert_eq!(daemon.ask(&short()).json()["null_threshold"], -3.5);
    assert!(daemon.terminate().success());
    let last = loop {
        let message = receive();
        if message.starts_with("STOPPING=1") {
            break message;
        }
    };
    assert!(last.contains("STATUS="));
}

#[test]
fn the_model_stays_in_memory_if_that_is_asked_for() {
    let locked = |args: &[&str]| {
        let daemon = Daemon::start(args);
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("a size");
        line.trim_end_matches("kB").trim().parse::<u64>().expect("a number") << 10
    };
    let size = fs::metadata(demo()).unwrap().len();
    assert!(locked(&[]) < size && locked(&["--prefault"]) < size);
    // Limits do not bind everybody.
    let allowed = limit::lockable().is_none_or(|bytes| bytes >= size);
    let output = run(edgeqa().args(["serve", "--stdio", "--mlock"]), "");
    if allowed || output.status.success() {
        assert!(locked(&["--mlock"]) >= size);
    } else {
        skipped("the_model_stays_in_memory_if_that_is_asked_for: RLIMIT_MEMLOCK is below the size of the model");
        let errors = failure(output, 1);
        assert!(errors.contains("--mlock cannot keep the model") && errors.contains("LimitMEMLOCK="), "{errors}");
    }
}

#[test]
fn missing_memory_is_told_before_it_is_too_late() {
    let mut command = Command::new("sh");
    // Enough for what computes, but not for the threads beside it.
    command.args(["-c", "ulimit -d 16000; exec \"$0\" serve --stdio --threads 1", env!("CARGO_BIN_EXE_edgeqa")]);
    let output = run(command.current_dir(env!("CARGO_MANIFEST_DIR")).env_clear(), "");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("the limit of 16.4 MB (RLIMIT_DATA)") && errors.contains("that are needed"), "{errors}");
}
