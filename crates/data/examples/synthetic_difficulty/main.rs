//! Measures how hard an embedded set is: for softmax regression on pixels and on mean colours, and for a small convolutional
//! network on 500, 1,000 and 5,000 images.
//!
//!     cargo run --release -p inductive-data --example synthetic_difficulty [-- SET [STEPS]]
//!
//! SET is `synthetic` (default) or `synthetic-parity`; STEPS (default 2000) is the number of batches of 64 that the network is trained on, whatever the size of the set.

mod convnet;
mod linear;

use convnet::ConvNet;
use inductive_data::{
    DataSpec, Dataset, Error, LoadOptions, Loader, LoaderConfig, PerClass, Pipeline, Subset, SyntheticConfig,
};
use linear::{Examples, softmax_regression};
use std::sync::Arc;
use std::time::Instant;

const CONFIG: SyntheticConfig = SyntheticConfig { train: 5_000, test: 2_000, seed: 0 };

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let spec: DataSpec = arguments.next().unwrap_or_else(|| "synthetic".to_owned()).parse()?;
    let steps = arguments.next().and_then(|steps| steps.parse().ok()).unwrap_or(2000);
    let split = spec.load(&LoadOptions { synthetic: CONFIG, ..LoadOptions::default() })?;
    for (what, features, rate) in
        [("pixels", pixels as fn(&dyn Dataset) -> Examples, 1e-4), ("mean colours", mean_colours, 3e-3)]
    {
        let (mut train, mut test) = (features(&*split.train), features(&*split.test));
        let moments = train.moments();
        train.standardise(&moments);
        test.standardise(&moments);
        for decay in [0.01, 0.1, 1.0] {
            let accuracy = softmax_regression(&train, &test, 10, 10, rate, decay);
            println!(
                "softmax regression on {what}, 5000 images, weight decay {decay}: {:.1} % of 2000 test images",
                100.0 * accuracy
            );
        }
    }
    let evaluation =
        Loader::new(split.test.clone(), Pipeline::eval(split.test.info()), LoaderConfig::eval(128))?;
    for images in [500, 1_000, 5_000] {
        let start = Instant::now();
        let subset = Arc::new(Subset::first(split.train.clone(), PerClass::Count(images / 10))?);
        let config = LoaderConfig { batch_size: 64, ..LoaderConfig::default() };
        let mut network = ConvNet::new(0);
        network.train(&Loader::new(subset, Pipeline::train(split.train.info()), config)?, steps)?;
        let (accuracy, seconds) = (100.0 * network.accuracy(&evaluation)?, start.elapsed().as_secs());
        println!(
            "convolutional network, {images} images, {steps} steps: {accuracy:.1} % of 2000 test images ({seconds} s)"
        );
    }
    Ok(())
}

/// Pixels in [0, 1].
fn pixels(set: &dyn Dataset) -> Examples {
    let features =
        (0..set.len()).flat_map(|index| set.image(index).iter().map(|&pixel| f32::from(pixel) / 255.0));
    Examples { features: features.collect(), labels: (0..set.len()).map(|index| set.label(index)).collect() }
}

/// The mean of each channel.
fn mean_colours(set: &dyn Dataset) -> Examples {
    let mut examples = pixels(set);
    let channel = set.height() * set.width();
    examples.features = examples
        .features
        .chunks_exact(channel)
        .map(|plane| plane.iter().sum::<f32>() / channel as f32)
        .collect();
    examples
}
