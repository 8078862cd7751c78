//! Notices when a transfer stands still, which the client library does not.

use hf_hub::api::Progress;
use indicatif::ProgressBar;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// Into how many parts the limit is cut: while the process is stopped, no more than one of them goes by.
const PARTS: u32 = 20;

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

impl<T> Watched<T> {
    /// # Panics
    /// If the transfer was given up: it must not put a file into the cache that nobody compares any more. The client library has no
    /// other way to stop it.
    fn moves(&self) {
        assert!(self.signs.send(Sign::Moves).is_ok(), "given up");
    }
}

impl<T> Progress for Watched<T> {
    fn init(&mut self, size: usize, filename: &str) {
        self.moves();
        Progress::init(&mut self.bar, size, filename);
    }

    fn update(&mut self, size: usize) {
        self.moves();
        Progress::update(&mut self.bar, size);
    }

    fn finish(&mut self) {
        Progress::finish(&mut self.bar);
    }
}

/// Returns what `transfer` ends in, or `None` if no part of it has come for the time `limit`.
///
/// It runs on a thread of its own, and must catch panics. One that is given up keeps what it holds (the lock of the file) until the next
/// part comes, its connection ends, or the process does.
///
/// # Errors
/// That of a thread that cannot be made, or has ended without a result.
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
    let mut silent = 0;
    while silent < PARTS {
        match received.recv_timeout(limit / PARTS) {
            Ok(Sign::Ends(end)) => return Ok(Some(end)),
            Ok(Sign::Moves) => silent = 0,
            Err(RecvTimeoutError::Timeout) => silent += 1,
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("the transfer ended without a result")),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeqa::guard::guard;

    fn watched<T: Send + 'static>(
        limit: u64,
        transfer: impl FnOnce(Watched<T>) -> T + Send + 'static,
    ) -> io::Result<Option<T>> {
        watch(Duration::from_millis(limit), ProgressBar::hidden(), transfer)
    }

    #[test]
    fn what_moves_may_take_longer_than_the_limit() {
        let steady = |mut progress: Watched<u8>| {
            for _ in 0..6 {
                thread::sleep(Duration::from_millis(400));
                progress.update(1);
            }
            7
        };
        assert_eq!(watched(2000, steady).expect("a thread"), Some(7));
    }

    #[test]
    fn what_was_given_up_ends_with_the_next_part() {
        let (go, wait) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let stands = move |mut progress: Watched<()>| {
            wait.recv().expect("the word");
            tell.send(guard(|| progress.update(1))).expect("somebody listens");
        };
        assert_eq!(watched(100, stands).expect("a thread"), None);
        go.send(()).expect("it waits");
        assert_eq!(told.recv().expect("an end"), Err("given up".into()));
    }

    #[test]
    fn what_ends_without_a_result_is_no_silence() {
        // Unwinds without a message.
        assert!(watched(2000, |_: Watched<()>| std::panic::resume_unwind(Box::new(()))).is_err());
    }
}
