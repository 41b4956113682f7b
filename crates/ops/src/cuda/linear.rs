//! Linear layers, and whatever else is a product with rows.

use dfdx::tensor::CudaError;

use super::{
    gpu::{Argument, Gpu, Product, Scratch, large},
    operation::{Backward, Gradient, Operation},
    pointer::Address,
    rows::add_column_sums,
};
use crate::linear::Dims;
use Argument::Address as At;

/// `y = x W^T + b`, all row-major: for cuBLAS, which has columns, `y^T = W x^T`.
pub(super) fn forward(
    gpu: &'static Gpu,
    dims: Dims,
    (x, weight, bias): (Address, Address, Option<Address>),
    y: Address,
) -> Result<(), CudaError> {
    let Dims { rows, inner, outer } = dims;
    if let Some(bias) = bias {
        gpu.each("rows_fill", rows * outer, &[At(bias), At(y), large(outer)])?;
    }
    gpu.multiply(Product {
        turned: (true, false),
        sizes: (outer, rows, inner),
        a: (weight, inner),
        b: (x, inner),
        c: (y, outer),
        beta: if bias.is_some() { 1.0 } else { 0.0 },
    })
}

/// `dx += dy W`
pub(super) fn input_gradient(
    gpu: &'static Gpu,
    dims: Dims,
    (dy, weight): (Address, Address),
    dx: Gradient,
) -> Result<(), CudaError> {
    let Dims { rows, inner, outer } = dims;
    gpu.multiply(Product {
        turned: (false, false),
        sizes: (inner, rows, outer),
        a: (weight, inner),
        b: (dy, outer),
        c: (dx.address, inner),
        beta: dx.beta(),
    })
}

/// `dW += dy^T x`, `db += sum(dy)`
pub(super) fn parameter_gradients(
    gpu: &'static Gpu,
    dims: Dims,
    (x, dy): (Address, Address),
    (dweight, dbias): (Gradient, Option<Gradient>),
) -> Result<(), CudaError> {
    let Dims { rows, inner, outer } = dims;
    gpu.multiply(Product {
        turned: (false, true),
        sizes: (inner, outer, rows),
        a: (x, inner),
        b: (dy, outer),
        c: (dweight.address, inner),
        beta: dweight.beta(),
    })?;
    match dbias {
        Some(dbias) => add_column_sums(gpu, dy, (rows, outer), dbias),
        None => Ok(()),
    }
}

/// Inputs: x, weight and, if there is one, bias.
pub(super) struct Linear(pub(super) Dims);

impl Operation for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn forward(&self, gpu: &'static Gpu, inputs: &[Address], y: Address) -> Result<Vec<Scratch>, CudaError> {
        forward(gpu, self.0, (inputs[0], inputs[1], inputs.get(2).copied()), y)?;
        Ok(Vec::new())
    }

    fn backward(&self, gpu: &'static Gpu, pass: Backward<'_>) -> Result<(), CudaError> {
        let Backward { inputs, dy, gradients, .. } = pass;
        input_gradient(gpu, self.0, (dy, inputs[1]), gradients[0])?;
        parameter_gradients(gpu, self.0, (inputs[0], dy), (gradients[1], gradients.get(2).copied()))
    }
}
