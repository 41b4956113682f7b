//! The stand-in for `nvcc`: a CUDA source becomes a library of the host whose kernels the emulated device can call.
//!
//! Two callers: dfdx's build script, which wants a file of PTX for each of its sources and gets one that names the library, and the
//! stand-in for NVRTC.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use super::error::{Error, Result};

/// What a call asks for.
#[derive(Debug, PartialEq)]
enum Request {
    /// Which GPUs there is code for: what dfdx's build script asks first.
    Targets,
    /// A library, and PTX that names it if `ptx` says where to.
    Compile { source: PathBuf, include: Vec<OsString>, library: PathBuf, ptx: Option<PathBuf> },
}

/// `nvcc`'s words, as far as they are used: options with a value are those that the callers give.
fn parse(words: &[OsString]) -> Result<Request> {
    let (mut source, mut include, mut library, mut folder) = (None, Vec::new(), None, None);
    let mut words = words.iter();
    let value = |word: Option<&OsString>, of: &str| {
        word.cloned().ok_or_else(|| Error::Usage(format!("{of} needs a value")))
    };
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--list-gpu-code") => return Ok(Request::Targets),
            Some("--emulated-library") => {
                library = Some(PathBuf::from(value(words.next(), "--emulated-library")?))
            }
            Some("--output-directory") => {
                folder = Some(PathBuf::from(value(words.next(), "--output-directory")?))
            }
            Some("--default-stream") => {
                value(words.next(), "--default-stream")?;
            }
            Some("--ptx") => {}
            Some(option) if option.starts_with("--gpu-architecture=") => {}
            Some(option) if option.starts_with("-I") => include.push(word.clone()),
            Some(option) if option.starts_with('-') => {
                return Err(Error::Usage(format!("`{option}`: no option of the emulated nvcc")));
            }
            _ => source = Some(PathBuf::from(word)),
        }
    }
    let source = source.ok_or_else(|| Error::Usage("no source to compile".to_owned()))?;
    let stem = source.file_stem().unwrap_or_default().to_owned();
    let at = |extension: &str| folder.as_ref().map(|folder| folder.join(&stem).with_extension(extension));
    let ptx = at("ptx");
    let library = library.or_else(|| at("so"));
    let library = library.ok_or_else(|| Error::Usage("no --output-directory".to_owned()))?;
    Ok(Request::Compile { source, include, library, ptx })
}

/// Does what `nvcc WORDS` would.
pub fn run(words: &[OsString]) -> Result<()> {
    match parse(words)? {
        Request::Targets => {
            println!("sm_90");
            Ok(())
        }
        Request::Compile { source, include, library, ptx } => {
            // dfdx starts all its compilers at once: as many work at a time as there are processors.
            let _turn = take_turn()?;
            compile(&source, &include, &library)?;
            match ptx {
                Some(path) => write(&path, &format!("// emulated: {}\n", library.display())),
                None => Ok(()),
            }
        }
    }
}

/// Holds one of as many files as there are processors.
fn take_turn() -> Result<File> {
    let turns = std::thread::available_parallelism().map_or(1, usize::from);
    let number = std::process::id() as usize % turns;
    let path = std::env::temp_dir().join(format!("inductive-emulated-nvcc-{number}"));
    let file = File::create(&path).map_err(|error| Error::file(&path, error))?;
    file.lock().map_err(|error| Error::file(&path, error))?;
    Ok(file)
}

fn compile(source: &Path, include: &[OsString], library: &Path) -> Result<()> {
    let emulator = Path::new(env!("CARGO_MANIFEST_DIR")).join("emulator");
    let gxx = || {
        let mut command = Command::new("g++");
        command.args(["-std=c++17", "-w", "-DEMULATED=1", "-x", "c++"]).args(include);
        command.arg("-I").arg(&emulator);
        command
    };
    // Without the machine, so that `__global__` stays where it stands and what is found is the source's own.
    let text = output(gxx().args(["-E", "-P"]).arg(source))?;
    let kernels = kernels(&text);
    if kernels.is_empty() {
        return Err(Error::Failed(format!("{}: no kernel in it", source.display())));
    }
    let absolute = fs::canonicalize(source).map_err(|error| Error::file(source, error))?;
    let unit = library.with_extension("so.cpp");
    write(&unit, &unit_of(&absolute, &kernels, waits(&text)))?;
    let unfinished = library.with_extension(format!("so.{}", std::process::id()));
    output(
        gxx()
            .args([
                "-O2",
                "-ffp-contract=off",
                "-fPIC",
                "-fvisibility=hidden",
                "-shared",
                "-include",
                "machine.h",
            ])
            .arg("-o")
            .arg(&unfinished)
            .arg(&unit),
    )?;
    fs::rename(&unfinished, library).map_err(|error| Error::file(library, error))
}

/// The names of the kernels in a preprocessed source: `extern "C" __global__ void NAME(`.
fn kernels(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for after in text.split("__global__").skip(1) {
        let Some((head, _)) = after.split_once("void") else { continue };
        let Some((signature, _)) = after[head.len() + "void".len()..].split_once('{') else { continue };
        // `__launch_bounds__(..)` may stand before the name.
        let signature = match signature.trim_start().strip_prefix("__launch_bounds__") {
            Some(rest) => rest.split_once(')').map_or(rest, |(_, rest)| rest),
            None => signature,
        };
        let name = signature.split('(').next().unwrap_or_default().trim();
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_name && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Whether threads wait for each other anywhere in it: where not, they need no stacks of their own.
fn waits(text: &str) -> bool {
    ["__sync", "__shfl", "emulated_"].iter().any(|word| text.contains(word))
}

/// The file that is compiled: the source, and a list of its kernels.
fn unit_of(source: &Path, kernels: &[&str], waits: bool) -> String {
    let mut text = format!("#include \"{}\"\n", source.display());
    text += "extern \"C\" __attribute__((visibility(\"default\"))) const emulated::Kernel *emulated_kernels() {\n";
    text += "    static const emulated::Kernel all[] = {\n";
    for name in kernels {
        text +=
            &format!("        {{\"{name}\", [](void **a) {{ emulated::call(&{name}, a); }}, {waits}}},\n");
    }
    text + "        {nullptr, nullptr, false}};\n    return all;\n}\n"
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| Error::file(path, error))
}

/// What a command prints, if it succeeds.
fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| {
        Error::Failed(format!("cannot start {program}, the compiler of the emulated device: {error}"))
    })?;
    if !output.status.success() {
        return Err(Error::Failed(format!("{program}:\n{}", String::from_utf8_lossy(&output.stderr))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn names_of_kernels_are_found_whatever_stands_around_them() {
        let text = "extern \"C\" __global__ void one(const float *x, float *y) { }\n\
                    template <int T> __device__ void helper(int a) { }\n\
                    extern \"C\" __global__ void __launch_bounds__(128) two(float *x) {}\n\
                    extern \"C\" __global__ void\n three\n(int) {}\n\
                    extern \"C\" __global__ void one(double *x) { }";
        assert_eq!(kernels(text), ["one", "two", "three"]);
        assert!(kernels("__device__ void helper() {}").is_empty());
    }

    #[test]
    fn only_kernels_that_wait_get_stacks() {
        assert!(waits("{ __syncthreads(); }") && waits("v += __shfl_xor_sync(m, v, 1);"));
        assert!(!waits("y[i] = x[i];"));
    }

    #[test]
    fn words_of_dfdxs_build_script_are_understood() {
        let asked = words(&[
            "--gpu-architecture=sm_90",
            "--ptx",
            "--default-stream",
            "per-thread",
            "--output-directory",
            "/out",
            "-Isrc",
            "src/abs.cu",
        ]);
        let expected = Request::Compile {
            source: "src/abs.cu".into(),
            include: words(&["-Isrc"]),
            library: "/out/abs.so".into(),
            ptx: Some("/out/abs.ptx".into()),
        };
        assert_eq!(parse(&asked).unwrap(), expected);
        assert_eq!(parse(&words(&["--list-gpu-code"])).unwrap(), Request::Targets);
        let own = parse(&words(&["--emulated-library", "/k/1.so", "/k/1.cu"])).unwrap();
        assert!(
            matches!(own, Request::Compile { ptx: None, library, .. } if library == Path::new("/k/1.so"))
        );
    }

    #[test]
    fn words_that_are_not_understood_are_named() {
        for (asked, part) in [
            (&["--fast", "a.cu"][..], "`--fast`"),
            (&["a.cu"], "--output-directory"),
            (&["--ptx"], "no source"),
        ] {
            let error = parse(&words(asked)).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    #[ignore = "needs g++: cargo test -p xtask -- --ignored"]
    fn every_kernel_is_compiled_for_the_host() {
        let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/ops/src/cuda/kernels");
        let common = fs::read_to_string(kernels.join("common.cuh")).unwrap();
        let folder = std::env::temp_dir().join(format!("inductive-kernels-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut compiled = 0;
        for entry in fs::read_dir(&kernels).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.extension().is_none_or(|it| it != "cu") {
                continue;
            }
            let source = folder.join(entry.file_name().unwrap());
            fs::write(&source, format!("{common}{}", fs::read_to_string(&entry).unwrap())).unwrap();
            compile(&source, &[], &source.with_extension("so")).unwrap();
            compiled += 1;
        }
        fs::remove_dir_all(&folder).unwrap();
        assert!(compiled >= 6, "{compiled}");
    }
}
