//! `inductive train`: one run from a recipe.

use inductive_files::shown;
use inductive_models::{Zoo, find};
use inductive_train::{Error as Wrong, Outcome, Recipe, TrainOptions};

use crate::{
    args::Train,
    commands::{Done, Settings, eval::weights_in},
    error::{Error, Result},
    hint::Line,
    output::{note, say, say_result},
    progress::RunView,
    stop,
};

/// Refuses what is no recipe and no folder for what was probably meant.
fn check_paths(settings: &Settings, args: &Train) -> Result<()> {
    if args.out.is_file() {
        let out = shown(args.out.display());
        return Err(Error::Usage(format!("--out {out}: this is a file; give a folder for the run")));
    }
    if args.recipe.is_dir() {
        let (folder, recipe) = (shown(args.recipe.display()), args.recipe.join("recipe.toml"));
        let again = Line::new("train").path(&recipe).option("out", &args.recipe).common(&settings.common);
        return Err(Error::Usage(match args.recipe.join("state.safetensors").is_file() {
            true => format!("{folder}: this is the folder of a run; `{again}` goes on with it"),
            false => format!("{folder}: this is a folder; give a recipe, a .toml file"),
        }));
    }
    let model = args.recipe.to_str().filter(|name| find(name).is_ok() && !args.recipe.exists());
    match model {
        Some(model) => {
            let print = Line::new("recipe").word(model);
            let problem =
                format!("train {model}: give a recipe; `{print} > {model}.toml` writes the model's own");
            Err(Error::Usage(problem))
        }
        None => Ok(()),
    }
}

pub fn run<D: Zoo>(device: &D, settings: &Settings, args: Train) -> Result<Done> {
    let again = Line::new("train")
        .path(&args.recipe)
        .given("data", args.data.as_ref())
        .option("out", &args.out)
        .common(&settings.common);
    check_paths(settings, &args)?;
    let mut recipe = Recipe::read(&args.recipe)?;
    if let Some(data) = args.data {
        recipe = recipe.on_data(data);
    }
    recipe.validate().map_err(|error| match error {
        Wrong::Recipe { .. } => Error::Usage(format!("{}: {error}", shown(args.recipe.display()))),
        other => other.into(),
    })?;
    let data = recipe.load_data()?;
    data.notices.iter().for_each(|notice| note(&format!("note: {notice}")));
    let options = TrainOptions { stop: Some(stop::on_interrupt()?), ..TrainOptions::default() };
    let mut view = RunView::new(settings.plain, String::new());
    let finished_before = inductive_train::finished(&recipe, &args.out)?.is_some();
    let outcome = inductive_train::train(device, &recipe, &data, &args.out, &options, &mut view)?;
    drop(view);
    match outcome {
        Outcome::Finished(result) => {
            if finished_before {
                note(&format!(
                    "note: {} holds this run already, nothing was trained",
                    shown(args.out.display())
                ));
            }
            if let Some(last) = result.metrics.last() {
                say_result(format!(
                    "finished: top-1 {:.2} %, top-5 {:.2} %, loss {:.4} on the test images; best top-1 {:.2} % at epoch {:.1}",
                    last.test_top1, last.test_top5, last.test_loss, result.best.top1, result.best.epoch
                ))?;
            }
            if let Some(weights) = weights_in(&result.folder) {
                say(format!("weights: {} (timm's names)", shown(weights.display())))?;
                let eval = Line::new("eval").path(&result.folder).common(&settings.common);
                say(format!("next: {eval}"))?;
            }
            Ok(Done::Complete)
        }
        Outcome::Interrupted { step, total_steps, folder } => {
            say(format!(
                "stopped after {step} of {total_steps} updates. The run is kept in {}.",
                shown(folder.display())
            ))?;
            say(format!("To go on: {again}"))?;
            Ok(Done::Interrupted)
        }
        _ => Ok(Done::Complete),
    }
}
