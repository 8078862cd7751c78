//! Attention in blocks equals attention by its formula, in `f64`.

use super::*;
use crate::skip::skipped;

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

/// A table's values: as they are, or bytes with a scale per row and head.
enum Matrix {
    F32(Vec<f32>),
    Int8(Vec<i8>, Vec<f32>),
}

impl Matrix {
    fn new(int8: bool, shape: Shape, seed: u32) -> Self {
        let values = random(TABLE_ROWS * shape.hidden(), seed);
        if !int8 {
            return Self::F32(values);
        }
        let bytes = values.iter().map(|x| (x * 127.5) as i8).collect();
        let scales = random(TABLE_ROWS * shape.heads, seed + 1);
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

/// Every kernel of this CPU with its vectors, and vectors without a kernel with one that needs nothing.
fn machines(threads: &Threads) -> Vec<Machine<'_>> {
    let kernels = || gemm::TABLE.iter().filter(|kernel| kernel.is_available());
    let others = Isa::available().into_iter().filter(|isa| kernels().all(|kernel| kernel.isa() != *isa));
    let others = others.map(|isa| (isa, &gemm::TABLE[1]));
    let all = kernels().map(|kernel| (kernel.isa(), kernel)).chain(others);
    all.map(|(isa, kernel)| Machine { isa, kernel, threads }).collect()
}

impl Machine<'_> {
    fn name(&self) -> String {
        format!("{}, {}", self.isa.name(), self.kernel.name)
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
    fn new(length: usize, heads: usize, head_dim: usize, rows: Rows, terms: (bool, bool), int8: bool) -> Self {
        let hidden = heads * head_dim;
        let shape = Shape { heads, head_dim, scale: ((head_dim * 3) as f32).sqrt() };
        let table = |present: bool, seed| present.then(|| Matrix::new(int8, shape, seed));
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

    fn run(&self, machine: Machine<'_>, scratch: &mut Scratch) -> Vec<f32> {
        let distances = Distances::new(self.reach().map(|distance| self.rows.row(distance)).collect());
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
            for (i, q) in queries.iter().enumerate() {
                let score = |(j, k): (usize, &Vec<f64>)| {
                    let row = self.rows.row(i as isize - j as isize);
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
                for (c, out) in out[i * hidden + head * d..][..d].iter_mut().enumerate() {
                    let column: Vec<f64> = values.iter().map(|v| v[c]).collect();
                    if self.is_int8() {
                        let [value, margin] = quantised_mean(&weights, &column);
                        *out = [value / sum + mean(&column), out[1] + margin / sum];
                    } else {
                        out[0] = weights.iter().zip(column).map(|(weight, v)| weight / sum * v).sum();
                    }
                }
            }
        }
        out
    }

    fn check(&self) {
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

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sum of products of `weights`, which are at most 1, with what values differ from their mean by, both as int8 attention rounds them;
/// and what other roundings of those in the middle between two steps would add to it.
fn quantised_mean(weights: &[f64], values: &[f64]) -> [f64; 2] {
    // The nearest integer, and whether an error that grows with the number may have made it another one.
    let round = |x: f64, error: f64| (x.round(), (x - x.floor() - 0.5).abs() < 1e-4 + x.abs() * error);
    let mean = mean(values);
    let scale = values.iter().fold(0.0f64, |max, v| max.max((v - mean).abs())) / 127.0;
    let cap = ((weights.iter().sum::<f64>() - 1.0) / 8.0).clamp(1.0 / 64.0, 1.0);
    let (mut sum, mut margin) = (0.0, 0.0);
    for (weight, value) in weights.iter().zip(values) {
        let deviation = value - mean;
        sum += (weight - cap).max(0.0) * deviation;
        let (weight, weight_is_unsure) = round(254.0 * (weight / cap).min(1.0), 3e-5);
        // The mean has the errors of a sum.
        let error = 1e-5 + if scale > 0.0 { mean.abs() / (127.0 * scale) * 1e-6 } else { 0.0 };
        let (value, value_is_unsure) = round(if scale > 0.0 { deviation / scale } else { 0.0 }, error);
        let step = cap / 254.0 * scale;
        sum += weight * value * step;
        margin += if weight_is_unsure { value.abs() * step } else { 0.0 };
        margin += if value_is_unsure { weight * step } else { 0.0 };
    }
    [sum, margin]
}

const TERMS: [(bool, bool); 4] = [(true, true), (true, false), (false, true), (false, false)];

#[test]
fn every_length_agrees_with_the_formula() {
    for length in [1, 2, 3, 7, 15, 16, 17, 31, 33, 63, 64, 65, 128, 129, 200, 384] {
        for int8 in [false, true] {
            Case::new(length, 2, 32, Rows::Shared, TERMS[0], int8).check();
        }
    }
}

#[test]
fn every_set_of_terms_and_every_head_width_agree_with_the_formula() {
    for terms in TERMS {
        for head_dim in [1, 6, 8, 20, 32, 64, 80] {
            for length in [1, 17, 70] {
                for int8 in [false, true] {
                    Case::new(length, 2, head_dim, Rows::Shared, terms, int8).check();
                }
            }
        }
    }
}

#[test]
fn every_way_to_share_rows_agrees_with_the_formula() {
    for rows in [Rows::Shared, Rows::Clamped, Rows::Skipping] {
        for length in [1, 5, 16, 33, 100, 300] {
            for int8 in [false, true] {
                Case::new(length, 1, 16, rows, TERMS[0], int8).check();
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads_or_on_what_was_computed_before() {
    let mut scratch = Scratch::default();
    let threads: Vec<_> = [2, 3, 5]
        .map(|count| Threads::new(std::num::NonZeroUsize::new(count).expect("not 0"), false).expect("threads"))
        .into();
    for machine in machines(&Threads::one()) {
        for int8 in [false, true] {
            for (length, heads, head_dim) in [(130, 3, 24), (1, 3, 24), (40, 2, 27), (97, 5, 26), (40, 2, 3)] {
                let case = Case::new(length, heads, head_dim, Rows::Shared, TERMS[0], int8);
                let want = case.run(machine, &mut Scratch::default());
                for threads in &threads {
                    let got = case.run(Machine { threads, ..machine }, &mut scratch);
                    assert_eq!(got, want, "{} {int8}, {length} tokens, {} threads", machine.name(), threads.count());
                }
            }
        }
    }
}

/// Widths of heads that leave parts of vectors and of panels unused.
#[test]
fn what_was_not_finite_before_leaves_nothing_behind() {
    for (head_dim, int8) in [(80, false), (27, false), (80, true), (27, true)] {
        let case = Case::new(40, 2, head_dim, Rows::Shared, TERMS[0], int8);
        let mut bad = Case::new(40, 2, head_dim, Rows::Shared, TERMS[0], int8);
        bad.qkv.fill(f32::NAN);
        for machine in machines(&Threads::one()) {
            let mut scratch = Scratch::default();
            let out = bad.run(machine, &mut scratch);
            assert!(out.iter().all(|x| x.is_nan()), "{}", machine.name());
            let want = case.run(machine, &mut Scratch::default());
            assert!(want.iter().all(|x| x.is_finite()), "{}", machine.name());
            assert_eq!(case.run(machine, &mut scratch), want, "{} {head_dim} {int8}", machine.name());
        }
    }
}

/// Scores of one head in blocks of queries, as [`int8`] computes them.
struct IntegerScores<'a>(Input<'a>);

impl TaskDot for IntegerScores<'_> {
    type Output = Vec<Vec<f32>>;

    #[inline(always)]
    fn run<S: Simd, D: Dot<S>>(self, s: S, d: D) -> Self::Output {
        let (mut head, mut block, mut scores) = (int8::Operands::default(), Block::default(), Vec::new());
        int8::Load { input: self.0, head: 0, to: &mut head }.run(s, d);
        for first in (0..self.0.length).step_by(BLOCK) {
            let queries = first..self.0.length.min(first + BLOCK);
            head.scores(s, d, &self.0, queries.clone(), &mut block);
            let rows = block.scores.chunks(stride(self.0.length)).take(queries.len());
            scores.extend(rows.map(|row| row[..self.0.length].to_vec()));
        }
        scores
    }
}

/// With all scales 1, scores are integers, which `f32` holds exactly.
#[test]
fn integer_scores_equal_the_naive_sums() {
    if Isa::available().into_iter().all(|isa| isa.dot().is_none()) {
        skipped("integer_scores_equal_the_naive_sums: this CPU sums no bytes");
    }
    let fills: [fn(usize) -> i8; 5] =
        [|_| 127, |_| -127, |i| if i.is_multiple_of(2) { 127 } else { -127 }, |_| 0, |i| (i * 7919 % 255) as u8 as i8];
    for (case, (length, head_dim)) in
        [(1, 1), (15, 5), (16, 8), (33, 20), (70, 64), (130, 67), (64, 256), (17, 11), (18, 24), (20, 28)]
            .into_iter()
            .enumerate()
    {
        // All pairs of fills, in which not all pairs of operands vary, and then all operands at random.
        for n in 0..fills.len() * fills.len() + 1 {
            let (shape, reach) = (Shape { heads: 1, head_dim, scale: 1.0 }, length as isize - 1);
            let row = |distance: isize| (distance.clamp(-9, 9) + 9) as usize;
            let fill = |which: usize, len: usize| -> Vec<i8> {
                let fills = [n % 5, n / 5, (n + case) % 5, (n / 5 + 2 * case) % 5]
                    .map(|fill| fills[if n < 25 { fill } else { 4 }]);
                let fill = fills[which];
                (0..len).map(|i| fill(i + which).max(-127)).collect()
            };
            let (mut q, mut k) = (fill(0, length * head_dim), fill(1, length * head_dim));
            // The scale of a row is 1 if its largest value is 127.
            q.iter_mut().chain(&mut k).step_by(head_dim).for_each(|x| *x = if *x < 0 { -127 } else { 127 });
            let (kr, qr) = (fill(2, 19 * head_dim), fill(3, 19 * head_dim));
            let mut qkv = vec![0.0; 3 * length * head_dim];
            for (token, to) in qkv.chunks_exact_mut(3 * head_dim).enumerate() {
                let content = q[token * head_dim..][..head_dim].iter().chain(&k[token * head_dim..][..head_dim]);
                to.iter_mut().zip(content).for_each(|(to, x)| *to = f32::from(*x));
            }
            let scales = [1.0; 19];
            let distances = Distances::new((-reach..=reach).map(row).collect());
            let positions = Some(Positions {
                distances: &distances,
                key: Some(Table::Int8 { values: &kr, scales: &scales }),
                query: Some(Table::Int8 { values: &qr, scales: &scales }),
            });
            let dot = |a: &[i8], i: usize, b: &[i8], j: usize| -> i32 {
                let row = |x: &[i8], i: usize| x[i * head_dim..][..head_dim].to_vec();
                row(a, i).into_iter().zip(row(b, j)).map(|(a, b)| i32::from(a) * i32::from(b)).sum()
            };
            for isa in Isa::available() {
                let Some(isa_dot) = isa.dot() else { continue };
                let got =
                    isa_dot.run(IntegerScores(Input { kernel: gemm::chosen(), shape, length, qkv: &qkv, positions }));
                for (i, got) in got.iter().enumerate() {
                    for (j, got) in got.iter().enumerate() {
                        let r = row(i as isize - j as isize);
                        let want = dot(&q, i, &k, j) + dot(&q, i, &kr, r) + dot(&k, j, &qr, r);
                        assert_eq!(*got, want as f32, "{} ({i}, {j}), {length} x {head_dim}, fills {n}", isa.name());
                    }
                }
            }
        }
    }
}

/// What is not finite in one of two heads. Of values, only their own column is not, either.
#[test]
fn what_is_not_finite_stays_so_and_where_it_is() {
    // Too large to be added, which only int8 does.
    const HUGE: f32 = 3e38;
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, HUGE] {
        for (part, int8) in [(0, false), (1, false), (2, false), (0, true), (1, true), (2, true)] {
            if bad == HUGE && (part, int8) != (2, true) {
                continue;
            }
            let mut case = Case::new(20, 2, 8, Rows::Shared, TERMS[0], int8);
            case.qkv[7 * 48 + part * 16 + 3] = bad;
            case.qkv[8 * 48 + part * 16 + 3] = bad;
            for machine in machines(&Threads::one()) {
                let out = case.run(machine, &mut Scratch::default());
                let places = out.chunks(16).enumerate().flat_map(|(row, values)| {
                    values.iter().enumerate().filter(|(_, x)| !x.is_finite()).map(move |(column, _)| (row, column))
                });
                let places: Vec<_> = places.collect();
                assert!(places.iter().all(|(_, column)| *column < 8), "{} {bad}, {part}, {int8}", machine.name());
                let rows = (0..20).filter(|row| places.iter().any(|place| place.0 == *row));
                let rows: Vec<_> = rows.collect();
                let as_stated = match part {
                    0 => rows == [7, 8],
                    1 if !int8 && bad.is_infinite() => !rows.is_empty(),
                    1 => rows.len() == 20,
                    _ => rows.len() == 20 && places.iter().all(|(_, column)| *column == 3),
                };
                assert!(as_stated, "{} {bad} in part {part}, {int8}: {places:?}", machine.name());
            }
        }
    }
}

#[test]
fn rows_of_zeros_are_no_special_case() {
    for (int8, value) in [(true, 0.0), (true, 1e-42), (false, 0.0)] {
        let mut case = Case::new(20, 2, 8, Rows::Shared, TERMS[0], int8);
        // Queries and keys of both heads of a token.
        case.qkv[7 * 48..7 * 48 + 32].fill(value);
        case.check();
    }
}

/// Equal weights, of which all or all but one have no room below the cap, and values that are hard to quantise.
#[test]
fn weights_at_the_cap_and_columns_of_any_size_are_no_special_case() {
    for length in [2, 6, 7, 8, 9, 10, 17, 40] {
        for scores in [0.0, 1e-4] {
            let mut case = Case::new(length, 2, 20, Rows::Shared, TERMS[0], true);
            for (token, row) in case.qkv.chunks_exact_mut(120).enumerate() {
                row[..80].iter_mut().for_each(|x| *x *= scores);
                let sign = if token % 2 == 0 { 1.0 } else { -1.0 };
                row[80..86].copy_from_slice(&[
                    2.5,
                    0.0,
                    1e-42,
                    1000.0 + 0.5 * sign,
                    sign,
                    if token == 0 { 60.0 } else { 0.1 },
                ]);
            }
            case.check();
        }
    }
}

/// How far int8 outputs may be from those of the same values in `f32`: what rounding costs, on its own.
#[test]
fn quantised_weights_and_values_give_nearly_the_same() {
    let (length, d) = (200, 64);
    let shape = Shape { heads: 1, head_dim: d, scale: 1.0 };
    let distances = Distances::new((1 - length as isize..length as isize).map(|_| 0).collect());
    let (zeros, floats) = (vec![0i8; d], vec![0.0; d]);
    // Scores spread by `spread`; one key that all queries attend to, with small values; one that none does, with large ones.
    for (name, spread, sink, small, large, bound) in [
        ("random", 1.0, 0.0, 1.0, 1.0, 0.01),
        ("spread", 3.0, 0.0, 1.0, 1.0, 0.01),
        ("half on one key", 1.0, 5.8, 0.05, 1.0, 0.03),
        ("0.9 on one key", 1.0, 8.0, 0.05, 1.0, 0.01),
        ("0.99 on one key", 1.0, 10.4, 0.01, 1.0, 0.03),
        ("an outlier among values", 1.0, 0.0, 1.0, 10.0, 0.03),
    ] {
        // Queries are 1 in the first of their values, so that scores are the first values of keys.
        let mut qkv = vec![0.0; 3 * d * length];
        let noise = random(length * (d + 1), 7);
        for (token, row) in qkv.chunks_exact_mut(3 * d).enumerate() {
            let noise = &noise[token * (d + 1)..][..d + 1];
            row[0] = 1.0;
            row[d] = if token == 5 && sink > 0.0 { sink } else { noise[d] * 1.7 * spread };
            let factor = [(5, small), (9, large)].into_iter().find(|(at, _)| *at == token).map_or(1.0, |(_, f)| f);
            row[2 * d..].iter_mut().zip(noise).for_each(|(v, x)| *v = x * factor);
        }
        let run_with = |key: Table<'_>, machine: Machine<'_>| {
            let positions = Positions { distances: &distances, key: Some(key), query: None };
            let mut out = vec![f32::NAN; length * d];
            run(machine, shape, &qkv, Some(positions), &mut Scratch::default(), &mut out);
            out
        };
        for machine in machines(&Threads::one()) {
            let want = run_with(Table::F32(&floats), machine);
            let got = run_with(Table::Int8 { values: &zeros, scales: &[1.0] }, machine);
            let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let error = norm(&mut want.iter().zip(&got).map(|(a, b)| a - b)) / norm(&mut want.iter().copied());
            assert!(error < bound, "{}: {name}: {error}", machine.name());
        }
    }
}

#[test]
fn lengths_are_checked() {
    let shape = Shape { heads: 1, head_dim: 2, scale: 1.0 };
    let panics = |f: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err();
    assert!(panics(&|| drop(Distances::new(vec![0; 4]))));
    assert!(panics(&|| drop(Distances::new(vec![2, 1, 0]))));
    let run = |rows: Vec<usize>, table: &[f32]| {
        let positions = Positions { distances: &Distances::new(rows), key: Some(Table::F32(table)), query: None };
        attention(&Threads::one(), shape, &[0.0; 12], Some(positions), &mut Scratch::default(), &mut [0.0; 4]);
    };
    assert!(!panics(&|| run(vec![0, 1, 2], &[0.0; 6])));
    assert!(panics(&|| run(vec![0, 1, 2], &[0.0; 5])), "a row is missing");
    assert!(panics(&|| run(vec![0], &[0.0; 6])), "distances of another length");
}
