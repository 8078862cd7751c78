//! Every row of the kernel table equals a naive product of the unpacked matrices.

use std::ops::RangeInclusive;

use super::end_of_file::EndOfFile;
use super::gemm::{Accumulators, Kernel, MAX_PANELS, MAX_ROWS, Tile, chosen};
use super::layout::{Form, K_ALIGN, KG, MAX_K, NR, PackedShape};
use super::pack::{column_sums, pack};
use super::tested::{REQUIRE_VARIABLE, kernels, required};
use crate::eval::Random;
use crate::skip::skipped;

/// What fills a matrix: the extremes are those that overflow narrow intermediates first.
#[derive(Clone, Copy, Debug)]
enum Fill {
    Random,
    Constant(i8),
    AlternatingSigns,
    /// Mostly small, as the weights of models are.
    Bell,
    /// With -128, four products are what 16 bits hold, and rarely a little more.
    Fourth,
    /// Only every eighth value is not 0: all products are summed in one lane of some kernels.
    Eighth(usize),
    /// Of so many rows or channels, only one is not 0.
    OneOf(usize, usize),
    /// A value for every 64 of the inner dimension.
    Steps([i8; 3]),
}

impl Fill {
    /// Value `i` of rows or channels of `k`.
    fn value(self, random: &mut Random, i: usize, k: usize, lowest: i8) -> i8 {
        match self {
            Fill::Random => (random.number() as i8).max(lowest),
            Fill::Constant(value) => value.max(lowest),
            Fill::AlternatingSigns => [127, lowest][i % 2],
            Fill::Bell => (0..8).map(|_| (random.number() as i8) / 8).sum(),
            Fill::Fourth if random.number().is_multiple_of(700) => 67,
            Fill::Fourth => [64, 64, 63, 63][i / KG % 4],
            Fill::OneOf(of, one) => [0, 127][usize::from(i / k % of == one)],
            Fill::Steps(values) => values[i % k / 64 % values.len()],
            Fill::Eighth(lane) => {
                if i % 8 == lane {
                    127
                } else {
                    0
                }
            }
        }
    }
}

/// Activations, weights and their sums, laid out as kernels want them.
struct Operands {
    rows: usize,
    shape: PackedShape,
    /// Of the activations.
    form: Form,
    activations: Vec<i8>,
    packed: Vec<i8>,
    sums: Vec<[i32; NR]>,
    /// Row, channel.
    product: Vec<i32>,
}

impl Operands {
    fn new(form: Form, rows: usize, n: usize, k: usize, fills: (Fill, Fill)) -> Self {
        let mut random = Random((rows * 1_000_003 + n * 1009 + k) as u64);
        let shape = PackedShape { n, k };
        let a: Vec<i8> = (0..rows * k).map(|i| fills.0.value(&mut random, i, k, -128)).collect();
        let w: Vec<i8> = (0..n * k).map(|i| fills.1.value(&mut random, i, k, -127)).collect();
        let mut activations = vec![form.convert(0); rows * shape.padded_k()];
        for (to, from) in activations.chunks_exact_mut(shape.padded_k()).zip(a.chunks_exact(k)) {
            for (to, from) in to.iter_mut().zip(from) {
                *to = form.convert(*from);
            }
        }
        let dot = |a: &[i8], w: &[i8]| a.iter().zip(w).map(|(&a, &w)| i32::from(a) * i32::from(w)).sum();
        let product = a.chunks_exact(k).flat_map(|a| w.chunks_exact(k).map(move |w| dot(a, w))).collect();
        let sums = column_sums(shape, &w).as_chunks().0.to_vec();
        Self { rows, shape, form, activations, packed: pack(shape, &w), sums, product }
    }

    /// Runs `kernel` tile by tile, each given to `place` before, and compares.
    fn check<'a>(&'a self, kernel: &Kernel, place: impl FnMut(Tile<'a>) -> Tile<'a>) {
        self.check_holding(kernel, place, |notes| notes);
    }

    /// [`Operands::check`], with notes that lie where `hold` puts them.
    fn check_holding<'a, N: AsRef<[u8]>>(
        &'a self,
        kernel: &Kernel,
        mut place: impl FnMut(Tile<'a>) -> Tile<'a>,
        hold: impl Fn(Vec<u8>) -> N,
    ) {
        assert_eq!(self.form, kernel.form, "{}", kernel.name);
        let (shape, padded_k) = (self.shape, self.shape.padded_k());
        for p in (0..shape.panels()).step_by(kernel.panels) {
            let panels = kernel.panels.min(shape.panels() - p);
            for m in (0..self.rows).step_by(kernel.rows) {
                let rows = kernel.rows.min(self.rows - m);
                let placed = place(Tile {
                    activations: &self.activations[m * padded_k..(m + rows) * padded_k],
                    rows,
                    padded_k,
                    weights: &self.packed[p * shape.panel_len()..(p + panels) * shape.panel_len()],
                    panels,
                    column_sums: &self.sums[p..p + panels],
                    notes: &[],
                    arranged: &[],
                    arranged_rows: &[],
                });
                let notes = hold(kernel.examine(placed.weights, padded_k));
                let arranged = [
                    arranged_panels(kernel, placed.weights, padded_k),
                    arranged_rows(kernel, placed.activations, padded_k),
                ];
                let arranged = arranged.map(|values| hold(bytemuck::cast_slice(&values).to_vec()));
                let [arranged, arranged_rows] = arranged.each_ref().map(|values| bytemuck::cast_slice(values.as_ref()));
                let tile = Tile { notes: notes.as_ref(), arranged, arranged_rows, ..placed };
                let mut acc = Accumulators::splat(i32::MIN);
                kernel.run(&tile, &mut acc);
                // Of a kernel of one panel, all rows are that panel's.
                let of_panel = if kernel.panels == 1 { MAX_PANELS * MAX_ROWS } else { MAX_ROWS };
                for (i, got) in acc.0.as_flattened().as_flattened().iter().enumerate() {
                    let (panel, row) = (i / NR / of_panel, i / NR % of_panel);
                    let channel = (p + panel) * NR + i % NR;
                    let want = if panel >= panels || row >= rows {
                        i32::MIN // untouched
                    } else if channel >= shape.n {
                        0
                    } else {
                        self.product[(m + row) * shape.n + channel]
                    };
                    assert_eq!(
                        *got,
                        want,
                        "{} at ({}, {channel}) of {} rows, {shape:?}",
                        kernel.name,
                        m + row,
                        self.rows
                    );
                }
            }
        }
    }
}

/// Panels as a kernel arranges them.
fn arranged_panels(kernel: &Kernel, weights: &[i8], padded_k: usize) -> Vec<i8> {
    let mut arranged = Vec::new();
    kernel.arrange(weights, padded_k, &mut arranged);
    arranged
}

/// Rows as a kernel arranges them.
fn arranged_rows(kernel: &Kernel, activations: &[i8], padded_k: usize) -> Vec<i8> {
    let steps = (activations.len() / padded_k).div_ceil(kernel.row_step);
    let mut arranged = vec![99; steps * kernel.arranged_rows_len(padded_k)];
    kernel.arrange_rows(activations, padded_k, &mut arranged);
    arranged
}

/// The first rows, of some blocks that are multiplied together, and the last two, as tests of all rows of large tiles take long.
fn some_rows(rows: RangeInclusive<usize>) -> impl Iterator<Item = usize> {
    let end = *rows.end();
    rows.filter(move |rows| *rows <= 17 || rows + 1 >= end)
}

const EXTREMES: [(Fill, Fill); 13] = [
    (Fill::Random, Fill::Random),
    (Fill::Constant(127), Fill::Constant(127)),
    (Fill::Constant(-128), Fill::Constant(-127)),
    (Fill::Constant(-128), Fill::Constant(127)),
    (Fill::AlternatingSigns, Fill::AlternatingSigns),
    (Fill::AlternatingSigns, Fill::Constant(-127)),
    (Fill::Random, Fill::Bell),
    (Fill::Constant(-128), Fill::Bell),
    (Fill::Constant(-128), Fill::Fourth),
    // Eight and four products, a little below and above what 16 bits hold, with vectors in the same direction.
    (Fill::Constant(64), Fill::Constant(64)),
    (Fill::Constant(-64), Fill::Constant(63)),
    (Fill::Constant(91), Fill::Constant(91)),
    (Fill::Constant(-90), Fill::Constant(90)),
];

#[test]
fn the_required_kernel_is_the_chosen_one() {
    match required() {
        Some(name) => assert_eq!(chosen().name, name, "{REQUIRE_VARIABLE} requires it to run here, and to be chosen"),
        None => skipped(format!("the_required_kernel_is_the_chosen_one: no {REQUIRE_VARIABLE}")),
    }
}

#[test]
fn every_kernel_equals_the_naive_product_around_its_tile() {
    for kernel in kernels("every_kernel_equals_the_naive_product_around_its_tile") {
        for rows in some_rows(1..=kernel.rows + 1) {
            for n in 1..=kernel.panels * NR + 1 {
                for k in 1..=2 * K_ALIGN + 1 {
                    let fills = EXTREMES[(rows + n + k) % EXTREMES.len()];
                    Operands::new(kernel.form, rows, n, k, fills).check(kernel, |tile| tile);
                }
            }
            // Around the depth that kernels may take at once.
            for k in 383..=394 {
                Operands::new(kernel.form, rows, kernel.panels * NR + 1, k, EXTREMES[0]).check(kernel, |tile| tile);
            }
        }
    }
}

#[test]
fn every_kernel_equals_the_naive_product_on_extremes() {
    for kernel in kernels("every_kernel_equals_the_naive_product_on_extremes") {
        for fills in EXTREMES {
            for rows in some_rows(1..=kernel.rows) {
                for (n, k) in [(NR, 64), (2 * NR - 1, 65), (3 * NR, 1032), (NR + 1, 2049)] {
                    Operands::new(kernel.form, rows, n, k, fills).check(kernel, |tile| tile);
                }
            }
            Operands::new(kernel.form, kernel.rows, kernel.panels * NR, 65_536, fills).check(kernel, |tile| tile);
        }
    }
}

#[test]
fn every_kernel_equals_the_naive_product_at_the_shapes_of_models() {
    for (n, k) in [(1152, 384), (384, 384), (1536, 384), (384, 1536)] {
        for kernel in kernels("every_kernel_equals_the_naive_product_at_the_shapes_of_models") {
            for fills in EXTREMES {
                Operands::new(kernel.form, kernel.rows + 1, n, k, fills).check(kernel, |tile| tile);
            }
        }
    }
}

#[test]
fn every_kernel_equals_the_naive_product_of_large_values_in_few_places() {
    for kernel in kernels("every_kernel_equals_the_naive_product_of_large_values_in_few_places") {
        let all = Fill::Constant(127);
        let lanes = (0..8).map(|lane| (Fill::Eighth(lane), Fill::Eighth(lane)));
        let rows = (0..8).map(|row| (Fill::OneOf(8, row), all));
        let channels = (0..NR).map(|channel| (all, Fill::OneOf(NR, channel)));
        // Eight, two and four products fit into 16 bits, in every order.
        let steps = [[5, 127, 60], [127, 60, 5], [60, 5, 127], [5, 60, 127], [60, 127, 5], [127, 5, 60]];
        let steps = steps.map(|steps| (all, Fill::Steps(steps)));
        for fills in lanes.chain(rows).chain(channels).chain(steps) {
            for (n, k) in [(NR, 64), (2 * NR, 128), (NR, 8), (NR, 7 * 64)] {
                Operands::new(kernel.form, 9, n, k, fills).check(kernel, |tile| tile);
            }
        }
    }
}

#[test]
fn operands_need_no_alignment() {
    for kernel in kernels("operands_need_no_alignment") {
        let operands = Operands::new(kernel.form, kernel.rows, kernel.panels * NR, 40, EXTREMES[0]);
        for (i, j) in (0..64).zip((0..64).rev()) {
            let activations = [&vec![99; i], &operands.activations[..]].concat();
            let weights = [&vec![99; j], &operands.packed[..]].concat();
            let place = |tile| Tile { activations: &activations[i..], weights: &weights[j..], ..tile };
            operands.check(kernel, place);
        }
    }
}

#[test]
fn kernels_do_not_read_beyond_their_operands() {
    for kernel in kernels("kernels_do_not_read_beyond_their_operands") {
        for k in [1, 8, 9, 24, 64, 384] {
            for (rows, panels) in (1..=kernel.rows).flat_map(|rows| (1..=kernel.panels).map(move |p| (rows, p))) {
                let operands = Operands::new(kernel.form, rows, panels * NR, k, EXTREMES[0]);
                let activations = EndOfFile::new(&operands.activations);
                let weights = EndOfFile::new(&operands.packed);
                let sums = EndOfFile::new(&operands.sums);
                let place = |tile| Tile {
                    activations: activations.values(),
                    weights: weights.values(),
                    column_sums: sums.values(),
                    ..tile
                };
                operands.check_holding(kernel, place, |notes| EndOfFile::new(&notes));
            }
        }
    }
}

#[test]
fn any_number_of_groups_is_multiplied() {
    for kernel in kernels("any_number_of_groups_is_multiplied") {
        let (mut random, rows) = (Random(7), kernel.rows.min(5));
        for groups in 1..=9 {
            let padded_k = groups * KG;
            let weights: Vec<i8> = (0..padded_k * NR).map(|_| (random.number() as i8).max(-127)).collect();
            let values: Vec<i8> = (0..rows * padded_k).map(|_| random.number() as i8).collect();
            let activations: Vec<i8> = values.iter().map(|value| kernel.form.convert(*value)).collect();
            let weight = |n: usize, k: usize| i32::from(weights[k / KG * NR * KG + n * KG + k % KG]);
            let tile = Tile {
                activations: &activations,
                rows,
                padded_k,
                weights: &weights,
                panels: 1,
                column_sums: &[std::array::from_fn(|n| (0..padded_k).map(|k| weight(n, k)).sum())],
                notes: &kernel.examine(&weights, padded_k),
                arranged: &arranged_panels(kernel, &weights, padded_k),
                arranged_rows: &arranged_rows(kernel, &activations, padded_k),
            };
            let mut acc = Accumulators::splat(0);
            kernel.run(&tile, &mut acc);
            for (m, values) in values.chunks_exact(padded_k).enumerate() {
                for (n, got) in acc.0[0][m].iter().enumerate() {
                    let want: i32 = values.iter().enumerate().map(|(k, a)| i32::from(*a) * weight(n, k)).sum();
                    assert_eq!(*got, want, "{} ({m}, {n}) of {groups} groups", kernel.name);
                }
            }
        }
    }
}

#[test]
fn an_inconsistent_tile_is_refused() {
    for kernel in kernels("an_inconsistent_tile_is_refused") {
        let notes = kernel.examine(&[0; 8 * NR], 8);
        let (panel, row) = (arranged_panels(kernel, &[0; 8 * NR], 8), arranged_rows(kernel, &[0; 8], 8));
        let good = Tile {
            activations: &[0; 8],
            rows: 1,
            padded_k: 8,
            weights: &[0; 8 * NR],
            panels: 1,
            column_sums: &[[0; NR]],
            notes: &notes,
            arranged: &panel,
            arranged_rows: &row,
        };
        let run = |tile: Tile<'_>| std::panic::catch_unwind(|| kernel.run(&tile, &mut Accumulators::splat(0))).is_ok();
        assert!(run(good));
        let (many, zeros) = (kernel.rows + 1, vec![0; (kernel.rows + 1) * 8]);
        let (wide, weights) = (kernel.panels + 1, vec![0; (kernel.panels + 1) * 8 * NR]);
        let sums = vec![[0; NR]; wide];
        for bad in [
            Tile { rows: 2, ..good },
            Tile { rows: 0, activations: &[], ..good },
            Tile { rows: many, activations: &zeros, ..good },
            Tile { panels: 0, weights: &[], column_sums: &[], ..good },
            Tile { panels: wide, weights: &weights, column_sums: &sums, ..good },
            Tile { padded_k: 0, activations: &[], weights: &[], ..good },
            Tile { padded_k: 7, activations: &[0; 7], weights: &[0; 7 * NR], ..good },
            Tile { column_sums: &[], ..good },
            Tile { weights: &[0; 8 * NR - 1], ..good },
            Tile { notes: &[0; 9], ..good },
            Tile { arranged: &[0; 9], ..good },
            Tile { arranged_rows: &[0; 9], ..good },
        ] {
            assert!(!run(bad), "{}: {bad:?}", kernel.name);
        }
        // Sums of as many products as these may not fit.
        let deep = MAX_K + K_ALIGN;
        let (activations, weights) = (vec![0; deep], vec![0; deep * NR]);
        let notes = kernel.examine(&weights, deep);
        let (panel, row) = (arranged_panels(kernel, &weights, deep), arranged_rows(kernel, &activations, deep));
        let operands = Tile { activations: &activations, weights: &weights, padded_k: deep, ..good };
        let too_deep = Tile { notes: &notes, arranged: &panel, arranged_rows: &row, ..operands };
        assert!(!run(too_deep), "{}", kernel.name);
        // Where the end is noted, nothing else would stop assembly.
        let endless = vec![0; good.notes.len()];
        let stops = endless.is_empty() || !good.arranged.is_empty() || !run(Tile { notes: &endless, ..good });
        assert!(stops, "{}: notes without an end", kernel.name);
        // Of operands that are arranged wrongly, nothing is read that is not there.
        let (rows, k) = (kernel.row_step + 1, 3 * 64);
        let (activations, weights) = (vec![0; rows * k], vec![0; k * NR]);
        let operands = Tile { activations: &activations, rows, padded_k: k, weights: &weights, ..good };
        let lengths =
            [kernel.examine(&weights, k).len(), kernel.arranged_panel_len(k), 2 * kernel.arranged_rows_len(k)];
        for bytes in [[0u8, 0, 255], [255, 0, 0], [2, 127, 126], [126, 2, 127], [127, 1, 128], [128, 128, 128]] {
            if kernel.arranged_panel_len(k) > 0 {
                let wrong: [EndOfFile<u8>; 3] = std::array::from_fn(|i| EndOfFile::new(&vec![bytes[i]; lengths[i]]));
                let [notes, arranged, arranged_rows] = wrong.each_ref().map(|wrong| wrong.values());
                let (arranged, arranged_rows) = (bytemuck::cast_slice(arranged), bytemuck::cast_slice(arranged_rows));
                assert!(run(Tile { notes, arranged, arranged_rows, ..operands }), "{} {bytes:?}", kernel.name);
            }
        }
    }
}

#[test]
fn layout_is_a_bijection_onto_the_packed_range_and_padding_is_zero() {
    for (n, k) in [(1, 1), (16, 8), (17, 9), (33, 20), (5, 4)] {
        let shape = PackedShape { n, k };
        let mut seen = vec![false; shape.packed_len()];
        for i in 0..n {
            for j in 0..k {
                let at = shape.index(i, j);
                assert!(!std::mem::replace(&mut seen[at], true), "({i}, {j}) of {shape:?} collides");
                assert_eq!(at % KG, j % KG);
            }
        }
        let packed = pack(shape, &vec![1; n * k]);
        for (at, (&w, &used)) in packed.iter().zip(&seen).enumerate() {
            assert_eq!(w == 1, used, "index {at} of {shape:?}");
        }
    }
}
