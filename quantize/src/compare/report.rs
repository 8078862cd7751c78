//! A comparison for people and programs.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use edgeqa::eval::score::Summary;
use edgeqa::eval::{Dataset, Subset};
use edgeqa::shown::{count, in_markdown};
use serde::Serialize;

use super::bootstrap::Estimate;
use super::fp32::Backend;
use super::paired::{Comparison, Pair};
use super::warnings::probability;

/// The gate that is meant if none is named: the stricter of the usual ones.
pub const DEFAULT_GATE: f64 = 0.999;

/// A comparison with everything that is needed to repeat it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The questions.
    pub data: Data,
    /// The fp32 model.
    pub fp32_model: Fp32Model,
    /// The int8 model.
    pub int8_model: Int8Model,
    /// Longest answer in tokens.
    pub max_answer_len: usize,
    /// Questions answered at the same time.
    pub threads: usize,
    /// What was found.
    pub comparison: Comparison,
    /// The smallest allowed ratio of F1, if one was named, and whether it was reached.
    pub gate: Option<Gate>,
    /// Why the result is less than it seems.
    pub warnings: Vec<String>,
}

/// The questions.
#[derive(Clone, Debug, Serialize)]
pub struct Data {
    /// The file.
    pub file: String,
    /// Its checksum.
    pub sha256: String,
    /// Which part of it; `None` for all.
    pub subset: Option<Subset>,
}

impl Data {
    /// Describes a dataset.
    pub fn of(dataset: &Dataset) -> Self {
        Self { file: dataset.file.clone(), sha256: dataset.sha256.clone(), subset: dataset.subset }
    }
}

/// The fp32 model.
#[derive(Clone, Debug, Serialize)]
pub struct Fp32Model {
    /// Its weights.
    pub file: String,
    /// Checksums of its files, by name.
    pub sha256: BTreeMap<String, String>,
    /// What ran it.
    pub backend: Backend,
    /// The file that its logits were read from; `None` if it was run.
    pub cached: Option<String>,
}

/// The int8 model.
#[derive(Clone, Debug, Serialize)]
pub struct Int8Model {
    /// The file.
    pub file: String,
    /// Checksum of its tensor data.
    pub data_sha256: String,
    /// What multiplied its matrices.
    pub kernel: &'static str,
}

/// A smallest allowed ratio of F1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// The smallest allowed ratio.
    pub min_f1_ratio: f64,
    /// Whether F1 of int8 is at least this share of that of fp32.
    pub passed: bool,
}

impl Report {
    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "# int8 against fp32\n")?;
        self.write_verdict(out)?;
        self.write_subject(out)?;
        self.write_scores(out)?;
        self.write_answers(out)?;
        self.write_logits(out)?;
        self.write_times(out)?;
        self.write_limits(out)?;
        self.write_worst(out)
    }

    /// A ratio in digits that leave no doubt about a gate that failed.
    fn ratio(&self, ratio: f64) -> String {
        match self.gate {
            Some(Gate { passed: false, min_f1_ratio }) if ratio < min_f1_ratio => shown_below(ratio, min_f1_ratio),
            _ => format!("{ratio:.4}"),
        }
    }

    fn write_verdict(&self, out: &mut String) -> fmt::Result {
        match self.comparison.f1_ratio() {
            Some(ratio) => {
                let interval = self
                    .comparison
                    .f1
                    .ratio_interval
                    .map_or_else(String::new, |[low, high]| format!(" (95 % interval {low:.4} to {high:.4})"));
                writeln!(out, "F1 of int8 is **{}** of that of fp32{interval}.\n", self.ratio(ratio))?;
            }
            None => writeln!(out, "F1 of fp32 is 0: **the ratio of int8 to it is undefined**.\n")?,
        }
        if let Some(gate) = self.gate {
            let verdict = if gate.passed { "passed" } else { "failed" };
            writeln!(out, "Gate: at least {} of the F1 of fp32: **{verdict}**.\n", gate.min_f1_ratio)?;
        }
        for warning in &self.warnings {
            writeln!(out, "**Warning:** {}.\n", in_markdown(warning))?;
        }
        Ok(())
    }

    fn write_subject(&self, out: &mut String) -> fmt::Result {
        let Self { data, fp32_model, int8_model, comparison, .. } = self;
        writeln!(out, "## What was compared\n\n| | |\n|---|---|")?;
        let mut row = |name: &str, value: &str| writeln!(out, "| {name} | {value} |");
        row("data", &in_markdown(&data.file))?;
        row("data sha256", &code(&data.sha256))?;
        row("questions", &format!("{} about {}", comparison.questions, count(comparison.paragraphs, "paragraph")))?;
        row(
            "subset",
            &data.subset.map_or_else(
                || "none, the whole file".to_owned(),
                |Subset { limit, seed, of_questions, of_paragraphs }| {
                    format!(
                        "of {of_questions} in {of_paragraphs} paragraphs: whole paragraphs, drawn with seed {seed} until there \
                         are at least {limit} questions"
                    )
                },
            ),
        )?;
        row("fp32 model", &format!("{}: {}", in_markdown(&fp32_model.file), fp32_model.backend))?;
        for (name, sum) in &fp32_model.sha256 {
            row(&format!("sha256 of {}", in_markdown(name)), &code(sum))?;
        }
        row("int8 model", &in_markdown(&int8_model.file))?;
        row("sha256 of its data", &code(&int8_model.data_sha256))?;
        row("int8 kernel", &code(int8_model.kernel))?;
        let threshold = comparison.null_threshold.map_or("none, always an answer".into(), |t| t.to_string());
        row("null threshold", &format!("{threshold} on both sides"))?;
        row("longest answer", &format!("{} tokens", self.max_answer_len))?;
        writeln!(out, "\nTokens, windows and decoder are the same on both sides: those of the int8 model.\n")
    }

    fn write_scores(&self, out: &mut String) -> fmt::Result {
        let Comparison { fp32, int8, f1, exact, bootstrap, .. } = &self.comparison;
        writeln!(out, "## Scores\n\n| | fp32 | int8 | difference | ratio |\n|---|--:|--:|--:|--:|")?;
        let (fp32, int8) = (&fp32.metrics, &int8.metrics);
        let mut rows = |name: &str, sides: [Option<Summary>; 2], estimates: [Option<&Estimate>; 2]| {
            let [Some(fp32), Some(int8)] = sides else { return Ok(()) };
            let scores = [("F1", fp32.f1, int8.f1, estimates[0]), ("EM", fp32.exact, int8.exact, estimates[1])];
            for (score, fp32, int8, estimate) in scores {
                let (difference, ratio) = match estimate {
                    Some(estimate) => cells(estimate, |ratio| self.ratio(ratio)),
                    None => (format!("{:+.4}", int8 - fp32), share(int8, fp32)),
                };
                writeln!(out, "| {name}{score} | {fp32:.4} | {int8:.4} | {difference} | {ratio} |")?;
            }
            Ok(())
        };
        rows("", [Some(fp32.all), Some(int8.all)], [Some(f1), Some(exact)])?;
        rows("HasAns ", [fp32.has_answer, int8.has_answer], [None, None])?;
        rows("NoAns ", [fp32.no_answer, int8.no_answer], [None, None])?;
        let total = |summary: Option<Summary>| summary.map_or(0, |summary| summary.total);
        writeln!(
            out,
            "\nOfficial SQuAD 2.0 scores in points of 100; {} questions have an answer (HasAns), {} have none (NoAns). In brackets the \
             {:.0} % interval: percentiles of {} bootstrap draws of whole {}s with seed {}, both sides drawn together, \
             and of two that are made, one in which int8 loses a question more and one in which it wins one more: changes that these \
             questions do not show.\n",
            total(fp32.has_answer),
            total(fp32.no_answer),
            100.0 * bootstrap.confidence,
            bootstrap.resamples,
            bootstrap.unit,
            bootstrap.seed,
        )
    }

    fn write_answers(&self, out: &mut String) -> fmt::Result {
        let (answers, questions) = (&self.comparison.answers, self.comparison.questions);
        writeln!(out, "## Answers\n\n| | questions | share |\n|---|--:|--:|")?;
        for (name, count) in [
            ("the same text", answers.identical),
            ("another span", answers.changed_span),
            ("an answer became none", answers.to_no_answer),
            ("none became an answer", answers.from_no_answer),
            ("F1 is higher than with fp32", answers.better),
            ("F1 is lower than with fp32", answers.worse),
        ] {
            writeln!(out, "| {name} | {count} | {:.2} % |", 100.0 * count as f64 / questions.max(1) as f64)?;
        }
        writeln!(
            out,
            "\nIf int8 dropped and made answers equally often, numbers at least as uneven as {} and {} would have a probability of {} \
             (exact two-sided sign test).\n",
            answers.to_no_answer,
            answers.from_no_answer,
            probability(self.comparison.flips_p)
        )
    }

    fn write_logits(&self, out: &mut String) -> fmt::Result {
        let (logits, odds) = (&self.comparison.logits, &self.comparison.null_odds);
        writeln!(out, "## Logits\n\n| absolute difference | |\n|---|--:|")?;
        for (name, value) in [
            ("RMS", logits.rms),
            ("median", logits.median),
            ("90th percentile", logits.p90),
            ("99th percentile", logits.p99),
            ("99.9th percentile", logits.p99_9),
            ("largest", logits.max),
        ] {
            writeln!(out, "| {name} | {value:.4} |")?;
        }
        let relative = logits.relative_rms.map_or("undefined, these are all equal".into(), |r| format!("{r:.4}"));
        let error = odds.standard_error.map_or_else(String::new, |error| format!(" (standard error {error:.4})"));
        writeln!(
            out,
            "\nOver the {} start and end logits of all tokens. The RMS as a share of the standard deviation of the fp32 logits: \
             {relative}.\n\nNull odds, int8 minus fp32: mean {:+.4}{error}, RMS {:.4}, largest {:.4}.\n",
            logits.count, odds.mean, odds.rms, odds.max
        )
    }

    fn write_times(&self, out: &mut String) -> fmt::Result {
        let Comparison { fp32, int8, .. } = &self.comparison;
        writeln!(out, "## Time per question\n\n| | median | mean |\n|---|--:|--:|")?;
        for (name, side) in [("fp32", fp32), ("int8", int8)] {
            writeln!(out, "| {name} | {:.4} s | {:.4} s |", side.median_seconds, side.mean_seconds)?;
        }
        write!(
            out,
            "\nOn one thread each, {} at the same time; fp32 without tokenizing, which takes next to nothing.",
            self.threads
        )?;
        if let Some(cached) = &self.fp32_model.cached {
            write!(
                out,
                " The logits of fp32 and its times are those of an earlier run, perhaps with another number of threads or on a busier \
                 machine: {}.",
                in_markdown(cached)
            )?;
        }
        writeln!(out, "\n")
    }

    fn write_limits(&self, out: &mut String) -> fmt::Result {
        let Comparison { questions, paragraphs, f1, .. } = &self.comparison;
        writeln!(out, "## What these numbers can and cannot show\n")?;
        match f1.difference_interval {
            Some([low, high]) => writeln!(
                out,
                "- With these {questions} questions about {paragraphs} paragraphs, the difference of F1 is known to about ±{:.2} \
                 points: {}.",
                (high - low) / 2.0,
                match low {
                    0.0.. => "a loss is unlikely".to_owned(),
                    _ => format!("a loss above {:.2} points is unlikely, a smaller one not excluded", -low),
                }
            )?,
            None => writeln!(
                out,
                "- {questions} questions about {paragraphs} paragraph say nothing about other questions: there is no interval."
            )?,
        }
        writeln!(
            out,
            "- The interval is about other paragraphs like these. Paragraphs of one article resemble each other, so it is rather too \
             narrow than too wide.\n\
             - They say nothing about other kinds of text, question, or language, nor about other thresholds.\n\
             - A few questions that change in both directions hide each other in F1, not in the table of answers.\n\
             - They compare both models; how good either is depends on the questions.\n"
        )
    }

    fn write_worst(&self, out: &mut String) -> fmt::Result {
        let worst = &self.comparison.worst;
        writeln!(
            out,
            "## The {} worst questions\n\nThose that lost most F1, then those whose null odds changed most.\n",
            worst.len()
        )?;
        for (number, pair) in worst.iter().enumerate() {
            let Pair { fp32_f1, int8_f1, fp32_null_odds, int8_null_odds, .. } = pair;
            let mut golds: Vec<String> = Vec::new();
            for gold in pair.golds.iter().map(|gold| quoted(gold)) {
                // Annotators agree.
                if !golds.contains(&gold) {
                    golds.push(gold);
                }
            }
            let golds = if golds.is_empty() { "no answer".to_owned() } else { golds.join(", ") };
            writeln!(out, "{}. {} (id {})", number + 1, in_markdown(pair.question.trim()), in_markdown(&pair.id))?;
            writeln!(out, "   - right: {golds}")?;
            writeln!(out, "   - fp32: {}, F1 {fp32_f1:.2}, null odds {fp32_null_odds:.3}", quoted(&pair.fp32))?;
            writeln!(out, "   - int8: {}, F1 {int8_f1:.2}, null odds {int8_null_odds:.3}", quoted(&pair.int8))?;
        }
        Ok(())
    }
}

/// Difference and ratio with their intervals; the ratio as `show` does.
fn cells(estimate: &Estimate, show: impl Fn(f64) -> String) -> (String, String) {
    let interval = |interval: Option<[f64; 2]>, digits: usize, sign: bool| match interval {
        Some([low, high]) if sign => format!(" [{low:+.digits$}, {high:+.digits$}]"),
        Some([low, high]) => format!(" [{low:.digits$}, {high:.digits$}]"),
        None => String::new(),
    };
    let ratio = estimate.ratio.map_or("undefined".into(), show);
    (
        format!("{:+.4}{}", estimate.difference, interval(estimate.difference_interval, 4, true)),
        ratio + &interval(estimate.ratio_interval, 4, false),
    )
}

/// A ratio that is below a gate, with as many digits as show that it is, four at least.
pub fn shown_below(ratio: f64, gate: f64) -> String {
    let mut shown = (4..17).map(|digits| format!("{ratio:.digits$}"));
    shown.find(|text| text.parse().is_ok_and(|shown: f64| shown < gate)).unwrap_or_else(|| ratio.to_string())
}

fn share(part: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{:.4}", part / whole) } else { "undefined".into() }
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn quoted(text: &str) -> String {
    if text.is_empty() { "no answer".into() } else { format!("\"{}\"", in_markdown(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_quoted_and_none_is_named() {
        assert_eq!((quoted(""), quoted("x_y")), ("no answer".into(), "\"x\\_y\"".into()));
    }

    #[test]
    fn what_misses_a_gate_is_shown_below_it() {
        let shown = [(0.5, 0.999), (0.99894, 0.999), (0.9989999, 0.999), (1.012565, 1.0126)];
        let shown = shown.map(|(ratio, gate)| shown_below(ratio, gate));
        assert_eq!(shown, ["0.5000", "0.9989", "0.9989999", "1.01256"]);
        let least = 0.999_f64.next_down();
        assert!(shown_below(least, 0.999).parse::<f64>().is_ok_and(|shown| shown < 0.999));
    }
}
