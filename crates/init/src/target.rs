//! Attention maps that the solvers aim at: each query attends to the patch at one offset.

use std::fmt;

use inductive_ops::Grid;
use rand::{Rng, seq::SliceRandom};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Matrix, Result};

/// Where a query looks: at the patch `down` rows below and `right` columns to its right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema, Serialize, Deserialize)]
pub struct Offset {
    /// Rows; negative is up.
    pub down: i32,
    /// Columns; negative is left.
    pub right: i32,
}

impl Offset {
    /// The patch itself.
    pub const CENTRE: Self = Self { down: 0, right: 0 };

    /// Offset number `index`, row by row, of a window of `kernel` x `kernel` around the patch.
    fn of_window(index: usize, kernel: usize) -> Self {
        let half = (kernel / 2) as i32;
        Self { down: (index / kernel) as i32 - half, right: (index % kernel) as i32 - half }
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.down, self.right)
    }
}

/// Which offset each head gets. Windows are `kernel` x `kernel` patches, `kernel` odd.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Offsets {
    /// One of the window's, drawn per head with replacement: heads can repeat (code of arXiv 2404.01139).
    Random,
    /// The same for every layer and seed, window of 3 only: centre, up, right, left, down, then the corners; head
    /// modulo 9 (code of arXiv 2505.19985, whose text says "random").
    Ordered,
    /// One per head, as listed.
    Given(Vec<Offset>),
    /// Control: drawn per head from the whole grid, up to half its rows and columns away, one patch per query but
    /// not local. The window plays no part.
    Anywhere,
}

/// Index in the window of 3 x 3 of heads 0, 1, ...: `vision_transformer.py` of arXiv 2505.19985.
const ORDER: [usize; 9] = [4, 1, 5, 3, 7, 0, 2, 6, 8];

impl Offsets {
    /// One offset per head.
    ///
    /// # Errors
    /// [`Error::EvenKernel`], [`Error::NoFixedOrder`], [`Error::OffsetCount`].
    pub fn draw(&self, heads: usize, kernel: usize, grid: Grid, rng: &mut impl Rng) -> Result<Vec<Offset>> {
        if kernel.is_multiple_of(2) {
            return Err(Error::EvenKernel { kernel });
        }
        // Farther than the grid is wide there is no patch; and the squares below stay in range.
        let widest = 2 * grid.rows.max(grid.cols).max(2) - 1;
        if kernel > widest {
            let (what, expected) = ("kernel of the offsets", "at most twice the grid's side, less one");
            return Err(Error::Constant { what, expected, got: kernel as f64 });
        }
        match self {
            Self::Random => {
                Ok((0..heads).map(|_| Offset::of_window(rng.gen_range(0..kernel * kernel), kernel)).collect())
            }
            Self::Ordered if kernel != 3 => Err(Error::NoFixedOrder { kernel }),
            Self::Ordered => {
                Ok((0..heads).map(|head| Offset::of_window(ORDER[head % ORDER.len()], kernel)).collect())
            }
            Self::Given(offsets) if offsets.len() != heads => {
                Err(Error::OffsetCount { heads, got: offsets.len() })
            }
            Self::Given(offsets) => Ok(offsets.clone()),
            Self::Anywhere => {
                let mut within = |side: usize| {
                    let half = (side / 2) as i32;
                    rng.gen_range(-half..=half)
                };
                Ok((0..heads).map(|_| Offset { down: within(grid.rows), right: within(grid.cols) }).collect())
            }
        }
    }
}

/// The attention map of one head: which key each query attends to, if any.
///
/// Patches are counted row by row. Nothing wraps around the border: a query whose target lies outside has none, its row
/// of the matrix is 0, which softmax cannot reach (arXiv 2404.01139 speaks of circulant matrices; its code does not wrap).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    keys: Vec<Option<usize>>,
}

impl Target {
    /// Query `(y, x)` attends to key `(y + down, x + right)`.
    ///
    /// # Errors
    /// [`Error::EmptyGrid`]; [`Error::OffsetOutside`] if no query has a target.
    pub fn impulse(grid: Grid, offset: Offset) -> Result<Self> {
        if grid.tokens() == 0 {
            return Err(Error::EmptyGrid { grid });
        }
        let moved = |at: usize, by: i32, side: usize| {
            at.checked_add_signed(by as isize).filter(|moved| *moved < side)
        };
        let key = |query: usize| {
            let y = moved(query / grid.cols, offset.down, grid.rows)?;
            let x = moved(query % grid.cols, offset.right, grid.cols)?;
            Some(y * grid.cols + x)
        };
        let keys: Vec<_> = (0..grid.tokens()).map(key).collect();
        if keys.iter().all(Option::is_none) {
            return Err(Error::OffsetOutside { offset, grid });
        }
        Ok(Self { keys })
    }

    /// Control: the matrix's columns in random order. Each query attends to one key as before, but no longer near it.
    pub fn scrambled(&self, rng: &mut impl Rng) -> Self {
        let mut order: Vec<usize> = (0..self.keys.len()).collect();
        order.shuffle(rng);
        Self { keys: self.keys.iter().map(|key| key.map(|key| order[key])).collect() }
    }

    /// Where all queries look, on the grid that this was made for; `None` if that is no single offset, as in a scrambled
    /// target.
    pub fn offset(&self, grid: Grid) -> Option<Offset> {
        let (query, key) = self.keys.iter().enumerate().find_map(|(query, key)| Some((query, (*key)?)))?;
        let place = |token: usize| (token.checked_div(grid.cols), token.checked_rem(grid.cols));
        let ((y, x), (to_y, to_x)) = (place(query), place(key));
        let by = |from: Option<usize>, to: Option<usize>| Some(to? as i32 - from? as i32);
        let offset = Offset { down: by(y, to_y)?, right: by(x, to_x)? };
        (Self::impulse(grid, offset).ok()? == *self).then_some(offset)
    }

    /// The key of each query.
    pub fn keys(&self) -> &[Option<usize>] {
        &self.keys
    }

    /// Number of queries, and of keys.
    pub fn tokens(&self) -> usize {
        self.keys.len()
    }

    /// The matrix H: `[tokens, tokens]`, rows are queries, 1 at the targets.
    pub fn dense(&self) -> Matrix {
        Matrix::from_fn(
            self.tokens(),
            self.tokens(),
            |query, key| {
                if self.keys[query] == Some(key) { 1.0 } else { 0.0 }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    const GRID: Grid = Grid { rows: 3, cols: 4 };

    fn offsets(which: &Offsets, heads: usize, kernel: usize) -> Result<Vec<(i32, i32)>> {
        let drawn = which.draw(heads, kernel, Grid::square(14), &mut stream(Purpose::Offsets, 0, 0, 0))?;
        Ok(drawn.into_iter().map(|o| (o.down, o.right)).collect())
    }

    #[test]
    fn ordered_offsets_are_centre_up_right_left_down_then_corners() {
        let want =
            [(0, 0), (-1, 0), (0, 1), (0, -1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1), (0, 0), (-1, 0)];
        assert_eq!(offsets(&Offsets::Ordered, 11, 3).unwrap(), want);
        assert_eq!(offsets(&Offsets::Ordered, 3, 5), Err(Error::NoFixedOrder { kernel: 5 }));
    }

    #[test]
    fn random_offsets_fill_the_window_evenly_and_repeat() {
        for kernel in [1, 3, 5] {
            let half = kernel as i32 / 2;
            let drawn = offsets(&Offsets::Random, 5000, kernel).unwrap();
            let window = (-half..=half).flat_map(|down| (-half..=half).map(move |right| (down, right)));
            for place in window {
                let share = drawn.iter().filter(|o| **o == place).count() as f64 / 5000.0;
                assert!((share * (kernel * kernel) as f64 - 1.0).abs() < 0.3, "{place:?}: {share}");
            }
            assert!(drawn.iter().all(|(down, right)| down.abs() <= half && right.abs() <= half));
        }
    }

    #[test]
    fn offsets_from_anywhere_leave_the_window() {
        let drawn = offsets(&Offsets::Anywhere, 1000, 3).unwrap();
        assert!(drawn.iter().all(|(down, right)| down.abs() <= 7 && right.abs() <= 7));
        let outside = drawn.iter().filter(|(down, right)| down.abs() > 1 || right.abs() > 1).count();
        assert!(outside > 900, "{outside} of 1000");
    }

    #[test]
    fn even_windows_and_too_few_offsets_are_errors() {
        assert_eq!(offsets(&Offsets::Random, 3, 4), Err(Error::EvenKernel { kernel: 4 }));
        assert_eq!(offsets(&Offsets::Anywhere, 3, 0), Err(Error::EvenKernel { kernel: 0 }));
        let one = Offsets::Given(vec![Offset::CENTRE]);
        assert_eq!(offsets(&one, 2, 3), Err(Error::OffsetCount { heads: 2, got: 1 }));
        assert_eq!(offsets(&one, 1, 3).unwrap(), [(0, 0)]);
    }

    #[test]
    fn impulses_do_not_wrap_around_the_border() {
        let target = Target::impulse(GRID, Offset { down: -1, right: 1 }).unwrap();
        let want = |y: usize, x: usize| (y > 0 && x < 3).then(|| (y - 1) * 4 + x + 1);
        let want: Vec<_> = (0..12).map(|query| want(query / 4, query % 4)).collect();
        assert_eq!(target.keys(), want);
        let dense = target.dense();
        assert_eq!(dense.values().iter().sum::<f64>(), 6.0);
        assert_eq!((dense.at(4, 1), dense.at(0, 0)), (1.0, 0.0));
    }

    #[test]
    fn a_target_knows_the_offset_it_was_made_for() {
        for (down, right) in [(0, 0), (-1, 1), (2, -3), (0, 3)] {
            let offset = Offset { down, right };
            let target = Target::impulse(GRID, offset).unwrap();
            assert_eq!(target.offset(GRID), Some(offset));
            assert_eq!(target.offset(Grid { rows: 0, cols: 0 }), None);
        }
    }

    #[test]
    fn offsets_without_any_target_and_empty_grids_are_errors() {
        let offset = Offset { down: 3, right: 0 };
        assert_eq!(Target::impulse(GRID, offset), Err(Error::OffsetOutside { offset, grid: GRID }));
        let grid = Grid { rows: 0, cols: 4 };
        assert_eq!(Target::impulse(grid, Offset::CENTRE), Err(Error::EmptyGrid { grid }));
    }

    #[test]
    fn scrambling_keeps_one_key_per_query_but_moves_it() {
        let target = Target::impulse(Grid::square(14), Offset { down: 0, right: 1 }).unwrap();
        let scrambled = target.scrambled(&mut stream(Purpose::Scramble, 0, 0, 0));
        let mut keys: Vec<_> = scrambled.keys().iter().flatten().collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 14 * 13);
        let same = target.keys().iter().zip(scrambled.keys()).filter(|(a, b)| a.is_some() && a == b).count();
        assert!(same < 8, "{same} unmoved");
        assert_eq!(scrambled.offset(Grid::square(14)), None);
        let valid = |t: &Target| t.keys().iter().map(Option::is_some).collect::<Vec<_>>();
        assert_eq!(valid(&target), valid(&scrambled));
    }
}
