//! PyTorch beside us: which Python, and what it is started with.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use inductive_files::shown;

use super::{
    error::Error,
    process::Process,
    protocol::{Missing, Ready, Task},
};

/// Ends with status 0 on Python 3, 1 on Python 2.
const PROBE: &str = "import sys; sys.exit(sys.version_info < (3,))";
/// Builds and measures the same model: timm's, or for EIT, which timm does not have, one of our own.
const SCRIPT: &str = concat!(include_str!("pytorch.py"), include_str!("pytorch_eit.py"), "\nmain()\n");
const ADVICE: &str = "\nwithout --peer, inductive is measured alone";

/// The Python that was asked for, else the first of `python3` and `python` that runs.
pub fn find_python(asked: Option<PathBuf>) -> Result<PathBuf, Error> {
    let candidates = asked.map_or_else(|| vec!["python3".into(), "python".into()], |path| vec![path]);
    let mut tried = Vec::new();
    for python in candidates {
        match try_run(&python) {
            Ok(()) => return Ok(python),
            Err(reason) => tried.push(format!("`{}` {reason}", shown(python.display()))),
        }
    }
    Err(Error::NoPython { tried: tried.join(", ") })
}

fn try_run(python: &Path) -> Result<(), String> {
    let mut command = Command::new(python);
    command.args(["-c", PROBE]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) if status.code() == Some(1) => Err("is not Python 3".to_owned()),
        Ok(status) => Err(format!("does not run ({status})")),
        Err(error) => Err(format!("does not run ({error})")),
    }
}

/// The peer of `task`, its model built.
pub fn start(python: &Path, task: &Task, description: &str) -> Result<(Process, Ready), Error> {
    start_with(Command::new(python), python, task, description)
}

/// [`start`] with a `command` that runs `python`.
fn start_with(
    mut command: Command,
    python: &Path,
    task: &Task,
    description: &str,
) -> Result<(Process, Ready), Error> {
    let who = format!("PyTorch ({}, {})", shown(python.display()), task.title());
    command.args(["-c", SCRIPT, description]);
    let mut process = Process::start(who, ADVICE, &mut command, task.patience())?;
    let line = process.line()?;
    if let Ok(Missing { missing, reason }) = serde_json::from_str(&line) {
        return Err(Error::MissingModule { python: python.to_owned(), module: missing, reason });
    }
    let ready = process.parse(&line)?;
    Ok((process, ready))
}

#[cfg(test)]
mod tests {
    use inductive_models::find;
    use inductive_train::bench::Mode;

    use super::*;

    fn task(model: &str, mode: Mode) -> Task {
        Task::new(find(model).unwrap().spec, 2, mode, 1, 0.01)
    }

    #[test]
    fn the_script_reads_what_a_task_has() {
        let json = |model| serde_json::to_value(task(model, Mode::Training)).unwrap();
        let of_family = |model, family: &str| {
            let own = json(model)["spec"]["family"][family].take();
            assert!(own.is_object() && SCRIPT.contains(&format!("\"{family}\"")), "{family}: {own}");
            own
        };
        let task = json("eit_micro");
        let eit = of_family("eit_micro", "eit");
        for (before, values) in [
            ("task[\"", &task),
            ("spec[\"", &task["spec"]),
            ("task[\"spec\"][\"", &task["spec"]),
            ("eit[\"", &eit),
            ("overlap[\"", &eit["overlap"]),
            ("attention[\"", &of_family("vit_micro_gap", "vit")),
            ("convit[\"", &of_family("convit_micro", "convit")),
            ("numbers[\"", &of_family("resnet18_cifar", "resnet")),
            ("mixer[\"", &of_family("convmixer_micro", "conv_mixer")),
        ] {
            let keys: Vec<&str> = SCRIPT.split(before).skip(1).filter_map(|s| s.split('"').next()).collect();
            assert!(!keys.is_empty(), "{before}");
            for key in keys {
                assert!(values.get(key).is_some(), "{before}{key} is not in {values}");
            }
        }
    }

    /// Stands for torch: whatever is done with it gives another such thing, also with an instance of a class that
    /// comes from `nn.Module`.
    const ANYTHING: &str = "\
import sys
from unittest.mock import MagicMock

class Module:
    def __getattr__(self, name):
        return MagicMock()

    def __call__(self, *inputs):
        return MagicMock()

anything = MagicMock(__version__='0')
anything.nn.Module = Module
sys.modules[__name__] = anything
";

    #[test]
    #[ignore = "needs Python 3: cargo test -p inductive-cli --bin inductive -- --ignored the_script"]
    fn the_script_keeps_to_the_protocol() {
        let python = find_python(None).unwrap();
        let stubs = tempfile::tempdir().unwrap();
        let models = stubs.path().join("timm/models");
        std::fs::create_dir_all(&models).unwrap();
        std::fs::write(stubs.path().join("torch.py"), ANYTHING).unwrap();
        std::fs::write(stubs.path().join("timm/__init__.py"), "__version__ = '0'").unwrap();
        for model in ["convit.py", "convmixer.py", "vision_transformer.py"] {
            std::fs::write(models.join(model), ANYTHING).unwrap();
        }
        let (torch, timm) = ("PyTorch 0", "PyTorch 0, timm 0");
        for (model, mode, software) in [
            ("convit_micro", Mode::Training, timm),
            ("deit_micro", Mode::Inference, timm),
            ("convmixer_micro", Mode::Training, timm),
            ("eit_micro", Mode::Training, torch),
            ("eit_micro_vit_pos", Mode::Inference, torch),
        ] {
            let task = task(model, mode);
            let mut command = Command::new(&python);
            command.env("PYTHONPATH", stubs.path());
            let description = serde_json::to_string(&task).unwrap();
            let (mut process, ready) = start_with(command, &python, &task, &description).unwrap();
            assert_eq!((ready.software.as_str(), ready.parameters), (software, 0));
            for _ in 0..2 {
                let answer = process.ask().unwrap();
                assert!(
                    answer.round.is_sound(task.has_phases()) && answer.round.forward.len() >= task.fewest,
                    "{answer:?}"
                );
            }
        }
    }
}
