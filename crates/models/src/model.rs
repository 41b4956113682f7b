//! What every model can do, behind a trait object: the typed inside is hidden, batch and classes are run-time.

use dfdx::prelude::*;
use inductive_attention::{AttentionRecord, Layout, Point, Reparameterization};
use inductive_ops::{Backend, DropPath, Parameters, Readout};
use inductive_schedule::drop_path_rates;

use crate::{BatchStatistics, ModelSpec, Result, Switchable, points::Scope};

/// `[batch, 3, height, width]`
pub type Images<E, D, T = NoneTape> = Tensor<(usize, usize, usize, usize), E, D, T>;
/// `[batch, classes]`
pub type Logits<E, D, T = NoneTape> = Tensor<(usize, usize), E, D, T>;

/// What a forward pass keeps when it is asked to: one entry per block, and the [`Point`]s between the operators. What an
/// earlier pass left in it is dropped.
#[derive(Clone, Debug, Default)]
pub struct Record<E> {
    /// Entries in the order of the blocks.
    pub blocks: Vec<BlockRecord<E>>,
    /// Whether to keep the blocks' outputs (large).
    pub keep_outputs: bool,
    /// Whether to do without attention, which is computed for the record alone.
    pub skip_attention: bool,
    /// All operators in their order, the stem first (up to five times as large as the outputs); `None`: not kept.
    pub points: Option<Vec<Point<E>>>,
    /// Of which list of blocks the next is.
    pub(crate) scope: Scope,
}

impl<E> Record<E> {
    /// Keeps attention and outputs.
    pub fn everything() -> Self {
        Self { keep_outputs: true, ..Self::of_attention() }
    }

    /// Keeps attention alone.
    fn of_attention() -> Self {
        Self {
            blocks: Vec::new(),
            keep_outputs: false,
            skip_attention: false,
            points: None,
            scope: Scope::default(),
        }
    }

    /// Keeps the points alone.
    pub fn of_points() -> Self {
        Self { skip_attention: true, points: Some(Vec::new()), ..Self::of_attention() }
    }
}

/// What one block did.
#[derive(Clone, Debug)]
pub struct BlockRecord<E> {
    /// Output of the block, `[batch, tokens, C]` row-major; empty unless outputs are kept.
    pub output: Vec<E>,
    /// How the tokens of the output lie on the image.
    pub layout: Layout,
    /// Its attention; `None` for a block that has none, as in a convolutional network, and unless attention is kept.
    pub attention: Option<AttentionRecord<E>>,
}

/// How a forward pass runs; passed from the model to its blocks.
#[derive(Debug, Default)]
pub struct Context<'a, E> {
    /// Stochastic depth, in training: the rate of the last block (earlier ones have less), and the step's seed.
    pub drop_path: DropPath,
    /// Where to keep what happens.
    pub record: Option<&'a mut Record<E>>,
    /// Where batch normalisation adds the statistics of the batch, by which it then normalises; without, it normalises by
    /// its running averages.
    pub batch_statistics: Option<&'a mut BatchStatistics<E>>,
    /// Whether the images receive a gradient (saliency, adversarial examples); training does without.
    pub image_gradient: bool,
}

impl<E> Context<'_, E> {
    /// Rate and seed of each of `depth` blocks: the rates of [`drop_path_rates`], from 0 to the last block's.
    ///
    /// # Errors
    /// [`crate::Error::Schedule`] when the rate is not in `0 <= rate < 1`.
    pub fn block_drop_paths(&self, depth: usize) -> Result<Vec<DropPath>> {
        let rates = drop_path_rates(self.drop_path.rate as f32, depth)?.into_iter().enumerate();
        Ok(rates.map(|(i, rate)| DropPath { rate: rate.into(), ..self.drop_path.fork(i as u64) }).collect())
    }

    /// See [`readout`].
    pub(crate) fn readout(&self, index: usize, blocks: usize) -> Readout {
        readout(index, blocks, self.record.is_some())
    }

    /// Empties the record, if there is one: an earlier pass may have filled it.
    pub(crate) fn start_record(&mut self) {
        if let Some(record) = &mut self.record {
            record.blocks.clear();
            record.points.iter_mut().for_each(Vec::clear);
            record.scope = Scope::default();
        }
    }
}

/// What block `index` of `blocks` has to give: after the last, nothing but the class token is used, so the other
/// tokens are computed only if they are recorded.
pub(crate) fn readout(index: usize, blocks: usize, recorded: bool) -> Readout {
    if index + 1 == blocks && !recorded { Readout::First } else { Readout::All }
}

/// A classifier of images.
pub trait Model<E: Dtype, D: Backend<E>>: Parameters<E, D> {
    /// What it is.
    fn spec(&self) -> &ModelSpec;

    /// Inference. images: `[batch, 3, height, width]`; result: `[batch, classes]`.
    fn forward(&self, images: Images<E, D>, record: Option<&mut Record<E>>) -> Result<Logits<E, D>>;

    /// Training: records gradients on the tape of `images`, and takes what batch normalisation saw into its running
    /// averages. `drop_path`: the rate of the last block and this step's seed.
    ///
    /// # Errors
    /// [`crate::Error::Schedule`] for a rate that is not in `0 <= rate < 1`.
    fn forward_train(
        &mut self,
        images: Images<E, D, OwnedTape<E, D>>,
        drop_path: DropPath,
    ) -> Result<Logits<E, D, OwnedTape<E, D>>> {
        let mut statistics = BatchStatistics::default();
        let logits = self.forward_batch(images, drop_path, &mut statistics)?;
        statistics.fold_into(self)?;
        Ok(logits)
    }

    /// [`Model::forward_train`] that leaves the model as it is: what batch normalisation saw is added to `statistics`,
    /// for [`BatchStatistics::fold_into`] once it is known that the step counts.
    fn forward_batch(
        &self,
        images: Images<E, D, OwnedTape<E, D>>,
        drop_path: DropPath,
        statistics: &mut BatchStatistics<E>,
    ) -> Result<Logits<E, D, OwnedTape<E, D>>>;

    /// The share of position in each gated layer's heads, `sigma(gating_param)` in ConViT; empty for models without gates.
    /// Layers that can leave convolution have gates from the start, which are 1 until then.
    ///
    /// # Errors
    /// As [`Model::switchable`].
    fn gates(&self) -> Result<Vec<Vec<f64>>>;

    /// The layers that can leave convolution for attention, first to last, as they are now; empty for most models.
    ///
    /// # Errors
    /// A layer whose buffer `operator` holds no known code.
    fn switchable(&self) -> Result<Vec<Switchable>>;

    /// Makes layer `index` of [`Model::switchable`] attention.
    ///
    /// # Errors
    /// [`crate::Error::Option`] if there is no such layer; [`crate::Error::Op`] as [`Reparameterization::check`]. The model is
    /// then as before.
    fn reparameterize(&mut self, index: usize, how: &Reparameterization) -> Result<()>;

    /// How the tokens of block `index` lie on the image.
    fn layout(&self, index: usize) -> Layout;
}

/// Refuses images of another size than the position embedding was made for.
pub(crate) fn check_image<E: Dtype, D: Backend<E>, T>(
    images: &Images<E, D, T>,
    (height, width): (usize, usize),
) -> inductive_ops::Result<()> {
    let (_, channels, h, w) = *images.shape();
    if (channels, h, w) != (3, height, width) {
        return Err(inductive_ops::Error::shape(
            "model",
            format!("images [batch, 3, {height}, {width}]"),
            images.shape().concrete(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Classifier, Convit, Error, Trunk, Vit};

    type TinyConvit = Convit<8, 2, 16, 2, 1, 4, 2, 2, false, f32, Cpu>;
    type TinyVit = Vit<8, 2, 16, 3, 4, 2, 2, 5, false, f32, Cpu>;

    fn boxed<M: Trunk<8, f32, Cpu> + 'static>(dev: &Cpu, trunk: M) -> Box<dyn Model<f32, Cpu>> {
        Box::new(Classifier::<M, 8, 10, f32, Cpu>::new(dev, trunk, ModelSpec::default()).unwrap())
    }

    fn models() -> [Box<dyn Model<f32, Cpu>>; 2] {
        let dev = Cpu::seed_from_u64(0);
        [boxed(&dev, TinyConvit::build(&dev)), boxed(&dev, TinyVit::build(&dev))]
    }

    fn images() -> Images<f32, Cpu> {
        Cpu::default().tensor_from_vec((0..3 * 64).map(|i| (i % 7) as f32).collect(), (1, 3, 8, 8))
    }

    #[test]
    fn logits_are_the_same_whether_the_last_block_computes_all_tokens_or_one() {
        for model in models() {
            let all = model.forward(images(), Some(&mut Record::everything())).unwrap().as_vec();
            for (a, b) in all.iter().zip(model.forward(images(), None).unwrap().as_vec()) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
    }

    #[test]
    fn a_record_used_twice_holds_the_last_pass() {
        for model in models() {
            let mut record = Record::everything();
            for _ in 0..2 {
                model.forward(images(), Some(&mut record)).unwrap();
                assert_eq!(record.blocks.len(), 3);
            }
        }
    }

    #[test]
    fn drop_path_rates_that_cannot_be_meant_are_refused() {
        for mut model in models() {
            for rate in [f64::NAN, -0.1, 1.0, f64::INFINITY] {
                let result = model.forward_train(images().leaky_traced(), DropPath { rate, seed: 0 });
                assert!(matches!(result, Err(Error::Schedule(_))), "{rate}");
            }
            assert!(model.forward_train(images().leaky_traced(), DropPath { rate: 0.9, seed: 0 }).is_ok());
        }
    }

    #[test]
    fn drop_path_grows_with_depth_and_has_another_seed_in_each_block() {
        let context = Context::<f32> { drop_path: DropPath { rate: 0.1, seed: 3 }, ..Default::default() };
        let paths = context.block_drop_paths(3).unwrap();
        assert_eq!(paths.iter().map(|path| path.rate as f32).collect::<Vec<_>>(), [0.0, 0.05, 0.1]);
        assert!(paths[0].seed != paths[1].seed && paths[1].seed != paths[2].seed);
    }
}
