//! A run from its start, or from where it was left, to its end: everything before the first update.

use inductive_nn::ModuleExt;
use std::path::Path;

use inductive_data::Split;
use inductive_models::Zoo;

use crate::{
    Environment, Error, Initial, Learner, Outcome, Plan, Progress, Recipe, Result, RunInfo, RunResult,
    TrainOptions,
    data::RunData,
    folder::RunFolder,
    metrics::{read_metrics, write_metrics},
    outcome::stored_result,
    run::Run,
    state::{Position, StateHeader},
    switching::Switching,
};

/// Trains `recipe` on `data` (what [`Recipe::load_data`] gives) in `folder`, from where an earlier call was stopped or
/// killed, if there was one. The result does not depend on such interruptions, nor on the number of threads.
///
/// A request that is refused leaves no trace in `folder`, which is not even created.
///
/// # Errors
/// Those of [`Recipe::validate`]; [`Error::Busy`], [`Error::OtherRecipe`], [`Error::OtherData`] and [`Error::State`] for
/// a folder that cannot be used; [`Error::NotFinite`] if training diverges, which leaves the last good checkpoint.
pub fn train<D: Zoo>(
    device: &D,
    recipe: &Recipe,
    data: &Split,
    folder: impl AsRef<Path>,
    options: &TrainOptions,
    progress: &mut dyn Progress,
) -> Result<Outcome> {
    let recipe = recipe.resolve()?;
    // Until everything that can be refused has been made, the folder is only looked at.
    let (begun, result) = look(&RunFolder::look(folder.as_ref()), &recipe)?;
    if let Some(result) = result {
        return Ok(Outcome::Finished(result));
    }
    let data = RunData::new(&recipe, data)?;
    let fingerprint = data.fingerprint();
    let plan = Plan::new(&recipe, data.train.batches_per_epoch() as u64)?;
    let initial = match &begun {
        Some(_) => Initial::to_resume(&recipe, data.classes)?,
        None => Initial::new(&recipe, data.classes, &|_| ())?,
    };
    let loaded = initial.loaded.clone();
    let mut learner = Learner::begin(device, &recipe, initial)?;
    let switching = Switching::new(&recipe, &plan, learner.model())?;
    let folder = RunFolder::open(folder.as_ref())?;
    folder.claim(&recipe)?;
    // Again: another process may have trained here in the meantime.
    let (state, result) = look(&folder, &recipe)?;
    if let Some(result) = result {
        return Ok(Outcome::Finished(result));
    }
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
        None => StateHeader { position: Position::default(), recipe: recipe.clone(), data: fingerprint },
    };
    let lines = read_metrics(folder.metrics(), header.position.step)?;
    write_metrics(&folder.metrics(), &lines)?;
    Environment::current::<D>().append(&folder.env())?;
    if let Some(report) = &loaded {
        progress.loaded(report);
    }
    learner.warnings().iter().for_each(|warning| progress.warning(warning));
    if let Some(warning) = switching.warning(&recipe, &plan, learner.model())? {
        progress.warning(&warning);
    }
    progress.start(&RunInfo {
        recipe: &recipe,
        model: learner.model().spec(),
        num_params: learner.model().num_params(),
        train_images: data.train.dataset().len(),
        test_images: data.test.dataset().len(),
        plan: &plan,
        switch_times: switching.times(),
        step: header.position.step,
        folder: folder.path(),
    });
    let mut run = Run::new(learner, plan, data, folder, header, lines, options, progress)?;
    run.go().map_err(|error| match error {
        Error::NotFinite { step, layer, .. } => {
            Error::NotFinite { step, layer, checkpoint: run.newest_weights() }
        }
        other => other,
    })
}

/// What is stored in `folder` of the run of `recipe`: its state, and its result if it has ended.
fn look(folder: &RunFolder, recipe: &Recipe) -> Result<(Option<StateHeader>, Option<RunResult>)> {
    folder.check(recipe)?;
    let Some(state) = StateHeader::read(&folder.state())? else { return Ok((None, None)) };
    folder.compare(&state.recipe, recipe)?;
    let result = stored_result(folder, &state.position)?;
    Ok((Some(state), result))
}
