//! Weights without pattern that are spread as those of models are: which way kernels take can depend on how many are large.

/// `count` weights in -126..=126: four uniform values make a bell.
pub fn bell(count: usize) -> Vec<i8> {
    let uniform = |i: usize| (i as u32).wrapping_mul(2_654_435_769).rotate_left(13).wrapping_mul(2_246_822_519) >> 26;
    (0..count).map(|i| (4 * i..4 * i + 4).map(uniform).sum::<u32>() as i32 - 126).map(|w| w as i8).collect()
}
