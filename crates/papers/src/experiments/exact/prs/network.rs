//! Networks trained for a few updates, before and after all their layers switch.

use std::sync::Arc;

use dfdx::prelude::*;
use inductive_data::{Dataset, Image, Normalize, SyntheticConfig, synthetic};
use inductive_models::{Images, Model};
use inductive_nn::{Gate, Positions, Reparameterization};
use inductive_train::{Learner, Recipe};

use super::{super::super::Result, Scale, largest};
use crate::{Report, verdict::Check};
use inductive_report::table::{Cell, Column, Table};

/// Networks whose layers see the nearest patch beyond the border, and zeros.
const NETWORKS: [(&str, &str); 2] = [("prs_nano", "replicate"), ("resnet_micro_switch", "zero")];
/// Images of an update.
const BATCH: usize = 16;
/// The largest difference of logits that still counts as the same function.
const SAME: f64 = 1e-4;
/// What the logits lose at least where the gate lets content in, relative to their deviation.
const LOST: f64 = 0.01;

/// Normalised images `[labels.len(), 3, 32, 32]` with their labels.
struct Batch {
    images: Vec<f32>,
    labels: Vec<u32>,
}

fn batch(set: &Arc<dyn Dataset>, places: impl Iterator<Item = usize>) -> Batch {
    let (height, width) = (set.height(), set.width());
    let normalize = Normalize::new(set.info().mean, set.info().std);
    let mut batch = Batch { images: Vec::new(), labels: Vec::new() };
    for place in places {
        let mut image = vec![0.0; 3 * height * width];
        normalize.write(&Image::new(set.image(place), height, width), &mut image);
        batch.images.extend(image);
        batch.labels.push(set.label(place));
    }
    batch
}

fn logits(model: &dyn Model<f32, Cpu>, test: &Batch) -> Result<Vec<f32>> {
    let (height, width) = model.spec().image;
    let shape = (test.labels.len(), 3, height, width);
    let images: Images<f32, Cpu> = Cpu::default().tensor_from_vec(test.images.clone(), shape);
    Ok(model.forward(images, None).map_err(inductive_train::Error::from)?.as_vec())
}

/// A network that has made some updates.
fn trained(name: &str, train: &Arc<dyn Dataset>, updates: u64) -> Result<Learner<Cpu>> {
    let recipe = Recipe { model: name.to_owned(), drop_path: 0.0, ..Recipe::default() };
    let mut learner = Learner::new(&Cpu::default(), &recipe, train.num_classes())?;
    for update in 0..updates as usize {
        let batch = batch(train, (0..BATCH).map(|i| (update * BATCH + i) % train.len()));
        learner.step(batch.images, &batch.labels, 1e-3)?;
    }
    Ok(learner)
}

/// Adds the table; returns what claim prs.C1 is judged by.
pub(super) fn add(report: &mut Report, scale: &Scale) -> Result<Vec<Check>> {
    let config = SyntheticConfig { train: BATCH * 32, test: scale.images.max(10), seed: 0 };
    let split = synthetic(&config).map_err(inductive_train::Error::from)?;
    let test = batch(&split.test, 0..scale.images);
    let mut table = Table::new(
        "Logits of trained networks before and after all their layers switch",
        [
            Column::left("network"),
            Column::left("border"),
            Column::right("layers"),
            Column::right("alpha"),
            Column::left("gate"),
            Column::right("largest difference"),
            Column::right("over the logits' deviation"),
            Column::right("same class, %"),
        ],
    );
    let mut checks = Vec::new();
    for (name, border) in NETWORKS {
        let mut learner = trained(name, &split.train, scale.updates)?;
        let before = logits(learner.model(), &test)?;
        let layers = learner.model().switchable().map_err(inductive_train::Error::from)?.len();
        for (alpha, gate, text) in [
            (16.0, Gate::Linear(1.0), "linear, 1"),
            (20.0, Gate::Linear(1.0), "linear, 1"),
            (20.0, Gate::Held, "held"),
            (20.0, Gate::Sigmoid(1.0), "sigmoid of 1"),
            (1.0, Gate::Sigmoid(1.0), "sigmoid of 1"),
        ] {
            let how = Reparameterization { positions: Positions::Kernel { alpha }, gate };
            for layer in 0..layers {
                learner.model_mut().reparameterize(layer, &how).map_err(inductive_train::Error::from)?;
            }
            let after = logits(learner.model(), &test)?;
            let apart = largest(before.iter().zip(&after).map(|(a, b)| f64::from((a - b).abs())));
            let relative = apart / deviation(&before);
            let same = 100.0 * same_class(&before, &after, test.labels.len());
            table.row([
                Cell::text(name),
                Cell::text(border),
                Cell::count(layers),
                Cell::number(alpha, 0),
                Cell::text(text),
                Cell::text(format!("{apart:.1e}")),
                Cell::text(format!("{relative:.1e}")),
                Cell::number(same, 0),
            ]);
            let statement = format!("logits of {name} ({border} border), alpha {alpha}, gate {text}");
            checks.push(match gate {
                Gate::Sigmoid(_) => {
                    Check::at_least(format!("{statement}: change over their deviation"), relative, LOST)
                }
                _ => Check::within(format!("{statement}: largest difference"), apart, SAME),
            });
        }
    }
    table.note(format!(
        "{} updates of {BATCH} synthetic images, then {} test images in f32. With alpha 1 and a sigmoid of 1, as ConViT \
         begins, attention is no convolution.",
        scale.updates, scale.images
    ));
    report.table("networks", table);
    Ok(checks)
}

fn deviation(values: &[f32]) -> f64 {
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
    (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

/// The share of images whose largest logit stays.
fn same_class(a: &[f32], b: &[f32], images: usize) -> f64 {
    let classes = a.len() / images;
    let class = |logits: &[f32]| (0..classes).max_by(|&i, &j| logits[i].total_cmp(&logits[j]));
    let same = a.chunks_exact(classes).zip(b.chunks_exact(classes)).filter(|(a, b)| class(a) == class(b));
    same.count() as f64 / images as f64
}
