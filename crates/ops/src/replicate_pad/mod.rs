//! A wider grid whose new patches repeat the nearest old ones (PyTorch's `replicate` padding).

mod cpu;

use dfdx::prelude::*;

pub(crate) use cpu::on_cpu;

use crate::{
    Error, Grid, Result,
    window::{check_grid, check_size, gather},
};

/// Sizes of a padding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dims {
    pub(crate) grid: Grid,
    pub(crate) out: Grid,
    pub(crate) pad: usize,
}

impl Dims {
    /// The patch that each patch of the wider grid repeats.
    pub(crate) fn sources(&self) -> Vec<usize> {
        let Self { grid, out, pad } = *self;
        let nearest = |place: usize, size: usize| place.saturating_sub(pad).min(size - 1);
        (0..out.tokens())
            .map(|t| nearest(t / out.cols, grid.rows) * grid.cols + nearest(t % out.cols, grid.cols))
            .collect()
    }
}

pub(crate) fn check<const C: usize>(x: &(usize, usize, Const<C>), grid: Grid, pad: usize) -> Result<Dims> {
    check_grid("replicate_pad", x, grid, 0)?;
    let wider = |side: usize| pad.checked_mul(2).and_then(|both| both.checked_add(side));
    let (Some(rows), Some(cols)) = (wider(grid.rows), wider(grid.cols)) else {
        return Err(Error::Argument {
            op: "replicate_pad",
            what: format!("a padding of {pad} is too large"),
        });
    };
    check_size("replicate_pad", &[x.0, rows, cols, C])?;
    Ok(Dims { grid, out: Grid { rows, cols }, pad })
}

pub(crate) fn composition<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: Dims,
    x: Tensor<(usize, usize, usize), E, D, T>,
) -> Result<Tensor<(usize, usize, usize), E, D, T>, D::Err> {
    gather(x, &dims.sources())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, testing::*};

    /// Batch, grid, padding.
    struct Pad<const C: usize>(usize, Grid, usize);

    impl<const C: usize> Case for Pad<C> {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let x = leaf(dev, (self.0, self.1.tokens(), Const::<C>), &inputs[0]);
            let (y, _) = dev.replicate_pad(x.leaky_trace(), self.1, self.2).unwrap();
            let (y, mut g) = differentiate(dev, y);
            (y, vec![gradient(&mut g, &x)])
        }
    }

    #[test]
    fn kernel_and_composition_agree() {
        let check =
            |grid: Grid, pad: usize| check_case(&Pad::<3>(2, grid, pad), &[random(6 * grid.tokens(), 1)]);
        check(Grid { rows: 2, cols: 5 }, 1);
        check(Grid { rows: 3, cols: 1 }, 4);
        check(Grid::square(3), 0);
    }

    #[test]
    fn the_outermost_patches_are_repeated() {
        // F.pad(torch.arange(6.).reshape(1, 1, 2, 3), (1, 1, 1, 1), mode="replicate").flatten()
        let want = [0, 0, 1, 2, 2, 0, 0, 1, 2, 2, 3, 3, 4, 5, 5, 3, 3, 4, 5, 5];
        let dev = Cpu::default();
        let x: Tensor<_, f32, _> = leaf(&dev, (1, 6, Const::<1>), &[0., 1., 2., 3., 4., 5.]);
        let (y, grid) = dev.replicate_pad(x, Grid { rows: 2, cols: 3 }, 1).unwrap();
        assert_eq!(grid, Grid { rows: 4, cols: 5 });
        assert_eq!(y.as_vec(), want.map(|v| v as f32));
    }

    #[test]
    fn sizes_that_do_not_fit_are_an_error() {
        let dev = Cpu::default();
        for (grid, pad) in [(Grid::square(3), 1), (Grid::square(2), usize::MAX), (Grid::square(2), 1 << 40)] {
            let x: Tensor<_, f32, _> = dev.zeros_like(&(2, 4, Const::<3>));
            let error = dev.replicate_pad(x, grid, pad).unwrap_err().to_string();
            assert!(error.starts_with("replicate_pad: "), "{error}");
        }
    }
}
