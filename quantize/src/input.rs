//! The files that a model is read from.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use edgeqa::artifact::Source;

use crate::checkpoint::Checkpoint;
use crate::config::SourceConfig;
use crate::hub::Downloaded;
use crate::import::onnx::OnnxModel;
use crate::{checksum, import};

/// The files of one model.
#[derive(Clone, Debug)]
pub struct Input {
    /// An `.onnx` or `.safetensors` file.
    pub weights: PathBuf,
    /// Its `config.json`.
    pub config: PathBuf,
    /// Its `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// Hub repository and commit, if they were fetched.
    pub hub: Option<(String, String)>,
}

impl Input {
    /// Resolves what a user names: an ONNX or safetensors file, or a Hugging Face folder; `config` and `tokenizer` default to the
    /// files beside the weights.
    ///
    /// # Errors
    /// If a file is missing; the message says which and what can be done.
    pub fn local(path: &Path, config: Option<PathBuf>, tokenizer: Option<PathBuf>) -> anyhow::Result<Self> {
        let weights = weights_file(path)?;
        let input = Self {
            config: config.unwrap_or_else(|| beside(&weights, "config.json")),
            tokenizer: tokenizer.unwrap_or_else(|| beside(&weights, "tokenizer.json")),
            weights,
            hub: None,
        };
        for (file, option) in [(&input.config, "--config"), (&input.tokenizer, "--tokenizer")] {
            ensure!(
                file.is_file(),
                "{} does not exist; put it beside the weights or name it with {option}",
                file.display()
            );
        }
        Ok(input)
    }

    /// The files that a hub download returned.
    pub fn downloaded(files: Downloaded) -> Self {
        Self {
            weights: files.weights.path().to_owned(),
            config: files.config,
            tokenizer: files.tokenizer,
            hub: Some((files.repo, files.commit)),
        }
    }
}

/// The weights that `path` names: itself, or a file in this folder.
///
/// # Errors
/// If there are none that can be read; the message says what can be done.
pub(crate) fn weights_file(path: &Path) -> anyhow::Result<PathBuf> {
    let weights = if path.is_dir() { weights_in(path)? } else { path.to_owned() };
    ensure!(weights.is_file(), "cannot open {}: no such file or folder", weights.display());
    Ok(weights)
}

/// The file `name` that belongs to `weights`.
pub(crate) fn beside(weights: &Path, name: &str) -> PathBuf {
    let folder = weights.parent().unwrap_or(Path::new(""));
    let near = folder.join(name);
    // The hub's repositories keep exports in a sub-folder `onnx`.
    if near.is_file() || !folder.ends_with("onnx") { near } else { folder.join("..").join(name) }
}

fn weights_in(folder: &Path) -> anyhow::Result<PathBuf> {
    for name in ["model.safetensors", "model.onnx", "onnx/model.onnx"] {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    if folder.join("model.safetensors.index.json").is_file() {
        bail!(
            "{}: weights in several files are not supported; save the model in one model.safetensors",
            folder.display()
        );
    }
    if folder.join("pytorch_model.bin").is_file() {
        bail!(
            "{} only holds pytorch_model.bin, which cannot be read safely; convert it first: \
             AutoModelForQuestionAnswering.from_pretrained(DIR).save_pretrained(DIR)",
            folder.display()
        );
    }
    bail!("{} holds neither model.safetensors nor model.onnx", folder.display());
}

pub(crate) fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
}

/// Reads the weights, and the graph if there is one.
///
/// # Errors
/// If the files are damaged or no supported model.
pub(crate) fn import(input: &Input, config: &SourceConfig) -> anyhow::Result<(Checkpoint, Option<OnnxModel>)> {
    if is_onnx(&input.weights) {
        let model = import::onnx::read(&input.weights)?;
        let checkpoint = import::onnx::import(&model, config)?;
        Ok((checkpoint, Some(model)))
    } else {
        Ok((import::folder::import(&input.weights, config)?, None))
    }
}

/// Every file that is read: weights, configuration, tokenizer, and where an ONNX model keeps data outside of itself.
pub(crate) fn files(input: &Input, graph: Option<&OnnxModel>) -> Vec<PathBuf> {
    let external = graph.into_iter().flat_map(|g| &g.external);
    [&input.weights, &input.config, &input.tokenizer].into_iter().chain(external).cloned().collect()
}

pub(crate) fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "json")
}

/// Where the weights come from, with the checksums of `files`.
///
/// # Errors
/// If a file cannot be read.
pub(crate) fn source(input: &Input, files: &[PathBuf], is_graph: bool) -> anyhow::Result<Source> {
    let (repo, revision) = input.hub.clone().unzip();
    let kind = if is_graph { "onnx" } else { "safetensors" };
    Ok(Source { kind: kind.into(), repo, revision, sha256: checksums(files)? })
}

/// Bytes of a file.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn size(path: &Path) -> anyhow::Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len())
}

/// The sha256 of files, by file name.
///
/// # Errors
/// If one cannot be read.
pub(crate) fn checksums<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> anyhow::Result<BTreeMap<String, String>> {
    let mut sums = BTreeMap::new();
    for path in files {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let sum = checksum::sha256(path).with_context(|| format!("cannot read {}", path.display()))?;
        sums.insert(name, sum);
    }
    Ok(sums)
}
