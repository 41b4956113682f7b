//! A family of one's own: what is not said in its spec is asked of its layers, and what does not fit is refused when it is built.

use dfdx::prelude::*;
use inductive_init::{AttentionInit, Dims, Initializer, LinearInit, Progress, Strategy, add_initializer};
use inductive_models::{
    BuildOptions, Built, Classifier, Entry, Error, Family, Features, Joins, Model, ModelSpec, Position,
    Record, Registry, Result, Transformer, Zoo, build, initialise,
};
use inductive_nn::{
    AnyBlock, Block, Build, Fill, Gpsa, Layer, Layout, Linear, Mhsa, ModuleExt, OperatorKind, PatchEmbed,
    Projections, QkvLayers, TokenMixer, Tokens, module,
};
use inductive_ops::Backend;

type Two = Mhsa<16, 2, true, f32, Cpu>;
type Four = Mhsa<16, 4, true, f32, Cpu>;
type Gated = Gpsa<16, 2, false, f32, Cpu>;
type Trunk = Transformer<PatchEmbed<16, 4, f32, Cpu>, 16, f32, Cpu>;

fn spec(name: &str) -> ModelSpec {
    ModelSpec {
        name: name.to_owned(),
        family: Family::Other("own".to_owned()),
        image: (24, 24),
        patch: 4,
        embed_dim: 16,
        depth: 2,
        classes: 1000,
    }
}

fn block<M: TokenMixer<16, f32, Cpu> + Build<f32, Cpu> + 'static>(
    dev: &Cpu,
) -> Box<dyn AnyBlock<16, f32, Cpu>> {
    Box::new(Block::<M, 16, 32, f32, Cpu>::new(dev).unwrap())
}

/// Of 36 patches, two blocks under a name of their own, and positions of so many tokens.
fn trunk(dev: &Cpu, first: Box<dyn AnyBlock<16, f32, Cpu>>, positions: usize) -> Trunk {
    let blocks = vec![first, block::<Two>(dev)];
    let patches = PatchEmbed::new(dev).unwrap();
    Transformer::new(dev, patches, blocks, (24, 24), Features::ClassToken)
        .unwrap()
        .named("encoder.layers", "norm")
        .positions(Position::learned(dev, positions).unwrap())
}

fn token(dev: &Cpu) -> Tensor<Rank3<1, 1, 16>, f32, Cpu> {
    Fill::LINEAR.tensor(dev, (Const, Const, Const)).unwrap()
}

fn own<M: TokenMixer<16, f32, Cpu> + Build<f32, Cpu> + 'static>() -> Box<dyn Model<f32, Cpu>> {
    let dev = Cpu::seed_from_u64(1);
    let trunk = trunk(&dev, block::<M>(&dev), 36).class_token(token(&dev), Joins::BeforeBlock(1));
    Box::new(Classifier::new(&dev, trunk, 10usize, spec("own")).unwrap())
}

#[test]
fn designed_weights_are_for_the_heads_that_the_layers_have_wherever_they_are() {
    let impulse = Strategy::named("impulse").unwrap();
    for (mut model, changed) in [(own::<Two>(), "qkv.weight"), (own::<Gated>(), "qk.weight")] {
        assert_eq!((model.spec().heads(), model.heads()), (0, 2));
        let name = format!("encoder.layers.0.attn.{changed}");
        let weights = |model: &dyn Model<f32, Cpu>| {
            let mut values = Vec::new();
            model
                .for_each_parameter(&mut |p| {
                    values.extend(p.to_vec().into_iter().filter(|_| p.name() == name));
                    Ok(())
                })
                .unwrap();
            values
        };
        let before = weights(&*model);
        let done = initialise(&mut *model, &impulse, 0, &|_| ()).unwrap();
        let layers: Vec<_> = done.layers.iter().map(|it| (it.name.as_str(), it.targets.len())).collect();
        assert_eq!(layers, [("encoder.layers.0.attn", 2), ("encoder.layers.1.attn", 2)]);
        assert!(!before.is_empty() && weights(&*model) != before);
    }
    let mut model = own::<Four>();
    assert_eq!(model.heads(), 4);
    let error = initialise(&mut *model, &impulse, 0, &|_| ()).unwrap_err().to_string();
    assert!(error.contains("`encoder.layers.0.attn` has 4 heads and `encoder.layers.1.attn` 2"), "{error}");
    initialise(&mut *model, &Strategy::named("kaiming").unwrap(), 0, &|_| ()).unwrap();
}

/// Attention of one's own, whose queries, keys and values are one plain layer; `APART`: which says that values have their own.
struct Own<const APART: bool, E: Dtype, D: Device<E>> {
    mixed: Linear<16, 48, true, E, D>,
    out: Linear<16, 16, true, E, D>,
}

module!([const APART: bool] as Layer Own<APART, E, D> { mixed, out });

impl<const APART: bool, E: Dtype, D: Backend<E>> Layer<E> for Own<APART, E, D> {
    fn projections(&self) -> Option<Projections> {
        let apart = QkvLayers::ValuesApart { qk: "qk", v: "v" };
        let layers = if APART { apart } else { QkvLayers::Together("mixed") };
        Some(Projections { width: 16, heads: 2, layers, proj: "out" })
    }
}

impl<const APART: bool, E: Dtype, D: Backend<E>> Build<E, D> for Own<APART, E, D> {
    fn new(device: &D) -> inductive_nn::Result<Self> {
        Ok(Self { mixed: Build::new(device)?, out: Build::new(device)? })
    }
}

impl<const APART: bool> TokenMixer<16, f32, Cpu> for Own<APART, f32, Cpu> {
    fn operator_kind(&self) -> OperatorKind {
        OperatorKind::Attention
    }

    fn mix<T: Tape<f32, Cpu>>(
        &self,
        tokens: Tokens<16, f32, Cpu, T>,
        _: &Layout,
    ) -> inductive_nn::Result<Tokens<16, f32, Cpu, T>> {
        self.out.apply(tokens)
    }
}

#[test]
fn attention_of_one_s_own_is_given_weights_where_it_says_what_it_is() {
    let impulse = Strategy::named("impulse").unwrap();
    let mut model = own::<Own<false, f32, Cpu>>();
    let done = initialise(&mut *model, &impulse, 0, &|_| ()).unwrap();
    assert!(done.layers.iter().all(|it| it.targets.len() == 2 && it.quality.is_some()), "{done:?}");
    // The first has no maps. The second's belong to the second layer all the same.
    let mut record = Record::default();
    model.forward(Cpu::default().zeros_like(&(1, 3, 24, 24)), Some(&mut record)).unwrap();
    let holder = |name: &str| record.blocks.iter().position(|block| block.holds(name));
    assert_eq!(done.layers.iter().map(|layer| holder(&layer.name)).collect::<Vec<_>>(), [Some(0), Some(1)]);
    assert!(record.blocks[0].attention.is_none() && record.blocks[1].attention.is_some());
    let mut wrong = own::<Own<true, f32, Cpu>>();
    let error = initialise(&mut *wrong, &impulse, 0, &|_| ()).unwrap_err().to_string();
    assert!(error.contains("`encoder.layers.0.attn.qk.weight` is no 32 x 16 matrix"), "{error}");
}

#[test]
fn layers_of_this_crate_s_families_have_the_heads_of_their_spec() {
    let heads = |name: &str| {
        let options = BuildOptions { classes: 10, ..Default::default() };
        let model = build(&Cpu::seed_from_u64(0), name, &options).unwrap().model;
        (model.heads(), model.spec().heads())
    };
    for name in ["deit_micro", "convit_micro", "eit_micro", "simple_vit_micro", "vit_micro_gap"] {
        let (layers, spec) = heads(name);
        assert!(layers == spec && spec > 1, "{name}: {layers} {spec}");
    }
    assert_eq!(
        [heads("convmixer_micro"), heads("resnet_micro"), heads("prs_nano")],
        [(0, 0), (0, 0), (9, 0)]
    );
}

#[test]
fn parts_that_do_not_fit_are_refused_when_the_model_is_built() {
    let dev = Cpu::seed_from_u64(0);
    let refused = |trunk: Trunk, says: &str| {
        let built = Classifier::<_, 16, usize, f32, Cpu>::new(&dev, trunk, 10, spec("own"));
        let error = built.map(drop).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    let gated = || block::<Gated>(&dev);
    refused(trunk(&dev, gated(), 36), "a class token, which is what is read out");
    let late = trunk(&dev, gated(), 36).class_token(token(&dev), Joins::BeforeBlock(2));
    refused(late, "joins before one of 2 blocks, got one before block 2");
    let more = trunk(&dev, gated(), 37).class_token(token(&dev), Joins::BeforeBlock(1));
    refused(more, "positions of 36 tokens: a 6x6 grid of patches, got 37");
    let fewer = trunk(&dev, block::<Two>(&dev), 36).class_token(token(&dev), Joins::BeforePositions);
    refused(fewer, "positions of 37 tokens: a 6x6 grid of patches and a class token, got 36");
}

fn add(registry: &Registry<Cpu>, name: &str, init: &'static str) -> Result<()> {
    registry.add(Entry::new(spec(name)).with_init(init), |device, spec, options| {
        let gated = options.local_up_to_layer.unwrap_or(1) > 0;
        let first = if gated { block::<Gated>(device) } else { block::<Two>(device) };
        let trunk = trunk(device, first, 36).class_token(token(device), Joins::BeforeBlock(1));
        let model = Classifier::new(device, trunk, options.classes, spec)?;
        Ok(Built { model: Box::new(model), warnings: Vec::new() })
    })
}

/// Values and projections that pass everything on.
struct Identity(usize);

impl Initializer for Identity {
    fn attention(
        &self,
        _: usize,
        _: &(dyn Fn(Progress) + Sync),
    ) -> inductive_init::Result<Option<AttentionInit>> {
        let (zeros, identity) = (LinearInit::zeros(self.0, self.0), LinearInit::identity(self.0));
        Ok(Some(AttentionInit::new(zeros.clone(), zeros, identity.clone(), identity)))
    }
}

#[test]
fn a_model_begins_with_weights_of_any_name_that_there_is() {
    let registry = Cpu::registry();
    let error = add(registry, "own_wrong", "pass-everythink").unwrap_err();
    assert!(matches!(error, Error::Option { .. }), "{error:?}");
    let make = |dims: Dims, _: Option<&[f32]>, _| Ok(Box::new(Identity(dims.width)) as Box<dyn Initializer>);
    add_initializer("pass-everything", "attention passes the mean of all tokens on", make).unwrap();
    let error = add(registry, "own_wrong", "pass-everythink").unwrap_err().to_string();
    assert!(error.contains("own_wrong") && error.contains("did you mean `pass-everything`?"), "{error}");
    assert!(registry.find("own_wrong").is_err(), "it is not added");

    add(registry, "own_identity", "pass-everything").unwrap();
    let sums = |local_up_to_layer, published_weights| {
        let options = BuildOptions { classes: 3, local_up_to_layer, published_weights, ..Default::default() };
        let model = build(&Cpu::seed_from_u64(0), "own_identity", &options).unwrap().model;
        let mut sums = Vec::new();
        model
            .for_each_parameter(&mut |p| {
                if p.name().ends_with(".attn.proj.weight") {
                    sums.push(p.to_vec().iter().sum::<f32>());
                }
                Ok(())
            })
            .unwrap();
        let gated = model.gates().unwrap().len();
        (sums, gated)
    };
    assert_eq!(sums(None, false), (vec![16.0; 2], 1));
    assert_eq!(sums(Some(0), false), (vec![16.0; 2], 0), "its own builder decides on gated layers");
    assert_eq!(sums(Some(2), false).1, 1);
    assert_ne!(sums(None, true).0, [16.0; 2]);
}
