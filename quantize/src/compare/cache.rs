//! Recordings as files, so that fp32 need not run again.
//!
//! A file is `<folder>/<key>.safetensors`, where the key is the sha256 of the [`Identity`] as JSON. It holds, in the order of the
//! questions:
//!
//! | tensor | type | shape | |
//! |---|---|---|---|
//! | `start` | F32 | tokens | start logits of all windows, one after the other |
//! | `end` | F32 | tokens | end logits of the same |
//! | `window_len` | U32 | windows | tokens of each window |
//! | `windows` | U32 | questions | windows of each question |
//! | `seconds` | F64 | questions | time of each question on its thread |
//!
//! The header's metadata has `format` (`edgeqa fp32 logits`), `identity` (the JSON) and `data_sha256` (of the bytes of the tensors
//! in the order of this table). Whatever does not agree with them is refused.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use edgeqa::checksum::hex;
use edgeqa::config::ModelConfig;
use edgeqa::eval::Subset;
use edgeqa::replace::replace;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::fp32::Backend;
use super::{Recording, Task};

/// Version of the file and of what its numbers mean.
const VERSION: u32 = 1;
const FORMAT: &str = "edgeqa fp32 logits";
const TENSORS: [(&str, Dtype); 5] = [
    ("start", Dtype::F32),
    ("end", Dtype::F32),
    ("window_len", Dtype::U32),
    ("windows", Dtype::U32),
    ("seconds", Dtype::F64),
];

/// Everything that fp32 logits depend on. What is made of them afterwards, thresholds and the longest answer, is no part of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Identity {
    version: u32,
    tool: &'static str,
    backend: Backend,
    model_sha256: Vec<String>,
    config: ModelConfig,
    tokenizer_sha256: String,
    data_sha256: String,
    subset: Option<Subset>,
    questions: usize,
    max_seq_len: Option<usize>,
    doc_stride: Option<usize>,
}

impl Identity {
    /// The logits of a model of shapes `config`, made of files with the checksums `model_sha256` and run by `backend`, for the
    /// questions of `task`, which the tokenizer with this checksum makes windows of.
    pub fn new<M>(
        backend: Backend,
        config: &ModelConfig,
        model_sha256: impl IntoIterator<Item = String>,
        tokenizer_sha256: String,
        task: &Task<'_, M>,
    ) -> Self {
        let mut model_sha256: Vec<String> = model_sha256.into_iter().collect();
        model_sha256.sort_unstable();
        Self {
            version: VERSION,
            tool: concat!("edgeqa-quantize ", env!("CARGO_PKG_VERSION")),
            backend,
            model_sha256,
            config: config.clone(),
            tokenizer_sha256,
            data_sha256: task.dataset.sha256.clone(),
            subset: task.dataset.subset,
            questions: task.dataset.question_count(),
            max_seq_len: task.options.max_seq_len,
            doc_stride: task.options.doc_stride,
        }
    }

    /// The shapes of the fp32 model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The file in `folder` for this.
    ///
    /// # Errors
    /// If this cannot be written as JSON.
    pub fn file(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let key = hex(&Sha256::digest(self.json()?.as_bytes()));
        Ok(folder.join(key).with_extension("safetensors"))
    }

    fn json(&self) -> anyhow::Result<String> {
        serde_json::to_string(self).context("cannot name what the logits depend on")
    }
}

/// The folder to use unless another is named: `edgeqa/fp32` in `$XDG_CACHE_HOME`, or else in `~/.cache`. `None` without a home.
pub fn default_folder() -> Option<PathBuf> {
    let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(caches.join("edgeqa").join("fp32"))
}

/// Reads a recording of what `identity` names; `None` if there is no file.
///
/// # Errors
/// If the file cannot be read, or is not exactly such a recording.
pub fn read(path: &Path, identity: &Identity) -> anyhow::Result<Option<Recording>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    parse(&bytes, identity).map(Some)
}

fn parse(bytes: &[u8], identity: &Identity) -> anyhow::Result<Recording> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let entries = header.metadata().clone().unwrap_or_default();
    let entry = |name: &str| entries.get(name).with_context(|| format!("no {name} in its metadata"));
    ensure!(entry("format")? == FORMAT, "not a file of fp32 logits");
    ensure!(*entry("identity")? == identity.json()?, "logits of something else");
    let file = SafeTensors::deserialize(bytes)?;
    ensure!(file.len() == TENSORS.len(), "{} tensors instead of {}", file.len(), TENSORS.len());
    let mut digest = Sha256::new();
    let mut parts = Vec::with_capacity(TENSORS.len());
    for (name, dtype) in TENSORS {
        let tensor = file.tensor(name)?;
        let (found, shape) = (tensor.dtype(), tensor.shape());
        ensure!(
            found == dtype && shape.len() == 1,
            "tensor {name} is {found:?} {shape:?} instead of a list of {dtype:?}"
        );
        digest.update(tensor.data());
        parts.push(tensor.data().to_vec());
    }
    ensure!(*entry("data_sha256")? == hex(&digest.finalize()), "its data do not have the stated checksum");
    let [start, end, window_len, windows, seconds] = &parts[..] else { anyhow::bail!("tensors are missing") };
    let floats = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let counts = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    let seconds = seconds.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
    let recording = Recording::new(floats(start), floats(end), counts(window_len), counts(windows), seconds)?;
    let (found, expected) = (recording.windows().len(), identity.questions);
    ensure!(found == expected, "logits of {found} questions instead of {expected}");
    Ok(recording)
}

/// Writes a recording of what `identity` names to `path`, whose folder is made if it does not exist. The file is written beside its
/// place and renamed.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, identity: &Identity, recording: &Recording) -> anyhow::Result<()> {
    let bytes = serialize(identity, recording)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    replace(path, &bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn serialize(identity: &Identity, recording: &Recording) -> anyhow::Result<Vec<u8>> {
    let data: [&[u8]; 5] = [
        bytemuck::cast_slice(recording.start()),
        bytemuck::cast_slice(recording.end()),
        bytemuck::cast_slice(recording.window_len()),
        bytemuck::cast_slice(recording.windows()),
        bytemuck::cast_slice(recording.seconds()),
    ];
    let mut digest = Sha256::new();
    let mut views = Vec::with_capacity(data.len());
    for ((name, dtype), bytes) in TENSORS.into_iter().zip(data) {
        digest.update(bytes);
        views.push((name, TensorView::new(dtype, vec![8 * bytes.len() / dtype.bitsize()], bytes)?));
    }
    let entries =
        [("format", FORMAT.to_owned()), ("identity", identity.json()?), ("data_sha256", hex(&digest.finalize()))];
    let entries: HashMap<String, String> = entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(safetensors::serialize(views, Some(entries))?)
}
