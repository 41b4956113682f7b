//! The heads of self-attention between their projections, for layers whose q, k and v do not come from one input:
//! composition and CPU kernel, which shares the samples out.

use dfdx::prelude::*;
use rayon::prelude::*;

use super::{AttentionDims, apply, heads::Heads, map};
use crate::{
    Error, Result,
    channels::sliceable,
    residual,
    tape::{buffer, contiguous, gradient_of, take_gradient, tensor, values},
};

/// The sizes of attention over `qkv: [batch, tokens, 3, C]` in `heads` heads.
pub(crate) fn check<const C: usize>(
    heads: usize,
    qkv: &(usize, usize, Const<3>, Const<C>),
) -> Result<AttentionDims> {
    if qkv.num_elements() == 0 || heads == 0 || !C.is_multiple_of(heads) {
        let expected = "[batch, tokens, 3, C], not empty, and a number of heads that divides C";
        return Err(Error::shape("attention_heads", expected, (qkv.concrete(), heads)));
    }
    Ok(AttentionDims::new(qkv.0, qkv.1, heads, C))
}

pub(crate) fn composition<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: AttentionDims,
    qkv: Tensor<(usize, usize, usize, usize), E, D, T>,
) -> Result<Tensor<(usize, usize, usize), E, D, T>, D::Err> {
    let (map, qkv) = map(dims, sliceable(qkv)?, 3)?;
    apply(dims, map, (qkv.retaped::<T>(), 3, 2))
}

pub(crate) fn on_cpu<T: Tape<f32, Cpu>>(
    device: &Cpu,
    dims: AttentionDims,
    qkv: Tensor<(usize, usize, usize, usize), f32, Cpu, T>,
) -> Result<crate::tape::Tokens<T>> {
    let (qkv, mut tape) = contiguous("attention_heads", qkv)?.split_tape();
    let mut y = buffer(dims.batch * dims.tokens * dims.width());
    forward(dims, values(&qkv), &mut y);
    let y = tensor("attention_heads", device, y, (dims.batch, dims.tokens, dims.width()))?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            backward(dims, values(&qkv), &dy, gradient_of(gradients, &qkv)?);
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

fn forward(dims: AttentionDims, qkv: &[f32], y: &mut [f32]) {
    let heads = Heads { dims, queries: dims.tokens, gate: None };
    let sample = dims.tokens * dims.width();
    y.par_chunks_exact_mut(sample)
        .zip(qkv.par_chunks_exact(3 * sample))
        .for_each_init(|| heads.scratch(), |scratch, (y, qkv)| heads.forward(qkv, y, scratch));
}

/// Adds to `dqkv`.
fn backward(dims: AttentionDims, qkv: &[f32], dy: &[f32], dqkv: &mut [f32]) {
    let heads = Heads { dims, queries: dims.tokens, gate: None };
    let sample = dims.tokens * dims.width();
    let samples = dqkv.par_chunks_exact_mut(3 * sample).zip(qkv.par_chunks_exact(3 * sample));
    samples.zip(dy.par_chunks_exact(sample)).for_each_init(
        || (heads.backward_scratch(), buffer(3 * sample)),
        |(scratch, own), ((dqkv, qkv), dy)| {
            heads.backward(qkv, dy, own, None, scratch);
            residual::add(own, dqkv);
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, Branch, Readout, SelfAttentionWeights, testing::*};

    /// Batch, tokens, heads; q, k and v are used twice, so that their gradient is a sum.
    struct Core<const C: usize>(usize, usize, usize);

    impl<const C: usize> Case for Core<C> {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let qkv = leaf(dev, (self.0, self.1, Const::<3>, Const::<C>), &inputs[0]);
            let once = dev.attention_heads(self.2, qkv.leaky_trace()).unwrap();
            let (once, tape) = once.split_tape();
            let twice = dev.attention_heads(self.2, qkv.clone().put_tape(tape)).unwrap();
            let (y, mut g) = differentiate(dev, dev.add_residual(twice, &once, None).unwrap());
            (y, vec![gradient(&mut g, &qkv)])
        }
    }

    #[test]
    fn kernel_and_composition_agree() {
        check_case(&Core::<4>(1, 1, 1), &[random(12, 1)]);
        check_case(&Core::<12>(3, 5, 3), &[random(3 * 5 * 36, 1)]);
        check_kernel(&Core::<72>(9, 70, 3), &[random(9 * 70 * 216, 1)]);
    }

    #[test]
    fn the_heads_between_projections_are_those_of_the_whole_layer() {
        let dev = Cpu::default();
        let x: Tensor<_, f32, Cpu> = leaf(&dev, (4, 7, Const::<12>), &random(4 * 84, 1));
        let qkv = leaf(&dev, (Const::<3>, Const::<12>, Const::<12>), &random(432, 2));
        let proj = leaf(&dev, (Const::<12>, Const::<12>), &random(144, 3));
        let bias = leaf(&dev, (Const::<12>,), &random(12, 4));
        let weights = SelfAttentionWeights { qkv: &qkv, qkv_bias: None, proj: &proj, proj_bias: &bias };
        let none: Option<Branch<'_, 12, f32, Cpu>> = None;
        let whole = dev.self_attention(3, x.clone(), weights, Readout::All, none).unwrap().as_vec();
        let no_bias: Option<&Tensor<Rank1<36>, f32, Cpu>> = None;
        let packed = dev.linear(x, &qkv, no_bias, (4, 7, Const::<3>, Const::<12>)).unwrap();
        let mixed = dev.attention_heads(3, packed).unwrap();
        let parts = dev.linear(mixed, &proj, Some(&bias), (4, 7, Const::<12>)).unwrap().as_vec();
        assert!(whole.iter().zip(&parts).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn heads_that_do_not_divide_the_channels_and_empty_inputs_are_errors() {
        let dev = Cpu::default();
        let qkv = |batch| dev.zeros_like(&(batch, 5, Const::<3>, Const::<8>));
        for (heads, batch) in [(3, 2), (0, 2), (2, 0)] {
            let result: Result<Tensor<_, f32, Cpu>> = dev.attention_heads(heads, qkv(batch));
            assert!(result.is_err(), "{heads} heads, batch {batch}");
        }
    }
}
