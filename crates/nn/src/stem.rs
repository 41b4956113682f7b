//! From images to tokens: plain patches, EIT's overlapping ones, and SimpleViT's normalised ones.

use dfdx::prelude::*;
use inductive_ops::{Backend, Grid, Window};
use serde::{Deserialize, Serialize};

use crate::{
    Build, Context, Error, Fill, LayerNorm, Linear, Module, Result, Taped, Tokens, Uniform, init::he, module,
};

/// `[batch, 3, height, width]`
pub type Images<E, D, T = NoneTape> = Tensor<(usize, usize, usize, usize), E, D, T>;

/// Images to tokens of `C` channels.
pub trait Stem<const C: usize, E: Dtype, D: Backend<E>>: Module<E, D> {
    /// Name of the stem in the model; empty for one whose parts are named beside the model's others.
    const PATH: &'static str = "patch_embed";

    /// The grid of patches of an image of `(height, width)` pixels.
    ///
    /// # Errors
    /// An image that the patches do not cover.
    fn grid(image: (usize, usize)) -> Result<Grid>;

    /// images: `[batch, 3, height, width]`; result: `[batch, tokens, C]`, row by row, and the grid of the tokens.
    ///
    /// # Errors
    /// As [`Stem::grid`]; images without three colours.
    fn tokens<T: Taped<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: &mut Context<'_, E>,
    ) -> Result<(Tokens<C, E, D, T>, Grid)>;

    /// Blocks that it runs, of the model's: those of earlier stages.
    fn depth(&self) -> usize {
        0
    }

    /// The grid of its block `index` on such an image.
    ///
    /// # Errors
    /// As [`Stem::grid`].
    fn grid_of_block(&self, image: (usize, usize), index: usize) -> Result<Grid> {
        let _ = index;
        Self::grid(image)
    }
}

/// Height and width of a batch.
pub fn size_of<E: Dtype, D: Backend<E>, T>(images: &Images<E, D, T>) -> (usize, usize) {
    let (_, _, height, width) = *images.shape();
    (height, width)
}

/// Patches of `side x side` pixels that cover an image of `(height, width)` pixels.
///
/// # Errors
/// An image that they do not cover.
pub fn plain_grid((height, width): (usize, usize), side: usize) -> Result<Grid> {
    let covered = height > 0 && width > 0 && height.is_multiple_of(side) && width.is_multiple_of(side);
    if !covered {
        let expected = format!("height and width divisible by the {side} pixels of a patch");
        return Err(Error::shape("patch_embed", expected, format!("{height}x{width} pixels")));
    }
    Ok(Grid { rows: height / side, cols: width / side })
}

/// Patch embedding: a convolution with kernel and stride `P`, its result row by row as tokens.
///
/// timm equivalent: `timm.layers.PatchEmbed(patch_size=P, embed_dim=C)`. Initialised as PyTorch's `Conv2d`: weight and
/// bias uniform in `+-1 / sqrt(3 P^2)`; timm's `init_weights` of ViT and ConViT leaves it so.
#[derive(Clone, Debug)]
pub struct PatchEmbed<const C: usize, const P: usize, E: Dtype, D: Device<E>> {
    /// `[C, 3, P, P]`
    pub weight: Tensor<Rank4<C, 3, P, P>, E, D>,
    /// `[C]`
    pub bias: Tensor<Rank1<C>, E, D>,
}

impl<const C: usize, const P: usize, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for PatchEmbed<C, P, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = PatchEmbed<C, P, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        fn fan_in<const P: usize>() -> Uniform {
            Uniform { bound: ((3 * P * P) as f64).powf(-0.5) }
        }
        visitor.visit_fields(
            (
                Self::tensor(
                    "proj.weight",
                    |s| &s.weight,
                    |s| &mut s.weight,
                    TensorOptions::reset_with(|t| t.try_fill_with_distr(fan_in::<P>())),
                ),
                Self::tensor(
                    "proj.bias",
                    |s| &s.bias,
                    |s| &mut s.bias,
                    TensorOptions::reset_with(|t| t.try_fill_with_distr(fan_in::<P>())),
                ),
            ),
            |(weight, bias)| PatchEmbed { weight, bias },
        )
    }
}

module!([const C: usize, const P: usize] PatchEmbed<C, P, E, D> { weight: "proj.weight", bias: "proj.bias" });

impl<const C: usize, const P: usize, E: Dtype, D: Backend<E>> Build<E, D> for PatchEmbed<C, P, E, D> {
    fn new(device: &D) -> Result<Self> {
        const { assert!(P > 0, "a patch has pixels") };
        let fill = Fill::fan_in(3 * P * P);
        Ok(Self {
            weight: fill.tensor(device, (Const, Const, Const, Const))?,
            bias: fill.tensor(device, (Const,))?,
        })
    }
}

impl<const C: usize, const P: usize, E: Dtype, D: Backend<E>> Stem<C, E, D> for PatchEmbed<C, P, E, D> {
    fn grid(image: (usize, usize)) -> Result<Grid> {
        plain_grid(image, P)
    }

    fn tokens<T: Taped<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: &mut Context<'_, E>,
    ) -> Result<(Tokens<C, E, D, T>, Grid)> {
        let grid = Self::grid(size_of(&images))?;
        Ok((self.apply(images, context.image_gradient)?, grid))
    }
}

impl<const C: usize, const P: usize, E: Dtype, D: Backend<E>> PatchEmbed<C, P, E, D> {
    /// New weights by the rule of EIT's authors: He's over the fan out, with bias 0.
    ///
    /// # Errors
    /// A device that cannot copy.
    pub fn he_fan_out(&mut self) -> Result<()> {
        he_fan_out(&mut self.weight, &mut self.bias)
    }

    /// images: `[batch, 3, height, width]`, both divisible by `P`; result: `[batch, height / P * width / P, C]`.
    pub fn apply<T: Tape<E, D>>(
        &self,
        images: Tensor<(usize, usize, usize, usize), E, D, T>,
        image_gradient: bool,
    ) -> Result<Tokens<C, E, D, T>> {
        Ok(images.device().clone().patch_embed(images, &self.weight, &self.bias, image_gradient)?)
    }
}

/// EIT's patches projection `k/s/p`: a `k x k` convolution with stride `s` and padding `k / 2`, max pooling over `p x p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlap {
    /// Side of the convolution's kernel.
    pub kernel: usize,
    /// Its stride.
    pub stride: usize,
    /// Side and stride of the pooling.
    pub pool: usize,
}

impl Overlap {
    /// The convolution.
    pub fn convolution(self) -> Window {
        Window::square(self.kernel, self.stride, self.kernel / 2)
    }

    /// The pooling.
    pub fn pooling(self) -> Window {
        Window::square(self.pool, self.pool, 0)
    }

    /// The grid of the convolution and that of the patches on an image of `(height, width)` pixels.
    ///
    /// # Errors
    /// An image that is smaller than a window.
    pub fn grids(self, (rows, cols): (usize, usize)) -> crate::Result<(Grid, Grid)> {
        let map = self.convolution().output(Grid { rows, cols })?;
        Ok((map, self.pooling().output(map)?))
    }
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

module!([const C: usize, const K: usize, const S: usize, const P: usize] OverlappingPatches<C, K, S, P, E, D> {
    weight: "eit_p.conv.weight",
    bias: "eit_p.conv.bias",
});

impl<const C: usize, const K: usize, const S: usize, const P: usize, E: Dtype, D: Backend<E>> Build<E, D>
    for OverlappingPatches<C, K, S, P, E, D>
{
    fn new(device: &D) -> Result<Self> {
        let weight = Fill::he(C * K * K).tensor(device, (Const, Const, Const, Const))?;
        Ok(Self { weight, bias: Fill::ZEROS.tensor(device, (Const,))? })
    }
}

impl<const C: usize, const K: usize, const S: usize, const P: usize, E: Dtype, D: Backend<E>>
    OverlappingPatches<C, K, S, P, E, D>
{
    /// Its windows.
    pub const OVERLAP: Overlap = Overlap { kernel: K, stride: S, pool: P };

    /// New weights by the rule of EIT's authors, by which it begins: He's over the fan out, with bias 0.
    ///
    /// # Errors
    /// A device that cannot copy.
    pub fn he_fan_out(&mut self) -> Result<()> {
        he_fan_out(&mut self.weight, &mut self.bias)
    }
}

impl<const C: usize, const K: usize, const S: usize, const P: usize, E: Dtype, D: Backend<E>> Stem<C, E, D>
    for OverlappingPatches<C, K, S, P, E, D>
{
    fn grid(image: (usize, usize)) -> Result<Grid> {
        Ok(Self::OVERLAP.grids(image)?.1)
    }

    fn tokens<T: Taped<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: &mut Context<'_, E>,
    ) -> Result<(Tokens<C, E, D, T>, Grid)> {
        let device = images.device().clone();
        let (weight, window) = (&self.weight, Self::OVERLAP.convolution());
        let gradient = context.image_gradient;
        let (map, grid) = device.conv2d_images(images, weight, Some(&self.bias), window, gradient)?;
        Ok(device.max_pool2d(map, grid, Self::OVERLAP.pooling())?)
    }
}

/// Fills a convolution's weight as PyTorch's `kaiming_normal_(mode="fan_out")`, its bias with zeros.
fn he_fan_out<const C: usize, const I: usize, const K: usize, E: Dtype, D: Device<E>>(
    weight: &mut Tensor<Rank4<C, I, K, K>, E, D>,
    bias: &mut Tensor<Rank1<C>, E, D>,
) -> crate::Result<()> {
    let filled = weight.try_fill_with_distr(he(C * K * K)).and_then(|()| bias.try_fill_with_zeros());
    filled.map_err(|e| Error::device("initialise", e))
}

/// Patches as rows of `PATCH = 3 * P * P` numbers (by row, column, colour), normalised, projected, normalised.
#[derive(Clone, Debug)]
pub struct NormedPatches<const C: usize, const P: usize, const PATCH: usize, E: Dtype, D: Device<E>> {
    /// Of the pixels.
    pub norm1: LayerNorm<PATCH, E, D>,
    /// To the channels.
    pub proj: Linear<PATCH, C, true, E, D>,
    /// Of the channels.
    pub norm2: LayerNorm<C, E, D>,
}

module!([const C: usize, const P: usize, const PATCH: usize] NormedPatches<C, P, PATCH, E, D> {
    norm1,
    proj,
    norm2,
});

impl<const C: usize, const P: usize, const PATCH: usize, E: Dtype, D: Backend<E>> Build<E, D>
    for NormedPatches<C, P, PATCH, E, D>
{
    fn new(device: &D) -> Result<Self> {
        const { assert!(PATCH == 3 * P * P, "a patch has 3 colours of P x P pixels") };
        Ok(Self { norm1: Build::new(device)?, proj: Build::new(device)?, norm2: Build::new(device)? })
    }
}

impl<const C: usize, const P: usize, const PATCH: usize, E: Dtype, D: Backend<E>> Stem<C, E, D>
    for NormedPatches<C, P, PATCH, E, D>
{
    fn grid(image: (usize, usize)) -> Result<Grid> {
        plain_grid(image, P)
    }

    fn tokens<T: Taped<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: &mut Context<'_, E>,
    ) -> Result<(Tokens<C, E, D, T>, Grid)> {
        let grid = Self::grid(size_of(&images))?;
        Ok((self.apply(images, context.image_gradient)?, grid))
    }
}

impl<const C: usize, const P: usize, const PATCH: usize, E: Dtype, D: Backend<E>>
    NormedPatches<C, P, PATCH, E, D>
{
    /// images: `[batch, 3, height, width]`, both divisible by `P`; result: `[batch, height / P * width / P, C]`, row by row.
    pub fn apply<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        image_gradient: bool,
    ) -> Result<Tokens<C, E, D, T>> {
        let (batch, channels, height, width) = *images.shape();
        if (channels, height % P, width % P) != (3, 0, 0) || images.shape().num_elements() == 0 {
            let expected = format!("images [batch, 3, height, width], not empty, of {P} x {P} patches");
            return Err(Error::shape("NormedPatches", expected, images.shape().concrete()));
        }
        let failed = |e: D::Err| Error::device("NormedPatches", e);
        let (rows, cols) = (height / P, width / P);
        let patches = if image_gradient {
            cut::<P, PATCH, E, D, T>(images, (batch, rows, cols)).map_err(failed)?
        } else {
            let (images, tape) = images.split_tape();
            cut::<P, PATCH, E, D, NoneTape>(images, (batch, rows, cols)).map_err(failed)?.put_tape(tape)
        };
        self.norm2.apply(self.proj.apply(self.norm1.apply(patches)?)?)
    }
}

/// `[batch, 3, rows * P, cols * P]` to `[batch, rows * cols, P * P * 3]`
fn cut<const P: usize, const PATCH: usize, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    images: Images<E, D, T>,
    (batch, rows, cols): (usize, usize, usize),
) -> std::result::Result<Tokens<PATCH, E, D, T>, D::Err> {
    type Six = (usize, usize, usize, usize, usize, usize);
    images
        .try_reshape_like(&(batch, 3, rows, P, cols, P))?
        .try_permute::<Six, Axes6<0, 2, 4, 3, 5, 1>>()?
        .try_reshape_like(&(batch, rows * cols, Const))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_lies_by_row_column_and_colour() {
        let values = (0..3 * 4 * 6).map(|v| v as f32).collect();
        let images = Cpu::default().tensor_from_vec(values, (1, 3, 4, 6));
        let patches = cut::<2, 12, f32, Cpu, NoneTape>(images, (1, 2, 3)).unwrap();
        // Patch 4: rows 2 and 3, columns 2 and 3; 24 pixels a colour.
        let pixels = [(2, 2), (2, 3), (3, 2), (3, 3)];
        let want: Vec<f32> = pixels
            .into_iter()
            .flat_map(|(y, x)| [0, 1, 2].map(|colour| (colour * 24 + y * 6 + x) as f32))
            .collect();
        assert_eq!(patches.as_vec()[4 * 12..5 * 12], want);
    }
}
