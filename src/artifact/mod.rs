//! The model file: a valid safetensors file whose tensors can be used straight from a memory map.
//!
//! [`schema`] says which tensors a configuration requires and [`metadata`] what the metadata in a file's `header` holds; [`read`] validates
//! a file against both, [`mod@write`] makes one; [`map`] is the one place that maps memory, and a [`view::View`] is a
//! tensor that keeps its map alive.

pub mod accuracy;
mod error;
mod header;
pub mod map;
pub mod metadata;
pub mod read;
pub mod schema;
mod seal;
pub mod view;
pub mod write;

pub use accuracy::{Accuracy, Drawn, OverallScores, Promoted};
pub use error::ArtifactError;
pub use metadata::{Metadata, Source};
pub use read::Artifact;
pub use view::View;

/// Every tensor starts at a multiple of this in the file: one cache line, the widest vector register.
pub const ALIGNMENT: usize = 64;
/// Version of the tensor names, their meaning and the metadata. Readers accept exactly this one.
pub const FORMAT_VERSION: u32 = 3;
/// Suffix of the filler tensors (fewer than [`ALIGNMENT`] zero bytes) that align the tensor after them. They are needed
/// because safetensors allows no holes between tensors.
pub const PADDING_SUFFIX: &str = ".pad";
/// The longest JSON header in bytes: more than twice that of a model of as many layers as a configuration may have. Reading one takes up to
/// about twenty times its bytes.
pub const MAX_HEADER: usize = 8 << 20;
