//! Converts DeBERTa-v2/v3 question-answering models to edgeqa's memory-mapped int8 artifact.
//!
//! The modules, in the order the data flow:
//!
//! - [`hub`]: fetches a model's files
//! - [`input`]: which files a model is read from
//! - [`config`]: `config.json` to the model's shapes, or a refusal by name
//! - [`import`]: an ONNX graph or a Hugging Face folder to a [`checkpoint`] of fp32 weights
//! - [`float`]: the checkpoint as a runnable fp32 model
//! - [`original`]: the graph as the exporter wrote it, run by tract
//! - [`proof`]: the runnable model against the original graph
//! - [`calibrate`]: what the inputs of linear layers look like on real text, and what follows from it
//! - [`linear`]: a linear layer to int8 or half precision
//! - [`quantize`]: the checkpoint to the tensors of an artifact
//! - [`sensitivity`]: what each linear layer costs in int8
//! - [`noise`]: the int8 model against the fp32 one, layer by layer
//! - [`gate`]: nothing is published that answers worse than it may
//! - [`convert`]: all of it in order, with a summary
//! - [`compare`]: the answers of the int8 model against those of the fp32 one, question by question
//!
//! Beside the flow, [`parallel`] does independent jobs on all cores, and [`interrupt`] sees to what a signal leaves behind, and [`target`] to what
//! is written over.

pub mod calibrate;
pub mod checkpoint;
pub mod compare;
pub mod config;
pub mod convert;
pub mod float;
pub mod gate;
pub mod hub;
pub mod import;
pub mod input;
pub mod interrupt;
pub mod linear;
pub mod noise;
pub mod original;
pub mod parallel;
pub mod proof;
pub mod quantize;
mod random;
pub mod sensitivity;
pub mod target;
mod tokens;
