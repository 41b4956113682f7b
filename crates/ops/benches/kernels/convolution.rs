//! Convolutions, and what stands beside them in a ResNet.

use super::*;

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
