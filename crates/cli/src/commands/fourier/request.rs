//! What `fourier` was asked for, settled: which weights, and where the figures go.

use std::{
    fs,
    path::{Path, PathBuf},
};

use inductive_checkpoint::{LoadOptions, TensorFile, check_writable, load_tensors};
use inductive_models::{BuildOptions, Model, Zoo, build, find};
use inductive_train::{Initial, Recipe};

use crate::{
    args::{Common, Fourier},
    error::{Error, Result},
    hint::Line,
    output::{note, say},
};

/// The head is not measured: any of those that exist will do.
const CLASSES: usize = 10;

/// A request that can be meant; its files can be written.
pub struct Request {
    /// The model's name.
    model: String,
    weights: Weights,
    local_up_to_layer: Option<usize>,
    /// Without the extension.
    out: Option<PathBuf>,
}

enum Weights {
    /// As a run with this seed begins.
    New { seed: u64 },
    /// Those of a file.
    File { path: String, tensors: TensorFile },
}

impl Request {
    pub fn new(args: &Fourier) -> Result<Self> {
        let (model, weights) = if args.what.ends_with(".safetensors") || Path::new(&args.what).is_file() {
            let tensors = TensorFile::open(&args.what)?;
            let said = tensors.metadata().get("model").cloned();
            let Some(model) = args.model.clone().or(said) else {
                return Err(Error::Usage(format!(
                    "{} does not say of which model it is: give --model NAME, as `{}` lists them",
                    args.what,
                    Line::new("inspect")
                )));
            };
            (model, Weights::File { path: args.what.clone(), tensors })
        } else if let Some(model) = &args.model {
            return Err(Error::Usage(format!(
                "--model {model}: there is no file {}; --model is for a file that does not say its model",
                args.what
            )));
        } else {
            (args.what.clone(), Weights::New { seed: args.seed })
        };
        find(&model)?.choose_local(args.local_up_to_layer)?;
        let out = args.out.as_deref().map(figures_at);
        Ok(Self { model, weights, local_up_to_layer: args.local_up_to_layer, out })
    }

    /// Makes the folder for the figures, which can be written then: before the images are gone through, which takes its time,
    /// and after all else that can be refused.
    pub fn make_room(&self) -> Result<()> {
        // Only one that was asked for as such: `FOLDER/NAME.svg` needs its folder.
        if let Some(folder) =
            self.out.as_deref().filter(|it| it.ends_with(IN_A_FOLDER)).and_then(Path::parent)
        {
            fs::create_dir_all(folder).map_err(|error| {
                let action = "make the folder for the figures";
                inductive_checkpoint::Error::Io { action, path: folder.to_owned(), error }
            })?;
        }
        self.paths().iter().try_for_each(check_writable)?;
        Ok(())
    }

    /// What is measured.
    pub fn title(&self) -> String {
        match &self.weights {
            Weights::New { seed } => format!("{}, new weights (seed {seed})", self.model),
            Weights::File { path, .. } => format!("{}, {path}", self.model),
        }
    }

    pub fn model<D: Zoo>(&self, device: &D) -> Result<Box<dyn Model<f32, D>>> {
        match &self.weights {
            Weights::New { seed } => {
                let recipe = Recipe {
                    model: self.model.clone(),
                    local_up_to_layer: self.local_up_to_layer,
                    seed: *seed,
                    ..Recipe::default()
                };
                let initial = Initial::new(&recipe, CLASSES, &|_| ())?;
                initial.warnings.iter().for_each(|warning| note(&format!("warning: {warning}")));
                Ok(initial.on(device, &recipe)?)
            }
            Weights::File { tensors, .. } => {
                let options = BuildOptions {
                    classes: CLASSES,
                    local_up_to_layer: self.local_up_to_layer,
                    ..BuildOptions::default()
                };
                let mut model = build(device, &self.model, &options)?.model;
                load_tensors(&mut *model, tensors, &LoadOptions::new().replace_head())?;
                Ok(model)
            }
        }
    }

    /// Of the figures in their order; none if they are not wanted.
    pub fn paths(&self) -> Vec<PathBuf> {
        let figures = ["svg", "stream.svg", "branch.svg"];
        let path = |out: &PathBuf, figure: &str| PathBuf::from(format!("{}.{figure}", out.display()));
        self.out.iter().flat_map(|out| figures.map(|figure| path(out, figure))).collect()
    }

    /// What to do next. args: those that were given.
    pub fn next(&self, args: &Fourier, common: &Common) -> Result<()> {
        let Self { model, local_up_to_layer, .. } = self;
        let fourier = |what: &str| {
            Line::new("fourier")
                .path(what.as_ref())
                .option("data", &args.data)
                .set("images", args.images.to_string(), &Fourier::IMAGES.to_string())
                .given("local-up-to-layer", *local_up_to_layer)
                .common(common)
        };
        say(match &self.weights {
            Weights::New { .. } => format!(
                "\nnext: {} with `model = {model:?}` in RECIPE.toml, then\n      {}\n      for what it learned; `fourier` in \
                 RUN/metrics.jsonl has each evaluation in between",
                Line::new("train").word("RECIPE.toml").option("out", "RUN").common(common),
                fourier("RUN/last.safetensors")
            ),
            Weights::File { .. } => {
                format!("\nnext: {}\n      for the same model with new weights, to compare", fourier(model))
            }
        })
    }
}

/// Name of the figures in a folder.
const IN_A_FOLDER: &str = "fourier";

/// Where figures go, without extension: `NAME` of `NAME.svg`, `fourier` in a folder.
fn figures_at(out: &Path) -> PathBuf {
    if out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg")) && !out.is_dir() {
        return out.with_extension("");
    }
    out.join(IN_A_FOLDER)
}
