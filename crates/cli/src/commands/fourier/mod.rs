//! `inductive fourier`: which frequencies every operator of a model removes from its feature maps or adds to them.

mod request;
mod show;

use std::path::Path;

use inductive_checkpoint::write_atomic;
use inductive_data::{DataSpec, LoadOptions, SyntheticConfig};
use inductive_files::shown;
use inductive_models::{Zoo, find};
use inductive_train::{Probe, frequencies};

use crate::{
    args::Fourier,
    commands::{Done, Settings, eval},
    error::{Error, Result},
    output::note,
    progress::ImagesView,
};
use request::Request;

/// A run's folder in the place of what is measured: its weights, on its own data if no others are given.
fn of_run(args: Fourier) -> Result<(Fourier, SyntheticConfig)> {
    let folder = Path::new(&args.what);
    if find(&args.what).is_ok() || !folder.is_dir() {
        return Ok((args, SyntheticConfig::default()));
    }
    let (recipe, weights) = eval::of_run(folder, None, args.data.as_ref())?;
    let what = weights.to_string_lossy().into_owned();
    Ok((Fourier { what, data: Some(recipe.data), ..args }, recipe.synthetic.into()))
}

/// Everything is measured before anything is written; only a folder for the figures is made before.
pub fn run<D: Zoo>(device: &D, settings: &Settings, args: Fourier) -> Result<Done> {
    if args.images == 0 {
        return Err(Error::Usage("--images 0: give at least 1".to_owned()));
    }
    let (args, synthetic) = of_run(args)?;
    let Some(of) = args.data.clone() else {
        let what = shown(&args.what);
        return Err(Error::Usage(format!("fourier {what}: give --data, the images to measure it on")));
    };
    let data: DataSpec = of.parse()?;
    let request = Request::new(&args)?;
    let model = request.model(device)?;
    let usual_images = synthetic == SyntheticConfig::default();
    let split = data.load(&LoadOptions { image_size: model.spec().image, synthetic })?;
    split.notices.iter().for_each(|notice| note(&format!("note: {notice}")));

    let images = args.images.min(split.test.len());
    let check = Probe::new(&*split.test, &*model)?.logits(device, &*model)?;
    if check.iter().any(|logit| !logit.is_finite()) {
        return Err(Error::Failure(format!(
            "{}: its logits are no numbers, so there is nothing to measure; give the weights of a run that has not diverged",
            request.title()
        )));
    }
    request.make_room()?;
    let mut view = ImagesView::new(settings.plain, images);
    let spectra = frequencies(device, &*model, &*split.test, images, &mut |done| view.heard(done))?;
    drop(view);

    let title = format!("{} on {} ({images} test images)", request.title(), shown(&of));
    let figures = show::figures(&model.spec().name, &title, &spectra);
    let paths = request.paths();
    for ((_, figure), path) in figures.iter().zip(&paths) {
        write_atomic(path, figure.svg().as_bytes())?;
    }
    show::tables(&title, &spectra)?;
    show::plot(&figures)?;
    for ((what, _), path) in figures.iter().zip(&paths) {
        show::written(path, what)?;
    }
    request.next(&args, usual_images, &settings.common)?;
    Ok(Done::Complete)
}
