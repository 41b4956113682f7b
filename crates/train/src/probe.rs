//! A fixed small batch of test images, on which attention, token maps and their frequencies are measured.

use std::ops::Range;

use inductive_analysis::{
    PointSpectrum, StableRank, head_diversity, high_frequency_share, mean_stable_rank, nonlocality,
    target_mass,
};
use inductive_checkpoint::write_atomic;
use inductive_data::Dataset;
use inductive_models::{BlockRecord, LayerInitialised, Model, Record, Zoo};
use inductive_ops::Backend;
use serde::{Deserialize, Serialize};

use crate::{
    Error, FourierPoint, Hook, Learner, Metrics, Now, Result,
    evaluate::to_device,
    folder::RunFolder,
    frequencies::{self, highest},
    spread::Spread,
};

/// The most images.
const IMAGES: usize = 32;
/// The most numbers in the attention maps of one layer; large models get fewer images but for their frequencies, which keep
/// no attention.
const MAP_NUMBERS: usize = 1 << 22;

/// The most images whose stable rank is measured, which needs singular values.
const RANK_IMAGES: usize = 8;
/// The most numbers of a sample's tokens for that.
const RANK_NUMBERS: usize = 1 << 17;

/// Normalised images, spread over the test set.
#[derive(Clone, Debug)]
pub struct Probe {
    images: Vec<f32>,
    count: usize,
    /// Those that frequencies are measured on; `None`: the same.
    for_frequencies: Option<(Vec<f32>, usize)>,
}

impl Probe {
    /// Images of `set`, a test set, for `model`; which ones depends on set and model alone. Each pixel is repeated where
    /// the model takes images that are a whole multiple as large.
    ///
    /// # Errors
    /// [`Error::ImageSize`](crate::Error::ImageSize) for images of another size.
    pub fn new<D: Backend<f32>>(set: &dyn Dataset, model: &dyn Model<f32, D>) -> Result<Self> {
        let spec = model.spec();
        let tokens = spec.grid().tokens() + 1;
        // A convolution that can become attention is recorded as its heads.
        let fits = MAP_NUMBERS / (model.heads() * tokens * tokens).max(1);
        let of = |most: usize| -> Result<(Vec<f32>, usize)> {
            let spread = Spread::new(set, spec, most)?;
            Ok((spread.images(0..spread.count()), spread.count()))
        };
        let (images, count) = of(fits.clamp(1, IMAGES))?;
        let for_frequencies = (fits < IMAGES).then(|| of(IMAGES)).transpose()?;
        Ok(Self { images, count, for_frequencies })
    }

    /// One image of one colour, the mean's: what tells its patches apart is their position.
    pub fn blank<D: Backend<f32>>(model: &dyn Model<f32, D>) -> Self {
        let (height, width) = model.spec().image;
        Self { images: vec![0.0; 3 * height * width], count: 1, for_frequencies: None }
    }

    /// Number of images that attention is measured on.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What every block of `model` that has attention does to the images.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn attention<D: Backend<f32>>(
        &self,
        device: &D,
        model: &dyn Model<f32, D>,
    ) -> Result<Vec<BlockRecord<f32>>> {
        let images = to_device(device, self.images.clone(), self.count, model.spec().image)?;
        let mut record = Record::default();
        model.forward(images, Some(&mut record))?;
        record.blocks.retain(|block| block.attention.is_some());
        Ok(record.blocks)
    }

    /// Logits of the images, `[count, classes]`.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn logits<D: Backend<f32>>(&self, device: &D, model: &dyn Model<f32, D>) -> Result<Vec<f32>> {
        let images = to_device(device, self.images.clone(), self.count, model.spec().image)?;
        Ok(model.forward(images, None)?.as_vec())
    }

    /// The frequencies of every operator of `model` on the images.
    fn frequencies<D: Backend<f32>>(
        &self,
        device: &D,
        model: &dyn Model<f32, D>,
    ) -> Result<Vec<PointSpectrum>> {
        let (images, count) = self
            .for_frequencies
            .as_ref()
            .map_or((&self.images, self.count), |(images, count)| (images, *count));
        let size = images.len() / count.max(1);
        let images = |range: Range<usize>| images[range.start * size..range.end * size].to_vec();
        frequencies::measure(device, model, count, &images, &mut |_| {})
    }

    /// `count` images that are normalised already.
    #[cfg(test)]
    pub(crate) fn of(images: Vec<f32>, count: usize) -> Self {
        Self { images, count, for_frequencies: None }
    }

    /// What the layers of `model` do to the images. designed: what layers of attention aim at.
    pub(crate) fn measure<D: Backend<f32>>(
        &self,
        device: &D,
        model: &dyn Model<f32, D>,
        designed: &[LayerInitialised],
    ) -> Result<Inside> {
        let images = to_device(device, self.images.clone(), self.count, model.spec().image)?;
        let mut record = Record::everything();
        model.forward(images, Some(&mut record))?;
        let attention = || record.blocks.iter().filter_map(|block| block.attention.as_ref());
        let channels =
            |block: &BlockRecord<f32>| block.output.len() / (self.count * block.layout.tokens()).max(1);
        let outputs = record
            .blocks
            .iter()
            .map(|block| high_frequency_share(&block.output, block.layout, channels(block)));
        let ranks = record.blocks.iter().map(|block| {
            let sample = block.layout.tokens() * channels(block);
            let few = &block.output[..sample * RANK_IMAGES.min(self.count)];
            (sample <= RANK_NUMBERS).then(|| mean_stable_rank(few, block.layout, channels(block)))
        });
        let ranks: Vec<StableRank> = ranks.collect::<Option<_>>().unwrap_or_default();
        Ok(Inside {
            nonlocality: attention().map(|record| mean(&nonlocality(record))).collect(),
            head_diversity: attention().map(head_diversity).collect(),
            high_frequency: outputs.collect(),
            target_mass: record.blocks.iter().filter_map(|block| mass_on_targets(block, designed)).collect(),
            stable_rank: ranks.iter().map(|rank| rank.sr2).collect(),
            nuclear_rank: ranks.iter().map(|rank| rank.sr1).collect(),
            fourier: highest(&self.frequencies(device, model)?),
        })
    }
}

/// Attention of a block to what its layer aims at; `None` without attention or targets.
pub fn mass_on_targets(block: &BlockRecord<f32>, designed: &[LayerInitialised]) -> Option<f64> {
    let layer = designed.iter().find(|layer| !layer.targets.is_empty() && block.holds(&layer.name))?;
    block.attention.as_ref().map(|record| target_mass(record, &layer.targets))
}

/// What is measured in each layer on a fixed batch of test images; as in [`Metrics`](crate::Metrics).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inside {
    /// [`Metrics::nonlocality`](crate::Metrics::nonlocality)
    pub nonlocality: Vec<f64>,
    /// [`Metrics::head_diversity`](crate::Metrics::head_diversity)
    pub head_diversity: Vec<f64>,
    /// [`Metrics::high_frequency`](crate::Metrics::high_frequency)
    pub high_frequency: Vec<f64>,
    /// [`Metrics::target_mass`](crate::Metrics::target_mass)
    pub target_mass: Vec<f64>,
    /// [`Metrics::stable_rank`](crate::Metrics::stable_rank)
    pub stable_rank: Vec<f64>,
    /// [`Metrics::nuclear_rank`](crate::Metrics::nuclear_rank)
    pub nuclear_rank: Vec<f64>,
    /// [`Metrics::fourier`](crate::Metrics::fourier)
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fourier: Vec<FourierPoint>,
}

/// Looks at what the layers do to a fixed batch of test images: before the first update, into `start.json`, and after every
/// evaluation.
pub(crate) struct LookInside(pub Probe);

impl<D: Zoo> Hook<D> for LookInside {
    fn name(&self) -> &str {
        "inside"
    }

    fn sees_every_step(&self) -> bool {
        false
    }

    fn start(&mut self, learner: &mut Learner<D>, at: &mut Now<'_>) -> Result<()> {
        let path = RunFolder::look(at.folder).start();
        if path.exists() {
            return Ok(());
        }
        let inside = self.0.measure(learner.device(), &*learner.model, learner.initialised())?;
        let text = serde_json::to_string(&inside)
            .map_err(|error| Error::io("write what the layers do at the start", &path)(error.into()))?;
        Ok(write_atomic(&path, text.as_bytes())?)
    }

    fn after_evaluation(
        &mut self,
        learner: &mut Learner<D>,
        metrics: &mut Metrics,
        _: &mut Now<'_>,
    ) -> Result<()> {
        let model = &*learner.model;
        let inside = self.0.measure(learner.device(), model, learner.initialised())?;
        metrics.gates = model.gates()?.iter().map(|heads| mean(heads)).collect();
        metrics.nonlocality = inside.nonlocality;
        metrics.head_diversity = inside.head_diversity;
        metrics.high_frequency = inside.high_frequency;
        metrics.target_mass = inside.target_mass;
        metrics.stable_rank = inside.stable_rank;
        metrics.nuclear_rank = inside.nuclear_rank;
        metrics.fourier = inside.fourier;
        Ok(())
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfdx::prelude::Cpu;
    use inductive_data::{SyntheticConfig, synthetic};
    use inductive_models::{BuildOptions, build};

    #[test]
    fn frequencies_have_their_own_images_where_attention_maps_are_large() {
        let set = synthetic(&SyntheticConfig { train: 10, test: 40, seed: 0 }).unwrap().test;
        let device = Cpu::seed_from_u64(0);
        let model = |name| {
            let options = BuildOptions { classes: 10, ..Default::default() };
            build(&device, name, &options).unwrap().model
        };
        let large = Probe::new(&*set, &*model("prs_tiny_patch16_224")).unwrap();
        assert_eq!(large.count(), 12);
        let (images, count) = large.for_frequencies.as_ref().unwrap();
        assert_eq!((*count, images.len()), (32, 32 * 3 * 224 * 224));

        let small = model("convit_micro");
        let all = Probe::new(&*set, &*small).unwrap();
        assert!(all.count() == 32 && all.for_frequencies.is_none());
        let few = Probe {
            for_frequencies: Some((all.images.clone(), 32)),
            ..Probe::of(all.images[..3072].to_vec(), 1)
        };
        let measure = |probe: &Probe| probe.measure(&device, &*small, &[]).unwrap();
        let (all, few) = (measure(&all), measure(&few));
        assert_eq!(few.fourier, all.fourier);
        assert_ne!(few.nonlocality, all.nonlocality);
        let spectra = crate::frequencies(&device, &*small, &*set, 32, &mut |_| {}).unwrap();
        assert_eq!(few.fourier, highest(&spectra));
    }
}
