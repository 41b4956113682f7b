//! What stands in one cell of a table.

use serde::Serialize;

use crate::Summary;

/// Where a published number was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Citation {
    /// The source.
    pub source: String,
    /// What kind of source it is: `paper`, `figure`.
    pub confidence: String,
}

/// A published number with its source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cited {
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// Where it was read.
    #[serde(flatten)]
    pub citation: Citation,
}

impl Cited {
    /// The number as published; percentages and points have at least one decimal, since papers print 48.0.
    fn number(&self) -> String {
        let percent = self.unit.contains("percent") || self.unit == "points";
        if percent && self.value.fract() == 0.0 {
            format!("{:.1}", self.value)
        } else {
            self.value.to_string()
        }
    }
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cell {
    /// Not measured, or not published.
    Empty,
    /// Words.
    Text {
        /// The words.
        text: String,
    },
    /// A plain number.
    Number {
        /// The number.
        value: f64,
        /// Decimals to print.
        #[serde(skip)]
        decimals: usize,
    },
    /// Mean, standard deviation and number of seeds of a measured quantity.
    Measured {
        /// All three.
        #[serde(flatten)]
        summary: Summary,
        /// Decimals to print.
        #[serde(skip)]
        decimals: usize,
    },
    /// Published numbers for one quantity; more than one where sources disagree.
    Published {
        /// The numbers, each with its source.
        values: Vec<Cited>,
    },
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// A plain number.
    pub fn number(value: f64, decimals: usize) -> Self {
        Self::Number { value, decimals }
    }

    /// A count.
    pub fn count(value: usize) -> Self {
        Self::Number { value: value as f64, decimals: 0 }
    }

    /// `mean ± sd (n)`; empty without a seed.
    pub fn measured(values: Option<Summary>, decimals: usize) -> Self {
        values.map_or(Self::Empty, |summary| Self::Measured { summary, decimals })
    }

    /// Published numbers; empty without any.
    pub fn published(values: impl IntoIterator<Item: Into<Cited>>) -> Self {
        let values: Vec<Cited> = values.into_iter().map(Into::into).collect();
        if values.is_empty() { Self::Empty } else { Self::Published { values } }
    }

    /// The cell as text, published numbers with the number of their source in `citations`.
    pub(super) fn show(&self, citations: &[&Citation]) -> String {
        match self {
            Self::Empty => "–".to_owned(),
            Self::Text { text } => text.clone(),
            Self::Number { value, decimals } => format!("{value:.decimals$}"),
            Self::Measured { summary: Summary { n, mean, sd: Some(sd) }, decimals } => {
                format!("{mean:.decimals$} ± {sd:.decimals$} ({n})")
            }
            Self::Measured { summary: Summary { n, mean, sd: None }, decimals } => {
                format!("{mean:.decimals$} ({n})")
            }
            Self::Published { values } => {
                let show = |cited: &Cited| {
                    let mark = citations.iter().position(|&c| *c == cited.citation).map_or(0, |at| at + 1);
                    format!("{} [{mark}]", cited.number())
                };
                values.iter().map(show).collect::<Vec<_>>().join(", ")
            }
        }
    }
}
