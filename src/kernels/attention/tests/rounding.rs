//! What int8 rounding costs, measured against the same values in `f32`.

use super::super::*;
use super::case::{machines, random};

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
