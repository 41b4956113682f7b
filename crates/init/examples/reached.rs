//! What every strategy reaches and how long it takes: `cargo run --release -p inductive-init --example reached [SIDE [STEPS]]`
//! for ViT-T on SIDE x SIDE patches (14), gradient solves with STEPS steps (the default's).

use std::{env, time::Instant};

use inductive_init::{Dims, SinCos, Solver, Strategy, StrategyInitializer, learned};
use inductive_ops::Grid;
use rand::SeedableRng;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1);
    let side = arguments.next().map_or(Ok(14), |text| text.parse())?;
    let steps: Option<usize> = arguments.next().map(|text| text.parse()).transpose()?;
    let dims = Dims { width: 192, heads: 3, grid: Grid::square(side), class_token: false };
    let sines = SinCos::Timm.embedding(dims.grid, dims.width)?;
    let random = learned(dims.tokens(), dims.width, &mut rand_chacha::ChaCha8Rng::seed_from_u64(0));
    println!("ViT-T, {} patches, {} heads; first layer", dims.grid, dims.heads);
    for (embedding, position) in [("learned", random.to_f32()), ("sin-cos", sines.to_f32())] {
        for name in Strategy::NAMES {
            let mut strategy = Strategy::named(name).ok_or("a name of the list")?;
            if let (Some(impulse), Some(steps)) = (strategy.impulse_mut(), steps)
                && let Solver::Gradient(gradient) = &mut impulse.solver
            {
                gradient.steps = steps;
            }
            let start = Instant::now();
            let layer = StrategyInitializer::new(strategy, dims, &position, 0)?.layer(0)?;
            let seconds = start.elapsed().as_secs_f64();
            match layer.quality {
                Some(quality) => println!("{embedding} {name:24} {seconds:7.3} s  {quality}"),
                None => println!("{embedding} {name:24} {seconds:7.3} s"),
            }
        }
    }
    Ok(())
}
