//! The thread that looks after the daemon's files: takes new models, and renews the documents.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use super::metrics::{Metrics, Refusal};
use super::model::{Identity, ModelProblem, Proven, Settle};
use super::notify::Notify;
use super::{Daemon, previous};
use crate::documents::{Refresh, Shelf};
use crate::errors::one_line;

/// How often files are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long the first and the longest pause is before a model is tried again that may be well by then. Every pause is twice the one before.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(60)];
/// How many times as long as a look at the documents took they are left alone after it, but no longer than [`LONGEST_REST`].
const REST: u32 = 20;
const LONGEST_REST: Duration = Duration::from_secs(60);

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
    notify: Arc<Notify>,
    locate: Locate,
    settle: Settle,
    /// The file that was last tried, whether it was taken or not.
    tried: Option<(PathBuf, Identity)>,
    /// Another file, seen once. It is tried when it is still the same after a while: whoever writes it may not be done.
    seen: Option<(PathBuf, Identity)>,
    /// Whether it was refused for a reason that may pass.
    may_be_well: bool,
    /// Whether the file of the model in use was written to when it was looked at last.
    damaged: bool,
    /// Whether that was said, and that no other model is there.
    hopeless: bool,
    /// Why no model was found when one was looked for last.
    missing: Option<String>,
    /// When a model is tried again if it may be well or the one in use is damaged, and the pause after that.
    again: Instant,
    pause: Duration,
    /// When the documents were looked at, and how long that took.
    read: Instant,
    took: Duration,
}

impl Care {
    /// Care for a daemon whose model is the one that is found and settled like this.
    pub fn new(daemon: Arc<Daemon>, notify: Arc<Notify>, locate: Locate, settle: Settle) -> Self {
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
            may_be_well: false,
            damaged: false,
            hopeless: false,
            missing: None,
            again: now,
            pause: PAUSES[0],
            read: now,
            took: Duration::ZERO,
        }
    }

    /// Cares until told to end.
    pub fn run(mut self, commands: &Receiver<Command>) {
        self.notify.ready(&self.daemon.status());
        loop {
            match next(commands) {
                Some(Command::Reload) => {
                    log::info!("reading the model and the documents again");
                    self.missing = None;
                    self.wait(PAUSES[0]);
                    self.reload(false);
                    self.look_at_documents(Shelf::read_again);
                }
                None => {
                    self.look();
                    // Looking at many files takes long, and is not to take much of all time.
                    if self.read.elapsed() >= Shelf::INTERVAL.max((self.took * REST).min(LONGEST_REST)) {
                        self.look_at_documents(Shelf::refresh);
                    }
                }
                Some(Command::End) => break,
            }
        }
        self.notify.stopping();
    }

    fn look_at_documents(&mut self, look: impl Fn(&Shelf) -> Refresh) {
        let started = Instant::now();
        if let Some(shelf) = &self.daemon.documents {
            let problem = shelf.problem();
            if look(shelf) == Refresh::New || shelf.problem() != problem {
                self.notify.status(&self.daemon.status());
            }
        }
        self.read = Instant::now();
        self.took = self.read - started;
    }

    /// Tries another model if there is one, or the same again if it may be well by now.
    fn look(&mut self) {
        let damaged = self.daemon.model.get().check_file().is_err();
        if damaged && !self.damaged {
            log::warn!("the file of the model in use was written to or touched: no answers until it is proven again");
            self.wait(PAUSES[0]);
        } else if self.damaged && !damaged {
            self.hopeless = false;
            self.daemon.set_healthy(self.daemon.model.get().self_test().is_ok());
        }
        self.damaged = damaged;
        let found = (self.locate)().ok().and_then(|path| {
            let identity = Identity::at(&path).ok()?;
            Some((path, identity))
        });
        let is_new = found.is_some() && found != self.tried;
        if is_new && found == self.seen {
            self.wait(PAUSES[0]);
            self.reload(false);
            return;
        }
        if (self.damaged || self.may_be_well) && Instant::now() >= self.again {
            self.wait((self.pause * 2).min(PAUSES[1]));
            match &found {
                // Whoever writes it is not done, which may take long.
                Some((path, _)) if is_new => {
                    self.replace_damaged(Some(path));
                    self.notify.status(&self.daemon.status());
                }
                _ => self.reload(true),
            }
        }
        self.seen = found.filter(|_| is_new);
    }

    /// Has nothing tried again before this time is over.
    fn wait(&mut self, pause: Duration) {
        self.again = Instant::now() + pause;
        self.pause = pause;
    }

    /// Tries the model that is found. What was said of it before is not said `again`.
    fn reload(&mut self, again: bool) {
        self.seen = None;
        match (self.locate)() {
            Ok(path) => self.try_model(&path, again),
            Err(problem) => {
                self.may_be_well = false;
                if self.missing.as_ref() != Some(&problem) {
                    log::error!("there is no model to take: {problem}");
                    self.missing = Some(problem);
                }
                self.replace_damaged(None);
            }
        }
        self.notify.status(&self.daemon.status());
    }

    fn try_model(&mut self, path: &Path, again: bool) {
        self.missing = None;
        self.tried = Identity::at(path).ok().map(|identity| (path.to_owned(), identity));
        let threads = self.daemon.model.get().reader().model().threads().clone();
        match Proven::open_settled(path, &threads, &self.settle) {
            Ok(model) => {
                self.tried = Some((path.to_owned(), model.identity()));
                self.may_be_well = false;
                let sha256 = model.artifact().data_sha256().to_owned();
                self.take(model);
                self.daemon.metrics.forget_refusal();
                log::info!("new questions go to {} (data sha256 {sha256:.12})", path.display());
            }
            Err(problem) => {
                self.may_be_well = problem.may_pass();
                self.refuse(path, &problem, again);
                self.replace_damaged(Some(path));
            }
        }
    }

    /// Has a model answer from now on.
    fn take(&mut self, model: Proven) {
        self.daemon.model.set(model);
        self.daemon.set_healthy(true);
        (self.damaged, self.hopeless) = (false, false);
        Metrics::count(&self.daemon.metrics.swaps);
    }

    /// If the file of the model in use was written to, which is no model to be kept, takes what that file holds now, its previous model, or
    /// that of the `refused` one.
    fn replace_damaged(&mut self, refused: Option<&Path>) {
        let model = self.daemon.model.get();
        let Err(problem) = model.check_file() else { return };
        self.daemon.set_healthy(false);
        let threads = model.reader().model().threads().clone();
        let mut others = vec![model.path().to_owned(), previous(model.path())];
        others.extend(refused.map(previous).filter(|path| !others.contains(path)));
        others.retain(|path| Some(&**path) != refused);
        let open = |path: &PathBuf| Proven::open_settled(path, &threads, &self.settle).ok();
        match others.iter().find_map(open) {
            Some(model) => {
                log::error!("{}; answering with {}", one_line(&problem), model.path().display());
                self.take(model);
            }
            None if !std::mem::replace(&mut self.hopeless, true) => {
                log::error!("{}, and there is no previous model: nothing is answered", one_line(&problem));
            }
            None => {}
        }
    }

    /// Notes that the model at `path` is not taken. What was noted before is not noted `again`.
    fn refuse(&self, path: &Path, problem: &ModelProblem, again: bool) {
        let message = one_line(problem);
        let metrics = &self.daemon.metrics;
        let path = path.to_string_lossy().into_owned();
        if again && metrics.last_refusal().is_some_and(|last| (&last.path, &last.message) == (&path, &message)) {
            log::debug!("{path} is still refused: {message}");
            return;
        }
        log::error!("{path} is refused: {message}");
        metrics.refuse(Refusal { path, reason: problem.code(), message });
    }
}

/// What is to be done next, or nothing for as long as [`TICK`]. However often it was said that files are to be read again, they are read
/// once.
fn next(commands: &Receiver<Command>) -> Option<Command> {
    let mut next = match commands.recv_timeout(TICK) {
        Ok(command) => command,
        Err(RecvTimeoutError::Timeout) => return None,
        Err(RecvTimeoutError::Disconnected) => Command::End,
    };
    while next == Command::Reload {
        next = match commands.try_recv() {
            Ok(command) => command,
            Err(TryRecvError::Empty) => break,
            Err(TryRecvError::Disconnected) => Command::End,
        };
    }
    Some(next)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn files_are_read_again_once_however_often_that_was_said_and_not_before_the_end() {
        let (send, commands) = channel();
        for _ in 0..3 {
            send.send(Command::Reload).unwrap();
        }
        assert_eq!((next(&commands), next(&commands)), (Some(Command::Reload), None));
        send.send(Command::Reload).unwrap();
        send.send(Command::End).unwrap();
        assert_eq!(next(&commands), Some(Command::End));
        drop(send);
        assert_eq!(next(&commands), Some(Command::End));
    }
}
