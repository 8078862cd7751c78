//! Attention in blocks equals attention by its formula, in `f64`.

use super::*;

fn random(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        ((state >> 8) as f32 / (1 << 24) as f32 - 0.5) * 2.0
    };
    (0..len).map(|_| next()).collect()
}

/// Which table row belongs to a distance, around 300.
#[derive(Clone, Copy, Debug)]
enum Rows {
    /// Every distance has its own up to 128, then about two share one.
    Shared,
    /// Every distance has its own up to 5; then all share one.
    Clamped,
    /// Neighbouring distances are 3 rows apart.
    Skipping,
}

impl Rows {
    fn row(self, distance: isize) -> usize {
        let far = distance.abs();
        let bucket = match self {
            Rows::Shared => far.min(128) + (far - 128).max(0) * 4 / 9,
            Rows::Clamped => far.min(5),
            Rows::Skipping => far * 3,
        };
        usize::try_from(distance.signum() * bucket + 1600).expect("no negative row")
    }
}

const TABLE_ROWS: usize = 3200;

/// Values and the width of a row.
struct Matrix(Vec<f32>, usize);

impl PositionTable for Matrix {
    fn part(&self, row: usize, from: usize, len: usize) -> Row<'_> {
        Row::F32(&self.0[row * self.1 + from..][..len])
    }
}

struct Case {
    shape: Shape,
    length: usize,
    rows: Rows,
    qkv: Vec<f32>,
    key: Option<Matrix>,
    query: Option<Matrix>,
}

impl Case {
    fn new(length: usize, heads: usize, head_dim: usize, rows: Rows, terms: (bool, bool)) -> Self {
        let hidden = heads * head_dim;
        let shape = Shape { heads, head_dim, scale: ((head_dim * 3) as f32).sqrt() };
        let table = |present: bool, seed| present.then(|| Matrix(random(TABLE_ROWS * hidden, seed), hidden));
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

    fn run(&self, isa: Isa) -> Vec<f32> {
        let rows: Vec<usize> = self.reach().map(|distance| self.rows.row(distance)).collect();
        let (key, query) = (self.key.as_ref(), self.query.as_ref());
        let positions = Positions {
            rows: &rows,
            key: key.map(|table| table as &dyn PositionTable),
            query: query.map(|table| table as &dyn PositionTable),
        };
        let relative = self.key.is_some() || self.query.is_some();
        let mut out = vec![f32::NAN; self.length * self.hidden()];
        run(isa, self.shape, &self.qkv, relative.then_some(positions), &mut out);
        out
    }

    fn formula(&self) -> Vec<f64> {
        let (hidden, d) = (self.hidden(), self.shape.head_dim);
        let part = |token: usize, part: usize, head: usize| &self.qkv[(token * 3 + part) * hidden + head * d..][..d];
        let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum() };
        let mut out = vec![0.0; self.length * hidden];
        for head in 0..self.shape.heads {
            for i in 0..self.length {
                let score = |j: usize| {
                    let row = self.rows.row(i as isize - j as isize);
                    let entry = |table: &Matrix, x: &[f32]| dot(&table.0[row * hidden + head * d..][..d], x);
                    let (q, k) = (part(i, 0, head), part(j, 1, head));
                    let key = self.key.as_ref().map_or(0.0, |table| entry(table, q));
                    let query = self.query.as_ref().map_or(0.0, |table| entry(table, k));
                    (dot(q, k) + key + query) / f64::from(self.shape.scale)
                };
                let scores: Vec<f64> = (0..self.length).map(score).collect();
                let max = scores.iter().copied().fold(f64::MIN, f64::max);
                let sum: f64 = scores.iter().map(|x| (x - max).exp()).sum();
                for (j, x) in scores.iter().enumerate() {
                    for (c, v) in part(j, 2, head).iter().enumerate() {
                        out[i * hidden + head * d + c] += (x - max).exp() / sum * f64::from(*v);
                    }
                }
            }
        }
        out
    }

    fn check(&self) {
        let want = self.formula();
        for isa in Isa::available() {
            for (i, (got, want)) in self.run(isa).iter().zip(&want).enumerate() {
                // Values are below 3.
                let error = (f64::from(*got) - want).abs();
                assert!(
                    error < 1e-5,
                    "{} at {i} of {} tokens, {:?}, {:?}, key {}, query {}: {got} {want}",
                    isa.name(),
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

const TERMS: [(bool, bool); 4] = [(true, true), (true, false), (false, true), (false, false)];

#[test]
fn every_length_agrees_with_the_formula() {
    for length in [1, 2, 3, 7, 15, 16, 17, 63, 64, 65, 128, 129, 200, 384, 512] {
        Case::new(length, 2, 32, Rows::Shared, TERMS[0]).check();
    }
}

#[test]
fn every_set_of_terms_and_every_head_width_agree_with_the_formula() {
    for terms in TERMS {
        for head_dim in [1, 8, 20, 32, 64, 80] {
            for length in [1, 17, 70, 145] {
                Case::new(length, 2, head_dim, Rows::Shared, terms).check();
            }
        }
    }
}

#[test]
fn every_way_to_share_rows_agrees_with_the_formula() {
    for rows in [Rows::Shared, Rows::Clamped, Rows::Skipping] {
        for length in [1, 5, 16, 33, 100, 300] {
            Case::new(length, 1, 16, rows, TERMS[0]).check();
        }
    }
}

/// Values of one row, in units of a quarter.
struct Bytes(Vec<i8>);

impl PositionTable for Bytes {
    fn part(&self, _: usize, from: usize, len: usize) -> Row<'_> {
        Row::Int8 { values: &self.0[from.min(self.0.len())..][..len.min(self.0.len() - from)], scale: 0.25 }
    }
}

#[test]
fn bytes_count_in_their_unit_and_missing_values_as_zero() {
    let shape = Shape { heads: 1, head_dim: 19, scale: 4.0 };
    let qkv = random(2 * 3 * 19, 1);
    for len in [0, 3, 17, 19] {
        let bytes: Vec<i8> = (0..len).map(|i| i as i8 * 5 - 30).collect();
        let floats = bytes.iter().map(|v| f32::from(*v) * 0.25).chain(std::iter::repeat(0.0)).take(19).collect();
        let (bytes, floats) = (Bytes(bytes), Matrix(floats, 0));
        for isa in Isa::available() {
            let run = |table: &dyn PositionTable| {
                let mut out = [0.0; 2 * 19];
                let positions = Positions { rows: &[0, 0, 0], key: Some(table), query: Some(table) };
                run(isa, shape, &qkv, Some(positions), &mut out);
                out
            };
            assert_eq!(run(&bytes), run(&floats), "{} {len}", isa.name());
        }
    }
}

#[test]
fn what_is_not_finite_stays_so() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for part in 0..3 {
            let mut case = Case::new(20, 1, 8, Rows::Shared, TERMS[0]);
            case.qkv[7 * 24 + part * 8 + 3] = bad;
            for isa in Isa::available() {
                let out = case.run(isa);
                assert!(out.iter().any(|x| !x.is_finite()), "{} {bad} in part {part}", isa.name());
            }
        }
    }
}

#[test]
fn the_length_of_the_rows_is_checked() {
    let shape = Shape { heads: 1, head_dim: 2, scale: 1.0 };
    let run = |rows: &[usize]| {
        let run = || attention(shape, &[0.0; 12], Some(Positions { rows, key: None, query: None }), &mut [0.0; 4]);
        std::panic::catch_unwind(run).is_ok()
    };
    assert!(!run(&[0; 4]));
    assert!(!run(&[2, 1, 0]));
    assert!(run(&[0, 1, 2]));
}
