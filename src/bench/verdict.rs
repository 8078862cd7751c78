//! Whether a difference between two records exceeds the noise.

use serde::Serialize;

use super::stats::{median, ratio_interval};

/// When a difference is said to be one.
pub const RULE: &str = "A difference exceeds the noise if no median of a process of one record lies within those of the other and \
    the 95 % interval of the ratio of medians (bootstrap of processes, then of the runs in each, fixed seed; with fewer than five it is \
    rather an interval of 85 to 90 %) excludes 1. Processes that do not differ are apart like that by chance in 2 of C(n + m, n) rows, \
    where n and m are their numbers: in 10 % with 3 and 3, 2.9 % with 4 and 4, 0.8 % with 5 and 5. Where that is more than 5 %, nothing is said, nor where a machine was busy or throttled, or \
    the records measured different things. What changes from one measurement to the next, such as clocks, temperature and \
    neighbours, is a difference, too: measure A twice to see how large that is. Memory is not judged: a record holds one value.";

/// The most likely that a verdict may be by chance alone.
const MOST_CHANCE: f64 = 0.05;

/// A value over that of the first record.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The ratio.
    pub ratio: f64,
    /// Between what it lies with 95 % confidence, see [`ratio_interval`]; of times of two processes or more.
    pub interval: Option<(f64, f64)>,
    /// Whether the difference exceeds the noise; see [`RULE`]. `None` if that is not judged.
    pub exceeds_noise: Option<bool>,
    /// Why it is not judged.
    pub withheld: Option<&'static str>,
}

impl Ratio {
    /// Of times by process. Nothing is judged if there is a `doubt`.
    pub fn of_times(base: &[Vec<f64>], times: &[Vec<f64>], doubt: Option<&'static str>) -> Option<Self> {
        let medians = |times: &[Vec<f64>]| -> Vec<f64> {
            times.iter().filter(|times| !times.is_empty()).map(|times| median(times)).collect()
        };
        let (a, b) = (medians(base), medians(times));
        if a.is_empty() || b.is_empty() {
            return None;
        }
        let interval = ratio_interval(base, times);
        let few = (chance(a.len(), b.len()) > MOST_CHANCE).then_some("too few processes");
        let withheld = doubt.or(few);
        let judged = interval.filter(|_| withheld.is_none());
        Some(Self {
            ratio: median(&times.concat()) / median(&base.concat()),
            interval,
            exceeds_noise: judged.map(|(low, high)| !overlap(&a, &b) && !(low..=high).contains(&1.0)),
            withheld: withheld.or(interval.is_none().then_some("too few processes")),
        })
    }

    /// Of single values.
    pub fn of_values(base: f64, value: f64) -> Self {
        Self { ratio: value / base, interval: None, exceeds_noise: None, withheld: Some("one value each") }
    }

    /// The ratio, its interval and what is said about it, for people.
    pub fn cells(&self) -> [String; 3] {
        let verdict = match (self.exceeds_noise, self.ratio) {
            (None, _) => format!("not judged: {}", self.withheld.unwrap_or("not measured")),
            (Some(false), _) => "within the noise".into(),
            (Some(true), ratio) if ratio > 1.0 => format!("slower {ratio:.2}\u{d7}"),
            (Some(true), ratio) => format!("faster {:.2}\u{d7}", 1.0 / ratio),
        };
        let interval = self.interval.map_or_else(|| "-".into(), |(low, high)| format!("{low:.3} to {high:.3}"));
        [format!("{:.3}", self.ratio), interval, verdict]
    }
}

/// How likely all of `n` values lie on one side of `m` others of the same kind.
fn chance(n: usize, m: usize) -> f64 {
    // 2 of C(n + m, n) orders, which are all as likely.
    2.0 * (1..=n).map(|i| i as f64 / (m + i) as f64).product::<f64>()
}

/// Whether the ranges of two samples have something in common.
fn overlap(a: &[f64], b: &[f64]) -> bool {
    let range = |x: &[f64]| x.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    let ((a_low, a_high), (b_low, b_high)) = (range(a), range(b));
    a_low <= b_high && b_low <= a_high
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Random;

    #[test]
    fn chances_are_those_of_the_rule() {
        for (n, m, percent) in [(3, 3, 10.0), (4, 4, 2.857), (5, 5, 0.794), (3, 4, 5.714), (1, 39, 5.0), (0, 5, 200.0)]
        {
            assert!((100.0 * chance(n, m) - percent).abs() < 1e-3, "{n} and {m}");
            assert!((chance(n, m) - chance(m, n)).abs() < 1e-12, "{n} and {m}");
        }
    }

    /// Times of processes that differ by `spread` from each other, and half of them by `mode`; the runs of each by as much again.
    fn sample(random: &mut Random, processes: usize, runs: usize, spread: f64, mode: f64) -> Vec<Vec<f64>> {
        let mut uniform = || random.below(1 << 20) as f64 / f64::from(1 << 20);
        // Nearly normal.
        let mut normal = move || (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
        let mut process = || {
            let time = (1.0 + spread * normal()) * if normal() > 0.0 { mode } else { 1.0 };
            (0..runs).map(|_| time * (1.0 + spread * normal().abs())).collect()
        };
        (0..processes).map(|_| process()).collect()
    }

    /// A program measured against itself, again and again.
    #[test]
    fn nothing_differs_from_itself_more_often_than_is_said() {
        const TRIALS: usize = 300;
        let mut random = Random(11);
        for (processes, mode) in [(3, 1.0), (4, 1.0), (4, 1.35), (5, 1.0), (5, 1.35), (8, 1.0)] {
            let (mut false_verdicts, mut missed) = (0, 0);
            for _ in 0..TRIALS {
                let [a, b] = [(); 2].map(|()| sample(&mut random, processes, 8, 0.02, mode));
                let ratio = Ratio::of_times(&a, &b, None).expect("a ratio");
                assert_eq!(ratio.exceeds_noise.is_none(), processes < 4);
                false_verdicts += usize::from(ratio.exceeds_noise == Some(true));
                missed += usize::from(ratio.interval.is_none_or(|(low, high)| !(low..=high).contains(&1.0)));
            }
            // Three standard deviations above what chance gives.
            let expected = chance(processes, processes).min(MOST_CHANCE) * TRIALS as f64;
            println!(
                "{processes} processes, mode {mode}: {false_verdicts} false of {TRIALS}, interval missed {missed}"
            );
            // A bootstrap of three has little to draw from; of five it holds the truth nearly as often as it says.
            assert!(processes < 5 || missed * 100 < 11 * TRIALS, "{processes}: {missed}");
            assert!((false_verdicts as f64) < expected + 3.0 * expected.sqrt() + 1.0, "{processes}: {false_verdicts}");
        }
    }

    #[test]
    fn a_real_difference_is_found_unless_there_is_doubt() {
        let mut random = Random(5);
        let base = sample(&mut random, 5, 20, 0.01, 1.0);
        let slower: Vec<Vec<f64>> = base.iter().map(|times| times.iter().map(|time| 1.2 * time).collect()).collect();
        let ratio = Ratio::of_times(&base, &slower, None).expect("a ratio");
        assert_eq!((ratio.exceeds_noise, ratio.withheld), (Some(true), None));
        assert_eq!(ratio.cells()[2], "slower 1.20\u{d7}");
        let ratio = Ratio::of_times(&base, &slower, Some("machine was busy")).expect("a ratio");
        assert_eq!((ratio.exceeds_noise, ratio.withheld), (None, Some("machine was busy")));
        assert_eq!(ratio.cells()[2], "not judged: machine was busy");
        // However many there are on the other side: one process does not tell how much they differ.
        let one = [vec![9.0; 20]];
        let many = sample(&mut random, 60, 2, 0.01, 1.0);
        let ratio = Ratio::of_times(&one, &many, None).expect("a ratio");
        assert_eq!((ratio.exceeds_noise, ratio.withheld), (None, Some("too few processes")));
        assert_eq!(Ratio::of_times(&one, &[], None), None);
        assert_eq!(Ratio::of_values(2.0, 3.0).cells(), ["1.500", "-", "not judged: one value each"]);
    }

    #[test]
    fn processes_that_are_apart_by_less_than_their_runs_spread_are_within_the_noise() {
        let of = |low: f64| vec![vec![low, low + 1.0]; 5];
        let ratio = Ratio::of_times(&of(1.0), &of(1.01), None).expect("a ratio");
        assert!(ratio.interval.is_some_and(|(low, high)| low < 1.0 && high > 1.0), "{ratio:?}");
        assert_eq!(ratio.exceeds_noise, Some(false));
    }

    #[test]
    fn what_is_faster_is_so_by_the_inverse_of_the_ratio() {
        let ratio = Ratio { ratio: 0.8, interval: Some((0.7, 0.9)), exceeds_noise: Some(true), withheld: None };
        assert_eq!(ratio.cells(), ["0.800", "0.700 to 0.900", "faster 1.25\u{d7}"]);
    }

    /// The median of the medians of processes would be 3.
    #[test]
    fn the_ratio_is_that_of_the_medians_of_all_runs() {
        let ratio = Ratio::of_times(&[vec![1.0], vec![1.0]], &[vec![1.0; 5], vec![3.0], vec![3.0]], None);
        assert_eq!(ratio.expect("a ratio").ratio, 1.0);
    }
}
