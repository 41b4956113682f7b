//! `inductive reparameterize`: convolutions of a trained network become attention that computes the same (T-CNN).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use inductive_attention::{Gate, Positions, Reparameterization};
use inductive_checkpoint::{LoadOptions, Metadata, check_writable, describe, load, save};
use inductive_data::DataSpec;
use inductive_models::{BuildOptions, Model, Switchable, Zoo, build, find, find_switchable};
use inductive_papers::table::{Cell, Column, Table};
use inductive_train::Probe;

use crate::{
    args,
    commands::Done,
    error::{Error, Result},
    output::{note, say, terminal},
};

/// Logits that differ by less are taken for the same.
const SAME: f32 = 1e-4;

/// Everything is made and compared before anything is written.
pub fn run<D: Zoo>(device: &D, args: args::Reparameterize) -> Result<Done> {
    let how =
        Reparameterization { positions: Positions::Kernel { alpha: args.alpha }, gate: gate(&args.gate)? };
    how.check().map_err(|error| Error::Usage(error.to_string()))?;
    let (name, weights) = source(&args)?;
    let target = find_switchable(&name)?.spec.name;
    let options = BuildOptions { classes: classes(&weights)?, ..BuildOptions::default() };
    let mut before = build(device, &name, &options)?.model;
    let report = load(&mut *before, &weights, &LoadOptions::new())?;
    note(report.to_string().trim_end());
    let mut after = build(device, &target, &options)?.model;
    copy(&*before, &mut *after)?;

    let layers = after.switchable()?;
    let (Some(chosen), Some(out)) = (args.layers.as_deref(), &args.out) else {
        let names: Vec<&str> = layers.iter().map(|it| it.name.as_str()).collect();
        return Err(Error::Usage(format!(
            "give --layers, some of {} or `all`, and --out FILE",
            names.join(", ")
        )));
    };
    let chosen = choose(&layers, chosen)?;
    check_writable(out)?;
    let replaced = out.exists();
    let data = args
        .data
        .parse::<DataSpec>()?
        .load(&inductive_data::LoadOptions { folder_size: before.spec().image.0, ..Default::default() })?;
    data.notices.iter().for_each(|notice| note(&format!("note: {notice}")));
    let probe = Probe::new(&*data.test, &*before)?;

    let old = probe.logits(device, &*before)?;
    for index in &chosen {
        after.reparameterize(*index, &how)?;
    }
    let new = probe.logits(device, &*after)?;
    let now = after.switchable()?;
    save(&*after, out, &metadata(&target, &options, &chosen, &layers))?;

    say(table(&target, &layers, &now).terminal(&terminal()))?;
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0, f32::max);
    let apart = largest(&mut old.iter().zip(&new).map(|(a, b)| (a - b).abs()));
    let scale = largest(&mut old.iter().map(|v| v.abs()));
    say(format!(
        "logits of {} test images of {}, before and after: the largest difference is {apart:.1e}, the largest logit {scale:.1}",
        probe.count(),
        args.data
    ))?;
    if apart.is_nan() || apart >= SAME {
        note(&format!(
            "warning: the network does not compute what it computed; from alpha 16 on, with a gate at 1, it does (here alpha \
             {}, gate {})",
            args.alpha, args.gate
        ));
    }
    let earlier = if replaced { ", in place of an earlier file" } else { "" };
    say(format!("written: {} ({target}, {} parameters{earlier})", out.display(), after.num_params()))?;
    say(format!("\nnext: inductive eval {target} --weights {} --data DATA", out.display()))?;
    Ok(Done::Complete)
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

/// Name of the model, and its file: both given, or a file that says its model.
fn source(args: &args::Reparameterize) -> Result<(String, PathBuf)> {
    if let Some(weights) = &args.weights {
        find(&args.model)?;
        return Ok((args.model.clone(), weights.clone()));
    }
    let path = Path::new(&args.model);
    if !args.model.ends_with(".safetensors") && !path.is_file() {
        find(&args.model)?;
        return Err(Error::Usage(format!("give the trained weights of {} with --weights FILE", args.model)));
    }
    let Some(name) = describe(path)?.metadata.remove("model") else {
        return Err(Error::Usage(format!(
            "{} does not say which model it is of: give `reparameterize MODEL --weights {0}`",
            path.display()
        )));
    };
    find(&name)?;
    Ok((name, path.to_owned()))
}

/// Rows of the classifier in the file.
fn classes(weights: &Path) -> Result<usize> {
    let tensors = describe(weights)?.tensors;
    let is_head = |name: &str| matches!(name.rsplit_once('.'), Some(("head" | "fc", "weight")));
    let head = tensors.iter().find(|it| is_head(&it.name)).and_then(|it| it.shape.first().copied());
    head.ok_or_else(|| {
        let problem = "it has no `head.weight` or `fc.weight`, which tells the number of classes";
        Error::Usage(format!("{}: {problem}; give the weights of a whole classifier", weights.display()))
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
    Ok(())
}

/// Numbers of the layers that `text` names.
fn choose(layers: &[Switchable], text: &str) -> Result<Vec<usize>> {
    let mut chosen = vec![false; layers.len()];
    for part in text.split(',').map(str::trim) {
        let begins = |name: &str| {
            part == "all"
                || name.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let found: Vec<bool> = layers.iter().map(|layer| begins(&layer.name)).collect();
        chosen.iter_mut().zip(&found).for_each(|(chosen, found)| *chosen |= found);
        if !found.contains(&true) {
            let names: Vec<&str> = layers.iter().map(|it| it.name.as_str()).collect();
            return Err(Error::Usage(format!(
                "--layers {part}: no layer of this name can leave convolution; these can: {}",
                names.join(", ")
            )));
        }
    }
    Ok((0..layers.len()).filter(|index| chosen[*index]).collect())
}

fn metadata(target: &str, options: &BuildOptions, chosen: &[usize], layers: &[Switchable]) -> Metadata {
    let names: Vec<&str> = chosen.iter().map(|index| layers[*index].name.as_str()).collect();
    let entries = [
        ("model", target.to_owned()),
        ("classes", options.classes.to_string()),
        ("reparameterized", names.join(",")),
    ];
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
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
