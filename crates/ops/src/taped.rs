//! Kernels that write into dfdx's gradients themselves, where an [`Operation`](crate::custom::Operation) would copy: each is compiled once for each
//! rank.

use dfdx::prelude::{Cpu, HasShape, PutTape, Rank0, Shape, SplitTape, Tape, Tensor};

use crate::{
    Result, cross_entropy, layer_norm, linear, patch_embed, residual,
    tape::{
        Borrowed, Rank1, Rank2, Rank4, Tokens, buffer, check_parameters, contiguous, contiguous_pair,
        gradient_of, is_contiguous, take_gradient, tensor, values,
    },
    tokens,
};

pub(crate) fn linear_on_cpu<X: Shape, W: Shape, B: Shape, Y: Shape, T: Tape<f32, Cpu>>(
    device: &Cpu,
    dims: linear::Dims,
    x: Tensor<X, f32, Cpu, T>,
    weight: Tensor<W, f32, Cpu>,
    bias: Option<Tensor<B, f32, Cpu>>,
    out: Y,
) -> Result<Tensor<Y, f32, Cpu, T>> {
    let of_bias = bias.as_ref().is_none_or(is_contiguous);
    check_parameters("linear", &[is_contiguous(&weight), of_bias])?;
    let x = contiguous("linear", x)?;
    let (x, mut tape) = x.split_tape();
    let mut y = buffer(out.num_elements());
    linear::forward(dims, values(&x), values(&weight), bias.as_ref().map(values), &mut y);
    let y = tensor("linear", device, y, out)?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            drop(y);
            let (xs, weights) = (values(&x), values(&weight));
            let dx = gradient_of(gradients, &x)?;
            linear::backward(dims, &dy, (xs, Some(dx)), (weights, None), None);
            let dweight = gradient_of(gradients, &weight)?;
            linear::backward(dims, &dy, (xs, None), (weights, Some(dweight)), None);
            if let Some(bias) = &bias {
                let dbias = gradient_of(gradients, bias)?;
                linear::backward(dims, &dy, (xs, None), (weights, None), Some(dbias));
            }
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

pub(crate) fn layer_norm_on_cpu<S: Shape, T: Tape<f32, Cpu>>(
    device: &Cpu,
    x: Tensor<S, f32, Cpu, T>,
    weight: Rank1,
    bias: Rank1,
    eps: f64,
) -> Result<Tensor<S, f32, Cpu, T>> {
    check_parameters("layer_norm", &[is_contiguous(&weight), is_contiguous(&bias)])?;
    let x = contiguous("layer_norm", x)?;
    let (x, mut tape) = x.split_tape();
    let mut y = buffer(x.shape().num_elements());
    let statistics = layer_norm::forward(values(&x), values(&weight), values(&bias), eps as f32, &mut y);
    let y = tensor("layer_norm", device, y, *x.shape())?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            let mut dweight = Borrowed::take(gradients, &weight)?;
            let mut dbias = Borrowed::take(gradients, &bias)?;
            let dx = gradient_of(gradients, &x)?;
            let dparameters = (&mut dweight.0[..], &mut dbias.0[..]);
            layer_norm::backward(values(&x), values(&weight), &statistics, &dy, dx, dparameters);
            dweight.give(gradients, &weight)?;
            dbias.give(gradients, &bias)
        });
    }
    Ok(y.put_tape(tape))
}

pub(crate) fn cross_entropy_on_cpu<L: Shape, T: Tape<f32, Cpu>>(
    device: &Cpu,
    dims: (usize, usize),
    logits: Tensor<L, f32, Cpu, T>,
    targets: &Rank2,
) -> Result<Tensor<Rank0, f32, Cpu, T>> {
    let logits = contiguous("cross_entropy", logits)?;
    let targets = &contiguous("cross_entropy", targets.clone())?;
    let (logits, mut tape) = logits.split_tape();
    let (loss, gradient) = cross_entropy::forward(dims, values(&logits), values(targets));
    let loss = tensor("cross_entropy", device, vec![loss], ())?;
    if T::OWNS_TAPE {
        let loss = loss.clone();
        tape.add_backward_op(move |gradients| {
            let scale = take_gradient(gradients, &loss)?[0];
            let dlogits = gradient_of(gradients, &logits)?;
            dlogits.iter_mut().zip(&gradient).for_each(|(d, g)| *d += scale * g);
            Ok(())
        });
    }
    Ok(loss.put_tape(tape))
}

pub(crate) fn patch_embed_on_cpu<S: Shape, T: Tape<f32, Cpu>>(
    device: &Cpu,
    dims: patch_embed::Dims,
    images: Tensor<S, f32, Cpu, T>,
    (weight, bias): (Rank4, Rank1),
    image_gradient: bool,
) -> Result<Tokens<T>> {
    check_parameters("patch_embed", &[is_contiguous(&weight), is_contiguous(&bias)])?;
    let width = bias.shape().0;
    let images = contiguous("patch_embed", images)?;
    let (images, mut tape) = images.split_tape();
    let mut y = buffer(dims.batch * dims.tokens() * width);
    let patches = patch_embed::forward(dims, values(&images), values(&weight), values(&bias), &mut y);
    let y = tensor("patch_embed", device, y, (dims.batch, dims.tokens(), width))?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            let mut dweight = Borrowed::take(gradients, &weight)?;
            let mut dbias = Borrowed::take(gradients, &bias)?;
            let dimages = if image_gradient { Some(gradient_of(gradients, &images)?) } else { None };
            patch_embed::backward(
                dims,
                &dy,
                &patches,
                (values(&weight), &mut dweight.0),
                &mut dbias.0,
                dimages,
            );
            dweight.give(gradients, &weight)?;
            dbias.give(gradients, &bias)
        });
    }
    Ok(y.put_tape(tape))
}

pub(crate) fn add_residual_on_cpu<S: Shape, T: Tape<f32, Cpu>>(
    device: &Cpu,
    (batch, sample): (usize, usize),
    branch: Tensor<S, f32, Cpu, T>,
    residual: &Tensor<S, f32, Cpu>,
    scale: Option<&[f32]>,
) -> Result<Tensor<S, f32, Cpu, T>> {
    let (branch, residual) = contiguous_pair("add_residual", branch, residual)?;
    let (branch, mut tape) = branch.split_tape();
    let mut y = buffer(batch * sample);
    residual::forward(sample, values(&branch), values(&residual), scale, &mut y);
    let y = tensor("add_residual", device, y, *branch.shape())?;
    if T::OWNS_TAPE {
        let (y, scale) = (y.clone(), scale.map(<[f32]>::to_vec));
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            residual::backward(sample, &dy, scale.as_deref(), gradient_of(gradients, &branch)?);
            residual::accumulate(&dy, gradient_of(gradients, &residual)?);
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

pub(crate) fn add_position_on_cpu<S: Shape, P: Shape, T: Tape<f32, Cpu>>(
    device: &Cpu,
    sample: usize,
    x: Tensor<S, f32, Cpu, T>,
    position: Tensor<P, f32, Cpu>,
) -> Result<Tensor<S, f32, Cpu, T>> {
    check_parameters("add_position", &[is_contiguous(&position)])?;
    let x = contiguous("add_position", x)?;
    let (x, mut tape) = x.split_tape();
    let mut y = values(&x).to_vec();
    y.chunks_exact_mut(sample).for_each(|y| residual::accumulate(values(&position), y));
    let y = tensor("add_position", device, y, *x.shape())?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            let dposition = gradient_of(gradients, &position)?;
            dy.chunks_exact(sample).for_each(|dy| residual::accumulate(dy, dposition));
            residual::accumulate(&dy, gradient_of(gradients, &x)?);
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

pub(crate) fn prepend_token_on_cpu<P: Shape, T: Tape<f32, Cpu>>(
    device: &Cpu,
    x: Tokens<T>,
    token: Tensor<P, f32, Cpu>,
) -> Result<Tokens<T>> {
    check_parameters("prepend_token", &[is_contiguous(&token)])?;
    let x = contiguous("prepend_token", x)?;
    let (x, mut tape) = x.split_tape();
    let (batch, count, c) = *x.shape();
    let y = tokens::prepend(batch, values(&x), values(&token));
    let y = tensor("prepend_token", device, y, (batch, count + 1, c))?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            let mut dtoken = Borrowed::take(gradients, &token)?;
            let dx = gradient_of(gradients, &x)?;
            for (dx, dy) in dx.chunks_exact_mut(count * c).zip(dy.chunks_exact((count + 1) * c)) {
                residual::accumulate(&dy[..c], &mut dtoken.0);
                residual::accumulate(&dy[c..], dx);
            }
            dtoken.give(gradients, &token)
        });
    }
    Ok(y.put_tape(tape))
}

pub(crate) fn select_token_on_cpu<T: Tape<f32, Cpu>>(
    device: &Cpu,
    x: Tokens<T>,
    index: usize,
) -> Result<Tensor<(usize, usize), f32, Cpu, T>> {
    one_row_on_cpu(
        "select_token",
        device,
        x,
        |dims, x| tokens::select(dims, x, index),
        move |(_, c), dy, dx| residual::accumulate(dy, &mut dx[index * c..][..c]),
    )
}

pub(crate) fn mean_tokens_on_cpu<T: Tape<f32, Cpu>>(
    device: &Cpu,
    x: Tokens<T>,
    first: usize,
) -> Result<Tensor<(usize, usize), f32, Cpu, T>> {
    one_row_on_cpu(
        "mean_tokens",
        device,
        x,
        |dims, x| tokens::mean(dims, x, first),
        move |(count, c), dy, dx| {
            let scale = 1.0 / (count - first) as f32;
            for dx in dx[first * c..].chunks_exact_mut(c) {
                dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += scale * dy);
            }
        },
    )
}

/// One row, `[c]`, of each sample's `(count, c)` numbers. forward: of all samples; backward: of one, from the row's gradient.
fn one_row_on_cpu<T: Tape<f32, Cpu>>(
    op: &'static str,
    device: &Cpu,
    x: Tokens<T>,
    forward: impl FnOnce((usize, usize), &[f32]) -> Vec<f32>,
    backward: impl Fn((usize, usize), &[f32], &mut [f32]) + 'static,
) -> Result<Tensor<(usize, usize), f32, Cpu, T>> {
    let x = contiguous(op, x)?;
    let (x, mut tape) = x.split_tape();
    let (batch, count, c) = *x.shape();
    let y = tensor(op, device, forward((count, c), values(&x)), (batch, c))?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            let dx = gradient_of(gradients, &x)?;
            for (dx, dy) in dx.chunks_exact_mut(count * c).zip(dy.chunks_exact(c)) {
                backward((count, c), dy, dx);
            }
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}
