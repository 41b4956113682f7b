//! A 3x3 convolution beside what it becomes as attention, forward and as a training step (forward, then backward from a
//! given gradient, with that of x): `cargo bench -p inductive-ops --bench conv_as_attention`.
//!
//! "item/s" counts floating-point operations: two for a multiplication with addition, `EXP` for an exponential.

use dfdx::prelude::*;
use divan::{Bencher, counter::ItemsCount};
use inductive_ops::{Backend, Border, ContentWeights, ConvAsAttentionWeights, Grid, Window, memory};
use rand::distributions::Uniform;

#[global_allocator]
static ALLOCATOR: memory::PoolAllocator = memory::PoolAllocator::new();

/// Batch and side of the grid: a stage at 32 and at 224 pixels.
const SIZES: [(usize, usize); 2] = [(128, 8), (64, 14)];
/// Channels, heads and channels of their queries together.
const C: usize = 64;
const H: usize = 9;
const QK: usize = 144;
/// Operations of one exponential.
const EXP: usize = 20;

type Taped = Tensor<(usize, usize, Const<C>), f32, Cpu, OwnedTape<f32, Cpu>>;

fn main() {
    divan::main();
}

fn random<S: Shape>(shape: S, bound: f32) -> Tensor<S, f32, Cpu> {
    Cpu::seed_from_u64(0).sample_like(&shape, Uniform::new(-bound, bound))
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

/// What a call of the operations is given.
struct Inputs {
    grid: Grid,
    x: Tensor<(usize, usize, Const<C>), f32, Cpu>,
    weight: Tensor<Rank4<C, C, 3, 3>, f32, Cpu>,
    bias: Tensor<Rank1<C>, f32, Cpu>,
    position: Tensor<Rank2<H, 3>, f32, Cpu>,
    gate: Tensor<Rank1<H>, f32, Cpu>,
    qk: Tensor<Rank3<2, QK, C>, f32, Cpu>,
}

impl Inputs {
    fn new((batch, side): (usize, usize), alpha: f32) -> Self {
        let heads = (0..H).map(|h| [2.0 * ((h / 3) as f32 - 1.0), 2.0 * ((h % 3) as f32 - 1.0), -1.0]);
        let position = heads.flatten().map(|v| alpha * v).collect::<Vec<_>>();
        Self {
            grid: Grid::square(side),
            x: random((batch, side * side, Const), 1.0),
            weight: random(Default::default(), 0.05),
            bias: random(Default::default(), 0.05),
            position: Cpu::default().tensor_from_vec(position, (Const, Const)),
            gate: Cpu::default().tensor_from_vec(vec![0.7; H], (Const,)),
            qk: random(Default::default(), 0.2),
        }
    }

    fn with_gate(self, share: f32) -> Self {
        Self { gate: Cpu::default().tensor_from_vec(vec![share; H], (Const,)), ..self }
    }

    /// Operations of the product with the weight, and of the heads' maps for all images.
    fn flops(&self) -> (usize, usize) {
        let (rows, keys) = (self.x.shape().0 * self.grid.tokens(), self.grid.tokens());
        let maps = rows * H * keys * (2 * QK / H + 2 * C + EXP) + 4 * rows * C * QK;
        (2 * rows * C * C * H, maps)
    }

    fn convolution<T: Tape<f32, Cpu>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Cpu, T>,
    ) -> Tensor<(usize, usize, Const<C>), f32, Cpu, T> {
        let window = Window::square(3, 1, 1);
        Cpu::default().conv2d(x, self.grid, &self.weight, Some(&self.bias), window).expect("fits").0
    }

    fn attention<T: Tape<f32, Cpu>>(
        &self,
        x: Tensor<(usize, usize, Const<C>), f32, Cpu, T>,
        with_content: bool,
    ) -> Tensor<(usize, usize, Const<C>), f32, Cpu, T> {
        let content = ContentWeights { gate: &self.gate, sigmoid: false, qk: &self.qk };
        let weights: ConvAsAttentionWeights<'_, C, C, 3, H, QK, f32, Cpu> = ConvAsAttentionWeights {
            weight: &self.weight,
            bias: Some(&self.bias),
            position: &self.position,
            content: with_content.then_some(content),
        };
        Cpu::default().conv_as_attention(x, self.grid, 1, Border::Replicate, weights).expect("fits").0
    }
}

/// A pass forward, and with it a pass backward from a given gradient: `y = f(x); y.backward(dy)` in PyTorch.
fn step(y: Taped, dy: Vec<f32>) -> Gradients<f32, Cpu> {
    let (y, mut tape) = y.split_tape();
    // The last operation of the tape is the first of the backward pass.
    tape.add_backward_op(move |gradients| {
        **gradients.get_or_alloc_mut(&y)? = dy;
        Ok(())
    });
    Cpu::default().zeros::<Rank0>().put_tape(tape).backward()
}

fn bench_step(bencher: Bencher<'_, '_>, inputs: &Inputs, flops: usize, forward: impl Fn() -> Taped) {
    let numbers = inputs.x.shape().num_elements();
    bencher
        .counter(ItemsCount::new(3 * flops))
        .with_inputs(|| vec![1.0; numbers])
        .bench_local_values(|dy| step(forward(), dy));
}

#[divan::bench(args = SIZES.map(Named))]
fn convolution(bencher: Bencher<'_, '_>, size: Named) {
    let inputs = Inputs::new(size.0, 20.0);
    bencher.counter(ItemsCount::new(inputs.flops().0)).bench_local(|| inputs.convolution(inputs.x.clone()));
}

#[divan::bench(args = SIZES.map(Named))]
fn convolution_step(bencher: Bencher<'_, '_>, size: Named) {
    let inputs = Inputs::new(size.0, 20.0);
    bench_step(bencher, &inputs, inputs.flops().0, || inputs.convolution(inputs.x.leaky_trace()));
}

/// Sharp positions alone, the gate held at 1: maps that see what the convolution saw.
#[divan::bench(args = SIZES.map(Named))]
fn positions(bencher: Bencher<'_, '_>, size: Named) {
    let inputs = Inputs::new(size.0, 20.0);
    let flops = inputs.flops().0;
    bencher.counter(ItemsCount::new(flops)).bench_local(|| inputs.attention(inputs.x.clone(), false));
}

#[divan::bench(args = SIZES.map(Named))]
fn positions_step(bencher: Bencher<'_, '_>, size: Named) {
    let inputs = Inputs::new(size.0, 20.0);
    bench_step(bencher, &inputs, inputs.flops().0, || inputs.attention(inputs.x.leaky_trace(), false));
}

/// Less sharp: the nearest patches still count, as a mixture.
#[divan::bench(args = SIZES.map(Named))]
fn positions_at_16(bencher: Bencher<'_, '_>, size: Named) {
    let inputs = Inputs::new(size.0, 16.0);
    let flops = inputs.flops().0;
    bencher.counter(ItemsCount::new(flops)).bench_local(|| inputs.attention(inputs.x.clone(), false));
}

#[divan::bench(args = SIZES.map(Named))]
fn positions_at_16_step(bencher: Bencher<'_, '_>, size: Named) {
    let inputs = Inputs::new(size.0, 16.0);
    bench_step(bencher, &inputs, inputs.flops().0, || inputs.attention(inputs.x.leaky_trace(), false));
}

/// As right after a switch, in inference: there is content, and the gate of 1 keeps it out.
#[divan::bench(args = SIZES.map(Named))]
fn gate_of_1(bencher: Bencher<'_, '_>, size: Named) {
    let inputs = Inputs::new(size.0, 20.0).with_gate(1.0);
    let flops = inputs.flops().0;
    bencher.counter(ItemsCount::new(flops)).bench_local(|| inputs.attention(inputs.x.clone(), true));
}

/// The same in training, where the gate's gradient needs the content.
#[divan::bench(args = SIZES.map(Named))]
fn gate_of_1_step(bencher: Bencher<'_, '_>, size: Named) {
    let inputs = Inputs::new(size.0, 20.0).with_gate(1.0);
    let (weight, maps) = inputs.flops();
    bench_step(bencher, &inputs, weight + maps, || inputs.attention(inputs.x.leaky_trace(), true));
}

/// Maps so wide that they are multiplied by as matrices.
#[divan::bench(args = SIZES.map(Named))]
fn wide_positions_step(bencher: Bencher<'_, '_>, size: Named) {
    let inputs = Inputs::new(size.0, 0.2);
    bench_step(bencher, &inputs, inputs.flops().0, || inputs.attention(inputs.x.leaky_trace(), false));
}

/// Positions and content at a share of 0.7.
#[divan::bench(args = SIZES.map(Named))]
fn content(bencher: Bencher<'_, '_>, size: Named) {
    let inputs = Inputs::new(size.0, 1.5);
    let (weight, maps) = inputs.flops();
    bencher.counter(ItemsCount::new(weight + maps)).bench_local(|| inputs.attention(inputs.x.clone(), true));
}

#[divan::bench(args = SIZES.map(Named))]
fn content_step(bencher: Bencher<'_, '_>, size: Named) {
    let inputs = Inputs::new(size.0, 1.5);
    let (weight, maps) = inputs.flops();
    bench_step(bencher, &inputs, weight + maps, || inputs.attention(inputs.x.leaky_trace(), true));
}
