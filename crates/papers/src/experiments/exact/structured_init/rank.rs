//! Stable ranks of tokens in models that are not trained yet. Claim si.3 is judged after training, not here.

use std::sync::Arc;

use dfdx::prelude::{Cpu, TensorFromVec};
use inductive_analysis::mean_stable_rank;
use inductive_data::{Dataset, Image, Normalize, SyntheticConfig, synthetic};
use inductive_models::{BuildOptions, Record, build};

use super::{super::super::Result, Scale};
use crate::Report;
use inductive_report::table::{Cell, Column, Table};

/// At 32 pixels: class token and learned positions; average pooling and fixed positions; gated attention; attention beside a
/// convolution; convolution alone.
const MODELS: [&str; 5] = ["deit_micro", "vit_micro_gap", "convit_micro", "eit_micro", "convmixer_micro"];

/// Adds the table.
pub(super) fn add(report: &mut Report, scale: &Scale) -> Result<()> {
    let config = SyntheticConfig { train: 10, test: scale.images.max(10), seed: 0 };
    let set = synthetic(&config).map_err(inductive_train::Error::from)?.test;
    let images = normalised(&set, scale.images);
    let mut table = Table::new(
        "Stable ranks of the tokens at initialisation, after each block",
        [
            Column::left("model"),
            Column::right("block"),
            Column::right("patches N"),
            Column::right("channels D"),
            Column::right("sr1"),
            Column::right("sr2"),
            Column::right("sr1 / min(N, D)"),
        ],
    );
    for name in MODELS {
        let device = Cpu::seed_from_u64(0);
        let options = BuildOptions { classes: 10, ..BuildOptions::default() };
        let model = build(&device, name, &options).map_err(inductive_train::Error::from)?.model;
        let (height, width) = model.spec().image;
        let tensor = device.tensor_from_vec(images.clone(), (scale.images, 3, height, width));
        let mut record = Record::everything();
        model.forward(tensor, Some(&mut record)).map_err(inductive_train::Error::from)?;
        for (index, block) in record.blocks.iter().enumerate() {
            let patches = block.layout.grid.tokens();
            let channels = block.output.len() / (scale.images * block.layout.tokens());
            let rank = mean_stable_rank(&block.output, block.layout, channels);
            table.row([
                Cell::text(name),
                Cell::count(index + 1),
                Cell::count(patches),
                Cell::count(channels),
                Cell::number(rank.sr1, 2),
                Cell::number(rank.sr2, 2),
                Cell::number(rank.sr1 / patches.min(channels) as f64, 3),
            ]);
        }
    }
    table.note(format!(
        "Mean of {} synthetic test images; patches only, as they leave the block: nothing is subtracted or normalised. That ranks \
         are far below min(N, D) (si.3) is a claim about trained models, so nothing is judged here.",
        scale.images
    ));
    report.table("stable-rank", table);
    Ok(())
}

/// `[count, 3, height, width]`
fn normalised(set: &Arc<dyn Dataset>, count: usize) -> Vec<f32> {
    let (height, width) = (set.height(), set.width());
    let normalize = Normalize::new(set.info().mean, set.info().std);
    let mut images = vec![0.0; count * 3 * height * width];
    for (index, out) in images.chunks_exact_mut(3 * height * width).enumerate() {
        normalize.write(&Image::new(set.image(index), height, width), out);
    }
    images
}
