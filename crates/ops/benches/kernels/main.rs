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

mod convolution;
mod transformer;

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
