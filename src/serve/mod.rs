//! `edgeqa serve`: answers for programs and for a page on a screen, all day long.
//!
//! - `listen`: where clients connect; `event_loop`: the one thread that talks to all of them; `bell`: how others wake it;
//!   `connection`: one client; `room`: who gives way when there are too many
//! - [`http`] and [`schema`]: bytes to requests, without sockets; `routes`: requests to responses; [`error`]: refusals
//! - [`limits`]: what is taken from a client
//! - `queue`: the bounded, fair line; `pool`: the one thread that asks the model
//! - [`model`]: the model in use, proven before it is used
//! - [`install`]: models on disk that take another one's place; `content`: whether they hold what they should
//! - `care`: new models and documents; `watchdog`: self-tests; `notify`: what systemd is told; `signals`: what it and others say;
//!   `say`: messages that wait for nobody
//! - `metrics`: what is counted
//! - [`config`] and [`page`]: the owner's settings and the page
//! - [`stdio`]: JSON lines instead of HTTP
//!
//! There is no async runtime and no HTTP framework: one thread polls all sockets, `httparse` (no dependencies, no allocation, much
//! used and fuzzed) reads the heads of requests, and one thread computes. A connection costs its buffers: nothing while it is idle;
//! for what has come of requests, at most twice as much as head and body limit and one read together (280 KiB with the defaults); and
//! the reply while that goes out, of which the page with the largest logo is the longest (about 400 kB). With the defaults that is
//! 32 times 1 MB in the worst case.

mod bell;
mod care;
pub mod config;
mod connection;
mod content;
pub mod error;
mod event_loop;
mod hosts;
pub mod http;
pub mod install;
pub mod limits;
mod listen;
mod metrics;
pub mod model;
mod notify;
mod pace;
pub mod page;
mod pool;
mod queue;
mod room;
mod routes;
mod say;
pub mod schema;
mod signals;
pub mod stdio;
mod watchdog;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::Level;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::documents::{DocumentsError, LibraryOptions, Shelf, left_out};
use crate::errors::one_line;
use crate::shown::count;
use crate::threads::Threads;
use bell::{Bell, Event};
use care::{Care, Command, Locate};
use config::{Config, ConfigError, LANGUAGES};
use error::{ApiError, Code};
use event_loop::EventLoop;
use hosts::Hosts;
pub use limits::Limits;
use listen::Listener;
use metrics::{DocumentGauges, Gauges, Metrics};
use model::{ModelProblem, Proven, Settle, Slot};
use notify::Notify;
use page::Page;
use pool::Line;
use say::say;
use signals::{Reach, obey};

/// What is to be served, and how.
pub struct Options {
    /// Network addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Names by which clients may call this machine besides its own and its addresses.
    pub hosts: Vec<String>,
    /// Paths of Unix sockets to listen on.
    pub sockets: Vec<PathBuf>,
    /// Whether to answer the lines of standard input, until its end.
    pub stdio: bool,
    /// The network address to listen on if nothing of the above is asked for and systemd has opened no socket.
    pub fallback: SocketAddr,
    /// The folder of documents to answer from.
    pub documents: Option<PathBuf>,
    /// How many passages are read per question.
    pub passages: usize,
    /// The owner's settings.
    pub config: Option<PathBuf>,
    /// What is taken from clients.
    pub limits: Limits,
    /// Who computes.
    pub threads: Threads,
    /// Where the model is.
    pub locate: Locate,
    /// What is done with a model before it is used.
    pub settle: Settle,
}

/// Why the daemon does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The folder of documents cannot be read.
    #[error(transparent)]
    Documents(#[from] DocumentsError),
    /// There is no model.
    #[error("{0}")]
    NoModel(String),
    /// The model cannot be used, and there is no previous one that can.
    #[error("cannot serve with {}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ModelProblem,
    },
    /// A question may take so long that systemd would take the daemon for dead.
    #[error(
        "a question may take {} s, but with a watchdog of {} s it has to take less than half of that, or systemd would end edgeqa while \
         it answers; lower --request-timeout, or raise WatchdogSec= of the service",
        request.as_secs_f64(),
        watchdog.as_secs_f64()
    )]
    Watchdog {
        /// The longest time of a question.
        request: Duration,
        /// How often systemd wants to hear from the daemon.
        watchdog: Duration,
    },
    /// An address or path cannot be listened on.
    #[error("cannot listen on {at}{}", advice(source))]
    Listen {
        /// The address or path.
        at: String,
        /// What the system said.
        source: io::Error,
    },
    /// The page cannot be made.
    #[error("{0}")]
    Page(String),
    /// The system refuses something else.
    #[error("cannot {action}")]
    System {
        /// What was to be done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// What all threads share.
pub struct Daemon {
    /// What is taken from clients.
    pub limits: Limits,
    /// The model in use.
    pub model: Slot,
    /// The documents.
    pub documents: Option<Shelf>,
    /// How many of their passages are read per question.
    pub passages: usize,
    /// What clients may call this machine.
    hosts: Hosts,
    /// What is to be computed.
    pub line: Line,
    /// What is counted.
    pub metrics: Metrics,
    page: Page,
    /// Whether the last self-test passed and the model is intact.
    healthy: AtomicBool,
    stopping: AtomicBool,
    /// Whether the time for stopping is over: what is not answered by now will not be.
    given_up: AtomicBool,
    connections: AtomicUsize,
    /// Lines of standard input that are being answered.
    busy_lines: AtomicUsize,
}

impl Daemon {
    /// Whether questions are answered, or why not.
    ///
    /// # Errors
    /// The reason.
    pub fn readiness(&self) -> Result<(), ApiError> {
        if self.stopping.load(Relaxed) {
            return Err(pool::stopping());
        }
        self.model.get().check_file().map_err(|problem| ApiError::new(Code::ModelDamaged, problem.to_string()))?;
        match self.healthy.load(Relaxed) {
            true => Ok(()),
            false => Err(ApiError::new(Code::NotReady, "the last self-test failed; see the log")),
        }
    }

    /// Returns what it was before.
    fn set_healthy(&self, healthy: bool) -> bool {
        self.healthy.swap(healthy, Relaxed)
    }

    /// A sentence for `systemctl status`.
    fn status(&self) -> String {
        let model = self.model.get();
        let sha256 = model.artifact().data_sha256();
        let mut status = format!("answering with {} (data sha256 {sha256:.12})", model.path().display());
        if let Some(shelf) = &self.documents {
            status.push_str(&format!(" from {}", count(shelf.library().file_count(), "document")));
            if let Some(problem) = shelf.problem() {
                status.push_str(&format!("; {problem}"));
            }
        }
        if let Some(refusal) = self.metrics.last_refusal() {
            status.push_str(&format!("; refused {}: {}", refusal.path, refusal.message));
        }
        status
    }

    fn gauges(&self) -> Gauges {
        let model = self.model.get();
        Gauges {
            queue: self.line.len(),
            queue_capacity: self.limits.queue,
            connections: self.connections.load(Relaxed),
            ready: self.readiness().is_ok(),
            model_sha256: model.artifact().data_sha256().to_owned(),
            model_path: model.path().to_string_lossy().into_owned(),
            documents: self.documents.as_ref().map(|shelf| {
                let library = shelf.library();
                DocumentGauges {
                    files: library.file_count(),
                    passages: library.passage_count(),
                    skipped: shelf.skipped(0).1,
                    readable: shelf.problem().is_none(),
                }
            }),
        }
    }
}

/// The file that `edgeqa model install` keeps of the model that was there before.
pub fn previous(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".previous");
    name.into()
}

fn system(action: &'static str) -> impl Fn(io::Error) -> ServeError {
    move |source| ServeError::System { action, source }
}

/// Serves until SIGTERM, SIGINT or, with `stdio`, the end of standard input.
///
/// # Errors
/// [`ServeError`], if it cannot start or the lines of `stdio` cannot be read or answered.
pub fn serve(options: Options) -> Result<(), ServeError> {
    let spawn = |name: &str, f: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(name.into()).spawn(f).map_err(system("start a thread"))
    };
    // First, so that signals are obeyed while documents and the model are read.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(system("listen for signals"))?;
    let (bell, events) = Bell::new().map_err(system("make an event descriptor"))?;
    let (commands, orders) = channel();
    let reach = Arc::new(Reach::new(bell.clone(), commands.clone()));
    spawn(
        "signals",
        Box::new({
            let reach = Arc::clone(&reach);
            move || obey(signals, &reach)
        }),
    )?;
    let notify = Arc::new(Notify::from_env().map_err(system("use NOTIFY_SOCKET"))?);
    let watchdog = notify::watchdog();
    check_watchdog(options.limits.request, watchdog)?;
    let config = options.config.as_deref().map(Config::read).transpose()?.unwrap_or_default();
    if !config.page.has_words() {
        let (language, known) = (&config.page.language, LANGUAGES.join(", "));
        log::warn!(
            "the page has no words in page.language '{language}', so buttons and hints are English; it has {known}"
        );
    }
    let page = Page::new(&config.page, options.limits.request).map_err(ServeError::Page)?;
    options.limits.raise_descriptors();
    let listeners = reach.listening(|| listeners(&options))?;
    let documents = options.documents.as_deref().map(open_documents).transpose()?;
    let model = first_model(&options)?;
    let (version, sha256) = (env!("CARGO_PKG_VERSION"), model.artifact().data_sha256());
    log::info!("edgeqa {version} answers with {} (data sha256 {sha256:.12})", model.path().display());
    if documents.is_none() && !listeners.is_empty() {
        log::warn!("no documents (--docs): the page cannot answer, and requests need a context");
    }
    let daemon = Arc::new(Daemon {
        line: Line::new(options.limits.queue),
        limits: options.limits,
        model: Slot::new(model),
        documents,
        passages: options.passages,
        hosts: Hosts::new(&options.hosts),
        metrics: Metrics::default(),
        page,
        healthy: AtomicBool::new(true),
        stopping: AtomicBool::new(false),
        given_up: AtomicBool::new(false),
        connections: AtomicUsize::new(0),
        busy_lines: AtomicUsize::new(0),
    });
    reach.started(Arc::clone(&daemon));
    spawn(
        "pool",
        Box::new({
            let daemon = Arc::clone(&daemon);
            move || pool::work(&daemon)
        }),
    )?;
    let (send, lines) = channel();
    if options.stdio {
        let (daemon, bell) = (Arc::clone(&daemon), bell.clone());
        spawn(
            "stdio",
            Box::new(move || {
                let _ = send.send(stdio::serve(&daemon, io::stdin().lock(), io::stdout().lock()));
                bell.ring(Event::Stop);
            }),
        )?;
    }
    for listener in &listeners {
        log::info!("listening on {}", listener.name());
    }
    let (watched, end) = channel();
    if let Some(interval) = watchdog {
        let (daemon, notify) = (Arc::clone(&daemon), Arc::clone(&notify));
        spawn("watchdog", Box::new(move || watchdog::watch(&daemon, &notify, interval, &end)))?;
    }
    let care = Care::new(Arc::clone(&daemon), notify, options.locate, options.settle);
    let care = spawn("care", Box::new(move || care.run(&orders)))?;
    let ended = EventLoop::new(&daemon, bell, events, listeners).run();
    daemon.stopping.store(true, Relaxed);
    let _ = commands.send(Command::End);
    drop(watched);
    daemon.line.close();
    wait_for(&care, LAST_MOMENT);
    ended.map_err(system("wait for clients"))?;
    // Nothing is there if a signal was the end and not the lines.
    lines.try_recv().unwrap_or(Ok(()))
}

/// The most threads that run beside those that compute, but for moments.
pub const THREADS: usize = 5;

/// How long a thread has to end after all else has: short, as systemd waits no longer than `TimeoutStopSec=` for all of it.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// Waits until a thread has ended, but no longer than `most`: one that waits for a disk that does not answer ends with the process.
fn wait_for(thread: &JoinHandle<()>, most: Duration) {
    let started = Instant::now();
    while !thread.is_finished() {
        if started.elapsed() >= most {
            say(Level::Warn, format!("ending without the thread {}", thread.thread().name().unwrap_or_default()));
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A self-test of the watchdog waits for the question that is being answered: that may take less than half of the watchdog's time, as
/// something else lies between two tests, too.
fn check_watchdog(request: Duration, watchdog: Option<Duration>) -> Result<(), ServeError> {
    match watchdog {
        Some(watchdog) if request >= watchdog / 2 => Err(ServeError::Watchdog { request, watchdog }),
        _ => Ok(()),
    }
}

fn listeners(options: &Options) -> Result<Vec<Listener>, ServeError> {
    let error = |at: String| move |source| ServeError::Listen { at, source };
    let mut listeners = Listener::inherited().map_err(error("the sockets of systemd".into()))?;
    let nothing = listeners.is_empty() && options.listen.is_empty() && options.sockets.is_empty() && !options.stdio;
    for address in options.listen.iter().chain(nothing.then_some(&options.fallback)) {
        listeners.push(Listener::tcp(*address).map_err(error(address.to_string()))?);
    }
    for path in &options.sockets {
        listeners.push(Listener::unix(path).map_err(error(path.display().to_string()))?);
    }
    Ok(listeners)
}

/// What to do if listening failed because of `error`.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            " (something answers there already, edgeqa.service perhaps: stop it, or give another port with --listen; [::] has all addresses of \
             IPv4, too)"
        }
        io::ErrorKind::PermissionDenied => " (give a port from 1024 up, or a path in a folder of yours)",
        _ => "",
    }
}

fn open_documents(folder: &Path) -> Result<Shelf, DocumentsError> {
    let (shelf, skipped) = Shelf::open(folder, &LibraryOptions::default())?;
    for skipped in &skipped {
        log::log!(skipped.reason.level(), "skipped a document: {skipped}");
    }
    if let Some(others) = left_out(&skipped) {
        log::warn!("{others}");
    }
    let library = shelf.library();
    let (files, passages) = (count(library.file_count(), "document"), count(library.passage_count(), "passage"));
    log::info!("{files} with {passages}");
    if let Some(problem) = shelf.problem() {
        log::warn!("{problem}");
    }
    Ok(shelf)
}

/// The model, or the previous one if that cannot be used: a device that nobody is near should answer.
fn first_model(options: &Options) -> Result<Proven, ServeError> {
    let path = (options.locate)().map_err(ServeError::NoModel)?;
    Proven::open_settled(&path, &options.threads, &options.settle).or_else(|problem| {
        let before = previous(&path);
        let model = Proven::open_settled(&before, &options.threads, &options.settle);
        let unusable = |problem| ServeError::Model { path: path.clone(), source: problem };
        match model {
            Ok(model) => {
                log::error!("{}; answering with {}", one_line(&unusable(problem)), before.display());
                Ok(model)
            }
            Err(_) => Err(unusable(problem)),
        }
    })
}
