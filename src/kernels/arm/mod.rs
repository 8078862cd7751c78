//! Kernels for 32-bit Arm. Stable Rust has no intrinsics and no vector registers for it, so they are whole functions in assembly.

#[macro_use]
mod assembly;
pub(super) mod gemm_neon;
mod neon;
mod product;
mod quads;
mod vectors;
