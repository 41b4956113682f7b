//! The named configurations of each family, and how a model of the family is put together.

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
    registry::{BuildOptions, Built, Entry},
    spec::ModelSpec,
};

pub use convit::convit;
pub use eit::{eit, halve_linear_weights};
pub use pooled_vit::pooled_vit;
pub use prs::prs;
pub use simple_vit::simple_vit;
pub use vit::vit;

/// All models, in a fixed order.
pub(crate) fn entries() -> Vec<Entry> {
    [
        convit::entries(),
        vit::entries(),
        pooled_vit::entries(),
        simple_vit::entries(),
        eit::entries(),
        resnet::entries(),
        convmixer::entries(),
        prs::entries(),
    ]
    .concat()
}

/// The model of this name; `None` if there is none.
pub(crate) fn build<D: Backend<f32>>(
    device: &D,
    spec: ModelSpec,
    options: &BuildOptions,
) -> Result<Option<Built<D>>> {
    match spec.family.as_str() {
        "convit" => convit::build(device, spec, options),
        "convmixer" => convmixer::build(device, spec, options),
        "eit" => eit::build(device, spec, options),
        "prs" => prs::build(device, spec, options),
        "resnet" => resnet::build(device, spec, options),
        "simple_vit" => simple_vit::build(device, spec, options),
        _ => match vit::build(device, spec.clone(), options)? {
            None => pooled_vit::build(device, spec, options),
            built => Ok(built),
        },
    }
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

/// What a vision transformer is in numbers: width, heads, patch, side of the grid, depth.
fn spec(family: &str, name: &str, [c, heads, patch, side, depth]: [usize; 5]) -> ModelSpec {
    ModelSpec {
        name: name.to_owned(),
        family: family.to_owned(),
        image: (side * patch, side * patch),
        patch,
        embed_dim: c,
        heads,
        depth,
        mlp_ratio: 4.0,
        classes: 1000,
        ..ModelSpec::default()
    }
}
