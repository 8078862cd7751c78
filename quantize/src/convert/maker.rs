//! Making an artifact beside its name, as often as it takes, and checking every one.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::ensure;
use edgeqa::artifact::{Artifact, Metadata};
use edgeqa::model::ModelWeights;
use edgeqa::tokenizer::{QaTokenizer, Window};

use super::{OnStage, Stage};
use crate::calibrate::Texts;
use crate::checkpoint::Checkpoint;
use crate::gate::Candidate;
use crate::interrupt::Unnamed;
use crate::quantize::{self, Int8Linears};
use crate::sensitivity::{self, Sensitivity};
use crate::tokens;

/// What files are made of.
pub(super) struct Maker<'a> {
    pub checkpoint: &'a Checkpoint,
    pub tokenizer: &'a str,
    pub float: &'a ModelWeights,
    pub int8: &'a Int8Linears,
    /// The sequences of the calibration.
    pub windows: Option<&'a [Window]>,
    /// Their texts.
    pub texts: Option<&'a Texts>,
    pub qa: &'a QaTokenizer,
    pub metadata: Metadata,
    pub out: &'a Path,
    pub stage: &'a OnStage<'a>,
    /// The last file that was made.
    pub pending: Option<Unnamed>,
    pub sensitivity: Option<Vec<Sensitivity>>,
}

impl Candidate for Maker<'_> {
    /// Writes the artifact beside its name and checks it. What is published is the file itself, so the file is what gets checked and
    /// measured.
    fn make(&mut self, half: &BTreeSet<String>) -> anyhow::Result<Artifact> {
        (self.stage)(Stage::Writing, 0, 0);
        let tensors = quantize::tensors(self.checkpoint, self.tokenizer, self.int8, half)?;
        let pending = Unnamed::write(self.out, &self.metadata, &tensors)?;
        let artifact = Artifact::open(pending.path())?;
        artifact.verify()?;
        self.prove_tokenizer(&QaTokenizer::from_artifact(&artifact)?)?;
        self.pending = Some(pending);
        Ok(artifact)
    }

    fn sensitivity(&mut self) -> anyhow::Result<&[Sensitivity]> {
        if self.sensitivity.is_none() {
            let step = |done, all| (self.stage)(Stage::Sensitivity, done, all);
            let windows = match self.windows {
                Some(windows) => windows,
                None => &Texts::own().windows(self.qa, self.float.config.max_positions)?,
            };
            self.sensitivity = Some(sensitivity::measure(self.float, self.int8, windows, step)?);
        }
        Ok(self.sensitivity.as_deref().unwrap_or_default())
    }
}

impl Maker<'_> {
    /// The tokenizer of the artifact must make the same sequences as that of `tokenizer.json`, and the tokens of the library.
    fn prove_tokenizer(&self, found: &QaTokenizer) -> anyhow::Result<()> {
        let own = Texts::own();
        let (texts, max) = (self.texts.unwrap_or(&own), self.metadata.config.max_positions);
        ensure!(
            texts.windows(found, max)? == texts.windows(self.qa, max)?,
            "the tokenizer in the file makes other tokens of {} than tokenizer.json; please report this",
            texts.name
        );
        tokens::prove(found, self.tokenizer, texts)
    }
}
