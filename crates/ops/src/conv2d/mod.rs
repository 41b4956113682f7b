//! Convolution over the tokens of a grid or over images, by PyTorch's `Conv2d` without groups and dilation.
//!
//! `y[o, p] = bias[o] + sum_{i, u, v} weight[o, i, u, v] x[i, stride * p + (u, v) - padding]`, zero outside the grid.

mod cpu;
mod kernel;
mod unfold;

use dfdx::prelude::*;

pub(crate) use cpu::{Parameters, images_on_cpu, on_cpu};
pub(crate) use kernel::{Back, Layout, add_turned, backward_with, forward_with, shard_count, weight_rows};

use crate::{
    Error, Grid, Result, Window, linear,
    window::{check_grid, check_size, tokens_seen, unfold},
};

/// `[batch, tokens, channels]`
type Tokens<E, D, T> = Tensor<(usize, usize, usize), E, D, T>;
/// [`Weight`] with its sizes as numbers.
type Weights<E, D> = Tensor<(usize, usize, usize, usize), E, D>;

/// A convolution's weight as PyTorch stores it: results, inputs, rows and columns of the kernel.
pub(crate) type Weight<const O: usize, const I: usize, const KH: usize, const KW: usize, E, D> =
    Tensor<(Const<O>, Const<I>, Const<KH>, Const<KW>), E, D>;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dims {
    pub(crate) batch: usize,
    /// Channels of x and of the result.
    pub(crate) inner: usize,
    pub(crate) outer: usize,
    pub(crate) grid: Grid,
    pub(crate) out: Grid,
    pub(crate) window: Window,
}

impl Dims {
    fn new(
        (batch, grid): (usize, Grid),
        [outer, inner, kernel_rows, kernel_cols]: [usize; 4],
        window: Window,
    ) -> Result<Self> {
        let kernel = [kernel_rows, kernel_cols];
        if window.kernel != kernel || outer == 0 || inner == 0 {
            return Err(Error::shape(
                "conv2d",
                format!("weight [outer, inner, rows, cols], not empty, for {window}"),
                [outer, inner, kernel_rows, kernel_cols],
            ));
        }
        let out = window.output_of("conv2d", grid)?;
        check_size("conv2d", &[outer, inner, kernel_rows, kernel_cols])?;
        check_size("conv2d", &[batch, out.rows, out.cols, outer])?;
        Ok(Self { batch, inner, outer, grid, out, window })
    }

    /// Positions of the window on all samples.
    pub(crate) fn rows(&self) -> usize {
        self.batch * self.out.tokens()
    }

    /// Numbers that the window sees.
    pub(crate) fn patch(&self) -> usize {
        self.window.area() * self.inner
    }

    pub(crate) fn linear(&self) -> linear::Dims {
        linear::Dims { rows: self.rows(), inner: self.patch(), outer: self.outer }
    }
}

/// The sizes for tokens `x: [batch, grid.tokens(), I]`.
pub(crate) fn check<const O: usize, const I: usize, const KH: usize, const KW: usize>(
    x: &(usize, usize, Const<I>),
    grid: Grid,
    window: Window,
) -> Result<Dims> {
    check_grid("conv2d", x, grid, 0)?;
    Dims::new((x.0, grid), [O, I, KH, KW], window)
}

/// The sizes for `images: [batch, I, height, width]`.
pub(crate) fn check_images<S: Shape, const O: usize, const I: usize, const KH: usize, const KW: usize>(
    images: &S,
    window: Window,
) -> Result<Dims> {
    let sizes: Vec<usize> = images.concrete().into_iter().collect();
    match sizes[..] {
        [batch, channels, rows, cols] if channels == I && images.num_elements() > 0 => {
            Dims::new((batch, Grid { rows, cols }), [O, I, KH, KW], window)
        }
        _ => Err(Error::shape(
            "conv2d_images",
            format!("images [batch, {I}, height, width], not empty"),
            sizes,
        )),
    }
}

pub(crate) fn composition<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: Dims,
    x: Tokens<E, D, T>,
    weight: Weights<E, D>,
    bias: Option<Tensor<(usize,), E, D>>,
) -> Result<Tokens<E, D, T>, D::Err> {
    let patches = unfold(x, &tokens_seen(dims.window, dims.grid, dims.out))?;
    product(dims, patches, weight, bias)
}

pub(crate) fn images_composition<S: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: Dims,
    images: Tensor<S, E, D, T>,
    weight: Weights<E, D>,
    bias: Option<Tensor<(usize,), E, D>>,
    image_gradient: bool,
) -> Result<Tokens<E, D, T>, D::Err> {
    let seen = tokens_seen(dims.window, dims.grid, dims.out);
    let patches = if image_gradient {
        unfold(tokens_of(dims, images)?, &seen)?
    } else {
        let (images, tape) = images.split_tape();
        unfold(tokens_of(dims, images)?, &seen)?.put_tape(tape)
    };
    product(dims, patches, weight, bias)
}

/// `[batch, inner, height, width]` to `[batch, height * width, inner]`.
fn tokens_of<S: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: Dims,
    images: Tensor<S, E, D, T>,
) -> Result<Tokens<E, D, T>, D::Err> {
    let (batch, tokens) = (dims.batch, dims.grid.tokens());
    images
        .try_reshape_like(&(batch, dims.inner, tokens))?
        .try_permute::<(usize, usize, usize), Axes3<0, 2, 1>>()?
        .try_contiguous()
}

/// What the windows see, times the weight with its axes in the same order.
fn product<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: Dims,
    patches: Tokens<E, D, T>,
    weight: Weights<E, D>,
    bias: Option<Tensor<(usize,), E, D>>,
) -> Result<Tokens<E, D, T>, D::Err> {
    let weight = weight
        .retaped::<T>()
        .try_permute::<(usize, usize, usize, usize), Axes4<0, 2, 3, 1>>()?
        .try_reshape_like(&(dims.outer, dims.patch()))?;
    let weight = weight.try_permute::<(usize, usize), Axes2<1, 0>>()?;
    let mut y = patches.try_reshape_like(&(dims.rows(), dims.patch()))?.try_matmul(weight)?;
    if let Some(bias) = bias {
        let bias = bias.retaped::<T>();
        y = y.try_add(bias.try_broadcast_like::<_, Axis<0>>(&(dims.rows(), dims.outer))?)?;
    }
    y.try_reshape_like(&(dims.batch, dims.out.tokens(), dims.outer))
}

#[cfg(test)]
mod tests;
