//! The named configurations of each family, and how a model of the family is put together.

/// The models of a family: what builds its trunk, and one table: name, width, heads, patch, side of the grid, depth.
macro_rules! zoo {
    ($trunk:ident; $($name:literal: $c:literal, $h:literal, $p:literal, $g:literal, $depth:literal;)*) => {
        pub(super) fn models<D: Backend<f32>>() -> Vec<crate::registry::Named<D>> {
            vec![$(crate::registry::Named::new(entry($name, [$c, $p, $g, $depth], $h), |device, spec, options| {
                let trunk = $trunk::<$c, $h, { 4 * $c }, $p, f32, D>(device, &spec)?;
                super::with_head::<_, $c, D>(device, trunk, spec, options)
            })),*]
        }
    };
}

mod convit;
mod convmixer;
mod eit;
mod pooled_vit;
mod prs;
mod resnet;
mod simple_vit;
mod vit;

use inductive_nn::{AnyBlock, Blocks, Build};
use inductive_ops::Backend;

use crate::{
    Result,
    classifier::{Classifier, Trunk},
    entry::BuildOptions,
    registry::{Built, Named},
    spec::{Family, ModelSpec},
};

pub use convit::convit;
pub use eit::{eit, halve_linear_weights};
pub use pooled_vit::pooled_vit;
pub use prs::prs;
pub use simple_vit::simple_vit;
pub use vit::vit;

/// All models, in a fixed order.
pub(crate) fn models<D: Backend<f32>>() -> Vec<Named<D>> {
    let families = [
        convit::models(),
        vit::models(),
        pooled_vit::models(),
        simple_vit::models(),
        eit::models(),
        resnet::models(),
        convmixer::models(),
        prs::models(),
    ];
    families.into_iter().flatten().collect()
}

/// So many new blocks of one type.
fn repeated<B, const C: usize, E: dfdx::prelude::Dtype, D: Backend<E>>(
    device: &D,
    depth: usize,
) -> Result<Blocks<C, E, D>>
where
    B: AnyBlock<C, E, D> + Build<E, D> + 'static,
{
    let boxed = |_| Ok(Box::new(B::new(device)?) as Box<dyn AnyBlock<C, E, D>>);
    (0..depth).map(boxed).collect()
}

/// A trunk with a head for as many classes as asked for.
fn with_head<M, const C: usize, D: Backend<f32>>(
    device: &D,
    trunk: M,
    spec: ModelSpec,
    options: &BuildOptions,
) -> Result<Built<D>>
where
    M: Trunk<C, f32, D> + 'static,
{
    let model = Classifier::<M, C, usize, f32, D>::new(device, trunk, options.classes, spec)?;
    Ok(Built { model: Box::new(model), warnings: Vec::new() })
}

/// What a model on square images is in numbers: width, patch, side of the grid, depth.
fn spec(name: &str, [c, patch, side, depth]: [usize; 4], family: Family) -> ModelSpec {
    let image = (side * patch, side * patch);
    ModelSpec { name: name.to_owned(), image, patch, embed_dim: c, depth, classes: 1000, family }
}
