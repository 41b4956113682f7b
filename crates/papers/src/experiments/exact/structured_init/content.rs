//! What is left of the closed form's impulses once images are added to the position embedding.

use inductive_init::{
    Dims, LEARNED_STD, Matrix, Quality, Strategy, StrategyInitializer, layer_norm, learned,
};
use inductive_ops::Grid;
use inductive_random::of_seed;

use super::{super::super::Result, Scale, solvers::WIDTH};
use crate::Seeded;
use inductive_report::table::{Cell, Column, Table};

/// Side of the grid, factor of the embedding, deviation of the images' part, reference mass (structured-init notes 1.4).
const CONTENT: [(usize, f64, f64, f64); 9] = [
    (14, 18.0, 0.0, 0.86),
    (14, 18.0, 0.1, 0.82),
    (14, 18.0, 0.3, 0.53),
    (14, 18.0, 0.6, 0.33),
    (14, 1.0, 0.3, 0.21),
    (8, 18.0, 0.0, 1.0),
    (8, 18.0, 0.1, 1.0),
    (8, 18.0, 0.3, 0.99),
    (8, 18.0, 0.6, 0.57),
];

/// What is left of the impulses when images are added to the embedding.
pub(super) fn table(scale: &Scale) -> Result<Table> {
    let mut table = Table::new(
        "Mass on target of the closed form, ViT-T, with patches of images added to the embedding",
        [
            Column::right("grid"),
            Column::right("embedding x"),
            Column::right("deviation of images"),
            Column::right("mass (seeds)"),
            Column::right("reference"),
        ],
    );
    for (side, factor, deviation, reference) in CONTENT {
        let mut values = Seeded::new();
        for seed in 0..scale.seeds {
            values.insert(seed, with_content(side, factor, deviation, seed)?);
        }
        table.row([
            Cell::text(Grid::square(side).to_string()),
            Cell::number(factor, 0),
            Cell::number(deviation, 1),
            Cell::measured(values.summary(), 3),
            Cell::number(reference, 2),
        ]);
    }
    table.note("Images are normal numbers, added before the norm; the embedding's deviation is 0.02 times its factor. Shown, not judged.");
    Ok(table)
}

fn with_content(side: usize, factor: f64, deviation: f64, seed: u64) -> Result<f64> {
    let dims = Dims { width: WIDTH, heads: 3, grid: Grid::square(side), class_token: false };
    let mut rng = of_seed(seed);
    let position = learned(dims.tokens(), WIDTH, &mut rng).to_f32();
    let images = learned(dims.tokens(), WIDTH, &mut rng);
    let strategy = Strategy { position_scale: factor, ..Strategy::impulse_closed_form() };
    let initializer = StrategyInitializer::new(strategy, dims, &position, seed)?;
    let layer = initializer.layer(0)?;
    let weights = layer.query_key(3)?;
    let mut input = Matrix::from_f32(dims.tokens(), WIDTH, &initializer.position())?;
    let scale = deviation / LEARNED_STD;
    input.values_mut().iter_mut().zip(images.values()).for_each(|(v, image)| *v += scale * image);
    Ok(Quality::measure(&weights, &layer_norm(&input), &layer.targets)?.mass())
}
