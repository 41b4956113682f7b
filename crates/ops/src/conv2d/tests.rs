use super::*;
use crate::{Backend, testing::*};

/// Batch, grid, window, whether there is a bias, whether x is images.
struct Conv<const O: usize, const I: usize, const KH: usize, const KW: usize> {
    batch: usize,
    grid: Grid,
    window: Window,
    bias: bool,
    images: bool,
}

impl<const O: usize, const I: usize, const KH: usize, const KW: usize> Conv<O, I, KH, KW> {
    fn new(batch: usize, (rows, cols): (usize, usize), stride: [usize; 2], padding: [usize; 2]) -> Self {
        let window = Window { kernel: [KH, KW], stride, padding };
        Self { batch, grid: Grid { rows, cols }, window, bias: true, images: false }
    }

    fn inputs(&self) -> [Vec<f64>; 3] {
        let x = self.batch * self.grid.tokens() * I;
        [random(x, 1), random(O * I * KH * KW, 2), random(O, 3)]
    }

    fn each_kind(mut self, check: impl Fn(&Self, &[Vec<f64>])) {
        for (bias, images) in [(true, false), (false, true)] {
            (self.bias, self.images) = (bias, images);
            check(&self, &self.inputs());
        }
    }
}

impl<const O: usize, const I: usize, const KH: usize, const KW: usize> Case for Conv<O, I, KH, KW> {
    fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
        let w: Weight<O, I, KH, KW, E, D> = leaf(dev, Default::default(), &inputs[1]);
        let b = leaf(dev, (Const::<O>,), &inputs[2]);
        let bias = self.bias.then_some(&b);
        let Grid { rows, cols } = self.grid;
        if self.images {
            let x = leaf(dev, (self.batch, Const::<I>, rows, cols), &inputs[0]);
            let (y, _) = dev.conv2d_images(x.leaky_trace(), &w, bias, self.window, true).unwrap();
            let (y, mut g) = differentiate(dev, y);
            (y, vec![gradient(&mut g, &x), gradient(&mut g, &w), gradient(&mut g, &b)])
        } else {
            let x = leaf(dev, (self.batch, rows * cols, Const::<I>), &inputs[0]);
            let (y, _) = dev.conv2d(x.leaky_trace(), self.grid, &w, bias, self.window).unwrap();
            let (y, mut g) = differentiate(dev, y);
            (y, vec![gradient(&mut g, &x), gradient(&mut g, &w), gradient(&mut g, &b)])
        }
    }
}

#[test]
fn kernel_and_composition_agree() {
    // The same size; a stride; a stride beyond the kernel; a padding beyond the kernel; rectangles; one channel.
    Conv::<5, 3, 3, 3>::new(2, (4, 5), [1, 1], [1, 1]).each_kind(|c, i| check_case(c, i));
    Conv::<4, 3, 4, 4>::new(3, (9, 7), [2, 2], [2, 2]).each_kind(|c, i| check_case(c, i));
    Conv::<2, 3, 2, 2>::new(1, (8, 9), [3, 4], [0, 1]).each_kind(|c, i| check_case(c, i));
    Conv::<3, 2, 2, 3>::new(2, (3, 4), [2, 1], [4, 5]).each_kind(|c, i| check_case(c, i));
    Conv::<3, 2, 1, 4>::new(2, (3, 6), [1, 2], [0, 1]).each_kind(|c, i| check_case(c, i));
    Conv::<1, 1, 5, 5>::new(1, (6, 6), [1, 1], [2, 2]).each_kind(|c, i| check_case(c, i));
    Conv::<17, 1, 3, 3>::new(9, (3, 3), [1, 1], [1, 1]).each_kind(|c, i| check_case(c, i));
    Conv::<1, 17, 1, 1>::new(2, (3, 5), [2, 2], [0, 0]).each_kind(|c, i| check_case(c, i));
    Conv::<6, 5, 1, 1>::new(2, (3, 5), [1, 1], [0, 0]).each_kind(|c, i| check_case(c, i));
}

#[test]
fn kernel_and_composition_agree_over_many_chunks_and_shards() {
    // Weights in panels, of which the last is incomplete; chunks that end inside an image.
    Conv::<70, 6, 3, 3>::new(11, (9, 8), [1, 1], [1, 1]).each_kind(|c, i| check_kernel(c, i));
    Conv::<33, 70, 3, 3>::new(3, (17, 16), [1, 1], [1, 1]).each_kind(|c, i| check_kernel(c, i));
    Conv::<9, 3, 8, 8>::new(9, (33, 32), [4, 4], [4, 4]).each_kind(|c, i| check_kernel(c, i));
    // Enough rows for more shards.
    Conv::<3, 2, 3, 3>::new(33, (16, 16), [1, 1], [1, 1]).each_kind(|c, i| check_kernel(c, i));
}

#[test]
fn values_are_those_of_pytorch() {
    // F.conv2d(torch.arange(24.).reshape(1, 2, 3, 4) / 10, (torch.arange(12.).reshape(1, 2, 2, 3) - 5) / 10,
    //          torch.tensor([0.5]), stride=(1, 2), padding=(0, 1)).flatten()
    let dev = Cpu::default();
    let images: Tensor<_, f32, _> = leaf(&dev, (1, Const::<2>, 3, 4), &tenths(24, 0));
    let weight = leaf(&dev, Default::default(), &tenths(12, -5));
    let bias = leaf(&dev, (Const::<1>,), &[0.5]);
    let window = Window { kernel: [2, 3], stride: [1, 2], padding: [0, 1] };
    let (y, grid) =
        dev.conv2d_images::<_, 1, 2, 2, 3, _>(images, &weight, Some(&bias), window, true).unwrap();
    assert_eq!((grid, y.shape().1), (Grid::square(2), 4));
    for (got, want) in y.as_vec().iter().zip(PYTORCH) {
        assert!((got - want).abs() < 1e-5, "{got}, want {want}");
    }
}

/// Results of the call above.
const PYTORCH: [f32; 4] = [2.88, 3.7, 3.2, 3.94];

fn tenths(len: i32, first: i32) -> Vec<f64> {
    (first..first + len).map(|v| f64::from(v) / 10.0).collect()
}

#[test]
fn images_without_gradient_give_the_same_weight_gradient() {
    let dev = Cpu::default();
    let run = |image_gradient: bool| {
        let images: Tensor<_, f32, _> = leaf(&dev, (2, Const::<3>, 5, 5), &random(150, 1));
        let w: Weight<4, 3, 3, 3, f32, Cpu> = leaf(&dev, Default::default(), &random(108, 2));
        let window = Window::square(3, 2, 1);
        let (y, _) = dev.conv2d_images(images.leaky_trace(), &w, None, window, image_gradient).unwrap();
        let (_, mut g) = differentiate(&dev, y);
        (gradient(&mut g, &images), gradient(&mut g, &w))
    };
    let ((with, weight), (without, same)) = (run(true), run(false));
    assert_eq!(weight, same);
    assert!(with.iter().any(|v| *v != 0.0) && without.iter().all(|v| *v == 0.0));
}

#[test]
fn a_permuted_input_is_copied_and_gets_its_gradient() {
    let dev = Cpu::default();
    let values: Tensor<Rank3<2, 3, 4>, f32, _> = leaf(&dev, Default::default(), &random(24, 1));
    let permuted: Tensor<(Const<2>, Const<4>, Const<3>), f32, _> = values.permute();
    let x: Tensor<(usize, usize, Const<3>), f32, _> = permuted.realize();
    let w: Weight<5, 3, 3, 3, f32, Cpu> = leaf(&dev, Default::default(), &random(135, 2));
    let run = |x: Tensor<(usize, usize, Const<3>), f32, _>| {
        let traced = x.leaky_trace();
        let (y, _) = dev.conv2d(traced, Grid::square(2), &w, None, Window::square(3, 1, 1)).unwrap();
        let values = y.as_vec();
        let (_, mut gradients) = differentiate(&dev, y);
        (values, gradient(&mut gradients, &x))
    };
    let copied = dev.tensor_from_vec(x.as_vec(), (2, 4, Const));
    assert_eq!(run(x), run(copied));
}

#[test]
fn shapes_that_do_not_fit_are_an_error() {
    let dev = Cpu::default();
    let weight: Weight<4, 3, 3, 3, f32, Cpu> = dev.zeros();
    let run = |tokens: usize, grid: Grid, window: Window| {
        let x: Tensor<_, f32, _> = dev.zeros_like(&(2, tokens, Const::<3>));
        dev.conv2d(x, grid, &weight, None, window).map(|(_, grid)| grid)
    };
    let same = Window::square(3, 1, 1);
    assert_eq!(run(6, Grid { rows: 2, cols: 3 }, same).unwrap(), Grid { rows: 2, cols: 3 });
    for (tokens, grid, window) in [
        (6, Grid::square(2), same),
        (0, Grid::square(0), same),
        (4, Grid { rows: usize::MAX, cols: 4 }, same),
        (4, Grid::square(2), Window::square(5, 1, 2)),
        (4, Grid::square(2), Window::square(3, 1, 0)),
        (4, Grid::square(2), Window::square(3, 0, 1)),
        (4, Grid::square(2), Window::square(3, 1, usize::MAX)),
        (4, Grid::square(2), Window::square(3, 1, 1 << 40)),
    ] {
        let error = run(tokens, grid, window).unwrap_err().to_string();
        assert!(error.starts_with("conv2d: "), "{error}");
    }
    let images: Tensor<_, f32, _> = dev.zeros_like(&(2, 4, 5, 5));
    let error = dev.conv2d_images(images, &weight, None, same, true).unwrap_err().to_string();
    assert!(error.contains("images [batch, 3, height, width]"), "{error}");
}
