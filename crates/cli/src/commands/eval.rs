//! `inductive eval`: accuracy of saved weights.

use inductive_checkpoint::LoadOptions;
use inductive_data::{DataSpec, Loader, LoaderConfig, Pipeline};
use inductive_files::shown;
use inductive_models::{BuildOptions, Zoo, build, find};

use crate::{
    args::Eval,
    commands::Done,
    error::{Error, Result, of_weights},
    output::{note, say},
};

pub fn run<D: Zoo>(device: &D, args: Eval) -> Result<Done> {
    if args.batch_size == 0 {
        return Err(Error::Usage("--batch-size 0: give at least 1".to_owned()));
    }
    let (height, width) = find(&args.model)?.spec.image;
    let spec: DataSpec = args.data.parse()?;
    let split = spec.load(&inductive_data::LoadOptions { folder_size: height, ..Default::default() })?;
    split.notices.iter().for_each(|notice| note(&format!("note: {notice}")));
    let test = &split.test;
    if (test.height(), test.width()) != (height, width) {
        return Err(inductive_train::Error::ImageSize {
            model: args.model,
            expected: format!("{height} x {width} pixels"),
            data: args.data,
            got: format!("{} x {}", test.height(), test.width()),
        }
        .into());
    }
    let options = BuildOptions {
        classes: test.num_classes(),
        local_up_to_layer: args.local_up_to_layer,
        ..BuildOptions::default()
    };
    let mut model = build(device, &args.model, &options)?.model;
    let loading = if args.partial { LoadOptions::new().partial() } else { LoadOptions::new() };
    let report = inductive_checkpoint::load(&mut *model, &args.weights, &loading)?;
    note(report.to_string().trim_end());
    let config = LoaderConfig::eval(args.batch_size);
    let loader = Loader::new(test.clone(), Pipeline::eval(test.info()), config)?;
    let result =
        inductive_train::evaluate_finite(device, &*model, &loader).map_err(of_weights(&args.weights))?;
    say(format!(
        "{} on {} ({} test images): top-1 {:.2} %, top-5 {:.2} %, loss {:.4}",
        args.model,
        shown(&args.data),
        test.len(),
        result.top1,
        result.top5,
        result.loss
    ))?;
    Ok(Done::Complete)
}
