//! Commands that the program tells the user to give: one place for how they are spelled, so that a shell in the same folder takes
//! them as they are printed.

use std::{ffi::OsStr, fmt, path::Path, sync::LazyLock};

use inductive_data::Dataset;
use inductive_files::is_harmful;
use inductive_models::ModelSpec;

use crate::args::Common;

/// Where `cargo xtask` says what the user typed to start this program.
pub const STARTED_AS: &str = "INDUCTIVE_STARTED_AS";

/// What the user typed to start this program, as a shell takes it: `cargo xtask`, or its path or name.
pub fn program() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| {
        let by_xtask = std::env::var(STARTED_AS).ok().filter(|it| !it.is_empty());
        // The tests of this crate are another program.
        let typed = || std::env::args_os().next().filter(|it| !it.is_empty() && !cfg!(test));
        by_xtask.or_else(|| typed().map(|it| quote(&it))).unwrap_or_else(|| "inductive".to_owned())
    });
    &PROGRAM
}

/// A text of another crate, whose commands are called `inductive ..`, with them as this program was started.
pub fn as_started(text: &str) -> String {
    text.replace("`inductive ", &format!("`{} ", program()))
}

/// A command of this program, as a shell takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line(String);

impl Line {
    /// The command of this name.
    pub fn new(command: &str) -> Self {
        Self(format!("{} {command}", program()))
    }

    /// And a word.
    pub fn word(mut self, word: impl AsRef<OsStr>) -> Self {
        self.0.push(' ');
        self.0.push_str(&quote(word.as_ref()));
        self
    }

    /// And a path on its own, which may begin like an option.
    pub fn path(self, path: &Path) -> Self {
        match path.as_os_str().as_encoded_bytes().first() {
            Some(b'-') => self.word(Path::new(".").join(path)),
            _ => self.word(path),
        }
    }

    /// And an option with its value.
    pub fn option(self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let value = value.as_ref();
        match value.as_encoded_bytes().first() {
            // Else it would be taken for another option.
            Some(b'-') => self.joined(name, value),
            _ => self.word(format!("--{name}")).word(value),
        }
    }

    fn joined(mut self, name: &str, value: &OsStr) -> Self {
        self.0 += &format!(" --{name}={}", quote(value));
        self
    }

    /// And an option, if it has a value.
    pub fn given(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.option(name, value.to_string()),
            None => self,
        }
    }

    /// And an option, where it is not what it is if it is not given.
    pub fn set(self, name: &str, value: impl AsRef<OsStr>, usual: &str) -> Self {
        if value.as_ref() == usual { self } else { self.option(name, value) }
    }

    /// And an option without a value, if it was given.
    pub fn flag(self, name: &str, given: bool) -> Self {
        if given { self.word(format!("--{name}")) } else { self }
    }

    /// And the options of all commands, where they are not the usual ones.
    pub fn common(self, common: &Common) -> Self {
        self.given("threads", (common.threads != 0).then_some(common.threads))
            .set("device", &common.device, Common::CPU)
            .flag("plain", common.plain)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a model takes the images of a set and has a class for each of its labels.
pub fn fits(spec: &ModelSpec, set: &dyn Dataset) -> bool {
    set.num_classes() == spec.classes && (set.height(), set.width()) == spec.image
}

/// The command on data that the model can be measured or trained on: those given if they fit, else a folder of the user's.
pub fn on_data(
    line: Line,
    data: Option<&str>,
    spec: &ModelSpec,
    set: &dyn Dataset,
    common: &Common,
) -> String {
    if fits(spec, set) {
        return line.given("data", data).common(common).to_string();
    }
    let line = line.option("data", "folder:DIR").common(common);
    format!("{line}\n      where DIR has train/<class>/* and val/<class>/* with {} classes", spec.classes)
}

/// A word as a shell takes it: as it is if that is safe, else in quotes.
fn quote(word: &OsStr) -> String {
    // Not `~` and `=`, which mean something at the beginning of a word.
    let plain = |c: char| c.is_alphanumeric() || "-_./:%+,@".contains(c);
    match word.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(plain) => text.to_owned(),
        Some(text) if !text.chars().any(is_harmful) => format!("'{}'", text.replace('\'', r"'\''")),
        // Nor may a name steer the terminal.
        _ => escaped(word.as_encoded_bytes()),
    }
}

/// `$'..'`, which bash, zsh and POSIX since 2024 know.
fn escaped(bytes: &[u8]) -> String {
    let spell = |chunk: std::str::Utf8Chunk<'_>| {
        let valid = chunk.valid().chars().map(|c| match c {
            '\'' | '\\' => format!("\\{c}"),
            '\n' => r"\n".to_owned(),
            '\t' => r"\t".to_owned(),
            // Octal ends after three digits, hexadecimal where the digits end.
            c if is_harmful(c) => octal(c.to_string().as_bytes()),
            c => c.to_string(),
        });
        valid.collect::<String>() + &octal(chunk.invalid())
    };
    format!("$'{}'", bytes.utf8_chunks().map(spell).collect::<String>())
}

fn octal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:03o}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that a shell makes of a line.
    #[cfg(unix)]
    fn shell(line: &str) -> Vec<Vec<u8>> {
        let output =
            std::process::Command::new("bash").args(["-c", &format!("printf '%s\\0' {line}")]).output();
        let mut words: Vec<_> = output.unwrap().stdout.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        words.pop();
        words
    }

    #[cfg(unix)]
    #[test]
    fn a_shell_takes_every_word_as_it_was() {
        use std::os::unix::ffi::OsStrExt;
        for word in [
            "runs/train",
            "cifar100:data/cifar-100-binary.tar.gz",
            "my run",
            "it's",
            "'",
            r"a\b",
            "$HOME `ls` !! \"x\"",
            "~/data",
            "=x",
            "*",
            "",
            "ünï",
            "a\nb\tc'\\",
            "a\u{1b}[31m5",
            "gnp.\u{202e}exe",
        ] {
            let line = quote(word.as_ref());
            assert_eq!(shell(&line), [word.as_bytes()], "{line}");
            assert!(!line.chars().any(is_harmful), "{line:?}");
        }
        let odd = OsStr::from_bytes(b"a\xff7 '\xc3");
        assert_eq!(shell(&quote(odd)), [odd.as_bytes()]);
    }

    #[test]
    fn what_needs_no_quotes_has_none() {
        for word in ["runs/train", "cifar100:a.tar.gz", "10%", "--out", "a+b,c@d", "für"] {
            assert_eq!(quote(word.as_ref()), word);
        }
        assert_eq!(quote("my run".as_ref()), "'my run'");
        assert_eq!(quote("it's".as_ref()), r"'it'\''s'");
    }

    #[test]
    fn a_line_has_what_was_asked_for_and_no_more() {
        let common = Common { threads: 0, device: "cpu".to_owned(), plain: false };
        let line =
            Line::new("train").path("a b.toml".as_ref()).option("out", "runs/x").given("seed", None::<u64>);
        assert_eq!(line.clone().common(&common).to_string(), "inductive train 'a b.toml' --out runs/x");
        let common = Common { threads: 2, device: "cuda".to_owned(), plain: true };
        assert_eq!(
            line.given("seed", Some(3)).common(&common).to_string(),
            "inductive train 'a b.toml' --out runs/x --seed 3 --threads 2 --device cuda --plain"
        );
    }

    #[test]
    fn what_begins_like_an_option_is_none() {
        let line = Line::new("eval").path("-run".as_ref()).option("data", "-x");
        assert_eq!(line.to_string(), "inductive eval ./-run --data=-x");
    }

    #[test]
    fn cargo_xtask_says_so_by_the_same_name() {
        let xtask = include_str!("../../../xtask/src/main.rs");
        assert!(xtask.contains(&format!("{STARTED_AS:?}")), "xtask does not set {STARTED_AS}");
    }
}
