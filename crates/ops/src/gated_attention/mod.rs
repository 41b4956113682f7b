//! Gated positional self-attention with its projections (ConViT, arXiv 2103.10697 section 3, eq. 6-8).
//!
//! `A_h = (1 - sigma(lambda_h)) softmax(q k^T * scale) + sigma(lambda_h) softmax(w_h . r + b_h)`, rows renormalised;
//! `r_ij = (dx, dy, dx^2 + dy^2)` from query i to key j in patches. The positional scores are not scaled.

mod cpu;
mod kernel;

use dfdx::prelude::*;

pub(crate) use cpu::{Parameters, on_cpu};
pub(crate) use kernel::{GatedSoftmax, GatedSoftmaxBackward};

use crate::{
    AttentionDims, Backend, Branch, Error, Result, attention, branch,
    erase::{composed, erased, held},
};

/// The patches of an image: tokens are numbered row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Patches from top to bottom.
    pub rows: usize,
    /// Patches from left to right.
    pub cols: usize,
}

impl Grid {
    /// A square grid.
    pub fn square(side: usize) -> Self {
        Self { rows: side, cols: side }
    }

    /// Number of patches.
    pub fn tokens(&self) -> usize {
        self.rows * self.cols
    }
}

impl std::fmt::Display for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.rows, self.cols)
    }
}

/// The positional side of gated attention.
#[derive(Debug)]
pub struct PositionalGate<'a, const H: usize, E: Dtype, D: Device<E>> {
    /// `pos_proj.weight`: each head's direction in the space of `(dx, dy, dx^2 + dy^2)`.
    pub weight: &'a Tensor<Rank2<H, 3>, E, D>,
    /// `pos_proj.bias`. Shifts a whole row of scores: without effect, its gradient is 0.
    pub bias: &'a Tensor<Rank1<H>, E, D>,
    /// `gating_param`: lambda, whose sigmoid is the share of the positional map.
    pub gating: &'a Tensor<Rank1<H>, E, D>,
}

impl<const H: usize, E: Dtype, D: Device<E>> Clone for PositionalGate<'_, H, E, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<const H: usize, E: Dtype, D: Device<E>> Copy for PositionalGate<'_, H, E, D> {}

/// The weights of gated positional self-attention.
#[derive(Debug)]
pub struct GatedSelfAttentionWeights<'a, const C: usize, const H: usize, E: Dtype, D: Device<E>> {
    /// `qk.weight`, `[2, C, C]`, parts in the order q, k.
    pub qk: &'a Tensor<Rank3<2, C, C>, E, D>,
    /// `qk.bias`, `[2, C]`
    pub qk_bias: Option<&'a Tensor<Rank2<2, C>, E, D>>,
    /// `v.weight`, `[C, C]`
    pub v: &'a Tensor<Rank2<C, C>, E, D>,
    /// `v.bias`, `[C]`
    pub v_bias: Option<&'a Tensor<Rank1<C>, E, D>>,
    /// `proj.weight`, `[C, C]`
    pub proj: &'a Tensor<Rank2<C, C>, E, D>,
    /// `proj.bias`, `[C]`
    pub proj_bias: &'a Tensor<Rank1<C>, E, D>,
    /// The positional side.
    pub gate: PositionalGate<'a, H, E, D>,
}

impl<const C: usize, const H: usize, E: Dtype, D: Device<E>> Clone
    for GatedSelfAttentionWeights<'_, C, H, E, D>
{
    fn clone(&self) -> Self {
        *self
    }
}

impl<const C: usize, const H: usize, E: Dtype, D: Device<E>> Copy
    for GatedSelfAttentionWeights<'_, C, H, E, D>
{
}

/// `(dx, dy, dx^2 + dy^2)` from each patch (row) to each patch (column): `[tokens, tokens, 3]`, row-major.
///
/// x grows to the right, y downwards, in units of patches.
pub fn relative_positions(grid: Grid) -> Vec<f32> {
    let tokens = grid.tokens();
    let place = |token: usize| ((token % grid.cols) as f32, (token / grid.cols) as f32);
    let mut positions = Vec::with_capacity(tokens * tokens * 3);
    for query in 0..tokens {
        for key in 0..tokens {
            let ((qx, qy), (kx, ky)) = (place(query), place(key));
            let (dx, dy) = (kx - qx, ky - qy);
            positions.extend([dx, dy, dx * dx + dy * dy]);
        }
    }
    positions
}

pub(crate) fn check_grid<const H: usize>(dims: &AttentionDims, grid: Grid) -> Result<()> {
    if grid.tokens() != dims.tokens {
        return Err(Error::shape(
            "gated_attention",
            format!("{} tokens for a {grid} grid", grid.tokens()),
            dims.tokens,
        ));
    }
    if H != dims.heads {
        return Err(Error::shape("gated_attention", format!("{H} heads"), dims.heads));
    }
    Ok(())
}

/// The sizes of gated attention over `x: [batch, tokens, C]`.
pub(crate) fn check<const C: usize, const H: usize, E: Dtype, D: Device<E>>(
    grid: Grid,
    x: &(usize, usize, Const<C>),
    branch: Option<&Branch<'_, C, E, D>>,
) -> Result<AttentionDims> {
    let dims = attention::check(H, x, branch)?;
    check_grid::<H>(&dims, grid)?;
    Ok(dims)
}

type Heads = (usize, usize, usize, usize);

/// [`PositionalGate`] with the number of heads as a number.
pub(crate) struct HeldGate<E: Dtype, D: Device<E>> {
    weight: Tensor<(usize, usize), E, D>,
    bias: Tensor<(usize,), E, D>,
    gating: Tensor<(usize,), E, D>,
}

impl<E: Dtype, D: Device<E>> HeldGate<E, D> {
    pub(crate) fn new<const H: usize>(gate: PositionalGate<'_, H, E, D>) -> Self {
        Self { weight: held(gate.weight), bias: held(gate.bias), gating: held(gate.gating) }
    }
}

/// The positional map `softmax(w_h . r + b_h)`: `[heads, tokens, tokens]`.
fn positional<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    grid: Grid,
    gate: &HeldGate<E, D>,
) -> Result<Tensor<(usize, usize, usize), E, D, T>, D::Err> {
    let (heads, tokens) = (gate.bias.shape().0, grid.tokens());
    let pairs = tokens * tokens;
    let relative = relative_positions(grid).into_iter().map(|v| E::from_f32(v).unwrap_or_default()).collect();
    let relative: Tensor<(usize, usize), E, D> =
        gate.weight.device().try_tensor_from_vec(relative, (pairs, 3))?;
    let weight = gate.weight.retaped::<T>().try_permute::<(usize, usize), Axes2<1, 0>>()?;
    let scores = relative.retaped::<T>().try_matmul(weight)?;
    let bias = gate.bias.retaped::<T>().try_broadcast_like::<_, Axis<0>>(&(pairs, heads))?;
    scores
        .try_add(bias)?
        .try_permute::<(usize, usize), Axes2<1, 0>>()?
        .try_reshape_like(&(heads, tokens, tokens))?
        .try_softmax::<Axis<2>>()
}

/// The gated map `[batch, heads, tokens, tokens]`, in the order of operations of the reference implementation.
pub(crate) fn map<Q: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: AttentionDims,
    grid: Grid,
    qk: Tensor<Q, E, D, T>,
    gate: &HeldGate<E, D>,
) -> Result<Tensor<Heads, E, D, T>, D::Err> {
    let (content, _) = attention::map(dims, qk, 2)?;
    let shape = *content.shape();
    let positional = positional::<E, D, T>(grid, gate)?.try_broadcast_like::<_, Axis<0>>(&shape)?;
    let share = gate.gating.retaped::<T>().try_sigmoid()?;
    let share = share.try_broadcast_like::<_, Axes3<0, 2, 3>>(&shape)?;
    let rest = share.with_empty_tape().try_negate()?.try_add(E::ONE)?;
    // `share` carries the tape of its own broadcast; both uses of it are recorded.
    let mixed = content.try_mul(rest)?.try_add(positional.try_mul(share)?)?;
    let sums = mixed.with_empty_tape().try_sum::<(usize, usize, usize), Axis<3>>()?;
    mixed.try_div(sums.try_broadcast_like::<_, Axis<3>>(&shape)?)
}

pub(crate) fn composition<const C: usize, const H: usize, E: Dtype, D: Backend<E>, T: Tape<E, D>>(
    device: &D,
    grid: Grid,
    x: Tensor<(usize, usize, Const<C>), E, D, T>,
    weights: GatedSelfAttentionWeights<'_, C, H, E, D>,
    branch: Option<Branch<'_, C, E, D>>,
) -> Result<Tensor<(usize, usize, Const<C>), E, D, T>> {
    let dims = check::<C, H, E, D>(grid, x.shape(), branch.as_ref())?;
    let shape = *x.shape();
    branch::around(device, x, branch, |x| {
        let (x, tape) = x.split_tape();
        let out = (shape.0, shape.1, Const::<2>, Const::<C>);
        let qk = device.linear(x.clone().put_tape(tape), weights.qk, weights.qk_bias, out)?;
        let v = device.linear(x.retaped::<T>(), weights.v, weights.v_bias, shape)?;
        let mixed = map(dims, grid, erased(qk), &HeldGate::new(weights.gate))
            .and_then(|map| attention::apply(dims, map, (erased(v), 1, 0)));
        let mixed = composed::<(usize, usize, Const<C>), _, _, _>("gated_self_attention", mixed)?;
        device.linear(mixed, weights.proj, Some(weights.proj_bias), shape)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    /// Batch, grid, whether q and k, and v have biases, whether there is a branch, its drop path.
    struct Gated<const C: usize, const H: usize>(usize, Grid, [bool; 2], bool, Option<Vec<f32>>);

    impl<const C: usize, const H: usize> Case for Gated<C, H> {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let x = leaf(dev, (self.0, self.1.tokens(), Const::<C>), &inputs[0]);
            let qk = leaf(dev, (Const::<2>, Const::<C>, Const::<C>), &inputs[1]);
            let qk_bias = leaf(dev, (Const::<2>, Const::<C>), &inputs[2]);
            let [v, proj] = [3, 4].map(|i: usize| leaf(dev, (Const::<C>, Const::<C>), &inputs[i]));
            let [v_bias, proj_bias, norm_weight, norm_bias] =
                [5, 6, 7, 8].map(|i: usize| leaf(dev, (Const::<C>,), &inputs[i]));
            let weight = leaf(dev, (Const::<H>, Const::<3>), &inputs[9]);
            let [bias, gating] = [10, 11].map(|i: usize| leaf(dev, (Const::<H>,), &inputs[i]));
            let weights = GatedSelfAttentionWeights {
                qk: &qk,
                qk_bias: self.2[0].then_some(&qk_bias),
                v: &v,
                v_bias: self.2[1].then_some(&v_bias),
                proj: &proj,
                proj_bias: &proj_bias,
                gate: PositionalGate { weight: &weight, bias: &bias, gating: &gating },
            };
            let branch =
                Branch { weight: &norm_weight, bias: &norm_bias, eps: 1e-6, scale: self.4.as_deref() };
            let branch = self.3.then_some(branch);
            let y = dev.gated_self_attention(self.1, x.leaky_trace(), weights, branch).unwrap();
            let (y, mut g) = differentiate(dev, y);
            let mut grads = vec![gradient(&mut g, &x), gradient(&mut g, &qk), gradient(&mut g, &qk_bias)];
            grads.extend([&v, &proj].map(|t| gradient(&mut g, t)));
            grads.extend([&v_bias, &proj_bias, &norm_weight, &norm_bias].map(|t| gradient(&mut g, t)));
            grads.push(gradient(&mut g, &weight));
            grads.extend([&bias, &gating].map(|t| gradient(&mut g, t)));
            (y, grads)
        }
    }

    fn cases<const C: usize, const H: usize>(
        batch: usize,
        grid: Grid,
        check: impl Fn(&Gated<C, H>, &[Vec<f64>]),
    ) {
        let lens = [batch * grid.tokens() * C, 2 * C * C, 2 * C, C * C, C * C, C, C, C, C, 3 * H, H, H];
        let inputs: Vec<_> = lens.iter().enumerate().map(|(i, len)| random(*len, i as u64 + 1)).collect();
        let scale = (0..batch).map(|i| [1.25, 0.0, 2.0][i % 3]).collect();
        for (bias, branch, scale) in [
            ([true, true], true, None),
            ([false, false], false, None),
            ([true, false], true, Some(scale)),
            ([false, true], false, None),
        ] {
            check(&Gated(batch, grid, bias, branch, scale), &inputs);
        }
    }

    #[test]
    fn kernel_and_composition_agree() {
        cases::<16, 4>(2, Grid::square(3), |case, inputs| check_case(case, inputs));
        cases::<3, 1>(1, Grid { rows: 2, cols: 5 }, |case, inputs| check_case(case, inputs));
        cases::<16, 2>(11, Grid { rows: 4, cols: 3 }, |case, inputs| check_case(case, inputs));
        // Several groups of images in a shard, turned weights.
        cases::<8, 2>(67, Grid { rows: 4, cols: 8 }, |case, inputs| check_kernel(case, inputs));
    }

    #[test]
    fn relative_positions_of_a_2x2_grid() {
        // as `timm.models.convit.GPSA.get_rel_indices`
        let want = [
            [(0., 0., 0.), (1., 0., 1.), (0., 1., 1.), (1., 1., 2.)],
            [(-1., 0., 1.), (0., 0., 0.), (-1., 1., 2.), (0., 1., 1.)],
            [(0., -1., 1.), (1., -1., 2.), (0., 0., 0.), (1., 0., 1.)],
            [(-1., -1., 2.), (0., -1., 1.), (-1., 0., 1.), (0., 0., 0.)],
        ];
        let want: Vec<f32> = want.iter().flatten().flat_map(|(x, y, d)| [*x, *y, *d]).collect();
        assert_eq!(relative_positions(Grid::square(2)), want);
    }

    #[test]
    fn a_grid_of_another_size_is_an_error() {
        let dev = Cpu::default();
        let (qk, v, proj, proj_bias) = (dev.zeros(), dev.zeros(), dev.zeros(), dev.zeros());
        let (weight, bias, gating) = (dev.zeros(), dev.zeros(), dev.zeros());
        let weights = GatedSelfAttentionWeights::<'_, 8, 2, f32, _> {
            qk: &qk,
            qk_bias: None,
            v: &v,
            v_bias: None,
            proj: &proj,
            proj_bias: &proj_bias,
            gate: PositionalGate { weight: &weight, bias: &bias, gating: &gating },
        };
        let x = || dev.zeros_like(&(1, 6, Const::<8>));
        assert!(dev.gated_self_attention(Grid::square(2), x(), weights, None).is_err());
        assert!(dev.gated_self_attention(Grid { rows: 3, cols: 2 }, x(), weights, None).is_ok());
    }
}
