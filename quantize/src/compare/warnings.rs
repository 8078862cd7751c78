//! What the questions of a comparison cannot show.

use super::logits::OddsError;
use super::paired::{Answers, Comparison};

/// Questions with another F1 below which the interval rests on what is made ([`MADE`](super::bootstrap::MADE)).
const FEW_CHANGED: usize = 10;
/// Paragraphs below which intervals and standard errors are rough.
const FEW_PARAGRAPHS: usize = 30;
/// Probability by chance alone below which flips lean to one side.
const MAX_FLIPS_P: f64 = 0.01;
/// Standard errors by which the mean of the null odds may move.
const MAX_ERRORS: f64 = 3.0;

/// What a gate of `min_f1_ratio` cannot decide with these questions, or nothing can, and where int8 leans to one side.
pub fn warnings(comparison: &Comparison, min_f1_ratio: f64) -> Vec<String> {
    let Comparison { questions, paragraphs, answers, null_odds, .. } = comparison;
    let mut warnings = Vec::new();
    match (comparison.f1_ratio(), comparison.f1.ratio_interval) {
        (None, _) => warnings.push(
            "fp32 has an F1 of 0, so the ratio is undefined and no gate can be passed: give questions that the fp32 model can \
             answer, or check that it is the right model"
                .to_owned(),
        ),
        (_, None) => warnings.push(
            "the questions are too few for an interval, so chance cannot be told from loss: give more paragraphs"
                .to_owned(),
        ),
        (_, Some(interval)) => {
            let changed = answers.changed_f1();
            warnings.extend(few(*questions, *paragraphs, changed));
            warnings.extend(chance(interval, *questions, changed, min_f1_ratio));
        }
    }
    warnings.extend(flips(answers, comparison.flips_p));
    warnings.extend(shift(null_odds, *paragraphs));
    warnings
}

/// Why an interval is worth less than others; the shares are those of [`bootstrap`](super::bootstrap).
fn few(questions: usize, paragraphs: usize, changed: usize) -> impl Iterator<Item = String> {
    let changes = (changed < FEW_CHANGED).then(|| {
        let what = match changed {
            0 => format!("no F1 changed on these {questions} questions, so the interval is only"),
            _ => format!("F1 changed on only {changed} of these {questions} questions, so the interval is to a large part"),
        };
        format!(
            "{what} an allowance for changes that they do not show; without it, intervals of so few changes are too narrow (measured: \
             they hold the truth in 46 % of cases with 10 paragraphs and in 85 % with 37, instead of 95 %; with it in 98 % or more)"
        )
    });
    let paragraphs = (paragraphs < FEW_PARAGRAPHS).then(|| {
        format!(
            "{paragraphs} paragraphs are few: if each has many changes, the interval is too narrow (measured: such intervals hold the \
             truth in 84 % of cases with 2 paragraphs and in 90 % with 10, instead of 95 %)"
        )
    });
    changes.into_iter().chain(paragraphs)
}

/// A warning if the `interval` of the ratio on so many questions, of which so many have another F1, lies on both sides of the gate.
fn chance([low, high]: [f64; 2], questions: usize, changed: usize, min_f1_ratio: f64) -> Option<String> {
    let undecided = low < min_f1_ratio && min_f1_ratio <= high;
    if !undecided {
        return None;
    }
    let mut warning = format!(
        "the 95 % interval of the ratio, {low:.4} to {high:.4}, lies on both sides of the gate of {min_f1_ratio}: chance decides \
         whether it is passed"
    );
    let (width, room) = (high - low, 1.0 - min_f1_ratio);
    if 0.0 < room && room < width {
        let needed = rounded(questions as f64 * times(width / room, changed));
        warning += &format!(
            "; about {needed} questions of this kind would be needed for an interval no wider than the {room:.4} that the gate leaves"
        );
    }
    Some(warning)
}

/// How many times as many questions make the interval `narrower` times as narrow.
///
/// Of x times as many, x times as many change, and the two made changes stay: the width becomes that of now times
/// sqrt((changed x + 2) / (changed + 2)) / x. Without changes x is `narrower`, with many of them its square.
fn times(narrower: f64, changed: usize) -> f64 {
    let (square, changed) = (narrower * narrower, changed as f64);
    let half = square * changed / (2.0 * (changed + 2.0));
    half + (half * half + 2.0 * square / (changed + 2.0)).sqrt()
}

/// A warning if answers become none or none an answer more often than chance makes it.
fn flips(answers: &Answers, p: f64) -> Option<String> {
    let Answers { to_no_answer: dropped, from_no_answer: made, .. } = answers;
    (p < MAX_FLIPS_P).then(|| {
        let often = if made > dropped { "more" } else { "less" };
        format!(
            "int8 answers {often} often than fp32, beyond chance: {made} questions got an answer and {dropped} lost theirs (sign test \
             of independent questions, p = {}); its best null threshold may be another",
            probability(p)
        )
    })
}

/// A warning if the null odds move to one side more than chance makes it. Of few paragraphs the standard error says little.
fn shift(odds: &OddsError, paragraphs: usize) -> Option<String> {
    let error =
        odds.standard_error.filter(|error| paragraphs >= FEW_PARAGRAPHS && odds.mean.abs() > MAX_ERRORS * error)?;
    let (side, leaning) = if odds.mean < 0.0 { ("lower", "to answers") } else { ("higher", "to no answer") };
    Some(format!(
        "int8 leans {leaning} more than fp32, beyond chance: its null odds are {:.4} {side} on average (standard error {error:.4})",
        odds.mean.abs()
    ))
}

/// A probability to two digits.
pub(super) fn probability(p: f64) -> String {
    if p < 1e-4 { format!("{p:.0e}") } else { format!("{p:.4}") }
}

/// Two digits of a number, and zeros.
fn rounded(number: f64) -> String {
    let unit = 10f64.powf((number.max(1.0).log10().floor() - 1.0).max(0.0));
    format!("{:.0}", (number / unit).ceil() * unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::sign::p_value;

    #[test]
    fn chance_decides_only_where_the_gate_is_in_the_interval() {
        for (interval, gate) in [([0.9, 0.95], 0.99), ([0.995, 1.2], 0.99), ([0.99, 1.2], 0.99), ([1.0, 1.0], 1.0)] {
            assert_eq!(chance(interval, 100, 50, gate), None, "{interval:?}");
        }
        for (interval, changed, gate, words) in [
            ([0.75, 1.0], 0, 0.875, "0.7500 to 1.0000, lies on both sides of the gate of 0.875"),
            ([0.75, 1.0], 0, 0.875, "about 200 questions of this kind"),
            ([0.75, 1.0], 1_000_000, 0.875, "about 400 questions of this kind"),
            ([0.9, 0.95], 9, 0.95, "chance decides whether it is passed"),
            ([0.9, 1.1], 9, 1.0, "chance decides whether it is passed"),
        ] {
            let warning = chance(interval, 100, changed, gate).expect("a warning");
            assert!(warning.contains(words), "{words:?} is missing in {warning}");
        }
        // A narrow interval needs no more questions to be narrow.
        assert!(chance([0.88, 0.92], 100, 9, 0.9).is_some_and(|warning| !warning.contains("would be needed")));
    }

    #[test]
    fn more_questions_make_the_interval_as_narrow_as_is_said() {
        for changed in [0, 1, 7, 300] {
            for narrower in [1.0, 1.5, 4.0, 30.0] {
                let (x, c) = (times(narrower, changed), changed as f64);
                let width = ((c * x + 2.0) / (c + 2.0)).sqrt() / x;
                assert!((width * narrower - 1.0).abs() < 1e-12, "{changed} {narrower}: {x}");
            }
        }
    }

    #[test]
    fn few_changes_and_few_paragraphs_are_named() {
        let named = |questions, paragraphs, changed| few(questions, paragraphs, changed).collect::<Vec<_>>();
        assert_eq!(named(352, 30, 10), Vec::<String>::new());
        let warnings = named(352, 29, 9);
        assert!(warnings[0].starts_with("F1 changed on only 9 of these 352 questions"), "{warnings:?}");
        assert!(warnings[1].starts_with("29 paragraphs are few"), "{warnings:?}");
        let warnings = named(352, 37, 0);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("no F1 changed on these 352 questions"), "{warnings:?}");
    }

    #[test]
    fn leanings_beyond_chance_are_named() {
        let leaning = |to_no_answer, from_no_answer| {
            let answers = Answers { to_no_answer, from_no_answer, ..Answers::default() };
            flips(&answers, p_value(to_no_answer, from_no_answer))
        };
        // 2 * 11 / 1024 and 2 / 128 are above 0.01, 2 / 256 is below.
        assert_eq!((leaning(1, 9), leaning(9, 1), leaning(7, 0), leaning(0, 0)), (None, None, None, None));
        assert!(leaning(8, 0).is_some_and(|w| w.contains("less often") && w.contains("0 questions got")));
        assert!(leaning(0, 8).is_some_and(|w| w.contains("more often") && w.contains("p = 0.0078")));
        let moved =
            |mean, error, paragraphs| shift(&OddsError { mean, standard_error: error, rms: 1.0, max: 1.0 }, paragraphs);
        assert_eq!((moved(0.3, Some(0.1), 30), moved(0.4, Some(0.1), 29), moved(0.4, None, 30)), (None, None, None));
        assert_eq!(moved(0.0, Some(0.0), 30), None, "a model and itself");
        assert!(moved(0.4, Some(0.1), 30).is_some_and(|w| w.contains("to no answer") && w.contains("higher")));
        assert!(moved(-0.4, Some(0.1), 30).is_some_and(|w| w.contains("to answers") && w.contains("lower")));
    }

    #[test]
    fn rounding_keeps_two_digits() {
        for (number, expected) in [(7.2, "8"), (84.0, "84"), (85.1, "86"), (1234.0, "1300"), (98_765.0, "99000")] {
            assert_eq!(rounded(number), expected);
        }
    }
}
