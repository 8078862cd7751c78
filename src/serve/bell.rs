//! How other threads wake the loop that sleeps in `poll(2)`.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use super::pool::Outcome;

/// What the loop is told by other threads.
#[derive(Debug)]
pub enum Event {
    /// A question of a connection has its outcome.
    Done {
        /// The connection.
        connection: u64,
        /// The question.
        number: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// To stop, after what is being answered.
    Stop,
}

/// Tells the loop something and wakes it.
#[derive(Clone, Debug)]
pub struct Bell {
    events: Sender<Event>,
    wake: Arc<OwnedFd>,
}

impl Bell {
    /// A bell, and what the loop needs to hear it.
    ///
    /// # Errors
    /// If the system has no event descriptor left.
    pub fn new() -> io::Result<(Self, Receiver<Event>)> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (events, receiver) = channel();
        Ok((Self { events, wake }, receiver))
    }

    /// Tells the loop; nothing happens if it is over.
    pub fn ring(&self, event: Event) {
        if self.events.send(event).is_ok() {
            // Full means that it is awake already.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }

    /// Makes it silent until it rings again.
    pub fn silence(&self) {
        // Empty means that it has not rung.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }
}

/// Readable while the bell rings.
impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
