//! Kernels for x86-64: vectors of 16 `f32` ([`avx2`], [`avx512`]) and int8 products, one file per instruction set.

pub(super) mod avx2;
pub(super) mod avx512;
pub(super) mod gemm_avx2;
pub(super) mod gemm_avx512_vnni;
pub(super) mod gemm_avx_vnni;
