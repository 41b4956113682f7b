//! `cargo xtask cuda-build` and `gpu-pack`: programs with CUDA from a machine without a GPU, and a folder that has all that a machine with
//! a GPU and nothing else needs to test and measure them.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use super::{
    emulated::Emulated,
    error::{Error, Result},
    files::executable,
    test::CONFIG,
    toolkit::{cannot_start, finish},
    wheels::Wheels,
};

const BUILD_HELP: &str = "cargo xtask cuda-build [CARGO'S COMMAND [WORDS ..]]

Builds `inductive` with CUDA on a machine without a toolkit and without a GPU: the toolkit comes from PyPI (python3 with pip; about
1.1 GB, kept in the cache), gcc makes a stand-in for the driver. With words, any other command of cargo, with the feature `cuda`. CUDA_PATH
names a toolkit that is there, CUDA_COMPUTE_CAP the kind of GPU (9.0: H100, H200).";

const PACK_HELP: &str = "cargo xtask gpu-pack --data cifar-100-binary [--out DIR] [--emulated]

Makes a folder (gpu-pack) whose run.sh tests and measures on a machine with a GPU, CUDA 13's libraries and, for the comparison,
Python and PyTorch, in nine minutes: programs, a tenth of CIFAR-100 with 2,000 test images, the CPU's curve of a short training. --data: CIFAR-100's
folder, binary version. --emulated: for the emulated device, to try it here (TINY=1 gpu-pack/run.sh).";

/// What runs there, and the pages of what comes of it.
const RUN: &str = include_str!("pack/run.sh");
const COLLECT: &str = include_str!("pack/collect.py");

/// Bytes of an image of CIFAR-100 with its two labels.
const RECORD: usize = 3074;
const CLASSES: usize = 100;
/// How many of each class are taken, to train on and to test; the emulated device has no time for more.
const OF_CLASS: (usize, usize) = (50, 20);
const FEW_OF_CLASS: (usize, usize) = (2, 1);

/// A folder larger than this does not travel.
const MOST_BYTES: u64 = 60 << 20;

/// `cargo WORDS` with the toolkit of [`Wheels`].
pub fn build(cargo: &OsStr, workspace: &Path, words: &[OsString]) -> Result<ExitCode> {
    if words.iter().take_while(|word| *word != "--").any(|word| word == "--help" || word == "-h") {
        println!("{BUILD_HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let tools = Tools::Wheels(Wheels::set_up()?);
    if let Some((first, rest)) = words.split_first() {
        let mut command = Command::new(cargo);
        command.arg(first).args(["--features", "cuda"]).args(rest).current_dir(workspace);
        tools.environment(&mut command);
        return finish(&mut command);
    }
    let begun = Instant::now();
    let built = tools.build(cargo, workspace, &["build", "-p", "inductive-cli", "--bin", "inductive"])?;
    let bytes = |path: &Path| fs::metadata(path).map(|it| it.len() as f64 / 1e6).unwrap_or(f64::NAN);
    println!(
        "built in {:.0} s: {}, {:.1} MB",
        begun.elapsed().as_secs_f64(),
        built.program.display(),
        bytes(&built.program)
    );
    println!("It needs the driver and libcublas.so.13, libcublasLt.so.13 and libnvrtc.so.13 where it runs.");
    Ok(ExitCode::SUCCESS)
}

/// What programs are built with.
enum Tools {
    Wheels(Wheels),
    Emulated(Emulated),
}

/// A program, and what dfdx's build script said.
struct Built {
    program: PathBuf,
    /// Headers that dfdx's kernels are compiled with where they run.
    headers: Vec<PathBuf>,
}

impl Tools {
    fn environment(&self, command: &mut Command) {
        match self {
            Self::Wheels(it) => it.environment(command),
            Self::Emulated(it) => it.environment(command),
        }
    }

    /// A program as the words of cargo say: optimised for a GPU, quickly built for the emulated device.
    fn build(&self, cargo: &OsStr, workspace: &Path, words: &[&str]) -> Result<Built> {
        let mut command = Command::new(cargo);
        command.args(words).args(["--features", "cuda", "--message-format", "json-render-diagnostics"]);
        match self {
            Self::Wheels(_) => command.arg("--release"),
            Self::Emulated(_) => command.args(CONFIG),
        };
        command.current_dir(workspace).stderr(Stdio::inherit());
        self.environment(&mut command);
        let output = command.output().map_err(|error| cannot_start(cargo, &error))?;
        if !output.status.success() {
            return Err(Error::Failed(format!("cargo {} failed", words.join(" "))));
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let program = said.lines().filter_map(|line| text_of(line, "executable")).next_back();
        let program =
            program.ok_or_else(|| Error::Failed(format!("cargo {} built no program", words.join(" "))))?;
        Ok(Built { program: program.into(), headers: headers(&said) })
    }
}

/// The text of a field in a line of cargo's JSON. Paths with what JSON escapes are not understood, and not found then.
fn text_of<'a>(line: &'a str, field: &str) -> Option<&'a str> {
    let text = line.split_once(&format!("\"{field}\":\""))?.1;
    text.split_once('"').map(|it| it.0).filter(|it| !it.contains('\\'))
}

/// What dfdx includes at run time: its own headers, where its build script has put them, and CUDA's of half precision.
fn headers(said: &str) -> Vec<PathBuf> {
    let Some(line) = said.lines().find(|line| line.contains("\"CUDA_INCLUDE_DIR\"")) else {
        return Vec::new();
    };
    let include =
        line.split_once("[\"CUDA_INCLUDE_DIR\",\"").and_then(|it| it.1.split_once('"')).map(|it| it.0);
    let of = |folder: Option<&str>, keep: fn(&str) -> bool| -> Vec<PathBuf> {
        let entries = folder.and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
        entries
            .map(|it| it.path())
            .filter(|it| keep(&it.file_name().unwrap_or_default().to_string_lossy()))
            .collect()
    };
    let own = of(text_of(line, "out_dir"), |name| name.ends_with(".cuh"));
    own.into_iter().chain(of(include, |name| name.starts_with("cuda_fp16.h"))).collect()
}

struct Request {
    data: PathBuf,
    out: PathBuf,
    emulated: bool,
}

fn request(workspace: &Path, words: &[OsString]) -> Result<Option<Request>> {
    let (mut data, mut out, mut emulated) = (None, workspace.join("gpu-pack"), false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .map(PathBuf::from)
                .ok_or_else(|| Error::Usage(format!("{} needs a value", word.display())))
        };
        match word.to_str() {
            Some("--help" | "-h") => return Ok(None),
            Some("--data") => data = Some(value()?),
            Some("--out") => out = value()?,
            Some("--emulated") => emulated = true,
            _ => return Err(Error::Usage(format!("{}: no such option\n\n{PACK_HELP}", word.display()))),
        }
    }
    let data = data.ok_or_else(|| Error::Usage("give --data, the folder cifar-100-binary".to_owned()))?;
    Ok(Some(Request { data, out, emulated }))
}

/// Makes the folder.
pub fn run(cargo: &OsStr, workspace: &Path, words: &[OsString]) -> Result<ExitCode> {
    let Some(Request { data, out, emulated }) = request(workspace, words)? else {
        println!("{PACK_HELP}");
        return Ok(ExitCode::SUCCESS);
    };
    // Of its own making alone is anything replaced.
    if out.exists()
        && !out.join("collect.py").is_file()
        && fs::read_dir(&out).is_ok_and(|mut it| it.next().is_some())
    {
        return Err(Error::Usage(format!("{} holds other files; give another --out", out.display())));
    }
    let (train, test) = (data.join("train.bin"), data.join("test.bin"));
    let (of_train, of_test) = if emulated { FEW_OF_CLASS } else { OF_CLASS };
    let sets = [("train.bin", few(&train, of_train)?), ("test.bin", few(&test, of_test)?)];
    let tools = if emulated {
        Tools::Emulated(Emulated::set_up(workspace)?)
    } else {
        Tools::Wheels(Wheels::set_up()?)
    };
    let programs = [
        ("inductive", &["build", "-p", "inductive-cli", "--bin", "inductive"][..]),
        ("operations", &["test", "--no-run", "-p", "inductive-ops", "--lib"]),
        ("training", &["test", "--no-run", "-p", "inductive-train", "--test", "suite"]),
    ];
    let _ = fs::remove_dir_all(&out);
    for folder in ["bin", "cifar", "curve"] {
        let folder = out.join(folder);
        fs::create_dir_all(&folder).map_err(|error| Error::file(&folder, error))?;
    }
    executable(&out.join("run.sh"), RUN)?;
    for (name, text) in [("collect.py", COLLECT.to_owned()), ("revision.txt", revision(workspace))] {
        let path = out.join(name);
        fs::write(&path, text).map_err(|error| Error::file(&path, error))?;
    }
    let mut inductive = None;
    for (name, words) in programs {
        let built = tools.build(cargo, workspace, words)?;
        let stripped = out.join("bin").join(name);
        command("strip", &[OsStr::new("-o"), stripped.as_ref(), built.program.as_ref()])?;
        if name == "inductive" {
            if !built.headers.is_empty() && !emulated {
                archive(&out.join("headers.tar.gz"), &built.headers)?;
            }
            inductive = Some(built.program);
        }
        gzip(&stripped)?;
    }
    let plain = out.join("curve/cifar");
    fs::create_dir_all(&plain).map_err(|error| Error::file(&plain, error))?;
    for (name, bytes) in &sets {
        for path in [out.join("cifar").join(name), plain.join(name)] {
            fs::write(&path, bytes).map_err(|error| Error::file(&path, error))?;
        }
        gzip(&out.join("cifar").join(name))?;
    }
    if let Some(inductive) = inductive {
        curve(&tools, &inductive, &out.join("curve"))?;
    }
    fs::remove_dir_all(&plain).map_err(|error| Error::file(&plain, error))?;
    if let Tools::Emulated(it) = &tools {
        let path = out.join("env.sh");
        let home = it.home.display();
        let text = format!(
            "export EMULATED_HOME='{home}' LD_LIBRARY_PATH='{home}/lib64' PATH='{home}/bin':\"$PATH\" CUDA_PATH='{home}'\n"
        );
        fs::write(&path, text).map_err(|error| Error::file(&path, error))?;
    }
    let bytes = size(&out);
    println!(
        "{}: {:.1} MiB. On the machine with a GPU: {}/run.sh",
        out.display(),
        bytes as f64 / (1 << 20) as f64,
        out.display()
    );
    if bytes > MOST_BYTES && !emulated {
        return Err(Error::Failed(format!("the folder is larger than {} MiB", MOST_BYTES >> 20)));
    }
    Ok(ExitCode::SUCCESS)
}

/// The first `most` images of each class in a file of CIFAR-100, in their order.
fn few(path: &Path, most: usize) -> Result<Vec<u8>> {
    let all = fs::read(path).map_err(|error| Error::file(path, error))?;
    if all.is_empty() || all.len() % RECORD != 0 {
        return Err(Error::Failed(format!("{}: not a file of CIFAR-100's binary version", path.display())));
    }
    let mut taken = [0; CLASSES];
    let mut bytes = Vec::with_capacity(most * CLASSES * RECORD);
    for record in all.chunks_exact(RECORD) {
        let Some(count) = taken.get_mut(usize::from(record[1])) else {
            return Err(Error::Failed(format!("{}: class {} of 100", path.display(), record[1])));
        };
        if *count < most {
            *count += 1;
            bytes.extend_from_slice(record);
        }
    }
    Ok(bytes)
}

/// What the CPU does in a short training, to be held against the GPU's.
fn curve(tools: &Tools, inductive: &Path, folder: &Path) -> Result<()> {
    let (model, batch, steps, every) = match tools {
        Tools::Wheels(_) => ("convit_tiny_patch4_32", 64, 50, 25),
        Tools::Emulated(_) => ("convit_micro", 4, 4, 2),
    };
    let recipe = format!(
        "model = \"{model}\"\ndata = \"cifar100:cifar\"\nbatch_size = {batch}\nepochs = \"{steps} steps\"\neval_every = \"{every} steps\"\n\
         lr = 5e-4\nwarmup_epochs = \"{every} steps\"\n"
    );
    let path = folder.join("recipe.toml");
    fs::write(&path, recipe).map_err(|error| Error::file(&path, error))?;
    let run = folder.join("run");
    let mut train = Command::new(inductive);
    train.arg("train").arg(&path).arg("--data").arg(format!("cifar100:{}", folder.join("cifar").display()));
    train.arg("--out").arg(&run).arg("--plain").stdout(Stdio::null());
    tools.environment(&mut train);
    let status = train.status().map_err(|error| cannot_start(inductive.as_ref(), &error))?;
    if !status.success() {
        return Err(Error::Failed("the training on the CPU failed".to_owned()));
    }
    let metrics = folder.join("cpu.jsonl");
    fs::copy(run.join("metrics.jsonl"), &metrics).map_err(|error| Error::file(&metrics, error))?;
    fs::remove_dir_all(&run).map_err(|error| Error::file(&run, error))
}

fn revision(workspace: &Path) -> String {
    let git = Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(workspace).output();
    git.ok()
        .filter(|it| it.status.success())
        .map_or_else(String::new, |it| String::from_utf8_lossy(&it.stdout).into_owned())
}

fn command(program: &str, arguments: &[&OsStr]) -> Result<()> {
    let status = Command::new(program).args(arguments).status();
    let status = status.map_err(|error| Error::Failed(format!("{program} is needed: {error}")))?;
    if status.success() { Ok(()) } else { Err(Error::Failed(format!("{program} failed"))) }
}

fn gzip(path: &Path) -> Result<()> {
    command("gzip", &["-9".as_ref(), "-f".as_ref(), "-n".as_ref(), path.as_ref()])
}

/// Files with their absolute paths, without the first stroke.
fn archive(to: &Path, files: &[PathBuf]) -> Result<()> {
    let names = files.iter().filter_map(|it| it.strip_prefix("/").ok()).map(Path::as_os_str);
    let front = ["-czhf".as_ref(), to.as_os_str(), "-C".as_ref(), "/".as_ref()];
    command("tar", &front.into_iter().chain(names).collect::<Vec<_>>())
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|it| match it.metadata() {
            Ok(about) if about.is_dir() => size(&it.path()),
            Ok(about) => about.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cargo_are_read() {
        let line = r#"{"reason":"compiler-artifact","executable":"/t/debug/inductive","fresh":true}"#;
        assert_eq!(text_of(line, "executable"), Some("/t/debug/inductive"));
        assert_eq!(text_of(r#"{"executable":null}"#, "executable"), None);
        assert_eq!(text_of(r#"{"executable":"a\"b"}"#, "executable"), None);
    }

    #[test]
    fn so_many_images_of_each_class_in_their_order() {
        let folder = std::env::temp_dir().join(format!("inductive-few-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("train.bin");
        let record = |class: u8, number: u8| {
            let mut record = vec![number; RECORD];
            record[1] = class;
            record
        };
        let all = [record(3, 1), record(99, 2), record(3, 3), record(3, 4), record(0, 5)];
        fs::write(&path, all.concat()).unwrap();
        let want = [&all[0], &all[1], &all[2], &all[4]].map(Clone::clone).concat();
        assert_eq!(few(&path, 2).unwrap(), want);
        for wrong in [vec![], vec![0; RECORD + 1], record(100, 1)] {
            fs::write(&path, wrong).unwrap();
            assert!(few(&path, 2).is_err());
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn requests_that_cannot_be_meant_are_refused() {
        let ask =
            |words: &[&str]| request("/w".as_ref(), &words.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(ask(&["--help"]).unwrap().is_none());
        for words in [&[][..], &["--data"], &["--emulated"], &["--what", "x"]] {
            assert!(matches!(ask(words), Err(Error::Usage(_))), "{words:?}");
        }
        let asked = ask(&["--data", "d", "--out", "o", "--emulated"]).unwrap().unwrap();
        assert_eq!((asked.data, asked.out, asked.emulated), ("d".into(), "o".into(), true));
        assert_eq!(ask(&["--data", "d"]).unwrap().unwrap().out, Path::new("/w/gpu-pack"));
    }
}
