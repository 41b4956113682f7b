//! Correlations of a few numbers, as of the layers of a network or the times of a sweep.

/// Pearson's correlation; NaN where a side has no spread or the sides differ in length.
pub(super) fn pearson(x: &[f64], y: &[f64]) -> f64 {
    if x.len() != y.len() {
        return f64::NAN;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mx, my) = (mean(x), mean(y));
    let sum = |f: &dyn Fn(f64, f64) -> f64| x.iter().zip(y).map(|(x, y)| f(x - mx, y - my)).sum::<f64>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

/// Spearman's: Pearson's of the ranks, equal values with the mean of theirs.
pub(super) fn spearman(x: &[f64], y: &[f64]) -> f64 {
    pearson(&ranks(x), &ranks(y))
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |v: f64| values.iter().filter(|value| **value < v).count() as f64;
    let equal = |v: f64| values.iter().filter(|value| **value == v).count() as f64;
    values
        .iter()
        .map(|&v| below(v) + 0.5 * (equal(v) - 1.0) + if v.is_nan() { f64::NAN } else { 0.0 })
        .collect()
}

/// [`pearson`] with the place in the list: above 0 where the numbers grow with depth.
pub(super) fn with_depth(values: &[f64]) -> f64 {
    pearson(&places(values), values)
}

/// [`spearman`] with the place in the list.
pub(super) fn rank_with_depth(values: &[f64]) -> f64 {
    spearman(&places(values), values)
}

fn places(values: &[f64]) -> Vec<f64> {
    (0..values.len()).map(|place| place as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlations_are_those_of_the_textbook() {
        assert!((pearson(&[1.0, 2.0, 3.0, 4.0], &[2.0, 1.0, 4.0, 3.0]) - 0.6).abs() < 1e-12);
        assert!((spearman(&[1.0, 2.0, 3.0, 4.0], &[1.0, 10.0, 100.0, 1000.0]) - 1.0).abs() < 1e-12);
        // ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5)
        let tied = spearman(&[1.0, 2.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]);
        assert!((tied - 4.5 / (4.5_f64 * 5.0).sqrt()).abs() < 1e-12, "{tied}");
        assert!((rank_with_depth(&[0.9, 0.5, 0.4, 0.1]) + 1.0).abs() < 1e-12);
        assert!(with_depth(&[0.9, 0.5, 0.4, 0.1]) > -1.0);
    }

    #[test]
    fn nothing_to_correlate_gives_no_number() {
        assert!(pearson(&[1.0, 2.0], &[3.0, 3.0]).is_nan());
        assert!(pearson(&[1.0, 2.0], &[3.0]).is_nan());
        assert!(spearman(&[1.0, f64::NAN, 2.0], &[1.0, 2.0, 3.0]).is_nan());
        assert!(with_depth(&[]).is_nan());
    }
}
