//! The embedded sets: nothing to download, any number of images of any seed.

mod canvas;
mod motifs;
mod parity;

use crate::descriptor::Descriptor;
use crate::random::{Purpose, SampleRng, stream};
use crate::{Error, ImageSet, Split};
use rayon::prelude::*;
use std::sync::Arc;

/// Height and width of an image in pixels.
pub const SIDE: usize = 32;
/// Number of classes.
pub const CLASSES: usize = 10;
/// To be raised with every change of the images of `synthetic`, whose test knows them; 1 is what is `synthetic-parity` today.
pub(crate) const REVISION: u32 = 2;
const PIXELS: usize = 3 * SIDE * SIDE;

/// How many images of an embedded set to make, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntheticConfig {
    /// Images in the training set; default 10,000.
    pub train: usize,
    /// Images in the test set; default 2,000.
    pub test: usize,
    /// Every seed is another set of the same task; default 0.
    pub seed: u64,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self { train: 10_000, test: 2_000, seed: 0 }
    }
}

/// The set `synthetic`: ten classes told apart by colours and their order, at once and by degrees.
///
/// A *piece* is a stack of four coloured bars, each 4 pixels thick and 6 long, in the colours `a, b, -a, -b` of one of five
/// *palettes*, pairs of colour axes, or in the reverse order. Palette and order are the class. An image shows six pieces on a
/// faint colour gradient under noise; four of them are the class's, with bars that lie flat. The others are pieces of any class,
/// lying or standing, as likely one as the other. So a class is what an image has most of: evidence adds up, piece by piece.
/// Pieces may be cut off by the border, so that it does not tell which bar comes first; every bar has a colour a little of its
/// own, and every image its contrast.
///
/// Colours average out in every piece: the mean of an image says nothing, and neither does flipping it left-right. The
/// covariance of colours hints at the palette, that of pixels a few apart at palette and order, so that training finds
/// something to follow from the first update, unlike in [`synthetic_parity`]. A piece is 16
/// pixels high, so that a patch of 4 sees two colours of it at most.
///
/// Image `i` of a split is a function of (seed, split, `i`) and its label is `i % 10`, so a smaller set is the
/// beginning of a larger one. Training and test images come from disjoint streams of random numbers.
///
/// # Errors
/// [`Error::Synthetic`] if a split would hold fewer images than classes, or more than memory can address.
pub fn synthetic(config: &SyntheticConfig) -> Result<Split, Error> {
    make(config, Descriptor::synthetic(), motifs::draw_image)
}

/// The set `synthetic-parity`: ten classes told apart by the order of colours alone.
///
/// A *piece* is a stack of four coloured bars, each 2 pixels thick and 6 long: one of red-minus-green,
/// green-minus-red, blue-minus-yellow and yellow-minus-blue each, so that all pieces have the same colours in the same
/// amounts. An image shows six pieces on a smooth colour gradient under noise. Three of them are the class's *motif*: bars lie
/// flat, in the class's order from top to bottom. The rest are *distractors*: bars lie flat in an order that is no class's, or
/// stand upright in any order. Each image has its own contrast, several times the noise in all of them.
///
/// Classes come in pairs M, -M with opponent colours exchanged, which share all second-order statistics: colours, contrasts
/// and spectra together can tell the pair at most (50 %). To tell the two of a pair apart is a parity problem, on which
/// transformers stand still for hundreds of updates and then learn all at once.
///
/// Measured on 2,000 test images (`cargo run --release -p inductive-data --example synthetic_difficulty -- synthetic-parity`):
///
/// | classifier | training images | accuracy |
/// |---|---|---|
/// | softmax regression on pixels | 5,000 | 26.1 % |
/// | convolutional network, 5,418 parameters, 2,000 steps of 64 | 500 | 97.8 % |
/// | the same | 1,000 | 99.0 % |
/// | the same | 5,000 | 99.9 % |
///
/// One seed each; of softmax regression the best of three penalties. On second-order statistics it reaches 50.5 % of 1,000
/// images, which is the pair and a coin toss, give or take the chance of a sample (`tests/synthetic.rs`).
///
/// Images and errors as those of [`synthetic()`].
///
/// # Errors
/// [`Error::Synthetic`]
pub fn synthetic_parity(config: &SyntheticConfig) -> Result<Split, Error> {
    make(config, Descriptor::synthetic_parity(), parity::draw_image)
}

fn make(
    config: &SyntheticConfig,
    descriptor: &Descriptor,
    draw_image: fn(usize, &mut SampleRng, &mut [u8]),
) -> Result<Split, Error> {
    let make = |purpose, images: usize, split| {
        let bytes = images.checked_mul(PIXELS).filter(|&bytes| bytes <= isize::MAX as usize);
        let (Some(bytes), true) = (bytes, images >= CLASSES) else {
            return Err(Error::Synthetic { split, images, classes: CLASSES });
        };
        let mut pixels = Vec::new();
        if pixels.try_reserve_exact(bytes).is_err() {
            return Err(Error::Synthetic { split, images, classes: CLASSES });
        }
        pixels.resize(bytes, 0);
        pixels.par_chunks_exact_mut(PIXELS).enumerate().for_each(|(index, image)| {
            draw_image(index % CLASSES, &mut stream(purpose, config.seed, index as u64, 0), image);
        });
        let labels = (0..images).map(|index| (index % CLASSES) as u32).collect();
        ImageSet::new(descriptor.info(&descriptor.name), pixels, labels)
    };
    Ok(Split {
        train: Arc::new(make(Purpose::SyntheticTrain, config.train, "train")?),
        test: Arc::new(make(Purpose::SyntheticTest, config.test, "test")?),
        notices: Vec::new(),
    })
}
