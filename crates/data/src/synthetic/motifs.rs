//! The set `synthetic`: ten classes told apart by colours and their order, at once and by degrees.
//!
//! Described at [`synthetic()`](super::synthetic()).

use super::{
    CLASSES,
    canvas::{BARS, Canvas, Piece, Style},
};
use crate::random::SampleRng;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

/// Pieces in an image, and how many of them are surely the class's.
const PIECES: usize = 6;
const MOTIFS: usize = 4;
/// Standard deviation of each channel of each bar's colour, where a colour has length about 1.
const COLOUR_NOISE: f32 = 0.2;

const STYLE: Style = Style {
    level: (120.0, 135.0),
    slope: 0.3,
    contrast: (60.0, 110.0),
    noise: 12.0,
    thickness: 4,
    margin: 8,
};

/// Colours by the letters of the class names: Red, Blue, White, Orange, Magenta; their opponents Green, Yellow, K (black),
/// Azure, Lime.
const fn colour(letter: u8) -> [f32; 3] {
    match letter {
        b'R' => [0.7, -0.7, 0.0],
        b'B' => [-0.4, -0.4, 0.8],
        b'W' => [0.58, 0.58, 0.58],
        b'O' => [0.78, -0.21, -0.57],
        b'M' => [0.21, -0.78, 0.57],
        b'G' => [-0.7, 0.7, 0.0],
        b'Y' => [0.4, 0.4, -0.8],
        b'K' => [-0.58, -0.58, -0.58],
        b'A' => [-0.78, 0.21, 0.57],
        _ => [-0.21, 0.78, -0.57],
    }
}

/// The classes: a palette and its reverse, one after the other.
const MOTIF: [&[u8; BARS]; CLASSES] =
    [b"RBGY", b"YGBR", b"BWYK", b"KYWB", b"WRKG", b"GKRW", b"MOLA", b"ALOM", b"OWAK", b"KAWO"];

/// Draws an image of `class` into `image` ([3, 32, 32]).
pub(super) fn draw_image(class: usize, rng: &mut SampleRng, image: &mut [u8]) {
    let mut canvas = Canvas::new(&STYLE, rng);
    let pieces: [Piece; PIECES] = std::array::from_fn(|index| {
        let (class, upright) = if index < MOTIFS {
            (class, false)
        } else {
            (rng.gen_range(0..CLASSES as u32) as usize, rng.r#gen())
        };
        Piece { colours: colours(class, rng), upright }
    });
    canvas.draw(&pieces, rng);
    canvas.finish(rng, image);
}

/// The bars of a piece of `class`, each a little off, together without colour.
fn colours(class: usize, rng: &mut SampleRng) -> [[f32; 3]; BARS] {
    let mut colours = MOTIF[class].map(|letter| {
        colour(letter).map(|level| {
            let noise: f32 = StandardNormal.sample(rng);
            level + COLOUR_NOISE * noise
        })
    });
    for channel in 0..3 {
        let mean = colours.iter().map(|colour| colour[channel]).sum::<f32>() / BARS as f32;
        colours.iter_mut().for_each(|colour| colour[channel] -= mean);
    }
    colours
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::Descriptor;
    use crate::random::{Purpose, stream};

    #[test]
    fn a_motif_has_two_colours_and_their_opponents_and_its_pair_is_its_reverse() {
        for pair in MOTIF.chunks_exact(2) {
            let mut reverse = *pair[1];
            reverse.reverse();
            assert_eq!(*pair[0], reverse);
            let [a, b, not_a, not_b] = pair[0].map(colour);
            assert_eq!((a.map(|v| -v), b.map(|v| -v)), (not_a, not_b));
            let length = |c: [f32; 3]| c.iter().map(|v| v * v).sum::<f32>().sqrt();
            assert!((length(a) - 1.0).abs() < 0.03 && (length(b) - 1.0).abs() < 0.03);
        }
        let different: std::collections::HashSet<_> = MOTIF.iter().collect();
        assert_eq!(different.len(), CLASSES);
    }

    #[test]
    fn class_names_spell_the_motifs() {
        let names = &Descriptor::synthetic().classes;
        assert!(names.iter().map(|name| name.as_bytes()).eq(MOTIF.map(|motif| &motif[..])));
    }

    #[test]
    fn pieces_are_without_colour_on_average() {
        let mut rng = stream(Purpose::SyntheticTrain, 0, 0, 0);
        for class in 0..CLASSES {
            let drawn = colours(class, &mut rng);
            assert!((0..3).all(|channel| drawn.iter().map(|c| c[channel]).sum::<f32>().abs() < 1e-5));
            assert!(drawn[0] != colours(class, &mut rng)[0], "every piece is a little off");
        }
    }
}
