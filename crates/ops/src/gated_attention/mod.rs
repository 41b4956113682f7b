//! Gated positional self-attention between its projections (ConViT, arXiv 2103.10697 section 3, eq. 6-8).
//!
//! `A_h = (1 - sigma(lambda_h)) softmax(q k^T * scale) + sigma(lambda_h) softmax(w_h . r + b_h)`, rows renormalised;
//! `r_ij = (dx, dy, dx^2 + dy^2)` from query i to key j in patches. The positional scores are not scaled.

mod cpu;

use dfdx::prelude::*;

pub(crate) use cpu::{Gradients as GateGradients, Inputs, backward, forward};

use crate::{AttentionDims, Error, Result, attention};

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

/// The weights that [`Backend::gated_attention`](crate::Backend::gated_attention) needs beside the projections.
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

pub(crate) fn check<const H: usize, Q: Shape, V: Shape>(
    dims: &AttentionDims,
    grid: Grid,
    qk: &Q,
    v: &V,
) -> Result<()> {
    check_grid::<H>(dims, grid)?;
    attention::check_input(dims, 2, qk)?;
    attention::check_input(dims, 1, v)
}

type Heads = (usize, usize, usize, usize);

/// The positional map `softmax(w_h . r + b_h)`: `[heads, tokens, tokens]`.
fn positional<const H: usize, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    tokens: usize,
    grid: Grid,
    gate: PositionalGate<'_, H, E, D>,
) -> Result<Tensor<(Const<H>, usize, usize), E, D, T>, D::Err> {
    let pairs = tokens * tokens;
    let relative = relative_positions(grid).into_iter().map(|v| E::from_f32(v).unwrap_or_default()).collect();
    let relative: Tensor<(usize, Const<3>), E, D> =
        gate.weight.device().try_tensor_from_vec(relative, (pairs, Const))?;
    let weight = gate.weight.retaped::<T>().try_permute::<Rank2<3, H>, _>()?;
    let scores = relative.retaped::<T>().try_matmul(weight)?;
    let bias = gate.bias.retaped::<T>().try_broadcast_like::<_, Axis<0>>(&(pairs, Const::<H>))?;
    scores
        .try_add(bias)?
        .try_permute::<(Const<H>, usize), _>()?
        .try_reshape_like(&(Const::<H>, tokens, tokens))?
        .try_softmax::<Axis<2>>()
}

/// The gated map `[batch, heads, tokens, tokens]`, in the order of operations of the reference implementation.
pub(crate) fn map<Q: Shape, const H: usize, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: AttentionDims,
    grid: Grid,
    qk: Tensor<Q, E, D, T>,
    gate: PositionalGate<'_, H, E, D>,
) -> Result<Tensor<Heads, E, D, T>, D::Err> {
    let (content, _) = attention::map(dims, qk, 2)?;
    let shape = *content.shape();
    let positional = positional::<H, E, D, T>(dims.tokens, grid, gate)?
        .try_reshape_like(&(dims.heads, dims.tokens, dims.tokens))?
        .try_broadcast_like::<_, Axis<0>>(&shape)?;
    let share = gate.gating.retaped::<T>().try_reshape_like(&(dims.heads,))?.try_sigmoid()?;
    let share = share.try_broadcast_like::<_, Axes3<0, 2, 3>>(&shape)?;
    let rest = share.with_empty_tape().try_negate()?.try_add(E::ONE)?;
    // `share` carries the tape of its own broadcast; both uses of it are recorded.
    let mixed = content.try_mul(rest)?.try_add(positional.try_mul(share)?)?;
    let sums = mixed.with_empty_tape().try_sum::<(usize, usize, usize), Axis<3>>()?;
    mixed.try_div(sums.try_broadcast_like::<_, Axis<3>>(&shape)?)
}

pub(crate) fn composition<Q: Shape, V: Shape, const H: usize, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: AttentionDims,
    grid: Grid,
    qk: Tensor<Q, E, D, T>,
    v: Tensor<V, E, D, T>,
    gate: PositionalGate<'_, H, E, D>,
) -> Result<Tensor<V, E, D, T>, D::Err> {
    let out = *v.shape();
    let map = map(dims, grid, qk, gate)?;
    attention::apply(dims, map, (v, 1, 0), out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, testing::*};

    struct Gated<const H: usize>(AttentionDims, Grid);

    impl<const H: usize> Case for Gated<H> {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let AttentionDims { batch, tokens, .. } = self.0;
            let qk = leaf(dev, (batch, tokens, 2 * self.0.width()), &inputs[0]);
            let v = leaf(dev, (batch, tokens, self.0.width()), &inputs[1]);
            let weight = leaf(dev, (Const::<H>, Const::<3>), &inputs[2]);
            let bias = leaf(dev, (Const::<H>,), &inputs[3]);
            let gating = leaf(dev, (Const::<H>,), &inputs[4]);
            let gate = PositionalGate { weight: &weight, bias: &bias, gating: &gating };
            let y = dev.gated_attention(self.0, self.1, qk.leaky_trace(), v.leaky_trace(), gate).unwrap();
            let (y, mut g) = differentiate(dev, y);
            let grads = vec![
                gradient(&mut g, &qk),
                gradient(&mut g, &v),
                gradient(&mut g, &weight),
                gradient(&mut g, &bias),
                gradient(&mut g, &gating),
            ];
            (y, grads)
        }
    }

    fn case<const H: usize>(batch: usize, grid: Grid, head_dim: usize) {
        let dims = AttentionDims::new(batch, grid.tokens(), H, H * head_dim);
        let n = batch * grid.tokens() * H * head_dim;
        let wide: Vec<f64> = random(2 * n, 1).iter().map(|v| v * 2.0).collect();
        let inputs = [wide, random(n, 2), random(3 * H, 3), random(H, 4), random(H, 5)];
        check_case(&Gated::<H>(dims, grid), &inputs);
    }

    #[test]
    fn kernel_and_composition_agree() {
        case::<4>(2, Grid::square(3), 4);
        case::<1>(1, Grid { rows: 2, cols: 5 }, 3);
        case::<2>(11, Grid { rows: 4, cols: 3 }, 8);
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
        let (qk, v) = (dev.zeros_like(&(1, 6, 16)), dev.zeros_like(&(1, 6, 8)));
        let (weight, bias, gating) = (dev.zeros(), dev.zeros(), dev.zeros());
        let gate = PositionalGate::<2, f32, _> { weight: &weight, bias: &bias, gating: &gating };
        let dims = AttentionDims::new(1, 6, 2, 8);
        assert!(dev.gated_attention(dims, Grid::square(2), qk, v, gate).is_err());
    }
}
