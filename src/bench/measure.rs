//! What one process measures, in itself.

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::record::Memory;
use crate::memory;
use crate::qa::{AskOptions, QaError, Reader};
use crate::threads::Threads;

/// More runs of a process say nothing new and make large records.
pub(super) const MOST_RUNS: usize = 1000;

/// What a process is to measure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// The model file, whose name need not be UTF-8.
    pub model: OsString,
    /// Threads.
    pub threads: usize,
    /// Whether each stays on a CPU of its own.
    pub pin: bool,
    /// Runs before those that count.
    pub warm_up: usize,
    /// Least number of runs.
    pub min_runs: usize,
    /// Least time.
    pub min_seconds: f64,
    /// What is run.
    pub work: Work,
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Nothing: the model is loaded only.
    Load,
    /// The model, on these tokens.
    Sequence {
        /// Their ids.
        ids: Vec<i64>,
        /// Their types, if the model has any.
        types: Option<Vec<i64>>,
    },
    /// Questions, asked in turn, and answered from a text.
    Questions {
        /// The questions.
        questions: Vec<String>,
        /// The text.
        text: String,
    },
}

/// What a process has measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// From opening the model to being ready.
    pub load_seconds: f64,
    /// Of every run.
    pub seconds: Vec<f64>,
    /// CPU time of all threads, over all runs.
    pub cpu_seconds: f64,
    /// Page faults of all runs that were served from memory.
    pub minor_faults: Option<u64>,
    /// Those that waited for the disk.
    pub major_faults: Option<u64>,
    /// Memory after the last run.
    pub memory: Option<Memory>,
}

/// Measures `task` in this process, which must have done nothing else.
///
/// # Errors
/// [`QaError`] if the model cannot be used, or not on this text.
pub fn measure(task: &Task, threads: Threads) -> Result<Measured, QaError> {
    let started = Instant::now();
    let reader = Reader::open(Path::new(&task.model))?.on(threads);
    let mut measured = Measured { load_seconds: started.elapsed().as_secs_f64(), ..Measured::default() };
    match &task.work {
        Work::Load => {}
        Work::Sequence { ids, types } => {
            measured.repeat(task, |_| Ok(reader.model().logits(ids, types.as_deref()).map(drop)?))?;
        }
        Work::Questions { questions, text } => {
            let options = AskOptions::default();
            measured.repeat(task, |run| match questions.get(run % questions.len().max(1)) {
                Some(question) => reader.ask(question, text, &options).map(drop),
                None => Ok(()),
            })?;
        }
    }
    measured.memory = memory::usage().zip(memory::peak()).map(|(usage, peak)| Memory {
        peak,
        resident: usage.resident,
        pss: usage.pss,
        private_dirty: usage.private_dirty,
    });
    Ok(measured)
}

impl Measured {
    fn repeat(&mut self, task: &Task, mut run: impl FnMut(usize) -> Result<(), QaError>) -> Result<(), QaError> {
        for warm_up in 0..task.warm_up {
            run(warm_up)?;
        }
        self.seconds.reserve(MOST_RUNS);
        let (faults, cpu, began) = (memory::faults(), cpu_seconds(), Instant::now());
        while self.seconds.len() < task.min_runs
            || began.elapsed().as_secs_f64() < task.min_seconds && self.seconds.len() < MOST_RUNS
        {
            let started = Instant::now();
            run(self.seconds.len())?;
            self.seconds.push(started.elapsed().as_nanos().max(1) as f64 / 1e9);
        }
        self.cpu_seconds = cpu_seconds() - cpu;
        if let (Some(before), Some(after)) = (faults, memory::faults()) {
            self.minor_faults = Some(after.minor - before.minor);
            self.major_faults = Some(after.major - before.major);
        }
        Ok(())
    }
}

/// CPU time of this process, all threads together.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
