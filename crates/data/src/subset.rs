//! A few images per class: the data-efficiency axis of the papers.

use crate::random::{Purpose, stream};
use crate::{Dataset, DatasetInfo, Error};
use rand::seq::SliceRandom;
use std::fmt;
use std::sync::Arc;

/// How many images of each class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PerClass {
    /// So many.
    Count(usize),
    /// This fraction f of what the class has: floor(f * n), as the ConViT paper (2103.10697, section 4) takes of ImageNet.
    Fraction(f64),
}

impl fmt::Display for PerClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count} images"),
            Self::Fraction(fraction) => write!(f, "a fraction of {fraction}"),
        }
    }
}

impl PerClass {
    /// Images to take of a class that has `available`.
    fn of(self, available: usize) -> usize {
        match self {
            Self::Count(count) => count,
            // Exact decimal fractions must not lose an image to rounding: 0.29 * 100 is 28.999999999999996.
            Self::Fraction(fraction) => (fraction * available as f64 + 1e-9).floor() as usize,
        }
    }
}

/// Some images of another set; shares its memory.
#[derive(Clone)]
pub struct Subset {
    dataset: Arc<dyn Dataset>,
    indices: Vec<u32>,
}

impl Subset {
    /// The first images of each class, in the order of the set.
    ///
    /// # Errors
    /// [`Error::Subset`] if a class would keep no image or has fewer than asked for; [`Error::Fraction`] if the fraction
    /// is not in (0, 1].
    pub fn first(dataset: Arc<dyn Dataset>, per_class: PerClass) -> Result<Self, Error> {
        Self::choose(dataset, per_class, |_| {})
    }

    /// Random images of each class, in the order of the set; a smaller count takes a part of a larger one's.
    ///
    /// # Errors
    /// As [`first`](Self::first).
    pub fn random(dataset: Arc<dyn Dataset>, per_class: PerClass, seed: u64) -> Result<Self, Error> {
        let mut class = 0;
        Self::choose(dataset, per_class, |indices| {
            indices.shuffle(&mut stream(Purpose::Subset, seed, class, 0));
            class += 1;
        })
    }

    fn choose(
        dataset: Arc<dyn Dataset>,
        per_class: PerClass,
        mut arrange: impl FnMut(&mut Vec<u32>),
    ) -> Result<Self, Error> {
        if let PerClass::Fraction(fraction) = per_class
            && !(fraction > 0.0 && fraction <= 1.0)
        {
            return Err(Error::Fraction { fraction });
        }
        let mut classes = vec![Vec::new(); dataset.num_classes()];
        for index in 0..dataset.len() {
            classes[dataset.label(index) as usize].push(index as u32);
        }
        let mut chosen = Vec::new();
        for (mut indices, class) in classes.into_iter().zip(dataset.class_names()) {
            let (available, wanted) = (indices.len(), per_class.of(indices.len()));
            if wanted == 0 || wanted > available {
                let reason = if wanted == 0 { "no image" } else { "more than there are" };
                let (spec, class, wanted) = (dataset.spec().into(), class.clone(), per_class.to_string());
                return Err(Error::Subset { spec, class, wanted, available, reason });
            }
            arrange(&mut indices);
            chosen.extend_from_slice(&indices[..wanted]);
        }
        chosen.sort_unstable();
        Ok(Self { dataset, indices: chosen })
    }

    /// Indices of the chosen images in the whole set, ascending.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }
}

impl fmt::Debug for Subset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subset").field("of", &self.dataset.spec()).field("len", &self.indices.len()).finish()
    }
}

impl Dataset for Subset {
    fn info(&self) -> &DatasetInfo {
        self.dataset.info()
    }

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn image(&self, index: usize) -> &[u8] {
        self.dataset.image(self.indices[index] as usize)
    }

    fn label(&self, index: usize) -> u32 {
        self.dataset.label(self.indices[index] as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageSet;
    use proptest::prelude::*;

    fn set(labels: Vec<u32>, classes: usize) -> Arc<dyn Dataset> {
        let class_names = (0..classes).map(|class| format!("class-{class}")).collect();
        let info = DatasetInfo {
            spec: "test".into(),
            height: 1,
            width: 1,
            class_names,
            mean: [0.5; 3],
            std: [0.5; 3],
        };
        let pixels = (0..labels.len()).flat_map(|index| [index as u8; 3]).collect();
        Arc::new(ImageSet::new(info, pixels, labels).unwrap())
    }

    #[test]
    fn first_takes_the_first_of_each_class_in_order() {
        let subset = Subset::first(set(vec![1, 1, 0, 1, 0, 0], 2), PerClass::Count(2)).unwrap();
        assert_eq!(subset.indices(), [0, 1, 2, 4]);
        assert_eq!((subset.len(), subset.label(2), subset.image(3)), (4, 0, &[4, 4, 4][..]));
    }

    #[test]
    fn a_fraction_is_rounded_down_per_class() {
        let labels = [vec![0; 100], vec![1; 10]].concat();
        let counts = |fraction| {
            let subset = Subset::first(set(labels.clone(), 2), PerClass::Fraction(fraction)).unwrap();
            let zeros = subset.indices().iter().filter(|&&index| index < 100).count();
            (zeros, subset.len() - zeros)
        };
        assert_eq!(counts(0.29), (29, 2));
        assert_eq!(counts(0.1), (10, 1));
        assert_eq!(counts(1.0), (100, 10));
    }

    #[test]
    fn impossible_subsets_are_refused_by_class() {
        let labels = [vec![0; 100], vec![1; 9]].concat();
        for per_class in [PerClass::Count(10), PerClass::Fraction(0.1)] {
            let error = Subset::first(set(labels.clone(), 2), per_class).unwrap_err().to_string();
            assert!(error.contains("class-1") && error.contains('9'), "{error}");
        }
        assert!(Subset::first(set(vec![0, 0], 2), PerClass::Count(1)).is_err(), "class 1 has no image");
        assert!(Subset::first(set(labels.clone(), 2), PerClass::Count(0)).is_err());
        for fraction in [0.0, -1.0, 1.5, f64::NAN, f64::INFINITY] {
            let error = Subset::first(set(labels.clone(), 2), PerClass::Fraction(fraction)).unwrap_err();
            assert!(matches!(error, Error::Fraction { .. }), "{error}");
        }
    }

    proptest! {
        #[test]
        fn random_subsets_are_functions_of_the_seed_and_nest(seed in any::<u64>(), count in 1usize..10) {
            let whole = set((0..60).map(|index| index % 3).collect(), 3);
            let take = |count, seed| Subset::random(whole.clone(), PerClass::Count(count), seed).unwrap();
            let (subset, again, larger) = (take(count, seed), take(count, seed), take(count + 1, seed));
            prop_assert_eq!(subset.indices(), again.indices());
            prop_assert!(subset.indices().iter().all(|index| larger.indices().contains(index)));
            for class in 0..3 {
                prop_assert_eq!((0..subset.len()).filter(|&index| subset.label(index) == class).count(), count);
            }
        }
    }

    #[test]
    fn another_seed_takes_other_images() {
        let whole = set((0..60).map(|index| index % 3).collect(), 3);
        let take = |seed| Subset::random(whole.clone(), PerClass::Count(5), seed).unwrap().indices;
        assert_ne!(take(0), take(1));
    }
}
