//! Windows that move over a grid: the geometry of convolutions and pooling, and how compositions gather what they see.

use std::ops::Range;

use dfdx::prelude::*;

use crate::{Error, Grid, Result};

/// A window and its steps: PyTorch's `kernel_size`, `stride` and `padding`, each from top to bottom and left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows and columns that are seen at once.
    pub kernel: [usize; 2],
    /// Rows and columns from one position to the next.
    pub stride: [usize; 2],
    /// Rows added above and below, columns added left and right.
    pub padding: [usize; 2],
}

impl Window {
    /// A square window with the same stride and padding in both directions.
    pub fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        Self { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2] }
    }

    /// The grid of its positions on `grid`: `floor((size + 2 padding - kernel) / stride) + 1` in each direction.
    ///
    /// An error if the window is larger than the padded grid, or if a size or stride is 0.
    pub fn output(&self, grid: Grid) -> Result<Grid> {
        self.output_of("window", grid)
    }

    /// As [`Window::output`], for the errors of `op`.
    pub(crate) fn output_of(&self, op: &'static str, grid: Grid) -> Result<Grid> {
        let side = |axis: usize, size: usize| {
            let (kernel, stride) = (self.kernel[axis], self.stride[axis]);
            let padded = self.padding[axis].checked_mul(2)?.checked_add(size)?;
            // `isize`: positions left of and above the grid are negative.
            let fits = size > 0 && kernel > 0 && stride > 0 && isize::try_from(padded).is_ok();
            padded.checked_sub(kernel).filter(|_| fits).map(|free| free / stride + 1)
        };
        match (side(0, grid.rows), side(1, grid.cols)) {
            (Some(rows), Some(cols)) if rows.checked_mul(cols).is_some() => Ok(Grid { rows, cols }),
            _ => Err(Error::shape(
                op,
                format!(
                    "kernel and stride at least 1, and a padded grid no smaller than the kernel, for {self}"
                ),
                format!("a {grid} grid"),
            )),
        }
    }

    /// Places in the window.
    pub(crate) fn area(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// What the window sees at `position` along `axis`, on a grid of `size` there: which of its places, and where the
    /// first of them lies on the grid. No places, and 0, if it sees padding only.
    pub(crate) fn seen(&self, axis: usize, size: usize, position: usize) -> (Range<usize>, usize) {
        let start = position * self.stride[axis];
        let (kernel, padding) = (self.kernel[axis], self.padding[axis]);
        let first = padding.saturating_sub(start).min(kernel);
        let end = (size + padding).saturating_sub(start).min(kernel).max(first);
        if first == end { (0..0, 0) } else { (first..end, start + first - padding) }
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kernel: [rows, cols], stride, padding } = self;
        write!(f, "a {rows}x{cols} kernel with stride {stride:?} and padding {padding:?}")
    }
}

/// Refuses x of another number of tokens than `grid` has behind `prefix` others, and an empty one.
pub(crate) fn check_grid<const C: usize>(
    op: &'static str,
    x: &(usize, usize, Const<C>),
    grid: Grid,
    prefix: usize,
) -> Result<()> {
    let tokens = grid.rows.checked_mul(grid.cols).and_then(|tokens| tokens.checked_add(prefix));
    if tokens != Some(x.1) || x.num_elements() == 0 {
        let expected = match prefix {
            0 => format!("x [batch, tokens, {C}] of a {grid} grid, not empty"),
            _ => format!("x [batch, tokens, {C}] of a {grid} grid behind {prefix} tokens, not empty"),
        };
        return Err(Error::shape(op, expected, x.concrete()));
    }
    Ok(())
}

/// Refuses sizes whose product cannot be an array.
pub(crate) fn check_size(op: &'static str, sizes: &[usize]) -> Result<()> {
    let product = sizes.iter().try_fold(size_of::<f64>(), |product, size| product.checked_mul(*size));
    match product.filter(|product| isize::try_from(*product).is_ok()) {
        Some(_) => Ok(()),
        None => Err(Error::Argument { op, what: format!("an array of {sizes:?} numbers is too large") }),
    }
}

/// The token that each place of each window sees, `[positions, places]`; `None` in the padding.
pub(crate) fn tokens_seen(window: Window, grid: Grid, out: Grid) -> Vec<Option<usize>> {
    let mut seen = vec![None; out.tokens() * window.area()];
    for (position, places) in seen.chunks_exact_mut(window.area()).enumerate() {
        let (rows, first_row) = window.seen(0, grid.rows, position / out.cols);
        let (cols, first_col) = window.seen(1, grid.cols, position % out.cols);
        for (y, row) in rows.clone().enumerate() {
            for (x, col) in cols.clone().enumerate() {
                let token = (first_row + y) * grid.cols + first_col + x;
                places[row * window.kernel[1] + col] = Some(token);
            }
        }
    }
    seen
}

/// The named tokens of each sample: `x: [batch, tokens, C]` to `[batch, indices, C]`.
pub(crate) fn gather<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<(usize, usize, usize), E, D, T>,
    indices: &[usize],
) -> Result<Tensor<(usize, usize, usize), E, D, T>, D::Err> {
    let shape = (x.shape().0, indices.len());
    let indices = x.device().try_tensor_from_vec(indices.repeat(shape.0), shape)?;
    x.try_gather(indices)
}

/// What each window sees, `[batch, positions * places, C]`, zeros in the padding.
pub(crate) fn unfold<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<(usize, usize, usize), E, D, T>,
    seen: &[Option<usize>],
) -> Result<Tensor<(usize, usize, usize), E, D, T>, D::Err> {
    let (batch, tokens, channels) = *x.shape();
    // The padding sees one token more, of zeros.
    let zeros = x.device().try_zeros_like(&(batch, 1, channels))?;
    let x = (x, zeros.retaped::<T>()).try_concat_along(Axis::<1>)?;
    let indices: Vec<usize> = seen.iter().map(|token| token.unwrap_or(tokens)).collect();
    gather(x, &indices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_sizes_are_those_of_pytorch() {
        // EIT's first layer and pooling at 224 pixels; ResNet's; a stride beyond the kernel; floor.
        for (window, size, want) in [
            (Window::square(16, 4, 8), 224, 57),
            (Window::square(3, 3, 0), 57, 19),
            (Window::square(7, 2, 3), 224, 112),
            (Window::square(1, 3, 0), 7, 3),
            (Window::square(2, 2, 0), 5, 2),
        ] {
            assert_eq!(window.output(Grid::square(size)).unwrap(), Grid::square(want));
        }
        let window = Window { kernel: [1, 4], stride: [2, 1], padding: [0, 2] };
        assert_eq!(window.output(Grid { rows: 5, cols: 3 }).unwrap(), Grid { rows: 3, cols: 4 });
    }

    #[test]
    fn windows_that_do_not_fit_are_an_error() {
        let grid = Grid::square(4);
        for window in [
            Window::square(7, 1, 1),
            Window::square(0, 1, 0),
            Window::square(3, 0, 1),
            Window::square(3, 1, usize::MAX),
            Window::square(3, 1, usize::MAX / 4),
            Window::square(usize::MAX, 1, 0),
        ] {
            assert!(window.output(grid).is_err(), "{window}");
        }
        assert!(Window::square(1, 1, 0).output(Grid { rows: 4, cols: 0 }).is_err());
        let error = Window::square(7, 1, 1).output(grid).unwrap_err().to_string();
        assert!(error.contains("7x7 kernel") && error.contains("a 4x4 grid"), "{error}");
    }

    #[test]
    fn a_window_sees_the_grid_and_not_the_padding() {
        let window = Window { kernel: [1, 3], stride: [1, 2], padding: [0, 4] };
        let (grid, out) = (Grid { rows: 1, cols: 2 }, Grid { rows: 1, cols: 4 });
        assert_eq!(window.output(grid).unwrap(), out);
        let seen = tokens_seen(window, grid, out);
        let want = [[None; 3], [None, None, Some(0)], [Some(0), Some(1), None], [None; 3]];
        assert_eq!(seen, want.concat());
    }
}
