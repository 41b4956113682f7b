//! AdamW over all parameters of a model, with timm's groups and torch's clipping by global norm.

use std::collections::{BTreeMap, BTreeSet};

use dfdx::prelude::*;
use inductive_nn::{Module, ModuleExt};
use inductive_ops::{AdamWStep, Backend, Moments, Updates};

use crate::{
    Error, Result,
    by_name::{ByName, check_numel},
};

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
///
/// A parameter's averages are kept by its name: a model of other parameters is refused.
#[derive(Debug)]
pub struct AdamW<D: Backend<f32>> {
    config: AdamWConfig,
    steps: u64,
    parameters: ByName<Slot<D>>,
}

#[derive(Debug)]
struct Slot<D: Backend<f32>> {
    state: State<D>,
    weight_decay: f64,
}

#[derive(Debug)]
enum State<D: Backend<f32>> {
    /// Training does not change it: running statistics, and what is frozen.
    Fixed,
    /// It has no effect on the model for the time being.
    Idle,
    /// It has averages, from the updates after the first `since`; torch's `step` of a parameter is the number of these.
    Learns { moments: Moments<f32, D>, since: u64 },
}

impl<D: Backend<f32>> AdamW<D> {
    /// An optimizer of `model`. `decays(name, shape)` says what weight decay applies to: [`decays`](crate::decays);
    /// `frozen(name)` what keeps its values.
    ///
    /// # Errors
    /// [`Error::Parameters`] for two parameters of one name; a device without memory for the averages.
    pub fn new(
        device: &D,
        model: &dyn Module<f32, D>,
        config: AdamWConfig,
        decays: impl Fn(&str, &[usize]) -> bool,
        frozen: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let parameters = ByName::new("optimizer", model, |p| {
            let state = if p.trainable() && !frozen(p.name()) {
                State::Learns { moments: Moments::zeros(device, p.numel())?, since: 0 }
            } else {
                State::Fixed
            };
            let weight_decay = if decays(p.name(), p.shape()) { config.weight_decay } else { 0.0 };
            Ok(Slot { state, weight_decay })
        })?;
        Ok(Self { config, steps: 0, parameters })
    }

    /// Whether gradients are clipped.
    pub(crate) fn clips(&self) -> bool {
        self.config.clip_grad.is_some()
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
    /// [`Error::Parameters`] for a name that no parameter has; a device without memory for the averages.
    pub fn set_idle(&mut self, device: &D, idle: &BTreeSet<String>) -> Result<()> {
        self.parameters.check_names(idle)?;
        for (name, numel, slot) in self.parameters.iter_mut() {
            match (&slot.state, idle.contains(name)) {
                (State::Learns { .. }, true) => slot.state = State::Idle,
                (State::Idle, false) => {
                    let moments = Moments::zeros(device, numel)?;
                    slot.state = State::Learns { moments, since: self.steps };
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Changes the parameters of `model` by one update. Returns the gradients' global norm
    /// before clipping if there is clipping.
    ///
    /// # Errors
    /// [`Error::Parameters`] for a model of other parameters, which stays as it is.
    pub fn update(
        &mut self,
        model: &mut dyn Module<f32, D>,
        gradients: &mut Gradients<f32, D>,
        lr: f64,
    ) -> Result<Option<f64>> {
        self.update_by(model, gradients, lr, Updates::default())
    }

    /// [`AdamW::update`] as `updates`, which has none yet, says.
    pub(crate) fn update_by(
        &mut self,
        model: &mut dyn Module<f32, D>,
        gradients: &mut Gradients<f32, D>,
        lr: f64,
        mut updates: Updates,
    ) -> Result<Option<f64>> {
        let learns = |name: &str| {
            self.parameters.get(name).is_some_and(|slot| matches!(slot.state, State::Learns { .. }))
        };
        let here = self.config.clip_grad.filter(|max| !D::clip_later(&mut updates, *max));
        let norm = here.map(|_| global_norm(model, gradients, learns)).transpose()?;
        let gradient_scale = match (here, norm) {
            (Some(max), Some(norm)) => clip_coefficient(max, norm),
            _ => 1.0,
        };
        let (beta1, beta2) = self.config.betas;
        let (eps, steps) = (self.config.eps, self.steps + 1);
        self.parameters.change_both(model, |p, slot| {
            let State::Learns { moments, since } = &mut slot.state else { return Ok(()) };
            let (weight_decay, step) = (slot.weight_decay, steps - *since);
            let how = AdamWStep { lr, beta1, beta2, eps, weight_decay, step, gradient_scale };
            Ok(p.adamw(gradients, moments, &how, &mut updates)?)
        })?;
        let of_device = D::finish(updates, gradients)?;
        self.steps = steps;
        Ok(norm.or(of_device))
    }

    /// Forgets that updates were made after the first `steps`, which changed nothing.
    pub(crate) fn go_back_to(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// Calls `visit(name, first average, second average)` for each parameter that has averages.
    pub(crate) fn for_each_moment(
        &self,
        visit: &mut dyn FnMut(&str, &[f32], &[f32]) -> Result<()>,
    ) -> Result<()> {
        for (name, slot) in self.parameters.iter() {
            if let State::Learns { moments, .. } = &slot.state {
                visit(name, &moments.first.as_vec(), &moments.second.as_vec())?;
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
        self.parameters.check_names(begins.keys())?;
        for (name, numel, slot) in self.parameters.iter_mut() {
            let State::Learns { moments, since } = &mut slot.state else { continue };
            *since = begins.get(name).copied().unwrap_or(0);
            let (first, second) = read(name)?;
            for (to, values) in [(&mut moments.first, first), (&mut moments.second, second)] {
                check_numel("optimizer", name, numel, &values)?;
                *to = device.try_tensor_from_vec(values, (numel,)).map_err(|e| Error::device("adamw", e))?;
            }
        }
        self.steps = steps;
        Ok(())
    }
}

/// Euclidean norm of the gradients of all trainable parameters together of which `counts(name)` is true.
pub fn global_norm<D: Backend<f32>>(
    model: &mut dyn Module<f32, D>,
    gradients: &mut Gradients<f32, D>,
    counts: impl Fn(&str) -> bool,
) -> Result<f64> {
    let mut sum = 0.0;
    model.for_each_parameter_mut(&mut |p| {
        sum += if p.trainable() && counts(p.name()) { p.gradient_square_sum(gradients)? } else { 0.0 };
        Ok(())
    })?;
    Ok(sum.sqrt())
}

/// What gradients of this norm are multiplied by: torch's `clip_grad_norm_`, with its 1e-6.
pub fn clip_coefficient(max_norm: f64, norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}
