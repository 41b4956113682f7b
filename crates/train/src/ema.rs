//! An exponential moving average of the weights.

use dfdx::prelude::*;
use inductive_nn::Module;
use inductive_ops::{Backend, Updates};
use inductive_schedule::{EmaDecay, Schedule};

use crate::{
    Error, Result,
    by_name::{ByName, check_numel},
};

/// `average = decay average + (1 - decay) weights` after each update, from a copy of the initial weights. The running
/// statistics of batch normalisation are averaged too, as all of a state dict is in timm.
///
/// timm equivalent without a warm-up of the decay: `ModelEmaV2(model, decay)`.
///
/// A parameter's average is kept by its name: a model of other parameters is refused.
#[derive(Debug)]
pub struct Ema<D: Backend<f32>> {
    decay: EmaDecay,
    averages: ByName<Average<D>>,
}

#[derive(Debug)]
struct Average<D: Backend<f32>> {
    values: Tensor<(usize,), f32, D>,
    /// Whether it is no average but the value itself: [`Ema::leave_out`].
    still: bool,
}

impl<D: Backend<f32>> Ema<D> {
    /// A copy of the weights of `model`.
    ///
    /// # Errors
    /// [`Error::Parameters`] for two parameters of one name.
    pub fn new(device: &D, model: &dyn Module<f32, D>, decay: EmaDecay) -> Result<Self> {
        let copy = |values| Ok(Average { values: flat(device, values)?, still: false });
        Ok(Self { decay, averages: ByName::new("moving average", model, |p| copy(p.to_vec()))? })
    }

    /// Leaves the parameters that `still(name)` is true for out of the averages. While `still`, the average is the value at
    /// the latest call; when it ends, averaging begins from the value of now.
    ///
    /// For parameters without effect, and for codes, of which there is no mean.
    pub(crate) fn leave_out(
        &mut self,
        device: &D,
        model: &dyn Module<f32, D>,
        still: impl Fn(&str) -> bool,
    ) -> Result<()> {
        self.averages.each(model, |p, average| {
            let is = still(p.name());
            if average.still || is {
                average.values = flat(device, p.to_vec())?;
            }
            average.still = is;
            Ok(())
        })
    }

    /// Takes the weights in after update number `step`, counted from 0.
    ///
    /// # Errors
    /// [`Error::Parameters`] for a model of other parameters; so for what follows.
    pub fn update(&mut self, model: &mut dyn Module<f32, D>, step: u64) -> Result<()> {
        self.update_by(model, step, Updates::default())
    }

    /// [`Ema::update`] as `updates`, which has none yet, says.
    pub(crate) fn update_by(
        &mut self,
        model: &mut dyn Module<f32, D>,
        step: u64,
        mut updates: Updates,
    ) -> Result<()> {
        let decay = self.decay.value(step as f64);
        self.averages.change_both(model, |p, average| match average.still {
            true => Ok(()),
            false => Ok(p.average_into(&mut average.values, decay, &mut updates)?),
        })?;
        Ok(D::finish_averages(updates)?)
    }

    /// Runs `body` on a model whose weights are the average, and gives it its own weights back, bit by bit.
    pub fn with<M, T>(&self, model: &mut M, body: impl FnOnce(&mut M) -> Result<T>) -> Result<T>
    where
        M: Module<f32, D> + ?Sized,
    {
        let own = ByName::new("weights of the model", &*model, |p| Ok(p.to_vec()))?;
        self.load_into(model)?;
        let result = body(model);
        own.change(model, |p, values| Ok(p.copy_from(values)?))?;
        result
    }

    /// Replaces the weights of `model` by the average.
    pub fn load_into<M: Module<f32, D> + ?Sized>(&self, model: &mut M) -> Result<()> {
        self.averages.change(model, |p, average| Ok(p.copy_from(&average.values.as_vec())?))
    }

    /// The average of each parameter, by its name.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&str, Vec<f32>)> + '_ {
        self.averages.iter().map(|(name, average)| (name, average.values.as_vec()))
    }

    /// Replaces each average by what `read(name)` gives.
    pub(crate) fn restore(
        &mut self,
        device: &D,
        mut read: impl FnMut(&str) -> Result<Vec<f32>>,
    ) -> Result<()> {
        for (name, numel, average) in self.averages.iter_mut() {
            let values = read(name)?;
            check_numel("moving average", name, numel, &values)?;
            average.values = flat(device, values)?;
        }
        Ok(())
    }
}

fn flat<D: Backend<f32>>(device: &D, values: Vec<f32>) -> Result<Tensor<(usize,), f32, D>> {
    let shape = (values.len(),);
    device.try_tensor_from_vec(values, shape).map_err(|e| Error::device("ema", e))
}
