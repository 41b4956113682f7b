//! Initial weights of one's own under a name, in a recipe: what a user of the crates writes.

use crate::common::{tiny_recipe, values};
use dfdx::prelude::Cpu;
use inductive_init::{
    AttentionInit, Dims, Error as InitError, Initializer, LinearInit, Progress, add_initializer,
};
use inductive_train::{Error, Learner, Recipe};

/// Attention that begins uniform in every second layer; other layers, and all else, stay as they were drawn.
struct EverySecond(usize);

impl Initializer for EverySecond {
    fn attention(
        &self,
        index: usize,
        _: &(dyn Fn(Progress) + Sync),
    ) -> Result<Option<AttentionInit>, InitError> {
        if index % 2 == 1 {
            return Ok(None);
        }
        let (zeros, identity) = (LinearInit::zeros(self.0, self.0), LinearInit::identity(self.0));
        Ok(Some(AttentionInit::new(zeros.clone(), zeros, identity.clone(), identity)))
    }

    fn linear(&self, name: &str, _: usize, inputs: usize, outputs: usize) -> Option<LinearInit> {
        (name == "head").then(|| LinearInit::zeros(inputs, outputs))
    }
}

fn learner(recipe: &Recipe) -> Learner<Cpu> {
    Learner::new(&Cpu::default(), recipe, 10).unwrap()
}

fn recipe(model: &str, init: Option<&str>) -> Recipe {
    Recipe { model: model.to_owned(), init: init.map(Into::into), ..tiny_recipe() }
}

#[test]
fn a_recipe_takes_added_weights_by_name() {
    add_initializer("every-second", "uniform attention in every second layer", |dims: Dims, _, _| {
        Ok(Box::new(EverySecond(dims.width)) as Box<dyn Initializer>)
    })
    .unwrap();
    for model in ["deit_micro", "convit_micro"] {
        let text = toml::to_string(&recipe(model, Some("every-second"))).unwrap();
        let begun = learner(&toml::from_str(&text).unwrap());
        let targets: Vec<_> = begun.initialised().iter().map(|layer| layer.targets.len()).collect();
        assert_eq!(targets, [0; 4], "one entry for each layer of attention");
        let own = values(begun.model());
        let drawn = values(learner(&recipe(model, Some("trunc-normal"))).model());
        let zero = |name: &str| own[name].iter().all(|v| *v == 0.0);
        let queries = if model == "deit_micro" { "qkv" } else { "qk" };
        let width = own["norm.weight"].len();
        assert!(
            own[&format!("blocks.0.attn.{queries}.weight")][..2 * width * width].iter().all(|v| *v == 0.0)
        );
        assert!(
            zero("head.weight") && zero("head.bias") && !zero(&format!("blocks.1.attn.{queries}.weight"))
        );
        let projection: f32 = own["blocks.2.attn.proj.weight"].iter().sum();
        assert_eq!(projection, width as f32, "the identity");
        // What it gives no weights is as wide as timm's draw, and not what another strategy writes.
        let spread =
            |values: &[f32]| (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt();
        let name = "blocks.1.mlp.fc1.weight";
        assert!((spread(&own[name]) / spread(&drawn[name]) - 1.0).abs() < 0.05);
    }

    let taken = |name| {
        add_initializer(name, "", |dims: Dims, _, _| {
            Ok(Box::new(EverySecond(dims.width)) as Box<dyn Initializer>)
        })
    };
    for name in ["every-second", "impulse"] {
        assert!(matches!(taken(name), Err(InitError::NameTaken { .. })), "{name}");
    }
    let Err(Error::Recipe { expected, .. }) = recipe("deit_micro", Some("every-third")).validate() else {
        panic!("a name that nobody added")
    };
    assert!(expected.contains("kaiming") && expected.contains("every-second"), "{expected}");
}

#[test]
fn a_model_without_attention_refuses_weights_for_it() {
    let attention =
        |dims: Dims, _: Option<&[f32]>, _: u64| Ok(Box::new(EverySecond(dims.width)) as Box<dyn Initializer>);
    add_initializer("for-attention", "", attention).unwrap();
    let error = Learner::<Cpu>::new(&Cpu::default(), &recipe("convmixer_micro", Some("for-attention")), 10);
    let Err(Error::Model(error)) = error else { panic!("a ConvMixer has no attention") };
    assert!(error.to_string().contains("is for attention"), "{error}");
}
