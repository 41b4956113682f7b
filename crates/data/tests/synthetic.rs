//! The embedded set: what it promises about seeds, labels and statistics, and that it takes more than a linear map.

#[path = "../examples/synthetic_difficulty/linear.rs"]
mod linear;

use inductive_data::{Dataset, Error, SyntheticConfig, synthetic};
use linear::{Examples, softmax_regression};
use std::collections::HashSet;

const CONFIG: SyntheticConfig = SyntheticConfig { train: 5_000, test: 1_000, seed: 0 };

fn pixels(set: &dyn Dataset) -> Examples {
    let features =
        (0..set.len()).flat_map(|index| set.image(index).iter().map(|&pixel| f32::from(pixel) / 255.0));
    Examples { features: features.collect(), labels: (0..set.len()).map(|index| set.label(index)).collect() }
}

/// For each shift (y, x), the mean product of each channel with each channel shifted; and the mean of each channel.
/// Shift (0, 0) is colours and contrast, more shifts are the local spectrum: what an image has, but not where.
fn second_order_statistics(set: &dyn Dataset, shifts: &[(usize, usize)]) -> Examples {
    let (side, mut features) = (32, Vec::new());
    for index in 0..set.len() {
        let image: Vec<f32> = set.image(index).iter().map(|&pixel| f32::from(pixel) / 255.0 - 0.5).collect();
        let planes: Vec<_> = image.chunks_exact(side * side).collect();
        features.extend(planes.iter().map(|plane| plane.iter().sum::<f32>()));
        for (first, second) in (0..3).flat_map(|first| (0..3).map(move |second| (first, second))) {
            for &(dy, dx) in shifts {
                let rows = (0..side - dy).map(|y| {
                    let (one, other) = (&planes[first][y * side..], &planes[second][(y + dy) * side + dx..]);
                    one.iter().zip(&other[..side - dx]).map(|(a, b)| a * b).sum::<f32>()
                });
                features.push(rows.sum());
            }
        }
    }
    Examples { features, labels: (0..set.len()).map(|index| set.label(index)).collect() }
}

/// The best test accuracy over penalties: a bound that no choice of regulariser lifts.
fn best_linear(mut train: Examples, mut test: Examples, rate: f32, epochs: usize) -> f64 {
    let moments = train.moments();
    train.standardise(&moments);
    test.standardise(&moments);
    let accuracies = [0.01, 0.1, 1.0].map(|decay| softmax_regression(&train, &test, 10, epochs, rate, decay));
    println!("test accuracy at weight decay .01, .1, 1: {accuracies:?}");
    accuracies.into_iter().fold(0.0, f64::max)
}

#[test]
fn pixels_do_not_give_the_class_to_a_linear_classifier() {
    let split = synthetic(&CONFIG).unwrap();
    let accuracy = best_linear(pixels(&*split.train), pixels(&*split.test), 1e-4, 4);
    assert!(accuracy < 0.3, "{accuracy}");
}

#[test]
fn colours_and_contrast_do_not_give_the_class() {
    let split = synthetic(&CONFIG).unwrap();
    let statistics = |set| second_order_statistics(set, &[(0, 0)]);
    let accuracy = best_linear(statistics(&*split.train), statistics(&*split.test), 3e-3, 10);
    assert!(accuracy < 0.15, "{accuracy}");
}

#[test]
fn the_spectrum_does_not_give_more_than_the_pair_of_classes() {
    let split = synthetic(&CONFIG).unwrap();
    let shifts = [(0, 0), (2, 0), (4, 0), (6, 0), (0, 2), (0, 4), (2, 2), (4, 2)];
    let statistics = |set| second_order_statistics(set, &shifts);
    let accuracy = best_linear(statistics(&*split.train), statistics(&*split.test), 3e-3, 20);
    // A pair of classes shares these statistics: 50 % is the ceiling, reached up to the error of 1,000 test images.
    let three_standard_errors = 3.0 * (0.25f64 / 1000.0).sqrt();
    assert!(accuracy < 0.5 + three_standard_errors, "{accuracy}");
}

#[test]
fn a_smaller_set_is_the_beginning_of_a_larger_one() {
    let large = synthetic(&SyntheticConfig { train: 60, test: 30, seed: 4 }).unwrap();
    let small = synthetic(&SyntheticConfig { train: 25, test: 10, seed: 4 }).unwrap();
    for (small, large) in [(small.train, large.train), (small.test, large.test)] {
        assert!((0..small.len()).all(|index| small.image(index) == large.image(index)));
        assert!((0..small.len()).all(|index| small.label(index) as usize == index % 10));
    }
}

#[test]
fn no_image_is_in_two_splits_or_two_seeds() {
    let splits = [0, 1].map(|seed| synthetic(&SyntheticConfig { train: 300, test: 300, seed }).unwrap());
    let mut seen = HashSet::new();
    for set in splits.iter().flat_map(|split| [&split.train, &split.test]) {
        assert!((0..300).all(|index| seen.insert(set.image(index))));
    }
}

#[test]
fn the_descriptor_states_the_statistics_of_the_default_set() {
    let split = synthetic(&SyntheticConfig { test: 10, ..SyntheticConfig::default() }).unwrap();
    let count = (split.train.len() * 1024) as f64;
    for channel in 0..3 {
        let values = || {
            let images =
                (0..split.train.len()).map(|index| &split.train.image(index)[channel * 1024..][..1024]);
            images.flatten().map(|&pixel| f64::from(pixel) / 255.0)
        };
        let mean = values().sum::<f64>() / count;
        let deviation = (values().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
        let info = split.train.info();
        assert!((mean - f64::from(info.mean[channel])).abs() < 0.002, "mean of channel {channel} is {mean}");
        assert!(
            (deviation - f64::from(info.std[channel])).abs() < 0.002,
            "deviation of channel {channel} is {deviation}"
        );
    }
}

#[test]
fn impossible_sizes_are_refused() {
    for (train, test) in [(9, 10), (10, 0), (usize::MAX, 10), (usize::MAX / 3072, 10)] {
        let result = synthetic(&SyntheticConfig { train, test, seed: 0 });
        assert!(matches!(result, Err(Error::Synthetic { .. })));
    }
}
