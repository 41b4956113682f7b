//! Every way of choosing initial weights, as data: for recipes, reports and command lines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ClosedForm, Gradient, Mixture, Offsets, PseudoInput, Storage};

/// Initial weights of a model: those of its attention layers, and what its other linear layers get.
///
/// The parts are free to combine, because the published strategies differ in more than one: arXiv 2505.19985's impulse
/// also changes values, projection and the scale of the position embedding. [`Strategy::named`] has the published ones
/// and their controls.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strategy {
    /// All linear layers, and all biases, of which nothing else is said below.
    pub linear: Linear,
    /// Queries and keys.
    pub query_key: QueryKeyChoice,
    /// Values and projection.
    pub value_proj: ValueProjChoice,
    /// Values of ConViT's gated layers.
    #[serde(default)]
    pub gated_value: GatedValue,
    /// Factor of the position embedding as it is drawn; the model trains on the product. 1 leaves it alone.
    pub position_scale: f64,
}

/// Values of a gated positional layer, which begins as a convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatedValue {
    /// As [`value_proj`](Strategy::value_proj) says of all layers.
    #[default]
    ValueProj,
    /// The identity, as ConViT's local initialisation has it.
    Identity,
}

/// A linear layer that is not designed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Linear {
    /// PyTorch's default: weight and bias uniform on +-1 / sqrt(inputs). "Kaiming uniform" or "default" in the papers, timm's
    /// `weight_init=skip`.
    Kaiming,
    /// timm's default: weight N(0, 0.02^2), bias 0.
    TruncatedNormal,
    /// Variance-preserving: weight N(0, 1 / inputs), bias 0, three times the variance of PyTorch's weights.
    Lecun,
}

/// Query and key weights.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueryKeyChoice {
    /// As any linear layer.
    Linear,
    /// Product near the identity.
    Mimetic(Mixture),
    /// Attention near an impulse.
    Impulse(Impulse),
}

/// Value and projection weights.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValueProjChoice {
    /// As any linear layer.
    Linear,
    /// Product near minus the identity.
    Mimetic {
        /// Noise and identity.
        mixture: Mixture,
        /// How it is stored.
        storage: Storage,
    },
}

/// Impulses: where, and how they are solved for.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Impulse {
    /// Side of the window of offsets, odd.
    pub kernel: usize,
    /// Which offset each head gets.
    pub offsets: Offsets,
    /// Control: keys in random order (per head, the same in all layers): one key per query as with impulses, but not local.
    /// On sines and cosines, where neighbours look alike, such a map cannot be reached: attention stays nearly uniform.
    pub scrambled: bool,
    /// How weights are found.
    pub solver: Solver,
    /// What the first layer is solved on.
    pub first: PseudoInput,
    /// What the other layers are solved on.
    pub others: PseudoInput,
    /// One solve for all layers (two where `first` and `others` differ) instead of one each.
    pub shared: bool,
}

/// How impulses are solved for.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Solver {
    /// Pseudo-inverse and low rank (arXiv 2505.19985); wants a random position embedding.
    ClosedForm(ClosedForm),
    /// Adam on the mean squared difference (arXiv 2404.01139); for embeddings of sines and cosines too.
    Gradient(Gradient),
}

impl Impulse {
    /// Calls of the solver's progress while a model of so many layers and heads is initialised: one for each step of each
    /// head; 0 for the closed form.
    pub fn steps(&self, layers: usize, heads: usize) -> usize {
        let Solver::Gradient(gradient) = self.solver else { return 0 };
        let solves =
            if self.shared { layers.min(1 + usize::from(self.first != self.others)) } else { layers };
        solves.saturating_mul(heads).saturating_mul(gradient.steps)
    }
}

impl Strategy {
    /// The names [`Strategy::named`] knows.
    pub const NAMES: [&str; 16] = [
        "kaiming",
        "kaiming-identity-v",
        "lecun",
        "trunc-normal",
        "mimetic",
        "impulse",
        "impulse3",
        "impulse5",
        "impulse5-mixed",
        "mimetic-mixed",
        "impulse-scrambled",
        "impulse-anywhere",
        "impulse3-scrambled",
        "impulse-default-v",
        "default-mimetic-v",
        "default-scaled-position",
    ];

    /// One line on a strategy of [`Strategy::NAMES`]; `None` for any other name.
    pub fn describe(name: &str) -> Option<&'static str> {
        Some(match name {
            "kaiming" => "PyTorch's defaults: \"default\" and \"Kaiming uniform\" of the papers",
            "kaiming-identity-v" => "the same, but the values of ConViT's gated layers are the identity",
            "lecun" => "linear layers N(0, 1 / inputs), biases 0; convolutions PyTorch's",
            "trunc-normal" => "timm's defaults",
            "mimetic" => "arXiv 2305.09828: 0.7, 0.7 and 0.4, 0.4, stored as published",
            "impulse" => {
                "arXiv 2505.19985: closed form, 3 x 3 in fixed order, mimetic V and projection, embedding x 18"
            }
            "impulse3" => {
                "arXiv 2404.01139: gradient solve, random offsets of 3 x 3, one solve for all layers"
            }
            "impulse5" => "the same with offsets of 5 x 5",
            "impulse5-mixed" => {
                "arXiv 2401.12511, positions in queries and keys: gradient solve on the raw embedding, one per layer"
            }
            "mimetic-mixed" => "that paper's: a third of the noise's variance, V and projection PyTorch's",
            "impulse-scrambled" => "control of impulse: keys in random order, not local",
            "impulse-anywhere" => "control of impulse: offsets from the whole grid",
            "impulse3-scrambled" => "control of impulse3: keys in random order, not local",
            "impulse-default-v" => "control of impulse: PyTorch's V and projection",
            "default-mimetic-v" => "control: PyTorch's queries and keys, V and projection of impulse",
            "default-scaled-position" => "control: PyTorch's defaults with the embedding x 18",
            _ => return None,
        })
    }

    /// A strategy by name, of which [`Strategy::describe`] says what it is.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "kaiming" => Self::plain(Linear::Kaiming),
            "kaiming-identity-v" => {
                Self { gated_value: GatedValue::Identity, ..Self::plain(Linear::Kaiming) }
            }
            "lecun" => Self::plain(Linear::Lecun),
            "trunc-normal" => {
                Self { gated_value: GatedValue::Identity, ..Self::plain(Linear::TruncatedNormal) }
            }
            "mimetic" => Self::mimetic(Mixture::QUERY_KEY, Mixture::VALUE_PROJ),
            "impulse" => Self::impulse_closed_form(),
            "impulse3" => Self::impulse_gradient(3),
            "impulse5" => Self::impulse_gradient(5),
            "impulse5-mixed" => Self::impulse_mixed(5),
            "mimetic-mixed" => {
                let mixture = Mixture { alpha: Mixture::QUERY_KEY.alpha / 3f64.sqrt(), ..Mixture::QUERY_KEY };
                Self { query_key: QueryKeyChoice::Mimetic(mixture), ..Self::plain(Linear::Kaiming) }
            }
            "impulse-scrambled" => Self::impulse_closed_form().scrambled(),
            "impulse3-scrambled" => Self::impulse_gradient(3).scrambled(),
            "impulse-anywhere" => Self::impulse_closed_form().offsets(Offsets::Anywhere),
            "impulse-default-v" => {
                Self { value_proj: ValueProjChoice::Linear, ..Self::impulse_closed_form() }
            }
            "default-mimetic-v" => {
                let value_proj = Self::impulse_closed_form().value_proj;
                Self { value_proj, ..Self::plain(Linear::Kaiming) }
            }
            "default-scaled-position" => {
                let position_scale = Self::impulse_closed_form().position_scale;
                Self { position_scale, ..Self::plain(Linear::Kaiming) }
            }
            _ => return None,
        })
    }

    /// Nothing designed.
    pub fn plain(linear: Linear) -> Self {
        let (query_key, value_proj) = (QueryKeyChoice::Linear, ValueProjChoice::Linear);
        let gated_value = GatedValue::ValueProj;
        Self { linear, query_key, value_proj, gated_value, position_scale: 1.0 }
    }

    /// Mimetic weights, stored as both published codes do; other layers as PyTorch's.
    pub fn mimetic(query_key: Mixture, value_proj: Mixture) -> Self {
        Self {
            query_key: QueryKeyChoice::Mimetic(query_key),
            value_proj: ValueProjChoice::Mimetic { mixture: value_proj, storage: Storage::AsPublished },
            ..Self::plain(Linear::Kaiming)
        }
    }

    /// `post_weight_init=impulse` of arXiv 2505.19985's code.
    pub fn impulse_closed_form() -> Self {
        Self {
            query_key: QueryKeyChoice::Impulse(Impulse {
                kernel: 3,
                offsets: Offsets::Ordered,
                scrambled: false,
                solver: Solver::ClosedForm(ClosedForm::default()),
                first: PseudoInput::Position,
                others: PseudoInput::Position,
                shared: false,
            }),
            value_proj: ValueProjChoice::Mimetic {
                mixture: Mixture::VALUE_PROJ,
                storage: Storage::Transposed,
            },
            position_scale: 18.0,
            ..Self::plain(Linear::Kaiming)
        }
    }

    /// `weight_init=impulse3` or `impulse5` of arXiv 2404.01139's code: queries and keys only, for models without class token
    /// and with an embedding of sines and cosines.
    pub fn impulse_gradient(kernel: usize) -> Self {
        Self {
            query_key: QueryKeyChoice::Impulse(Impulse {
                kernel,
                offsets: Offsets::Random,
                scrambled: false,
                solver: Solver::Gradient(Gradient::default()),
                first: PseudoInput::Position,
                others: PseudoInput::Position,
                shared: true,
            }),
            ..Self::plain(Linear::Kaiming)
        }
    }

    /// `impulse16_64_5_0.1_100` of arXiv 2401.12511's code, with `kernel` in place of 5: queries and keys only, for models
    /// whose layers give SimpleViT's embedding to them ([`SinCos::SimpleVit`](crate::SinCos::SimpleVit)).
    ///
    /// That code has its scale 0.1 in the layers too; ours keep theirs, which is the same function at the start.
    pub fn impulse_mixed(kernel: usize) -> Self {
        let mut strategy = Self::impulse_gradient(kernel);
        if let Some(impulse) = strategy.impulse_mut() {
            let solver = Solver::Gradient(Gradient { scale: Some(0.1), ..Gradient::default() });
            let raw = PseudoInput::RawPosition;
            *impulse = Impulse { solver, first: raw, others: raw, shared: false, ..impulse.clone() };
        }
        strategy
    }

    /// The impulses, if there are any.
    pub fn impulse(&self) -> Option<&Impulse> {
        match &self.query_key {
            QueryKeyChoice::Impulse(impulse) => Some(impulse),
            _ => None,
        }
    }

    /// The impulses, if there are any, to be changed.
    pub fn impulse_mut(&mut self) -> Option<&mut Impulse> {
        match &mut self.query_key {
            QueryKeyChoice::Impulse(impulse) => Some(impulse),
            _ => None,
        }
    }

    /// With keys in random order, if there are impulses.
    pub fn scrambled(mut self) -> Self {
        if let Some(impulse) = self.impulse_mut() {
            impulse.scrambled = true;
        }
        self
    }

    /// With other offsets, if there are impulses.
    pub fn offsets(mut self, offsets: Offsets) -> Self {
        if let Some(impulse) = self.impulse_mut() {
            impulse.offsets = offsets;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_strategy_of_its_own_that_survives_a_recipe_file() {
        let all = Strategy::NAMES.map(|name| Strategy::named(name).unwrap());
        for (i, strategy) in all.iter().enumerate() {
            let name = Strategy::NAMES[i];
            assert!(!all[..i].contains(strategy) && Strategy::describe(name).is_some(), "{name}");
            let text = toml::to_string(strategy).unwrap();
            assert_eq!(toml::from_str::<Strategy>(&text).unwrap(), *strategy, "{text}");
            let text = serde_json::to_string(strategy).unwrap();
            assert_eq!(serde_json::from_str::<Strategy>(&text).unwrap(), *strategy, "{text}");
        }
        assert!(Strategy::named("none").is_none() && Strategy::describe("none").is_none());
    }

    #[test]
    fn a_recipe_may_leave_the_solvers_constants_out_but_not_misspell_them() {
        let read = |solver: &str| serde_json::from_str::<Solver>(solver);
        assert_eq!(
            read(r#"{"closed-form": {"norm": 2.0}}"#).unwrap(),
            Solver::ClosedForm(ClosedForm { norm: 2.0, ..Default::default() })
        );
        assert_eq!(read(r#"{"gradient": {}}"#).unwrap(), Solver::Gradient(Gradient::default()));
        assert!(read(r#"{"gradient": {"step": 5}}"#).is_err());
    }
}
