//! Layers that leave convolution for attention in the middle of a run: when, and what follows for optimizer and average.

use std::collections::{BTreeMap, BTreeSet};

use inductive_models::{Model, Zoo};
use inductive_nn::{Module, ModuleExt};
use inductive_nn::{Operator, Reparameterization};
use inductive_ops::Backend;
use inductive_schedule::{Duration, SwitchTimes};

use crate::{Error, Hook, Learner, Metrics, Now, Plan, Recipe, Result, SwitchInfo, SwitchRecipe};

/// When the layers of a run switch, and which have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Switching {
    /// Updates before each layer switches; empty without a table `switch`.
    times: Vec<Option<u64>>,
    how: Reparameterization,
    /// Which layers are convolutions no more.
    done: Vec<bool>,
}

impl Switching {
    /// What `recipe` says for `model`, of which some layers may have switched in an earlier start of the run.
    ///
    /// # Errors
    /// [`Error::Recipe`] for times that do not fit the model or the run.
    pub fn new<D: Backend<f32>>(recipe: &Recipe, plan: &Plan, model: &dyn Model<f32, D>) -> Result<Self> {
        let Some(switch) = &recipe.switch else { return Ok(Self::default()) };
        let layers = model.switchable()?;
        if layers.is_empty() {
            return Err(SwitchRecipe::no_layers(&model.spec().name));
        }
        let times = switch.steps(layers.len(), plan.run_size())?;
        let done = layers.iter().map(|layer| layer.operator != Operator::Convolution).collect();
        Ok(Self { times, how: switch.how(recipe.seed), done })
    }

    /// When each layer switches, or has where the recipe is not asked.
    pub fn times<D: Zoo>(&self, learner: &Learner<D>) -> Result<Vec<Option<u64>>> {
        let layers = learner.model.switchable()?.into_iter().zip(&self.times);
        Ok(layers.map(|(it, time)| learner.switched.get(&it.name).copied().or(*time)).collect())
    }

    /// What is to be said of layers that are attention from the start, and of those that the end of the run comes before, unless the
    /// recipe has them at `100%`.
    pub fn warnings<D: Zoo>(
        &self,
        recipe: &Recipe,
        plan: &Plan,
        learner: &Learner<D>,
    ) -> Result<Vec<String>> {
        let (Some(switch), total) = (&recipe.switch, plan.total_steps) else { return Ok(Vec::new()) };
        let (mut late, mut early) = (Vec::new(), Vec::new());
        for (layer, (it, time)) in learner.model.switchable()?.into_iter().zip(&self.times).enumerate() {
            if let Some(at) = learner.switched.get(&it.name) {
                early.extend((*at == 0).then_some(it.name));
                continue;
            }
            let meant = |time| time == total && says_end(&switch.times, layer);
            if let Some(time) = time.filter(|time| *time >= total && !meant(*time)) {
                late.push(format!("{} (after update {time})", it.name));
            }
        }
        let early = (!early.is_empty()).then(|| {
            let names = early.join(", ");
            format!(
                "these layers are attention from the start, and `switch` leaves them as they are: {names}"
            )
        });
        let late = (!late.is_empty()).then(|| {
            format!(
                "the run ends after update {total}, before layers that `switch.times` lets leave convolution: {}; they stay \
                 convolutions. Give earlier times, or \"never\" or \"100%\" if that is meant",
                late.join(", ")
            )
        });
        Ok(early.into_iter().chain(late).collect())
    }

    /// Switches the layers that are convolutions in the first `step` updates and not in the next one; returns their names. A layer that
    /// a hook has switched before its time stays as it is.
    fn switch_due<D: Zoo>(&mut self, learner: &mut Learner<D>, step: u64) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for (layer, (time, done)) in self.times.iter().zip(&mut self.done).enumerate() {
            if !*done && time.is_some_and(|time| time <= step) {
                names.extend(learner.switch_unless_done(layer, &self.how)?);
                *done = true;
            }
        }
        Ok(names)
    }

    /// What layer `layer` computes in a state that is saved after `step` updates, unless a hook has switched it.
    ///
    /// A switch at `step` comes after that state; but one before the first update is made before everything else.
    pub fn operator(&self, layer: usize, step: u64) -> Operator {
        match self.times.get(layer).copied().flatten() {
            Some(time) if time < step.max(1) => self.how.gate.operator().0,
            _ => Operator::Convolution,
        }
    }

    /// Updates before each parameter that is idle in `model`, which is new, can have an effect, by its name. switched: of layers that a
    /// hook has switched, the updates before it.
    pub fn begins<D: Backend<f32>>(
        &self,
        model: &dyn Model<f32, D>,
        switched: &Switched,
    ) -> Result<BTreeMap<String, u64>> {
        let mut begins = BTreeMap::new();
        for (layer, it) in model.switchable()?.into_iter().enumerate() {
            let time = switched.get(&it.name).or(self.times.get(layer).and_then(Option::as_ref)).copied();
            if let Some(time) = time {
                begins.extend(it.idle.into_iter().map(|name| (name, time)));
            }
        }
        Ok(begins)
    }

    /// The updates before each layer switched, by recipe or hook; `None` for a layer that is a convolution. Empty for a run in which none
    /// can.
    fn switched<D: Zoo>(&self, learner: &Learner<D>) -> Result<Vec<Option<u64>>> {
        if self.times.is_empty() && learner.switched.is_empty() {
            return Ok(Vec::new());
        }
        let by_recipe =
            |layer| self.times.get(layer).copied().flatten().filter(|_| self.done.get(layer) == Some(&true));
        let layers = learner.model.switchable()?.into_iter().enumerate();
        Ok(layers.map(|(layer, it)| learner.switched.get(&it.name).copied().or(by_recipe(layer))).collect())
    }
}

/// Layers that something else than the recipe has made attention, by name: the updates before it.
pub(crate) type Switched = BTreeMap<String, u64>;

impl<D: Zoo> Hook<D> for Switching {
    fn name(&self) -> &str {
        "switching"
    }

    fn sees_every_step(&self) -> bool {
        false
    }

    fn start(&mut self, learner: &mut Learner<D>, at: &mut Now<'_>) -> Result<()> {
        self.before_step(learner, at)
    }

    fn before_step(&mut self, learner: &mut Learner<D>, at: &mut Now<'_>) -> Result<()> {
        let (step, total_steps) = (at.step, at.plan.total_steps);
        for layer in &self.switch_due(learner, step)? {
            at.progress.switch(&SwitchInfo { layer, step, total_steps });
        }
        Ok(())
    }

    fn after_evaluation(
        &mut self,
        learner: &mut Learner<D>,
        metrics: &mut Metrics,
        _: &mut Now<'_>,
    ) -> Result<()> {
        metrics.switched = self.switched(learner)?;
        metrics.head_positions = head_positions(&*learner.model)?;
        Ok(())
    }
}

/// Whether the time of a layer is said to be the end of the run.
fn says_end(times: &SwitchTimes, layer: usize) -> bool {
    let end = |time: &Duration| *time == Duration::Percent(100.0);
    match times {
        SwitchTimes::Uniform(time) => end(time),
        SwitchTimes::LateFirst { earliest, latest } | SwitchTimes::EarlyFirst { earliest, latest } => {
            end(earliest) || end(latest)
        }
        SwitchTimes::Layers(times) => times.get(layer).is_some_and(|time| time.as_ref().is_some_and(end)),
        _ => false,
    }
}

/// What the operators of a model's layers mean for its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Parameters without effect.
    pub idle: BTreeSet<String>,
    /// Buffers that name the operators.
    pub operators: BTreeSet<String>,
    /// Gates that are shares.
    pub shares: BTreeSet<String>,
}

impl Roles {
    /// Those of the parameters of `model` as it is now.
    pub fn of<D: Backend<f32>>(model: &dyn Model<f32, D>) -> Result<Self> {
        let mut roles = Self::default();
        for layer in model.switchable()? {
            roles.operators.insert(layer.code);
            roles.shares.extend(layer.shares);
            roles.idle.extend(layer.idle);
        }
        Ok(roles)
    }

    /// Puts gates that an update has moved out of `[0, 1]` back to the nearest end.
    pub fn project<D: Backend<f32>>(&self, model: &mut dyn Module<f32, D>) -> Result<()> {
        if self.shares.is_empty() {
            return Ok(());
        }
        model.for_each_parameter_mut(&mut |p| {
            if !self.shares.contains(p.name()) {
                return Ok(());
            }
            let gates = p.to_vec();
            let projected: Vec<f32> = gates.iter().map(|gate| gate.clamp(0.0, 1.0)).collect();
            if projected == gates { Ok(()) } else { p.copy_from(&projected) }
        })?;
        Ok(())
    }
}

/// `[dx, dy, alpha]` of each head of each layer that can leave convolution; empty where none has left it.
fn head_positions<D: Backend<f32>>(model: &dyn Model<f32, D>) -> Result<Vec<Vec<[f64; 3]>>> {
    // A file of metrics cannot hold what is not finite, the place of a head that looks everywhere (alpha is 0).
    let number = |x: f64| if x.is_finite() { x } else { 0.0 };
    let positions: Vec<Vec<[f64; 3]>> = model
        .switchable()?
        .iter()
        .map(|layer| layer.heads.iter().map(|head| [head.dx, head.dy, head.alpha].map(number)).collect())
        .collect();
    Ok(if positions.iter().all(Vec::is_empty) { Vec::new() } else { positions })
}

impl<D: Zoo> Learner<D> {
    /// Makes layer `layer` of `Model::switchable`, a convolution, attention, before the next update; returns its name. A run remembers it:
    /// one that is stopped and goes on has the layer as it was.
    ///
    /// What the layer computed with goes on as it was: its weight keeps its averages in the optimizer and in the moving
    /// average. What has an effect from now on begins: in the optimizer with averages of zero, in the moving average with
    /// its value of now.
    ///
    /// # Errors
    /// [`Error::Part`] for a layer that is attention already, whose averages would go on with values that are new; as
    /// `Model::reparameterize`.
    pub fn switch(&mut self, layer: usize, how: &Reparameterization) -> Result<String> {
        let name = self.reparameterize(layer, how)?;
        self.switched.insert(name.clone(), self.steps());
        Ok(name)
    }

    /// [`Learner::switch`] by the recipe, of a layer that is a convolution; `None` for one that a hook has switched.
    fn switch_unless_done(&mut self, layer: usize, how: &Reparameterization) -> Result<Option<String>> {
        let it = self.model.switchable()?.into_iter().nth(layer);
        match it.is_some_and(|it| self.switched.contains_key(&it.name)) {
            true => Ok(None),
            false => self.reparameterize(layer, how).map(Some),
        }
    }

    fn reparameterize(&mut self, layer: usize, how: &Reparameterization) -> Result<String> {
        // The model computes something else from now on, and parameters begin to learn that others may hold.
        self.settle()?;
        self.repeat.forget();
        let switched = self.model.switchable()?.into_iter().nth(layer);
        if let Some(it) = switched.filter(|it| it.operator != Operator::Convolution) {
            let problem = format!(
                "layer {layer}, `{}`, has left convolution already ({}), which a layer does once",
                it.name, it.operator
            );
            return Err(Error::part("switch", problem));
        }
        self.model.reparameterize(layer, how)?;
        self.see_operators()?;
        let mut layers = self.model.switchable()?;
        Ok(layers.swap_remove(layer).name)
    }

    /// Layers of a new learner's model that are convolutions no more.
    pub(crate) fn switched_before(model: &dyn Model<f32, D>) -> Result<Switched> {
        let layers = model.switchable()?.into_iter();
        Ok(layers.filter(|it| it.operator != Operator::Convolution).map(|it| (it.name, 0)).collect())
    }

    /// Makes optimizer and moving average agree with what the layers compute now.
    pub(crate) fn see_operators(&mut self) -> Result<()> {
        let roles = Roles::of(&*self.model)?;
        self.optimizer.set_idle(&self.device, &roles.idle)?;
        if let Some(ema) = &mut self.ema {
            let still = |name: &str| roles.idle.contains(name) || roles.operators.contains(name);
            ema.leave_out(&self.device, &*self.model, still)?;
        }
        self.roles = roles;
        Ok(())
    }

    /// Refuses a model whose layers were made attention without the learner, whose optimizer and average do not know of it.
    pub(crate) fn check_operators(&self) -> Result<()> {
        if Roles::of(&*self.model)? == self.roles {
            return Ok(());
        }
        let problem = "a layer has left convolution, or came back to it, without the learner; make it attention with `Learner::switch`";
        Err(Error::part("switch", problem))
    }
}
