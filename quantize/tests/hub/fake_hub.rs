//! A hub on the loopback interface: file list, `resolve` addresses, redirects to a file store for
//! large files, ranges, and whatever a test wants to go wrong.

use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// More requests than this are not answered.
const MAX_REQUESTS: usize = 100;

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Where the requested range begins, if it is one without an end.
    pub fn open_range(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        range.strip_suffix('-')?.parse().ok()
    }

    /// Whether a file, or a part of one, is asked for.
    pub fn is_for_file(&self) -> bool {
        !self.path.starts_with("/api/")
    }
}

/// An answer, how much of its body is sent, and whether the connection is kept after that instead of closed.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub sent: usize,
    pub kept: bool,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), sent: usize::MAX, kept: false }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(key, _)| *key != name);
        self
    }
}

/// A repo with one commit.
#[derive(Clone)]
pub struct Repo {
    pub id: &'static str,
    pub commit: String,
    pub files: Vec<(&'static str, Vec<u8>)>,
}

impl Repo {
    pub fn data(&self, name: &str) -> &[u8] {
        let found = self.files.iter().find(|(key, _)| *key == name);
        &found.expect("the repo has the file").1
    }

    fn answer(&self, request: &Request, address: &str) -> Answer {
        let path = request.path.split('?').next().unwrap_or_default();
        if path.starts_with(&format!("/api/models/{}/revision/", self.id)) {
            let siblings: Vec<_> = (self.files.iter())
                .map(|(name, data)| {
                    let mut file = serde_json::json!({"rfilename": name, "size": data.len()});
                    if is_large(name) {
                        let lfs = serde_json::json!({"sha256": sha256(data), "size": data.len()});
                        file["lfs"] = lfs;
                    }
                    file
                })
                .collect();
            let info = serde_json::json!({"id": self.id, "sha": self.commit, "siblings": siblings});
            return Answer::new(200, info.to_string()).with("Content-Type", "application/json");
        }
        if let Some(name) = path.strip_prefix(&format!("/{}/resolve/{}/", self.id, self.commit))
            && let Some((_, data)) = self.files.iter().find(|(key, _)| *key == name)
        {
            if is_large(name) {
                return Answer::new(302, "Found")
                    .with("Location", format!("{address}/store/{}", sha256(data)))
                    .with("X-Linked-Size", data.len().to_string())
                    .with("X-Linked-Etag", format!("\"{}\"", sha256(data)))
                    .with("X-Repo-Commit", &self.commit)
                    .with("ETag", "\"of-the-redirect\"");
            }
            return ranged(request, data)
                .with("X-Repo-Commit", &self.commit)
                .with("ETag", format!("\"{}\"", &sha256(data)[..40]));
        }
        if let Some(hash) = path.strip_prefix("/store/")
            && let Some((_, data)) = self.files.iter().find(|(_, data)| sha256(data) == hash)
        {
            return ranged(request, data).with("ETag", "\"of-the-store\"");
        }
        let known = path.contains(self.id);
        let code = if known { "EntryNotFound" } else { "RepoNotFound" };
        Answer::new(404, "Not Found").with("X-Error-Code", code)
    }
}

/// Whether the hub keeps the file in its large-file storage.
fn is_large(name: &str) -> bool {
    !name.ends_with(".json")
}

pub fn sha256(data: &[u8]) -> String {
    let digest = Sha256::digest(data);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ranged(request: &Request, data: &[u8]) -> Answer {
    let range = (request.header("range")).and_then(|text| text.strip_prefix("bytes="));
    let Some((start, end)) = range.and_then(|text| text.split_once('-')) else {
        return Answer::new(200, data).with("Accept-Ranges", "bytes");
    };
    let start: usize = start.parse().unwrap_or(0);
    let end = end.parse().map_or(data.len(), |last: usize| last + 1);
    let end = end.min(data.len());
    if start >= end {
        let total = format!("bytes */{}", data.len());
        return Answer::new(416, "").with("Content-Range", total);
    }
    let range = format!("bytes {start}-{}/{}", end - 1, data.len());
    Answer::new(206, &data[start..end]).with("Content-Range", range).with("Accept-Ranges", "bytes")
}

type Twist = Box<dyn FnMut(&Request, Answer) -> Answer + Send>;

/// A running server; it ends when dropped.
pub struct FakeHub {
    pub address: String,
    log: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeHub {
    /// Serves `repo` as the hub does.
    pub fn new(repo: &Repo) -> Self {
        Self::with_twist(repo, |_, answer| answer)
    }

    /// Serves `repo`, each answer passed through `twist`.
    pub fn with_twist(repo: &Repo, twist: impl FnMut(&Request, Answer) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let log: Arc<Mutex<Vec<Request>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let serve = {
            let (address, repo) = (address.clone(), repo.clone());
            let (log, stop) = (Arc::clone(&log), Arc::clone(&stop));
            let mut twist: Twist = Box::new(twist);
            move || {
                let mut kept = Vec::new();
                for stream in listener.incoming().take(MAX_REQUESTS) {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(mut stream) = stream else { continue };
                    let Some(request) = read_request(&stream) else {
                        continue;
                    };
                    let answer = twist(&request, repo.answer(&request, &address));
                    log.lock().expect("the log").push(request);
                    // The client may go away before it has read everything.
                    let _ = write_answer(&mut stream, &answer);
                    if answer.kept {
                        kept.push(stream);
                    }
                }
            }
        };
        Self { address, log, stop, thread: Some(std::thread::spawn(serve)) }
    }

    /// The requests since the last call.
    pub fn take_log(&self) -> Vec<Request> {
        std::mem::take(&mut *self.log.lock().expect("the log"))
    }
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread up.
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut lines = BufReader::new(stream.take(1 << 14)).lines();
    let first = lines.next()?.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let line = lines.next()?.ok()?;
        let Some((name, value)) = line.split_once(':') else {
            return Some(Request { path, headers });
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn write_answer(stream: &mut TcpStream, answer: &Answer) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Answer\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = answer.body.len();
    head.push_str(&format!("Content-Length: {length}\r\nConnection: close\r\n\r\n"));
    stream.write_all(head.as_bytes())?;
    stream.write_all(&answer.body[..answer.sent.min(length)])?;
    stream.flush()
}
