//! A differentiable operation: to each token the mean of all, by a share of its own for each channel.

use inductive_ops::custom::{Input, Operation, gradient_error};

/// `y[b, t, c] = x[b, t, c] + share[c] mean_t x[b, t, c]`; x: `[batch, tokens, channels]`, share: `[channels]`.
pub struct AddMean;

/// Sums over the tokens of one sample, `[tokens, channels]`.
fn sums(sample: &[f32], channels: usize) -> Vec<f32> {
    let mut sums = vec![0.0; channels];
    for token in sample.chunks_exact(channels) {
        sums.iter_mut().zip(token).for_each(|(sum, value)| *sum += value);
    }
    sums
}

impl Operation for AddMean {
    fn name(&self) -> &'static str {
        "add_mean"
    }

    fn check(&self, inputs: &[&[usize]], out: &[usize]) -> Result<(), String> {
        match inputs {
            [x, share] if x.len() == 3 && *x == out && *share == &x[2..] => Ok(()),
            _ => Err(format!("it takes [batch, tokens, channels] and [channels], not {inputs:?}")),
        }
    }

    fn forward(&self, inputs: &[Input<'_>]) -> Vec<f32> {
        let [x, share] = inputs else { unreachable!("checked") };
        let [_, tokens, channels] = x.shape[..] else { unreachable!("checked") };
        let mut y = Vec::with_capacity(x.values.len());
        for sample in x.values.chunks_exact(tokens * channels) {
            let sums = sums(sample, channels);
            let mean = |i: usize| sums[i % channels] / tokens as f32;
            y.extend(sample.iter().enumerate().map(|(i, x)| x + share.values[i % channels] * mean(i)));
        }
        y
    }

    fn backward(&self, inputs: &[Input<'_>], _: &[f32], dy: &[f32], gradients: &mut [&mut [f32]]) {
        let ([x, share], [dx, dshare]) = (inputs, gradients) else { unreachable!("checked") };
        let [_, tokens, channels] = x.shape[..] else { unreachable!("checked") };
        let size = tokens * channels;
        let samples = x.values.chunks_exact(size).zip(dy.chunks_exact(size)).zip(dx.chunks_exact_mut(size));
        for ((x, dy), dx) in samples {
            let (x_sums, dy_sums) = (sums(x, channels), sums(dy, channels));
            for (i, dx) in dx.iter_mut().enumerate() {
                *dx += dy[i] + share.values[i % channels] * dy_sums[i % channels] / tokens as f32;
            }
            for (c, dshare) in dshare.iter_mut().enumerate() {
                *dshare += dy_sums[c] * x_sums[c] / tokens as f32;
            }
        }
    }
}

/// How far its gradients are from differences of its values, on 2 samples of 5 tokens of 3 channels.
pub fn error() -> inductive_ops::Result<f64> {
    let x: Vec<f32> = (0..30).map(|i| (i * i % 17) as f32 / 8.0 - 1.0).collect();
    let inputs = [Input { shape: &[2, 5, 3], values: &x }, Input { shape: &[3], values: &[0.5, -1.0, 2.0] }];
    gradient_error(&AddMean, &inputs, &[2, 5, 3])
}
