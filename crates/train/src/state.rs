//! `state.safetensors`: everything that a resumed run continues from, in one file, so that a kill at any moment leaves
//! a consistent whole.
//!
//! Tensors `model/NAME`, `exp_avg/NAME`, `exp_avg_sq/NAME` and, with an average, `ema/NAME`; metadata `progress`
//! (JSON), `recipe` (TOML), `data` (fingerprint) and `version`. A hook has a text `hook/HOOK` and tensors `hook/HOOK/NAME`; `parts`
//! (JSON) tells what of the run is not its recipe's. Random numbers have no state: they are functions of the
//! seed and the step. Which layers have left convolution is in the model's buffers. For those that the recipe switches it follows from recipe
//! and step, as do the updates of what has an effect only since then; for others, which a hook has switched or which were attention from
//! the start, `switched` (JSON) has the updates before it. A file that says otherwise is refused.

use std::{collections::BTreeMap, path::Path};

use inductive_checkpoint::{LoadOptions, TensorFile, TensorWriter, describe, load_tensors};
use inductive_files::shown;
use inductive_models::Zoo;
use inductive_nn::Operator;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Hook, HookState, Learner, Recipe, Result,
    switching::{Switched, Switching},
};

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Updates made.
    pub step: u64,
    /// Updates made when the newest line of metrics was written.
    pub reported: u64,
    /// Sums since then.
    pub since: Sums,
    /// Seconds since the start of the run.
    pub seconds: f64,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Whether the run has ended.
    pub finished: bool,
}

/// Sums over the updates since a line of metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sums {
    /// Loss times images.
    pub loss: f64,
    /// Images classified rightly.
    pub correct: u64,
    /// Images.
    pub images: u64,
    /// Seconds of training.
    pub seconds: f64,
}

/// The evaluation with the best top-1 accuracy of a run, the first of equals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Updates before it.
    pub step: u64,
    /// Epochs before it.
    pub epoch: f64,
    /// Its accuracy, percent; of the averaged weights where there are any.
    pub top1: f64,
}

/// A state file's words, without its tensors.
pub(crate) struct StateHeader {
    pub position: Position,
    pub recipe: Recipe,
    /// Fingerprint of the data.
    pub data: String,
    /// What of the run is not its recipe's, by its kind.
    pub parts: Parts,
}

/// Parts of a run that are not its recipe's: what kind of part, and what tells it from others.
pub(crate) type Parts = BTreeMap<String, String>;

impl StateHeader {
    /// Reads the header of the state at `path`; `None` if there is no file.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let metadata = describe(path).map_err(|error| damaged(path, error))?.metadata;
        let broken = |problem: String| Error::State { path: path.to_owned(), problem };
        let text = |key: &str| metadata.get(key).ok_or_else(|| broken(format!("it has no `{key}`")));
        let position = serde_json::from_str(text("progress")?)
            .map_err(|error| broken(format!("its `progress` cannot be read: {}", shown(error))))?;
        let recipe = Recipe::from_toml(text("recipe")?, path).map_err(|error| match error {
            Error::RecipeText { problem, .. } => broken(format!("its `recipe` cannot be read: {problem}")),
            other => other,
        })?;
        let parts = metadata.get("parts").map(|parts| serde_json::from_str(parts)).transpose();
        let parts = parts.map_err(|error| broken(format!("its `parts` cannot be read: {}", shown(error))))?;
        Ok(Some(Self { position, recipe, data: text("data")?.clone(), parts: parts.unwrap_or_default() }))
    }

    /// Writes the state; of a learner and its hooks that are not given, only how far they came.
    pub fn write<D: Zoo>(&self, path: &Path, run: Option<(&Learner<D>, &[Box<dyn Hook<D>>])>) -> Result<()> {
        let unwritable =
            |error: serde_json::Error| Error::State { path: path.to_owned(), problem: error.to_string() };
        let mut writer = TensorWriter::new();
        if let Some((learner, hooks)) = run {
            writer.add_model("model/", &*learner.model)?;
            learner.optimizer.for_each_moment(&mut |name, first, second| {
                writer.add(&format!("exp_avg/{name}"), &[first.len()], first)?;
                writer.add(&format!("exp_avg_sq/{name}"), &[second.len()], second)?;
                Ok(())
            })?;
            if let Some(ema) = &learner.ema {
                for (name, values) in ema.values() {
                    writer.add(&format!("ema/{name}"), &[values.len()], &values)?;
                }
            }
            if !learner.switched.is_empty() {
                writer
                    .add_metadata("switched", serde_json::to_string(&learner.switched).map_err(unwritable)?);
            }
            for hook in hooks {
                let state = hook.state()?;
                if state == HookState::default() {
                    continue;
                }
                let key = hook_key(hook.name());
                for (name, values) in &state.tensors {
                    writer.add(&format!("{key}/{name}"), &[values.len()], values)?;
                }
                writer.add_metadata(&key, state.text);
            }
        }
        let progress = serde_json::to_string(&self.position).map_err(unwritable)?;
        writer.add_metadata("format", "inductive-state").add_metadata("version", env!("CARGO_PKG_VERSION"));
        writer.add_metadata("progress", progress).add_metadata("data", &self.data);
        writer.add_metadata("recipe", self.recipe.to_toml()?);
        if !self.parts.is_empty() {
            writer.add_metadata("parts", serde_json::to_string(&self.parts).map_err(unwritable)?);
        }
        Ok(writer.write(path)?)
    }

    /// Gives `learner`, which is new, the weights, averages and step count of the state at `path`. switching: what the recipe
    /// says for its model.
    ///
    /// # Errors
    /// [`Error::State`] if the file is damaged, or has layers switched that neither the recipe has nor `switched` tells of, or the other way round;
    /// the learner is then of no use.
    pub fn restore<D: Zoo>(
        &self,
        path: &Path,
        learner: &mut Learner<D>,
        switching: &Switching,
    ) -> Result<()> {
        self.read_into(path, learner, switching).map_err(|error| match error {
            Error::Checkpoint(error) => damaged(path, error),
            Error::Nn(error @ inductive_nn::Error::Shape { .. }) => {
                Error::State { path: path.to_owned(), problem: shown(error).to_string() }
            }
            error @ Error::Parameters { .. } => {
                Error::State { path: path.to_owned(), problem: error.to_string() }
            }
            Error::Model(error) => Error::State { path: path.to_owned(), problem: shown(error).to_string() },
            other => other,
        })
    }

    fn read_into<D: Zoo>(&self, path: &Path, learner: &mut Learner<D>, switching: &Switching) -> Result<()> {
        let file = TensorFile::open(path)?;
        let switched = self.switched(path, &file)?;
        self.check_operators(path, &file, learner, switching, &switched)?;
        let begins = switching.begins(learner.model(), &switched)?;
        learner.switched = switched;
        let options = LoadOptions::new().resample(false).section("model/");
        load_tensors(&mut *learner.model, &file, &options)?;
        // Before averages are restored: it says which parameters have some.
        learner.see_operators()?;
        let device = learner.device().clone();
        learner.optimizer.restore(&device, self.position.step, &begins, &mut |name| {
            Ok((file.values(&format!("exp_avg/{name}"))?, file.values(&format!("exp_avg_sq/{name}"))?))
        })?;
        if let Some(ema) = &mut learner.ema {
            ema.restore(&device, |name| Ok(file.values(&format!("ema/{name}"))?))?;
        }
        Ok(())
    }

    /// Gives every hook the state at `path` that it left there.
    ///
    /// # Errors
    /// [`Error::State`] if the file is damaged; those of [`Hook::restore`].
    pub fn restore_hooks<D: Zoo>(
        path: &Path,
        hooks: &mut [Box<dyn Hook<D>>],
        learner: &mut Learner<D>,
    ) -> Result<()> {
        let file = TensorFile::open(path).map_err(|error| damaged(path, error))?;
        for hook in hooks {
            let key = hook_key(hook.name());
            let Some(text) = file.metadata().get(&key) else { continue };
            let prefix = format!("{key}/");
            let names =
                file.entries().filter_map(|entry| entry.name.strip_prefix(&prefix).map(str::to_owned));
            let tensors = names.map(|name| Ok((file.values(&format!("{prefix}{name}"))?, name)));
            let tensors: Result<Vec<(Vec<f32>, String)>, _> = tensors.collect();
            let tensors = tensors.map_err(|error| damaged(path, error))?;
            let tensors = tensors.into_iter().map(|(values, name)| (name, values)).collect();
            hook.restore(HookState { text: text.clone(), tensors }, learner)?;
        }
        Ok(())
    }

    /// What the file says of layers that a hook has switched, or that were attention from the start.
    fn switched(&self, path: &Path, file: &TensorFile) -> Result<Switched> {
        let Some(text) = file.metadata().get("switched") else { return Ok(Switched::default()) };
        let broken = |problem: String| Error::State { path: path.to_owned(), problem };
        let switched: Switched = serde_json::from_str(text)
            .map_err(|error| broken(format!("its `switched` cannot be read: {}", shown(error))))?;
        match switched.iter().find(|(_, at)| **at > self.position.step) {
            None => Ok(switched),
            Some((layer, at)) => Err(broken(format!(
                "its `switched` has layer `{layer}` after update {at}, but the run has made {}",
                self.position.step
            ))),
        }
    }

    /// Refuses codes of operators that are not what recipe and hooks have made them.
    fn check_operators<D: Zoo>(
        &self,
        path: &Path,
        file: &TensorFile,
        learner: &Learner<D>,
        switching: &Switching,
        switched: &Switched,
    ) -> Result<()> {
        let layers = learner.model().switchable()?;
        if let Some(unknown) = switched.keys().find(|name| layers.iter().all(|it| it.name != **name)) {
            let problem =
                format!("its `switched` has `{unknown}`, which is no layer that can leave convolution");
            return Err(Error::State { path: path.to_owned(), problem });
        }
        for (layer, it) in layers.iter().enumerate() {
            let name = |part: &str| format!("{part}/{}", it.code);
            let parts = if learner.ema.is_some() { &["model", "ema"][..] } else { &["model"] };
            for part in parts {
                let values: Vec<f32> = file.values(&name(part))?;
                let holds = match values[..] {
                    [code] => Operator::of_code(code.into()).ok(),
                    _ => None,
                };
                let step = self.position.step;
                let problem = match switched.get(&it.name) {
                    Some(at) if holds.is_none_or(|it| it == Operator::Convolution) => {
                        format!("but its `switched` says that it left convolution after {at} updates")
                    }
                    Some(_) => continue,
                    None => {
                        let operator = switching.operator(layer, step);
                        if holds == Some(operator) {
                            continue;
                        }
                        let code = operator.code();
                        format!("but after {step} updates of this recipe it is {code} ({operator})")
                    }
                };
                let holds = match (values.as_slice(), holds) {
                    ([code], Some(operator)) => format!("{code} ({operator})"),
                    ([code], None) => code.to_string(),
                    _ => format!("{} values", values.len()),
                };
                let problem = format!("`{}` holds {holds}, {problem}", name(part));
                return Err(Error::State { path: path.to_owned(), problem });
            }
        }
        Ok(())
    }
}

/// Under which key the state of a hook is saved, and before which names.
fn hook_key(name: &str) -> String {
    format!("hook/{name}")
}

/// What is wrong with the state at `path`, unless the system refused to read it.
fn damaged(path: &Path, error: inductive_checkpoint::Error) -> Error {
    if matches!(error, inductive_checkpoint::Error::Io { .. }) {
        return error.into();
    }
    let problem = error.to_string();
    // The error that it becomes names the file itself.
    let problem =
        problem.strip_prefix(&format!("{}: ", shown(path.display()))).unwrap_or(&problem).to_owned();
    Error::State { path: path.to_owned(), problem }
}
