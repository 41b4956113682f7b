//! The numbers and claims the papers published, as data.

use std::sync::OnceLock;

use inductive_report::table::{Citation, Cited};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Where a published number was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Confidence {
    /// Text, table or abstract of the paper.
    Paper,
    /// README or file of the authors' repository.
    Code,
    /// Training log of the authors.
    Log,
    /// Read off a published figure.
    Figure,
    /// A cell quoted by a review.
    ReviewQuoted,
    /// Computed from code or from quoted differences.
    Derived,
    /// Reproduction, port, summary or benchmark by others.
    ThirdParty,
}

impl Confidence {
    /// The word the registry uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Code => "code",
            Self::Log => "log",
            Self::Figure => "figure",
            Self::ReviewQuoted => "review-quoted",
            Self::Derived => "derived",
            Self::ThirdParty => "third-party",
        }
    }
}

/// One published number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedValue {
    /// Short name of the paper, e.g. `convit`.
    pub paper: String,
    /// Table or other place, e.g. `table2`, `fig2a`, `readme`.
    pub table: String,
    /// Row, e.g. `10%`.
    pub row: String,
    /// Column, e.g. `ConViT-S top1`.
    pub column: String,
    /// The number, in `unit`.
    pub value: f64,
    /// Unit, e.g. `top1_percent`; all are explained at the top of `published.toml`.
    pub unit: String,
    /// Where it was read.
    pub source: String,
    /// What kind of source that is.
    pub confidence: Confidence,
}

impl From<&PublishedValue> for Cited {
    fn from(published: &PublishedValue) -> Self {
        let confidence = published.confidence.as_str().to_owned();
        let citation = Citation { source: published.source.clone(), confidence };
        Self { value: published.value, unit: published.unit.clone(), citation }
    }
}

/// What kind of statement a claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ClaimKind {
    /// One thing is above another.
    Ordering,
    /// One thing is a multiple of another.
    Ratio,
    /// A difference grows or shrinks along something.
    Trend,
    /// An equality that needs no training.
    Exact,
}

/// What it takes to test a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Effort {
    /// Seconds on a CPU.
    Seconds,
    /// Minutes on a CPU.
    Minutes,
    /// Hours on a CPU.
    Hours,
    /// Not testable at small scale on a CPU.
    Gpu,
}

/// One statement of a paper that runs can test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedClaim {
    /// Name, e.g. `convit.1`.
    pub id: String,
    /// Short name of the paper.
    pub paper: String,
    /// The statement.
    pub text: String,
    /// What kind of statement it is.
    pub kind: ClaimKind,
    /// What it takes to test it.
    pub testable: Effort,
    /// What a test at small scale should show.
    pub expected: String,
    /// Where the paper says it.
    pub source: String,
}

/// Every published number and claim that is available, in the order of the file.
///
/// Sources that disagree are all kept: a look-up returns every number that fits, and nothing averages them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Version of the file's layout.
    schema: u32,
    /// Numbers of the papers this project implements.
    #[serde(rename = "value", default)]
    pub values: Vec<PublishedValue>,
    /// Numbers of neighbouring papers: background only.
    #[serde(default)]
    pub context: Vec<PublishedValue>,
    /// Statements that runs can test.
    #[serde(rename = "claim", default)]
    pub claims: Vec<PublishedClaim>,
}

impl Published {
    /// Reads a registry.
    ///
    /// # Errors
    /// When `text` is not TOML, has a key or word this version does not know, or a schema other than 1.
    pub fn parse(text: &str) -> Result<Self> {
        let published: Self = toml::from_str(text).map_err(|error| Error::Published(error.to_string()))?;
        if published.schema != 1 {
            return Err(Error::Published(format!(
                "schema is {}, this version reads schema 1",
                published.schema
            )));
        }
        Ok(published)
    }

    /// The registry that comes with the program, read once.
    ///
    /// # Errors
    /// Never for a released program: a test reads the same text.
    pub fn embedded() -> Result<&'static Self> {
        static EMBEDDED: OnceLock<Result<Published>> = OnceLock::new();
        EMBEDDED.get_or_init(|| Self::parse(include_str!("../published.toml"))).as_ref().map_err(Clone::clone)
    }

    /// The numbers published for one cell of one table.
    pub fn value(&self, paper: &str, table: &str, row: &str, column: &str) -> Vec<&PublishedValue> {
        let fits = |v: &&PublishedValue| v.table == table;
        self.everywhere(paper, row, column).into_iter().filter(fits).collect()
    }

    /// The numbers published under one row and column in any table or figure of a paper: several, where the paper says
    /// the same thing twice, and then they may disagree.
    pub fn everywhere(&self, paper: &str, row: &str, column: &str) -> Vec<&PublishedValue> {
        self.values.iter().filter(|v| v.paper == paper && v.row == row && v.column == column).collect()
    }

    /// Names of the tables of a paper, in order of first appearance.
    pub fn tables(&self, paper: &str) -> Vec<&str> {
        let mut tables = Vec::new();
        for value in self.values.iter().filter(|v| v.paper == paper) {
            if !tables.contains(&value.table.as_str()) {
                tables.push(value.table.as_str());
            }
        }
        tables
    }

    /// The claim of this name.
    ///
    /// # Errors
    /// When there is none; the message lists the names that begin alike.
    pub fn claim(&self, id: &str) -> Result<&PublishedClaim> {
        self.claims.iter().find(|claim| claim.id == id).ok_or_else(|| {
            let paper = id.split('.').next().unwrap_or_default();
            let mut near: Vec<_> = self.claims_of(paper).map(|claim| claim.id.clone()).collect();
            if near.is_empty() {
                near = self.claims.iter().map(|claim| format!("{}.*", claim.paper)).collect();
                near.dedup();
            }
            Error::NoSuchClaim { id: id.to_owned(), known: near.join(", ") }
        })
    }

    /// The claims of a paper, in order.
    pub fn claims_of<'a>(&'a self, paper: &'a str) -> impl Iterator<Item = &'a PublishedClaim> {
        self.claims.iter().filter(move |claim| claim.paper == paper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published() -> &'static Published {
        Published::embedded().unwrap()
    }

    #[test]
    fn the_registry_is_read_whole() {
        let it = published();
        assert_eq!((it.values.len(), it.context.len(), it.claims.len()), (786, 16, 55));
        assert!(it.values.iter().chain(&it.context).all(|v| v.value.is_finite() && !v.source.is_empty()));
        assert!(it.values.iter().all(|v| v.paper != "prs"), "no number of that paper is available");
    }

    #[test]
    fn numbers_that_disagree_are_all_kept_with_their_sources() {
        let five_percent = published().everywhere("convit", "5%", "DeiT-S top1");
        let found: Vec<_> = five_percent.iter().map(|v| (v.table.as_str(), v.value, v.confidence)).collect();
        assert_eq!(found, [("table2", 34.8, Confidence::Paper), ("fig2a", 34.71, Confidence::Figure)]);
    }

    #[test]
    fn the_same_cell_given_twice_is_returned_twice() {
        let cell = "[[value]]\npaper='p'\ntable='t'\nrow='r'\ncolumn='c'\nunit='count'\nconfidence='log'\n";
        let text = format!("schema = 1\n{cell}value=1.0\nsource='a'\n{cell}value=2.0\nsource='b'");
        let twice = Published::parse(&text).unwrap();
        let found: Vec<_> =
            twice.value("p", "t", "r", "c").iter().map(|v| (v.value, v.source.as_str())).collect();
        assert_eq!(found, [(1.0, "a"), (2.0, "b")]);
    }

    #[test]
    fn a_cell_is_found_by_all_four_names_only() {
        assert_eq!(published().value("convit", "table2", "10%", "ConViT-S top1")[0].value, 59.6);
        assert_eq!(published().value("convit", "table2", "10%", "ConViT-B top1"), [] as [&PublishedValue; 0]);
        assert_eq!(published().value("eit", "table2", "10%", "ConViT-S top1"), [] as [&PublishedValue; 0]);
    }

    #[test]
    fn tables_are_listed_once_in_the_order_of_the_file() {
        let tables = published().tables("convit");
        assert_eq!(tables[0], "table1");
        assert_eq!(tables.iter().filter(|&&table| table == "table2").count(), 1);
        assert!(published().tables("prs").is_empty());
    }

    #[test]
    fn an_unknown_claim_names_the_known_ones() {
        assert_eq!(published().claim("convit.1").unwrap().kind, ClaimKind::Trend);
        let error = published().claim("convit.11").unwrap_err().to_string();
        assert!(error.contains("convit.11") && error.contains("convit.10"), "{error}");
        let error = published().claim("convnet.1").unwrap_err().to_string();
        assert!(error.contains("convit.*") && error.contains("prs.*"), "{error}");
    }

    #[test]
    fn claim_names_are_unique() {
        let mut ids: Vec<_> = published().claims.iter().map(|claim| &claim.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 55);
    }

    #[test]
    fn a_registry_of_another_schema_or_with_unknown_words_is_refused() {
        assert!(Published::parse("schema = 2").unwrap_err().to_string().contains("schema 1"));
        assert!(Published::parse("schema = 1\nvalues = []").unwrap_err().to_string().contains("values"));
    }
}
