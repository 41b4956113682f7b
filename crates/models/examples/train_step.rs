//! Times training steps of a model on random images: `cargo run --release -p inductive-models --example train_step --
//! MODEL BATCH [STEPS]`. Prints images/s of each phase and the peak of memory.

use std::time::Instant;

use dfdx::prelude::*;
use inductive_models::{BuildOptions, build};
use inductive_ops::{AdamWStep, Backend as _, DropPath, Moments, memory};

#[global_allocator]
static ALLOCATOR: memory::PoolAllocator = memory::PoolAllocator::new();

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let name = args.get(1).map_or("convit_tiny_patch4_32", String::as_str);
    let batch: usize = args.get(2).map_or(Ok(64), |v| v.parse())?;
    let steps: usize = args.get(3).map_or(Ok(10), |v| v.parse())?;
    let dev = Cpu::seed_from_u64(0);
    let mut model = build(&dev, name, &BuildOptions { classes: 100, ..Default::default() })?.model;
    let (height, width) = model.spec().image;
    let mut moments = Vec::new();
    model.for_each_parameter(&mut |p| {
        moments.push(Moments::zeros(&dev, p.numel())?);
        Ok(())
    })?;
    let images = dev.sample_like(&(batch, 3, height, width), inductive_attention::Normal { std: 1.0 });
    let targets = dev.tensor_from_vec(vec![0.01; batch * 100], (batch, 100));
    let mut times = Vec::new();
    for step in 1..=steps as u64 + 2 {
        let start = Instant::now();
        let logits = model.forward_train(images.leaky_trace(), DropPath { rate: 0.0, seed: step })?;
        let loss = dev.cross_entropy(logits, &targets)?;
        let forward = start.elapsed();
        let mut gradients = loss.backward();
        let backward = start.elapsed();
        let hyper = AdamWStep {
            lr: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.05,
            step,
            gradient_scale: 1.0,
        };
        let mut moments = moments.iter_mut();
        model.for_each_parameter_mut(&mut |p| {
            p.adamw(&mut gradients, moments.next().expect("one per parameter"), &hyper)
        })?;
        let all = start.elapsed();
        if step > 2 {
            times.push([all, forward, backward - forward, all - backward].map(|t| t.as_secs_f64() * 1e3));
        }
    }
    times.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let [all, forward, backward, optimizer] = times[times.len() / 2];
    println!(
        "{name} batch {batch}: {:.1} images/s, step {all:.1} ms = forward {forward:.1} + backward {backward:.1} + optimizer \
         {optimizer:.1}; {:.0} GFLOP/s; peak {} MiB",
        batch as f64 / all * 1e3,
        model.spec().macs() as f64 * 6.0 * batch as f64 / all / 1e6,
        memory::peak() >> 20,
    );
    Ok(())
}
