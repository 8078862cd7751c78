//! Which row of the relative-position tables belongs to a distance.

use crate::config::RelativeConfig;

/// Table rows by distance, for sequences up to a length.
///
/// `row(i - j) = clamp(bucket(i - j) + span, 0, 2 span - 1)`; both relative terms of the score of query `i` and key `j`
/// use this row (the position-to-content term indexes with the key's distance negated, which is the same, because
/// buckets are odd).
///
/// Buckets are those of `make_log_bucket_position` in transformers' `modeling_deberta_v2.py`, evaluated in `f32` as there:
/// with `mid = position_buckets / 2`, `bucket(r) = r` for `|r| <= mid`, else
/// `sign(r) * (ceil(ln(|r| / mid) / ln((max_relative_positions - 1) / mid) * (mid - 1)) + mid)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelativeIndex {
    /// Row of distance `d - (length - 1)` at index `d`.
    rows: Vec<usize>,
}

impl RelativeIndex {
    /// The rows of all distances in a sequence of `length` tokens.
    pub fn new(config: &RelativeConfig, length: usize) -> Self {
        let span = config.span() as i64;
        let reach = length as i64 - 1;
        let rows = (-reach..=reach)
            .map(|distance| {
                let row = (bucket(config, distance) + span).clamp(0, 2 * span - 1);
                usize::try_from(row).unwrap_or_default() // not negative after the clamp
            })
            .collect();
        Self { rows }
    }

    /// See [`RelativeIndex::rows`].
    pub fn into_rows(self) -> Vec<usize> {
        self.rows
    }

    /// Table rows of the distances `-(length - 1)`, ..., `length - 1`. They do not descend.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }
}

fn bucket(config: &RelativeConfig, distance: i64) -> i64 {
    let mid = (config.position_buckets / 2) as i64;
    if config.position_buckets == 0 || distance.abs() <= mid {
        return distance;
    }
    let mid_f = mid as f32;
    let reach = ((config.max_relative_positions - 1) as f64 / mid as f64) as f32;
    let log = (distance.abs() as f32 / mid_f).ln() / reach.ln() * (mid_f - 1.0);
    distance.signum() * (log.ceil() as i64 + mid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(position_buckets: usize, max_relative_positions: usize) -> RelativeConfig {
        RelativeConfig {
            position_buckets,
            max_relative_positions,
            content_to_position: true,
            position_to_content: true,
        }
    }

    #[test]
    fn buckets_of_the_published_models() {
        // From transformers' make_log_bucket_position(r, 256, 512).
        let c = config(256, 512);
        for (r, want) in [(0, 0), (1, 1), (128, 128), (129, 129), (130, 130), (140, 137), (255, 192), (511, 255)] {
            assert_eq!(bucket(&c, r), want, "{r}");
            assert_eq!(bucket(&c, -r), -want, "-{r}");
        }
    }

    #[test]
    fn buckets_grow_with_distance_and_are_odd() {
        for (buckets, max) in [(16, 64), (256, 512), (32, 512), (0, 24)] {
            let c = config(buckets, max);
            for r in 0..600 {
                assert!(bucket(&c, r) <= bucket(&c, r + 1));
                assert_eq!(bucket(&c, -r), -bucket(&c, r));
            }
        }
    }

    #[test]
    fn rows_run_over_the_distances_and_are_clamped() {
        let c = config(0, 2);
        // Distances -3, ..., 3 around span 2, clamped to 0..=3.
        assert_eq!(RelativeIndex::new(&c, 4).rows(), [0, 0, 1, 2, 3, 3, 3]);
        assert_eq!(RelativeIndex::new(&c, 1).rows(), [2]);
    }
}
