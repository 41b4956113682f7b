//! What `module!` writes, in a crate of its own: names of parameters and of layers that can do more than others.

use dfdx::prelude::{Const, Cpu, Device, Dtype, Rank1, Tensor, ZerosTensor};
use inductive_nn::{BatchNorm, Buffer, Build, Gpsa, Module, ModuleExt, Path, SwitchMixer, module};

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

#[test]
fn parameters_have_full_names_and_buffers_are_not_trained() {
    let mut names = Vec::new();
    let visit = &mut |p: &dyn inductive_nn::Parameter<f32, Cpu>| {
        names.push((p.name().to_owned(), p.trainable()));
        Ok(())
    };
    network(false).for_each_parameter(visit).unwrap();
    let has = |name: &str, trained| names.contains(&(name.to_owned(), trained));
    assert!(has("weight", true) && has("running_mean", false), "{names:?}");
    assert!(has("stages.1.1.pos_proj.weight", true) && has("seen.count", false) && has("scale", true));
    assert!(!names.iter().any(|(name, _)| name.starts_with("mixer")));
}
