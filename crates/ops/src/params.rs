//! Named access to the parameters of any module, without knowing its type.
//!
//! dfdx visits the tensors of a [`TensorCollection`] with their shapes as types. Checkpoints, optimizers and averages
//! want them as a list of names with run-time shapes; [`Parameters`] is that list, and is object safe.
//!
//! Names and shapes are those of timm's state dict: a parameter that is held in parts for the sake of its type
//! (`qkv.weight: [3, C, C]`) is listed as PyTorch stores it (`[3 * C, C]`). The memory layout is the same.

use dfdx::{
    nn::tensor_collection::*,
    prelude::HasShape,
    shapes::{Dtype, Shape},
    tensor::{Gradients, Tensor},
};

use crate::{AdamWStep, Backend, Error, Result};

/// One parameter, read only.
pub trait Parameter<E, D> {
    /// timm's state-dict key, e.g. `blocks.3.attn.pos_proj.weight`.
    fn name(&self) -> &str;
    /// The shape PyTorch stores it with.
    fn shape(&self) -> &[usize];
    /// Whether training updates it; running statistics are not trainable.
    fn trainable(&self) -> bool;
    /// A copy of the values on the host, row-major.
    fn to_vec(&self) -> Vec<E>;
    /// Number of elements.
    fn numel(&self) -> usize {
        self.shape().iter().product()
    }
}

/// One parameter that may be changed.
pub trait ParameterMut<E: Dtype, D: Backend<E>>: Parameter<E, D> {
    /// Replaces the values by `values` (row-major, exactly [`Parameter::numel`] of them).
    fn copy_from(&mut self, values: &[E]) -> Result<()>;
    /// A copy of the gradient on the host; zeros where the loss does not depend on the parameter.
    fn gradient(&self, gradients: &mut Gradients<E, D>) -> Result<Vec<E>>;
    /// Sum of the squares of the gradient's elements, accumulated in `f64` in a fixed order.
    fn gradient_square_sum(&self, gradients: &mut Gradients<E, D>) -> Result<f64>;
    /// One AdamW update in place.
    fn adamw(
        &mut self,
        gradients: &mut Gradients<E, D>,
        state: &mut Moments<E, D>,
        step: &AdamWStep,
    ) -> Result<()>;
    /// `average = decay * average + (1 - decay) * parameter`, in place.
    fn average_into(&self, average: &mut Tensor<(usize,), E, D>, decay: f64) -> Result<()>;
}

/// AdamW's running averages of one parameter's gradient, both `[numel]`.
#[derive(Debug, Clone)]
pub struct Moments<E: Dtype, D: Backend<E>> {
    /// Average of the gradient (`exp_avg`).
    pub first: Tensor<(usize,), E, D>,
    /// Average of the squared gradient (`exp_avg_sq`).
    pub second: Tensor<(usize,), E, D>,
}

impl<E: Dtype, D: Backend<E>> Moments<E, D> {
    /// Both averages zero, for a parameter of `numel` elements.
    pub fn zeros(device: &D, numel: usize) -> Result<Self> {
        let zeros = || device.try_zeros_like(&(numel,)).map_err(|e| Error::device("adamw", e));
        Ok(Self { first: zeros()?, second: zeros()? })
    }
}

/// A callback for each parameter in turn.
pub type Visit<'a, E, D> = dyn FnMut(&dyn Parameter<E, D>) -> Result<()> + 'a;
/// A callback for each parameter in turn, which may change it.
pub type VisitMut<'a, E, D> = dyn FnMut(&mut dyn ParameterMut<E, D>) -> Result<()> + 'a;

/// All parameters of a module, in a fixed order. Implemented for every dfdx [`TensorCollection`].
pub trait Parameters<E: Dtype, D: Backend<E>> {
    /// Calls `visit` for each parameter.
    fn for_each_parameter(&self, visit: &mut Visit<'_, E, D>) -> Result<()>;
    /// Calls `visit` for each parameter.
    fn for_each_parameter_mut(&mut self, visit: &mut VisitMut<'_, E, D>) -> Result<()>;

    /// Number of trainable numbers.
    fn num_params(&self) -> usize {
        let mut total = 0;
        // The callback below never fails.
        let _ = self.for_each_parameter(&mut |p| {
            total += if p.trainable() { p.numel() } else { 0 };
            Ok(())
        });
        total
    }
}

impl<E: Dtype, D: Backend<E>, M: TensorCollection<E, D>> Parameters<E, D> for M {
    fn for_each_parameter(&self, visit: &mut Visit<'_, E, D>) -> Result<()> {
        let mut walk = Walk { visit };
        M::iter_tensors(&mut RecursiveWalker { m: (self, String::new()), f: &mut walk }).map(drop)
    }

    fn for_each_parameter_mut(&mut self, visit: &mut VisitMut<'_, E, D>) -> Result<()> {
        let mut walk = WalkMut { visit };
        M::iter_tensors(&mut RecursiveWalker { m: (self, String::new()), f: &mut walk }).map(drop)
    }
}

/// The shape PyTorch stores a parameter with, where ours has one axis more: query, key and value parts are one leading
/// axis there, and so are the rows and columns of a position embedding's grid.
fn stored_shape(name: &str, shape: &[usize]) -> Vec<usize> {
    const SPLIT: [&str; 4] = ["qkv.weight", "qkv.bias", "qk.weight", "qk.bias"];
    let split = SPLIT.iter().any(|s| name == *s || name.ends_with(&format!(".{s}")));
    let grid = name == "pos_embed" || name.ends_with(".pos_embed");
    match *shape {
        [parts, rows, ref rest @ ..] if split => [&[parts * rows], rest].concat(),
        [one, rows, cols, width] if grid => vec![one, rows * cols, width],
        _ => shape.to_vec(),
    }
}

struct Walk<'f, 'v, E, D> {
    visit: &'f mut Visit<'v, E, D>,
}

struct WalkMut<'f, 'v, E, D> {
    visit: &'f mut VisitMut<'v, E, D>,
}

struct Named<T> {
    name: String,
    shape: Vec<usize>,
    trainable: bool,
    tensor: T,
}

impl<T> Named<T> {
    fn new<S: Shape>(name: String, shape: &S, trainable: bool, tensor: T) -> Self {
        // dfdx joins the names of nested modules with dots, also the empty ones of modules that add none.
        let name = name.split('.').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
        let dims: Vec<usize> = shape.concrete().into_iter().collect();
        Self { shape: stored_shape(&name, &dims), name, trainable, tensor }
    }
}

impl<E: Dtype, D: Backend<E>> TensorVisitor<E, D> for Walk<'_, '_, E, D> {
    type Viewer = (ViewTensorRef, ViewTensorName);
    type Err = Error;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, D>,
        (tensor, name): (&Tensor<S, E, D>, String),
    ) -> Result<Option<Tensor<S, E, D>>> {
        (self.visit)(&Named::new(name, tensor.shape(), options.do_gradient_update, tensor))?;
        Ok(None)
    }
}

impl<E: Dtype, D: Backend<E>> TensorVisitor<E, D> for WalkMut<'_, '_, E, D> {
    type Viewer = (ViewTensorMut, ViewTensorName);
    type Err = Error;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, D>,
        (tensor, name): (&mut Tensor<S, E, D>, String),
    ) -> Result<Option<Tensor<S, E, D>>> {
        let shape = *tensor.shape();
        (self.visit)(&mut Named::new(name, &shape, options.do_gradient_update, tensor))?;
        Ok(None)
    }
}

impl<S: Shape, E: Dtype, D: Backend<E>> Parameter<E, D> for Named<&Tensor<S, E, D>> {
    fn name(&self) -> &str {
        &self.name
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn trainable(&self) -> bool {
        self.trainable
    }
    fn to_vec(&self) -> Vec<E> {
        self.tensor.as_vec()
    }
}

impl<S: Shape, E: Dtype, D: Backend<E>> Parameter<E, D> for Named<&mut Tensor<S, E, D>> {
    fn name(&self) -> &str {
        &self.name
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn trainable(&self) -> bool {
        self.trainable
    }
    fn to_vec(&self) -> Vec<E> {
        self.tensor.as_vec()
    }
}

impl<S: Shape, E: Dtype, D: Backend<E>> ParameterMut<E, D> for Named<&mut Tensor<S, E, D>> {
    fn copy_from(&mut self, values: &[E]) -> Result<()> {
        if values.len() != self.numel() {
            return Err(Error::shape(
                "copy_from",
                format!("{} values for `{}` {:?}", self.numel(), self.name, self.shape),
                values.len(),
            ));
        }
        self.tensor.copy_from(values);
        Ok(())
    }

    fn gradient(&self, gradients: &mut Gradients<E, D>) -> Result<Vec<E>> {
        let buffer = gradients.get_or_alloc_mut(&*self.tensor).map_err(|e| Error::device("gradient", e))?;
        let len = <D as dfdx::tensor::Storage<E>>::len(self.tensor.device(), buffer);
        if len != self.numel() {
            return Err(Error::shape(
                "gradient",
                format!("{} values for `{}`", self.numel(), self.name),
                len,
            ));
        }
        Ok(gradients.get(&*self.tensor).as_vec())
    }

    fn gradient_square_sum(&self, gradients: &mut Gradients<E, D>) -> Result<f64> {
        self.tensor.device().clone().square_sum(self.tensor, gradients)
    }

    fn adamw(
        &mut self,
        gradients: &mut Gradients<E, D>,
        state: &mut Moments<E, D>,
        step: &AdamWStep,
    ) -> Result<()> {
        self.tensor.device().clone().adamw(self.tensor, gradients, state, step)
    }

    fn average_into(&self, average: &mut Tensor<(usize,), E, D>, decay: f64) -> Result<()> {
        self.tensor.device().clone().average_into(self.tensor, average, decay)
    }
}
