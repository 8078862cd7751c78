//! The thread that looks after the daemon: takes new models, renews the documents, and tests itself for systemd's watchdog.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::metrics::{Metrics, Refusal};
use super::model::{Identity, ModelProblem, Proven, Settle};
use super::notify::Notify;
use super::pool::Work;
use super::{Daemon, previous};
use crate::documents::{Refresh, Shelf};
use crate::errors::one_line;
use crate::shown::count;

/// How often files are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How many self-tests begin in the time of the watchdog. What systemd has to wait for from one to the next is this part of that time, a
/// look at the files, and a question that is being answered, which may take half of it.
const TESTS: u32 = 4;
/// How many times as long as a look at the documents took they are left alone after it, but no longer than [`LONGEST_REST`].
const REST: u32 = 20;
const LONGEST_REST: Duration = Duration::from_secs(60);

/// How often the thread looks whether there is something to do, under a watchdog of this time.
fn tick(watchdog: Duration) -> Duration {
    TICK.min(watchdog / (2 * TESTS))
}

/// What the thread is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// To read model and documents again, changed or not.
    Reload,
    /// To end.
    End,
}

/// Where the model is to be looked for. Asked again and again, as a better place may come to have one.
pub type Locate = Box<dyn Fn() -> Result<PathBuf, String> + Send>;

/// The state of the thread.
pub struct Care {
    daemon: Arc<Daemon>,
    notify: Notify,
    locate: Locate,
    settle: Settle,
    /// The file that was last tried, whether it was taken or not.
    tried: Option<(PathBuf, Identity)>,
    /// Another file, seen once. It is tried when it is still the same after a while: whoever writes it may not be done.
    seen: Option<(PathBuf, Identity)>,
    /// How often systemd wants to hear something, and when it was told last.
    watchdog: Option<Duration>,
    tested: Instant,
    /// When files were looked at for a model.
    looked: Instant,
    /// When the documents were looked at, and how long that took.
    read: Instant,
    took: Duration,
}

impl Care {
    /// Care for a daemon whose model is the one that is found and settled like this.
    pub fn new(
        daemon: Arc<Daemon>,
        notify: Notify,
        locate: Locate,
        settle: Settle,
        watchdog: Option<Duration>,
    ) -> Self {
        let model = daemon.model.get();
        let tried = Some((model.path().to_owned(), model.identity()));
        let now = Instant::now();
        Self {
            daemon,
            notify,
            locate,
            settle,
            tried,
            seen: None,
            watchdog,
            tested: now,
            looked: now,
            read: now,
            took: Duration::ZERO,
        }
    }

    /// Cares until told to end.
    pub fn run(mut self, commands: &Receiver<Command>) {
        self.notify.ready(&self.status());
        let tick = self.watchdog.map_or(TICK, tick);
        loop {
            match commands.recv_timeout(tick) {
                Ok(Command::Reload) => {
                    log::info!("reading the model and the documents again");
                    self.reload();
                    self.look_at_documents(Shelf::read_again);
                }
                Err(RecvTimeoutError::Timeout) => {
                    if self.looked.elapsed() >= TICK {
                        self.looked = Instant::now();
                        self.look();
                    }
                    // Looking at many files takes long, and is not to take much of all time.
                    if self.read.elapsed() >= Shelf::INTERVAL.max((self.took * REST).min(LONGEST_REST)) {
                        self.look_at_documents(Shelf::refresh);
                    }
                }
                Ok(Command::End) | Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.watchdog.is_some_and(|interval| self.tested.elapsed() >= interval / TESTS) {
                self.test();
            }
        }
        self.notify.stopping();
    }

    fn status(&self) -> String {
        let model = self.daemon.model.get();
        let sha256 = model.artifact().data_sha256();
        let mut status = format!("answering with {} (data sha256 {sha256:.12})", model.path().display());
        if let Some(shelf) = &self.daemon.documents {
            status.push_str(&format!(" from {}", count(shelf.library().file_count(), "document")));
            if let Some(problem) = shelf.problem() {
                status.push_str(&format!("; {problem}"));
            }
        }
        if let Some(refusal) = self.daemon.metrics.last_refusal() {
            status.push_str(&format!("; refused {}: {}", refusal.path, refusal.message));
        }
        status
    }

    fn look_at_documents(&mut self, look: impl Fn(&Shelf) -> Refresh) {
        let started = Instant::now();
        if let Some(shelf) = &self.daemon.documents {
            let problem = shelf.problem();
            if look(shelf) == Refresh::New || shelf.problem() != problem {
                self.notify.status(&self.status());
            }
        }
        self.read = Instant::now();
        self.took = self.read - started;
    }

    /// Tries another model if there is one.
    fn look(&mut self) {
        let Ok(path) = (self.locate)() else { return };
        let Ok(identity) = Identity::at(&path) else { return };
        let found = Some((path, identity));
        if found == self.tried {
            self.seen = None;
        } else if found == self.seen {
            self.reload();
        } else {
            if self.daemon.model.get().check_file().is_err() {
                log::warn!(
                    "the file of the model in use was written to or touched: no answers until it is proven again"
                );
            }
            self.seen = found;
        }
    }

    fn reload(&mut self) {
        self.seen = None;
        let path = match (self.locate)() {
            Ok(path) => path,
            Err(problem) => {
                log::error!("there is no model to take: {problem}");
                return;
            }
        };
        self.tried = Identity::at(&path).ok().map(|identity| (path.clone(), identity));
        let threads = self.daemon.model.get().reader().model().threads().clone();
        match Proven::open_settled(&path, &threads, &self.settle) {
            Ok(model) => {
                self.tried = Some((path.clone(), model.identity()));
                let sha256 = model.artifact().data_sha256().to_owned();
                self.daemon.model.set(model);
                self.daemon.set_healthy(true);
                self.daemon.metrics.forget_refusal();
                Metrics::count(&self.daemon.metrics.swaps);
                log::info!("new questions go to {} (data sha256 {sha256:.12})", path.display());
            }
            Err(problem) => {
                self.refuse(&path, &problem);
                self.replace_damaged(&path);
            }
        }
        self.notify.status(&self.status());
    }

    /// Takes the previous model of the one at `path` if the file of the model in use was written to: that is no model to be kept.
    fn replace_damaged(&self, path: &Path) {
        let model = self.daemon.model.get();
        let Err(problem) = model.check_file() else { return };
        self.daemon.set_healthy(false);
        let before = previous(path);
        let threads = model.reader().model().threads().clone();
        match Proven::open_settled(&before, &threads, &self.settle) {
            Ok(model) => {
                log::error!("{}; answering with {}", one_line(&problem), before.display());
                self.daemon.model.set(model);
                self.daemon.set_healthy(true);
                Metrics::count(&self.daemon.metrics.swaps);
            }
            Err(_) => log::error!("{}, and there is no previous model: nothing is answered", one_line(&problem)),
        }
    }

    fn refuse(&self, path: &Path, problem: &ModelProblem) {
        let message = one_line(problem);
        log::error!("{} is refused: {message}", path.display());
        let path = path.to_string_lossy().into_owned();
        self.daemon.metrics.refuse(Refusal { path, reason: problem.code(), message });
    }

    /// Asks the model in use, through the line in which questions wait, and tells systemd if that works.
    fn test(&mut self) {
        let Some(interval) = self.watchdog else { return };
        let (send, receive) = channel();
        self.daemon.line.push_urgent(Work::SelfTest(send));
        // What is left of the time when a test begins, but for what may lie between two.
        let wait = interval - interval / TESTS - 2 * tick(interval);
        let problem = match receive.recv_timeout(wait) {
            Ok(Ok(())) => None,
            Ok(Err(problem)) => Some(one_line(&problem)),
            Err(RecvTimeoutError::Timeout) => Some(format!("there was no answer within {} s", wait.as_secs_f64())),
            // Nobody answers any more: the daemon is being stopped.
            Err(RecvTimeoutError::Disconnected) => return,
        };
        self.daemon.metrics.self_tests[usize::from(problem.is_some())].fetch_add(1, Relaxed);
        let was_healthy = self.daemon.set_healthy(problem.is_none());
        self.tested = Instant::now();
        match problem {
            None => {
                self.notify.alive();
                if !was_healthy {
                    log::info!("the self-test has passed again");
                    self.notify.status(&self.status());
                }
            }
            Some(problem) => {
                log::error!("the self-test failed: {problem}");
                self.notify.status(&format!("the self-test failed: {problem}"));
            }
        }
    }
}
