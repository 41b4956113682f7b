//! What is alike for a real toolkit and the emulated one: what a build is told of it, and how cargo is started with it.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use super::error::{Error, Result};

/// Tells `command` of the toolkit at `root`, whose programs are in `bins` and whose libraries the loader finds in `libs`.
pub fn environment(command: &mut Command, root: &Path, bins: &[PathBuf], libs: &[PathBuf]) {
    for name in ["CUDA_PATH", "CUDA_ROOT", "CUDA_TOOLKIT_ROOT_DIR"] {
        command.env(name, root);
    }
    command.env("PATH", before("PATH", bins)).env("LD_LIBRARY_PATH", before("LD_LIBRARY_PATH", libs));
}

/// Folders in front of those that a variable has.
pub fn before(name: &str, folders: &[PathBuf]) -> OsString {
    let old = std::env::var_os(name).unwrap_or_default();
    let all =
        folders.iter().cloned().chain(std::env::split_paths(&old).filter(|it| !it.as_os_str().is_empty()));
    std::env::join_paths(all).unwrap_or_default()
}

/// This program, which scripts in front of compilers start again.
pub fn own_program() -> Result<PathBuf> {
    std::env::current_exe().map_err(|error| Error::Failed(format!("this program's own path: {error}")))
}

pub fn cannot_start(program: &OsStr, error: &std::io::Error) -> Error {
    Error::Failed(format!("cannot start {}: {error}", program.display()))
}

/// Runs `command` to its end.
pub fn finish(command: &mut Command) -> Result<ExitCode> {
    let status = command.status().map_err(|error| cannot_start(command.get_program(), &error))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
