//! `inductive eval`: accuracy of saved weights.

use std::path::{Path, PathBuf};

use inductive_checkpoint::{LoadOptions, describe};
use inductive_data::{DataSpec, Loader, LoaderConfig, Pipeline};
use inductive_files::shown;
use inductive_models::{Zoo, build, find};
use inductive_train::{Recipe, build_options_of, check_size, load_weights};

use crate::{
    args::Eval,
    commands::Done,
    error::{Error, Result, of_weights},
    hint::Line,
    output::{note, say_result},
};

pub fn run<D: Zoo>(device: &D, args: &Eval) -> Result<Done> {
    if args.batch_size == Some(0) {
        return Err(Error::Usage("--batch-size 0: give at least 1".to_owned()));
    }
    let (recipe, weights) = request(args)?;
    let spec = recipe.model_spec()?;
    let split = recipe.load_data()?;
    split.notices.iter().for_each(|notice| note(&format!("note: {notice}")));
    let test = &split.test;
    check_size(&spec, &**test)?;
    let mut model = build(device, &recipe.model, &recipe.build_options(test.num_classes()))?.model;
    let loading = if args.partial { LoadOptions::new().partial() } else { LoadOptions::new() };
    let report = load_weights(&mut *model, &weights, loading)?;
    note(report.to_string().trim_end());
    let config = LoaderConfig::eval(recipe.batch_size);
    let loader = Loader::new(test.clone(), Pipeline::eval(test.info()), config)?;
    let result = inductive_train::evaluate_finite(device, &*model, &loader).map_err(of_weights(&weights))?;
    say_result(format!(
        "{} on {} ({} test images): top-1 {:.2} %, top-5 {:.2} %, loss {:.4}",
        recipe.model,
        shown(&recipe.data),
        test.len(),
        result.top1,
        result.top5,
        result.loss
    ))?;
    Ok(Done::Complete)
}

/// What is evaluated: a recipe that has the model and its data, and a file.
fn request(args: &Eval) -> Result<(Recipe, PathBuf)> {
    let model = args.what.to_str().filter(|name| find(name).is_ok());
    let (recipe, weights) = match (model, &args.weights) {
        // A run's folder may have a model's name: then the weights tell which of the two is meant.
        (Some(model), Some(weights)) => {
            let Some(data) = args.data.clone() else {
                return Err(Error::Usage(format!("eval {model}: give --data, the images to measure it on")));
            };
            let own = build_options_of(&describe(weights)?.metadata, model);
            let recipe = Recipe {
                model: model.to_owned(),
                image_size: own.image.map(Into::into),
                depth: own.depth,
                local_up_to_layer: own.local_up_to_layer,
                data,
                ..Recipe::default()
            };
            (recipe, weights.clone())
        }
        _ if args.what.is_dir() => of_run(&args.what, args.weights.as_deref(), args.data.as_ref())?,
        (None, None) if args.what.is_file() => return request(&of_file(args)?),
        (Some(model), None) => {
            let problem = "give --weights FILE with the model's name, or the folder of a run in its place";
            return Err(Error::Usage(format!("eval {model}: {problem}")));
        }
        (None, _) => return Err(neither(&args.what)),
    };
    let recipe = Recipe {
        image_size: args.image_size.or(recipe.image_size),
        depth: args.depth.or(recipe.depth),
        local_up_to_layer: args.local_up_to_layer.or(recipe.local_up_to_layer),
        batch_size: args.batch_size.unwrap_or(recipe.batch_size),
        ..recipe
    };
    Ok((recipe, weights))
}

/// The same request, of the model that the file of weights says it is of.
fn of_file(args: &Eval) -> Result<Eval> {
    let is_weights = args.what.extension().is_some_and(|it| it == "safetensors");
    let model = match describe(&args.what) {
        Ok(mut about) => about.metadata.remove("model"),
        Err(error) if is_weights => return Err(error.into()),
        Err(_) => return Err(neither(&args.what)),
    };
    let Some(model) = model else {
        let file = shown(args.what.display());
        return Err(Error::Usage(format!(
            "{file} does not say which model it is of: give a model's name with --weights {file} and --data"
        )));
    };
    find(&model)?;
    Ok(Eval { what: model.into(), weights: Some(args.what.clone()), ..args.clone() })
}

/// The recipe of the run in `folder`, on `data` if they are given, and its weights where no others are given.
pub fn of_run(folder: &Path, weights: Option<&Path>, data: Option<&String>) -> Result<(Recipe, PathBuf)> {
    let path = recipe_of_run(folder)?;
    let weights = match weights {
        Some(given) => given.to_owned(),
        None => weights_of_run(folder)?,
    };
    let mut recipe = Recipe::read(&path)?;
    if let Some(other) = describe(&weights)?.metadata.get("model").filter(|model| **model != recipe.model) {
        return Err(Error::Usage(format!(
            "{} is of `{}`, and the run in {} of `{}`; `{}` measures it by itself",
            shown(weights.display()),
            shown(other),
            shown(folder.display()),
            recipe.model,
            Line::new("eval").path(&weights).option("data", Path::new("DATA"))
        )));
    }
    match data {
        Some(data) => recipe = recipe.on_data(data.clone()),
        None if recipe.data_revision != recipe.data.parse::<DataSpec>()?.source().revision() => {
            let problem = format!("the run was made on another drawing of `{}`", shown(&recipe.data));
            let advice = "give --data; runs of the first versions were made on `synthetic-parity`, then called `synthetic`";
            return Err(Error::Usage(format!("{}: {problem}; {advice}", shown(folder.display()))));
        }
        None => {}
    }
    recipe.validate()?;
    note(&format!("weights: {}", shown(weights.display())));
    Ok((recipe, weights))
}

/// The recipe's file of the run in `folder`, if it is one.
fn recipe_of_run(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("recipe.toml");
    if path.is_file() {
        return Ok(path);
    }
    let folder = shown(folder.display());
    Err(Error::Usage(format!("{folder}: not the folder of a run, there is no recipe.toml in it")))
}

/// The weights of the run in `folder`, if it is one and has kept any.
pub fn weights_of_run(folder: &Path) -> Result<PathBuf> {
    recipe_of_run(folder)?;
    weights_in(folder).ok_or_else(|| {
        let kept = "the run has kept no weights yet, neither last.safetensors nor best.safetensors";
        Error::Failure(format!("{}: {kept}", shown(folder.display())))
    })
}

/// The weights of a run: the newest, else the best.
pub fn weights_in(folder: &Path) -> Option<PathBuf> {
    ["last.safetensors", "best.safetensors"].map(|name| folder.join(name)).into_iter().find(|it| it.is_file())
}

/// Neither a model nor a folder.
fn neither(what: &Path) -> Error {
    if what.exists() {
        let file = shown(what.display());
        return Error::Usage(format!(
            "{file}: give a run's folder, or a model's name with --weights {file} and --data"
        ));
    }
    match what.to_str().map(find) {
        Some(Err(error)) if what.components().count() == 1 => error.into(),
        _ => Error::Usage(format!("{}: there is no such folder of a run", shown(what.display()))),
    }
}
