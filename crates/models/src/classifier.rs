//! A trunk that turns images into features, and a linear head on top: the number of classes is the head's alone, so the
//! trunk is compiled once for all of them.

use dfdx::prelude::*;
use inductive_attention::{Layout, Linear, Reparameterization, SwitchLayer, Uniform};
use inductive_ops::{Backend, DropPath};

use crate::{
    BatchStatistics, ModelSpec, Result, Switchable,
    model::{Context, Images, Logits, Model, Record},
    switch,
};

/// The head that a trunk has in timm.
pub trait HeadStyle {
    /// Name of its parameters.
    const NAME: &'static str = "head";
    /// How its parameters begin.
    const INIT: HeadInit = HeadInit::Normal;
}

/// How the parameters of a head begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadInit {
    /// Weight N(0, 0.02^2), bias 0: timm's transformers.
    Normal,
    /// Weight and bias uniform in `+-1 / sqrt(C)`: PyTorch's `Linear`.
    Uniform,
}

/// Images to features `[batch, C]`.
pub trait Trunk<const C: usize, E: Dtype, D: Backend<E>>: TensorCollection<E, D> + HeadStyle {
    /// images: `[batch, 3, height, width]`; result: `[batch, C]`, normalised, ready for the head.
    fn features<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: Context<'_, E>,
    ) -> Result<Tensor<(usize, Const<C>), E, D, T>>;

    /// `sigma(gating_param)` of each gated layer's heads.
    fn gates(&self) -> Vec<Vec<f64>> {
        Vec::new()
    }

    /// How the tokens of block `index` lie on the image.
    fn layout(&self, index: usize) -> Layout;

    /// The layers that can leave convolution, first to last, with their names.
    fn switches(&self) -> Vec<(String, &dyn SwitchLayer)> {
        Vec::new()
    }

    /// The same, to be changed.
    fn switches_mut(&mut self) -> Vec<(String, &mut dyn SwitchLayer)> {
        Vec::new()
    }
}

/// A trunk with a linear head. Parameters of the trunk have no prefix; the head's are `head.weight`, `head.bias` unless
/// the trunk's [`HeadStyle`] says another name.
///
/// Build it with [`Classifier::new`]: one made by dfdx's `build` has an empty [`ModelSpec`].
#[derive(Clone, Debug)]
pub struct Classifier<M, const C: usize, const CLASSES: usize, E: Dtype, D: Device<E>> {
    /// Images to features.
    pub trunk: M,
    /// Features to logits.
    pub head: Linear<C, CLASSES, true, E, D>,
    spec: ModelSpec,
}

impl<M, const C: usize, const CLASSES: usize, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for Classifier<M, C, CLASSES, E, D>
where
    M: TensorCollection<E, D> + HeadStyle,
{
    type To<E2: Dtype, D2: Device<E2>> = Classifier<M::To<E2, D2>, C, CLASSES, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::module("", |s| &s.trunk, |s| &mut s.trunk),
                Self::module(M::NAME, |s| &s.head, |s| &mut s.head),
            ),
            |(trunk, head)| Classifier { trunk, head, spec: ModelSpec::default() },
        )
    }
}

impl<M: HeadStyle, const C: usize, const CLASSES: usize, E: Dtype, D: Backend<E>>
    Classifier<M, C, CLASSES, E, D>
{
    /// Puts a new head on a trunk. `spec` is what [`Model::spec`] returns, its number of classes apart.
    pub fn new(device: &D, trunk: M, spec: ModelSpec) -> Result<Self> {
        let failed = |e: D::Err| inductive_ops::Error::device("build", e);
        let mut head: Linear<C, CLASSES, true, E, D> = BuildModule::try_build(device).map_err(failed)?;
        if M::INIT == HeadInit::Uniform {
            let uniform = Uniform { bound: (C as f64).powf(-0.5) };
            head.weight.try_fill_with_distr(uniform).map_err(failed)?;
            head.bias.iter_mut().try_for_each(|bias| bias.try_fill_with_distr(uniform)).map_err(failed)?;
        }
        Ok(Self { trunk, head, spec: ModelSpec { classes: CLASSES, ..spec } })
    }
}

impl<M: Trunk<C, E, D>, const C: usize, const CLASSES: usize, E: Dtype, D: Backend<E>>
    Classifier<M, C, CLASSES, E, D>
{
    /// images: `[batch, 3, height, width]`; result: `[batch, CLASSES]`.
    pub fn logits<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: Context<'_, E>,
    ) -> Result<Tensor<(usize, Const<CLASSES>), E, D, T>> {
        Ok(self.head.apply_flat(self.trunk.features(images, context)?)?)
    }
}

impl<M: Trunk<C, E, D>, const C: usize, const CLASSES: usize, E: Dtype, D: Backend<E>> Model<E, D>
    for Classifier<M, C, CLASSES, E, D>
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
        let logits = self.logits(images, context)?;
        Ok(logits.realize())
    }

    fn gates(&self) -> Result<Vec<Vec<f64>>> {
        let layers = self.switchable()?;
        Ok(if layers.is_empty() {
            self.trunk.gates()
        } else {
            layers.into_iter().map(|it| it.gates).collect()
        })
    }

    fn switchable(&self) -> Result<Vec<Switchable>> {
        switch::describe(self.trunk.switches())
    }

    fn reparameterize(&mut self, index: usize, how: &Reparameterization) -> Result<()> {
        switch::reparameterize(&self.spec.name, self.trunk.switches_mut(), index, how)
    }

    fn layout(&self, index: usize) -> Layout {
        self.trunk.layout(index)
    }
}
