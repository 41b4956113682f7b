//! Depthwise convolution over the tokens of a grid: each channel by itself, the result of the same size (PyTorch's
//! `Conv2d(C, C, K, padding=K // 2, groups=C)`).
//!
//! `y[c, p] = bias[c] + sum_{u, v} weight[c, 0, u, v] x[c, p + (u, v) - K / 2]`, zero outside the grid. Tokens in front of
//! the grid (a class token) pass through unchanged.

mod cpu;
mod kernel;

use dfdx::prelude::*;

pub(crate) use cpu::on_cpu;

use crate::{
    Error, Grid, Result, Window,
    channels::sliceable,
    window::{check_grid, check_size, tokens_seen, unfold},
};

/// Sizes of a depthwise convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dims {
    pub(crate) batch: usize,
    /// Channels.
    pub(crate) width: usize,
    /// Tokens in front of the grid.
    pub(crate) prefix: usize,
    pub(crate) grid: Grid,
    /// Rows and columns of the kernel.
    pub(crate) kernel: usize,
}

impl Dims {
    /// Rows, and columns, of padding on each side.
    pub(crate) fn padding(&self) -> usize {
        self.kernel / 2
    }

    /// Numbers of a sample.
    pub(crate) fn sample(&self) -> usize {
        (self.prefix + self.grid.tokens()) * self.width
    }
}

pub(crate) fn check<const C: usize, const K: usize>(
    x: &(usize, usize, Const<C>),
    grid: Grid,
    prefix: usize,
) -> Result<Dims> {
    check_grid("depthwise_conv2d", x, grid, prefix)?;
    if K.is_multiple_of(2) || grid.tokens() == 0 {
        return Err(Error::Argument {
            op: "depthwise_conv2d",
            what: format!("expected an odd kernel and a grid that is not empty, got {K}x{K} and {grid}"),
        });
    }
    check_size("depthwise_conv2d", &[C, K, K])?;
    check_size("depthwise_conv2d", &[grid.rows.saturating_add(K), grid.cols.saturating_add(K)])?;
    Ok(Dims { batch: x.0, width: C, prefix, grid, kernel: K })
}

pub(crate) fn composition<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: Dims,
    x: Tensor<(usize, usize, usize), E, D, T>,
    weight: Tensor<(usize, usize, usize, usize), E, D>,
    bias: Option<Tensor<(usize,), E, D>>,
) -> Result<Tensor<(usize, usize, usize), E, D, T>, D::Err> {
    let Dims { batch, width, prefix, grid, kernel } = dims;
    let (tokens, area) = (grid.tokens(), kernel * kernel);
    let (x, tape) = x.split_tape();
    let map = match prefix {
        0 => x.clone().put_tape(tape),
        _ => sliceable(x.clone().put_tape(tape))?.try_slice((.., prefix.., ..))?,
    };
    let seen = tokens_seen(Window::square(kernel, 1, dims.padding()), grid, grid);
    let places = (batch * tokens, area, width);
    let weight = weight
        .retaped::<T>()
        .try_reshape_like(&(width, area))?
        .try_permute::<(usize, usize), Axes2<1, 0>>()?
        .try_broadcast_like::<_, Axis<0>>(&places)?;
    let mut y = unfold(map, &seen)?
        .try_reshape_like(&places)?
        .try_mul(weight)?
        .try_sum::<(usize, usize), Axis<1>>()?
        .try_reshape_like(&(batch, tokens, width))?;
    if let Some(bias) = bias {
        let bias = bias.retaped::<T>().try_broadcast_like::<_, Axes2<0, 1>>(y.shape())?;
        y = y.try_add(bias)?;
    }
    if prefix == 0 {
        return Ok(y);
    }
    let front = sliceable(x.retaped::<T>())?.try_slice((.., ..prefix, ..))?;
    (front, y).try_concat_along(Axis::<1>)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, testing::*};

    /// Batch, grid, tokens in front, whether there is a bias.
    struct Depthwise<const C: usize, const K: usize>(usize, Grid, usize, bool);

    impl<const C: usize, const K: usize> Depthwise<C, K> {
        fn inputs(&self) -> [Vec<f64>; 3] {
            let x = self.0 * (self.2 + self.1.tokens()) * C;
            [random(x, 1), random(C * K * K, 2), random(C, 3)]
        }
    }

    impl<const C: usize, const K: usize> Case for Depthwise<C, K> {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let Self(batch, grid, prefix, bias) = *self;
            let x = leaf(dev, (batch, prefix + grid.tokens(), Const::<C>), &inputs[0]);
            let w = leaf(dev, (Const::<C>, Const::<1>, Const::<K>, Const::<K>), &inputs[1]);
            let b = leaf(dev, (Const::<C>,), &inputs[2]);
            let y = dev.depthwise_conv2d(x.leaky_trace(), grid, prefix, &w, bias.then_some(&b)).unwrap();
            let (y, mut g) = differentiate(dev, y);
            (y, vec![gradient(&mut g, &x), gradient(&mut g, &w), gradient(&mut g, &b)])
        }
    }

    #[test]
    fn kernel_and_composition_agree() {
        for (prefix, bias) in [(0, true), (1, false), (3, true)] {
            // Grids narrower than the kernel, and as wide as what is computed at a time.
            let case = Depthwise::<1, 3>(1, Grid { rows: 2, cols: 1 }, prefix, bias);
            check_case(&case, &case.inputs());
            let case = Depthwise::<3, 3>(2, Grid { rows: 3, cols: 9 }, prefix, bias);
            check_case(&case, &case.inputs());
            let case = Depthwise::<17, 5>(2, Grid { rows: 4, cols: 3 }, prefix, bias);
            check_case(&case, &case.inputs());
            // Several shards; whole and incomplete vectors of channels.
            let case = Depthwise::<32, 3>(11, Grid { rows: 8, cols: 8 }, prefix, bias);
            check_kernel(&case, &case.inputs());
            let case = Depthwise::<25, 7>(9, Grid { rows: 7, cols: 19 }, prefix, bias);
            check_kernel(&case, &case.inputs());
            let case = Depthwise::<2, 9>(9, Grid { rows: 5, cols: 13 }, prefix, bias);
            check_kernel(&case, &case.inputs());
            let case = Depthwise::<20, 1>(2, Grid { rows: 5, cols: 5 }, prefix, bias);
            check_kernel(&case, &case.inputs());
        }
    }

    #[test]
    fn values_are_those_of_pytorch() {
        // x = torch.arange(8.).reshape(2, 2, 2); w = torch.arange(18.).reshape(2, 1, 3, 3) / 10
        // F.conv2d(x, w, torch.tensor([1., -1.]), padding=1, groups=2).permute(1, 2, 0).flatten()
        let dev = Cpu::default();
        // The same x with its channels last, behind a token of twos.
        let x: Tensor<_, f32, _> =
            leaf(&dev, (1, 5, Const::<2>), &[2.0, 2.0, 0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]);
        let weight: Vec<f64> = (0..18).map(|v| f64::from(v) / 10.0).collect();
        let weight = leaf(&dev, (Const::<2>, Const::<1>, Const::<3>, Const::<3>), &weight);
        let bias = leaf(&dev, (Const::<2>,), &[1.0, -1.0]);
        let y = dev.depthwise_conv2d(x, Grid::square(2), 1, &weight, Some(&bias)).unwrap().as_vec();
        for (got, want) in y.iter().zip(PYTORCH) {
            assert!((got - want).abs() < 1e-5, "{got}, want {want}");
        }
    }

    /// Results of the call above behind the token that passes through.
    const PYTORCH: [f32; 10] = [2.0, 2.0, 5.3, 32.7, 4.7, 30.5, 3.5, 26.1, 2.9, 23.9];

    /// `depthwise(x) + x`
    struct Beside;

    impl Case for Beside {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let x = leaf(dev, (2, 8, Const::<3>), &inputs[0]);
            let w = leaf(dev, (Const::<3>, Const::<1>, Const::<3>, Const::<3>), &inputs[1]);
            let grid = Grid { rows: 2, cols: 3 };
            let y = dev.depthwise_conv2d(x.leaky_trace(), grid, 2, &w, None).unwrap();
            let (y, mut g) = differentiate(dev, dev.add_residual(y, &x, None).unwrap());
            (y, vec![gradient(&mut g, &x), gradient(&mut g, &w)])
        }
    }

    #[test]
    fn x_that_is_also_used_elsewhere_gets_both_gradients() {
        check_case(&Beside, &[random(48, 1), random(27, 2)]);
    }

    #[test]
    fn shapes_that_do_not_fit_are_an_error() {
        let dev = Cpu::default();
        let x: Tensor<(usize, usize, Const<5>), f32, _> = dev.zeros_like(&(2, 7, Const));
        let odd = dev.zeros::<Rank4<5, 1, 3, 3>>();
        let grid = Grid { rows: 2, cols: 3 };
        assert!(dev.depthwise_conv2d(x.clone(), grid, 1, &odd, None).is_ok());
        let overflow = Grid { rows: usize::MAX, cols: 2 };
        for (grid, prefix) in [(grid, 0), (grid, usize::MAX), (overflow, 1), (Grid { rows: 0, cols: 3 }, 7)] {
            let error = dev.depthwise_conv2d(x.clone(), grid, prefix, &odd, None).unwrap_err();
            assert!(error.to_string().starts_with("depthwise_conv2d: expected"), "{error}");
        }
        let even = dev.zeros::<Rank4<5, 1, 2, 2>>();
        let error = dev.depthwise_conv2d(x, grid, 1, &even, None).unwrap_err();
        assert!(error.to_string().contains("an odd kernel"), "{error}");
    }
}
