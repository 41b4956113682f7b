//! Own sources and transforms, through the public API alone.

use std::sync::Arc;

use inductive_data::{
    DataSpec, DatasetInfo, Error, Form, HorizontalFlip, Image, ImageSet, LoadOptions, Loader, LoaderConfig,
    Normalize, Pipeline, SampleRng, Source, Split, Transform, rand::Rng, sources,
};

/// Images of one grey each, as many classes as asked for, of any size; or, with `lies`, not what it says.
#[derive(Debug)]
struct Grey {
    classes: usize,
    lies: bool,
}

impl Source for Grey {
    fn id(&self) -> String {
        format!("{}:{}", if self.lies { "lying-grey" } else { "grey" }, self.classes)
    }

    fn load(&self, options: &LoadOptions) -> Result<Split, Error> {
        let (height, width) = options.image_size;
        let classes = self.classes + usize::from(self.lies);
        let class_names = (0..classes).map(|class| format!("grey {class}")).collect();
        let info = DatasetInfo { spec: self.id(), height, width, class_names, mean: [0.0; 3], std: [1.0; 3] };
        let pixels = (0..classes).flat_map(|class| vec![class as u8; 3 * height * width]).collect();
        let set = Arc::new(ImageSet::new(info, pixels, (0..classes as u32).collect())?);
        Ok(Split { train: set.clone(), test: set, notices: vec!["all grey".to_owned()] })
    }

    fn classes(&self) -> Option<usize> {
        Some(self.classes)
    }
}

fn add(name: &str, lies: bool) -> Result<(), Error> {
    let id = name.to_owned();
    sources().add(Form::new(name).with_argument("N", "the number of classes"), move |argument| {
        let classes = argument.parse().map_err(|why| Error::source(format!("{id}:{argument}"), why))?;
        Ok(Arc::new(Grey { classes, lies }))
    })
}

#[test]
fn an_added_source_is_named_like_any_other() {
    add("grey", false).unwrap();
    let spec: DataSpec = "grey:7".parse().unwrap();
    assert_eq!(
        (spec.to_string().as_str(), spec.source().classes(), spec.source().revision()),
        ("grey:7", Some(7), None)
    );
    let split = spec.load(&LoadOptions { image_size: (4, 6), ..LoadOptions::default() }).unwrap();
    assert_eq!((split.train.num_classes(), split.test.height(), split.test.width()), (7, 4, 6));
    assert_eq!(split.notices, ["all grey"]);

    for (given, says) in [
        ("grey", "write `grey:N`, where N is the number of classes"),
        ("grey:many", "data `grey:many`: invalid digit"),
        // Another test adds a source too, before or after.
        ("gray:7", ", grey:N"),
        ("gray:7", "; did you mean `grey`?"),
    ] {
        let error = given.parse::<DataSpec>().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert!(add("grey", false).unwrap_err().to_string().contains("already"));
}

#[test]
fn a_source_that_is_not_what_it_says_is_refused() {
    add("lying-grey", true).unwrap();
    let error = "lying-grey:3".parse::<DataSpec>().unwrap().load(&LoadOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Inconsistent { .. }), "{error}");
    assert!(
        error.to_string().contains("lying-grey:3") && error.to_string().contains("4 classes where 3"),
        "{error}"
    );
}

/// Adds a random grey, the same to all pixels.
#[derive(Debug)]
struct Brighten;

impl Transform for Brighten {
    fn apply(&self, image: &mut Image<'_>, rng: &mut SampleRng) {
        let by = rng.gen_range(10..20);
        image.pixels_mut().iter_mut().for_each(|pixel| *pixel = pixel.saturating_add(by));
    }
}

#[test]
fn an_own_transform_draws_by_seed_epoch_and_position_alone() {
    let set = Grey { classes: 9, lies: false }
        .load(&LoadOptions { image_size: (2, 2), ..LoadOptions::default() })
        .unwrap()
        .train;
    let pipeline = Pipeline::new(Normalize::new([0.0; 3], [1.0 / 255.0; 3]))
        .then(Brighten)
        .then(HorizontalFlip { p: 0.5 });
    let config = LoaderConfig { batch_size: 4, shuffle: false, ..LoaderConfig::default() };
    let loader = Loader::new(set.clone(), pipeline, config).unwrap();
    let added = |epoch: u64, first: usize| -> Vec<i32> {
        let batches = loader.epoch_from(epoch, first).unwrap();
        let firsts = batches.flat_map(|batch| {
            let images = batch.images.chunks_exact(12).zip(&batch.indices);
            images.map(|(image, index)| image[0].round() as i32 - *index as i32).collect::<Vec<_>>()
        });
        firsts.collect()
    };
    let whole = added(0, 0);
    assert!(
        whole.iter().all(|by| (10..20).contains(by)) && whole.iter().any(|by| by != &whole[0]),
        "{whole:?}"
    );
    assert_eq!(added(0, 1), whole[4..], "whatever was made before");
    assert_ne!(added(1, 0), whole);
}
