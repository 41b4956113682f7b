//! ReLU on the CPU: one pass over memory.

use rayon::prelude::*;

use crate::{
    custom::{Input, Operation},
    tape::buffer,
};

const CHUNK: usize = 1 << 14;

pub(crate) struct Relu;

impl Operation for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn forward(&self, inputs: &[Input<'_>]) -> Vec<f32> {
        let mut y = buffer(inputs[0].values.len());
        forward(inputs[0].values, &mut y);
        y
    }

    fn backward(&self, _: &[Input<'_>], y: &[f32], dy: &[f32], gradients: &mut [&mut [f32]]) {
        backward(y, dy, gradients[0]);
    }
}

/// `y = relu(x)`; `y` is overwritten.
fn forward(x: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = if *x <= 0.0 { 0.0 } else { *x });
    });
}

/// `dx += dy relu'(x)`, where the result y says the sign of x.
fn backward(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    dx.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK))).for_each(|(dx, (y, dy))| {
        dx.iter_mut()
            .zip(y.iter().zip(dy))
            .for_each(|(dx, (y, dy))| *dx += if *y <= 0.0 { 0.0 } else { *dy });
    });
}
