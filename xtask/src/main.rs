//! `cargo xtask WORD ..` is `inductive WORD ..`, built in release mode if need be. Links nothing of the workspace, and knows no
//! command of it: every word goes on as it is, and what is wrong with one `inductive` says. What is done to the workspace itself has
//! words of its own: [`cuda`].

mod cuda;

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::{Command, ExitCode},
};

/// Tells `inductive` what the user typed to start it, so that its help and its hints say the same.
const STARTED_AS: (&str, &str) = ("INDUCTIVE_STARTED_AS", "cargo xtask");

fn main() -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    match cuda::run(&cargo, workspace, &words) {
        Some(code) => code,
        None => replace(inductive(&cargo, workspace, words.into_iter())),
    }
}

/// The command that runs `inductive WORDS` in the folder the user stands in; the first time it is built.
fn inductive(cargo: &OsStr, workspace: &Path, words: impl Iterator<Item = OsString>) -> Command {
    let mut command = Command::new(cargo);
    command
        .args(["run", "--release", "--package", "inductive-cli", "--manifest-path"])
        .arg(workspace.join("Cargo.toml"))
        .args(["--bin", "inductive", "--"])
        .args(words)
        .env(STARTED_AS.0, STARTED_AS.1);
    command
}

/// Becomes the command, so that an interrupt reaches it and the shell waits for it.
#[cfg(unix)]
fn replace(mut command: Command) -> ExitCode {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    cannot_start(&command, &error)
}

#[cfg(not(unix))]
fn replace(mut command: Command) -> ExitCode {
    match command.status() {
        Ok(status) => ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)),
        Err(error) => cannot_start(&command, &error),
    }
}

fn cannot_start(command: &Command, error: &std::io::Error) -> ExitCode {
    eprintln!("error: cargo xtask: cannot start {}: {error}", Path::new(command.get_program()).display());
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the command gets after `--`.
    fn forwarded(words: &[&str]) -> Vec<OsString> {
        let command = inductive("cargo".as_ref(), "/w".as_ref(), words.iter().map(OsString::from));
        command.get_args().skip_while(|word| *word != "--").skip(1).map(OsStr::to_owned).collect()
    }

    #[test]
    fn every_word_is_forwarded_as_it_is() {
        for words in [
            &["init", "deit_micro", "--out", "my file.safetensors"][..],
            &["fourier", "--help"],
            &["--help"],
            &["help", "train"],
            &["--version"],
            &["no-such-command"],
            &["eval", "--", "--data", ""],
            &[],
        ] {
            assert_eq!(forwarded(words), words);
        }
    }

    #[cfg(unix)]
    #[test]
    fn words_need_not_be_text() {
        use std::os::unix::ffi::OsStringExt;
        let word = OsString::from_vec(vec![b'a', 0xff]);
        let command = inductive("cargo".as_ref(), "/w".as_ref(), [word.clone()].into_iter());
        assert_eq!(command.get_args().last(), Some(word.as_os_str()));
    }

    #[test]
    fn the_command_is_built_from_this_workspace_in_release_mode_and_told_how_it_was_started() {
        let command = inductive("/bin/cargo".as_ref(), "/w".as_ref(), std::iter::empty());
        let words: Vec<&OsStr> = command.get_args().collect();
        assert_eq!(command.get_program(), "/bin/cargo");
        assert_eq!(words.join(OsStr::new(" ")).to_str().unwrap(), WHOLE);
        let told: Vec<_> = command.get_envs().collect();
        assert_eq!(told, [("INDUCTIVE_STARTED_AS".as_ref(), Some("cargo xtask".as_ref()))]);
        assert_eq!(command.get_current_dir(), None, "paths are those of the folder the user stands in");
    }

    const WHOLE: &str =
        "run --release --package inductive-cli --manifest-path /w/Cargo.toml --bin inductive --";
}
