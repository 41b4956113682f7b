//! Gated positional self-attention (ConViT, arXiv 2103.10697 section 3).

use dfdx::prelude::*;
use inductive_ops::{
    AttentionDims, Backend, Branch, GatedSelfAttentionWeights, Grid, PositionalGate, Readout,
};

use crate::{
    Build, Error, Fill, Layer, OperatorKind, Result,
    init::{normal, zeros},
    linear::{Linear, Packed},
    mixer::{AttentionRecord, Layout, Projections, QkvLayers, TokenMixer, Tokens},
    module,
};

/// Gated positional self-attention, eq. 7-8:
/// `A_h = (1 - sigma(lambda_h)) softmax(q k^T / sqrt(C / H)) + sigma(lambda_h) softmax(v_pos_h . r)`, rows
/// renormalised, times v, heads concatenated, then projected.
///
/// `r_ij = (dx, dy, dx^2 + dy^2)` from query i to key j on the grid of patches, which may be rectangular; there is no
/// class token. The positional scores are not scaled. timm equivalent: `timm.models.convit.GPSA`.
///
/// The shapes are types: 32 channels in 5 heads do not compile.
///
/// ```compile_fail
/// use dfdx::prelude::*;
/// let layer = inductive_nn::Gpsa::<32, 5, false, f32, Cpu>::build(&Cpu::default());
/// ```
///
/// `build` gives random weights and open gates; [`Gpsa::local_init`] makes the layer a soft convolution.
#[derive(Clone, Debug)]
pub struct Gpsa<const C: usize, const H: usize, const QKV_BIAS: bool, E: Dtype, D: Device<E>> {
    /// Rows in the order q, k.
    pub qk: Packed<2, C, QKV_BIAS, E, D>,
    /// Values.
    pub v: Linear<C, C, QKV_BIAS, E, D>,
    /// Output projection.
    pub proj: Linear<C, C, true, E, D>,
    /// Positional scores of each head.
    pub pos_proj: PosProj<H, E, D>,
    /// `lambda`, `[H]`: its sigmoid is the share of position. Initially 1, a share of 0.731.
    pub gating_param: Tensor<Rank1<H>, E, D>,
}

/// The linear map from relative position `(dx, dy, dx^2 + dy^2)` to a score per head.
#[derive(Clone, Debug)]
pub struct PosProj<const H: usize, E: Dtype, D: Device<E>> {
    /// `[H, 3]`
    pub weight: Tensor<Rank2<H, 3>, E, D>,
    /// `[H]`; shifts whole rows of scores, so it has no effect and no gradient. Kept for exchange.
    pub bias: Tensor<Rank1<H>, E, D>,
}

/// What the local initialisation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalInit {
    /// Side of the kernel that the heads span: `floor(sqrt(H))`.
    pub kernel: usize,
    /// Heads beyond `kernel^2`, which keep random positional weights.
    pub random_heads: Vec<usize>,
}

impl LocalInit {
    /// A warning where not every head got a place in the kernel.
    pub fn warning(&self) -> Option<String> {
        let (first, last) = (self.random_heads.first()?, self.random_heads.last()?);
        let heads = self.kernel * self.kernel + self.random_heads.len();
        let left =
            if first == last { format!("head {first} is") } else { format!("heads {first} to {last} are") };
        Some(format!(
            "{heads} heads are not a square number: only the first {n} form a {k}x{k} kernel, {left} left with random \
             positional weights (counted from 0); use {n} or {next} heads for a full kernel",
            n = self.kernel * self.kernel,
            k = self.kernel,
            next = (self.kernel + 1).pow(2),
        ))
    }
}

/// Centre `(dx, dy)` of each head's attention in a `kernel x kernel` convolution, in patches.
///
/// Head `p = h1 + kernel * h2` looks at `(h2 - c, h1 - c)`; for an even kernel the centres lie between patches.
pub fn kernel_offsets(kernel: usize) -> Vec<(f64, f64)> {
    let centre = if kernel.is_multiple_of(2) { (kernel as f64 - 1.0) / 2.0 } else { (kernel / 2) as f64 };
    (0..kernel * kernel).map(|p| ((p / kernel) as f64 - centre, (p % kernel) as f64 - centre)).collect()
}

fn local_plan<const H: usize>() -> LocalInit {
    let kernel = H.isqrt();
    LocalInit { kernel, random_heads: (kernel * kernel..H).collect() }
}

/// Writes `(2 dx, 2 dy, -1)` into the row of each head with a centre `(dx, dy)`; all rows times `strength`, also the
/// random ones that are left, as the reference does.
fn local_rows<const H: usize, E: Dtype, D: Device<E>>(
    weight: &mut Tensor<Rank2<H, 3>, E, D>,
    strength: f64,
) -> Result<(), D::Err> {
    let mut rows: Vec<f64> = weight.as_vec().iter().map(|v| v.to_f64().unwrap_or_default()).collect();
    for (row, (dx, dy)) in rows.chunks_exact_mut(3).zip(kernel_offsets(H.isqrt())) {
        row.copy_from_slice(&[2.0 * dx, 2.0 * dy, -1.0]);
    }
    let scaled: Vec<E> = rows.iter().map(|v| E::from_f64(v * strength).unwrap_or_default()).collect();
    weight.copy_from(&scaled);
    Ok(())
}

fn identity<const C: usize, E: Dtype, D: Device<E>>(weight: &mut Tensor<Rank2<C, C>, E, D>) {
    let mut values = vec![E::default(); C * C];
    values.iter_mut().step_by(C + 1).for_each(|v| *v = E::ONE);
    weight.copy_from(&values);
}

impl<const H: usize, E: Dtype, D: Device<E>> TensorCollection<E, D> for PosProj<H, E, D> {
    type To<E2: Dtype, D2: Device<E2>> = PosProj<H, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::tensor("weight", |s| &s.weight, |s| &mut s.weight, TensorOptions::reset_with(normal)),
                Self::tensor("bias", |s| &s.bias, |s| &mut s.bias, TensorOptions::reset_with(zeros)),
            ),
            |(weight, bias)| PosProj { weight, bias },
        )
    }
}

impl<const C: usize, const H: usize, const QKV_BIAS: bool, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for Gpsa<C, H, QKV_BIAS, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Gpsa<C, H, QKV_BIAS, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        const { assert!(C.is_multiple_of(H), "the channels must be divisible by the heads") };
        visitor.visit_fields(
            (
                Self::tensor(
                    "gating_param",
                    |s| &s.gating_param,
                    |s| &mut s.gating_param,
                    TensorOptions::reset_to_ones(),
                ),
                Self::module("qk", |s| &s.qk, |s| &mut s.qk),
                Self::module("v", |s| &s.v, |s| &mut s.v),
                Self::module("proj", |s| &s.proj, |s| &mut s.proj),
                Self::module("pos_proj", |s| &s.pos_proj, |s| &mut s.pos_proj),
            ),
            |(gating_param, qk, v, proj, pos_proj)| Gpsa { qk, v, proj, pos_proj, gating_param },
        )
    }
}

module!([const H: usize] PosProj<H, E, D> { weight, bias });

module!([const C: usize, const H: usize, const QKV_BIAS: bool] as Layer Gpsa<C, H, QKV_BIAS, E, D> {
    gating_param,
    qk,
    v,
    proj,
    pos_proj,
});

impl<const H: usize, E: Dtype, D: Backend<E>> Build<E, D> for PosProj<H, E, D> {
    fn new(device: &D) -> Result<Self> {
        let weight = Fill::LINEAR.tensor(device, (Const, Const))?;
        Ok(Self { weight, bias: Fill::ZEROS.tensor(device, (Const,))? })
    }
}

impl<const C: usize, const H: usize, const QKV_BIAS: bool, E: Dtype, D: Backend<E>> Build<E, D>
    for Gpsa<C, H, QKV_BIAS, E, D>
{
    fn new(device: &D) -> Result<Self> {
        const { assert!(C.is_multiple_of(H), "the channels must be divisible by the heads") };
        Ok(Self {
            gating_param: Fill::ONES.tensor(device, (Const,))?,
            qk: Build::new(device)?,
            v: Build::new(device)?,
            proj: Build::new(device)?,
            pos_proj: Build::new(device)?,
        })
    }
}

impl<const C: usize, const H: usize, const QKV_BIAS: bool, E: Dtype, D: Backend<E>> Layer<E>
    for Gpsa<C, H, QKV_BIAS, E, D>
{
    fn gates(&self) -> Option<Vec<f64>> {
        Some(Gpsa::gates(self))
    }

    fn projections(&self) -> Option<Projections> {
        let layers = QkvLayers::ValuesApart { qk: "qk", v: "v" };
        Some(Projections { width: C, heads: H, layers, proj: "proj" })
    }

    fn of_offsets(&self) -> &'static [&'static str] {
        &["pos_proj"]
    }
}

impl<const C: usize, const H: usize, const QKV_BIAS: bool, E: Dtype, D: Backend<E>>
    Gpsa<C, H, QKV_BIAS, E, D>
{
    /// Initialises the layer as a soft convolution: values pass unchanged (`v = I`), each of the first
    /// `floor(sqrt(H))^2` heads looks at its own offset of a square kernel, `gating_param = 1`.
    ///
    /// `strength` is the paper's locality strength alpha: attention falls off as `exp(-strength * distance^2)`.
    /// Queries and keys are left as they are. See [`LocalInit::warning`] for head counts that are not square.
    pub fn local_init(&mut self, strength: f64) -> Result<LocalInit> {
        if !(strength.is_finite() && strength > 0.0) {
            let what = format!("locality strength must be a positive number, got {strength}");
            return Err(Error::Argument { layer: "local_init", what });
        }
        identity(&mut self.v.weight);
        local_rows(&mut self.pos_proj.weight, strength).map_err(|e| Error::device("local_init", e))?;
        self.gating_param.try_fill_with_ones().map_err(|e| Error::device("local_init", e))?;
        Ok(local_plan::<H>())
    }

    /// `sigma(gating_param)` of each head.
    pub fn gates(&self) -> Vec<f64> {
        self.gating_param
            .as_vec()
            .iter()
            .map(|v| 1.0 / (1.0 + (-v.to_f64().unwrap_or(f64::NAN)).exp()))
            .collect()
    }

    fn gate(&self) -> PositionalGate<'_, H, E, D> {
        PositionalGate {
            weight: &self.pos_proj.weight,
            bias: &self.pos_proj.bias,
            gating: &self.gating_param,
        }
    }

    fn attend<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        layout: &Layout,
        branch: Option<Branch<'_, C, E, D>>,
    ) -> Result<Tokens<C, E, D, T>> {
        self.check(tokens.shape().1, layout)?;
        let weights = GatedSelfAttentionWeights {
            qk: &self.qk.weight,
            qk_bias: self.qk.bias.as_ref(),
            v: &self.v.weight,
            v_bias: self.v.bias.as_ref(),
            proj: &self.proj.weight,
            proj_bias: self.proj.bias(),
            gate: self.gate(),
        };
        Ok(tokens.device().clone().gated_self_attention(layout.grid, tokens, weights, branch)?)
    }

    fn check(&self, count: usize, layout: &Layout) -> Result<()> {
        if layout.prefix > 0 || count != layout.tokens() {
            let expected =
                format!("{} patch tokens of a {} grid and no class token", layout.grid.tokens(), layout.grid);
            return Err(Error::shape(
                "Gpsa",
                expected,
                format!("{count} tokens, {} in front", layout.prefix),
            ));
        }
        Ok(())
    }
}

impl<const C: usize, const H: usize, const QKV_BIAS: bool, E: Dtype, D: Backend<E>> TokenMixer<C, E, D>
    for Gpsa<C, H, QKV_BIAS, E, D>
{
    fn operator_kind(&self) -> OperatorKind {
        OperatorKind::Attention
    }

    fn mix<T: Tape<E, D>>(&self, tokens: Tokens<C, E, D, T>, layout: &Layout) -> Result<Tokens<C, E, D, T>> {
        self.attend(tokens, layout, None)
    }

    fn attention(&self, tokens: &Tokens<C, E, D>, layout: &Layout) -> Result<Option<AttentionRecord<E>>> {
        let (batch, count, _) = *tokens.shape();
        self.check(count, layout)?;
        let dims = AttentionDims::new(batch, count, H, C);
        let qk = self.qk.apply(tokens.clone())?;
        let map = tokens.device().gated_attention_map(dims, layout.grid, &qk, self.gate())?.as_vec();
        Ok(Some(AttentionRecord { map, batch, heads: H, layout: *layout, gates: Some(self.gates()) }))
    }

    fn mix_branch<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        layout: &Layout,
        readout: Readout,
        branch: Branch<'_, C, E, D>,
    ) -> Result<Tokens<C, E, D, T>> {
        let device = tokens.device().clone();
        Ok(device.read_out(self.attend(tokens, layout, Some(branch))?, readout)?)
    }
}

/// The square grid of `tokens` patches.
fn square_layout(tokens: usize) -> Result<Layout> {
    let side = tokens.isqrt();
    if side * side != tokens || tokens == 0 {
        let what = format!(
            "{tokens} tokens are not a square grid; say which with `mix(tokens, &Layout::patches(grid))`"
        );
        return Err(Error::Argument { layer: "Gpsa", what });
    }
    Ok(Layout::patches(Grid::square(side)))
}

/// Of a square grid of patches. For others use [`TokenMixer::mix`].
impl<const C: usize, const H: usize, const QKV_BIAS: bool, E: Dtype, D: Backend<E>> Module<Tokens<C, E, D>>
    for Gpsa<C, H, QKV_BIAS, E, D>
{
    type Output = Tokens<C, E, D>;
    type Error = Error;

    fn try_forward(&self, tokens: Tokens<C, E, D>) -> Result<Self::Output> {
        let layout = square_layout(tokens.shape().1)?;
        self.mix(tokens, &layout)
    }
}

/// Of a square grid of patches. For others use [`TokenMixer::mix`].
impl<const C: usize, const H: usize, const QKV_BIAS: bool, E: Dtype, D: Backend<E>>
    ModuleMut<Tokens<C, E, D, OwnedTape<E, D>>> for Gpsa<C, H, QKV_BIAS, E, D>
{
    type Output = Tokens<C, E, D, OwnedTape<E, D>>;
    type Error = Error;

    fn try_forward_mut(&mut self, tokens: Tokens<C, E, D, OwnedTape<E, D>>) -> Result<Self::Output> {
        let layout = square_layout(tokens.shape().1)?;
        self.mix(tokens, &layout)
    }
}
