//! The closed form of arXiv 2505.19985 (NeurIPS 2025): pseudo-inverse of the position embedding, then the best low rank.
//!
//! ```text
//! W = 1000 H + 3 Z where H is 0       Z normal of deviation 0.6, cut at +-2
//! P+ = (P^T P)^+ P^T, cut to the r = head_dim strongest directions of P
//! A = P+ W (P+)^T = U S V^T           Q = U_r sqrt(S_r)     K = sqrt(S_r) V_r^T     each scaled to Frobenius norm 7
//! ```
//!
//! With `P = U_P diag(s) V_P^T`, `P+ = V diag(1 / s) U^T` with the first r columns of both, so A = V B V^T with
//! `B = diag(1/s) U^T W U diag(1/s)`, r x r: only B has to be decomposed, which is what makes this fast.
//!
//! The constants are those of the published code. The paper's text is summarised with others (H to noise 40 to 1, norm 2,
//! embedding not scaled). The softmax's 1 / sqrt(r) is not part of the construction; the norm of 7 alone sets the sharpness.
//!
//! It wants an embedding whose directions are about equally strong, as random ones are: divided by the small ones of an
//! embedding of sines and cosines, the target drowns, and the norm leaves nearly uniform attention.
//! Not so where heads have fewer channels than that embedding has directions and keep the strong ones alone: 16 heads of 192
//! channels reach mass 0.80 on 14 x 14 patches, where a learned embedding, cut to 12 of its 191 directions, leaves 0.14.

use rand::Rng;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check_targets;
use crate::{Basis, Error, Matrix, QueryKey, Result, Target, random::truncated_normal};

/// Deviation and cut of the noise.
const NOISE_STD: f64 = 0.6;
const NOISE_CUT: f64 = 2.0;

/// Constants of the closed form; by default the published code's.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClosedForm {
    /// What stands at the targets.
    pub impulse: f64,
    /// Factor of the noise elsewhere.
    pub noise: f64,
    /// Frobenius norm of Q and of K, each head.
    pub norm: f64,
}

impl Default for ClosedForm {
    fn default() -> Self {
        Self { impulse: 1000.0, noise: 3.0, norm: 7.0 }
    }
}

impl ClosedForm {
    /// Noise of one head, `[tokens, tokens]`, before its factor.
    pub fn draw_noise(tokens: usize, rng: &mut impl Rng) -> Matrix {
        truncated_normal(tokens, tokens, NOISE_STD, NOISE_CUT, rng)
    }

    /// Query and key weights whose attention on the pseudo-input comes near the targets, one per head.
    ///
    /// noise: one matrix per head, as [`ClosedForm::draw_noise`] gives them.
    ///
    /// # Errors
    /// [`Error::Heads`], [`Error::Shape`], [`Error::Constant`], [`Error::Decomposition`]; [`Error::Vanished`] where
    /// there is nothing to scale to the norm.
    pub fn solve(&self, basis: &Basis, targets: &[Target], noise: &[Matrix]) -> Result<QueryKey> {
        let head_dim = check_targets(basis, targets)?;
        self.check()?;
        let tokens = basis.tokens();
        let fits = |z: &Matrix| (z.rows(), z.cols()) == (tokens, tokens);
        if noise.len() != targets.len() || !noise.iter().all(fits) {
            let expected = format!("{} matrices of {tokens} x {tokens}", targets.len());
            let got: Vec<_> = noise.iter().map(|z| format!("{} x {}", z.rows(), z.cols())).collect();
            return Err(Error::shape("noise of the closed form", expected, format!("[{}]", got.join(", "))));
        }
        let strongest = Strongest::of(basis, head_dim);
        let head = |(head, (target, noise)): (usize, (&Target, &Matrix))| {
            self.solve_head(&strongest, target, noise)?.ok_or(Error::Vanished { head })
        };
        let pairs: Vec<_> = targets.par_iter().zip(noise).enumerate().map(head).collect();
        // Of heads that fail the first is named, whichever thread was faster.
        QueryKey::from_heads(pairs.into_iter().collect::<Result<_>>()?)
    }

    /// `(Q^T, K)`, both `[head_dim, width]`; nothing if A is 0.
    fn solve_head(
        &self,
        strongest: &Strongest,
        target: &Target,
        noise: &Matrix,
    ) -> Result<Option<(Matrix, Matrix)>> {
        let mut wanted = noise.clone();
        wanted.values_mut().iter_mut().for_each(|z| *z *= self.noise);
        for (query, key) in target.keys().iter().enumerate() {
            if let Some(key) = key {
                wanted.values_mut()[query * target.tokens() + key] = self.impulse;
            }
        }
        let core = strongest.weighted.transposed_times(&wanted).times(&strongest.weighted);
        let svd = core.svd("the impulse target on the position embedding")?;
        // the squared Frobenius norm of U sqrt(S) and of sqrt(S) V^T
        let square = svd.values.iter().sum::<f64>();
        if square <= 0.0 {
            return Ok(None);
        }
        let scales: Vec<f64> = svd.values.iter().map(|v| self.norm * (v / square).sqrt()).collect();
        let rows = |vectors: Matrix| {
            let found = vectors.scaled_columns(&scales).transposed().times_transposed(&strongest.directions);
            // an embedding with fewer directions than a head has channels leaves the others 0
            let width = found.cols();
            Matrix::from_fn(
                strongest.head_dim,
                width,
                |i, j| if i < found.rows() { found.at(i, j) } else { 0.0 },
            )
        };
        Ok(Some((rows(svd.left), rows(svd.right))))
    }

    fn check(&self) -> Result<()> {
        for (what, got) in [("impulse closed form: impulse", self.impulse), ("its noise", self.noise)] {
            if !got.is_finite() {
                return Err(Error::Constant { what, expected: "a finite number", got });
            }
        }
        if !(self.norm.is_finite() && self.norm > 0.0) {
            let (what, expected) = ("impulse closed form: norm", "a positive number");
            return Err(Error::Constant { what, expected, got: self.norm });
        }
        Ok(())
    }
}

/// The directions of the pseudo-input that one head can have.
struct Strongest {
    /// `U diag(1 / s)`, `[tokens, min(head_dim, rank)]`
    weighted: Matrix,
    /// V, `[width, min(head_dim, rank)]`
    directions: Matrix,
    head_dim: usize,
}

impl Strongest {
    fn of(basis: &Basis, head_dim: usize) -> Self {
        let count = head_dim.min(basis.rank());
        let inverse: Vec<f64> = basis.values[..count].iter().map(|s| s.recip()).collect();
        Self {
            weighted: basis.left.first_columns(count).scaled_columns(&inverse),
            directions: basis.right.first_columns(count),
            head_dim,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Offset, layer_norm, learned,
        random::{Purpose, stream},
    };
    use inductive_ops::Grid;

    fn basis(grid: Grid, width: usize) -> Basis {
        let position = learned(grid.tokens(), width, &mut stream(Purpose::PseudoInput, 0, 0, 0));
        Basis::new(layer_norm(&position)).unwrap()
    }

    fn noise(tokens: usize, heads: usize) -> Vec<Matrix> {
        let draw = |head| ClosedForm::draw_noise(tokens, &mut stream(Purpose::Noise, 0, 0, head as u64));
        (0..heads).map(draw).collect()
    }

    #[test]
    fn the_short_way_is_the_pseudo_inverse_of_the_definition() {
        let grid = Grid { rows: 3, cols: 4 };
        let (basis, z) = (basis(grid, 10), noise(12, 2));
        let target = Target::impulse(grid, Offset { down: 0, right: 1 }).unwrap();
        let targets = [target.clone(), target];
        let weights = ClosedForm::default().solve(&basis, &targets, &z).unwrap();
        let p = basis.input();
        let gram = p.transposed_times(p).svd("gram").unwrap();
        let inverse: Vec<f64> = (0..10).map(|i| if i < 5 { gram.values[i].recip() } else { 0.0 }).collect();
        let pseudo = gram.right.scaled_columns(&inverse).times_transposed(&gram.left).times_transposed(p);
        for (head, z) in z.iter().enumerate() {
            let h = targets[head].dense();
            let w = Matrix::from_fn(12, 12, |i, j| if h.at(i, j) == 1.0 { 1000.0 } else { 3.0 * z.at(i, j) });
            let a = pseudo.times(&w).times_transposed(&pseudo);
            let nuclear: f64 = a.svd("a").unwrap().values.iter().sum();
            let product = weights.product(head);
            for (got, a) in product.values().iter().zip(a.values()) {
                assert!((got - 49.0 * a / nuclear).abs() < 1e-9, "{got} {}", 49.0 * a / nuclear);
            }
        }
    }

    #[test]
    fn each_head_has_the_norm_even_where_the_embedding_has_fewer_directions_than_channels() {
        let grid = Grid::square(2);
        let target = Target::impulse(grid, Offset::CENTRE).unwrap();
        let weights = ClosedForm::default().solve(&basis(grid, 24), &[target.clone(), target], &noise(4, 2));
        let weights = weights.unwrap();
        for head in 0..2 {
            for matrix in [weights.head(head).0, weights.head(head).1] {
                assert_eq!((matrix.rows(), matrix.cols()), (12, 24));
                let norm = matrix.values().iter().map(|v| v * v).sum::<f64>().sqrt();
                assert!((norm - 7.0).abs() < 1e-9, "{norm}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let grid = Grid::square(3);
        let basis = basis(grid, 12);
        let target = Target::impulse(grid, Offset::CENTRE).unwrap();
        let solve =
            |targets: &[Target], noise: &[Matrix]| ClosedForm::default().solve(&basis, targets, noise);
        let five = vec![target.clone(); 5];
        assert_eq!(solve(&five, &noise(9, 5)), Err(Error::Heads { width: 12, heads: 5 }));
        let two = [target.clone(), target.clone()];
        assert!(matches!(solve(&two, &noise(9, 1)), Err(Error::Shape { .. })));
        assert!(matches!(solve(&two, &noise(8, 2)), Err(Error::Shape { .. })));
        let other = Target::impulse(Grid::square(4), Offset::CENTRE).unwrap();
        assert!(matches!(solve(&[target.clone(), other], &noise(9, 2)), Err(Error::Shape { .. })));
        let nothing = ClosedForm { impulse: 0.0, noise: 0.0, norm: 7.0 };
        assert_eq!(nothing.solve(&basis, &two, &noise(9, 2)), Err(Error::Vanished { head: 0 }));
        let negative = ClosedForm { norm: -1.0, ..Default::default() };
        assert!(matches!(negative.solve(&basis, &two, &noise(9, 2)), Err(Error::Constant { .. })));
    }
}
