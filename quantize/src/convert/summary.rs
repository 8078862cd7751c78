//! What a conversion found and made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use edgeqa::artifact::{Accuracy, Source};
use serde::Serialize;

use crate::gate::Gated;
use crate::linear::Choice;
use crate::noise::Noise;
use crate::proof::Proof;
use crate::sensitivity::Sensitivity;

/// The result of a conversion.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The artifact; not written in a dry run.
    pub out: PathBuf,
    /// Whether it was published under that name.
    pub written: bool,
    /// What it was made from.
    pub source: Source,
    /// Encoder layers.
    pub layers: usize,
    /// Values of all weights; see [`Checkpoint::parameters`](crate::checkpoint::Checkpoint::parameters).
    pub parameters: usize,
    /// Bytes of the weight file, and of those that it keeps data in.
    pub source_bytes: u64,
    /// Bytes of the artifact.
    pub artifact_bytes: usize,
    /// Its tokenizer.
    pub tokenizer: TokenizerSummary,
    /// sha256 of its tensor data.
    pub data_sha256: String,
    /// The import against the original graph; `None` for a folder of named weights, which has no graph.
    pub proof: Option<Proof>,
    /// Where the model may be worse than it looks; those of the gate are with it.
    pub warnings: Vec<String>,
    /// What calibration did; `None` if there was none.
    pub calibration: Option<CalibrationSummary>,
    /// Linear layers in half precision, by name.
    pub half: BTreeSet<String>,
    /// The artifact against the imported fp32 model.
    pub noise: Noise,
    /// What each linear layer costs, the most sensitive first; empty if that was not measured.
    pub sensitivity: Vec<Sensitivity>,
    /// The scores that the metadata carry; `None` if accuracy was not measured.
    pub accuracy: Option<Accuracy>,
    /// How the accuracy gate was passed; `None` if there was none.
    pub gate: Option<Gated>,
}

/// How an artifact holds its tokenizer.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TokenizerSummary {
    /// Whether the vocabulary is compiled, so that it is used in the map; else `tokenizer.json` is unpacked and read at start.
    pub compiled: bool,
    /// Bytes of the artifact.
    pub bytes: usize,
}

/// What calibration did.
#[derive(Clone, Debug, Serialize)]
pub struct CalibrationSummary {
    /// Where the text comes from.
    pub source: String,
    /// Sequences that were run.
    pub sequences: usize,
    /// Tokens of all sequences.
    pub tokens: usize,
    /// What was chosen, by linear layer.
    pub choices: BTreeMap<String, Choice>,
}
