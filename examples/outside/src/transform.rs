//! A random change of the training images: another brightness for each.

use inductive_data::{Image, SampleRng, Transform, rand::Rng};

/// Up to so many grey levels more or less.
#[derive(Debug)]
pub struct Brightness(pub i16);

impl Transform for Brightness {
    fn apply(&self, image: &mut Image<'_>, rng: &mut SampleRng) {
        let change = rng.gen_range(-self.0..=self.0);
        image
            .pixels_mut()
            .iter_mut()
            .for_each(|pixel| *pixel = (i16::from(*pixel) + change).clamp(0, 255) as u8);
    }
}
