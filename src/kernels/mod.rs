//! The int8 arithmetic, safe to call: knows neither tract nor files.
//!
//! [`layout`] says where a weight lies, [`pack`] puts it there, [`gemm`] is the table of kernels, [`linear`] turns a kernel's
//! integers into a layer's outputs, [`rows`] quantises activations, [`math`] holds the `f32` parts. [`cpu`] finds out what the CPU
//! can do; `f32` code is written once over the vectors of `simd`.

pub mod attention;
pub mod cpu;
mod elementary;
pub mod gemm;
mod gemm_f32;
pub mod layout;
pub mod linear;
pub mod math;
pub mod pack;
mod portable;
pub mod rows;
mod scalar;
mod simd;
#[cfg(test)]
mod tests;
mod transposed;
#[cfg(target_arch = "x86_64")]
mod x86_64;
