//! Pixels to draw on, and the few characters that labels of maps are made of.

/// Text and frames.
pub(super) const INK: [u8; 3] = [40, 40, 40];
const PAPER: [u8; 3] = [255, 255, 255];

/// Pixels of a glyph's dot in both directions.
const DOT: usize = 2;
/// Dots of a glyph: columns and rows.
const GLYPH: (usize, usize) = (3, 5);
/// Pixels from top to bottom of a line.
pub(super) const HEIGHT: usize = GLYPH.1 * DOT;

/// Rows of dots from top to bottom; the highest of three bits is the left one.
fn glyph(character: char) -> [u8; GLYPH.1] {
    match character {
        '0' => [7, 5, 5, 5, 7],
        '1' => [2, 6, 2, 2, 7],
        '2' => [7, 1, 7, 4, 7],
        '3' => [7, 1, 7, 1, 7],
        '4' => [5, 5, 7, 1, 1],
        '5' => [7, 4, 7, 1, 7],
        '6' => [7, 4, 7, 5, 7],
        '7' => [7, 1, 1, 1, 1],
        '8' => [7, 5, 7, 5, 7],
        '9' => [7, 5, 7, 1, 7],
        'H' => [5, 5, 7, 5, 5],
        'L' => [4, 4, 4, 4, 7],
        '.' => [0, 0, 0, 0, 2],
        _ => [0; GLYPH.1],
    }
}

/// An RGB picture.
pub(super) struct Canvas {
    width: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { width, pixels: PAPER.repeat(width * height) }
    }

    /// Row by row, red, green and blue of each pixel.
    pub(super) fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Fills a rectangle; what lies outside of the picture is left out.
    pub(super) fn fill(&mut self, (x, y): (usize, usize), (wide, high): (usize, usize), colour: [u8; 3]) {
        let (from, to) = (x.min(self.width), (x + wide).min(self.width));
        for row in self.pixels.chunks_exact_mut(3 * self.width).skip(y).take(high) {
            row[3 * from..3 * to].chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&colour));
        }
    }

    /// Writes a line with its upper left corner at `x`, `y`.
    pub(super) fn text(&mut self, x: usize, y: usize, text: &str) {
        for (at, character) in text.chars().enumerate() {
            let left = x + at * (GLYPH.0 + 1) * DOT;
            for (row, bits) in glyph(character).into_iter().enumerate() {
                for column in (0..GLYPH.0).filter(|column| bits >> (GLYPH.0 - 1 - column) & 1 == 1) {
                    self.fill((left + column * DOT, y + row * DOT), (DOT, DOT), INK);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The picture with a `#` for each dot of ink.
    fn dots(canvas: &Canvas) -> Vec<String> {
        let dot = |pixel: &[u8]| if pixel == INK { '#' } else { ' ' };
        let line = |row: &[u8]| row.chunks_exact(3).step_by(DOT).map(dot).collect::<String>();
        canvas
            .pixels
            .chunks_exact(3 * canvas.width)
            .step_by(DOT)
            .map(|row| line(row).trim_end().to_owned())
            .collect()
    }

    #[test]
    fn characters_stand_beside_each_other_and_unknown_ones_are_blank() {
        let mut canvas = Canvas::new(40, 10);
        canvas.text(0, 0, "L?.4H");
        assert_eq!(
            dots(&canvas),
            [
                "#           # # # #",
                "#           # # # #",
                "#           ### ###",
                "#             # # #",
                "###      #    # # #"
            ]
        );
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let mut canvas = Canvas::new(6, 6);
        canvas.text(2, 2, "888");
        canvas.fill((9, 9), (5, 5), INK);
        assert_eq!(canvas.pixels().len(), 6 * 6 * 3);
        assert_eq!(dots(&canvas), ["", " ##", " #"]);
    }
}
