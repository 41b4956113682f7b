//! Writes a strategy's initial weights into a model, whichever it is: into its layers of attention, which say what they are, and all others by the
//! names of their parameters.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use inductive_init::{
    AttentionInit, Dims, FilterInit, Filters, GatedValue, LinearInit, MakeInitializer, Progress, Quality,
    Strategy, Target,
};
use inductive_nn::{ModuleExt, Path, Projections, QkvLayers, is_in};
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
/// all others (MLP, head) by its [`Strategy::linear`]. Convolutions that mix tokens ([`Layer::convolution`](inductive_nn::Layer::convolution):
/// those of `prs_*`) get PyTorch's weights with every strategy but timm's. Other convolutions, norms and the class token stay as they are, and so do ConViT's
/// gates and positional logits.
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
    initialise_with(model, strategy, seed, progress)
}

/// As [`initialise`], by whatever makes an initializer: a strategy, or a function of one's own. What it gives no weights
/// stays as it is.
///
/// # Errors
/// As [`initialise`]; [`Error::Op`] for weights of another number than the parameter has, of which those before it are then written.
pub fn initialise_with<D: Backend<f32>>(
    model: &mut dyn Model<f32, D>,
    make: &dyn MakeInitializer,
    seed: u64,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Initialised> {
    let spec = model.spec().clone();
    let parts = Parts::of(model)?;
    let attention = parts.attention_layers(&spec, !make.designs_attention())?;
    let dims = parts.dims(&spec, &attention);
    if attention.is_empty() && make.designs_attention() {
        let what = "this initialisation is for attention, which the model has none of; take `kaiming` or `trunc-normal`, or \
                    a transformer";
        return Err(Error::Option { model: spec.name, what: what.to_owned() });
    }
    let position = parts.position.as_ref().map(|(_, values)| values.as_slice());
    let initializer = make.make(dims, position, seed)?;
    let mut done = Initialised::default();
    let (mut values, mut left) = (BTreeMap::new(), Vec::new());
    for (layer, name, projections) in attention {
        let Some(init) = initializer.attention(layer, progress)? else {
            left.push(name.clone());
            done.layers.push(LayerInitialised { name, targets: Vec::new(), quality: None });
            continue;
        };
        let warning = init.quality.as_ref().and_then(|quality| initializer.warning(quality));
        done.warnings.extend(warning.map(|what| format!("{name}: {what}")));
        parts.put_attention(&name, projections, &init, initializer.gated_value(), &mut values);
        let AttentionInit { targets, quality, .. } = init;
        done.layers.push(LayerInitialised { name, targets, quality });
    }
    for (number, (name, &(outputs, inputs))) in parts.linear.iter().enumerate() {
        let designed = values.contains_key(&format!("{name}.weight"));
        if !designed
            && !left.iter().any(|it| is_in(name, it))
            && let Some(init) = initializer.linear(name, number, inputs, outputs)
        {
            parts.put(name, init, &mut values);
        }
    }
    for (number, (name, &(outputs, inputs))) in parts.mixers.iter().enumerate() {
        if let Some(init) = initializer.convolution(name, number, inputs, outputs) {
            parts.put(name, init, &mut values);
        }
    }
    if let (Some((names, _)), Some(position)) = (&parts.position, initializer.position()) {
        values.extend(names.iter().map(|name| (name.clone(), position.clone())));
    }
    if let Some((name, _)) = values.iter().find(|(_, values)| values.iter().any(|v| !v.is_finite())) {
        let what =
            format!("the initial weights' constants are too large: `{name}` would not be finite; lower them");
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

/// The full name of what a layer calls `name`.
fn below(layer: &Path, name: &str) -> String {
    let mut path = layer.clone();
    path.enter(name);
    path.to_string()
}

/// The parameters of a model that initial weights are written to.
struct Parts {
    /// Layers of attention, first to last, by name.
    attention: Vec<(String, Projections)>,
    /// Linear layers by name, in the order of their names: outputs and inputs.
    linear: BTreeMap<String, (usize, usize)>,
    /// Convolutions that weights are drawn for, in the same way: outputs, and inputs of one output.
    mixers: BTreeMap<String, (usize, usize)>,
    /// Those with a bias.
    biased: Vec<String>,
    /// Names and values of the position embedding, `[tokens, width]`: one, or the same in every layer of attention.
    position: Option<(Vec<String>, Vec<f32>)>,
}

impl Parts {
    fn of<D: Backend<f32>>(model: &dyn Model<f32, D>) -> Result<Self> {
        let (mut attention, mut mixers) = (Vec::new(), BTreeMap::new());
        let (mut positions, mut of_offsets) = (Vec::new(), Vec::new());
        model.layers(&mut Path::default(), &mut |at, layer| {
            attention.extend(layer.projections().map(|it| (at.to_string(), it)));
            mixers.extend(layer.convolution().map(|it| (at.to_string(), it)));
            positions.extend(layer.position().map(|name| below(at, name)));
            of_offsets.extend(layer.of_offsets().iter().map(|name| below(at, name)));
        });
        let mut parts =
            Self { attention, linear: BTreeMap::new(), mixers, biased: Vec::new(), position: None };
        model.for_each_parameter(&mut |p| {
            let (name, shape) = (p.name(), p.shape());
            match (name.rsplit_once('.'), shape) {
                (Some((layer, "weight")), &[outputs, inputs]) if !of_offsets.iter().any(|it| it == layer) => {
                    parts.linear.insert(layer.to_owned(), (outputs, inputs));
                }
                (Some((layer, "bias")), _) => parts.biased.push(layer.to_owned()),
                _ if positions.iter().any(|it| it == name) => {
                    parts.position.get_or_insert_with(|| (Vec::new(), p.to_vec())).0.push(name.to_owned());
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(parts)
    }

    /// attention: the layers that are given weights.
    fn dims(&self, spec: &ModelSpec, attention: &[(usize, String, Projections)]) -> Dims {
        let (grid, width) = (spec.grid(), spec.embed_dim);
        let heads = attention.first().map_or(spec.heads().max(1), |(.., it)| it.heads);
        let rows = self.position.as_ref().map_or(0, |(_, values)| values.len() / width.max(1));
        Dims { width, heads, grid, class_token: rows == grid.tokens() + 1 }
    }

    /// Numbers and names of the layers of attention over all channels.
    ///
    /// Where attention has part of the channels (EIT), only a `plain` strategy fits: those layers are then linear ones.
    fn attention_layers(&self, spec: &ModelSpec, plain: bool) -> Result<Vec<(usize, String, Projections)>> {
        let refuse = |what: String| Err(Error::Option { model: spec.name.clone(), what });
        let advice = "take `kaiming` or `trunc-normal`, or another model";
        let mut layers: Vec<(usize, String, Projections)> = Vec::new();
        for (layer, (name, it)) in self.attention.iter().enumerate() {
            let all = it.width == spec.embed_dim;
            if !all && !plain {
                return refuse(format!(
                    "attention of layer {layer} has {} of {} channels; initial weights are designed for attention over all of \
                     them: {advice}",
                    it.width, spec.embed_dim
                ));
            }
            let others = layers.iter().find(|(_, _, other)| other.heads != it.heads);
            if let Some((_, other, projections)) = others.filter(|_| all && !plain) {
                return refuse(format!(
                    "`{other}` has {} heads and `{name}` {}; initial weights are designed for one number of heads: {advice}",
                    projections.heads, it.heads
                ));
            }
            if !all {
                continue;
            }
            let mut parts = match it.layers {
                QkvLayers::Together(qkv) => vec![(qkv, 3)],
                QkvLayers::ValuesApart { qk, v } => vec![(qk, 2), (v, 1)],
            };
            parts.push((it.proj, 1));
            for (part, times) in parts {
                let (linear, want) = (format!("{name}.{part}"), (times * it.width, it.width));
                if self.linear.get(&linear) != Some(&want) {
                    return refuse(format!(
                        "`{name}` says that it is attention over {} channels, but `{linear}.weight` is no {} x {} matrix",
                        it.width, want.0, want.1
                    ));
                }
            }
            layers.push((layer, name.clone(), *it));
        }
        Ok(layers)
    }

    /// Gives the layer `name`, `blocks.0.attn`, its weights.
    fn put_attention(
        &self,
        name: &str,
        projections: Projections,
        init: &AttentionInit,
        gated_value: GatedValue,
        values: &mut BTreeMap<String, Vec<f32>>,
    ) {
        match projections.layers {
            QkvLayers::Together(qkv) => self.put(&format!("{name}.{qkv}"), init.qkv(), values),
            QkvLayers::ValuesApart { qk, v } => {
                let queries_and_keys = LinearInit::stacked(&[&init.query, &init.key]);
                self.put(&format!("{name}.{qk}"), queries_and_keys, values);
                let value = match gated_value {
                    GatedValue::ValueProj => init.value.clone(),
                    GatedValue::Identity => LinearInit::identity(init.value.bias.len()),
                };
                self.put(&format!("{name}.{v}"), value, values);
            }
        }
        self.put(&format!("{name}.{}", projections.proj), init.proj.clone(), values);
    }

    fn put(&self, layer: &str, init: LinearInit, values: &mut BTreeMap<String, Vec<f32>>) {
        values.insert(format!("{layer}.weight"), init.weight);
        if self.biased.iter().any(|it| it == layer) {
            values.insert(format!("{layer}.bias"), init.bias);
        }
    }
}
