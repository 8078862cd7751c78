//! Everything that can go wrong between a dataset and its figures.

use std::io;
use std::path::PathBuf;

use super::Place;
use crate::qa::QaError;

/// Why there is no evaluation. Every message says what, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A file or folder cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The verb, e.g. "read".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not the JSON that it must be.
    #[error("{file}: {problem}; give {expected}")]
    Json {
        /// The file.
        file: String,
        /// Where the fault is inside of the JSON, and what it is.
        problem: String,
        /// What the file must be.
        expected: &'static str,
    },
    /// A question has an empty id.
    #[error("{file}: {place}.id is empty; every question needs an id of its own")]
    EmptyId {
        /// The file.
        file: String,
        /// The question.
        place: Place,
    },
    /// Two questions have the same id.
    #[error("{file}: {second}.id is {id:?}, as {first}.id is; every question needs an id of its own")]
    DuplicateId {
        /// The file.
        file: String,
        /// The id.
        id: String,
        /// The first question with this id.
        first: Place,
        /// The next question with this id.
        second: Place,
    },
    /// There is nothing to evaluate.
    #[error("{file}: there is no question in data[..].paragraphs[..].qas; give a SQuAD file with questions")]
    NoQuestion {
        /// The file.
        file: String,
    },
    /// An option has a value that cannot be.
    #[error("{0}")]
    Options(#[source] QaError),
    /// A question cannot be answered. "No answer" is an answer.
    #[error("cannot answer question {id:?} ({place} of {file}): {source}")]
    Question {
        /// The question's id.
        id: String,
        /// Where it stands in the file.
        place: Place,
        /// The file.
        file: String,
        /// Why.
        source: Box<QaError>,
    },
    /// The system starts no more threads.
    #[error("cannot start thread {thread} of {threads}: {source}; ask for fewer with --threads")]
    Thread {
        /// Which thread, counted from 1.
        thread: usize,
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        source: io::Error,
    },
    /// Questions without a prediction, which the official scorer cannot score either.
    #[error(
        "{missing} of {total} questions have no prediction, first {id:?}; give predictions for all of them, or choose the \
         same subset of questions"
    )]
    MissingPrediction {
        /// The first question without.
        id: String,
        /// How many there are.
        missing: usize,
        /// Questions in all.
        total: usize,
    },
    /// Questions without null odds.
    #[error("{missing} of {total} questions have no null odds, first {id:?}; give null odds for all of them, or none")]
    MissingNullOdds {
        /// The first question without.
        id: String,
        /// How many there are.
        missing: usize,
        /// Questions in all.
        total: usize,
    },
}
