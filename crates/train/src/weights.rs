//! Weights from a file, and what such a file says of its model.

use std::path::Path;

use inductive_checkpoint::{LoadOptions, LoadReport, Metadata, TensorFile, load_tensors};
use inductive_models::{BuildOptions, Model, ModelSpec};
use inductive_ops::Backend;

use crate::{ImageSize, Result};

/// Loads the safetensors file at `path`, with timm's names, into `model`. Positions of another grid of patches are resampled as timm
/// does: from the grid of the image size that the file says, as those of runs do, else from a square one.
///
/// # Errors
/// Those of [`inductive_checkpoint::load`].
pub fn load_weights<D: Backend<f32>>(
    model: &mut dyn Model<f32, D>,
    path: impl AsRef<Path>,
    options: LoadOptions,
) -> Result<LoadReport> {
    load_file(model, &TensorFile::open(path)?, options)
}

/// [`load_weights`] from a file that is already in memory.
///
/// # Errors
/// Those of [`load_weights`].
pub fn load_file<D: Backend<f32>>(
    model: &mut dyn Model<f32, D>,
    file: &TensorFile,
    mut options: LoadOptions,
) -> Result<LoadReport> {
    let spec = model.spec();
    let grid = |spec: &ModelSpec| (spec.grid().rows, spec.grid().cols);
    let file_grid = said(file.metadata(), IMAGE)
        .map(|size: ImageSize| grid(&ModelSpec { image: size.into(), ..spec.clone() }));
    (options.grid, options.file_grid) = (Some(grid(spec)), file_grid);
    Ok(load_tensors(model, file, &options)?)
}

const IMAGE: &str = "image";
const DEPTH: &str = "depth";
const LOCAL: &str = "local_up_to_layer";

/// What a file of weights says of how its model is built.
pub(crate) fn about(spec: &ModelSpec) -> Metadata {
    let mut about = Metadata::new();
    about.insert(IMAGE.to_owned(), ImageSize::from(spec.image).to_string());
    about.insert(DEPTH.to_owned(), spec.depth.to_string());
    if let Some(local) = spec.local_up_to_layer() {
        about.insert(LOCAL.to_owned(), local.to_string());
    }
    about
}

/// How the model `name` is built for a file that says these of it: its image size, depth and gated layers. What the file does not
/// say, and all of a file of another model, is left to the model.
pub fn build_options_of(metadata: &Metadata, name: &str) -> BuildOptions {
    if metadata.get("model").is_some_and(|model| model != name) {
        return BuildOptions::default();
    }
    BuildOptions {
        image: said(metadata, IMAGE).map(ImageSize::into),
        depth: said(metadata, DEPTH),
        local_up_to_layer: said(metadata, LOCAL),
        ..BuildOptions::default()
    }
}

fn said<T: std::str::FromStr>(metadata: &Metadata, key: &str) -> Option<T> {
    metadata.get(key)?.parse().ok()
}
