//! A model that learns: one update at a time, without files, data sets or clocks.

use dfdx::prelude::*;
use inductive_checkpoint::LoadReport;
use inductive_models::{BatchStatistics, Images, Initialised, LayerInitialised, Model, Zoo};
use inductive_ops::DropPath;

use crate::{
    AdamW, Ema, Error, Initial, Recipe, Result, decays,
    diagnose::{first_bad_layer, first_bad_parameter},
    evaluate::to_device,
    freeze::Frozen,
    initial::begin,
    loss::{count_top, smooth_targets},
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
        &*self.model
    }

    /// The model, to be changed. Layers are made attention by [`Learner::switch`], so that optimizer and average know of it.
    pub fn model_mut(&mut self) -> &mut dyn Model<f32, D> {
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
        self.check_operators()?;
        let step = self.steps();
        let images = to_device(&self.device, images, labels.len(), self.model.spec().image)?;
        let mut statistics = BatchStatistics::default();
        let (logits, loss) = self.forward(images.clone(), labels, &mut statistics)?;
        let correct = count_top(&logits, labels, 1);
        let value = f64::from(loss.as_vec().first().copied().unwrap_or(f32::NAN));
        if !value.is_finite() {
            let layer = first_bad_layer(&*self.model, images)?;
            return Err(Error::NotFinite { step, layer, checkpoint: None });
        }
        let mut gradients = loss.try_backward().map_err(|e| Error::device("backward", e))?;
        statistics.fold_into(&mut *self.model)?;
        let gradient_norm = self.optimizer.update(&mut *self.model, &mut gradients, lr)?;
        self.roles.project(&mut *self.model)?;
        if let Some(ema) = &mut self.ema {
            ema.update(&mut *self.model, step)?;
        }
        Ok(StepReport { loss: value, correct, images: labels.len(), gradient_norm })
    }

    /// The gradients of the loss of a batch, with which nothing is updated, running statistics included.
    pub fn gradients(&self, images: Vec<f32>, labels: &[u32]) -> Result<Gradients<f32, D>> {
        let images = to_device(&self.device, images, labels.len(), self.model.spec().image)?;
        let (_, loss) = self.forward(images, labels, &mut BatchStatistics::default())?;
        loss.try_backward().map_err(|e| Error::device("backward", e))
    }

    /// Logits `[batch, classes]` and the loss; what batch normalisation saw is added to `statistics`.
    fn forward(
        &self,
        images: Images<f32, D>,
        labels: &[u32],
        statistics: &mut BatchStatistics<f32>,
    ) -> Result<(Vec<f32>, Loss<D>)> {
        let classes = self.model.spec().classes;
        let drop_path =
            DropPath { rate: self.drop_path, seed: derive(self.seed, Purpose::DropPath, self.steps()) };
        let targets = smooth_targets(labels, classes, self.label_smoothing);
        let targets = self
            .device
            .try_tensor_from_vec(targets, (labels.len(), classes))
            .map_err(|e| Error::device("targets", e))?;
        let logits = self.model.forward_batch(images.leaky_traced(), drop_path, statistics)?;
        let values = logits.as_vec();
        Ok((values, self.device.cross_entropy(logits, &targets)?))
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

type Loss<D> = Tensor<Rank0, f32, D, OwnedTape<f32, D>>;

impl<D: Zoo> std::fmt::Debug for Learner<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Learner").field("model", self.model.spec()).field("steps", &self.steps()).finish()
    }
}
