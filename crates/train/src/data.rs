//! From a recipe to the batches it trains and is measured on.

use std::sync::Arc;

use inductive_data::{
    DataSpec, Dataset, HorizontalFlip, LoadOptions, Loader, LoaderConfig, Pipeline, RandomCrop, Split,
    Transform,
};

use inductive_models::ModelSpec;

use crate::{
    Augment, Error, ImageSize, Recipe, Result,
    seeds::{Purpose, derive},
};

impl Recipe {
    /// Reads or makes the data that this recipe names; the images of a folder are resized to what the model takes.
    ///
    /// # Errors
    /// [`Error::Data`]; [`Error::Model`]; [`Error::ImageSize`] for data of another size than the model takes.
    pub fn load_data(&self) -> Result<Split> {
        self.load_data_for(&self.model_spec()?)
    }

    /// The same for a model of this spec.
    pub(crate) fn load_data_for(&self, model: &ModelSpec) -> Result<Split> {
        let spec: DataSpec = self.data.parse()?;
        // Before anything is read, which takes its time.
        if let Some(size) = spec.source().image_size() {
            same_size(model, &self.data, size)?;
        }
        Ok(spec.load(&LoadOptions { image_size: model.image, synthetic: self.synthetic.into() })?)
    }
}

/// Refuses images of another size than the model takes.
///
/// # Errors
/// [`Error::ImageSize`].
pub fn check_size(model: &ModelSpec, data: &dyn Dataset) -> Result<()> {
    same_size(model, data.spec(), (data.height(), data.width()))
}

fn same_size(model: &ModelSpec, data: &str, got: (usize, usize)) -> Result<()> {
    if got == model.image {
        return Ok(());
    }
    Err(Error::ImageSize {
        model: model.name.clone(),
        expected: ImageSize::from(model.image).to_string(),
        data: data.to_owned(),
        got: ImageSize::from(got).to_string(),
    })
}

impl Augment {
    /// These changes, in their order.
    pub fn transforms(&self) -> Vec<Arc<dyn Transform>> {
        let mut transforms: Vec<Arc<dyn Transform>> = Vec::new();
        if self.crop_padding > 0 {
            transforms.push(Arc::new(RandomCrop { padding: self.crop_padding }));
        }
        if self.flip > 0.0 {
            transforms.push(Arc::new(HorizontalFlip { p: self.flip as f32 }));
        }
        transforms
    }
}

/// The loaders of a run.
#[derive(Clone)]
pub(crate) struct RunData {
    /// Shuffled and augmented.
    pub train: Loader,
    /// In order, every image once.
    pub test: Loader,
    /// Classes of both.
    pub classes: usize,
}

impl RunData {
    /// The loaders of `recipe` for `model` on `split`. transforms: those in place of the recipe's.
    pub fn new(
        recipe: &Recipe,
        model: &ModelSpec,
        split: &Split,
        transforms: Option<Vec<Arc<dyn Transform>>>,
    ) -> Result<Self> {
        check_size(model, &*split.train)?;
        let train = recipe.subset.apply(split.train.clone(), derive(recipe.seed, Purpose::Subset, 0))?;
        let transforms = transforms.unwrap_or_else(|| recipe.augment.transforms());
        let pipeline = transforms.into_iter().fold(Pipeline::eval(split.train.info()), Pipeline::then_shared);
        let config = LoaderConfig {
            batch_size: recipe.batch_size,
            drop_last: recipe.drop_last,
            seed: derive(recipe.seed, Purpose::Loader, 0),
            ..LoaderConfig::default()
        };
        Ok(Self {
            classes: train.num_classes(),
            train: Loader::new(train, pipeline, config)?,
            test: Loader::new(
                split.test.clone(),
                Pipeline::eval(split.train.info()),
                LoaderConfig::eval(recipe.batch_size),
            )?,
        })
    }

    /// A number that tells these data from others: sizes, all labels and some of the images of both sets.
    pub fn fingerprint(&self) -> String {
        let mut hash = Fnv::default();
        for set in [self.train.dataset(), self.test.dataset()] {
            hash.add_set(set);
        }
        format!("{:016x}", hash.0)
    }
}

/// The 64-bit FNV-1a hash: not against malice, only against mistakes.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn add_set(&mut self, set: &Arc<dyn Dataset>) {
        const IMAGES: usize = 64;
        self.add(&(set.len() as u64).to_le_bytes());
        (0..set.len()).for_each(|index| self.add(&set.label(index).to_le_bytes()));
        for index in (0..set.len()).step_by(set.len().div_ceil(IMAGES).max(1)) {
            self.add(set.image(index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfdx::prelude::Cpu;

    fn data(recipe: &Recipe) -> RunData {
        RunData::new(recipe, &recipe.model_spec().unwrap(), &recipe.load_data().unwrap(), None).unwrap()
    }

    fn small() -> Recipe {
        Recipe {
            synthetic: crate::Synthetic { train: 100, test: 20, seed: 0 },
            batch_size: 10,
            ..Recipe::default()
        }
    }

    #[test]
    fn the_fingerprint_tells_data_and_subsets_apart() {
        let base = data(&small()).fingerprint();
        assert_eq!(base, data(&Recipe { seed: 1, ..small() }).fingerprint());
        let synthetic = crate::Synthetic { seed: 1, ..small().synthetic };
        assert_ne!(base, data(&Recipe { synthetic, ..small() }).fingerprint());
        let subset = "first 50%".parse().unwrap();
        assert_ne!(base, data(&Recipe { subset, ..small() }).fingerprint());
    }

    #[test]
    fn random_subsets_follow_the_seed_and_first_ones_do_not() {
        let labels = |subset: &str, seed| {
            let recipe = Recipe { subset: subset.parse().unwrap(), seed, ..small() };
            let train = data(&recipe).train.dataset().clone();
            assert_eq!(train.len(), 20);
            (0..20).map(|i| train.image(i).to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(labels("first 20%", 0), labels("first 2", 1));
        assert_ne!(labels("random 2", 0), labels("random 2", 1));
    }

    #[test]
    fn data_that_do_not_fit_are_refused_with_both_sides() {
        let split = small().load_data().unwrap();
        let refuse = |recipe: Recipe| {
            let options = crate::TrainOptions::default();
            let run = crate::train(&Cpu::default(), &recipe, &split, "nowhere", &options, &mut crate::Silent);
            run.unwrap_err().to_string()
        };
        let error = refuse(Recipe { model: "convit_tiny".to_owned(), ..small() });
        assert!(error.contains("224x224") && error.contains("32x32"), "{error}");
        let error = refuse(Recipe { data: "cifar10:x".to_owned(), ..small() });
        assert!(error.contains("cifar10:x") && error.contains("synthetic"), "{error}");
        let error = refuse(Recipe { batch_size: 1000, ..small() });
        assert!(error.contains("smaller batch"), "{error}");
    }
}
