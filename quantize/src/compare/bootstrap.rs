//! How far a figure could be from that of other text of the kind: the percentile bootstrap over paragraphs.
//!
//! Questions about one paragraph are not independent: they are easy or hard together. So whole paragraphs are drawn, with
//! replacement, as many as there are, and each draw gives a mean over the questions drawn; the interval holds the middle of these.
//! Both sides are drawn together, so what makes a question hard for both does not count.

use edgeqa::stats::{ascending, quantile};
use serde::Serialize;

use crate::random::Random;

/// Number of draws.
pub const RESAMPLES: usize = 10_000;
/// Seed of the draws (splitmix64).
pub const SEED: u64 = 0xb007;
/// Share of the draws that an interval holds.
pub const CONFIDENCE: f64 = 0.95;

/// The scores of the questions of one paragraph.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cluster {
    /// Number of questions.
    pub questions: usize,
    /// Sum of their scores with fp32, each from 0 to 1.
    pub fp32: f64,
    /// Sum of their scores with int8.
    pub int8: f64,
}

/// Two means and how certain their difference and ratio are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean of int8 minus that of fp32, in points of 100.
    pub difference: f64,
    /// 95 % interval of the difference; `None` if there are fewer than two paragraphs.
    pub difference_interval: Option<[f64; 2]>,
    /// The mean of int8 as a share of that of fp32; `None` if the latter is 0.
    pub ratio: Option<f64>,
    /// 95 % interval of the ratio; `None` if there are fewer than two paragraphs, or if fp32 scores 0 in some draws.
    pub ratio_interval: Option<[f64; 2]>,
}

impl Estimate {
    /// Draws [`RESAMPLES`] times from `clusters`. The result is the same everywhere.
    pub fn new(clusters: &[Cluster]) -> Self {
        let all = clusters.iter().fold(Cluster::default(), add);
        let (mut differences, mut ratios) = (Vec::with_capacity(RESAMPLES), Vec::with_capacity(RESAMPLES));
        if clusters.len() > 1 {
            let mut random = Random(SEED);
            for _ in 0..RESAMPLES {
                let drawn = (0..clusters.len())
                    .filter_map(|_| clusters.get(random.below(clusters.len() as u64) as usize))
                    .fold(Cluster::default(), add);
                differences.push(difference(drawn));
                ratios.extend(ratio(drawn));
            }
        }
        Self {
            difference: difference(all),
            difference_interval: interval(differences),
            ratio: ratio(all),
            ratio_interval: if ratios.len() == RESAMPLES { interval(ratios) } else { None },
        }
    }
}

fn add(sum: Cluster, cluster: &Cluster) -> Cluster {
    Cluster {
        questions: sum.questions + cluster.questions,
        fp32: sum.fp32 + cluster.fp32,
        int8: sum.int8 + cluster.int8,
    }
}

fn difference(sum: Cluster) -> f64 {
    100.0 * (sum.int8 - sum.fp32) / sum.questions.max(1) as f64
}

fn ratio(sum: Cluster) -> Option<f64> {
    (sum.fp32 > 0.0).then(|| sum.int8 / sum.fp32)
}

fn interval(draws: Vec<f64>) -> Option<[f64; 2]> {
    let draws = ascending(draws);
    let tail = (1.0 - CONFIDENCE) / 2.0;
    Some([quantile(&draws, tail)?, quantile(&draws, 1.0 - tail)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(questions: usize, fp32: f64, int8: f64) -> Cluster {
        Cluster { questions, fp32, int8 }
    }

    #[test]
    fn two_paragraphs_give_the_interval_that_can_be_counted() {
        // Draws: the first twice (1/4), both (1/2), the second twice (1/4), so the interval reaches from one to the other.
        let found = Estimate::new(&[cluster(1, 1.0, 0.5), cluster(3, 2.0, 2.0)]);
        assert_eq!(found.difference, 100.0 * (2.5 - 3.0) / 4.0);
        assert_eq!(found.difference_interval, Some([-50.0, 0.0]));
        assert_eq!((found.ratio, found.ratio_interval), (Some(2.5 / 3.0), Some([0.5, 1.0])));
    }

    #[test]
    fn an_interval_needs_two_paragraphs_and_a_ratio_a_score() {
        let one = Estimate::new(&[cluster(5, 4.0, 3.0)]);
        assert_eq!((one.difference, one.difference_interval), (-20.0, None));
        assert_eq!((one.ratio, one.ratio_interval), (Some(0.75), None));
        let none = Estimate::new(&[cluster(2, 0.0, 1.0), cluster(2, 0.0, 0.0)]);
        assert_eq!((none.ratio, none.ratio_interval), (None, None));
        assert!(none.difference_interval.is_some());
        let some = Estimate::new(&[cluster(2, 0.0, 1.0), cluster(2, 1.0, 1.0)]);
        assert_eq!((some.ratio, some.ratio_interval), (Some(2.0), None), "a quarter of the draws have no ratio");
    }

    /// Question by question, with other random numbers and without any sums kept.
    #[test]
    fn a_naive_bootstrap_agrees() {
        let mut random = Random(3);
        let mut uniform = || (random.number() >> 11) as f64 / (1u64 << 53) as f64;
        let paragraphs: Vec<Vec<(f64, f64)>> = (0..40)
            .map(|_| {
                let hard = uniform();
                (0..1 + (uniform() * 7.0) as usize).map(|_| (uniform() * hard, uniform() * hard * 0.97)).collect()
            })
            .collect();
        let sums = |p: &Vec<(f64, f64)>| cluster(p.len(), p.iter().map(|q| q.0).sum(), p.iter().map(|q| q.1).sum());
        let found = Estimate::new(&paragraphs.iter().map(sums).collect::<Vec<_>>());
        let (mut differences, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..20_000 {
            let questions: Vec<(f64, f64)> = (0..paragraphs.len())
                .flat_map(|_| paragraphs[(uniform() * paragraphs.len() as f64) as usize].clone())
                .collect();
            let mean = |of: fn(&(f64, f64)) -> f64| questions.iter().map(of).sum::<f64>() / questions.len() as f64;
            differences.push(100.0 * (mean(|q| q.1) - mean(|q| q.0)));
            ratios.push(mean(|q| q.1) / mean(|q| q.0));
        }
        for (found, mut draws) in [(found.difference_interval, differences), (found.ratio_interval, ratios)] {
            draws.sort_by(f64::total_cmp);
            let [low, high] = found.expect("an interval");
            let (expected_low, expected_high) = (draws[500], draws[19_499]);
            let tolerance = 0.06 * (expected_high - expected_low);
            assert!((low - expected_low).abs() < tolerance, "{low} for {expected_low}");
            assert!((high - expected_high).abs() < tolerance, "{high} for {expected_high}");
        }
    }

    #[test]
    fn equal_sides_have_no_difference() {
        let clusters: Vec<Cluster> = (1..20).map(|n| cluster(n, n as f64 / 2.0, n as f64 / 2.0)).collect();
        let found = Estimate::new(&clusters);
        assert_eq!((found.difference, found.difference_interval), (0.0, Some([0.0, 0.0])));
        assert_eq!((found.ratio, found.ratio_interval), (Some(1.0), Some([1.0, 1.0])));
    }
}
