//! ReLU on the CPU: one pass over memory, tied into dfdx's tape.

use dfdx::prelude::*;
use rayon::prelude::*;

use crate::{
    Result,
    tape::{buffer, contiguous, gradient_of, take_gradient, tensor, values},
};

const CHUNK: usize = 1 << 14;

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

pub(crate) fn on_cpu<S: Shape, T: Tape<f32, Cpu>>(
    device: &Cpu,
    x: Tensor<S, f32, Cpu, T>,
) -> Result<Tensor<S, f32, Cpu, T>> {
    let (x, mut tape) = contiguous("relu", x)?.split_tape();
    let mut y = buffer(x.shape().num_elements());
    forward(values(&x), &mut y);
    let y = tensor("relu", device, y, *x.shape())?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            backward(values(&y), &dy, gradient_of(gradients, &x)?);
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}
