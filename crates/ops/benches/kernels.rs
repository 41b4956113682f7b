//! The kernels that a training step spends its time in, one by one, on the shapes of the models:
//! `cargo bench -p inductive-ops [FILTER]`.
//!
//! The first lines say what the machine reaches when it does nothing else: the roof. divan then prints two rates under each
//! time. "B/s" counts the bytes that have to move between memory and processor if the caches kept nothing from call to
//! call: inputs, results and weights, once each. "item/s" counts floating-point
//! operations: two for a multiplication with addition, `EXP` for an exponential or error function.
//!
//! A backward row times the backward pass of the kernel followed by a mean over tokens and a cross-entropy; `loss` shows
//! those two alone.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use dfdx::prelude::*;
use divan::{
    Bencher,
    counter::{BytesCount, ItemsCount},
};
use inductive_ops::{
    Activation, AdamWStep, Affine, Backend, Branch, GatedSelfAttentionWeights, Grid, MlpWeights, Moments,
    PositionalGate, Readout, SelfAttentionWeights, Window, memory, roof,
};
use rand::distributions::Uniform;
use rayon::prelude::*;

#[global_allocator]
static ALLOCATOR: memory::PoolAllocator = memory::PoolAllocator::new();

/// Batch and side of the grid of patches: the tiny models at 32 and at 224 pixels.
const SIZES: [(usize, usize); 2] = [(64, 8), (8, 14)];
/// Channels, heads and hidden channels of the tiny models.
const C: usize = 192;
const H: usize = 4;
const HIDDEN: usize = 768;
/// Operations of one exponential or error function.
const EXP: usize = 20;

type Tokens<T = NoneTape> = Tensor<(usize, usize, Const<C>), f32, Cpu, T>;
type Taped = Tokens<OwnedTape<f32, Cpu>>;

fn main() {
    let sgemm = roof::measure(Duration::from_millis(50));
    println!(
        "roof: {:.0} GFLOP/s in products of {:?} on {} threads, {:.1} GB/s copied",
        sgemm.gflops,
        sgemm.shape,
        sgemm.threads,
        copied() / 1e9
    );
    divan::main();
}

/// Bytes per second, read and written, of a copy that no cache holds, all threads together; the best of five.
fn copied() -> f64 {
    let from = vec![1.0f32; 1 << 26];
    let mut to = vec![0.0f32; from.len()];
    let mut once = || {
        let start = Instant::now();
        to.par_chunks_mut(1 << 20)
            .zip(from.par_chunks(1 << 20))
            .for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&to);
        8.0 * from.len() as f64 / start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| once()).fold(0.0, f64::max)
}

fn random<S: Shape>(shape: S, bound: f32) -> Tensor<S, f32, Cpu> {
    Cpu::seed_from_u64(0).sample_like(&shape, Uniform::new(-bound, bound))
}

fn weight<S: ConstShape>() -> Tensor<S, f32, Cpu> {
    random(S::default(), 0.1)
}

fn tokens((batch, side): (usize, usize)) -> Tokens {
    random((batch, side * side, Const::<C>), 1.0)
}

/// Operations and numbers moved of a pass.
#[derive(Clone, Copy)]
struct Work {
    flops: usize,
    numbers: usize,
}

impl Work {
    /// Twice the operations and the numbers: what a backward pass needs at least. What it reads of what was kept, or computes
    /// again instead, is not counted.
    fn backward(self) -> Self {
        Self { flops: 2 * self.flops, numbers: 2 * self.numbers }
    }

    /// Forward and backward together.
    fn both(self) -> Self {
        Self { flops: 3 * self.flops, numbers: 3 * self.numbers }
    }
}

fn bench_forward<Y>(bencher: Bencher<'_, '_>, work: Work, forward: impl Fn() -> Y) {
    bencher
        .counter(ItemsCount::new(work.flops))
        .counter(BytesCount::new(4 * work.numbers))
        .bench_local(forward);
}

fn bench_backward(bencher: Bencher<'_, '_>, work: Work, forward: impl Fn() -> Taped) {
    let work = work.backward();
    bencher
        .counter(ItemsCount::new(work.flops))
        .counter(BytesCount::new(4 * work.numbers))
        .with_inputs(|| loss_of(forward()))
        .bench_local_values(|loss| loss.backward());
}

/// A pass forward with its pass backward from a given gradient: `y = f(x); y.backward(dy)` in PyTorch.
fn bench_both<S: Shape>(
    bencher: Bencher<'_, '_>,
    work: Work,
    forward: impl Fn() -> Tensor<S, f32, Cpu, OwnedTape<f32, Cpu>>,
) {
    let work = work.both();
    let numbers = forward().shape().num_elements();
    bencher
        .counter(ItemsCount::new(work.flops))
        .counter(BytesCount::new(4 * work.numbers))
        .with_inputs(|| vec![1.0; numbers])
        .bench_local_values(|dy| {
            let (y, mut tape) = forward().split_tape();
            // The last operation of the tape is the first of the backward pass.
            tape.add_backward_op(move |gradients| {
                **gradients.get_or_alloc_mut(&y)? = dy;
                Ok(())
            });
            Cpu::default().zeros::<Rank0>().put_tape(tape).backward()
        });
}

fn loss_of(y: Taped) -> Tensor<Rank0, f32, Cpu, OwnedTape<f32, Cpu>> {
    let (dev, batch) = (y.device().clone(), y.shape().0);
    let targets = dev.tensor_from_vec(vec![1.0 / C as f32; batch * C], (batch, C));
    dev.cross_entropy(dev.mean_tokens(y, 0).expect("tokens"), &targets).expect("fits")
}

#[divan::bench_group]
mod loss {
    use super::*;

    #[divan::bench(args = SIZES.map(Named))]
    fn backward(bencher: Bencher<'_, '_>, size: Named) {
        let x = tokens(size.0);
        let numbers = x.shape().num_elements();
        bench_backward(bencher, Work { flops: numbers, numbers }, || x.leaky_trace());
    }
}

/// A size that says what it is.
#[derive(Clone, Copy)]
struct Named((usize, usize));

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self((batch, side)) = self;
        write!(f, "batch {batch}, {} tokens", side * side)
    }
}

impl Named {
    /// Images and tokens.
    fn images_tokens(self) -> (usize, usize) {
        (self.0.0, self.0.1 * self.0.1)
    }

    fn rows(self) -> usize {
        let (images, tokens) = self.images_tokens();
        images * tokens
    }
}

#[divan::bench_group]
mod linear {
    use super::*;

    const OUT: usize = 3 * C;

    fn work(size: Named) -> Work {
        let rows = size.rows();
        Work { flops: 2 * rows * C * OUT, numbers: rows * (C + OUT) + C * OUT }
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn forward(bencher: Bencher<'_, '_>, size: Named) {
        let (dev, x) = (Cpu::default(), tokens(size.0));
        let (w, b) = (weight::<Rank2<OUT, C>>(), weight::<Rank1<OUT>>());
        let (batch, count, _) = *x.shape();
        bench_forward(bencher, work(size), || {
            dev.linear(x.clone(), &w, Some(&b), (batch, count, Const::<OUT>))
        });
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn backward(bencher: Bencher<'_, '_>, size: Named) {
        // 192 to 192: the loss takes tokens of this width.
        let (dev, x) = (Cpu::default(), tokens(size.0));
        let (w, b) = (weight::<Rank2<C, C>>(), weight::<Rank1<C>>());
        let work = Work { flops: 2 * size.rows() * C * C, numbers: 2 * size.rows() * C + C * C };
        bench_backward(bencher, work, || {
            dev.linear(x.leaky_trace(), &w, Some(&b), *x.shape()).expect("fits")
        });
    }
}

#[divan::bench_group]
mod layer_norm {
    use super::*;

    fn work(size: Named) -> Work {
        Work { flops: 8 * size.rows() * C, numbers: 2 * size.rows() * C }
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn forward(bencher: Bencher<'_, '_>, size: Named) {
        let (dev, x, w, b) = (Cpu::default(), tokens(size.0), weight::<Rank1<C>>(), weight::<Rank1<C>>());
        bench_forward(bencher, work(size), || dev.layer_norm(x.clone(), &w, &b, 1e-6));
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn backward(bencher: Bencher<'_, '_>, size: Named) {
        let (dev, x, w, b) = (Cpu::default(), tokens(size.0), weight::<Rank1<C>>(), weight::<Rank1<C>>());
        bench_backward(bencher, work(size), || dev.layer_norm(x.leaky_trace(), &w, &b, 1e-6).expect("fits"));
    }
}

#[divan::bench_group]
mod gelu {
    use super::*;

    fn work(size: Named) -> Work {
        Work { flops: (EXP + 3) * size.rows() * C, numbers: 2 * size.rows() * C }
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn forward(bencher: Bencher<'_, '_>, size: Named) {
        let (dev, x) = (Cpu::default(), tokens(size.0));
        bench_forward(bencher, work(size), || dev.gelu(x.clone()));
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn backward(bencher: Bencher<'_, '_>, size: Named) {
        let (dev, x) = (Cpu::default(), tokens(size.0));
        bench_backward(bencher, work(size), || dev.gelu(x.leaky_trace()).expect("fits"));
    }
}

#[divan::bench_group]
mod softmax {
    use super::*;

    fn work(size: Named) -> Work {
        Work { flops: (EXP + 3) * size.rows() * C, numbers: 2 * size.rows() * C }
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn forward(bencher: Bencher<'_, '_>, size: Named) {
        let (dev, x) = (Cpu::default(), tokens(size.0));
        bench_forward(bencher, work(size), || dev.softmax(x.clone()));
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn backward(bencher: Bencher<'_, '_>, size: Named) {
        let (dev, x) = (Cpu::default(), tokens(size.0));
        bench_backward(bencher, work(size), || dev.softmax(x.leaky_trace()).expect("fits"));
    }
}

/// The MLP with its normalisation and residual connection.
#[divan::bench_group]
mod mlp {
    use super::*;

    struct Parameters {
        weight1: Tensor<Rank2<HIDDEN, C>, f32, Cpu>,
        bias1: Tensor<Rank1<HIDDEN>, f32, Cpu>,
        weight2: Tensor<Rank2<C, HIDDEN>, f32, Cpu>,
        bias2: Tensor<Rank1<C>, f32, Cpu>,
    }

    impl Parameters {
        fn new() -> Self {
            Self { weight1: weight(), bias1: weight(), weight2: weight(), bias2: weight() }
        }

        fn apply<T: Tape<f32, Cpu>>(&self, x: Tokens<T>) -> Tokens<T> {
            let Self { weight1, bias1, weight2, bias2 } = self;
            let branch = Branch { weight: bias2, bias: bias2, eps: 1e-6, scale: None };
            let weights = MlpWeights { weight1, bias1, weight2, bias2 };
            Cpu::default().mlp(x, weights, Some(branch)).expect("fits")
        }
    }

    fn work(size: Named) -> Work {
        let rows = size.rows();
        let flops = rows * (4 * C * HIDDEN + (EXP + 3) * HIDDEN);
        Work { flops, numbers: rows * 2 * C + 2 * C * HIDDEN }
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn forward(bencher: Bencher<'_, '_>, size: Named) {
        let (x, p) = (tokens(size.0), Parameters::new());
        bench_forward(bencher, work(size), || p.apply(x.clone()));
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn backward(bencher: Bencher<'_, '_>, size: Named) {
        let (x, p) = (tokens(size.0), Parameters::new());
        bench_backward(bencher, work(size), || p.apply(x.leaky_trace()));
    }
}

/// Attention with its projections, normalisation and residual connection.
#[divan::bench_group]
mod attention {
    use super::*;

    struct Parameters {
        qkv: Tensor<Rank3<3, C, C>, f32, Cpu>,
        qk: Tensor<Rank3<2, C, C>, f32, Cpu>,
        square: Tensor<Rank2<C, C>, f32, Cpu>,
        vector: Tensor<Rank1<C>, f32, Cpu>,
        position: Tensor<Rank2<H, 3>, f32, Cpu>,
        heads: Tensor<Rank1<H>, f32, Cpu>,
    }

    impl Parameters {
        fn new() -> Self {
            Self {
                qkv: weight(),
                qk: weight(),
                square: weight(),
                vector: weight(),
                position: weight(),
                heads: weight(),
            }
        }

        fn branch(&self) -> Branch<'_, C, f32, Cpu> {
            Branch { weight: &self.vector, bias: &self.vector, eps: 1e-6, scale: None }
        }

        fn content<T: Tape<f32, Cpu>>(&self, readout: Readout, x: Tokens<T>) -> Tokens<T> {
            let Self { qkv, square, vector, .. } = self;
            let weights = SelfAttentionWeights { qkv, qkv_bias: None, proj: square, proj_bias: vector };
            Cpu::default().self_attention(H, x, weights, readout, Some(self.branch())).expect("fits")
        }

        fn gated<T: Tape<f32, Cpu>>(&self, side: usize, x: Tokens<T>) -> Tokens<T> {
            let Self { qk, square, vector, position, heads, .. } = self;
            let weights = GatedSelfAttentionWeights {
                qk,
                qk_bias: None,
                v: square,
                v_bias: None,
                proj: square,
                proj_bias: vector,
                gate: PositionalGate { weight: position, bias: heads, gating: heads },
            };
            Cpu::default()
                .gated_self_attention(Grid::square(side), x, weights, Some(self.branch()))
                .expect("fits")
        }
    }

    fn work(size: Named) -> Work {
        let ((images, tokens), rows) = (size.images_tokens(), size.rows());
        let maps = images * tokens * tokens;
        let flops = 8 * rows * C * C + 4 * maps * C + (EXP + 3) * maps * H;
        Work { flops, numbers: rows * 2 * C + 4 * C * C }
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn forward(bencher: Bencher<'_, '_>, size: Named) {
        let (x, p) = (tokens(size.0), Parameters::new());
        bench_forward(bencher, work(size), || p.content(Readout::All, x.clone()));
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn backward(bencher: Bencher<'_, '_>, size: Named) {
        let (x, p) = (tokens(size.0), Parameters::new());
        bench_backward(bencher, work(size), || p.content(Readout::All, x.leaky_trace()));
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn forward_gated(bencher: Bencher<'_, '_>, size: Named) {
        let (x, p) = (tokens(size.0), Parameters::new());
        bench_forward(bencher, work(size), || p.gated(size.0.1, x.clone()));
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn backward_gated(bencher: Bencher<'_, '_>, size: Named) {
        let (x, p) = (tokens(size.0), Parameters::new());
        bench_backward(bencher, work(size), || p.gated(size.0.1, x.leaky_trace()));
    }

    /// Counted with the work of what is read out: keys and values of all tokens, the rest for one.
    #[divan::bench(args = SIZES.map(Named))]
    fn forward_class_token(bencher: Bencher<'_, '_>, size: Named) {
        let ((images, count), rows) = (size.images_tokens(), size.rows());
        let flops = 4 * rows * C * C + 4 * images * C * C + 4 * rows * C + (EXP + 3) * rows * H;
        let work = Work { flops, numbers: (rows + images) * C + 4 * C * C };
        let (x, p) = (tokens(size.0), Parameters::new());
        assert_eq!(x.shape().1, count);
        bench_forward(bencher, work, || p.content(Readout::First, x.clone()));
    }
}

#[divan::bench_group]
mod patch_embed {
    use super::*;

    const P: usize = 4;

    #[divan::bench(args = [64, 256])]
    fn forward(bencher: Bencher<'_, '_>, batch: usize) {
        let images = random((batch, 3, 32, 32), 1.0);
        let (w, b) = (weight::<Rank4<C, 3, P, P>>(), weight::<Rank1<C>>());
        let work = Work { flops: 2 * batch * 64 * 48 * C, numbers: batch * (3 * 1024 + 64 * C) };
        bench_forward(bencher, work, || Cpu::default().patch_embed(images.clone(), &w, &b, false));
    }
}

/// `true`: forward and backward, else forward alone. The first layers leave out the gradient of the images, whose operations
/// are counted all the same.
#[divan::bench_group]
mod conv2d {
    use super::*;

    fn work(batch: usize, grid: Grid, [i, o, k]: [usize; 3], out: Grid) -> Work {
        let flops = 2 * batch * out.tokens() * o * i * k * k;
        Work { flops, numbers: batch * (grid.tokens() * i + out.tokens() * o) + o * i * k * k }
    }

    /// The same over feature maps (`I` channels last) or over images without a gradient of theirs.
    fn run<const O: usize, const I: usize, const K: usize>(
        bencher: Bencher<'_, '_>,
        (batch, side): (usize, usize),
        window: Window,
        images: bool,
        backward: bool,
    ) {
        let (dev, grid) = (Cpu::default(), Grid::square(side));
        let out = window.output(grid).expect("fits");
        let (w, b) = (weight::<Rank4<O, I, K, K>>(), weight::<Rank1<O>>());
        let x = random((batch, grid.tokens(), Const::<I>), 1.0);
        let pixels = random((batch, I, side, side), 1.0);
        let work = work(batch, grid, [I, O, K], out);
        match (images, backward) {
            (true, false) => bench_forward(bencher, work, || {
                dev.conv2d_images(pixels.clone(), &w, Some(&b), window, false).expect("fits")
            }),
            (false, false) => {
                bench_forward(bencher, work, || dev.conv2d(x.clone(), grid, &w, None, window).expect("fits"))
            }
            (true, true) => bench_both(bencher, work, || {
                dev.conv2d_images(pixels.leaky_trace(), &w, Some(&b), window, false).expect("fits").0
            }),
            (false, true) => bench_both(bencher, work, || {
                dev.conv2d(x.leaky_trace(), grid, &w, None, window).expect("fits").0
            }),
        }
    }

    /// What the rows `true` of `small_stem` spend on the gradient of the result before it is used.
    #[divan::bench]
    fn gradient_alone(bencher: Bencher<'_, '_>) {
        let y = random((64, 1024, Const::<96>), 1.0);
        bench_both(bencher, Work { flops: 0, numbers: 64 * 1024 * 96 }, || y.leaky_trace());
    }

    /// EIT's first layer at 224 pixels.
    #[divan::bench(args = [false, true])]
    fn eit_stem(bencher: Bencher<'_, '_>, backward: bool) {
        run::<250, 3, 16>(bencher, (8, 224), Window::square(16, 4, 8), true, backward);
    }

    /// A 3x3 stem at 32 pixels.
    #[divan::bench(args = [false, true])]
    fn small_stem(bencher: Bencher<'_, '_>, backward: bool) {
        run::<96, 3, 3>(bencher, (64, 32), Window::square(3, 1, 1), true, backward);
    }

    /// ResNet's 3x3 convolutions at 32 and at 16 pixels.
    #[divan::bench(args = [false, true])]
    fn resnet_64(bencher: Bencher<'_, '_>, backward: bool) {
        run::<64, 64, 3>(bencher, (32, 32), Window::square(3, 1, 1), false, backward);
    }

    #[divan::bench(args = [false, true])]
    fn resnet_128(bencher: Bencher<'_, '_>, backward: bool) {
        run::<128, 128, 3>(bencher, (32, 16), Window::square(3, 1, 1), false, backward);
    }

    /// Each token by itself: a linear layer.
    #[divan::bench(args = [false, true])]
    fn pointwise(bencher: Bencher<'_, '_>, backward: bool) {
        run::<{ 3 * C }, C, 1>(bencher, (64, 8), Window::square(1, 1, 0), false, backward);
    }
}

#[divan::bench_group]
mod depthwise_conv2d {
    use super::*;

    fn run<const W: usize>(bencher: Bencher<'_, '_>, (batch, side): (usize, usize), backward: bool) {
        let (dev, grid) = (Cpu::default(), Grid::square(side));
        let w = weight::<Rank4<W, 1, 3, 3>>();
        let x = random((batch, grid.tokens(), Const::<W>), 1.0);
        let numbers = batch * grid.tokens() * W;
        let work = Work { flops: 18 * numbers, numbers: 2 * numbers };
        if backward {
            bench_both(bencher, work, || {
                dev.depthwise_conv2d(x.leaky_trace(), grid, 0, &w, None).expect("fits")
            });
        } else {
            bench_forward(bencher, work, || {
                dev.depthwise_conv2d(x.clone(), grid, 0, &w, None).expect("fits")
            });
        }
    }

    #[divan::bench(args = [false, true])]
    fn narrow(bencher: Bencher<'_, '_>, backward: bool) {
        run::<64>(bencher, (64, 8), backward);
    }

    #[divan::bench(args = [false, true])]
    fn wide(bencher: Bencher<'_, '_>, backward: bool) {
        run::<200>(bencher, (64, 8), backward);
    }

    /// EIT's first block at 224 pixels.
    #[divan::bench(args = [false, true])]
    fn eit(bencher: Bencher<'_, '_>, backward: bool) {
        run::<200>(bencher, (8, 19), backward);
    }
}

/// With the batch's statistics, a residual connection and ReLU, as at the end of a ResNet block.
#[divan::bench_group]
mod batch_norm {
    use super::*;

    fn run<const W: usize>(bencher: Bencher<'_, '_>, (batch, side): (usize, usize), backward: bool) {
        let dev = Cpu::default();
        let (weight, bias) = (random((Const::<W>,), 1.0), random((Const::<W>,), 1.0));
        let x = random((batch, side * side, Const::<W>), 1.0);
        let residual = random((batch, side * side, Const::<W>), 1.0);
        let numbers = batch * side * side * W;
        let work = Work { flops: 10 * numbers, numbers: 3 * numbers };
        let affine =
            || Affine { weight: &weight, bias: &bias, residual: Some(&residual), then: Activation::Relu };
        if backward {
            bench_both(bencher, work, || {
                dev.batch_norm_train(x.leaky_trace(), 1e-5, affine()).expect("fits").0
            });
        } else {
            bench_forward(bencher, work, || dev.batch_norm_train(x.clone(), 1e-5, affine()).expect("fits").0);
        }
    }

    /// The first stage of ResNet-20 and the last of ResNet-18, both for CIFAR.
    #[divan::bench(args = [false, true])]
    fn narrow(bencher: Bencher<'_, '_>, backward: bool) {
        run::<16>(bencher, (64, 32), backward);
    }

    #[divan::bench(args = [false, true])]
    fn wide(bencher: Bencher<'_, '_>, backward: bool) {
        run::<512>(bencher, (64, 4), backward);
    }
}

#[divan::bench_group]
mod max_pool2d {
    use super::*;

    fn run<const W: usize>(
        bencher: Bencher<'_, '_>,
        (batch, side): (usize, usize),
        window: Window,
        backward: bool,
    ) {
        let (dev, grid) = (Cpu::default(), Grid::square(side));
        let x = random((batch, grid.tokens(), Const::<W>), 1.0);
        let results = batch * window.output(grid).expect("fits").tokens() * W;
        let flops = results * window.kernel[0] * window.kernel[1];
        let work = Work { flops, numbers: batch * grid.tokens() * W + results };
        if backward {
            bench_both(bencher, work, || dev.max_pool2d(x.leaky_trace(), grid, window).expect("fits").0);
        } else {
            bench_forward(bencher, work, || dev.max_pool2d(x.clone(), grid, window).expect("fits"));
        }
    }

    /// EIT's pooling at 224 pixels.
    #[divan::bench(args = [false, true])]
    fn eit(bencher: Bencher<'_, '_>, backward: bool) {
        run::<250>(bencher, (8, 57), Window::square(3, 3, 0), backward);
    }

    /// ResNet's.
    #[divan::bench(args = [false, true])]
    fn resnet(bencher: Bencher<'_, '_>, backward: bool) {
        run::<64>(bencher, (32, 32), Window::square(3, 2, 1), backward);
    }
}

#[divan::bench_group]
mod adamw {
    use super::*;

    type Weight = Tensor<Rank2<HIDDEN, C>, f32, Cpu>;

    #[divan::bench]
    fn update(bencher: Bencher<'_, '_>) {
        let dev = Cpu::default();
        let mut parameter: Weight = weight();
        let mut moments = Moments::zeros(&dev, HIDDEN * C).expect("memory");
        let mut gradients = Gradients::leaky();
        gradients.get_or_alloc_mut(&parameter).expect("memory");
        let step = AdamWStep {
            lr: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.05,
            step: 1,
            gradient_scale: 1.0,
        };
        let work = Work { flops: 12 * HIDDEN * C, numbers: 7 * HIDDEN * C };
        bencher
            .counter(ItemsCount::new(work.flops))
            .counter(BytesCount::new(4 * work.numbers))
            .bench_local(|| dev.adamw(&mut parameter, &mut gradients, &mut moments, &step));
    }
}
