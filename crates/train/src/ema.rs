//! An exponential moving average of the weights.

use dfdx::prelude::*;
use inductive_nn::{Module, ModuleExt};
use inductive_ops::Backend;
use inductive_schedule::{EmaDecay, Schedule};

use crate::Result;

/// `average = decay average + (1 - decay) weights` after each update, from a copy of the initial weights. The running
/// statistics of batch normalisation are averaged too, as all of a state dict is in timm.
///
/// timm equivalent without a warm-up of the decay: `ModelEmaV2(model, decay)`.
#[derive(Debug)]
pub struct Ema<D: Backend<f32>> {
    decay: EmaDecay,
    averages: Vec<Tensor<(usize,), f32, D>>,
    /// Which are no averages but the values themselves: [`Ema::leave_out`].
    still: Vec<bool>,
}

impl<D: Backend<f32>> Ema<D> {
    /// A copy of the weights of `model`.
    pub fn new(device: &D, model: &dyn Module<f32, D>, decay: EmaDecay) -> Result<Self> {
        let mut averages = Vec::new();
        model.for_each_parameter(&mut |p| {
            averages.push(flat(device, p.to_vec())?);
            Ok(())
        })?;
        let still = vec![false; averages.len()];
        Ok(Self { decay, averages, still })
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
        let mut averages = self.averages.iter_mut().zip(&mut self.still);
        model.for_each_parameter(&mut |p| {
            let Some((average, was)) = averages.next() else { return Ok(()) };
            let is = still(p.name());
            if *was || is {
                *average = flat(device, p.to_vec())?;
            }
            *was = is;
            Ok(())
        })?;
        Ok(())
    }

    /// Takes the weights in after update number `step`, counted from 0.
    pub fn update(&mut self, model: &mut dyn Module<f32, D>, step: u64) -> Result<()> {
        let decay = self.decay.value(step as f64);
        let mut averages = self.averages.iter_mut().zip(&self.still);
        model.for_each_parameter_mut(&mut |p| match averages.next() {
            Some((average, false)) => p.average_into(average, decay),
            _ => Ok(()),
        })?;
        Ok(())
    }

    /// Runs `body` on a model whose weights are the average, and gives it its own weights back, bit by bit.
    pub fn with<M, T>(&self, model: &mut M, body: impl FnOnce(&mut M) -> Result<T>) -> Result<T>
    where
        M: Module<f32, D> + ?Sized,
    {
        let mut own = Vec::with_capacity(self.averages.len());
        model.for_each_parameter(&mut |p| {
            own.push(p.to_vec());
            Ok(())
        })?;
        self.load_into(model)?;
        let result = body(model);
        let mut own = own.iter();
        model.for_each_parameter_mut(&mut |p| own.next().map_or(Ok(()), |values| p.copy_from(values)))?;
        result
    }

    /// Replaces the weights of `model` by the average.
    pub fn load_into<M: Module<f32, D> + ?Sized>(&self, model: &mut M) -> Result<()> {
        let mut averages = self.averages.iter();
        model
            .for_each_parameter_mut(&mut |p| averages.next().map_or(Ok(()), |a| p.copy_from(&a.as_vec())))?;
        Ok(())
    }

    /// The averages in the order of the parameters.
    pub(crate) fn values(&self) -> impl Iterator<Item = Vec<f32>> + '_ {
        self.averages.iter().map(|a| a.as_vec())
    }

    /// Replaces the averages, in the order of the parameters.
    pub(crate) fn restore(&mut self, device: &D, values: Vec<Vec<f32>>) -> Result<()> {
        let fits = values.len() == self.averages.len()
            && values.iter().zip(&self.averages).all(|(v, a)| v.len() == a.shape().0);
        if !fits {
            let expected = format!("the averages of {} parameters", self.averages.len());
            return Err(inductive_ops::Error::shape("ema", expected, values.len()).into());
        }
        self.averages = values.into_iter().map(|v| flat(device, v)).collect::<Result<_, _>>()?;
        Ok(())
    }
}

fn flat<D: Backend<f32>>(device: &D, values: Vec<f32>) -> inductive_ops::Result<Tensor<(usize,), f32, D>> {
    let shape = (values.len(),);
    device.try_tensor_from_vec(values, shape).map_err(|e| inductive_ops::Error::device("ema", e))
}
