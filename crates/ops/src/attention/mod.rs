//! Multi-head self-attention with its projections: `softmax(q k^T * scale) v`, projected.

mod backward;
pub(crate) mod core;
mod cpu;
mod forward;
mod heads;
mod kernel;

use dfdx::prelude::*;

pub(crate) use backward::backward;
pub(crate) use cpu::{HeldOutput, Parameters, give_bias, held_output, on_cpu, take_bias};
pub(crate) use forward::forward;
pub(crate) use heads::Gate;
pub(crate) use kernel::{Kept, Layer, Projection};

use crate::{Backend, Branch, Error, Result, branch};

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

/// The tokens whose result is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readout {
    /// All of them.
    #[default]
    All,
    /// The first, a class token: what the others would get is not computed. It still attends to all.
    First,
}

/// The projections of multi-head self-attention.
#[derive(Debug)]
pub struct SelfAttentionWeights<'a, const C: usize, E: Dtype, D: Device<E>> {
    /// `qkv.weight`, `[3, C, C]`, parts in the order q, k, v.
    pub qkv: &'a Tensor<Rank3<3, C, C>, E, D>,
    /// `qkv.bias`, `[3, C]`
    pub qkv_bias: Option<&'a Tensor<Rank2<3, C>, E, D>>,
    /// `proj.weight`, `[C, C]`
    pub proj: &'a Tensor<Rank2<C, C>, E, D>,
    /// `proj.bias`, `[C]`
    pub proj_bias: &'a Tensor<Rank1<C>, E, D>,
}

impl<const C: usize, E: Dtype, D: Device<E>> Clone for SelfAttentionWeights<'_, C, E, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<const C: usize, E: Dtype, D: Device<E>> Copy for SelfAttentionWeights<'_, C, E, D> {}

/// The sizes of attention over `x: [batch, tokens, C]` in `heads` heads.
pub(crate) fn check<const C: usize, E: Dtype, D: Device<E>>(
    heads: usize,
    x: &(usize, usize, Const<C>),
    branch: Option<&Branch<'_, C, E, D>>,
) -> Result<AttentionDims> {
    if x.num_elements() == 0 || heads == 0 || !C.is_multiple_of(heads) {
        let expected = "[batch, tokens, C], not empty, and a number of heads that divides C";
        return Err(Error::shape("self_attention", expected, (x.concrete(), heads)));
    }
    branch::check(x, branch)?;
    Ok(AttentionDims::new(x.0, x.1, heads, C))
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

/// The numbers of a packed tensor in a row: what follows is compiled once and not for every width.
pub(crate) fn flat<Q: Shape, E: Dtype, D: Device<E>>(
    packed: &Tensor<Q, E, D>,
) -> Result<Tensor<(usize,), E, D>, D::Err> {
    packed.clone().try_reshape_like(&(packed.shape().num_elements(),))
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
pub(crate) fn apply<Q: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: AttentionDims,
    map: Tensor<Heads, E, D, T>,
    (packed, parts, index): (Tensor<Q, E, D, T>, usize, usize),
) -> Result<Tensor<(usize, usize, usize), E, D, T>, D::Err> {
    let v = part(dims, packed, parts, index)?;
    let out = (dims.batch, dims.tokens, dims.width());
    map.try_matmul(v)?.try_permute::<Heads, Axes4<0, 2, 1, 3>>()?.try_reshape_like(&out)
}

pub(crate) fn composition<const C: usize, E: Dtype, D: Backend<E>, T: Tape<E, D>>(
    device: &D,
    heads: usize,
    x: Tensor<(usize, usize, Const<C>), E, D, T>,
    weights: SelfAttentionWeights<'_, C, E, D>,
    readout: Readout,
    branch: Option<Branch<'_, C, E, D>>,
) -> Result<Tensor<(usize, usize, Const<C>), E, D, T>> {
    check(heads, x.shape(), branch.as_ref())?;
    let shape = *x.shape();
    let y = branch::around(device, x, branch, |x| {
        let out = (shape.0, shape.1, Const::<3>, Const::<C>);
        let qkv = device.linear(x, weights.qkv, weights.qkv_bias, out)?;
        device.linear(device.attention_heads(heads, qkv)?, weights.proj, Some(weights.proj_bias), shape)
    })?;
    read_out(device, y, readout)
}

/// The tokens that `readout` names.
pub(crate) fn read_out<const C: usize, E: Dtype, D: Backend<E>, T: Tape<E, D>>(
    device: &D,
    y: Tensor<(usize, usize, Const<C>), E, D, T>,
    readout: Readout,
) -> Result<Tensor<(usize, usize, Const<C>), E, D, T>> {
    let batch = y.shape().0;
    match readout {
        Readout::All => Ok(y),
        Readout::First => device
            .select_token(y, 0)?
            .try_reshape_like(&(batch, 1, Const::<C>))
            .map_err(|e| Error::device("self_attention", e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    /// Sizes, whether q, k and v have a bias, the readout, whether there is a branch, its drop path.
    struct Attention<const C: usize> {
        batch: usize,
        tokens: usize,
        heads: usize,
        bias: bool,
        readout: Readout,
        branch: bool,
        scale: Option<Vec<f32>>,
    }

    impl<const C: usize> Case for Attention<C> {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let x = leaf(dev, (self.batch, self.tokens, Const::<C>), &inputs[0]);
            let qkv = leaf(dev, (Const::<3>, Const::<C>, Const::<C>), &inputs[1]);
            let qkv_bias = leaf(dev, (Const::<3>, Const::<C>), &inputs[2]);
            let proj = leaf(dev, (Const::<C>, Const::<C>), &inputs[3]);
            let [proj_bias, norm_weight, norm_bias] =
                [4, 5, 6].map(|i: usize| leaf(dev, (Const::<C>,), &inputs[i]));
            let weights = SelfAttentionWeights {
                qkv: &qkv,
                qkv_bias: self.bias.then_some(&qkv_bias),
                proj: &proj,
                proj_bias: &proj_bias,
            };
            let branch =
                Branch { weight: &norm_weight, bias: &norm_bias, eps: 1e-6, scale: self.scale.as_deref() };
            let branch = self.branch.then_some(branch);
            let y = dev.self_attention(self.heads, x.leaky_trace(), weights, self.readout, branch).unwrap();
            let (y, mut g) = differentiate(dev, y);
            let mut grads = vec![gradient(&mut g, &x), gradient(&mut g, &qkv), gradient(&mut g, &qkv_bias)];
            grads.push(gradient(&mut g, &proj));
            grads.extend([&proj_bias, &norm_weight, &norm_bias].map(|t| gradient(&mut g, t)));
            (y, grads)
        }
    }

    fn inputs(batch: usize, tokens: usize, c: usize) -> Vec<Vec<f64>> {
        [batch * tokens * c, 3 * c * c, 3 * c, c * c, c, c, c]
            .iter()
            .enumerate()
            .map(|(i, len)| random(*len, i as u64 + 1))
            .collect()
    }

    fn cases<const C: usize>(batch: usize, tokens: usize, heads: usize, check: impl Fn(&Attention<C>)) {
        for readout in [Readout::All, Readout::First] {
            let scale: Vec<f32> = (0..batch).map(|i| [1.25, 0.0, 2.0][i % 3]).collect();
            for (bias, branch, scale) in
                [(true, true, None), (false, false, None), (false, true, Some(scale))]
            {
                check(&Attention { batch, tokens, heads, bias, readout, branch, scale });
            }
        }
    }

    #[test]
    fn kernel_and_composition_agree() {
        cases::<4>(1, 1, 1, |case| check_case(case, &inputs(1, 1, 4)));
        cases::<12>(3, 5, 3, |case| check_case(case, &inputs(3, 5, 12)));
        cases::<16>(9, 17, 2, |case| check_case(case, &inputs(9, 17, 16)));
        // Several groups of images in a shard, turned weights, the last group incomplete.
        cases::<8>(67, 33, 2, |case| check_kernel(case, &inputs(67, 33, 8)));
        // More than one panel, the last incomplete; with and without panels for the weights.
        cases::<72>(9, 70, 3, |case| check_kernel(case, &inputs(9, 70, 72)));
        cases::<72>(2, 70, 3, |case| check_kernel(case, &inputs(2, 70, 72)));
        // More tokens than go through together.
        cases::<4>(2, 300, 1, |case| check_kernel(case, &inputs(2, 300, 4)));
    }

    #[test]
    fn the_first_token_is_read_out_as_among_all_and_inference_gives_the_bits_of_training() {
        let dev = Cpu::default();
        let inputs = inputs(5, 60, 12);
        let x: Tensor<_, f32, Cpu> = leaf(&dev, (5, 60, Const::<12>), &inputs[0]);
        let qkv = leaf(&dev, (Const::<3>, Const::<12>, Const::<12>), &inputs[1]);
        let proj = leaf(&dev, (Const::<12>, Const::<12>), &inputs[3]);
        let norm = leaf(&dev, (Const::<12>,), &inputs[4]);
        let weights = SelfAttentionWeights { qkv: &qkv, qkv_bias: None, proj: &proj, proj_bias: &norm };
        let branch = Some(Branch { weight: &norm, bias: &norm, eps: 1e-6, scale: None });
        let all = dev.self_attention(3, x.leaky_trace(), weights, Readout::All, branch).unwrap();
        assert_eq!(
            all.as_vec(),
            dev.self_attention(3, x.clone(), weights, Readout::All, branch).unwrap().as_vec()
        );
        let first = dev.self_attention(3, x, weights, Readout::First, branch).unwrap();
        assert_eq!(first.shape().concrete(), [5, 1, 12]);
        let all = all.as_vec();
        for (all, first) in all.chunks_exact(60 * 12).zip(first.as_vec().chunks_exact(12)) {
            for (a, f) in all.iter().zip(first) {
                assert!((a - f).abs() < 1e-5, "{a} {f}");
            }
        }
    }

    #[test]
    fn weights_that_are_views_are_refused() {
        let dev = Cpu::default();
        let inputs = inputs(2, 5, 12);
        let x: Tensor<_, f32, Cpu> = leaf(&dev, (2, 5, Const::<12>), &inputs[0]);
        let qkv = leaf(&dev, (Const::<3>, Const::<12>, Const::<12>), &inputs[1]);
        let proj = leaf(&dev, (Const::<12>, Const::<12>), &inputs[3]);
        let (flat, broadcast) = (dev.ones::<Rank1<12>>(), dev.ones::<Rank0>().broadcast::<Rank1<12>, _>());
        let run = |norm: &Tensor<Rank1<12>, f32, Cpu>| {
            let weights = SelfAttentionWeights { qkv: &qkv, qkv_bias: None, proj: &proj, proj_bias: norm };
            let branch = Some(Branch { weight: norm, bias: norm, eps: 1e-6, scale: None });
            dev.self_attention(3, x.clone(), weights, Readout::First, branch).map(|y| y.as_vec())
        };
        let error = run(&broadcast).unwrap_err().to_string();
        assert!(error.contains("self_attention") && error.contains("`contiguous()`"), "{error}");
        assert_eq!(run(&flat).unwrap(), run(&broadcast.contiguous()).unwrap());
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
        assert!(dev.attention_map(dims, &qkv).is_err());
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let dev = Cpu::default();
        let qkv: Tensor<(usize, usize, usize), f32, _> = dev.zeros_like(&(2, 6, 23));
        let error = dev.attention_map(AttentionDims::new(2, 6, 2, 8), &qkv).unwrap_err();
        assert!(error.to_string().contains("[2, 6, 24]"), "{error}");

        let (qkv, proj, bias) = (dev.zeros(), dev.zeros(), dev.zeros());
        let weights = SelfAttentionWeights::<'_, 8, f32, _> {
            qkv: &qkv,
            qkv_bias: None,
            proj: &proj,
            proj_bias: &bias,
        };
        let x = |batch| dev.zeros_like(&(batch, 3, Const::<8>));
        assert!(dev.self_attention(3, x(2), weights, Readout::All, None).is_err());
        assert!(dev.self_attention(2, x(0), weights, Readout::All, None).is_err());
        assert!(dev.self_attention(2, x(2), weights, Readout::All, None).is_ok());
    }
}
