//! What the types say of a recipe's fields: names, values, defaults, meaning.

use inductive_train::Recipe;
use schemars::schema_for;
use serde_json::{Map, Value};

/// The types of a recipe, as a JSON schema.
pub struct Types {
    root: Value,
}

/// A field of a table, or one of the forms of a value.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    pub name: &'a str,
    pub schema: &'a Value,
    /// Whether its table must have it.
    pub required: bool,
}

/// A type with a name.
#[derive(Clone, Copy)]
pub struct Type<'a> {
    pub name: &'a str,
    pub schema: &'a Value,
}

impl Types {
    pub fn of_recipe() -> Self {
        Self { root: schema_for!(Recipe).to_value() }
    }

    /// The recipe itself.
    pub fn recipe(&self) -> Type<'_> {
        Type { name: "Recipe", schema: &self.root }
    }

    /// The type of this name.
    pub fn named(&self, name: &str) -> Option<Type<'_>> {
        let (name, schema) = self.root["$defs"].as_object()?.get_key_value(name)?;
        Some(Type { name, schema })
    }

    /// The type that a schema is, or that its value has where it may be left out.
    pub fn of<'a>(&'a self, schema: &'a Value) -> Option<Type<'a>> {
        let own = std::iter::once(schema).chain(choices(schema));
        own.filter_map(referred).find_map(|name| self.named(name))
    }
}

impl<'a> Type<'a> {
    /// The fields of a table, in their order; none for other types.
    pub fn fields(self) -> Vec<Field<'a>> {
        fields(self.schema)
    }

    /// Names of the types that this one is made of, in the order in which they are mentioned.
    pub fn mentions(self) -> Vec<String> {
        let mut names = Vec::new();
        let own = ["properties", "oneOf", "anyOf", "items", "prefixItems"];
        own.iter().filter_map(|key| self.schema.get(key)).for_each(|it| add_mentioned(it, &mut names));
        names
    }

    /// What is said of it first; examples in Rust come after.
    pub fn about(self) -> String {
        let text = description(self.schema);
        plain(text.split("\n\n").next().unwrap_or_default())
    }
}

impl<'a> Field<'a> {
    /// What it means.
    pub fn about(self) -> String {
        plain(description(self.schema))
    }

    /// What it is if it is not given.
    pub fn default(self) -> Option<&'a Value> {
        self.schema.get("default").filter(|it| !it.is_null() && it.as_array().is_none_or(|it| !it.is_empty()))
    }

    /// A value that shows it.
    pub fn example(self) -> Option<&'a Value> {
        self.schema.get("examples")?.get(0)
    }
}

/// The fields of a table.
pub fn fields(schema: &Value) -> Vec<Field<'_>> {
    let must = |name: &str| {
        schema["required"].as_array().is_some_and(|list| list.iter().any(|it| it.as_str() == Some(name)))
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flat_map(Map::iter)
        .map(|(name, schema)| Field { name, schema, required: must(name) })
        .collect()
}

/// The alternatives of a value, but for being left out.
pub fn choices(schema: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["oneOf", "anyOf"].into_iter().filter_map(|key| schema.get(key)?.as_array());
    lists.flatten().filter(|it| it["type"] != "null")
}

/// The name of the type that a schema refers to.
pub fn referred(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

/// Adds the names of the types that a schema refers to anywhere.
fn add_mentioned(schema: &Value, names: &mut Vec<String>) {
    match schema {
        Value::Object(object) => {
            names.extend(referred(schema).map(str::to_owned));
            object.values().for_each(|it| add_mentioned(it, names));
        }
        Value::Array(list) => list.iter().for_each(|it| add_mentioned(it, names)),
        _ => {}
    }
}

/// The comment of a type or field.
fn description(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

/// A comment on one line, without the links of rustdoc: of a link its text is left, and nothing of one in brackets of its own.
fn plain(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("[`") {
        let (before, link) = rest.split_at(at);
        let Some(end) = link.find("`]") else { break };
        rest = &link[end + 2..];
        if let Some((_, after)) = rest.strip_prefix('(').and_then(|it| it.split_once(')')) {
            rest = after;
        }
        match (before.strip_suffix(" ("), rest.strip_prefix(')')) {
            (Some(before), Some(after)) => {
                out.push_str(before);
                rest = after;
            }
            _ => out.extend([before, &link[1..=end]]),
        }
    }
    out + rest
}

/// A value as TOML has it on one line.
pub fn toml_of(value: &Value) -> String {
    match value.as_f64().filter(|_| value.is_f64()) {
        // 1e-6, not 0.000001.
        Some(number) => format!("{number:?}"),
        None => toml::Value::try_from(value).map_or_else(|_| value.to_string(), |value| value.to_string()),
    }
}

/// The names of a recipe's fields.
pub fn names() -> Vec<String> {
    Types::of_recipe().recipe().fields().into_iter().map(|field| field.name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_rustdoc_are_taken_off_and_lists_stay() {
        for (text, expected) in [
            ("see [`A::b`] and [`C`](x::c), not [0.9, 0.999]", "see `A::b` and `C`, not [0.9, 0.999]"),
            ("[`A`] (so)", "`A` (so)"),
            ("none ([`A`]), (of [`A`]), none ([`A`](x)).", "none, (of `A`), none."),
            ("an open [`A", "an open [`A"),
        ] {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn every_field_says_what_it_means_and_shows_a_value() {
        let types = Types::of_recipe();
        let fields = types.recipe().fields();
        assert!(fields.len() > 30, "{}", fields.len());
        for field in fields {
            let shown = field.default().or(field.example());
            assert!(shown.is_some(), "{}: no default, and no `#[schemars(example = ..)]`", field.name);
        }
        let defs = types.root["$defs"].as_object().unwrap();
        assert!(defs.len() > 10, "{}", defs.len());
        for (of, schema) in defs.iter().map(|(name, it)| (name.as_str(), it)).chain([("Recipe", &types.root)])
        {
            assert!(!description(schema).is_empty(), "{of} has no comment");
            for field in fields_anywhere(schema) {
                assert!(!field.about().is_empty(), "{of}: {} has no comment", field.name);
            }
        }
    }

    /// Those of a table, or of the tables that a value can be.
    fn fields_anywhere(schema: &Value) -> Vec<Field<'_>> {
        let mut all = fields(schema);
        for form in choices(schema) {
            assert!(form.get("description").is_some() || form.get("$ref").is_some(), "{form}");
            all.extend(fields(form).into_iter().flat_map(|field| fields(field.schema)));
        }
        all
    }
}
