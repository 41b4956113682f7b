//! The embedded synthetic set: ten classes told apart by a small motif at random places on clutter.
//!
//! A *piece* is a stack of four coloured bars, each 2 pixels thick and 6 long: one of red-minus-green,
//! green-minus-red, blue-minus-yellow and yellow-minus-blue each, so that all pieces have the same colours in the same
//! amounts. An image is 32x32 RGB and shows [`PIECES`] pieces at random places on a smooth colour gradient under noise.
//! [`MOTIFS`] of them are the class's *motif*: bars lie flat, in the class's order from top to bottom. The rest are
//! *distractors*: bars lie flat in an order that is no class's, or stand upright in any order. Each image has its own
//! contrast, several times the noise in all of them.
//!
//! So what tells the classes apart is a local order of colours. Where a piece is does not matter, nor does flipping the
//! image left-right. Classes come in pairs M, -M with opponent colours exchanged, which share all second-order
//! statistics: colours, contrasts and spectra together can tell the pair at most (50 %).
//!
//! Measured on 2,000 test images (`cargo run --release -p inductive-data --example synthetic_difficulty`):
//!
//! | classifier | training images | accuracy |
//! |---|---|---|
//! | softmax regression on pixels | 5,000 | 26.1 % |
//! | convolutional network, 5,418 parameters, 2,000 steps of 64 | 500 | 97.8 % |
//! | the same | 1,000 | 99.0 % |
//! | the same | 5,000 | 99.9 % |
//!
//! One seed each; of softmax regression the best of three penalties. On second-order statistics it reaches 50.5 % of 1,000
//! images, which is the pair and a coin toss, give or take the chance of a sample (`tests/synthetic.rs`).

use crate::descriptor::Descriptor;
use crate::random::{Purpose, SampleRng, stream};
use crate::{Error, ImageSet, Split};
use rand::Rng;
use rand::seq::SliceRandom;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use std::sync::Arc;

/// Height and width of an image in pixels.
pub const SIDE: usize = 32;
/// Number of classes.
pub const CLASSES: usize = 10;
/// Motifs and distractors in an image, together.
pub const PIECES: usize = 6;
/// Fewest and most copies of the class's motif in an image.
pub const MOTIFS: (usize, usize) = (3, 3);

/// Pixels across and along a bar.
const THICKNESS: usize = 2;
const LENGTH: usize = 6;
const BARS: usize = 4;
const PIXELS: usize = 3 * SIDE * SIDE;

/// Lowest and highest contrast of an image, in grey levels, and by which factor that of a piece differs.
const CONTRAST: (f32, f32) = (30.0, 85.0);
const PIECE_CONTRAST: (f32, f32) = (0.8, 1.2);
/// Standard deviation of the pixel noise, in grey levels.
const NOISE: f32 = 10.0;

/// Colours of the bars from top to bottom or left to right: Red, Green, Blue, Yellow.
type Bars = [u8; BARS];

/// The classes, in pairs M, -M of opponent colours.
const MOTIF: [&Bars; CLASSES] =
    [b"RGBY", b"GRYB", b"YBGR", b"BYRG", b"RBGY", b"GYRB", b"YGBR", b"BRYG", b"RYBG", b"GBYR"];

/// How many images of the synthetic set to make, and which.
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

/// Makes the synthetic set.
///
/// Image `i` of a split is a function of (seed, split, `i`) and its label is `i % 10`, so a smaller set is the
/// beginning of a larger one. Training and test images come from disjoint streams of random numbers.
///
/// # Errors
/// [`Error::Synthetic`] if a split would hold fewer images than classes, or more than memory can address.
pub fn synthetic(config: &SyntheticConfig) -> Result<Split, Error> {
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
        ImageSet::new(Descriptor::synthetic().info("synthetic"), pixels, labels)
    };
    Ok(Split {
        train: Arc::new(make(Purpose::SyntheticTrain, config.train, "train")?),
        test: Arc::new(make(Purpose::SyntheticTest, config.test, "test")?),
        notices: Vec::new(),
    })
}

/// Draws an image of `class` into `image` ([3, 32, 32]).
fn draw_image(class: usize, rng: &mut SampleRng, image: &mut [u8]) {
    let mut canvas = background(rng);
    let contrast = rng.gen_range(CONTRAST.0..CONTRAST.1);
    let motifs = rng.gen_range(MOTIFS.0..=MOTIFS.1);
    let pieces: [Piece; PIECES] =
        std::array::from_fn(
            |index| if index < motifs { Piece::motif(class) } else { Piece::distractor(rng) },
        );
    for (piece, corner) in pieces.iter().zip(free_corners(&pieces, rng)) {
        piece.draw(contrast * rng.gen_range(PIECE_CONTRAST.0..PIECE_CONTRAST.1), corner, &mut canvas);
    }
    for (pixel, level) in image.iter_mut().zip(&canvas) {
        let noise: f32 = StandardNormal.sample(rng);
        *pixel = (level + NOISE * noise).round().clamp(0.0, 255.0) as u8;
    }
}

/// A linear colour gradient with a random level, direction and strength in each channel: [3, 32, 32] grey levels.
fn background(rng: &mut SampleRng) -> Vec<f32> {
    let mut canvas = Vec::with_capacity(PIXELS);
    for _ in 0..3 {
        let level = rng.gen_range(90.0..165.0);
        let slope: (f32, f32) = (rng.gen_range(-1.0..1.0), rng.gen_range(-1.0..1.0));
        for y in 0..SIDE {
            for x in 0..SIDE {
                let centred = |at: usize| at as f32 - (SIDE - 1) as f32 / 2.0;
                canvas.push(level + slope.0 * centred(y) + slope.1 * centred(x));
            }
        }
    }
    canvas
}

/// Top-left corners (y, x) at which the pieces do not overlap.
fn free_corners(pieces: &[Piece; PIECES], rng: &mut SampleRng) -> Vec<(usize, usize)> {
    // Six pieces cover 28 % of the image: a bad start is rare, and starting over favours no place.
    loop {
        let mut corners: Vec<(usize, usize)> = Vec::with_capacity(PIECES);
        for _ in 0..20 * PIECES {
            let (height, width) = pieces[corners.len()].size();
            let mut place = |size: usize| rng.gen_range(0..=(SIDE - size) as u32) as usize;
            let (y, x) = (place(height), place(width));
            let free = corners.iter().zip(pieces).all(|(&(top, left), piece)| {
                let (other_height, other_width) = piece.size();
                y >= top + other_height || top >= y + height || x >= left + other_width || left >= x + width
            });
            if free {
                corners.push((y, x));
            }
            if corners.len() == PIECES {
                return corners;
            }
        }
    }
}

/// Four bars, side by side.
struct Piece {
    bars: Bars,
    upright: bool,
}

impl Piece {
    fn motif(class: usize) -> Self {
        Self { bars: *MOTIF[class], upright: false }
    }

    /// Upright in any order, or flat in an order that is no class's; as often one as the other.
    fn distractor(rng: &mut SampleRng) -> Self {
        let (mut bars, upright) = (*MOTIF[0], rng.r#gen());
        loop {
            bars.shuffle(rng);
            if upright || !MOTIF.contains(&&bars) {
                return Self { bars, upright };
            }
        }
    }

    /// Height and width in pixels.
    fn size(&self) -> (usize, usize) {
        let size = (BARS * THICKNESS, LENGTH);
        if self.upright { (size.1, size.0) } else { size }
    }

    /// Adds the piece to the canvas ([3, 32, 32]); a colour is an opponent direction of length about 1.
    fn draw(&self, contrast: f32, (top, left): (usize, usize), canvas: &mut [f32]) {
        let (height, width) = self.size();
        for (dy, dx) in (0..height).flat_map(|dy| (0..width).map(move |dx| (dy, dx))) {
            let colour: [f32; 3] = match self.bars[if self.upright { dx } else { dy } / THICKNESS] {
                b'R' => [0.7, -0.7, 0.0],
                b'G' => [-0.7, 0.7, 0.0],
                b'B' => [-0.4, -0.4, 0.8],
                _ => [0.4, 0.4, -0.8],
            };
            for (channel, direction) in colour.iter().enumerate() {
                canvas[(channel * SIDE + top + dy) * SIDE + left + dx] += contrast * direction;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opponent colours exchanged.
    fn opposite(bars: &Bars) -> Bars {
        bars.map(|bar| match bar {
            b'R' => b'G',
            b'G' => b'R',
            b'B' => b'Y',
            _ => b'B',
        })
    }

    #[test]
    fn motifs_are_different_orders_of_the_same_bars() {
        for (index, motif) in MOTIF.iter().enumerate() {
            let mut sorted = **motif;
            sorted.sort_unstable();
            assert_eq!(&sorted, b"BGRY");
            assert!(!MOTIF[..index].contains(motif));
        }
    }

    #[test]
    fn motifs_come_in_pairs_of_opponent_colours() {
        assert!(MOTIF.chunks_exact(2).all(|pair| opposite(pair[0]) == *pair[1]));
    }

    #[test]
    fn class_names_spell_the_motifs() {
        let names = &Descriptor::synthetic().classes;
        assert!(names.iter().map(|name| name.as_bytes()).eq(MOTIF.map(|motif| &motif[..])));
    }

    #[test]
    fn no_distractor_is_a_motif() {
        let mut rng = stream(Purpose::SyntheticTrain, 0, 0, 0);
        let pieces: Vec<_> = (0..400).map(|_| Piece::distractor(&mut rng)).collect();
        assert!(pieces.iter().all(|piece| piece.upright || !MOTIF.contains(&&piece.bars)));
        assert!((150..250).contains(&pieces.iter().filter(|piece| piece.upright).count()));
    }

    #[test]
    fn pieces_do_not_overlap_and_reach_all_borders() {
        let mut seen = [false; 4];
        for image in 0..300 {
            let mut rng = stream(Purpose::SyntheticTrain, 0, image, 0);
            let pieces = std::array::from_fn(|_| Piece::distractor(&mut rng));
            let mut covered = vec![false; SIDE * SIDE];
            for (piece, (top, left)) in pieces.iter().zip(free_corners(&pieces, &mut rng)) {
                let (height, width) = piece.size();
                for (y, x) in (top..top + height).flat_map(|y| (left..left + width).map(move |x| (y, x))) {
                    assert!(!std::mem::replace(&mut covered[y * SIDE + x], true));
                }
                let borders = [top == 0, left == 0, top + height == SIDE, left + width == SIDE];
                seen.iter_mut().zip(borders).for_each(|(seen, border)| *seen |= border);
            }
        }
        assert_eq!(seen, [true; 4]);
    }
}
