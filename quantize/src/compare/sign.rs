//! Whether of two kinds of change one is more frequent than chance makes it.

/// The exact two-sided sign test, that is, McNemar's with binomial probabilities: how likely it is that changes which are of either
/// kind equally often, each by itself, are at least as uneven as these; 1 if there are none.
///
/// Twice the probability of at most `min(a, b)` heads in `a + b` throws of a coin, and no more than 1.
pub fn p_value(a: usize, b: usize) -> f64 {
    let all = a + b;
    // The logarithms, as 2^-1075 is 0.
    let mut term = -(all as f64) * std::f64::consts::LN_2;
    let mut sum = term.exp();
    for heads in 0..a.min(b) {
        term += ((all - heads) as f64 / (heads + 1) as f64).ln();
        sum += term.exp();
    }
    (2.0 * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_throws_that_can_be_counted() {
        for (a, b, expected) in [
            (0, 0, 1.0),
            (1, 0, 1.0),
            (3, 3, 1.0),
            (5, 0, 2.0 / 32.0),
            (1, 9, 2.0 * 11.0 / 1024.0),
            (2, 8, 2.0 * 56.0 / 1024.0),
            // By whole numbers: the binomial coefficients in Python.
            (15, 37, 0.003185253447776759),
            (1200, 1400, 9.442234765340861e-05),
        ] {
            for found in [p_value(a, b), p_value(b, a)] {
                assert!((found / expected - 1.0).abs() < 1e-9, "{a} and {b}: {found} for {expected}");
            }
        }
        assert!(p_value(0, 5000) < 1e-300);
    }
}
