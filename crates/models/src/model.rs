//! What every model can do, behind a trait object: the typed inside is hidden, batch and classes are run-time.

use dfdx::prelude::*;
use inductive_nn::{BatchStatistics, Context, Images, Layout, Module, Path, Record, Reparameterization};
use inductive_ops::{Backend, DropPath};
use inductive_schedule::drop_path_rates;

use crate::{Error, ModelSpec, Result, Switchable, switch};

/// `[batch, classes]`
pub type Logits<E, D, T = NoneTape> = Tensor<(usize, usize), E, D, T>;

/// Rate and seed of each of `depth` blocks: the rates of [`drop_path_rates`], from 0 to the last block's.
///
/// # Errors
/// [`crate::Error::Schedule`] when the rate is not in `0 <= rate < 1`.
pub fn block_drop_paths(drop_path: DropPath, depth: usize) -> Result<Vec<DropPath>> {
    let rates = drop_path_rates(drop_path.rate as f32, depth)?.into_iter().enumerate();
    Ok(rates.map(|(i, rate)| DropPath { rate: rate.into(), ..drop_path.fork(i as u64) }).collect())
}

/// Begins a pass through `depth` blocks: refuses images of another size than the model is made for, `(height, width)`, and a drop path
/// rate out of its range, which is without effect where no block has a branch to drop.
pub(crate) fn begin_pass<E: Dtype, D: Backend<E>, T>(
    images: &Images<E, D, T>,
    (height, width): (usize, usize),
    context: &mut Context<'_, E>,
    depth: usize,
) -> Result<()> {
    let (_, channels, h, w) = *images.shape();
    if (channels, h, w) != (3, height, width) {
        let expected = format!("images [batch, 3, {height}, {width}]");
        return Err(Error::parts("model", expected, format!("{:?}", images.shape().concrete())));
    }
    context.begin(block_drop_paths(context.drop_path, depth)?);
    Ok(())
}

/// A classifier of images.
pub trait Model<E: Dtype, D: Backend<E>>: Module<E, D> {
    /// What it is.
    fn spec(&self) -> &ModelSpec;

    /// Inference. images: `[batch, 3, height, width]`; result: `[batch, classes]`.
    fn forward(&self, images: Images<E, D>, record: Option<&mut Record<E>>) -> Result<Logits<E, D>>;

    /// Training: records gradients on the tape of `images`, and leaves the model as it is. What batch normalisation saw is added to
    /// `statistics`, for [`BatchStatistics::fold_into`] once it is known that the step counts.
    fn forward_batch(
        &self,
        images: Images<E, D, OwnedTape<E, D>>,
        drop_path: DropPath,
        statistics: &mut BatchStatistics<E>,
    ) -> Result<Logits<E, D, OwnedTape<E, D>>>;

    /// How the tokens of block `index` lie on the image.
    fn layout(&self, index: usize) -> Layout;
}

// Of the trait object: compiled once, not for every model.
impl<E: Dtype, D: Backend<E>> dyn Model<E, D> + '_ {
    /// Training: records gradients on the tape of `images`, and takes what batch normalisation saw into its running
    /// averages. `drop_path`: the rate of the last block and this step's seed.
    ///
    /// # Errors
    /// [`crate::Error::Schedule`] for a rate that is not in `0 <= rate < 1`.
    pub fn forward_train(
        &mut self,
        images: Images<E, D, OwnedTape<E, D>>,
        drop_path: DropPath,
    ) -> Result<Logits<E, D, OwnedTape<E, D>>> {
        let mut statistics = BatchStatistics::default();
        let logits = self.forward_batch(images, drop_path, &mut statistics)?;
        statistics.fold_into(self)?;
        Ok(logits)
    }

    /// The share of position in each gated layer's heads, `sigma(gating_param)` in ConViT; empty for models without gates.
    /// Layers that can leave convolution have gates from the start, which are 1 until then.
    ///
    /// # Errors
    /// As `switchable`.
    pub fn gates(&self) -> Result<Vec<Vec<f64>>> {
        let mut gates = Ok(Vec::new());
        self.layers(&mut Path::default(), &mut |_, layer| {
            let own = layer.gates().map(Ok).or_else(|| layer.switch().map(|switch| switch.gates()));
            if let (Ok(all), Some(own)) = (&mut gates, own) {
                match own {
                    Ok(own) => all.push(own),
                    Err(error) => gates = Err(error),
                }
            }
        });
        Ok(gates?)
    }

    /// The most heads that one of its layers of attention has, or of those that can leave convolution once they have; 0 without such layers.
    pub fn heads(&self) -> usize {
        let mut heads = 0;
        self.layers(&mut Path::default(), &mut |_, layer| {
            heads = heads
                .max(layer.projections().map_or(0, |it| it.heads))
                .max(layer.switch().map_or(0, |it| it.places()));
        });
        heads
    }

    /// The layers that can leave convolution for attention, first to last, as they are now; empty for most models.
    ///
    /// # Errors
    /// A layer whose buffer `operator` holds no known code.
    pub fn switchable(&self) -> Result<Vec<Switchable>> {
        let mut found = Vec::new();
        self.layers(&mut Path::default(), &mut |at, layer| {
            found.extend(layer.switch().map(|layer| switch::describe(at.as_str(), layer)));
        });
        found.into_iter().collect()
    }

    /// Makes layer `index` of `switchable` attention.
    ///
    /// # Errors
    /// [`crate::Error::Option`] if there is no such layer; [`crate::Error::Op`] as [`Reparameterization::check`]. The model is
    /// then as before.
    pub fn reparameterize(&mut self, index: usize, how: &Reparameterization) -> Result<()> {
        let (mut count, mut done) = (0, None);
        self.layers_mut(&mut Path::default(), &mut |_, layer| {
            if let Some(layer) = layer.switch_mut() {
                if count == index {
                    done = Some(layer.reparameterize(how, index));
                }
                count += 1;
            }
        });
        match done {
            Some(done) => Ok(done?),
            None => Err(switch::no_layer(&self.spec().name, index, count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Classifier, ConvitSpec, Family,
        families::{convit, vit},
    };

    fn models() -> [Box<dyn Model<f32, Cpu>>; 2] {
        let dev = Cpu::seed_from_u64(0);
        let family = Family::Convit(ConvitSpec { local_up_to_layer: 2, ..Default::default() });
        let spec = ModelSpec { image: (8, 8), depth: 3, family, ..ModelSpec::default() };
        let convit = convit::<8, 2, 16, 4, f32, Cpu>(&dev, &spec).unwrap();
        let vit = vit::<8, 2, 16, 4, f32, Cpu>(&dev, &spec).unwrap();
        [
            Box::new(Classifier::new(&dev, convit, 10usize, spec.clone()).unwrap()),
            Box::new(Classifier::new(&dev, vit, 10usize, spec).unwrap()),
        ]
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
        let paths = block_drop_paths(DropPath { rate: 0.1, seed: 3 }, 3).unwrap();
        assert_eq!(paths.iter().map(|path| path.rate as f32).collect::<Vec<_>>(), [0.0, 0.05, 0.1]);
        assert!(paths[0].seed != paths[1].seed && paths[1].seed != paths[2].seed);
    }
}
