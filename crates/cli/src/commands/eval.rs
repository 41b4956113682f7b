//! `inductive eval`: accuracy of saved weights.

use inductive_checkpoint::LoadOptions;
use inductive_data::{DataSpec, Loader, LoaderConfig, Pipeline};
use inductive_models::{BuildOptions, Zoo, build};

use crate::{args::Eval, commands::Done, error::Result};

pub fn run<D: Zoo>(device: &D, args: Eval) -> Result<Done> {
    let spec: DataSpec = args.data.parse()?;
    let split = spec.load(&Default::default())?;
    split.notices.iter().for_each(|notice| eprintln!("note: {notice}"));
    let info = split.test.info();
    let options = BuildOptions {
        classes: split.test.num_classes(),
        local_up_to_layer: args.local_up_to_layer,
        ..BuildOptions::default()
    };
    let mut model = build(device, &args.model, &options)?.model;
    let loading = if args.partial { LoadOptions::new().partial() } else { LoadOptions::new() };
    let report = inductive_checkpoint::load(&mut *model, &args.weights, &loading)?;
    print!("{report}");
    let pipeline = Pipeline::eval(info);
    let config =
        LoaderConfig { batch_size: args.batch_size, shuffle: false, drop_last: false, ..Default::default() };
    let loader = Loader::new(split.test.clone(), pipeline, config)?;
    let result = inductive_train::evaluate(device, &*model, &loader)?;
    println!(
        "{} on {} ({} test images): top-1 {:.2} %, top-5 {:.2} %, loss {:.4}",
        args.model,
        args.data,
        split.test.len(),
        result.top1,
        result.top5,
        result.loss
    );
    Ok(Done::Complete)
}
