//! What `module!` writes, in a crate of its own: names of parameters and of layers that can do more than others.

use dfdx::prelude::{AsArray, Const, Cpu, Device, Dtype, Rank1, Rank3, Tensor, TensorFrom, ZerosTensor};
use inductive_nn::{
    BatchNorm, Buffer, Build, Gpsa, Linear, Module, ModuleExt, Packed, Parameter, Path, SwitchMixer, module,
};

struct Network<const C: usize, E: Dtype, D: Device<E>> {
    stem: BatchNorm<C, E, D>,
    blocks: Vec<Gpsa<C, 2, false, E, D>>,
    mixer: Option<SwitchMixer<C, E, D>>,
    seen: Buffer<Rank1<1>, E, D>,
    scale: Tensor<(usize, Const<C>), E, D>,
}

module!([const C: usize] Network<C, E, D> {
    stem: "",
    blocks: "stages.1",
    mixer,
    seen: "seen.count",
    scale,
});

fn network(mixer: bool) -> Network<4, f32, Cpu> {
    let dev = Cpu::seed_from_u64(0);
    Network {
        stem: Build::new(&dev).unwrap(),
        blocks: (0..2).map(|_| Build::new(&dev).unwrap()).collect(),
        mixer: mixer.then(|| Build::new(&dev).unwrap()),
        seen: Buffer(dev.zeros()),
        scale: dev.zeros_like(&(3, Const)),
    }
}

#[test]
fn layers_are_shown_by_the_names_of_their_parameters_and_can_be_changed() {
    let mut network = network(true);
    let mut names = Vec::new();
    network.layers(&mut Path::default(), &mut |at, layer| {
        let what = [layer.running_averages().is_some(), layer.gates().is_some(), layer.switch().is_some()];
        names.push((at.to_string(), what));
    });
    let want = [
        ("", [true, false, false]),
        ("stages.1.0", [false, true, false]),
        ("stages.1.1", [false, true, false]),
        ("mixer", [false, false, true]),
    ];
    assert_eq!(names, want.map(|(name, what)| (name.to_owned(), what)));
    let mut changed = 0;
    network.layers_mut(&mut Path::default(), &mut |_, layer| {
        if let Some(layer) = layer.switch_mut() {
            layer.reparameterize(&Default::default(), 0).unwrap();
            changed += 1;
        }
    });
    assert_eq!(changed, 1);
    let operator = network.mixer.as_ref().unwrap().operator.0.as_vec();
    assert_ne!(operator, [0.0], "no convolution any more");
}

/// Name, stored shape and whether it is trained, of all parameters.
fn listed(module: &impl Module<f32, Cpu>) -> Vec<(String, Vec<usize>, bool)> {
    let mut all = Vec::new();
    let visit = &mut |p: &dyn Parameter<f32, Cpu>| {
        all.push((p.name().to_owned(), p.shape().to_vec(), p.trainable()));
        Ok(())
    };
    module.for_each_parameter(visit).unwrap();
    all
}

#[test]
fn parameters_have_full_names_and_buffers_are_not_trained() {
    let all = listed(&network(false));
    let has = |name: &str, trained| all.iter().any(|it| (it.0.as_str(), it.2) == (name, trained));
    assert!(has("weight", true) && has("running_mean", false), "{all:?}");
    assert!(has("stages.1.1.pos_proj.weight", true) && has("seen.count", false) && has("scale", true));
    assert!(!all.iter().any(|(name, ..)| name.starts_with("mixer")));
    // Two gated layers, scale and shift of the norm, and `scale`; its two averages and what was seen are not trained.
    assert_eq!(network(false).num_params(), 2 * (2 + 32 + 16 + 20 + 8) + 8 + 12);
}

#[test]
fn what_a_visit_changes_is_changed_and_its_error_ends_it() {
    let mut network = network(true);
    network.for_each_parameter_mut(&mut |p| p.copy_from(&vec![2.0; p.numel()])).unwrap();
    assert_eq!(network.seen.0.array(), [2.0]);
    assert_eq!(network.mixer.as_ref().unwrap().gate.array(), [2.0; 9]);
    let mut seen = 0;
    let result = network.for_each_parameter_mut(&mut |p| {
        seen += 1;
        p.copy_from(&[1.0, 2.0])
    });
    assert!(result.is_err() && seen == 1);
    let mut vector: Tensor<Rank1<2>, f32, Cpu> = Cpu::default().tensor([0.0, 0.0]);
    vector.for_each_parameter_mut(&mut |p| p.copy_from(&[3.0, 4.0])).unwrap();
    assert_eq!(vector.array(), [3.0, 4.0]);
}

/// Two layers of the name that timm has for queries, keys and values: one matrix, and three; and a tensor of one's own in three parts.
struct Projections<E: Dtype, D: Device<E>> {
    plain: Linear<4, 6, true, E, D>,
    packed: Packed<3, 4, true, E, D>,
    own: Tensor<Rank3<2, 5, 4>, E, D>,
    other: Tensor<Rank3<2, 5, 4>, E, D>,
}

module!([] Projections<E, D> {
    plain: "plain.qkv",
    packed: "packed.qkv",
    own as Stacked: "own.keys_and_values",
    other: "other.qk.weight",
});

#[test]
fn axes_are_listed_as_one_where_the_owner_says_so_whatever_the_name() {
    let dev = Cpu::seed_from_u64(0);
    let (plain, packed) = (Build::new(&dev).unwrap(), Build::new(&dev).unwrap());
    let mut layers = Projections { plain, packed, own: dev.zeros(), other: dev.zeros() };
    let want: [(&str, &[usize]); 6] = [
        ("plain.qkv.weight", &[6, 4]),
        ("plain.qkv.bias", &[6]),
        ("packed.qkv.weight", &[12, 4]),
        ("packed.qkv.bias", &[12]),
        ("own.keys_and_values", &[10, 4]),
        ("other.qk.weight", &[2, 5, 4]),
    ];
    let got = listed(&layers);
    assert_eq!(got.iter().map(|it| (it.0.as_str(), it.1.as_slice())).collect::<Vec<_>>(), want);
    let mut to_change = Vec::new();
    layers
        .for_each_parameter_mut(&mut |p| {
            to_change.push((p.name().to_owned(), p.shape().to_vec(), p.trainable()));
            Ok(())
        })
        .unwrap();
    assert_eq!(to_change, got, "the same, to be changed");
}
