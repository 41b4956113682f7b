//! A figure as a file says it.

use serde::Deserialize;

use super::{Preset, Rows};

/// A figure of the report.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Figure {
    /// Name of its file.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// Below it.
    #[serde(default)]
    pub caption: String,
    /// The presets that have it; without it all.
    pub presets: Option<Vec<Preset>>,
    /// Its lines.
    pub lines: Vec<Drawn>,
}

/// An axis.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Axis {
    /// Quantity and unit.
    pub label: String,
    /// How values are spread.
    #[serde(default)]
    pub scale: Kind,
    /// Rows whose word `x` has a tick, with their word `tick` as its label.
    pub ticks: Option<Rows>,
}

/// How values are spread along an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Evenly.
    #[default]
    Linear,
    /// By their logarithm.
    Log,
}

/// A line, or one for each of some rows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Drawn {
    /// In the legend.
    pub name: String,
    /// A line for each of these.
    pub each: Option<Rows>,
    /// Its points: one for each of these rows, or `layers` for a value per layer.
    pub over: Rows,
    /// Where each stands, an expression; without it the row's word `x`, of a layer its number from 1.
    pub x: Option<String>,
    /// What is drawn: an expression.
    pub y: Option<String>,
    /// Published numbers in place of `y`: `paper | table | row | column`.
    pub published: Option<String>,
    /// A point before the first: where, and an expression. Without a value the line is left out.
    pub begin: Option<(f64, String)>,
    /// Number of its colour; without it the next. Rows may have a word `hue`.
    pub hue: Option<usize>,
}
