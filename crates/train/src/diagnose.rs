//! Where a run stopped being finite, and whether weights from outside are.

use inductive_models::{Images, Model, Record};
use inductive_nn::{Module, ModuleExt};
use inductive_ops::Backend;

use crate::{Error, Result};

/// Names the first layer whose output on `images` is not finite: `patch_embed`, `blocks.N` or `head`, with the first
/// of its parameters that is not finite; `the loss` if all are.
pub(crate) fn first_bad_layer<D: Backend<f32>>(
    model: &dyn Model<f32, D>,
    images: Images<f32, D>,
) -> Result<String> {
    let parameter = first_bad_parameter(model)?;
    let explain = |layer: String| match &parameter {
        Some(name) => format!("the output of {layer} (its input `{name}`, a parameter,)"),
        None => format!("the output of {layer}"),
    };
    let embeds = |name: &String| ["patch_embed.", "pos_embed"].iter().any(|prefix| name.starts_with(prefix));
    if parameter.as_ref().is_some_and(embeds) {
        return Ok(explain("patch_embed".to_owned()));
    }
    let mut record = Record::everything();
    let logits = model.forward(images, Some(&mut record))?.as_vec();
    let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
    if let Some(index) = record.blocks.iter().position(|block| !finite(&block.output)) {
        return Ok(explain(format!("blocks.{index}")));
    }
    Ok(if finite(&logits) { "the loss".to_owned() } else { explain("head".to_owned()) })
}

/// Refuses a model with a parameter that is not finite.
///
/// # Errors
/// [`Error::WeightsNotFinite`] with the first.
pub fn check_weights<D, M>(model: &M) -> Result<()>
where
    D: Backend<f32>,
    M: Module<f32, D> + ?Sized,
{
    first_bad_parameter(model)?.map_or(Ok(()), |parameter| Err(Error::WeightsNotFinite { parameter }))
}

/// The first parameter with a value that is not finite.
pub(crate) fn first_bad_parameter<D, M>(model: &M) -> Result<Option<String>>
where
    D: Backend<f32>,
    M: Module<f32, D> + ?Sized,
{
    let mut bad = None;
    model.for_each_parameter(&mut |p| {
        if bad.is_none() && !p.to_vec().iter().all(|v| v.is_finite()) {
            bad = Some(p.name().to_owned());
        }
        Ok(())
    })?;
    Ok(bad)
}
