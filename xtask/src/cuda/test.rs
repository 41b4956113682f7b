//! `cargo xtask cuda-test` and `cuda-emulated`: the program on an emulated device, on a machine without GPU and toolkit.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::{Command, ExitCode},
};

use super::{emulated::Emulated, error::Result, toolkit::finish};

const HELP: &str = "cargo xtask cuda-test [WORDS OF cargo test ..] [-- ..]
cargo xtask cuda-emulated CARGO'S COMMAND [WORDS ..] [-- ..]

Builds the tests of operations, of parity with timm, and of training, with CUDA against an emulated device and runs them on it. Needs
g++, and neither a GPU nor a toolkit. With words of `cargo test`, those tests; the second form is for any other command of cargo:

    cargo xtask cuda-test -p inductive-ops layer_norm
    cargo xtask cuda-emulated run -p inductive-cli -- train RECIPE.toml --device cuda

  EMULATED_ORDER=0|1|2    the order in which threads take turns; a result that depends on it lacks a barrier
  EMULATED_REPORT=1|2     what was asked of the device, 2: of each kernel
  EMULATED_TRACE=1        each launch";

/// Which tests run if nothing is asked for.
const TESTS: [&[&str]; 2] = [
    &["-p", "inductive-ops", "-p", "inductive-tests", "--lib", "--test", "parity"],
    &["-p", "inductive-train", "--test", "suite", "devices", "--", "--include-ignored"],
];

/// The kernels of the CPU are not what is tested: quickly compiled.
pub const CONFIG: [&str; 4] = [
    "--config",
    "profile.dev.package.inductive-ops.opt-level=1",
    "--config",
    "profile.dev.package.inductive-ops.codegen-units=16",
];

/// `cargo test` of `words` on the emulated device.
pub fn run(cargo: &OsStr, workspace: &Path, words: &[OsString]) -> Result<ExitCode> {
    let test = |words: &[OsString]| emulated(cargo, workspace, &[&["test".into()], words].concat());
    if !words.is_empty() {
        return test(words);
    }
    for words in TESTS {
        let done = test(&words.iter().map(OsString::from).collect::<Vec<_>>())?;
        if done != ExitCode::SUCCESS {
            return Ok(done);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `cargo WORDS` with CUDA, on the emulated device.
pub fn emulated(cargo: &OsStr, workspace: &Path, words: &[OsString]) -> Result<ExitCode> {
    let own = words.iter().take_while(|word| *word != "--");
    let Some((command, rest)) =
        words.split_first().filter(|_| own.clone().all(|it| it != "--help" && it != "-h"))
    else {
        println!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    };
    let toolkit = Emulated::set_up(workspace)?;
    let mut started = Command::new(cargo);
    started.arg(command).args(CONFIG).args(["--features", "cuda", "--manifest-path"]);
    started.arg(workspace.join("Cargo.toml")).args(rest);
    toolkit.environment(&mut started);
    finish(&mut started)
}
