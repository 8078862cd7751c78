//! The files of Hugging Face's SQuAD scripts, which the official scorer reads: `predictions.json`,
//! `nbest_predictions.json` and `null_odds.json`, each an object with an entry per question, in the order of the questions.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::dataset::{parse, read};
use super::score::{Metrics, NullOdds, Predictions};
use super::{EvalError, NBestEntry, Prediction};
use crate::object::Object;
use crate::replace::{replace, writable};

/// Answers by id.
pub const PREDICTIONS: &str = "predictions.json";
/// N-best lists by id, with "no answer" as an entry whose text is empty.
pub const N_BEST: &str = "nbest_predictions.json";
/// Null odds by id.
pub const NULL_ODDS: &str = "null_odds.json";
/// The figures, as the official scorer writes them.
pub const METRICS: &str = "eval.json";

/// All that is known of the run.
pub const REPORT: &str = "run.json";

/// The answers as the scorer takes them.
pub fn texts(predictions: &[Prediction]) -> Predictions {
    predictions.iter().map(|p| (p.id.clone(), p.text.clone())).collect()
}

/// The null odds as the scorer takes them.
pub fn null_odds(predictions: &[Prediction]) -> NullOdds {
    predictions.iter().map(|p| (p.id.clone(), f64::from(p.null_odds))).collect()
}

/// Makes `folder` if it does not exist, and sees whether all files can be written there. Best done before there is anything to write.
///
/// # Errors
/// [`EvalError::Io`] with the folder that cannot be made, or the file that could not be written.
pub fn prepare(folder: &Path) -> Result<(), EvalError> {
    fs::create_dir_all(folder).map_err(|source| io_error("make the folder", folder, source))?;
    names(folder).iter().try_for_each(|target| writable(target).map_err(|source| io_error("write", target, source)))
}

/// Writes all files to `folder`, which is made if it does not exist. Each is written beside its place and renamed, so
/// whoever reads one sees the old or the new one, whole.
///
/// # Errors
/// [`EvalError::Io`] with the file that cannot be written.
pub fn write(folder: &Path, predictions: &[Prediction], metrics: &Metrics) -> Result<(), EvalError> {
    prepare(folder)?;
    let n_best: IndexMap<&str, &[NBestEntry]> =
        predictions.iter().map(|p| (p.id.as_str(), p.n_best.as_slice())).collect();
    write_one(folder, PREDICTIONS, &texts(predictions))?;
    write_one(folder, N_BEST, &n_best)?;
    write_one(folder, NULL_ODDS, &null_odds(predictions))?;
    write_one(folder, METRICS, metrics)
}

/// Writes the report on a run beside its other files.
///
/// # Errors
/// [`EvalError::Io`].
pub fn write_report(folder: &Path, report: &impl Serialize) -> Result<(), EvalError> {
    write_one(folder, REPORT, report)
}

/// All files that [`write()`] and [`write_report`] write.
pub fn names(folder: &Path) -> [PathBuf; 5] {
    [PREDICTIONS, N_BEST, NULL_ODDS, METRICS, REPORT].map(|name| folder.join(name))
}

fn write_one(folder: &Path, name: &str, content: &impl Serialize) -> Result<(), EvalError> {
    let target = folder.join(name);
    let mut json = Vec::new();
    let written = content
        .serialize(&mut Serializer::with_formatter(&mut json, PrettyFormatter::with_indent(b"    ")))
        .map_err(io::Error::from)
        .and_then(|()| {
            json.push(b'\n');
            replace(&target, &json)
        });
    written.map_err(|source| io_error("write", &target, source))
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> EvalError {
    EvalError::Io { action, path: path.to_owned(), source }
}

/// Reads predictions: a JSON object of texts by question id.
///
/// # Errors
/// [`EvalError::Io`] or [`EvalError::Json`].
pub fn read_predictions(path: &Path) -> Result<Predictions, EvalError> {
    let name = path.display().to_string();
    parse(&name, &read(path)?, "a JSON object of texts by question id").map(|Object(texts)| texts)
}

/// Reads null odds: a JSON object of numbers by question id.
///
/// # Errors
/// [`EvalError::Io`] or [`EvalError::Json`].
pub fn read_null_odds(path: &Path) -> Result<NullOdds, EvalError> {
    let name = path.display().to_string();
    parse(&name, &read(path)?, "a JSON object of numbers by question id").map(|Object(numbers)| numbers)
}
