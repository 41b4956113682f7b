//! How near attention comes to its targets.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Matrix, QueryKey, Result, Target};

/// One head's attention against its target. "Valid" queries are those that have one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadQuality {
    /// Mean attention of valid queries to their target, 0 to 1.
    pub mass: f64,
    /// Share of valid queries that attend to their target most.
    pub hits: f64,
    /// Mean squared difference from the target matrix, over all elements: rows without target included.
    pub mse: f64,
    /// Mean entropy of the rows in nats; ln(tokens) for uniform attention.
    pub entropy: f64,
    /// `mass` of uniform attention: 1 / tokens.
    pub uniform_mass: f64,
    /// `mse` of uniform attention.
    pub uniform_mse: f64,
}

impl HeadQuality {
    /// map: `[tokens, tokens]`, rows sum to 1.
    fn of(map: &Matrix, target: &Target) -> Self {
        let tokens = target.tokens() as f64;
        let (mut mass, mut hits, mut squares, mut uniform_squares, mut entropy) =
            (0.0, 0usize, 0.0, 0.0, 0.0);
        let mut valid = 0usize;
        for (query, key) in target.keys().iter().enumerate() {
            let row = map.row(query);
            entropy -= row.iter().filter(|a| **a > 0.0).map(|a| a * a.ln()).sum::<f64>();
            squares += row.iter().map(|a| a * a).sum::<f64>();
            uniform_squares += 1.0 / tokens;
            if let Some(key) = *key {
                valid += 1;
                mass += row[key];
                // NaN is no hit; of equal ones the first counts, so that uniform attention hits one key only
                let first =
                    row.iter().enumerate().fold(0, |best, (i, a)| if *a > row[best] { i } else { best });
                hits += usize::from(first == key && !row[key].is_nan());
                squares += 1.0 - 2.0 * row[key];
                uniform_squares += 1.0 - 2.0 / tokens;
            }
        }
        Self {
            mass: mass / valid as f64,
            hits: hits as f64 / valid as f64,
            mse: squares / (tokens * tokens),
            entropy: entropy / tokens,
            uniform_mass: 1.0 / tokens,
            uniform_mse: uniform_squares / (tokens * tokens),
        }
    }
}

/// What a solve reached, head by head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// One per head.
    pub heads: Vec<HeadQuality>,
}

impl Quality {
    /// The attention that `weights` make of `input`, `[tokens, width]`, against one target per head.
    ///
    /// # Errors
    /// [`Error::Shape`]
    pub fn measure(weights: &QueryKey, input: &Matrix, targets: &[Target]) -> Result<Self> {
        Self::of_maps(&weights.attention(input)?, targets)
    }

    /// maps: one per head, `[tokens, tokens]`, rows sum to 1.
    ///
    /// # Errors
    /// [`Error::Shape`]
    pub fn of_maps(maps: &[Matrix], targets: &[Target]) -> Result<Self> {
        if maps.len() != targets.len() {
            let got = format!("{} targets", targets.len());
            return Err(Error::shape("quality", format!("{} targets, one per head", maps.len()), got));
        }
        let head = |(map, target): (&Matrix, &Target)| {
            let tokens = target.tokens();
            if (map.rows(), map.cols()) != (tokens, tokens) {
                let got = format!("{} x {}", map.rows(), map.cols());
                return Err(Error::shape("attention map", format!("{tokens} x {tokens}"), got));
            }
            Ok(HeadQuality::of(map, target))
        };
        Ok(Self { heads: maps.iter().zip(targets).map(head).collect::<Result<_>>()? })
    }

    /// [`HeadQuality::mass`], mean of the heads; as the others below.
    pub fn mass(&self) -> f64 {
        self.mean(|head| head.mass)
    }

    /// [`HeadQuality::hits`]
    pub fn hits(&self) -> f64 {
        self.mean(|head| head.hits)
    }

    /// [`HeadQuality::mse`]
    pub fn mse(&self) -> f64 {
        self.mean(|head| head.mse)
    }

    /// [`HeadQuality::uniform_mass`]
    pub fn uniform_mass(&self) -> f64 {
        self.mean(|head| head.uniform_mass)
    }

    /// [`HeadQuality::uniform_mse`]
    pub fn uniform_mse(&self) -> f64 {
        self.mean(|head| head.uniform_mse)
    }

    fn mean(&self, value: impl Fn(&HeadQuality) -> f64) -> f64 {
        self.heads.iter().map(value).sum::<f64>() / self.heads.len() as f64
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "mass on target {:.3} (uniform {:.4}), hits {:.1} %, MSE {:.5} (uniform {:.5})",
            self.mass(),
            self.uniform_mass(),
            100.0 * self.hits(),
            self.mse(),
            self.uniform_mse()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Offset;
    use inductive_ops::Grid;

    fn target(offset: (i32, i32)) -> Target {
        Target::impulse(Grid::square(3), Offset { down: offset.0, right: offset.1 }).unwrap()
    }

    #[test]
    fn uniform_attention_is_what_the_uniform_fields_say() {
        let uniform = Matrix::from_fn(9, 9, |_, _| 1.0 / 9.0);
        let targets = [target((0, 0)), target((-1, 1))];
        let quality = Quality::of_maps(&[uniform.clone(), uniform], &targets).unwrap();
        for (head, valid) in quality.heads.iter().zip([9.0, 4.0]) {
            assert!((head.mass - 1.0 / 9.0).abs() < 1e-12 && (head.uniform_mass - 1.0 / 9.0).abs() < 1e-12);
            // per valid row (8/9)^2 + 8 (1/9)^2, per other row 9 (1/9)^2
            let want = (valid * 72.0 / 81.0 + (9.0 - valid) / 9.0) / 81.0;
            assert!((head.mse - want).abs() < 1e-12 && (head.uniform_mse - want).abs() < 1e-12);
            assert!((head.entropy - 9f64.ln()).abs() < 1e-12);
        }
        assert_eq!(quality.heads[0].hits, 1.0 / 9.0);
    }

    #[test]
    fn the_target_itself_is_perfect_where_it_is_valid() {
        let target = target((0, -1));
        let mut map = target.dense();
        let empty: Vec<_> = (0..9).filter(|q| target.keys()[*q].is_none()).collect();
        empty.iter().for_each(|q| map.values_mut()[q * 9..][..9].fill(1.0 / 9.0));
        let quality = Quality::of_maps(&[map], &[target]).unwrap();
        assert_eq!((quality.mass(), quality.hits()), (1.0, 1.0));
        assert!((quality.mse() - empty.len() as f64 / 9.0 / 81.0).abs() < 1e-12);
        let text = quality.to_string();
        assert!(text.starts_with("mass on target 1.000 (uniform 0.1111), hits 100.0 %, MSE 0.004"), "{text}");
    }

    #[test]
    fn maps_of_another_size_or_number_are_errors() {
        let map = Matrix::from_fn(4, 4, |_, _| 0.25);
        assert!(matches!(Quality::of_maps(&[map], &[target((0, 0))]), Err(Error::Shape { .. })));
        assert!(matches!(Quality::of_maps(&[], &[target((0, 0))]), Err(Error::Shape { .. })));
    }
}
