//! The trait that gives each operation its implementation: composition by default, kernel on the CPU.

use dfdx::prelude::{
    Const, Cpu, Device, Dtype, Gradients, HasShape, Merge, Rank0, Rank2, ReshapeTo, Tape, Tensor,
};

use crate::{
    AdamWStep, Affine, AttentionDims, Border, Branch, ChannelStatistics, ContentWeights,
    ConvAsAttentionWeights, Erase, Error, GatedSelfAttentionWeights, Grid, MlpWeights, Moments,
    PositionalGate, Readout, Result, SelfAttentionWeights, Updates, Window, adamw, attention, batch_norm,
    branch, channels, conv_as_attention, conv2d, cross_entropy, depthwise_conv2d,
    erase::{composed, erased, held, typed},
    gated_attention, gelu, layer_norm, linear, max_pool2d, mlp, patch_embed, relu,
    replay::{Place, Watched},
    replicate_pad, residual, softmax, tokens,
};

/// A device with the operations of this crate for elements of type `E`.
///
/// The default methods compose dfdx operations: an implementation for another device is one empty `impl`. Arguments
/// are checked before the device sees them; no method panics. Weights are given without a tape and receive their
/// gradients by identity, as everywhere in dfdx. Gradients of intermediate results are not kept: a backward pass frees
/// each once it has been used; those of leaves (weights, traced inputs) stay.
pub trait Backend<E: Dtype>: Device<E> {
    /// Whether an operation is done when its call returns. Where not, time is told only by waiting for a result.
    const WAITS: bool = true;

    /// `y = x W^T + b` on the last axis.
    ///
    /// x: `[.., inner]`, weight: `outer * inner` numbers, row-major `[outer, inner]` in whatever shape holds them,
    /// bias: `outer` numbers; `out` is the shape of the result, `[.., outer]` or a split of it.
    fn linear<X: Erase, W: Erase, B: Erase, Y: Erase, T: Tape<E, Self>>(
        &self,
        x: Tensor<X, E, Self, T>,
        weight: &Tensor<W, E, Self>,
        bias: Option<&Tensor<B, E, Self>>,
        out: Y,
    ) -> Result<Tensor<Y, E, Self, T>> {
        let dims = linear::check(x.shape(), weight.shape(), bias.map(|b| *b.shape()).as_ref(), &out)?;
        let (weight, bias) = (held(weight), bias.map(held));
        composed("linear", linear::composition(dims, erased(x), &weight, bias.as_ref(), out.erase()))
    }

    /// Layer normalisation over the last axis: `(x - mean) / sqrt(variance + eps) * weight + bias`, biased variance.
    ///
    /// x: `[.., C]`; weight, bias: `[C]`.
    fn layer_norm<S: Erase, const C: usize, T: Tape<E, Self>>(
        &self,
        x: Tensor<S, E, Self, T>,
        weight: &Tensor<(Const<C>,), E, Self>,
        bias: &Tensor<(Const<C>,), E, Self>,
        eps: f64,
    ) -> Result<Tensor<S, E, Self, T>> {
        let rows = layer_norm::check::<S, C>(x.shape())?;
        let y = layer_norm::composition(rows, erased(x), &held(weight), &held(bias), eps);
        composed("layer_norm", y)
    }

    /// Batch normalisation with a given mean and variance of each channel, as in inference:
    /// `n = (x - mean) / sqrt(variance + eps)`, then what `affine` says.
    ///
    /// x: `[batch, tokens, C]`; mean, variance: `[C]`, which receive no gradient. PyTorch's `BatchNorm2d` in `eval` mode.
    fn batch_norm<const C: usize, T: Tape<E, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), E, Self, T>,
        mean: &Tensor<(Const<C>,), E, Self>,
        variance: &Tensor<(Const<C>,), E, Self>,
        eps: f64,
        affine: Affine<'_, C, E, Self>,
    ) -> Result<Tensor<(usize, usize, Const<C>), E, Self, T>> {
        let rows = batch_norm::check(x.shape(), &affine)?;
        let affine = batch_norm::Held::new(affine);
        let y = batch_norm::composition(rows, erased(x), held(mean), held(variance), eps, affine);
        composed("batch_norm", y)
    }

    /// [`Backend::batch_norm`] with mean and biased variance of `x` itself, over batch and tokens, as in training. Also
    /// returns mean and unbiased variance, for running averages.
    ///
    /// x: `[batch, tokens, C]` with at least two rows. PyTorch's `BatchNorm2d` in `train` mode, which leaves the running
    /// averages to the caller.
    fn batch_norm_train<const C: usize, T: Tape<E, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), E, Self, T>,
        eps: f64,
        affine: Affine<'_, C, E, Self>,
    ) -> Result<(Tensor<(usize, usize, Const<C>), E, Self, T>, ChannelStatistics<E>)> {
        let rows = batch_norm::check_train(x.shape(), &affine)?;
        let y = batch_norm::train_composition(rows, erased(x), eps, batch_norm::Held::new(affine));
        let (y, statistics) = y.map_err(|e| Error::device("batch_norm", e))?;
        Ok((typed("batch_norm", y)?, statistics))
    }

    /// `x * Phi(x)` with the normal distribution function, by the error function and not the tanh approximation.
    fn gelu<S: Erase, T: Tape<E, Self>>(&self, x: Tensor<S, E, Self, T>) -> Result<Tensor<S, E, Self, T>> {
        composed("gelu", gelu::composition(erased(x)))
    }

    /// `max(x, 0)`; a NaN stays one.
    fn relu<S: Erase, T: Tape<E, Self>>(&self, x: Tensor<S, E, Self, T>) -> Result<Tensor<S, E, Self, T>> {
        composed("relu", relu::composition(erased(x)))
    }

    /// `gelu(x W1^T + b1) W2^T + b2` on the last axis: the MLP of a transformer block in one pass, with `branch` as
    /// `x + scale_b mlp(norm(x))`.
    ///
    /// x: `[batch, .., C]`.
    fn mlp<S: Erase, const C: usize, const HIDDEN: usize, T: Tape<E, Self>>(
        &self,
        x: Tensor<S, E, Self, T>,
        weights: MlpWeights<'_, C, HIDDEN, E, Self>,
        branch: Option<Branch<'_, C, E, Self>>,
    ) -> Result<Tensor<S, E, Self, T>> {
        let dims = mlp::Dims::new::<S, C, HIDDEN>(x.shape())?;
        branch::check(x.shape(), branch.as_ref())?;
        mlp::composition(self, dims, x, weights, branch)
    }

    /// Softmax over the last axis.
    fn softmax<S: Erase, T: Tape<E, Self>>(&self, x: Tensor<S, E, Self, T>) -> Result<Tensor<S, E, Self, T>> {
        let dims = softmax::check(x.shape())?;
        composed("softmax", softmax::composition(dims, erased(x)))
    }

    /// `-mean_b sum_c targets[b, c] log softmax(logits)[b, c]`: cross-entropy with soft targets, mean over the batch.
    ///
    /// logits, targets: `[batch, classes]`.
    fn cross_entropy<L: Erase, T: Tape<E, Self>>(
        &self,
        logits: Tensor<L, E, Self, T>,
        targets: &Tensor<(usize, usize), E, Self>,
    ) -> Result<Tensor<Rank0, E, Self, T>> {
        let dims = cross_entropy::check(logits.shape(), targets.shape())?;
        composed("cross_entropy", cross_entropy::composition(dims, erased(logits), targets))
    }

    /// Multi-head self-attention: `softmax(q k^T / sqrt(C / heads)) v`, heads side by side, projected; with `branch` as
    /// `x + scale_b attention(norm(x))`.
    ///
    /// x: `[batch, tokens, C]`; result: `[batch, tokens, C]`, or `[batch, 1, C]` for [`Readout::First`].
    fn self_attention<const C: usize, T: Tape<E, Self>>(
        &self,
        heads: usize,
        x: Tensor<(usize, usize, Const<C>), E, Self, T>,
        weights: SelfAttentionWeights<'_, C, E, Self>,
        readout: Readout,
        branch: Option<Branch<'_, C, E, Self>>,
    ) -> Result<Tensor<(usize, usize, Const<C>), E, Self, T>> {
        attention::composition(self, heads, x, weights, readout, branch)
    }

    /// The heads of [`Backend::self_attention`] alone, between its projections: `softmax(q k^T / sqrt(C / heads)) v`, heads
    /// side by side. For layers whose q, k and v do not come from one input.
    ///
    /// qkv: `[batch, tokens, 3, C]`, parts in the order q, k, v; result: `[batch, tokens, C]`.
    fn attention_heads<const C: usize, T: Tape<E, Self>>(
        &self,
        heads: usize,
        qkv: Tensor<(usize, usize, Const<3>, Const<C>), E, Self, T>,
    ) -> Result<Tensor<(usize, usize, Const<C>), E, Self, T>> {
        let dims = attention::core::check(heads, qkv.shape())?;
        composed("attention_heads", attention::core::composition(dims, erased(qkv)))
    }

    /// The tokens that `readout` names: x itself, or `[batch, 1, C]`. x: `[batch, tokens, C]`.
    fn read_out<const C: usize, T: Tape<E, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), E, Self, T>,
        readout: Readout,
    ) -> Result<Tensor<(usize, usize, Const<C>), E, Self, T>> {
        attention::read_out(self, x, readout)
    }

    /// The attention probabilities of [`Backend::self_attention`], `[batch, heads, tokens, tokens]`, for inspection.
    ///
    /// qkv: `[batch, tokens, 3 * heads * head_dim]`, parts in the order q, k, v.
    fn attention_map<Q: Erase>(
        &self,
        dims: AttentionDims,
        qkv: &Tensor<Q, E, Self>,
    ) -> Result<Tensor<(usize, usize, usize, usize), E, Self>> {
        attention::check_input(&dims, 3, qkv.shape())?;
        attention::flat(qkv)
            .and_then(|qkv| attention::map(dims, qkv, 3))
            .map(|(map, _)| map)
            .map_err(|e| Error::device("attention_map", e))
    }

    /// Gated positional self-attention (ConViT, arXiv 2103.10697 eq. 7):
    /// `((1 - g_h) softmax(q k^T / sqrt(C / H)) + g_h softmax(position_h)) v` with rows renormalised, heads side by side,
    /// projected; with `branch` as `x + scale_b attention(norm(x))`.
    ///
    /// x and result: `[batch, grid.tokens(), C]`. The positional map depends on the weights alone and is computed once
    /// per call, not once per image.
    fn gated_self_attention<const C: usize, const H: usize, T: Tape<E, Self>>(
        &self,
        grid: Grid,
        x: Tensor<(usize, usize, Const<C>), E, Self, T>,
        weights: GatedSelfAttentionWeights<'_, C, H, E, Self>,
        branch: Option<Branch<'_, C, E, Self>>,
    ) -> Result<Tensor<(usize, usize, Const<C>), E, Self, T>> {
        gated_attention::composition(self, grid, x, weights, branch)
    }

    /// The attention probabilities of [`Backend::gated_self_attention`], `[batch, heads, tokens, tokens]`.
    ///
    /// qk: `[batch, tokens, 2 * heads * head_dim]`, parts in the order q, k.
    fn gated_attention_map<Q: Erase, const H: usize>(
        &self,
        dims: AttentionDims,
        grid: Grid,
        qk: &Tensor<Q, E, Self>,
        gate: PositionalGate<'_, H, E, Self>,
    ) -> Result<Tensor<(usize, usize, usize, usize), E, Self>> {
        attention::check_input(&dims, 2, qk.shape())?;
        gated_attention::check_grid::<H>(&dims, grid)?;
        attention::flat(qk)
            .and_then(|qk| gated_attention::map(dims, grid, qk, &gated_attention::HeldGate::new(gate)))
            .map_err(|e| Error::device("gated_attention_map", e))
    }

    /// Cuts images into `P x P` patches and projects each: a convolution with kernel and stride `P`.
    ///
    /// images: `[batch, I, height, width]`, weight: `[C, I, P, P]`, bias: `[C]`; result: `[batch, tokens, C]`, tokens
    /// row by row. Without `image_gradient` the images receive no gradient, which saves its computation.
    fn patch_embed<S: Erase, const I: usize, const P: usize, const C: usize, T: Tape<E, Self>>(
        &self,
        images: Tensor<S, E, Self, T>,
        weight: &Tensor<(Const<C>, Const<I>, Const<P>, Const<P>), E, Self>,
        bias: &Tensor<(Const<C>,), E, Self>,
        image_gradient: bool,
    ) -> Result<Tensor<(usize, usize, Const<C>), E, Self, T>> {
        let dims = patch_embed::check::<S, I, P, C>(images.shape())?;
        // A composition has no cheap way to leave the gradient out.
        let _ = image_gradient;
        let y = patch_embed::composition(dims, erased(images), &held(weight), &held(bias));
        composed("patch_embed", y)
    }

    /// Convolution over the tokens of a grid (PyTorch's `Conv2d(I, O, window)`); returns the tokens of the resulting
    /// grid, row by row, and that grid.
    ///
    /// x: `[batch, grid.tokens(), I]`, weight: `[O, I, KH, KW]` with `window.kernel` `[KH, KW]`, bias: `[O]`; result:
    /// `[batch, tokens, O]` for the grid [`Window::output`].
    fn conv2d<const O: usize, const I: usize, const KH: usize, const KW: usize, T: Tape<E, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<I>), E, Self, T>,
        grid: Grid,
        weight: &Tensor<(Const<O>, Const<I>, Const<KH>, Const<KW>), E, Self>,
        bias: Option<&Tensor<(Const<O>,), E, Self>>,
        window: Window,
    ) -> Result<(Tensor<(usize, usize, Const<O>), E, Self, T>, Grid)> {
        let dims = conv2d::check::<O, I, KH, KW>(x.shape(), grid, window)?;
        let y = conv2d::composition(dims, erased(x), held(weight), bias.map(held));
        Ok((composed("conv2d", y)?, dims.out))
    }

    /// [`Backend::conv2d`] over images with their channels first, a model's first layer.
    ///
    /// images: `[batch, I, height, width]`; result: `[batch, tokens, O]`, row by row. Without `image_gradient` the images
    /// receive no gradient, which saves its computation.
    fn conv2d_images<
        S: Erase,
        const O: usize,
        const I: usize,
        const KH: usize,
        const KW: usize,
        T: Tape<E, Self>,
    >(
        &self,
        images: Tensor<S, E, Self, T>,
        weight: &Tensor<(Const<O>, Const<I>, Const<KH>, Const<KW>), E, Self>,
        bias: Option<&Tensor<(Const<O>,), E, Self>>,
        window: Window,
        image_gradient: bool,
    ) -> Result<(Tensor<(usize, usize, Const<O>), E, Self, T>, Grid)> {
        let dims = conv2d::check_images::<S, O, I, KH, KW>(images.shape(), window)?;
        let (weight, bias) = (held(weight), bias.map(held));
        let y = conv2d::images_composition(dims, erased(images), weight, bias, image_gradient);
        Ok((composed("conv2d_images", y)?, dims.out))
    }

    /// A `K x K` convolution as attention with `H = K * K` full-width heads over the tokens of a grid; returns the tokens
    /// of the queries, every `stride`-th of every `stride`-th row, and their grid.
    ///
    /// `y = bias + sum_h W_h (C_h + g_h (P_h - C_h)) x` with positional maps `P`, content maps `C` and shares `g`; without
    /// content, `P` alone, which is computed once per call. See [`ConvAsAttentionWeights`] and [`Border`].
    ///
    /// x: `[batch, grid.tokens(), C]`; result: `[batch, tokens, O]` for a grid of `size.div_ceil(stride)`.
    fn conv_as_attention<
        const O: usize,
        const C: usize,
        const K: usize,
        const H: usize,
        const QK: usize,
        T: Tape<E, Self>,
    >(
        &self,
        x: Tensor<(usize, usize, Const<C>), E, Self, T>,
        grid: Grid,
        stride: usize,
        border: Border,
        weights: ConvAsAttentionWeights<'_, O, C, K, H, QK, E, Self>,
    ) -> Result<(Tensor<(usize, usize, Const<O>), E, Self, T>, Grid)> {
        let qk = weights.content.map(|_| QK);
        let dims = conv_as_attention::check::<O, C, K, H>(x.shape(), grid, stride, border, qk)?;
        let weights = conv_as_attention::Held::new(weights);
        let y = conv_as_attention::composition(dims, erased(x), weights);
        Ok((composed("conv_as_attention", y)?, dims.out))
    }

    /// The attention probabilities of [`Backend::conv_as_attention`], `[batch, H, queries, keys]`, for inspection.
    ///
    /// With [`Border::Zero`] what a head sees of the ring is left out: its rows then sum to less than 1.
    fn conv_as_attention_map<const C: usize, const H: usize, const QK: usize>(
        &self,
        x: &Tensor<(usize, usize, Const<C>), E, Self>,
        grid: Grid,
        stride: usize,
        border: Border,
        position: &Tensor<Rank2<H, 3>, E, Self>,
        content: Option<ContentWeights<'_, C, H, QK, E, Self>>,
    ) -> Result<Tensor<(usize, usize, usize, usize), E, Self>> {
        let dims =
            conv_as_attention::check_map::<C, H>(x.shape(), grid, stride, border, content.map(|_| QK))?;
        let content = content.map(conv_as_attention::HeldContent::new);
        conv_as_attention::map(dims, held(x), &held(position), content)
            .and_then(|maps| maps.try_contiguous())
            .map_err(|e| Error::device("conv_as_attention_map", e))
    }

    /// A grid with `pad` more patches on each side, which repeat the nearest of the old ones (PyTorch's `F.pad` with
    /// `mode="replicate"`); returns its tokens, row by row, and it.
    ///
    /// x: `[batch, grid.tokens(), C]`; result: `[batch, (rows + 2 pad) * (cols + 2 pad), C]`.
    fn replicate_pad<const C: usize, T: Tape<E, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), E, Self, T>,
        grid: Grid,
        pad: usize,
    ) -> Result<(Tensor<(usize, usize, Const<C>), E, Self, T>, Grid)> {
        let dims = replicate_pad::check(x.shape(), grid, pad)?;
        let y = replicate_pad::composition(dims, erased(x));
        Ok((composed("replicate_pad", y)?, dims.out))
    }

    /// Depthwise convolution over the tokens of a grid, with a padding that keeps the size: each channel by itself
    /// (PyTorch's `Conv2d(C, C, K, padding=K // 2, groups=C)`, `K` odd).
    ///
    /// x and result: `[batch, prefix + grid.tokens(), C]`, of which the first `prefix` tokens pass through unchanged;
    /// weight: `[C, 1, K, K]`, bias: `[C]`.
    fn depthwise_conv2d<const C: usize, const K: usize, T: Tape<E, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), E, Self, T>,
        grid: Grid,
        prefix: usize,
        weight: &Tensor<(Const<C>, Const<1>, Const<K>, Const<K>), E, Self>,
        bias: Option<&Tensor<(Const<C>,), E, Self>>,
    ) -> Result<Tensor<(usize, usize, Const<C>), E, Self, T>> {
        let dims = depthwise_conv2d::check::<C, K>(x.shape(), grid, prefix)?;
        let y = depthwise_conv2d::composition(dims, erased(x), held(weight), bias.map(held));
        composed("depthwise_conv2d", y)
    }

    /// The largest number of each channel in each window (PyTorch's `MaxPool2d`); returns the tokens of the resulting
    /// grid, row by row, and that grid.
    ///
    /// x: `[batch, grid.tokens(), C]`; result: `[batch, tokens, C]` for the grid [`Window::output`]. The padding, at most
    /// half the kernel, never wins. Of equal numbers the first in the window, row by row, receives the gradient; a window
    /// that sees a NaN gives NaN.
    fn max_pool2d<const C: usize, T: Tape<E, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), E, Self, T>,
        grid: Grid,
        window: Window,
    ) -> Result<(Tensor<(usize, usize, Const<C>), E, Self, T>, Grid)> {
        let dims = max_pool2d::check(x.shape(), grid, window)?;
        let y = max_pool2d::composition(dims, erased(x));
        Ok((composed("max_pool2d", y)?, dims.out))
    }

    /// `residual + scale[b] * branch`, where `scale` has one factor per sample (drop path) or is absent (all 1).
    ///
    /// branch, residual: `[batch, ..]`.
    fn add_residual<S: Erase, T: Tape<E, Self>>(
        &self,
        branch: Tensor<S, E, Self, T>,
        residual: &Tensor<S, E, Self>,
        scale: Option<&[f32]>,
    ) -> Result<Tensor<S, E, Self, T>> {
        let dims = residual::check(branch.shape(), residual.shape(), scale)?;
        let y = residual::composition(dims, erased(branch), &held(residual), scale);
        composed("add_residual", y)
    }

    /// Adds a position embedding to every sample. x: `[batch, ..]`; position: the shape of one sample, in any split.
    fn add_position<S: Erase, P: Erase, T: Tape<E, Self>>(
        &self,
        x: Tensor<S, E, Self, T>,
        position: &Tensor<P, E, Self>,
    ) -> Result<Tensor<S, E, Self, T>> {
        let dims = tokens::check_position(x.shape(), position.shape())?;
        composed("add_position", tokens::add_position(dims, erased(x), &held(position)))
    }

    /// Puts a (class) token in front of the tokens of every sample. x: `[batch, tokens, C]`, token: `C` numbers.
    fn prepend_token<const C: usize, P: Erase, T: Tape<E, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), E, Self, T>,
        token: &Tensor<P, E, Self>,
    ) -> Result<Tensor<(usize, usize, Const<C>), E, Self, T>> {
        tokens::check_token::<C, _>(x.shape(), token.shape())?;
        composed("prepend_token", tokens::prepend_token(erased(x), &held(token)))
    }

    /// One token of every sample. x: `[batch, tokens, C]`; result: `[batch, C]`.
    fn select_token<const C: usize, T: Tape<E, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), E, Self, T>,
        index: usize,
    ) -> Result<Tensor<(usize, Const<C>), E, Self, T>> {
        tokens::check_range("select_token", x.shape(), index)?;
        composed("select_token", tokens::select_token(erased(x), index))
    }

    /// Mean over the tokens from `first` on. x: `[batch, tokens, C]`; result: `[batch, C]`.
    fn mean_tokens<const C: usize, T: Tape<E, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), E, Self, T>,
        first: usize,
    ) -> Result<Tensor<(usize, Const<C>), E, Self, T>> {
        tokens::check_range("mean_tokens", x.shape(), first)?;
        composed("mean_tokens", tokens::mean_tokens(erased(x), first))
    }

    /// Channels `first..first + P` of every token. x: `[batch, tokens, C]`; result: `[batch, tokens, P]`.
    fn slice_channels<const C: usize, const P: usize, T: Tape<E, Self>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), E, Self, T>,
        first: usize,
    ) -> Result<Tensor<(usize, usize, Const<P>), E, Self, T>> {
        channels::check_slice::<C, P>(x.shape(), first)?;
        composed("slice_channels", channels::slice(erased(x), first, P))
    }

    /// Two parts of the channels side by side. a: `[batch, tokens, A]`, b: `[batch, tokens, B]`; result:
    /// `[batch, tokens, C]` with `C = A + B`.
    fn concat_channels<
        const A: usize,
        const B: usize,
        const C: usize,
        TA: Tape<E, Self> + Merge<TB>,
        TB: Tape<E, Self>,
    >(
        &self,
        a: Tensor<(usize, usize, Const<A>), E, Self, TA>,
        b: Tensor<(usize, usize, Const<B>), E, Self, TB>,
    ) -> Result<Tensor<(usize, usize, Const<C>), E, Self, TA>> {
        channels::check_concat::<A, B, C>(a.shape(), b.shape())?;
        composed("concat_channels", channels::concat(erased(a), erased(b)))
    }

    /// One AdamW update of one parameter in place. The gradient stays as it is.
    fn adamw<S: Erase>(
        &self,
        parameter: &mut Tensor<S, E, Self>,
        gradients: &mut Gradients<E, Self>,
        moments: &mut Moments<E, Self>,
        step: &AdamWStep,
    ) -> Result<()> {
        adamw::check(parameter.shape(), moments, step)?;
        adamw::composition(parameter, gradients, moments, step).map_err(|e| Error::device("adamw", e))
    }

    /// [`Backend::adamw`] of one of many parameters: a device may leave it to [`Backend::finish`], to update all in one go. Until
    /// then, what the parameter and its averages hold is not to be read.
    fn adamw_later<S: Erase>(
        &self,
        parameter: &mut Tensor<S, E, Self>,
        gradients: &mut Gradients<E, Self>,
        moments: &mut Moments<E, Self>,
        step: &AdamWStep,
        updates: &mut Updates,
    ) -> Result<()> {
        let _ = updates;
        self.adamw(parameter, gradients, moments, step)
    }

    /// Runs `pass`, and says what the device saw of it if it can repeat passes: see [`replay`](crate::replay).
    fn watched<R>(&self, pass: impl FnOnce() -> R) -> (R, Option<Box<dyn Watched>>) {
        (pass(), None)
    }

    /// Where the numbers of a tensor are, on a device that can repeat passes; `None` for a view, too.
    fn place<S: Erase>(tensor: &Tensor<S, E, Self>) -> Option<Place> {
        let _ = tensor;
        None
    }

    /// Where the gradient of a parameter goes, on a device that can repeat passes.
    fn gradient_place<S: Erase>(
        parameter: &Tensor<S, E, Self>,
        gradients: &mut Gradients<E, Self>,
    ) -> Result<Option<Place>> {
        let _ = (parameter, gradients);
        Ok(None)
    }

    /// Whether [`Backend::finish`] clips the gradients of `updates`, all together, to this norm; if not, whoever updates has to.
    fn clip_later(updates: &mut Updates, max_norm: f64) -> bool {
        let _ = (updates, max_norm);
        false
    }

    /// Does the updates that were left. gradients: those that were given with them. Returns their norm before clipping, if it clips and the
    /// norm is known.
    fn finish(updates: Updates, gradients: &mut Gradients<E, Self>) -> Result<Option<f64>> {
        let _ = (updates, gradients);
        Ok(None)
    }

    /// [`Backend::average_into`] of one of many parameters: a device may leave it to [`Backend::finish_averages`].
    fn average_later<S: Erase>(
        &self,
        parameter: &Tensor<S, E, Self>,
        average: &mut Tensor<(usize,), E, Self>,
        decay: f64,
        updates: &mut Updates,
    ) -> Result<()> {
        let _ = updates;
        self.average_into(parameter, average, decay)
    }

    /// Does the averages that were left.
    fn finish_averages(updates: Updates) -> Result<()> {
        let _ = updates;
        Ok(())
    }

    /// Sum of the squares of a parameter's gradient.
    fn square_sum<S: Erase>(
        &self,
        parameter: &Tensor<S, E, Self>,
        gradients: &mut Gradients<E, Self>,
    ) -> Result<f64> {
        adamw::square_sum(parameter, gradients).map_err(|e| Error::device("square_sum", e))
    }

    /// `average = decay * average + (1 - decay) * parameter`, in place; both have as many elements.
    fn average_into<S: Erase>(
        &self,
        parameter: &Tensor<S, E, Self>,
        average: &mut Tensor<(usize,), E, Self>,
        decay: f64,
    ) -> Result<()> {
        adamw::check_average(parameter.shape(), average)?;
        adamw::average(parameter, average, decay).map_err(|e| Error::device("average_into", e))
    }
}

impl Backend<f64> for Cpu {}

#[cfg(feature = "cuda")]
impl Backend<f64> for dfdx::tensor::Cuda {}
