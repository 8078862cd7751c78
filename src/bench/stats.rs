//! Figures of repeated measurements.

use serde::{Deserialize, Serialize};

use crate::eval::Random;
use crate::stats::{ascending, quantile};

/// What is said about a number of times, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many there are.
    pub runs: usize,
    /// The shortest.
    pub min: f64,
    /// The median; percentiles are interpolated, see [`percentile`].
    pub p50: f64,
    /// 90 % are shorter.
    pub p90: f64,
    /// 99 % are shorter.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The standard deviation of the sample (divided by `runs - 1`); 0 for a single run.
    pub deviation: f64,
    /// How many are far out: more than three interquartile ranges above the upper quartile, and 5 % above the median.
    pub outliers: usize,
}

impl Summary {
    /// Of `times`; `None` if there are none.
    pub fn of(times: &[f64]) -> Option<Self> {
        let sorted = ascending(times.iter().copied());
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let at = |fraction| percentile(&sorted, fraction);
        let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
        let squares: f64 = sorted.iter().map(|time| (time - mean).powi(2)).sum();
        let deviation = (squares / (sorted.len() - 1).max(1) as f64).sqrt();
        let fence = (at(0.75) + 3.0 * (at(0.75) - at(0.25))).max(1.05 * at(0.5));
        let outliers = sorted.iter().filter(|&&time| time > fence).count();
        let (p50, p90, p99) = (at(0.5), at(0.9), at(0.99));
        Some(Self { runs: sorted.len(), min, p50, p90, p99, max, mean, deviation, outliers })
    }
}

/// A percentile of `sorted` times, a [`quantile`]; 0 if there are none.
pub fn percentile(sorted: &[f64], fraction: f64) -> f64 {
    quantile(sorted, fraction).unwrap_or_default()
}

/// The median of `times`; 0 if there are none.
pub fn median(times: &[f64]) -> f64 {
    percentile(&ascending(times.iter().copied()), 0.5)
}

/// Resamples that [`ratio_interval`] draws.
const RESAMPLES: usize = 1000;

/// Between what the ratio of the medians, `times` over `base`, lies with 95 % confidence, as far as the spread of single runs
/// tells: the bootstrap's percentile interval, with a fixed seed. `None` if either is empty.
pub fn ratio_interval(base: &[f64], times: &[f64]) -> Option<(f64, f64)> {
    if base.is_empty() || times.is_empty() {
        return None;
    }
    let (base, times) = (ascending(base.iter().copied()), ascending(times.iter().copied()));
    let mut random = Random(1);
    let ratios: Vec<f64> =
        (0..RESAMPLES).map(|_| resampled_median(&times, &mut random) / resampled_median(&base, &mut random)).collect();
    let ratios = ascending(ratios);
    Some((percentile(&ratios, 0.025), percentile(&ratios, 0.975)))
}

/// The median of as many values of `sorted`, drawn with replacement.
fn resampled_median(sorted: &[f64], random: &mut Random) -> f64 {
    // Drawn are places, so counting sorts them.
    let mut counts = vec![0usize; sorted.len()];
    for _ in sorted {
        counts[random.below(sorted.len() as u64) as usize] += 1;
    }
    let at = |rank: usize| {
        let mut seen = 0;
        let place = counts.iter().position(|count| {
            seen += count;
            seen > rank
        });
        place.map_or(0.0, |place| sorted[place])
    };
    let n = sorted.len();
    (at((n - 1) / 2) + at(n / 2)) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_summary_and_one_run_no_deviation() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(ratio_interval(&[], &[1.0]), None);
        let one = Summary::of(&[2.0]).expect("a summary");
        assert_eq!((one.min, one.p50, one.p99, one.max, one.deviation, one.outliers), (2.0, 2.0, 2.0, 2.0, 0.0, 0));
    }

    #[test]
    fn far_out_values_are_counted() {
        let mut times: Vec<f64> = (0..100).map(|i| 1.0 + f64::from(i) * 1e-4).collect();
        assert_eq!(Summary::of(&times).expect("a summary").outliers, 0);
        times.extend([1.5, 9.0]);
        assert_eq!(Summary::of(&times).expect("a summary").outliers, 2);
        // A spread of nearly nothing has no outliers within 5 %.
        let still = [vec![1.0; 50], vec![1.04]].concat();
        assert_eq!(Summary::of(&still).expect("a summary").outliers, 0);
    }

    #[test]
    fn the_interval_holds_the_ratio_and_narrows() {
        let mut random = Random(7);
        let mut draw = |n: usize, scale: f64| -> Vec<f64> {
            (0..n).map(|_| scale * (1.0 + random.below(1000) as f64 / 5000.0)).collect()
        };
        let (few, many) = ((draw(20, 1.0), draw(20, 2.0)), (draw(2000, 1.0), draw(2000, 2.0)));
        let width = |(base, times): &(Vec<f64>, Vec<f64>)| {
            let (low, high) = ratio_interval(base, times).expect("an interval");
            assert!(low < 2.0 && 2.0 < high, "{low} {high}");
            assert_eq!(ratio_interval(base, times), Some((low, high)), "the seed is fixed");
            high - low
        };
        assert!(width(&many) < width(&few));
    }

    /// The number of values below the median of a sample has the binomial distribution: 95 % of the time it is within
    /// 1.96 * sqrt(n) / 2 of n / 2.
    #[test]
    fn the_interval_of_many_is_that_of_order_statistics() {
        let many: Vec<f64> = (0..3000).map(|n| 1.0 + f64::from(n) / 3000.0).collect();
        let (low, high) = ratio_interval(&[1.0], &many).expect("an interval");
        let half = 1.96 * 3000f64.sqrt() / 2.0 / 3000.0;
        assert!((1.5 - low - half).abs() < 0.15 * half && (high - 1.5 - half).abs() < 0.15 * half, "{low} {high}");
    }
}
