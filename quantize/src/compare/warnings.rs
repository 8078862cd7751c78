//! What the questions of a comparison cannot show.

use super::paired::Comparison;

/// What a gate of `min_f1_ratio` cannot decide with these questions, or nothing can.
pub fn warnings(comparison: &Comparison, min_f1_ratio: f64) -> Vec<String> {
    if comparison.f1_ratio().is_none() {
        return vec![
            "fp32 has an F1 of 0, so the ratio is undefined and no gate can be passed: give questions that the fp32 model can \
             answer, or check that it is the right model"
                .to_owned(),
        ];
    }
    let Some(interval) = comparison.f1.ratio_interval else {
        return vec![
            "the questions are too few for an interval, so chance cannot be told from loss: give more paragraphs"
                .to_owned(),
        ];
    };
    let room = (1.0 - min_f1_ratio).max(0.0);
    let Comparison { questions, answers, .. } = comparison;
    let mut warnings = Vec::new();
    if answers.better + answers.worse == 0 && unseen(*questions) > room {
        warnings.push(format!(
            "no F1 changed on these {questions} questions, so the interval has no width, but {:.4} of other questions may still \
             change, and the gate of {min_f1_ratio} leaves {room:.4}",
            unseen(*questions)
        ));
    }
    warnings.extend(chance(interval, *questions, min_f1_ratio));
    warnings
}

/// A warning if the `interval` of the ratio on so many questions lies on both sides of the gate.
fn chance([low, high]: [f64; 2], questions: usize, min_f1_ratio: f64) -> Option<String> {
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
        // The width falls with the square root of the number.
        let needed = rounded(questions as f64 * (width / room).powi(2));
        warning += &format!(
            "; about {needed} questions of this kind would be needed for an interval no wider than the {room:.4} that the gate leaves"
        );
    }
    Some(warning)
}

/// The share that something may have which did not happen in `trials`: the upper end of its 95 % interval, by the rule of three.
pub(super) fn unseen(trials: usize) -> f64 {
    (3.0 / trials.max(1) as f64).min(1.0)
}

/// Two digits of a number, and zeros.
fn rounded(number: f64) -> String {
    let unit = 10f64.powf((number.max(1.0).log10().floor() - 1.0).max(0.0));
    format!("{:.0}", (number / unit).ceil() * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_decides_only_where_the_gate_is_in_the_interval() {
        for (interval, gate) in [([0.9, 0.95], 0.99), ([0.995, 1.2], 0.99), ([0.99, 1.2], 0.99), ([1.0, 1.0], 1.0)] {
            assert_eq!(chance(interval, 100, gate), None, "{interval:?}");
        }
        for (interval, gate, words) in [
            ([0.75, 1.0], 0.875, "0.7500 to 1.0000, lies on both sides of the gate of 0.875"),
            ([0.75, 1.0], 0.875, "about 400 questions of this kind"),
            ([0.9, 0.95], 0.95, "chance decides whether it is passed"),
            ([0.9, 1.1], 1.0, "chance decides whether it is passed"),
        ] {
            let warning = chance(interval, 100, gate).expect("a warning");
            assert!(warning.contains(words), "{words:?} is missing in {warning}");
        }
        // A narrow interval needs no more questions to be narrow.
        assert!(chance([0.88, 0.92], 100, 0.9).is_some_and(|warning| !warning.contains("would be needed")));
    }

    #[test]
    fn rounding_keeps_two_digits() {
        for (number, expected) in [(7.2, "8"), (84.0, "84"), (85.1, "86"), (1234.0, "1300"), (98_765.0, "99000")] {
            assert_eq!(rounded(number), expected);
        }
    }
}
