//! The fp32 side of comparisons.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use edgeqa::config::ModelConfig;
use edgeqa::eval::{Observer, Prediction};
use edgeqa::qa::Scorer;

use super::cache::{self, Identity};
use super::{Recording, Task, by_length};

/// What the fp32 model makes of the questions of a [`Task`].
#[derive(Clone, Debug)]
pub struct Reference {
    /// In the order of the questions.
    pub predictions: Vec<Prediction>,
    /// The logits that they were made of.
    pub recording: Recording,
    /// The file that the logits were read from; `None` if the model was run.
    pub cached: Option<PathBuf>,
}

impl Reference {
    /// Runs the fp32 `model` on the windows of the task's reader.
    ///
    /// # Errors
    /// If the models have other shapes; otherwise those of [`by_length::record`] and [`Recording::replay`].
    pub fn run<M: Scorer + Sync>(
        model: &(impl Scorer + Sync),
        task: &Task<'_, M>,
        observer: &impl Observer,
    ) -> anyhow::Result<Self> {
        refuse_other_shapes(model.config(), task.reader.config())?;
        let recording = by_length::record(model, task, observer).context("the fp32 model cannot answer")?;
        Ok(Self { predictions: recording.replay(task)?, recording, cached: None })
    }

    /// Reads the logits that `identity` names from the cache in `folder`, or calls `load` and runs that model, and keeps its logits
    /// there. A damaged file is replaced; that and a folder that cannot be written are only logged.
    ///
    /// # Errors
    /// As [`Reference::run`], and those of `load`.
    pub fn run_or_cached<M: Scorer + Sync, F: Scorer + Sync>(
        folder: Option<&Path>,
        identity: &Identity,
        load: impl FnOnce() -> anyhow::Result<F>,
        task: &Task<'_, M>,
        observer: &impl Observer,
    ) -> anyhow::Result<Self> {
        refuse_other_shapes(identity.config(), task.reader.config())?;
        let Some(folder) = folder else { return Self::run(&load()?, task, observer) };
        let path = identity.file(folder)?;
        match Self::read(&path, identity, task) {
            Ok(Some(reference)) => return Ok(reference),
            Ok(None) => {}
            Err(error) => log::warn!("{} cannot be used, so fp32 runs again: {error:#}", path.display()),
        }
        let reference = Self::run(&load()?, task, observer)?;
        if let Err(error) = cache::write(&path, identity, &reference.recording) {
            log::warn!("the fp32 logits are not kept for the next run: {error:#}");
        }
        Ok(reference)
    }

    fn read<M: Scorer + Sync>(path: &Path, identity: &Identity, task: &Task<'_, M>) -> anyhow::Result<Option<Self>> {
        let Some(recording) = cache::read(path, identity)? else { return Ok(None) };
        let predictions = recording.replay(task)?;
        Ok(Some(Self { predictions, recording, cached: Some(path.to_owned()) }))
    }
}

fn refuse_other_shapes(fp32: &ModelConfig, int8: &ModelConfig) -> anyhow::Result<()> {
    if fp32 == int8 {
        return Ok(());
    }
    let (fp32, int8) = (serde_json::to_value(fp32)?, serde_json::to_value(int8)?);
    let differing = fp32.as_object().into_iter().flatten().find(|(name, value)| int8.get(name.as_str()) != Some(value));
    let Some((name, value)) = differing else { bail!("the fp32 and the int8 model have other shapes") };
    bail!(
        "the fp32 model has {name} {value}, the int8 model {}: one is not made from the other; give the model that was converted",
        int8.get(name.as_str()).unwrap_or(&serde_json::Value::Null)
    )
}
