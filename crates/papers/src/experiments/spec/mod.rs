//! An experiment as its file says it.

mod check;
mod claim;
mod figure;
mod read;
mod table;

use std::collections::BTreeMap;

use serde::Deserialize;

pub(crate) use claim::{Alike, Claim, Compare, Next, Trend};
pub(crate) use figure::{Axis, Drawn, Figure, Kind};
pub(crate) use read::merged;
pub(crate) use table::{Column, Questions, Table};

use super::Preset;

/// An experiment: which runs are compared, and what is made of their results. Read from a TOML file
/// ([`Experiment::from_toml`]); `docs/experiments.md` explains every field.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Experiment {
    /// The paper, as it is asked for.
    pub paper: String,
    /// The name among the experiments of the paper: what `--table` takes.
    pub name: String,
    /// What it shows, one line.
    pub about: String,
    /// Whether it is the paper's main one, which is meant where none is named.
    #[serde(default)]
    pub main: bool,
    /// Title of the report.
    pub(crate) title: String,
    /// What is asked and what was run.
    #[serde(default)]
    pub(crate) ran: Vec<String>,
    /// What differs from the paper.
    #[serde(default)]
    pub(crate) differs: Vec<String>,
    /// What should be run next.
    #[serde(default, deserialize_with = "claim::list")]
    pub(crate) next: Vec<Next>,
    /// Pieces of text that others name in braces.
    #[serde(default)]
    pub(crate) text: BTreeMap<String, Text>,
    /// How statements call an arm.
    #[serde(default)]
    pub(crate) call_arms: CallArms,
    /// What stands before a statement that a comparison of two arms makes by itself.
    #[serde(default)]
    pub(crate) statement: Option<String>,
    /// What an arm alone stands for in an expression.
    #[serde(default = "top1")]
    pub(crate) measure: String,
    /// Of which images a share is taken.
    pub(crate) share: Option<Share>,
    /// Parts that are computed without a run, by their registered names.
    #[serde(default)]
    pub(crate) compute: Vec<String>,
    /// What the recipes of all runs share.
    #[serde(default)]
    pub(crate) recipe: toml::Table,
    /// The sides of the comparisons.
    #[serde(default, rename = "arm")]
    pub(crate) arms: Vec<Arm>,
    /// Sizes.
    #[serde(default)]
    pub(crate) preset: BTreeMap<Preset, Scale>,
    /// Rows that tables, figures and claims name.
    #[serde(default)]
    pub(crate) rows: BTreeMap<String, Vec<Words>>,
    /// Tables of the report.
    #[serde(default, rename = "table")]
    pub(crate) tables: Vec<Table>,
    /// Figures of the report.
    #[serde(default, rename = "figure")]
    pub(crate) figures: Vec<Figure>,
    /// Claims that are judged.
    #[serde(default, rename = "claim")]
    pub(crate) claims: Vec<Claim>,
    /// A file beside this one with what several experiments share.
    #[serde(default)]
    base: Option<String>,
    /// The file, for messages.
    #[serde(skip)]
    pub(crate) file: String,
}

fn top1() -> String {
    "top1".to_owned()
}

/// How statements call an arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CallArms {
    /// By what it is.
    #[default]
    ByLabel,
    /// By its name.
    ByName,
}

/// Of which images a share is taken.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Share {
    /// Of those that are there, where nothing is said.
    OfGiven,
    /// Of CIFAR's 50,000, of which a part may be there: a number of images for each class.
    OfWhole,
}

/// One side of a comparison.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Arm {
    /// Name of its runs and of their folders.
    pub name: String,
    /// What it is, in words.
    pub label: String,
    /// What differs in its recipe.
    #[serde(default)]
    pub recipe: toml::Table,
    /// Words that texts and expressions about it may name.
    #[serde(default)]
    pub words: Words,
}

/// Sizes of a preset.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Scale {
    /// Paired seeds.
    pub seeds: Option<u64>,
    /// Shares of the training images.
    #[serde(default)]
    pub fractions: Option<Vec<f64>>,
    /// Names of the arms that are run, in this order; without it all, in the order of the file.
    #[serde(default)]
    pub arms: Option<Vec<String>>,
    /// What the recipes of this size share.
    #[serde(default)]
    pub recipe: toml::Table,
}

/// Names and what they stand for.
pub(crate) type Words = BTreeMap<String, Word>;

/// A number or a text.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected a number or a text")]
pub(crate) enum Word {
    /// A whole number.
    Whole(i64),
    /// A number.
    Number(f64),
    /// Words.
    Text(String),
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(number) => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Rows: the name of some, or given in place.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected the name of rows, a list of arms, or a list of rows `{ name = word }`"
)]
pub(crate) enum Rows {
    /// `arms`, `fractions`, `evaluations`, `milestones`, a name under `[rows]`, or two of them with ` * ` between.
    Named(String),
    /// Names of arms.
    Arms(Vec<String>),
    /// Words of each row.
    Given(Vec<Words>),
}

/// A piece of text.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a line, a list of lines, `{ each, line, join }`, `{ alike, within, yes, no, open }` or `{ best, value, line, none }`"
)]
pub(crate) enum Text {
    /// A line.
    Line(String),
    /// Several lines.
    Lines(Vec<String>),
    /// A line for each row, joined.
    Each(EachText),
    /// What is said of two arms that are alike, or not.
    Alike(AlikeText),
    /// The row with the largest value.
    Best(BestText),
}

/// A text for each row, joined.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EachText {
    pub each: Rows,
    pub line: String,
    #[serde(default = "comma")]
    pub join: String,
}

fn comma() -> String {
    ", ".to_owned()
}

/// Whether two arms are within a bound of each other, in words.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlikeText {
    pub alike: [String; 2],
    pub within: f64,
    pub yes: String,
    pub no: String,
    pub open: String,
}

/// The row with the largest value: `line` may name its words, and `{value}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BestText {
    pub best: Rows,
    pub value: String,
    pub line: String,
    pub none: String,
}

/// What several experiments of a paper share; a file of its own, named by `base`. What an experiment says itself goes before: of lists
/// both stand there, its own first; of tables and words its own win.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Base {
    base: Option<String>,
    share: Option<Share>,
    statement: Option<String>,
    #[serde(default)]
    ran: Vec<String>,
    #[serde(default)]
    differs: Vec<String>,
    #[serde(default, rename = "arm")]
    arms: Vec<Arm>,
    #[serde(default, rename = "table")]
    tables: Vec<Table>,
    #[serde(default, rename = "figure")]
    figures: Vec<Figure>,
    #[serde(default, rename = "claim")]
    claims: Vec<Claim>,
    #[serde(default)]
    text: BTreeMap<String, Text>,
    #[serde(default)]
    recipe: toml::Table,
    #[serde(default)]
    preset: BTreeMap<Preset, Scale>,
    #[serde(default)]
    rows: BTreeMap<String, Vec<Words>>,
}
