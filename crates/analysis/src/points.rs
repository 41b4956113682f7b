//! The frequencies of a model's feature maps, operator by operator (Park & Kim, "How do vision transformers work?",
//! arXiv 2202.06709, section 3 and their published notebook).

use inductive_nn::{FeatureMap, OperatorKind, Point};
use inductive_ops::Grid;

use crate::diagonal::LogAmplitudes;

/// Relative log amplitudes of one map, averaged over samples and channels: [`relative_log_amplitude`] over batches.
///
/// [`relative_log_amplitude`]: crate::relative_log_amplitude
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The patches.
    pub grid: Grid,
    /// Delta log amplitude from frequency 0, where it is 0, to the highest. NaN where there was nothing to measure.
    pub values: Vec<f64>,
}

impl Curve {
    /// The frequency of each value in units of Nyquist, which the notebook's axis calls 1.0 pi.
    ///
    /// `2 k / h` on h x h patches (of a rectangle, its shorter side): the last is below 1, 6/7 for both h = 14 and h = 7. The
    /// notebook spreads them evenly from 0 to 1 instead, whatever the grid.
    pub fn frequencies(&self) -> impl Iterator<Item = f64> {
        let side = self.grid.rows.min(self.grid.cols).max(1) as f64;
        (0..self.values.len()).map(move |k| 2.0 * k as f64 / side)
    }

    /// The value at the highest frequency; 0 on grids of one or two patches a side, which have frequency 0 alone.
    pub fn highest(&self) -> f64 {
        self.values.last().copied().unwrap_or(f64::NAN)
    }
}

/// The frequencies around one operator.
///
/// White noise has [`WHITE_NOISE`] at each frequency above 0, not 0: differences tell more than levels.
#[derive(Clone, Debug, PartialEq)]
pub struct PointSpectrum {
    /// As in [`Point::name`].
    pub name: String,
    /// What operator it is.
    pub kind: OperatorKind,
    /// Of the stream before it; `None` for the first, which has the image before it.
    pub before: Option<Curve>,
    /// Of the stream after it.
    pub after: Curve,
    /// Of what it added alone; `None` without a residual connection, and where it added nothing, as branches that end in a
    /// weight of 0 at the start do.
    pub branch: Option<Curve>,
}

/// Delta log amplitude of white noise above frequency 0, ln(2) / 2: the mean is real and the other frequencies are complex.
pub const WHITE_NOISE: f64 = std::f64::consts::LN_2 / 2.0;

impl PointSpectrum {
    /// Whether the stream has fewer patches after it than before.
    pub fn downsamples(&self) -> bool {
        self.before.as_ref().is_some_and(|before| before.grid.tokens() > self.after.grid.tokens())
    }

    /// Delta log amplitude of the stream after it, at the highest frequency.
    pub fn stream(&self) -> f64 {
        self.after.highest()
    }

    /// That of the branch alone.
    pub fn branch(&self) -> Option<f64> {
        self.branch.as_ref().map(Curve::highest)
    }

    /// What the operator does to the stream: that after it less that before. Negative: a low-pass filter.
    ///
    /// Each at the highest frequency of its own grid: where the operator downsamples, that is another frequency of the image.
    pub fn change(&self) -> Option<f64> {
        self.before.as_ref().map(|before| self.after.highest() - before.highest())
    }

    /// What the operator alone does to its input: that of the branch less that of the stream before, which the residual
    /// connection does not dilute.
    pub fn branch_change(&self) -> Option<f64> {
        self.before.as_ref().zip(self.branch()).map(|(before, branch)| branch - before.highest())
    }
}

/// Frequencies of points, added up batch by batch: means are over all samples and channels of all batches.
///
/// A class token is no part of a [`FeatureMap`]. Everything that a model recorded is kept, the last point included, which
/// the authors' notebook leaves out of its plot over frequencies.
#[derive(Clone, Debug, Default)]
pub struct Spectra {
    points: Vec<Sums>,
}

#[derive(Clone, Debug)]
struct Sums {
    name: String,
    kind: OperatorKind,
    after: LogAmplitudes,
    branch: Option<LogAmplitudes>,
}

impl Spectra {
    /// Takes in a batch. Batches come from one model: where a point of an earlier batch is missing, or has another name, grid
    /// or no branch, what does not fit becomes NaN. Points beyond those of the first batch are left out.
    pub fn add(&mut self, points: &[Point<f32>]) {
        if self.points.is_empty() {
            self.points = points.iter().map(Sums::new).collect();
        }
        let mut points = points.iter();
        for sums in &mut self.points {
            let point = points.next().filter(|point| point.name == sums.name && point.kind == sums.kind);
            sums.after.add(point.map(|point| &point.after));
            if let Some(branch) = &mut sums.branch {
                branch.add(point.and_then(|point| point.branch.as_ref()));
            }
        }
    }

    /// What has been measured so far, in the order of the points.
    pub fn measured(&self) -> Vec<PointSpectrum> {
        let mut before = None;
        let spectrum = |sums: &Sums| {
            let after = sums.after.curve();
            PointSpectrum {
                name: sums.name.clone(),
                kind: sums.kind,
                before: before.replace(after.clone()),
                after,
                branch: sums.branch.as_ref().filter(|sums| sums.is_something).map(LogAmplitudes::curve),
            }
        };
        self.points.iter().map(spectrum).collect()
    }
}

impl Sums {
    fn new(point: &Point<f32>) -> Self {
        let of = |map: &FeatureMap<f32>| LogAmplitudes::new(map.grid);
        let (after, branch) = (of(&point.after), point.branch.as_ref().map(of));
        Self { name: point.name.clone(), kind: point.kind, after, branch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid { rows: 8, cols: 8 };

    /// Three channels of noise that has a mean, on which a branch can work.
    fn noise(grid: Grid, seed: u32) -> FeatureMap<f32> {
        let step = |s: &u32| Some(s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        let numbers = std::iter::successors(Some(seed), step).skip(1);
        let values = numbers.map(|s| s as f32 / 4_294_967_296.0 + 0.2).take(2 * 3 * grid.tokens()).collect();
        FeatureMap { values, grid, channels: 3 }
    }

    /// Circular 3 x 3 mean of each channel.
    fn blurred(map: &FeatureMap<f32>) -> FeatureMap<f32> {
        let Grid { rows, cols } = map.grid;
        let at = |sample: usize, y: usize, x: usize, channel: usize| {
            map.values[((sample * rows + y % rows) * cols + x % cols) * map.channels + channel]
        };
        let mean = |n: usize| {
            let (channel, place) = (n % map.channels, n / map.channels);
            let (sample, y, x) = (place / map.grid.tokens(), place / cols % rows, place % cols);
            let around = |n: usize, side: usize| [n + side - 1, n, n + 1];
            let rows = around(y, rows).into_iter();
            rows.flat_map(|v| around(x, cols).map(|u| at(sample, v, u, channel))).sum::<f32>() / 9.0
        };
        FeatureMap { values: (0..map.values.len()).map(mean).collect(), ..*map }
    }

    fn plus(a: &FeatureMap<f32>, b: &FeatureMap<f32>) -> FeatureMap<f32> {
        let values = a.values.iter().zip(&b.values).map(|(a, b)| a + b).collect();
        FeatureMap { values, ..*a }
    }

    fn point(name: &str, after: FeatureMap<f32>, branch: Option<FeatureMap<f32>>) -> Point<f32> {
        let kind = if name == "stem" { OperatorKind::Stem } else { OperatorKind::Attention };
        Point { name: name.to_owned(), kind, after, branch }
    }

    fn spectra(points: &[Point<f32>]) -> Vec<PointSpectrum> {
        let mut spectra = Spectra::default();
        spectra.add(points);
        spectra.measured()
    }

    #[track_caller]
    fn assert_close(got: impl Into<Option<f64>>, want: f64, tolerance: f64) {
        let got = got.into().expect("a value");
        assert!((got - want).abs() < tolerance, "got {got}, expected {want}");
    }

    /// The branch's gain at k = 3 of 8 is ((1 + 2 cos(3 pi / 4)) / 3)^2: ln -3.960; the sum's is 1 + that, over 1 + 1.
    #[test]
    fn a_box_blur_is_a_low_pass_filter_alone_and_beside_its_input() {
        let stem = noise(GRID, 1);
        let blur = blurred(&stem);
        let measured = spectra(&[
            point("stem", stem.clone(), None),
            point("sum", plus(&stem, &blur), Some(blur.clone())),
        ]);
        let gain = ((1.0 + 2.0 * (0.75 * std::f64::consts::PI).cos()) / 3.0).powi(2);
        assert_close(measured[1].branch_change(), gain.ln(), 1e-3);
        assert_close(measured[1].change(), ((1.0 + gain) / 2.0).ln(), 1e-3);
        let replaced = spectra(&[point("stem", stem, None), point("blur", blur, None)]);
        assert_close(replaced[1].change(), gain.ln(), 1e-3);
        assert_eq!((replaced[1].branch(), replaced[1].branch_change()), (None, None));
        assert_eq!((replaced[0].change(), replaced[0].branch_change()), (None, None));
    }

    /// What blurs undone by a filter of the inverse gain.
    #[test]
    fn less_of_the_blur_is_a_high_pass_filter() {
        let stem = noise(GRID, 2);
        let minus = FeatureMap { values: blurred(&stem).values.iter().map(|v| -0.5 * v).collect(), ..stem };
        let measured =
            spectra(&[point("stem", stem.clone(), None), point("sharpen", plus(&stem, &minus), Some(minus))]);
        assert!(measured[1].change().unwrap() > 0.6, "{:?}", measured[1].change());
    }

    #[test]
    fn an_identity_changes_nothing_and_its_branch_holds_the_same_frequencies() {
        let stem = noise(GRID, 3);
        let doubled = plus(&stem, &stem);
        let measured = spectra(&[point("stem", stem.clone(), None), point("twice", doubled, Some(stem))]);
        assert_close(measured[1].change(), 0.0, 1e-5);
        assert_eq!(measured[1].branch_change(), Some(0.0));
        assert!(!measured[1].downsamples());
    }

    #[test]
    fn a_branch_of_zeros_has_no_frequencies() {
        let stem = noise(GRID, 8);
        let zeros = FeatureMap { values: vec![0.0; stem.values.len()], ..stem };
        let measured = spectra(&[point("stem", stem.clone(), None), point("sum", stem, Some(zeros))]);
        assert_eq!((measured[1].change(), measured[1].branch()), (Some(0.0), None));
    }

    /// 8 x 8 waves at k = 3 and k = 1; of 4 x 4 patches, every second one, k = 1 is what is left.
    #[test]
    fn a_smaller_grid_is_measured_at_its_own_highest_frequency() {
        use std::f64::consts::TAU;
        let wave = |side: usize, k: usize, height: f64| FeatureMap {
            values: (0..side * side)
                .map(|n| {
                    let turns = (k * (n / side + n % side)) as f64 / side as f64;
                    (1.0 + height * (TAU * turns).cos()) as f32
                })
                .collect(),
            grid: Grid::square(side),
            channels: 1,
        };
        let measured =
            spectra(&[point("stem", wave(8, 3, 0.5), None), point("down", wave(4, 1, 0.125), None)]);
        assert!(measured[1].downsamples() && !measured[0].downsamples());
        assert_eq!((measured[0].after.values.len(), measured[1].after.values.len()), (4, 2));
        assert_close(measured[0].stream(), (0.25f64).ln(), 1e-5);
        assert_close(measured[1].change(), (0.25f64).ln(), 1e-5);
        assert_eq!(measured[0].after.frequencies().collect::<Vec<_>>(), [0.0, 0.25, 0.5, 0.75]);
        assert_eq!(measured[1].after.frequencies().collect::<Vec<_>>(), [0.0, 0.5]);
    }

    #[test]
    fn batches_add_up_to_the_whole() {
        let [a, b] = [4, 5].map(|seed| [point("stem", noise(GRID, seed), None)]);
        let mut both = a[0].clone();
        both.after.values.extend_from_slice(&b[0].after.values);
        let mut parts = Spectra::default();
        parts.add(&a);
        parts.add(&b);
        assert_eq!(parts.measured(), spectra(&[both]));
        assert_ne!(parts.measured(), spectra(&a));
    }

    #[test]
    fn batches_of_another_model_leave_no_number() {
        let stem = || point("stem", noise(GRID, 6), None);
        let with_branch = || point("sum", noise(GRID, 6), Some(noise(GRID, 7)));
        let others = [
            vec![],
            vec![point("blur", noise(GRID, 6), None), with_branch()],
            vec![point("stem", noise(Grid::square(4), 6), None), with_branch()],
        ];
        for other in others {
            let mut spectra = Spectra::default();
            spectra.add(&[stem(), with_branch()]);
            spectra.add(&other);
            let measured = spectra.measured();
            assert!(measured[0].stream().is_nan(), "{other:?}");
            assert_eq!(measured[1].stream().is_nan(), other.is_empty());
        }
        let mut spectra = Spectra::default();
        spectra.add(&[stem(), with_branch()]);
        spectra.add(&[stem(), point("sum", noise(GRID, 6), None)]);
        assert!(spectra.measured()[1].branch().unwrap().is_nan());
        assert!(Spectra::default().measured().is_empty());
    }
}
