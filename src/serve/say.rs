//! Messages of threads that must not stand still because nobody reads the log.

use std::thread;
use std::time::{Duration, Instant};

use log::Level;

/// How long a message waits for whoever reads the log.
const PATIENCE: Duration = Duration::from_millis(100);

/// Logs, without waiting long for whoever reads the log.
pub fn say(level: Level, message: impl Into<String>) {
    if !log::log_enabled!(level) {
        return;
    }
    let message = message.into();
    let Ok(said) = thread::Builder::new().spawn(move || log::log!(level, "{message}")) else { return };
    let started = Instant::now();
    while !said.is_finished() && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
}
