//! `Cpu` in `f32`: the fused kernels, tied into dfdx's tapes.
//!
//! A tensor that is not contiguous (a permuted or broadcast one) goes to the composition instead.

use dfdx::{
    prelude::{Const, Cpu, Gradients, HasShape, PutTape, Rank0, Shape, SplitTape, Tape, Tensor},
    tensor::CpuError,
};

use crate::{
    AdamWStep, AttentionDims, Backend, Error, Grid, MlpWeights, Moments, PositionalGate, Result, adamw,
    attention, cross_entropy, gated_attention, gelu, layer_norm, linear, mlp, patch_embed, residual, softmax,
    tape::{CpuTensor, buffer, is_contiguous, take_gradient, tensor, values, values_mut},
    tokens,
};

/// Falls back to the composition unless every tensor is contiguous.
macro_rules! contiguous_or {
    ($fallback:expr; $($tensor:expr),+) => {
        if !($(is_contiguous($tensor) &&)+ true) {
            return $fallback;
        }
    };
}

/// The gradient buffer of a leaf, to be added to. Zeros take the place of one that [`Borrowed`] holds.
fn gradient_of<'g, S: Shape>(
    gradients: &'g mut Gradients<f32, Cpu>,
    of: &CpuTensor<S>,
) -> Result<&'g mut [f32], CpuError> {
    let slot = &mut **gradients.get_or_alloc_mut(of)?;
    if slot.is_empty() {
        slot.resize(of.shape().num_elements(), 0.0);
    }
    Ok(slot)
}

/// The buffer of a gradient, taken out to be added to and given back later: for several gradients at a time.
///
/// Where two arguments are one tensor (tied weights), the second gets zeros, and giving back adds up.
struct Borrowed(Vec<f32>);

impl Borrowed {
    fn take<S: Shape>(gradients: &mut Gradients<f32, Cpu>, of: &CpuTensor<S>) -> Result<Self, CpuError> {
        let mut values = take_gradient(gradients, of)?;
        if values.is_empty() {
            values.resize(of.shape().num_elements(), 0.0);
        }
        Ok(Self(values))
    }

    fn give<S: Shape>(self, gradients: &mut Gradients<f32, Cpu>, of: &CpuTensor<S>) -> Result<(), CpuError> {
        let slot = &mut **gradients.get_or_alloc_mut(of)?;
        if slot.is_empty() {
            *slot = self.0;
        } else {
            residual::accumulate(&self.0, slot);
        }
        Ok(())
    }
}

impl Backend<f32> for Cpu {
    fn linear<X: Shape, W: Shape, B: Shape, Y: Shape, T: Tape<f32, Self>>(
        &self,
        x: Tensor<X, f32, Self, T>,
        weight: &Tensor<W, f32, Self>,
        bias: Option<&Tensor<B, f32, Self>>,
        out: Y,
    ) -> Result<Tensor<Y, f32, Self, T>> {
        let dims = linear::check(x.shape(), weight.shape(), bias.map(|b| *b.shape()).as_ref(), &out)?;
        if !(is_contiguous(&x) && is_contiguous(weight) && bias.is_none_or(is_contiguous)) {
            return linear::composition(dims, x, weight, bias, out).map_err(|e| Error::device("linear", e));
        }
        let (x, mut tape) = x.split_tape();
        let mut y = buffer(out.num_elements());
        linear::forward(dims, values(&x), values(weight), bias.map(values), &mut y);
        let y = tensor("linear", self, y, out)?;
        if T::OWNS_TAPE {
            let (weight, bias, y) = (weight.clone(), bias.cloned(), y.clone());
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

    fn layer_norm<S: Shape, const C: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
        weight: &Tensor<(Const<C>,), f32, Self>,
        bias: &Tensor<(Const<C>,), f32, Self>,
        eps: f64,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let rows = layer_norm::check::<S, C>(x.shape())?;
        contiguous_or!(
            layer_norm::composition(rows, x, weight, bias, eps).map_err(|e| Error::device("layer_norm", e));
            &x, weight, bias
        );
        let (x, mut tape) = x.split_tape();
        let mut y = buffer(rows * C);
        let statistics = layer_norm::forward(values(&x), values(weight), values(bias), eps as f32, &mut y);
        let y = tensor("layer_norm", self, y, *x.shape())?;
        if T::OWNS_TAPE {
            let (weight, bias, y) = (weight.clone(), bias.clone(), y.clone());
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

    fn gelu<S: Shape, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        contiguous_or!(gelu::composition(x).map_err(|e| Error::device("gelu", e)); &x);
        let (x, mut tape) = x.split_tape();
        let mut y = buffer(x.shape().num_elements());
        gelu::forward(values(&x), &mut y);
        let y = tensor("gelu", self, y, *x.shape())?;
        if T::OWNS_TAPE {
            let y = y.clone();
            tape.add_backward_op(move |gradients| {
                let dy = take_gradient(gradients, &y)?;
                gelu::backward(values(&x), &dy, gradient_of(gradients, &x)?);
                Ok(())
            });
        }
        Ok(y.put_tape(tape))
    }

    fn mlp<S: Shape, const C: usize, const HIDDEN: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
        weights: MlpWeights<'_, C, HIDDEN, f32, Self>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let shape = *x.shape();
        let dims = mlp::Dims::new::<S, C, HIDDEN>(&shape)?;
        contiguous_or!(
            mlp::composition(self, dims, x, weights);
            &x, weights.weight1, weights.bias1, weights.weight2, weights.bias2
        );
        let (x, mut tape) = x.split_tape();
        let (weight1, weight2) = (weights.weight1.clone(), weights.weight2.clone());
        let (bias1, bias2) = (weights.bias1.clone(), weights.bias2.clone());
        let slices = mlp::Weights {
            weight1: values(&weight1),
            bias1: values(&bias1),
            weight2: values(&weight2),
            bias2: values(&bias2),
        };
        let mut y = buffer(shape.num_elements());
        let mut hidden = if T::OWNS_TAPE { Some(buffer(dims.rows * HIDDEN)) } else { None };
        mlp::forward(dims, values(&x), slices, hidden.as_deref_mut(), &mut y);
        let y = tensor("mlp", self, y, shape)?;
        if let Some(hidden) = hidden {
            let y = y.clone();
            tape.add_backward_op(move |gradients| {
                let dy = take_gradient(gradients, &y)?;
                let mut dweight1 = Borrowed::take(gradients, &weight1)?;
                let mut dbias1 = Borrowed::take(gradients, &bias1)?;
                let mut dweight2 = Borrowed::take(gradients, &weight2)?;
                let mut dbias2 = Borrowed::take(gradients, &bias2)?;
                let slices = mlp::Weights {
                    weight1: values(&weight1),
                    bias1: values(&bias1),
                    weight2: values(&weight2),
                    bias2: values(&bias2),
                };
                let sums = mlp::MlpGradients {
                    x: gradient_of(gradients, &x)?,
                    weight1: &mut dweight1.0,
                    bias1: &mut dbias1.0,
                    weight2: &mut dweight2.0,
                    bias2: &mut dbias2.0,
                };
                mlp::backward(dims, values(&x), &hidden, slices, &dy, sums);
                dweight1.give(gradients, &weight1)?;
                dbias1.give(gradients, &bias1)?;
                dweight2.give(gradients, &weight2)?;
                dbias2.give(gradients, &bias2)
            });
        }
        Ok(y.put_tape(tape))
    }

    fn softmax<S: Shape, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let (rows, width) = softmax::check(x.shape())?;
        contiguous_or!(softmax::composition((rows, width), x).map_err(|e| Error::device("softmax", e)); &x);
        let (x, mut tape) = x.split_tape();
        let mut y = values(&x).to_vec();
        softmax::forward(width, &mut y);
        let y = tensor("softmax", self, y, *x.shape())?;
        if T::OWNS_TAPE {
            let y = y.clone();
            tape.add_backward_op(move |gradients| {
                let dy = take_gradient(gradients, &y)?;
                softmax::backward(width, values(&y), &dy, gradient_of(gradients, &x)?);
                Ok(())
            });
        }
        Ok(y.put_tape(tape))
    }

    fn cross_entropy<L: Shape, T: Tape<f32, Self>>(
        &self,
        logits: Tensor<L, f32, Self, T>,
        targets: &Tensor<(usize, usize), f32, Self>,
    ) -> Result<Tensor<Rank0, f32, Self, T>> {
        let dims = cross_entropy::check(logits.shape(), targets.shape())?;
        contiguous_or!(
            cross_entropy::composition(dims, logits, targets).map_err(|e| Error::device("cross_entropy", e));
            &logits, targets
        );
        let (logits, mut tape) = logits.split_tape();
        let (loss, gradient) = cross_entropy::forward(dims, values(&logits), values(targets));
        let loss = tensor("cross_entropy", self, vec![loss], ())?;
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

    fn attention<Q: Shape, Y: Shape, T: Tape<f32, Self>>(
        &self,
        dims: AttentionDims,
        qkv: Tensor<Q, f32, Self, T>,
        out: Y,
    ) -> Result<Tensor<Y, f32, Self, T>> {
        attention::check(&dims, qkv.shape(), &out)?;
        contiguous_or!(attention::composition(dims, qkv, out).map_err(|e| Error::device("attention", e)); &qkv);
        let (qkv, mut tape) = qkv.split_tape();
        let mut y = buffer(out.num_elements());
        attention::forward(dims, values(&qkv), &mut y);
        let y = tensor("attention", self, y, out)?;
        if T::OWNS_TAPE {
            let y = y.clone();
            tape.add_backward_op(move |gradients| {
                let dy = take_gradient(gradients, &y)?;
                attention::backward(dims, values(&qkv), &dy, gradient_of(gradients, &qkv)?);
                Ok(())
            });
        }
        Ok(y.put_tape(tape))
    }

    fn gated_attention<Q: Shape, V: Shape, const H: usize, T: Tape<f32, Self>>(
        &self,
        dims: AttentionDims,
        grid: Grid,
        qk: Tensor<Q, f32, Self, T>,
        v: Tensor<V, f32, Self, T>,
        gate: PositionalGate<'_, H, f32, Self>,
    ) -> Result<Tensor<V, f32, Self, T>> {
        gated_attention::check::<H, _, _>(&dims, grid, qk.shape(), v.shape())?;
        contiguous_or!(
            gated_attention::composition(dims, grid, qk, v, gate).map_err(|e| Error::device("gated_attention", e));
            &qk, &v, gate.weight, gate.bias, gate.gating
        );
        let (qk, qk_tape) = qk.split_tape();
        let (v, v_tape) = v.split_tape();
        let mut tape = qk_tape.merge(v_tape);
        let (weight, bias, gating) = (gate.weight.clone(), gate.bias.clone(), gate.gating.clone());
        let mut y = buffer(v.shape().num_elements());
        let inputs = gated_attention::Inputs {
            dims,
            grid,
            qk: values(&qk),
            v: values(&v),
            weight: values(&weight),
            bias: values(&bias),
            gating: values(&gating),
        };
        gated_attention::forward(inputs, &mut y);
        let y = tensor("gated_attention", self, y, *v.shape())?;
        if T::OWNS_TAPE {
            let y = y.clone();
            tape.add_backward_op(move |gradients| {
                let dy = take_gradient(gradients, &y)?;
                let mut dqk = Borrowed::take(gradients, &qk)?;
                let mut dv = Borrowed::take(gradients, &v)?;
                let mut dweight = Borrowed::take(gradients, &weight)?;
                let mut dbias = Borrowed::take(gradients, &bias)?;
                let mut dgating = Borrowed::take(gradients, &gating)?;
                let inputs = gated_attention::Inputs {
                    dims,
                    grid,
                    qk: values(&qk),
                    v: values(&v),
                    weight: values(&weight),
                    bias: values(&bias),
                    gating: values(&gating),
                };
                let sums = gated_attention::GateGradients {
                    qk: &mut dqk.0,
                    v: &mut dv.0,
                    weight: &mut dweight.0,
                    bias: &mut dbias.0,
                    gating: &mut dgating.0,
                };
                gated_attention::backward(inputs, &dy, sums);
                dqk.give(gradients, &qk)?;
                dv.give(gradients, &v)?;
                dweight.give(gradients, &weight)?;
                dbias.give(gradients, &bias)?;
                dgating.give(gradients, &gating)
            });
        }
        Ok(y.put_tape(tape))
    }

    fn patch_embed<S: Shape, const I: usize, const P: usize, const C: usize, T: Tape<f32, Self>>(
        &self,
        images: Tensor<S, f32, Self, T>,
        weight: &Tensor<(Const<C>, Const<I>, Const<P>, Const<P>), f32, Self>,
        bias: &Tensor<(Const<C>,), f32, Self>,
        image_gradient: bool,
    ) -> Result<Tensor<(usize, usize, Const<C>), f32, Self, T>> {
        let dims = patch_embed::check::<S, I, P, C>(images.shape())?;
        contiguous_or!(
            patch_embed::composition(dims, images, weight, bias).map_err(|e| Error::device("patch_embed", e));
            &images, weight, bias
        );
        let (images, mut tape) = images.split_tape();
        let mut y = buffer(dims.batch * dims.tokens() * C);
        let patches = patch_embed::forward(dims, values(&images), values(weight), values(bias), &mut y);
        let y = tensor("patch_embed", self, y, (dims.batch, dims.tokens(), Const))?;
        if T::OWNS_TAPE {
            let (weight, bias, y) = (weight.clone(), bias.clone(), y.clone());
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

    fn add_residual<S: Shape, T: Tape<f32, Self>>(
        &self,
        branch: Tensor<S, f32, Self, T>,
        residual: &Tensor<S, f32, Self>,
        scale: Option<&[f32]>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let (batch, sample) = residual::check(branch.shape(), residual.shape(), scale)?;
        contiguous_or!(
            residual::composition((batch, sample), branch, residual, scale)
                .map_err(|e| Error::device("add_residual", e));
            &branch, residual
        );
        let (branch, mut tape) = branch.split_tape();
        let mut y = buffer(batch * sample);
        residual::forward(sample, values(&branch), values(residual), scale, &mut y);
        let y = tensor("add_residual", self, y, *branch.shape())?;
        if T::OWNS_TAPE {
            let (residual, y, scale) = (residual.clone(), y.clone(), scale.map(<[f32]>::to_vec));
            tape.add_backward_op(move |gradients| {
                let dy = take_gradient(gradients, &y)?;
                residual::backward(sample, &dy, scale.as_deref(), gradient_of(gradients, &branch)?);
                residual::accumulate(&dy, gradient_of(gradients, &residual)?);
                Ok(())
            });
        }
        Ok(y.put_tape(tape))
    }

    fn add_position<S: Shape, P: Shape, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
        position: &Tensor<P, f32, Self>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let (batch, sample) = tokens::check_position(x.shape(), position.shape())?;
        contiguous_or!(
            tokens::add_position((batch, sample), x, position).map_err(|e| Error::device("add_position", e));
            &x, position
        );
        let (x, mut tape) = x.split_tape();
        let mut y = values(&x).to_vec();
        y.chunks_exact_mut(sample).for_each(|y| residual::accumulate(values(position), y));
        let y = tensor("add_position", self, y, *x.shape())?;
        if T::OWNS_TAPE {
            let (position, y) = (position.clone(), y.clone());
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

    fn prepend_token<const C: usize, P: Shape, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        token: &Tensor<P, f32, Self>,
    ) -> Result<Tensor<(usize, usize, Const<C>), f32, Self, T>> {
        tokens::check_token::<C, _>(x.shape(), token.shape())?;
        contiguous_or!(tokens::prepend_token(x, token).map_err(|e| Error::device("prepend_token", e)); &x, token);
        let (x, mut tape) = x.split_tape();
        let (batch, count, _) = *x.shape();
        let y = tokens::prepend(batch, values(&x), values(token));
        let y = tensor("prepend_token", self, y, (batch, count + 1, Const))?;
        if T::OWNS_TAPE {
            let (token, y) = (token.clone(), y.clone());
            tape.add_backward_op(move |gradients| {
                let dy = take_gradient(gradients, &y)?;
                let mut dtoken = Borrowed::take(gradients, &token)?;
                let dx = gradient_of(gradients, &x)?;
                for (dx, dy) in dx.chunks_exact_mut(count * C).zip(dy.chunks_exact((count + 1) * C)) {
                    residual::accumulate(&dy[..C], &mut dtoken.0);
                    residual::accumulate(&dy[C..], dx);
                }
                dtoken.give(gradients, &token)
            });
        }
        Ok(y.put_tape(tape))
    }

    fn select_token<const C: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        index: usize,
    ) -> Result<Tensor<(usize, Const<C>), f32, Self, T>> {
        tokens::check_range("select_token", x.shape(), index)?;
        contiguous_or!(tokens::select_token(x, index).map_err(|e| Error::device("select_token", e)); &x);
        let (x, mut tape) = x.split_tape();
        let (batch, count, _) = *x.shape();
        let y = tokens::select((count, C), values(&x), index);
        let y = tensor("select_token", self, y, (batch, Const))?;
        if T::OWNS_TAPE {
            let y = y.clone();
            tape.add_backward_op(move |gradients| {
                let dy = take_gradient(gradients, &y)?;
                let dx = gradient_of(gradients, &x)?;
                for (dx, dy) in dx.chunks_exact_mut(count * C).zip(dy.chunks_exact(C)) {
                    residual::accumulate(dy, &mut dx[index * C..][..C]);
                }
                Ok(())
            });
        }
        Ok(y.put_tape(tape))
    }

    fn mean_tokens<const C: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        first: usize,
    ) -> Result<Tensor<(usize, Const<C>), f32, Self, T>> {
        tokens::check_range("mean_tokens", x.shape(), first)?;
        contiguous_or!(tokens::mean_tokens(x, first).map_err(|e| Error::device("mean_tokens", e)); &x);
        let (x, mut tape) = x.split_tape();
        let (batch, count, _) = *x.shape();
        let y = tokens::mean((count, C), values(&x), first);
        let y = tensor("mean_tokens", self, y, (batch, Const))?;
        if T::OWNS_TAPE {
            let y = y.clone();
            tape.add_backward_op(move |gradients| {
                let dy = take_gradient(gradients, &y)?;
                let dx = gradient_of(gradients, &x)?;
                let scale = 1.0 / (count - first) as f32;
                for (dx, dy) in dx.chunks_exact_mut(count * C).zip(dy.chunks_exact(C)) {
                    for dx in dx[first * C..].chunks_exact_mut(C) {
                        dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += scale * dy);
                    }
                }
                Ok(())
            });
        }
        Ok(y.put_tape(tape))
    }

    fn adamw<S: Shape>(
        &self,
        parameter: &mut Tensor<S, f32, Self>,
        gradients: &mut Gradients<f32, Self>,
        moments: &mut Moments<f32, Self>,
        step: &AdamWStep,
    ) -> Result<()> {
        adamw::check(parameter.shape(), moments, step)?;
        contiguous_or!(
            adamw::composition(parameter, gradients, moments, step).map_err(|e| Error::device("adamw", e));
            &*parameter, &moments.first, &moments.second
        );
        let gradient = gradient_of(gradients, parameter).map_err(|e| Error::device("adamw", e))?;
        let (first, second) = (values_mut(&mut moments.first), values_mut(&mut moments.second));
        adamw::update(values_mut(parameter), gradient, first, second, step);
        Ok(())
    }

    fn square_sum<S: Shape>(
        &self,
        parameter: &Tensor<S, f32, Self>,
        gradients: &mut Gradients<f32, Self>,
    ) -> Result<f64> {
        contiguous_or!(
            adamw::square_sum(parameter, gradients).map_err(|e| Error::device("square_sum", e));
            parameter
        );
        let gradient = gradient_of(gradients, parameter).map_err(|e| Error::device("square_sum", e))?;
        Ok(adamw::square_sum_kernel(gradient))
    }

    fn average_into<S: Shape>(
        &self,
        parameter: &Tensor<S, f32, Self>,
        average: &mut Tensor<(usize,), f32, Self>,
        decay: f64,
    ) -> Result<()> {
        adamw::check_average(parameter.shape(), average)?;
        contiguous_or!(
            adamw::average(parameter, average, decay).map_err(|e| Error::device("average_into", e));
            parameter, &*average
        );
        adamw::average_kernel(values(parameter), values_mut(average), decay);
        Ok(())
    }
}
