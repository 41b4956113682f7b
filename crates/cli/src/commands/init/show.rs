//! What `init` prints.

use inductive_data::Dataset;
use inductive_files::shown;
use inductive_init::initializer_names;
use inductive_models::{BlockRecord, Family, LayerInitialised, ModelSpec, Pool};
use inductive_nn::ModuleExt;
use inductive_report::table::{Cell, Column, Table};
use inductive_train::{Initial, mass_on_targets};

use super::request::{OWN, Pictures, Request};
use crate::{
    args::Common,
    error::Result,
    help::listed,
    hint::{Line, on_data},
    output::{say, say_prose, say_set, terminal},
};

/// All names with what they stand for.
pub fn described() -> impl Iterator<Item = (String, String)> {
    let own = "what the model begins with otherwise: as published, of small models by their width";
    std::iter::once((OWN.to_owned(), own.to_owned())).chain(initializer_names())
}

/// The names of all strategies.
pub fn strategies() -> Table {
    let mut table = Table::new("Initial weights", [Column::left("--strategy"), Column::left("what")]);
    for (name, what) in described() {
        table.row([Cell::text(name), Cell::text(what)]);
    }
    table.note("Or a .toml file with the parts of a strategy, as `init` has them in a recipe.");
    table
}

/// The same in lines, for an error.
pub fn names() -> String {
    listed("Names", described())
}

/// The error of a request without `--strategy`.
pub fn no_strategy() -> String {
    format!("init: which weights? Give --strategy with a .toml file, or a name\n\n{}", names())
}

/// What each layer aims at and reaches. attention: of so many images.
pub fn layers(
    request: &Request,
    initial: &Initial,
    attention: &[BlockRecord<f32>],
    images: usize,
) -> Result<()> {
    let (recipe, spec) = (&request.recipe, initial.model.spec());
    let strategy = recipe.init.as_ref().map_or_else(|| OWN.to_owned(), ToString::to_string);
    let title = format!("{}, {strategy}, seed {}", recipe.model, recipe.seed);
    let numbers = ["mass", "hits, %", "MSE", "uniform MSE", "mass on images"].map(Column::right);
    let columns = [Column::left("layer"), Column::left("offsets of the heads")].into_iter().chain(numbers);
    let mut table = Table::new(title, columns);
    for layer in &initial.initialised.layers {
        let Some(quality) = &layer.quality else { continue };
        let mass = attention.iter().find_map(|block| mass_on_targets(block, std::slice::from_ref(layer)));
        table.row([
            Cell::text(&layer.name),
            Cell::text(offsets(layer, spec)),
            Cell::number(quality.mass(), 3),
            Cell::number(100.0 * quality.hits(), 1),
            Cell::number(quality.mse(), 5),
            Cell::number(quality.uniform_mse(), 5),
            mass.map_or(Cell::Empty, |mass| Cell::number(mass, 3)),
        ]);
    }
    if table.rows.is_empty() {
        return say(format!("{}: this strategy aims at no attention map.", table.title));
    }
    let tokens = spec.grid().tokens() as f64;
    table.note(format!(
        "Offsets: rows down and columns to the right of the query. Mass: attention to the target, 1/{tokens} = {:.4} if \
         uniform; hits: queries that attend to it most; on what the layer is solved on, mean of the heads.",
        tokens.recip()
    ));
    table.note(format!("On images: {images} of {}, in the whole model.", recipe.data));
    say_set(table.terminal(&terminal()))
}

fn offsets(layer: &LayerInitialised, spec: &ModelSpec) -> String {
    let offsets = layer.targets.iter().map(|target| target.offset(spec.grid()));
    let show =
        |offset: Option<_>| offset.map_or("scrambled".to_owned(), |it| format!("{it}").replace(' ', ""));
    offsets.map(show).collect::<Vec<_>>().join(" ")
}

/// What was written.
pub fn files(
    request: &Request,
    initial: &Initial,
    attention: &[BlockRecord<f32>],
    images: usize,
) -> Result<()> {
    let written = |path: &std::path::Path, what: &str| {
        let replaced =
            if request.replaced.iter().any(|it| it == path) { ", in place of an earlier file" } else { "" };
        say(format!("written: {} ({what}{replaced})", shown(path.display())))
    };
    let parameters = initial.model.num_params();
    let of_authors = matches!(initial.model.spec().family, Family::SimpleVit(_) | Family::Eit(_));
    let names = if of_authors { "" } else { ", timm's names" };
    written(&request.out, &format!("{parameters} parameters, {} classes{names}", request.classes))?;
    written(&request.run, "the recipe of a run that begins with these weights")?;
    let Some(Pictures { attention: maps, position }) = &request.pictures else { return Ok(()) };
    let Some(heads) = attention.iter().filter_map(|block| block.attention.as_ref()).map(|it| it.heads).max()
    else {
        return say("no pictures: the model has no attention");
    };
    written(maps, &format!("mean attention over {images} images of {}", shown(&request.recipe.data)))?;
    written(position, "attention on an image of one colour: position alone")?;
    say_prose(format!(
        "  each picture: {} rows of layers, {heads} columns of heads; queries down, keys across, a class token first; black is 0, \
         the lightest the number above the map",
        attention.len()
    ))
}

/// What to do with it.
pub fn next(request: &Request, spec: &ModelSpec, data: &dyn Dataset, common: &Common) -> Result<()> {
    let train = on_data(Line::new("train").path(&request.run), None, spec, data, common);
    say(format!("\nnext: {train}"))?;
    let out = request.out.display();
    if let Some(model) = timm_model(spec) {
        say("or in Python")?;
        say("    import timm, safetensors.torch")?;
        say(format!("    model = {model}"))?;
        say(format!("    model.load_state_dict(safetensors.torch.load_file({:?}))", out.to_string()))?;
    }
    Ok(())
}

/// The timm models of the same name and the same parameters.
const OF_TIMM: [&str; 9] = [
    "deit_tiny_patch16_224",
    "deit_small_patch16_224",
    "deit_base_patch16_224",
    "convit_tiny",
    "convit_small",
    "convit_base",
    "resnet18",
    "resnet34",
    "resnet50",
];

/// Python that makes the model in timm, where timm has it.
fn timm_model(spec: &ModelSpec) -> Option<String> {
    let ModelSpec { name, classes, patch, embed_dim, depth, .. } = spec;
    if OF_TIMM.contains(&name.as_str()) {
        return Some(format!("timm.create_model({name:?}, num_classes={classes})"));
    }
    let (class, more) = match &spec.family {
        Family::Vit(vit) if vit.pool == Pool::Average => {
            ("vision_transformer.VisionTransformer", ", class_token=False, global_pool=\"avg\"".to_owned())
        }
        Family::Vit(_) => ("vision_transformer.VisionTransformer", String::new()),
        Family::Convit(convit) => {
            ("convit.ConVit", format!(", local_up_to_layer={}", convit.local_up_to_layer))
        }
        _ => return None,
    };
    let heads = spec.heads();
    Some(format!(
        "timm.models.{class}(img_size={}, patch_size={patch}, embed_dim={embed_dim}, depth={depth}, num_heads={heads}, \
         num_classes={classes}{more})",
        spec.image.0
    ))
}
