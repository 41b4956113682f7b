//! SimpleViT as arXiv 2401.12511 changes it: positions go to queries and keys of every layer and never to the tokens; no
//! class token.

use dfdx::prelude::*;
use inductive_attention::{Layout, Linear, PositionMixed, Tokens};
use inductive_ops::{Backend, Error, Grid, Readout};

use crate::{
    Result,
    block::Block,
    classifier::{HeadStyle, Trunk},
    layers::LayerNorm,
    model::{Context, Images},
};

/// The trunk: [`NormedPatches`], `DEPTH` blocks of [`PositionMixed`] with an MLP of `HIDDEN` channels (`C` in the paper);
/// the features are the mean of all `TOKENS = ROWS * COLS` tokens after the final norm. `PATCH = 3 * P * P`.
///
/// Equivalent: `SimpleViT` of the authors' code, after lucidrains' (there the norms have PyTorch's eps 1e-5, here 1e-6 as
/// elsewhere). timm has none.
///
/// dfdx's `build` gives linear layers timm's initial weights and no positions. Models built by name have the positions;
/// the authors' initial weights are PyTorch's, but for queries and keys.
#[derive(Clone, Debug)]
pub struct SimpleVit<
    const C: usize,
    const H: usize,
    const HIDDEN: usize,
    const DEPTH: usize,
    const P: usize,
    const PATCH: usize,
    const ROWS: usize,
    const COLS: usize,
    const TOKENS: usize,
    E: Dtype,
    D: Device<E>,
> {
    /// Images to tokens.
    pub patch_embed: NormedPatches<C, P, PATCH, E, D>,
    /// `DEPTH` blocks.
    pub blocks: Vec<Block<PositionMixed<C, H, TOKENS, E, D>, C, HIDDEN, E, D>>,
    /// Of all tokens, before their mean.
    pub norm: LayerNorm<C, E, D>,
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

impl<const C: usize, const P: usize, const PATCH: usize, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for NormedPatches<C, P, PATCH, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = NormedPatches<C, P, PATCH, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        const { assert!(PATCH == 3 * P * P, "a patch has 3 colours of P x P pixels") };
        visitor.visit_fields(
            (
                Self::module("norm1", |s| &s.norm1, |s| &mut s.norm1),
                Self::module("proj", |s| &s.proj, |s| &mut s.proj),
                Self::module("norm2", |s| &s.norm2, |s| &mut s.norm2),
            ),
            |(norm1, proj, norm2)| NormedPatches { norm1, proj, norm2 },
        )
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
    ) -> inductive_ops::Result<Tokens<C, E, D, T>> {
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
) -> Result<Tokens<PATCH, E, D, T>, D::Err> {
    type Six = (usize, usize, usize, usize, usize, usize);
    images
        .try_reshape_like(&(batch, 3, rows, P, cols, P))?
        .try_permute::<Six, Axes6<0, 2, 4, 3, 5, 1>>()?
        .try_reshape_like(&(batch, rows * cols, Const))
}

impl<
    const C: usize,
    const H: usize,
    const HIDDEN: usize,
    const DEPTH: usize,
    const P: usize,
    const PATCH: usize,
    const ROWS: usize,
    const COLS: usize,
    const TOKENS: usize,
    E: Dtype,
    D: Device<E>,
> TensorCollection<E, D> for SimpleVit<C, H, HIDDEN, DEPTH, P, PATCH, ROWS, COLS, TOKENS, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = SimpleVit<C, H, HIDDEN, DEPTH, P, PATCH, ROWS, COLS, TOKENS, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        const { assert!(TOKENS == ROWS * COLS, "one token per patch") };
        let names: Vec<String> = (0..DEPTH).map(|i| format!("blocks.{i}")).collect();
        let blocks: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(i, name)| Self::module(name, move |s| &s.blocks[i], move |s| &mut s.blocks[i]))
            .collect();
        visitor.visit_fields(
            (
                Self::module("patch_embed", |s| &s.patch_embed, |s| &mut s.patch_embed),
                blocks,
                Self::module("norm", |s| &s.norm, |s| &mut s.norm),
            ),
            |(patch_embed, blocks, norm)| SimpleVit { patch_embed, blocks, norm },
        )
    }
}

impl<
    const C: usize,
    const H: usize,
    const HIDDEN: usize,
    const DEPTH: usize,
    const P: usize,
    const PATCH: usize,
    const ROWS: usize,
    const COLS: usize,
    const TOKENS: usize,
    E: Dtype,
    D: Device<E>,
> HeadStyle for SimpleVit<C, H, HIDDEN, DEPTH, P, PATCH, ROWS, COLS, TOKENS, E, D>
{
}

impl<
    const C: usize,
    const H: usize,
    const HIDDEN: usize,
    const DEPTH: usize,
    const P: usize,
    const PATCH: usize,
    const ROWS: usize,
    const COLS: usize,
    const TOKENS: usize,
    E: Dtype,
    D: Backend<E>,
> Trunk<C, E, D> for SimpleVit<C, H, HIDDEN, DEPTH, P, PATCH, ROWS, COLS, TOKENS, E, D>
{
    fn features<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        mut context: Context<'_, E>,
    ) -> Result<Tensor<(usize, Const<C>), E, D, T>> {
        let device = images.device().clone();
        crate::model::check_image(&images, (ROWS * P, COLS * P))?;
        context.start_record();
        let drop_paths = context.block_drop_paths(DEPTH)?;
        let mut tokens = self.patch_embed.apply(images, context.image_gradient)?;
        context.keep_stem("patch_embed", &self.layout(0), &tokens);
        for (i, (block, drop_path)) in self.blocks.iter().zip(drop_paths).enumerate() {
            let record = context.record.as_deref_mut();
            // The mean needs every token, of the last block too.
            tokens = block.apply(tokens, &self.layout(i), Readout::All, drop_path, record)?;
        }
        Ok(device.mean_tokens(self.norm.apply(tokens)?, 0)?)
    }

    fn layout(&self, _: usize) -> Layout {
        Layout::patches(Grid { rows: ROWS, cols: COLS })
    }
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
