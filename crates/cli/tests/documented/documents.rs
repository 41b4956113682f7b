//! What the documents have: command lines and fenced pieces of code.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// What all documents have, in their order.
#[derive(Default)]
pub struct Documents {
    pub commands: Vec<Command>,
    pub fences: Vec<Fence>,
}

/// A command line, without what is said about it.
#[derive(Debug, PartialEq)]
pub struct Command {
    pub line: String,
    /// File and line.
    pub place: String,
}

/// A piece of code between fences.
#[derive(Debug, PartialEq)]
pub struct Fence {
    /// The first word after the fence.
    pub language: String,
    pub text: String,
    /// File and line.
    pub place: String,
}

impl Documents {
    /// The documents of a workspace: those beside README.md but for the history, and all in docs.
    pub fn read(workspace: &Path) -> Self {
        let mut files = markdown_in(workspace);
        files.retain(|path| path.file_name().is_some_and(|name| name != "CHANGELOG.md"));
        assert!(files.iter().any(|path| path.ends_with("README.md")), "there is no README.md");
        let mut folders = vec![workspace.join("docs")];
        while let Some(folder) = folders.pop() {
            files.extend(markdown_in(&folder));
            let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
            folders.extend(entries.filter(|path| path.is_dir()));
        }
        let mut documents = Self::default();
        for path in files {
            let name = path.strip_prefix(workspace).unwrap().display().to_string();
            documents.add(&name, &fs::read_to_string(&path).unwrap());
        }
        documents
    }

    fn add(&mut self, name: &str, text: &str) {
        let mut lines = text.lines().enumerate().map(|(index, line)| (format!("{name}:{}", index + 1), line));
        while let Some((place, line)) = lines.next() {
            let fence = line.trim_start().chars().take_while(|c| *c == '`').count();
            if fence < 3 {
                // Code is indented by four.
                if line.starts_with("    ") || line.starts_with('\t') {
                    self.add_command(place, line, &mut lines);
                }
                continue;
            }
            let closing = "`".repeat(fence);
            let about = line.trim_start().trim_start_matches('`').trim();
            let language = about.split([' ', ',']).next().unwrap_or_default().to_owned();
            let mut code: Vec<(String, &str)> = Vec::new();
            for (place, line) in lines.by_ref().take_while(|(_, line)| !line.trim().starts_with(&closing)) {
                code.push((place, line));
            }
            let text = code.iter().map(|(_, line)| format!("{line}\n")).collect();
            self.fences.push(Fence { language, text, place });
            let mut code = code.into_iter();
            while let Some((place, line)) = code.next() {
                self.add_command(place, line, &mut code);
            }
        }
    }

    /// Adds the command that `line` is, with the lines it goes on in.
    fn add_command<'a>(
        &mut self,
        place: String,
        line: &'a str,
        more: &mut impl Iterator<Item = (String, &'a str)>,
    ) {
        let mut line = line.trim().trim_start_matches("$ ").to_owned();
        while let Some(begun) = line.strip_suffix('\\') {
            line = format!("{} {}", begun.trim(), more.next().map_or("", |(_, line)| line.trim()));
        }
        if is_command(&line) {
            self.commands.push(Command { line: without_comment(&line).to_owned(), place });
        }
    }
}

/// Markdown files right in a folder, in order of their names.
fn markdown_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|it| it == "md")).collect();
    files.sort();
    files
}

/// Whether a line begins with a program that documents tell a user to start, after variables that are set for it.
fn is_command(line: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| {
        word.split_once('=').is_some_and(|(name, _)| {
            name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        })
    });
    let program = words.next().and_then(|word| word.rsplit('/').next());
    program.is_some_and(|it| ["cargo", "inductive", "python", "python3"].contains(&it))
        && words.next().is_some()
}

/// What comes before ` # ..` or three spaces, outside of quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if line[at..].starts_with(" # ") || line[at..].starts_with("   ") => {
                return line[..at].trim_end();
            }
            None => {}
        }
    }
    line.trim_end()
}

/// The packages of a workspace and their folders.
pub fn packages(workspace: &Path) -> BTreeMap<String, PathBuf> {
    let crates = fs::read_dir(workspace.join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let folders = crates.chain([workspace.join("tests"), workspace.join("xtask")]);
    let name = |folder: PathBuf| {
        let manifest: toml::Table = fs::read_to_string(folder.join("Cargo.toml")).ok()?.parse().unwrap();
        Some((manifest["package"]["name"].as_str().unwrap().to_owned(), folder))
    };
    folders.filter_map(name).collect()
}

#[test]
fn commands_are_found_where_they_stand_and_end_where_a_comment_begins() {
    let text = "Use `cargo xtask inline` or\n\n    cargo xtask train a.toml    # one run\n    not a command\n\n\
        ```text\ninductive eval RUN\n$ cargo test -p x \\\n    --lib\n```\n\n    RUST_LOG=x A=b=c \\\n        cargo bench     kernels\n\
        \tpython3 -c \"print('#   1 # 2')\"\n    cargo xtask data 'a # b'\ncargo xtask prose\n    inductive\n";
    let mut documents = Documents::default();
    documents.add("x.md", text);
    let found: Vec<(&str, &str)> =
        documents.commands.iter().map(|it| (it.place.as_str(), it.line.as_str())).collect();
    assert_eq!(
        found,
        [
            ("x.md:3", "cargo xtask train a.toml"),
            ("x.md:7", "inductive eval RUN"),
            ("x.md:8", "cargo test -p x --lib"),
            ("x.md:12", "RUST_LOG=x A=b=c cargo bench"),
            ("x.md:14", "python3 -c \"print('#   1 # 2')\""),
            ("x.md:15", "cargo xtask data 'a # b'"),
        ]
    );
}

#[test]
fn fences_have_their_language_and_their_text() {
    let mut documents = Documents::default();
    documents.add("x.md", "a\n```rust,no_run\nlet x = 1;\n\n// y\n```\n````toml\n```\n````\n```\nz\n```\n");
    let found: Vec<(&str, &str, &str)> = documents
        .fences
        .iter()
        .map(|it| (it.place.as_str(), it.language.as_str(), it.text.as_str()))
        .collect();
    assert_eq!(
        found,
        [("x.md:2", "rust", "let x = 1;\n\n// y\n"), ("x.md:7", "toml", "```\n"), ("x.md:10", "", "z\n")]
    );
}
