//! What has parameters: every one by name, without knowing a type; new ones; and the layers that can do more than others.

use std::fmt;

use dfdx::prelude::{Device, Dtype, HasShape, Shape, Tensor};
use inductive_ops::{Backend, Erase, erased, with_erased};

use crate::{
    Result,
    batch_norm::RunningAverages,
    conv_as_attention::SwitchLayer,
    mixer::Projections,
    parameter::{Named, Visit, VisitMut},
};

/// Where a module is in the model that holds it: what the names of its parameters begin with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    name: String,
    stacked: bool,
}

impl Path {
    /// The name so far, without a dot at the end: `blocks.3.attn`.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Goes to the part `name`, or stays for an empty name; the result is for [`Path::leave`].
    pub fn enter(&mut self, name: &str) -> usize {
        let before = self.name.len();
        if !name.is_empty() {
            if before > 0 {
                self.name.push('.');
            }
            self.name.push_str(name);
        }
        self.stacked = false;
        before
    }

    /// As [`Path::enter`], to a tensor whose first two axes PyTorch stores as one: `[3, C, C]` is listed as `[3 * C, C]`.
    pub fn enter_stacked(&mut self, name: &str) -> usize {
        let before = self.enter(name);
        self.stacked = true;
        before
    }

    /// Goes back to where [`Path::enter`] came from.
    pub fn leave(&mut self, before: usize) {
        self.name.truncate(before);
        self.stacked = false;
    }

    /// Whether the first two axes of the tensor here are listed as one.
    pub(crate) fn is_stacked(&self) -> bool {
        self.stacked
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

/// Whether a layer or parameter of this full name is `layer`, or is in it.
pub fn is_in(name: &str, layer: &str) -> bool {
    name.strip_prefix(layer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What only some layers can do; found by [`Module::layers`].
pub trait Layer<E> {
    /// The share of position in each head's attention, where there is a gate.
    fn gates(&self) -> Option<Vec<f64>> {
        None
    }

    /// How it holds queries, keys and values, if it is a layer of attention: who gives it initial weights asks.
    fn projections(&self) -> Option<Projections> {
        None
    }

    /// Name of its position embedding, `[tokens, width]`, if it has one.
    fn position(&self) -> Option<&'static str> {
        None
    }

    /// Outputs of a convolution, and inputs of one output, if it is one that initial weights are drawn for: its own `weight` and `bias`.
    fn convolution(&self) -> Option<(usize, usize)> {
        None
    }

    /// Linear layers below its name that act on offsets between patches, not on channels: initial weights leave them as they are.
    fn of_offsets(&self) -> &'static [&'static str] {
        &[]
    }

    /// The layer, if it keeps running averages of its batches.
    fn running_averages(&self) -> Option<&dyn RunningAverages<E>> {
        None
    }

    /// The same, to be changed.
    fn running_averages_mut(&mut self) -> Option<&mut dyn RunningAverages<E>> {
        None
    }

    /// The layer, if it can leave convolution for attention.
    fn switch(&self) -> Option<&dyn SwitchLayer> {
        None
    }

    /// The same, to be changed.
    fn switch_mut(&mut self) -> Option<&mut dyn SwitchLayer> {
        None
    }
}

/// A callback for each layer that can do more, with its name.
pub type VisitLayers<'a, E> = dyn FnMut(&Path, &dyn Layer<E>) + 'a;
/// A callback for each layer that can do more, which may change it.
pub type VisitLayersMut<'a, E> = dyn FnMut(&Path, &mut dyn Layer<E>) + 'a;

/// Something with parameters: a tensor, or a struct of modules, for which [`crate::module!`] writes this.
///
/// Names are those of timm's state dict, each given once: optimizer, averages, checkpoints and copies know a parameter by its name. The
/// order is fixed for each type and the same in both visits.
pub trait Module<E: Dtype, D: Backend<E>> {
    /// Calls `visit` for each parameter.
    ///
    /// # Errors
    /// Those of `visit`.
    fn visit(&self, at: &mut Path, visit: &mut Visit<'_, E, D>) -> Result<()>;

    /// Calls `visit` for each parameter, to be changed.
    ///
    /// # Errors
    /// Those of `visit`.
    fn visit_mut(&mut self, at: &mut Path, visit: &mut VisitMut<'_, E, D>) -> Result<()>;

    /// Calls `visit` for each layer that can do more than others.
    fn layers(&self, at: &mut Path, visit: &mut VisitLayers<'_, E>) {
        let _ = (at, visit);
    }

    /// The same, to be changed.
    fn layers_mut(&mut self, at: &mut Path, visit: &mut VisitLayersMut<'_, E>) {
        let _ = (at, visit);
    }
}

/// What can be asked of every [`Module`]. A trait of its own, so that it is compiled where it is used and not for every type of layer.
pub trait ModuleExt<E: Dtype, D: Backend<E>>: Module<E, D> {
    /// Calls `visit` for each parameter, by its full name.
    ///
    /// # Errors
    /// Those of `visit`.
    fn for_each_parameter(&self, visit: &mut Visit<'_, E, D>) -> Result<()> {
        self.visit(&mut Path::default(), visit)
    }

    /// Calls `visit` for each parameter, by its full name, to be changed.
    ///
    /// # Errors
    /// Those of `visit`.
    fn for_each_parameter_mut(&mut self, visit: &mut VisitMut<'_, E, D>) -> Result<()> {
        self.visit_mut(&mut Path::default(), visit)
    }

    /// Number of trainable numbers.
    fn num_params(&self) -> usize {
        let mut total = 0;
        // The callback never fails.
        let _ = self.for_each_parameter(&mut |p| {
            total += if p.trainable() { p.numel() } else { 0 };
            Ok(())
        });
        total
    }
}

impl<M: Module<E, D> + ?Sized, E: Dtype, D: Backend<E>> ModuleExt<E, D> for M {}

/// A tensor that is saved with the weights and not trained: running averages, fixed positions.
#[derive(Clone, Debug)]
pub struct Buffer<S: Shape, E: Dtype, D: Device<E>>(pub Tensor<S, E, D>);

/// Shows a tensor under the name of its place. Its shape is of numbers alone, so that this is compiled once for each rank.
fn show<S: Erase<Dyn = S>, E: Dtype, D: Backend<E>>(
    at: &Path,
    trainable: bool,
    tensor: &Tensor<S, E, D>,
    visit: &mut Visit<'_, E, D>,
) -> Result<()> {
    visit(&Named::new(at, tensor.shape().concrete().as_ref(), trainable, tensor))
}

/// The same, to be changed.
fn show_mut<S: Erase<Dyn = S>, E: Dtype, D: Backend<E>>(
    at: &Path,
    trainable: bool,
    tensor: &mut Tensor<S, E, D>,
    visit: &mut VisitMut<'_, E, D>,
) -> Result<()> {
    let shape = tensor.shape().concrete();
    visit(&mut Named::new(at, shape.as_ref(), trainable, tensor))
}

impl<S: Erase, E: Dtype, D: Backend<E>> Module<E, D> for Tensor<S, E, D> {
    fn visit(&self, at: &mut Path, visit: &mut Visit<'_, E, D>) -> Result<()> {
        show(at, true, &erased(self.clone()), visit)
    }

    fn visit_mut(&mut self, at: &mut Path, visit: &mut VisitMut<'_, E, D>) -> Result<()> {
        with_erased(self, |tensor| show_mut(at, true, tensor, visit))
    }
}

impl<S: Erase, E: Dtype, D: Backend<E>> Module<E, D> for Buffer<S, E, D> {
    fn visit(&self, at: &mut Path, visit: &mut Visit<'_, E, D>) -> Result<()> {
        show(at, false, &erased(self.0.clone()), visit)
    }

    fn visit_mut(&mut self, at: &mut Path, visit: &mut VisitMut<'_, E, D>) -> Result<()> {
        with_erased(&mut self.0, |tensor| show_mut(at, false, tensor, visit))
    }
}

/// The module, if there is one.
impl<M: Module<E, D>, E: Dtype, D: Backend<E>> Module<E, D> for Option<M> {
    fn visit(&self, at: &mut Path, visit: &mut Visit<'_, E, D>) -> Result<()> {
        self.iter().try_for_each(|it| it.visit(at, visit))
    }

    fn visit_mut(&mut self, at: &mut Path, visit: &mut VisitMut<'_, E, D>) -> Result<()> {
        self.iter_mut().try_for_each(|it| it.visit_mut(at, visit))
    }

    fn layers(&self, at: &mut Path, visit: &mut VisitLayers<'_, E>) {
        self.iter().for_each(|it| it.layers(at, visit));
    }

    fn layers_mut(&mut self, at: &mut Path, visit: &mut VisitLayersMut<'_, E>) {
        self.iter_mut().for_each(|it| it.layers_mut(at, visit));
    }
}

impl<M: Module<E, D> + ?Sized, E: Dtype, D: Backend<E>> Module<E, D> for Box<M> {
    fn visit(&self, at: &mut Path, visit: &mut Visit<'_, E, D>) -> Result<()> {
        (**self).visit(at, visit)
    }

    fn visit_mut(&mut self, at: &mut Path, visit: &mut VisitMut<'_, E, D>) -> Result<()> {
        (**self).visit_mut(at, visit)
    }

    fn layers(&self, at: &mut Path, visit: &mut VisitLayers<'_, E>) {
        (**self).layers(at, visit);
    }

    fn layers_mut(&mut self, at: &mut Path, visit: &mut VisitLayersMut<'_, E>) {
        (**self).layers_mut(at, visit);
    }
}

/// The modules of a list, named by their numbers.
impl<M: Module<E, D>, E: Dtype, D: Backend<E>> Module<E, D> for Vec<M> {
    fn visit(&self, at: &mut Path, visit: &mut Visit<'_, E, D>) -> Result<()> {
        for (index, it) in self.iter().enumerate() {
            let before = at.enter(&index.to_string());
            it.visit(at, visit)?;
            at.leave(before);
        }
        Ok(())
    }

    fn visit_mut(&mut self, at: &mut Path, visit: &mut VisitMut<'_, E, D>) -> Result<()> {
        for (index, it) in self.iter_mut().enumerate() {
            let before = at.enter(&index.to_string());
            it.visit_mut(at, visit)?;
            at.leave(before);
        }
        Ok(())
    }

    fn layers(&self, at: &mut Path, visit: &mut VisitLayers<'_, E>) {
        for (index, it) in self.iter().enumerate() {
            let before = at.enter(&index.to_string());
            it.layers(at, visit);
            at.leave(before);
        }
    }

    fn layers_mut(&mut self, at: &mut Path, visit: &mut VisitLayersMut<'_, E>) {
        for (index, it) in self.iter_mut().enumerate() {
            let before = at.enter(&index.to_string());
            it.layers_mut(at, visit);
            at.leave(before);
        }
    }
}

/// Writes [`Module`] for a struct of modules: its fields in the order in which they are visited, each under its own name or the
/// text beside it (`""`: under the names of its parts alone). The type names its element type `E` and its device `D`.
///
/// ```
/// use dfdx::prelude::{Cpu, Device, Dtype, Rank1, Rank2, Tensor, ZerosTensor};
/// use inductive_nn::{ModuleExt, module};
///
/// struct Scaled<const C: usize, E: Dtype, D: Device<E>> {
///     matrix: Tensor<Rank2<C, C>, E, D>,
///     scale: Tensor<Rank1<C>, E, D>,
/// }
///
/// module!([const C: usize] Scaled<C, E, D> { matrix: "proj.weight", scale });
///
/// let dev = Cpu::default();
/// let layer = Scaled::<3, f32, Cpu> { matrix: dev.zeros(), scale: dev.zeros() };
/// let mut names = Vec::new();
/// layer.for_each_parameter(&mut |p| {
///     names.push(p.name().to_owned());
///     Ok(())
/// })?;
/// assert_eq!(names, ["proj.weight", "scale"]);
/// # Ok::<(), inductive_nn::Error>(())
/// ```
///
/// `as Layer` before the type also shows it to [`Module::layers`]. `as Stacked` after a field says that PyTorch stores the first two axes of
/// this tensor as one: `[3, C, C]` is listed as `[3 * C, C]`.
#[macro_export]
macro_rules! module {
    ([$($generics:tt)*] as Layer $type:ty { $($fields:tt)* }) => {
        $crate::module!(@impl [$($generics)*] [itself] $type { $($fields)* });
    };
    ([$($generics:tt)*] $type:ty { $($fields:tt)* }) => {
        $crate::module!(@impl [$($generics)*] [] $type { $($fields)* });
    };
    (@impl [$($generics:tt)*] [$($layer:ident)?] $type:ty { $($field:ident $(as $held:ident)? $(: $name:expr)?),* $(,)? }) => {
        impl<E: $crate::Dtype, D: $crate::Backend<E>, $($generics)*> $crate::Module<E, D> for $type {
            fn visit(
                &self,
                at: &mut $crate::Path,
                visit: &mut $crate::Visit<'_, E, D>,
            ) -> $crate::Result<()> {
                $(
                    let before = $crate::module!(@enter at [$($held)?] $crate::module!(@name $field $($name)?));
                    $crate::Module::<E, D>::visit(&self.$field, at, visit)?;
                    at.leave(before);
                )*
                Ok(())
            }

            fn visit_mut(
                &mut self,
                at: &mut $crate::Path,
                visit: &mut $crate::VisitMut<'_, E, D>,
            ) -> $crate::Result<()> {
                $(
                    let before = $crate::module!(@enter at [$($held)?] $crate::module!(@name $field $($name)?));
                    $crate::Module::<E, D>::visit_mut(&mut self.$field, at, visit)?;
                    at.leave(before);
                )*
                Ok(())
            }

            fn layers(&self, at: &mut $crate::Path, visit: &mut $crate::VisitLayers<'_, E>) {
                $($crate::module!(@layer $layer self, at, visit);)?
                $(
                    let before = $crate::module!(@enter at [$($held)?] $crate::module!(@name $field $($name)?));
                    $crate::Module::<E, D>::layers(&self.$field, at, visit);
                    at.leave(before);
                )*
            }

            fn layers_mut(&mut self, at: &mut $crate::Path, visit: &mut $crate::VisitLayersMut<'_, E>) {
                $($crate::module!(@layer $layer self, at, visit);)?
                $(
                    let before = $crate::module!(@enter at [$($held)?] $crate::module!(@name $field $($name)?));
                    $crate::Module::<E, D>::layers_mut(&mut self.$field, at, visit);
                    at.leave(before);
                )*
            }
        }
    };
    (@enter $at:ident [] $name:expr) => { $at.enter($name) };
    (@enter $at:ident [Stacked] $name:expr) => { $at.enter_stacked($name) };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:expr) => { $name };
    (@layer itself $self:ident, $at:ident, $visit:ident) => { $visit($at, $self) };
}
