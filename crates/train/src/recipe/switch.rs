//! When and how the layers of a model leave convolution for attention, as a recipe says it.

use std::fmt::{Debug, Display};

use inductive_models::{Family, ModelSpec, entries, find_switchable};
use inductive_nn::{Gate, Positions, Reparameterization};
use inductive_schedule::{Duration, RunSize, SwitchTimes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    seeds::{Purpose, derive},
};

/// When and how layers leave convolution (PRS, arXiv 2210.01370).
///
/// ```
/// # use inductive_train::Recipe;
/// let recipe = Recipe::from_toml(r#"
///     model = "prs_micro"
///     [switch]
///     times = { late-first = { earliest = "25%", latest = "75%" } }
///     gate = { linear = 1.0 }
/// "#, "recipe.toml")?;
/// assert_eq!(recipe.switch.unwrap().times.to_string(), "late first, 25% to 75%");
/// # Ok::<(), inductive_train::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchRecipe {
    /// When each layer switches. A layer at `T` is a convolution in the first `T` updates; the learning rate does not notice.
    pub times: SwitchTimes,
    /// Where its heads look then. Not set: each at its place in the kernel, so sharply that the function stays.
    #[serde(default)]
    pub positions: Positions,
    /// The gate between position and content. Not set: linear from 1, which is position alone.
    #[serde(default)]
    pub gate: Gate,
}

impl SwitchRecipe {
    /// What the reference of recipes shows: late first, over the middle half of the run.
    pub(super) fn example() -> Self {
        let [earliest, latest] = [25.0, 75.0].map(Duration::Percent);
        Self::new(SwitchTimes::LateFirst { earliest, latest })
    }

    /// At these times, in the way that keeps the function.
    pub fn new(times: SwitchTimes) -> Self {
        Self { times, positions: Positions::default(), gate: Gate::default() }
    }

    /// How a layer is changed in a run with this seed, which decides scattered positions together with their own.
    pub fn how(&self, run_seed: u64) -> Reparameterization {
        let positions = match self.positions {
            Positions::Scattered { std, alpha, seed } => {
                Positions::Scattered { std, alpha, seed: derive(run_seed, Purpose::Switch, seed) }
            }
            ref other => other.clone(),
        };
        Reparameterization { positions, gate: self.gate }
    }

    /// Refuses numbers out of their range, and a model without a layer that can switch. How many it has, and how long the
    /// run is, is not known yet.
    pub(crate) fn validate(&self, model: &ModelSpec) -> Result<()> {
        self.times.check().map_err(|error| self.wrong_times(&error))?;
        let check = |positions: &Positions, gate| {
            let how = Reparameterization { positions: positions.clone(), gate };
            how.check().map_err(|error| match error {
                inductive_nn::Error::Argument { what, .. } => what,
                other => other.to_string(),
            })
        };
        check(&self.positions, Gate::Held).map_err(|why| wrong("switch.positions", &self.positions, why))?;
        check(&Positions::Kept, self.gate).map_err(|why| wrong("switch.gate", &self.gate, why))?;
        // A family from outside is asked once it is built.
        if model.can_switch() || matches!(model.family, Family::Other(_)) {
            return Ok(());
        }
        Err(Self::no_layers(&model.name))
    }

    /// That no layer of this model can do what the table asks.
    pub(crate) fn no_layers(model: &str) -> Error {
        let expected = match find_switchable(model) {
            Ok(same) => format!("`{}`, which is the same with layers that can", same.spec.name),
            Err(_) => {
                let all = entries().into_iter().filter(|it| it.spec.can_switch());
                all.map(|it| it.spec.name).collect::<Vec<_>>().join(", ")
            }
        };
        Error::Recipe {
            field: "model",
            got: format!("{model}, of which no layer can leave convolution as `switch` asks"),
            expected,
        }
    }

    /// The updates before each of so many layers switches, from the first; `None`: never.
    ///
    /// # Errors
    /// [`Error::Recipe`] for times that do not fit the model or the run.
    pub(crate) fn steps(&self, layers: usize, run: RunSize) -> Result<Vec<Option<u64>>> {
        self.times.steps(layers, run).map_err(|error| self.wrong_times(&error))
    }

    fn wrong_times(&self, why: &inductive_schedule::Error) -> Error {
        let why = why.to_string();
        wrong("switch.times", &self.times, why.strip_prefix("switch times: ").unwrap_or(&why))
    }
}

/// That a field of the table has a value out of its range.
fn wrong<T: Serialize + Debug>(field: &'static str, value: &T, why: impl Display) -> Error {
    let got = toml::Value::try_from(value).map_or_else(|_| format!("{value:?}"), |value| value.to_string());
    Error::Recipe { field, got, expected: format!("something else: {why}") }
}
