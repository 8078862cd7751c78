//! Every row of the kernel table equals a naive product of the unpacked matrices.

use super::gemm::{Accumulators, Kernel, MAX_ROWS, TABLE, Tile};
use super::layout::{K_ALIGN, KG, NR, PackedShape};
use super::pack::{column_sums, pack};

/// A small deterministic generator (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn next_i8(&mut self) -> i8 {
        self.next() as i8
    }
}

/// What fills a matrix: the extremes are those that overflow narrow intermediates first.
#[derive(Clone, Copy, Debug)]
enum Fill {
    Random,
    Constant(i8),
    AlternatingSigns,
}

impl Fill {
    fn value(self, random: &mut Random, i: usize, lowest: i8) -> i8 {
        match self {
            Fill::Random => random.next_i8().max(lowest),
            Fill::Constant(value) => value.max(lowest),
            Fill::AlternatingSigns => [127, lowest][i % 2],
        }
    }
}

fn check(kernel: &Kernel, rows: usize, n: usize, k: usize, fills: (Fill, Fill)) {
    let mut random = Random((rows * 1_000_003 + n * 1009 + k) as u64);
    let shape = PackedShape { n, k };
    let a: Vec<i8> = (0..rows * k).map(|i| fills.0.value(&mut random, i, -128)).collect();
    let w: Vec<i8> = (0..n * k).map(|i| fills.1.value(&mut random, i, -127)).collect();
    let packed = pack(shape, &w);
    let sums = column_sums(shape, &w);
    let padded_k = shape.padded_k();
    let mut padded = vec![0i8; rows * padded_k];
    for (to, from) in padded.chunks_exact_mut(padded_k).zip(a.chunks_exact(k)) {
        to[..k].copy_from_slice(from);
    }
    for p in 0..shape.panels() {
        let mut acc: Accumulators = [[i32::MIN; NR]; MAX_ROWS];
        let tile = Tile {
            activations: &padded,
            rows,
            padded_k,
            panel: &packed[p * shape.panel_len()..][..shape.panel_len()],
            column_sums: sums[p * NR..][..NR].try_into().expect("a whole panel"),
        };
        kernel.run(&tile, &mut acc);
        for (m, row) in acc.iter().enumerate() {
            for (j, &got) in row.iter().enumerate() {
                let channel = p * NR + j;
                let want = if m >= rows {
                    i32::MIN // untouched
                } else if channel >= n {
                    0
                } else {
                    (0..k).map(|i| i32::from(a[m * k + i]) * i32::from(w[channel * k + i])).sum()
                };
                assert_eq!(got, want, "{} rows {rows} n {n} k {k} {fills:?} at ({m}, {channel})", kernel.name);
            }
        }
    }
}

#[test]
fn every_kernel_equals_the_naive_product() {
    let extremes = [
        (Fill::Random, Fill::Random),
        (Fill::Constant(127), Fill::Constant(127)),
        (Fill::Constant(-128), Fill::Constant(-127)),
        (Fill::Constant(-128), Fill::Constant(127)),
        (Fill::AlternatingSigns, Fill::AlternatingSigns),
        (Fill::AlternatingSigns, Fill::Constant(-127)),
    ];
    for kernel in TABLE {
        assert!((kernel.is_available)(), "{} cannot run here: its equality is not shown", kernel.name);
        for rows in 1..=kernel.rows {
            for n in [1, 2, NR - 1, NR, NR + 1, 2 * NR + 3] {
                for k in (1..=2 * K_ALIGN + 1).chain([63, 64, 65, 384]) {
                    for fills in extremes {
                        check(kernel, rows, n, k, fills);
                    }
                }
            }
        }
        for fills in extremes {
            check(kernel, kernel.rows, NR, 65_536, fills);
        }
    }
}

#[test]
fn an_inconsistent_tile_is_refused() {
    for kernel in TABLE {
        let tile = Tile { activations: &[0; 8], rows: 2, padded_k: 8, panel: &[0; 8 * NR], column_sums: &[0; NR] };
        let result = std::panic::catch_unwind(|| kernel.run(&tile, &mut [[0; NR]; MAX_ROWS]));
        assert!(result.is_err(), "{}", kernel.name);
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
