//! The emulated device as a toolkit: a folder below cargo's target folder with compilers that make libraries of the host, and libraries
//! that run them. Programs are built against it as against a real one, so what is tested is what runs on a GPU, but for the kernels'
//! machine code.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    COMPILE,
    error::{Error, Result},
    files::{executable, write},
    toolkit,
};

/// A library of the toolkit: what it is called, and the sources of its stand-in.
const LIBRARIES: [(&str, &[&str]); 4] = [
    ("libcuda.so", &["driver.cpp", "machine.cpp"]),
    ("libcublas.so", &["blas.cpp"]),
    // cudarc links it and calls nothing of it.
    ("libcublasLt.so", &[]),
    ("libnvrtc.so", &["nvrtc.cpp"]),
];

/// The stand-in for the toolkit.
pub struct Emulated {
    pub home: PathBuf,
}

impl Emulated {
    /// Makes what is not there yet or older than its sources.
    pub fn set_up(workspace: &Path) -> Result<Self> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
        let emulated = Self {
            home: std::path::absolute(target.join("emulated-cuda"))
                .map_err(|error| Error::file(workspace, error))?,
        };
        for folder in ["bin", "include", "kernels", "lib64"] {
            let folder = emulated.home.join(folder);
            fs::create_dir_all(&folder).map_err(|error| Error::file(&folder, error))?;
        }
        let emulator = workspace.join("xtask/emulator");
        for (name, sources) in LIBRARIES {
            emulated.library(&emulator, name, sources)?;
        }
        let header = emulator.join("cuda_fp16.h");
        let fp16 = fs::read_to_string(&header).map_err(|error| Error::file(&header, error))?;
        write(&emulated.home.join("include/cuda.h"), "// build scripts look whether this is here\n")?;
        write(&emulated.home.join("include/cuda_fp16.h"), &fp16)?;
        let own = toolkit::own_program()?;
        let bin = emulated.home.join("bin");
        executable(&bin.join("nvcc"), &format!("#!/bin/sh\nexec '{}' {COMPILE} \"$@\"\n", own.display()))?;
        executable(&bin.join("nvidia-smi"), "#!/bin/sh\nprintf 'compute_cap\\n9.0\\n'\n")?;
        Ok(emulated)
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
    pub fn environment(&self, command: &mut Command) {
        toolkit::environment(command, &self.home, &[self.home.join("bin")], &[self.home.join("lib64")]);
        command
            .env("EMULATED_HOME", &self.home)
            .env("INDUCTIVE_TEST_DEVICE", "cuda")
            .env_remove("CUDA_COMPUTE_CAP");
    }
}

fn time(path: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(path).and_then(|it| it.modified()).ok()
}
