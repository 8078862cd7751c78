//! What signals say: SIGTERM and SIGINT to stop, SIGHUP to read everything again.

use std::process::exit;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use log::Level;
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;

use super::Daemon;
use super::bell::{Bell, Event};
use super::care::Command;
use super::listen::{Listener, Made};
use super::say::say;

/// How long after the first signal to stop another one is a second request, and not the same: who sends one to a process and to its group sends it twice.
const APART: Duration = Duration::from_millis(500);

/// What signals act on.
pub struct Reach {
    bell: Bell,
    commands: Sender<Command>,
    /// Not there before the daemon has started.
    daemon: OnceLock<Arc<Daemon>>,
    /// Socket files to be removed by whoever ends the process.
    made: Mutex<Vec<Weak<Made>>>,
}

impl Reach {
    /// That of a daemon that has not started.
    pub fn new(bell: Bell, commands: Sender<Command>) -> Self {
        Self { bell, commands, daemon: OnceLock::new(), made: Mutex::default() }
    }

    /// Notes what `listen` has made. Nobody ends the process meanwhile.
    pub fn listening<E>(&self, listen: impl FnOnce() -> Result<Vec<Listener>, E>) -> Result<Vec<Listener>, E> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let listeners = listen()?;
        *made = listeners.iter().filter_map(Listener::made).collect();
        Ok(listeners)
    }

    /// Notes that the daemon has started.
    pub fn started(&self, daemon: Arc<Daemon>) {
        let _ = self.daemon.set(daemon);
    }

    /// Ends the process.
    fn end(&self, code: i32) -> ! {
        for made in self.made.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade) {
            made.remove();
        }
        exit(code)
    }
}

/// Does what signals say. The first to stop lets what is being answered be answered, if the daemon has started; another one, from
/// [`APART`] later on, ends the process at once.
pub fn obey(mut signals: Signals, reach: &Reach) {
    let mut first: Option<Instant> = None;
    for signal in signals.forever() {
        if signal == SIGHUP {
            let _ = reach.commands.send(Command::Reload);
            continue;
        }
        let Some(daemon) = reach.daemon.get() else {
            say(Level::Info, "stopped before all was read");
            reach.end(0);
        };
        match first {
            None => {
                first = Some(Instant::now());
                daemon.stopping.store(true, Relaxed);
                let _ = reach.commands.send(Command::End);
                reach.bell.ring(Event::Stop);
                say(Level::Info, "stopping, after what is being answered");
            }
            Some(first) if first.elapsed() < APART => {}
            Some(_) => {
                say(Level::Warn, "stopping at once");
                reach.end(1);
            }
        }
    }
}
