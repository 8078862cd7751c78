//! The table of int8 GEMM kernels: one row per kernel, one contract for all.
//!
//! A kernel computes the exact `i32` products of a few quantised rows with one panel of [`NR`] output channels. What
//! follows from there to `f32` (scales, bias, GELU, residual) is shared, in [`super::linear`].

use std::sync::OnceLock;

use super::layout::{KG, NR};
use super::{portable, scalar};

/// Rows that one call of a kernel may be given at most.
pub const MAX_ROWS: usize = 16;

/// One tile of work: `rows` rows of activations times one panel of weights.
#[derive(Clone, Copy, Debug)]
pub struct Tile<'a> {
    /// Quantised activations, `rows` rows of `padded_k` values.
    pub activations: &'a [i8],
    /// Number of rows, at most the kernel's [`Kernel::rows`].
    pub rows: usize,
    /// The padded inner dimension: row stride of `activations`, and `panel.len() / NR`.
    pub padded_k: usize,
    /// One panel in the layout of [`super::layout`].
    pub panel: &'a [i8],
    /// Sum of each channel's weights, for kernels that shift activations to unsigned.
    pub column_sums: &'a [i32; NR],
}

impl Tile<'_> {
    /// Whether the lengths agree with each other. Every kernel may rely on it once [`Kernel::run`] has checked it.
    fn is_consistent(&self, max_rows: usize) -> bool {
        self.rows <= max_rows
            && self.padded_k.is_multiple_of(KG)
            && self.activations.len() == self.rows * self.padded_k
            && self.panel.len() == NR * self.padded_k
    }
}

/// Accumulators of one tile: row, channel.
pub type Accumulators = [[i32; NR]; MAX_ROWS];

/// One row of the kernel table.
#[derive(Debug)]
pub struct Kernel {
    /// Geometry and instruction set, e.g. `gemm_i8_4x16k4_portable`: the string in code, logs, tests and benches.
    pub name: &'static str,
    /// Rows of a full tile (MR).
    pub rows: usize,
    /// Whether this CPU can run it.
    pub is_available: fn() -> bool,
    pub(super) tile: fn(&Tile<'_>, &mut Accumulators),
}

impl Kernel {
    /// Writes `acc[m][n] = sum over k of a[m][k] * w[n][k]` for the rows of the tile; other rows are left as they are.
    ///
    /// The result is exact for all `i8` activations and weights in `[-127, 127]`. Weights of -128, which no valid
    /// artifact holds, give an unspecified sum, never undefined behaviour.
    ///
    /// # Panics
    /// If the tile's lengths do not agree or it has more rows than the kernel takes.
    pub fn run(&self, tile: &Tile<'_>, acc: &mut Accumulators) {
        assert!(tile.is_consistent(self.rows), "inconsistent tile for {}", self.name);
        (self.tile)(tile, acc);
    }
}

/// All kernels, slowest first. The first row is the definition of correct.
pub static TABLE: &[Kernel] = &[
    Kernel { name: "gemm_i8_1x16k4_scalar", rows: 1, is_available: || true, tile: scalar::tile },
    Kernel { name: "gemm_i8_4x16k4_portable", rows: 4, is_available: || true, tile: portable::tile },
];

/// Names a kernel of [`TABLE`] to use instead of the fastest available one.
pub const OVERRIDE_VARIABLE: &str = "EDGEQA_KERNEL";

/// The kernel of this process: the last available row of [`TABLE`], or the one that [`OVERRIDE_VARIABLE`] names.
/// Chosen once and logged. An override that does not exist or cannot run here is reported and ignored.
pub fn chosen() -> &'static Kernel {
    static CHOSEN: OnceLock<&'static Kernel> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let kernel = choose(std::env::var(OVERRIDE_VARIABLE).ok().as_deref());
        log::info!("int8 kernel: {}", kernel.name);
        kernel
    })
}

fn choose(wanted: Option<&str>) -> &'static Kernel {
    let mut best = &TABLE[0];
    for kernel in TABLE.iter().filter(|k| (k.is_available)()) {
        if wanted == Some(kernel.name) {
            return kernel;
        }
        best = kernel;
    }
    if let Some(name) = wanted {
        let names: Vec<_> = TABLE.iter().filter(|k| (k.is_available)()).map(|k| k.name).collect();
        log::warn!("{OVERRIDE_VARIABLE}={name} is no kernel of this CPU ({}); using {}", names.join(", "), best.name);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn override_selects_a_row_and_nonsense_falls_back_to_the_best() {
        assert_eq!(choose(Some("gemm_i8_1x16k4_scalar")).name, "gemm_i8_1x16k4_scalar");
        let best = choose(None).name;
        assert_eq!(choose(Some("gemm_i8_nonsense")).name, best);
        assert_eq!(TABLE.iter().rfind(|k| (k.is_available)()).map(|k| k.name), Some(best));
    }

    #[test]
    fn names_are_unique_and_rows_fit_the_accumulators() {
        for (i, kernel) in TABLE.iter().enumerate() {
            assert!((1..=MAX_ROWS).contains(&kernel.rows), "{}", kernel.name);
            assert!(TABLE[..i].iter().all(|k| k.name != kernel.name));
        }
    }
}
