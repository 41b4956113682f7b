//! Loading: everything is checked against the model first, and only then is anything of the model changed.

mod options;
mod plan;
mod pos_embed;
mod report;
mod resample;

use std::path::Path;

use inductive_nn::{Module, ModuleExt};
use inductive_ops::Backend;

pub use options::{Head, LoadOptions};
pub use report::{Adaptation, Adapted, LoadReport, Unmatched, WrongDtype, WrongShape};
pub use resample::resample_abs_pos_embed;

use crate::{Error, Result, TensorFile};

/// Loads the safetensors file at `path` into `model`.
///
/// Strict unless [`LoadOptions::partial`] is set: if a parameter is missing, a tensor is left over, or a shape or type
/// is wrong, the model is left as it was and the error holds the report. F16, BF16 and F64 become F32.
///
/// Adapted rather than refused: a `pos_embed` of another grid ([`LoadOptions::resample`]), a classifier with another
/// number of classes ([`Head::Replace`]), names that begin with `model.`, `module.`, `state_dict.` or `_orig_mod.`. If only
/// some do and the model is among them, as in a whole training checkpoint, the others (`model_ema.`, `optimizer.`) are left
/// out; so is BatchNorm's `num_batches_tracked` if the model has no such parameter. The report names what is left out.
///
/// # Errors
/// [`Error::Mismatch`] if the file does not fit, [`Error::NoSection`], otherwise as [`TensorFile::open`]. Only a device
/// that fails while values are copied ([`Error::Parameters`]) can leave the model half loaded.
pub fn load<D: Backend<f32>>(
    model: &mut dyn Module<f32, D>,
    path: impl AsRef<Path>,
    options: &LoadOptions,
) -> Result<LoadReport> {
    load_tensors(model, &TensorFile::open(path)?, options)
}

/// [`load`] from a file that is already in memory.
///
/// # Errors
/// As [`load`].
pub fn load_tensors<D: Backend<f32>>(
    model: &mut dyn Module<f32, D>,
    file: &TensorFile,
    options: &LoadOptions,
) -> Result<LoadReport> {
    let mut parameters = Vec::new();
    model.for_each_parameter(&mut |p| {
        parameters.push((p.name().to_owned(), p.shape().to_vec()));
        Ok(())
    })?;
    let (plan, mut report) = plan::plan(&parameters, file, options)?;
    if !report.is_complete() && !options.partial {
        report.refuse();
        return Err(Error::Mismatch(Box::new(report)));
    }

    model.for_each_parameter_mut(&mut |p| match plan.get(p.name()) {
        Some(step) => p.copy_from(&step.values()),
        None => Ok(()),
    })?;
    Ok(report)
}
