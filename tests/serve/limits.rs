//! Clients that are slow, many, impatient or gone.

use std::io::Write;
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use super::common::skip::skipped;
use super::daemon::{Client, Daemon, edgeqa, long, post, short, wait};

#[test]
fn a_dribbling_client_is_cut_off_while_others_are_served() {
    let daemon = Daemon::start(&["--client-timeout", "0.4"]);
    let body = post(&short().to_string());
    for start in [1, body.len() - 20] {
        let mut client = daemon.connect();
        client.send(&body[..start]);
        let begun = Instant::now();
        for byte in body.as_bytes()[start..].chunks(1) {
            std::thread::sleep(Duration::from_millis(50));
            // It fails when the daemon has had enough.
            if client.stream.write_all(byte).is_err() || begun.elapsed() > Duration::from_secs(1) {
                break;
            }
            assert_eq!(daemon.get("/healthz").status, 200);
        }
        let reply = client.reply();
        assert_eq!((reply.status, reply.code().as_str()), (408, "slow_client"));
        assert!(client.is_closed());
    }
    assert_eq!(daemon.metric("edgeqa_rejected_total{code=\"slow_client\"}"), 2.0);
}

#[test]
fn idle_connections_end_without_a_word() {
    let daemon = Daemon::start(&["--idle-timeout", "1"]);
    let begun = Instant::now();
    let mut silent = daemon.connect();
    let mut used = daemon.connect();
    assert_eq!(used.get("/healthz").status, 200);
    assert!(silent.is_closed() && used.is_closed());
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn a_client_that_takes_no_replies_is_cut_off() {
    let daemon = Daemon::start(&["--client-timeout", "0.4"]);
    let mut client = daemon.connect();
    client.stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    // Until neither side can send: the daemon takes no further requests.
    while client.stream.write_all(request.as_bytes()).is_ok() {}
    wait("the end of the connection", || (daemon.metric("edgeqa_connections") == 1.0).then_some(()));
}

#[test]
fn a_full_queue_refuses_and_clients_that_go_make_room() {
    let daemon = Daemon::start(&["--max-queue", "2", "--threads", "1"]);
    // Short questions, however many, say nothing about how long the others take.
    for _ in 0..20 {
        assert_eq!(daemon.ask(&short()).status, 200);
    }
    let mut gone: Vec<_> = (0..3).map(|_| daemon.connect()).collect();
    for (i, client) in gone.iter_mut().enumerate() {
        client.send(post(&long().to_string()));
        // The first is taken out of the queue, the others wait in it.
        let is_busy = || daemon.metric("edgeqa_busy") == 1.0;
        wait("the queue", || (is_busy() && daemon.metric("edgeqa_queue_length") == i as f64).then_some(()));
    }
    let refused = daemon.ask(&short());
    assert_eq!((refused.status, refused.code().as_str()), (503, "queue_full"));
    let seconds: u64 = refused.header("Retry-After").expect("a time").parse().expect("a number");
    assert!((2..=60).contains(&seconds), "{seconds}");
    assert_eq!(daemon.get("/readyz").status, 200);

    let begun = Instant::now();
    drop(gone);
    wait("room", || (daemon.ask(&short()).status == 200).then_some(()));
    // Reading one of the texts takes longer.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(daemon.metric("edgeqa_cancelled_total"), 3.0);
    assert_eq!(daemon.metric("edgeqa_queue_length"), 0.0);
}

#[test]
fn a_question_has_limited_time_and_the_next_one_is_answered() {
    let daemon = Daemon::start(&["--request-timeout", "2", "--threads", "1"]);
    let mut client = daemon.connect();
    let begun = Instant::now();
    let reply = client.ask(&long());
    assert_eq!((reply.status, reply.code().as_str()), (504, "time_limit"));
    // Reading the text takes longer.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(client.ask(&short()).json()["answer"], "Jonas Ekdahl");
    assert_eq!(daemon.metric("edgeqa_rejected_total{code=\"time_limit\"}"), 1.0);
}

#[test]
fn connections_are_counted_and_idle_ones_give_way() {
    let daemon = Daemon::start(&["--max-connections", "2"]);
    let mut idle = daemon.connect();
    assert_eq!(idle.get("/healthz").status, 200);
    let mut busy = [daemon.connect(), daemon.connect()];
    for client in &mut busy {
        client.send("GET /healthz");
    }
    assert!(idle.is_closed());
    let mut late = daemon.connect();
    let reply = late.reply();
    assert_eq!((reply.status, reply.code().as_str()), (503, "too_many_connections"));
    for client in &mut busy {
        client.send(" HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.reply().status, 200);
    }
    assert_eq!(daemon.get("/healthz").status, 200);
}

#[test]
fn idle_connections_give_way_when_there_are_no_more_descriptors() {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -n 30; exec \"$0\" serve --listen 127.0.0.1:0", env!("CARGO_BIN_EXE_edgeqa")]);
    let daemon = Daemon::of(command.env_clear().current_dir(env!("CARGO_MANIFEST_DIR")));
    let mut idle: Vec<_> = (0..60).map(|_| daemon.connect()).collect();
    assert_eq!(daemon.get("/healthz").status, 200);
    assert!(idle[0].is_closed());
    assert!(daemon.metric("edgeqa_connections") < 30.0, "not the limit on connections");
    assert_eq!(daemon.log().matches("cannot accept connections").count(), 0);
}

#[test]
fn who_has_sent_a_request_is_answered_also_if_others_have_to_go() {
    let daemon = Daemon::start(&["--max-connections", "4"]);
    // They all have connected and asked before the daemon sees the first of them.
    daemon.stop();
    let mut clients: Vec<_> = (0..8).map(|_| daemon.connect()).collect();
    for client in &mut clients {
        client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    daemon.signal("CONT");
    let mut statuses: Vec<u16> = clients.iter_mut().map(|client| client.reply().status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 503, 503, 503, 503]);
    assert_eq!(daemon.metric("edgeqa_rejected_total{code=\"too_many_connections\"}"), 4.0);
}

/// An address of this machine that is not only its own: whoever comes from it counts as another machine.
fn other_machine() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[test]
fn a_machine_with_unfinished_requests_keeps_nobody_out() {
    let Some(other) = other_machine() else {
        skipped("a_machine_with_unfinished_requests_keeps_nobody_out: this machine has no address but its own");
        return;
    };
    let daemon = Daemon::of(edgeqa().args(["serve", "--listen", "0.0.0.0:0", "--max-connections", "3"]));
    let mut greedy: Vec<_> =
        (0..3).map(|_| Client::new(TcpStream::connect((other, daemon.port)).expect("connected"))).collect();
    // The daemon has them all before anybody else comes.
    assert!(greedy.iter_mut().all(|client| client.get("/healthz").status == 200));
    for client in &mut greedy {
        client.send("GET /healthz HTTP/1.1\r\n");
    }
    assert_eq!(daemon.get("/healthz").status, 200);
    let refused = greedy[0].reply();
    assert_eq!((refused.status, refused.code().as_str()), (503, "too_many_connections"));
    for client in &mut greedy[1..] {
        client.send("Host: localhost\r\n\r\n");
        assert_eq!(client.reply().status, 200);
    }
}
