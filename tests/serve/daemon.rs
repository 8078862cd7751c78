//! A daemon of the test's own, and a client that says exactly what it is told to.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::common;

/// The model that ships with the source.
pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/model.safetensors")
}

/// The demo model with another threshold, by which replies tell which one has answered.
pub fn variant(path: &Path, threshold: &str) {
    let mut bytes = fs::read(demo()).expect("the demo model");
    let len: [u8; 8] = bytes[..8].try_into().expect("8 bytes");
    let header = &mut bytes[8..][..u64::from_le_bytes(len) as usize];
    let (old, new) = (r#""null_threshold":"-3.3""#, format!(r#""null_threshold":"{threshold}""#));
    assert_eq!(old.len(), new.len());
    let at = header.windows(old.len()).position(|window| window == old.as_bytes()).expect("a threshold");
    header[at..][..new.len()].copy_from_slice(new.as_bytes());
    common::seal(&mut bytes);
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).expect("written");
    fs::rename(beside, path).expect("renamed");
}

pub fn edgeqa() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeqa"));
    command.env_clear().current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// A running `edgeqa serve`, killed when dropped.
pub struct Daemon {
    pub child: Child,
    pub port: u16,
    log: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// On a free port, with these arguments.
    pub fn start(args: &[&str]) -> Self {
        Self::of(edgeqa().args(["serve", "--listen", "127.0.0.1:0"]).args(args))
    }

    /// What `command` starts. Returns when it listens.
    pub fn of(command: &mut Command) -> Self {
        let mut daemon = Self::spawn(command);
        let line = daemon.wait_for_log("listening on ");
        let port = line.trim_end_matches('/').rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        daemon.port = port.unwrap_or(0);
        daemon
    }

    /// What `command` starts, which may not listen yet.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("started");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (errors, lines) = (child.stderr.take().expect("piped"), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                lines.lock().expect("no panic").push(line);
            }
        });
        Self { child, port: 0, log }
    }

    /// One that listens already, whose log somebody else reads.
    pub fn over(child: Child, port: u16) -> Self {
        Self { child, port, log: Arc::default() }
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("no panic").join("\n")
    }

    /// The first line of the log with `part`, waited for.
    pub fn wait_for_log(&self, part: &str) -> String {
        wait(&format!("{part:?} in the log"), || {
            self.log.lock().expect("no panic").iter().find(|line| line.contains(part)).cloned()
        })
    }

    pub fn connect(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        Client::new(stream)
    }

    pub fn get(&self, path: &str) -> Reply {
        self.connect().get(path)
    }

    pub fn ask(&self, body: &Value) -> Reply {
        self.connect().ask(body)
    }

    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect("a metric");
        line.parse().expect("a number")
    }

    pub fn signal(&self, name: &str) {
        self.signals(&[name]);
    }

    /// These, one right after the other.
    pub fn signals(&self, names: &[&str]) {
        let kills: Vec<_> = names.iter().map(|name| format!("kill -{name} {}", self.child.id())).collect();
        let status = Command::new("sh").args(["-c", &kills.join(" && ")]).status();
        assert!(status.expect("kill").success());
    }

    /// Stops it, until it gets the signal to go on.
    pub fn stop(&self) {
        self.signal("STOP");
        let stat = format!("/proc/{}/stat", self.child.id());
        wait("the stop", || fs::read_to_string(&stat).expect("a process").contains(") T ").then_some(()));
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait("the end of the daemon", || child.try_wait().expect("a child"))
    }

    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.end()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for `condition`, a generous time.
pub fn wait<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One connection.
pub struct Client<S> {
    pub stream: S,
    rest: Vec<u8>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The code of a refusal.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("no refusal: {}", self.text())).to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl<S: Read + Write> Client<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, rest: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("sent");
    }

    /// The next reply; `None` if the daemon has closed the connection.
    pub fn try_reply(&mut self) -> Option<Reply> {
        let end = loop {
            if let Some(end) = self.rest.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            self.more()?;
        };
        let head = String::from_utf8(self.rest.drain(..end + 4).collect()).expect("UTF-8");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
        while self.rest.len() < length {
            self.more()?;
        }
        Some(Reply { status, head, body: self.rest.drain(..length).collect() })
    }

    fn more(&mut self) -> Option<()> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => None,
            Ok(len) => {
                self.rest.extend_from_slice(&chunk[..len]);
                Some(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => None,
            Err(error) => panic!("neither a reply nor the end of the connection: {error}"),
        }
    }

    pub fn reply(&mut self) -> Reply {
        self.try_reply().expect("a reply")
    }

    pub fn get(&mut self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        self.reply()
    }

    pub fn ask(&mut self, body: &Value) -> Reply {
        self.send(post(&body.to_string()));
        self.reply()
    }

    /// Whether the daemon closes the connection without another word.
    pub fn is_closed(&mut self) -> bool {
        self.try_reply().is_none()
    }
}

pub fn post(body: &str) -> String {
    let len = body.len();
    format!(
        "POST /v1/ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}"
    )
}

/// A question that is answered at once.
pub fn short() -> Value {
    json!({ "question": "Who kept the light?", "context": "Jonas Ekdahl kept the light until 1968." })
}

/// A question that takes one thread about a second.
pub fn medium() -> Value {
    let text = "The ships went by and nobody wrote it down. ";
    json!({ "question": "Who kept the light?", "context": text.repeat(700) })
}

/// A question that takes one thread many seconds: about five hundred windows.
pub fn long() -> Value {
    json!({ "question": "Who kept the light?", "context": "x ".repeat(99_000), "doc_stride": 180 })
}
