//! Accuracy and loss of a model on a set.

use inductive_data::Loader;
use inductive_models::{Images, Model};
use inductive_ops::Backend;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    diagnose::check_weights,
    loss::{count_top, cross_entropy},
};

/// What a model reaches on a set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Mean cross-entropy with one-hot targets, in nats.
    pub loss: f64,
    /// Images whose class has the largest logit, in percent.
    pub top1: f64,
    /// Images whose class is among the five largest logits, in percent.
    pub top5: f64,
}

/// Runs `model` on all batches of `loader`. A loss that is not finite is returned as it is.
pub fn evaluate<D: Backend<f32>>(
    device: &D,
    model: &dyn Model<f32, D>,
    loader: &Loader,
) -> Result<Evaluation> {
    run(device, model, loader).map(|scored| scored.evaluation)
}

/// [`evaluate`] for weights from outside: an accuracy is given only if it is one.
///
/// # Errors
/// [`Error::WeightsNotFinite`], before anything is computed; [`Error::LogitsNotFinite`].
pub fn evaluate_finite<D: Backend<f32>>(
    device: &D,
    model: &dyn Model<f32, D>,
    loader: &Loader,
) -> Result<Evaluation> {
    check_weights(model)?;
    let Scored { evaluation, images, bad } = run(device, model, loader)?;
    if bad > 0 { Err(Error::LogitsNotFinite { bad, images }) } else { Ok(evaluation) }
}

struct Scored {
    evaluation: Evaluation,
    images: usize,
    /// Images with a logit that is not finite.
    bad: usize,
}

fn run<D: Backend<f32>>(device: &D, model: &dyn Model<f32, D>, loader: &Loader) -> Result<Scored> {
    let (mut loss, mut top1, mut top5, mut images, mut bad) = (0.0, 0, 0, 0, 0);
    for mut batch in loader.epoch(0)? {
        let labels = std::mem::take(&mut batch.labels);
        let input = to_device(device, std::mem::take(&mut batch.images), labels.len(), model.spec().image)?;
        let logits = model.forward(input, None)?.as_vec();
        let classes = model.spec().classes.max(1);
        loss += logits
            .chunks_exact(classes)
            .zip(&labels)
            .map(|(row, label)| cross_entropy(row, *label))
            .sum::<f64>();
        top1 += count_top(&logits, &labels, 1);
        top5 += count_top(&logits, &labels, 5);
        images += labels.len();
        bad += not_finite(&logits, classes);
    }
    let count = images.max(1) as f64;
    let percent = |hits: usize| 100.0 * hits as f64 / count;
    let evaluation = Evaluation { loss: loss / count, top1: percent(top1), top5: percent(top5) };
    Ok(Scored { evaluation, images, bad })
}

/// Refuses logits, `[images, classes]`, of which some are not finite.
///
/// # Errors
/// [`Error::LogitsNotFinite`].
pub fn check_logits(logits: &[f32], classes: usize) -> Result<()> {
    match not_finite(logits, classes) {
        0 => Ok(()),
        bad => Err(Error::LogitsNotFinite { bad, images: logits.len() / classes.max(1) }),
    }
}

/// Images with a logit that is not finite.
fn not_finite(logits: &[f32], classes: usize) -> usize {
    let rows = logits.chunks(classes.max(1));
    rows.filter(|row| !row.iter().all(|logit| logit.is_finite())).count()
}

/// images: `[batch, 3, height, width]`, row-major.
pub(crate) fn to_device<D: Backend<f32>>(
    device: &D,
    images: Vec<f32>,
    batch: usize,
    (height, width): (usize, usize),
) -> Result<Images<f32, D>> {
    if images.len() != batch * 3 * height * width || batch == 0 {
        let expected = format!("images [{}, 3, {height}, {width}]", batch.max(1));
        return Err(Error::Batch { of: "model", expected, got: format!("{} numbers", images.len()) });
    }
    device.try_tensor_from_vec(images, (batch, 3, height, width)).map_err(|e| Error::device("images", e))
}
