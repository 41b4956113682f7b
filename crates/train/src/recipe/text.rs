//! A recipe as TOML, and what two of them differ in.

use std::{collections::BTreeMap, fmt, path::Path};

use inductive_files::{nearest, shown};

use super::Recipe;
use crate::{Error, Result};

/// A field in which two recipes differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field; those of tables with a dot.
    pub field: String,
    /// Its value in the first recipe, if it has one.
    pub first: Option<String>,
    /// Its value in the second recipe, if it has one.
    pub second: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |v: &Option<String>| v.clone().unwrap_or_else(|| "not set".to_owned());
        write!(
            f,
            "`{}` is {} there and {} here",
            shown(&self.field),
            shown(value(&self.first)),
            shown(value(&self.second))
        )
    }
}

/// How the line begins by which a recipe that this program wrote is known.
const SIGNATURE: &str = "# Written by inductive ";

/// Whether this text, with or without errors, is a recipe that this program wrote ([`Recipe::to_toml`]).
pub(crate) fn is_ours(text: &str) -> bool {
    text.lines().take_while(|line| line.starts_with('#')).any(|line| line.starts_with(SIGNATURE))
}

/// What is wrong with a TOML text, and where: the lines are TOML's own, their content is the text's and escaped.
pub(super) fn toml_problem(error: &toml::de::Error) -> String {
    let whole = error.to_string();
    // The message comes last, and may quote a key with a line break in it.
    let (place, message) = match whole.trim_end().strip_suffix(error.message().trim_end()) {
        Some(place) => (place, error.message()),
        None => (whole.as_str(), ""),
    };
    let place: String = place.lines().map(|line| format!("{}\n", shown(line))).collect();
    format!("{place}{}", shown(in_words(meant(message.trim_end())))).trim_end().to_owned()
}

/// What Rust calls a type, in the words of a recipe.
const IN_WORDS: [(&str, &str); 11] = [
    ("struct EmaDecay", "a table as { decay = 0.9999 }"),
    ("a tuple of size 2", "two numbers, [0.9, 0.999]"),
    ("a boolean", "true or false"),
    ("f64", "a number"),
    ("f32", "a number"),
    ("usize", "a whole number, 0 or more"),
    ("u64", "a whole number, 0 or more"),
    ("u32", "a whole number, 0 or more"),
    ("u16", "a whole number, 0 or more"),
    ("u8", "a whole number, 0 or more"),
    ("struct", "a table"),
];

/// A message of serde's without names of Rust's types.
fn in_words(message: String) -> String {
    let Some((what, expected)) = message.split_once(", expected ") else { return message };
    let is = |rust: &str| expected == rust || rust == "struct" && expected.starts_with("struct ");
    match IN_WORDS.iter().find(|(rust, _)| is(rust)) {
        Some((_, words)) => format!("{what}, expected {words}"),
        None => message,
    }
}

/// Serde's "unknown field `x`, expected one of `y`, `z`" with the nearest of them alone, if one is near.
fn meant(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next().filter(|_| message.starts_with("unknown ")).unwrap_or_default();
    match (nearest(unknown, quoted), message.split_once(", expected ")) {
        (Some(near), Some((what, _))) => format!("{what}; did you mean `{near}`?"),
        _ => message.to_owned(),
    }
}

impl Recipe {
    /// Reads a recipe from TOML; `path` is what errors call it.
    ///
    /// # Errors
    /// [`Error::RecipeText`] with line and column if it is no TOML, or a field does not exist or has the wrong type.
    /// Ranges are checked by [`Recipe::validate`].
    pub fn from_toml(text: &str, path: impl AsRef<Path>) -> Result<Self> {
        toml::from_str(text).map_err(|error| Error::RecipeText {
            path: path.as_ref().to_owned(),
            problem: toml_problem(&error),
        })
    }

    /// Reads a recipe from a file.
    ///
    /// # Errors
    /// [`Error::Io`], or as [`Recipe::from_toml`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = inductive_files::read_to_string(path).map_err(Error::io("read the recipe", path))?;
        Self::from_toml(&text, path)
    }

    /// This recipe as TOML under a comment that says what it does; [`Recipe::from_toml`] reads back the same recipe.
    ///
    /// # Errors
    /// [`Error::RecipeText`] if TOML cannot hold a value (an integer above 2^63 - 1).
    pub fn to_toml(&self) -> Result<String> {
        let unwritable = |error: toml::ser::Error| Error::RecipeText {
            path: "recipe.toml".into(),
            problem: error.to_string(),
        };
        let body = toml::to_string(self).map_err(unwritable)?;
        let length = match self.epochs {
            inductive_schedule::Duration::Epochs(epochs) => format!("{epochs} epochs"),
            other => other.to_string(),
        };
        Ok(format!(
            "# {model} on {data} ({subset} of the training images), {length} at batch {batch}, seed {seed}.\n\
             # Run it again: inductive train recipe.toml\n\
             {SIGNATURE}{version}; what it needs and reaches is in env.json and metrics.jsonl.\n\n{body}",
            model = self.model,
            data = shown(&self.data),
            subset = self.subset,
            batch = self.batch_size,
            seed = self.seed,
            version = env!("CARGO_PKG_VERSION"),
        ))
    }

    /// The fields in which this recipe and `other` differ, in alphabetical order; empty if both are the same run.
    ///
    /// # Errors
    /// As [`Recipe::to_toml`].
    pub fn differences(&self, other: &Self) -> Result<Vec<Difference>> {
        let (mut first, mut second) = (self.fields()?, other.fields()?);
        let names: std::collections::BTreeSet<_> = first.keys().chain(second.keys()).cloned().collect();
        let pairs = names.into_iter().map(|field| {
            let (first, second) = (first.remove(&field), second.remove(&field));
            Difference { field, first, second }
        });
        Ok(pairs.filter(|d| d.first != d.second).collect())
    }

    /// Every value as text, those of tables under `table.field`.
    fn fields(&self) -> Result<BTreeMap<String, String>> {
        fn flatten(prefix: &str, table: toml::Table, into: &mut BTreeMap<String, String>) {
            for (key, value) in table {
                match value {
                    toml::Value::Table(inner) => flatten(&format!("{prefix}{key}."), inner, into),
                    value => drop(into.insert(format!("{prefix}{key}"), value.to_string())),
                }
            }
        }
        let table = toml::from_str::<toml::Table>(&self.to_toml()?)
            .map_err(|error| Error::RecipeText { path: "recipe.toml".into(), problem: error.to_string() })?;
        let mut fields = BTreeMap::new();
        flatten("", table, &mut fields);
        Ok(fields)
    }
}
