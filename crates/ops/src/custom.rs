//! Operations of one's own on the CPU in `f32`: values and gradients as slices, tied into dfdx's tapes.
//!
//! An [`Operation`] says how its result follows from its inputs and how their gradients follow from the result's; [`run`] does the
//! rest, and [`gradient_error`] tells whether values and gradients agree. [`Backend::gelu`](crate::Backend::gelu), `relu` and
//! `softmax` are such operations. On another device, or in `f64`, an operation is a composition of dfdx's: a trait of one's own with
//! that composition as its default method, and an `impl` for [`Cpu`] in `f32` that calls [`run`], is what
//! [`Backend`](crate::Backend) is too.
//!
//! ```
//! use dfdx::prelude::*;
//! use inductive_ops::custom::{Input, Operation, run};
//!
//! /// `y = x * scale`, with one factor for each channel.
//! struct Scale;
//!
//! impl Operation for Scale {
//!     fn name(&self) -> &'static str {
//!         "scale"
//!     }
//!
//!     fn forward(&self, inputs: &[Input<'_>]) -> Vec<f32> {
//!         let [x, scale] = inputs else { unreachable!("two inputs") };
//!         x.values.iter().zip(scale.values.iter().cycle()).map(|(x, s)| x * s).collect()
//!     }
//!
//!     fn backward(&self, inputs: &[Input<'_>], _: &[f32], dy: &[f32], gradients: &mut [&mut [f32]]) {
//!         let ([x, scale], [dx, dscale]) = (inputs, gradients) else { unreachable!("two inputs") };
//!         let channels = scale.values.len();
//!         for (i, dy) in dy.iter().enumerate() {
//!             dx[i] += dy * scale.values[i % channels];
//!             dscale[i % channels] += dy * x.values[i];
//!         }
//!     }
//! }
//!
//! let dev = Cpu::default();
//! let x: Tensor<Rank2<2, 3>, f32, _> = dev.ones();
//! let scale: Tensor<Rank1<3>, f32, _> = dev.tensor([1.0, 2.0, 3.0]);
//! let y = run(Scale, x.leaky_trace(), &[&scale], *x.shape())?;
//! let gradients = y.sum::<Rank0, _>().backward();
//! assert_eq!(gradients.get(&x).array(), [[1.0, 2.0, 3.0]; 2]);
//! assert_eq!(gradients.get(&scale).array(), [2.0; 3]);
//! # Ok::<(), inductive_ops::Error>(())
//! ```

mod differences;

pub use differences::gradient_error;

use dfdx::prelude::{Cpu, Gradients, HasShape, PutTape, Shape, SplitTape, Tape, Tensor};
use dfdx::tensor::CpuError;

use crate::{
    Error, Result,
    erase::{Erase, erased, typed},
    tape::{
        Borrowed, CpuTensor, check_parameters, contiguous, held, is_contiguous, take_gradient, tensor, values,
    },
};

/// An input as an operation sees it.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Its extents.
    pub shape: &'a [usize],
    /// Its elements, row-major.
    pub values: &'a [f32],
}

/// A differentiable operation: a result from one input on a tape and any number of parameters.
pub trait Operation: 'static {
    /// What errors call it.
    fn name(&self) -> &'static str;

    /// Whether the inputs fit each other and the result. Unless written, all do.
    ///
    /// `inputs`: the extents of x, then of each parameter; `out`: those the caller wants.
    ///
    /// # Errors
    /// What is wrong with them, in words, of which [`run`] makes an [`Error::Argument`].
    fn check(&self, inputs: &[&[usize]], out: &[usize]) -> Result<(), String> {
        let _ = (inputs, out);
        Ok(())
    }

    /// The result, row-major. `inputs`: x, then the parameters.
    fn forward(&self, inputs: &[Input<'_>]) -> Vec<f32>;

    /// Adds to the gradient of each input what the gradient `dy` of the result `y` gives it. All are row-major and as long as what
    /// they are gradients of.
    fn backward(&self, inputs: &[Input<'_>], y: &[f32], dy: &[f32], gradients: &mut [&mut [f32]]);
}

/// A parameter of an [`Operation`]: any dfdx tensor on the CPU in `f32`, without tape. It gets its gradient by identity, as
/// everywhere in dfdx.
pub trait Parameter {
    #[doc(hidden)]
    fn hold(&self) -> Box<dyn Held>;
}

impl<S: Erase> Parameter for CpuTensor<S> {
    fn hold(&self) -> Box<dyn Held> {
        Box::new(held(self))
    }
}

/// An input that waits for the backward pass.
#[doc(hidden)]
pub trait Held {
    fn dims(&self) -> Vec<usize>;
    fn elements(&self) -> &[f32];
    fn contiguous(&self) -> bool;
    fn lend(&self, gradients: &mut Gradients<f32, Cpu>) -> Result<Vec<f32>, CpuError>;
    fn give(&self, gradient: Vec<f32>, gradients: &mut Gradients<f32, Cpu>) -> Result<(), CpuError>;
}

impl<S: Shape> Held for CpuTensor<S> {
    fn dims(&self) -> Vec<usize> {
        self.shape().concrete().into_iter().collect()
    }

    fn elements(&self) -> &[f32] {
        values(self)
    }

    fn contiguous(&self) -> bool {
        is_contiguous(self)
    }

    fn lend(&self, gradients: &mut Gradients<f32, Cpu>) -> Result<Vec<f32>, CpuError> {
        Borrowed::take(gradients, self).map(|it| it.0)
    }

    fn give(&self, gradient: Vec<f32>, gradients: &mut Gradients<f32, Cpu>) -> Result<(), CpuError> {
        Borrowed(gradient).give(gradients, self)
    }
}

/// The inputs of an operation: x, then its parameters.
struct Inputs(Vec<Box<dyn Held>>);

impl Inputs {
    fn with<R>(&self, run: impl FnOnce(&[Input<'_>]) -> R) -> R {
        let dims: Vec<_> = self.0.iter().map(|it| it.dims()).collect();
        let seen = |(it, shape)| Input { shape, values: Held::elements(it) };
        run(&self.0.iter().map(|it| &**it).zip(dims.iter().map(Vec::as_slice)).map(seen).collect::<Vec<_>>())
    }
}

/// `operation` of `x` and `parameters`, a tensor of shape `out`, with gradients for all of them.
///
/// x is copied if it is a permuted or broadcast view.
///
/// # Errors
/// What [`Operation::check`] refuses; a result that is not as long as `out` says; a parameter that is a permuted or broadcast view.
pub fn run<X: Erase, Y: Erase, T: Tape<f32, Cpu>>(
    operation: impl Operation,
    x: Tensor<X, f32, Cpu, T>,
    parameters: &[&dyn Parameter],
    out: Y,
) -> Result<Tensor<Y, f32, Cpu, T>> {
    let name = operation.name();
    typed(name, run_erased(Box::new(operation), erased(x), parameters, out.erase())?)
}

fn run_erased<X: Shape, Y: Shape, T: Tape<f32, Cpu>>(
    operation: Box<dyn Operation>,
    x: Tensor<X, f32, Cpu, T>,
    parameters: &[&dyn Parameter],
    out: Y,
) -> Result<Tensor<Y, f32, Cpu, T>> {
    let name = operation.name();
    let (x, mut tape) = contiguous(name, x)?.split_tape();
    let device = x.device().clone();
    let mut inputs: Vec<Box<dyn Held>> = vec![Box::new(x)];
    inputs.extend(parameters.iter().map(|it| it.hold()));
    check_parameters(name, &inputs.iter().map(|it| it.contiguous()).collect::<Vec<_>>())?;
    let inputs = Inputs(inputs);
    let y = inputs.with(|inputs| {
        let shapes: Vec<_> = inputs.iter().map(|it| it.shape).collect();
        operation
            .check(&shapes, out.concrete().as_ref())
            .map_err(|what| Error::Argument { op: name, what })?;
        Ok(operation.forward(inputs))
    })?;
    if y.len() != out.num_elements() {
        return Err(Error::shape(name, format!("a result of {} numbers", out.num_elements()), y.len()));
    }
    let y = tensor(name, &device, y, out)?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| backward(&*operation, &inputs, &y, gradients));
    }
    Ok(y.put_tape(tape))
}

fn backward<Y: Shape>(
    operation: &dyn Operation,
    inputs: &Inputs,
    y: &CpuTensor<Y>,
    gradients: &mut Gradients<f32, Cpu>,
) -> Result<(), CpuError> {
    let dy = take_gradient(gradients, y)?;
    let mut lent = inputs.0.iter().map(|it| it.lend(gradients)).collect::<Result<Vec<_>, _>>()?;
    let mut slices: Vec<_> = lent.iter_mut().map(Vec::as_mut_slice).collect();
    inputs.with(|inputs| operation.backward(inputs, values(y), &dy, &mut slices));
    inputs.0.iter().zip(lent).try_for_each(|(it, gradient)| it.give(gradient, gradients))
}
