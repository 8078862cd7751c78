//! Worker threads that sleep when there is nothing to do.
//!
//! Waking a thread takes as long as many an operator, so threads do not sleep between the parts of one run: within
//! [`Threads::run`], and while they wait for the last part of [`Threads::for_each`], they look for work again and again, after
//! some microseconds letting other programs go first.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// A number of threads to share work between. Clones share the same threads.
#[derive(Clone, Debug)]
pub struct Threads {
    /// `None` for the calling thread alone.
    pool: Option<Arc<Pool>>,
}

#[derive(Debug)]
struct Pool {
    threads: rayon::ThreadPool,
    /// Whether each thread can have a CPU. Else those that stay awake keep others from the work.
    can_wait: bool,
    /// Whether a run keeps the threads awake. Two at a time could wait for each other.
    awake: AtomicBool,
}

/// Why there are no threads.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot start {count} threads: {source}; ask for fewer, or raise the limits on memory (`ulimit -d`, `-v`) and processes (`-u`)"
)]
pub struct ThreadsError {
    /// Threads asked for.
    count: NonZeroUsize,
    source: rayon::ThreadPoolBuildError,
}

impl Default for Threads {
    /// The calling thread alone.
    fn default() -> Self {
        Self::one()
    }
}

impl Threads {
    /// The calling thread alone.
    pub fn one() -> Self {
        Self { pool: None }
    }

    /// `count` threads. With `pin`, thread `i` stays on the `i`-th CPU that this process may use (where the system allows it);
    /// without, the system moves them as it likes.
    ///
    /// # Errors
    /// If the system starts no more threads.
    pub fn new(count: NonZeroUsize, pin: bool) -> Result<Self, ThreadsError> {
        let cpus = if pin { core_affinity::get_core_ids().unwrap_or_default() } else { Vec::new() };
        if !cpus.is_empty() && count.get() > cpus.len() {
            log::warn!("{count} threads cannot have a CPU each, as there are {}: some share one (--pin)", cpus.len());
        }
        if count.get() == 1 && cpus.is_empty() {
            return Ok(Self::one());
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count.get())
            .thread_name(|i| format!("edgeqa-{i}"))
            .start_handler(move |i| {
                if let Some(cpu) = cpus.get(i % cpus.len().max(1))
                    && !core_affinity::set_for_current(*cpu)
                {
                    log::warn!("thread {i} could not be pinned to CPU {}", cpu.id);
                }
            })
            .build()
            .map_err(|source| ThreadsError { count, source })?;
        let can_wait = count <= Self::usable_cpus();
        Ok(Self { pool: Some(Arc::new(Pool { threads: pool, can_wait, awake: AtomicBool::new(false) })) })
    }

    /// The number of CPUs that this process may use.
    pub fn usable_cpus() -> NonZeroUsize {
        thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }

    /// The number of physical cores, or of the CPUs that this process may use if these are fewer.
    pub fn default_count() -> NonZeroUsize {
        default_of(num_cpus::get_physical(), Self::usable_cpus())
    }

    /// How many threads share the work.
    pub fn count(&self) -> usize {
        self.pool.as_ref().map_or(1, |pool| pool.threads.current_num_threads())
    }

    /// Into how many parts to cut `len` items: one for each thread or, if no part gets fewer than `least`, up to four, so that a
    /// thread that is held up leaves some of its share to the others.
    pub fn parts(&self, len: usize, least: usize) -> usize {
        match self.count() {
            1 => 1,
            threads => threads * (len / (least * threads)).clamp(1, 4),
        }
    }

    /// Into how many parts to cut rows that little is done with, such as quantising them: one for each thread, but of eight rows or more,
    /// as fewer take less time than waiting for another thread. All rows are one part if they are fewer.
    pub fn row_parts(&self, rows: usize) -> usize {
        (rows / 8).clamp(1, self.count())
    }

    /// Runs `f` on one of the threads. The others stay awake for the calls of [`Threads::for_each`] in it, unless another run
    /// keeps them awake already, or there are more threads than CPUs.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        let Some(pool) = &self.pool else { return f() };
        pool.threads.install(|| {
            if !pool.can_wait || pool.awake.swap(true, Ordering::AcqRel) {
                return f();
            }
            // Also if `f` panics.
            let running = AtomicBool::new(true);
            let main = pool.threads.current_thread_index();
            pool.threads.scope(|scope| {
                let _end = OnDrop(|| {
                    running.store(false, Ordering::Release);
                    pool.awake.store(false, Ordering::Release);
                });
                scope.spawn_broadcast(|_, thread| {
                    if Some(thread.index()) != main {
                        work_until(|| !running.load(Ordering::Acquire));
                    }
                });
                f()
            })
        })
    }

    /// Calls `f` on every part, each on whatever thread is free, and returns when all are done.
    pub fn for_each<T: Send>(&self, parts: &mut [T], f: impl Fn(&mut T) + Sync + Send) {
        match &self.pool {
            Some(pool) if parts.len() > 1 => pool.threads.install(|| {
                let left = AtomicUsize::new(parts.len());
                let (f, left) = (&f, &left);
                rayon::scope(|scope| {
                    for part in parts {
                        scope.spawn(move |_| {
                            let _done = OnDrop(|| {
                                left.fetch_sub(1, Ordering::Release);
                            });
                            f(part);
                        });
                    }
                    work_until(|| left.load(Ordering::Acquire) == 0);
                });
            }),
            _ => parts.iter_mut().for_each(f),
        }
    }
}

/// Does what the other threads of the pool have to do until `done`.
fn work_until(done: impl Fn() -> bool) {
    /// Looks for work before other programs may go first.
    const PATIENCE: u32 = 2000;
    let mut idle = 0;
    while !done() {
        if rayon::yield_now() == Some(rayon::Yield::Executed) {
            idle = 0;
        } else if idle < PATIENCE {
            idle += 1;
            std::hint::spin_loop();
        } else {
            thread::yield_now();
        }
    }
}

/// Calls a function when it goes, also in a panic.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Cuts `len` items into at most `parts` ranges of nearly equal length, each but the last a multiple of `unit`. None is empty.
pub fn split(len: usize, unit: usize, parts: usize) -> impl ExactSizeIterator<Item = std::ops::Range<usize>> + Clone {
    let units = len.div_ceil(unit);
    let parts = parts.clamp(1, units.max(1)).min(units);
    (0..parts).map(move |i| (units * i / parts * unit)..(units * (i + 1) / parts * unit).min(len))
}

/// Consecutive parts of `values`, of the given lengths.
///
/// # Panics
/// When a part is asked for that is not there.
pub fn cut<T>(mut values: &mut [T], lengths: impl Iterator<Item = usize>) -> impl Iterator<Item = &mut [T]> {
    lengths.map(move |length| values.split_off_mut(..length).expect("a part of the values"))
}

/// The default for so many physical cores, of which 0 says that their number is unknown.
fn default_of(cores: usize, usable: NonZeroUsize) -> NonZeroUsize {
    NonZeroUsize::new(cores).map_or(usable, |cores| cores.min(usable))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    fn count(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).expect("not 0")
    }

    #[test]
    fn every_part_is_done_once_by_any_number_of_threads() {
        for (n, pin) in [(1, false), (1, true), (2, false), (3, true), (8, false)] {
            let threads = Threads::new(count(n), pin).expect("threads");
            assert_eq!(threads.count(), n);
            for parts in [0, 1, 2, 7, 100] {
                let mut parts: Vec<usize> = (0..parts).collect();
                threads.run(|| threads.for_each(&mut parts, |part| *part += 1000));
                threads.for_each(&mut parts, |part| *part += 1000);
                assert!(parts.iter().enumerate().all(|(i, part)| *part == i + 2000), "{n} {pin}");
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_threads_live_on() {
        let threads = Threads::new(count(3), false).expect("threads");
        let fails = |parts: &mut [u32]| threads.run(|| threads.for_each(parts, |part| assert_ne!(*part, 5)));
        let panics =
            |mut parts: Vec<u32>| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fails(&mut parts))).is_err();
        for _ in 0..3 {
            assert!(panics((0..10).collect()));
            assert!(!panics(vec![1; 10]));
        }
    }

    #[test]
    fn runs_at_the_same_time_do_not_wait_for_each_other_forever() {
        let mut threads = Threads::new(count(3), false).expect("threads");
        threads.pool.as_mut().and_then(Arc::get_mut).expect("a pool of its own").can_wait = true;
        let (done, both) = channel();
        thread::spawn(move || {
            let start = Barrier::new(2);
            let work = |part: &mut i32| {
                thread::sleep(Duration::from_micros(100));
                *part += 1;
            };
            // Two threads begin a run each. Whichever waits for what the third has taken looks for work, and would find to stay awake
            // for the other.
            threads.for_each(&mut [(); 2], |()| {
                start.wait();
                for _ in 0..50 {
                    let mut parts = [0; 5];
                    threads.run(|| (0..3).for_each(|_| threads.for_each(&mut parts, work)));
                    assert_eq!(parts, [3; 5]);
                }
            });
            done.send(()).expect("the test waits");
        });
        both.recv_timeout(Duration::from_secs(60)).expect("both are done");
    }

    #[test]
    fn little_work_is_cut_for_as_many_threads_as_are_worth_it() {
        let threads = Threads::new(count(3), false).expect("threads");
        assert_eq!([0, 7, 15, 16, 24, 100].map(|rows| threads.row_parts(rows)), [1, 1, 1, 2, 3, 3]);
        assert_eq!(Threads::one().row_parts(100), 1);
    }

    #[test]
    fn ranges_cover_everything_in_order_without_empty_ones() {
        for len in 0..70 {
            for unit in [1, 3, 16] {
                for parts in 1..6 {
                    let ranges: Vec<_> = split(len, unit, parts).collect();
                    assert!(ranges.len() <= parts && ranges.iter().all(|range| !range.is_empty()));
                    assert!(ranges.iter().all(|range| range.start % unit == 0));
                    assert_eq!(ranges.into_iter().flatten().collect::<Vec<_>>(), (0..len).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn parts_are_as_many_for_every_thread_and_not_too_small() {
        assert_eq!(Threads::one().parts(1000, 48), 1);
        let threads = Threads::new(count(2), false).expect("threads");
        for (len, parts) in [(1, 2), (64, 2), (191, 2), (192, 4), (384, 8), (5000, 8)] {
            assert_eq!(threads.parts(len, 48), parts, "{len}");
        }
    }

    #[test]
    fn the_default_is_the_number_of_cores_but_no_more_than_the_process_may_use() {
        for (cores, usable, default) in [(4, 8, 4), (4, 2, 2), (4, 4, 4), (0, 3, 3)] {
            assert_eq!(default_of(cores, count(usable)), count(default), "{cores} cores, {usable} usable CPUs");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn pinned_threads_have_a_cpu_each() {
        let cpus = core_affinity::get_core_ids().expect("CPUs");
        for n in [1, 2, 3] {
            let threads = Threads::new(count(n), true).expect("threads");
            let pool = threads.pool.as_ref().expect("threads of their own, as the caller's is not pinned");
            let own = pool.threads.broadcast(|thread| (thread.index(), core_affinity::get_core_ids()));
            for (i, own) in own {
                assert_eq!(own, Some(vec![cpus[i % cpus.len()]]), "thread {i} of {n}");
            }
        }
    }
}
