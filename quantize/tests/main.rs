//! The tests of conversion and comparison, in one program: to link them one by one would take longer than they do.

mod common;
mod compare;
mod exports;
mod folder;
mod gate;
mod hub;
mod mutations;
mod onnx_runtime;
mod program;
#[path = "../../tests/common/skip.rs"]
mod skip;
