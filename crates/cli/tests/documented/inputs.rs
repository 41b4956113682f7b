//! Small stand-ins for what documented commands read.

use std::{fs, path::Path};

use dfdx::prelude::Cpu;
use inductive_checkpoint::{Metadata, save};
use inductive_models::{BuildOptions, build};

/// Pixels of an image of CIFAR.
const PIXELS: usize = 3 * 32 * 32;
/// Training images of each class of CIFAR-100: a tenth of them.
const EACH: usize = 50;

/// Models that there are weights of, for ten classes.
const WEIGHTS: [&str; 2] = ["convit_tiny", "eit_mini"];

/// Makes all of them in `folder`: `cifar-10-binary.tar.gz`, `cifar-100-binary.tar.gz`, `images`, `recipe.toml`,
/// `my-experiment.toml` and weights.
pub fn make(folder: &Path) {
    cifar(folder, "cifar-10", "cifar-10-batches-bin", ("data_batch_1.bin", "test_batch.bin"), 10, 10 * EACH);
    cifar(folder, "cifar-100", "cifar-100-binary", ("train.bin", "test.bin"), 100, EACH);
    images(&folder.join("images"));
    for model in WEIGHTS {
        let options = BuildOptions { classes: 10, ..BuildOptions::default() };
        let new = build(&Cpu::seed_from_u64(0), model, &options).unwrap().model;
        save(&*new, folder.join(format!("{model}.safetensors")), &Metadata::new()).unwrap();
    }
    let experiment = include_str!("../../../papers/tests/own-experiment.toml");
    fs::write(folder.join("my-experiment.toml"), experiment).unwrap();
    fs::write(
        folder.join("recipe.toml"),
        "model = \"convit_micro\"\nepochs = \"4 steps\"\nbatch_size = 8\n[synthetic]\ntrain = 40\ntest = 20\n",
    )
    .unwrap();
}

/// An official archive of the binary version with fewer images.
fn cifar(folder: &Path, name: &str, inner: &str, files: (&str, &str), classes: usize, each: usize) {
    let file = fs::File::create(folder.join(format!("{name}-binary.tar.gz"))).unwrap();
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast()));
    for (file, each) in [(files.0, each), (files.1, 2)] {
        let mut content = Vec::with_capacity(each * classes * (PIXELS + 2));
        for index in 0..each * classes {
            let class = (index % classes) as u8;
            if classes == 100 {
                content.push(class / 5);
            }
            content.push(class);
            content.extend((0..PIXELS).map(|at| colour(class, index, at)));
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, format!("{inner}/{file}"), &content[..]).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
}

/// Ten classes of an image, PNG and JPEG by turns, to train on and to test on.
fn images(folder: &Path) {
    for split in ["train", "val"] {
        for class in 0..10u8 {
            let folder = folder.join(format!("{split}/class{class}"));
            fs::create_dir_all(&folder).unwrap();
            let pixel = |x: u32, y: u32| {
                image::Rgb([0, 1, 2].map(|channel| colour(class, 0, (x * 7 + y * 13 + channel) as usize)))
            };
            let name = if class % 2 == 0 { "a.png" } else { "a.jpg" };
            image::RgbImage::from_fn(40, 48, pixel).save(folder.join(name)).unwrap();
        }
    }
}

/// Stripes that differ by class, and a little by image.
fn colour(class: u8, index: usize, at: usize) -> u8 {
    (at / 16 * (usize::from(class) + 3) + index % 7) as u8
}
