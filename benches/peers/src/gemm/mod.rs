//! One int8 product, `i8` activations times `i8` weights, in several libraries behind one trait.
//!
//! Every [`Product`] starts from the same row-major activations and packs its weights in advance. One thread:
//! see [`on_one_thread`].

mod edgeqa;
mod rten;
mod tract;

use crate::random::Random;

pub use self::edgeqa::EdgeQa;
pub use self::rten::Rten;
pub use self::tract::{Packing, Tract, Weights};

/// A product to compute: `c[m][n] = sum over k of a[m][k] * w[n][k]`.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Rows of activations.
    pub m: usize,
    /// Output channels.
    pub n: usize,
    /// Inner dimension.
    pub k: usize,
    /// `[m, k]`, in `[-127, 127]`.
    pub activations: Vec<i8>,
    /// `[n, k]`, in `[-127, 127]`.
    pub weights: Vec<i8>,
}

impl Problem {
    /// Activations and weights without pattern.
    pub fn random(m: usize, n: usize, k: usize) -> Self {
        let mut random = Random::new(1);
        Self { m, n, k, activations: random.int8(m * k), weights: random.bell(n * k) }
    }

    /// The largest products there are, all of one sign: what sums of less than 32 bits cannot hold.
    pub fn extreme(m: usize, n: usize, k: usize) -> Self {
        Self { m, n, k, activations: vec![127; m * k], weights: vec![127; n * k] }
    }

    /// The product by definition, `[m, n]`.
    pub fn naive(&self) -> Vec<i32> {
        let dot = |a: &[i8], w: &[i8]| a.iter().zip(w).map(|(a, w)| i32::from(*a) * i32::from(*w)).sum();
        let rows = self.activations.chunks_exact(self.k);
        rows.flat_map(|a| self.weights.chunks_exact(self.k).map(move |w| dot(a, w))).collect()
    }

    /// Multiply-adds of the product.
    pub fn multiply_adds(&self) -> u64 {
        (self.m * self.n * self.k) as u64
    }
}

/// A library that has prepared a [`Problem`].
pub trait Product {
    /// Library, version and kernel, and what a reader must know about the result.
    fn label(&self) -> String;

    /// Whether the library says of itself that its sums are exact on this CPU.
    fn is_exact(&self) -> bool {
        true
    }

    /// Computes the product.
    fn run(&mut self);

    /// Whether the product last computed is `want`, in row-major order.
    fn equals(&self, want: &[i32]) -> bool;
}

/// `problem` in every library.
///
/// # Errors
/// If a library refuses it.
pub fn products(problem: &Problem) -> anyhow::Result<Vec<Box<dyn Product>>> {
    Ok(vec![
        Box::new(EdgeQa::new(problem)),
        Box::new(Tract::new(problem, Weights::Left, Packing::EveryTime)?),
        Box::new(Tract::new(problem, Weights::Right, Packing::EveryTime)?),
        Box::new(Tract::new(problem, Weights::Left, Packing::InAdvance)?),
        Box::new(Tract::new(problem, Weights::Right, Packing::InAdvance)?),
        Box::new(Rten::new(problem)),
    ])
}

/// Makes the calling thread the only one that rten-gemm can use from there on; the others use one thread anyway.
///
/// # Errors
/// If the process has already started rayon's global pool.
pub fn on_one_thread() -> anyhow::Result<()> {
    Ok(rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(problem: &Problem) {
        let want = problem.naive();
        for mut product in products(problem).unwrap() {
            product.run();
            let (label, shape) = (product.label(), (problem.m, problem.n, problem.k));
            assert!(product.equals(&want) || !product.is_exact(), "{label} is not exact at {shape:?}");
            let mut other = want.clone();
            *other.last_mut().unwrap() += 1 << 20;
            assert!(!product.equals(&other), "{label} equals anything");
        }
    }

    #[test]
    fn every_library_gives_the_naive_product() {
        for (m, n, k) in [(1, 16, 8), (5, 48, 40), (17, 33, 100), (64, 384, 384)] {
            check(&Problem::random(m, n, k));
        }
    }

    /// Libraries that say that they may saturate do so here, so that the label is not an empty warning.
    #[test]
    fn the_largest_products_are_exact_except_where_the_label_says_so() {
        let problem = Problem::extreme(9, 32, 384);
        let want = problem.naive();
        check(&problem);
        for mut product in products(&problem).unwrap() {
            product.run();
            assert_eq!(product.equals(&want), product.is_exact(), "{}", product.label());
            assert_eq!(product.label().contains("saturates"), !product.is_exact(), "{}", product.label());
        }
    }
}
