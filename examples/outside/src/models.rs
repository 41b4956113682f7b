//! The mixer in a ViT and in a ConViT, by name.

use dfdx::prelude::*;
use inductive_models::{
    BuildOptions, Built, Classifier, Entry, Family, Features, Joins, ModelSpec, Position, Result,
    Transformer, Zoo,
};
use inductive_nn::{Block, Blocks, Build, Fill, Gpsa, PatchEmbed, Stem};

use crate::mixer::MeanMixer;

/// Channels; heads of the gated layer; hidden channels; side of a patch.
const C: usize = 32;
const HEADS: usize = 4;
const HIDDEN: usize = 64;
const PATCH: usize = 4;

pub const VIT: &str = "vit_mean";
pub const CONVIT: &str = "convit_mean";

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

/// From then on a recipe may name both models.
pub fn add() -> Result<()> {
    Cpu::registry().add(entry(VIT), |device, spec, options| {
        let blocks = (0..spec.depth).map(|_| Ok(mean(device)?)).collect::<Result<_>>()?;
        finish(device, blocks, Joins::BeforePositions, spec, options)
    })?;
    // Gated attention on the patches first; then the class token joins.
    Cpu::registry().add(entry(CONVIT), |device, spec, options| {
        let mut gated = Block::<Gpsa<C, HEADS, false, f32, Cpu>, C, HIDDEN, f32, Cpu>::new(device)?;
        gated.attn.local_init(options.locality_strength)?;
        let mut blocks: Blocks<C, f32, Cpu> = vec![Box::new(gated)];
        for _ in 1..spec.depth {
            blocks.push(mean(device)?);
        }
        finish(device, blocks, Joins::BeforeBlock(1), spec, options)
    })
}

type AnyBlock = Box<dyn inductive_nn::AnyBlock<C, f32, Cpu>>;

fn mean(device: &Cpu) -> inductive_nn::Result<AnyBlock> {
    Ok(Box::new(Block::<MeanMixer<C, f32, Cpu>, C, HIDDEN, f32, Cpu>::new(device)?))
}

fn finish(
    device: &Cpu,
    blocks: Blocks<C, f32, Cpu>,
    joins: Joins,
    spec: ModelSpec,
    options: &BuildOptions,
) -> Result<Built<Cpu>> {
    let patches = PatchEmbed::<C, PATCH, f32, Cpu>::grid(spec.image)?.tokens();
    let positions = patches + usize::from(joins == Joins::BeforePositions);
    let token = Fill::LINEAR.tensor(device, (Const, Const, Const))?;
    let stem = PatchEmbed::<C, PATCH, f32, Cpu>::new(device)?;
    let trunk = Transformer::new(device, stem, blocks, spec.image, Features::ClassToken)?
        .class_token(token, joins)
        .positions(Position::learned(device, positions)?);
    let model = Classifier::new(device, trunk, options.classes, spec)?;
    Ok(Built { model: Box::new(model), warnings: Vec::new() })
}
