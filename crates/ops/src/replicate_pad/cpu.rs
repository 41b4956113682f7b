//! The padding's kernel tied into dfdx's tape: patches are copied, and gradients of copies added up.

use dfdx::prelude::{Cpu, HasShape, PutTape, SplitTape, Tape};
use rayon::prelude::*;

use super::Dims;
use crate::{
    Grid, Result, residual,
    tape::{Tokens, buffer, contiguous, gradient_of, take_gradient, tensor, values},
};

pub(crate) fn on_cpu<T: Tape<f32, Cpu>>(
    device: &Cpu,
    dims: Dims,
    grid: Grid,
    x: Tokens<T>,
) -> Result<(Tokens<T>, Grid)> {
    let c = x.shape().2;
    let (x, mut tape) = contiguous("replicate_pad", x)?.split_tape();
    let (batch, sources) = (x.shape().0, dims.sources());
    let (sample, wide) = (grid.tokens() * c, dims.out.tokens() * c);
    let mut y = buffer(batch * wide);
    y.par_chunks_exact_mut(wide).zip(values(&x).par_chunks_exact(sample)).for_each(|(y, x)| {
        for (y, source) in y.chunks_exact_mut(c).zip(&sources) {
            y.copy_from_slice(&x[source * c..][..c]);
        }
    });
    let y = tensor("replicate_pad", device, y, (batch, dims.out.tokens(), c))?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            let dx = gradient_of(gradients, &x)?;
            dx.par_chunks_exact_mut(sample).zip(dy.par_chunks_exact(wide)).for_each(|(dx, dy)| {
                for (dy, source) in dy.chunks_exact(c).zip(&sources) {
                    residual::add(dy, &mut dx[source * c..][..c]);
                }
            });
            Ok(())
        });
    }
    Ok((y.put_tape(tape), dims.out))
}
