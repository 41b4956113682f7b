//! What windows see, laid out in rows, and its way back.

use std::ops::Range;

use super::Dims;
use crate::{
    Grid,
    simd::{Kernel, LANES},
};

/// The position of a window: the sample, and row and column of the result.
struct Position {
    image: usize,
    row: usize,
    col: usize,
}

impl Position {
    /// Position `index` of all positions of all samples.
    fn new(out: Grid, index: usize) -> Self {
        let (image, place) = (index / out.tokens(), index % out.tokens());
        Self { image, row: place / out.cols, col: place % out.cols }
    }

    #[inline(always)]
    fn advance(&mut self, out: Grid) {
        self.col += 1;
        if self.col == out.cols {
            (self.row, self.col) = (self.row + 1, 0);
        }
        if self.row == out.rows {
            (self.image, self.row) = (self.image + 1, 0);
        }
    }
}

/// What one window sees: some of its lines, of each the same run of numbers.
struct Seen {
    lines: Range<usize>,
    /// Of the first run: its offset in the window as it is laid out, and in x.
    at: usize,
    from: usize,
    /// Numbers of a run, and from one to the next in the window and in x.
    len: usize,
    step_at: usize,
    step_from: usize,
}

impl Seen {
    #[inline(always)]
    fn new(dims: Dims, position: &Position) -> Self {
        let Dims { inner, grid, window, .. } = dims;
        let (lines, top) = window.seen(0, grid.rows, position.row);
        let (places, left) = window.seen(1, grid.cols, position.col);
        Self {
            at: (lines.start * window.kernel[1] + places.start) * inner,
            from: ((position.image * grid.rows + top) * grid.cols + left) * inner,
            len: places.len() * inner,
            step_at: window.kernel[1] * inner,
            step_from: grid.cols * inner,
            lines,
        }
    }

    /// Where the last run lies in x.
    #[inline(always)]
    fn last(&self) -> usize {
        self.from + self.lines.len().saturating_sub(1) * self.step_from
    }

    /// Calls `run(offset in the window, offset in x)` for each run.
    #[inline(always)]
    fn each(&self, mut run: impl FnMut(usize, usize)) {
        for line in 0..self.lines.len() {
            run(self.at + line * self.step_at, self.from + line * self.step_from);
        }
    }
}

/// Lays out what the windows from `first` on see, row by row: lines of the window, its places, channels.
pub(super) struct Unfold<'a> {
    pub(super) dims: Dims,
    pub(super) first: usize,
    pub(super) x: &'a [f32],
    pub(super) patches: &'a mut [f32],
}

impl Kernel for Unfold<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { dims, first, x, patches } = self;
        let (size, line) = (dims.patch(), dims.window.kernel[1] * dims.inner);
        let mut position = Position::new(dims.out, first);
        for start in (0..patches.len()).step_by(size) {
            let seen = Seen::new(dims, &position);
            position.advance(dims.out);
            if seen.lines.len() * seen.len < size {
                patches[start..][..size].fill(0.0);
                seen.each(|at, from| {
                    patches[start + at..][..seen.len].copy_from_slice(&x[from..][..seen.len])
                });
            } else if line <= LANES && seen.last() + LANES <= x.len() && start + size + LANES <= patches.len()
            {
                // Short runs by whole vectors: what is too much is overwritten by the next run or window.
                seen.each(|at, from| patches[start + at..][..LANES].copy_from_slice(&x[from..][..LANES]));
            } else {
                seen.each(|at, from| patches[start + at..][..line].copy_from_slice(&x[from..][..line]));
            }
        }
    }
}

/// Adds what [`Unfold`] laid out to where it came from; `x` starts at `first_image`.
pub(super) struct Fold<'a> {
    pub(super) dims: Dims,
    pub(super) first: usize,
    pub(super) first_image: usize,
    pub(super) patches: &'a [f32],
    pub(super) x: &'a mut [f32],
}

impl Kernel for Fold<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { dims, first, first_image, patches, x } = self;
        let skipped = first_image * dims.grid.tokens() * dims.inner;
        let mut position = Position::new(dims.out, first);
        for patch in patches.chunks_exact(dims.patch()) {
            let seen = Seen::new(dims, &position);
            position.advance(dims.out);
            seen.each(|at, from| {
                let run = patch[at..][..seen.len].iter().zip(&mut x[from - skipped..][..seen.len]);
                run.for_each(|(patch, x)| *x += patch);
            });
        }
    }
}
