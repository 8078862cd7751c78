//! Kernels for 32-bit Arm. Stable Rust has no intrinsics and no vector registers for it, so they are whole functions in assembly.

pub(super) mod gemm_neon;
