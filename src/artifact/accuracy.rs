//! What is known about a model's accuracy.

use serde::{Deserialize, Serialize};

/// Scores of the int8 model and of the fp32 model it was made from, on the same questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Name of the data file, in the format of SQuAD.
    pub data: String,
    /// Its sha256.
    pub data_sha256: String,
    /// Number of questions asked: all of the file, or a subset.
    pub questions: usize,
    /// If not all were asked: how the paragraphs were drawn, as `edgeqa eval --limit` and `--seed` take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<Drawn>,
    /// Null odds above which there was no answer.
    pub null_threshold: f32,
    /// Scores of the fp32 model.
    pub fp32: OverallScores,
    /// Scores of the model in the file.
    pub int8: OverallScores,
    /// Number of questions with exactly the same answer.
    pub identical: usize,
    /// What these questions chose, which makes the scores too good; absent if they chose nothing. Programs that do not know this skip
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted: Option<Promoted>,
}

/// Layers that went to half precision because of the questions that the scores are of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promoted {
    /// Number of layers; each time the same questions were asked again.
    pub layers: usize,
    /// F1 ratio before the first.
    pub f1_ratio_before: f64,
}

/// How a subset was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    /// Number of questions asked for; whole paragraphs give at least as many.
    pub limit: usize,
    /// Seed of the order of paragraphs.
    pub seed: u64,
}

/// The official scores over all questions, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverallScores {
    /// Exact matches.
    pub exact: f64,
    /// Mean F1.
    pub f1: f64,
}

impl Accuracy {
    /// F1 of the int8 model divided by that of the fp32 model; `None` if the latter is 0.
    pub fn f1_ratio(&self) -> Option<f64> {
        (self.fp32.f1 > 0.0).then(|| self.int8.f1 / self.fp32.f1)
    }

    /// Whether the numbers can be what they say.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn validate(&self) -> Result<(), String> {
        for score in [self.fp32.exact, self.fp32.f1, self.int8.exact, self.int8.f1] {
            if !(0.0..=100.0).contains(&score) {
                return Err(format!("a score of {score} %"));
            }
        }
        if self.questions == 0 || self.identical > self.questions {
            return Err(format!("{} identical answers to {} questions", self.identical, self.questions));
        }
        if !self.null_threshold.is_finite() {
            return Err(format!("a threshold of {}", self.null_threshold));
        }
        match self.promoted {
            Some(Promoted { layers, f1_ratio_before: before })
                if layers == 0 || !before.is_finite() || before < 0.0 =>
            {
                Err(format!("{layers} layers promoted from an F1 ratio of {before}"))
            }
            _ => Ok(()),
        }
    }
}
