//! A model that learns: one update at a time, without files, data sets or clocks.

use std::mem::take;

use dfdx::prelude::*;
use inductive_checkpoint::LoadReport;
use inductive_models::{BatchStatistics, Images, Initialised, LayerInitialised, Model, Zoo};
use inductive_ops::{
    DropPath, Updates,
    replay::{Batch, Ends},
};

use crate::{
    AdamW, Ema, Error, Initial, Recipe, Result, decays,
    diagnose::{first_bad_layer, first_bad_parameter},
    evaluate::to_device,
    freeze::Frozen,
    initial::begin,
    loss::{count_top, smooth_targets},
    repeat::{Repeat, factors},
    seeds::{Purpose, derive},
    switching::{Roles, Switched},
};

/// Model, optimizer and average, as a recipe says; everything that an update changes.
pub struct Learner<D: Zoo> {
    pub(crate) device: D,
    pub(crate) model: Box<dyn Model<f32, D>>,
    pub(crate) optimizer: AdamW<D>,
    pub(crate) ema: Option<Ema<D>>,
    /// What the layers' operators mean for the parameters.
    pub(crate) roles: Roles,
    /// Updates without a tape, and what came of them that nobody has asked for.
    pub(crate) repeat: Repeat<D>,
    done: Vec<StepReport>,
    /// Layers that not the recipe has made attention: a hook, who made the model, or the file that it began with.
    pub(crate) switched: Switched,
    warnings: Vec<String>,
    initialised: Initialised,
    seed: u64,
    drop_path: f64,
    label_smoothing: f64,
}

/// What one update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Mean loss of the batch before the update, smoothed targets and drop path included.
    pub loss: f64,
    /// Images that the same forward pass classified rightly.
    pub correct: usize,
    /// Images of the batch.
    pub images: usize,
    /// Global norm of the gradients before clipping; `None` without clipping.
    pub gradient_norm: Option<f64>,
}

impl<D: Zoo> Learner<D> {
    /// A new model with the initial weights of `recipe.seed`.
    ///
    /// Weights are drawn on the CPU and copied, so that a run begins with the same bits on every device.
    ///
    /// # Errors
    /// Those of [`Initial::new`].
    pub fn new(device: &D, recipe: &Recipe, classes: usize) -> Result<Self> {
        Self::begin(device, recipe, Initial::new(recipe, classes, &|_| ())?)
    }

    /// A learner that begins so. recipe: the one that `initial` was made by.
    pub(crate) fn begin(device: &D, recipe: &Recipe, initial: Initial) -> Result<Self> {
        let model = initial.on(device, recipe)?;
        let Initial { initialised, warnings, .. } = initial;
        Ok(Self { initialised, ..Self::of_model(device, recipe, model, warnings)? })
    }

    /// A learner of a model of one's own, of which `recipe`, which is valid, says how it begins. read: as of [`Initial::make`].
    pub(crate) fn of_own(
        device: &D,
        recipe: &Recipe,
        mut model: Box<dyn Model<f32, D>>,
        read: bool,
    ) -> Result<(Self, Option<LoadReport>)> {
        let (initialised, loaded) = begin(&mut *model, recipe, None, read, &|_| ())?;
        let learner = Self::of_model(device, recipe, model, initialised.warnings.clone())?;
        Ok((Self { initialised, ..learner }, loaded))
    }

    /// A learner of `model`, which has its initial weights, by a recipe that is valid.
    pub(crate) fn of_model(
        device: &D,
        recipe: &Recipe,
        model: Box<dyn Model<f32, D>>,
        warnings: Vec<String>,
    ) -> Result<Self> {
        let frozen = Frozen(&recipe.freeze);
        frozen.check(&*model)?;
        let optimizer = AdamW::new(device, &*model, recipe.adamw(), decays, |name| frozen.has(name))?;
        let ema = recipe.ema.map(|decay| Ema::new(device, &*model, decay)).transpose()?;
        let switched = Self::switched_before(&*model)?;
        let mut learner = Self {
            device: device.clone(),
            model,
            optimizer,
            ema,
            roles: Roles::default(),
            repeat: Repeat::default(),
            done: Vec::new(),
            switched,
            warnings,
            initialised: Initialised::default(),
            seed: recipe.seed,
            drop_path: recipe.drop_path,
            label_smoothing: recipe.label_smoothing,
        };
        learner.see_operators()?;
        Ok(learner)
    }

    /// Updates made so far.
    pub fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// The model.
    pub fn model(&self) -> &dyn Model<f32, D> {
        // Whoever has it may copy its tensors, which then have to keep their values.
        self.repeat.lent.set(true);
        &*self.model
    }

    /// The model, to be changed. Layers are made attention by [`Learner::switch`], so that optimizer and average know of it.
    pub fn model_mut(&mut self) -> &mut dyn Model<f32, D> {
        self.repeat.lent.set(true);
        &mut *self.model
    }

    /// The device it learns on.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// What the initial weights of each layer of attention aim at; no targets without a design.
    pub fn initialised(&self) -> &[LayerInitialised] {
        &self.initialised.layers
    }

    /// What the model's initialisation has to say to the user.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// One update. images: `[labels.len(), 3, height, width]`, row-major and normalised; lr: the learning rate.
    ///
    /// Drop path is a function of the recipe's seed and the number of the step.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the loss is not finite: weights and running statistics are then as before; [`Error::Part`] for a layer that
    /// was made attention without [`Learner::switch`].
    pub fn step(&mut self, images: Vec<f32>, labels: &[u32], lr: f64) -> Result<StepReport> {
        self.start(images, labels, lr)?;
        self.settle()?;
        self.done.pop().ok_or_else(|| Error::part("learner", "an update without a report".to_owned()))
    }

    /// [`Learner::step`] without waiting for the device: what came of the update is in the next [`Learner::reports`], and with it the error of
    /// a loss that is not finite. No later update changes anything then. Where the pass was repeated, the error names a parameter that is not
    /// finite or the loss, and not the first layer: the images are gone.
    ///
    /// # Errors
    /// As [`Learner::step`].
    pub fn start(&mut self, images: Vec<f32>, labels: &[u32], lr: f64) -> Result<()> {
        self.check_operators()?;
        if self.again(&images, labels, lr)? {
            return Ok(());
        }
        self.settle()?;
        if self.repeat.lent.get() {
            self.repeat.forget();
        }
        let report = self.once(images, labels, lr)?;
        self.done.push(report);
        Ok(())
    }

    /// What the updates did since this was last asked, in order. Waits for the device.
    ///
    /// # Errors
    /// [`Error::NotFinite`] of the first update whose loss is not finite; the reports before it are lost.
    pub fn reports(&mut self) -> Result<Vec<StepReport>> {
        self.settle()?;
        Ok(take(&mut self.done))
    }

    /// Why updates on a GPU have a tape each, where a pass of this model cannot be repeated. `None` also before that was tried.
    pub fn not_repeated(&self) -> Option<&str> {
        self.repeat.hopeless()
    }

    /// Updates whose reports would have to be waited for.
    pub fn unsettled(&self) -> usize {
        self.repeat.waiting()
    }

    /// Reads what has come of the updates that were started.
    pub(crate) fn settle(&mut self) -> Result<()> {
        for (step, report) in self.repeat.outcomes()? {
            if !report.loss.is_finite() {
                // All later ones have left everything as it was.
                self.optimizer.go_back_to(step);
                self.repeat.forget();
                self.done.clear();
                let bad = first_bad_parameter(&*self.model)?.map(|name| format!("the parameter `{name}`"));
                let layer = bad.unwrap_or_else(|| "the loss".to_owned());
                return Err(Error::NotFinite { step, layer, checkpoint: None });
            }
            self.done.push(report);
        }
        Ok(())
    }

    /// The update by a pass that is repeated, if there is one of so many images.
    fn again(&mut self, images: &[f32], labels: &[u32], lr: f64) -> Result<bool> {
        if self.repeat.must_settle(labels.len()) {
            self.settle()?;
        }
        let (step, drop_path, spec) = (self.steps(), self.drop_path(), self.model.spec());
        let Some(pass) = self.repeat.pass(&*self.model, labels.len())? else { return Ok(false) };
        let targets = smooth_targets(labels, spec.classes, self.label_smoothing);
        let given = factors(drop_path, spec.depth, labels.len())?;
        pass.replay.run(Batch { images, targets: &targets, labels, given: &given })?;
        let (updates, averages) = (pass.replay.guarded(), pass.replay.guarded());
        let updated = self.optimizer.update_by(&mut *self.model, &mut pass.gradients, lr, updates);
        self.repeat.started(step, labels.len(), self.optimizer.clips());
        updated?;
        self.follow(step, averages)?;
        Ok(true)
    }

    /// The update by a pass with a tape.
    fn once(&mut self, images: Vec<f32>, labels: &[u32], lr: f64) -> Result<StepReport> {
        let step = self.steps();
        let images = to_device(&self.device, images, labels.len(), self.model.spec().image)?;
        let mut statistics = BatchStatistics::default();
        let watches = self.repeat.watches(labels.len());
        let mut pass = || self.forward(images.clone(), labels, &mut statistics);
        let (passed, watched) = if watches { self.device.watched(pass) } else { (pass(), None) };
        let Passed { logits, targets, loss } = passed?;
        let correct = count_top(&logits.as_vec(), labels, 1);
        let value = f64::from(loss.as_vec().first().copied().unwrap_or(f32::NAN));
        if !value.is_finite() {
            let layer = first_bad_layer(&*self.model, images)?;
            return Err(Error::NotFinite { step, layer, checkpoint: None });
        }
        let (loss, tape) = loss.split_tape();
        if watches {
            let ends = || {
                Some(Ends {
                    images: D::place(&images)?,
                    targets: D::place(&targets)?,
                    logits: D::place(&logits)?,
                    loss: D::place(&loss)?,
                    batch: labels.len(),
                })
            };
            let factors = factors(self.drop_path(), self.model.spec().depth, labels.len())?;
            self.repeat.take_in(&mut *self.model, watched, ends(), &factors)?;
        }
        let mut gradients = loss.put_tape(tape).try_backward().map_err(|e| Error::device("backward", e))?;
        statistics.fold_into(&mut *self.model)?;
        // What was lent keeps its memory and its values; the parameters get memory of their own.
        let updates = if self.repeat.lent.replace(false) { Updates::default() } else { Updates::in_place() };
        let gradient_norm = self.optimizer.update_by(&mut *self.model, &mut gradients, lr, updates)?;
        self.follow(step, Updates::default())?;
        Ok(StepReport { loss: value, correct, images: labels.len(), gradient_norm })
    }

    /// What comes after the update of the parameters. averages: how theirs are updated.
    fn follow(&mut self, step: u64, averages: Updates) -> Result<()> {
        self.roles.project(&mut *self.model)?;
        match &mut self.ema {
            Some(ema) => ema.update_by(&mut *self.model, step, averages),
            None => Ok(()),
        }
    }

    /// Stochastic depth of the next update.
    fn drop_path(&self) -> DropPath {
        DropPath { rate: self.drop_path, seed: derive(self.seed, Purpose::DropPath, self.steps()) }
    }

    /// The gradients of the loss of a batch, with which nothing is updated, running statistics included.
    pub fn gradients(&self, images: Vec<f32>, labels: &[u32]) -> Result<Gradients<f32, D>> {
        let images = to_device(&self.device, images, labels.len(), self.model.spec().image)?;
        let passed = self.forward(images, labels, &mut BatchStatistics::default())?;
        passed.loss.try_backward().map_err(|e| Error::device("backward", e))
    }

    /// What batch normalisation saw is added to `statistics`.
    fn forward(
        &self,
        images: Images<f32, D>,
        labels: &[u32],
        statistics: &mut BatchStatistics<f32>,
    ) -> Result<Passed<D>> {
        let classes = self.model.spec().classes;
        let targets = smooth_targets(labels, classes, self.label_smoothing);
        let targets = self
            .device
            .try_tensor_from_vec(targets, (labels.len(), classes))
            .map_err(|e| Error::device("targets", e))?;
        let logits = self.model.forward_batch(images.leaky_traced(), self.drop_path(), statistics)?;
        let untaped = logits.retaped();
        Ok(Passed { loss: self.device.cross_entropy(logits, &targets)?, logits: untaped, targets })
    }

    /// Refuses weights that are not finite, which must not overwrite a checkpoint.
    pub(crate) fn check_finite(&self) -> Result<()> {
        match first_bad_parameter(&*self.model)? {
            Some(name) => Err(Error::NotFinite {
                step: self.steps(),
                layer: format!("the parameter `{name}`"),
                checkpoint: None,
            }),
            None => Ok(()),
        }
    }
}

/// A pass forwards.
struct Passed<D: Zoo> {
    logits: Tensor<(usize, usize), f32, D>,
    targets: Tensor<(usize, usize), f32, D>,
    loss: Tensor<Rank0, f32, D, OwnedTape<f32, D>>,
}

impl<D: Zoo> std::fmt::Debug for Learner<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Learner").field("model", self.model.spec()).field("steps", &self.steps()).finish()
    }
}
