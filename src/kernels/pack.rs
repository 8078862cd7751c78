//! The one packer of int8 weights.

use super::layout::{NR, PackedShape};

/// Packs row-major `weights` (`[n, k]`, output channel major) into the layout of [`super::layout`].
///
/// # Panics
/// If `weights.len() != n * k`.
pub fn pack(shape: PackedShape, weights: &[i8]) -> Vec<i8> {
    assert_eq!(weights.len(), shape.n * shape.k, "weights do not match {shape:?}");
    let mut packed = vec![0; shape.packed_len()];
    for (n, row) in weights.chunks_exact(shape.k).enumerate() {
        for (k, &w) in row.iter().enumerate() {
            packed[shape.index(n, k)] = w;
        }
    }
    packed
}

/// Sum over `k` of every output channel's weights, padded with zeros to whole panels.
///
/// Kernels that multiply unsigned activations (`a + 128`) subtract `128 * column_sum`.
pub fn column_sums(shape: PackedShape, weights: &[i8]) -> Vec<i32> {
    let mut sums: Vec<i32> = weights.chunks_exact(shape.k).map(|row| row.iter().map(|&w| i32::from(w)).sum()).collect();
    sums.resize(shape.panels() * NR, 0);
    sums
}
