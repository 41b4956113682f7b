//! How a sublayer sits in a pre-norm transformer block: `x + scale_b f(norm(x))`.

mod held;
mod kernel;

use dfdx::prelude::*;

pub(crate) use held::Held;
pub(crate) use kernel::Slices;

use crate::{Backend, Erase, Result, residual};

/// Layer normalisation before a sublayer, the residual connection around it, and its drop path.
///
/// Given to [`Backend::mlp`] and the attention operations, which compute it with their own work while rows are in cache.
#[derive(Debug)]
pub struct Branch<'a, const C: usize, E: Dtype, D: Device<E>> {
    /// Weight of the normalisation, `[C]`.
    pub weight: &'a Tensor<Rank1<C>, E, D>,
    /// Bias of the normalisation, `[C]`.
    pub bias: &'a Tensor<Rank1<C>, E, D>,
    /// Added to the variance.
    pub eps: f64,
    /// One factor per sample, `[batch]`, for the sublayer's result, see [`DropPath::scales`](crate::DropPath::scales); `None`: 1.
    pub scale: Option<&'a [f32]>,
}

impl<const C: usize, E: Dtype, D: Device<E>> Clone for Branch<'_, C, E, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<const C: usize, E: Dtype, D: Device<E>> Copy for Branch<'_, C, E, D> {}

/// Refuses factors whose number is not that of the samples.
pub(crate) fn check<S: Shape, const C: usize, E: Dtype, D: Device<E>>(
    x: &S,
    branch: Option<&Branch<'_, C, E, D>>,
) -> Result<()> {
    match branch {
        Some(branch) => residual::check(x, x, branch.scale).map(|_| ()),
        None => Ok(()),
    }
}

/// `x + scale_b f(norm(x))`, or `f(x)` without a branch.
pub(crate) fn around<S: Erase, const C: usize, E: Dtype, D: Backend<E>, T: Tape<E, D>>(
    device: &D,
    x: Tensor<S, E, D, T>,
    branch: Option<Branch<'_, C, E, D>>,
    f: impl FnOnce(Tensor<S, E, D, T>) -> Result<Tensor<S, E, D, T>>,
) -> Result<Tensor<S, E, D, T>> {
    let Some(Branch { weight, bias, eps, scale }) = branch else { return f(x) };
    let (residual, tape) = x.split_tape();
    let normal = device.layer_norm(residual.clone().put_tape(tape), weight, bias, eps)?;
    device.add_residual(f(normal)?, &residual, scale)
}
