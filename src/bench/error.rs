//! Why something was not measured or compared.

use std::io;
use std::path::PathBuf;

/// Why something was not measured or compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A length that the model does not take.
    #[error("--lengths {length}: this model takes {min} to {max} tokens of this question and text")]
    Length {
        /// The length.
        length: usize,
        /// The shortest that can be measured.
        min: usize,
        /// The longest.
        max: usize,
    },
    /// A question cannot be asked.
    #[error("cannot ask {question:?}: {problem}")]
    Question {
        /// The beginning of the question.
        question: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no record.
    #[error("{path} is no record of edgeqa bench: {problem}; make one with edgeqa bench --out FILE")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A record of another version.
    #[error(
        "{path} has version {found} of the format, and this program reads version {known}; measure again, or compare with the program that wrote it"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// That of this program.
        known: u64,
    },
    /// Two records have no point in common.
    #[error(
        "{first} and {second} have no point (tokens and threads) in common; measure both with the same --lengths and --threads"
    )]
    NothingInCommon {
        /// A record.
        first: String,
        /// Another one.
        second: String,
    },
    /// The program cannot be started for a measurement.
    #[error("cannot start this program again to measure: {0}")]
    Start(io::Error),
    /// The text of a question cannot be put into a temporary file.
    #[error(
        "cannot write a temporary file: {0}; free some space in the folder of temporary files, or name another one with TMPDIR"
    )]
    Temporary(io::Error),
    /// Nothing could be measured.
    #[error("nothing could be measured: {0}")]
    Nothing(String),
}
