//! Line plots with error bars, as SVG and in the terminal; [`Maps`] of numbers as PNG.
//!
//! One [`Figure`] renders both ways. A series has a hue; a published series drawn in the hue of a measured one is the
//! same model in the paper: same colour, but dashed with hollow markers.

mod axis;
mod bands;
mod canvas;
mod maps;
mod svg;
mod terminal;

pub use axis::{Axis, Scale, Tick};
pub use bands::Band;
pub use maps::{Map, Maps};
pub use svg::is_figure;

use crate::Summary;

/// One point of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Place on the x axis.
    pub x: f64,
    /// Place on the y axis.
    pub y: f64,
    /// Half the height of the error bar; `None` for none.
    pub error: Option<f64>,
}

/// Who measured a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A run of this project: solid line, filled markers.
    Measured,
    /// A paper: dashed line, hollow markers.
    Published,
}

/// Points joined by a line.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Who measured it.
    pub origin: Origin,
    /// Index of its colour and marker.
    pub hue: usize,
    /// Its points, joined in this order.
    pub points: Vec<Point>,
    /// Place among many lines that belong together, 0 the first and 1 the last: a thin line from dark to light without
    /// markers, whose name the legend leaves out but for the first and the last.
    pub rank: Option<f64>,
}

impl Series {
    /// A series of this project's own runs.
    pub fn measured(name: impl Into<String>, hue: usize) -> Self {
        Self { name: name.into(), origin: Origin::Measured, hue, points: Vec::new(), rank: None }
    }

    /// One of many lines, 0 the first and 1 the last.
    pub fn ranked(name: impl Into<String>, rank: f64) -> Self {
        Self { rank: Some(rank), ..Self::measured(name, 0) }
    }

    /// A series of published numbers.
    pub fn published(name: impl Into<String>, hue: usize) -> Self {
        Self { origin: Origin::Published, ..Self::measured(name, hue) }
    }

    /// Adds a point without error bar.
    pub fn point(mut self, x: f64, y: f64) -> Self {
        self.points.push(Point { x, y, error: None });
        self
    }

    /// Adds the mean over seeds with an error bar of one standard deviation; nothing without a seed.
    pub fn mean_sd(mut self, x: f64, values: Option<Summary>) -> Self {
        self.points.extend(values.map(|s| Point { x, y: s.mean, error: s.sd }));
        self
    }
}

/// A level to compare with: a dotted line over all of the plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Guide {
    /// Name in the legend.
    pub name: String,
    /// Place on the y axis.
    pub at: f64,
}

/// A plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What it shows.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// Its series.
    pub series: Vec<Series>,
    /// What lies behind them.
    pub bands: Vec<Band>,
    /// A level to compare with.
    pub guide: Option<Guide>,
    /// What must be said below it: what error bars are, how many seeds, where published points come from.
    pub caption: String,
}

impl Figure {
    /// A plot without series.
    pub fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        let (title, caption) = (title.into(), String::new());
        Self { title, x, y, series: Vec::new(), bands: Vec::new(), guide: None, caption }
    }

    /// Adds a series.
    pub fn series(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// Adds a band.
    pub fn band(mut self, band: Band) -> Self {
        self.bands.push(band);
        self
    }

    /// Sets the caption.
    pub fn caption(mut self, caption: impl Into<String>) -> Self {
        self.caption = caption.into();
        self
    }

    /// The points of a series that can be drawn: finite, and positive on a logarithmic axis.
    fn drawable<'a>(&'a self, series: &'a Series) -> impl Iterator<Item = Point> + 'a {
        let fits = |p: &&Point| self.x.scale.contains(p.x) && self.y.scale.contains(p.y);
        series.points.iter().filter(fits).copied()
    }

    /// The series, published ones first so that measured ones are drawn over them.
    fn back_to_front(&self) -> impl Iterator<Item = &Series> {
        let of = |origin| self.series.iter().filter(move |series| series.origin == origin);
        of(Origin::Published).chain(of(Origin::Measured))
    }

    /// Both axes with their final ranges.
    fn placed(&self) -> (axis::Placed, axis::Placed) {
        let points = || self.series.iter().flat_map(|series| self.drawable(series));
        let edges = self.bands.iter().flat_map(|band| [band.from, band.to]);
        let guide = self.guide.iter().map(|guide| guide.at).filter(|at| self.y.scale.contains(*at));
        let ends = |p: Point| {
            let error = p.error.filter(|e| e.is_finite()).unwrap_or(0.0).abs();
            [p.y - error, p.y + error]
        };
        (self.x.place(points().map(|p| p.x).chain(edges)), self.y.place(points().flat_map(ends).chain(guide)))
    }
}

/// What a legend lists.
enum Entry<'a> {
    Series(&'a Series),
    /// The first and the last of the ranked lines.
    Ranked(&'a Series, &'a Series),
    Guide(&'a Guide),
    Band(&'a Band),
}

impl Entry<'_> {
    fn name(&self) -> String {
        match self {
            Self::Series(series) => series.name.clone(),
            Self::Ranked(first, last) if first.name == last.name => first.name.clone(),
            Self::Ranked(first, last) => format!("{} to {}", first.name, last.name),
            Self::Guide(guide) => guide.name.clone(),
            Self::Band(band) => band.name.clone(),
        }
    }
}

impl Figure {
    /// Series, then the ranked ones in one, the guide, each kind of band.
    fn entries(&self) -> Vec<Entry<'_>> {
        let single = self.series.iter().filter(|series| series.rank.is_none()).map(Entry::Series);
        let mut ranked = self.series.iter().filter(|series| series.rank.is_some());
        let first = ranked.next();
        let ranked = first.map(|first| Entry::Ranked(first, ranked.next_back().unwrap_or(first)));
        let guide = self.guide.iter().map(Entry::Guide);
        single.chain(ranked).chain(guide).chain(bands::kinds(&self.bands).map(Entry::Band)).collect()
    }
}

/// Entries per row when `entries` are laid out in rows of at most `most`: as few rows as possible, evenly filled.
fn even_columns(entries: usize, most: usize) -> usize {
    entries.div_ceil(entries.div_ceil(most.max(1)).max(1)).max(1)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
