//! From a strategy to the weights of a model's layers.

use std::sync::{Arc, Mutex};

use inductive_ops::Grid;

use crate::{
    Basis, ClosedForm, Error, Gradient, Impulse, Linear, Matrix, Mixture, Offset, Progress, PseudoInput,
    Quality, QueryKey, QueryKeyChoice, Result, Solver, Strategy, Target, ValueProjChoice, layer_norm,
    mimetic_noise, mimetic_query_key, mimetic_value_proj,
    query_key::head_dim,
    random::{Purpose, normal, stream, truncated_normal, uniform},
};

/// What initial weights must fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Channels D.
    pub width: usize,
    /// Heads.
    pub heads: usize,
    /// Patches.
    pub grid: Grid,
    /// Whether a class token comes before the patches. Nothing is designed for it: it has a row of the position embedding that
    /// no solve looks at.
    pub class_token: bool,
}

impl Dims {
    /// Rows of the position embedding.
    pub fn tokens(&self) -> usize {
        self.grid.tokens() + usize::from(self.class_token)
    }
}

/// A linear layer's initial weights.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearInit {
    /// `[out, in]`
    pub weight: Vec<f32>,
    /// `[out]`
    pub bias: Vec<f32>,
}

impl LinearInit {
    /// A layer of all zeros.
    pub fn zeros(inputs: usize, outputs: usize) -> Self {
        Self { weight: vec![0.0; inputs * outputs], bias: vec![0.0; outputs] }
    }

    /// A layer that passes so many channels on.
    pub fn identity(width: usize) -> Self {
        let at = |index: usize| if index.is_multiple_of(width + 1) { 1.0 } else { 0.0 };
        Self { weight: (0..width * width).map(at).collect(), bias: vec![0.0; width] }
    }

    /// Layers of the same inputs in one: their outputs one after the other.
    pub fn stacked(layers: &[&Self]) -> Self {
        Self {
            weight: layers.iter().flat_map(|layer| layer.weight.iter().copied()).collect(),
            bias: layers.iter().flat_map(|layer| layer.bias.iter().copied()).collect(),
        }
    }
}

/// An attention layer's initial weights, each `[D, D]` as `[out, in]`, row-major, with a bias `[D]`.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionInit {
    /// Queries: head h has the rows from `h * head_dim` on.
    pub query: LinearInit,
    /// Keys, as queries.
    pub key: LinearInit,
    /// Values, as queries.
    pub value: LinearInit,
    /// Projection of the heads' results.
    pub proj: LinearInit,
    /// What the queries and keys aim at, one per head; for mimetic weights the patch itself. Empty for plain ones.
    pub targets: Vec<Target>,
    /// How near the attention comes to that on the pseudo-input, without biases; for mimetic weights on the position
    /// embedding. None without targets or embedding.
    pub quality: Option<Quality>,
}

impl AttentionInit {
    /// Weights that aim at nothing in particular.
    pub fn new(query: LinearInit, key: LinearInit, value: LinearInit, proj: LinearInit) -> Self {
        Self { query, key, value, proj, targets: Vec::new(), quality: None }
    }

    /// Queries, keys and values in one layer: weight `[3 D, D]`, bias `[3 D]`.
    pub fn qkv(&self) -> LinearInit {
        LinearInit::stacked(&[&self.query, &self.key, &self.value])
    }

    /// Query and key weights of so many heads, for [`Quality::measure`] on an input of one's own.
    ///
    /// # Errors
    /// [`Error::Heads`] unless `heads` divides the width.
    pub fn query_key(&self, heads: usize) -> Result<QueryKey> {
        let width = self.query.bias.len();
        let matrix = |layer: &LinearInit| Matrix::from_f32(width, width, &layer.weight);
        QueryKey::new(heads, matrix(&self.query)?, matrix(&self.key)?)
    }
}

/// Queries and keys with what they aim at.
struct Solved {
    weights: QueryKey,
    targets: Vec<Target>,
    quality: Option<Quality>,
}

/// Initial weights of one model: a function of (strategy, dimensions, position embedding, seed), layer by layer in any
/// order and from any thread.
pub struct StrategyInitializer {
    strategy: Strategy,
    dims: Dims,
    seed: u64,
    /// The position embedding, `[tokens, width]`, scaled, and that of the patches, normalised.
    embedding: Option<(Matrix, Basis)>,
    /// Solves that layers share.
    shared: Mutex<[Option<Arc<Solved>>; 2]>,
}

impl StrategyInitializer {
    /// position: the model's embedding as drawn, `[tokens, width]`, the class token's row first if there is one.
    ///
    /// # Errors
    /// [`Error::Heads`], [`Error::EmptyGrid`], [`Error::Shape`], [`Error::Constant`], [`Error::Decomposition`].
    pub fn new(strategy: Strategy, dims: Dims, position: &[f32], seed: u64) -> Result<Self> {
        head_dim(dims.width, dims.heads)?;
        if dims.grid.tokens() == 0 {
            return Err(Error::EmptyGrid { grid: dims.grid });
        }
        let scale = strategy.position_scale;
        if !(scale.is_finite() && scale > 0.0) {
            let (what, expected) = ("position_scale", "a positive number");
            return Err(Error::Constant { what, expected, got: scale });
        }
        if position.len() != dims.tokens() * dims.width {
            let expected = format!("{} x {} numbers", dims.tokens(), dims.width);
            return Err(Error::shape("position embedding", expected, position.len().to_string()));
        }
        let mut position = Matrix::from_f32(dims.tokens(), dims.width, position)?;
        position.values_mut().iter_mut().for_each(|v| *v *= scale);
        let patches = position.row_range(usize::from(dims.class_token)..dims.tokens());
        let basis = Basis::new(layer_norm(&patches))?;
        Ok(Self { strategy, dims, seed, embedding: Some((position, basis)), shared: Mutex::default() })
    }

    /// For a model without position embedding: impulses cannot be solved for, the other strategies can be had.
    ///
    /// # Errors
    /// [`Error::NoPosition`] for impulses or a scaled embedding; [`Error::Heads`].
    pub fn without_position(strategy: Strategy, dims: Dims, seed: u64) -> Result<Self> {
        head_dim(dims.width, dims.heads)?;
        if matches!(strategy.query_key, QueryKeyChoice::Impulse(_)) || strategy.position_scale != 1.0 {
            return Err(Error::NoPosition);
        }
        Ok(Self { strategy, dims, seed, embedding: None, shared: Mutex::default() })
    }

    /// What the weights are made by.
    pub fn strategy(&self) -> &Strategy {
        &self.strategy
    }

    /// The embedding to train on: scaled, `[tokens, width]`; empty without one.
    pub fn position(&self) -> Vec<f32> {
        self.embedding.as_ref().map_or_else(Vec::new, |(position, _)| position.to_f32())
    }

    /// The weights of attention layer `index`, counted from 0. Layers that share a solve find it done if they are asked for
    /// one after the other.
    ///
    /// # Errors
    /// Whatever [`Offsets::draw`](crate::Offsets::draw), [`Target::impulse`] and the solvers refuse.
    pub fn layer(&self, index: usize) -> Result<AttentionInit> {
        self.layer_reporting(index, &|_| ())
    }

    /// As [`StrategyInitializer::layer`]; `progress` hears of a gradient solve, if one is needed.
    ///
    /// # Errors
    /// As [`StrategyInitializer::layer`].
    pub fn layer_reporting(
        &self,
        index: usize,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<AttentionInit> {
        let width = self.dims.width;
        let plain = |purpose, part| {
            let mut rng = stream(purpose, self.seed, index as u64, part);
            plain_weight(self.strategy.linear, width, width, &mut rng).to_f32()
        };
        let solved = match &self.strategy.query_key {
            QueryKeyChoice::Linear => None,
            QueryKeyChoice::Mimetic(mixture) => Some(Arc::new(self.mimetic(index, *mixture)?)),
            QueryKeyChoice::Impulse(impulse) => Some(self.impulse(index, impulse, progress)?),
        };
        let (query, key) = match &solved {
            Some(solved) => (solved.weights.query().to_f32(), solved.weights.key().to_f32()),
            None => (plain(Purpose::QueryKey, 0), plain(Purpose::QueryKey, 1)),
        };
        let (value, proj) = match &self.strategy.value_proj {
            ValueProjChoice::Linear => (plain(Purpose::ValueProj, 0), plain(Purpose::ValueProj, 1)),
            ValueProjChoice::Mimetic { mixture, storage } => {
                let noise = mimetic_noise(width, &mut stream(Purpose::ValueProj, self.seed, index as u64, 0));
                let (value, proj) = mimetic_value_proj(*mixture, *storage, &noise)?;
                (value.to_f32(), proj.to_f32())
            }
        };
        let mut rng = stream(Purpose::Biases, self.seed, index as u64, 0);
        let mut linear = |weight| {
            let bias = plain_bias(self.strategy.linear, width, width, &mut rng).to_f32();
            LinearInit { weight, bias }
        };
        Ok(AttentionInit {
            query: linear(query),
            key: linear(key),
            value: linear(value),
            proj: linear(proj),
            targets: solved.as_ref().map_or_else(Vec::new, |solved| solved.targets.clone()),
            quality: solved.and_then(|solved| solved.quality.clone()),
        })
    }

    /// A linear layer that is not designed: what the strategy leaves to all others. `number` tells them apart.
    pub fn linear(&self, number: usize, inputs: usize, outputs: usize) -> LinearInit {
        let mut rng = stream(Purpose::Linear, self.seed, number as u64, 0);
        let weight = plain_weight(self.strategy.linear, inputs, outputs, &mut rng).to_f32();
        LinearInit { weight, bias: plain_bias(self.strategy.linear, inputs, outputs, &mut rng).to_f32() }
    }

    /// A convolution whose outputs see so many `inputs`, channels times places of the kernel: PyTorch's `Conv2d`, weight and
    /// bias uniform on +-1 / sqrt(inputs). None where the strategy leaves convolutions as the model has them.
    pub fn convolution(&self, number: usize, inputs: usize, outputs: usize) -> Option<LinearInit> {
        match self.strategy.linear {
            Linear::TruncatedNormal => None,
            Linear::Kaiming | Linear::Lecun => {
                let mut rng = stream(Purpose::Convolution, self.seed, number as u64, 0);
                let weight = plain_weight(Linear::Kaiming, inputs, outputs, &mut rng).to_f32();
                let bias = plain_bias(Linear::Kaiming, inputs, outputs, &mut rng).to_f32();
                Some(LinearInit { weight, bias })
            }
        }
    }

    fn mimetic(&self, layer: usize, mixture: Mixture) -> Result<Solved> {
        let noise = |head| {
            mimetic_noise(
                self.dims.width,
                &mut stream(Purpose::QueryKey, self.seed, layer as u64, head as u64),
            )
        };
        let noise: Vec<_> = (0..self.dims.heads).map(noise).collect();
        let weights = mimetic_query_key(mixture, &noise)?;
        let targets = vec![Target::impulse(self.dims.grid, Offset::CENTRE)?; self.dims.heads];
        let measure = |(_, basis): &(Matrix, Basis)| Quality::measure(&weights, basis.input(), &targets);
        let quality = self.embedding.as_ref().map(measure).transpose()?;
        Ok(Solved { weights, targets, quality })
    }

    fn impulse(
        &self,
        layer: usize,
        impulse: &Impulse,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Arc<Solved>> {
        let input = if layer == 0 { impulse.first } else { impulse.others };
        if !impulse.shared {
            return self.solve(layer, impulse, input, progress).map(Arc::new);
        }
        let slot = usize::from(input != impulse.first);
        // Not locked while solving: a rayon thread that waits for its heads may take up another layer meanwhile. Layers
        // that are asked for at the same time solve twice, with one result. A panic elsewhere leaves the slots as they
        // were, so poison says nothing.
        let slots = || self.shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(solved) = &slots()[slot] {
            return Ok(solved.clone());
        }
        let solved = Arc::new(self.solve(slot, impulse, input, progress)?);
        slots()[slot] = Some(solved.clone());
        Ok(solved)
    }

    /// `number` tells the solves of one model apart.
    fn solve(
        &self,
        number: usize,
        impulse: &Impulse,
        input: PseudoInput,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Solved> {
        let Dims { width, heads, grid, class_token } = self.dims;
        let draw = |purpose, head: usize| stream(purpose, self.seed, number as u64, head as u64);
        let targets = self.targets(number, impulse)?;
        let (position, basis) = self.embedding.as_ref().ok_or(Error::NoPosition)?;
        let drawn = match input {
            PseudoInput::Position => None,
            _ => {
                let patches = position.row_range(usize::from(class_token)..self.dims.tokens());
                Some(Basis::new(input.build(&patches, &mut draw(Purpose::PseudoInput, 0)))?)
            }
        };
        let basis = drawn.as_ref().unwrap_or(basis);
        let weights = match &impulse.solver {
            Solver::ClosedForm(closed_form) => {
                let noise = |head| ClosedForm::draw_noise(grid.tokens(), &mut draw(Purpose::Noise, head));
                closed_form.solve(basis, &targets, &(0..heads).map(noise).collect::<Vec<_>>())?
            }
            Solver::Gradient(gradient) => {
                let start = Gradient::start(width, heads, &mut draw(Purpose::Start, 0))?;
                gradient.solve(basis, &targets, &start, progress)?
            }
        };
        let quality = Some(Quality::measure(&weights, basis.input(), &targets)?);
        Ok(Solved { weights, targets, quality })
    }

    /// Random offsets are drawn for each solve; the controls are the same in all layers, as the fixed order is.
    fn targets(&self, number: usize, impulse: &Impulse) -> Result<Vec<Target>> {
        let Dims { heads, grid, .. } = self.dims;
        let layer = if impulse.offsets == crate::Offsets::Random { number as u64 } else { 0 };
        let mut rng = stream(Purpose::Offsets, self.seed, layer, 0);
        let offsets = impulse.offsets.draw(heads, impulse.kernel, grid, &mut rng)?;
        let target = |(head, offset)| {
            let target = Target::impulse(grid, offset)?;
            let mut rng = stream(Purpose::Scramble, self.seed, 0, head as u64);
            Ok(if impulse.scrambled { target.scrambled(&mut rng) } else { target })
        };
        offsets.into_iter().enumerate().map(target).collect()
    }
}

/// `[out, in]`
fn plain_weight(linear: Linear, inputs: usize, outputs: usize, rng: &mut impl rand::Rng) -> Matrix {
    match linear {
        Linear::Kaiming => uniform(outputs, inputs, (inputs as f64).sqrt().recip(), rng),
        Linear::TruncatedNormal => truncated_normal(outputs, inputs, 0.02, 2.0, rng),
        Linear::Lecun => normal(outputs, inputs, (inputs as f64).sqrt().recip(), rng),
    }
}

/// `[1, out]`
fn plain_bias(linear: Linear, inputs: usize, outputs: usize, rng: &mut impl rand::Rng) -> Matrix {
    match linear {
        Linear::Kaiming => uniform(1, outputs, (inputs as f64).sqrt().recip(), rng),
        Linear::TruncatedNormal | Linear::Lecun => Matrix::from_fn(1, outputs, |_, _| 0.0),
    }
}
