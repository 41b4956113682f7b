//! A small convolutional network in plain loops: what the synthetic set is easy for.
//!
//! 3x3 convolution to 16 channels, ReLU, 2x2 maximum, 3x3 convolution to 32 channels, ReLU, global maximum, linear:
//! 5,418 parameters, each feature sees 8x8 pixels. Trained with Adam.

use crate::linear::{argmax, dot, softmax};
use inductive_data::{Batch, Error, Loader};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

const SIDE: usize = 32;
const HALF: usize = SIDE / 2;
const CHANNELS: [usize; 3] = [3, 16, 32];
const CLASSES: usize = 10;
/// Images whose gradients are summed on one thread: fixed, so that the bits do not depend on the number of threads.
const CHUNK: usize = 8;
const PEAK_RATE: f32 = 1e-2;

/// One 3x3 convolution with zero padding; weights [outputs, inputs, 3, 3] and bias [outputs].
struct Convolution<'a> {
    inputs: usize,
    side: usize,
    weights: &'a [f32],
    bias: &'a [f32],
}

impl Convolution<'_> {
    /// image: [inputs, side, side]; returns [outputs, side, side].
    fn forward(&self, image: &[f32]) -> Vec<f32> {
        let side = self.side;
        let mut out = Vec::with_capacity(self.bias.len() * side * side);
        for (kernel, &bias) in self.weights.chunks_exact(self.inputs * 9).zip(self.bias) {
            let mut plane = vec![bias; side * side];
            for (input, kernel) in image.chunks_exact(side * side).zip(kernel.chunks_exact(9)) {
                for (tap, &weight) in kernel.iter().enumerate() {
                    let (dy, dx) = (tap / 3, tap % 3);
                    // Output rows and columns for which the tap is inside of the image.
                    let (left, right) = (usize::from(dx == 0), side - usize::from(dx == 2));
                    for y in usize::from(dy == 0)..side - usize::from(dy == 2) {
                        let source = &input[(y + dy - 1) * side + left + dx - 1..][..right - left];
                        let line = &mut plane[y * side + left..y * side + right];
                        line.iter_mut().zip(source).for_each(|(out, pixel)| *out += weight * pixel);
                    }
                }
            }
            out.extend(plane);
        }
        out
    }

    /// Adds the gradients for `gradient` at one output element: to `weights` and `bias` of output `channel`, and
    /// to `image_gradient` if wanted.
    fn backward_at(
        &self,
        (channel, y, x): (usize, usize, usize),
        gradient: f32,
        image: &[f32],
        (weights, bias): (&mut [f32], &mut [f32]),
        mut image_gradient: Option<&mut [f32]>,
    ) {
        bias[channel] += gradient;
        for input in 0..self.inputs {
            for tap in 0..9 {
                let (y, x) = (y + tap / 3, x + tap % 3);
                if !(1..=self.side).contains(&y) || !(1..=self.side).contains(&x) {
                    continue;
                }
                let weight = (channel * self.inputs + input) * 9 + tap;
                let pixel = (input * self.side + y - 1) * self.side + x - 1;
                weights[weight] += gradient * image[pixel];
                if let Some(image_gradient) = &mut image_gradient {
                    image_gradient[pixel] += gradient * self.weights[weight];
                }
            }
        }
    }
}

/// All parameters: convolution, convolution, linear; weights before biases.
pub struct ConvNet {
    parameters: Vec<f32>,
}

/// Lengths of the parts of the parameters.
const PARTS: [usize; 6] = [
    CHANNELS[1] * CHANNELS[0] * 9,
    CHANNELS[1],
    CHANNELS[2] * CHANNELS[1] * 9,
    CHANNELS[2],
    CLASSES * CHANNELS[2],
    CLASSES,
];

fn parts(parameters: &[f32]) -> [&[f32]; 6] {
    let mut rest = parameters;
    PARTS.map(|length| {
        let (part, after) = rest.split_at(length);
        rest = after;
        part
    })
}

fn parts_mut(mut rest: &mut [f32]) -> [&mut [f32]; 6] {
    PARTS.map(|length| {
        let (part, after) = std::mem::take(&mut rest).split_at_mut(length);
        rest = after;
        part
    })
}

/// What the backward pass needs of a forward pass.
struct Activations {
    /// [16, 16, 16], and where in the 32x32 plane each maximum was.
    pooled: Vec<f32>,
    pooled_from: Vec<usize>,
    /// [32], and where in the 16x16 plane each maximum was.
    features: Vec<f32>,
    features_from: Vec<usize>,
    logits: Vec<f32>,
}

impl ConvNet {
    /// He initialisation of the weights; biases are 0.
    pub fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let fan_in = [CHANNELS[0] * 9, 0, CHANNELS[1] * 9, 0, CHANNELS[2], 0];
        let parameters = PARTS.iter().zip(fan_in).flat_map(|(&length, fan_in)| {
            let deviation = if fan_in == 0 { 0.0 } else { (2.0 / fan_in as f32).sqrt() };
            (0..length).map(|_| deviation * sample(&mut rng)).collect::<Vec<f32>>()
        });
        Self { parameters: parameters.collect() }
    }

    fn convolutions(&self) -> [Convolution<'_>; 2] {
        let [w1, b1, w2, b2, ..] = parts(&self.parameters);
        [
            Convolution { inputs: CHANNELS[0], side: SIDE, weights: w1, bias: b1 },
            Convolution { inputs: CHANNELS[1], side: HALF, weights: w2, bias: b2 },
        ]
    }

    fn forward(&self, image: &[f32]) -> Activations {
        let [first, second] = self.convolutions();
        let [.., weights, bias] = parts(&self.parameters);
        let convolved = first.forward(image);
        let (mut pooled, mut pooled_from) = (Vec::new(), Vec::new());
        for plane in convolved.chunks_exact(SIDE * SIDE) {
            for corner in (0..HALF * HALF).map(|at| at / HALF * 2 * SIDE + at % HALF * 2) {
                let window = [corner, corner + 1, corner + SIDE, corner + SIDE + 1];
                let from = window[argmax(&window.map(|at| plane[at]))];
                pooled.push(plane[from].max(0.0));
                pooled_from.push(from);
            }
        }
        let convolved = second.forward(&pooled);
        let planes = convolved.chunks_exact(HALF * HALF);
        let features_from: Vec<usize> = planes.clone().map(argmax).collect();
        let features: Vec<f32> =
            planes.zip(&features_from).map(|(plane, &from)| plane[from].max(0.0)).collect();
        let logits = weights
            .chunks_exact(CHANNELS[2])
            .zip(bias)
            .map(|(row, bias)| bias + dot(row, &features))
            .collect();
        Activations { pooled, pooled_from, features, features_from, logits }
    }

    /// Adds the gradient of the cross-entropy of one image to `gradient`.
    fn backward(&self, image: &[f32], label: u32, gradient: &mut [f32]) {
        let Activations { pooled, pooled_from, features, features_from, mut logits } = self.forward(image);
        softmax(&mut logits);
        logits[label as usize] -= 1.0;
        let [first, second] = self.convolutions();
        let [.., weights, _] = parts(&self.parameters);
        let [w1, b1, w2, b2, w3, b3] = parts_mut(gradient);
        let mut features_gradient = vec![0.0; CHANNELS[2]];
        for (class, &error) in logits.iter().enumerate() {
            b3[class] += error;
            for (channel, feature) in features.iter().enumerate() {
                w3[class * CHANNELS[2] + channel] += error * feature;
                features_gradient[channel] += error * weights[class * CHANNELS[2] + channel];
            }
        }
        // A maximum passes its gradient to one place, and none through a ReLU that is 0.
        let mut pooled_gradient = vec![0.0; pooled.len()];
        for (channel, &from) in
            features_from.iter().enumerate().filter(|&(channel, _)| features[channel] > 0.0)
        {
            let place = (channel, from / HALF, from % HALF);
            second.backward_at(
                place,
                features_gradient[channel],
                &pooled,
                (w2, b2),
                Some(&mut pooled_gradient),
            );
        }
        for (at, &from) in pooled_from.iter().enumerate().filter(|&(at, _)| pooled[at] > 0.0) {
            if pooled_gradient[at] != 0.0 {
                let place = (at / (HALF * HALF), from / SIDE, from % SIDE);
                first.backward_at(place, pooled_gradient[at], image, (w1, b1), None);
            }
        }
    }

    /// The mean gradient over a batch.
    fn gradient(&self, batch: &Batch) -> Vec<f32> {
        let images = batch.images.par_chunks(CHUNK * 3 * SIDE * SIDE).zip(batch.labels.par_chunks(CHUNK));
        let chunks: Vec<Vec<f32>> = images
            .map(|(images, labels)| {
                let mut gradient = vec![0.0; self.parameters.len()];
                for (image, &label) in images.chunks_exact(3 * SIDE * SIDE).zip(labels) {
                    self.backward(image, label, &mut gradient);
                }
                gradient
            })
            .collect();
        let mut mean = vec![0.0; self.parameters.len()];
        for chunk in chunks {
            mean.iter_mut().zip(chunk).for_each(|(mean, value)| *mean += value / batch.len() as f32);
        }
        mean
    }

    /// Adam (betas .9, .999) for `steps` batches; the rate rises for a tenth of them, then falls as a cosine.
    pub fn train(&mut self, loader: &Loader, steps: usize) -> Result<(), Error> {
        let (mut first, mut second) = (vec![0.0; self.parameters.len()], vec![0.0; self.parameters.len()]);
        let mut step = 0;
        for epoch in 0.. {
            for batch in loader.epoch(epoch)? {
                if step == steps {
                    return Ok(());
                }
                let progress = step as f32 / steps as f32;
                let rate =
                    PEAK_RATE * (progress / 0.1).min(0.5 * (1.0 + (std::f32::consts::PI * progress).cos()));
                step += 1;
                let (scale, square_scale) =
                    (1.0 - 0.9f32.powi(step as i32), 1.0 - 0.999f32.powi(step as i32));
                let gradient = self.gradient(&batch);
                let moments = first.iter_mut().zip(&mut second);
                for ((parameter, gradient), (first, second)) in
                    self.parameters.iter_mut().zip(gradient).zip(moments)
                {
                    *first = 0.9 * *first + 0.1 * gradient;
                    *second = 0.999 * *second + 0.001 * gradient * gradient;
                    *parameter -= rate * (*first / scale) / ((*second / square_scale).sqrt() + 1e-8);
                }
            }
        }
        Ok(())
    }

    /// Share of images whose class has the largest logit.
    pub fn accuracy(&self, loader: &Loader) -> Result<f64, Error> {
        let mut right = 0;
        for batch in loader.epoch(0)? {
            let images = batch.images.par_chunks_exact(3 * SIDE * SIDE).zip(&batch.labels);
            right += images
                .filter(|&(image, &label)| argmax(&self.forward(image).logits) == label as usize)
                .count();
        }
        Ok(right as f64 / loader.dataset().len() as f64)
    }
}

fn sample(rng: &mut ChaCha8Rng) -> f32 {
    StandardNormal.sample(rng)
}
