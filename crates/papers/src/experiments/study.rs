//! An experiment as it was asked for: what will run, and where.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Cell, CellResult, Error, Experiment, Registry, Request, Result, context::Context, make};
use crate::Report;

/// A request, resolved: what will run and where.
#[derive(Clone)]
pub struct Study {
    /// What was asked for.
    pub request: Request,
    /// The experiment.
    pub experiment: Arc<Experiment>,
    /// All runs, in order.
    pub cells: Vec<Cell>,
    /// The study's folder: `<runs>/<paper>-<preset>-<data>` for a paper's main experiment, `<runs>/<paper>-<name>-<preset>-<data>`
    /// for the others; `<runs>/<paper>-<name>` where nothing is trained.
    pub folder: PathBuf,
    registry: Arc<Registry>,
}

impl Study {
    /// Finds the experiment among those of the program, or reads it from its file, and lists its runs.
    ///
    /// # Errors
    /// A paper or experiment that does not exist; a file with a mistake; data that do not parse.
    pub fn new(request: Request) -> Result<Self> {
        Registry::shared()?.study(request)
    }

    fn of(
        registry: Arc<Registry>,
        experiment: Arc<Experiment>,
        request: Request,
        in_short: bool,
    ) -> Result<Self> {
        let spec: inductive_data::DataSpec = request.data.parse().map_err(inductive_train::Error::from)?;
        let kind = spec.to_string();
        let kind = kind.split(':').next().unwrap_or("data");
        let cells = if experiment.arms.is_empty() { Vec::new() } else { experiment.cells(&request)? };
        let Experiment { paper, name, .. } = &*experiment;
        let folder = match cells.is_empty() {
            true => format!("{paper}-{name}"),
            false if in_short => format!("{paper}-{}-{kind}", request.preset),
            false => format!("{paper}-{name}-{}-{kind}", request.preset),
        };
        let folder = request.runs.join(folder);
        let study = Self { request, experiment, cells, folder, registry };
        // Mistakes are told before hours of runs: without results nothing is measured, but everything is read.
        study.measured(&[])?;
        for part in &study.experiment.compute {
            study.registry.part_named(part).map_err(|problem| study.wrong(problem))?;
        }
        Ok(study)
    }

    fn wrong(&self, problem: String) -> Error {
        Error::experiment(&self.experiment.file, problem)
    }

    /// What the results of the runs say: tables, figures, verdicts.
    ///
    /// # Errors
    /// [`Error::Experiment`] for what the experiment names and is not there.
    pub fn measured(&self, results: &[CellResult]) -> Result<Report> {
        let recipe = self.cells.first().map(|cell| &cell.recipe);
        Context::new(&self.registry, &self.experiment, &self.request, recipe, results)
            .and_then(|context| make::report(&context))
            .map_err(|problem| self.wrong(problem))
    }

    /// Adds what is computed without a run; nothing for an experiment without such a part.
    ///
    /// # Errors
    /// Initial weights that cannot be computed, a model that cannot be built.
    pub fn compute(&self, report: &mut Report) -> Result<()> {
        for part in &self.experiment.compute {
            let part = self.registry.part_named(part).map_err(|problem| self.wrong(problem))?;
            part(report, &self.request)?;
        }
        Ok(())
    }

    /// The folder of a cell.
    pub fn cell_folder(&self, cell: &Cell) -> PathBuf {
        self.folder.join(format!("{}-s{}", cell.name, cell.seed))
    }
}

impl Registry {
    /// As [`Study::new`], among the experiments and with the measures of this registry.
    ///
    /// # Errors
    /// As [`Study::new`].
    pub fn study(self: Arc<Self>, request: Request) -> Result<Study> {
        if !request.paper.ends_with(".toml") {
            let experiment = self.experiment(&request.paper, request.table.as_deref())?;
            let in_short = self.experiment(&experiment.paper, None)?.name == experiment.name;
            return Study::of(self, experiment, request, in_short);
        }
        if request.table.is_some() {
            return Err(Error::Request("a file is one experiment; leave --table out".to_owned()));
        }
        let experiment = Arc::new(Experiment::read(Path::new(&request.paper))?);
        Study::of(self, experiment, request, false)
    }
}
