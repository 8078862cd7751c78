//! Everything that can be wrong with a model file, one variant each.

use std::io;
use std::path::PathBuf;

use safetensors::Dtype;

use super::MAX_HEADER;
use super::schema::CHARSMAP;
use crate::vocabulary::Fault;

/// Why a file cannot be used as a model. Every message says what, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// The file cannot be opened, mapped, written or renamed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The verb, e.g. "open".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The beginning of the file is no safetensors header.
    #[error(
        "not a safetensors file ({0}); give a model made by `edgeqa-quantize`; if it is one, copy or download it again"
    )]
    NotSafetensors(String),
    /// The header is longer than that of any model; nothing of it was read.
    #[error(
        "its header has {found} bytes, more than the {MAX_HEADER} that a model's may have; give a model made by `edgeqa-quantize`; if \
         it is one, copy or download it again"
    )]
    HeaderLength {
        /// Bytes it is said to have.
        found: u64,
    },
    /// A header without edgeqa's metadata: some other model.
    #[error(
        "a safetensors file, but not an edgeqa model; convert it first: edgeqa-quantize <folder> --out model.safetensors"
    )]
    NotEdgeqa,
    /// Fewer bytes than the header promises.
    #[error(
        "the file is truncated: it has {found} bytes of {expected} and ends before the end of tensor {tensor}; copy or download it again"
    )]
    Truncated {
        /// The first tensor that is cut off.
        tensor: String,
        /// Bytes the header promises.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// More bytes than the header promises.
    #[error(
        "the file goes on after its last tensor: it has {found} bytes instead of {expected}; copy or download it again"
    )]
    Overlong {
        /// Bytes the header promises.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// Made by an older or newer tool.
    #[error(
        "format version {found}, but this program reads version {expected}; make the model again from its original, with the \
         edgeqa-quantize of this version, or update edgeqa if the file is the newer one"
    )]
    Version {
        /// What the file says.
        found: String,
        /// What this program reads.
        expected: u32,
    },
    /// Weights packed in an order this program's kernels do not read.
    #[error(
        "weights are packed as {found:?}, but this program reads {expected:?}; convert the model again with the matching edgeqa-quantize"
    )]
    Layout {
        /// What the file says.
        found: String,
        /// What this program reads.
        expected: &'static str,
    },
    /// A metadata entry is missing or has no valid value.
    #[error("metadata entry {key:?}: {problem}; the file is damaged or was edited, convert the model again")]
    Metadata {
        /// The entry.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The configuration asks for a tensor that is not there.
    #[error("tensor {tensor} is missing; the file is damaged or was edited, convert the model again")]
    Missing {
        /// The tensor.
        tensor: String,
    },
    /// A tensor that the configuration does not know.
    #[error(
        "tensor {tensor} does not belong to this configuration; the file is damaged or was edited, convert the model again"
    )]
    Superfluous {
        /// The tensor.
        tensor: String,
    },
    /// A tensor has another element type than it must.
    #[error("tensor {tensor} has type {found:?} instead of {expected:?}; convert the model again")]
    Dtype {
        /// The tensor.
        tensor: String,
        /// What the file says.
        found: Dtype,
        /// What it must be.
        expected: Dtype,
    },
    /// A tensor has another shape than the configuration implies.
    #[error("tensor {tensor} has shape {found:?} instead of {expected:?}; convert the model again")]
    Shape {
        /// The tensor.
        tensor: String,
        /// What the file says.
        found: Vec<usize>,
        /// What it must be.
        expected: Vec<usize>,
    },
    /// A tensor does not start on a 64-byte boundary.
    #[error(
        "tensor {tensor} starts at byte {offset}, which is no multiple of 64; write the file with edgeqa-quantize, not with another tool"
    )]
    Alignment {
        /// The tensor.
        tensor: String,
        /// Where it starts in the file.
        offset: usize,
    },
    /// A scale, bias or norm parameter is infinite or not a number.
    #[error(
        "tensor {tensor} holds the non-finite value {value} at index {index}; the file is damaged, convert the model again"
    )]
    NonFinite {
        /// The tensor.
        tensor: String,
        /// Which element.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// A quantised weight is outside the range in which kernels are exact.
    #[error(
        "tensor {tensor} holds -128 at index {index}, outside [-127, 127]; the file is damaged, convert the model again"
    )]
    WeightRange {
        /// The tensor.
        tensor: String,
        /// Which element.
        index: usize,
    },
    /// The column sums that some kernels subtract do not belong to the weights.
    #[error(
        "tensor {tensor} does not hold the sums of its weights (channel {channel}); the file is damaged, convert the model again"
    )]
    ColumnSum {
        /// The tensor of sums.
        tensor: String,
        /// The output channel.
        channel: usize,
    },
    /// The tensor data are not those the file was written with.
    #[error(
        "checksum mismatch: the tensor data have sha256 {found}, the file was written with {expected}; copy or download it again"
    )]
    Checksum {
        /// What the data have.
        found: String,
        /// What the metadata say.
        expected: String,
    },
    /// The header is not the one the file was written with.
    #[error(
        "checksum mismatch: the header {}, the file was written with sha256 {stated}; copy or download it again, or convert the model again",
        found.as_deref().map_or("was written another way".into(), |found| format!("has sha256 {found}"))
    )]
    Header {
        /// What the header has; `None` if the entry does not stand where it should.
        found: Option<String>,
        /// What the metadata say.
        stated: String,
    },
    /// The tokenizer inside the file cannot be unpacked.
    #[error("tensor {tensor} does not unpack ({problem}); copy or download the file again")]
    Packed {
        /// The tensor.
        tensor: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The map of characters of the tokenizer has not the parts it must have.
    #[error("tensor {CHARSMAP} is no map of characters; copy or download the file again")]
    Charsmap,
    /// The compiled vocabulary is not sound.
    #[error("tensor {tensor}: {fault}; the file is damaged, convert the model again")]
    Vocabulary {
        /// The tensor.
        tensor: &'static str,
        /// What is wrong.
        fault: Fault,
    },
}
