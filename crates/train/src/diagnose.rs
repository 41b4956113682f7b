//! Where a run stopped being finite, and whether weights from outside are.

use inductive_models::{BlockRecord, Images, Model, Record};
use inductive_nn::{Module, ModuleExt};
use inductive_ops::Backend;

use crate::{Error, Result};

/// Names the first layer whose output on `images` is not finite: a part before the blocks, a block or `head`, with the first
/// parameter that is not finite; `the loss` if all are.
pub(crate) fn first_bad_layer<D: Backend<f32>>(
    model: &dyn Model<f32, D>,
    images: Images<f32, D>,
) -> Result<String> {
    let parameter = first_bad_parameter(model)?;
    let explain = |layer: String| match &parameter {
        Some(name) if *name == layer => format!("the parameter `{name}`"),
        Some(name) => format!("the output of {layer} (its input `{name}`, a parameter,)"),
        None => format!("the output of {layer}"),
    };
    let mut record = Record::everything();
    let logits = model.forward(images, Some(&mut record))?.as_vec();
    let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
    if let Some(at) = record.blocks.iter().position(|block| !finite(&block.output)) {
        let block = &record.blocks[at];
        let before = parameter.as_ref().filter(|name| at == 0 && is_before(model, name, block));
        let part = before.and_then(|name| name.split('.').next());
        return Ok(explain(part.unwrap_or(&block.name).to_owned()));
    }
    Ok(if finite(&logits) { "the loss".to_owned() } else { explain("head".to_owned()) })
}

/// Whether a parameter comes before those of a block in the order of the model's parameters.
fn is_before<D: Backend<f32>>(model: &dyn Model<f32, D>, name: &str, block: &BlockRecord<f32>) -> bool {
    let (mut seen, mut before) = (false, false);
    // The callback never fails.
    let _ = model.for_each_parameter(&mut |p| {
        seen |= block.holds(p.name());
        before |= p.name() == name && !seen;
        Ok(())
    });
    before
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
