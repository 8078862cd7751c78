//! Independent jobs on all usable CPUs.

use std::sync::Mutex;
use std::thread;

use edgeqa::threads::Threads;

/// Calls `work` once per job, on as many threads as there are usable CPUs, in no particular order.
pub fn for_each<T: Send>(jobs: Vec<T>, work: impl Fn(T) + Sync) {
    let threads = Threads::usable_cpus().get().min(jobs.len());
    let queue = Mutex::new(jobs.into_iter());
    let next = || queue.lock().ok().and_then(|mut jobs| jobs.next());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(job) = next() {
                    work(job);
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_job_is_done_once() {
        let mut done = vec![0; 100];
        super::for_each(done.iter_mut().enumerate().collect(), |(i, slot)| *slot += i + 1);
        assert_eq!(done, (1..=100).collect::<Vec<_>>());
        super::for_each(Vec::<u8>::new(), |_| unreachable!());
    }
}
