//! Layers of a model that can leave convolution for attention.

use inductive_nn::{HeadPosition, Operator, SwitchLayer};

use crate::{Error, Result};

/// A layer that can leave convolution, as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Switchable {
    /// Its name: what the names of its parameters begin with, without the dot.
    pub name: String,
    /// What it computes.
    pub operator: Operator,
    /// The share of position in each head's attention; 1 for a convolution.
    pub gates: Vec<f64>,
    /// Where each head looks by position; empty for a convolution.
    pub heads: Vec<HeadPosition>,
    /// Full names of its parameters that have no effect now.
    pub idle: Vec<String>,
    /// Full names of its parameters that are shares now, kept in `[0, 1]`.
    pub shares: Vec<String>,
    /// Full name of the buffer that holds the operator's code.
    pub code: String,
}

/// A layer of this name, as it is now.
pub(crate) fn describe(name: &str, layer: &dyn SwitchLayer) -> Result<Switchable> {
    let all = || -> inductive_nn::Result<_> {
        let full = |parameter: &str| format!("{name}.{parameter}");
        Ok(Switchable {
            name: name.to_owned(),
            operator: layer.operator()?,
            gates: layer.gates()?,
            heads: layer.heads()?,
            idle: layer.idle()?.iter().map(|parameter| full(parameter)).collect(),
            shares: layer.shares()?.iter().map(|parameter| full(parameter)).collect(),
            code: full(layer.operator_name()),
        })
    };
    all().map_err(|error| Error::Layer { layer: name.to_owned(), error })
}

/// What there is to say of layer `index` where `count` layers can leave convolution.
pub(crate) fn no_layer(model: &str, index: usize, count: usize) -> Error {
    let what = match count {
        0 => "no layer can leave convolution; `inductive reparameterize --help` lists the models with such layers".to_owned(),
        _ => format!("there is no layer {index} that can leave convolution; there are {count}, from 0"),
    };
    Error::Option { model: model.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BottleneckStage, CifarStem, Classifier, Model, ModelSpec, NoStage, Resnet, SwitchBottleneckStage,
        SwitchResnet, Trunk, families::prs,
    };
    use dfdx::prelude::*;
    use inductive_nn::{BatchStatistics, Gate, GateForm, Images, ModuleExt, Positions, Reparameterization};
    use inductive_ops::DropPath;

    type Basic = SwitchResnet<CifarStem<4, f32, Cpu>, 4, 6, 8, 16, f32, Cpu>;
    type Narrow = Resnet<
        CifarStem<4, f32, Cpu>,
        BottleneckStage<4, 4, 8, 1, f32, Cpu>,
        BottleneckStage<8, 6, 12, 2, f32, Cpu>,
        SwitchBottleneckStage<12, 4, 16, 2, f32, Cpu>,
        NoStage,
        8,
        12,
        16,
        16,
    >;
    const SIZE: (usize, usize) = (16, 16);

    fn images() -> Images<f32, Cpu> {
        let values = (0..3 * 3 * 256).map(|i| ((i * i % 1009) as f32 / 504.0) - 1.0).collect();
        Cpu::default().tensor_from_vec(values, (3, 3, 16, 16))
    }

    /// With weights and running statistics that are not those of a new model, whose branches are nothing.
    fn boxed<M: Trunk<16, f32, Cpu> + 'static>(
        trunk: impl FnOnce(&Cpu) -> Result<M>,
    ) -> Box<dyn Model<f32, Cpu>> {
        let dev = Cpu::seed_from_u64(5);
        let spec = ModelSpec { name: "small".to_owned(), ..ModelSpec::default() };
        let trunk = trunk(&dev).unwrap();
        let mut model = Classifier::<M, 16, usize, f32, Cpu>::new(&dev, trunk, 10, spec).unwrap();
        model
            .for_each_parameter_mut(&mut |p| match p.trainable() && p.shape().len() == 1 {
                true => {
                    p.copy_from(&(0..p.numel()).map(|i| 0.6 + 0.3 * (i as f32).sin()).collect::<Vec<_>>())
                }
                false => Ok(()),
            })
            .unwrap();
        let mut statistics = BatchStatistics::default();
        model.forward_batch(images().leaky_traced(), DropPath::default(), &mut statistics).unwrap();
        statistics.fold_into(&mut model).unwrap();
        Box::new(model)
    }

    fn networks() -> [(Box<dyn Model<f32, Cpu>>, &'static [&'static str]); 3] {
        const STAGED: &[&str] = &[
            "stages.0.blocks.0.mixer",
            "stages.0.blocks.1.mixer",
            "stages.1.blocks.0.mixer",
            "stages.1.blocks.1.mixer",
        ];
        const BASIC: &[&str] = &[
            "layer3.0.conv1",
            "layer3.0.conv2",
            "layer4.0.conv1",
            "layer4.0.conv2",
            "layer4.1.conv1",
            "layer4.1.conv2",
        ];
        let narrow: &[&str] = &["layer3.0.conv2", "layer3.1.conv2"];
        let spec = ModelSpec { image: SIZE, patch: 2, depth: 4, ..ModelSpec::default() };
        [
            (boxed(|dev| prs::<6, 12, 16, 20, 2, f32, Cpu>(dev, &spec, [2, 2])), STAGED),
            (boxed(|dev| Basic::new(dev, [1, 1, 1, 2], SIZE)), BASIC),
            (boxed(|dev| Narrow::new(dev, [1, 1, 2, 0], SIZE)), narrow),
        ]
    }

    fn logits(model: &dyn Model<f32, Cpu>) -> Vec<f32> {
        model.forward(images(), None).unwrap().as_vec()
    }

    /// The largest difference.
    fn apart(a: &[f32], b: &[f32]) -> f32 {
        let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        // Not `f32::max`, which passes over what is no number.
        apart.fold(0.0, |most, it| if it > most || it.is_nan() { it } else { most })
    }

    #[test]
    fn layers_switch_one_by_one_and_the_network_computes_what_it_computed() {
        for (mut model, names) in networks() {
            let layers = model.switchable().unwrap();
            assert_eq!(layers.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), names);
            let before = logits(&*model);
            assert!(apart(&before, &vec![before[0]; before.len()]) > 0.1, "nothing to compare");
            for index in (0..names.len()).rev() {
                model.reparameterize(index, &Reparameterization::default()).unwrap();
                assert!(apart(&logits(&*model), &before) < 1e-4, "{}", names[index]);
                let now = model.switchable().unwrap();
                let switched = |it: &Switchable| it.operator == Operator::Attention(GateForm::Linear);
                assert!(now.iter().enumerate().all(|(i, it)| switched(it) == (i >= index)));
            }
            assert!(model.gates().unwrap().iter().flatten().all(|gate| *gate == 1.0));
            // Not because nothing happens: soft positions and an open gate change the function.
            let soft =
                Reparameterization { positions: Positions::Kernel { alpha: 1.0 }, gate: Gate::Sigmoid(1.0) };
            model.reparameterize(0, &soft).unwrap();
            assert!(apart(&logits(&*model), &before) > 1e-3);
            assert!((model.gates().unwrap()[0][0] - 0.731).abs() < 1e-3);
        }
    }

    #[test]
    fn idle_parameters_are_named_in_full() {
        for (mut model, names) in networks() {
            let mut all = Vec::new();
            model
                .for_each_parameter(&mut |p| {
                    all.push(p.name().to_owned());
                    Ok(())
                })
                .unwrap();
            let idle = |model: &dyn Model<f32, Cpu>| model.switchable().unwrap().swap_remove(1).idle;
            let [position, gate, qk] =
                ["pos_proj.weight", "gate", "qk.weight"].map(|it| format!("{}.{it}", names[1]));
            assert_eq!(idle(&*model), [&position, &gate, &qk].map(Clone::clone));
            assert!(idle(&*model).iter().all(|name| all.contains(name)), "{all:?}");
            model.reparameterize(1, &Reparameterization { gate: Gate::Held, ..Default::default() }).unwrap();
            assert_eq!(idle(&*model), [gate, qk]);
        }
    }

    #[test]
    fn what_cannot_switch_says_so() {
        for (mut model, names) in networks() {
            let error =
                model.reparameterize(names.len(), &Reparameterization::default()).unwrap_err().to_string();
            assert!(error.contains(&format!("there are {}", names.len())), "{error}");
        }
        type Plain = crate::BasicResnet<CifarStem<4, f32, Cpu>, 4, 6, 8, 16, f32, Cpu>;
        let mut plain = boxed(|dev| Plain::new(dev, [1; 4], SIZE));
        assert!(plain.switchable().unwrap().is_empty());
        let error = plain.reparameterize(0, &Reparameterization::default()).unwrap_err().to_string();
        assert!(error.contains("no layer can leave convolution"), "{error}");
    }
}
