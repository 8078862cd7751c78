//! Both sides question by question.

use std::cmp::Ordering;

use edgeqa::eval::score::{Predictions, raw_scores};
use edgeqa::eval::{Dataset, Metrics, Observer, Prediction, Scores, files};
use edgeqa::qa::Scorer;
use edgeqa::stats::{ascending, mean, quantile};
use serde::Serialize;

use super::bootstrap::{self, Cluster, Estimate};
use super::logits::{LogitError, OddsError};
use super::sign;
use super::{Recording, Reference, Task};

/// Questions listed as the worst at most.
const WORST: usize = 20;

/// What became of the fp32 model's answers.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Number of questions.
    pub questions: usize,
    /// Number of paragraphs that they are about.
    pub paragraphs: usize,
    /// Null odds above which there is no answer, on both sides; `None` if there always is one.
    pub null_threshold: Option<f32>,
    /// Scores and times of fp32.
    pub fp32: Side,
    /// Scores and times of int8.
    pub int8: Side,
    /// F1 of int8 against that of fp32.
    pub f1: Estimate,
    /// The share of exact answers of int8 against that of fp32.
    pub exact: Estimate,
    /// How the intervals were made.
    pub bootstrap: Bootstrap,
    /// How the answers differ.
    pub answers: Answers,
    /// How likely it is by chance alone that as many more answers became none as none became answers, or the other way round
    /// ([`sign::p_value`]).
    pub flips_p: f64,
    /// How the logits differ.
    pub logits: LogitError,
    /// How the null odds differ.
    pub null_odds: OddsError,
    /// The questions that lost most F1, and of equal ones those whose null odds changed most; 20 at most.
    pub worst: Vec<Pair>,
}

/// One side of a comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// Official scores.
    pub metrics: Metrics,
    /// Seconds per question, each on one thread: the mean.
    pub mean_seconds: f64,
    /// The median.
    pub median_seconds: f64,
    /// In the order of the questions, with answers at the threshold of the comparison.
    #[serde(skip)]
    pub predictions: Vec<Prediction>,
}

/// How intervals were made.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Bootstrap {
    /// What is drawn.
    pub unit: &'static str,
    /// By how many questions int8 is better than in the mean one in those that are drawn too, but made.
    pub made: [f64; 2],
    /// Number of draws.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// Share of the draws in an interval.
    pub confidence: f64,
}

/// Questions by what int8 does with fp32's answer. The first four add up to all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answers {
    /// Exactly the same text, or no answer on both sides.
    pub identical: usize,
    /// Another text.
    pub changed_span: usize,
    /// An answer with fp32, none with int8.
    pub to_no_answer: usize,
    /// No answer with fp32, one with int8.
    pub from_no_answer: usize,
    /// Questions with a higher F1 than with fp32.
    pub better: usize,
    /// Questions with a lower F1 than with fp32.
    pub worse: usize,
}

/// A question with both answers.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    /// The question's id.
    pub id: String,
    /// The question.
    pub question: String,
    /// Right answers; none if there is none.
    pub golds: Vec<String>,
    /// fp32's answer; empty if there is none.
    pub fp32: String,
    /// int8's answer.
    pub int8: String,
    /// F1 of fp32's answer, 0 to 1.
    pub fp32_f1: f64,
    /// F1 of int8's answer.
    pub int8_f1: f64,
    /// fp32's null odds.
    pub fp32_null_odds: f32,
    /// int8's null odds.
    pub int8_null_odds: f32,
}

/// Lets the task's reader answer all questions, and compares its answers with those of `reference`, which was made for the same
/// questions and options but may have another threshold: both sides get that of this task.
///
/// # Errors
/// If a question cannot be answered, or the reference is one of other questions or windows.
pub fn compare<M: Scorer + Sync>(
    reference: &Reference,
    task: &Task<'_, M>,
    observer: &impl Observer,
) -> anyhow::Result<Comparison> {
    let ids = || task.dataset.questions().map(|question| question.id.as_str());
    anyhow::ensure!(
        reference.predictions.iter().map(|prediction| prediction.id.as_str()).eq(ids()),
        "the reference is one of other questions; make it with the same data file and subset"
    );
    let (int8, recording) = Recording::make(task.reader.model(), task, observer)?;
    let threshold = task.reader.threshold(task.options);
    let logits = LogitError::new(&reference.recording, &recording)?;
    Comparison::new(task.dataset, threshold, reference.predictions.clone(), int8, logits)
}

impl Comparison {
    /// Compares predictions for the questions of `dataset`, in their order, with answers at `null_threshold`.
    ///
    /// # Errors
    /// If a question has no prediction.
    pub fn new(
        dataset: &Dataset,
        null_threshold: Option<f32>,
        fp32: Vec<Prediction>,
        int8: Vec<Prediction>,
        logits: LogitError,
    ) -> anyhow::Result<Self> {
        let (fp32, fp32_scores) = Side::new(dataset, null_threshold, fp32)?;
        let (int8, int8_scores) = Side::new(dataset, null_threshold, int8)?;
        let pairs = pairs(dataset, (&fp32.predictions, &fp32_scores), (&int8.predictions, &int8_scores));
        let answers = Answers::count(&pairs);
        let sizes: Vec<usize> = dataset.paragraphs.iter().map(|paragraph| paragraph.questions.len()).collect();
        let estimate = |of: fn(&Scores) -> f64| Estimate::new(&clusters(dataset, &fp32_scores, &int8_scores, of));
        Ok(Self {
            questions: dataset.question_count(),
            paragraphs: dataset.paragraphs.len(),
            null_threshold,
            f1: estimate(|scores| scores.f1),
            exact: estimate(|scores| scores.exact),
            bootstrap: Bootstrap {
                unit: "paragraph",
                made: bootstrap::MADE,
                resamples: bootstrap::RESAMPLES,
                seed: bootstrap::SEED,
                confidence: bootstrap::CONFIDENCE,
            },
            flips_p: sign::p_value(answers.to_no_answer, answers.from_no_answer),
            answers,
            logits,
            null_odds: OddsError::new(&fp32.predictions, &int8.predictions, &sizes),
            worst: worst(pairs),
            fp32,
            int8,
        })
    }

    /// F1 of int8 as a share of that of fp32; `None` if the latter is 0, and nothing can be said.
    pub fn f1_ratio(&self) -> Option<f64> {
        self.f1.ratio
    }

    /// Whether F1 of int8 is at least this share of that of fp32. It is not if fp32 has none.
    pub fn passes(&self, min_f1_ratio: f64) -> bool {
        self.f1_ratio().is_some_and(|ratio| ratio >= min_f1_ratio)
    }
}

impl Side {
    fn new(
        dataset: &Dataset,
        null_threshold: Option<f32>,
        mut predictions: Vec<Prediction>,
    ) -> anyhow::Result<(Self, Vec<Scores>)> {
        for prediction in &mut predictions {
            prediction.text = prediction.text_at(null_threshold).to_owned();
        }
        let texts: Predictions = files::texts(&predictions);
        let metrics = Metrics::new(dataset, &texts, Some(&files::null_odds(&predictions)), None)?;
        let seconds = ascending(predictions.iter().map(|prediction| prediction.seconds));
        let side = Self {
            metrics,
            mean_seconds: mean(&seconds).unwrap_or_default(),
            median_seconds: quantile(&seconds, 0.5).unwrap_or_default(),
            predictions,
        };
        Ok((side, raw_scores(dataset, &texts)?))
    }
}

fn pairs(dataset: &Dataset, fp32: (&[Prediction], &[Scores]), int8: (&[Prediction], &[Scores])) -> Vec<Pair> {
    let sides = fp32.0.iter().zip(fp32.1).zip(int8.0.iter().zip(int8.1));
    let pair = |(question, ((f, f_scores), (i, i_scores))): (&edgeqa::eval::Question, _)| {
        let (f, f_scores, i, i_scores): (&Prediction, &Scores, &Prediction, &Scores) = (f, f_scores, i, i_scores);
        Pair {
            id: question.id.clone(),
            question: question.text.clone(),
            golds: question.golds.clone(),
            fp32: f.text.clone(),
            int8: i.text.clone(),
            fp32_f1: f_scores.f1,
            int8_f1: i_scores.f1,
            fp32_null_odds: f.null_odds,
            int8_null_odds: i.null_odds,
        }
    };
    dataset.questions().zip(sides).map(pair).collect()
}

/// The sums of `of` per paragraph.
fn clusters(dataset: &Dataset, fp32: &[Scores], int8: &[Scores], of: fn(&Scores) -> f64) -> Vec<Cluster> {
    let (mut fp32, mut int8) = (fp32.iter().map(of), int8.iter().map(of));
    let cluster = |questions: usize| Cluster {
        questions: questions as f64,
        fp32: fp32.by_ref().take(questions).sum(),
        int8: int8.by_ref().take(questions).sum(),
    };
    dataset.paragraphs.iter().map(|paragraph| paragraph.questions.len()).map(cluster).collect()
}

impl Answers {
    /// Questions whose F1 is not that of fp32.
    pub fn changed_f1(&self) -> usize {
        self.better + self.worse
    }

    fn count(pairs: &[Pair]) -> Self {
        let mut counts = Self::default();
        for pair in pairs {
            let kind = match (pair.fp32.is_empty(), pair.int8.is_empty()) {
                _ if pair.fp32 == pair.int8 => &mut counts.identical,
                (false, true) => &mut counts.to_no_answer,
                (true, false) => &mut counts.from_no_answer,
                _ => &mut counts.changed_span,
            };
            *kind += 1;
            match pair.int8_f1.total_cmp(&pair.fp32_f1) {
                Ordering::Greater => counts.better += 1,
                Ordering::Less => counts.worse += 1,
                Ordering::Equal => {}
            }
        }
        counts
    }
}

fn worst(mut pairs: Vec<Pair>) -> Vec<Pair> {
    let loss = |pair: &Pair| pair.fp32_f1 - pair.int8_f1;
    let change = |pair: &Pair| (pair.int8_null_odds - pair.fp32_null_odds).abs();
    pairs.sort_by(|a, b| loss(b).total_cmp(&loss(a)).then(change(b).total_cmp(&change(a))));
    pairs.truncate(WORST);
    pairs
}
