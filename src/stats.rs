//! Means and quantiles.

/// The arithmetic mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The square root of the mean square; `None` of nothing.
pub fn rms(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| (values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64).sqrt())
}

/// The square root of the mean squared distance from the mean; `None` of nothing.
pub fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    rms(&values.iter().map(|x| x - mean).collect::<Vec<_>>())
}

/// The value below which the share `q` of `ascending` lies, with linear interpolation between neighbours (the default of numpy, type 7
/// of R); `None` of nothing.
pub fn quantile(ascending: &[f64], q: f64) -> Option<f64> {
    let place = q.clamp(0.0, 1.0) * ascending.len().checked_sub(1)? as f64;
    let (below, above) = (ascending.get(place.floor() as usize)?, ascending.get(place.ceil() as usize)?);
    Some(below + (above - below) * place.fract())
}

/// Sorted in ascending order.
pub fn ascending(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_numpy() {
        // numpy.quantile([1, 2, 4, 8, 16], [0, .1, .5, .625, .99, 1])
        let values = ascending([16.0, 4.0, 1.0, 8.0, 2.0]);
        for (q, expected) in [(0.0, 1.0), (0.1, 1.4), (0.5, 4.0), (0.625, 6.0), (0.99, 15.68), (1.0, 16.0)] {
            let found = quantile(&values, q).expect("values");
            assert!((found - expected).abs() < 1e-12, "{q}: {found}");
        }
        assert_eq!(quantile(&[3.0], 0.7), Some(3.0));
        assert_eq!(quantile(&[1.0, 2.0], 0.5), Some(1.5));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn spreads_are_the_textbooks() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!((mean(&values), deviation(&values)), (Some(5.0), Some(2.0)));
        assert_eq!(rms(&[3.0, -4.0, 0.0, 0.0]), Some(2.5));
        assert_eq!((mean(&[]), rms(&[]), deviation(&[])), (None, None, None));
    }
}
