//! `inductive init`: new weights as a file for timm and for training, and pictures of their attention.

mod pictures;
mod request;
mod show;

use dfdx::prelude::Cpu;
use inductive_checkpoint::{save, write_atomic};
use inductive_data::{DataSpec, LoadOptions};
use inductive_train::{Initial, Probe};

use crate::{
    args::Init,
    commands::{Done, Settings},
    error::Result,
    hint::fits,
    output::{note, say_set, terminal},
    progress::SolveView,
};
use request::Request;
pub use show::described;

/// Everything is made before anything is written.
pub fn run(settings: &Settings, args: Init) -> Result<Done> {
    if args.list {
        say_set(show::strategies().terminal(&terminal()))?;
        return Ok(Done::Complete);
    }
    let request = Request::new(args)?;
    // Attention is shown on images of any size, so not by `load_data`, which is for training.
    let options = LoadOptions { image_size: request.recipe.model_spec()?.image, ..LoadOptions::default() };
    let data = request.recipe.data.parse::<DataSpec>()?.load(&options)?;
    data.notices.iter().for_each(|notice| note(&format!("note: {notice}")));

    let view = SolveView::new(settings.plain, request.solver_steps()?);
    let initial = Initial::new(&request.recipe, request.classes, &|progress| view.heard(progress))?;
    drop(view);
    initial.warnings.iter().for_each(|warning| note(&format!("warning: {warning}")));

    let device = Cpu::default();
    let probe = Probe::new(&*data.test, &*initial.model)?;
    let attention = probe.attention(&device, &*initial.model)?;
    let mut pictures = Vec::new();
    if let Some(paths) = request.pictures.as_ref().filter(|_| !attention.is_empty()) {
        let blank = Probe::blank(&*initial.model).attention(&device, &*initial.model)?;
        pictures.push((&paths.attention, pictures::maps(&attention).png()?));
        pictures.push((&paths.position, pictures::maps(&blank).png()?));
    }

    let fits = fits(initial.model.spec(), &*data.test);
    let recipe = request.recipe_lines(if fits { &request.recipe.data } else { "folder:DIR" })?;
    save(&*initial.model, &request.out, &request.metadata()?)?;
    write_atomic(&request.run, recipe.as_bytes())?;
    for (path, png) in &pictures {
        write_atomic(path, png)?;
    }
    show::layers(&request, &initial, &attention, probe.count())?;
    show::files(&request, &initial, &attention, probe.count())?;
    show::next(&request, initial.model.spec(), &*data.test, &settings.common)?;
    Ok(Done::Complete)
}
