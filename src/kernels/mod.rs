//! The int8 arithmetic, safe to call: knows neither tract nor files.
//!
//! [`layout`] says where a weight lies, [`pack`] puts it there, [`gemm`] is the table of kernels, [`linear`] turns a kernel's
//! integers into a layer's outputs, [`linear_float`] does without integers, [`rows`] quantises activations, [`math`] holds the
//! `f32` parts, [`attention`] computes scores and weighted sums of values, block by block. `columns` are parts of a matrix that
//! threads write at the same time. [`cpu`] finds out what the CPU can do; `f32` code is written once over the vectors of `simd`.

// First, as macros are known from their place on.
#[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
#[macro_use]
mod assembly;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "arm")]
mod arm;
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    allow(dead_code, reason = "products of bytes have no vectors there")
)]
pub mod attention;
pub(crate) mod columns;
pub mod cpu;
mod elementary;
#[cfg(test)]
mod end_of_file;
pub mod gemm;
mod gemm_f32;
pub mod layout;
pub mod linear;
pub mod linear_float;
pub mod math;
pub mod pack;
mod portable;
pub mod rows;
mod scalar;
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    allow(dead_code, reason = "products of bytes have no vectors there")
)]
mod score_products;
mod simd;
mod steps;
#[cfg(test)]
mod tested;
#[cfg(test)]
mod tests;
mod transposed;
#[cfg(target_arch = "x86_64")]
mod x86_64;

/// The first `len` values, after making room for them. They hold anything.
fn room<T: Clone + Default>(values: &mut Vec<T>, len: usize) -> &mut [T] {
    if values.len() < len {
        values.resize(len, T::default());
    }
    &mut values[..len]
}
