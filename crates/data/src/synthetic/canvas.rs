//! What the embedded sets are drawn with: a colour gradient, pieces of coloured bars at random places, noise.

use super::{PIXELS, SIDE};
use crate::random::SampleRng;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

/// Bars of a piece.
pub(super) const BARS: usize = 4;
/// Pixels along a bar.
const LENGTH: usize = 6;
/// By which factor the contrast of a piece differs from that of its image.
const PIECE_CONTRAST: (f32, f32) = (0.8, 1.2);

/// How a set looks.
pub(super) struct Style {
    /// Grey levels of the background's middle, each channel for itself.
    pub level: (f32, f32),
    /// Steepest gradient of the background, grey levels per pixel.
    pub slope: f32,
    /// Lowest and highest contrast of an image, grey levels.
    pub contrast: (f32, f32),
    /// Standard deviation of the pixel noise, grey levels.
    pub noise: f32,
    /// Pixels across a bar.
    pub thickness: usize,
    /// By how many pixels pieces may stand over the border, which cuts them off.
    pub margin: usize,
}

/// Four bars, side by side.
pub(super) struct Piece {
    /// Of each bar from top to bottom, or from left to right: what it adds to a pixel of full contrast.
    pub colours: [[f32; 3]; BARS],
    /// Whether the bars stand beside each other instead of lying on each other.
    pub upright: bool,
}

impl Piece {
    /// Height and width in pixels.
    fn size(&self, thickness: usize) -> (usize, usize) {
        let size = (BARS * thickness, LENGTH);
        if self.upright { (size.1, size.0) } else { size }
    }
}

/// An image while it is drawn.
pub(super) struct Canvas<'a> {
    style: &'a Style,
    contrast: f32,
    /// [3, 32, 32] grey levels.
    levels: Vec<f32>,
}

impl<'a> Canvas<'a> {
    /// A linear colour gradient with a random level, direction and strength in each channel.
    pub fn new(style: &'a Style, rng: &mut SampleRng) -> Self {
        let mut levels = Vec::with_capacity(PIXELS);
        for _ in 0..3 {
            let level = rng.gen_range(style.level.0..style.level.1);
            let mut slope = || rng.gen_range(-style.slope..style.slope);
            let slope = (slope(), slope());
            for y in 0..SIDE {
                for x in 0..SIDE {
                    let centred = |at: usize| at as f32 - (SIDE - 1) as f32 / 2.0;
                    levels.push(level + slope.0 * centred(y) + slope.1 * centred(x));
                }
            }
        }
        Self { style, contrast: rng.gen_range(style.contrast.0..style.contrast.1), levels }
    }

    /// Adds pieces at random places where they do not overlap.
    pub fn draw(&mut self, pieces: &[Piece], rng: &mut SampleRng) {
        let sizes: Vec<_> = pieces.iter().map(|piece| piece.size(self.style.thickness)).collect();
        for (piece, (top, left)) in pieces.iter().zip(free_corners(&sizes, self.style.margin, rng)) {
            let contrast = self.contrast * rng.gen_range(PIECE_CONTRAST.0..PIECE_CONTRAST.1);
            let (height, width) = piece.size(self.style.thickness);
            for (dy, dx) in (0..height).flat_map(|dy| (0..width).map(move |dx| (dy, dx))) {
                let bar = if piece.upright { dx } else { dy } / self.style.thickness;
                let (y, x) = (top + dy as i32, left + dx as i32);
                if !(0..SIDE as i32).contains(&y) || !(0..SIDE as i32).contains(&x) {
                    continue;
                }
                for (channel, direction) in piece.colours[bar].iter().enumerate() {
                    self.levels[(channel * SIDE + y as usize) * SIDE + x as usize] += contrast * direction;
                }
            }
        }
    }

    /// Adds noise and rounds.
    pub fn finish(&self, rng: &mut SampleRng, image: &mut [u8]) {
        for (pixel, level) in image.iter_mut().zip(&self.levels) {
            let noise: f32 = StandardNormal.sample(rng);
            *pixel = (level + self.style.noise * noise).round().clamp(0.0, 255.0) as u8;
        }
    }
}

/// Top-left corners (y, x) at which pieces of these sizes (height, width) do not overlap.
fn free_corners(sizes: &[(usize, usize)], margin: usize, rng: &mut SampleRng) -> Vec<(i32, i32)> {
    // Pieces cover less than half of the places: a bad start is rare, and starting over favours no place.
    loop {
        let mut taken: Vec<[i32; 4]> = Vec::with_capacity(sizes.len());
        for _ in 0..20 * sizes.len() {
            let (height, width) = sizes[taken.len()];
            let mut place =
                |size: usize| rng.gen_range(0..=(SIDE - size + 2 * margin) as u32) as i32 - margin as i32;
            let (top, left) = (place(height), place(width));
            let (bottom, right) = (top + height as i32, left + width as i32);
            if taken.iter().all(|&[t, l, b, r]| top >= b || t >= bottom || left >= r || l >= right) {
                taken.push([top, left, bottom, right]);
            }
            if taken.len() == sizes.len() {
                return taken.into_iter().map(|[top, left, ..]| (top, left)).collect();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    #[test]
    fn pieces_do_not_overlap_and_reach_the_margin_on_all_sides() {
        for (margin, thickness) in [(0, 2), (8, 4)] {
            let (low, high) = (-(margin as i32), (SIDE + margin) as i32);
            let mut seen = [false; 4];
            for image in 0..600 {
                let mut rng = stream(Purpose::SyntheticTrain, 0, image, 0);
                let piece = |upright| Piece { colours: [[0.0; 3]; BARS], upright };
                let sizes: Vec<_> = (0..6).map(|_| piece(rng.r#gen()).size(thickness)).collect();
                let mut covered = std::collections::HashSet::new();
                for (&(height, width), (top, left)) in
                    sizes.iter().zip(free_corners(&sizes, margin, &mut rng))
                {
                    let (bottom, right) = (top + height as i32, left + width as i32);
                    for (y, x) in (top..bottom).flat_map(|y| (left..right).map(move |x| (y, x))) {
                        assert!(
                            covered.insert((y, x)) && (low..high).contains(&y) && (low..high).contains(&x)
                        );
                    }
                    let sides = [top == low, left == low, bottom == high, right == high];
                    seen.iter_mut().zip(sides).for_each(|(seen, side)| *seen |= side);
                }
            }
            assert_eq!(seen, [true; 4]);
        }
    }
}
