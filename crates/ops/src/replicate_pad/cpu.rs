//! The padding's kernel tied into dfdx's tape: patches are copied, and gradients of copies added up.

use dfdx::prelude::*;
use rayon::prelude::*;

use super::check;
use crate::{
    Grid, Result, residual,
    tape::{buffer, contiguous, gradient_of, take_gradient, tensor, values},
};

pub(crate) fn on_cpu<const C: usize, T: Tape<f32, Cpu>>(
    device: &Cpu,
    x: Tensor<(usize, usize, Const<C>), f32, Cpu, T>,
    grid: Grid,
    pad: usize,
) -> Result<(Tensor<(usize, usize, Const<C>), f32, Cpu, T>, Grid)> {
    let dims = check(x.shape(), grid, pad)?;
    let (x, mut tape) = contiguous("replicate_pad", x)?.split_tape();
    let (batch, sources) = (x.shape().0, dims.sources());
    let (sample, wide) = (grid.tokens() * C, dims.out.tokens() * C);
    let mut y = buffer(batch * wide);
    y.par_chunks_exact_mut(wide).zip(values(&x).par_chunks_exact(sample)).for_each(|(y, x)| {
        for (y, source) in y.chunks_exact_mut(C).zip(&sources) {
            y.copy_from_slice(&x[source * C..][..C]);
        }
    });
    let y = tensor("replicate_pad", device, y, (batch, dims.out.tokens(), Const))?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            let dx = gradient_of(gradients, &x)?;
            dx.par_chunks_exact_mut(sample).zip(dy.par_chunks_exact(wide)).for_each(|(dx, dy)| {
                for (dy, source) in dy.chunks_exact(C).zip(&sources) {
                    residual::add(dy, &mut dx[source * C..][..C]);
                }
            });
            Ok(())
        });
    }
    Ok((y.put_tape(tape), dims.out))
}
