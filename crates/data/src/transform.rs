//! Seeded, composable transforms from stored bytes to the numbers a model sees.

use crate::DatasetInfo;
use crate::random::SampleRng;
use rand::Rng;
use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

/// An image on its way through transforms: uint8, [3, height, width].
///
/// A shift and a mirror are remembered and only carried out when someone needs the pixels, so that crop, flip and
/// normalise together read and write each pixel once.
#[derive(Debug)]
pub struct Image<'a> {
    pixels: Cow<'a, [u8]>,
    height: usize,
    width: usize,
    /// Output pixel (y, x) shows stored pixel (y + shift.0, x + shift.1), or 0 where there is none.
    shift: (isize, isize),
    /// Mirrored left-right after the shift.
    mirrored: bool,
}

impl<'a> Image<'a> {
    /// An image of `pixels` [3, height, width].
    ///
    /// # Panics
    /// If the number of pixels is not 3 * height * width.
    pub fn new(pixels: &'a [u8], height: usize, width: usize) -> Self {
        assert_eq!(pixels.len(), 3 * height * width, "an image is [3, {height}, {width}]");
        Self { pixels: Cow::Borrowed(pixels), height, width, shift: (0, 0), mirrored: false }
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Moves the image so that pixel (y, x) shows what was at (y + down, x + right); what was outside is 0 (black).
    pub fn shift(&mut self, down: isize, right: isize) {
        if self.shift != (0, 0) || self.mirrored {
            self.pixels_mut();
        }
        self.shift = (down, right);
    }

    /// Mirrors the image left-right.
    pub fn mirror(&mut self) {
        self.mirrored = !self.mirrored;
    }

    /// The pixels [3, height, width], to change in place.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        if self.shift != (0, 0) || self.mirrored {
            let mut moved = vec![0; self.pixels.len()];
            self.write(&mut moved, |_, pixel| pixel);
            *self = Self { pixels: Cow::Owned(moved), shift: (0, 0), mirrored: false, ..*self };
        }
        self.pixels.to_mut()
    }

    /// Writes `value(channel, pixel)` of every pixel to `out` [3, height, width].
    fn write<T: Copy>(&self, out: &mut [T], value: impl Fn(usize, u8) -> T) {
        let (height, width) = (self.height, self.width);
        // Columns [left, right) of the shifted image show stored columns; the others are black.
        let clamp = |at: isize, end: usize| at.clamp(0, end as isize) as usize;
        let left = clamp(-self.shift.1, width);
        let right = clamp(width as isize - self.shift.1, width).max(left);
        let first = clamp(self.shift.1, width);
        for (row, line) in out.chunks_exact_mut(width).enumerate() {
            let (channel, y) = (row / height, row % height);
            let source = y as isize + self.shift.0;
            let black = value(channel, 0);
            if source < 0 || source >= height as isize {
                line.fill(black);
                continue;
            }
            let stored = &self.pixels[(channel * height + source as usize) * width + first..][..right - left];
            if self.mirrored {
                line[..width - right].fill(black);
                line[width - left..].fill(black);
                let visible = &mut line[width - right..width - left];
                visible.iter_mut().rev().zip(stored).for_each(|(to, &pixel)| *to = value(channel, pixel));
            } else {
                line[..left].fill(black);
                line[right..].fill(black);
                line[left..right].iter_mut().zip(stored).for_each(|(to, &pixel)| *to = value(channel, pixel));
            }
        }
    }
}

/// A change of an image that a [`Pipeline`] makes before it normalises.
///
/// What it does is a function of the image, the generator and what the transform itself holds: not of earlier calls, which other
/// threads may make in between. Random numbers come from the generator alone ([`rand`](crate::rand) has its methods), which is the
/// same for every image of the same seed, epoch and position. The size of the image stays. Its `Debug` text tells it from others:
/// a run that goes on with another is refused.
///
/// ```
/// use inductive_data::{Image, SampleRng, Transform, rand::Rng};
///
/// /// Another brightness for each image.
/// #[derive(Debug)]
/// struct Brightness(i16);
///
/// impl Transform for Brightness {
///     fn apply(&self, image: &mut Image<'_>, rng: &mut SampleRng) {
///         let change = rng.gen_range(-self.0..=self.0);
///         image.pixels_mut().iter_mut().for_each(|pixel| *pixel = (i16::from(*pixel) + change).clamp(0, 255) as u8);
///     }
/// }
/// ```
pub trait Transform: Debug + Send + Sync {
    /// Changes `image`.
    fn apply(&self, image: &mut Image<'_>, rng: &mut SampleRng);
}

/// Pads with black on all sides and cuts the original size out at a uniformly random place.
///
/// torchvision equivalent: `RandomCrop(size, padding=padding)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomCrop {
    /// Black pixels added on each side.
    pub padding: u16,
}

impl Transform for RandomCrop {
    fn apply(&self, image: &mut Image<'_>, rng: &mut SampleRng) {
        let padding = i32::from(self.padding);
        let (down, right) = (rng.gen_range(-padding..=padding), rng.gen_range(-padding..=padding));
        image.shift(down as isize, right as isize);
    }
}

/// Mirrors left-right with a probability.
///
/// torchvision equivalent: `RandomHorizontalFlip(p)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HorizontalFlip {
    /// Probability; never for 0 or less, always for 1 or more.
    pub p: f32,
}

impl Transform for HorizontalFlip {
    fn apply(&self, image: &mut Image<'_>, rng: &mut SampleRng) {
        if rng.r#gen::<f32>() < self.p {
            image.mirror();
        }
    }
}

/// `(pixel / 255 - mean[channel]) / std[channel]`, from a table of all 256 pixel values per channel.
#[derive(Clone, Debug)]
pub struct Normalize {
    table: Box<[[f32; 256]; 3]>,
}

impl Normalize {
    /// Normalisation with `mean` and `std` of pixels in [0, 1]; red, green, blue.
    pub fn new(mean: [f32; 3], std: [f32; 3]) -> Self {
        let value = |channel: usize, pixel: usize| (pixel as f32 / 255.0 - mean[channel]) / std[channel];
        let table = std::array::from_fn(|channel| std::array::from_fn(|pixel| value(channel, pixel)));
        Self { table: Box::new(table) }
    }

    /// Writes the normalised pixels of `image` to `out` [3, height, width].
    ///
    /// # Panics
    /// If `out` has not 3 * height * width elements.
    pub fn write(&self, image: &Image<'_>, out: &mut [f32]) {
        assert_eq!(out.len(), image.pixels.len(), "output and image differ in size");
        image.write(out, |channel, pixel| self.table[channel][usize::from(pixel)]);
    }
}

/// Transforms in order, then normalisation.
///
/// ```
/// use inductive_data::{HorizontalFlip, Normalize, Pipeline, RandomCrop};
/// let train = Pipeline::new(Normalize::new([0.5; 3], [0.25; 3]))
///     .then(RandomCrop { padding: 4 })
///     .then(HorizontalFlip { p: 0.5 });
/// # let _ = train;
/// ```
#[derive(Clone, Debug)]
pub struct Pipeline {
    steps: Vec<Arc<dyn Transform>>,
    normalize: Normalize,
}

impl Pipeline {
    /// Normalisation only.
    pub fn new(normalize: Normalize) -> Self {
        Self { steps: Vec::new(), normalize }
    }

    /// For evaluation: normalisation with the mean and standard deviation of the set.
    pub fn eval(info: &DatasetInfo) -> Self {
        Self::new(Normalize::new(info.mean, info.std))
    }

    /// For training on small images: random crop with a padding of an eighth of the height (4 at 32 pixels),
    /// horizontal flip with probability one half, normalisation.
    pub fn train(info: &DatasetInfo) -> Self {
        let padding = u16::try_from(info.height / 8).unwrap_or(u16::MAX);
        Self::eval(info).then(RandomCrop { padding }).then(HorizontalFlip { p: 0.5 })
    }

    /// Adds a transform after those there are.
    pub fn then(self, step: impl Transform + 'static) -> Self {
        self.then_shared(Arc::new(step))
    }

    /// [`then`](Self::then) of a transform that others have too.
    pub fn then_shared(mut self, step: Arc<dyn Transform>) -> Self {
        self.steps.push(step);
        self
    }

    /// Transforms and normalises `image` into `out` [3, height, width].
    ///
    /// # Panics
    /// If `out` has not 3 * height * width elements.
    pub fn apply(&self, mut image: Image<'_>, rng: &mut SampleRng, out: &mut [f32]) {
        self.steps.iter().for_each(|step| step.apply(&mut image, rng));
        self.normalize.write(&image, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};
    use proptest::prelude::*;

    /// Crop and flip as torchvision documents them: pad, cut, mirror, one pixel at a time.
    fn slow(
        pixels: &[u8],
        (height, width): (usize, usize),
        (down, right): (isize, isize),
        flip: bool,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        for channel in 0..3 {
            for y in 0..height {
                for x in 0..width {
                    let x = if flip { width - 1 - x } else { x };
                    let (y, x) = (y as isize + down, x as isize + right);
                    let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
                    let index = (channel * height as isize + y) * width as isize + x;
                    out.push(if inside { pixels[index as usize] } else { 0 });
                }
            }
        }
        out
    }

    /// Adds 1 to each pixel: a transform that needs the pixels.
    #[derive(Debug)]
    struct Brighten;

    impl Transform for Brighten {
        fn apply(&self, image: &mut Image<'_>, _: &mut SampleRng) {
            image.pixels_mut().iter_mut().for_each(|pixel| *pixel = pixel.saturating_add(1));
        }
    }

    proptest! {
        #[test]
        fn shifts_and_mirrors_equal_the_slow_implementation(
            height in 1usize..7, width in 1usize..7, steps in prop::collection::vec((-8isize..9, -8isize..9, any::<bool>()), 1..4),
        ) {
            let pixels: Vec<u8> = (1..=3 * height * width).map(|pixel| pixel as u8).collect();
            let (mut image, mut expected) = (Image::new(&pixels, height, width), pixels.clone());
            for (down, right, flip) in steps {
                image.shift(down, right);
                if flip {
                    image.mirror();
                }
                expected = slow(&expected, (height, width), (down, right), flip);
            }
            let mut out = vec![0.0; pixels.len()];
            Normalize::new([0.0; 3], [1.0 / 255.0; 3]).write(&image, &mut out);
            let written: Vec<u8> = out.iter().map(|value| value.round() as u8).collect();
            prop_assert_eq!(&written, &expected);
            prop_assert_eq!(image.pixels_mut(), &expected[..]);
        }
    }

    #[test]
    fn normalize_subtracts_the_mean_and_divides_by_the_deviation_of_each_channel() {
        let pixels = [0, 255, 51, 102, 255, 0];
        let mut out = [0.0; 6];
        Normalize::new([0.5, 0.2, 0.0], [0.5, 0.1, 2.0]).write(&Image::new(&pixels, 1, 2), &mut out);
        let expected = [-1.0, 1.0, 0.0, 2.0, 0.5, 0.0];
        assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{out:?}");
    }

    #[test]
    fn crop_reaches_every_offset_and_flip_happens_half_of_the_time() {
        let pixels: Vec<u8> = (1..=75).collect();
        let (mut shifts, mut flips) = (std::collections::BTreeSet::new(), 0);
        for position in 0..1000 {
            let mut rng = stream(Purpose::Augment, 0, 0, position);
            let mut image = Image::new(&pixels, 5, 5);
            RandomCrop { padding: 2 }.apply(&mut image, &mut rng);
            HorizontalFlip { p: 0.5 }.apply(&mut image, &mut rng);
            shifts.insert(image.shift);
            flips += usize::from(image.mirrored);
        }
        assert_eq!(shifts.len(), 25);
        assert!((430..570).contains(&flips), "{flips} of 1000 are mirrored");
    }

    #[test]
    fn transforms_that_change_pixels_compose_with_those_that_move_them() {
        let pixels: Vec<u8> = (1..=12).collect();
        let mut rng = stream(Purpose::Augment, 0, 0, 0);
        let mut out = [0.0; 12];
        let pipeline = Pipeline::new(Normalize::new([0.0; 3], [1.0 / 255.0; 3]))
            .then(HorizontalFlip { p: 1.0 })
            .then(Brighten)
            .then(HorizontalFlip { p: 1.0 });
        pipeline.apply(Image::new(&pixels, 2, 2), &mut rng, &mut out);
        assert!(out.iter().zip(2..).all(|(value, expected)| value.round() as i32 == expected), "{out:?}");
    }
}
