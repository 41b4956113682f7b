//! A run, from a recipe or from parts: from its start, or from where it was left, to its end.

use std::{path::Path, sync::Arc};

use inductive_checkpoint::LoadReport;
use inductive_data::{Split, Transform};
use inductive_models::{Model, Zoo};
use inductive_nn::ModuleExt;
use inductive_schedule::{Clock, Schedule};

use crate::{
    Environment, Error, Gauge, Hook, Initial, Learner, Outcome, Plan, Probe, Progress, Recipe, Result,
    RunInfo, RunResult, TrainOptions,
    course::Course,
    data::RunData,
    folder::RunFolder,
    hook::{Measures, check_names},
    metrics::{read_metrics, write_metrics},
    outcome::stored_result,
    probe::LookInside,
    state::{Parts, Position, StateHeader},
    switching::Switching,
};

/// Trains `recipe` on `data` (what [`Recipe::load_data`] gives) in `folder`: [`Run::new`], [`Run::data`] and [`Run::train`].
///
/// # Errors
/// [`Error::WrongData`] for data that the recipe does not name; those of [`Run::train`].
pub fn train<D: Zoo>(
    device: &D,
    recipe: &Recipe,
    data: &Split,
    folder: impl AsRef<Path>,
    options: &TrainOptions,
    progress: &mut dyn Progress,
) -> Result<Outcome> {
    if data.train.spec() != recipe.data {
        return Err(Error::WrongData { expected: recipe.data.clone(), got: data.train.spec().to_owned() });
    }
    Run::new(recipe.clone()).data(data.clone()).train(device, folder, options, progress)
}

/// A run that can be started or continued: a recipe, and what is used in place of what it says or beside it.
///
/// Numbers (lengths, batch, optimizer, seed, which files to keep) are always the recipe's.
///
/// ```no_run
/// use dfdx::prelude::Cpu;
/// use inductive_schedule::{Clock, Schedule};
/// use inductive_train::{Recipe, Run, Silent, TrainOptions};
///
/// #[derive(Debug)]
/// struct Triangle;
///
/// impl Schedule for Triangle {
///     fn value(&self, fraction: f64) -> f64 {
///         1e-3 * (1.0 - (2.0 * fraction - 1.0).abs())
///     }
/// }
///
/// let recipe = Recipe { model: "convit_micro".to_owned(), ..Recipe::default() };
/// let run = Run::new(recipe).schedule(Clock::Fraction, Triangle);
/// run.train(&Cpu::default(), "runs/triangle", &TrainOptions::default(), &mut Silent)?;
/// # Ok::<(), inductive_train::Error>(())
/// ```
pub struct Run<D: Zoo> {
    recipe: Recipe,
    model: Option<Box<dyn Model<f32, D>>>,
    data: Option<Split>,
    transforms: Option<Vec<Arc<dyn Transform>>>,
    schedule: Option<(Clock, Arc<dyn Schedule + Send + Sync>)>,
    hooks: Vec<Box<dyn Hook<D>>>,
    measures: Vec<Box<dyn Gauge<D>>>,
}

impl<D: Zoo> Run<D> {
    /// The run of `recipe`.
    pub fn new(recipe: Recipe) -> Self {
        let (model, data, transforms, schedule) = (None, None, None, None);
        Self { recipe, model, data, transforms, schedule, hooks: Vec::new(), measures: Vec::new() }
    }

    /// A model in place of the one that the recipe names. Its weights are what the run begins with, but for what `init`, `filters`
    /// and `weights` of the recipe ask for. A run that goes on needs a model of the same parameters.
    pub fn model(mut self, model: Box<dyn Model<f32, D>>) -> Self {
        self.recipe = Recipe {
            model: model.spec().name.clone(),
            image_size: None,
            depth: None,
            local_up_to_layer: None,
            ..self.recipe
        };
        self.model = Some(model);
        self
    }

    /// Data that are loaded already, in place of those that the recipe names.
    pub fn data(mut self, split: Split) -> Self {
        if split.train.spec() != self.recipe.data {
            self.recipe = self.recipe.on_data(split.train.spec().to_owned());
        }
        self.data = Some(split);
        self
    }

    /// Random changes of the training images, in this order, in place of the recipe's `augment`. The normalisation that follows is the
    /// data's.
    pub fn transforms(self, transforms: impl IntoIterator<Item = Arc<dyn Transform>>) -> Self {
        Self { transforms: Some(transforms.into_iter().collect()), ..self }
    }

    /// A learning rate in place of the recipe's `lr`, `warmup_*`, `min_lr` and `clock`; its time is what `clock` shows.
    pub fn schedule(self, clock: Clock, schedule: impl Schedule + Send + Sync + 'static) -> Self {
        Self { schedule: Some((clock, Arc::new(schedule))), ..self }
    }

    /// And this hook, after those there are.
    pub fn hook(mut self, hook: impl Hook<D> + 'static) -> Self {
        self.hooks.push(Box::new(hook));
        self
    }

    /// And this measure, after those there are; hooks see what measures gave.
    pub fn measure(mut self, measure: impl Gauge<D> + 'static) -> Self {
        self.measures.push(Box::new(measure));
        self
    }

    /// What of the run is not its recipe's.
    fn parts(&self) -> Parts {
        let names = |names: Vec<&str>| (!names.is_empty()).then(|| names.join(", "));
        let parts = [
            ("model", self.model.as_ref().map(|model| model.spec().name.clone())),
            ("transforms", self.transforms.as_ref().map(|transforms| format!("{transforms:?}"))),
            ("schedule", self.schedule.as_ref().map(|(clock, it)| format!("{it:?} by {clock:?}"))),
            ("hooks", names(self.hooks.iter().map(|hook| hook.name()).collect())),
            ("measures", names(self.measures.iter().map(|measure| measure.name()).collect())),
        ];
        parts.into_iter().filter_map(|(kind, part)| Some((kind.to_owned(), part?))).collect()
    }

    /// Trains in `folder`, from where an earlier call was stopped or killed, if there was one. The result does not depend on such
    /// interruptions, nor on the number of threads.
    ///
    /// A request that is refused leaves no trace in `folder`, which is not even created.
    ///
    /// # Errors
    /// Those of [`Recipe::validate`]; [`Error::Busy`], [`Error::OtherRecipe`], [`Error::OtherData`] and [`Error::State`] for
    /// a folder that cannot be used; [`Error::NotFinite`] if training diverges, which leaves the last good checkpoint;
    /// [`Error::Part`] and whatever hooks and measures return.
    pub fn train(
        self,
        device: &D,
        folder: impl AsRef<Path>,
        options: &TrainOptions,
        progress: &mut dyn Progress,
    ) -> Result<Outcome> {
        let parts = self.parts();
        check_names("hooks", BUILT_IN.into_iter().chain(self.hooks.iter().map(|hook| hook.name())))?;
        check_names("measures", self.measures.iter().map(|measure| measure.name()))?;
        let spec = match &self.model {
            Some(model) => model.spec().clone(),
            None => self.recipe.model_spec()?,
        };
        let entry =
            if self.model.is_some() { None } else { Some(inductive_models::find(&self.recipe.model)?) };
        let init = entry.as_ref().and_then(|entry| entry.init());
        let recipe = self.recipe.resolve_for(&spec, init, self.data.is_some())?;
        // Until everything that can be refused has been made, the folder is only looked at.
        let (begun, result) = look(&RunFolder::look(folder.as_ref()), &recipe, &parts)?;
        if let Some(result) = result {
            return Ok(Outcome::Finished(result));
        }
        let split = match self.data {
            Some(split) => split,
            None => recipe.load_data_for(&spec)?,
        };
        let data = RunData::new(&recipe, &spec, &split, self.transforms)?;
        let fingerprint = data.fingerprint();
        let mut plan = Plan::new(&recipe, data.train.batches_per_epoch() as u64)?;
        if let Some((clock, schedule)) = self.schedule {
            plan = plan.with_schedule(clock, schedule);
        }
        let (mut learner, loaded) = begin(device, &recipe, self.model, data.classes, begun.is_none())?;
        let probe = Probe::new(&**data.test.dataset(), learner.model())?;
        let switching = Switching::new(&recipe, &plan, learner.model())?;
        let folder = RunFolder::open(folder.as_ref())?;
        folder.claim(&recipe)?;
        // Again: another process may have trained here in the meantime.
        let (state, result) = look(&folder, &recipe, &parts)?;
        if let Some(result) = result {
            return Ok(Outcome::Finished(result));
        }
        let going_on = state.is_some();
        let header = match state {
            Some(state) if state.data != fingerprint => {
                return Err(Error::OtherData { folder: folder.path().to_owned() });
            }
            Some(state) => {
                state.restore(&folder.state(), &mut learner, &switching)?;
                state
            }
            // The learner has not read the file of the recipe's weights.
            None if begun.is_some() => {
                let problem = "it has gone while the run was started".to_owned();
                return Err(Error::State { path: folder.state(), problem });
            }
            None => StateHeader {
                position: Position::default(),
                recipe: recipe.clone(),
                data: fingerprint,
                parts,
            },
        };
        // Which layers have switched is known now.
        let switching = Switching::new(&recipe, &plan, learner.model())?;
        let warnings = switching.warnings(&recipe, &plan, &learner)?;
        let switch_times = switching.times(&learner)?;
        let mut hooks: Vec<Box<dyn Hook<D>>> =
            vec![Box::new(switching), Box::new(LookInside(probe)), Box::new(Measures(self.measures))];
        hooks.extend(self.hooks);
        if going_on {
            StateHeader::restore_hooks(&folder.state(), &mut hooks, &mut learner)?;
        }
        let lines = read_metrics(folder.metrics(), header.position.step)?;
        write_metrics(&folder.metrics(), &lines)?;
        Environment::current::<D>().append(&folder.env())?;
        if let Some(report) = &loaded {
            progress.loaded(report);
        }
        learner.warnings().iter().chain(&warnings).for_each(|warning| progress.warning(warning));
        progress.start(&RunInfo {
            recipe: &recipe,
            model: learner.model().spec(),
            num_params: learner.model().num_params(),
            train_images: data.train.dataset().len(),
            test_images: data.test.dataset().len(),
            plan: &plan,
            switch_times: &switch_times,
            step: header.position.step,
            folder: folder.path(),
        });
        let mut course = Course::new(learner, plan, data, folder, header, lines, hooks, options, progress);
        course.go().map_err(|error| match error {
            Error::NotFinite { step, layer, .. } => {
                Error::NotFinite { step, layer, checkpoint: course.newest_weights() }
            }
            other => other,
        })
    }
}

/// A learner for so many classes, with the recipe's model unless one is given. read: whether it begins with the recipe's file of
/// weights, of which the report is returned.
fn begin<D: Zoo>(
    device: &D,
    recipe: &Recipe,
    model: Option<Box<dyn Model<f32, D>>>,
    classes: usize,
    read: bool,
) -> Result<(Learner<D>, Option<LoadReport>)> {
    let Some(model) = model else {
        let initial = Initial::make(recipe, classes, read, &|_| ())?;
        let loaded = initial.loaded.clone();
        return Ok((Learner::begin(device, recipe, initial)?, loaded));
    };
    let spec = model.spec();
    if spec.classes != classes {
        let problem = format!("{} has {} classes, the data have {classes}", spec.name, spec.classes);
        return Err(Error::part("model", problem));
    }
    Learner::of_own(device, recipe, model, read)
}

/// Names of hooks that every run has.
const BUILT_IN: [&str; 3] = ["switching", "inside", "measures"];

/// What is stored in `folder` of the run of `recipe` with these parts: its state, and its result if it has ended.
fn look(
    folder: &RunFolder,
    recipe: &Recipe,
    parts: &Parts,
) -> Result<(Option<StateHeader>, Option<RunResult>)> {
    folder.check(recipe)?;
    let Some(state) = StateHeader::read(&folder.state())? else { return Ok((None, None)) };
    folder.compare(&state.recipe, recipe)?;
    folder.compare_parts(&state.parts, parts)?;
    let result = stored_result(folder, &state.position)?;
    Ok((Some(state), result))
}

impl<D: Zoo> std::fmt::Debug for Run<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("recipe", &self.recipe).field("parts", &self.parts()).finish()
    }
}
