//! `inductive inspect`: models and checkpoints.

use std::path::Path;

use dfdx::prelude::Cpu;
use inductive_files::{names_a_file, shown};
use inductive_models::{BuildOptions, ConvMixerSpec, Family, ModelSpec, Overlap, build, entries, find};
use inductive_nn::ModuleExt;
use inductive_report::table::{Cell, Column, Table};

use crate::{
    args::Inspect,
    commands::{Done, eval::weights_of_run},
    error::Result,
    output::{say, say_prose, say_set, terminal},
};

pub fn run(args: Inspect) -> Result<Done> {
    match args.what {
        None => say_set(models().terminal(&terminal()))?,
        Some(what) if what.ends_with(".safetensors") || names_a_file(&what) => {
            say(inductive_checkpoint::describe(&what)?.to_string())?;
        }
        Some(what) if find(&what).is_err() && Path::new(&what).is_dir() => {
            let weights = weights_of_run(what.as_ref())?;
            say(format!("{}:", shown(weights.display())))?;
            say(inductive_checkpoint::describe(weights)?.to_string())?;
        }
        Some(name) => model(&name)?,
    }
    Ok(Done::Complete)
}

fn models() -> Table {
    let heads = ["image", "patch", "width", "heads", "depth", "gated", "GMACs"].map(Column::right);
    let mut table = Table::new("Models", [Column::left("name")].into_iter().chain(heads));
    for entry in entries() {
        let s = entry.spec;
        let patch = match s.overlap() {
            Some(Overlap { kernel, stride, pool }) => Cell::text(format!("{kernel}/{stride}/{pool}")),
            None => Cell::count(s.patch),
        };
        table.row([
            Cell::text(&s.name),
            Cell::count(s.image.0),
            patch,
            Cell::count(s.embed_dim),
            Cell::count(s.heads()),
            Cell::count(s.depth),
            Cell::count(s.local_up_to_layer().unwrap_or(0)),
            Cell::number(s.macs() as f64 / 1e9, 3),
        ]);
    }
    table.note(
        "patch: its side, or kernel/stride/pooling of overlapping patches; of a ResNet, pixels per place of the last grid.",
    );
    table.note(
        "gated: layers with gated positional attention; GMACs: forward pass of one image, 1000 classes.",
    );
    table
}

fn model(name: &str) -> Result<()> {
    let spec = find(name)?.spec;
    let model = build(&Cpu::default(), name, &BuildOptions::default())?.model;
    say_prose(format!(
        "{name}: {} parameters, {} classes\n{}",
        model.num_params(),
        spec.classes,
        head(&spec)
    ))?;
    let layers: Vec<String> = model.switchable()?.into_iter().map(|layer| layer.name).collect();
    if !layers.is_empty() {
        say_prose(format!("layers that can leave convolution for attention: {}", layers.join(", ")))?;
        if let Some(stages) = spec.stages() {
            let more = stages.attention_macs(spec.grid().tokens(), 9, 16) as f64 / 1e9;
            say(format!("GMACs that attention adds when all have, at most: {more:.3}"))?;
        }
    }
    say("")?;
    let columns = [Column::left("parameter"), Column::right("shape"), Column::right("numbers")];
    let mut table = Table::new("Parameters", columns);
    model.for_each_parameter(&mut |p| {
        table.row([Cell::text(p.name()), Cell::text(format!("{:?}", p.shape())), Cell::count(p.numel())]);
        Ok(())
    })?;
    say_set(table.terminal(&terminal()))
}

/// What a model does with an image, in lines.
fn head(spec: &ModelSpec) -> String {
    let (grid, (height, width)) = (spec.grid(), spec.image);
    let giga = |macs: u64| macs as f64 / 1e9;
    if spec.resnet().is_some() {
        let macs = giga(spec.macs());
        return format!(
            "last grid: {} x {} of an image of {height} x {width} pixels\nGMACs of one image: {macs:.3}",
            grid.rows, grid.cols
        );
    }
    let patches = match spec.overlap() {
        Some(Overlap { kernel, stride, pool }) => format!(
            "convolution {kernel} x {kernel} with stride {stride}, then the largest of {pool} x {pool}"
        ),
        None => format!("{0} x {0} pixels each", spec.patch),
    };
    let mut lines = vec![format!(
        "patches: {} x {} of an image of {height} x {width} pixels ({patches})",
        grid.rows, grid.cols
    )];
    if let Some(eit) = spec.eit() {
        let split = eit.conv_channels.iter().map(|e| format!("{e}+{}", spec.embed_dim - e));
        let split = split.collect::<Vec<_>>().join(", ");
        lines.push(format!("channels through convolution + attention, layer by layer: {split}"));
    }
    if let Family::ConvMixer(ConvMixerSpec { kernel, relu }) = spec.family {
        lines.push(format!(
            "depthwise convolutions {kernel} x {kernel}, {}\nGMACs of one image: {:.3}",
            if relu { "ReLU" } else { "GELU" },
            giga(spec.macs())
        ));
        return lines.join("\n");
    }
    lines.push(format!(
        "GMACs of one image: {:.3}; of the layers alone, without attention products: {:.3}",
        giga(spec.macs()),
        giga(spec.macs_of_layers())
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use inductive_report::text::Terminal;

    use super::*;

    #[test]
    fn the_head_of_an_eit_says_grid_split_and_both_counts() {
        insta::assert_snapshot!(head(&find("eit_mini").unwrap().spec), @r"
        patches: 19 x 19 of an image of 224 x 224 pixels (convolution 16 x 16 with stride 4, then the largest of 3 x 3)
        channels through convolution + attention, layer by layer: 200+50, 150+100, 100+150, 50+200, 0+250
        GMACs of one image: 1.926; of the layers alone, without attention products: 1.730
        ");
    }

    #[test]
    fn the_head_of_another_model_has_no_split() {
        insta::assert_snapshot!(head(&find("deit_tiny_patch16_224").unwrap().spec), @r"
        patches: 14 x 14 of an image of 224 x 224 pixels (16 x 16 pixels each)
        GMACs of one image: 1.254; of the layers alone, without attention products: 1.075
        ");
    }

    #[test]
    fn the_head_of_a_resnet_has_no_patches() {
        insta::assert_snapshot!(head(&find("resnet50").unwrap().spec), @r"
        last grid: 7 x 7 of an image of 224 x 224 pixels
        GMACs of one image: 4.089
        ");
    }

    #[test]
    fn the_head_of_a_convmixer_says_its_filters() {
        insta::assert_snapshot!(head(&find("convmixer_768_32").unwrap().spec), @r"
        patches: 32 x 32 of an image of 224 x 224 pixels (7 x 7 pixels each)
        depthwise convolutions 7 x 7, ReLU
        GMACs of one image: 20.677
        ");
    }

    #[test]
    fn the_list_of_models_has_a_line_for_each_where_80_columns_are() {
        let text = models().terminal(&Terminal { width: 80, ..Terminal::default() });
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for entry in entries() {
            // The name, and behind it what it has: nothing is broken into a second line.
            let name = format!(" {} ", entry.spec.name);
            let line = text.lines().find(|line| format!("{line} ").starts_with(&name));
            let words = line.map(|line| line.split_whitespace().count());
            assert!(words.is_some_and(|words| words >= 7), "{name}: {line:?}");
        }
    }
}
