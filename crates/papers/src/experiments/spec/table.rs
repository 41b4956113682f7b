//! A table as a file says it.

use serde::Deserialize;

use super::{Compare, Rows, claim::list};

/// A table of the report: a row for each of `rows`, or the comparisons under `questions`, or the claims that nothing here tests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Table {
    /// Its name in `tables.json`.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// Its rows.
    pub rows: Option<Rows>,
    /// Rows of which this was not measured are left out.
    pub only_with: Option<String>,
    /// Its columns.
    #[serde(default)]
    pub columns: Vec<Column>,
    /// Comparisons that no claim is judged by, in place of rows.
    #[serde(default)]
    pub questions: Vec<Questions>,
    /// Unit of their differences.
    #[serde(default = "points")]
    pub unit: String,
    /// The paper whose claims that need a GPU are listed, in place of rows.
    pub untested: Option<String>,
    /// Remarks below it. One that names what was not measured is left out.
    #[serde(default)]
    pub notes: Vec<String>,
}

pub(super) fn points() -> String {
    "points".to_owned()
}

/// A column: one of `text`, `value` and `published` says what stands in it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Column {
    /// Its head.
    pub head: String,
    /// Words, on the left.
    pub text: Option<String>,
    /// An expression.
    pub value: Option<String>,
    /// Published numbers: `paper | table | row | column`.
    pub published: Option<String>,
    /// Published numbers of each of these rows, all in one cell.
    pub each: Option<Rows>,
    /// Decimals. Without it 1, and 2 of numbers per layer.
    pub digits: Option<usize>,
    /// So many columns for a value per layer, `{layer}` in their heads.
    pub layers: Option<usize>,
    /// What stands where a layer has no number.
    pub missing: Option<String>,
    /// On the right although it is text.
    #[serde(default)]
    pub right: bool,
}

/// Comparisons that belong to one question.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Questions {
    /// The question.
    pub question: String,
    /// What is compared.
    #[serde(deserialize_with = "list")]
    pub compare: Vec<Compare>,
}
