//! The gradient solve of arXiv 2404.01139: queries and keys by Adam on the difference from the targets.
//!
//! ```text
//! Q [heads, D, r], K [heads, r, D] ~ U(+-sqrt(1 / D))       norm = mean length of Q's columns
//! before step i, if i % 100 == 0 (also 0):  every column of Q (over D) and of K (over r) gets that length
//! loss = mean over heads and elements of (softmax(P Q K P^T / sqrt(r)) - H)^2       no mask for rows without target
//! Adam, lr 1e-4, betas 0.9 and 0.999, eps 1e-8 outside the root, no decay
//! ```
//!
//! arXiv 2401.12511 does the same with 0.1 in place of 1 / sqrt(r).
//!
//! After the last renormalisation come 100 free steps, in which the norms grow and most of the final sharpness arises. Heads
//! meet only in the norm of the start and in the loss's mean, so each is solved by one thread from beginning to end.
//!
//! 10,000 steps for ViT-T on 14 x 14 patches (D 192, 3 heads) take 1.4 s on two cores with an embedding of sines and cosines,
//! which has few directions (`basis.rs`), and 3.4 s with a random one. A tenth of them reaches nearly the same: on 16 x 16
//! patches mass 0.266 instead of 0.269 on the targets.

use rand::Rng;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{check_targets, head::Head};
use crate::{Basis, Error, Matrix, QueryKey, Result, Target, query_key::head_dim, random::uniform};

/// Settings of the gradient solve.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gradient {
    /// Steps of Adam; a multiple of `renormalize_every`, so that as many free steps follow the last renormalisation.
    pub steps: usize,
    /// Learning rate.
    pub lr: f64,
    /// Steps between renormalisations.
    pub renormalize_every: usize,
    /// Factor of `P Q K P^T` during the solve; not given: the layer's own, 1 / sqrt(r). The layer keeps its own: in the end Q
    /// takes up the ratio, so that the attention is what was solved for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
}

impl Default for Gradient {
    /// The published code's.
    fn default() -> Self {
        Self { steps: 10_000, lr: 1e-4, renormalize_every: 100, scale: None }
    }
}

/// Where the solve of one head is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The head.
    pub head: usize,
    /// Steps done.
    pub step: usize,
    /// Mean squared difference of this head's attention from its target, before the next step.
    pub loss: f64,
}

impl Gradient {
    /// Weights to start from.
    ///
    /// # Errors
    /// [`Error::Heads`]
    pub fn start(width: usize, heads: usize, rng: &mut impl Rng) -> Result<QueryKey> {
        head_dim(width, heads)?;
        let bound = (width as f64).sqrt().recip();
        let query = uniform(width, width, bound, rng);
        QueryKey::new(heads, query, uniform(width, width, bound, rng))
    }

    /// Query and key weights whose attention on the pseudo-input comes near the targets, one per head.
    ///
    /// `progress` is called before each step of each head, from several threads. The result does not depend on their
    /// number.
    ///
    /// # Errors
    /// [`Error::Heads`], [`Error::Shape`], [`Error::Constant`]; [`Error::Diverged`] if the loss is no longer a number.
    pub fn solve(
        &self,
        basis: &Basis,
        targets: &[Target],
        start: &QueryKey,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<QueryKey> {
        let head_dim = check_targets(basis, targets)?;
        if (start.width(), start.heads()) != (basis.width(), targets.len()) {
            let expected = format!("{} channels and {} heads", basis.width(), targets.len());
            let got = format!("{} and {}", start.width(), start.heads());
            return Err(Error::shape("start of the gradient solve", expected, got));
        }
        self.check()?;
        let norm = mean_row_norm(start.query());
        let own = (head_dim as f64).sqrt().recip();
        let scale = self.scale.unwrap_or(own);
        let solve = |(head, target): (usize, &Target)| {
            let (query, key) = start.head(head);
            let mut state = Head::new(basis, target, (targets.len(), scale), &query, &key);
            for step in 0..self.steps {
                if step.is_multiple_of(self.renormalize_every) {
                    state.renormalize(norm);
                }
                let loss = state.step(self.lr, step as u64 + 1);
                if !loss.is_finite() {
                    return Err(Error::Diverged { head, step, loss });
                }
                progress(Progress { head, step, loss });
            }
            let width = basis.width();
            let matrix = |values: &[f32]| Matrix::from_f32(head_dim, width, values);
            let mut query = matrix(state.query())?;
            query.values_mut().iter_mut().for_each(|v| *v *= scale / own);
            Ok((query, matrix(state.key())?))
        };
        let heads: Vec<_> = targets.par_iter().enumerate().map(solve).collect();
        // Of heads that fail the first is named, whichever thread was faster.
        QueryKey::from_heads(heads.into_iter().collect::<Result<_>>()?)
    }

    fn check(&self) -> Result<()> {
        let positive = [
            ("impulse gradient solve: steps", self.steps as f64),
            ("impulse gradient solve: lr", self.lr),
            ("impulse gradient solve: renormalize_every", self.renormalize_every as f64),
            ("impulse gradient solve: scale", self.scale.unwrap_or(1.0)),
        ];
        match positive.into_iter().find(|(_, got)| !(got.is_finite() && *got > 0.0)) {
            Some((what, got)) => Err(Error::Constant { what, expected: "a positive number", got }),
            None => Ok(()),
        }
    }
}

/// Rows of the stored weights are columns of Q.
fn mean_row_norm(matrix: &Matrix) -> f64 {
    let norm = |row: usize| matrix.row(row).iter().map(|v| v * v).sum::<f64>().sqrt();
    (0..matrix.rows()).map(norm).sum::<f64>() / matrix.rows() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Offset, Quality, SinCos, layer_norm, learned,
        random::{Purpose, stream},
    };
    use inductive_ops::Grid;

    const GRID: Grid = Grid { rows: 4, cols: 3 };

    fn targets(heads: usize) -> Vec<Target> {
        let offset = |head| Offset { down: (head % 2) as i32, right: -((head % 3 == 1) as i32) };
        (0..heads).map(|head| Target::impulse(GRID, offset(head)).unwrap()).collect()
    }

    fn random_basis(width: usize) -> Basis {
        let position = learned(GRID.tokens(), width, &mut stream(Purpose::PseudoInput, 0, 0, 0));
        Basis::new(layer_norm(&position)).unwrap()
    }

    fn start(width: usize, heads: usize) -> QueryKey {
        Gradient::start(width, heads, &mut stream(Purpose::Start, 0, 0, 0)).unwrap()
    }

    const SHORT: Gradient = Gradient { steps: 300, lr: 1e-2, renormalize_every: 100, scale: None };

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let basis = random_basis(24);
        let solve = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| SHORT.solve(&basis, &targets(4), &start(24, 4), &|_| ())).unwrap()
        };
        let alone = solve(1);
        assert_eq!(alone, solve(2));
        assert_eq!(alone, solve(3));
    }

    #[test]
    fn the_loss_falls_and_the_attention_finds_its_targets() {
        let basis = Basis::new(layer_norm(&SinCos::Timm.embedding(GRID, 24).unwrap())).unwrap();
        let losses = std::sync::Mutex::new(vec![Vec::new(); 2]);
        let keep = |p: Progress| losses.lock().unwrap()[p.head].push(p.loss);
        let weights = SHORT.solve(&basis, &targets(2), &start(24, 2), &keep).unwrap();
        for losses in losses.into_inner().unwrap() {
            assert_eq!(losses.len(), 300);
            // rows without target keep some
            assert!(losses[299] < 0.3 * losses[0], "{} to {}", losses[0], losses[299]);
        }
        let quality = Quality::measure(&weights, basis.input(), &targets(2)).unwrap();
        assert!(quality.mass() > 0.8 && quality.hits() == 1.0, "{quality}");
    }

    #[test]
    fn a_solve_with_another_scale_gives_the_layer_the_attention_it_solved_for() {
        let basis = random_basis(24);
        let losses = std::sync::Mutex::new(Vec::new());
        let keep = |p: Progress| losses.lock().unwrap().push(p.loss);
        let solve = |steps, scale, progress: &(dyn Fn(Progress) + Sync)| {
            let settings = Gradient { steps, scale, ..SHORT };
            settings.solve(&basis, &targets(1), &start(24, 1), progress).unwrap()
        };
        solve(51, Some(0.1), &keep);
        // The loss before step 50 is that of the weights after 50 steps.
        let weights = solve(50, Some(0.1), &|_| ());
        let quality = Quality::measure(&weights, basis.input(), &targets(1)).unwrap();
        let solved_for = losses.into_inner().unwrap()[50];
        assert!((quality.mse() - solved_for).abs() < 1e-5 * solved_for, "{quality}, solved for {solved_for}");
        assert_eq!(solve(50, Some(24f64.sqrt().recip()), &|_| ()), solve(50, None, &|_| ()));
        assert_ne!(weights, solve(50, None, &|_| ()));
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_so_is_a_loss_that_is_not_a_number() {
        let basis = random_basis(24);
        let solve = |settings: Gradient, heads, start: &QueryKey| {
            settings.solve(&basis, &targets(heads), start, &|_| ())
        };
        assert_eq!(solve(SHORT, 5, &start(24, 4)), Err(Error::Heads { width: 24, heads: 5 }));
        assert!(matches!(solve(SHORT, 4, &start(24, 2)), Err(Error::Shape { .. })));
        assert!(matches!(solve(SHORT, 4, &start(12, 4)), Err(Error::Shape { .. })));
        for wrong in [
            Gradient { steps: 0, ..SHORT },
            Gradient { renormalize_every: 0, ..SHORT },
            Gradient { lr: f64::NAN, ..SHORT },
            Gradient { scale: Some(0.0), ..SHORT },
        ] {
            assert!(matches!(solve(wrong, 4, &start(24, 4)), Err(Error::Constant { .. })));
        }
        let wild = Gradient { lr: 1e38, ..SHORT };
        assert!(matches!(solve(wild, 4, &start(24, 4)), Err(Error::Diverged { .. })));
    }
}
