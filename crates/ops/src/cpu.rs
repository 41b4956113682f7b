//! `Cpu` in `f32`: the fused kernels, tied into dfdx's tapes.
//!
//! A tensor that is not contiguous (a permuted or broadcast one) is copied; a parameter that is not is refused.

use dfdx::prelude::{Const, Cpu, Gradients, HasShape, Merge, PutTape, Rank0, Shape, SplitTape, Tape, Tensor};

use crate::{
    AdamWStep, Affine, Backend, Border, Branch, ChannelStatistics, ConvAsAttentionWeights, Error,
    GatedSelfAttentionWeights, Grid, MlpWeights, Moments, Readout, Result, SelfAttentionWeights, Window,
    adamw, attention, batch_norm, branch, channels, conv_as_attention, conv2d, cross_entropy,
    custom::run,
    depthwise_conv2d,
    erase::{Erase, erased, typed},
    gated_attention, gelu, layer_norm, linear, max_pool2d, mlp, patch_embed, relu, replicate_pad, residual,
    softmax,
    tape::{
        Borrowed, Rank1, Rank2, Rank4, Tokens, buffer, check_parameters, contiguous, contiguous_pair,
        gradient_of, held, is_contiguous, take_gradient, tensor, values, values_mut,
    },
    tokens,
};

impl Backend<f32> for Cpu {
    fn linear<X: Erase, W: Erase, B: Erase, Y: Erase, T: Tape<f32, Self>>(
        &self,
        x: Tensor<X, f32, Self, T>,
        weight: &Tensor<W, f32, Self>,
        bias: Option<&Tensor<B, f32, Self>>,
        out: Y,
    ) -> Result<Tensor<Y, f32, Self, T>> {
        let dims = linear::check(x.shape(), weight.shape(), bias.map(|b| *b.shape()).as_ref(), &out)?;
        let y = linear_on_cpu(self, dims, erased(x), held(weight), bias.map(held), out.erase())?;
        typed("linear", y)
    }

    fn layer_norm<S: Erase, const C: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
        weight: &Tensor<(Const<C>,), f32, Self>,
        bias: &Tensor<(Const<C>,), f32, Self>,
        eps: f64,
    ) -> Result<Tensor<S, f32, Self, T>> {
        layer_norm::check::<S, C>(x.shape())?;
        typed("layer_norm", layer_norm_on_cpu(self, erased(x), held(weight), held(bias), eps)?)
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
        let x = contiguous("batch_norm", erased(x))?;
        let [mean, variance] =
            [mean, variance].map(|t| held(t).as_vec().into_iter().map(f64::from).collect::<Vec<_>>());
        let affine = batch_norm::Held::new(affine);
        typed("batch_norm", batch_norm::on_cpu(self, x, (&mean, &variance, false), eps, affine)?)
    }

    fn batch_norm_train<const C: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        eps: f64,
        affine: Affine<'_, C, f32, Self>,
    ) -> Result<(Tensor<(usize, usize, Const<C>), f32, Self, T>, ChannelStatistics<f32>)> {
        batch_norm::check_train(x.shape(), &affine)?;
        let x = contiguous("batch_norm", erased(x))?;
        let (x, tape) = x.split_tape();
        let spread = batch_norm::spread(C, values(&x));
        let own = (spread.mean(), &spread.biased()[..], true);
        let y = batch_norm::on_cpu(self, x.put_tape(tape), own, eps, batch_norm::Held::new(affine))?;
        let y = typed("batch_norm", y)?;
        let numbers = |values: &[f64]| values.iter().map(|v| *v as f32).collect();
        Ok((y, ChannelStatistics { mean: numbers(spread.mean()), variance: numbers(&spread.unbiased()) }))
    }

    fn gelu<S: Erase, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let out = *x.shape();
        run(gelu::Gelu, x, &[], out)
    }

    fn relu<S: Erase, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let out = *x.shape();
        run(relu::Relu, x, &[], out)
    }

    fn mlp<S: Erase, const C: usize, const HIDDEN: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
        weights: MlpWeights<'_, C, HIDDEN, f32, Self>,
        branch: Option<Branch<'_, C, f32, Self>>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let dims = mlp::Dims::new::<S, C, HIDDEN>(x.shape())?;
        branch::check(x.shape(), branch.as_ref())?;
        let parameters = mlp::Parameters::new(weights, branch)?;
        typed("mlp", mlp::on_cpu(self, dims, erased(x), parameters)?)
    }

    fn softmax<S: Erase, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let (_, width) = softmax::check(x.shape())?;
        let out = *x.shape();
        run(softmax::Softmax { width }, x, &[], out)
    }

    fn cross_entropy<L: Erase, T: Tape<f32, Self>>(
        &self,
        logits: Tensor<L, f32, Self, T>,
        targets: &Tensor<(usize, usize), f32, Self>,
    ) -> Result<Tensor<Rank0, f32, Self, T>> {
        let dims = cross_entropy::check(logits.shape(), targets.shape())?;
        cross_entropy_on_cpu(self, dims, erased(logits), targets)
    }

    fn self_attention<const C: usize, T: Tape<f32, Self>>(
        &self,
        heads: usize,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        weights: SelfAttentionWeights<'_, C, f32, Self>,
        readout: Readout,
        branch: Option<Branch<'_, C, f32, Self>>,
    ) -> Result<Tensor<(usize, usize, Const<C>), f32, Self, T>> {
        let dims = attention::check(heads, x.shape(), branch.as_ref())?;
        let parameters = attention::Parameters::new(weights, branch)?;
        typed("self_attention", attention::on_cpu(self, dims, erased(x), parameters, readout)?)
    }

    fn attention_heads<const C: usize, T: Tape<f32, Self>>(
        &self,
        heads: usize,
        qkv: Tensor<(usize, usize, Const<3>, Const<C>), f32, Self, T>,
    ) -> Result<Tensor<(usize, usize, Const<C>), f32, Self, T>> {
        let dims = attention::core::check(heads, qkv.shape())?;
        typed("attention_heads", attention::core::on_cpu(self, dims, erased(qkv))?)
    }

    fn gated_self_attention<const C: usize, const H: usize, T: Tape<f32, Self>>(
        &self,
        grid: Grid,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        weights: GatedSelfAttentionWeights<'_, C, H, f32, Self>,
        branch: Option<Branch<'_, C, f32, Self>>,
    ) -> Result<Tensor<(usize, usize, Const<C>), f32, Self, T>> {
        let dims = gated_attention::check::<C, H, f32, Self>(grid, x.shape(), branch.as_ref())?;
        let parameters = gated_attention::Parameters::new(&weights, branch)?;
        typed("gated_self_attention", gated_attention::on_cpu(self, dims, grid, erased(x), parameters)?)
    }

    fn patch_embed<S: Erase, const I: usize, const P: usize, const C: usize, T: Tape<f32, Self>>(
        &self,
        images: Tensor<S, f32, Self, T>,
        weight: &Tensor<(Const<C>, Const<I>, Const<P>, Const<P>), f32, Self>,
        bias: &Tensor<(Const<C>,), f32, Self>,
        image_gradient: bool,
    ) -> Result<Tensor<(usize, usize, Const<C>), f32, Self, T>> {
        let dims = patch_embed::check::<S, I, P, C>(images.shape())?;
        let y = patch_embed_on_cpu(self, dims, erased(images), (held(weight), held(bias)), image_gradient)?;
        typed("patch_embed", y)
    }

    fn conv2d<const O: usize, const I: usize, const KH: usize, const KW: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<I>), f32, Self, T>,
        grid: Grid,
        weight: &Tensor<(Const<O>, Const<I>, Const<KH>, Const<KW>), f32, Self>,
        bias: Option<&Tensor<(Const<O>,), f32, Self>>,
        window: Window,
    ) -> Result<(Tensor<(usize, usize, Const<O>), f32, Self, T>, Grid)> {
        let dims = conv2d::check::<O, I, KH, KW>(x.shape(), grid, window)?;
        let parameters = conv2d::Parameters::new("conv2d", weight, bias)?;
        let (y, grid) = conv2d::on_cpu(self, dims, erased(x), parameters)?;
        Ok((typed("conv2d", y)?, grid))
    }

    fn conv2d_images<
        S: Erase,
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
        let dims = conv2d::check_images::<S, O, I, KH, KW>(images.shape(), window)?;
        let parameters = conv2d::Parameters::new("conv2d_images", weight, bias)?;
        let (y, grid) = conv2d::images_on_cpu(self, dims, erased(images), parameters, image_gradient)?;
        Ok((typed("conv2d_images", y)?, grid))
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
        let qk = weights.content.map(|_| QK);
        let dims = conv_as_attention::check::<O, C, K, H>(x.shape(), grid, stride, border, qk)?;
        let parameters = conv_as_attention::Parameters::new(weights)?;
        let (y, grid) = conv_as_attention::on_cpu(self, dims, erased(x), parameters)?;
        Ok((typed("conv_as_attention", y)?, grid))
    }

    fn replicate_pad<const C: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        grid: Grid,
        pad: usize,
    ) -> Result<(Tensor<(usize, usize, Const<C>), f32, Self, T>, Grid)> {
        let dims = replicate_pad::check(x.shape(), grid, pad)?;
        let (y, out) = replicate_pad::on_cpu(self, dims, grid, erased(x))?;
        Ok((typed("replicate_pad", y)?, out))
    }

    fn depthwise_conv2d<const C: usize, const K: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        grid: Grid,
        prefix: usize,
        weight: &Tensor<(Const<C>, Const<1>, Const<K>, Const<K>), f32, Self>,
        bias: Option<&Tensor<(Const<C>,), f32, Self>>,
    ) -> Result<Tensor<(usize, usize, Const<C>), f32, Self, T>> {
        let dims = depthwise_conv2d::check::<C, K>(x.shape(), grid, prefix)?;
        typed(
            "depthwise_conv2d",
            depthwise_conv2d::on_cpu(self, dims, erased(x), held(weight), bias.map(held))?,
        )
    }

    fn max_pool2d<const C: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        grid: Grid,
        window: Window,
    ) -> Result<(Tensor<(usize, usize, Const<C>), f32, Self, T>, Grid)> {
        let dims = max_pool2d::check(x.shape(), grid, window)?;
        let (y, grid) = max_pool2d::on_cpu(self, dims, erased(x))?;
        Ok((typed("max_pool2d", y)?, grid))
    }

    fn add_residual<S: Erase, T: Tape<f32, Self>>(
        &self,
        branch: Tensor<S, f32, Self, T>,
        residual: &Tensor<S, f32, Self>,
        scale: Option<&[f32]>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let dims = residual::check(branch.shape(), residual.shape(), scale)?;
        typed("add_residual", add_residual_on_cpu(self, dims, erased(branch), &held(residual), scale)?)
    }

    fn add_position<S: Erase, P: Erase, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
        position: &Tensor<P, f32, Self>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let (_, sample) = tokens::check_position(x.shape(), position.shape())?;
        typed("add_position", add_position_on_cpu(self, sample, erased(x), held(position))?)
    }

    fn prepend_token<const C: usize, P: Erase, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        token: &Tensor<P, f32, Self>,
    ) -> Result<Tensor<(usize, usize, Const<C>), f32, Self, T>> {
        tokens::check_token::<C, _>(x.shape(), token.shape())?;
        typed("prepend_token", prepend_token_on_cpu(self, erased(x), held(token))?)
    }

    fn select_token<const C: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        index: usize,
    ) -> Result<Tensor<(usize, Const<C>), f32, Self, T>> {
        tokens::check_range("select_token", x.shape(), index)?;
        typed("select_token", select_token_on_cpu(self, erased(x), index)?)
    }

    fn mean_tokens<const C: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        first: usize,
    ) -> Result<Tensor<(usize, Const<C>), f32, Self, T>> {
        tokens::check_range("mean_tokens", x.shape(), first)?;
        typed("mean_tokens", mean_tokens_on_cpu(self, erased(x), first)?)
    }

    fn slice_channels<const C: usize, const P: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Self, T>,
        first: usize,
    ) -> Result<Tensor<(usize, usize, Const<P>), f32, Self, T>> {
        channels::check_slice::<C, P>(x.shape(), first)?;
        typed("slice_channels", channels::slice_on_cpu(self, erased(x), first, P)?)
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
        channels::check_concat::<A, B, C>(a.shape(), b.shape())?;
        typed("concat_channels", channels::concat_on_cpu(self, erased(a), erased(b))?)
    }

    fn adamw<S: Erase>(
        &self,
        parameter: &mut Tensor<S, f32, Self>,
        gradients: &mut Gradients<f32, Self>,
        moments: &mut Moments<f32, Self>,
        step: &AdamWStep,
    ) -> Result<()> {
        adamw::check(parameter.shape(), moments, step)?;
        let gradient = {
            // Dropped before the parameter is written: a buffer that is shared would be copied.
            let parameter = held(parameter);
            check_parameters("adamw", &[is_contiguous(&parameter)])?;
            gradient_of(gradients, &parameter).map_err(|e| Error::device("adamw", e))?
        };
        let Moments { first, second } = &*moments;
        check_parameters("adamw", &[is_contiguous(first), is_contiguous(second)])?;
        let (first, second) = (values_mut(&mut moments.first), values_mut(&mut moments.second));
        adamw::update(values_mut(parameter), gradient, first, second, step);
        Ok(())
    }

    fn square_sum<S: Erase>(
        &self,
        parameter: &Tensor<S, f32, Self>,
        gradients: &mut Gradients<f32, Self>,
    ) -> Result<f64> {
        let parameter = held(parameter);
        check_parameters("square_sum", &[is_contiguous(&parameter)])?;
        let gradient = gradient_of(gradients, &parameter).map_err(|e| Error::device("square_sum", e))?;
        Ok(adamw::square_sum_kernel(gradient))
    }

    fn average_into<S: Erase>(
        &self,
        parameter: &Tensor<S, f32, Self>,
        average: &mut Tensor<(usize,), f32, Self>,
        decay: f64,
    ) -> Result<()> {
        let parameter = held(parameter);
        adamw::check_average(parameter.shape(), average)?;
        check_parameters("average_into", &[is_contiguous(&parameter), is_contiguous(average)])?;
        adamw::average_kernel(values(&parameter), values_mut(average), decay);
        Ok(())
    }
}

// What follows is compiled once for each rank.

fn linear_on_cpu<X: Shape, W: Shape, B: Shape, Y: Shape, T: Tape<f32, Cpu>>(
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

fn layer_norm_on_cpu<S: Shape, T: Tape<f32, Cpu>>(
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

fn cross_entropy_on_cpu<L: Shape, T: Tape<f32, Cpu>>(
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

fn patch_embed_on_cpu<S: Shape, T: Tape<f32, Cpu>>(
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

fn add_residual_on_cpu<S: Shape, T: Tape<f32, Cpu>>(
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

fn add_position_on_cpu<S: Shape, P: Shape, T: Tape<f32, Cpu>>(
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

fn prepend_token_on_cpu<P: Shape, T: Tape<f32, Cpu>>(
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

fn select_token_on_cpu<T: Tape<f32, Cpu>>(
    device: &Cpu,
    x: Tokens<T>,
    index: usize,
) -> Result<Tensor<(usize, usize), f32, Cpu, T>> {
    let x = contiguous("select_token", x)?;
    let (x, mut tape) = x.split_tape();
    let (batch, count, c) = *x.shape();
    let y = tokens::select((count, c), values(&x), index);
    let y = tensor("select_token", device, y, (batch, c))?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            let dx = gradient_of(gradients, &x)?;
            for (dx, dy) in dx.chunks_exact_mut(count * c).zip(dy.chunks_exact(c)) {
                residual::accumulate(dy, &mut dx[index * c..][..c]);
            }
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

fn mean_tokens_on_cpu<T: Tape<f32, Cpu>>(
    device: &Cpu,
    x: Tokens<T>,
    first: usize,
) -> Result<Tensor<(usize, usize), f32, Cpu, T>> {
    let x = contiguous("mean_tokens", x)?;
    let (x, mut tape) = x.split_tape();
    let (batch, count, c) = *x.shape();
    let y = tokens::mean((count, c), values(&x), first);
    let y = tensor("mean_tokens", device, y, (batch, c))?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            let dx = gradient_of(gradients, &x)?;
            let scale = 1.0 / (count - first) as f32;
            for (dx, dy) in dx.chunks_exact_mut(count * c).zip(dy.chunks_exact(c)) {
                for dx in dx[first * c..].chunks_exact_mut(c) {
                    dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += scale * dy);
                }
            }
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}
