//! How far apart the logits of both sides are.

use anyhow::ensure;
use edgeqa::eval::Prediction;
use edgeqa::stats::{ascending, mean, quantile, rms};
use serde::Serialize;

use super::Recording;
use crate::noise::relative_rms;

/// The absolute difference of int8 and fp32 logits, start and end together, over all tokens of all windows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LogitError {
    /// Number of logits on each side.
    pub count: usize,
    /// Root mean square.
    pub rms: f64,
    /// As a share of the standard deviation of the fp32 logits; `None` if these are all equal.
    pub relative_rms: Option<f64>,
    /// Half of the differences are smaller.
    pub median: f64,
    /// 90 % are.
    pub p90: f64,
    /// 99 % are.
    pub p99: f64,
    /// 99.9 % are.
    pub p99_9: f64,
    /// The largest.
    pub max: f64,
}

impl LogitError {
    /// Compares two recordings of the same windows.
    ///
    /// # Errors
    /// If their windows differ.
    pub fn new(fp32: &Recording, int8: &Recording) -> anyhow::Result<Self> {
        ensure!(
            fp32.windows() == int8.windows() && fp32.window_len() == int8.window_len(),
            "fp32 and int8 saw different windows; compare with a reference made for the same tokenizer and options"
        );
        let all = |recording: &Recording| -> Vec<f64> {
            recording.start().iter().chain(recording.end()).map(|&logit| f64::from(logit)).collect()
        };
        let (want, got) = (all(fp32), all(int8));
        let differences = ascending(want.iter().zip(&got).map(|(want, got)| (want - got).abs()));
        let at = |q| quantile(&differences, q).unwrap_or_default();
        Ok(Self {
            count: differences.len(),
            rms: rms(&differences).unwrap_or_default(),
            relative_rms: relative_rms(&differences, &want),
            median: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: at(1.0),
        })
    }
}

/// The null odds of int8 minus those of fp32, over all questions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OddsError {
    /// The mean: above 0 if int8 tends to "no answer".
    pub mean: f64,
    /// Its standard error, as questions about one paragraph are not independent; `None` if there are fewer than two paragraphs.
    pub standard_error: Option<f64>,
    /// Root mean square.
    pub rms: f64,
    /// The largest absolute value.
    pub max: f64,
}

impl OddsError {
    /// Compares predictions for the same questions, in the order of paragraphs with so many questions each.
    pub fn new(fp32: &[Prediction], int8: &[Prediction], paragraphs: &[usize]) -> Self {
        let changes: Vec<f64> =
            fp32.iter().zip(int8).map(|(f, i)| f64::from(i.null_odds) - f64::from(f.null_odds)).collect();
        Self {
            mean: mean(&changes).unwrap_or_default(),
            standard_error: clustered_error(&changes, paragraphs),
            rms: rms(&changes).unwrap_or_default(),
            max: changes.iter().fold(0.0, |max, change| change.abs().max(max)),
        }
    }
}

/// The standard error of the mean of `values`, of which each of `clusters` has so many (Liang and Zeger 1986): the root of the sum of
/// the squares of each cluster's distance from its share of the sum, by the number of values; times k / (k - 1) under the root for k
/// clusters. `None` for fewer than two.
fn clustered_error(values: &[f64], clusters: &[usize]) -> Option<f64> {
    let mean = mean(values)?;
    let more = clusters.len().checked_sub(1).filter(|more| *more > 0)?;
    let mut values_left = values.iter();
    let squares: f64 =
        clusters.iter().map(|&n| values_left.by_ref().take(n).map(|value| value - mean).sum::<f64>().powi(2)).sum();
    Some((squares * clusters.len() as f64 / more as f64).sqrt() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_count_paragraphs() {
        let close = |found: Option<f64>, expected: f64| found.is_some_and(|found| (found - expected).abs() < 1e-12);
        // One value each: the deviation by the root of the number, the textbook's.
        let values = [1.0, 2.0, 6.0];
        assert!(close(clustered_error(&values, &[1, 1, 1]), (7.0f64 / 3.0).sqrt()));
        // The same said twice is no more certain.
        let twice = [1.0, 1.0, 2.0, 2.0, 6.0, 6.0];
        assert!(close(clustered_error(&twice, &[2, 2, 2]), (7.0f64 / 3.0).sqrt()));
        // Distances from the mean of 3: -3 and 3, so 2 * 18 under the root.
        assert!(close(clustered_error(&values, &[2, 1]), 2.0));
        assert_eq!((clustered_error(&values, &[3]), clustered_error(&[], &[])), (None, None));
    }

    #[test]
    fn the_distribution_of_a_hand_made_error() {
        let recording = |start: &[f32], end: &[f32]| {
            Recording::new(start.into(), end.into(), vec![2], vec![1], vec![0.0]).expect("fits")
        };
        let fp32 = recording(&[1.0, 3.0], &[1.0, 3.0]);
        let error = LogitError::new(&fp32, &recording(&[1.0, 3.0], &[0.0, 6.0])).expect("the same windows");
        assert_eq!((error.count, error.max, error.median), (4, 3.0, 0.5));
        assert!((error.rms - 2.5f64.sqrt()).abs() < 1e-12);
        assert!((error.relative_rms.expect("a spread") - 2.5f64.sqrt()).abs() < 1e-12, "the deviation is 1");
        assert!((error.p90 - (1.0 + 2.0 * 0.7)).abs() < 1e-12);
        let flat = recording(&[1.0, 1.0], &[1.0, 1.0]);
        assert_eq!(LogitError::new(&flat, &fp32).expect("the same windows").relative_rms, None);
        let other = Recording::new(vec![0.0; 2], vec![0.0; 2], vec![1, 1], vec![2], vec![0.0]).expect("fits");
        assert!(LogitError::new(&fp32, &other).is_err());
    }
}
