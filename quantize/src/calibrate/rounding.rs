//! Rounding weights so that the errors of a channel's weights cancel on the inputs that occur.
//!
//! Nearest rounding minimises the error of each weight. What counts is the error of the output, `e' H e` for the errors `e` of a
//! channel's weights and `H = sum of x x'` over the inputs. With `H = R'R`, `R` upper triangular, that is `|R e|^2`, and rounding the
//! weights from the last to the first, each to the nearest of its value corrected by the errors already made, is Babai's
//! nearest-plane method; GPTQ (Frantar et al. 2023) is the same in another order of evaluation.

use super::Inputs;

/// Added to the diagonal of `H`, as a share of its mean: keeps it regular, and doubts few tokens.
const DAMPING: f64 = 0.01;

/// The triangular factor of one layer's inputs, for rounding any number of channels.
#[derive(Clone, Debug)]
pub struct Rounding {
    /// Input channels in ascending order of their energy: the strongest is rounded first, while nothing constrains it.
    order: Vec<usize>,
    /// `R[i][j] / R[i][i]` for `j > i`, in that order; `[width, width]`.
    factor: Vec<f32>,
    /// `R[i][i]`.
    pivots: Vec<f64>,
}

impl Rounding {
    /// Factorises the inputs, each channel multiplied by its factor. `None` if they are all zero or not finite.
    pub fn new(inputs: &Inputs, factors: Option<&[f32]>) -> Option<Self> {
        let width = inputs.width;
        let scale = |i: usize| factors.map_or(1.0, |f| f64::from(f[i]));
        let product =
            |i: usize, j: usize| f64::from(inputs.products[i.min(j) * width + i.max(j)]) * scale(i) * scale(j);
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|&i, &j| product(i, i).total_cmp(&product(j, j)).then(i.cmp(&j)));
        let damping = DAMPING * (0..width).map(|i| product(i, i)).sum::<f64>() / width as f64;
        if !(damping.is_finite() && damping > 0.0) {
            return None;
        }
        let mut rows: Vec<f64> = Vec::with_capacity(width * width);
        for &i in &order {
            rows.extend(order.iter().map(|&j| product(i, j) + if i == j { damping } else { 0.0 }));
        }
        cholesky(&mut rows, width);
        let mut factor = vec![0.0; width * width];
        for (i, (to, from)) in factor.chunks_exact_mut(width).zip(rows.chunks_exact(width)).enumerate() {
            for (to, from) in to[i..].iter_mut().zip(&from[i..]) {
                *to = (from / rows[i * width + i]) as f32;
            }
        }
        let pivots = (0..width).map(|i| rows[i * width + i]).collect();
        factor.iter().all(|x| x.is_finite()).then_some(Self { order, factor, pivots })
    }

    /// Rounds one channel's weights with the one of `clips` times `scale` that has the smallest `e' H e`, and returns that scale.
    pub fn best_scale(&self, weights: &[f32], scale: f32, clips: &[f32], out: &mut [i8]) -> f32 {
        let mut best = (scale, f64::INFINITY);
        let mut candidate = vec![0; weights.len()];
        for clip in clips {
            let error = self.round(weights, scale * clip, &mut candidate);
            if error < best.1 {
                best = (scale * clip, error);
                out.copy_from_slice(&candidate);
            }
        }
        best.0
    }

    /// Rounds one channel's weights to multiples of `scale` in `[-127, 127]`; returns `e' H e`.
    pub fn round(&self, weights: &[f32], scale: f32, out: &mut [i8]) -> f64 {
        let width = self.order.len();
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        // Errors so far, in steps.
        let mut errors = vec![0.0f32; width];
        let mut total = 0.0;
        for (i, &channel) in self.order.iter().enumerate().rev() {
            let weight = weights[channel] * inverse;
            let carried = edgeqa::kernels::math::dot(&self.factor[i * width..][i + 1..width], &errors[i + 1..]);
            let rounded = (weight + carried).round_ties_even().clamp(-127.0, 127.0);
            errors[i] = weight - rounded;
            out[channel] = rounded as i8;
            // Row i of R e.
            total += (self.pivots[i] * f64::from(scale) * f64::from(errors[i] + carried)).powi(2);
        }
        total
    }
}

/// Replaces the upper triangle of a symmetric positive definite matrix by `R` of `R'R`.
fn cholesky(a: &mut [f64], width: usize) {
    for i in 0..width {
        let (done, rest) = a.split_at_mut((i + 1) * width);
        let row = &mut done[i * width..];
        let pivot = row[i].max(f64::MIN_POSITIVE).sqrt();
        for x in &mut row[i..] {
            *x /= pivot;
        }
        for (j, other) in (i + 1..).zip(rest.chunks_exact_mut(width)) {
            let factor = row[j];
            for (x, y) in other[j..].iter_mut().zip(&row[j..]) {
                *x -= factor * y;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(rows: &[&[f32]]) -> Inputs {
        let width = rows[0].len();
        let mut products = vec![0.0; width * width];
        for row in rows {
            for i in 0..width {
                for j in i..width {
                    products[i * width + j] += row[i] * row[j];
                }
            }
        }
        Inputs { width, products, max_abs: vec![1.0; width], held_out: vec![] }
    }

    #[test]
    fn cholesky_multiplies_back() {
        let width = 6;
        let b: Vec<f64> = (0..width * width).map(|i| ((i * 17 % 23) as f64 - 11.0) / 5.0).collect();
        let entry = |i: usize, j: usize| (0..width).map(|k| b[k * width + i] * b[k * width + j]).sum::<f64>();
        let mut a: Vec<f64> = (0..width * width)
            .map(|n| entry(n / width, n % width) + if n / width == n % width { 1.0 } else { 0.0 })
            .collect();
        let original = a.clone();
        cholesky(&mut a, width);
        for i in 0..width {
            for j in i..width {
                let product: f64 = (0..=i).map(|k| a[k * width + i] * a[k * width + j]).sum();
                assert!((product - original[i * width + j]).abs() < 1e-9, "{i} {j}");
            }
        }
    }

    #[test]
    fn errors_cancel_on_inputs_that_move_together() {
        // Both channels always have the same value: 0.4 + 0.4 is better rounded to 1 + 0 than to 0 + 0.
        let together = Rounding::new(&inputs(&[&[1.0, 1.0], &[-2.0, -2.0]]), None).expect("regular");
        let mut out = [0; 2];
        together.round(&[0.4, 0.4], 1.0, &mut out);
        assert_eq!(out.iter().map(|&q| i32::from(q)).sum::<i32>(), 1);
        // Without correlation, each weight goes to its nearest step.
        let apart = Rounding::new(&inputs(&[&[1.0, 0.0], &[0.0, 1.0]]), None).expect("regular");
        apart.round(&[0.4, -1.6], 1.0, &mut out);
        assert_eq!(out, [0, -2]);
    }

    #[test]
    fn output_errors_are_no_larger_than_those_of_nearest_rounding() {
        let mut random = crate::random::Random(7);
        let mut uniform = || (random.number() >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
        let width = 24;
        // Four underlying causes, as correlated as activations are.
        let causes: Vec<Vec<f32>> = (0..4).map(|_| (0..width).map(|_| uniform()).collect()).collect();
        let rows: Vec<Vec<f32>> = (0..200)
            .map(|_| {
                let amounts: Vec<f32> = (0..4).map(|_| uniform()).collect();
                (0..width).map(|k| 0.05 * uniform() + (0..4).map(|c| amounts[c] * causes[c][k]).sum::<f32>()).collect()
            })
            .collect();
        let rounding = Rounding::new(&inputs(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>()), None).unwrap();
        let (mut nearest_error, mut rounded_error) = (0.0, 0.0);
        for _ in 0..20 {
            let weights: Vec<f32> = (0..width).map(|_| 10.0 * uniform()).collect();
            let mut rounded = vec![0; width];
            rounding.round(&weights, 1.0, &mut rounded);
            for row in &rows {
                let error =
                    |q: &dyn Fn(usize) -> f32| (0..width).map(|k| (weights[k] - q(k)) * row[k]).sum::<f32>().powi(2);
                nearest_error += error(&|k| weights[k].round());
                rounded_error += error(&|k| f32::from(rounded[k]));
            }
        }
        let weights: Vec<f32> = (0..width).map(|k| if k == 5 { 13.0 } else { 10.0 * uniform() }).collect();
        let (mut best, mut full) = (vec![0; width], vec![0; width]);
        let scale = rounding.best_scale(&weights, 1.0, &[1.0, 0.5], &mut best);
        assert_eq!(scale, 0.5, "half the step, and nothing is cut off");
        assert!(rounding.round(&weights, 0.5, &mut best) < rounding.round(&weights, 1.0, &mut full));
        assert!(rounded_error < 0.3 * nearest_error, "{rounded_error} {nearest_error}");
    }

    #[test]
    fn nothing_to_fit_is_no_rounding_and_extremes_stay_in_range() {
        assert!(Rounding::new(&inputs(&[&[0.0, 0.0]]), None).is_none());
        assert!(Rounding::new(&inputs(&[&[f32::NAN, 0.0]]), None).is_none());
        let rounding = Rounding::new(&inputs(&[&[1.0, 0.9], &[0.5, -0.1]]), Some(&[2.0, 1.0])).expect("regular");
        let mut out = [0; 2];
        rounding.round(&[1e6, -1e6], 1.0, &mut out);
        // The strongest channel is rounded first; the other one makes up for it as far as it can.
        assert_eq!((out[0], out[1].abs()), (127, 127));
        rounding.round(&[1.0, 2.0], 0.0, &mut out);
        assert_eq!(out, [0, 0]);
    }

    #[test]
    fn factors_are_those_of_the_inputs_and_the_strongest_is_rounded_first() {
        let rows: [&[f32]; 3] = [&[1.0, 0.5, -2.0], &[0.25, 1.0, 1.0], &[-1.0, 2.0, 0.5]];
        let scaled: [&[f32]; 3] = [&[8.0, 0.5, -1.0], &[2.0, 1.0, 0.5], &[-8.0, 2.0, 0.25]];
        let factored = Rounding::new(&inputs(&rows), Some(&[8.0, 1.0, 0.5])).expect("regular");
        let plain = Rounding::new(&inputs(&scaled), None).expect("regular");
        assert_eq!((&factored.order, &factored.factor, &factored.pivots), (&plain.order, &plain.factor, &plain.pivots));
        assert_eq!(plain.order, [2, 1, 0]);
    }
}
