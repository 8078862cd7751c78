//! The fp32 model of a comparison.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use edgeqa::config::ModelConfig;
use edgeqa::model::{Logits, ModelError, Session};
use edgeqa::qa::Scorer;
use serde::Serialize;

use crate::config::SourceConfig;
use crate::float;
use crate::import::{self, onnx::OnnxModel};
use crate::input::{beside, by_name, checksums, files, is_onnx, need, weights_file};
use crate::original::Original;

/// What runs the fp32 model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// tract, on the graph as it was exported.
    Graph,
    /// edgeqa's own operators, on the imported weights.
    Imported,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Graph => "the exported graph, run by tract",
            Backend::Imported => "the imported weights, run by edgeqa in fp32",
        })
    }
}

/// The files of an fp32 model, read but not yet made ready to run.
pub struct Fp32 {
    /// The weights: an ONNX or a safetensors file.
    pub weights: PathBuf,
    /// What is to run it.
    pub backend: Backend,
    /// The files it is made of.
    pub files: Vec<PathBuf>,
    /// Checksums of them, by name.
    pub sha256: BTreeMap<String, String>,
    config: SourceConfig,
    graph: Option<OnnxModel>,
}

impl Fp32 {
    /// Reads the model that `path` names, an ONNX file, a safetensors file or a folder with one of them; `config` defaults to the
    /// `config.json` beside the weights. A graph is run as it is, unless its weights are to be `imported`; without a graph they
    /// always are.
    ///
    /// # Errors
    /// If a file is missing, is no original, or is not supported.
    pub fn open(path: &Path, config: Option<&Path>, imported: bool) -> anyhow::Result<Self> {
        let weights = weights_file(path)?;
        let config_file = config.map_or_else(|| beside(&weights, "config.json"), Path::to_owned);
        need(&config_file, "--config")?;
        let config = SourceConfig::read(&config_file)?;
        let graph = if is_onnx(&weights) { Some(import::onnx::read(&weights)?) } else { None };
        let files = files(&weights, &config_file, None, graph.as_ref());
        let sha256 = by_name(&checksums(&files)?);
        let files = files.into_iter().map(|file| file.path).collect();
        let backend = if imported || graph.is_none() { Backend::Imported } else { Backend::Graph };
        Ok(Self { weights, backend, files, sha256, config, graph })
    }

    /// The model's shapes.
    pub fn config(&self) -> &ModelConfig {
        &self.config.model
    }

    /// Makes the model ready to run.
    ///
    /// # Errors
    /// If tract cannot read the graph, or the weights cannot be imported.
    pub fn load(&self) -> anyhow::Result<Model> {
        if let (Backend::Graph, Some(graph)) = (self.backend, &self.graph) {
            let original = Original::new(graph, &self.config.model)?;
            if let Some(length) = original.fixed_length() {
                anyhow::bail!(
                    "{} was exported for exactly {length} tokens, and windows have other lengths; run its imported weights with \
                     --imported",
                    self.weights.display()
                );
            }
            return Ok(Model::Graph(Box::new(original)));
        }
        let checkpoint = match &self.graph {
            Some(graph) => import::onnx::import(graph, &self.config)?,
            None => import::folder::import(&self.weights, &self.config)?,
        };
        Ok(Model::Imported(Session::new(&float::weights(&checkpoint))?))
    }
}

/// An fp32 model ready to run.
pub enum Model {
    /// As exported.
    Graph(Box<Original>),
    /// As imported.
    Imported(Session),
}

impl Scorer for Model {
    fn config(&self) -> &ModelConfig {
        match self {
            Model::Graph(original) => Scorer::config(original.as_ref()),
            Model::Imported(session) => session.config(),
        }
    }

    fn logits(&self, ids: &[i64], types: Option<&[i64]>) -> Result<Logits, ModelError> {
        match self {
            Model::Graph(original) => original.logits(ids, types),
            Model::Imported(session) => session.logits(ids, types),
        }
    }
}
