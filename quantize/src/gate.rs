//! The accuracy gate: nothing is published that answers worse than it may, compared with fp32 on the same questions.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{anyhow, ensure};
use edgeqa::artifact::{Accuracy, Artifact, Drawn, OverallScores, Promoted};
use edgeqa::eval::{Dataset, Observer};
use edgeqa::model::{ModelWeights, Session};
use edgeqa::qa::{AskOptions, Reader};
use edgeqa::threads::Threads;
use edgeqa::tokenizer::QaTokenizer;
use serde::Serialize;

use crate::compare::cache::Identity;
use crate::compare::fp32::{Backend, Model};
use crate::compare::paired::Side;
use crate::compare::report::shown_below;
use crate::compare::warnings::warnings;
use crate::compare::{Comparison, Reference, Task, compare};
use crate::convert::{OnStage, Stage};
use crate::import::onnx::OnnxModel;
use crate::original::Original;
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
    /// Folder for the logits of fp32, for the next run; `None` keeps nothing.
    pub cache: Option<PathBuf>,
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
    /// What the questions cannot show about the gate.
    pub warnings: Vec<String>,
    /// What is published, compared with fp32.
    pub comparison: Comparison,
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

/// What the gate needs of the conversion.
pub(crate) trait Candidate {
    /// Makes the artifact with these layers in half precision.
    fn make(&mut self, half: &BTreeSet<String>) -> anyhow::Result<Artifact>;

    /// What each layer costs, the most sensitive first.
    fn sensitivity(&mut self) -> anyhow::Result<&[Sensitivity]>;
}

/// The fp32 model that is compared with.
pub(crate) struct Float<'a> {
    /// What runs it.
    pub backend: Backend,
    /// Checksums of the files it is made of, without the tokenizer.
    pub sha256: Vec<String>,
    /// The original graph, if that is what is run.
    pub graph: Option<&'a OnnxModel>,
    /// The imported weights.
    pub weights: &'a ModelWeights,
}

impl Float<'_> {
    fn load(&self) -> anyhow::Result<Model> {
        match (self.backend, self.graph) {
            (Backend::Graph, Some(graph)) => Ok(Model::Graph(Box::new(Original::new(graph, &self.weights.config)?))),
            _ => Ok(Model::Imported(Session::new(self.weights)?)),
        }
    }
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
            gate.min_f1_ratio >= 0.0 && gate.min_f1_ratio.is_finite(),
            "the smallest F1 ratio is {}, but it must be 0 or a number above",
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
    /// All are asked the same questions, so that of several the last may have passed by luck: its ratio is too good. The warnings and
    /// the scores say so.
    ///
    /// Returns how it was done, and the scores and the sha256 of the tensor data of the last one; `half` has what it was made with.
    ///
    /// # Errors
    /// If a candidate cannot be made or run, or if none passes.
    pub(crate) fn pass(
        &self,
        float: &Float<'_>,
        candidate: &mut impl Candidate,
        half: &mut BTreeSet<String>,
        stage: &OnStage<'_>,
    ) -> anyhow::Result<(Gated, Accuracy, String)> {
        let options = AskOptions::default();
        let mut artifact = candidate.make(half)?;
        let mut reader = Reader::from_artifact(&artifact)?;
        let reference = {
            let task = self.task(&reader, &options);
            let tokenizer = QaTokenizer::sha256(&artifact)?;
            let config = &float.weights.config;
            let identity = Identity::new(float.backend, config, float.sha256.clone(), tokenizer, &task);
            let progress = Progress { stage, at: Stage::Fp32Questions };
            Reference::run_or_cached(self.gate.cache.as_deref(), &identity, || float.load(), &task, &progress)?
        };
        let progress = Progress { stage, at: Stage::Int8Questions };
        let mut comparison = compare(&reference, &self.task(&reader, &options), &progress)?;
        let first_f1_ratio = comparison.f1_ratio();
        let mut promoted = Vec::new();
        while !comparison.passes(self.gate.min_f1_ratio) {
            let next = if self.gate.promote && comparison.f1_ratio().is_some() {
                candidate.sensitivity()?.iter().find(|s| !half.contains(&s.layer)).cloned()
            } else {
                None
            };
            let Some(Sensitivity { layer, logit_error }) = next else {
                return Err(self.refusal(&comparison, promoted.len()));
            };
            half.insert(layer.clone());
            let before = (artifact.file_len(), comparison.int8.mean_seconds);
            artifact = candidate.make(half)?;
            reader = Reader::from_artifact(&artifact)?;
            comparison = compare(&reference, &self.task(&reader, &options), &progress)?;
            promoted.push(Promotion {
                layer,
                logit_error,
                bytes: artifact.file_len().saturating_sub(before.0),
                seconds_before: before.1,
                seconds_after: comparison.int8.mean_seconds,
                f1_ratio: comparison.f1_ratio(),
            });
        }
        let before = first_f1_ratio.filter(|_| !promoted.is_empty());
        let accuracy = Accuracy {
            promoted: before.map(|f1_ratio_before| Promoted { layers: promoted.len(), f1_ratio_before }),
            ..self.accuracy(&comparison, reader.null_threshold())
        };
        let mut warnings = warnings(&comparison, self.gate.min_f1_ratio);
        warnings.extend(selected(promoted.len()));
        let gated = Gated {
            min_f1_ratio: self.gate.min_f1_ratio,
            first_f1_ratio,
            f1_ratio: comparison.f1_ratio(),
            promoted,
            warnings,
            comparison,
        };
        Ok((gated, accuracy, artifact.data_sha256().to_owned()))
    }

    fn task<'t>(&'t self, reader: &'t Reader, options: &'t AskOptions) -> Task<'t, Session> {
        let threads = self.gate.threads.unwrap_or_else(Threads::usable_cpus);
        Task { reader, dataset: &self.dataset, options, threads }
    }

    fn accuracy(&self, comparison: &Comparison, null_threshold: f32) -> Accuracy {
        let scores = |side: &Side| OverallScores { exact: side.metrics.all.exact, f1: side.metrics.all.f1 };
        Accuracy {
            data: self.gate.squad.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            data_sha256: self.dataset.sha256.clone(),
            questions: comparison.questions,
            subset: self.dataset.subset.map(|s| Drawn { limit: s.limit, seed: s.seed }),
            null_threshold,
            fp32: scores(&comparison.fp32),
            int8: scores(&comparison.int8),
            identical: comparison.answers.identical,
            promoted: None,
        }
    }

    fn refusal(&self, comparison: &Comparison, promoted: usize) -> anyhow::Error {
        let Gate { min_f1_ratio, promote, squad, .. } = &self.gate;
        let (questions, file) = (comparison.questions, squad.display());
        let Some(ratio) = comparison.f1_ratio() else {
            return anyhow!(
                "the fp32 model itself has an F1 of 0 on the {questions} questions of {file}, so there is nothing to compare with; \
                 nothing was written"
            );
        };
        let what = if *promote {
            format!("{promoted} layers were promoted to half precision, and none is left")
        } else {
            "promotion is off: allow it, or keep sensitive layers in half precision with --half".to_owned()
        };
        anyhow!(
            "int8 has an F1 of {:.2} on {questions} questions of {file}, {} of the {:.2} of fp32, but at least \
             {min_f1_ratio} was asked for; {what}; nothing was written",
            comparison.int8.metrics.all.f1,
            shown_below(ratio, *min_f1_ratio),
            comparison.fp32.metrics.all.f1,
        )
    }
}

/// A warning if the questions chose among candidates: the first, and one for each promotion.
fn selected(promotions: usize) -> Option<String> {
    (promotions > 0).then(|| {
        format!(
            "{} candidates were tried on these questions until one passed, so the recorded ratio is too good: measure it on other \
             questions with `edgeqa-quantize compare`",
            promotions + 1
        )
    })
}

/// Shows the questions of one stage.
struct Progress<'a> {
    stage: &'a OnStage<'a>,
    at: Stage,
}

impl Observer for Progress<'_> {
    fn answered(&self, done: usize, all: usize) {
        (self.stage)(self.at, done, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_0_or_a_number_above() {
        for min_f1_ratio in [-0.1, f64::NAN, f64::INFINITY] {
            let squad = PathBuf::from("none");
            let gate = Gate { squad, limit: None, seed: 0, min_f1_ratio, promote: false, threads: None, cache: None };
            let error = Opened::new(&gate).err().expect("refused").to_string();
            assert!(error.contains("must be 0 or a number above"), "{error}");
        }
    }
}
