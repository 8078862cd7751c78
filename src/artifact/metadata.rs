//! The string map in the safetensors header.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::{Accuracy, ArtifactError, FORMAT_VERSION, seal};
use crate::config::ModelConfig;
use crate::errors::without_types;
use crate::kernels::layout::LAYOUT_ID;

/// What the header says about the model beside its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// Architecture and shapes.
    pub config: ModelConfig,
    /// Where the weights come from.
    pub source: Source,
    /// Licence of the weights, an SPDX identifier or free text.
    pub license: String,
    /// Program and version that wrote the file.
    pub tool: String,
    /// Recommended null score difference above which the answer is "none"; `None` means 0.
    pub null_threshold: Option<f32>,
    /// How accurate it was found to be; `None` if that was not measured.
    pub accuracy: Option<Accuracy>,
}

/// Where the weights come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// What was read: `onnx` or `safetensors`.
    pub kind: String,
    /// Hub repository, if the files were fetched from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Commit of the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// sha256 of every input file, by name.
    pub sha256: BTreeMap<String, String>,
}

/// The checksums that a header states.
#[derive(Clone, Debug)]
pub(super) struct Checksums {
    /// Of everything after the header.
    pub data: String,
    /// Of the header, with zeros in place of this one.
    pub header: String,
}

const FORMAT: &str = "edgeqa";

impl Metadata {
    /// The header entries of a file whose tensor data have the checksum `data_sha256`; that of the header is blank.
    pub(super) fn to_entries(&self, data_sha256: &str) -> Result<BTreeMap<&'static str, String>, serde_json::Error> {
        let mut entries = BTreeMap::from([
            ("format", FORMAT.to_owned()),
            ("format_version", FORMAT_VERSION.to_string()),
            ("layout", LAYOUT_ID.to_owned()),
            ("config", serde_json::to_string(&self.config)?),
            ("source", serde_json::to_string(&self.source)?),
            ("license", self.license.clone()),
            ("tool", self.tool.clone()),
            ("data_sha256", data_sha256.to_owned()),
            (seal::ENTRY, seal::BLANK.to_owned()),
        ]);
        if let Some(threshold) = self.null_threshold {
            entries.insert("null_threshold", threshold.to_string());
        }
        if let Some(accuracy) = &self.accuracy {
            entries.insert("accuracy", serde_json::to_string(accuracy)?);
        }
        Ok(entries)
    }

    /// Reads header entries; returns the metadata and the checksums that they state.
    pub(super) fn from_entries(entries: Option<&HashMap<String, String>>) -> Result<(Self, Checksums), ArtifactError> {
        let entries =
            entries.filter(|e| e.get("format").is_some_and(|f| f == FORMAT)).ok_or(ArtifactError::NotEdgeqa)?;
        let invalid = |key, problem: String| ArtifactError::Metadata { key, problem };
        let misread = |key| move |e: serde_json::Error| invalid(key, without_types(&e.to_string()));
        let get = |key| entries.get(key).ok_or_else(|| invalid(key, "missing".into()));
        let version = get("format_version")?;
        if *version != FORMAT_VERSION.to_string() {
            return Err(ArtifactError::Version { found: version.clone(), expected: FORMAT_VERSION });
        }
        let layout = get("layout")?;
        if layout != LAYOUT_ID {
            return Err(ArtifactError::Layout { found: layout.clone(), expected: LAYOUT_ID });
        }
        let config: ModelConfig = serde_json::from_str(get("config")?).map_err(misread("config"))?;
        config.validate().map_err(|problem| invalid("config", problem))?;
        let source = serde_json::from_str(get("source")?).map_err(misread("source"))?;
        let null_threshold = match entries.get("null_threshold") {
            None => None,
            Some(text) => match text.parse::<f32>() {
                Ok(value) if value.is_finite() => Some(value),
                _ => return Err(invalid("null_threshold", format!("{text:?} is no finite number"))),
            },
        };
        let accuracy = entries.get("accuracy").map(|text| serde_json::from_str(text)).transpose();
        let accuracy: Option<Accuracy> = accuracy.map_err(misread("accuracy"))?;
        if let Some(accuracy) = &accuracy {
            accuracy.validate().map_err(|problem| invalid("accuracy", problem))?;
        }
        let checksum = |key| match get(key)? {
            digits if digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()) => Ok(digits.clone()),
            other => Err(invalid(key, format!("{other:?} is no sha256"))),
        };
        let checksums = Checksums { data: checksum("data_sha256")?, header: checksum(seal::ENTRY)? };
        let (license, tool) = (get("license")?.clone(), get("tool")?.clone());
        Ok((Self { config, source, license, tool, null_threshold, accuracy }, checksums))
    }
}
