//! Parts of the channels on the CPU: rows are copied in parallel.

use dfdx::prelude::*;
use rayon::prelude::*;

use super::{Tokens, check_concat, check_slice};
use crate::{
    Result, residual,
    tape::{buffer, contiguous, gradient_of, take_gradient, tensor, values},
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

pub(crate) fn slice_on_cpu<const C: usize, const P: usize, T: Tape<f32, Cpu>>(
    device: &Cpu,
    x: Tokens<C, f32, Cpu, T>,
    first: usize,
) -> Result<Tokens<P, f32, Cpu, T>> {
    check_slice::<C, P>(x.shape(), first)?;
    let x = contiguous("slice_channels", x)?;
    let (x, mut tape) = x.split_tape();
    let (batch, tokens, _) = *x.shape();
    let mut y = buffer(batch * tokens * P);
    copy(values(&x), (C, first), &mut y, (P, 0), P);
    let y = tensor("slice_channels", device, y, (batch, tokens, Const))?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            add(&dy, (P, 0), gradient_of(gradients, &x)?, (C, first), P);
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

pub(crate) fn concat_on_cpu<
    const A: usize,
    const B: usize,
    const C: usize,
    TA: Tape<f32, Cpu> + Merge<TB>,
    TB: Tape<f32, Cpu>,
>(
    device: &Cpu,
    a: Tokens<A, f32, Cpu, TA>,
    b: Tokens<B, f32, Cpu, TB>,
) -> Result<Tokens<C, f32, Cpu, TA>> {
    let (batch, tokens) = check_concat::<A, B, C>(a.shape(), b.shape())?;
    let (a, a_tape) = contiguous("concat_channels", a)?.split_tape();
    let (b, b_tape) = contiguous("concat_channels", b)?.split_tape();
    let mut tape = a_tape.merge(b_tape);
    let mut y = buffer(batch * tokens * C);
    copy(values(&a), (A, 0), &mut y, (C, 0), A);
    copy(values(&b), (B, 0), &mut y, (C, A), B);
    let y = tensor("concat_channels", device, y, (batch, tokens, Const))?;
    if TA::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            add(&dy, (C, 0), gradient_of(gradients, &a)?, (A, 0), A);
            add(&dy, (C, A), gradient_of(gradients, &b)?, (B, 0), B);
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}
