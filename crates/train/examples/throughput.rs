//! How many images per second a recipe's model learns from, on this machine: `throughput [MODEL] [BATCH] [STEPS]`.
//!
//!     cargo run --release -p inductive-train --example throughput -- convit_micro 128 40

use std::{env, error::Error, time::Instant};

use dfdx::prelude::Cpu;
use inductive_ops::memory::{PoolAllocator, peak};
use inductive_train::{Learner, Recipe};

#[global_allocator]
static ALLOCATOR: PoolAllocator = PoolAllocator::new();

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let number = |index: usize, default| args.get(index).map_or(Ok(default), |text| text.parse::<usize>());
    let (batch_size, steps) = (number(1, 128)?, number(2, 40)?);
    let model = args.first().cloned().unwrap_or_else(|| Recipe::default().model);
    let recipe = Recipe { model, batch_size, ..Recipe::default() };
    let (height, width) = recipe.model_spec()?.image;
    let images: Vec<f32> = (0..batch_size * 3 * height * width).map(|i| (i as f32 * 0.37).sin()).collect();
    let labels: Vec<u32> = (0..batch_size as u32).map(|i| i % 10).collect();
    let mut learner = Learner::new(&Cpu::default(), &recipe, 10)?;

    let mut fastest = f64::INFINITY;
    let mut start = Instant::now();
    for step in 0..steps + 3 {
        if step == 3 {
            // The first updates fill the pool of buffers.
            start = Instant::now();
        }
        let before = Instant::now();
        learner.step(images.clone(), &labels, 1e-4)?;
        fastest = fastest.min(before.elapsed().as_secs_f64());
    }
    let mean = start.elapsed().as_secs_f64() / steps.max(1) as f64;
    println!(
        "{} batch {batch_size}: {:.0} images/s over {steps} updates, {:.0} in the fastest; {} threads, peak {} MiB",
        recipe.model,
        batch_size as f64 / mean,
        batch_size as f64 / fastest,
        rayon::current_num_threads(),
        peak() >> 20,
    );
    Ok(())
}
