//! A stem: patches whose channels are normalised.

use dfdx::prelude::*;
use inductive_nn::{
    Build, Context, Images, LayerNorm, PatchEmbed, Result, Stem, Taped, Tokens, module, plain_grid, size_of,
};
use inductive_ops::{Backend, Grid};

/// Patches of `P x P` pixels, each with mean 0 and variance 1 over its `C` channels before scale and shift.
pub struct NormalPatches<const C: usize, const P: usize, E: Dtype, D: Device<E>> {
    /// `[C, 3, P, P]` and `[C]`
    pub patches: PatchEmbed<C, P, E, D>,
    /// `[C]` twice
    pub norm: LayerNorm<C, E, D>,
}

module!([const C: usize, const P: usize] NormalPatches<C, P, E, D> { patches: "", norm });

impl<const C: usize, const P: usize, E: Dtype, D: Backend<E>> Build<E, D> for NormalPatches<C, P, E, D> {
    fn new(device: &D) -> Result<Self> {
        Ok(Self { patches: Build::new(device)?, norm: Build::new(device)? })
    }
}

impl<const C: usize, const P: usize, E: Dtype, D: Backend<E>> Stem<C, E, D> for NormalPatches<C, P, E, D> {
    fn grid(image: (usize, usize)) -> Result<Grid> {
        plain_grid(image, P)
    }

    fn tokens<T: Taped<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: &mut Context<'_, E>,
    ) -> Result<(Tokens<C, E, D, T>, Grid)> {
        let grid = plain_grid(size_of(&images), P)?;
        Ok((self.norm.apply(self.patches.apply(images, context.image_gradient)?)?, grid))
    }
}
