//! The mixer in a ViT and in a ConViT, and the stem in another ViT, by name.

use dfdx::prelude::*;
use inductive_models::{
    BuildOptions, Built, Classifier, Entry, Family, Features, Joins, ModelSpec, Position, Result,
    Transformer, Zoo,
};
use inductive_nn::{Block, Blocks, Build, Fill, Gpsa, PatchEmbed, Stem};

use crate::{mixer::MeanMixer, stem::NormalPatches};

/// Channels; heads of the gated layer; hidden channels; side of a patch.
const C: usize = 32;
const HEADS: usize = 4;
const HIDDEN: usize = 64;
const PATCH: usize = 4;

pub const VIT: &str = "vit_mean";
pub const CONVIT: &str = "convit_mean";
pub const NORMAL: &str = "vit_mean_normal";

type Plain = PatchEmbed<C, PATCH, f32, Cpu>;
type Normal = NormalPatches<C, PATCH, f32, Cpu>;

fn entry(name: &str) -> Entry {
    Entry::new(ModelSpec {
        name: name.to_owned(),
        image: (32, 32),
        patch: PATCH,
        embed_dim: C,
        depth: 2,
        classes: 1000,
        family: Family::Other("mean".to_owned()),
    })
}

/// From then on a recipe may name the models.
pub fn add() -> Result<()> {
    Cpu::registry().add(entry(VIT), |device, spec, options| {
        finish::<Plain>(device, means(device, spec.depth)?, Joins::BeforePositions, spec, options)
    })?;
    Cpu::registry().add(entry(NORMAL), |device, spec, options| {
        finish::<Normal>(device, means(device, spec.depth)?, Joins::BeforePositions, spec, options)
    })?;
    // Gated attention on the patches first; then the class token joins.
    Cpu::registry().add(entry(CONVIT), |device, spec, options| {
        let mut gated = Block::<Gpsa<C, HEADS, false, f32, Cpu>, C, HIDDEN, f32, Cpu>::new(device)?;
        gated.attn.local_init(options.locality_strength)?;
        let mut blocks: Blocks<C, f32, Cpu> = vec![Box::new(gated)];
        blocks.extend(means(device, spec.depth - 1)?);
        finish::<Plain>(device, blocks, Joins::BeforeBlock(1), spec, options)
    })
}

fn means(device: &Cpu, depth: usize) -> Result<Blocks<C, f32, Cpu>> {
    let mean = |_| Ok(Box::new(Block::<MeanMixer<C, f32, Cpu>, C, HIDDEN, f32, Cpu>::new(device)?) as _);
    (0..depth).map(mean).collect()
}

fn finish<S: Stem<C, f32, Cpu> + Build<f32, Cpu> + 'static>(
    device: &Cpu,
    blocks: Blocks<C, f32, Cpu>,
    joins: Joins,
    spec: ModelSpec,
    options: &BuildOptions,
) -> Result<Built<Cpu>> {
    let patches = S::grid(spec.image)?.tokens();
    let positions = patches + usize::from(joins == Joins::BeforePositions);
    let token = Fill::LINEAR.tensor(device, (Const, Const, Const))?;
    let trunk = Transformer::new(device, S::new(device)?, blocks, spec.image, Features::ClassToken)?
        .class_token(token, joins)
        .positions(Position::learned(device, positions)?);
    let model = Classifier::new(device, trunk, options.classes, spec)?;
    Ok(Built { model: Box::new(model), warnings: Vec::new() })
}
