//! Initial weights of one's own: what an initializer is, and the names that others add.

use std::sync::{Arc, PoisonError, RwLock};

use crate::{
    AttentionInit, Dims, Error, GatedValue, LinearInit, Progress, Quality, QueryKeyChoice, Result, Solver,
    Strategy, StrategyInitializer, ValueProjChoice,
};

/// Initial weights of one model, layer by layer. What it gives no weights stays as the model drew it.
///
/// [`Strategy`]s are made into one ([`StrategyInitializer`]); [`add_initializer`] gives one of your own a name.
///
/// ```
/// use inductive_init::{AttentionInit, Dims, Initializer, LinearInit, Progress, Result, add_initializer};
///
/// /// Attention that begins uniform and passes the mean of all tokens on.
/// struct Uniform(usize);
///
/// impl Initializer for Uniform {
///     fn attention(&self, _: usize, _: &(dyn Fn(Progress) + Sync)) -> Result<Option<AttentionInit>> {
///         let (zero, identity) = (LinearInit::zeros(self.0, self.0), LinearInit::identity(self.0));
///         Ok(Some(AttentionInit::new(zero.clone(), zero, identity.clone(), identity)))
///     }
/// }
///
/// // From now on a recipe may say `init = "uniform"`.
/// add_initializer("uniform", "queries and keys 0, values the identity", |dims: Dims, _, _| {
///     Ok(Box::new(Uniform(dims.width)))
/// })?;
/// # Ok::<(), inductive_init::Error>(())
/// ```
pub trait Initializer: Send + Sync {
    /// The weights of attention layer `index`, counted from 0. `progress` hears of a solve, if one takes long.
    ///
    /// # Errors
    /// Whatever the solve refuses.
    fn attention(&self, index: usize, progress: &(dyn Fn(Progress) + Sync)) -> Result<Option<AttentionInit>>;

    /// A linear layer that is no part of attention. `number` tells those of one model apart: its place among the names of all linear layers.
    fn linear(&self, name: &str, number: usize, inputs: usize, outputs: usize) -> Option<LinearInit> {
        let _ = (name, number, inputs, outputs);
        None
    }

    /// A convolution that mixes tokens, whose outputs see so many `inputs`, channels times places of the kernel.
    fn convolution(&self, name: &str, number: usize, inputs: usize, outputs: usize) -> Option<LinearInit> {
        let _ = (name, number, inputs, outputs);
        None
    }

    /// The position embedding to train on, `[tokens, width]`.
    fn position(&self) -> Option<Vec<f32>> {
        None
    }

    /// Values of ConViT's gated layers.
    fn gated_value(&self) -> GatedValue {
        GatedValue::default()
    }

    /// What the user should know of a layer whose attention came so near its target.
    fn warning(&self, quality: &Quality) -> Option<String> {
        let _ = quality;
        None
    }
}

/// What makes the [`Initializer`] of a model: a [`Strategy`], or a function.
pub trait MakeInitializer: Send + Sync {
    /// `position`: the model's embedding as drawn, `[tokens, width]`, the class token's row first if there is one; None for a
    /// model without. `seed`: that of all random numbers.
    ///
    /// # Errors
    /// Dimensions it has no weights for.
    fn make(&self, dims: Dims, position: Option<&[f32]>, seed: u64) -> Result<Box<dyn Initializer>>;

    /// Whether weights of attention are designed, so that a model without attention over all its channels is refused.
    fn designs_attention(&self) -> bool {
        true
    }
}

impl<F> MakeInitializer for F
where
    F: Fn(Dims, Option<&[f32]>, u64) -> Result<Box<dyn Initializer>> + Send + Sync,
{
    fn make(&self, dims: Dims, position: Option<&[f32]>, seed: u64) -> Result<Box<dyn Initializer>> {
        self(dims, position, seed)
    }
}

impl MakeInitializer for Strategy {
    fn make(&self, dims: Dims, position: Option<&[f32]>, seed: u64) -> Result<Box<dyn Initializer>> {
        Ok(Box::new(match position {
            Some(position) => StrategyInitializer::new(self.clone(), dims, position, seed)?,
            None => StrategyInitializer::without_position(self.clone(), dims, seed)?,
        }))
    }

    fn designs_attention(&self) -> bool {
        !matches!(self.query_key, QueryKeyChoice::Linear)
            || !matches!(self.value_proj, ValueProjChoice::Linear)
            || self.position_scale != 1.0
    }
}

impl Initializer for StrategyInitializer {
    fn attention(&self, index: usize, progress: &(dyn Fn(Progress) + Sync)) -> Result<Option<AttentionInit>> {
        self.layer_reporting(index, progress).map(Some)
    }

    fn linear(&self, _: &str, number: usize, inputs: usize, outputs: usize) -> Option<LinearInit> {
        Some(self.linear(number, inputs, outputs))
    }

    fn convolution(&self, _: &str, number: usize, inputs: usize, outputs: usize) -> Option<LinearInit> {
        self.convolution(number, inputs, outputs)
    }

    fn position(&self) -> Option<Vec<f32>> {
        (self.strategy().position_scale != 1.0).then(|| self.position())
    }

    fn gated_value(&self) -> GatedValue {
        self.strategy().gated_value
    }

    /// Impulses that did not come out: attention little sharper than uniform.
    fn warning(&self, quality: &Quality) -> Option<String> {
        let impulse = self.strategy().impulse().filter(|_| quality.mass() < 2.0 * quality.uniform_mass())?;
        let advice = match impulse.solver {
            Solver::ClosedForm(_) => {
                "The closed form wants a random position embedding; for sines and cosines take `impulse3`"
            }
            Solver::Gradient(_) => {
                "The solver wants positions that tell patches apart, and targets that they can express: more steps, another \
                 pseudo-input, targets that are not scrambled"
            }
        };
        Some(format!("{quality}. {advice}"))
    }
}

/// What others added.
struct Added {
    name: String,
    about: String,
    make: Arc<dyn MakeInitializer>,
}

static ADDED: RwLock<Vec<Added>> = RwLock::new(Vec::new());

/// Adds initial weights under a name. From then on recipes know it. `about`: one line for lists.
///
/// # Errors
/// [`Error::NameTaken`] for a name of [`Strategy::NAMES`] or one that was added before.
pub fn add_initializer<F>(name: &str, about: &str, make: F) -> Result<()>
where
    F: Fn(Dims, Option<&[f32]>, u64) -> Result<Box<dyn Initializer>> + Send + Sync + 'static,
{
    let mut added = ADDED.write().unwrap_or_else(PoisonError::into_inner);
    if Strategy::NAMES.contains(&name) || added.iter().any(|it| it.name == name) {
        return Err(Error::NameTaken { name: name.to_owned() });
    }
    added.push(Added { name: name.to_owned(), about: about.to_owned(), make: Arc::new(make) });
    Ok(())
}

/// What makes the weights of this name, of [`Strategy::NAMES`] or added; `None` for any other.
pub fn named_initializer(name: &str) -> Option<Arc<dyn MakeInitializer>> {
    if let Some(strategy) = Strategy::named(name) {
        return Some(Arc::new(strategy));
    }
    let added = ADDED.read().unwrap_or_else(PoisonError::into_inner);
    added.iter().find(|it| it.name == name).map(|it| it.make.clone())
}

/// All names with one line on each: [`Strategy::NAMES`], then what was added.
pub fn initializer_names() -> Vec<(String, String)> {
    let own = |name: &str| (name.to_owned(), Strategy::describe(name).unwrap_or_default().to_owned());
    let added = ADDED.read().unwrap_or_else(PoisonError::into_inner);
    let added = added.iter().map(|it| (it.name.clone(), it.about.clone()));
    Strategy::NAMES.into_iter().map(own).chain(added).collect()
}
