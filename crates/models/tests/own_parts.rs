//! A mixer and a stem of one's own, in a ViT and a ConViT of the registry: what a user of the crates writes.

use dfdx::prelude::*;
use inductive_models::{
    BuildOptions, Built, Classifier, Entry, Family, Features, Joins, Model, ModelSpec, Position, Record,
    Transformer, Zoo, build,
};
use inductive_nn::{
    AnyBlock, Block, Blocks, Build, Context, Error, Fill, Gpsa, Images, LayerNorm, Layout, Linear, Mhsa,
    ModuleExt, OperatorKind, PatchEmbed, Stem, Taped, TokenMixer, Tokens, module, plain_grid, size_of,
};
use inductive_ops::{Backend, DropPath, Grid};

/// A depthwise convolution, then a linear layer: no attention, no maps.
struct Local<const C: usize, E: Dtype, D: Device<E>> {
    conv: Tensor<Rank4<C, 1, 3, 3>, E, D>,
    proj: Linear<C, C, true, E, D>,
}

module!([const C: usize] Local<C, E, D> { conv: "conv.weight", proj });

impl<const C: usize, E: Dtype, D: Backend<E>> Build<E, D> for Local<C, E, D> {
    fn new(device: &D) -> Result<Self, Error> {
        let conv = Fill::fan_in(9).tensor(device, (Const, Const, Const, Const))?;
        Ok(Self { conv, proj: Build::new(device)? })
    }
}

impl<const C: usize, E: Dtype, D: Backend<E>> TokenMixer<C, E, D> for Local<C, E, D> {
    const PATH: &'static str = "local";

    fn operator_kind(&self) -> OperatorKind {
        OperatorKind::Convolution
    }

    fn mix<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        layout: &Layout,
    ) -> Result<Tokens<C, E, D, T>, Error> {
        let device = tokens.device().clone();
        let no_bias: Option<&Tensor<Rank1<C>, E, D>> = None;
        let mixed = device.depthwise_conv2d(tokens, layout.grid, layout.prefix, &self.conv, no_bias)?;
        self.proj.apply(mixed)
    }
}

/// Patches that are normalised.
struct NormalPatches<const C: usize, E: Dtype, D: Device<E>> {
    patches: PatchEmbed<C, 4, E, D>,
    norm: LayerNorm<C, E, D>,
}

module!([const C: usize] NormalPatches<C, E, D> { patches: "", norm });

impl<const C: usize, E: Dtype, D: Backend<E>> Stem<C, E, D> for NormalPatches<C, E, D> {
    const PATH: &'static str = "stem";

    fn grid(image: (usize, usize)) -> Result<Grid, Error> {
        plain_grid(image, 4)
    }

    fn tokens<T: Taped<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: &mut Context<'_, E>,
    ) -> Result<(Tokens<C, E, D, T>, Grid), Error> {
        let grid = <Self as Stem<C, E, D>>::grid(size_of(&images))?;
        Ok((self.norm.apply(self.patches.apply(images, context.image_gradient)?)?, grid))
    }
}

type Trunk = Transformer<NormalPatches<16, f32, Cpu>, 16, f32, Cpu>;

fn block<M: TokenMixer<16, f32, Cpu> + Build<f32, Cpu> + 'static>(
    device: &Cpu,
) -> inductive_models::Result<Box<dyn AnyBlock<16, f32, Cpu>>> {
    Ok(Box::new(Block::<M, 16, 32, f32, Cpu>::new(device)?))
}

fn trunk(
    device: &Cpu,
    spec: &ModelSpec,
    blocks: Blocks<16, f32, Cpu>,
    joins: Joins,
) -> inductive_models::Result<Trunk> {
    let stem = NormalPatches { patches: Build::new(device)?, norm: Build::new(device)? };
    let patches = <NormalPatches<16, f32, Cpu> as Stem<16, f32, Cpu>>::grid(spec.image)?.tokens();
    let tokens = if joins == Joins::BeforePositions { patches + 1 } else { patches };
    let token = Fill::LINEAR.tensor(device, (Const, Const, Const))?;
    Ok(Transformer::new(device, stem, blocks, spec.image, Features::ClassToken)?
        .class_token(token, joins)
        .positions(Position::learned(device, tokens)?))
}

type Own = Local<16, f32, Cpu>;
type Gated = Gpsa<16, 4, false, f32, Cpu>;
type Plain = Mhsa<16, 2, true, f32, Cpu>;

fn add(name: &str, make: fn(&Cpu, &ModelSpec) -> inductive_models::Result<Trunk>) {
    let spec = ModelSpec {
        name: name.to_owned(),
        family: Family::Other("local".to_owned()),
        image: (16, 16),
        patch: 4,
        embed_dim: 16,
        depth: 3,
        classes: 1000,
    };
    let entry = Entry::new(spec);
    Cpu::registry()
        .add(entry, move |device, spec, options| {
            let model = Classifier::new(device, make(device, &spec)?, options.classes, spec)?;
            Ok(Built { model: Box::new(model), warnings: Vec::new() })
        })
        .unwrap();
}

fn images(model: &dyn Model<f32, Cpu>) -> Images<f32, Cpu> {
    let (height, width) = model.spec().image;
    let values = (0..2 * 3 * height * width).map(|i| (i * i % 1009) as f32 / 504.0 - 1.0).collect();
    Cpu::default().tensor_from_vec(values, (2, 3, height, width))
}

#[test]
fn an_own_mixer_and_stem_make_a_vit_and_a_convit_that_learn_by_name() {
    add("vit_local", |device, spec| {
        let blocks = vec![block::<Own>(device)?, block::<Own>(device)?, block::<Plain>(device)?];
        trunk(device, spec, blocks, Joins::BeforePositions)
    });
    add("convit_local", |device, spec| {
        let blocks = vec![block::<Gated>(device)?, block::<Own>(device)?, block::<Plain>(device)?];
        trunk(device, spec, blocks, Joins::BeforeBlock(2))
    });
    // An image that is not square, and 37 classes.
    let options = BuildOptions { classes: 37, image: Some((24, 16)), ..Default::default() };
    for (name, maps) in [("vit_local", vec![2]), ("convit_local", vec![0, 2])] {
        let mut model = build(&Cpu::seed_from_u64(0), name, &options).unwrap().model;
        let mut record = Record::everything();
        let logits = model.forward(images(&*model), Some(&mut record)).unwrap();
        assert_eq!(logits.shape().concrete(), [2, 37]);
        let attending: Vec<_> = (0..3).filter(|i| record.blocks[*i].attention.is_some()).collect();
        assert_eq!(attending, maps, "{name}");

        let drop_path = DropPath { rate: 0.0, seed: 0 };
        let logits = model.forward_train(images(&*model).leaky_traced(), drop_path).unwrap();
        let mut gradients = logits.square().mean::<Rank0, _>().backward();
        let mut seen = Vec::new();
        model
            .for_each_parameter_mut(&mut |p| {
                let gradient = p.gradient(&mut gradients)?;
                // A bias of positions moves all scores of a query alike.
                let moves = gradient.iter().any(|v| *v != 0.0) || p.name().ends_with("pos_proj.bias");
                assert!(moves && gradient.iter().all(|v| v.is_finite()), "{name}: {}", p.name());
                seen.push(p.name().to_owned());
                Ok(())
            })
            .unwrap();
        for parameter in ["stem.proj.weight", "stem.norm.bias", "blocks.1.local.conv.weight", "head.weight"] {
            assert!(seen.iter().any(|it| it == parameter), "{name}: no {parameter} in {seen:?}");
        }
    }
    let error = build(&Cpu::default(), "vit_locale", &options).unwrap_err().to_string();
    assert!(error.contains("did you mean `vit_local`"), "{error}");
    let cut = BuildOptions { image: Some((18, 16)), ..options };
    let error = build(&Cpu::default(), "vit_local", &cut).unwrap_err().to_string();
    assert!(error.contains("18"), "{error}");
}
