//! The folder of a run: which files it has, that only one process writes them, and that they are a run's.
//!
//! A folder is a run's own if its `state.safetensors` is the state of a run, or if its `recipe.toml` has the line by which this
//! program signs recipes and each other file that is there holds what a run writes under its name: a recipe may have been copied to
//! somebody's files, and a run may have been killed before its first state. In any other folder a file of one of a run's names is
//! somebody else's: training there is refused with the file's name ([`Error::Foreign`]), and nothing is touched. A recipe without
//! that line, as a person writes it, is somebody else's too. Other names do not matter.

use std::{
    collections::BTreeSet,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use inductive_checkpoint::{Description, describe, write_atomic};
use serde::Deserialize;

use crate::{
    Difference, Error, Metrics, Recipe, Result,
    recipe::is_ours,
    state::{Parts, StateHeader},
};

/// A run's folder.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    /// Locked while it is open; the system unlocks what a killed process held.
    _lock: Option<File>,
}

impl RunFolder {
    /// To read in, whoever may write there: files are replaced as a whole.
    pub fn look(path: &Path) -> Self {
        Self { path: path.to_owned(), _lock: None }
    }

    /// Makes the folder if it is not there, and keeps other processes from training in it until this is dropped.
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io("create the run's folder", path))?;
        let lock_path = path.join(".lock");
        // What a file of this name holds, if it is not ours, stays.
        let lock =
            inductive_files::open_lock(&lock_path).map_err(Error::io("create the lock file", lock_path))?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(Error::Busy { folder: path.to_owned() }),
            // A file system without locks is no reason not to train.
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        let folder = Self { path: path.to_owned(), _lock: Some(lock) };
        folder.remove_temporaries();
        Ok(folder)
    }

    /// Removes what a killed process had begun to write.
    fn remove_temporaries(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(|n| n.starts_with(".inductive-") && n.ends_with(".tmp")) {
                // It only takes space.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The recipe, resolved.
    pub fn recipe(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }

    /// Machine and versions.
    pub fn env(&self) -> PathBuf {
        self.path.join("env.json")
    }

    /// One line per evaluation.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// What the layers did before the first update.
    pub fn start(&self) -> PathBuf {
        self.path.join("start.json")
    }

    /// The newest weights.
    pub fn last(&self) -> PathBuf {
        self.path.join("last.safetensors")
    }

    /// The newest averaged weights.
    pub fn ema(&self) -> PathBuf {
        self.path.join("ema.safetensors")
    }

    /// The weights with the best accuracy.
    pub fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    /// What a resumed run continues from.
    pub fn state(&self) -> PathBuf {
        self.path.join("state.safetensors")
    }

    /// The newest weights that were written, for a user to go on with.
    pub fn newest_weights(&self) -> Option<PathBuf> {
        [self.last(), self.state()].into_iter().find(|path| path.is_file())
    }

    /// Writes the recipe, or refuses if a run of another one is there.
    pub fn claim(&self, recipe: &Recipe) -> Result<()> {
        self.check(recipe)?;
        let path = self.recipe();
        if path.exists() {
            return Ok(());
        }
        Ok(write_atomic(&path, recipe.to_toml()?.as_bytes())?)
    }

    /// Refuses if files are there that no run has written, or a run of another recipe.
    pub fn check(&self, recipe: &Recipe) -> Result<()> {
        let path = self.recipe();
        let text = match inductive_files::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            bytes => Some(bytes.map_err(Error::io("read the recipe", &path))?),
        };
        let text = text.as_deref().map(String::from_utf8_lossy);
        if !StateHeader::read(&self.state()).is_ok_and(|state| state.is_some()) {
            if !text.as_ref().is_some_and(|text| is_ours(text)) {
                return self.check_empty();
            }
            self.check_contents()?;
        }
        let Some(text) = text else { return Ok(()) };
        let there = Recipe::from_toml(&text, &path).map_err(|error| match error {
            Error::RecipeText { path, problem } => {
                Error::State { path, problem: format!("it is not a recipe: {problem}") }
            }
            other => other,
        })?;
        self.compare(&there, recipe)
    }

    /// Refuses if there is anything of a name that a run writes.
    fn check_empty(&self) -> Result<()> {
        let files = [
            self.recipe(),
            self.state(),
            self.last(),
            self.best(),
            self.ema(),
            self.metrics(),
            self.start(),
            self.env(),
        ];
        // Also a link that leads nowhere: somebody has put it there.
        match files.into_iter().find(|file| fs::symlink_metadata(file).is_ok()) {
            Some(path) => Err(Error::Foreign { path }),
            None => Ok(()),
        }
    }

    /// Refuses if a file beside the recipe holds something else than what a run writes there.
    fn check_contents(&self) -> Result<()> {
        let texts: [(PathBuf, fn(&[u8]) -> bool); 3] = [
            (self.metrics(), holds_metrics),
            (self.start(), |bytes| serde_json::from_slice::<Look>(bytes).is_ok()),
            (self.env(), |bytes| serde_json::from_slice::<Vec<Start>>(bytes).is_ok()),
        ];
        for (path, ours) in texts {
            match inductive_files::read(&path) {
                Ok(bytes) if ours(&bytes) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                _ => return Err(Error::Foreign { path }),
            }
        }
        for path in [self.last(), self.best(), self.ema()] {
            let ours = |about: &Description| {
                ["model", "step", "weights"].iter().all(|key| about.metadata.contains_key(*key))
            };
            if fs::symlink_metadata(&path).is_ok() && !describe(&path).is_ok_and(|about| ours(&about)) {
                return Err(Error::Foreign { path });
            }
        }
        Ok(())
    }

    /// Refuses unless both recipes are the same run.
    pub fn compare(&self, there: &Recipe, here: &Recipe) -> Result<()> {
        self.refuse(there.differences(here)?)
    }

    /// Refuses unless both have the same parts beside their recipe.
    pub fn compare_parts(&self, there: &Parts, here: &Parts) -> Result<()> {
        let kinds: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
        let pairs = kinds.into_iter().map(|kind| Difference {
            field: format!("own {kind}"),
            first: there.get(kind).cloned(),
            second: here.get(kind).cloned(),
        });
        self.refuse(pairs.filter(|pair| pair.first != pair.second).collect())
    }

    fn refuse(&self, differences: Vec<Difference>) -> Result<()> {
        let differences: Vec<String> = differences.iter().map(ToString::to_string).collect();
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::OtherRecipe { folder: self.path.clone(), differences: differences.join(", ") })
    }
}

/// What every start in `env.json` has.
#[derive(Deserialize)]
struct Start {
    #[serde(rename = "version")]
    _version: String,
}

/// What `start.json` has of every model.
#[derive(Deserialize)]
struct Look {
    #[serde(rename = "nonlocality")]
    _nonlocality: Vec<serde_json::Value>,
}

/// Whether this is `metrics.jsonl` of a run: no line yet, or one that is metrics.
fn holds_metrics(bytes: &[u8]) -> bool {
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    bytes.is_empty() || serde_json::from_slice::<Metrics>(first).is_ok()
}
