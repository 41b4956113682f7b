//! Convolutions and patch embeddings: what each window sees becomes a row, and the rows are multiplied.

use dfdx::tensor::CudaError;

use super::{
    gpu::{Argument, Gpu, Scratch, large, small},
    linear,
    operation::{Backward, Gradient, Operation},
    pointer::Address,
};
use crate::linear::Dims as LinearDims;
use crate::{Grid, Window};
use Argument::Address as At;

/// Where the channels of x are.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Channels {
    /// Images, `[batch, channels, rows, cols]`.
    First,
    /// Tokens, `[batch, rows, cols, channels]`.
    Last,
}

/// Inputs: x, weight `[outer, inner, rows, cols]` and, if there is one, bias.
pub(super) struct Convolution {
    pub(super) name: &'static str,
    pub(super) batch: usize,
    pub(super) inner: usize,
    pub(super) outer: usize,
    pub(super) grid: Grid,
    pub(super) out: Grid,
    pub(super) window: Window,
    pub(super) channels: Channels,
    /// Whether x gets a gradient.
    pub(super) input_gradient: bool,
}

impl Convolution {
    fn linear(&self) -> LinearDims {
        let [rows, cols] = self.window.kernel;
        LinearDims {
            rows: self.batch * self.out.tokens(),
            inner: self.inner * rows * cols,
            outer: self.outer,
        }
    }

    /// Sizes, and how far apart the numbers of x are.
    fn arguments(&self) -> Vec<Argument> {
        let Self { inner, grid, out, window, .. } = self;
        let sizes = [*inner, grid.rows, grid.cols, out.rows, out.cols];
        let places = match self.channels {
            Channels::First => [inner * grid.tokens(), grid.tokens(), grid.cols, 1],
            Channels::Last => [inner * grid.tokens(), 1, inner * grid.cols, *inner],
        };
        let of_window = [window.kernel, window.stride, window.padding];
        let of_window = of_window.as_flattened().iter();
        sizes.iter().chain(of_window).map(|it| small(*it)).chain(places.map(large)).collect()
    }
}

impl Operation for Convolution {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, gpu: &'static Gpu, inputs: &[Address], y: Address) -> Result<Vec<Scratch>, CudaError> {
        let dims = self.linear();
        let rows = gpu.scratch(dims.rows * dims.inner)?;
        let arguments = [vec![At(inputs[0]), At(rows.address)], self.arguments()].concat();
        gpu.each("windows_forward", dims.rows * dims.inner, &arguments)?;
        linear::forward(gpu, dims, (rows.address, inputs[1], inputs.get(2).copied()), y)?;
        Ok(vec![rows])
    }

    fn backward(&self, gpu: &'static Gpu, pass: Backward<'_>) -> Result<(), CudaError> {
        let Backward { inputs, kept, dy, gradients } = pass;
        let dims = self.linear();
        let of_parameters = (gradients[1], gradients.get(2).copied());
        linear::parameter_gradients(gpu, dims, (kept[0].address, dy), of_parameters)?;
        if !self.input_gradient {
            return Ok(());
        }
        let drows = gpu.scratch(dims.rows * dims.inner)?;
        let fresh = Gradient { address: drows.address, fresh: true };
        linear::input_gradient(gpu, dims, (dy, inputs[1]), fresh)?;
        let dx = gradients[0].arguments();
        let arguments = [&[At(drows.address)][..], &dx, &self.arguments()].concat();
        gpu.each("windows_backward", self.batch * self.grid.tokens() * self.inner, &arguments)
    }

    fn wants(&self, input: usize) -> bool {
        input > 0 || self.input_gradient
    }
}
