//! CUDA without a GPU: tests on an emulated device, builds with a toolkit from wheels, and what a machine with a GPU is given.

mod compile;
mod emulated;
mod error;
mod files;
mod pack;
mod test;
mod toolkit;
mod wheels;

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::ExitCode,
};

/// What the stand-in for `nvcc` calls this program with.
const COMPILE: &str = "emulated-nvcc";
/// What stands in front of the toolkit's `nvcc` calls this program with.
const LIMITED: &str = "limited-nvcc";

/// Does what `words` ask for, if that is one of the commands here.
pub fn run(cargo: &OsStr, workspace: &Path, words: &[OsString]) -> Option<ExitCode> {
    let (first, rest) = words.split_first()?;
    let done = match first.to_str()? {
        "cuda-test" => test::run(cargo, workspace, rest),
        "cuda-emulated" => test::emulated(cargo, workspace, rest),
        "cuda-build" => pack::build(cargo, workspace, rest),
        "gpu-pack" => pack::run(cargo, workspace, rest),
        COMPILE => compile::run(rest).map(|()| ExitCode::SUCCESS),
        LIMITED => wheels::limited(rest),
        _ => return None,
    };
    Some(done.unwrap_or_else(|error| {
        eprintln!("error: cargo xtask {}: {error}", first.to_string_lossy());
        ExitCode::from(error.exit_code())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_other_words_are_left_to_the_program() {
        for words in [&["train", "cuda-test"][..], &["--help"], &["cuda"], &[]] {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert!(run("cargo".as_ref(), "/none".as_ref(), &words).is_none(), "{words:?}");
        }
    }
}
