//! The command line of `edgeqa serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use edgeqa::documents::RetrievalOptions;
use edgeqa::numbers::{seconds, whole};
use edgeqa::serve::Limits;

use super::{MemoryArgs, ThreadArgs};

const EXAMPLES: &str = "\
Examples:
  edgeqa serve --docs texts/ --config kiosk.toml
  curl -s localhost:8017/v1/ask -H 'Content-Type: application/json' \\
      -d '{\"question\": \"Who kept it?\", \"context\": \"Ada kept it.\"}'
  edgeqa serve --socket $XDG_RUNTIME_DIR/edgeqa.sock
  edgeqa serve --stdio < questions.jsonl

Paths: POST /v1/ask (question, optional context, top_k, null_threshold,
always_answer, max_answer_len, max_seq_len, doc_stride; the reply is what
`edgeqa ask --json` prints, with \"ms\"), GET / (the page), /healthz, /readyz,
/metrics (Prometheus), /v1/info. Errors: {\"error\": {\"code\", \"message\"}}. A
client that closes its sending half before it has the reply counts as gone.

SIGHUP reads model and documents again; a model file that is replaced is
noticed without it. SIGTERM stops after what is being answered; once more,
half a second later or after that, at once. Sockets of
systemd (LISTEN_FDS) are used, NOTIFY_SOCKET is told. With --mlock both models
are in memory while one takes the other's place. The log is on standard error;
RUST_LOG sets its level (default: info).";

/// Arguments of `edgeqa serve`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// Address and port to answer HTTP on; may be given again. Anything but 127.0.0.1 lets other machines ask [default:
    /// 127.0.0.1:8017, or nothing with --socket, --stdio or sockets of systemd]
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub listen: Vec<SocketAddr>,

    /// Name by which clients may call this machine in the address of the page, such as kiosk.example; may be given again. Its addresses,
    /// localhost, its own name, and that with .local are known; other names are refused, as pages of other sites could have them
    #[arg(long, value_name = "NAME", value_parser = host)]
    pub host: Vec<String>,

    /// Path of a Unix socket to answer HTTP on, for users that the umask leaves the right to write; may be given again
    #[arg(long, value_name = "PATH")]
    pub socket: Vec<PathBuf>,

    /// Answer one JSON object per line of standard input, on standard output, in the same order; a reply repeats the `id` of its
    /// line, if it has one
    #[arg(long)]
    pub stdio: bool,

    /// Folder of documents to answer from, `.txt` and `.md` files; changes are noticed
    #[arg(long, value_name = "DIR")]
    pub docs: Option<PathBuf>,

    /// Passages of the documents that are read per question, 1 to 100
    #[arg(long, value_name = "N", default_value_t = RetrievalOptions::PASSAGES, requires = "docs",
          value_parser = whole(1..=RetrievalOptions::MAX_PASSAGES))]
    pub passages: usize,

    /// TOML file with the settings of the page: [page] title, subtitle, language, accent, accent_dark, logo, examples,
    /// idle_seconds (0: never)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Longest body of a request, or line of --stdio, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().body, value_parser = whole(1..=64 << 20))]
    pub max_body: usize,

    /// Longest question, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().question, value_parser = whole(1..=64 << 20))]
    pub max_question: usize,

    /// Longest context, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().context, value_parser = whole(1..=64 << 20))]
    pub max_context: usize,

    /// Requests that may wait while one is answered; others get 503, first those of the client that has most of them
    #[arg(long, value_name = "N", default_value_t = Limits::default().queue, value_parser = whole(1..=10_000))]
    pub max_queue: usize,

    /// Connections that may be open at the same time; for more, idle ones are closed, then unfinished requests and replies of the other
    /// machine that has most connections
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections, value_parser = whole(1..=10_000))]
    pub max_connections: usize,

    /// Seconds from a request to its answer, waiting included; less than half of WatchdogSec= if systemd watches edgeqa, that is less
    /// than 60 in the service that comes with it
    #[arg(long, value_name = "S", default_value_t = Limits::default().request.as_secs_f64(), value_parser = seconds(0.01))]
    pub request_timeout: f64,

    /// Seconds that a client has to send a request, and to take a reply
    #[arg(long, value_name = "S", default_value_t = Limits::default().client.as_secs_f64(), value_parser = seconds(0.01))]
    pub client_timeout: f64,

    /// Seconds that a connection may do nothing
    #[arg(long, value_name = "S", default_value_t = Limits::default().idle.as_secs_f64(), value_parser = seconds(0.01))]
    pub idle_timeout: f64,

    /// Seconds that complete requests have to be answered when edgeqa is stopped; others have a second of these to be completed
    #[arg(long, value_name = "S", default_value_t = Limits::default().stop.as_secs_f64(), value_parser = seconds(0.01))]
    pub stop_timeout: f64,

    /// Who computes.
    #[command(flatten)]
    pub threads: ThreadArgs,

    /// Model file, always compared with its checksum [default: where `edgeqa ask` finds one]
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,

    /// Where it is kept, and any that takes its place.
    #[command(flatten)]
    pub memory: MemoryArgs,
}

fn host(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("not the name of a machine without a port, such as kiosk.example".into())
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "not ADDRESS:PORT in numbers, such as 127.0.0.1:8017".into())
}
