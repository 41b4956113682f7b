//! Writes a strategy's initial weights into a model, whichever it is, by the names of its parameters.

use std::collections::BTreeMap;

use inductive_init::{
    AttentionInit, Dims, FilterInit, Filters, Initializer, LinearInit, Progress, Quality, QueryKeyChoice,
    Solver, Strategy, Target, ValueProjChoice,
};
use inductive_ops::Backend;

use crate::{Error, ModelSpec, Result, model::Model};

/// What [`initialise`] did.
#[derive(Clone, Debug, Default)]
pub struct Initialised {
    /// One entry per layer of attention.
    pub layers: Vec<LayerInitialised>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// One layer of attention.
#[derive(Clone, Debug)]
pub struct LayerInitialised {
    /// `blocks.0.attn`
    pub name: String,
    /// What its heads aim at, one per head; empty where nothing is designed.
    pub targets: Vec<Target>,
    /// How near attention comes to it on the pseudo-input; none without targets.
    pub quality: Option<Quality>,
}

/// Gives every linear layer of `model` new weights by `strategy`: queries, keys, values and projections as it designs them,
/// all others (MLP, head) by its [`Strategy::linear`]. Convolutions, norms and the class token stay as they are, and so do
/// ConViT's gates and positional logits.
///
/// The position embedding that the model has is what attention is solved on; it is multiplied by
/// [`Strategy::position_scale`]. The same seed gives all strategies the same random numbers in the layers that they do not
/// design. `progress` hears of gradient solves, which take seconds.
///
/// # Errors
/// [`Error::Option`] for a strategy that the model has no place for; [`Error::Init`] for one that its sizes do not fit.
pub fn initialise<D: Backend<f32>>(
    model: &mut dyn Model<f32, D>,
    strategy: &Strategy,
    seed: u64,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Initialised> {
    let spec = model.spec().clone();
    let parts = Parts::of(model)?;
    let dims = parts.dims(&spec);
    let attention = parts.attention_layers(&spec, is_plain(strategy))?;
    if attention.is_empty() && !is_plain(strategy) {
        let what = "this initialisation is for attention, which the model has none of; take `kaiming` or `trunc-normal`, or \
                    a transformer";
        return Err(Error::Option { model: spec.name, what: what.to_owned() });
    }
    let initializer = match &parts.position {
        Some((_, values)) => Initializer::new(strategy.clone(), dims, values, seed)?,
        None => Initializer::without_position(strategy.clone(), dims, seed)?,
    };
    let mut done = Initialised::default();
    let mut values = BTreeMap::new();
    for (layer, name) in attention {
        let init = initializer.layer_reporting(layer, progress)?;
        done.warnings.extend(init.quality.as_ref().and_then(|quality| warning(&name, strategy, quality)));
        parts.put_attention(&name, &init, &mut values);
        let AttentionInit { targets, quality, .. } = init;
        done.layers.push(LayerInitialised { name, targets, quality });
    }
    for (number, (name, &(outputs, inputs))) in parts.linear.iter().enumerate() {
        if !values.contains_key(&format!("{name}.weight")) {
            parts.put(name, initializer.linear(number, inputs, outputs), &mut values);
        }
    }
    if let Some((names, _)) = parts.position.as_ref().filter(|_| strategy.position_scale != 1.0) {
        values.extend(names.iter().map(|name| (name.clone(), initializer.position())));
    }
    if let Some((name, _)) = values.iter().find(|(_, values)| values.iter().any(|v| !v.is_finite())) {
        let what =
            format!("the strategy's constants are too large: `{name}` would not be finite; lower them");
        return Err(Error::Option { model: spec.name, what });
    }
    model.for_each_parameter_mut(&mut |p| match values.remove(p.name()) {
        Some(new) => p.copy_from(&new),
        None => Ok(()),
    })?;
    Ok(done)
}

/// Gives every depthwise convolution of `model` new filters, and new biases where it has any.
///
/// # Errors
/// [`Error::Option`] for a model without depthwise convolutions; [`Error::Init`] for filters that its kernels cannot have.
pub fn initialise_filters<D: Backend<f32>>(
    model: &mut dyn Model<f32, D>,
    filters: &Filters,
    seed: u64,
) -> Result<()> {
    let mut layers = Vec::new();
    model.for_each_parameter(&mut |p| {
        if let (Some(layer), &[channels, 1, kernel, other]) = (p.name().strip_suffix(".weight"), p.shape())
            && kernel == other
        {
            layers.push((layer.to_owned(), channels, kernel));
        }
        Ok(())
    })?;
    if layers.is_empty() {
        let what =
            "these filters are for depthwise convolutions, which the model has none of; take a `convmixer_*`";
        return Err(Error::Option { model: model.spec().name.clone(), what: what.to_owned() });
    }
    let mut values = BTreeMap::new();
    for (number, (layer, channels, kernel)) in layers.into_iter().enumerate() {
        let FilterInit { weight, bias } = filters.of_layer(channels, kernel, seed, number as u64)?;
        values.insert(format!("{layer}.weight"), weight);
        values.insert(format!("{layer}.bias"), bias);
    }
    Ok(model.for_each_parameter_mut(&mut |p| match values.remove(p.name()) {
        Some(new) => p.copy_from(&new),
        None => Ok(()),
    })?)
}

/// Whether nothing is designed.
fn is_plain(strategy: &Strategy) -> bool {
    matches!(strategy.query_key, QueryKeyChoice::Linear)
        && matches!(strategy.value_proj, ValueProjChoice::Linear)
        && strategy.position_scale == 1.0
}

/// What there is to say of impulses that did not come out: attention little sharper than uniform.
fn warning(name: &str, strategy: &Strategy, quality: &Quality) -> Option<String> {
    let impulse = strategy.impulse().filter(|_| quality.mass() < 2.0 * quality.uniform_mass())?;
    let advice = match impulse.solver {
        Solver::ClosedForm(_) => {
            "The closed form wants a random position embedding; for sines and cosines take `impulse3`"
        }
        Solver::Gradient(_) => {
            "The solver wants positions that tell patches apart, and targets that they can express: more steps, another \
             pseudo-input, targets that are not scrambled"
        }
    };
    Some(format!("{name}: {quality}. {advice}"))
}

/// The parameters of a model that initial weights are written to.
struct Parts {
    /// Linear layers by name, in the order of their names: outputs and inputs.
    linear: BTreeMap<String, (usize, usize)>,
    /// Those with a bias.
    biased: Vec<String>,
    /// Names and values of the position embedding, `[tokens, width]`: one, or the same in every layer of attention.
    position: Option<(Vec<String>, Vec<f32>)>,
}

impl Parts {
    fn of<D: Backend<f32>>(model: &dyn Model<f32, D>) -> Result<Self> {
        let mut parts = Self { linear: BTreeMap::new(), biased: Vec::new(), position: None };
        model.for_each_parameter(&mut |p| {
            let (name, shape) = (p.name(), p.shape());
            match (name.rsplit_once('.'), shape) {
                // ConViT's positional logits are no layer of the network's own channels.
                (Some((layer, "weight")), &[outputs, inputs]) if !layer.ends_with("pos_proj") => {
                    parts.linear.insert(layer.to_owned(), (outputs, inputs));
                }
                (Some((layer, "bias")), _) => parts.biased.push(layer.to_owned()),
                _ if name == "pos_embed" || name.ends_with(".attn.position") => {
                    parts.position.get_or_insert_with(|| (Vec::new(), p.to_vec())).0.push(name.to_owned());
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(parts)
    }

    fn dims(&self, spec: &ModelSpec) -> Dims {
        let (grid, width) = (spec.grid(), spec.embed_dim);
        let rows = self.position.as_ref().map_or(0, |(_, values)| values.len() / width.max(1));
        Dims { width, heads: spec.heads.max(1), grid, class_token: rows == grid.tokens() + 1 }
    }

    /// Numbers and names of the layers of attention over all channels.
    ///
    /// Where attention has part of the channels (EIT), only a `plain` strategy fits: those layers are then linear ones.
    fn attention_layers(&self, spec: &ModelSpec, plain: bool) -> Result<Vec<(usize, String)>> {
        let mut layers = Vec::new();
        for layer in 0..spec.depth {
            let name = format!("blocks.{layer}.attn");
            let inputs = ["qkv", "qk"].iter().find_map(|part| self.linear.get(&format!("{name}.{part}")));
            match inputs {
                None => {}
                Some((_, inputs)) if *inputs == spec.embed_dim => layers.push((layer, name)),
                Some(_) if plain => {}
                Some((_, inputs)) => {
                    let what = format!(
                        "attention of layer {layer} has {inputs} of {} channels; initial weights are designed for attention \
                         over all of them: take `kaiming` or `trunc-normal`, or another model",
                        spec.embed_dim
                    );
                    return Err(Error::Option { model: spec.name.clone(), what });
                }
            }
        }
        Ok(layers)
    }

    /// `name`: `blocks.0.attn`, with queries, keys and values in one layer or, in gated attention, values in their own.
    fn put_attention(&self, name: &str, init: &AttentionInit, values: &mut BTreeMap<String, Vec<f32>>) {
        let join = |layers: &[&LinearInit]| LinearInit {
            weight: layers.iter().flat_map(|layer| layer.weight.iter().copied()).collect(),
            bias: layers.iter().flat_map(|layer| layer.bias.iter().copied()).collect(),
        };
        if self.linear.contains_key(&format!("{name}.qkv")) {
            self.put(&format!("{name}.qkv"), init.qkv(), values);
        } else {
            self.put(&format!("{name}.qk"), join(&[&init.query, &init.key]), values);
            self.put(&format!("{name}.v"), init.value.clone(), values);
        }
        self.put(&format!("{name}.proj"), init.proj.clone(), values);
    }

    fn put(&self, layer: &str, init: LinearInit, values: &mut BTreeMap<String, Vec<f32>>) {
        values.insert(format!("{layer}.weight"), init.weight);
        if self.biased.iter().any(|it| it == layer) {
            values.insert(format!("{layer}.bias"), init.bias);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BuildOptions, build};
    use dfdx::prelude::*;

    type Values = BTreeMap<String, Vec<f32>>;

    fn built(name: &str) -> Box<dyn Model<f32, Cpu>> {
        let options = BuildOptions { classes: 10, ..Default::default() };
        build(&Cpu::seed_from_u64(0), name, &options).unwrap().model
    }

    fn values(model: &dyn Model<f32, Cpu>) -> Values {
        let mut values = Values::new();
        model
            .for_each_parameter(&mut |p| {
                values.insert(p.name().to_owned(), p.to_vec());
                Ok(())
            })
            .unwrap();
        values
    }

    fn after(model: &str, strategy: &str) -> (Values, Values, Initialised) {
        let mut model = built(model);
        let before = values(&*model);
        let strategy = Strategy::named(strategy).unwrap();
        let done = initialise(&mut *model, &strategy, 1, &|_| ()).unwrap();
        (before, values(&*model), done)
    }

    fn changed(before: &Values, after: &Values) -> Vec<String> {
        before.iter().filter(|(name, old)| after[*name] != **old).map(|(name, _)| name.clone()).collect()
    }

    fn share(values: &[f32], bound: f32) -> f64 {
        values.iter().filter(|v| v.abs() <= bound).count() as f64 / values.len() as f64
    }

    #[test]
    fn kaiming_changes_linear_layers_and_nothing_else() {
        let (before, after, done) = after("deit_micro", "kaiming");
        for name in changed(&before, &after) {
            let linear = ["attn.qkv.", "attn.proj.", "mlp.fc1.", "mlp.fc2.", "head."];
            assert!(linear.iter().any(|part| name.contains(part)), "{name}");
        }
        assert_eq!(changed(&before, &after).len(), 2 * (4 * 4 + 1));
        // uniform within 1 / sqrt(inputs): fc1 has 96 inputs, fc2 384
        for (name, inputs) in [("blocks.2.mlp.fc1.weight", 96f32), ("blocks.2.mlp.fc2.bias", 384.0)] {
            let bound = inputs.powf(-0.5);
            assert_eq!(share(&after[name], bound), 1.0, "{name}");
            assert!((share(&after[name], bound / 2.0) - 0.5).abs() < 0.12, "{name}");
        }
        assert!(done.layers.len() == 4 && done.layers.iter().all(|layer| layer.targets.is_empty()));
    }

    #[test]
    fn strategies_differ_only_in_what_they_design() {
        let (_, kaiming, _) = after("deit_micro", "kaiming");
        let (_, impulse, done) = after("deit_micro", "impulse");
        let names = changed(&kaiming, &impulse);
        let expected: Vec<String> = (0..4)
            .flat_map(|i| ["proj.weight", "qkv.weight"].map(|part| format!("blocks.{i}.attn.{part}")))
            .chain(["pos_embed".to_owned()])
            .collect();
        assert_eq!(names, expected);
        let ratio = impulse["pos_embed"][5] / kaiming["pos_embed"][5];
        assert!((ratio - 18.0).abs() < 1e-4, "{ratio}");
        for layer in &done.layers {
            assert!(layer.targets.len() == 4 && layer.quality.as_ref().unwrap().mass() > 0.9, "{layer:?}");
        }
    }

    #[test]
    fn the_model_attends_as_the_quality_says() {
        let mut model = built("vit_micro_gap");
        let mut strategy = Strategy::impulse_gradient(3);
        if let Some(inductive_init::Impulse { solver: inductive_init::Solver::Gradient(gradient), .. }) =
            strategy.impulse_mut()
        {
            (gradient.steps, gradient.lr) = (300, 1e-2);
        }
        let done = initialise(&mut *model, &strategy, 1, &|_| ()).unwrap();
        // An image of one colour gives every patch the same content: what differs is the position.
        let image = Cpu::default().zeros_like(&(1, 3, 32, 32));
        let mut record = crate::Record::default();
        model.forward(image, Some(&mut record)).unwrap();
        let map = record.blocks[0].attention.as_ref().unwrap();
        for (head, target) in done.layers[0].targets.iter().enumerate() {
            let mut on_target = Vec::new();
            for (query, key) in target.keys().iter().enumerate() {
                on_target.extend(key.map(|key| f64::from(map.map[(head * 64 + query) * 64 + key])));
            }
            let mass = on_target.iter().sum::<f64>() / on_target.len() as f64;
            assert!(mass > 0.3, "head {head}: {mass}; solved: {}", done.layers[0].quality.as_ref().unwrap());
        }
    }

    #[test]
    fn gated_layers_get_queries_keys_and_values_and_keep_their_gates() {
        let (before, after, done) = after("convit_micro", "mimetic");
        let names = changed(&before, &after);
        for part in ["qk.weight", "v.weight", "proj.weight", "proj.bias"] {
            assert!(names.contains(&format!("blocks.0.attn.{part}")), "{part}: {names:?}");
        }
        assert!(names.contains(&"blocks.3.attn.qkv.weight".to_owned()));
        assert!(names.iter().all(|n| !n.contains("pos_proj") && !n.contains("gating")), "{names:?}");
        assert_eq!(done.layers.len(), 4);
    }

    #[test]
    fn models_without_a_place_for_a_design_refuse_it_by_name() {
        let impulse = Strategy::named("impulse").unwrap();
        for (name, why) in [("resnet20_cifar", "has none of"), ("eit_micro", "channels")] {
            let mut model = built(name);
            let before = values(&*model);
            let error = initialise(&mut *model, &impulse, 0, &|_| ()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(why), "{error}");
            assert_eq!(values(&*model), before);
            initialise(&mut *model, &Strategy::named("kaiming").unwrap(), 0, &|_| ()).unwrap();
            let names = changed(&before, &values(&*model));
            assert!(
                names.iter().any(|name| ["head.weight", "fc.weight"].contains(&name.as_str())),
                "{names:?}"
            );
        }
    }

    #[test]
    fn positions_mixed_into_queries_and_keys_are_what_impulses_are_solved_on() {
        let (before, after, done) = after("simple_vit_micro", "impulse5-mixed");
        let names = changed(&before, &after);
        assert!(names.contains(&"blocks.3.attn.qkv.weight".to_owned()), "{names:?}");
        assert!(names.iter().all(|name| !name.ends_with("position") && !name.ends_with("alpha")));
        // The published scale of 0.1 is made for 64 channels per head; 24 of them aim less sharply.
        let quality: Vec<&Quality> = done.layers.iter().flat_map(|layer| &layer.quality).collect();
        assert!(
            quality.len() == 4 && quality.iter().all(|it| it.mass() > 2.0 * it.uniform_mass()),
            "{quality:?}"
        );
        assert!(done.warnings.is_empty(), "{:?}", done.warnings);
    }

    #[test]
    fn filters_are_those_of_depthwise_convolutions_alone() {
        let impulse = Filters::named("impulse").unwrap();
        let mut model = built("convmixer_micro");
        let before = values(&*model);
        initialise_filters(&mut *model, &impulse, 3).unwrap();
        let filled = values(&*model);
        let expected: Vec<String> =
            (0..4).flat_map(|i| ["bias", "weight"].map(|part| format!("blocks.{i}.0.fn.0.{part}"))).collect();
        assert_eq!(changed(&before, &filled), expected);
        for filter in filled["blocks.2.0.fn.0.weight"].chunks_exact(9) {
            assert_eq!(filter.iter().filter(|v| **v != 0.0).count(), 1, "{filter:?}");
        }
        assert_ne!(filled["blocks.0.0.fn.0.weight"], filled["blocks.1.0.fn.0.weight"]);
        let error = initialise_filters(&mut *built("deit_micro"), &impulse, 3).unwrap_err().to_string();
        assert!(error.contains("deit_micro") && error.contains("convmixer"), "{error}");
    }

    #[test]
    fn constants_that_overflow_are_refused_and_change_nothing() {
        let mut model = built("deit_micro");
        let before = values(&*model);
        let strategy = Strategy { position_scale: 1e40, ..Strategy::named("kaiming").unwrap() };
        let error = initialise(&mut *model, &strategy, 1, &|_| ()).unwrap_err().to_string();
        assert!(error.contains("`pos_embed`") && error.contains("lower"), "{error}");
        assert_eq!(values(&*model), before);
    }

    #[test]
    fn the_closed_form_on_sines_and_cosines_warns() {
        let (_, _, done) = after("vit_micro_gap", "impulse");
        assert!(done.warnings.len() == 4 && done.warnings[0].contains("impulse3"), "{:?}", done.warnings);
        assert!(after("deit_micro", "impulse").2.warnings.is_empty());
    }
}
