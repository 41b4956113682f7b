//! A recipe of one model in which every field stands, with its meaning.

use inductive_data::Descriptor;
use inductive_models::{ModelSpec, find};
use inductive_report::text::wrap;
use inductive_train::Recipe;
use serde_json::{Value, json};

use super::fields::{Field, Type, Types, toml_of};
use crate::{error::Result, help, hint::program};

/// Columns of a comment with its `# `.
const COLUMNS: usize = 80;

/// The default recipe of a model as TOML that `inductive train` takes.
pub fn recipe(model: &str) -> Result<String> {
    let spec = find(model)?.spec;
    let recipe = Recipe { model: model.to_owned(), data: data(&spec), ..Recipe::default() };
    let [values, chosen] =
        [&recipe, &recipe.resolve()?].map(|it| serde_json::to_value(it).unwrap_or_default());
    let own = json!({ "depth": spec.depth, "image_size": [spec.image.0, spec.image.1] });
    let types = Types::of_recipe();
    let mut text = head(&spec, &types);
    let (tables, single): (Vec<_>, Vec<_>) =
        types.recipe().fields().into_iter().partition(|field| is_table(*field, &values));
    for field in single.into_iter().chain(tables) {
        match values.get(field.name) {
            Some(value) => text += &entry(&types, field, value, ""),
            None => {
                let Some(example) = field.example() else { continue };
                let possible = own.get(field.name).unwrap_or(example);
                // Networks of stages have one depth.
                let fixed = field.name == "depth" && !accepts(&recipe, field.name, &json!(spec.depth + 1));
                if !fixed && accepts(&recipe, field.name, possible) {
                    text += &entry(&types, field, chosen.get(field.name).unwrap_or(possible), "# ");
                }
            }
        }
    }
    Ok(text)
}

/// Data that the model takes: the embedded set if its images are of that size, else a folder of the user's.
fn data(spec: &ModelSpec) -> String {
    let embedded =
        Descriptor::all().iter().any(|it| it.name == help::DATA && (it.height, it.width) == spec.image);
    if embedded { help::DATA } else { "folder:DIR" }.to_owned()
}

fn head(spec: &ModelSpec, types: &Types) -> String {
    let length = types.named("Length").map(Type::about).unwrap_or_default();
    let (height, width) = spec.image;
    let program = program();
    [
        format!("Recipe of {}, which takes images of {height} x {width} pixels.", spec.name),
        format!("Train it: {program} train FILE.toml"),
        String::new(),
        "Every field has its default here. A recipe names what differs, so lines that stay as they are can go. A line behind # is not \
         set; it shows what is chosen then, or an example."
            .to_owned(),
        length,
        format!("All that a field can be: {program} recipe --reference"),
    ]
    .iter()
    .map(|line| comment(line))
    .collect()
}

/// Whether a field is written as a table of its own.
fn is_table(field: Field<'_>, values: &Value) -> bool {
    values.get(field.name).or(field.example()).is_some_and(Value::is_object)
}

/// A field with its comment; `mark` stands before what is not set.
fn entry(types: &Types, field: Field<'_>, value: &Value, mark: &str) -> String {
    let about = format!("\n{}", comment(&field.about()));
    let Some(table) = value.as_object() else {
        return format!("{about}{mark}{} = {}\n", field.name, toml_of(value));
    };
    let mut text = format!("{about}{mark}[{}]\n", field.name);
    let inner = types.of(field.schema).map(Type::fields).unwrap_or_default();
    for (name, value) in table {
        if let Some(field) = inner.iter().find(|it| it.name == name) {
            text += &comment(&field.about());
        }
        text += &format!("{mark}{name} = {}\n", toml_of(value));
    }
    text
}

/// Text as lines of a comment.
fn comment(text: &str) -> String {
    match text {
        "" => "#\n".to_owned(),
        text => format!("# {}\n", wrap(text, COLUMNS - 2, "").replace('\n', "\n# ")),
    }
}

/// Whether the recipe can have this field.
fn accepts(recipe: &Recipe, name: &str, value: &Value) -> bool {
    let mut all = serde_json::to_value(recipe).unwrap_or_default();
    all[name] = value.clone();
    serde_json::from_value::<Recipe>(all).is_ok_and(|recipe| recipe.validate().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use inductive_models::entries;

    fn read(text: &str) -> Recipe {
        Recipe::from_toml(text, "printed.toml").unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn what_is_printed_is_the_default_recipe_of_every_model() {
        for entry in entries() {
            let model = entry.spec.name;
            let printed = read(&recipe(&model).unwrap());
            printed.validate().unwrap();
            let data = printed.data.clone();
            assert!(data == "synthetic" || entry.spec.image != (32, 32), "{model}: {data}");
            assert_eq!(printed, Recipe { model, data, ..Recipe::default() });
        }
    }

    /// Each field that is not set can be set alone, a table as a whole.
    #[test]
    fn what_is_not_set_is_accepted_when_it_is() {
        let of_field = |line: &&&str| {
            let name = line.strip_prefix("# ").and_then(|it| it.split_once(" = ")).map(|(name, _)| name);
            name.is_some_and(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        };
        for model in ["convit_micro", "simple_vit_micro", "prs_micro", "convit_tiny"] {
            let text = recipe(model).unwrap();
            let data = read(&text).data;
            let mut tried = 0;
            for entry in text.split("\n\n").skip(1) {
                let lines: Vec<&str> = entry.lines().collect();
                let lines = lines.iter().filter(|line| of_field(line) || line.starts_with("# ["));
                let set: String = lines.map(|line| format!("{}\n", &line[2..])).collect();
                if !set.is_empty() {
                    let alone = format!("model = {model:?}\ndata = {data:?}\n{set}");
                    read(&alone).validate().unwrap_or_else(|error| panic!("{error}\n{alone}"));
                    tried += 1;
                }
            }
            assert!(tried > 6, "{model}: {tried}\n{text}");
        }
    }

    #[test]
    fn fields_that_a_model_cannot_have_are_left_out() {
        let has = |model: &str, field: &str| recipe(model).unwrap().contains(&format!("\n# {field}"));
        assert!(has("convit_micro", "local_up_to_layer = 3") && !has("deit_micro", "local_up_to_layer"));
        assert!(has("simple_vit_micro", "content_share = 0.5") && !has("convit_micro", "content_share"));
        assert!(has("prs_micro", "[switch]") && !has("convit_micro", "[switch]"));
        let one_depth = ["resnet_micro", "eit_micro", "prs_micro"];
        assert!(one_depth.iter().all(|model| !has(model, "depth")));
        assert!(has("convit_micro", "depth = 4") && has("convit_tiny", "depth = 12"));
        assert!(has("convit_micro", "init = \"kaiming\"") && has("convit_tiny", "init = \"impulse\""));
    }

    #[test]
    fn lines_fit_80_columns_but_for_long_values() {
        let text = recipe("prs_micro").unwrap();
        let long: Vec<&str> =
            text.lines().filter(|line| line.chars().count() > COLUMNS && !line.contains(" = ")).collect();
        assert!(long.is_empty(), "{long:?}");
    }
}
