//! `inductive reparameterize`: convolutions of a trained network become attention that computes the same (T-CNN).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use inductive_checkpoint::{Description, LoadOptions, Metadata, check_writable, describe, save};
use inductive_data::{DataSpec, SyntheticConfig};
use inductive_files::{did_you_mean, names_a_file, shown};
use inductive_models::{BuildOptions, Model, Switchable, Zoo, build, find, find_switchable};
use inductive_nn::{Gate, ModuleExt, Operator, Positions, Reparameterization, is_in};
use inductive_report::table::{Cell, Column, Table};
use inductive_train::{Probe, build_options_of, check_weights, load_weights};

use crate::{
    args,
    commands::{Done, Settings, eval},
    error::{Error, Result, of_weights},
    help,
    hint::{Line, on_data},
    output::{note, say, say_prose, say_set, terminal},
};

/// Logits that differ by less, or by less of the largest, are taken for the same.
const SAME: f32 = 1e-4;

/// From this locality strength on attention by position is the convolution to the last bits.
const SHARP_ENOUGH: f64 = 16.0;

/// Everything is made and compared before anything is written.
pub fn run<D: Zoo>(device: &D, settings: &Settings, args: args::Reparameterize) -> Result<Done> {
    let how =
        Reparameterization { positions: Positions::Kernel { alpha: args.alpha }, gate: gate(&args.gate)? };
    how.check().map_err(|error| Error::Usage(error.to_string()))?;
    let Source { name, weights, data, synthetic } = source(device, &args)?;
    let target = find_switchable(&name)?.spec.name;
    let about = describe(&weights)?;
    let options =
        BuildOptions { classes: classes(&weights, &about)?, ..build_options_of(&about.metadata, &name) };
    let mut before = build(device, &name, &options)?.model;
    let report = load_weights(&mut *before, &weights, LoadOptions::new())?;
    note(report.to_string().trim_end());
    let mut after = build(device, &target, &options)?.model;
    copy(&*before, &mut *after)?;

    let layers = after.switchable()?;
    let (Some(chosen), Some(out)) = (args.layers.as_deref(), &args.out) else {
        return Err(what_to_give(&layers));
    };
    let chosen = choose(&layers, chosen)?;
    check_weights(&*before).map_err(of_weights(&weights))?;
    check_writable(out)?;
    let replaced = out.exists();
    let usual_images = synthetic == SyntheticConfig::default();
    let images = inductive_data::LoadOptions { image_size: before.spec().image, synthetic };
    let split = data.parse::<DataSpec>()?.load(&images)?;
    split.notices.iter().for_each(|notice| note(&format!("note: {notice}")));
    let probe = Probe::new(&*split.test, &*before)?;

    let old = probe.logits(device, &*before)?;
    for index in &chosen {
        after.reparameterize(*index, &how)?;
    }
    let new = probe.logits(device, &*after)?;
    if let Some(which) =
        [(&old, "weights"), (&new, "result")].iter().find(|(it, _)| it.iter().any(|l| !l.is_finite()))
    {
        return Err(Error::Failure(format!(
            "{}: the {} has logits that are no numbers; nothing was written",
            shown(weights.display()),
            which.1
        )));
    }
    let now = after.switchable()?;
    save(&*after, out, &metadata(about.metadata, &target, &options, &now))?;

    say_set(table(&target, &layers, &now).terminal(&terminal()))?;
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0, f32::max);
    let apart = largest(&mut old.iter().zip(&new).map(|(a, b)| (a - b).abs()));
    let scale = largest(&mut old.iter().map(|v| v.abs()));
    say_prose(format!(
        "logits of {} test images of {}, before and after: the largest difference is {apart:.1e}, the largest logit {scale:.1}",
        probe.count(),
        shown(&data)
    ))?;
    if apart >= SAME * scale.max(1.0) {
        note(&format!("warning: the network does not compute what it computed{}", why(&args, how.gate)));
    }
    let earlier = if replaced { ", in place of an earlier file" } else { "" };
    say(format!("written: {} ({target}, {} parameters{earlier})", shown(out.display()), after.num_params()))?;
    let eval = Line::new("eval").word(&target).option("weights", out);
    let eval = on_data(eval, Some(&data), after.spec(), &*split.test, &settings.common);
    let images = if usual_images { "" } else { "\n      on the set's usual images, not the run's" };
    say(format!("\nnext: {eval}{images}"))?;
    let path = toml::Value::from(out.display().to_string());
    say(format!("To train on, in a recipe:\nmodel = \"{target}\"\nweights = {}", shown(path)))?;
    Ok(Done::Complete)
}

/// What keeps the function from being kept.
fn why(args: &args::Reparameterize, gate: Gate) -> String {
    match gate {
        Gate::Held | Gate::Linear(1.0) if args.alpha >= SHARP_ENOUGH => {
            ", by more than rounding: check the accuracy before going on".to_owned()
        }
        Gate::Held | Gate::Linear(1.0) => {
            format!(
                ": with alpha {} heads also see other patches; from {SHARP_ENOUGH} on they do not",
                args.alpha
            )
        }
        _ => format!(": the gate {} lets content in; `linear:1` and `held` do not", args.gate),
    }
}

/// The request is not complete: says what there is to choose from.
fn what_to_give(layers: &[Switchable]) -> Error {
    let names: Vec<&str> = layers.iter().map(|it| it.name.as_str()).collect();
    Error::Usage(format!(
        "give --weights FILE (or a file in place of the model), --layers, some of {} or `all`, and --out FILE",
        names.join(", ")
    ))
}

/// `linear:1`, `sigmoid:1` or `held`.
fn gate(text: &str) -> Result<Gate> {
    let wrong = || Error::Usage(format!("--gate {text}: give `linear:SHARE`, `sigmoid:LAMBDA` or `held`"));
    let number = |text: &str| text.parse::<f64>().map_err(|_| wrong());
    match text.split_once(':') {
        None if text == "held" => Ok(Gate::Held),
        Some(("linear", share)) => Ok(Gate::Linear(number(share)?)),
        Some(("sigmoid", lambda)) => Ok(Gate::Sigmoid(number(lambda)?)),
        _ => Err(wrong()),
    }
}

/// What is to be changed, and the images that it is looked at with.
struct Source {
    /// The model's.
    name: String,
    weights: PathBuf,
    data: String,
    synthetic: SyntheticConfig,
}

/// Model and file: both given, or a file that says its model, also as the folder of a run.
fn source<D: Zoo>(device: &D, args: &args::Reparameterize) -> Result<Source> {
    let path = Path::new(&args.model);
    if args.weights.is_none() && find(&args.model).is_err() && path.is_dir() {
        let (recipe, weights) = eval::of_run(path, None, args.data.as_ref())?;
        let synthetic = recipe.synthetic.into();
        return Ok(Source { name: recipe.model, weights, data: recipe.data, synthetic });
    }
    let (name, weights) = of_file(device, args)?;
    let data = args.data.clone().unwrap_or_else(|| help::DATA.to_owned());
    Ok(Source { name, weights, data, synthetic: SyntheticConfig::default() })
}

fn of_file<D: Zoo>(device: &D, args: &args::Reparameterize) -> Result<(String, PathBuf)> {
    if let Some(weights) = &args.weights {
        find(&args.model)?;
        return Ok((args.model.clone(), weights.clone()));
    }
    let path = Path::new(&args.model);
    if !args.model.ends_with(".safetensors") && !names_a_file(path) {
        let target = find_switchable(&args.model)?.spec.name;
        return Err(what_to_give(&build(device, &target, &BuildOptions::default())?.model.switchable()?));
    }
    let Some(name) = describe(path)?.metadata.remove("model") else {
        return Err(Error::Usage(format!(
            "{} does not say which model it is of: give `{}`",
            shown(path.display()),
            Line::new("reparameterize").word("MODEL").option("weights", path)
        )));
    };
    find(&name)?;
    Ok((name, path.to_owned()))
}

/// Rows of the classifier in the file, whatever stands before its name.
fn classes(weights: &Path, about: &Description) -> Result<usize> {
    let is_head = |name: &str| {
        let mut parts = name.rsplit('.');
        parts.next() == Some("weight") && matches!(parts.next(), Some("head" | "fc"))
    };
    let head = about.tensors.iter().find(|it| is_head(&it.name));
    let rows = head.and_then(|it| match it.shape[..] {
        [rows, columns] if columns > 0 => Some(rows),
        _ => None,
    });
    rows.ok_or_else(|| {
        let problem = "it has no `head.weight` or `fc.weight`, which tells the number of classes";
        Error::Usage(format!(
            "{}: {problem}; give the weights of a whole classifier",
            shown(weights.display())
        ))
    })
}

/// Gives `to` the parameters of `from`, a model of the same kind that may lack what attention adds.
fn copy<D: Zoo>(from: &dyn Model<f32, D>, to: &mut dyn Model<f32, D>) -> Result<()> {
    let mut values = BTreeMap::new();
    from.for_each_parameter(&mut |p| {
        values.insert(p.name().to_owned(), p.to_vec());
        Ok(())
    })?;
    to.for_each_parameter_mut(&mut |p| match values.remove(p.name()) {
        Some(values) => p.copy_from(&values),
        None => Ok(()),
    })?;
    match values.into_keys().next() {
        None => Ok(()),
        Some(name) => Err(Error::Failure(format!("{} has no parameter `{name}`", to.spec().name))),
    }
}

/// Numbers of the layers that `text` names and that are convolutions; those that are attention keep what they learned.
fn choose(layers: &[Switchable], text: &str) -> Result<Vec<usize>> {
    let mut chosen = vec![false; layers.len()];
    let names: Vec<&str> = layers.iter().map(|it| it.name.as_str()).collect();
    let refuse = |what: String, name: &str| {
        let meant = did_you_mean(name, names.iter().copied());
        Err(Error::Usage(format!("{what}; these can: {}{meant}", names.join(", "))))
    };
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let found: Vec<bool> = layers.iter().map(|layer| part == "all" || is_in(&layer.name, part)).collect();
        chosen.iter_mut().zip(&found).for_each(|(chosen, found)| *chosen |= found);
        if !found.contains(&true) {
            return refuse(format!("--layers {part}: no layer of this name can leave convolution"), part);
        }
    }
    let is_convolution = |index: &usize| layers[*index].operator == Operator::Convolution;
    let (now, left): (Vec<usize>, Vec<usize>) =
        (0..layers.len()).filter(|index| chosen[*index]).partition(is_convolution);
    if now.is_empty() {
        if !left.is_empty() {
            return Err(Error::Usage(format!("--layers {text}: all of them are attention already")));
        }
        return refuse("--layers names no layer that can leave convolution".to_owned(), "");
    }
    if !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|index| layers[*index].name.as_str()).collect();
        note(&format!("note: left as they are, attention already: {}", names.join(", ")));
    }
    Ok(now)
}

/// What the source said of itself, but for what is another now.
fn metadata(mut about: Metadata, target: &str, options: &BuildOptions, now: &[Switchable]) -> Metadata {
    let switched = now.iter().filter(|it| it.operator != Operator::Convolution);
    let names: Vec<&str> = switched.map(|it| it.name.as_str()).collect();
    about.extend(
        [
            ("model", target.to_owned()),
            ("classes", options.classes.to_string()),
            ("reparameterized", names.join(",")),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    about
}

/// What each layer was and is.
fn table(target: &str, before: &[Switchable], after: &[Switchable]) -> Table {
    let columns = [
        Column::left("layer"),
        Column::left("before"),
        Column::left("after"),
        Column::right("share of position"),
    ];
    let mut table = Table::new(format!("Layers of {target} that can leave convolution"), columns);
    for (before, after) in before.iter().zip(after) {
        let share = after.gates.iter().sum::<f64>() / after.gates.len().max(1) as f64;
        table.row([
            Cell::text(&before.name),
            Cell::text(before.operator.to_string()),
            Cell::text(after.operator.to_string()),
            Cell::number(share, 3),
        ]);
    }
    table
}
