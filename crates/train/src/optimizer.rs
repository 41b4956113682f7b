//! AdamW over all parameters of a model, with timm's groups and torch's clipping by global norm.

use std::collections::{BTreeMap, BTreeSet};

use dfdx::prelude::*;
use inductive_nn::{Module, ModuleExt};
use inductive_ops::{AdamWStep, Backend, Moments};

use crate::{Error, Result};

/// What stays the same over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Decays of the averages of the gradient and of its square; torch's `betas`, default (0.9, 0.999).
    pub betas: (f64, f64),
    /// Added to the root of the second average; default 1e-8.
    pub eps: f64,
    /// Decoupled weight decay of the parameters that decay; default 0.05, ConViT's.
    pub weight_decay: f64,
    /// Largest global norm of the gradients; `None`, the default: no clipping.
    pub clip_grad: Option<f64>,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.05, clip_grad: None }
    }
}

/// torch equivalents: `torch.optim.AdamW` and `torch.nn.utils.clip_grad_norm_`.
#[derive(Debug)]
pub struct AdamW<D: Backend<f32>> {
    config: AdamWConfig,
    steps: u64,
    parameters: Vec<Slot<D>>,
}

#[derive(Debug)]
struct Slot<D: Backend<f32>> {
    name: String,
    state: State<D>,
    weight_decay: f64,
}

#[derive(Debug)]
enum State<D: Backend<f32>> {
    /// Training does not change it: running statistics, and what is frozen.
    Fixed,
    /// It has no effect on the model for the time being.
    Idle { numel: usize },
    /// It has averages, from the updates after the first `since`; torch's `step` of a parameter is the number of these.
    Learns { moments: Moments<f32, D>, since: u64 },
}

impl<D: Backend<f32>> AdamW<D> {
    /// An optimizer of `model`. `decays(name, shape)` says what weight decay applies to: [`decays`](crate::decays);
    /// `frozen(name)` what keeps its values.
    pub fn new(
        device: &D,
        model: &dyn Module<f32, D>,
        config: AdamWConfig,
        decays: impl Fn(&str, &[usize]) -> bool,
        frozen: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let mut parameters = Vec::new();
        model.for_each_parameter(&mut |p| {
            let state = if p.trainable() && !frozen(p.name()) {
                State::Learns { moments: Moments::zeros(device, p.numel())?, since: 0 }
            } else {
                State::Fixed
            };
            parameters.push(Slot {
                name: p.name().to_owned(),
                state,
                weight_decay: if decays(p.name(), p.shape()) { config.weight_decay } else { 0.0 },
            });
            Ok(())
        })?;
        Ok(Self { config, steps: 0, parameters })
    }

    /// Updates made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Leaves the parameters named in `idle`, which have no effect on the model now, out of updates, weight decay and
    /// clipping. One that was idle and is no longer begins as in a new optimizer: with averages of zero and its own count
    /// of updates, by which their bias is corrected. Frozen parameters stay so.
    ///
    /// torch equivalent: the gradient of an idle parameter is `None`.
    ///
    /// # Errors
    /// If the device has no memory for the averages.
    pub fn set_idle(&mut self, device: &D, idle: &BTreeSet<String>) -> Result<()> {
        for slot in &mut self.parameters {
            match (&slot.state, idle.contains(&slot.name)) {
                (State::Learns { moments, .. }, true) => {
                    slot.state = State::Idle { numel: moments.first.shape().0 };
                }
                (State::Idle { numel }, false) => {
                    let moments = Moments::zeros(device, *numel)?;
                    slot.state = State::Learns { moments, since: self.steps };
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Changes the parameters of `model` by one update. Returns the gradients' global norm
    /// before clipping if there is clipping.
    pub fn update(
        &mut self,
        model: &mut dyn Module<f32, D>,
        gradients: &mut Gradients<f32, D>,
        lr: f64,
    ) -> Result<Option<f64>> {
        let mut learns = self.parameters.iter().map(|slot| matches!(slot.state, State::Learns { .. }));
        let norm =
            self.config.clip_grad.map(|_| global_norm(model, gradients, || learns.next() == Some(true)));
        let norm = norm.transpose()?;
        let gradient_scale = match (self.config.clip_grad, norm) {
            (Some(max), Some(norm)) => clip_coefficient(max, norm),
            _ => 1.0,
        };
        self.steps += 1;
        let (beta1, beta2) = self.config.betas;
        let (eps, steps) = (self.config.eps, self.steps);
        // `Module` visits in a fixed order, the one of `new`.
        let mut slots = self.parameters.iter_mut();
        model.for_each_parameter_mut(&mut |p| {
            let Some(slot) = slots.next().filter(|slot| slot.name == p.name()) else {
                let what = format!("`{}` is no parameter of the model this optimizer was made for", p.name());
                return Err(inductive_ops::Error::Argument { op: "adamw", what });
            };
            let State::Learns { moments, since } = &mut slot.state else { return Ok(()) };
            let (weight_decay, step) = (slot.weight_decay, steps - *since);
            p.adamw(
                gradients,
                moments,
                &AdamWStep { lr, beta1, beta2, eps, weight_decay, step, gradient_scale },
            )
        })?;
        Ok(norm)
    }

    /// Calls `visit(name, first average, second average)` for each parameter that has averages.
    pub(crate) fn for_each_moment(
        &self,
        visit: &mut dyn FnMut(&str, &[f32], &[f32]) -> Result<()>,
    ) -> Result<()> {
        for slot in &self.parameters {
            if let State::Learns { moments, .. } = &slot.state {
                visit(&slot.name, &moments.first.as_vec(), &moments.second.as_vec())?;
            }
        }
        Ok(())
    }

    /// Takes over the averages that `read(name)` gives and the number of updates made. `begins`: of those, the ones before
    /// a parameter that was idle at first was no longer, by its name. What is idle now must have been said before.
    pub(crate) fn restore(
        &mut self,
        device: &D,
        steps: u64,
        begins: &BTreeMap<String, u64>,
        read: &mut dyn FnMut(&str) -> Result<(Vec<f32>, Vec<f32>)>,
    ) -> Result<()> {
        for slot in &mut self.parameters {
            let State::Learns { moments, since } = &mut slot.state else { continue };
            *since = begins.get(&slot.name).copied().unwrap_or(0);
            let (first, second) = read(&slot.name)?;
            for (to, values) in [(&mut moments.first, first), (&mut moments.second, second)] {
                if values.len() != to.shape().0 {
                    let expected = format!("{} values for `{}`", to.shape().0, slot.name);
                    return Err(inductive_ops::Error::shape("adamw", expected, values.len()).into());
                }
                *to =
                    device.try_tensor_from_vec(values, *to.shape()).map_err(|e| Error::device("adamw", e))?;
            }
        }
        self.steps = steps;
        Ok(())
    }
}

/// Euclidean norm of the gradients of all trainable parameters together, of which `counts`, asked once for each parameter,
/// may leave some out.
pub fn global_norm<D: Backend<f32>>(
    model: &mut dyn Module<f32, D>,
    gradients: &mut Gradients<f32, D>,
    mut counts: impl FnMut() -> bool,
) -> Result<f64> {
    let mut sum = 0.0;
    model.for_each_parameter_mut(&mut |p| {
        sum += if counts() && p.trainable() { p.gradient_square_sum(gradients)? } else { 0.0 };
        Ok(())
    })?;
    Ok(sum.sqrt())
}

/// What gradients of this norm are multiplied by: torch's `clip_grad_norm_`, with its 1e-6.
pub fn clip_coefficient(max_norm: f64, norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}
