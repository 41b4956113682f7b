//! One parameter, whatever its type: its name, its shape, its numbers, and what training does to it.
//!
//! Names and shapes are those of timm's state dict: a parameter that its owner holds in parts for the sake of its type
//! (`qkv.weight: [3, C, C]` of `Packed`) is listed as PyTorch stores it (`[3 * C, C]`). The memory layout is the same. Owners say so
//! ([`Path::enter_stacked`]), names do not.

use std::ops::Deref;

use dfdx::{
    shapes::Dtype,
    tensor::{Gradients, Tensor},
};
use inductive_ops::{AdamWStep, Backend, Erase, Moments, Updates, replay::Place};

use crate::{Error, Path, Result};

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
    /// Where the values are, on a device that can repeat passes: [`Backend::place`].
    fn place(&self) -> Option<Place>;
}

/// One parameter that may be changed.
pub trait ParameterMut<E: Dtype, D: Backend<E>>: Parameter<E, D> {
    /// Replaces the values by `values` (row-major, exactly [`Parameter::numel`] of them).
    fn copy_from(&mut self, values: &[E]) -> Result<()>;
    /// A copy of the gradient on the host; zeros where the loss does not depend on the parameter.
    fn gradient(&self, gradients: &mut Gradients<E, D>) -> Result<Vec<E>>;
    /// Where the gradient goes, on a device that can repeat passes: [`Backend::gradient_place`].
    fn gradient_place(&self, gradients: &mut Gradients<E, D>) -> Result<Option<Place>>;
    /// Sum of the squares of the gradient's elements, accumulated in `f64` in a fixed order.
    fn gradient_square_sum(&self, gradients: &mut Gradients<E, D>) -> Result<f64>;
    /// One AdamW update in place, at the latest when `D::finish` is called with `updates`.
    fn adamw(
        &mut self,
        gradients: &mut Gradients<E, D>,
        state: &mut Moments<E, D>,
        step: &AdamWStep,
        updates: &mut Updates,
    ) -> Result<()>;
    /// `average = decay * average + (1 - decay) * parameter`, in place, at the latest when `D::finish_averages` is called with `updates`.
    fn average_into(
        &self,
        average: &mut Tensor<(usize,), E, D>,
        decay: f64,
        updates: &mut Updates,
    ) -> Result<()>;
}

/// A callback for each parameter in turn.
pub type Visit<'a, E, D> = dyn FnMut(&dyn Parameter<E, D>) -> Result<()> + 'a;
/// A callback for each parameter in turn, which may change it.
pub type VisitMut<'a, E, D> = dyn FnMut(&mut dyn ParameterMut<E, D>) -> Result<()> + 'a;

/// A tensor under its name.
pub(crate) struct Named<'a, T> {
    name: &'a str,
    shape: Vec<usize>,
    trainable: bool,
    tensor: T,
}

impl<'a, T> Named<'a, T> {
    /// The tensor at `at`, whose own shape is `shape`.
    pub(crate) fn new(at: &'a Path, shape: &[usize], trainable: bool, tensor: T) -> Self {
        let shape = match *shape {
            [parts, rows, ref rest @ ..] if at.is_stacked() => [&[parts * rows], rest].concat(),
            _ => shape.to_vec(),
        };
        Self { name: at.as_str(), shape, trainable, tensor }
    }
}

impl<T, S: Erase, E: Dtype, D: Backend<E>> Parameter<E, D> for Named<'_, T>
where
    T: Deref<Target = Tensor<S, E, D>>,
{
    fn name(&self) -> &str {
        self.name
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
    fn place(&self) -> Option<Place> {
        D::place(&self.tensor)
    }
}

impl<S: Erase, E: Dtype, D: Backend<E>> ParameterMut<E, D> for Named<'_, &mut Tensor<S, E, D>> {
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

    fn gradient_place(&self, gradients: &mut Gradients<E, D>) -> Result<Option<Place>> {
        Ok(D::gradient_place(self.tensor, gradients)?)
    }

    fn gradient_square_sum(&self, gradients: &mut Gradients<E, D>) -> Result<f64> {
        Ok(self.tensor.device().clone().square_sum(self.tensor, gradients)?)
    }

    fn adamw(
        &mut self,
        gradients: &mut Gradients<E, D>,
        state: &mut Moments<E, D>,
        step: &AdamWStep,
        updates: &mut Updates,
    ) -> Result<()> {
        Ok(self.tensor.device().clone().adamw_later(self.tensor, gradients, state, step, updates)?)
    }

    fn average_into(
        &self,
        average: &mut Tensor<(usize,), E, D>,
        decay: f64,
        updates: &mut Updates,
    ) -> Result<()> {
        Ok(self.tensor.device().clone().average_later(self.tensor, average, decay, updates)?)
    }
}
