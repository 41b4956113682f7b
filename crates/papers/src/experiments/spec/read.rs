//! Reading experiments from files.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::{Base, Experiment, Scale};
use crate::experiments::{Error, Result};

impl Experiment {
    /// Reads an experiment. `file` is its name in messages.
    ///
    /// # Errors
    /// [`Error::Experiment`] for what is no TOML, for a field that does not exist or is missing, with file and line; for a name that
    /// cannot be a file's, stands twice or stands for nothing; and for a `base`, which only a file can have.
    pub fn from_toml(text: &str, file: &str) -> Result<Self> {
        Self::with_base(text, file, &|base| {
            Err(Error::experiment(
                file,
                format!("base = {base:?}: a text that is no file has none; give what it says in place"),
            ))
        })
    }

    /// Reads an experiment from a file, and the file that it names as its `base` from beside it.
    ///
    /// # Errors
    /// [`Error::Experiment`] as [`Experiment::from_toml`], and for a file that cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let name = |path: &Path| inductive_files::shown(path.display()).to_string();
        let text = |path: &Path| {
            inductive_files::read_to_string(path).map_err(|error| {
                Error::experiment(&name(path), format!("cannot be read: {error}; check the path"))
            })
        };
        let beside = |base: &str| {
            let path = path.with_file_name(base);
            Ok((text(&path)?, name(&path)))
        };
        Self::with_base(&text(path)?, &name(path), &beside)
    }

    /// Reads an experiment; `base` gives text and name of what it shares with others.
    pub(crate) fn with_base(
        text: &str,
        file: &str,
        base: &dyn Fn(&str) -> Result<(String, String)>,
    ) -> Result<Self> {
        let mut experiment: Self = parse(text, file)?;
        experiment.file = file.to_owned();
        let mut next = experiment.base.take();
        for _ in 0..MAX_BASES {
            let Some(name) = next else {
                experiment.check().map_err(|problem| Error::experiment(&experiment.file, problem))?;
                return Ok(experiment);
            };
            let (text, file) = base(&name)?;
            let shared: Base = parse(&text, &file)?;
            next = shared.base.clone();
            experiment.add(shared);
        }
        Err(Error::experiment(
            file,
            format!("base: more than {MAX_BASES} files, each with a base; is one its own?"),
        ))
    }

    /// What the experiment does not say itself.
    fn add(&mut self, base: Base) {
        let Base {
            base: _,
            share,
            statement,
            ran,
            differs,
            arms,
            tables,
            figures,
            claims,
            text,
            recipe,
            preset,
            rows,
        } = base;
        self.share = self.share.or(share);
        self.statement = self.statement.take().or(statement);
        self.ran.extend(ran);
        self.differs.extend(differs);
        self.arms.extend(arms);
        self.tables.extend(tables);
        self.figures.extend(figures);
        self.claims.extend(claims);
        for (name, piece) in text {
            self.text.entry(name).or_insert(piece);
        }
        for (name, some) in rows {
            self.rows.entry(name).or_insert(some);
        }
        self.recipe = merged(&recipe, &self.recipe);
        for (name, scale) in preset {
            let own = self.preset.entry(name).or_default();
            *own = Scale {
                seeds: own.seeds.or(scale.seeds),
                fractions: own.fractions.take().or(scale.fractions),
                arms: own.arms.take().or(scale.arms),
                recipe: merged(&scale.recipe, &own.recipe),
            };
        }
    }
}

/// The most files that share with one another.
const MAX_BASES: usize = 8;

/// `below` with what `above` says, table by table.
pub(crate) fn merged(below: &toml::Table, above: &toml::Table) -> toml::Table {
    let mut all = below.clone();
    for (key, value) in above {
        let value = match (all.get(key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => {
                toml::Value::Table(merged(below, above))
            }
            _ => value.clone(),
        };
        all.insert(key.clone(), value);
    }
    all
}

/// TOML as `T`; what is wrong with file and line.
fn parse<T: DeserializeOwned>(text: &str, file: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let place = line.map_or(String::new(), |line| format!("line {line}: "));
        Error::experiment(file, format!("{place}{}", error.message()))
    })
}
