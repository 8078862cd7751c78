//! What records that are compared do not have in common.

use super::record::{Record, Runs, Settings, Starts};
use crate::shown::count;

/// Why nothing is judged of questions.
pub const QUESTIONS: &str = "other questions";
/// Why nothing is judged of loading and starting.
pub const THREADS: &str = "other threads";

/// Whether other questions were asked, or about another text, as far as the records tell.
pub fn other_questions(a: &Settings, b: &Settings) -> bool {
    let differ = |a: &Option<String>, b: &Option<String>| a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| a != b);
    differ(&a.text_sha256, &b.text_sha256)
        || differ(&a.questions_sha256, &b.questions_sha256)
        || (a.text_bytes, a.questions) != (b.text_bytes, b.questions)
}

/// The threads that `starts` were measured with; where the record does not say so, the most of its points, with which all were.
pub fn threads_of(starts: &Starts, record: &Record) -> Option<usize> {
    let points = record.points.iter().map(|point| point.threads);
    starts.threads.or_else(|| points.chain(record.questions.iter().map(|point| point.threads)).max())
}

/// The times of a point.
pub fn find(record: &Record, tokens: usize, threads: usize) -> Option<&Runs> {
    let mut points = record.points.iter();
    points.find(|point| point.tokens == tokens && point.threads == threads).map(|point| &point.runs)
}

/// What the others do not have in common with the first of `records`.
pub fn notes<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<String> {
    let mut records = records.into_iter();
    let Some(a) = records.next() else { return Vec::new() };
    let mut notes = Vec::new();
    for (b, letter) in records.zip('B'..) {
        let mut note = |differs: bool, sentence: String| {
            if differs {
                notes.push(sentence);
            }
        };
        let limit = |record: &Record| record.limit.as_ref().map(|limit| limit.bytes);
        note(a.model.sha256 != b.model.sha256, format!("{letter} has another model than A."));
        note(limit(a) != limit(b), format!("{letter} has another limit on memory than A."));
        note(
            other_questions(&a.settings, &b.settings),
            format!("{letter} has another text or other questions than A: questions are not judged."),
        );
        let (pins, does_not) = if b.settings.pinned { (letter, 'A') } else { ('A', letter) };
        note(
            a.settings.pinned != b.settings.pinned,
            format!("{pins} kept each thread on a CPU of its own, and {does_not} did not."),
        );
        let counts = [a, b].map(|record| threads_of(&record.load, record).unwrap_or(0));
        note(
            counts[0] != counts[1] && [a, b].iter().all(|record| !record.load.warm.is_empty()),
            format!(
                "{letter} started with {}, and A with {}: load and first answer are not judged.",
                count(counts[1], "thread"),
                count(counts[0], "thread")
            ),
        );
        let lacks = |has: &Record, lacks: &Record| {
            let points = has.points.iter().filter(|point| find(lacks, point.tokens, point.threads).is_none());
            points.map(|point| format!("{} \u{d7} {}", point.tokens, point.threads)).collect::<Vec<_>>().join(", ")
        };
        for (has, without, of_a, of_b) in [(a, b, 'A', letter), (b, a, letter, 'A')] {
            let points = lacks(has, without);
            note(
                !points.is_empty(),
                format!(
                    "{of_a} was measured at points (tokens \u{d7} threads) that {of_b} lacks, which are not compared: {points}."
                ),
            );
        }
    }
    notes
}
