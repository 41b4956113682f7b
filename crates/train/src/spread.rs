//! Images spread over a set, as a model takes them.

use std::{borrow::Cow, iter::repeat_n, ops::Range};

use inductive_data::{Dataset, Image, Normalize};
use inductive_models::ModelSpec;

use crate::{Result, data::check_size};

/// `count` images at even distances in a set; which ones depends on both alone.
pub(crate) struct Spread<'a> {
    set: &'a dyn Dataset,
    count: usize,
    /// How often each pixel is repeated, down and across.
    times: usize,
    normalize: Normalize,
}

impl<'a> Spread<'a> {
    /// For a model of `spec`; of a set with fewer images, all. Each pixel is repeated where the model takes images that
    /// are a whole multiple as large.
    ///
    /// # Errors
    /// [`Error::ImageSize`] for images of another size.
    pub fn new(set: &'a dyn Dataset, spec: &ModelSpec, count: usize) -> Result<Self> {
        let (height, width) = spec.image;
        let times = height / set.height().max(1);
        if (height, width) != (times * set.height(), times * set.width()) {
            check_size(spec, set)?;
        }
        let normalize = Normalize::new(set.info().mean, set.info().std);
        Ok(Self { set, count: count.min(set.len()), times, normalize })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Some of them, normalised: `[range.len(), 3, height, width]`.
    pub fn images(&self, range: Range<usize>) -> Vec<f32> {
        let (height, width) = (self.times * self.set.height(), self.times * self.set.width());
        let mut images = vec![0.0; range.len() * 3 * height * width];
        for (place, out) in range.zip(images.chunks_exact_mut(3 * height * width)) {
            let image = self.set.image(place * self.set.len() / self.count);
            let image = enlarged(image, self.set.width(), self.times);
            self.normalize.write(&Image::new(&image, height, width), out);
        }
        images
    }
}

/// An image with each pixel repeated `times` x `times`; its rows, of all channels, are `width` long.
fn enlarged(image: &[u8], width: usize, times: usize) -> Cow<'_, [u8]> {
    if times == 1 {
        return image.into();
    }
    let wide = |row: &[u8]| row.iter().flat_map(|pixel| repeat_n(*pixel, times)).collect::<Vec<_>>();
    image.chunks_exact(width).flat_map(|row| wide(row).repeat(times)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enlarged_image_repeats_each_pixel_in_both_directions() {
        let image = [1, 2, 3, 4, 5, 6]; // three channels of one row
        assert_eq!(
            *enlarged(&image, 2, 2),
            [1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4, 5, 5, 6, 6, 5, 5, 6, 6]
        );
        assert_eq!(*enlarged(&image, 2, 1), image);
    }

    #[test]
    fn parts_are_those_of_the_whole_and_lie_at_even_distances() {
        let set =
            inductive_data::synthetic(&inductive_data::SyntheticConfig { train: 10, test: 20, seed: 0 });
        let set = set.unwrap().test;
        let spec = ModelSpec { image: (64, 64), ..ModelSpec::default() };
        let spread = Spread::new(&*set, &spec, 5).unwrap();
        let whole = spread.images(0..5);
        assert_eq!([spread.images(0..2), spread.images(2..5)].concat(), whole);
        let second = Spread::new(&*set, &spec, 20).unwrap().images(4..5);
        assert_eq!(whole[3 * 64 * 64..][..3 * 64 * 64], second);
        assert_eq!(Spread::new(&*set, &spec, 99).unwrap().count(), 20);
    }
}
