//! `Cpu` in `f32`: the fused kernels, tied into dfdx's tapes.
//!
//! A tensor that is not contiguous (a permuted or broadcast one) is copied; a parameter that is not is refused.

use dfdx::prelude::{Const, Cpu, Gradients, HasShape, Merge, PutTape, Rank0, Rank2, SplitTape, Tape, Tensor};

use crate::{
    AdamWStep, Affine, AttentionDims, Backend, Border, Branch, ChannelStatistics, ContentWeights,
    ConvAsAttentionWeights, Error, GatedSelfAttentionWeights, Grid, MlpWeights, Moments, PositionalGate,
    Readout, Result, SelfAttentionWeights, Window, adamw, attention, batch_norm, branch, channels,
    conv_as_attention, conv2d, cross_entropy,
    custom::run,
    depthwise_conv2d,
    erase::{Erase, erased, typed},
    gated_attention, gelu, layer_norm, linear, maps, max_pool2d, mlp, patch_embed, relu, replicate_pad,
    residual, softmax,
    tape::{check_parameters, contiguous, gradient_of, held, is_contiguous, values, values_mut},
    taped::{
        add_position_on_cpu, add_residual_on_cpu, cross_entropy_on_cpu, layer_norm_on_cpu, linear_on_cpu,
        mean_tokens_on_cpu, patch_embed_on_cpu, prepend_token_on_cpu, select_token_on_cpu,
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

    fn attention_map<Q: Erase>(
        &self,
        dims: AttentionDims,
        qkv: &Tensor<Q, f32, Self>,
    ) -> Result<Tensor<(usize, usize, usize, usize), f32, Self>> {
        attention::check_input(&dims, 3, qkv.shape())?;
        maps::of_attention(dims, attention::flat(qkv).map_err(|e| Error::device("attention_map", e))?)
    }

    fn gated_attention_map<Q: Erase, const H: usize>(
        &self,
        dims: AttentionDims,
        grid: Grid,
        qk: &Tensor<Q, f32, Self>,
        gate: PositionalGate<'_, H, f32, Self>,
    ) -> Result<Tensor<(usize, usize, usize, usize), f32, Self>> {
        attention::check_input(&dims, 2, qk.shape())?;
        gated_attention::check_grid::<H>(&dims, grid)?;
        let qk = attention::flat(qk).map_err(|e| Error::device("gated_attention_map", e))?;
        maps::of_gated_attention(dims, grid, qk, &gated_attention::HeldGate::new(gate))
    }

    fn conv_as_attention_map<const C: usize, const H: usize, const QK: usize>(
        &self,
        x: &Tensor<(usize, usize, Const<C>), f32, Self>,
        grid: Grid,
        stride: usize,
        border: Border,
        position: &Tensor<Rank2<H, 3>, f32, Self>,
        content: Option<ContentWeights<'_, C, H, QK, f32, Self>>,
    ) -> Result<Tensor<(usize, usize, usize, usize), f32, Self>> {
        let qk = content.map(|_| QK);
        let dims = conv_as_attention::check_map::<C, H>(x.shape(), grid, stride, border, qk)?;
        let content = content.map(conv_as_attention::HeldContent::new);
        maps::of_conv_as_attention(dims, held(x), &held(position), content)
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
