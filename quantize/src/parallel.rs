//! Independent jobs on all cores.

use std::sync::Mutex;
use std::thread;

/// Calls `work` once per job, on as many threads as there are cores, in no particular order.
pub fn for_each<T: Send>(jobs: Vec<T>, work: impl Fn(T) + Sync) {
    let threads = thread::available_parallelism().map_or(1, |n| n.get()).min(jobs.len());
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
