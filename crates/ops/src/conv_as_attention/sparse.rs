//! Narrow positional maps: each head sees a few patches, most often one, as the window of a convolution does.

use super::positions::{Positions, add, give};
use crate::{
    conv2d::{Back, Layout},
    simd::{Kernel, dispatch, dot, fma},
};

/// Each patch that is less likely adds less than half a unit in the last place to what the likely ones give. Of wide maps a row
/// loses up to 1.3e-7 in all (14 x 14 patches, alpha 1), of sharp ones 1e-8.
const LEAST: f64 = 1.0 / (1 << 26) as f64;
/// Numbers of a sum that are kept in registers.
const BLOCK: usize = 64;

/// What part of a window's row comes from where; offsets in numbers, in x from the image's first.
#[derive(Clone, Copy)]
enum Step {
    /// Nothing but zeros.
    Zero { len: usize },
    /// Patches that are seen as they are.
    Copy { from: usize, len: usize },
    /// A mixture of patches: how many of the entries.
    Mix { entries: usize },
}

/// The patches that each query's heads see.
pub(super) struct Sparse {
    inner: usize,
    keys: usize,
    queries: usize,
    /// In the order of queries, and places of the kernel row by row.
    steps: Vec<Step>,
    /// Of each query: its first step and first entry.
    starts: Vec<(usize, usize)>,
    /// Offset of a patch, and its share.
    entries: Vec<(usize, f32)>,
    wide: Wide,
}

/// The probabilities that the gradient of the weight comes from.
#[derive(Default)]
struct Wide {
    /// Offsets of the patches.
    from: Vec<usize>,
    coefficients: Vec<[f64; 3]>,
    /// Of each query and place: where its entries end.
    ends: Vec<usize>,
}

impl Sparse {
    /// `None` if the heads see so many patches that dense products are faster.
    pub(super) fn new(positions: &Positions, inner: usize) -> Option<Self> {
        let dims = positions.dims();
        let (queries, keys, heads) = (dims.out.tokens(), dims.grid.tokens(), dims.heads());
        let most = queries * heads * (keys / 4).max(2);
        let (mut steps, mut starts, mut entries) = (Vec::<Step>::new(), Vec::new(), Vec::new());
        for query in 0..queries {
            starts.push((steps.len(), entries.len()));
            let first = steps.len();
            for place in 0..heads {
                let start = entries.len();
                positions.row(dims.turned(place), query).each(LEAST, |key, p| {
                    entries.push((key * inner, p as f32));
                });
                let step = match entries[start..] {
                    [] => Step::Zero { len: inner },
                    [(from, 1.0)] => Step::Copy { from, len: inner },
                    _ => Step::Mix { entries: entries.len() - start },
                };
                if !matches!(step, Step::Mix { .. }) {
                    entries.truncate(start);
                }
                let last = if steps.len() > first { steps.last_mut() } else { None };
                match (last, step) {
                    (Some(Step::Zero { len }), Step::Zero { .. }) => *len += inner,
                    (Some(Step::Copy { from, len }), Step::Copy { from: next, .. })
                        if *from + *len == next =>
                    {
                        *len += inner;
                    }
                    _ => steps.push(step),
                }
            }
            if entries.len() > most {
                return None;
            }
        }
        starts.push((steps.len(), entries.len()));
        Some(Self { inner, keys, queries, steps, starts, entries, wide: Wide::default() })
    }

    /// Gets ready to sum up the gradients of the maps.
    pub(super) fn widen(&mut self, positions: &Positions) {
        let (dims, mut wide) = (positions.dims(), Wide::default());
        for query in 0..self.queries {
            for place in 0..dims.heads() {
                let row = positions.row(dims.turned(place), query);
                row.each(row.least(), |key, p| {
                    wide.from.push(key * self.inner);
                    wide.coefficients.push(row.coefficients(key, p));
                });
                wide.ends.push(wide.from.len());
            }
        }
        self.wide = wide;
    }

    /// From the sums to the gradient of the weight, which is added to.
    pub(super) fn add_gradient(&self, positions: &Positions, sums: &[f32], dweight: &mut [f32]) {
        let (dims, mut heads) = (positions.dims(), vec![[0.0; 3]; positions.dims().heads()]);
        let mut start = 0;
        for (row, end) in self.wide.ends.iter().enumerate() {
            let head = &mut heads[dims.turned(row % dims.heads())];
            for (coefficients, sum) in self.wide.coefficients[start..*end].iter().zip(&sums[start..*end]) {
                add(head, *coefficients, *sum);
            }
            start = *end;
        }
        give(&heads, dweight);
    }

    /// The steps and entries of a query.
    #[inline(always)]
    fn of(&self, query: usize) -> (&[Step], &[(usize, f32)]) {
        let ((step, entry), (steps, entries)) = (self.starts[query], self.starts[query + 1]);
        (&self.steps[step..steps], &self.entries[entry..entries])
    }
}

impl Layout for Sparse {
    fn unfold(&self, first: usize, x: &[f32], patches: &mut [f32]) {
        dispatch(Gather { plan: self, first, x, patches });
    }

    fn fold(&self, first: usize, patches: &[f32], back: Back<'_>) {
        dispatch(Scatter { plan: self, first, patches, back });
    }

    fn sums(&self) -> usize {
        self.wide.from.len()
    }
}

struct Gather<'a> {
    plan: &'a Sparse,
    first: usize,
    x: &'a [f32],
    patches: &'a mut [f32],
}

impl Kernel for Gather<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { plan, first, x, patches } = self;
        let (sample, mut at) = (plan.keys * plan.inner, 0);
        let mut window = first;
        while at < patches.len() {
            let x = &x[window / plan.queries * sample..][..sample];
            let (steps, mut entries) = plan.of(window % plan.queries);
            for step in steps {
                at += match *step {
                    Step::Zero { len } => {
                        patches[at..][..len].fill(0.0);
                        len
                    }
                    Step::Copy { from, len } => {
                        patches[at..][..len].copy_from_slice(&x[from..][..len]);
                        len
                    }
                    Step::Mix { entries: count } => {
                        let (mixed, others) = entries.split_at(count);
                        entries = others;
                        mix::<FMA>(mixed, x, &mut patches[at..][..plan.inner]);
                        plan.inner
                    }
                };
            }
            window += 1;
        }
    }
}

/// `out = sum_i share_i x[from_i..]`.
#[inline(always)]
fn mix<const FMA: bool>(entries: &[(usize, f32)], x: &[f32], out: &mut [f32]) {
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    let mut at = 0;
    for block in blocks {
        let mut sum = [0.0; BLOCK];
        for (from, share) in entries {
            let x = &x[from + at..][..BLOCK];
            sum.iter_mut().zip(x).for_each(|(sum, x)| *sum = fma::<FMA>(*share, *x, *sum));
        }
        *block = sum;
        at += BLOCK;
    }
    rest.fill(0.0);
    for (from, share) in entries {
        let x = &x[from + at..][..rest.len()];
        rest.iter_mut().zip(x).for_each(|(sum, x)| *sum = fma::<FMA>(*share, *x, *sum));
    }
}

struct Scatter<'a> {
    plan: &'a Sparse,
    first: usize,
    patches: &'a [f32],
    back: Back<'a>,
}

impl Kernel for Scatter<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { plan, first, patches, back: Back { x, dx, first_image, sums } } = self;
        let sample = plan.keys * plan.inner;
        let heads = plan.wide.ends.len() / plan.queries;
        for (window, patch) in (first..).zip(patches.chunks_exact(heads * plan.inner)) {
            let (image, query) = (window / plan.queries, window % plan.queries);
            let dx = &mut dx[(image - first_image) * sample..][..sample];
            let (steps, mut entries) = plan.of(query);
            let mut at = 0;
            for step in steps {
                at += match *step {
                    Step::Zero { len } => len,
                    Step::Copy { from, len } => {
                        let run = dx[from..][..len].iter_mut().zip(&patch[at..][..len]);
                        run.for_each(|(x, patch)| *x += patch);
                        len
                    }
                    Step::Mix { entries: count } => {
                        let (mixed, others) = entries.split_at(count);
                        entries = others;
                        for (from, share) in mixed {
                            let run = dx[*from..][..plan.inner].iter_mut().zip(&patch[at..][..plan.inner]);
                            run.for_each(|(x, patch)| *x = fma::<FMA>(*share, *patch, *x));
                        }
                        plan.inner
                    }
                };
            }
            let x = &x[image * sample..][..sample];
            let ends = &plan.wide.ends[query * heads..][..heads];
            let mut start = if query == 0 { 0 } else { plan.wide.ends[query * heads - 1] };
            for (end, patch) in ends.iter().zip(patch.chunks_exact(plan.inner)) {
                for (sum, from) in sums[start..*end].iter_mut().zip(&plan.wide.from[start..*end]) {
                    *sum += dot::<FMA>(patch, &x[*from..][..plan.inner]);
                }
                start = *end;
            }
        }
    }
}
