//! `inductive data`: known data sets, and checking one.

use inductive_data::{DataSpec, Descriptor};

use crate::{args::Data, commands::Done, error::Result};

pub fn run(args: Data) -> Result<Done> {
    match args.data {
        None => {
            for descriptor in Descriptor::all() {
                let d = descriptor;
                println!("{}: {}", d.name, d.title);
                println!(
                    "  {} training and {} test images, {} x {}, {} classes",
                    d.train,
                    d.test,
                    d.height,
                    d.width,
                    d.classes.len()
                );
                println!("  layout: {}", d.layout.trim());
                if let Some(url) = &d.url {
                    println!("  from: {url}");
                }
                println!("  terms: {}\n", d.licence.trim());
            }
        }
        Some(text) => {
            let split = text.parse::<DataSpec>()?.load(&Default::default())?;
            split.notices.iter().for_each(|notice| println!("note: {notice}"));
            for (name, set) in [("train", &split.train), ("test", &split.test)] {
                let info = set.info();
                println!(
                    "{name}: {} images of {} x {} pixels, {} classes",
                    set.len(),
                    info.height,
                    info.width,
                    set.num_classes()
                );
            }
        }
    }
    Ok(Done::Complete)
}
