//! Medians and percentiles.

use std::time::Duration;

/// The value below which a share of all lies: the nearest one that was measured.
/// None of nothing.
pub(crate) fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let at = (share * last as f64).round() as usize;
    sorted.get(at).copied()
}

/// The value in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    percentile(values, 0.5)
}

/// How far apart the measurements are: the largest by the smallest.
pub(crate) fn spread(values: &[f64]) -> Option<f64> {
    Some(percentile(values, 1.0)? / percentile(values, 0.0)?)
}

/// Seconds, for a table.
pub(crate) fn seconds(values: &[Duration]) -> Vec<f64> {
    values.iter().map(Duration::as_secs_f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(median(&values), Some(3.0));
        assert_eq!(percentile(&values, 0.99), Some(5.0));
        assert_eq!(percentile(&values, 0.0), Some(1.0));
        assert_eq!(median(&[]), None);
        assert_eq!(spread(&values), Some(5.0));
    }
}
