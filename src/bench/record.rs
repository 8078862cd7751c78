//! What was measured, with what it takes to judge it; written and read as JSON.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::BenchError;
use super::host::Host;
use super::state::State;
use super::stats::Summary;
use crate::numbers::DAY;

/// What a record says it is.
pub const FORMAT: &str = "edgeqa-bench";
/// The version of the format.
pub const VERSION: u64 = 1;

/// A measurement of one machine. Times are in seconds, memory in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub format_version: u64,
    /// When it began, in UTC.
    pub date: String,
    /// The program.
    pub program: Program,
    /// The model.
    pub model: Model,
    /// How it was measured.
    pub settings: Settings,
    /// The machine.
    pub host: Host,
    /// Its state before.
    pub before: State,
    /// Its state after.
    pub after: State,
    /// What slowed the machine down meanwhile; empty if nothing is known to have.
    pub throttled: Vec<String>,
    /// How much of all CPUs' time the hypervisor gave to other guests.
    pub steal: Option<f64>,
    /// How much of all CPUs' time other programs used.
    pub others: Option<f64>,
    /// What makes the figures doubtful.
    pub warnings: Vec<String>,
    /// The limit on memory, if there was one.
    pub limit: Option<MemoryLimit>,
    /// Loading the model.
    pub load: Starts,
    /// From the start of `edgeqa ask` to its answer.
    pub first_answer: Starts,
    /// The median time of that question in a process that is warm.
    pub first_answer_warm: Option<f64>,
    /// Sequences of given lengths.
    pub points: Vec<Point>,
    /// Questions on a text.
    pub questions: Vec<Questions>,
}

/// The program that was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// What it was built for.
    pub target: String,
    /// Its size.
    pub bytes: u64,
    /// Its checksum.
    pub sha256: String,
}

/// The model that was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// As given.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// The checksum of the file.
    pub sha256: String,
    /// The checksum of its tensor data, as other commands show it; older records have none.
    pub data_sha256: Option<String>,
    /// Its shape, for people.
    pub shape: String,
}

/// How it was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Runs before those that count, in every process.
    pub warm_up: usize,
    /// Least number of runs of a point.
    pub min_runs: usize,
    /// Least time of a point.
    pub min_seconds: f64,
    /// Processes among which the runs of a point are divided.
    pub rounds: usize,
    /// How often loading and starting were measured.
    pub starts: usize,
    /// Whether threads stay on CPUs of their own.
    pub pinned: bool,
    /// Where the text is from.
    pub text: String,
    /// Its length in bytes.
    pub text_bytes: usize,
    /// Its checksum; older records have none.
    pub text_sha256: Option<String>,
    /// Questions asked about it.
    pub questions: usize,
    /// The checksum of the questions, one per line; older records have none.
    pub questions_sha256: Option<String>,
}

/// A limit on memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryLimit {
    /// The limit.
    pub bytes: u64,
    /// Who enforced it.
    pub by: String,
    /// What counted.
    pub meaning: String,
    /// What makes its effect doubtful.
    pub doubt: Option<String>,
    /// How many processes the system killed for it.
    pub kills: Option<u64>,
    /// The most that was used of it.
    pub peak: Option<u64>,
}

/// Something that happens once in a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Starts {
    /// With how many threads; older records do not say it.
    pub threads: Option<usize>,
    /// With the files in the page cache.
    pub warm: Vec<f64>,
    /// With the model dropped from the page cache.
    pub cold: Vec<f64>,
    /// What is to be known about `cold`.
    pub note: Option<String>,
    /// Why there is nothing.
    pub failure: Option<String>,
}

/// Sequences of one length, on a number of threads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Tokens of a sequence.
    pub tokens: usize,
    /// Threads that shared each run.
    pub threads: usize,
    /// What was measured.
    #[serde(flatten)]
    pub runs: Runs,
    /// Tokens per second, at the median.
    pub tokens_per_second: Option<f64>,
}

/// Questions about the text, from question and text to answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Questions {
    /// Threads that shared each question.
    pub threads: usize,
    /// What was measured: every run is one question.
    #[serde(flatten)]
    pub runs: Runs,
    /// Questions per second, on average.
    pub per_second: Option<f64>,
}

/// The same thing, again and again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Runs {
    /// All times, by process, in the order they were taken.
    pub seconds: Vec<Vec<f64>>,
    /// Their figures.
    pub summary: Option<Summary>,
    /// CPU time over wall time and threads: below 1, threads waited.
    pub cpu_share: Option<f64>,
    /// Of the process that used most.
    pub memory: Option<Memory>,
    /// Page faults per run that were served from memory.
    pub minor_faults: Option<f64>,
    /// Page faults per run that waited for the disk.
    pub major_faults: Option<f64>,
    /// Why there are no, or too few, times.
    pub failure: Option<String>,
}

impl Runs {
    /// All times.
    pub fn all(&self) -> Vec<f64> {
        self.seconds.concat()
    }
}

/// The memory of a process after its last run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The most that was in memory at any time, pages of mapped files included.
    pub peak: u64,
    /// In memory.
    pub resident: u64,
    /// The same, with shared pages divided among those who share them.
    pub pss: u64,
    /// Written by this process: cannot be dropped.
    pub private_dirty: u64,
}

impl Record {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`BenchError::Read`], [`BenchError::Record`] or [`BenchError::Version`].
    pub fn read(path: &Path) -> Result<Self, BenchError> {
        let bytes = fs::read(path).map_err(|source| BenchError::Read { path: path.to_owned(), source })?;
        let refuse = |problem: String| BenchError::Record { path: path.to_owned(), problem };
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
        if value["format"] != FORMAT {
            return Err(refuse(format!("it does not say \"format\": \"{FORMAT}\"")));
        }
        match value["format_version"].as_u64() {
            Some(VERSION) => {}
            Some(found) => return Err(BenchError::Version { path: path.to_owned(), found, known: VERSION }),
            None => return Err(refuse("it has no format_version".into())),
        }
        let record: Self = serde_path_to_error::deserialize(value)
            .map_err(|error| refuse(format!("{}: {}", error.path(), error.inner())))?;
        if record.has_absurd_times() {
            return Err(refuse("a time is not from a nanosecond to a day".into()));
        }
        Ok(record)
    }

    fn has_absurd_times(&self) -> bool {
        let absurd = |times: &[f64]| times.iter().any(|time| !(1e-9..=DAY).contains(time));
        let runs = self.points.iter().map(|point| &point.runs).chain(self.questions.iter().map(|point| &point.runs));
        let starts = [&self.load, &self.first_answer];
        runs.flat_map(|runs| &runs.seconds).any(|times| absurd(times))
            || starts.iter().any(|starts| absurd(&starts.warm) || absurd(&starts.cold))
    }

    /// As JSON.
    ///
    /// # Errors
    /// None that could happen with such data.
    pub fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}
