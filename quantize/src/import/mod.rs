//! Reading fp32 weights: [`folder`] from a Hugging Face folder, [`onnx`] from a graph.

pub mod folder;
pub mod onnx;
