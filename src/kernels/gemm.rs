//! The table of int8 GEMM kernels: one row per kernel, one contract for all.
//!
//! A kernel computes the exact `i32` products of a few quantised rows with one or more panels of [`NR`] output channels. What
//! follows from there to `f32` (scales, bias, GELU, residual) is shared, in [`super::linear`].

use std::sync::OnceLock;

use super::cpu::Isa;
use super::layout::{Form, KG, MAX_K, NR};
use super::{portable, scalar};

/// Rows that one call of a kernel of several panels may be given at most.
pub const MAX_ROWS: usize = 12;
/// Panels that one call of a kernel may be given at most; one of a single panel may be given as many times more rows.
pub const MAX_PANELS: usize = 8;

/// One tile of work: `rows` rows of activations times `panels` panels of weights.
#[derive(Clone, Copy, Debug)]
pub struct Tile<'a> {
    /// Quantised activations, `rows` rows of `padded_k` values in the kernel's [`Kernel::form`].
    pub activations: &'a [i8],
    /// Number of rows, from 1 to the kernel's [`Kernel::rows`].
    pub rows: usize,
    /// The padded inner dimension: row stride of `activations`.
    pub padded_k: usize,
    /// Consecutive panels in the layout of [`super::layout`].
    pub weights: &'a [i8],
    /// Number of panels, from 1 to the kernel's [`Kernel::panels`].
    pub panels: usize,
    /// Sum of each channel's weights, one array per panel, which kernels take off 128 times where activations are [`Form::Offset128`].
    pub column_sums: &'a [[i32; NR]],
    /// What [`Kernel::examine`] noted about these panels; shared by all rows.
    pub notes: &'a [u8],
    /// These panels as [`Kernel::arrange`] arranges them; shared by all rows.
    pub arranged: &'a [i8],
    /// These rows as [`Kernel::arrange_rows`] arranges them; shared by all panels.
    pub arranged_rows: &'a [i8],
}

impl<'a> Tile<'a> {
    /// Whether the lengths agree with each other. Every kernel may rely on it once [`Kernel::run`] has checked it.
    fn is_consistent(&self, kernel: &Kernel) -> bool {
        (1..=kernel.rows).contains(&self.rows)
            && (1..=kernel.panels).contains(&self.panels)
            && (1..=MAX_K).contains(&self.padded_k)
            && self.padded_k.is_multiple_of(KG)
            && self.activations.len() == self.rows * self.padded_k
            && self.weights.len() == self.panels * NR * self.padded_k
            && self.column_sums.len() == self.panels
            && self.notes.len() == self.panels * kernel.notes_of_panel(self.padded_k)
            && self.arranged.len() == self.panels * kernel.arranged_panel_len(self.padded_k)
            && self.arranged_rows.len() == self.rows.div_ceil(kernel.row_step) * kernel.arranged_rows_len(self.padded_k)
    }

    /// The activations of row `m`.
    #[inline(always)]
    pub(super) fn row(&self, m: usize) -> &'a [i8] {
        &self.activations[m * self.padded_k..][..self.padded_k]
    }

    /// The weights of panel `p`.
    #[inline(always)]
    pub(super) fn panel(&self, p: usize) -> &'a [i8] {
        &self.weights[p * NR * self.padded_k..][..NR * self.padded_k]
    }
}

/// Sums of one tile: panel, row, channel. A row of a panel is a cache line. The rows of a single panel may go on in the places of others.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Accumulators(pub [[[i32; NR]; MAX_ROWS]; MAX_PANELS]);

impl Accumulators {
    /// All of them `value`.
    pub fn splat(value: i32) -> Self {
        Self([[[value; NR]; MAX_ROWS]; MAX_PANELS])
    }

    /// The first `rows` rows of panel `p`.
    #[inline(always)]
    pub fn panel(&self, p: usize, rows: usize) -> &[[i32; NR]] {
        &self.0.as_flattened()[p * MAX_ROWS..][..rows]
    }
}

/// What a kernel is made of: a token that proves its instructions, and the code that uses them.
pub(super) trait TileKernel: Copy {
    /// See [`Kernel::name`].
    const NAME: &'static str;
    /// See [`Kernel::rows`].
    const ROWS: usize;
    /// See [`Kernel::panels`].
    const PANELS: usize;
    /// See [`Kernel::row_step`].
    const ROW_STEP: usize = 1;
    /// See [`Kernel::form`].
    const FORM: Form;

    /// The token, if this CPU can run the kernel.
    fn detect() -> Option<Self>;
    /// The vectors that go with the kernel.
    fn isa(self) -> Isa;
    /// Bytes that [`TileKernel::examine`] notes about a panel.
    fn notes(_padded_k: usize) -> usize {
        0
    }
    /// Looks at a panel for what decides how it is multiplied.
    fn examine(self, _panel: &[i8], _notes: &mut [u8]) {}
    /// Bytes of a panel as [`TileKernel::arrange`] arranges it.
    fn arranged(_padded_k: usize) -> usize {
        0
    }
    /// Arranges a panel in the order in which its weights are read.
    fn arrange(self, _panel: &[i8], _to: &mut [i8]) {}
    /// Bytes of [`TileKernel::ROW_STEP`] rows as [`TileKernel::arrange_rows`] arranges them.
    fn arranged_rows(_padded_k: usize) -> usize {
        0
    }
    /// Arranges up to [`TileKernel::ROW_STEP`] rows in the order in which they are read, with what decides how they are multiplied.
    fn arrange_rows(self, _rows: &[i8], _padded_k: usize, _to: &mut [i8]) {}
    /// The contract of [`Kernel::run`], for a consistent tile. With notes on other weights, or other operands arranged, the sums are
    /// unspecified.
    fn tile(self, tile: &Tile<'_>, acc: &mut Accumulators);
}

/// One row of the kernel table.
#[derive(Debug)]
pub struct Kernel {
    /// Geometry and instruction set, e.g. `gemm_i8_4x16k4_portable`: the string in code, logs, tests and benches.
    pub name: &'static str,
    /// Rows of a full tile (MR).
    pub rows: usize,
    /// Rows that are multiplied together: a tile of another number of rows costs as much as one of the next multiple. Divides `rows`.
    pub row_step: usize,
    /// Panels of a full tile: it has `panels * NR` output channels.
    pub panels: usize,
    /// What the bytes of its activations stand for.
    pub form: Form,
    detect: fn() -> Option<Isa>,
    notes: fn(usize) -> usize,
    examine: fn(&[i8], &mut [u8]),
    arranged: fn(usize) -> usize,
    arrange: fn(&[i8], &mut [i8]),
    arranged_rows: fn(usize) -> usize,
    arrange_rows: fn(&[i8], usize, &mut [i8]),
    tile: fn(&Tile<'_>, &mut Accumulators),
}

impl Kernel {
    const fn of<K: TileKernel>() -> Self {
        Self {
            name: K::NAME,
            rows: K::ROWS,
            row_step: K::ROW_STEP,
            panels: K::PANELS,
            form: K::FORM,
            detect: || K::detect().map(K::isa),
            notes: K::notes,
            examine: |panel, notes| detected::<K>().examine(panel, notes),
            arranged: K::arranged,
            arrange: |panel, to| detected::<K>().arrange(panel, to),
            arranged_rows: K::arranged_rows,
            arrange_rows: |rows, padded_k, to| detected::<K>().arrange_rows(rows, padded_k, to),
            tile: |tile, acc| detected::<K>().tile(tile, acc),
        }
    }

    /// Whether this CPU can run it.
    pub fn is_available(&self) -> bool {
        (self.detect)().is_some()
    }

    /// The vectors for what follows the products.
    pub fn isa(&self) -> Isa {
        (self.detect)().unwrap_or(Isa::Portable)
    }

    /// What the kernel wants to know about panels of weights, whatever the rows are that they are multiplied with: as many bytes for
    /// every panel, in order. Most kernels want nothing.
    ///
    /// # Panics
    /// If `weights` are no whole panels of inner dimension `padded_k`, or this CPU cannot run the kernel.
    pub fn examine(&self, weights: &[i8], padded_k: usize) -> Vec<u8> {
        let mut notes = Vec::new();
        self.examine_to(weights, padded_k, &mut notes);
        notes
    }

    /// [`Kernel::examine`] to memory that is kept.
    pub(super) fn examine_to(&self, weights: &[i8], padded_k: usize, notes: &mut Vec<u8>) {
        assert!(padded_k > 0 && weights.len().is_multiple_of(NR * padded_k), "no whole panels");
        let of_panel = self.notes_of_panel(padded_k);
        notes.resize(weights.len() / (NR * padded_k) * of_panel, 0);
        if of_panel > 0 {
            for (panel, notes) in weights.chunks_exact(NR * padded_k).zip(notes.chunks_exact_mut(of_panel)) {
                (self.examine)(panel, notes);
            }
        }
    }

    /// How many bytes [`Kernel::examine`] notes about a panel.
    pub fn notes_of_panel(&self, padded_k: usize) -> usize {
        (self.notes)(padded_k)
    }

    /// Arranges panels of weights, if the kernel reads them in another order than they are stored in: once for all rows that are multiplied
    /// with them. Most kernels read them as they are, and `to` stays empty.
    ///
    /// # Panics
    /// As [`Kernel::examine`].
    pub fn arrange(&self, weights: &[i8], padded_k: usize, to: &mut Vec<i8>) {
        assert!(padded_k > 0 && weights.len().is_multiple_of(NR * padded_k), "no whole panels");
        let len = self.arranged_panel_len(padded_k);
        to.resize(weights.len() / (NR * padded_k) * len, 0);
        if len > 0 {
            for (panel, to) in weights.chunks_exact(NR * padded_k).zip(to.chunks_exact_mut(len)) {
                (self.arrange)(panel, to);
            }
        }
    }

    /// How many bytes [`Kernel::arrange`] makes of a panel.
    pub fn arranged_panel_len(&self, padded_k: usize) -> usize {
        (self.arranged)(padded_k)
    }

    /// Arranges rows of activations, if the kernel reads them in another order than they are stored in: once for all panels that are
    /// multiplied with them. Most kernels read them as they are, and `to` is empty.
    ///
    /// # Panics
    /// If `activations` are no whole rows of `padded_k` values, `to` does not have [`Kernel::arranged_rows_len`] bytes for every
    /// [`Kernel::row_step`] of them, or this CPU cannot run the kernel.
    pub fn arrange_rows(&self, activations: &[i8], padded_k: usize, to: &mut [i8]) {
        assert!(padded_k > 0 && activations.len().is_multiple_of(padded_k), "no whole rows");
        let len = self.arranged_rows_len(padded_k);
        let rows = activations.chunks(self.row_step * padded_k);
        assert_eq!(to.len(), rows.len() * len, "no room for the rows as {} arranges them", self.name);
        if len > 0 {
            for (rows, to) in rows.zip(to.chunks_exact_mut(len)) {
                (self.arrange_rows)(rows, padded_k, to);
            }
        }
    }

    /// How many bytes [`Kernel::arrange_rows`] makes of [`Kernel::row_step`] rows.
    pub fn arranged_rows_len(&self, padded_k: usize) -> usize {
        (self.arranged_rows)(padded_k)
    }

    /// Writes `acc[p][m][n] = sum over k of a[m][k] * w[p][n][k]` for the panels and rows of the tile, where `a` are the values that
    /// the activations stand for; other rows and panels are left as they are.
    ///
    /// The result is exact for all `i8` activations and weights in `[-127, 127]`. Weights of -128, which no valid
    /// artifact holds, give an unspecified sum, never undefined behaviour; so do notes on other weights, and other operands arranged.
    ///
    /// # Panics
    /// If the tile's lengths do not agree, `padded_k` is more than [`MAX_K`], it is larger than the kernel takes, or this CPU cannot run the
    /// kernel.
    pub fn run(&self, tile: &Tile<'_>, acc: &mut Accumulators) {
        assert!(tile.is_consistent(self), "inconsistent tile for {}", self.name);
        (self.tile)(tile, acc);
    }
}

fn detected<K: TileKernel>() -> K {
    K::detect().expect("a kernel that this CPU can run")
}

/// All kernels, slowest first. The first row is the definition of correct.
pub static TABLE: &[Kernel] = &[
    Kernel::of::<scalar::Scalar>(),
    Kernel::of::<portable::Portable>(),
    #[cfg(target_arch = "x86_64")]
    Kernel::of::<super::cpu::Avx2>(),
    #[cfg(target_arch = "x86_64")]
    Kernel::of::<super::cpu::AvxVnni>(),
    #[cfg(target_arch = "x86_64")]
    Kernel::of::<super::cpu::Avx512Vnni>(),
    #[cfg(target_arch = "aarch64")]
    Kernel::of::<super::cpu::Neon>(),
    #[cfg(target_arch = "aarch64")]
    Kernel::of::<super::cpu::NeonDot>(),
    #[cfg(target_arch = "aarch64")]
    Kernel::of::<super::cpu::NeonI8mm>(),
    #[cfg(target_arch = "arm")]
    Kernel::of::<super::cpu::Neon32>(),
];

/// Names a kernel of [`TABLE`] to use instead of the fastest available one.
pub const OVERRIDE_VARIABLE: &str = "EDGEQA_KERNEL";

/// What [`OVERRIDE_VARIABLE`] names, be it a kernel or not. An empty one names nothing.
pub fn overridden() -> Option<String> {
    std::env::var(OVERRIDE_VARIABLE).ok().filter(|name| !name.is_empty())
}

/// The kernel of this process: the last available row of [`TABLE`], or the one that [`OVERRIDE_VARIABLE`] names.
/// Chosen once and logged. An override that does not exist or cannot run here is reported and ignored.
pub fn chosen() -> &'static Kernel {
    static CHOSEN: OnceLock<&'static Kernel> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let kernel = choose(overridden().as_deref());
        log::info!("int8 kernel: {}", kernel.name);
        kernel
    })
}

fn choose(wanted: Option<&str>) -> &'static Kernel {
    let mut best = &TABLE[0];
    for kernel in TABLE.iter().filter(|k| k.is_available()) {
        if wanted == Some(kernel.name) {
            return kernel;
        }
        best = kernel;
    }
    if let Some(name) = wanted {
        let names: Vec<_> = TABLE.iter().filter(|k| k.is_available()).map(|k| k.name).collect();
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
        assert_eq!(TABLE.iter().rfind(|k| k.is_available()).map(|k| k.name), Some(best));
    }

    #[test]
    fn names_are_unique_and_say_the_geometry_and_tiles_fit_the_accumulators() {
        for (i, kernel) in TABLE.iter().enumerate() {
            let most = if kernel.panels == 1 { MAX_PANELS * MAX_ROWS } else { MAX_ROWS };
            assert!((1..=most).contains(&kernel.rows), "{}", kernel.name);
            assert!((1..=MAX_PANELS).contains(&kernel.panels), "{}", kernel.name);
            assert!(kernel.rows.is_multiple_of(kernel.row_step), "{}", kernel.name);
            let geometry = format!("gemm_i8_{}x{}k{KG}_", kernel.rows, kernel.panels * NR);
            assert!(kernel.name.starts_with(&geometry), "{} is {geometry}", kernel.name);
            assert!(TABLE[..i].iter().all(|k| k.name != kernel.name));
        }
    }
}
