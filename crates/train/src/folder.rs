//! The folder of a run: which files it has, and that only one process writes them.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use inductive_checkpoint::write_atomic;

use crate::{Error, Recipe, Result};

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
        let lock = File::create(&lock_path).map_err(Error::io("create the lock file", lock_path))?;
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

    /// Refuses if a run of another recipe is there.
    pub fn check(&self, recipe: &Recipe) -> Result<()> {
        let path = self.recipe();
        if !path.exists() {
            return Ok(());
        }
        let there = Recipe::read(&path).map_err(|error| match error {
            Error::RecipeText { path, problem } => {
                Error::State { path, problem: format!("it is not a recipe: {problem}") }
            }
            other => other,
        })?;
        self.compare(&there, recipe)
    }

    /// Refuses unless both recipes are the same run.
    pub fn compare(&self, there: &Recipe, here: &Recipe) -> Result<()> {
        let differences: Vec<String> = there.differences(here)?.iter().map(ToString::to_string).collect();
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::OtherRecipe { folder: self.path.clone(), differences: differences.join(", ") })
    }
}
