//! From images to tokens, for trunks that leave the choice open: plain patches, and EIT's overlapping ones.

use dfdx::prelude::*;
use inductive_attention::{Tokens, he};
use inductive_ops::{Backend, Error, Grid};

use crate::{Overlap, layers::PatchEmbed, model::Images};

/// Images to tokens.
pub trait Stem<const C: usize, E: Dtype, D: Backend<E>>: TensorCollection<E, D> {
    /// How patches overlap, if they do.
    const OVERLAP: Option<Overlap>;
    /// Pixels from one patch to the next.
    const STRIDE: usize;

    /// New weights by the authors' rule: He's over the fan out, with bias 0.
    fn initialise(&mut self) -> inductive_ops::Result<()>;

    /// images: `[batch, 3, height, width]`; result: `[batch, tokens, C]`, row by row, and the grid of the tokens.
    fn tokens<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        image_gradient: bool,
    ) -> inductive_ops::Result<(Tokens<C, E, D, T>, Grid)>;
}

/// EIT's patches projection: a `K x K` convolution with stride `S` and padding `K / 2`, then max pooling over `P x P`.
///
/// The grid is what comes out: 19 x 19 for 16/4/3 at 224 pixels. State-dict names `eit_p.conv.weight`, `eit_p.conv.bias`.
#[derive(Clone, Debug)]
pub struct OverlappingPatches<
    const C: usize,
    const K: usize,
    const S: usize,
    const P: usize,
    E: Dtype,
    D: Device<E>,
> {
    /// `[C, 3, K, K]`
    pub weight: Tensor<Rank4<C, 3, K, K>, E, D>,
    /// `[C]`
    pub bias: Tensor<Rank1<C>, E, D>,
}

impl<const C: usize, const K: usize, const S: usize, const P: usize, E: Dtype, D: Device<E>>
    TensorCollection<E, D> for OverlappingPatches<C, K, S, P, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = OverlappingPatches<C, K, S, P, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let he = TensorOptions::reset_with(|t| t.try_fill_with_distr(he(C * K * K)));
        visitor.visit_fields(
            (
                Self::tensor("eit_p.conv.weight", |s| &s.weight, |s| &mut s.weight, he),
                Self::tensor(
                    "eit_p.conv.bias",
                    |s| &s.bias,
                    |s| &mut s.bias,
                    TensorOptions::reset_to_zeros(),
                ),
            ),
            |(weight, bias)| OverlappingPatches { weight, bias },
        )
    }
}

impl<const C: usize, const K: usize, const S: usize, const P: usize, E: Dtype, D: Backend<E>> Stem<C, E, D>
    for OverlappingPatches<C, K, S, P, E, D>
{
    const OVERLAP: Option<Overlap> = Some(Overlap { kernel: K, stride: S, pool: P });
    const STRIDE: usize = S * P;

    fn initialise(&mut self) -> inductive_ops::Result<()> {
        he_fan_out(&mut self.weight, &mut self.bias)
    }

    fn tokens<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        image_gradient: bool,
    ) -> inductive_ops::Result<(Tokens<C, E, D, T>, Grid)> {
        let device = images.device().clone();
        let overlap = Overlap { kernel: K, stride: S, pool: P };
        let (weight, window) = (&self.weight, overlap.convolution());
        let (map, grid) = device.conv2d_images(images, weight, Some(&self.bias), window, image_gradient)?;
        device.max_pool2d(map, grid, overlap.pooling())
    }
}

impl<const C: usize, const P: usize, E: Dtype, D: Backend<E>> Stem<C, E, D> for PatchEmbed<C, P, E, D> {
    const OVERLAP: Option<Overlap> = None;
    const STRIDE: usize = P;

    fn initialise(&mut self) -> inductive_ops::Result<()> {
        he_fan_out(&mut self.weight, &mut self.bias)
    }

    fn tokens<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        image_gradient: bool,
    ) -> inductive_ops::Result<(Tokens<C, E, D, T>, Grid)> {
        let (_, _, height, width) = *images.shape();
        let grid = Grid { rows: height / P.max(1), cols: width / P.max(1) };
        Ok((self.apply(images, image_gradient)?, grid))
    }
}

/// Fills a convolution's weight as PyTorch's `kaiming_normal_(mode="fan_out")`, its bias with zeros.
fn he_fan_out<const C: usize, const I: usize, const K: usize, E: Dtype, D: Device<E>>(
    weight: &mut Tensor<Rank4<C, I, K, K>, E, D>,
    bias: &mut Tensor<Rank1<C>, E, D>,
) -> inductive_ops::Result<()> {
    let filled = weight.try_fill_with_distr(he(C * K * K)).and_then(|()| bias.try_fill_with_zeros());
    filled.map_err(|e| Error::device("initialise", e))
}
