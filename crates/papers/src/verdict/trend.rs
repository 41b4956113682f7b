//! Claims about how a lead changes along something, such as "the gap grows as the data shrinks".

use crate::{
    published::PublishedClaim,
    stats::Seeded,
    verdict::{ClaimTest, Comparison},
};

/// Two models measured at one place along a trend.
#[derive(Debug, Clone, PartialEq)]
pub struct TrendPoint {
    /// The place in words, e.g. `10%`.
    pub label: String,
    /// The place as a number; points may come in any order.
    pub x: f64,
    /// Accuracy of the model that should lead, in percent.
    pub leader: Seeded,
    /// Accuracy of the model it should lead, in percent.
    pub baseline: Seeded,
}

/// The test of "`leader` beats `baseline`, and its relative lead grows as x shrinks" (`convit.1`, the trend of ConViT's Table 2):
///
/// * at every point, leader > baseline;
/// * the relative lead (leader / baseline - 1, paired by seed) at the smallest x is above that at the largest;
/// * observed, not judged: the mean relative lead falls from each x to the next.
pub fn lead_grows_as_x_shrinks(
    claim: &PublishedClaim,
    leader: &str,
    baseline: &str,
    points: &[TrendPoint],
) -> ClaimTest {
    let mut points: Vec<&TrendPoint> = points.iter().collect();
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    let mut test = ClaimTest::new(claim);
    for point in &points {
        let statement = format!("{leader} > {baseline} at {}", point.label);
        test = test.piece(Comparison::new(statement, "points", point.leader.clone(), point.baseline.clone()));
    }
    let lead = |point: &TrendPoint| point.leader.lead_over(&point.baseline);
    let trend = match points.as_slice() {
        [smallest, .., largest] => {
            let statement = format!("relative lead at {} > at {}", smallest.label, largest.label);
            Comparison::new(statement, "%", lead(smallest), lead(largest))
        }
        _ => Comparison::new("relative lead at two places or more", "%", Seeded::new(), Seeded::new()),
    };
    let means: Option<Vec<f64>> = points.iter().map(|point| lead(point).summary().map(|s| s.mean)).collect();
    let falls = means
        .filter(|means| means.len() > 1 && means.iter().all(|mean| mean.is_finite()))
        .map(|means| means.windows(2).all(|pair| pair[0] > pair[1]));
    test.piece(trend).observe("the mean relative lead grows at every step to less data", falls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Published, Verdict, verdict::ClaimVerdict};

    /// Three seeds around each mean, the two sides with noise of their own.
    fn point(label: &str, x: f64, leader: f64, baseline: f64) -> TrendPoint {
        let around = |mean: f64, noise: [f64; 3]| (1..).zip(noise.map(|n| mean + n)).collect();
        let (leader, baseline) = (around(leader, [-0.2, 0.0, 0.3]), around(baseline, [-0.19, 0.0, 0.28]));
        TrendPoint { label: label.into(), x, leader, baseline }
    }

    fn judge(points: &[TrendPoint]) -> ClaimVerdict {
        let claim = Published::embedded().unwrap().claim("convit.1").unwrap();
        lead_grows_as_x_shrinks(claim, "ConViT", "DeiT", points).judge()
    }

    #[test]
    fn the_papers_own_means_with_small_noise_hold() {
        let paper = [
            (5.0, 47.8, 34.8),
            (10.0, 59.6, 48.0),
            (30.0, 73.7, 66.1),
            (50.0, 78.2, 74.6),
            (100.0, 81.4, 79.9),
        ];
        let points = paper.map(|(x, convit, deit)| point(&format!("{x}%"), x, convit, deit));
        let judged = judge(&points);
        assert_eq!((judged.verdict, judged.n, judged.pieces.len()), (Verdict::Holds, 3, 6));
        assert_eq!(judged.observations[0].seen, Some(true));
        let trend = &judged.pieces[5];
        assert_eq!((trend.statement.as_str(), trend.unit.as_str()), ("relative lead at 5% > at 100%", "%"));
        assert!((trend.difference.unwrap() - 35.5).abs() < 0.5, "{trend:?}");
    }

    #[test]
    fn a_lead_that_shrinks_with_the_data_fails_though_every_lead_is_positive() {
        let judged = judge(&[point("2%", 2.0, 11.0, 10.0), point("100%", 100.0, 90.0, 60.0)]);
        assert_eq!(judged.verdict, Verdict::Fails);
        assert!(judged.reason.contains("relative lead at 2% > at 100%"), "{}", judged.reason);
        assert_eq!(judged.observations[0].seen, Some(false));
    }

    #[test]
    fn a_dent_in_the_middle_is_observed_but_does_not_fail_the_claim() {
        let judged = judge(&[
            point("2%", 2.0, 30.0, 20.0),
            point("10%", 10.0, 41.0, 40.0),
            point("100%", 100.0, 88.0, 80.0),
        ]);
        assert_eq!((judged.verdict, judged.observations[0].seen), (Verdict::Holds, Some(false)));
    }

    #[test]
    fn the_order_of_the_points_does_not_matter() {
        let points = [point("2%", 2.0, 30.0, 20.0), point("100%", 100.0, 81.0, 80.0)];
        let reversed = [points[1].clone(), points[0].clone()];
        assert_eq!(judge(&points), judge(&reversed));
    }

    #[test]
    fn a_trend_of_one_point_or_none_is_undecided() {
        assert_eq!(judge(&[point("10%", 10.0, 60.0, 50.0)]).verdict, Verdict::Undecided);
        let nothing = judge(&[]);
        assert_eq!((nothing.verdict, nothing.n, nothing.observations[0].seen), (Verdict::Undecided, 0, None));
    }

    #[test]
    fn a_baseline_that_learned_nothing_gives_no_relative_lead() {
        let mut points = [point("2%", 2.0, 30.0, 20.0), point("100%", 100.0, 81.0, 80.0)];
        points[0].baseline = points[0].baseline.paired_with(&points[0].baseline.clone(), |_, _| 0.0);
        let judged = judge(&points);
        assert_eq!((judged.verdict, judged.observations[0].seen), (Verdict::Undecided, None));
        assert_eq!(judged.pieces[2].reason, "seed 1 gave no finite number");
    }
}
