//! Multi-head self-attention between its projections: `softmax(q k^T * scale) v`.

mod cpu;

use dfdx::prelude::*;

pub(crate) use cpu::{backward, forward};

use crate::{Error, Result};

/// Sizes of an attention core.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionDims {
    /// Samples.
    pub batch: usize,
    /// Tokens per sample.
    pub tokens: usize,
    /// Heads.
    pub heads: usize,
    /// Channels per head.
    pub head_dim: usize,
    /// Factor of the scores before the softmax, `head_dim^-0.5` as a rule.
    pub scale: f64,
}

impl AttentionDims {
    /// Sizes for `width` channels in `heads` heads, with the usual scale `head_dim^-0.5`.
    pub fn new(batch: usize, tokens: usize, heads: usize, width: usize) -> Self {
        let head_dim = width / heads.max(1);
        Self { batch, tokens, heads, head_dim, scale: (head_dim as f64).powf(-0.5) }
    }

    /// Channels of all heads.
    pub fn width(&self) -> usize {
        self.heads.saturating_mul(self.head_dim)
    }

    /// Elements of `parts` parts; `None` if there are none, or more than can be counted.
    fn numel(&self, parts: usize) -> Option<usize> {
        let sizes = [self.batch, self.tokens, self.heads, self.head_dim];
        sizes.into_iter().try_fold(parts, usize::checked_mul).filter(|n| *n > 0)
    }
}

pub(crate) fn check_input<Q: Shape>(dims: &AttentionDims, parts: usize, packed: &Q) -> Result<()> {
    if dims.numel(parts) != Some(packed.num_elements()) {
        return Err(Error::shape(
            "attention",
            format!("[{}, {}, {}], not empty", dims.batch, dims.tokens, parts.saturating_mul(dims.width())),
            packed.concrete(),
        ));
    }
    Ok(())
}

pub(crate) fn check<Q: Shape, Y: Shape>(dims: &AttentionDims, qkv: &Q, out: &Y) -> Result<()> {
    check_input(dims, 3, qkv)?;
    check_input(dims, 1, out)
}

type Heads = (usize, usize, usize, usize);

/// Part `index` of `parts` of `[batch, tokens, parts * heads * head_dim]`, as `[batch, heads, tokens, head_dim]`.
fn part<Q: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    AttentionDims { batch, tokens, heads, head_dim, .. }: AttentionDims,
    packed: Tensor<Q, E, D, T>,
    parts: usize,
    index: usize,
) -> Result<Tensor<Heads, E, D, T>, D::Err> {
    packed
        .try_reshape_like(&(batch, tokens, parts, heads, head_dim))?
        .try_slice((0..batch, 0..tokens, index..index + 1, 0..heads, 0..head_dim))?
        .try_reshape_like(&(batch, tokens, heads, head_dim))?
        .try_permute::<Heads, Axes4<0, 2, 1, 3>>()
}

/// The probabilities `softmax(q k^T * scale)`, and the packed input without tape.
#[allow(clippy::type_complexity)]
pub(crate) fn map<Q: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: AttentionDims,
    packed: Tensor<Q, E, D, T>,
    parts: usize,
) -> Result<(Tensor<Heads, E, D, T>, Tensor<Q, E, D>), D::Err> {
    let (packed, tape) = packed.split_tape();
    let q = part(dims, packed.clone().put_tape(tape), parts, 0)?;
    let k = part(dims, packed.retaped::<T>(), parts, 1)?;
    let scores = q.try_matmul(k.try_permute::<Heads, Axes4<0, 1, 3, 2>>()?)?;
    let scale = E::from_f64(dims.scale).unwrap_or(E::ONE);
    Ok((scores.try_mul(scale)?.try_softmax::<Axis<3>>()?, packed))
}

/// `map v` with the heads side by side again.
pub(crate) fn apply<Q: Shape, Y: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: AttentionDims,
    map: Tensor<Heads, E, D, T>,
    (packed, parts, index): (Tensor<Q, E, D, T>, usize, usize),
    out: Y,
) -> Result<Tensor<Y, E, D, T>, D::Err> {
    let v = part(dims, packed, parts, index)?;
    map.try_matmul(v)?.try_permute::<Heads, Axes4<0, 2, 1, 3>>()?.try_reshape_like(&out)
}

pub(crate) fn composition<Q: Shape, Y: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: AttentionDims,
    qkv: Tensor<Q, E, D, T>,
    out: Y,
) -> Result<Tensor<Y, E, D, T>, D::Err> {
    let (map, qkv) = map(dims, qkv, 3)?;
    apply(dims, map, (qkv.retaped::<T>(), 3, 2), out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, testing::*};

    struct Attention(AttentionDims);

    impl Case for Attention {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let AttentionDims { batch, tokens, .. } = self.0;
            let qkv = leaf(dev, (batch, tokens, Const::<3>, self.0.width()), &inputs[0]);
            let y = dev.attention(self.0, qkv.leaky_trace(), (batch, tokens, self.0.width())).unwrap();
            let (y, mut g) = differentiate(dev, y);
            (y, vec![gradient(&mut g, &qkv)])
        }
    }

    #[test]
    fn kernel_and_composition_agree() {
        for (batch, tokens, heads, head_dim) in [(1, 1, 1, 4), (2, 5, 3, 4), (9, 17, 2, 8)] {
            let dims = AttentionDims::new(batch, tokens, heads, heads * head_dim);
            let qkv: Vec<f64> = random(dims.numel(3).unwrap(), 1).iter().map(|v| v * 2.0).collect();
            check_case(&Attention(dims), &[qkv]);
        }
    }

    #[test]
    fn the_map_has_rows_that_sum_to_one() {
        let dev = Cpu::default();
        let dims = AttentionDims::new(2, 6, 2, 8);
        let qkv: Tensor<_, f32, _> = leaf(&dev, (2, 6, 24), &random(2 * 6 * 24, 3));
        let map = dev.attention_map(dims, &qkv).unwrap();
        for sum in map.sum::<(usize, usize, usize), Axis<3>>().as_vec() {
            assert!((sum - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn sizes_that_overflow_are_an_error() {
        let dev = Cpu::default();
        let dims = AttentionDims { batch: 1 << 62, tokens: 4, heads: 1, head_dim: 8, scale: 1.0 };
        let qkv: Tensor<(usize, usize, usize), f32, _> = dev.zeros_like(&(0, 4, 24));
        assert!(dev.attention(dims, qkv, (0, 4, 8)).is_err());
    }

    #[test]
    fn an_input_of_another_size_is_an_error() {
        let dev = Cpu::default();
        let qkv: Tensor<(usize, usize, usize), f32, _> = dev.zeros_like(&(2, 6, 23));
        let error = dev.attention(AttentionDims::new(2, 6, 2, 8), qkv, (2, 6, 8)).unwrap_err();
        assert!(error.to_string().contains("[2, 6, 24]"), "{error}");
    }
}
