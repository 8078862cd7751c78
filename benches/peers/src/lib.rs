//! edgeqa beside its peers, measured on the same machine in the same minutes.
//!
//! - [`gemm`]: the same int8 product in edgeqa, tract-linalg and rten-gemm; timed by `benches/gemm.rs`
//! - [`versions`]: which releases were built in
//! - [`random`]: inputs without meaning

pub mod gemm;
pub mod random;
pub mod versions;
