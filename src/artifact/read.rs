//! Opening an artifact: everything is checked before anything is used.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytemuck::Pod;
use half::f16;
use safetensors::Dtype;
use sha2::{Digest, Sha256};

use super::header::read_header;
use super::map::{Access, Mapping};
use super::metadata::{Checksums, Metadata};
use super::schema::{self, Precision, SCORES, SCORES_F64, TRIE, TensorSpec, TokenizerForm};
use super::{ALIGNMENT, ArtifactError, PADDING_SUFFIX, View, seal};
use crate::checksum::hex;
use crate::kernels::layout::{KG, NR};
use crate::vocabulary::{Fault, Trie};

/// An opened, validated model file.
#[derive(Debug)]
pub struct Artifact {
    map: Arc<Mapping>,
    metadata: Metadata,
    checksums: Checksums,
    data_start: usize,
    tensors: BTreeMap<String, TensorInfo>,
}

/// Where a tensor lies in the file.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Element type.
    pub dtype: Dtype,
    /// Shape.
    pub shape: Vec<usize>,
    /// Bytes of the file.
    pub bytes: Range<usize>,
}

impl Artifact {
    /// Maps and validates the file: header and its checksum, metadata, and for every tensor presence, type, shape, place, alignment and
    /// the finiteness of its `f32` values. Weights and a compiled vocabulary are not read; [`Artifact::verify`] does that.
    ///
    /// # Replacing the file
    /// As long as the artifact, or what was made of it, lives, the file must not be truncated or written into: touching what is not there
    /// any more kills the whole process (SIGBUS), and other bytes give other answers. Put a new file beside it and rename that, as
    /// [`replace`](crate::replace::replace) does; the old one stays readable for whoever has it open.
    ///
    /// # Errors
    /// One variant of [`ArtifactError`] per kind of fault.
    pub fn open(path: &Path) -> Result<Self, ArtifactError> {
        let map = Mapping::open(path)?;
        let bytes = map.bytes();
        let (header_len, header) = read_header(bytes)?;
        let data_start = 8 + header_len;
        let (metadata, checksums) = Metadata::from_entries(header.metadata().as_ref())?;
        let tensors: BTreeMap<String, TensorInfo> = header
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let (start, end) = info.data_offsets;
                let bytes = data_start + start..data_start + end;
                (name, TensorInfo { dtype: info.dtype, shape: info.shape.clone(), bytes })
            })
            .collect();
        let artifact = Self { map, metadata, checksums, data_start, tensors };
        artifact.check_tensors()?;
        artifact.check_header()?;
        Ok(artifact)
    }

    /// Tells the system how the file is read when questions are answered: all of the encoder, and soon; of the word embeddings the
    /// rows of the tokens present. What is read ahead cannot be dropped until it is there, so whoever has to say something of a
    /// limit on memory does it before.
    pub(crate) fn read_ahead(&self) {
        self.map.advise(self.encoder(), Access::Soon);
        if let Some(words) = self.tensors.get("embeddings.word.weight") {
            self.map.advise(words.bytes.clone(), Access::Random);
        }
    }

    /// The bytes of the file that hold the encoder, all of which every window reads.
    pub fn encoder(&self) -> Range<usize> {
        let encoder = self.tensors.iter().filter(|(name, _)| name.starts_with("encoder.")).map(|(_, info)| &info.bytes);
        let span = |span: Option<Range<usize>>, bytes: &Range<usize>| match span {
            Some(span) => Some(span.start.min(bytes.start)..span.end.max(bytes.end)),
            None => Some(bytes.clone()),
        };
        encoder.fold(None, span).unwrap_or_default()
    }

    /// Reads the whole file into memory now, so that no question waits for the disk, and keeps it mapped. Where memory is short,
    /// the system can still drop pages; see [`Artifact::lock`].
    pub fn prefault(&self) {
        self.map.prefault();
    }

    /// Reads the whole file into memory now, where it stays until the last user of the artifact is gone.
    ///
    /// # Errors
    /// If the system does not allow it, for `RLIMIT_MEMLOCK` as a rule.
    pub fn lock(&self) -> std::io::Result<()> {
        self.map.lock()
    }

    /// Comes last: what is wrong with the header itself says more.
    fn check_header(&self) -> Result<(), ArtifactError> {
        let stated = &self.checksums.header;
        match seal::expected(&self.map.bytes()[8..self.data_start], stated) {
            Some(found) if found.eq_ignore_ascii_case(stated) => Ok(()),
            found => Err(ArtifactError::Header { found, stated: stated.clone() }),
        }
    }

    fn check_tensors(&self) -> Result<(), ArtifactError> {
        let form = TokenizerForm::of(|name| self.tensors.contains_key(name));
        let specs = schema::tensors(&self.metadata.config, form, |linear| self.precision(&linear.name));
        for spec in &specs {
            match self.tensors.get(&spec.name) {
                Some(info) => check_tensor(spec, info)?,
                None if spec.required => return Err(ArtifactError::Missing { tensor: spec.name.clone() }),
                None => {}
            }
        }
        let known: std::collections::HashSet<&str> = specs.iter().map(|s| s.name.as_str()).collect();
        for (name, info) in &self.tensors {
            let padded = name.strip_suffix(PADDING_SUFFIX).filter(|padded| known.contains(padded));
            let is_filler = padded.and_then(|padded| self.tensors.get(padded)).is_some_and(|padded| {
                let end = padded.bytes.end;
                info.dtype == Dtype::U8 && info.bytes == (end..end.next_multiple_of(ALIGNMENT))
            });
            if !is_filler && !known.contains(name.as_str()) {
                return Err(ArtifactError::Superfluous { tensor: name.clone() });
            }
            // Scores are many and not needed before a text comes.
            if info.dtype == Dtype::F32 && name != SCORES {
                let values: View<f32> = self.view(name)?;
                if let Some(index) = values.iter().position(|v| !v.is_finite()) {
                    return Err(ArtifactError::NonFinite { tensor: name.clone(), index, value: values[index] });
                }
            }
        }
        Ok(())
    }

    /// Reads all tensor data and checks them against the checksum of the metadata, then that weights are in the kernels'
    /// range or finite, column sums are theirs, the compiled vocabulary is sound, and fillers are zero.
    ///
    /// # Errors
    /// [`ArtifactError::Checksum`], [`ArtifactError::WeightRange`], [`ArtifactError::ColumnSum`],
    /// [`ArtifactError::NonFinite`], [`ArtifactError::Vocabulary`], or [`ArtifactError::Superfluous`] for a filler that holds
    /// something.
    pub fn verify(&self) -> Result<(), ArtifactError> {
        self.map.advise(0..self.file_len(), Access::Sequential);
        let result = self.verify_data();
        self.map.advise(0..self.file_len(), Access::Normal);
        result
    }

    fn verify_data(&self) -> Result<(), ArtifactError> {
        let found = hex(&Sha256::digest(self.data()));
        if !found.eq_ignore_ascii_case(&self.checksums.data) {
            return Err(ArtifactError::Checksum { found, expected: self.checksums.data.clone() });
        }
        for (name, info) in &self.tensors {
            if name.ends_with(PADDING_SUFFIX) && self.map.bytes()[info.bytes.clone()].iter().any(|&b| b != 0) {
                return Err(ArtifactError::Superfluous { tensor: name.clone() });
            }
            if info.dtype == Dtype::F16 {
                let weights: View<f16> = self.view(name)?;
                if let Some(index) = weights.iter().position(|w| !w.is_finite()) {
                    let value = weights[index].to_f32();
                    return Err(ArtifactError::NonFinite { tensor: name.clone(), index, value });
                }
            }
            if info.dtype == Dtype::I8 {
                let weights: View<i8> = self.view(name)?;
                if let Some(index) = weights.iter().position(|&w| w == i8::MIN) {
                    return Err(ArtifactError::WeightRange { tensor: name.clone(), index });
                }
            }
        }
        for layer in 0..self.metadata.config.num_layers {
            for spec in schema::linears(&self.metadata.config, layer) {
                if self.precision(&spec.name) == Precision::F16 {
                    continue;
                }
                let weights: View<i8> = self.view(&format!("{}.weight", spec.name))?;
                let tensor = format!("{}.column_sum", spec.name);
                let sums: View<i32> = self.view(&tensor)?;
                for (p, panel) in weights.chunks_exact(spec.shape.panel_len()).enumerate() {
                    for (n, &sum) in sums[p * NR..(p + 1) * NR].iter().enumerate() {
                        let groups = panel.chunks_exact(NR * KG);
                        let actual: i32 = groups.flat_map(|g| &g[n * KG..(n + 1) * KG]).map(|&w| i32::from(w)).sum();
                        if actual != sum {
                            return Err(ArtifactError::ColumnSum { tensor, channel: p * NR + n });
                        }
                    }
                }
            }
        }
        self.verify_vocabulary()
    }

    /// Checks trie and scores of a compiled vocabulary against each other. That they fit the tokenizer's description is checked when that is read.
    fn verify_vocabulary(&self) -> Result<(), ArtifactError> {
        let Some(trie) = self.view_optional::<u8>(TRIE)? else { return Ok(()) };
        let invalid = |tensor| move |fault| ArtifactError::Vocabulary { tensor, fault };
        let vocab_size = self.metadata.config.vocab_size;
        let (tensor, finite): (_, Vec<bool>) = if let Some(scores) = self.view_optional::<f32>(SCORES)? {
            (SCORES, scores.iter().map(|score| score.is_finite()).collect())
        } else if let Some(scores) = self.view_optional::<f64>(SCORES_F64)? {
            (SCORES_F64, scores.iter().map(|score| score.is_finite()).collect())
        } else {
            return Trie(&trie).check(vocab_size).map(drop).map_err(invalid(TRIE));
        };
        // With scores, ids are places in their list, and each is used once.
        let pieces = Trie(&trie).check(vocab_size.min(finite.len())).map_err(invalid(TRIE))?;
        if finite.len() != pieces {
            return Err(invalid(tensor)(Fault::Scores { found: finite.len(), expected: pieces }));
        }
        match finite.iter().position(|finite| !finite) {
            Some(id) => Err(invalid(tensor)(Fault::Score { id })),
            None => Ok(()),
        }
    }

    /// How the weights of a linear layer are stored: the type of the tensor decides.
    pub fn precision(&self, linear: &str) -> Precision {
        match self.tensors.get(&format!("{linear}.weight")) {
            Some(info) if info.dtype == Dtype::F16 => Precision::F16,
            _ => Precision::Int8,
        }
    }

    /// What the header says about the model.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The checksum of the tensor data that the metadata state; [`Artifact::verify`] compares it.
    pub fn data_sha256(&self) -> &str {
        &self.checksums.data
    }

    /// All bytes after the header: the tensor data.
    pub fn data(&self) -> &[u8] {
        &self.map.bytes()[self.data_start..]
    }

    /// Size of the file in bytes.
    pub fn file_len(&self) -> usize {
        self.map.bytes().len()
    }

    /// All tensors by name, fillers included.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// The elements of tensor `name`, in the map.
    ///
    /// # Errors
    /// [`ArtifactError::Missing`] if there is no such tensor; [`ArtifactError::Alignment`] if it cannot be viewed as `T`.
    pub fn view<T: Pod>(&self, name: &str) -> Result<View<T>, ArtifactError> {
        let info = self.tensors.get(name).ok_or_else(|| ArtifactError::Missing { tensor: name.into() })?;
        View::mapped(Arc::clone(&self.map), info.bytes.clone())
            .ok_or_else(|| ArtifactError::Alignment { tensor: name.into(), offset: info.bytes.start })
    }

    /// As [`Artifact::view`], or `None` if there is no such tensor.
    ///
    /// # Errors
    /// [`ArtifactError::Alignment`].
    pub fn view_optional<T: Pod>(&self, name: &str) -> Result<Option<View<T>>, ArtifactError> {
        if self.tensors.contains_key(name) { self.view(name).map(Some) } else { Ok(None) }
    }
}

fn check_tensor(spec: &TensorSpec, info: &TensorInfo) -> Result<(), ArtifactError> {
    let tensor = || spec.name.clone();
    if info.dtype != spec.dtype {
        return Err(ArtifactError::Dtype { tensor: tensor(), found: info.dtype, expected: spec.dtype });
    }
    let expected = spec.shape.clone().unwrap_or_else(|| vec![schema::elements(info.bytes.len(), spec.dtype)]);
    if info.shape != expected {
        return Err(ArtifactError::Shape { tensor: tensor(), found: info.shape.clone(), expected });
    }
    if !info.bytes.start.is_multiple_of(ALIGNMENT) {
        return Err(ArtifactError::Alignment { tensor: tensor(), offset: info.bytes.start });
    }
    Ok(())
}
