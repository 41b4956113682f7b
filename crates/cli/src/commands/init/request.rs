//! What `init` was asked for, settled: a recipe that begins with these weights, and the files.

use std::path::{Path, PathBuf};

use inductive_checkpoint::{Description, Metadata, check_writable, describe};
use inductive_files::{did_you_mean, names_a_file, shown};
use inductive_init::{Strategy, named_initializer};
use inductive_train::{Init, Recipe};
use serde::Serialize;

use super::show;
use crate::{
    args,
    error::{Error, Result},
};

/// Stands for no strategy: what the model begins with otherwise.
pub const OWN: &str = "own";

/// What a file of such weights says of them.
const INITIAL: &str = "initial";

/// A request that was checked; its files can be written.
pub struct Request {
    /// The run that begins with these weights.
    pub recipe: Recipe,
    pub classes: usize,
    /// Where the weights go.
    pub out: PathBuf,
    /// Where the recipe goes whose run begins with these weights: beside them.
    pub run: PathBuf,
    /// None if they are not wanted.
    pub pictures: Option<Pictures>,
    /// Files that were there before.
    pub replaced: Vec<PathBuf>,
}

/// Where the pictures go: beside the weights.
pub struct Pictures {
    pub attention: PathBuf,
    pub position: PathBuf,
}

/// The lines of a recipe that decide its first weights.
#[derive(Serialize)]
struct Lines<'a> {
    model: &'a str,
    seed: u64,
    data: &'a str,
    init: Option<&'a Init<Strategy>>,
}

impl Request {
    pub fn new(args: args::Init) -> Result<Self> {
        let Some(strategy) = args.strategy else { return Err(Error::Usage(show::no_strategy())) };
        let (Some(model), Some(out)) = (args.model, args.out) else {
            return Err(Error::Usage("init: give a MODEL and --out FILE".to_owned()));
        };
        let recipe = Recipe {
            model,
            seed: args.seed,
            data: args.data,
            init: if strategy == OWN { None } else { Some(strategy_of(&strategy)?) },
            ..Recipe::default()
        };
        recipe.validate()?;
        let stem = match out.extension() {
            Some(extension) if extension == "safetensors" => out.with_extension(""),
            _ => out.clone(),
        };
        let beside = |name: &str| {
            let mut path = stem.clone().into_os_string();
            path.push(format!(".{name}"));
            PathBuf::from(path)
        };
        let pictures = (!args.no_pictures)
            .then(|| Pictures { attention: beside("attention.png"), position: beside("position.png") });
        let run = beside("recipe.toml");
        let request = Self { recipe, classes: args.classes, out, run, pictures, replaced: Vec::new() };
        // Before the weights are solved for, which takes its time.
        for file in request.files() {
            check_writable(file)?;
        }
        request.refuse_foreign()?;
        let replaced = request.files().into_iter().filter(|file| file.exists()).map(Path::to_owned).collect();
        Ok(Self { replaced, ..request })
    }

    /// Pictures and a recipe that are there are ours if the weights are, beside which they would stand: the weights are written
    /// first. The weights themselves are named by the user, and may be any earlier file.
    fn refuse_foreign(&self) -> Result<()> {
        let initial =
            |about: Description| about.metadata.get("weights").is_some_and(|weights| weights == INITIAL);
        if describe(&self.out).is_ok_and(initial) {
            return Ok(());
        }
        match self.files()[1..].iter().find(|file| file.exists()) {
            Some(file) => Err(Error::Failure(format!(
                "{}: `inductive init` has not written this beside {}, and would overwrite it; move it away, or give another \
                 --out{}",
                shown(file.display()),
                shown(self.out.display()),
                if *file == self.run { "" } else { " or --no-pictures" }
            ))),
            None => Ok(()),
        }
    }

    fn files(&self) -> Vec<&Path> {
        let pictures = self.pictures.iter().flat_map(|it| [it.attention.as_path(), it.position.as_path()]);
        [self.out.as_path(), self.run.as_path()].into_iter().chain(pictures).collect()
    }

    /// Steps of all gradient solves; 0 where nothing is solved in steps.
    pub fn solver_steps(&self) -> Result<u64> {
        let spec = self.recipe.model_spec()?;
        let strategy = self.recipe.init.as_ref().and_then(Init::get);
        let impulse = strategy.as_ref().and_then(Strategy::impulse);
        Ok(impulse.map_or(0, |impulse| impulse.steps(spec.depth, spec.heads()) as u64))
    }

    /// A recipe of a run on `data` that begins with these weights.
    pub fn recipe_lines(&self, data: &str) -> Result<String> {
        let Recipe { model, seed, init, .. } = &self.recipe;
        toml::to_string(&Lines { model, seed: *seed, data, init: init.as_ref() }).map_err(|error| {
            Error::Usage(format!("--strategy or --seed: no recipe can hold it: {error}; give another"))
        })
    }

    /// What the file says about itself.
    pub fn metadata(&self) -> Result<Metadata> {
        let entries = [
            ("model", self.recipe.model.clone()),
            ("classes", self.classes.to_string()),
            ("weights", INITIAL.to_owned()),
            ("recipe", self.recipe_lines(&self.recipe.data)?),
        ];
        Ok(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }
}

/// A name, or a file.
fn strategy_of(text: &str) -> Result<Init<Strategy>> {
    if named_initializer(text).is_some() {
        return Ok(text.into());
    }
    if text.ends_with(".toml") || names_a_file(text) {
        return Ok(Init::read(text)?);
    }
    let names: Vec<_> = show::described().map(|(name, _)| name).collect();
    Err(Error::Usage(format!(
        "no strategy `{text}`{}\nGive a .toml file with the parts of one, or a name\n\n{}",
        did_you_mean(text, names.iter().map(String::as_str)),
        show::names()
    )))
}
