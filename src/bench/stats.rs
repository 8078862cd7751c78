//! Figures of repeated measurements.

use serde::{Deserialize, Serialize};

use crate::eval::Random;
use crate::stats::{ascending, mean, quantile};

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
        let mean = mean(&sorted)?;
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

/// Between what the ratio of the medians, `times` over `base`, lies with 95 % confidence, as far as these processes and their runs
/// tell: the percentile interval of a bootstrap that draws processes and then runs of each, with a fixed seed. It is
/// somewhat too narrow: where processes spread as a normal distribution, five on each side made it hold the ratio in 93 % of simulated
/// cases, four in 89 %, three in 85 %. `None` with fewer than two processes on either side: one does not tell how much processes differ.
pub fn ratio_interval(base: &[Vec<f64>], times: &[Vec<f64>]) -> Option<(f64, f64)> {
    let (base, times) = (Processes::new(base)?, Processes::new(times)?);
    let mut random = Random(1);
    let ratios = (0..RESAMPLES).map(|_| times.resampled_median(&mut random) / base.resampled_median(&mut random));
    let ratios = ascending(ratios);
    Some((percentile(&ratios, 0.025), percentile(&ratios, 0.975)))
}

/// The runs of some processes, ready to be drawn.
struct Processes {
    /// All times.
    sorted: Vec<f64>,
    /// Where the times of each process are among all.
    places: Vec<Vec<usize>>,
}

impl Processes {
    /// `None` unless two have times.
    fn new(times: &[Vec<f64>]) -> Option<Self> {
        let sorted = ascending(times.iter().flatten().copied());
        // Equal times may share a place.
        let place = |time: &f64| sorted.partition_point(|other| other.total_cmp(time).is_lt());
        let processes = times.iter().filter(|times| !times.is_empty());
        let places: Vec<Vec<usize>> = processes.map(|times| times.iter().map(place).collect()).collect();
        (places.len() >= 2).then_some(Self { sorted, places })
    }

    /// The median of as many processes, drawn with replacement, and of as many runs of each, drawn so, too.
    fn resampled_median(&self, random: &mut Random) -> f64 {
        let mut draw = |places: usize| random.below(places as u64) as usize;
        // Drawn are places, so counting sorts them.
        let mut counts = vec![0usize; self.sorted.len()];
        let mut drawn = 0;
        for _ in &self.places {
            let process = &self.places[draw(self.places.len())];
            for _ in process {
                counts[process[draw(process.len())]] += 1;
            }
            drawn += process.len();
        }
        let at = |rank: usize| {
            let mut seen = 0;
            let place = counts.iter().position(|count| {
                seen += count;
                seen > rank
            });
            place.map_or(0.0, |place| self.sorted[place])
        };
        (at((drawn - 1) / 2) + at(drawn / 2)) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_summary_and_one_run_no_deviation() {
        assert_eq!(Summary::of(&[]), None);
        let two = [vec![1.0], vec![1.1]];
        assert_eq!(ratio_interval(&[], &two), None);
        assert_eq!(ratio_interval(&two, &[vec![1.0; 100], vec![]]), None, "one process says nothing about others");
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
        let mut draw = |n: usize, scale: f64| -> Vec<Vec<f64>> {
            (0..n).map(|_| (0..10).map(|_| scale * (1.0 + random.below(1000) as f64 / 5000.0)).collect()).collect()
        };
        let (few, many) = ((draw(2, 1.0), draw(2, 2.0)), (draw(200, 1.0), draw(200, 2.0)));
        let width = |(base, times): &(Vec<Vec<f64>>, Vec<Vec<f64>>)| {
            let (low, high) = ratio_interval(base, times).expect("an interval");
            assert!(low < 2.0 && 2.0 < high, "{low} {high}");
            assert_eq!(ratio_interval(base, times), Some((low, high)), "the seed is fixed");
            high - low
        };
        assert!(width(&many) < width(&few));
    }

    /// More runs in the same processes tell nothing about other processes.
    #[test]
    fn the_interval_is_as_wide_as_processes_differ_however_many_runs_they_have() {
        let processes = |runs: usize| [1.0, 1.02, 1.04, 1.06, 1.08].map(|time| vec![time; runs]).to_vec();
        for runs in [1, 10, 1000] {
            let (low, high) = ratio_interval(&processes(runs), &processes(runs)).expect("an interval");
            assert!(low < 0.96 && high > 1.04, "{runs} runs: {low} to {high}");
        }
    }

    /// The number of values below the median of a sample has the binomial distribution: 95 % of the time it is within
    /// 1.96 * sqrt(n) / 2 of n / 2.
    #[test]
    fn the_interval_of_many_is_that_of_order_statistics() {
        let many: Vec<Vec<f64>> = (0..3000).map(|n| vec![1.0 + f64::from(n) / 3000.0]).collect();
        let (low, high) = ratio_interval(&[vec![1.0], vec![1.0]], &many).expect("an interval");
        let half = 1.96 * 3000f64.sqrt() / 2.0 / 3000.0;
        assert!((1.5 - low - half).abs() < 0.15 * half && (high - 1.5 - half).abs() < 0.15 * half, "{low} {high}");
    }

    #[test]
    fn the_fence_is_three_ranges_above_and_5_percent() {
        let outliers = |times: &[f64]| Summary::of(times).expect("a summary").outliers;
        let spread: Vec<f64> = (0..=100).map(|i| 1.0 + f64::from(i) / 100.0).chain([3.0, 4.0]).collect();
        assert_eq!(outliers(&spread), 1);
        assert_eq!(outliers(&[vec![1.0; 50], vec![1.04, 1.06]].concat()), 1);
    }

    #[test]
    fn the_median_of_an_even_number_of_drawn_runs_lies_between_two() {
        let processes = Processes::new(&[vec![1.0], vec![3.0]]).expect("two");
        let mut random = Random(1);
        let mut found: Vec<f64> = (0..100).map(|_| processes.resampled_median(&mut random)).collect();
        found.sort_by(f64::total_cmp);
        found.dedup();
        assert_eq!(found, [1.0, 2.0, 3.0]);
    }
}
