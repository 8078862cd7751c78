//! edgeqa beside its peers, measured on the same machine in the same minutes. `README.md` says how to run it.
//!
//! - [`gemm`]: the same int8 product in edgeqa, tract-linalg and rten-gemm; timed by `benches/gemm.rs`
//! - [`worker`]: one loaded model in one process that runs inferences on request; driven by `compare.py`
//! - [`versions`]: which releases were built in
//! - [`random`]: inputs without meaning

pub mod gemm;
pub mod random;
pub mod versions;
pub mod worker;
