//! The thread that tests the daemon for systemd's watchdog.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::Daemon;
use super::notify::Notify;
use super::pool::Work;
use crate::errors::one_line;

/// How many self-tests begin in the time of the watchdog. What systemd has to wait for from one to the next is this part of that time, and a
/// question that is being answered, which may take half of it.
const TESTS: u32 = 4;
/// The part of the time that is for what else may take time.
const SPARE: u32 = 20;

/// Asks the model in use something, again and again, and tells systemd if that works, which wants to hear it in every `interval`. Ends
/// with whatever `end` ends with.
pub fn watch(daemon: &Arc<Daemon>, notify: &Notify, interval: Duration, end: &Receiver<()>) {
    while end.recv_timeout(interval / TESTS) == Err(RecvTimeoutError::Timeout) {
        test(daemon, notify, interval);
    }
}

/// Asks the model in use, through the line in which questions wait, and tells systemd if that works.
fn test(daemon: &Daemon, notify: &Notify, interval: Duration) {
    let model = daemon.model.get();
    let (send, receive) = channel();
    daemon.line.push_urgent(Work::SelfTest(send));
    // What is left of the time when a test begins.
    let wait = interval - interval / TESTS - interval / SPARE;
    let problem = match receive.recv_timeout(wait) {
        Ok(Ok(())) => None,
        Ok(Err(problem)) => Some(one_line(&problem)),
        Err(RecvTimeoutError::Timeout) => Some(format!("there was no answer within {} s", wait.as_secs_f64())),
        // Nobody answers any more: the daemon is being stopped.
        Err(RecvTimeoutError::Disconnected) => return,
    };
    if problem.is_some() && !Arc::ptr_eq(&model, &daemon.model.get()) {
        // Another model answers by now, which has been tested.
        return;
    }
    daemon.metrics.self_tests[usize::from(problem.is_some())].fetch_add(1, Relaxed);
    let was_healthy = daemon.set_healthy(problem.is_none());
    match problem {
        None => {
            notify.alive();
            if !was_healthy {
                log::info!("the self-test has passed again");
                notify.status(&daemon.status());
            }
        }
        Some(problem) => {
            log::error!("the self-test failed: {problem}");
            notify.status(&format!("the self-test failed: {problem}"));
        }
    }
}
