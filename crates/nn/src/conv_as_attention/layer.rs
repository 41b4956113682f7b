//! The layer: a convolution's weight, and what it needs as attention.

use dfdx::prelude::*;
use inductive_ops::Backend;

use super::{GateForm, HeadPosition, Operator, Reparameterization, SwitchLayer};
use crate::{
    Buffer, Build, Error, Fill, Layer, Result,
    init::{he, normal, zeros},
    module,
};

/// A `K x K` convolution, `K` odd, that can become attention with `H = K^2` heads of full width.
///
/// ```text
/// convolution   y_q = b + sum_D W_D x_{q + D}                    D: the K^2 offsets of the kernel
/// attention     y_q = b + sum_h W_h sum_k A_h[q, k] x_k          A_h = C_h + g_h (P_h - C_h)
///               P_h = softmax_k(w_h . r_qk)                      r = (dx, dy, dx^2 + dy^2), key minus query, in patches
///               C_h = softmax_k(q_h . k_h / sqrt(QK / H))
/// ```
///
/// Head `h = K h2 + h1` begins at the offset `(dx, dy) = (h2 - K / 2, h1 - K / 2)`, and `W_h` is the slice `[.., h1, h2]` of
/// the weight, which keeps the shape of a convolution's for good: checkpoints, and an optimizer's averages, need no
/// rearrangement when a layer switches. With `w_h = alpha (2 dx, 2 dy, -1)` P is one-hot for large alpha, and at
/// `g_h = 1` attention equals the convolution: [`SwitchLayer::reparameterize`].
///
/// At the border the convolution sees the nearest patch (replicate padding), as attention does, which has nothing else to
/// look at. With `ZERO` it sees zeros, and attention by position also looks at a ring of `K / 2` patches of zeros around the
/// grid; the rows of its map then sum to less than 1 at the edge. Content attends to the grid's own patches only.
/// With a stride `S` queries are the patches `(S i, S j)`. With `I = G IG` there are G groups, the weight is block-diagonal
/// (and computed as a full one: groups save parameters here, not time).
///
/// All parameters exist from the start. Those without effect are [`SwitchLayer::idle`]; as a convolution the layer costs
/// what a convolution costs, and by sharp positions alone about as much: with [`Operator::Positional`], and in inference while
/// all gates are 1. In training a linear gate of 1 needs the content's map for its gradient. timm has no equivalent. Initially the layer is
/// a convolution with He's rule over the fan out.
///
/// ```
/// use dfdx::prelude::*;
/// use inductive_nn::{Reparameterization, SwitchLayer, SwitchMixer};
/// use inductive_ops::Grid;
///
/// let dev = Cpu::seed_from_u64(0);
/// let mut layer = SwitchMixer::<16, f32, Cpu>::build(&dev);
/// let x = dev.sample_normal::<Rank3<2, 12, 16>>().realize::<(usize, usize, Const<16>)>();
/// let (before, grid) = layer.apply(x.clone(), Grid { rows: 3, cols: 4 })?;
/// layer.reparameterize(&Reparameterization::default(), 0)?;
/// let (after, _) = layer.apply(x, grid)?;
/// for (a, b) in before.as_vec().iter().zip(after.as_vec()) {
///     assert!((a - b).abs() < 1e-5);
/// }
/// # Ok::<(), inductive_nn::Error>(())
/// ```
///
/// The number of heads is that of the kernel's places:
///
/// ```compile_fail
/// use dfdx::prelude::*;
/// use inductive_nn::ConvAsAttention;
/// let layer = ConvAsAttention::<4, 4, 4, 3, 8, 32, 1, false, true, f32, Cpu>::build(&Cpu::default());
/// ```
#[derive(Clone, Debug)]
pub struct ConvAsAttention<
    const I: usize,
    const O: usize,
    const IG: usize,
    const K: usize,
    const H: usize,
    const QK: usize,
    const S: usize,
    const ZERO: bool,
    const BIAS: bool,
    E: Dtype,
    D: Device<E>,
> {
    /// `[O, IG, K, K]`
    pub weight: Tensor<Rank4<O, IG, K, K>, E, D>,
    /// `[O]`, present if `BIAS`.
    pub bias: Option<Tensor<Rank1<O>, E, D>>,
    /// `pos_proj.weight`, `[H, 3]`
    pub pos_proj: Tensor<Rank2<H, 3>, E, D>,
    /// `[H]`
    pub gate: Tensor<Rank1<H>, E, D>,
    /// `qk.weight`, `[2, QK, I]`: rows of q, then of k, each head by head.
    pub qk: Tensor<Rank3<2, QK, I>, E, D>,
    /// `operator`, `[1]`, not trainable: [`Operator::code`].
    pub operator: Buffer<Rank1<1>, E, D>,
}

/// The layer as a token mixer of `C` channels: 3x3, 9 heads with queries and keys of 16 numbers, replicate border, bias.
pub type SwitchMixer<const C: usize, E, D> = ConvAsAttention<C, C, C, 3, 9, 144, 1, false, true, E, D>;

impl<
    const I: usize,
    const O: usize,
    const IG: usize,
    const K: usize,
    const H: usize,
    const QK: usize,
    const S: usize,
    const ZERO: bool,
    const BIAS: bool,
    E: Dtype,
    D: Device<E>,
> TensorCollection<E, D> for ConvAsAttention<I, O, IG, K, H, QK, S, ZERO, BIAS, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = ConvAsAttention<I, O, IG, K, H, QK, S, ZERO, BIAS, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        const { assert!(K % 2 == 1 && S > 0, "a kernel has a centre, and moves") };
        const { assert!(H == K * K, "one head for each place of the kernel") };
        const { assert!(QK > 0 && QK.is_multiple_of(H), "queries and keys are shared out among the heads") };
        const { assert!(IG > 0 && I.is_multiple_of(IG) && O.is_multiple_of(I / IG), "groups are equal") };
        let bias = BIAS.then(|| {
            Self::tensor(
                "bias",
                |s| s.bias.as_ref().expect("BIAS is true"),
                |s| s.bias.as_mut().expect("BIAS is true"),
                TensorOptions::reset_with(zeros),
            )
        });
        let he = TensorOptions::reset_with(|t| t.try_fill_with_distr(he(O * K * K)));
        visitor.visit_fields(
            (
                Self::tensor("weight", |s| &s.weight, |s| &mut s.weight, he),
                bias.into_iter().collect::<Vec<_>>(),
                Self::tensor(
                    "pos_proj.weight",
                    |s| &s.pos_proj,
                    |s| &mut s.pos_proj,
                    TensorOptions::reset_with(normal),
                ),
                Self::tensor("gate", |s| &s.gate, |s| &mut s.gate, TensorOptions::reset_to_ones()),
                Self::tensor("qk.weight", |s| &s.qk, |s| &mut s.qk, TensorOptions::reset_with(normal)),
                Self::tensor(
                    "operator",
                    |s| &s.operator.0,
                    |s| &mut s.operator.0,
                    TensorOptions::detached(zeros),
                ),
            ),
            |(weight, bias, pos_proj, gate, qk, operator)| ConvAsAttention {
                weight,
                bias: bias.into_iter().next(),
                pos_proj,
                gate,
                qk,
                operator: Buffer(operator),
            },
        )
    }
}

module!([
    const I: usize,
    const O: usize,
    const IG: usize,
    const K: usize,
    const H: usize,
    const QK: usize,
    const S: usize,
    const ZERO: bool,
    const BIAS: bool,
] as Layer ConvAsAttention<I, O, IG, K, H, QK, S, ZERO, BIAS, E, D> {
    weight,
    bias,
    pos_proj: "pos_proj.weight",
    gate,
    qk as Stacked: "qk.weight",
    operator,
});

impl<
    const I: usize,
    const O: usize,
    const IG: usize,
    const K: usize,
    const H: usize,
    const QK: usize,
    const S: usize,
    const ZERO: bool,
    const BIAS: bool,
    E: Dtype,
    D: Backend<E>,
> Build<E, D> for ConvAsAttention<I, O, IG, K, H, QK, S, ZERO, BIAS, E, D>
{
    fn new(device: &D) -> Result<Self> {
        const { assert!(K % 2 == 1 && S > 0, "a kernel has a centre, and moves") };
        const { assert!(H == K * K, "one head for each place of the kernel") };
        const { assert!(QK > 0 && QK.is_multiple_of(H), "queries and keys are shared out among the heads") };
        const { assert!(IG > 0 && I.is_multiple_of(IG) && O.is_multiple_of(I / IG), "groups are equal") };
        Ok(Self {
            weight: Fill::he(O * K * K).tensor(device, (Const, Const, Const, Const))?,
            bias: BIAS.then(|| Fill::ZEROS.tensor(device, (Const,))).transpose()?,
            pos_proj: Fill::LINEAR.tensor(device, (Const, Const))?,
            gate: Fill::ONES.tensor(device, (Const,))?,
            qk: Fill::LINEAR.tensor(device, (Const, Const, Const))?,
            operator: Buffer(Fill::ZEROS.tensor(device, (Const,))?),
        })
    }
}

impl<
    const I: usize,
    const O: usize,
    const IG: usize,
    const K: usize,
    const H: usize,
    const QK: usize,
    const S: usize,
    const ZERO: bool,
    const BIAS: bool,
    E: Dtype,
    D: Backend<E>,
> Layer<E> for ConvAsAttention<I, O, IG, K, H, QK, S, ZERO, BIAS, E, D>
{
    /// Without a bias it stands before batch normalisation, and keeps He's rule.
    fn convolution(&self) -> Option<(usize, usize)> {
        BIAS.then_some((O, IG * K * K))
    }

    fn of_offsets(&self) -> &'static [&'static str] {
        &["pos_proj"]
    }

    fn switch(&self) -> Option<&dyn SwitchLayer> {
        Some(self)
    }

    fn switch_mut(&mut self) -> Option<&mut dyn SwitchLayer> {
        Some(self)
    }
}

impl<
    const I: usize,
    const O: usize,
    const IG: usize,
    const K: usize,
    const H: usize,
    const QK: usize,
    const S: usize,
    const ZERO: bool,
    const BIAS: bool,
    E: Dtype,
    D: Backend<E>,
> SwitchLayer for ConvAsAttention<I, O, IG, K, H, QK, S, ZERO, BIAS, E, D>
{
    fn operator(&self) -> Result<Operator> {
        Operator::of_code(to_f64(&self.operator.0.as_vec())[0])
    }

    fn reparameterize(&mut self, how: &Reparameterization, layer: usize) -> Result<()> {
        how.check()?;
        if let Some(rows) = how.positions.rows(K, layer) {
            self.pos_proj.copy_from(&elements(&rows));
        }
        let (operator, gate) = how.gate.operator();
        self.gate.copy_from(&elements(&[gate; H]));
        self.operator.0.copy_from(&elements(&[operator.code()]));
        Ok(())
    }

    fn shares(&self) -> Result<&'static [&'static str]> {
        Ok(if self.operator()? == Operator::Attention(GateForm::Linear) { &["gate"] } else { &[] })
    }

    fn idle(&self) -> Result<&'static [&'static str]> {
        Ok(match self.operator()? {
            Operator::Convolution => &["pos_proj.weight", "gate", "qk.weight"],
            Operator::Positional => &["gate", "qk.weight"],
            Operator::Attention(_) => &[],
        })
    }

    fn gates(&self) -> Result<Vec<f64>> {
        let gate = to_f64(&self.gate.as_vec());
        Ok(match self.operator()? {
            Operator::Convolution | Operator::Positional => vec![1.0; H],
            Operator::Attention(GateForm::Linear) => {
                check_gates(&gate)?;
                gate
            }
            Operator::Attention(GateForm::Sigmoid) => {
                gate.iter().map(|lambda| 1.0 / (1.0 + (-lambda).exp())).collect()
            }
        })
    }

    fn places(&self) -> usize {
        H
    }

    fn heads(&self) -> Result<Vec<HeadPosition>> {
        if self.operator()? == Operator::Convolution {
            return Ok(Vec::new());
        }
        let rows = to_f64(&self.pos_proj.as_vec());
        Ok(rows.chunks_exact(3).map(|row| HeadPosition::of_row([row[0], row[1], row[2]])).collect())
    }
}

/// Refuses linear gates that training would not have left so. What is no number is let through: it shows in the result.
pub(super) fn check_gates(gates: &[f64]) -> Result<()> {
    match gates.iter().find(|gate| **gate < 0.0 || **gate > 1.0) {
        Some(gate) => {
            let what = format!(
                "a linear gate is {gate}, expected a share of position, 0 to 1: the weights are damaged"
            );
            Err(Error::Argument { layer: "ConvAsAttention", what })
        }
        None => Ok(()),
    }
}

pub(super) fn to_f64<E: Dtype>(values: &[E]) -> Vec<f64> {
    values.iter().map(|v| v.to_f64().unwrap_or(f64::NAN)).collect()
}

pub(super) fn elements<E: Dtype>(values: &[f64]) -> Vec<E> {
    values.iter().map(|v| E::from_f64(*v).unwrap_or_default()).collect()
}
