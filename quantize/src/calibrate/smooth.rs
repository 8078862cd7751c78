//! Per-input-channel factors (SmoothQuant, Xiao et al. 2023, equation 4).
//!
//! `y = sum_k x_k w_k = sum_k (x_k f_k) (w_k / f_k)` for any factors `f`. With one scale per token, a channel that is often
//! large costs all others their resolution; dividing it by part of its spread moves the difficulty into the weights of that channel.

use super::Inputs;
use crate::checkpoint::Dense;

/// Strengths to try: 0 leaves the spread in the activations, 1 moves all of it into the weights.
pub const STRENGTHS: [f32; 6] = [0.15, 0.3, 0.45, 0.6, 0.75, 0.9];
/// Factors stay within this ratio of their geometric mean.
const MAX_RATIO: f32 = 1e3;

/// `f_k = max_n |w_nk| ^ (1 - strength) / max |x_k| ^ strength`, scaled to a geometric mean of 1. Channels that are always zero, or
/// not read, keep 1.
pub fn factors(dense: &Dense, inputs: &Inputs, strength: f32) -> Vec<f32> {
    let mut max_weight = vec![0.0f32; inputs.width];
    for row in dense.weight.data.chunks_exact(inputs.width) {
        for (max, w) in max_weight.iter_mut().zip(row) {
            *max = max.max(w.abs());
        }
    }
    let logs: Vec<Option<f32>> = max_weight
        .iter()
        .zip(&inputs.max_abs)
        .map(|(w, x)| (*w > 0.0 && *x > 0.0).then(|| (1.0 - strength) * w.ln() - strength * x.ln()))
        .collect();
    let used: Vec<f32> = logs.iter().flatten().copied().collect();
    let mean = used.iter().sum::<f32>() / used.len().max(1) as f32;
    let limit = MAX_RATIO.ln();
    logs.iter().map(|log| log.map_or(1.0, |log| (log - mean).clamp(-limit, limit).exp())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Matrix;

    #[test]
    fn full_strength_makes_channels_equally_large_and_dead_ones_keep_1() {
        let weight = Matrix { rows: 2, cols: 4, data: vec![1.0, 1.0, 0.0, 1.0, -2.0, 1.0, 0.0, 1.0] };
        let dense = Dense { weight, bias: vec![0.0; 2] };
        let inputs = Inputs { width: 4, products: vec![], max_abs: vec![8.0, 2.0, 3.0, 0.0], held_out: vec![] };
        let full = factors(&dense, &inputs, 1.0);
        assert!((full[0] * 8.0 - full[1] * 2.0).abs() < 1e-5);
        assert!((full[0] * full[1] - 1.0).abs() < 1e-6);
        assert_eq!(full[2..], [1.0, 1.0]);
        let none = factors(&dense, &inputs, 0.0);
        assert!((none[0] / none[1] - 2.0).abs() < 1e-5);
    }

    #[test]
    fn factors_stay_within_a_thousand_of_their_mean() {
        let dense = Dense { weight: Matrix { rows: 1, cols: 2, data: vec![1.0, 1.0] }, bias: vec![0.0] };
        let inputs = Inputs { width: 2, products: vec![], max_abs: vec![1e9, 1.0], held_out: vec![] };
        let [small, large] = factors(&dense, &inputs, 1.0)[..] else { panic!("two factors") };
        assert!((small * 1e3 - 1.0).abs() < 1e-4 && (large / 1e3 - 1.0).abs() < 1e-4, "{small} {large}");
    }
}
