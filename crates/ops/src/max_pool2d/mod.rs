//! Max pooling over the tokens of a grid, by PyTorch's `MaxPool2d` without dilation and `ceil_mode`.
//!
//! The padding never wins. Of equal numbers the first in the window, row by row, gets the gradient. A window that sees a
//! NaN gives NaN.

mod cpu;
mod kernel;

use dfdx::prelude::*;

pub(crate) use cpu::on_cpu;

use crate::{
    Error, Grid, Result, Window,
    window::{check_grid, check_size, gather, tokens_seen},
};

/// Sizes of a max pooling.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dims {
    pub(crate) batch: usize,
    pub(crate) width: usize,
    pub(crate) grid: Grid,
    pub(crate) out: Grid,
    pub(crate) window: Window,
}

pub(crate) fn check<const C: usize>(
    x: &(usize, usize, Const<C>),
    grid: Grid,
    window: Window,
) -> Result<Dims> {
    check_grid("max_pool2d", x, grid, 0)?;
    let out = window.output_of("max_pool2d", grid)?;
    // As in PyTorch; else a window could see padding only. Winners are kept as `u32`.
    let at_most_half = (0..2).all(|axis| window.padding[axis] <= window.kernel[axis] / 2);
    if !at_most_half || u32::try_from(grid.tokens()).is_err() {
        return Err(Error::Argument {
            op: "max_pool2d",
            what: format!(
                "expected a padding of at most half the kernel and fewer than 2^32 tokens, got {window}, {grid}"
            ),
        });
    }
    check_size("max_pool2d", &[out.rows, out.cols, window.kernel[0], window.kernel[1]])?;
    Ok(Dims { batch: x.0, width: C, grid, out, window })
}

pub(crate) fn composition<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: Dims,
    x: Tensor<(usize, usize, usize), E, D, T>,
) -> Result<Tensor<(usize, usize, usize), E, D, T>, D::Err> {
    let area = dims.window.area();
    let seen = tokens_seen(dims.window, dims.grid, dims.out);
    // Where a window sees padding it sees its first token again, which never wins against itself.
    let of_place = |place: usize| -> Vec<usize> {
        let first = |window: &[Option<usize>]| window.iter().flatten().next().copied().unwrap_or(0);
        seen.chunks_exact(area).map(|window| window[place].unwrap_or_else(|| first(window))).collect()
    };
    let (x, tape) = x.split_tape();
    let mut y = gather(x.clone().put_tape(tape), &of_place(0))?;
    for place in 1..area {
        let other = gather(x.retaped::<T>(), &of_place(place))?;
        let (values, tape) = y.split_tape();
        let wins = other.try_gt(&values.retaped::<T>())? | other.try_ne(&other)?;
        y = (!wins).try_choose(values.put_tape(tape), other)?;
    }
    Ok(y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, testing::*};

    /// Batch, grid, window.
    struct Pool<const C: usize>(usize, Grid, Window);

    impl<const C: usize> Pool<C> {
        fn len(&self) -> usize {
            self.0 * self.1.tokens() * C
        }
    }

    impl<const C: usize> Case for Pool<C> {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let x = leaf(dev, (self.0, self.1.tokens(), Const::<C>), &inputs[0]);
            let (y, _) = dev.max_pool2d(x.leaky_trace(), self.1, self.2).unwrap();
            let (y, mut g) = differentiate(dev, y);
            (y, vec![gradient(&mut g, &x)])
        }
    }

    #[test]
    fn kernel_and_composition_agree() {
        let wide = Window { kernel: [2, 3], stride: [1, 4], padding: [1, 0] };
        for window in [
            Window::square(3, 3, 0),
            Window::square(3, 2, 1),
            Window::square(2, 3, 1),
            Window::square(1, 1, 0),
            wide,
        ] {
            let (small, large) = (Grid { rows: 5, cols: 4 }, Grid { rows: 13, cols: 19 });
            let case = Pool::<1>(2, small, window);
            check_case(&case, &[random(case.len(), 1)]);
            let case = Pool::<35>(3, large, window);
            check_kernel(&case, &[random(case.len(), 2)]);
        }
    }

    #[test]
    fn the_first_of_equal_numbers_gets_the_gradient() {
        // Few different numbers: many windows have several largest ones.
        let case = Pool::<18>(2, Grid { rows: 7, cols: 8 }, Window::square(3, 2, 1));
        let inputs = [random(case.len(), 1).iter().map(|v| (2.0 * v).round()).collect()];
        check_kernel(&case, &inputs);

        // x = torch.tensor([[1., 3., 3.], [3., 2., 0.], [3., 3., 3.]], requires_grad=True)
        // F.max_pool2d(x[None], 2, 1).backward(torch.tensor([[[1., 2.], [3., 4.]]])); x.grad
        let dev = Cpu::default();
        let values = [1.0, 3.0, 3.0, 3.0, 2.0, 0.0, 3.0, 3.0, 3.0];
        let x: Tensor<_, f64, _> = leaf(&dev, (1, 9, Const::<1>), &values);
        let (y, grid) = dev.max_pool2d(x.leaky_trace(), Grid::square(3), Window::square(2, 1, 0)).unwrap();
        assert_eq!(grid, Grid::square(2));
        let weights = dev.tensor_from_vec(vec![1.0, 2.0, 3.0, 4.0], (1, 4, Const::<1>));
        let mut gradients = (y * weights).sum::<Rank0, _>().backward();
        assert_eq!(gradient(&mut gradients, &x), [0.0, 3.0, 0.0, 3.0, 0.0, 0.0, 0.0, 4.0, 0.0]);
    }

    #[test]
    fn nan_wins_and_so_do_numbers_against_padding() {
        let dev = Cpu::default();
        let (nan, low) = (f64::NAN, f64::NEG_INFINITY);
        for values in [[1.0, nan, 2.0, 3.0], [nan, 1.0, 2.0, 3.0], [low; 4], [-5.0, -2.0, -3.0, -4.0]] {
            let window = Window::square(2, 2, 1);
            let x: Tensor<_, f32, _> = leaf(&dev, (1, 4, Const::<1>), &values);
            let (y, _) = dev.max_pool2d(x, Grid::square(2), window).unwrap();
            assert_eq!(format!("{:?}", to_f64(y.as_vec())), format!("{values:?}"));
            for (grid, kernel) in [(Grid { rows: 1, cols: 4 }, [1, 4]), (Grid::square(2), [2, 2])] {
                let window = Window { kernel, stride: [1, 1], padding: [0, 0] };
                let want = if values.iter().any(|v| v.is_nan()) {
                    nan
                } else {
                    values.iter().copied().fold(low, f64::max)
                };
                let x: Tensor<_, f32, _> = leaf(&dev, (1, 4, Const::<1>), &values);
                let wide: Tensor<_, f64, _> = leaf(&dev, (1, 4, Const::<1>), &values);
                let (y, _) = dev.max_pool2d(x, grid, window).unwrap();
                let (composed, _) = dev.max_pool2d(wide, grid, window).unwrap();
                assert_eq!(format!("{:?}", to_f64(y.as_vec())), format!("{:?}", [want]));
                assert_eq!(format!("{:?}", composed.as_vec()), format!("{:?}", [want]));
            }
        }
    }

    #[test]
    fn windows_that_do_not_fit_are_an_error() {
        let dev = Cpu::default();
        let run = |grid: Grid, window: Window| {
            let x: Tensor<_, f32, _> = dev.zeros_like(&(2, 6, Const::<5>));
            dev.max_pool2d(x, grid, window).map(|(_, grid)| grid)
        };
        let grid = Grid { rows: 2, cols: 3 };
        assert_eq!(run(grid, Window::square(2, 2, 0)).unwrap(), Grid { rows: 1, cols: 1 });
        for window in [
            Window::square(3, 1, 0),
            Window::square(2, 0, 0),
            Window::square(0, 1, 0),
            Window::square(2, 1, 2),
            Window::square(2, 1, usize::MAX),
            Window::square(usize::MAX / 8, 1, usize::MAX / 16),
        ] {
            let error = run(grid, window).unwrap_err().to_string();
            assert!(error.starts_with("max_pool2d: "), "{error}");
        }
        assert!(run(Grid::square(2), Window::square(2, 2, 0)).is_err());
    }
}
