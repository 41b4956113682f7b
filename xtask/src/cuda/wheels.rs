//! A CUDA toolkit from PyPI's wheels: what `nvcc` needs on a machine that has neither a toolkit nor a GPU.
//!
//! About 1.1 GB, kept in the user's cache. Beside it two programs that stand in front of the real ones: `nvidia-smi`, which dfdx's
//! build script asks for the kind of GPU, and `nvcc`, which that script starts 49 times at once.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use super::{
    LIMITED,
    error::{Error, Result},
    files::executable,
    toolkit,
};

/// Compiler, headers, and libraries to link with; of one version.
const WHEELS: [&str; 7] = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
    "nvidia-cuda-nvrtc==13.0.88",
    "nvidia-cublas==13.0.2.14",
];

/// H100 and H200, unless `CUDA_COMPUTE_CAP` says otherwise (`8.0`: A100).
const CAPABILITY: &str = "9.0";

/// A toolkit that programs can be built with.
pub struct Wheels {
    /// As `CUDA_PATH` has it.
    root: PathBuf,
    /// The programs that stand in front.
    front: PathBuf,
    /// Where a stand-in for the driver's library is.
    driver: PathBuf,
    /// `90` for 9.0.
    capability: String,
}

impl Wheels {
    /// The toolkit that `CUDA_PATH` names; else that of the cache, which is filled if need be.
    pub fn set_up() -> Result<Self> {
        let cache = cache()?;
        let given =
            std::env::var_os("CUDA_PATH").map(PathBuf::from).filter(|it| it.join("bin/nvcc").is_file());
        let root = match given {
            Some(root) => root,
            None => install(&cache)?,
        };
        let front = cache.join("front");
        let driver = cache.join(format!("driver-{:08x}", key(&root.to_string_lossy())));
        make(&front)?;
        make(&driver)?;
        stand_in(&root, &driver)?;
        let own = toolkit::own_program()?;
        let slots = cache.join("slots");
        make(&slots)?;
        let limited =
            format!("exec '{}' {LIMITED} '{}' '{}' \"$@\"\n", own.display(), slots.display(), root.display());
        script(&front.join("nvcc"), &limited)?;
        let capability = std::env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| CAPABILITY.to_owned());
        let digits: String = capability.chars().filter(char::is_ascii_digit).collect();
        if digits.len() < 2 || !capability.chars().all(|c| c.is_ascii_digit() || c == '.') {
            return Err(Error::Usage(format!("CUDA_COMPUTE_CAP is `{capability}`; write it like 9.0")));
        }
        script(&front.join("nvidia-smi"), &format!("printf 'compute_cap\\n%s\\n' '{capability}'\n"))?;
        Ok(Self { root, front, driver, capability: digits })
    }

    /// `command` with this toolkit.
    pub fn environment(&self, command: &mut Command) {
        let libs: Vec<PathBuf> =
            ["lib", "lib64"].map(|it| self.root.join(it)).into_iter().filter(|it| it.is_dir()).collect();
        let with_driver = [&libs[..], std::slice::from_ref(&self.driver)].concat();
        let bins = [self.front.clone(), self.root.join("bin")];
        toolkit::environment(command, &self.root, &bins, if has_driver() { &libs } else { &with_driver });
        command
            // cudarc looks for libraries below CUDA_PATH; the stand-in is elsewhere.
            .env("LIBRARY_PATH", toolkit::before("LIBRARY_PATH", &with_driver))
            // What dfdx's build script looks at to know that it has to run again: after the emulated device, or for another GPU.
            .env("CUDA_COMPUTE_CAP", &self.capability);
    }
}

/// Whether the loader finds a driver's library.
fn has_driver() -> bool {
    let known = Command::new("ldconfig").arg("-p").output();
    known.is_ok_and(|it| String::from_utf8_lossy(&it.stdout).contains("libcuda.so.1"))
}

/// A number of a text, which another text hardly has (FNV-1a).
fn key(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn cache() -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let base = base
        .ok_or_else(|| Error::Failed("neither XDG_CACHE_HOME nor HOME says where a cache is".to_owned()))?;
    Ok(base.join("inductive-cuda-13.0"))
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| Error::file(folder, error))
}

fn script(path: &Path, text: &str) -> Result<()> {
    executable(path, &format!("#!/bin/sh\n{text}"))
}

/// The wheels, unpacked. A folder that is not whole has another name.
fn install(cache: &Path) -> Result<PathBuf> {
    let site = cache.join(format!("site-{:08x}", key(&WHEELS.concat())));
    let root = site.join("nvidia/cu13");
    if !site.is_dir() {
        eprintln!("installing the CUDA toolkit from PyPI into {}, about 1.1 GB", site.display());
        make(cache)?;
        let part = site.with_extension("part");
        match fs::remove_dir_all(&part) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file(&part, error));
            }
            _ => {}
        }
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--no-compile"]);
        pip.args(["--disable-pip-version-check", "--no-cache-dir", "--target"]).arg(&part).args(WHEELS);
        let status =
            pip.status().map_err(|error| Error::Failed(format!("python3 with pip is needed: {error}")))?;
        if !status.success() {
            return Err(Error::Failed("pip could not install the toolkit's wheels".to_owned()));
        }
        fs::rename(&part, &site).map_err(|error| Error::file(&part, error))?;
    }
    link_names(&root.join("lib"))?;
    Ok(root)
}

/// The names without a version, which a linker looks for: wheels have the others alone.
fn link_names(lib: &Path) -> Result<()> {
    let entries = fs::read_dir(lib).map_err(|error| Error::file(lib, error))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((plain, _)) = name.split_once(".so.").filter(|(plain, _)| !plain.ends_with(".alt")) else {
            continue;
        };
        let link = lib.join(format!("{plain}.so"));
        #[cfg(unix)]
        if !link.exists() {
            std::os::unix::fs::symlink(&name, &link).map_err(|error| Error::file(&link, error))?;
        }
    }
    Ok(())
}

/// A library of the functions that `cuda.h` declares, all of which say that there is no driver: programs can be linked with it, and a
/// function that CUDA 13 no longer has is missed when they are.
fn stand_in(root: &Path, driver: &Path) -> Result<()> {
    let library = driver.join("libcuda.so.1");
    if !library.exists() {
        let header = root.join("include/cuda.h");
        let text = fs::read_to_string(&header).map_err(|error| Error::file(&header, error))?;
        let source = driver.join("libcuda.c");
        fs::write(&source, no_driver(&text)).map_err(|error| Error::file(&source, error))?;
        let part = driver.join("libcuda.part");
        let mut gcc = Command::new("gcc");
        gcc.args(["-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1", "-o"]).arg(&part).arg(&source);
        let status = gcc.status().map_err(|error| Error::Failed(format!("gcc is needed: {error}")))?;
        if !status.success() {
            return Err(Error::Failed("gcc could not build the stand-in for libcuda".to_owned()));
        }
        fs::rename(&part, &library).map_err(|error| Error::file(&part, error))?;
    }
    let link = driver.join("libcuda.so");
    #[cfg(unix)]
    if !link.exists() {
        std::os::unix::fs::symlink("libcuda.so.1", &link).map_err(|error| Error::file(&link, error))?;
    }
    Ok(())
}

/// C source of that library.
fn no_driver(header: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let named = |word: &&str| {
        word.strip_prefix("cu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    };
    let mut names: Vec<&str> = header.split(|c| !is_word(c)).filter(named).collect();
    names.sort_unstable();
    names.dedup();
    let told = ["cuGetErrorName", "cuGetErrorString"];
    let mut source = "static int none(void) { return 34; }\n".to_owned();
    for name in told {
        source += &format!(
            "int {name}(int e, const char **s) {{ *s = \"no NVIDIA driver: a stand-in\"; return 0; }}\n"
        );
    }
    for name in names.into_iter().filter(|name| !told.contains(name)) {
        source += &format!("int {name}(void) __attribute__((alias(\"none\")));\n");
    }
    source
}

/// `nvcc` of the toolkit, as soon as fewer run than there are processors. words: the folder of locks, the toolkit, its arguments.
///
/// dfdx's build script reads what its compilers say one after the other, so each keeps it until it has ended.
pub fn limited(words: &[OsString]) -> Result<ExitCode> {
    let [slots, root, arguments @ ..] = words else {
        return Err(Error::Usage(format!("{LIMITED} is started by dfdx's build script")));
    };
    let most = std::thread::available_parallelism().map_or(1, usize::from);
    let slot = Path::new(slots).join((std::process::id() as usize % most).to_string());
    let lock = File::create(&slot).map_err(|error| Error::file(&slot, error))?;
    lock.lock().map_err(|error| Error::file(&slot, error))?;
    let output = Command::new(Path::new(root).join("bin/nvcc")).args(arguments).stdin(Stdio::null()).output();
    drop(lock);
    let output = output.map_err(|error| Error::Failed(format!("nvcc: {error}")))?;
    use std::io::Write;
    let told = std::io::stdout()
        .write_all(&output.stdout)
        .and_then(|()| std::io::stderr().write_all(&output.stderr));
    told.map_err(|error| Error::Failed(format!("what nvcc says: {error}")))?;
    let code = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stand_in_has_every_function_of_the_header_once() {
        let header = "CUresult CUDAAPI cuInit(unsigned int Flags);\n#define cuMemAlloc cuMemAlloc_v2\ncuInit CUdevice cuda cuGetErrorName(";
        let source = no_driver(header);
        for (name, times) in [
            ("int cuInit(", 1),
            ("int cuMemAlloc(", 1),
            ("int cuMemAlloc_v2(", 1),
            ("int cuGetErrorName(", 1),
            ("CUdevice", 0),
            ("cuda(", 0),
        ] {
            assert_eq!(source.matches(name).count(), times, "{name}: {source}");
        }
    }
}
