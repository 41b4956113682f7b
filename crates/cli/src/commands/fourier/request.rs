//! What `fourier` was asked for, settled: which weights, and where the figures go.

use std::{
    fs,
    path::{Path, PathBuf},
};

use inductive_checkpoint::{LoadOptions, TensorFile, check_writable};
use inductive_files::{names_a_file, shown};
use inductive_models::{BuildOptions, Model, Zoo, build, find};
use inductive_report::figure::is_figure;
use inductive_train::{ImageSize, Initial, Recipe, build_options_of, check_weights, load_file};

use crate::{
    args::{Common, Fourier},
    error::{Error, Result, of_weights},
    hint::Line,
    output::{note, say},
};

/// The head is not measured: any of those that exist will do.
const CLASSES: usize = 10;

/// A request that was checked; its files can be written.
pub struct Request {
    /// The model's name.
    model: String,
    weights: Weights,
    options: BuildOptions,
    /// Without the extension.
    out: Option<PathBuf>,
    /// Whether the first figure was named, and not only its folder: an earlier file of this name is meant to be replaced.
    names_first: bool,
}

enum Weights {
    /// As a run with this seed begins.
    New { seed: u64 },
    /// Those of a file.
    File { path: String, tensors: TensorFile },
}

impl Request {
    pub fn new(args: &Fourier) -> Result<Self> {
        let (model, weights) = if args.what.ends_with(".safetensors") || names_a_file(&args.what) {
            let tensors = TensorFile::open(&args.what)?;
            let said = tensors.metadata().get("model").cloned();
            let Some(model) = args.model.clone().or(said) else {
                return Err(Error::Usage(format!(
                    "{} does not say of which model it is: give --model NAME, as `{}` lists them",
                    shown(&args.what),
                    Line::new("inspect")
                )));
            };
            (model, Weights::File { path: args.what.clone(), tensors })
        } else if let Some(model) = &args.model {
            return Err(Error::Usage(format!(
                "--model {model}: there is no file {}; --model is for a file that does not say its model",
                shown(&args.what)
            )));
        } else {
            (args.what.clone(), Weights::New { seed: args.seed })
        };
        let said = match &weights {
            Weights::New { .. } => BuildOptions::default(),
            Weights::File { tensors, .. } => build_options_of(tensors.metadata(), &model),
        };
        let options = BuildOptions {
            classes: CLASSES,
            image: args.image_size.map(Into::into).or(said.image),
            depth: args.depth.or(said.depth),
            local_up_to_layer: args.local_up_to_layer.or(said.local_up_to_layer),
            ..said
        };
        find(&model)?.choose(&options)?;
        let out = args.out.as_deref().map(figures_at);
        let names_first = args.out.as_deref().is_some_and(is_svg);
        Ok(Self { model, weights, options, out, names_first })
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
        let paths = self.paths();
        paths.iter().try_for_each(check_writable)?;
        paths.iter().skip(usize::from(self.names_first)).try_for_each(|path| refuse_foreign(path))
    }

    /// What is measured.
    pub fn title(&self) -> String {
        match &self.weights {
            Weights::New { seed } => format!("{}, new weights (seed {seed})", self.model),
            Weights::File { path, .. } => format!("{}, {}", self.model, shown(path)),
        }
    }

    pub fn model<D: Zoo>(&self, device: &D) -> Result<Box<dyn Model<f32, D>>> {
        match &self.weights {
            Weights::New { seed } => {
                let recipe = Recipe {
                    model: self.model.clone(),
                    image_size: self.options.image.map(Into::into),
                    depth: self.options.depth,
                    local_up_to_layer: self.options.local_up_to_layer,
                    seed: *seed,
                    ..Recipe::default()
                };
                let initial = Initial::new(&recipe, CLASSES, &|_| ())?;
                initial.warnings.iter().for_each(|warning| note(&format!("warning: {warning}")));
                Ok(initial.on(device, &recipe)?)
            }
            Weights::File { path, tensors } => {
                let mut model = build(device, &self.model, &self.options)?.model;
                load_file(&mut *model, tensors, LoadOptions::new().replace_head())?;
                check_weights(&*model).map_err(of_weights(path))?;
                Ok(model)
            }
        }
    }

    /// Of the figures in their order; none if they are not wanted.
    pub fn paths(&self) -> Vec<PathBuf> {
        let figures = ["svg", "stream.svg", "branch.svg"];
        let path = |out: &PathBuf, figure: &str| {
            let mut name = out.clone().into_os_string();
            name.push(format!(".{figure}"));
            PathBuf::from(name)
        };
        self.out.iter().flat_map(|out| figures.map(|figure| path(out, figure))).collect()
    }

    /// What to do next. args: those that were given; usual_images: of a synthetic set, as it is without a recipe.
    pub fn next(&self, args: &Fourier, usual_images: bool, common: &Common) -> Result<()> {
        let Self { model, options, .. } = self;
        // What the model has by itself needs no words.
        let usual = find(model)?.spec;
        let size = options.image.filter(|size| *size != usual.image).map(ImageSize::from);
        let depth = options.depth.filter(|depth| *depth != usual.depth);
        let local = options.local_up_to_layer.filter(|local| Some(*local) != usual.local_up_to_layer());
        let fourier = |what: &str| {
            Line::new("fourier")
                .path(what.as_ref())
                .given("data", args.data.as_ref())
                .set("images", args.images.to_string(), &Fourier::IMAGES.to_string())
                .given("image-size", size)
                .given("depth", depth)
                .given("local-up-to-layer", local)
                .common(common)
        };
        say(match &self.weights {
            Weights::New { .. } => format!(
                "\nnext: {} with `model = {model:?}` in RECIPE.toml, then\n      {}\n      for what it learned; `fourier` in \
                 RUN/metrics.jsonl has each evaluation in between",
                Line::new("train").word("RECIPE.toml").option("out", "RUN").common(common),
                fourier("RUN")
            ),
            Weights::File { .. } => {
                let images = if usual_images { "" } else { " on the set's usual images, not the run's" };
                let what = "for the same model with new weights, to compare";
                format!("\nnext: {}\n      {what}{images}", fourier(model))
            }
        })
    }
}

/// Name of the figures in a folder.
const IN_A_FOLDER: &str = "fourier";

/// Where figures go, without extension: `NAME` of `NAME.svg`, `fourier` in a folder.
fn figures_at(out: &Path) -> PathBuf {
    if is_svg(out) { out.with_extension("") } else { out.join(IN_A_FOLDER) }
}

/// Whether this names a figure, and no folder.
fn is_svg(out: &Path) -> bool {
    out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg")) && !out.is_dir()
}

/// Refuses to put a figure that nobody has named in the place of what is none of ours.
fn refuse_foreign(path: &Path) -> Result<()> {
    match inductive_files::read(path) {
        Ok(bytes) if !is_figure(&bytes) => Err(Error::Failure(format!(
            "{}: this is no figure that this program has drawn, and one would overwrite it; move it away, or give another --out",
            shown(path.display())
        ))),
        // It is not there; what cannot be read was refused before.
        _ => Ok(()),
    }
}
