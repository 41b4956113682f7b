//! Patch embedding: images cut into `P x P` patches, each projected to `C` channels (timm's `PatchEmbed`).

mod cpu;

use dfdx::prelude::*;

pub(crate) use cpu::{backward, forward};

use crate::{Error, Result, linear};

/// Sizes of a patch embedding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dims {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    /// Patches from top to bottom.
    pub(crate) rows: usize,
    /// Patches from left to right.
    pub(crate) cols: usize,
    pub(crate) patch: usize,
    pub(crate) width: usize,
}

impl Dims {
    pub(crate) fn tokens(&self) -> usize {
        self.rows * self.cols
    }

    /// Numbers in a patch.
    pub(crate) fn inner(&self) -> usize {
        self.channels * self.patch * self.patch
    }
}

pub(crate) fn check<S: Shape, const I: usize, const P: usize, const C: usize>(images: &S) -> Result<Dims> {
    let dims: Vec<usize> = images.concrete().into_iter().collect();
    match dims[..] {
        [batch, channels, height, width]
            if channels == I && height % P == 0 && width % P == 0 && images.num_elements() > 0 =>
        {
            Ok(Dims { batch, channels, rows: height / P, cols: width / P, patch: P, width: C })
        }
        _ => Err(Error::shape(
            "patch_embed",
            format!(
                "images [batch, {I}, height, width] with height and width divisible by the patch size {P}"
            ),
            dims,
        )),
    }
}

pub(crate) fn composition<S: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: Dims,
    images: Tensor<S, E, D, T>,
    weight: &Tensor<(usize, usize, usize, usize), E, D>,
    bias: &Tensor<(usize,), E, D>,
) -> Result<Tensor<(usize, usize, usize), E, D, T>, D::Err> {
    let Dims { batch, channels, rows, cols, patch, .. } = dims;
    type Six = (usize, usize, usize, usize, usize, usize);
    let patches = images
        .try_reshape_like(&(batch, channels, rows, patch, cols, patch))?
        .try_permute::<Six, Axes6<0, 2, 4, 1, 3, 5>>()?
        .try_reshape_like(&(batch * dims.tokens(), dims.inner()))?;
    let linear_dims = linear::Dims { rows: batch * dims.tokens(), inner: dims.inner(), outer: dims.width };
    linear::composition(linear_dims, patches, weight, Some(bias), (batch, dims.tokens(), dims.width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, testing::*};

    struct Patches(usize);

    impl Case for Patches {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let images = leaf(dev, (self.0, Const::<3>, 4, 6), &inputs[0]);
            let w = leaf(dev, (Const::<5>, Const::<3>, Const::<2>, Const::<2>), &inputs[1]);
            let b = leaf(dev, (Const::<5>,), &inputs[2]);
            let (y, mut g) = differentiate(dev, dev.patch_embed(images.leaky_trace(), &w, &b, true).unwrap());
            (y, vec![gradient(&mut g, &images), gradient(&mut g, &w), gradient(&mut g, &b)])
        }
    }

    #[test]
    fn kernel_and_composition_agree() {
        for batch in [1, 20] {
            check_case(&Patches(batch), &[random(batch * 72, 1), random(60, 2), random(5, 3)]);
        }
    }

    #[test]
    fn an_image_that_patches_do_not_tile_is_an_error() {
        let dev = Cpu::default();
        let images: Tensor<_, f32, _> = dev.zeros_like(&(1, Const::<3>, 32, 30));
        let (w, b) = (dev.zeros::<Rank4<8, 3, 4, 4>>(), dev.zeros::<Rank1<8>>());
        let error = dev.patch_embed(images, &w, &b, false).unwrap_err();
        assert!(error.to_string().contains("divisible by the patch size 4"), "{error}");
    }
}
