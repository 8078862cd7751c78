//! Statistics of the inputs of linear layers.

use std::collections::BTreeMap;

use edgeqa::artifact::schema;
use edgeqa::model::graph::Taps;
use edgeqa::model::{ModelWeights, Session};
use edgeqa::tokenizer::Window;

use crate::parallel;

/// Every so many tokens, one is kept to judge by and not used to fit.
const HELD_OUT_EVERY: usize = 8;
/// Tokens kept at most.
const MAX_HELD_OUT: usize = 384;

/// The inputs of one linear layer.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Input channels.
    pub width: usize,
    /// `sum over tokens of x_i x_j`, `[width, width]`; only `j >= i` is filled.
    pub products: Vec<f32>,
    /// `max |x_i|` over all tokens.
    pub max_abs: Vec<f32>,
    /// Inputs of some tokens that are not in the sums, `[tokens, width]`: what is chosen is judged by them. They say nothing of other texts,
    /// as their passages are in the sums.
    pub held_out: Vec<f32>,
}

/// The inputs of all linear layers by name, and what they were collected on.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// By the name of the layer, as in [`schema::linears`].
    pub inputs: BTreeMap<String, Inputs>,
    /// The sequences.
    pub windows: Vec<Window>,
}

impl Calibration {
    /// Runs the fp32 model over `windows`. `step` is called with the finished and all sequences.
    ///
    /// # Errors
    /// If the model fails on one of them.
    pub fn collect(
        float: &ModelWeights,
        windows: Vec<Window>,
        mut step: impl FnMut(usize, usize),
    ) -> anyhow::Result<Self> {
        let config = &float.config;
        let specs: Vec<_> = (0..config.num_layers).flat_map(|layer| schema::linears(config, layer)).collect();
        let mut inputs: Vec<Inputs> = specs.iter().map(|spec| Inputs::new(spec.shape.k)).collect();
        let session = Session::with_taps(float, Taps::LinearInputs)?;
        for (done, window) in windows.iter().enumerate() {
            step(done, windows.len());
            let types = window.types_for(config);
            let outputs = session.run(&window.ids, types)?;
            let first_token = windows[..done].iter().map(|w| w.ids.len()).sum();
            let jobs: Vec<_> = inputs.iter_mut().zip(outputs.iter().skip(2)).collect();
            parallel::for_each(jobs, |(inputs, x)| inputs.add(x, first_token));
        }
        let inputs = specs.into_iter().map(|spec| spec.name).zip(inputs).collect();
        Ok(Self { inputs, windows })
    }

    /// Tokens of all sequences.
    pub fn tokens(&self) -> usize {
        self.windows.iter().map(|window| window.ids.len()).sum()
    }
}

impl Inputs {
    fn new(width: usize) -> Self {
        Self { width, products: vec![0.0; width * width], max_abs: vec![0.0; width], held_out: Vec::new() }
    }

    /// Adds the rows of `x`, the first of which is token `first_token` of all.
    fn add(&mut self, x: &[f32], first_token: usize) {
        let mut fitted: Vec<&[f32]> = Vec::new();
        for (token, row) in (first_token..).zip(x.chunks_exact(self.width)) {
            if token.is_multiple_of(HELD_OUT_EVERY) && self.held_out.len() < MAX_HELD_OUT * self.width {
                self.held_out.extend_from_slice(row);
            } else {
                fitted.push(row);
            }
            for (max, x) in self.max_abs.iter_mut().zip(row) {
                *max = max.max(x.abs());
            }
        }
        // Four rows at a time, so that a row of sums is loaded and stored a quarter as often.
        for (i, sums) in self.products.chunks_exact_mut(self.width).enumerate() {
            let (blocks, rest) = fitted.as_chunks::<4>();
            for [a, b, c, d] in blocks {
                let factors = [a[i], b[i], c[i], d[i]];
                let rows = a[i..].iter().zip(&b[i..]).zip(&c[i..]).zip(&d[i..]);
                for (sum, (((a, b), c), d)) in sums[i..].iter_mut().zip(rows) {
                    *sum += factors[0] * a + factors[1] * b + factors[2] * c + factors[3] * d;
                }
            }
            for row in rest {
                for (sum, x) in sums[i..].iter_mut().zip(&row[i..]) {
                    *sum += row[i] * x;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_tokens_not_held_out() {
        let width = 5;
        let x: Vec<f32> = (0..23 * width).map(|i| ((i * 37 % 41) as f32 - 20.0) / 4.0).collect();
        let mut inputs = Inputs::new(width);
        inputs.add(&x[..9 * width], 0);
        inputs.add(&x[9 * width..], 9);
        let is_held_out = |token: &usize| token.is_multiple_of(HELD_OUT_EVERY);
        let held_out: Vec<f32> = (0..23).filter(is_held_out).flat_map(|t| x[t * width..][..width].to_vec()).collect();
        assert_eq!(inputs.held_out, held_out);
        for i in 0..width {
            let column = |t: usize, i: usize| x[t * width + i];
            assert_eq!(inputs.max_abs[i], (0..23).map(|t| column(t, i).abs()).fold(0.0, f32::max));
            for j in i..width {
                let want: f32 = (0..23).filter(|t| !is_held_out(t)).map(|t| column(t, i) * column(t, j)).sum();
                assert_eq!(inputs.products[i * width + j], want, "{i} {j}");
            }
        }
    }

    #[test]
    fn no_more_tokens_are_held_out_than_are_enough() {
        let mut inputs = Inputs::new(2);
        let tokens = HELD_OUT_EVERY * (MAX_HELD_OUT + 2);
        inputs.add(&vec![1.0; 2 * tokens], 0);
        assert_eq!(inputs.held_out.len(), 2 * MAX_HELD_OUT);
        assert_eq!(inputs.products[0], (tokens - MAX_HELD_OUT) as f32, "the others are fitted");
    }
}
