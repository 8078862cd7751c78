//! Kernels for 64-bit Arm: vectors of 16 `f32` ([`neon`]) and int8 products, one file per instruction set.

// First, as macros are known from their place on.
#[macro_use]
mod assembly;

mod arrange;
mod elementary;
mod fits;
pub(super) mod gemm_i8mm;
pub(super) mod gemm_neon;
pub(super) mod gemm_neon_dot;
pub(super) mod neon;
mod scores;
