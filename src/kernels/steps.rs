//! From values to bytes, block by block.

use super::simd::{BLOCK, LANES, Simd};

/// How many steps of a byte a value is worth.
pub(super) trait Steps<S: Simd> {
    /// Those of a block, as [`Simd::store_i8`] takes them.
    fn of(&mut self, s: S, x: &[f32; BLOCK]) -> [S::F32; BLOCK / LANES];
}

/// Whether values can be counted in steps of `scale`. If they are too small for that, its inverse is not finite, and they count as zeros;
/// if one of them is not finite, nor is the scale, and what is computed with it shows that.
#[inline(always)]
pub(super) fn is_usable(scale: f32, inverse: f32) -> bool {
    scale.is_finite() && inverse.is_finite()
}

/// Writes the bytes of all values, xored with `flip`. After the last value, the block is filled up with zeros.
///
/// # Panics
/// If there are not as many bytes as values.
#[inline(always)]
pub(super) fn store_steps<S: Simd>(s: S, x: &[f32], steps: &mut impl Steps<S>, flip: i8, to: &mut [i8]) {
    assert_eq!(x.len(), to.len(), "a byte for every value");
    let ((blocks, last), (to_blocks, to_last)) = (x.as_chunks(), to.as_chunks_mut());
    for (x, to) in blocks.iter().zip(to_blocks) {
        s.store_i8(steps.of(s, x), flip, to);
    }
    if !last.is_empty() {
        let (mut x, mut bytes) = ([0.0; BLOCK], [0; BLOCK]);
        x[..last.len()].copy_from_slice(last);
        s.store_i8(steps.of(s, &x), flip, &mut bytes);
        to_last.copy_from_slice(&bytes[..last.len()]);
    }
}
