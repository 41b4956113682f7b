//! The set `synthetic-parity`: ten classes told apart by the order of colours alone.
//!
//! Described at [`synthetic_parity()`](super::synthetic_parity()).

use super::{
    CLASSES,
    canvas::{BARS, Canvas, Piece, Style},
};
use crate::random::SampleRng;
use rand::Rng;
use rand::seq::SliceRandom;

/// Motifs and distractors in an image, together.
const PIECES: usize = 6;
/// Fewest and most copies of the class's motif in an image.
const MOTIFS: (usize, usize) = (3, 3);

const STYLE: Style =
    Style { level: (90.0, 165.0), slope: 1.0, contrast: (30.0, 85.0), noise: 10.0, thickness: 2, margin: 0 };

/// Colours of the bars from top to bottom or left to right: Red, Green, Blue, Yellow.
type Bars = [u8; BARS];

/// The classes, in pairs M, -M of opponent colours.
const MOTIF: [&Bars; CLASSES] =
    [b"RGBY", b"GRYB", b"YBGR", b"BYRG", b"RBGY", b"GYRB", b"YGBR", b"BRYG", b"RYBG", b"GBYR"];

/// Draws an image of `class` into `image` ([3, 32, 32]).
pub(super) fn draw_image(class: usize, rng: &mut SampleRng, image: &mut [u8]) {
    let mut canvas = Canvas::new(&STYLE, rng);
    let motifs = rng.gen_range(MOTIFS.0..=MOTIFS.1);
    let pieces: [Piece; PIECES] =
        std::array::from_fn(
            |index| if index < motifs { piece(MOTIF[class], false) } else { distractor(rng) },
        );
    canvas.draw(&pieces, rng);
    canvas.finish(rng, image);
}

/// A colour is an opponent direction of length about 1.
fn piece(bars: &Bars, upright: bool) -> Piece {
    let colours = bars.map(|bar| match bar {
        b'R' => [0.7, -0.7, 0.0],
        b'G' => [-0.7, 0.7, 0.0],
        b'B' => [-0.4, -0.4, 0.8],
        _ => [0.4, 0.4, -0.8],
    });
    Piece { colours, upright }
}

/// Upright in any order, or flat in an order that is no class's; as often one as the other.
fn distractor(rng: &mut SampleRng) -> Piece {
    let (bars, upright) = distractor_bars(rng);
    piece(&bars, upright)
}

fn distractor_bars(rng: &mut SampleRng) -> (Bars, bool) {
    let (mut bars, upright) = (*MOTIF[0], rng.r#gen());
    loop {
        bars.shuffle(rng);
        if upright || !MOTIF.contains(&&bars) {
            return (bars, upright);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::Descriptor;
    use crate::random::{Purpose, stream};

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
        let names = &Descriptor::synthetic_parity().classes;
        assert!(names.iter().map(|name| name.as_bytes()).eq(MOTIF.map(|motif| &motif[..])));
    }

    #[test]
    fn no_distractor_is_a_motif() {
        let mut rng = stream(Purpose::SyntheticTrain, 0, 0, 0);
        let pieces: Vec<_> = (0..400).map(|_| distractor_bars(&mut rng)).collect();
        assert!(pieces.iter().all(|(bars, upright)| *upright || !MOTIF.contains(&bars)));
        assert!((150..250).contains(&pieces.iter().filter(|(_, upright)| *upright).count()));
    }
}
