//! A trunk that turns images into features, and a linear head on top.

use dfdx::prelude::*;
use inductive_nn::{BatchStatistics, Context, Fill, Images, Layout, Linear, Module, Record, Taped, module};
use inductive_ops::{Backend, DropPath};

use crate::{
    Error, ModelSpec, Result,
    model::{Logits, Model, begin_pass},
};

/// How a head begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadInit {
    /// Weight N(0, 0.02^2), bias 0: timm's transformers.
    Normal,
    /// Weight and bias uniform in `+-1 / sqrt(C)`: PyTorch's `Linear`.
    Uniform,
}

/// Images to features `[batch, C]`.
pub trait Trunk<const C: usize, E: Dtype, D: Backend<E>>: Module<E, D> {
    /// Name of the head's parameters in timm.
    const HEAD: &'static str = "head";
    /// How they begin.
    const HEAD_INIT: HeadInit = HeadInit::Normal;

    /// Height and width of the images it is made for.
    fn image(&self) -> (usize, usize);

    /// How many blocks a pass goes through, those of the stem too. Each asks the context for its rate of stochastic depth.
    fn depth(&self) -> usize;

    /// The pass of [`features`](Self::features), which has looked at the images and dealt out the rates.
    ///
    /// # Errors
    /// A device without memory for it.
    fn pass<T: Taped<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: &mut Context<'_, E>,
    ) -> Result<Tensor<(usize, Const<C>), E, D, T>>;

    /// images: `[batch, 3, height, width]`; result: `[batch, C]`, normalised, ready for the head.
    ///
    /// # Errors
    /// Images of another size than the trunk is made for; a rate of stochastic depth that is not in `0 <= rate < 1`.
    fn features<T: Taped<E, D>>(
        &self,
        images: Images<E, D, T>,
        mut context: Context<'_, E>,
    ) -> Result<Tensor<(usize, Const<C>), E, D, T>> {
        begin_pass(&images, self.image(), &mut context, self.depth())?;
        self.pass(images, &mut context)
    }

    /// How the tokens of block `index` lie on the image.
    fn layout(&self, index: usize) -> Layout;

    /// Refuses parts that do not fit together where their types do not say so. A [`Classifier`] asks when it is built.
    ///
    /// # Errors
    /// What does not fit.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// A linear layer from `C` features to `N` classes: `usize` of them, or dfdx's `Const`.
#[derive(Clone, Debug)]
pub struct Head<const C: usize, N: Dim, E: Dtype, D: Device<E>> {
    /// `[N, C]`
    pub weight: Tensor<(N, Const<C>), E, D>,
    /// `[N]`
    pub bias: Tensor<(N,), E, D>,
}

module!([const C: usize, N: Dim] Head<C, N, E, D> { weight, bias });

impl<const C: usize, N: Dim, E: Dtype, D: Backend<E>> Head<C, N, E, D> {
    /// New, for so many classes.
    ///
    /// # Errors
    /// A device without memory for it.
    pub fn new(device: &D, classes: N, init: HeadInit) -> Result<Self> {
        // Drawn for every head, so that a seed gives the same uniform numbers as ever.
        let weight = Fill::LINEAR.tensor(device, (classes, Const))?;
        if init == HeadInit::Normal {
            return Ok(Self { weight, bias: Fill::ZEROS.tensor(device, (classes,))? });
        }
        let uniform = Fill::fan_in(C);
        Ok(Self {
            weight: uniform.tensor(device, (classes, Const))?,
            bias: uniform.tensor(device, (classes,))?,
        })
    }

    /// features: `[batch, C]`; result: `[batch, N]`.
    ///
    /// # Errors
    /// A device without memory for it.
    pub fn apply<T: Tape<E, D>>(
        &self,
        features: Tensor<(usize, Const<C>), E, D, T>,
    ) -> Result<Tensor<(usize, N), E, D, T>> {
        let out = (features.shape().0, self.bias.shape().0);
        Ok(features.device().clone().linear(features, &self.weight, Some(&self.bias), out)?)
    }
}

/// A trunk with a linear head. Parameters of the trunk have no prefix; the head's are named as the trunk says.
#[derive(Clone, Debug)]
pub struct Classifier<M, const C: usize, N: Dim, E: Dtype, D: Device<E>> {
    /// Images to features.
    pub trunk: M,
    /// Features to logits.
    pub head: Head<C, N, E, D>,
    spec: ModelSpec,
}

module!([M: Trunk<C, E, D>, const C: usize, N: Dim] Classifier<M, C, N, E, D> { trunk: "", head: M::HEAD });

impl<M: Trunk<C, E, D>, const C: usize, N: Dim, E: Dtype, D: Backend<E>> Classifier<M, C, N, E, D> {
    /// Puts a new head for so many classes on a trunk. `spec` is what [`Model::spec`] returns, its number of classes apart.
    ///
    /// # Errors
    /// Those of [`Trunk::check`]; a device without memory for the head.
    pub fn new(device: &D, trunk: M, classes: N, spec: ModelSpec) -> Result<Self> {
        trunk.check()?;
        let head = Head::new(device, classes, M::HEAD_INIT)?;
        Ok(Self { trunk, head, spec: ModelSpec { classes: classes.size(), ..spec } })
    }

    /// images: `[batch, 3, height, width]`; result: `[batch, N]`. A number of classes that is a type is checked by the compiler:
    ///
    /// ```
    /// # use dfdx::prelude::*;
    /// # use inductive_models::{Classifier, Context, ModelSpec, families::vit};
    /// # let dev = Cpu::seed_from_u64(0);
    /// # let spec = ModelSpec { image: (8, 8), depth: 1, ..ModelSpec::default() };
    /// let model = Classifier::new(&dev, vit::<8, 2, 16, 4, f32, Cpu>(&dev, &spec)?, Const::<10>, spec)?;
    /// let images = dev.zeros_like(&(2, 3, 8, 8));
    /// let logits: Tensor<(usize, Const<10>), f32, Cpu> = model.logits(images, Context::default())?;
    /// # Ok::<(), inductive_models::Error>(())
    /// ```
    ///
    /// ```compile_fail,E0308
    /// # use dfdx::prelude::*;
    /// # use inductive_models::{Classifier, Context, ModelSpec, families::vit};
    /// # let dev = Cpu::seed_from_u64(0);
    /// # let spec = ModelSpec { image: (8, 8), depth: 1, ..ModelSpec::default() };
    /// # let model = Classifier::new(&dev, vit::<8, 2, 16, 4, f32, Cpu>(&dev, &spec)?, Const::<10>, spec)?;
    /// # let images = dev.zeros_like(&(2, 3, 8, 8));
    /// let logits: Tensor<(usize, Const<11>), f32, Cpu> = model.logits(images, Context::default())?;
    /// # Ok::<(), inductive_models::Error>(())
    /// ```
    ///
    /// The grid of patches is a number of the run time: [`Trunk::check`] compares it with the positions when a model is built.
    ///
    /// # Errors
    /// The trunk's.
    pub fn logits<T: Taped<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: Context<'_, E>,
    ) -> Result<Tensor<(usize, N), E, D, T>> {
        self.head.apply(self.trunk.features(images, context)?)
    }
}

impl<M: Trunk<C, E, D>, const C: usize, N: Dim, E: Dtype, D: Backend<E>> Model<E, D>
    for Classifier<M, C, N, E, D>
{
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn forward(&self, images: Images<E, D>, record: Option<&mut Record<E>>) -> Result<Logits<E, D>> {
        let logits = self.logits(images, Context { record, ..Default::default() })?;
        Ok(logits.realize())
    }

    fn forward_batch(
        &self,
        images: Images<E, D, OwnedTape<E, D>>,
        drop_path: DropPath,
        statistics: &mut BatchStatistics<E>,
    ) -> Result<Logits<E, D, OwnedTape<E, D>>> {
        let context = Context { drop_path, batch_statistics: Some(statistics), ..Default::default() };
        Ok(self.logits(images, context)?.realize())
    }

    fn layout(&self, index: usize) -> Layout {
        self.trunk.layout(index)
    }
}

/// A trunk with EIT's representation layer on top, `tanh(W x + b)`: features of width `R`.
#[derive(Clone, Debug)]
pub struct Represented<M, const C: usize, const R: usize, E: Dtype, D: Device<E>> {
    /// The trunk below.
    pub trunk: M,
    /// `pre_logits.fc`
    pub fc: Linear<C, R, true, E, D>,
}

module!([M: Trunk<C, E, D>, const C: usize, const R: usize] Represented<M, C, R, E, D> {
    trunk: "",
    fc: "pre_logits.fc",
});

impl<M: Trunk<C, E, D>, const C: usize, const R: usize, E: Dtype, D: Backend<E>> Trunk<R, E, D>
    for Represented<M, C, R, E, D>
{
    const HEAD: &'static str = M::HEAD;
    const HEAD_INIT: HeadInit = M::HEAD_INIT;

    fn image(&self) -> (usize, usize) {
        self.trunk.image()
    }

    fn depth(&self) -> usize {
        self.trunk.depth()
    }

    fn pass<T: Taped<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: &mut Context<'_, E>,
    ) -> Result<Tensor<(usize, Const<R>), E, D, T>> {
        let features = self.fc.apply_flat(self.trunk.pass(images, context)?)?;
        features.try_tanh().map_err(|e| Error::device("pre_logits", e))
    }

    fn layout(&self, index: usize) -> Layout {
        self.trunk.layout(index)
    }

    fn check(&self) -> Result<()> {
        self.trunk.check()
    }
}
