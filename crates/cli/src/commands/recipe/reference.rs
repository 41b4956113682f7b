//! The reference of all fields, docs/recipes.md.

use std::collections::VecDeque;

use serde_json::Value;

use super::fields::{Field, Type, Types, choices, fields, referred, toml_of};

const HEAD: &str = "\
# Recipes

A recipe is a TOML file that says everything that decides the result of a run but for the machine. It names what differs from
the defaults; a field that does not exist is an error. `inductive recipe MODEL` prints the default recipe of a model with every
field, and `inductive train RECIPE.toml` trains it. A run's folder keeps its recipe with every choice filled in.

This page is made from the types of the program: `inductive recipe --reference` prints it.
";

/// The whole page.
pub fn markdown() -> String {
    let types = Types::of_recipe();
    let mut text = format!("{HEAD}\n## Fields\n\n{}", table(&types, types.recipe()));
    text += "\n## Values\n";
    let mut known: Vec<String> = Vec::new();
    let mut next: VecDeque<String> = types.recipe().mentions().into();
    while let Some(name) = next.pop_front() {
        let Some(found) = types.named(&name).filter(|_| !known.contains(&name)) else { continue };
        known.push(name);
        text += &format!("\n### {}\n\n{}\n", found.name, found.about());
        text += &match found.fields().is_empty() {
            false => format!("\n{}", table(&types, found)),
            true => forms(found),
        };
        next.extend(found.mentions());
    }
    text
}

/// The fields of a table.
fn table(types: &Types, of: Type<'_>) -> String {
    let row = |field: Field<'_>| {
        let is_table = types.of(field.schema).is_some_and(|it| !it.fields().is_empty());
        let default = match (field.default(), field.required) {
            (Some(_), _) if is_table => "as below".to_owned(),
            (Some(value), _) => format!("`{}`", toml_of(value)),
            (None, true) => "must be given".to_owned(),
            (None, false) => "not set".to_owned(),
        };
        format!(
            "| `{}` | {} | {default} | {} |\n",
            field.name,
            cell(&takes(field.schema)),
            cell(&field.about())
        )
    };
    let rows: String = of.fields().into_iter().map(row).collect();
    format!("| field | value | default | meaning |\n|---|---|---|---|\n{rows}")
}

/// The forms of a value that is one of several; nothing for others.
fn forms(of: Type<'_>) -> String {
    let named: Vec<&Value> = choices(of.schema).filter(|it| spelled(it).is_some()).collect();
    if named.is_empty() {
        return String::new();
    }
    let row = |form: &Value| {
        let mut about = Field { name: "", schema: form, required: false }.about();
        for field in fields(form).into_iter().flat_map(|field| fields(field.schema)) {
            about += &format!(" `{}`: {}", field.name, field.about());
        }
        format!("| `{}` | {} |\n", spelled(form).unwrap_or_default(), cell(&about))
    };
    let rows: String = named.into_iter().map(row).collect();
    format!("\n| value | meaning |\n|---|---|\n{rows}")
}

/// How one form of a value is written in TOML: a text, or a table of one field.
fn spelled(form: &Value) -> Option<String> {
    if let Some(text) = form.get("const") {
        return Some(toml_of(text));
    }
    let [field] = fields(form)[..] else { return None };
    Some(format!("{{ {} = {} }}", field.name, inside(field.schema)))
}

/// A value within a form: by the name of its type, or in its fields.
fn inside(schema: &Value) -> String {
    let list = fields(schema);
    if list.is_empty() {
        return kind(schema, &|name| name.to_owned());
    }
    let list: Vec<String> = list.iter().map(|it| format!("{} = {}", it.name, inside(it.schema))).collect();
    format!("{{ {} }}", list.join(", "))
}

/// What a field takes, with links to the types below.
fn takes(schema: &Value) -> String {
    kind(schema, &|name| format!("[{name}](#{})", name.to_lowercase()))
}

fn kind(schema: &Value, link: &dyn Fn(&str) -> String) -> String {
    if let Some(name) = referred(schema) {
        return link(name);
    }
    let parts: Vec<String> = choices(schema).map(|it| kind(it, link)).collect();
    if !parts.is_empty() {
        return parts.join(" or ");
    }
    if let Some(parts) = schema["prefixItems"].as_array() {
        let parts: Vec<String> = parts.iter().map(|it| kind(it, link)).collect();
        return format!("[{}]", parts.join(", "));
    }
    let name = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or_default();
    match name {
        "array" => format!("list of {}", kind(&schema["items"], link)),
        "string" => "text".to_owned(),
        "boolean" => "true or false".to_owned(),
        "integer" => "whole number".to_owned(),
        other => other.to_owned(),
    }
}

/// Text in a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', r"\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_what_the_types_say() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/recipes.md");
        let written = std::fs::read_to_string(page).unwrap_or_default();
        assert!(
            written == markdown(),
            "docs/recipes.md is not what the types say; write it anew:\n\
             cargo run -p inductive-cli -- recipe --reference > docs/recipes.md"
        );
    }

    #[test]
    fn every_link_has_its_section_and_every_form_is_spelled() {
        let page = markdown();
        for link in page.split("](#").skip(1) {
            let anchor = link.split(')').next().unwrap();
            assert!(
                page.lines().any(|line| line.to_lowercase() == format!("### {anchor}")),
                "no section {anchor}"
            );
        }
        for form in [
            "`\"from-start\"`",
            "`{ late-first = { earliest = Length, latest = Length } }`",
            "`{ layers = list of Length }`",
            "`{ linear = number }`",
            "`{ impulse = Impulse }`",
        ] {
            assert!(page.contains(form), "{form}: {page}");
        }
    }
}
