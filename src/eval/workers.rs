//! Threads that each do part of a work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::EvalError;

/// What `work`, called by each of so many threads, returns, all together and in no order. `stop` is set if not all of them can be started,
/// so that those at work end.
///
/// # Errors
/// [`EvalError::Thread`] if the system starts no more threads.
pub fn on_threads<T: Send>(
    threads: usize,
    stop: &AtomicBool,
    work: impl Fn() -> Vec<T> + Sync,
) -> Result<Vec<T>, EvalError> {
    thread::scope(|scope| {
        let mut workers = Vec::with_capacity(threads);
        for thread in 1..=threads {
            match thread::Builder::new().spawn_scoped(scope, &work) {
                Ok(worker) => workers.push(worker),
                Err(source) => {
                    stop.store(true, Ordering::Relaxed);
                    return Err(EvalError::Thread { thread, threads, source });
                }
            }
        }
        let results = workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        Ok(results.collect())
    })
}
