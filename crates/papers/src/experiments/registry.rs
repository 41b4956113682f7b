//! All experiments, and what their files name: measures and computed parts. Others can add to it.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use super::{Error, Experiment, Measures, Request, Result, exact};
use crate::Report;

// `FILES`: names and texts of `crates/papers/experiments`, by `build.rs`.
include!(concat!(env!("OUT_DIR"), "/experiments.rs"));

/// What is computed without a run, and added to a report.
type Part = Arc<dyn Fn(&mut Report, &Request) -> Result<()> + Send + Sync>;

/// Experiments, measures and computed parts by their names.
#[derive(Clone, Default)]
pub struct Registry {
    /// What is read off runs.
    pub measures: Measures,
    parts: BTreeMap<String, Part>,
    experiments: Vec<Arc<Experiment>>,
}

impl Registry {
    /// What comes with the program.
    ///
    /// # Errors
    /// Never for a released program: a test reads the same files.
    pub fn builtin() -> Result<Self> {
        let mut registry = Self { measures: Measures::builtin(), ..Self::default() };
        registry.part("eit", exact::eit::add);
        registry.part("structured-init", exact::structured_init::add);
        registry.part("prs", exact::prs::add);
        let beside = |name: &str| {
            let found = FILES.iter().find(|(file, _)| *file == name);
            let (file, text) =
                found.ok_or_else(|| Error::experiment(name, "there is no such file".to_owned()))?;
            Ok(((*text).to_owned(), (*file).to_owned()))
        };
        for (file, text) in FILES.iter().filter(|(file, _)| !file.ends_with(".base.toml")) {
            registry.add(Experiment::with_base(text, file, &beside)?)?;
        }
        Ok(registry)
    }

    /// [`Registry::builtin`], read once.
    ///
    /// # Errors
    /// As [`Registry::builtin`].
    pub fn shared() -> Result<Arc<Self>> {
        static SHARED: OnceLock<Arc<Registry>> = OnceLock::new();
        if let Some(shared) = SHARED.get() {
            return Ok(Arc::clone(shared));
        }
        let registry = Arc::new(Self::builtin()?);
        Ok(Arc::clone(SHARED.get_or_init(|| registry)))
    }

    /// Adds what is computed without a run, which an experiment names under `compute`; in place of an earlier one.
    pub fn part(
        &mut self,
        name: impl Into<String>,
        part: impl Fn(&mut Report, &Request) -> Result<()> + Send + Sync + 'static,
    ) {
        self.parts.insert(name.into(), Arc::new(part));
    }

    /// The part of this name.
    pub(crate) fn part_named(&self, name: &str) -> Result<&Part, String> {
        self.parts.get(name).ok_or_else(|| {
            let known: Vec<_> = self.parts.keys().map(String::as_str).collect();
            format!("compute: there is no part `{name}`; there are {}", known.join(", "))
        })
    }

    /// Adds an experiment.
    ///
    /// # Errors
    /// [`Error::Experiment`] where there is one of this paper and name.
    pub fn add(&mut self, experiment: Experiment) -> Result<()> {
        let Experiment { paper, name, .. } = &experiment;
        if let Some(other) =
            self.experiments().find(|experiment| experiment.paper == *paper && experiment.name == *name)
        {
            let problem = format!("{} is `{paper}`, `{name}` too; take another `name`", other.file);
            return Err(Error::experiment(&experiment.file, problem));
        }
        self.experiments.push(Arc::new(experiment));
        // The main one of a paper comes first, papers in the order of their names.
        self.experiments.sort_by(|a, b| a.paper.cmp(&b.paper).then(b.main.cmp(&a.main)));
        Ok(())
    }

    /// All experiments, paper by paper, the main one of each first.
    pub fn experiments(&self) -> impl Iterator<Item = &Experiment> {
        self.experiments.iter().map(|experiment| &**experiment)
    }

    /// The papers.
    pub fn papers(&self) -> Vec<String> {
        let mut papers: Vec<String> = self.experiments().map(|experiment| experiment.paper.clone()).collect();
        papers.dedup();
        papers
    }

    /// The experiment of a paper by its name; the main one without a name.
    ///
    /// # Errors
    /// [`Error::Paper`], [`Error::Table`], with the names that there are.
    pub fn experiment(&self, paper: &str, name: Option<&str>) -> Result<Arc<Experiment>> {
        let of_paper: Vec<_> =
            self.experiments.iter().filter(|experiment| experiment.paper == paper).collect();
        let Some(main) = of_paper.first() else {
            return Err(Error::Paper { name: paper.to_owned(), known: self.papers() });
        };
        let Some(name) = name else { return Ok(Arc::clone(main)) };
        let found = of_paper
            .iter()
            .find(|experiment| experiment.name == name)
            .map(|experiment| Arc::clone(experiment));
        found.ok_or_else(|| Error::Table {
            paper: paper.to_owned(),
            table: name.to_owned(),
            known: of_paper.iter().map(|experiment| experiment.name.clone()).collect(),
        })
    }
}
