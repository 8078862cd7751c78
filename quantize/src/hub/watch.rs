//! Notices when a transfer stands still, which the client library does not.

use hf_hub::api::Progress;
use indicatif::ProgressBar;
use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

/// What a transfer says to the one who waits for it.
enum Sign<T> {
    /// Something has come.
    Moves,
    Ends(T),
}

/// The progress of a transfer: for the bar, if there is one, and for the one who waits.
pub struct Watched<T> {
    bar: ProgressBar,
    signs: Sender<Sign<T>>,
}

impl<T> Progress for Watched<T> {
    fn init(&mut self, size: usize, filename: &str) {
        Progress::init(&mut self.bar, size, filename);
    }

    fn update(&mut self, size: usize) {
        // Nobody listens any more to a transfer that was given up.
        let _ = self.signs.send(Sign::Moves);
        Progress::update(&mut self.bar, size);
    }

    fn finish(&mut self) {
        Progress::finish(&mut self.bar);
    }
}

/// Returns what `transfer` ends in, or `None` if no part of it has come for the time `limit`, or it panicked.
///
/// It runs on a thread of its own. One that is given up goes on there, with what it holds (the lock of the file), until its
/// connection ends or the process does.
///
/// # Errors
/// That of a thread that cannot be made.
pub fn watch<T: Send + 'static>(
    limit: Duration,
    bar: ProgressBar,
    transfer: impl FnOnce(Watched<T>) -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let (signs, received) = mpsc::channel();
    thread::Builder::new().name("transfer".to_owned()).spawn(move || {
        let end = transfer(Watched { bar, signs: signs.clone() });
        let _ = signs.send(Sign::Ends(end));
    })?;
    while let Ok(sign) = received.recv_timeout(limit) {
        if let Sign::Ends(end) = sign {
            return Ok(Some(end));
        }
    }
    Ok(None)
}
