//! What loading did, or why it refused.

use std::{fmt, path::PathBuf};

use inductive_files::shown;
use safetensors::Dtype;

/// What became of each parameter of the model and each tensor of the file. Its `Display` is for people.
///
/// Every parameter is in exactly one of `applied`, `adapted`, `kept`, `missing`, `wrong_shape` and `wrong_dtype`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LoadReport {
    /// The file.
    pub path: PathBuf,
    /// Number of parameters of the model.
    pub parameters: usize,
    /// Loading was refused and the model is unchanged: `applied` and `adapted` then list what would have fitted.
    pub refused: bool,
    /// The beginning that was taken off the names in the file; names without it are left out. Usually empty.
    pub stripped: String,
    /// Parameters with exactly the file's values, converted to F32.
    pub applied: Vec<String>,
    /// Parameters that were made to fit.
    pub adapted: Vec<Adapted>,
    /// Parameters of the model that the file does not have and need not have
    /// ([`LoadOptions::optional`](crate::LoadOptions::optional)).
    pub kept: Vec<String>,
    /// Parameters of the model that the file does not have.
    pub missing: Vec<Unmatched>,
    /// Tensors of the file that the model does not have.
    pub unused: Vec<Unmatched>,
    /// Parameters with another shape in the file.
    pub wrong_shape: Vec<WrongShape>,
    /// Parameters that are not floating-point numbers in the file.
    pub wrong_dtype: Vec<WrongDtype>,
    /// Tensors of the file that are left out on purpose (`num_batches_tracked`, the classifier of another task, names
    /// beside those that begin with `stripped`).
    pub ignored: Vec<String>,
}

/// A name without its counterpart.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Unmatched {
    /// The name.
    pub name: String,
    /// The most similar of the names without counterpart on the other side.
    pub nearest: Option<String>,
}

/// A parameter with another shape in the file.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WrongShape {
    /// The parameter.
    pub name: String,
    /// The model's shape.
    pub expected: Vec<usize>,
    /// The file's shape.
    pub got: Vec<usize>,
    /// What would make it fit, where that is known.
    pub help: Option<String>,
}

/// A parameter that is not a floating-point number in the file.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WrongDtype {
    /// The parameter.
    pub name: String,
    /// The file's type.
    pub got: Dtype,
}

/// A parameter that was made to fit.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Adapted {
    /// The parameter.
    pub name: String,
    /// How.
    pub how: Adaptation,
}

/// How a parameter was made to fit.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Adaptation {
    /// A position embedding was resampled to another grid (rows, columns).
    Resampled {
        /// The file's grid.
        from: (usize, usize),
        /// The model's grid.
        to: (usize, usize),
        /// Leading positions (the class token's) that were copied.
        prefix: usize,
    },
    /// The classifier keeps the model's own values.
    HeadKept {
        /// The file's shape, if the file has a classifier.
        file: Option<Vec<usize>>,
        /// The model's shape.
        model: Vec<usize>,
    },
}

/// How many names of a kind are printed.
const MAX_LINES: usize = 10;

impl LoadReport {
    /// Whether every parameter found its values and every tensor of the file its place.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
            && self.unused.is_empty()
            && self.wrong_shape.is_empty()
            && self.wrong_dtype.is_empty()
    }

    pub(super) fn refuse(&mut self) {
        self.refused = true;
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = shown(self.path.display());
        let (fit, all) = (self.applied.len() + self.adapted.len(), self.parameters);
        match self.refused {
            true => write!(
                f,
                "{path}: does not fit the model, nothing was loaded ({fit} of {all} parameters fit)"
            )?,
            false => write!(f, "{path}: loaded {fit} of {all} parameters")?,
        }
        if !self.stripped.is_empty() {
            write!(f, "\n  taken from the names that begin with `{}`, without it", short(&self.stripped))?;
        }
        let adapted = if self.refused { "could be adapted" } else { "adapted" };
        section(f, adapted, &self.adapted, |a| format!("{}: {}", short(&a.name), a.how))?;
        if !self.kept.is_empty() {
            let (count, first) = (self.kept.len(), short(&self.kept[0]));
            let more = if count > 1 { ", .." } else { "" };
            write!(
                f,
                "\n  not in the file, and without effect as yet ({count}): {first}{more}; the model's own values kept"
            )?;
        }
        section(f, "missing in the file", &self.missing, unmatched)?;
        section(f, "unused, not in the model", &self.unused, unmatched)?;
        section(f, "wrong shape", &self.wrong_shape, |w| {
            let help = w.help.as_ref().map_or_else(String::new, |h| format!("; {h}"));
            format!("{}: expected {:?}, got {:?}{help}", short(&w.name), w.expected, w.got)
        })?;
        section(f, "wrong type", &self.wrong_dtype, |w| {
            format!("{}: expected {}, got {}", short(&w.name), crate::element::FLOATS, w.got)
        })?;
        section(f, "left out", &self.ignored, |name| short(name))
    }
}

impl fmt::Display for Adaptation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resampled { from, to, prefix } => {
                write!(f, "resampled from {} x {} to {} x {}", from.0, from.1, to.0, to.1)?;
                if *prefix > 0 { write!(f, ", {prefix} leading position(s) copied") } else { Ok(()) }
            }
            Self::HeadKept { file: Some(file), model } => {
                write!(f, "the model's own values kept, {model:?} (the file's: {file:?})")
            }
            Self::HeadKept { file: None, model } => {
                write!(f, "the model's own values kept, {model:?} (none in the file)")
            }
        }
    }
}

fn unmatched(entry: &Unmatched) -> String {
    let name = short(&entry.name);
    entry.nearest.as_ref().map_or(name.clone(), |n| format!("{name} (did you mean {}?)", short(n)))
}

fn section<T>(f: &mut fmt::Formatter<'_>, title: &str, items: &[T], line: fn(&T) -> String) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    write!(f, "\n  {title} ({}):", items.len())?;
    items.iter().take(MAX_LINES).try_for_each(|item| write!(f, "\n    {}", line(item)))?;
    match items.len().saturating_sub(MAX_LINES) {
        0 => Ok(()),
        more => write!(f, "\n    and {more} more"),
    }
}

/// A name from a file, harmless to a terminal and of bounded length.
fn short(name: &str) -> String {
    const MAX: usize = 120;
    match name.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}..", shown(&name[..end])),
        None => shown(name).to_string(),
    }
}
