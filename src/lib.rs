//! Extractive question answering on small machines: a memory-mapped int8 DeBERTa, run by tract.
//!
//! ```
//! use std::path::Path;
//!
//! use edgeqa::qa::{AskOptions, Reader};
//!
//! let reader = Reader::open(Path::new("models/demo/model.safetensors"))?;
//! let text = "Jonas Ekdahl kept the light until 1968, when it was automated.";
//! let answer = reader.ask("Who kept the light?", text, &AskOptions::default())?;
//! assert_eq!(answer.text, "Jonas Ekdahl");
//! assert_eq!(answer.bytes, Some(0..12));
//! # Ok::<(), edgeqa::qa::QaError>(())
//! ```
//!
//! [`qa`], [`documents`], [`artifact`] and [`eval`] are what other programs may use, and what their signatures name, such as
//! [`threads::Threads`] and [`model::Stop`]; the rest is public for edgeqa's own programs, tests and benchmarks. Before 1.0, any of it may
//! change from one version to the next. Programs and library are one package: what only the programs need is built for others, too.
//!
//! What a program should know that embeds it:
//!
//! - A model is a map of its file: see [`artifact::Artifact::open`] for what must not be done to that.
//! - The first tokenizer installs a panic hook, which hands all panics on but those of libraries with foreign data, as these become errors
//!   (see [`mod@guard`]). With `panic = "abort"` they end the program instead.
//! - After a text of 64 KiB or more, [`qa::Reader::context`] has the C library give unused memory of the whole process back.
//! - `Reader`, `Context` and `Artifact` are [`Send`] and [`Sync`]; several questions at a time need the memory of each.
//!
//! The modules, in the order the data flow:
//!
//! - [`config`]: the shapes of a model
//! - [`artifact`]: the model file: format, validation, the one memory map
//! - [`kernels`]: int8 arithmetic and the `f32` parts, knowing neither tract nor files
//! - [`ops`]: the tract operators made of them
//! - [`model`]: artifact to tract graph to logits
//! - [`vocabulary`]: pieces of text and their ids, compiled for searching in a map
//! - [`tokenizer`]: text to token ids and byte offsets
//! - [`qa`]: questions and texts to answers
//! - [`documents`]: a folder of texts: passages, the index that finds them, one answer from several of them
//! - [`eval`]: answers to figures: SQuAD files and their official scorer
//! - [`bench`](mod@bench): how fast a machine answers, and what that takes
//! - [`serve`]: answers for programs and for a page on a screen
//!
//! Helpers of these:
//!
//! - [`threads`]: who computes
//! - [`memory`]: what a process costs, and limits
//! - [`errors`]: errors in one line
//! - [`replace`](mod@replace): files that are replaced whole
//! - [`checksum`]: checksums of files
//! - [`stats`]: quantiles and means
//! - [`numbers`], [`shown`], [`date`]: numbers, texts and dates as people write and read them
//! - [`command_line`]: arguments, help and exit codes, which the programs have in common
//! - [`progress`]: progress bars
//! - [`guard`]: calls of libraries that may panic on foreign data

pub mod artifact;
pub mod bench;
pub mod checksum;
pub mod command_line;
pub mod config;
pub mod date;
pub mod documents;
pub mod errors;
pub mod eval;
pub mod guard;
pub mod kernels;
pub mod memory;
pub mod model;
pub mod numbers;
mod object;
pub mod ops;
pub mod progress;
pub mod qa;
pub mod replace;
#[cfg(target_os = "linux")]
pub mod serve;
pub mod shown;
#[cfg(test)]
#[path = "../tests/common/skip.rs"]
mod skip;
pub mod stats;
pub mod threads;
pub mod tokenizer;
pub mod vocabulary;

/// What this program was built for, such as `aarch64-linux`.
pub fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

#[cfg(target_endian = "big")]
compile_error!("artifacts are mapped as little-endian numbers; big-endian targets are not supported");
