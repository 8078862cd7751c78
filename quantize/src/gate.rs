//! The accuracy gate: nothing is published that answers worse than it may, compared with fp32 on the same questions.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;

use anyhow::ensure;
use edgeqa::artifact::{Accuracy, Artifact, Drawn, OverallScores};
use edgeqa::eval::{Dataset, Metrics, Observer, Prediction, evaluate, files};
use edgeqa::model::{ModelWeights, Session};
use edgeqa::qa::{AskOptions, Reader};
use edgeqa::tokenizer::QaTokenizer;
use serde::Serialize;

use crate::convert::Stage;
use crate::sensitivity::Sensitivity;

/// The accuracy that is asked for.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Questions in the format of SQuAD.
    pub squad: PathBuf,
    /// Ask only about as many paragraphs as hold that many questions.
    pub limit: Option<usize>,
    /// Seed of the choice of paragraphs.
    pub seed: u64,
    /// Smallest F1 of int8 as a share of that of fp32.
    pub min_f1_ratio: f64,
    /// Whether layers may be promoted to half precision to pass.
    pub promote: bool,
    /// Threads that answer; all cores if `None`.
    pub threads: Option<NonZeroUsize>,
}

/// How the gate was passed.
#[derive(Clone, Debug, Serialize)]
pub struct Gated {
    /// Smallest F1 ratio.
    pub min_f1_ratio: f64,
    /// The ratio with all layers in int8 that were not kept in half precision from the start.
    pub first_f1_ratio: Option<f64>,
    /// The ratio of what is published.
    pub f1_ratio: Option<f64>,
    /// Layers that were promoted to half precision, in that order.
    pub promoted: Vec<Promotion>,
}

/// One layer that went to half precision.
#[derive(Clone, Debug, Serialize)]
pub struct Promotion {
    /// Its name.
    pub layer: String,
    /// The error that it alone adds to the logits in int8.
    pub logit_error: f64,
    /// Bytes by which the artifact grew.
    pub bytes: usize,
    /// Mean time of a question before, in seconds on one thread.
    pub seconds_before: f64,
    /// The same after.
    pub seconds_after: f64,
    /// F1 ratio after.
    pub f1_ratio: Option<f64>,
}

/// One model's answers.
struct Attempt {
    predictions: Vec<Prediction>,
    scores: OverallScores,
}

impl Attempt {
    fn mean_seconds(&self) -> f64 {
        self.predictions.iter().map(|p| p.seconds).sum::<f64>() / self.predictions.len().max(1) as f64
    }
}

/// What the gate needs of the conversion.
pub(crate) trait Candidate {
    /// Makes the artifact with these layers in half precision.
    fn make(&mut self, half: &BTreeSet<String>) -> anyhow::Result<Artifact>;

    /// What each layer costs, the most sensitive first.
    fn sensitivity(&mut self) -> anyhow::Result<&[Sensitivity]>;
}

/// A gate whose questions are read.
pub(crate) struct Opened<'a> {
    gate: &'a Gate,
    dataset: Dataset,
}

impl<'a> Opened<'a> {
    /// Reads the questions, before any other work is done.
    ///
    /// # Errors
    /// If the file is not in the format of SQuAD, or the ratio cannot be asked for.
    pub(crate) fn new(gate: &'a Gate) -> anyhow::Result<Self> {
        ensure!(
            (0.0..=1.0).contains(&gate.min_f1_ratio),
            "the smallest F1 ratio is {}, but it must be from 0 to 1",
            gate.min_f1_ratio
        );
        let whole = Dataset::read(&gate.squad)?;
        let dataset = match gate.limit {
            Some(limit) => whole.sample(limit, gate.seed),
            None => whole,
        };
        Ok(Self { gate, dataset })
    }

    /// Makes candidates until one passes: first with the layers in `half`, then with one more at a time, the most sensitive first.
    ///
    /// Returns how it was done, and the scores and the sha256 of the tensor data of the last one; `half` has what it was made with.
    ///
    /// # Errors
    /// If a candidate cannot be made or run, or if none passes.
    pub(crate) fn pass(
        &self,
        float: &ModelWeights,
        candidate: &mut impl Candidate,
        half: &mut BTreeSet<String>,
        stage: &(impl Fn(Stage, usize, usize) + Sync),
    ) -> anyhow::Result<(Gated, Accuracy, String)> {
        let mut artifact = candidate.make(half)?;
        let threshold = artifact.metadata().null_threshold.unwrap_or(0.0);
        let float = Reader::new(QaTokenizer::from_artifact(&artifact)?, Session::new(float)?, threshold);
        let fp32 = self.ask(&float, &Progress { stage, at: Stage::Fp32Questions })?;
        let progress = Progress { stage, at: Stage::Int8Questions };
        let mut int8 = self.ask(&Reader::from_artifact(&artifact)?, &progress)?;
        let ratio = |int8: &Attempt| (fp32.scores.f1 > 0.0).then(|| int8.scores.f1 / fp32.scores.f1);
        let holds = |int8: &Attempt| ratio(int8).is_some_and(|ratio| ratio >= self.gate.min_f1_ratio);
        let mut gated = Gated {
            min_f1_ratio: self.gate.min_f1_ratio,
            first_f1_ratio: ratio(&int8),
            f1_ratio: ratio(&int8),
            promoted: Vec::new(),
        };
        while !holds(&int8) {
            let next = if self.gate.promote && fp32.scores.f1 > 0.0 {
                candidate.sensitivity()?.iter().find(|s| !half.contains(&s.layer)).cloned()
            } else {
                None
            };
            let Some(Sensitivity { layer, logit_error }) = next else {
                return Err(self.refusal(&fp32, &int8, &gated));
            };
            half.insert(layer.clone());
            let before = (artifact.file_len(), int8.mean_seconds());
            artifact = candidate.make(half)?;
            int8 = self.ask(&Reader::from_artifact(&artifact)?, &progress)?;
            gated.f1_ratio = ratio(&int8);
            log::info!("{layer} in half precision: F1 {:.2} of {:.2}", int8.scores.f1, fp32.scores.f1);
            gated.promoted.push(Promotion {
                layer,
                logit_error,
                bytes: artifact.file_len().saturating_sub(before.0),
                seconds_before: before.1,
                seconds_after: int8.mean_seconds(),
                f1_ratio: gated.f1_ratio,
            });
        }
        Ok((gated, self.accuracy(&fp32, &int8, threshold), artifact.data_sha256().to_owned()))
    }

    fn ask(&self, reader: &Reader, observer: &impl Observer) -> anyhow::Result<Attempt> {
        let threads = self.gate.threads.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
        let predictions = evaluate(reader, &self.dataset, &AskOptions::default(), threads, observer)?;
        let all = Metrics::new(&self.dataset, &files::texts(&predictions), None, None)?.all;
        Ok(Attempt { predictions, scores: OverallScores { exact: all.exact, f1: all.f1 } })
    }

    fn accuracy(&self, fp32: &Attempt, int8: &Attempt, null_threshold: f32) -> Accuracy {
        let name = self.gate.squad.file_name().unwrap_or_default().to_string_lossy();
        let pairs = fp32.predictions.iter().zip(&int8.predictions);
        Accuracy {
            data: name.into_owned(),
            data_sha256: self.dataset.sha256.clone(),
            questions: self.dataset.question_count(),
            subset: self.dataset.subset.map(|s| Drawn { limit: s.limit, seed: s.seed }),
            null_threshold,
            fp32: fp32.scores,
            int8: int8.scores,
            identical: pairs.filter(|(a, b)| a.text == b.text).count(),
        }
    }

    fn refusal(&self, fp32: &Attempt, int8: &Attempt, gated: &Gated) -> anyhow::Error {
        let Gate { min_f1_ratio, promote, squad, .. } = self.gate;
        let (questions, file) = (self.dataset.question_count(), squad.display());
        if fp32.scores.f1 == 0.0 {
            return anyhow::anyhow!(
                "the fp32 model itself has an F1 of 0 on the {questions} questions of {file}, so there is nothing to compare with; \
                 nothing was written"
            );
        }
        let what = match (promote, gated.promoted.len()) {
            (false, _) => {
                "promotion is off: allow it, or keep sensitive layers in half precision with --half".to_owned()
            }
            (true, promoted) => format!("{promoted} layers were promoted to half precision, and none is left"),
        };
        anyhow::anyhow!(
            "int8 has an F1 of {:.2} on {questions} questions of {file}, {:.4} of the {:.2} of fp32, but at least {min_f1_ratio} was \
             asked for; {what}; nothing was written",
            int8.scores.f1,
            int8.scores.f1 / fp32.scores.f1,
            fp32.scores.f1,
        )
    }
}

/// Shows the questions of one stage.
struct Progress<'a, S> {
    stage: &'a S,
    at: Stage,
}

impl<S: Fn(Stage, usize, usize) + Sync> Observer for Progress<'_, S> {
    fn answered(&self, done: usize, all: usize) {
        (self.stage)(self.at, done, all);
    }
}
