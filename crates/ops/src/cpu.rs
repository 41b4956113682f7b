//! `Cpu` in `f32`: the fused kernels, tied into dfdx's tapes.
//!
//! A tensor that is not contiguous (a permuted or broadcast one) is copied; a parameter that is not is refused.

use dfdx::prelude::{Const, Cpu, Gradients, HasShape, Merge, PutTape, Rank0, Shape, SplitTape, Tape, Tensor};

use crate::{
    AdamWStep, Affine, Backend, Border, Branch, ChannelStatistics, ConvAsAttentionWeights, Error,
    GatedSelfAttentionWeights, Grid, MlpWeights, Moments, Readout, Result, SelfAttentionWeights, Window,
    adamw, attention, batch_norm, channels, conv_as_attention, conv2d, cross_entropy, depthwise_conv2d,
    gated_attention, gelu, layer_norm, linear, max_pool2d, mlp, patch_embed, relu, replicate_pad, residual,
    softmax,
    tape::{
        Borrowed, buffer, check_parameters, contiguous, contiguous_pair, gradient_of, is_contiguous,
        take_gradient, tensor, values, values_mut,
    },
    tokens,
};

impl Backend<f32> for Cpu {
    fn linear<X: Shape, W: Shape, B: Shape, Y: Shape, T: Tape<f32, Self>>(
        &self,
        x: Tensor<X, f32, Self, T>,
        weight: &Tensor<W, f32, Self>,
        bias: Option<&Tensor<B, f32, Self>>,
        out: Y,
    ) -> Result<Tensor<Y, f32, Self, T>> {
        let dims = linear::check(x.shape(), weight.shape(), bias.map(|b| *b.shape()).as_ref(), &out)?;
        check_parameters("linear", &[is_contiguous(weight), bias.is_none_or(is_contiguous)])?;
        let x = contiguous("linear", x)?;
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
        check_parameters("layer_norm", &[is_contiguous(weight), is_contiguous(bias)])?;
        let x = contiguous("layer_norm", x)?;
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

    fn batch_norm<const C: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        mean: &Tensor<(Const<C>,), f32, Self>,
        variance: &Tensor<(Const<C>,), f32, Self>,
        eps: f64,
        affine: Affine<'_, C, f32, Self>,
    ) -> Result<Tensor<(usize, usize, Const<C>), f32, Self, T>> {
        batch_norm::check(x.shape(), &affine)?;
        let x = contiguous("batch_norm", x)?;
        let [mean, variance] =
            [mean, variance].map(|t| t.as_vec().into_iter().map(f64::from).collect::<Vec<_>>());
        batch_norm::on_cpu(self, x, (&mean, &variance, false), eps, affine)
    }

    fn batch_norm_train<const C: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        eps: f64,
        affine: Affine<'_, C, f32, Self>,
    ) -> Result<(Tensor<(usize, usize, Const<C>), f32, Self, T>, ChannelStatistics<f32>)> {
        batch_norm::check_train(x.shape(), &affine)?;
        let x = contiguous("batch_norm", x)?;
        let (x, tape) = x.split_tape();
        let spread = batch_norm::spread(C, values(&x));
        let y =
            batch_norm::on_cpu(self, x.put_tape(tape), (spread.mean(), &spread.biased(), true), eps, affine)?;
        let numbers = |values: &[f64]| values.iter().map(|v| *v as f32).collect();
        Ok((y, ChannelStatistics { mean: numbers(spread.mean()), variance: numbers(&spread.unbiased()) }))
    }

    fn gelu<S: Shape, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let x = contiguous("gelu", x)?;
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

    fn relu<S: Shape, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        relu::on_cpu(self, x)
    }

    fn mlp<S: Shape, const C: usize, const HIDDEN: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
        weights: MlpWeights<'_, C, HIDDEN, f32, Self>,
        branch: Option<Branch<'_, C, f32, Self>>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        mlp::on_cpu(self, x, weights, branch)
    }

    fn softmax<S: Shape, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let (_, width) = softmax::check(x.shape())?;
        let x = contiguous("softmax", x)?;
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
        let logits = contiguous("cross_entropy", logits)?;
        let targets = &contiguous("cross_entropy", targets.clone())?;
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

    fn self_attention<const C: usize, T: Tape<f32, Self>>(
        &self,
        heads: usize,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        weights: SelfAttentionWeights<'_, C, f32, Self>,
        readout: Readout,
        branch: Option<Branch<'_, C, f32, Self>>,
    ) -> Result<Tensor<(usize, usize, Const<C>), f32, Self, T>> {
        attention::on_cpu(self, heads, x, weights, readout, branch)
    }

    fn attention_heads<const C: usize, T: Tape<f32, Self>>(
        &self,
        heads: usize,
        qkv: Tensor<(usize, usize, Const<3>, Const<C>), f32, Self, T>,
    ) -> Result<Tensor<(usize, usize, Const<C>), f32, Self, T>> {
        attention::core::on_cpu(self, heads, qkv)
    }

    fn gated_self_attention<const C: usize, const H: usize, T: Tape<f32, Self>>(
        &self,
        grid: Grid,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        weights: GatedSelfAttentionWeights<'_, C, H, f32, Self>,
        branch: Option<Branch<'_, C, f32, Self>>,
    ) -> Result<Tensor<(usize, usize, Const<C>), f32, Self, T>> {
        gated_attention::on_cpu(self, grid, x, weights, branch)
    }

    fn patch_embed<S: Shape, const I: usize, const P: usize, const C: usize, T: Tape<f32, Self>>(
        &self,
        images: Tensor<S, f32, Self, T>,
        weight: &Tensor<(Const<C>, Const<I>, Const<P>, Const<P>), f32, Self>,
        bias: &Tensor<(Const<C>,), f32, Self>,
        image_gradient: bool,
    ) -> Result<Tensor<(usize, usize, Const<C>), f32, Self, T>> {
        let dims = patch_embed::check::<S, I, P, C>(images.shape())?;
        check_parameters("patch_embed", &[is_contiguous(weight), is_contiguous(bias)])?;
        let images = contiguous("patch_embed", images)?;
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

    fn conv2d<const O: usize, const I: usize, const KH: usize, const KW: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<I>), f32, Self, T>,
        grid: Grid,
        weight: &Tensor<(Const<O>, Const<I>, Const<KH>, Const<KW>), f32, Self>,
        bias: Option<&Tensor<(Const<O>,), f32, Self>>,
        window: Window,
    ) -> Result<(Tensor<(usize, usize, Const<O>), f32, Self, T>, Grid)> {
        conv2d::on_cpu(self, x, grid, weight, bias, window)
    }

    fn conv2d_images<
        S: Shape,
        const O: usize,
        const I: usize,
        const KH: usize,
        const KW: usize,
        T: Tape<f32, Self>,
    >(
        &self,
        images: Tensor<S, f32, Self, T>,
        weight: &Tensor<(Const<O>, Const<I>, Const<KH>, Const<KW>), f32, Self>,
        bias: Option<&Tensor<(Const<O>,), f32, Self>>,
        window: Window,
        image_gradient: bool,
    ) -> Result<(Tensor<(usize, usize, Const<O>), f32, Self, T>, Grid)> {
        conv2d::images_on_cpu(self, images, weight, bias, window, image_gradient)
    }

    fn conv_as_attention<
        const O: usize,
        const C: usize,
        const K: usize,
        const H: usize,
        const QK: usize,
        T: Tape<f32, Self>,
    >(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        grid: Grid,
        stride: usize,
        border: Border,
        weights: ConvAsAttentionWeights<'_, O, C, K, H, QK, f32, Self>,
    ) -> Result<(Tensor<(usize, usize, Const<O>), f32, Self, T>, Grid)> {
        conv_as_attention::on_cpu(self, x, grid, stride, border, weights)
    }

    fn replicate_pad<const C: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        grid: Grid,
        pad: usize,
    ) -> Result<(Tensor<(usize, usize, Const<C>), f32, Self, T>, Grid)> {
        replicate_pad::on_cpu(self, x, grid, pad)
    }

    fn depthwise_conv2d<const C: usize, const K: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        grid: Grid,
        prefix: usize,
        weight: &Tensor<(Const<C>, Const<1>, Const<K>, Const<K>), f32, Self>,
        bias: Option<&Tensor<(Const<C>,), f32, Self>>,
    ) -> Result<Tensor<(usize, usize, Const<C>), f32, Self, T>> {
        depthwise_conv2d::on_cpu(self, x, grid, prefix, weight, bias)
    }

    fn max_pool2d<const C: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        grid: Grid,
        window: Window,
    ) -> Result<(Tensor<(usize, usize, Const<C>), f32, Self, T>, Grid)> {
        max_pool2d::on_cpu(self, x, grid, window)
    }

    fn add_residual<S: Shape, T: Tape<f32, Self>>(
        &self,
        branch: Tensor<S, f32, Self, T>,
        residual: &Tensor<S, f32, Self>,
        scale: Option<&[f32]>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let (batch, sample) = residual::check(branch.shape(), residual.shape(), scale)?;
        let (branch, residual) = contiguous_pair("add_residual", branch, residual)?;
        let (branch, mut tape) = branch.split_tape();
        let mut y = buffer(batch * sample);
        residual::forward(sample, values(&branch), values(&residual), scale, &mut y);
        let y = tensor("add_residual", self, y, *branch.shape())?;
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

    fn add_position<S: Shape, P: Shape, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
        position: &Tensor<P, f32, Self>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let (_, sample) = tokens::check_position(x.shape(), position.shape())?;
        check_parameters("add_position", &[is_contiguous(position)])?;
        let x = contiguous("add_position", x)?;
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
        check_parameters("prepend_token", &[is_contiguous(token)])?;
        let x = contiguous("prepend_token", x)?;
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
        let x = contiguous("select_token", x)?;
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
        let x = contiguous("mean_tokens", x)?;
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

    fn slice_channels<const C: usize, const P: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        first: usize,
    ) -> Result<Tensor<(usize, usize, Const<P>), f32, Self, T>> {
        channels::slice_on_cpu(self, x, first)
    }

    fn concat_channels<
        const A: usize,
        const B: usize,
        const C: usize,
        TA: Tape<f32, Self> + Merge<TB>,
        TB: Tape<f32, Self>,
    >(
        &self,
        a: Tensor<(usize, usize, Const<A>), f32, Self, TA>,
        b: Tensor<(usize, usize, Const<B>), f32, Self, TB>,
    ) -> Result<Tensor<(usize, usize, Const<C>), f32, Self, TA>> {
        channels::concat_on_cpu(self, a, b)
    }

    fn adamw<S: Shape>(
        &self,
        parameter: &mut Tensor<S, f32, Self>,
        gradients: &mut Gradients<f32, Self>,
        moments: &mut Moments<f32, Self>,
        step: &AdamWStep,
    ) -> Result<()> {
        adamw::check(parameter.shape(), moments, step)?;
        let Moments { first, second } = &*moments;
        check_parameters("adamw", &[is_contiguous(parameter), is_contiguous(first), is_contiguous(second)])?;
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
        check_parameters("square_sum", &[is_contiguous(parameter)])?;
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
        check_parameters("average_into", &[is_contiguous(parameter), is_contiguous(average)])?;
        adamw::average_kernel(values(parameter), values_mut(average), decay);
        Ok(())
    }
}
