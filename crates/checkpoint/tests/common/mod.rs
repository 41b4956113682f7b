//! A model small enough to see through, with a parameter of every kind that checkpoints care about.
#![allow(dead_code)] // each test binary uses a part

use dfdx::{prelude::*, shapes::Rank3};
use inductive_checkpoint::{TensorFile, TensorWriter};
use inductive_nn::{Buffer, Module, ModuleExt, module};

/// `N` position embeddings, fused query, key and value held in parts, a running statistic, a classifier for `K`.
#[derive(Clone)]
pub struct Toy<const N: usize, const K: usize, E: Dtype, D: Device<E>> {
    pub pos_embed: Tensor<Rank3<1, N, 2>, E, D>,
    pub qkv: Tensor<Rank3<3, 4, 4>, E, D>,
    pub mean: Buffer<Rank1<4>, E, D>,
    pub head: Head<K, E, D>,
}

#[derive(Clone)]
pub struct Head<const K: usize, E: Dtype, D: Device<E>> {
    pub weight: Tensor<Rank2<K, 4>, E, D>,
    pub bias: Tensor<Rank1<K>, E, D>,
}

module!([const N: usize, const K: usize] Toy<N, K, E, D> {
    pos_embed,
    qkv as Stacked: "blocks.0.attn.qkv.weight",
    mean: "bn.running_mean",
    head,
});

module!([const K: usize] Head<K, E, D> { weight, bias });

/// A model that itself has a field of the name that wrappers use.
#[derive(Clone)]
pub struct Wrapped<const K: usize, E: Dtype, D: Device<E>> {
    pub model: Head<K, E, D>,
}

module!([const K: usize] Wrapped<K, E, D> { model });

/// A model whose values depend on `seed`; one is a NaN with a payload, one a negative zero.
pub fn toy<const N: usize, const K: usize>(seed: u32) -> Toy<N, K, f32, Cpu> {
    let dev = Cpu::default();
    let mut state = seed;
    let mut values = |n: usize| -> Vec<f32> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..n).map(|_| next()).collect()
    };
    let mut qkv = values(48);
    qkv[5] = f32::from_bits(0x7fc0_0000 | (seed & 0xffff));
    qkv[6] = -0.0;
    Toy {
        pos_embed: dev.tensor(values(N * 2)),
        qkv: dev.tensor(qkv),
        mean: Buffer(dev.tensor(values(4))),
        head: Head { weight: dev.tensor(values(K * 4)), bias: dev.tensor(values(K)) },
    }
}

/// Names, shapes and bits of all parameters.
pub fn bits(model: &dyn Module<f32, Cpu>) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    let mut all = Vec::new();
    model
        .for_each_parameter(&mut |p| {
            let bits = p.to_vec().iter().map(|v| v.to_bits()).collect();
            all.push((p.name().to_owned(), p.shape().to_vec(), bits));
            Ok(())
        })
        .unwrap();
    all
}

/// What `build` writes, read back.
pub fn file(build: impl FnOnce(&mut TensorWriter)) -> TensorFile {
    let mut writer = TensorWriter::new();
    build(&mut writer);
    TensorFile::from_bytes(&writer.to_bytes().unwrap(), "toy.safetensors").unwrap()
}

/// A model as [`inductive_checkpoint::save`] writes it, `prefix` before each name.
pub fn saved(prefix: &str, model: &dyn Module<f32, Cpu>) -> TensorFile {
    file(|w| {
        w.add_model(prefix, model).unwrap();
    })
}
