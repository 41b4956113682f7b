//! The runs of an experiment at a preset: sizes, arms, cells.

use std::collections::BTreeMap;

use inductive_train::{Choice, Recipe, SubsetSpec};

use super::{
    Cell, Error, Preset, Request, Result,
    context::Said,
    percent,
    spec::{Arm, Experiment, Share, merged},
};

/// Sizes of a preset.
pub(crate) struct Size<'a> {
    pub seeds: u64,
    /// Shares of the training images.
    pub fractions: Vec<f64>,
    /// What is run, in this order.
    pub arms: Vec<&'a Arm>,
    /// Of each of them by its name, but for seed, data and subset.
    recipes: BTreeMap<String, Recipe>,
}

impl Size<'_> {
    /// The recipe of the runs of an arm, but for seed, data and subset; `None` for an arm that is not run.
    pub fn recipe(&self, arm: &str) -> Option<&Recipe> {
        self.recipes.get(arm)
    }
}

/// The most runs of a study.
const MAX_RUNS: usize = 100_000;

/// Fields that a study sets itself.
const SET: [&str; 3] = ["seed", "data", "subset"];

/// Images of CIFAR, which may be there in part.
const CIFAR: f64 = 50_000.0;

impl Experiment {
    /// The sizes of a preset.
    pub(crate) fn size(&self, preset: Preset) -> Said<Size<'_>> {
        let scale = self.preset.get(&preset);
        if !self.arms.is_empty() && scale.is_none() {
            return Err(format!("there is no [preset.{preset}]; say there what `--preset {preset}` runs"));
        }
        let arm = |name: &String| {
            self.arms.iter().find(|arm| arm.name == *name).ok_or_else(|| {
                let known: Vec<_> = self.arms.iter().map(|arm| arm.name.as_str()).collect();
                format!("[preset.{preset}] arms: there is no arm `{name}`; there are {}", known.join(", "))
            })
        };
        let arms = match scale.and_then(|scale| scale.arms.as_ref()) {
            Some(names) => names.iter().map(arm).collect::<Said<Vec<_>>>()?,
            None => self.arms.iter().collect(),
        };
        let fractions = scale.and_then(|scale| scale.fractions.clone()).unwrap_or_else(|| vec![1.0]);
        if let Some(wrong) = fractions.iter().find(|fraction| !(**fraction > 0.0 && **fraction <= 1.0)) {
            return Err(format!(
                "[preset.{preset}] fractions: {wrong} is no share of the data; give above 0 and up to 1"
            ));
        }
        let shared = scale.map_or_else(|| self.recipe.clone(), |scale| merged(&self.recipe, &scale.recipe));
        let recipe = |arm: &&'_ Arm| {
            recipe_of(&merged(&shared, &arm.recipe))
                .map(|recipe| (arm.name.clone(), recipe))
                .map_err(|problem| of_arm(&arm.name, &problem))
        };
        let recipes = arms.iter().map(recipe).collect::<Said<_>>()?;
        Ok(Size { seeds: scale.and_then(|scale| scale.seeds).unwrap_or(2), fractions, arms, recipes })
    }

    /// All runs, seed by seed: a study that is stopped early has whole pairs.
    ///
    /// # Errors
    /// [`Error::Experiment`] for a recipe that asks for what is not there; [`Error::Request`] for a number of seeds, or of runs.
    pub(crate) fn cells(&self, request: &Request) -> Result<Vec<Cell>> {
        let wrong = |problem: String| Error::experiment(&self.file, problem);
        let size = self.size(request.preset).map_err(wrong)?;
        let seeds = request.seeds_or(size.seeds)?;
        let runs = size.fractions.len().saturating_mul(size.arms.len()).saturating_mul(seeds as usize);
        if runs > MAX_RUNS {
            return Err(Error::Request(format!(
                "{runs} runs; give fewer seeds, fractions or arms, for at most {MAX_RUNS}"
            )));
        }
        let mut cells: Vec<Cell> = Vec::new();
        for seed in 0..seeds {
            for &fraction in &size.fractions {
                for arm in &size.arms {
                    let recipe = Recipe {
                        seed,
                        data: request.data.clone(),
                        subset: self.subset(&request.data, fraction),
                        ..size.recipe(&arm.name).cloned().unwrap_or_default()
                    };
                    recipe.validate().map_err(|error| match error {
                        // What is wrong with the data is the request's.
                        inductive_train::Error::Data(_) => Error::from(error),
                        error => wrong(of_arm(&arm.name, &error.to_string())),
                    })?;
                    let name = format!("{}-{}", arm.name, percent(fraction).replace('%', "pct"));
                    cells.push(Cell { name, variant: arm.name.clone(), fraction, seed, recipe });
                }
            }
        }
        Ok(cells)
    }

    /// Which images a share of the data are.
    pub(crate) fn subset(&self, data: &str, fraction: f64) -> SubsetSpec {
        let classes = match data.split(':').next() {
            Some("cifar10") => Some(10.0),
            Some("cifar100") => Some(100.0),
            _ => None,
        };
        match classes.filter(|_| self.share == Some(Share::OfWhole)) {
            _ if fraction >= 1.0 => SubsetSpec::All,
            Some(classes) => {
                SubsetSpec::Part { choice: Choice::First, amount: CIFAR * fraction / classes, percent: false }
            }
            None => SubsetSpec::Part { choice: Choice::First, amount: 100.0 * fraction, percent: true },
        }
    }
}

fn of_arm(name: &str, problem: &str) -> String {
    format!("arm `{name}`: recipe: {problem}")
}

fn recipe_of(table: &toml::Table) -> Said<Recipe> {
    if let Some(field) = SET.iter().find(|field| table.contains_key(**field)) {
        return Err(format!(
            "`{field}` is set by the study: `--seeds`, `--data` and `fractions` decide it; leave it out"
        ));
    }
    toml::Value::Table(table.clone()).try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}
