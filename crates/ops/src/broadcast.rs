//! Copies of broadcast tensors, for compositions.

use dfdx::prelude::*;

/// A broadcast tensor as one whose numbers all have a place of their own: zeros plus it.
///
/// dfdx 0.13's own copy (`contiguous`, or `reshape` of such a tensor) loses gradient on CUDA: its backward pass runs over as many
/// numbers as were broadcast, and not over those that there are.
pub(crate) fn spread_out<S: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<S, E, D, T>,
) -> Result<Tensor<S, E, D, T>, D::Err> {
    let zeros = x.device().try_zeros_like(x.shape())?;
    x.try_add(zeros)
}
