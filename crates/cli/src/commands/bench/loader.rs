//! The data loader alone: how many images per second it makes, and whether that is enough.

use std::{hint::black_box, time::Instant};

use inductive_data::{
    HorizontalFlip, Loader, LoaderConfig, Pipeline, RandomCrop, SyntheticConfig, synthetic,
};
use inductive_train::bench::Mode;
use serde::Serialize;

use super::summary::{Measurement, Spread};
use crate::error::Result;

/// As in CIFAR: pixels a side, and black ones around them from which the crop is taken.
const SIDE: usize = inductive_data::synthetic::SIDE;
const PADDING: u16 = 4;
const IMAGES: usize = 10_000;

/// Seconds of a round at most: nothing warms up here.
const MOST_SECONDS: f64 = 1.0;

/// What the loader reaches.
#[derive(Debug, Serialize)]
pub struct LoaderSpeed {
    pub data: String,
    pub batch: usize,
    pub images_per_s: Spread,
    /// The fastest training of images of this size.
    pub beside: Option<Beside>,
}

/// A training that the loader feeds.
#[derive(Debug, Serialize)]
pub struct Beside {
    pub model: String,
    pub batch: usize,
    pub images_per_s: f64,
    /// How many times as many images the loader makes.
    pub times: f64,
}

/// Measures the ordinary training loader over the synthetic set, whose images have CIFAR's shape and are in memory.
pub fn measure(rounds: usize, seconds: f64, measured: &[Measurement]) -> Result<LoaderSpeed> {
    let set = synthetic(&SyntheticConfig { train: IMAGES, ..SyntheticConfig::default() })?.train;
    let pipeline =
        Pipeline::eval(set.info()).then(RandomCrop { padding: PADDING }).then(HorizontalFlip { p: 0.5 });
    let config = LoaderConfig::default();
    let loader = Loader::new(set, pipeline, config)?;
    let rates: Result<Vec<f64>> =
        (0..rounds).map(|round| rate(&loader, round as u64, seconds.min(MOST_SECONDS))).collect();
    let images_per_s = Spread::of(&rates?);
    Ok(LoaderSpeed {
        data: format!(
            "synthetic set, {IMAGES} images of {SIDE} x {SIDE} in memory, random crop with padding {PADDING}, flip, \
             normalisation"
        ),
        batch: config.batch_size,
        images_per_s,
        beside: fastest(measured, images_per_s.median),
    })
}

/// Images per second over about `seconds`, in whole batches.
fn rate(loader: &Loader, round: u64, seconds: f64) -> Result<f64> {
    let (start, mut images) = (Instant::now(), 0);
    // Every round has epochs of its own.
    for epoch in round << 32.. {
        for batch in loader.epoch(epoch)? {
            images += black_box(&batch).len();
            if start.elapsed().as_secs_f64() >= seconds {
                return Ok(images as f64 / start.elapsed().as_secs_f64());
            }
        }
    }
    Ok(0.0)
}

fn fastest(measured: &[Measurement], made: f64) -> Option<Beside> {
    let rate = |m: &Measurement| m.inductive.images_per_s.median;
    let small = measured.iter().filter(|m| m.mode == Mode::Training && m.image == (SIDE, SIDE));
    let best = small.max_by(|a, b| rate(a).total_cmp(&rate(b)))?;
    let images_per_s = rate(best);
    Some(Beside { model: best.model.clone(), batch: best.batch, images_per_s, times: made / images_per_s })
}
