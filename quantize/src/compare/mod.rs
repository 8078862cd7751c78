//! The int8 model against the fp32 one on questions with known answers: the same tokens, windows, decoder and threshold on both
//! sides, so that whatever differs comes from the logits.
//!
//! - [`fp32`]: the original graph, or the weights imported from it, ready to score
//! - [`recording`]: the logits of all windows of all questions, and answers made of them again
//! - [`by_length`]: all windows in the order of their lengths
//! - [`cache`]: recordings as files
//! - [`reference`](mod@reference): the fp32 side, run once and compared with any number of int8 models
//! - [`paired`]: both sides question by question
//! - [`bootstrap`]: how far the figures could be from those of other text of the kind
//! - [`logits`]: how far apart the logits are
//! - [`sign`]: whether changes lean to one side
//! - [`warnings`]: what the questions cannot show
//! - [`report`]: all of it for people and programs
//!
//! ```no_run
//! # use std::num::NonZeroUsize;
//! # use std::path::Path;
//! use edgeqa::eval::Dataset;
//! use edgeqa::qa::{AskOptions, Reader};
//! use edgeqa_quantize::compare::fp32::Fp32;
//! use edgeqa_quantize::compare::{Reference, Task, compare};
//!
//! # fn main() -> anyhow::Result<()> {
//! let (dataset, options) = (Dataset::read(Path::new("dev.json"))?, AskOptions::default());
//! let reader = Reader::open(Path::new("model.safetensors"))?;
//! let task = Task { reader: &reader, dataset: &dataset, options: &options, threads: NonZeroUsize::MIN };
//! let fp32 = Fp32::open(Path::new("model.onnx"), None, false)?.load()?;
//! let reference = Reference::run(&fp32, &task, &())?;
//! println!("F1 of int8 is {:?} of that of fp32", compare(&reference, &task, &())?.f1_ratio());
//! # Ok(())
//! # }
//! ```

pub mod bootstrap;
pub mod by_length;
pub mod cache;
pub mod fp32;
pub mod logits;
pub mod paired;
pub mod recording;
pub mod reference;
pub mod report;
pub mod sign;
pub mod warnings;

use std::num::NonZeroUsize;

use edgeqa::eval::Dataset;
use edgeqa::qa::{AskOptions, Reader};

pub use paired::{Comparison, compare};
pub use recording::Recording;
pub use reference::Reference;

/// Which questions are asked, and how; the same for both sides.
pub struct Task<'a, M> {
    /// The int8 model, with the tokenizer and the default threshold of both sides.
    pub reader: &'a Reader<M>,
    /// The questions.
    pub dataset: &'a Dataset,
    /// How to answer; `top_k` has no effect.
    pub options: &'a AskOptions,
    /// Questions answered at the same time. No result but the times depends on it.
    pub threads: NonZeroUsize,
}

impl<M> Clone for Task<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Task<'_, M> {}
