//! The toy layer: an 8 x 8 map, 3 channels in, 4 out, in f64.

use dfdx::prelude::*;
use inductive_nn::{ConvAsAttention, Gate, Positions, Reparameterization, SwitchLayer, Tokens};
use inductive_ops::Grid;
use inductive_random::{RngCore, Stream, of_seed};

use super::super::super::Result;

/// Rows and columns of the map.
pub(super) const SIDE: usize = 8;
pub(super) const GRID: Grid = Grid { rows: SIDE, cols: SIDE };
const INNER: usize = 3;
/// Channels of the result.
pub(super) const OUTER: usize = 4;

/// The layer; `ZERO`: with a ring of zeros around the map, as zero padding.
type Layer<const ZERO: bool> = ConvAsAttention<INNER, OUTER, INNER, 3, 9, 18, 1, ZERO, false, f64, Cpu>;

/// A layer with normal weights, an input of normal numbers, and what the convolution makes of it.
pub(super) struct Toy<const ZERO: bool> {
    pub layer: Layer<ZERO>,
    pub x: Tokens<INNER, f64, Cpu>,
    /// The convolution's result.
    pub convolved: Vec<f64>,
}

impl<const ZERO: bool> Toy<ZERO> {
    /// Those of a seed: the same weights and numbers for both borders.
    pub fn new(seed: u64) -> Result<Self> {
        let dev = Cpu::seed_from_u64(seed);
        let mut layer = Layer::<ZERO>::build(&dev);
        let mut rng = of_seed(seed);
        let mut draw = |count| normal(&mut rng, count);
        layer.weight.copy_from(&draw(OUTER * INNER * 9));
        // Without queries and keys content is the mean of the map.
        layer.qk.copy_from(&vec![0.0; 2 * 18 * INNER]);
        let x = dev.tensor_from_vec(draw(SIDE * SIDE * INNER), (1, SIDE * SIDE, Const));
        let mut toy = Self { layer, x, convolved: Vec::new() };
        toy.convolved = toy.output()?;
        Ok(toy)
    }

    fn output(&self) -> Result<Vec<f64>> {
        let (y, _) = self.layer.apply(self.x.clone(), GRID).map_err(failed)?;
        Ok(y.as_vec())
    }

    /// What attention makes of the input.
    pub fn attended(&mut self, alpha: f64, gate: Gate) -> Result<Vec<f64>> {
        let how = Reparameterization { positions: Positions::Kernel { alpha }, gate };
        self.layer.reparameterize(&how, 0).map_err(failed)?;
        self.output()
    }
}

/// Standard normal numbers (Box and Muller).
fn normal(rng: &mut Stream, count: usize) -> Vec<f64> {
    let mut uniform = || (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    (0..count)
        .map(|_| (-2.0 * (1.0 - uniform()).ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos())
        .collect()
}

pub(super) fn failed(error: inductive_nn::Error) -> inductive_train::Error {
    inductive_models::Error::from(error).into()
}
