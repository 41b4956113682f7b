//! `cargo xtask cuda-test` and `cuda-emulated`: the program on an emulated device, on a machine without GPU and toolkit.
//!
//! A folder below cargo's target folder stands in for the toolkit: compilers that make libraries of the host, and libraries that
//! run them. Programs are built against it as against a real one, so what is tested is what runs on a GPU, but for the kernels'
//! machine code.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use super::{
    COMPILE,
    error::{Error, Result},
};

const HELP: &str = "cargo xtask cuda-test [WORDS OF cargo test ..] [-- ..]
cargo xtask cuda-emulated CARGO'S COMMAND [WORDS ..] [-- ..]

Builds the tests of operations, of parity with timm, and of training, with CUDA against an emulated device and runs them on it. Needs
g++, and neither a GPU nor a toolkit. With words of `cargo test`, those tests; the second form is for any other command of cargo:

    cargo xtask cuda-test -p inductive-ops layer_norm
    cargo xtask cuda-emulated run -p inductive-cli -- train RECIPE.toml --device cuda

  EMULATED_ORDER=0|1|2    the order in which threads take turns; a result that depends on it lacks a barrier
  EMULATED_REPORT=1|2     what was asked of the device, 2: of each kernel
  EMULATED_TRACE=1        each launch";

/// A library of the toolkit: what it is called, and the sources of its stand-in.
const LIBRARIES: [(&str, &[&str]); 4] = [
    ("libcuda.so", &["driver.cpp", "machine.cpp"]),
    ("libcublas.so", &["blas.cpp"]),
    // cudarc links it and calls nothing of it.
    ("libcublasLt.so", &[]),
    ("libnvrtc.so", &["nvrtc.cpp"]),
];

/// The stand-in for the toolkit.
struct Toolkit {
    home: PathBuf,
}

impl Toolkit {
    /// Makes what is not there yet or older than its sources.
    fn set_up(workspace: &Path) -> Result<Self> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
        let toolkit = Self {
            home: std::path::absolute(target.join("emulated-cuda"))
                .map_err(|error| Error::file(workspace, error))?,
        };
        for folder in ["bin", "include", "kernels", "lib64"] {
            let folder = toolkit.home.join(folder);
            fs::create_dir_all(&folder).map_err(|error| Error::file(&folder, error))?;
        }
        let emulator = workspace.join("xtask/emulator");
        for (name, sources) in LIBRARIES {
            toolkit.library(&emulator, name, sources)?;
        }
        toolkit.file("include/cuda.h", "// build scripts look whether this is here\n")?;
        toolkit.file("include/cuda_fp16.h", &read(&emulator.join("cuda_fp16.h"))?)?;
        let own = std::env::current_exe()
            .map_err(|error| Error::Failed(format!("this program's own path: {error}")))?;
        toolkit.script("nvcc", &format!("exec '{}' {COMPILE} \"$@\"\n", own.display()))?;
        toolkit.script("nvidia-smi", "printf 'compute_cap\\n9.0\\n'\n")?;
        Ok(toolkit)
    }

    /// Writes a file if it is not what it should be: build scripts look at times.
    fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.home.join(name);
        if fs::read_to_string(&path).ok().as_deref() != Some(text) {
            fs::write(&path, text).map_err(|error| Error::file(&path, error))?;
        }
        Ok(path)
    }

    fn script(&self, name: &str, text: &str) -> Result<()> {
        let path = self.file(&format!("bin/{name}"), &format!("#!/bin/sh\n{text}"))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .map_err(|error| Error::file(&path, error))?;
        }
        Ok(())
    }

    fn library(&self, emulator: &Path, name: &str, sources: &[&str]) -> Result<()> {
        let library = self.home.join("lib64").join(name);
        let newest = ["machine.h", "device.h"]
            .iter()
            .chain(sources)
            .map(|it| time(&emulator.join(it)))
            .max()
            .flatten();
        if time(&library).is_some_and(|own| Some(own) >= newest) {
            return Ok(());
        }
        let mut command = Command::new("g++");
        command
            .args(["-std=c++17", "-O3", "-fPIC", "-shared", "-Wall", "-Wextra", "-x", "c++", "-o"])
            .arg(&library);
        command.args(sources.iter().map(|it| emulator.join(it)));
        if sources.is_empty() {
            command.arg("/dev/null");
        }
        let status = command.status().map_err(|error| {
            Error::Failed(format!("the emulated device needs a C++ compiler, g++: {error}"))
        })?;
        if status.success() { Ok(()) } else { Err(Error::Failed(format!("g++ could not build {name}"))) }
    }

    /// `command` with this in place of a toolkit and a GPU.
    fn environment(&self, command: &mut Command) {
        let before = |name: &str, folder: &str| {
            let mut all = self.home.join(folder).into_os_string();
            if let Some(old) = std::env::var_os(name).filter(|old| !old.is_empty()) {
                all.push(":");
                all.push(old);
            }
            all
        };
        for name in ["CUDA_PATH", "CUDA_ROOT", "CUDA_TOOLKIT_ROOT_DIR"] {
            command.env(name, &self.home);
        }
        command
            .env("PATH", before("PATH", "bin"))
            .env("LD_LIBRARY_PATH", before("LD_LIBRARY_PATH", "lib64"))
            .env("EMULATED_HOME", &self.home)
            .env("INDUCTIVE_TEST_DEVICE", "cuda")
            .env_remove("CUDA_COMPUTE_CAP");
    }
}

fn time(path: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(path).and_then(|it| it.modified()).ok()
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::file(path, error))
}

/// Which tests run if nothing is asked for.
const TESTS: [&[&str]; 2] = [
    &["-p", "inductive-ops", "-p", "inductive-tests", "--lib", "--test", "parity"],
    &["-p", "inductive-train", "--test", "suite", "devices", "--", "--include-ignored"],
];

/// The kernels of the CPU are not what is tested: quickly compiled.
const CONFIG: [&str; 4] = [
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
    let toolkit = Toolkit::set_up(workspace)?;
    let mut started = Command::new(cargo);
    started.arg(command).args(CONFIG).args(["--features", "cuda", "--manifest-path"]);
    started.arg(workspace.join("Cargo.toml")).args(rest);
    toolkit.environment(&mut started);
    let status = started
        .status()
        .map_err(|error| Error::Failed(format!("cannot start {}: {error}", cargo.display())))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
