//! What help shows to choose from: papers, tables, models, strategies and data, as the crates list them.

use inductive_data::sources;
use inductive_models::{entries, find_switchable};
use inductive_papers::experiments::{Preset, Registry};
use inductive_report::text::{one_of, wrap};

use crate::{
    commands::{bench, init, recipe},
    hint::Line,
};

/// Data where none are given.
pub const DATA: &str = "synthetic";
/// The preset where none is given.
pub const PRESET: &str = "quick";
/// The folder of all studies where none is given.
pub const RUNS: &str = "runs";
/// What stands for what in the forms of data.
pub const PATHS: &str =
    "PATH is the official archive (binary version) or its folder, DIR has train/<class>/* and val/<class>/*";

/// Columns of a list, no more than help has.
const COLUMNS: usize = 80;

/// Each in backquotes.
fn quoted<T: std::fmt::Display>(names: impl IntoIterator<Item = T>) -> impl Iterator<Item = String> {
    names.into_iter().map(|name| format!("`{name}`"))
}

/// What `--data` takes, and what becomes of it.
pub fn data(use_of_it: &str) -> String {
    format!("{}; {use_of_it}", one_of(quoted(sources().forms())))
}

/// The papers that can be reproduced.
fn papers() -> Vec<String> {
    Registry::shared().unwrap_or_default().papers()
}

/// What `reproduce` takes.
pub fn paper() -> String {
    format!(
        "The paper: {}; or an experiment of your own, a path that ends in `.toml`",
        one_of(quoted(papers()))
    )
}

/// The presets and how long they take.
pub fn presets() -> String {
    one_of(Preset::ALL.map(|preset| format!("`{preset}` ({})", preset.takes())))
}

/// All tables, a line each.
pub fn tables() -> String {
    let registry = Registry::shared().unwrap_or_default();
    let names =
        registry.experiments().map(|it| (format!("{} --table {}", it.paper, it.name), it.about.as_str()));
    listed("What can be reproduced", names)
}

/// Names with what they stand for.
pub fn listed(title: &str, lines: impl Iterator<Item = (String, impl AsRef<str>)>) -> String {
    let lines: Vec<_> = lines.collect();
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let room = COLUMNS - width - 4;
    let indent = " ".repeat(width + 4);
    let line = |(name, about): &(String, _)| {
        let about = wrap(AsRef::as_ref(about), room, "").replace('\n', &format!("\n{indent}"));
        format!("\n  {name:<width$}  {about}")
    };
    format!("{title}:{}", lines.iter().map(line).collect::<String>())
}

/// Names in lines of a list.
fn names(title: &str, names: impl IntoIterator<Item = String>) -> String {
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    format!("{title}:\n  {}", wrap(&names, COLUMNS - 2, "").replace('\n', "\n  "))
}

/// All models.
pub fn models() -> String {
    names("Models", entries().into_iter().map(|entry| entry.spec.name))
}

/// Those whose layers can leave convolution, and those that have such a counterpart.
pub fn switchable_models() -> String {
    let all = entries().into_iter().map(|entry| entry.spec.name);
    names("Models", all.filter(|name| find_switchable(name).is_ok()))
}

/// What `init` chooses from.
pub fn strategies_and_models() -> String {
    format!("{}\n\n{}", listed("Strategies", init::described()), models())
}

/// What `bench` measures if nothing is named.
pub fn bench_models() -> String {
    let usual = bench::DEFAULT.map(|(name, batch)| format!("{name} ({batch})"));
    format!("Models, as listed below; if none is given, {}", usual.join(", "))
}

/// The fields of a recipe.
pub fn recipe() -> String {
    let all = names("Fields of a recipe", recipe::names());
    format!(
        "{all}\n\n{} prints them with what they mean and their defaults.",
        Line::new("recipe").word("MODEL")
    )
}

/// Where to begin.
pub fn begin() -> String {
    let commands = [
        (Line::new("reproduce").word("convit"), "the main job, in minutes: nothing to download"),
        (Line::new("reproduce --list"), "all that can be reproduced"),
        (Line::new("inspect"), "all models"),
        (Line::new("data"), "all data, and where they are from"),
        (Line::new("recipe"), "what a recipe can say"),
    ];
    let papers = names("Papers that can be reproduced", papers());
    format!(
        "{}\n\n{papers}",
        listed("To begin", commands.map(|(line, what)| (line.to_string(), what)).into_iter())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_list_are_wrapped_beside_their_names() {
        let about = "word ".repeat(30);
        let text = listed("Things", [("name".to_owned(), about.as_str()), ("n".to_owned(), "x")].into_iter());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Things:");
        assert!(lines[1].starts_with("  name  word") && lines[2].starts_with("        word"), "{text}");
        assert_eq!(lines.last(), Some(&"  n     x"));
        assert!(lines.iter().all(|line| line.len() <= COLUMNS), "{text}");
    }
}
