//! `inductive inspect`: models and checkpoints.

use std::path::Path;

use dfdx::prelude::Cpu;
use inductive_models::{BuildOptions, build, entries, find};
use inductive_papers::{
    table::{Cell, Column, Table},
    text::Terminal,
};

use crate::{args::Inspect, commands::Done, error::Result, output::say};

pub fn run(args: Inspect) -> Result<Done> {
    match args.what {
        None => say(models().terminal(&Terminal::default()))?,
        Some(what) if what.ends_with(".safetensors") || Path::new(&what).exists() => {
            say(inductive_checkpoint::describe(&what)?.to_string())?;
        }
        Some(name) => say(model(&name)?.terminal(&Terminal::default()))?,
    }
    Ok(Done::Complete)
}

fn models() -> Table {
    let heads = ["image", "patch", "width", "heads", "depth", "gated", "GMACs"].map(Column::right);
    let mut table = Table::new("Models", [Column::left("name")].into_iter().chain(heads));
    for entry in entries() {
        let s = entry.spec;
        table.row([
            Cell::text(&s.name),
            Cell::count(s.image.0),
            Cell::count(s.patch),
            Cell::count(s.embed_dim),
            Cell::count(s.heads),
            Cell::count(s.depth),
            Cell::count(s.local_up_to_layer),
            Cell::number(s.macs() as f64 / 1e9, 3),
        ]);
    }
    table.note(
        "gated: layers with gated positional attention; GMACs: forward pass of one image, 1000 classes.",
    );
    table
}

fn model(name: &str) -> Result<Table> {
    let spec = find(name)?.spec;
    let model = build(&Cpu::default(), name, &BuildOptions::default())?.model;
    let mut table = Table::new(
        format!(
            "{name}: {} parameters, {:.3} GMACs, 1000 classes",
            model.num_params(),
            spec.macs() as f64 / 1e9
        ),
        [Column::left("parameter"), Column::right("shape"), Column::right("numbers")],
    );
    model.for_each_parameter(&mut |p| {
        table.row([Cell::text(p.name()), Cell::text(format!("{:?}", p.shape())), Cell::count(p.numel())]);
        Ok(())
    })?;
    Ok(table)
}
