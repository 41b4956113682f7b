//! `inductive data`: known data sets, and checking one.

use inductive_data::{DataSpec, Descriptor};

use crate::{
    args::Data,
    commands::Done,
    error::Result,
    help,
    output::{say, say_prose},
    progress::count,
};

pub fn run(args: Data) -> Result<Done> {
    match args.data {
        None => {
            Descriptor::all().iter().try_for_each(show)?;
            say_prose(format!("--data takes {}", help::data(help::PATHS)))?;
        }
        Some(text) => {
            let split = text.parse::<DataSpec>()?.load(&Default::default())?;
            for notice in &split.notices {
                say(format!("note: {notice}"))?;
            }
            for (name, set) in [("train", &split.train), ("test", &split.test)] {
                let (height, width, classes) = (set.height(), set.width(), set.num_classes());
                say(format!(
                    "{name}: {} of {height} x {width} pixels, {}",
                    count(set.len(), "image"),
                    count(classes, "class")
                ))?;
            }
        }
    }
    Ok(Done::Complete)
}

fn show(d: &Descriptor) -> Result<()> {
    say(format!("{}: {}", d.name, d.title))?;
    let classes = d.classes.len();
    say(format!(
        "  {} training and {} test images, {} x {} pixels, {classes} classes",
        d.train, d.test, d.height, d.width
    ))?;
    say_prose(format!("  layout: {}", d.layout.trim()))?;
    if let Some(url) = &d.url {
        say(format!("  from: {url}"))?;
    }
    say_prose(format!("  terms: {}\n", d.licence.trim()))
}
