//! What a layer that can leave convolution computes, and how it leaves.

use inductive_random::stream;
use rand_distr::{Distribution, StandardNormal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, kernel_offsets};

/// What random numbers are drawn for: centres of heads.
const CENTRES: u64 = 1;

/// Locality strength at which attention is a convolution to the last bits of `f32`: what leaks to the nearest four
/// patches is `4 exp(-20) = 8e-9`.
pub const SHARP: f64 = 20.0;

/// What a switchable layer computes. Saved with the weights, as the buffer `operator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The convolution. `operator` is 0.
    Convolution,
    /// Attention by position alone: the gate is held at 1, there are no queries and keys. `operator` is 1.
    Positional,
    /// Attention by position and content, with a gate between them. `operator` is 2 with a linear gate, 3 with a sigmoid.
    Attention(GateForm),
}

/// How a gate's parameter becomes the share of position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateForm {
    /// The parameter is the share, kept in `[0, 1]` by projection after each update. At 1 the function is that of the
    /// convolution, and the gate has a gradient nevertheless.
    Linear,
    /// `share = sigmoid(parameter)`, ConViT's: never quite 1, and without gradient near it.
    Sigmoid,
}

impl Operator {
    /// Its value in the buffer `operator`.
    pub fn code(self) -> f64 {
        match self {
            Self::Convolution => 0.0,
            Self::Positional => 1.0,
            Self::Attention(GateForm::Linear) => 2.0,
            Self::Attention(GateForm::Sigmoid) => 3.0,
        }
    }

    /// What the value in a buffer stands for.
    ///
    /// # Errors
    /// A value that is none of the four.
    pub fn of_code(code: f64) -> Result<Self> {
        let all =
            [Self::Convolution, Self::Positional, GateForm::Linear.operator(), GateForm::Sigmoid.operator()];
        all.into_iter().find(|it| it.code() == code).ok_or_else(|| {
            let what = format!(
                "the buffer `operator` holds {code}; 0 to 3 are known: the weights are damaged, or newer"
            );
            Error::Argument { layer: "ConvAsAttention", what }
        })
    }
}

impl GateForm {
    /// Attention with this gate.
    pub fn operator(self) -> Operator {
        Operator::Attention(self)
    }
}

impl std::fmt::Display for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Convolution => "convolution",
            Self::Positional => "attention by position",
            Self::Attention(GateForm::Linear) => "attention, linear gate",
            Self::Attention(GateForm::Sigmoid) => "attention, sigmoid gate",
        })
    }
}

/// Where the heads look when a layer becomes attention.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Positions {
    /// Each at its place in the kernel: attention falls off as `exp(-alpha distance^2)`, distance in patches. Large alpha
    /// (16 and more) keeps the function of the convolution.
    Kernel {
        /// Locality strength, above 0.
        alpha: f64,
    },
    /// Around centres drawn from N(0, std^2) in patches: Cordonnier et al.'s initialisation (ICLR 2020).
    Scattered {
        /// Standard deviation of both coordinates of a centre, patches.
        std: f64,
        /// Locality strength, above 0.
        alpha: f64,
        /// Decides the centres.
        seed: u64,
    },
    /// As the weights say: random and nearly everywhere, N(0, 0.02^2), in a layer that is new.
    Kept,
}

/// The gate between position and content when a layer becomes attention.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Gate {
    /// Position alone, for good.
    Held,
    /// This share of position, 0 to 1, learned as it is ([`GateForm::Linear`]); 1 keeps the function.
    Linear(f64),
    /// The sigmoid of this parameter ([`GateForm::Sigmoid`]); 1 is ConViT's, a share of 0.731.
    Sigmoid(f64),
}

/// How a layer leaves convolution. The default keeps its function: sharp positions, a linear gate at 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reparameterization {
    /// Where the heads look.
    pub positions: Positions,
    /// Between position and content.
    pub gate: Gate,
}

impl Default for Positions {
    fn default() -> Self {
        Self::Kernel { alpha: SHARP }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::Linear(1.0)
    }
}

impl Gate {
    /// What the layer computes from then on, and the parameter of each head.
    pub fn operator(self) -> (Operator, f64) {
        match self {
            Self::Held => (Operator::Positional, 1.0),
            Self::Linear(share) => (GateForm::Linear.operator(), share),
            Self::Sigmoid(parameter) => (GateForm::Sigmoid.operator(), parameter),
        }
    }
}

impl Reparameterization {
    /// Refuses numbers out of their range, or that single precision cannot hold.
    ///
    /// # Errors
    /// As [`Positions::check`] and [`Gate::check`].
    pub fn check(&self) -> Result<()> {
        self.positions.check()?;
        self.gate.check()
    }
}

fn refuse(what: String) -> Result<()> {
    Err(Error::Argument { layer: "reparameterize", what })
}

impl Gate {
    /// Refuses numbers out of their range.
    ///
    /// # Errors
    /// A linear gate outside `[0, 1]`; a sigmoid gate's parameter beyond -10,000 to 10,000.
    pub fn check(&self) -> Result<()> {
        match *self {
            Self::Linear(share) if !(0.0..=1.0).contains(&share) => {
                refuse(format!("the linear gate is {share}, expected a share of position, 0 to 1"))
            }
            Self::Sigmoid(parameter) if !(-1e4..=1e4).contains(&parameter) => {
                refuse(format!("the parameter of the sigmoid gate is {parameter}, expected -10000 to 10000"))
            }
            _ => Ok(()),
        }
    }
}

impl Positions {
    /// Refuses numbers out of their range.
    ///
    /// # Errors
    /// A locality strength beyond 1e-6 to 1e6; a deviation that is not above 0, or more than 10,000 patches.
    pub fn check(&self) -> Result<()> {
        match *self {
            Self::Kernel { alpha } | Self::Scattered { alpha, .. } if !(1e-6..=1e6).contains(&alpha) => {
                refuse(format!("alpha is {alpha}, expected a number above 0, 0.000001 to 1000000"))
            }
            Self::Scattered { std, .. } if !(std > 0.0 && std <= 1e4) => {
                refuse(format!("std is {std}, expected a number of patches above 0, up to 10000"))
            }
            _ => Ok(()),
        }
    }

    /// The rows of `pos_proj.weight` of `kernel^2` heads, `alpha (2 dx, 2 dy, -1)`; `None` where they are kept. `layer`:
    /// its number in the model, by which centres differ.
    pub fn rows(&self, kernel: usize, layer: usize) -> Option<Vec<f64>> {
        let (centres, alpha) = match *self {
            Self::Kept => return None,
            Self::Kernel { alpha } => (kernel_offsets(kernel), alpha),
            Self::Scattered { std, alpha, seed } => {
                let mut rng = stream(CENTRES, seed, layer as u64, 0);
                let mut draw = || -> f64 { std * Distribution::<f64>::sample(&StandardNormal, &mut rng) };
                ((0..kernel * kernel).map(|_| (draw(), draw())).collect(), alpha)
            }
        };
        Some(centres.iter().flat_map(|(dx, dy)| [2.0 * dx * alpha, 2.0 * dy * alpha, -alpha]).collect())
    }
}

/// Where a head looks by position.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadPosition {
    /// Patches to the right of the query.
    pub dx: f64,
    /// Patches below it.
    pub dy: f64,
    /// Locality strength; attention by position falls off as `exp(-alpha distance^2)`. Where it is not positive there is no
    /// centre, and `dx`, `dy` mean nothing.
    pub alpha: f64,
}

impl HeadPosition {
    /// Of a row of `pos_proj.weight`, `alpha (2 dx, 2 dy, -1)`.
    pub fn of_row([x, y, square]: [f64; 3]) -> Self {
        let alpha = -square;
        Self { dx: x / (2.0 * alpha), dy: y / (2.0 * alpha), alpha }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_come_back_from_their_codes_and_others_are_refused() {
        for code in 0..4 {
            assert_eq!(Operator::of_code(f64::from(code)).unwrap().code(), f64::from(code));
        }
        for code in [0.5, -1.0, 4.0, f64::NAN] {
            assert!(Operator::of_code(code).unwrap_err().to_string().contains("operator"));
        }
    }

    #[test]
    fn rows_tell_where_the_heads_look() {
        let rows = Positions::Kernel { alpha: 20.0 }.rows(3, 0).unwrap();
        let heads: Vec<HeadPosition> =
            rows.chunks_exact(3).map(|r| HeadPosition::of_row([r[0], r[1], r[2]])).collect();
        let at = |dx, dy| HeadPosition { dx, dy, alpha: 20.0 };
        // column by column
        assert_eq!(heads[..4], [at(-1.0, -1.0), at(-1.0, 0.0), at(-1.0, 1.0), at(0.0, -1.0)]);
        assert_eq!(heads[8], at(1.0, 1.0));
        assert_eq!(Positions::Kept.rows(3, 0), None);
    }

    #[test]
    fn scattered_centres_have_their_deviation_and_differ_between_layers_and_seeds() {
        let centres = |seed, layer| {
            let rows = Positions::Scattered { std: 2.0, alpha: 0.5, seed }.rows(31, layer).unwrap();
            rows.chunks_exact(3)
                .flat_map(|r| {
                    let head = HeadPosition::of_row([r[0], r[1], r[2]]);
                    assert_eq!(head.alpha, 0.5);
                    [head.dx, head.dy]
                })
                .collect::<Vec<_>>()
        };
        let drawn = centres(3, 0);
        let deviation = (drawn.iter().map(|c| c * c).sum::<f64>() / drawn.len() as f64).sqrt();
        assert!((deviation - 2.0).abs() < 0.15, "{deviation}");
        assert_eq!(drawn, centres(3, 0));
        assert!(drawn != centres(3, 1) && drawn != centres(4, 0));
    }

    #[test]
    fn numbers_that_cannot_be_meant_are_refused() {
        let of = |positions, gate| Reparameterization { positions, gate }.check();
        for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e39] {
            assert!(of(Positions::Kernel { alpha }, Gate::Held).is_err());
            assert!(of(Positions::Scattered { std: 1.0, alpha, seed: 0 }, Gate::Held).is_err());
            assert!(of(Positions::Scattered { std: alpha, alpha: 1.0, seed: 0 }, Gate::Held).is_err());
        }
        assert!(of(Positions::Kernel { alpha: 1e-50 }, Gate::Held).is_err());
        let sigmoids = [f64::NAN, 1e39].map(Gate::Sigmoid);
        for gate in
            [Gate::Linear(1.5), Gate::Linear(-0.1), Gate::Linear(f64::NAN)].into_iter().chain(sigmoids)
        {
            assert!(of(Positions::Kept, gate).is_err(), "{gate:?}");
        }
        assert!(Reparameterization::default().check().is_ok());
    }
}
