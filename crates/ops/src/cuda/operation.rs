//! Kernels on dfdx's tapes.

use std::sync::Arc;

use dfdx::{
    prelude::{Cuda, Gradients, PutTape, ReshapeTo, Shape, SplitTape, Storage, Tape, Tensor, ZerosTensor},
    tensor::{CudaError, NoneTape},
};

use super::{
    gpu::{Argument, Gpu, Scratch, address},
    pointer::{Address, address_of},
    replay,
};
use crate::{Erase, Error, Result, erased, typed};

/// A tensor on the device, without tape.
pub(super) type OnGpu<S> = Tensor<S, f32, Cuda, NoneTape>;

/// A differentiable operation by kernels.
pub(super) trait Operation: 'static {
    /// What errors call it.
    fn name(&self) -> &'static str;

    /// Writes `y` from the inputs. Returns what the backward pass needs besides them.
    fn forward(&self, gpu: &'static Gpu, inputs: &[Address], y: Address) -> Result<Vec<Scratch>, CudaError>;

    /// Adds to the gradient of each input what `dy` gives it.
    fn backward(&self, gpu: &'static Gpu, pass: Backward<'_>) -> Result<(), CudaError>;

    /// Whether an input wants its gradient. Where not, its [`Gradient`] is not to be touched.
    fn wants(&self, input: usize) -> bool {
        let _ = input;
        true
    }
}

/// What a backward pass has: as the forward pass had it, and the gradients.
#[derive(Clone, Copy)]
pub(super) struct Backward<'a> {
    pub(super) inputs: &'a [Address],
    pub(super) kept: &'a [Scratch],
    pub(super) dy: Address,
    pub(super) gradients: &'a [Gradient],
}

/// Where a gradient is added to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gradient {
    pub(super) address: Address,
    /// Nothing has been added yet, and what is there is anything.
    pub(super) fresh: bool,
}

impl Gradient {
    /// No gradient is wanted.
    pub(super) const NONE: Self = Self { address: 0, fresh: false };

    /// For a kernel: the address, and whether it is fresh.
    pub(super) fn arguments(self) -> [Argument; 2] {
        [Argument::Address(self.address), Argument::U32(self.fresh.into())]
    }

    /// For a product: what is there counts so much.
    pub(super) fn beta(self) -> f32 {
        if self.fresh { 0.0 } else { 1.0 }
    }
}

/// An input that waits for the backward pass.
pub(super) trait Input {
    fn address(&self, op: &'static str) -> Result<Address>;
    fn gradient(&self, gradients: &mut Gradients<f32, Cuda>) -> Result<Address, CudaError>;
}

impl<S: Shape> Input for OnGpu<S> {
    fn address(&self, op: &'static str) -> Result<Address> {
        address_of(op, self)
    }

    fn gradient(&self, gradients: &mut Gradients<f32, Cuda>) -> Result<Address, CudaError> {
        Ok(address(gradients.get_or_alloc_mut(self)?))
    }
}

impl Input for Scratch {
    fn address(&self, _: &'static str) -> Result<Address> {
        Ok(self.address)
    }

    fn gradient(&self, _: &mut Gradients<f32, Cuda>) -> Result<Address, CudaError> {
        Ok(0)
    }
}

/// A weight and, if there is one, its bias.
pub(super) fn weight_and_bias<W: Erase, B: Erase>(
    weight: &OnGpu<W>,
    bias: Option<&OnGpu<B>>,
) -> Vec<Box<dyn Input>> {
    std::iter::once(input(weight)).chain(bias.map(input)).collect()
}

/// Numbers that the host gave, which have no gradient.
pub(super) fn given(numbers: Scratch) -> Box<dyn Input> {
    Box::new(numbers)
}

/// A parameter, to be held: a copy that shares its numbers.
pub(super) fn input<S: Erase>(parameter: &OnGpu<S>) -> Box<dyn Input> {
    Box::new(erased(parameter.clone()))
}

/// `operation` of `x` and `parameters`, a tensor of shape `out`, with gradients for all of them. x is copied if it is a view.
pub(super) fn run<X: Erase, Y: Erase, T: Tape<f32, Cuda>>(
    gpu: &'static Gpu,
    operation: impl Operation,
    x: Tensor<X, f32, Cuda, T>,
    parameters: Vec<Box<dyn Input>>,
    out: Y,
) -> Result<Tensor<Y, f32, Cuda, T>> {
    let name = operation.name();
    typed(name, run_erased(gpu, Arc::new(operation), erased(x), parameters, out.erase())?)
}

fn run_erased<X: Shape, Y: Shape, T: Tape<f32, Cuda>>(
    gpu: &'static Gpu,
    operation: Arc<dyn Operation>,
    x: Tensor<X, f32, Cuda, T>,
    parameters: Vec<Box<dyn Input>>,
    out: Y,
) -> Result<Tensor<Y, f32, Cuda, T>> {
    let name = operation.name();
    let failed = |error: CudaError| Error::device(name, error);
    let (x, mut tape) = x.try_contiguous().map_err(failed)?.split_tape();
    let cuda = x.device().clone();
    let mut inputs: Vec<Box<dyn Input>> = vec![Box::new(x)];
    inputs.extend(parameters);
    let addresses = inputs.iter().map(|it| it.address(name)).collect::<Result<Vec<_>>>()?;
    // Zeros are the only public way to a new tensor.
    let y: OnGpu<Y> = cuda.try_zeros_like(&out).map_err(failed)?;
    let at_y = y.address(name)?;
    let kept = operation.forward(gpu, &addresses, at_y).map_err(failed)?;
    if T::OWNS_TAPE {
        replay::seen(gpu, &operation, &addresses, (at_y, out.num_elements()));
        let ghost = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(&cuda, gradients, &ghost)?;
            drop(ghost);
            let gradients = inputs
                .iter()
                .enumerate()
                .map(|(i, it)| match operation.wants(i) {
                    // dfdx's begin as zeros.
                    true => it.gradient(gradients).map(|address| Gradient { address, fresh: false }),
                    false => Ok(Gradient::NONE),
                })
                .collect::<Result<Vec<_>, _>>()?;
            let pass = Backward { inputs: &addresses, kept: &kept, dy: address(&dy), gradients: &gradients };
            operation.backward(gpu, pass)
        });
    }
    Ok(y.put_tape(tape))
}

/// The gradient of a result, out of `gradients`: it goes back to where new ones come from as soon as it has been used.
fn take_gradient<S: Shape>(
    cuda: &Cuda,
    gradients: &mut Gradients<f32, Cuda>,
    of: &OnGpu<S>,
) -> Result<<Cuda as Storage<f32>>::Vec, CudaError> {
    let nothing = <Cuda as Storage<f32>>::try_alloc_len(cuda, 0)?;
    Ok(std::mem::replace(gradients.get_or_alloc_mut(of)?, nothing))
}
