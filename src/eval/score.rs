//! The official scorer of SQuAD 2.0, `evaluate-v2.0.py`: the same figures, under the same names, in the same order.
//!
//! - Texts are normalised by [`normalise`]. `exact` is 1 if prediction and gold are then equal, `f1` is the harmonic mean of
//!   precision and recall of their words. Of several golds the best counts; golds of which nothing is left by normalising do
//!   not count, and without any gold the empty text is right.
//! - With a threshold, a prediction whose null odds exceed it counts as no answer.
//! - `best_exact` and `best_f1` are what the *given* predictions score at the best possible threshold, whatever threshold was
//!   applied to the other figures: all questions unanswered first, then answered in ascending order of null odds. Only a
//!   strictly better score moves the threshold from where it was, at first 0. Predictions that are already empty, because
//!   the decoder applied a threshold, stay so.
//!
//! Predictions and null odds of other questions are ignored. A question without a prediction is an error, where the script
//! prints a line and then mostly fails. Numbers are added up in the order of the file, so figures are equal to the last bit
//! to those of Python up to 3.11; later versions round sums better.

use std::collections::HashMap;

use indexmap::IndexMap;
use serde::ser::{Serialize, SerializeMap, Serializer};
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use super::{Dataset, EvalError, Question};

/// Texts by question id, in the order of their file. Of equal ids the last counts, at the place of the first.
pub type Predictions = IndexMap<String, String>;
/// Null odds by question id, in the order of their file, which decides between equal ones. Else as [`Predictions`].
pub type NullOdds = IndexMap<String, f64>;

/// What one prediction scores, each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    /// 1 if the prediction is a gold, else 0.
    pub exact: f64,
    /// Overlap of words with the best gold.
    pub f1: f64,
}

/// Scores of a group of questions, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Share of predictions that are golds.
    pub exact: f64,
    /// Mean overlap.
    pub f1: f64,
    /// Number of questions.
    pub total: usize,
}

/// The best that a threshold can make of the predictions, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Highest `exact`.
    pub exact: f64,
    /// Null odds above which there is no answer, for that.
    pub exact_thresh: f64,
    /// Highest `f1`.
    pub f1: f64,
    /// Null odds above which there is no answer, for that.
    pub f1_thresh: f64,
}

/// What the official scorer prints; serialises as it does.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// All questions.
    pub all: Summary,
    /// Those with an answer, if there are any.
    pub has_answer: Option<Summary>,
    /// Those without, if there are any.
    pub no_answer: Option<Summary>,
    /// If null odds are known.
    pub best: Option<Best>,
}

/// One figure of [`Metrics::rows`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// A percentage or a threshold.
    Number(f64),
    /// A number of questions.
    Count(usize),
}

impl Metrics {
    /// Scores `predictions` for all questions of `dataset`. With `threshold`, those whose `null_odds` exceed it count as no
    /// answer; without null odds it has no effect.
    ///
    /// # Errors
    /// [`EvalError::MissingPrediction`], [`EvalError::MissingNullOdds`], or [`EvalError::NoQuestion`].
    pub fn new(
        dataset: &Dataset,
        predictions: &Predictions,
        null_odds: Option<&NullOdds>,
        threshold: Option<f64>,
    ) -> Result<Self, EvalError> {
        let raw = raw_scores(dataset, predictions)?;
        let mut scores = raw.clone();
        if let Some(null_odds) = null_odds {
            let odds = odds_of(dataset, null_odds)?;
            if let Some(threshold) = threshold {
                for ((score, question), odds) in scores.iter_mut().zip(dataset.questions()).zip(odds) {
                    if odds > threshold {
                        let right = f64::from(!question.has_answer());
                        *score = Scores { exact: right, f1: right };
                    }
                }
            }
        }
        let scored = || dataset.questions().zip(scores.iter().copied());
        let part = |answer: bool| Summary::of(scored().filter(|(q, _)| q.has_answer() == answer).map(|(_, s)| s));
        let all = Summary::of(scored().map(|(_, score)| score));
        Ok(Self {
            all: all.ok_or_else(|| EvalError::NoQuestion { file: dataset.file.clone() })?,
            has_answer: part(true),
            no_answer: part(false),
            best: null_odds.map(|null_odds| Best::of(dataset, &raw, predictions, null_odds)),
        })
    }

    /// All figures with their official names, in the official order.
    pub fn rows(&self) -> Vec<(&'static str, Figure)> {
        let summary = |names: [&'static str; 3], s: Summary| {
            names.into_iter().zip([Figure::Number(s.exact), Figure::Number(s.f1), Figure::Count(s.total)])
        };
        let mut rows: Vec<_> = summary(["exact", "f1", "total"], self.all).collect();
        rows.extend(
            self.has_answer.into_iter().flat_map(|s| summary(["HasAns_exact", "HasAns_f1", "HasAns_total"], s)),
        );
        rows.extend(self.no_answer.into_iter().flat_map(|s| summary(["NoAns_exact", "NoAns_f1", "NoAns_total"], s)));
        if let Some(best) = self.best {
            rows.extend([
                ("best_exact", Figure::Number(best.exact)),
                ("best_exact_thresh", Figure::Number(best.exact_thresh)),
                ("best_f1", Figure::Number(best.f1)),
                ("best_f1_thresh", Figure::Number(best.f1_thresh)),
            ]);
        }
        rows
    }
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = self.rows();
        let mut map = serializer.serialize_map(Some(rows.len()))?;
        for (name, figure) in rows {
            match figure {
                Figure::Number(number) => map.serialize_entry(name, &number)?,
                Figure::Count(count) => map.serialize_entry(name, &count)?,
            }
        }
        map.end()
    }
}

impl Summary {
    /// `None` without any question.
    fn of(scores: impl Iterator<Item = Scores>) -> Option<Self> {
        let (mut exact, mut f1, mut total) = (0.0, 0.0, 0);
        for score in scores {
            exact += score.exact;
            f1 += score.f1;
            total += 1;
        }
        let percent = |sum: f64| 100.0 * sum / total as f64;
        (total > 0).then(|| Self { exact: percent(exact), f1: percent(f1), total })
    }
}

impl Best {
    fn of(dataset: &Dataset, raw: &[Scores], predictions: &Predictions, null_odds: &NullOdds) -> Self {
        // What answering a question changes, compared with leaving it unanswered.
        let change = |question: &Question, score: f64| match predictions.get(&question.id) {
            _ if question.has_answer() => score,
            Some(text) if !text.is_empty() => -1.0,
            _ => 0.0,
        };
        let questions: HashMap<&str, (&Question, Scores)> =
            dataset.questions().zip(raw).map(|(question, &score)| (question.id.as_str(), (question, score))).collect();
        let mut ascending: Vec<(f64, &Question, Scores)> = null_odds
            .iter()
            .filter_map(|(id, &odds)| questions.get(id.as_str()).map(|&(question, score)| (odds, question, score)))
            .collect();
        // Stable; both zeros are equal, as in Python.
        ascending.sort_by(|(a, ..), (b, ..)| (a + 0.0).total_cmp(&(b + 0.0)));
        let sweep = |of: fn(Scores) -> f64| {
            let mut score = dataset.questions().filter(|question| !question.has_answer()).count() as f64;
            let (mut best, mut threshold) = (score, 0.0);
            for &(odds, question, scores) in &ascending {
                score += change(question, of(scores));
                if score > best {
                    (best, threshold) = (score, odds);
                }
            }
            (100.0 * best / raw.len() as f64, threshold)
        };
        let ((exact, exact_thresh), (f1, f1_thresh)) = (sweep(|s| s.exact), sweep(|s| s.f1));
        Self { exact, exact_thresh, f1, f1_thresh }
    }
}

/// What each prediction scores, in the order of the questions and without any threshold.
///
/// # Errors
/// [`EvalError::MissingPrediction`].
pub fn raw_scores(dataset: &Dataset, predictions: &Predictions) -> Result<Vec<Scores>, EvalError> {
    let found = dataset.questions().map(|question| Some(Scores::of(predictions.get(&question.id)?, &question.golds)));
    all_or_first_missing(dataset, found).map_err(|(id, missing, total)| EvalError::MissingPrediction {
        id,
        missing,
        total,
    })
}

fn odds_of(dataset: &Dataset, null_odds: &NullOdds) -> Result<Vec<f64>, EvalError> {
    let found = dataset.questions().map(|question| null_odds.get(&question.id).copied());
    all_or_first_missing(dataset, found).map_err(|(id, missing, total)| EvalError::MissingNullOdds {
        id,
        missing,
        total,
    })
}

/// All values, or the id of the first question without, how many of them there are, and the number of questions.
fn all_or_first_missing<T>(
    dataset: &Dataset,
    values: impl Iterator<Item = Option<T>>,
) -> Result<Vec<T>, (String, usize, usize)> {
    let (mut found, mut first, mut missing) = (Vec::new(), None, 0);
    for (question, value) in dataset.questions().zip(values) {
        match value {
            Some(value) => found.push(value),
            None => {
                first.get_or_insert(&question.id);
                missing += 1;
            }
        }
    }
    first.map_or(Ok(found), |id| Err((id.clone(), missing, dataset.question_count())))
}

impl Scores {
    /// Scores a prediction against all golds of a question.
    pub fn of<S: AsRef<str>>(prediction: &str, golds: &[S]) -> Self {
        let prediction = normalise(prediction);
        let mut golds: Vec<String> =
            golds.iter().map(|gold| normalise(gold.as_ref())).filter(|gold| !gold.is_empty()).collect();
        if golds.is_empty() {
            golds.push(String::new());
        }
        golds.iter().fold(Self::default(), |best, gold| Self {
            exact: best.exact.max(f64::from(*gold == prediction)),
            f1: best.f1.max(f1(gold, &prediction)),
        })
    }
}

/// Overlap of the words of two normalised texts.
fn f1(gold: &str, prediction: &str) -> f64 {
    let words = |text: &str| text.split(' ').filter(|word| !word.is_empty()).count();
    let (golds, predicted) = (words(gold), words(prediction));
    if golds == 0 || predicted == 0 {
        return f64::from(golds == predicted);
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    gold.split(' ').for_each(|word| *left.entry(word).or_default() += 1);
    let mut same = 0;
    for word in prediction.split(' ') {
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            same += 1;
        }
    }
    if same == 0 {
        return 0.0;
    }
    let (precision, recall) = (f64::from(same) / predicted as f64, f64::from(same) / golds as f64);
    (2.0 * precision * recall) / (precision + recall)
}

/// `text` in lower case, without ASCII punctuation, without the words a, an and the, and with single spaces between its
/// words, in this order and with Python's idea of words and white space.
pub fn normalise(text: &str) -> String {
    let mut plain = text.to_lowercase();
    plain.retain(|c| !c.is_ascii_punctuation());
    let mut spaced = String::with_capacity(plain.len());
    let mut rest = plain.as_str();
    while let Some(first) = rest.chars().next() {
        let in_word = is_word(first);
        let end = rest.find(|c| is_word(c) != in_word).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        spaced.push_str(if matches!(run, "a" | "an" | "the") { " " } else { run });
        rest = after;
    }
    spaced.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Python's `\w`: letters, numbers and the underscore, but no combining marks.
fn is_word(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    matches!(c.general_category_group(), GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number)
}

/// Python's white space: that of Unicode and the four ASCII separators.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_spaces_are_those_of_python() {
        for word in ['a', '_', '7', 'ß', '²', '½', 'Ⅳ', '京', '\u{2bb}', 'ª'] {
            assert!(is_word(word), "{word:?}");
        }
        for other in ['-', ' ', '\u{301}', '\u{345}', 'ⓐ', '\u{93e}', '’', '\u{200d}', '🦉'] {
            assert!(!is_word(other), "{other:?}");
        }
        for space in ['\t', '\u{b}', '\x1c', '\x1f', '\u{85}', '\u{a0}', '\u{2028}', '\u{3000}'] {
            assert!(is_space(space), "{space:?}");
        }
        assert!(!is_space('\u{200b}') && !is_space('\u{feff}') && !is_space('\x1b'));
    }

    #[test]
    fn the_best_gold_counts() {
        let golds = ["the", "two seals", "two grey seals"];
        assert_eq!(Scores::of("Two seals!", &golds), Scores { exact: 1.0, f1: 1.0 });
        assert_eq!(Scores::of("seals", &golds), Scores { exact: 0.0, f1: 2.0 / 3.0 });
        assert_eq!(Scores::of("", &golds), Scores { exact: 0.0, f1: 0.0 }, "\"the\" does not count");
        assert_eq!(Scores::of("", &["the"]), Scores { exact: 1.0, f1: 1.0 }, "nothing else is left");
        assert_eq!(Scores::of::<&str>("an", &[]), Scores { exact: 1.0, f1: 1.0 });
    }
}
