//! Parts of the channels on the CPU: rows are copied in parallel.

use dfdx::prelude::{Cpu, HasShape, Merge, PutTape, SplitTape, Tape};
use rayon::prelude::*;

use crate::{
    Result, residual,
    tape::{Tokens, buffer, contiguous, gradient_of, take_gradient, tensor, values},
};

/// Rows that one task copies.
const CHUNK: usize = 256;

/// Gives `each` channels `to..` of a row of `y` and `from..` of the same row of `x`, `count` of them.
fn for_each_row(
    x: &[f32],
    (x_width, from): (usize, usize),
    y: &mut [f32],
    (y_width, to): (usize, usize),
    count: usize,
    each: fn(&mut [f32], &[f32]),
) {
    y.par_chunks_mut(CHUNK * y_width).zip(x.par_chunks(CHUNK * x_width)).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(y_width).zip(x.chunks_exact(x_width)) {
            each(&mut y[to..to + count], &x[from..from + count]);
        }
    });
}

/// Copies channels `from..` of rows of `x` to channels `to..` of rows of `y`.
fn copy(x: &[f32], of_x: (usize, usize), y: &mut [f32], of_y: (usize, usize), count: usize) {
    for_each_row(x, of_x, y, of_y, count, |y, x| y.copy_from_slice(x));
}

/// As [`copy`], added.
fn add(x: &[f32], of_x: (usize, usize), y: &mut [f32], of_y: (usize, usize), count: usize) {
    for_each_row(x, of_x, y, of_y, count, |y, x| residual::add(x, y));
}

/// Channels `first..first + count`.
pub(crate) fn slice_on_cpu<T: Tape<f32, Cpu>>(
    device: &Cpu,
    x: Tokens<T>,
    first: usize,
    count: usize,
) -> Result<Tokens<T>> {
    let x = contiguous("slice_channels", x)?;
    let (x, mut tape) = x.split_tape();
    let (batch, tokens, width) = *x.shape();
    let mut y = buffer(batch * tokens * count);
    copy(values(&x), (width, first), &mut y, (count, 0), count);
    let y = tensor("slice_channels", device, y, (batch, tokens, count))?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            add(&dy, (count, 0), gradient_of(gradients, &x)?, (width, first), count);
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

/// Channels of `a`, then those of `b`.
pub(crate) fn concat_on_cpu<TA: Tape<f32, Cpu> + Merge<TB>, TB: Tape<f32, Cpu>>(
    device: &Cpu,
    a: Tokens<TA>,
    b: Tokens<TB>,
) -> Result<Tokens<TA>> {
    let ((batch, tokens, of_a), of_b) = (*a.shape(), b.shape().2);
    let width = of_a + of_b;
    let (a, a_tape) = contiguous("concat_channels", a)?.split_tape();
    let (b, b_tape) = contiguous("concat_channels", b)?.split_tape();
    let mut tape = a_tape.merge(b_tape);
    let mut y = buffer(batch * tokens * width);
    copy(values(&a), (of_a, 0), &mut y, (width, 0), of_a);
    copy(values(&b), (of_b, 0), &mut y, (width, of_a), of_b);
    let y = tensor("concat_channels", device, y, (batch, tokens, width))?;
    if TA::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            add(&dy, (width, 0), gradient_of(gradients, &a)?, (of_a, 0), of_a);
            add(&dy, (width, of_a), gradient_of(gradients, &b)?, (of_b, 0), of_b);
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}
