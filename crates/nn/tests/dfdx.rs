//! Layers of this crate in a network of dfdx's own: built, visited and trained as dfdx's layers are.

use dfdx::{
    nn::modules,
    optim::{Adam, AdamConfig, Optimizer},
    prelude::*,
};
use inductive_nn::{
    BatchNorm, Build, ConvAsAttention, ConvAttention, Gpsa, LayerNorm, Linear, Mhsa, Mlp, Module, ModuleExt,
    Packed, PatchEmbed, Tokens,
};

/// Patches of 3 numbers, one layer of gated attention, two numbers per patch.
struct Network<E: Dtype, D: Device<E>> {
    embed: modules::Linear<3, 16, E, D>,
    mix: Gpsa<16, 4, false, E, D>,
    head: modules::Linear<16, 2, E, D>,
}

impl<D: Device<f32>> TensorCollection<f32, D> for Network<f32, D> {
    type To<E2: Dtype, D2: Device<E2>> = Network<E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, f32, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::module("embed", |s| &s.embed, |s| &mut s.embed),
                Self::module("mix", |s| &s.mix, |s| &mut s.mix),
                Self::module("head", |s| &s.head, |s| &mut s.head),
            ),
            |(embed, mix, head)| Network { embed, mix, head },
        )
    }
}

/// Each patch of a 4 x 4 grid has to tell the patch on its left from what it sees.
fn example(dev: &Cpu) -> (Tokens<3, f32, Cpu>, Tokens<2, f32, Cpu>) {
    let value = |patch: usize, channel: usize| ((7 * patch + 3 * channel) as f32).sin();
    let x = (0..16).flat_map(|patch| (0..3).map(move |channel| value(patch, channel))).collect();
    let left = |patch: usize| if patch.is_multiple_of(4) { patch } else { patch - 1 };
    let y = (0..16).flat_map(|patch| (0..2).map(move |channel| value(left(patch), channel))).collect();
    (dev.tensor_from_vec(x, (1, 16, Const)), dev.tensor_from_vec(y, (1, 16, Const)))
}

#[test]
fn dfdx_builds_a_network_with_gated_attention_and_its_adam_trains_it() {
    let dev = Cpu::seed_from_u64(0);
    let mut network: Network<f32, Cpu> = BuildModule::build(&dev);
    network.mix.local_init(1.0).unwrap();
    let (x, y) = example(&dev);
    let mut adam = Adam::new(&network, AdamConfig { lr: 1e-2, ..AdamConfig::default() });
    let mut gradients = network.alloc_grads();
    let positions = network.mix.pos_proj.weight.array();
    let mut losses = Vec::new();
    for _ in 0..100 {
        let hidden = network.embed.forward_mut(x.trace(gradients));
        let mixed = network.mix.forward_mut(hidden);
        let loss = (network.head.forward_mut(mixed) - y.clone()).square().mean::<Rank0, _>();
        losses.push(loss.array());
        gradients = loss.backward();
        adam.update(&mut network, &gradients).unwrap();
        network.zero_grads(&mut gradients);
    }
    let (first, last) = (losses[0], losses[99]);
    assert!(last < 0.2 * first, "{first} to {last}");
    assert_ne!(network.mix.pos_proj.weight.array(), positions, "the positional scores are trained too");
    assert_eq!(network.num_trainable_params(), 3 * 16 + 16 + 4 * 16 * 16 + 16 + 4 * 3 + 4 + 4 + 16 * 2 + 2);
}

/// Names, shapes and bits of all parameters.
fn bits(module: &dyn inductive_nn::Module<f32, Cpu>) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    let mut all = Vec::new();
    module
        .for_each_parameter(&mut |p| {
            let values = p.to_vec().iter().map(|v| v.to_bits()).collect();
            all.push((p.name().to_owned(), p.shape().to_vec(), values));
            Ok(())
        })
        .unwrap();
    all
}

#[test]
fn what_dfdx_builds_of_a_seed_is_what_new_builds() {
    fn check<M>()
    where
        M: Module<f32, Cpu> + Build<f32, Cpu> + TensorCollection<f32, Cpu, To<f32, Cpu> = M>,
    {
        let dfdx: M = BuildModule::build(&Cpu::seed_from_u64(3));
        let ours = M::new(&Cpu::seed_from_u64(3)).unwrap();
        assert!(!bits(&ours).is_empty() && bits(&dfdx) == bits(&ours), "{}", std::any::type_name::<M>());
    }
    check::<Linear<5, 7, true, f32, Cpu>>();
    check::<Packed<3, 4, true, f32, Cpu>>();
    check::<LayerNorm<6, f32, Cpu>>();
    check::<BatchNorm<6, f32, Cpu>>();
    check::<Mlp<4, 8, f32, Cpu>>();
    check::<PatchEmbed<8, 2, f32, Cpu>>();
    check::<Mhsa<8, 2, true, f32, Cpu>>();
    check::<Gpsa<8, 2, false, f32, Cpu>>();
    check::<ConvAttention<8, 4, 4, 2, f32, Cpu>>();
    check::<ConvAsAttention<4, 4, 4, 3, 9, 18, 1, false, true, f32, Cpu>>();
}
