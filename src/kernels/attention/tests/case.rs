//! Attention by its formula, and what the tests run it on.

use super::super::*;
use crate::kernels::tested::isas;

pub(super) fn random(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        ((state >> 8) as f32 / (1 << 24) as f32 - 0.5) * 2.0
    };
    (0..len).map(|_| next()).collect()
}

/// Which table row belongs to a distance, around the middle of the table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rows {
    /// Every distance has its own up to 128, then about two share one.
    Shared,
    /// Every distance has its own up to 5; then all share one.
    Clamped,
    /// Neighbouring distances are 3 rows apart.
    Skipping,
}

impl Rows {
    /// How many rows there are between those of distance 0 and of `far`.
    fn between(self, far: usize) -> usize {
        match self {
            Rows::Shared => far.min(128) + far.saturating_sub(128) * 4 / 9,
            Rows::Clamped => far.min(5),
            Rows::Skipping => far * 3,
        }
    }

    /// The row of a distance, in a table for sequences of `length` tokens.
    fn row(self, length: usize, distance: isize) -> usize {
        let (middle, between) = (self.between(length), self.between(distance.unsigned_abs()));
        if distance < 0 { middle - between } else { middle + between }
    }

    /// Rows of a table for sequences of `length` tokens.
    fn of_table(self, length: usize) -> usize {
        2 * self.between(length) + 1
    }
}

/// A table's values: as they are, or bytes with a scale per row and head.
enum Matrix {
    F32(Vec<f32>),
    Int8(Vec<i8>, Vec<f32>),
}

impl Matrix {
    fn new(int8: bool, shape: Shape, rows: usize, seed: u32) -> Self {
        let values = random(rows * shape.hidden(), seed);
        if !int8 {
            return Self::F32(values);
        }
        let bytes = values.iter().map(|x| (x * 127.5) as i8).collect();
        let scales = random(rows * shape.heads, seed + 1);
        Self::Int8(bytes, scales.iter().map(|x| 0.004 + x.abs() * 0.004).collect())
    }

    fn table(&self) -> Table<'_> {
        match self {
            Self::F32(values) => Table::F32(values),
            Self::Int8(values, scales) => Table::Int8 { values, scales },
        }
    }

    fn value(&self, shape: Shape, row: usize, column: usize) -> f64 {
        let index = row * shape.hidden() + column;
        match self {
            Self::F32(values) => f64::from(values[index]),
            Self::Int8(values, scales) => {
                f64::from(values[index]) * f64::from(scales[row * shape.heads + column / shape.head_dim])
            }
        }
    }
}

/// Every kernel to test with its vectors, and vectors without a kernel with one that needs nothing.
pub(super) fn machines(threads: &Threads) -> Vec<Machine<'_>> {
    let kernels = |isa| gemm::TABLE.iter().filter(move |kernel| kernel.is_available() && kernel.isa() == isa);
    let any = |isa| kernels(isa).next().is_none().then_some(&gemm::TABLE[1]);
    let all = isas().into_iter().flat_map(|isa| kernels(isa).chain(any(isa)).map(move |kernel| (isa, kernel)));
    all.map(|(isa, kernel)| Machine { isa, kernel, threads }).collect()
}

impl Machine<'_> {
    pub(super) fn name(&self) -> String {
        format!("{}, {}", self.isa.name(), self.kernel.name)
    }
}

pub(super) struct Case {
    shape: Shape,
    length: usize,
    rows: Rows,
    pub(super) qkv: Vec<f32>,
    key: Option<Matrix>,
    query: Option<Matrix>,
}

impl Case {
    pub(super) fn new(
        length: usize,
        heads: usize,
        head_dim: usize,
        rows: Rows,
        terms: (bool, bool),
        int8: bool,
    ) -> Self {
        let hidden = heads * head_dim;
        let shape = Shape { heads, head_dim, scale: ((head_dim * 3) as f32).sqrt() };
        let table = |present: bool, seed| present.then(|| Matrix::new(int8, shape, rows.of_table(length), seed));
        let qkv = random(length * 3 * hidden, length as u32);
        // Scores of several units, so that weights differ.
        let qkv = qkv.into_iter().map(|x| x * 3.0).collect();
        Self { shape, length, rows, qkv, key: table(terms.0, 5), query: table(terms.1, 6) }
    }

    fn hidden(&self) -> usize {
        self.shape.heads * self.shape.head_dim
    }

    fn reach(&self) -> std::ops::Range<isize> {
        let length = isize::try_from(self.length).expect("a length");
        1 - length..length
    }

    pub(super) fn run(&self, machine: Machine<'_>, scratch: &mut Scratch) -> Vec<f32> {
        let distances = Distances::new(self.reach().map(|distance| self.rows.row(self.length, distance)).collect());
        let (key, query) = (self.key.as_ref().map(Matrix::table), self.query.as_ref().map(Matrix::table));
        let positions = (key.is_some() || query.is_some()).then_some(Positions { distances: &distances, key, query });
        let mut out = vec![f32::NAN; self.length * self.hidden()];
        run(machine, self.shape, &self.qkv, positions, scratch, &mut out);
        out
    }

    fn is_int8(&self) -> bool {
        [&self.key, &self.query].iter().any(|table| matches!(table, Some(Matrix::Int8(..))))
    }

    /// Query (`part` 0), key or value, quantised where attention quantises it.
    fn part(&self, part: usize, token: usize, head: usize) -> Vec<f64> {
        let d = self.shape.head_dim;
        let values = &self.qkv[(token * 3 + part) * self.hidden() + head * d..][..d];
        let scale = f64::from(values.iter().fold(0.0f32, |max, x| max.max(x.abs()))) / 127.0;
        let quantised = part < 2 && self.is_int8() && scale > 0.0;
        let round = |x: f64| if quantised { (x / scale).round_ties_even() * scale } else { x };
        values.iter().map(|x| round(f64::from(*x))).collect()
    }

    /// Outputs, and how far results may be from them: where attention quantises weights and values, one that lies in the middle between
    /// two steps may be rounded to either.
    fn formula(&self) -> Vec<[f64; 2]> {
        let (hidden, d) = (self.hidden(), self.shape.head_dim);
        let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let largest = self.qkv.iter().fold(3.0f32, |max, x| max.max(x.abs()));
        let mut out = vec![[0.0, f64::from(largest) * 4e-6]; self.length * hidden];
        for head in 0..self.shape.heads {
            let parts = |part| -> Vec<_> { (0..self.length).map(|token| self.part(part, token, head)).collect() };
            let (queries, keys, values) = (parts(0), parts(1), parts(2));
            let columns: Vec<_> = (0..d).map(|c| Column::new(values.iter().map(|v| v[c]).collect())).collect();
            for (i, q) in queries.iter().enumerate() {
                let score = |(j, k): (usize, &Vec<f64>)| {
                    let row = self.rows.row(self.length, i as isize - j as isize);
                    let entry = |table: &Option<Matrix>, x: &[f64]| {
                        let value = |c| table.as_ref().map_or(0.0, |table| table.value(self.shape, row, head * d + c));
                        dot(&(0..d).map(value).collect::<Vec<_>>(), x)
                    };
                    (dot(q, k) + entry(&self.key, q) + entry(&self.query, k)) / f64::from(self.shape.scale)
                };
                let scores: Vec<f64> = keys.iter().enumerate().map(score).collect();
                let max = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|x| (x - max).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for (out, column) in out[i * hidden + head * d..][..d].iter_mut().zip(&columns) {
                    if self.is_int8() {
                        let [value, margin] = column.quantised_mean(&weights);
                        *out = [value / sum + column.mean, out[1] + margin / sum];
                    } else {
                        out[0] = weights.iter().zip(&column.values).map(|(weight, v)| weight / sum * v).sum();
                    }
                }
            }
        }
        out
    }

    pub(super) fn check(&self) {
        let want = self.formula();
        let mut scratch = Scratch::default();
        for machine in machines(&Threads::one()) {
            for (i, (got, [want, margin])) in self.run(machine, &mut scratch).iter().zip(&want).enumerate() {
                let error = (f64::from(*got) - want).abs();
                assert!(
                    error < *margin,
                    "{} at {i} of {} tokens, {:?}, {:?}, key {}, query {}: {got} {want} +- {margin}",
                    machine.name(),
                    self.length,
                    self.shape,
                    self.rows,
                    self.key.is_some(),
                    self.query.is_some()
                );
            }
        }
    }
}

/// One of a head's values, of all tokens.
struct Column {
    values: Vec<f64>,
    mean: f64,
    scale: f64,
}

impl Column {
    fn new(values: Vec<f64>) -> Self {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let scale = values.iter().fold(0.0f64, |max, v| max.max((v - mean).abs())) / 127.0;
        Self { values, mean, scale }
    }

    /// The sum of products of `weights`, which are at most 1, with what values differ from their mean by, both as int8 attention rounds them;
    /// and what other roundings of those in the middle between two steps would add to it.
    fn quantised_mean(&self, weights: &[f64]) -> [f64; 2] {
        // The nearest integer, and whether an error that grows with the number may have made it another one.
        let round = |x: f64, error: f64| (x.round(), (x - x.floor() - 0.5).abs() < 1e-4 + x.abs() * error);
        let Self { values, mean, scale } = self;
        let cap = ((weights.iter().sum::<f64>() - 1.0) / 8.0).clamp(1.0 / 64.0, 1.0);
        let (mut sum, mut margin) = (0.0, 0.0);
        for (weight, value) in weights.iter().zip(values) {
            let deviation = value - mean;
            sum += (weight - cap).max(0.0) * deviation;
            let (weight, weight_is_unsure) = round(254.0 * (weight / cap).min(1.0), 3e-5);
            // The mean has the errors of a sum.
            let error = 1e-5 + if *scale > 0.0 { mean.abs() / (127.0 * scale) * 1e-6 } else { 0.0 };
            let (value, value_is_unsure) = round(if *scale > 0.0 { deviation / scale } else { 0.0 }, error);
            let step = cap / 254.0 * scale;
            sum += weight * value * step;
            margin += if weight_is_unsure { value.abs() * step } else { 0.0 };
            margin += if value_is_unsure { weight * step } else { 0.0 };
        }
        [sum, margin]
    }
}
