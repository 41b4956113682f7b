//! The two plots of frequencies of Park & Kim (arXiv 2202.06709, figures 2a and 8): over depth, and over frequency.

use inductive_analysis::{Curve, WHITE_NOISE};
use inductive_nn::OperatorKind;
use inductive_train::FourierPoint;

use inductive_report::figure::{Axis, Band, Figure, Series};

/// Delta log amplitude at the highest frequency over normalised depth, 0 at the stem and 1 after the last operator: of the
/// stream and of the branches alone. The stretch that leads to a point is marked by what leads there: attention, a
/// convolution, both, or where the grid shrinks, downsampling; an MLP is not.
pub fn over_depth(title: impl Into<String>, points: &[FourierPoint]) -> Figure {
    let last = points.len().saturating_sub(1).max(1) as f64;
    let depth = |index: usize| index as f64 / last;
    let mut stream = Series::measured("residual stream", 0);
    let mut branch = Series::measured("what is added, alone", 1);
    let mut figure = Figure::new(
        title,
        Axis::linear("normalized depth").with_range(-0.02, 1.02),
        Axis::linear("Δ log amplitude at the highest frequency"),
    );
    for (index, point) in points.iter().enumerate() {
        stream = stream.point(depth(index), point.stream);
        branch = point.branch.into_iter().fold(branch, |branch, value| branch.point(depth(index), value));
        let (name, hue) = match point.kind {
            _ if point.downsamples => ("downsampling", 1),
            OperatorKind::Attention => ("attention", 0),
            OperatorKind::Convolution => ("convolution", 2),
            OperatorKind::Mixed => ("mixed: convolution and attention", 3),
            OperatorKind::Stem | OperatorKind::Mlp => continue,
        };
        if let Some(before) = index.checked_sub(1) {
            figure = figure.band(Band { name: name.to_owned(), from: depth(before), to: depth(index), hue });
        }
    }
    figure = figure.series(stream);
    if !branch.points.is_empty() {
        figure = figure.series(branch);
    }
    figure.caption(format!(
        "Mean over images and channels of ln|F|, less that at frequency 0; white noise has {WHITE_NOISE:.2}. Each point at the \
         highest frequency of its own grid. Bands: the operator that leads to a point."
    ))
}

/// Delta log amplitude over frequency, a line per point from the first (dark) to the last (light). All points are there;
/// the authors leave the last one out.
pub fn over_frequency<'a>(
    title: impl Into<String>,
    curves: impl IntoIterator<Item = (&'a str, &'a Curve)>,
) -> Figure {
    let curves: Vec<_> = curves.into_iter().collect();
    let last = curves.len().saturating_sub(1).max(1) as f64;
    let mut figure = Figure::new(
        title,
        Axis::linear("frequency, π per patch").with_range(0.0, 1.0),
        Axis::linear("Δ log amplitude"),
    );
    for (index, (name, curve)) in curves.into_iter().enumerate() {
        let points = curve.frequencies().zip(&curve.values);
        let line = Series::ranked(name, index as f64 / last);
        figure = figure.series(points.fold(line, |line, (frequency, value)| line.point(frequency, *value)));
    }
    figure.caption(format!(
        "Half-diagonal of the spectrum: mean over images and channels of ln|F|, less that at frequency 0; white noise has \
         {WHITE_NOISE:.2} above 0. Each line ends at the highest frequency of its grid, below 1 (6/7 on 14 x 14)."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use inductive_ops::Grid;
    use inductive_report::text::{Charset, Terminal};

    fn points() -> Vec<FourierPoint> {
        use OperatorKind::*;
        let point = |(index, (name, kind)): (usize, (&str, OperatorKind))| FourierPoint {
            name: name.to_owned(),
            kind,
            downsamples: name == "down",
            stream: [-1.0, -0.8, -1.4, -0.6, -0.9, -0.7, -0.2][index],
            branch: (kind != Stem).then_some([0.0, -0.5, -2.0, -0.4, -0.3, -1.8, -0.1][index]),
            change: None,
        };
        let operators = [
            ("stem", Stem),
            ("blocks.0.conv", Convolution),
            ("blocks.0.attn", Attention),
            ("blocks.0.mlp", Mlp),
            ("down", Convolution),
            ("blocks.1.attn", Mixed),
            ("blocks.1.mlp", Mlp),
        ];
        operators.into_iter().enumerate().map(point).collect()
    }

    fn curves() -> Vec<(String, Curve)> {
        let curve = |index: usize, side: usize| {
            let values = (0..side.div_ceil(2)).map(|k| -0.4 * k as f64 + 0.1 * index as f64);
            (format!("blocks.{index}.attn"), Curve { grid: Grid::square(side), values: values.collect() })
        };
        vec![curve(0, 8), curve(1, 8), curve(2, 4)]
    }

    #[test]
    fn over_depth_as_svg() {
        insta::assert_snapshot!(over_depth("vit_micro on synthetic", &points()).svg());
    }

    #[test]
    fn over_depth_in_the_terminal() {
        let figure = over_depth("vit_micro on synthetic", &points());
        let ascii = Terminal { charset: Charset::Ascii, ..Terminal::default() };
        insta::assert_snapshot!(figure.terminal(&Terminal::default(), 12));
        let text = figure.terminal(&ascii, 12);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn over_frequency_as_svg() {
        let curves = curves();
        let figure = over_frequency("a < b", curves.iter().map(|(name, curve)| (name.as_str(), curve)));
        insta::assert_snapshot!(figure.svg());
    }

    #[test]
    fn bands_lie_before_the_points_they_lead_to() {
        let figure = over_depth("", &points());
        let band = |index: usize| (figure.bands[index].name.as_str(), figure.bands[index].from * 6.0);
        assert_eq!(figure.bands.len(), 4, "{:?}", figure.bands);
        assert_eq!([band(0), band(1)], [("convolution", 0.0), ("attention", 1.0)]);
        assert_eq!(band(2).0, "downsampling");
        assert!(figure.bands.iter().all(|band| (band.to - band.from - 1.0 / 6.0).abs() < 1e-12));
    }

    #[test]
    fn nothing_measured_still_makes_figures() {
        let stem = &points()[..1];
        for figure in [over_depth("", &[]), over_depth("", stem), over_frequency("", [])] {
            assert!(figure.svg().ends_with("</svg>\n") && !figure.svg().contains("NaN"));
            assert!(!figure.terminal(&Terminal::default(), 8).is_empty());
        }
    }
}
