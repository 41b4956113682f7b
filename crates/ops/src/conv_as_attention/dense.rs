//! Wide positional maps: what the heads see of an image is a product of matrices.

use std::ops::Range;

use super::positions::Positions;
use crate::{
    conv2d::{Back, Layout},
    matmul::{Mat, Out, Write, product},
};

/// The positional maps of all heads.
pub(super) struct Dense {
    inner: usize,
    keys: usize,
    queries: usize,
    heads: usize,
    /// `[queries, heads, keys]`, heads in the order of the places of the kernel, row by row.
    maps: Vec<f32>,
}

impl Dense {
    pub(super) fn new(positions: &Positions, inner: usize) -> Self {
        let dims = positions.dims();
        let (queries, keys, heads) = (dims.out.tokens(), dims.grid.tokens(), dims.heads());
        let mut maps = vec![0.0; queries * heads * keys];
        positions.fill(&mut maps, |row| (dims.turned(row % heads), row / heads));
        Self { inner, keys, queries, heads, maps }
    }

    /// From the sums to the gradient of the weight, which is added to.
    pub(super) fn add_gradient(&self, positions: &Positions, sums: &[f32], dweight: &mut [f32]) {
        let dims = positions.dims();
        positions.add_gradient(sums, dweight, |row| (dims.turned(row % self.heads), row / self.heads));
    }

    /// The parts of `count` windows from `first` on that lie in one image: the image, which of the windows they are, and the
    /// first row of their maps.
    fn parts(&self, first: usize, count: usize) -> impl Iterator<Item = (usize, Range<usize>, usize)> {
        let queries = self.queries;
        (first / queries..(first + count).div_ceil(queries)).map(move |image| {
            let windows = (image * queries).max(first)..((image + 1) * queries).min(first + count);
            (image, windows.start - first..windows.end - first, windows.start - image * queries)
        })
    }

    fn maps(&self, query: usize, rows: usize) -> Mat<'_> {
        Mat::rows(&self.maps, query * self.heads * self.keys, rows, self.keys, self.keys)
    }
}

impl Layout for Dense {
    fn unfold(&self, first: usize, x: &[f32], patches: &mut [f32]) {
        let Self { inner, keys, heads, .. } = *self;
        for (image, windows, query) in self.parts(first, patches.len() / (heads * inner)) {
            let rows = windows.len() * heads;
            let x = Mat::rows(x, image * keys * inner, keys, inner, inner);
            // SAFETY: matrices of these dimensions; `patches` is the caller's own.
            unsafe {
                let out = Out::rows(patches, windows.start * heads * inner, rows, inner, inner);
                product(Write::Set, out, (rows, inner, keys), self.maps(query, rows), x, 1.0);
            }
        }
    }

    fn fold(&self, first: usize, patches: &[f32], back: Back<'_>) {
        let Self { inner, keys, heads, .. } = *self;
        for (image, windows, query) in self.parts(first, patches.len() / (heads * inner)) {
            let rows = windows.len() * heads;
            let x = Mat::rows(back.x, image * keys * inner, keys, inner, inner);
            let patches = Mat::rows(patches, windows.start * heads * inner, rows, inner, inner);
            // SAFETY: matrices of these dimensions; what is written is the caller's own.
            unsafe {
                let dx = Out::rows(back.dx, (image - back.first_image) * keys * inner, keys, inner, inner);
                product(Write::Add, dx, (keys, inner, rows), self.maps(query, rows).t(), patches, 1.0);
                let sums = Out::rows(back.sums, query * heads * keys, rows, keys, keys);
                product(Write::Add, sums, (rows, keys, inner), patches, x.t(), 1.0);
            }
        }
    }

    fn sums(&self) -> usize {
        self.maps.len()
    }
}
