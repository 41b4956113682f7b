//! The kernel of max pooling tied into dfdx's tape.

use dfdx::prelude::*;

use super::{
    check, composition,
    kernel::{backward, forward},
};
use crate::{
    Error, Grid, Result, Window,
    tape::{buffer, gradient_of, is_contiguous, take_gradient, tensor, values},
};

type Tokens<const C: usize, T> = Tensor<(usize, usize, Const<C>), f32, Cpu, T>;

pub(crate) fn on_cpu<const C: usize, T: Tape<f32, Cpu>>(
    device: &Cpu,
    x: Tokens<C, T>,
    grid: Grid,
    window: Window,
) -> Result<(Tokens<C, T>, Grid)> {
    let dims = check(x.shape(), grid, window)?;
    if !is_contiguous(&x) {
        let y = composition(dims, x).map_err(|e| Error::device("max_pool2d", e))?;
        return Ok((y, dims.out));
    }
    let (x, mut tape) = x.split_tape();
    let shape = (dims.batch, dims.out.tokens(), Const);
    let mut y = buffer(shape.0 * shape.1 * C);
    let mut winners = vec![0; y.len()];
    forward(dims, values(&x), &mut y, &mut winners);
    let y = tensor("max_pool2d", device, y, shape)?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            drop(y);
            backward(dims, &winners, &dy, gradient_of(gradients, &x)?);
            Ok(())
        });
    }
    Ok((y.put_tape(tape), dims.out))
}
