//! The loader: same seed, same bits, wherever an epoch is taken up and however far batches are made ahead.

use inductive_data::{
    Batch, Dataset, Error, Image, Loader, LoaderConfig, Normalize, PerClass, Pipeline, SampleRng, Subset,
    SyntheticConfig, Transform, synthetic,
};
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

static SET: LazyLock<Arc<dyn Dataset>> =
    LazyLock::new(|| synthetic(&SyntheticConfig { train: 50, test: 10, seed: 1 }).unwrap().train);

fn loader(config: LoaderConfig) -> Loader {
    Loader::new(SET.clone(), Pipeline::train(SET.info()), config).unwrap()
}

/// All that a batch says, as bits.
fn bits(batch: &Batch) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    (batch.images.iter().map(|value| value.to_bits()).collect(), batch.labels.clone(), batch.indices.clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_resumed_epoch_equals_an_undisturbed_one(
        batch_size in 1usize..60, drop_last in any::<bool>(), seed in any::<u64>(), epoch in any::<u64>(),
        start in 0usize..8, prefetch in 0usize..5,
    ) {
        prop_assume!(!drop_last || batch_size <= 50);
        let config = LoaderConfig { batch_size, drop_last, seed, ..LoaderConfig::default() };
        let whole: Vec<_> = loader(config).epoch(epoch).unwrap().map(|batch| bits(&batch)).collect();
        prop_assert_eq!(whole.len(), loader(config).batches_per_epoch());
        let start = start.min(whole.len());
        let other = loader(LoaderConfig { prefetch, ..config });
        let resumed: Vec<_> = other.epoch_from(epoch, start).unwrap().map(|batch| bits(&batch)).collect();
        prop_assert_eq!(&whole[start..], &resumed[..]);
    }
}

#[test]
fn an_epoch_shows_every_image_once_with_its_label() {
    for shuffle in [false, true] {
        let loader = loader(LoaderConfig { batch_size: 8, shuffle, ..LoaderConfig::default() });
        let mut seen = Vec::new();
        for batch in loader.epoch(3).unwrap() {
            assert_eq!(batch.images.len(), batch.len() * 3 * 32 * 32);
            for (&index, &label) in batch.indices.iter().zip(&batch.labels) {
                assert_eq!(SET.label(index as usize), label);
                seen.push(index);
            }
        }
        assert_eq!(seen, loader.order(3));
        assert_eq!(seen.is_sorted(), !shuffle);
        seen.sort_unstable();
        assert_eq!(seen, (0..50).collect::<Vec<u32>>());
    }
}

#[test]
fn order_and_transforms_change_with_epoch_and_seed() {
    let first = |seed, epoch| {
        let config = LoaderConfig { batch_size: 50, shuffle: false, seed, ..LoaderConfig::default() };
        bits(&loader(config).epoch(epoch).unwrap().next().unwrap())
    };
    assert_eq!(first(0, 0), first(0, 0));
    assert_ne!(first(0, 0), first(0, 1));
    assert_ne!(first(0, 0), first(1, 0));
    let order = |seed, epoch| loader(LoaderConfig { seed, ..LoaderConfig::default() }).order(epoch);
    assert_ne!(order(0, 0), order(0, 1));
    assert_ne!(order(0, 0), order(1, 0));
}

#[test]
fn evaluation_normalises_and_nothing_else() {
    let loader = Loader::new(SET.clone(), Pipeline::eval(SET.info()), LoaderConfig::eval(7)).unwrap();
    let info = SET.info();
    for batch in loader.epoch(0).unwrap() {
        for (&index, image) in batch.indices.iter().zip(batch.images.chunks_exact(3 * 32 * 32)) {
            for (at, (&value, &pixel)) in image.iter().zip(SET.image(index as usize)).enumerate() {
                let channel = at / 1024;
                let expected = (f32::from(pixel) / 255.0 - info.mean[channel]) / info.std[channel];
                assert!((value - expected).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn batches_may_be_kept_or_taken_apart() {
    let loader = loader(LoaderConfig { batch_size: 4, ..LoaderConfig::default() });
    let expected: Vec<_> = loader.epoch(0).unwrap().map(|batch| bits(&batch).0).collect();
    let kept: Vec<Batch> = loader.epoch(0).unwrap().collect();
    assert!(kept.iter().map(|batch| bits(batch).0).eq(expected.clone()));
    let taken = loader.epoch(0).unwrap().map(|mut batch| std::mem::take(&mut batch.images));
    assert!(taken.map(|images| images.iter().map(|value| value.to_bits()).collect::<Vec<_>>()).eq(expected));
}

/// Counts the images it sees.
#[derive(Debug)]
struct Count(Arc<AtomicUsize>);

impl Transform for Count {
    fn apply(&self, _: &mut Image<'_>, _: &mut SampleRng) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn dropping_an_epoch_stops_the_thread_and_resuming_makes_no_earlier_batch() {
    let made = Arc::new(AtomicUsize::new(0));
    let pipeline = Pipeline::eval(SET.info()).then(Count(made.clone()));
    let config = LoaderConfig { batch_size: 1, prefetch: 2, ..LoaderConfig::default() };
    let loader = Loader::new(SET.clone(), pipeline, config).unwrap();
    let mut batches = loader.epoch(0).unwrap();
    batches.next();
    drop(batches); // Joins the thread: nothing is made afterwards.
    let count = made.load(Ordering::SeqCst);
    assert!((1..=5).contains(&count), "{count} images were made for one batch and a prefetch of two");
    made.store(0, Ordering::SeqCst);
    assert_eq!(loader.epoch_from(0, 45).unwrap().len(), 5);
    let resumed = loader.epoch_from(0, 45).unwrap().count();
    assert_eq!(resumed, 5);
    assert!(made.load(Ordering::SeqCst) <= 10);
}

/// A transform with a fault.
#[derive(Debug)]
struct Faulty;

impl Transform for Faulty {
    fn apply(&self, _: &mut Image<'_>, _: &mut SampleRng) {
        panic!("a fault in a transform");
    }
}

#[test]
#[should_panic(expected = "a fault in a transform")]
fn a_panic_on_the_thread_is_not_an_early_end_of_the_epoch() {
    let pipeline = Pipeline::new(Normalize::new([0.0; 3], [1.0; 3])).then(Faulty);
    let loader = Loader::new(SET.clone(), pipeline, LoaderConfig::default()).unwrap();
    loader.epoch(0).unwrap().count();
}

#[test]
fn loaders_that_make_no_batch_are_refused() {
    let new = |config| Loader::new(SET.clone(), Pipeline::eval(SET.info()), config);
    for config in [
        LoaderConfig { batch_size: 0, ..LoaderConfig::default() },
        LoaderConfig { batch_size: 51, drop_last: true, ..LoaderConfig::default() },
    ] {
        assert!(matches!(new(config), Err(Error::Loader { .. })));
    }
    let error = loader(LoaderConfig::default()).epoch_from(0, 2).unwrap_err().to_string();
    assert!(error.contains("batch 2 of 1"), "{error}");
}

#[test]
fn subsets_load_like_whole_sets() {
    let subset = Arc::new(Subset::first(SET.clone(), PerClass::Count(2)).unwrap());
    let loader = Loader::new(subset.clone(), Pipeline::eval(SET.info()), LoaderConfig::eval(64)).unwrap();
    let batch = loader.epoch(0).unwrap().next().unwrap();
    assert_eq!(batch.labels, (0..20).map(|index| index % 10).collect::<Vec<u32>>());
    assert_eq!(batch.indices, (0..20).collect::<Vec<u32>>());
}
