//! Tests of figures: snapshots of both renderings, and what must not break a plot.

use super::*;
use crate::text::{Charset, Terminal};

/// Sample-efficiency curves: two measured models beside the published ones of ConViT Table 2.
fn figure() -> Figure {
    let ticks = [(2.0, "2%"), (5.0, "5%"), (10.0, "10%"), (30.0, "30%"), (50.0, "50%"), (100.0, "100%")];
    let mut figure = Figure::new(
        "Sample efficiency: top-1 accuracy against training data",
        Axis::log("training images used").with_ticks(ticks),
        Axis::linear("top-1 accuracy, %"),
    )
    .caption("Error bars: one standard deviation over 3 seeds. Published: arXiv 2103.10697v2 Table 2, ImageNet at 224 px.");
    for (hue, name) in ["ConViT", "DeiT"].into_iter().enumerate() {
        let means: &[(f64, f64, f64)] = match hue {
            0 => &[(2.0, 21.3, 1.2), (10.0, 38.2, 0.9), (50.0, 56.7, 0.7), (100.0, 63.0, 0.4)],
            _ => &[(2.0, 15.0, 2.4), (10.0, 28.9, 1.4), (50.0, 50.1, 0.9), (100.0, 59.8, 0.6)],
        };
        let mut series = Series::measured(format!("{name}, measured"), hue);
        for &(x, mean, sd) in means {
            series = series.mean_sd(x, Summary::of(&[mean - sd, mean, mean + sd]));
        }
        figure = figure.series(series);
        let mut series = Series::published(format!("{name}-S, published"), hue);
        let published = match hue {
            0 => [47.8, 59.6, 73.7, 78.2, 81.4],
            _ => [34.8, 48.0, 66.1, 74.6, 79.9],
        };
        for (x, value) in [5.0, 10.0, 30.0, 50.0, 100.0].into_iter().zip(published) {
            series = series.point(x, value);
        }
        figure = figure.series(series);
    }
    figure
}

#[test]
fn svg() {
    insta::assert_snapshot!(figure().svg());
}

#[test]
fn terminal_in_unicode() {
    insta::assert_snapshot!(figure().terminal(&Terminal::default(), 18));
}

#[test]
fn terminal_in_ascii() {
    let text = figure().terminal(&Terminal { charset: Charset::Ascii, width: 60, color: false }, 12);
    assert!(text.is_ascii());
    insta::assert_snapshot!(text);
}

#[test]
fn colour_changes_no_character() {
    let plain = figure().terminal(&Terminal::default(), 12);
    let colored = figure().terminal(&Terminal { color: true, ..Terminal::default() }, 12);
    assert!(colored.contains("\u{1b}[34m"));
    let mut stripped = String::new();
    let mut rest = colored.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        stripped.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    assert_eq!(stripped + rest, plain);
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for width in [40, 60, 80, 120] {
        let text = figure().terminal(&Terminal { width, ..Terminal::default() }, 10);
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width, "{widest} > {width}\n{text}");
    }
}

#[test]
fn a_higher_value_is_drawn_higher() {
    let up = Figure::new("", Axis::linear(""), Axis::linear(""))
        .series(Series::measured("a", 0).point(0.0, 1.0).point(1.0, 2.0));
    let text = up.terminal(&Terminal::default(), 8);
    let rows: Vec<usize> =
        text.lines().enumerate().filter(|(_, l)| l.contains('●')).map(|(at, _)| at).collect();
    let column = |row: usize| text.lines().nth(row).unwrap().chars().position(|c| c == '●').unwrap();
    assert!(column(rows[0]) > column(rows[1]), "{text}");
}

#[test]
fn figures_without_drawable_points_still_render() {
    let nothing = Figure::new("", Axis::log(""), Axis::linear(""));
    let undrawable = nothing.clone().series(
        Series::measured("diverged", 7).point(-1.0, 3.0).point(2.0, f64::NAN).point(f64::INFINITY, 1.0),
    );
    for figure in [nothing, undrawable] {
        assert!(figure.svg().ends_with("</svg>\n") && !figure.svg().contains("NaN"));
        assert!(!figure.terminal(&Terminal { width: 0, ..Terminal::default() }, 0).is_empty());
    }
}

#[test]
fn error_bars_that_reach_below_zero_on_a_log_axis_end_at_the_frame() {
    let wide = Figure::new("", Axis::linear(""), Axis::log("")).series(Series {
        points: vec![
            Point { x: 1.0, y: 1.0, error: Some(2.0) },
            Point { x: 2.0, y: 5.0, error: Some(f64::NAN) },
        ],
        ..Series::measured("a", 0)
    });
    assert!(!wide.svg().contains("NaN"), "{}", wide.svg());
    assert!(wide.terminal(&Terminal::default(), 8).contains('┬'));
}

#[test]
fn text_is_escaped_in_svg() {
    let figure = Figure::new("a < b & \u{1b}c", Axis::linear("<x>"), Axis::linear("y")).caption("p < .05");
    let svg = figure.svg();
    assert!(
        svg.contains(r"a &lt; b &amp; \u{1b}c") && svg.contains("&lt;x&gt;") && svg.contains("p &lt; .05"),
        "{svg}"
    );
}

#[test]
fn a_figure_is_known_by_what_it_is() {
    assert!(is_figure(figure().svg().as_bytes()));
    for other in
        ["", "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"1\"></svg>", "text > text"]
    {
        assert!(!is_figure(other.as_bytes()), "{other}");
    }
}
