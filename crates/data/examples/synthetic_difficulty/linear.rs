//! Softmax regression: multinomial logistic regression on a feature vector per image, with weight decay.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Feature vectors with their classes.
pub struct Examples {
    /// [n, features], row by row.
    pub features: Vec<f32>,
    /// [n].
    pub labels: Vec<u32>,
}

impl Examples {
    /// Numbers per example.
    pub fn width(&self) -> usize {
        self.features.len() / self.labels.len()
    }

    fn row(&self, index: usize) -> &[f32] {
        &self.features[index * self.width()..][..self.width()]
    }

    /// Each feature minus `mean` over `deviation`, which [`moments`](Self::moments) of the training examples give.
    pub fn standardise(&mut self, (mean, deviation): &(Vec<f32>, Vec<f32>)) {
        for row in self.features.chunks_exact_mut(mean.len()) {
            row.iter_mut()
                .zip(mean)
                .zip(deviation)
                .for_each(|((value, mean), dev)| *value = (*value - mean) / dev);
        }
    }

    /// Mean and standard deviation of each feature.
    pub fn moments(&self) -> (Vec<f32>, Vec<f32>) {
        let (width, count) = (self.width(), self.labels.len() as f32);
        let (mut mean, mut square) = (vec![0.0; width], vec![0.0; width]);
        for row in self.features.chunks_exact(width) {
            for ((mean, square), &value) in mean.iter_mut().zip(&mut square).zip(row) {
                *mean += value / count;
                *square += value * value / count;
            }
        }
        let deviation =
            mean.iter().zip(&square).map(|(mean, square)| (square - mean * mean).max(1e-8).sqrt()).collect();
        (mean, deviation)
    }
}

/// Trains on `train` and returns the accuracy on `test`, in [0, 1].
///
/// Stochastic gradient descent, batches of one: `rate` falls linearly to 0 over `epochs`; `decay` is the L2 penalty.
pub fn softmax_regression(
    train: &Examples,
    test: &Examples,
    classes: usize,
    epochs: usize,
    rate: f32,
    decay: f32,
) -> f64 {
    let width = train.width();
    let mut weights = vec![0.0; classes * width];
    let mut bias = vec![0.0; classes];
    let mut order: Vec<usize> = (0..train.labels.len()).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let steps = (epochs * order.len()) as f32;
    for epoch in 0..epochs {
        order.shuffle(&mut rng);
        for (step, &index) in order.iter().enumerate() {
            let rate = rate * (1.0 - (epoch * order.len() + step) as f32 / steps);
            let row = train.row(index);
            let mut error = logits(&weights, &bias, row);
            softmax(&mut error);
            error[train.labels[index] as usize] -= 1.0;
            for ((weights, bias), error) in weights.chunks_exact_mut(width).zip(&mut bias).zip(error) {
                *bias -= rate * error;
                let (keep, change) = (1.0 - rate * decay, rate * error);
                weights
                    .iter_mut()
                    .zip(row)
                    .for_each(|(weight, value)| *weight = *weight * keep - change * value);
            }
        }
    }
    let right = (0..test.labels.len()).filter(|&index| {
        let logits = logits(&weights, &bias, test.row(index));
        argmax(&logits) == test.labels[index] as usize
    });
    right.count() as f64 / test.labels.len() as f64
}

fn logits(weights: &[f32], bias: &[f32], row: &[f32]) -> Vec<f32> {
    weights.chunks_exact(row.len()).zip(bias).map(|(weights, bias)| bias + dot(weights, row)).collect()
}

/// Scalar product in sixteen interleaved sums, which the compiler can vectorise.
pub fn dot(one: &[f32], other: &[f32]) -> f32 {
    let mut sums = [0.0; 16];
    let (chunks, others) = (one.chunks_exact(16), other.chunks_exact(16));
    let rest: f32 = chunks.remainder().iter().zip(others.remainder()).map(|(a, b)| a * b).sum();
    for (chunk, other) in chunks.zip(others) {
        sums.iter_mut().zip(chunk).zip(other).for_each(|((sum, a), b)| *sum += a * b);
    }
    sums.iter().sum::<f32>() + rest
}

/// Logits to probabilities, in place.
pub fn softmax(logits: &mut [f32]) {
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    logits.iter_mut().for_each(|logit| *logit = (*logit - most).exp());
    let sum: f32 = logits.iter().sum();
    logits.iter_mut().for_each(|logit| *logit /= sum);
}

/// Position of the largest number.
pub fn argmax(numbers: &[f32]) -> usize {
    (0..numbers.len()).max_by(|&a, &b| numbers[a].total_cmp(&numbers[b])).unwrap_or(0)
}
