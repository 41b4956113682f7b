//! Which operations have kernels on CUDA in `f32`; the others, and all where there are none, are compositions.

use dfdx::prelude::{
    Const, Cuda, Gradients, HasShape, PutTape, Rank0, ReshapeTo, Shape, SplitTape, Tape, Tensor,
};

use super::{
    attention::{GatedHeads, Heads, fits},
    convolution::{Channels, Convolution},
    gpu::{Gpu, address},
    linear::Linear,
    norm::LayerNorm,
    operation::{given, input, run, weight_and_bias},
    optimizer::{self, Average, Update},
    pointer::address_of,
    replay,
    rows::{AddResidual, CrossEntropy, Each},
    tokens::{AddPosition, PrependToken, SumTokens},
};
use crate::{
    AdamWStep, Backend, Branch, Erase, Error, GatedSelfAttentionWeights, Grid, Moments, Result, Updates,
    Window, adamw, attention, branch, conv2d, cross_entropy,
    erase::{composed, erased, held},
    gated_attention, gelu, layer_norm, linear, patch_embed, relu,
    replay::{Place, Watched},
    residual, tokens,
};

type Tokens<const C: usize, T> = Tensor<(usize, usize, Const<C>), f32, Cuda, T>;

/// The device of x on a tape, which has no `Debug`.
fn gpu_of<S: Erase, T: Tape<f32, Cuda>>(
    x: Tensor<S, f32, Cuda, T>,
) -> (Option<&'static Gpu>, Tensor<S, f32, Cuda, T>) {
    let (x, tape) = x.split_tape();
    (Gpu::of(&x), x.put_tape(tape))
}

impl Backend<f32> for Cuda {
    const WAITS: bool = false;

    fn adamw<S: Erase>(
        &self,
        parameter: &mut Tensor<S, f32, Self>,
        gradients: &mut Gradients<f32, Self>,
        moments: &mut Moments<f32, Self>,
        step: &AdamWStep,
    ) -> Result<()> {
        let mut updates = Updates::default();
        self.adamw_later(parameter, gradients, moments, step, &mut updates)?;
        Self::finish(updates, gradients).map(|_| ())
    }

    fn adamw_later<S: Erase>(
        &self,
        parameter: &mut Tensor<S, f32, Self>,
        gradients: &mut Gradients<f32, Self>,
        moments: &mut Moments<f32, Self>,
        step: &AdamWStep,
        updates: &mut Updates,
    ) -> Result<()> {
        adamw::check(parameter.shape(), moments, step)?;
        match Gpu::of(parameter) {
            Some(gpu) => {
                updates.on_gpu.push(Update::new(gpu, parameter, moments, step, updates.in_place)?);
                Ok(())
            }
            None => {
                adamw::composition(parameter, gradients, moments, step).map_err(|e| Error::device("adamw", e))
            }
        }
    }

    fn clip_later(updates: &mut Updates, max_norm: f64) -> bool {
        let clips = Gpu::is_everywhere();
        updates.clip = clips.then_some(max_norm);
        clips
    }

    fn finish(updates: Updates, gradients: &mut Gradients<f32, Self>) -> Result<Option<f64>> {
        optimizer::finish(updates, gradients)
    }

    fn average_later<S: Erase>(
        &self,
        parameter: &Tensor<S, f32, Self>,
        average: &mut Tensor<(usize,), f32, Self>,
        decay: f64,
        updates: &mut Updates,
    ) -> Result<()> {
        adamw::check_average(parameter.shape(), average)?;
        match Gpu::of(parameter) {
            Some(gpu) => {
                updates.averages.push(Average::new(gpu, parameter, average, decay, updates.in_place)?);
                Ok(())
            }
            None => self.average_into(parameter, average, decay),
        }
    }

    fn finish_averages(updates: Updates) -> Result<()> {
        optimizer::finish_averages(updates)
    }

    fn watched<R>(&self, pass: impl FnOnce() -> R) -> (R, Option<Box<dyn Watched>>) {
        replay::watched(pass)
    }

    fn place<S: Erase>(tensor: &Tensor<S, f32, Self>) -> Option<Place> {
        let address = address_of("place", tensor).ok()?;
        Some(Place { address, len: tensor.shape().num_elements() })
    }

    fn gradient_place<S: Erase>(
        parameter: &Tensor<S, f32, Self>,
        gradients: &mut Gradients<f32, Self>,
    ) -> Result<Option<Place>> {
        let buffer = gradients.get_or_alloc_mut(parameter).map_err(|e| Error::device("gradient_place", e))?;
        Ok(Some(Place { address: address(buffer), len: parameter.shape().num_elements() }))
    }

    fn linear<X: Erase, W: Erase, B: Erase, Y: Erase, T: Tape<f32, Self>>(
        &self,
        x: Tensor<X, f32, Self, T>,
        weight: &Tensor<W, f32, Self>,
        bias: Option<&Tensor<B, f32, Self>>,
        out: Y,
    ) -> Result<Tensor<Y, f32, Self, T>> {
        let dims = linear::check(x.shape(), weight.shape(), bias.map(|b| *b.shape()).as_ref(), &out)?;
        match gpu_of(x) {
            (Some(gpu), x) => {
                let parameters = weight_and_bias(weight, bias);
                run(gpu, Linear(dims), x, parameters, out)
            }
            (None, x) => {
                let (weight, bias) = (held(weight), bias.map(held));
                composed("linear", linear::composition(dims, erased(x), &weight, bias.as_ref(), out.erase()))
            }
        }
    }

    fn layer_norm<S: Erase, const C: usize, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
        weight: &Tensor<(Const<C>,), f32, Self>,
        bias: &Tensor<(Const<C>,), f32, Self>,
        eps: f64,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let rows = layer_norm::check::<S, C>(x.shape())?;
        match gpu_of(x) {
            (Some(gpu), x) => {
                let out = *x.shape();
                let operation = LayerNorm { rows, width: C, eps: eps as f32 };
                run(gpu, operation, x, vec![input(weight), input(bias)], out)
            }
            (None, x) => {
                let y = layer_norm::composition(rows, erased(x), &held(weight), &held(bias), eps);
                composed("layer_norm", y)
            }
        }
    }

    fn gelu<S: Erase, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        match gpu_of(x) {
            (Some(gpu), x) => each(gpu, "gelu", ("gelu_forward", "gelu_backward"), x),
            (None, x) => composed("gelu", gelu::composition(erased(x))),
        }
    }

    fn relu<S: Erase, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        match gpu_of(x) {
            (Some(gpu), x) => each(gpu, "relu", ("relu_forward", "relu_backward"), x),
            (None, x) => composed("relu", relu::composition(erased(x))),
        }
    }

    fn cross_entropy<L: Erase, T: Tape<f32, Self>>(
        &self,
        logits: Tensor<L, f32, Self, T>,
        targets: &Tensor<(usize, usize), f32, Self>,
    ) -> Result<Tensor<Rank0, f32, Self, T>> {
        let dims = cross_entropy::check(logits.shape(), targets.shape())?;
        match gpu_of(logits) {
            (Some(gpu), logits) => {
                let operation = CrossEntropy { rows: dims.0, classes: dims.1 };
                run(gpu, operation, logits, vec![input(targets)], ())
            }
            (None, logits) => {
                composed("cross_entropy", cross_entropy::composition(dims, erased(logits), targets))
            }
        }
    }

    fn attention_heads<const C: usize, T: Tape<f32, Self>>(
        &self,
        heads: usize,
        qkv: Tensor<(usize, usize, Const<3>, Const<C>), f32, Self, T>,
    ) -> Result<Tokens<C, T>> {
        let dims = attention::core::check(heads, qkv.shape())?;
        match gpu_of(qkv) {
            (Some(gpu), qkv) if fits(gpu, &dims) => {
                run(gpu, Heads(dims), qkv, Vec::new(), (dims.batch, dims.tokens, Const))
            }
            (_, qkv) => composed("attention_heads", attention::core::composition(dims, erased(qkv))),
        }
    }

    fn gated_self_attention<const C: usize, const H: usize, T: Tape<f32, Self>>(
        &self,
        grid: Grid,
        x: Tokens<C, T>,
        weights: GatedSelfAttentionWeights<'_, C, H, f32, Self>,
        branch: Option<Branch<'_, C, f32, Self>>,
    ) -> Result<Tokens<C, T>> {
        let dims = gated_attention::check::<C, H, f32, Self>(grid, x.shape(), branch.as_ref())?;
        let (gpu, x) = gpu_of(x);
        let Some(gpu) = gpu.filter(|it| fits(it, &dims)) else {
            return gated_attention::composition(self, grid, x, weights, branch);
        };
        let shape = *x.shape();
        branch::around(self, x, branch, |x| {
            let (x, tape) = x.split_tape();
            let out = (shape.0, shape.1, Const::<2>, Const::<C>);
            let v = self.linear(retaped(&x, tape), weights.v, weights.v_bias, shape)?;
            let (v, tape) = v.split_tape();
            let qk = self.linear(retaped(&x, tape), weights.qk, weights.qk_bias, out)?;
            let gate = weights.gate;
            let parameters = vec![input(&v), input(gate.weight), input(gate.bias), input(gate.gating)];
            let mixed = run(gpu, GatedHeads { dims, grid }, qk, parameters, shape)?;
            self.linear(mixed, weights.proj, Some(weights.proj_bias), shape)
        })
    }

    fn patch_embed<S: Erase, const I: usize, const P: usize, const C: usize, T: Tape<f32, Self>>(
        &self,
        images: Tensor<S, f32, Self, T>,
        weight: &Tensor<(Const<C>, Const<I>, Const<P>, Const<P>), f32, Self>,
        bias: &Tensor<(Const<C>,), f32, Self>,
        image_gradient: bool,
    ) -> Result<Tokens<C, T>> {
        let dims = patch_embed::check::<S, I, P, C>(images.shape())?;
        match gpu_of(images) {
            (Some(gpu), images) => {
                let operation = Convolution {
                    name: "patch_embed",
                    batch: dims.batch,
                    inner: I,
                    outer: C,
                    grid: Grid { rows: dims.rows * P, cols: dims.cols * P },
                    out: Grid { rows: dims.rows, cols: dims.cols },
                    window: Window::square(P, P, 0),
                    channels: Channels::First,
                    input_gradient: image_gradient,
                };
                let out = (dims.batch, dims.tokens(), Const);
                run(gpu, operation, images, vec![input(weight), input(bias)], out)
            }
            (None, images) => {
                let y = patch_embed::composition(dims, erased(images), &held(weight), &held(bias));
                composed("patch_embed", y)
            }
        }
    }

    fn conv2d<const O: usize, const I: usize, const KH: usize, const KW: usize, T: Tape<f32, Self>>(
        &self,
        x: Tokens<I, T>,
        grid: Grid,
        weight: &Tensor<(Const<O>, Const<I>, Const<KH>, Const<KW>), f32, Self>,
        bias: Option<&Tensor<(Const<O>,), f32, Self>>,
        window: Window,
    ) -> Result<(Tokens<O, T>, Grid)> {
        let dims = conv2d::check::<O, I, KH, KW>(x.shape(), grid, window)?;
        let y = match gpu_of(x) {
            (Some(gpu), x) => {
                let operation = convolution("conv2d", dims, Channels::Last, true);
                let parameters = weight_and_bias(weight, bias);
                run(gpu, operation, x, parameters, (dims.batch, dims.out.tokens(), Const))?
            }
            (None, x) => {
                let y = conv2d::composition(dims, erased(x), held(weight), bias.map(held));
                composed("conv2d", y)?
            }
        };
        Ok((y, dims.out))
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
    ) -> Result<(Tokens<O, T>, Grid)> {
        let dims = conv2d::check_images::<S, O, I, KH, KW>(images.shape(), window)?;
        let y = match gpu_of(images) {
            (Some(gpu), images) => {
                let operation = convolution("conv2d_images", dims, Channels::First, image_gradient);
                let parameters = weight_and_bias(weight, bias);
                run(gpu, operation, images, parameters, (dims.batch, dims.out.tokens(), Const))?
            }
            (None, images) => {
                let (weight, bias) = (held(weight), bias.map(held));
                let y = conv2d::images_composition(dims, erased(images), weight, bias, image_gradient);
                composed("conv2d_images", y)?
            }
        };
        Ok((y, dims.out))
    }

    fn add_residual<S: Erase, T: Tape<f32, Self>>(
        &self,
        branch: Tensor<S, f32, Self, T>,
        residual: &Tensor<S, f32, Self>,
        scale: Option<&[f32]>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let (batch, sample) = residual::check(branch.shape(), residual.shape(), scale)?;
        match gpu_of(branch) {
            (Some(gpu), branch) => {
                let out = *branch.shape();
                // A view of the residual is copied, and the copy's gradient goes through it, on the same tape.
                let (branch, tape) = branch.split_tape();
                let (residual, tape) = contiguous(retaped(residual, tape))?.split_tape();
                let scale = scale.map(|it| replay::given(gpu, it)).transpose();
                let scale = scale.map_err(|e| Error::device("add_residual", e))?;
                let parameters = std::iter::once(input(&residual)).chain(scale.map(given)).collect();
                run(gpu, AddResidual { batch, sample }, retaped(&branch, tape), parameters, out)
            }
            (None, branch) => {
                let y = residual::composition((batch, sample), erased(branch), &held(residual), scale);
                composed("add_residual", y)
            }
        }
    }

    fn add_position<S: Erase, P: Erase, T: Tape<f32, Self>>(
        &self,
        x: Tensor<S, f32, Self, T>,
        position: &Tensor<P, f32, Self>,
    ) -> Result<Tensor<S, f32, Self, T>> {
        let (batch, sample) = tokens::check_position(x.shape(), position.shape())?;
        match gpu_of(x) {
            (Some(gpu), x) => {
                let out = *x.shape();
                run(gpu, AddPosition { batch, sample }, x, vec![input(position)], out)
            }
            (None, x) => {
                let y = tokens::add_position((batch, sample), erased(x), &held(position));
                composed("add_position", y)
            }
        }
    }

    fn prepend_token<const C: usize, P: Erase, T: Tape<f32, Self>>(
        &self,
        x: Tokens<C, T>,
        token: &Tensor<P, f32, Self>,
    ) -> Result<Tokens<C, T>> {
        tokens::check_token::<C, _>(x.shape(), token.shape())?;
        match gpu_of(x) {
            (Some(gpu), x) => {
                let (batch, count, _) = *x.shape();
                let operation = PrependToken { batch, sample: count * C, width: C };
                run(gpu, operation, x, vec![input(token)], (batch, count + 1, Const))
            }
            (None, x) => composed("prepend_token", tokens::prepend_token(erased(x), &held(token))),
        }
    }

    fn select_token<const C: usize, T: Tape<f32, Self>>(
        &self,
        x: Tokens<C, T>,
        index: usize,
    ) -> Result<Tensor<(usize, Const<C>), f32, Self, T>> {
        tokens::check_range("select_token", x.shape(), index)?;
        match gpu_of(x) {
            (Some(gpu), x) => sum_tokens(gpu, "select_token", x, (index, 1)),
            (None, x) => composed("select_token", tokens::select_token(erased(x), index)),
        }
    }

    fn mean_tokens<const C: usize, T: Tape<f32, Self>>(
        &self,
        x: Tokens<C, T>,
        first: usize,
    ) -> Result<Tensor<(usize, Const<C>), f32, Self, T>> {
        tokens::check_range("mean_tokens", x.shape(), first)?;
        match gpu_of(x) {
            (Some(gpu), x) => {
                let taken = x.shape().1 - first;
                sum_tokens(gpu, "mean_tokens", x, (first, taken))
            }
            (None, x) => composed("mean_tokens", tokens::mean_tokens(erased(x), first)),
        }
    }
}

/// `x` with a tape.
fn retaped<S: Shape, T: Tape<f32, Cuda>>(x: &Tensor<S, f32, Cuda>, tape: T) -> Tensor<S, f32, Cuda, T> {
    x.clone().put_tape(tape)
}

fn contiguous<S: Shape, T: Tape<f32, Cuda>>(x: Tensor<S, f32, Cuda, T>) -> Result<Tensor<S, f32, Cuda, T>> {
    x.try_contiguous().map_err(|e| Error::device("add_residual", e))
}

fn each<S: Erase, T: Tape<f32, Cuda>>(
    gpu: &'static Gpu,
    name: &'static str,
    kernels: (&'static str, &'static str),
    x: Tensor<S, f32, Cuda, T>,
) -> Result<Tensor<S, f32, Cuda, T>> {
    let out = *x.shape();
    run(gpu, Each { name, kernels, count: out.num_elements() }, x, Vec::new(), out)
}

fn convolution(
    name: &'static str,
    dims: conv2d::Dims,
    channels: Channels,
    input_gradient: bool,
) -> Convolution {
    let conv2d::Dims { batch, inner, outer, grid, out, window } = dims;
    Convolution { name, batch, inner, outer, grid, out, window, channels, input_gradient }
}

/// The mean of `taken` tokens from `first` on.
fn sum_tokens<const C: usize, T: Tape<f32, Cuda>>(
    gpu: &'static Gpu,
    name: &'static str,
    x: Tokens<C, T>,
    (first, taken): (usize, usize),
) -> Result<Tensor<(usize, Const<C>), f32, Cuda, T>> {
    let (batch, tokens, _) = *x.shape();
    let factor = 1.0 / taken as f32;
    run(gpu, SumTokens { name, batch, tokens, width: C, first, taken, factor }, x, Vec::new(), (batch, Const))
}
