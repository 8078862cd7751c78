//! Scores of int8 attention are exact.

use super::super::*;
use crate::kernels::tested::isas;
use crate::skip::skipped;

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
    if isas().into_iter().all(|isa| isa.dot().is_none()) {
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
                let products = a[i * head_dim..][..head_dim].iter().zip(&b[j * head_dim..]);
                products.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
            };
            let want = |(i, j): (usize, usize)| {
                let r = row(i as isize - j as isize);
                (dot(&q, i, &k, j) + dot(&q, i, &kr, r) + dot(&k, j, &qr, r)) as f32
            };
            let want: Vec<f32> = (0..length).flat_map(|i| (0..length).map(move |j| (i, j))).map(want).collect();
            for isa in isas() {
                let Some(isa_dot) = isa.dot() else { continue };
                let got =
                    isa_dot.run(IntegerScores(Input { kernel: gemm::chosen(), shape, length, qkv: &qkv, positions }));
                let got = got.concat();
                assert_eq!(got.len(), want.len());
                let wrong = (0..got.len()).find(|i| got[*i] != want[*i]).map(|i| (i / length, i % length, got[i]));
                assert_eq!(wrong, None, "{}, {length} x {head_dim}, fills {n}", isa.name());
            }
        }
    }
}
