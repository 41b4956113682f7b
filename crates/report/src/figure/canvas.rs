//! A grid of terminal cells on which lines and glyphs are drawn.

use crate::text::{Charset, Terminal};

/// What stands in one cell.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Pixel {
    /// Braille dots, as the low byte of U+2800.
    dots: u8,
    /// A character over the dots.
    glyph: Option<char>,
    /// ANSI colour of whatever was drawn last.
    color: &'static str,
}

/// Cells of a plot, row by row from the top. In Unicode a cell holds 2 x 4 braille dots, in ASCII one.
pub(super) struct Canvas {
    columns: usize,
    rows: usize,
    charset: Charset,
    cells: Vec<Pixel>,
}

impl Canvas {
    pub(super) fn new(columns: usize, rows: usize, charset: Charset) -> Self {
        let (columns, rows) = (columns.max(1), rows.max(1));
        Self { columns, rows, charset, cells: vec![Pixel::default(); columns * rows] }
    }

    pub(super) fn is_ascii(&self) -> bool {
        self.charset == Charset::Ascii
    }

    /// Dots per cell, horizontally and vertically.
    fn density(&self) -> (usize, usize) {
        if self.is_ascii() { (1, 1) } else { (2, 4) }
    }

    /// The cell of a place given as fractions from the left and from the bottom; `None` outside.
    pub(super) fn cell(&self, x: f64, y: f64) -> Option<(usize, usize)> {
        let inside = (0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y);
        let index = |fraction: f64, count: usize| ((fraction * count as f64) as usize).min(count - 1);
        inside.then(|| (index(x, self.columns), index(1.0 - y, self.rows)))
    }

    /// The row of a height given as fraction from the bottom, cut to the canvas.
    pub(super) fn row(&self, y: f64) -> usize {
        self.cell(0.0, y.clamp(0.0, 1.0)).map_or(self.rows - 1, |(_, row)| row)
    }

    /// Draws a line between two places given as fractions; `dashed` leaves out every other stretch.
    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), dashed: bool, color: &'static str) {
        let (wide, high) = self.density();
        let size = ((self.columns * wide) as f64, (self.rows * high) as f64);
        // Each step moves by at most one dot; a line that leaves the canvas is not followed far outside.
        let length = ((to.0 - from.0) * size.0).abs().max(((to.1 - from.1) * size.1).abs());
        if !length.is_finite() {
            return;
        }
        let steps = length.ceil().clamp(1.0, 10_000.0) as usize;
        let dash = if wide == 2 { 3 } else { 1 };
        for step in (0..=steps).filter(|step| !dashed || (step / dash).is_multiple_of(2)) {
            let t = step as f64 / steps as f64;
            self.dot(from.0 + t * (to.0 - from.0), from.1 + t * (to.1 - from.1), color);
        }
    }

    fn dot(&mut self, x: f64, y: f64, color: &'static str) {
        let (wide, high) = self.density();
        let Some((column, row)) = self.cell(x, y) else { return };
        let within = |fraction: f64, count: usize, density: usize| {
            ((fraction * (count * density) as f64) as usize).min(count * density - 1) % density
        };
        let (dx, dy) = (within(x, self.columns, wide), within(1.0 - y, self.rows, high));
        // Braille numbers its dots 1 2 3 7 down the left column and 4 5 6 8 down the right one.
        const BITS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
        let cell = &mut self.cells[row * self.columns + column];
        cell.dots |= BITS[dx][dy];
        cell.color = color;
    }

    /// Puts a character into a cell, over what is there.
    pub(super) fn glyph(&mut self, column: usize, row: usize, glyph: char, color: &'static str) {
        if column < self.columns && row < self.rows {
            self.cells[row * self.columns + column] = Pixel { dots: 0, glyph: Some(glyph), color };
        }
    }

    /// The rows as text, without trailing spaces.
    pub(super) fn lines(&self, terminal: &Terminal) -> Vec<String> {
        let show = |cell: &Pixel| {
            let character = match (cell.glyph, cell.dots, self.charset) {
                (Some(glyph), _, _) => glyph,
                (None, 0, _) => ' ',
                (None, _, Charset::Ascii) => '.',
                (None, dots, Charset::Unicode) => char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' '),
            };
            (character, cell.color)
        };
        let line = |row: &[Pixel]| {
            let used =
                row.iter().rposition(|cell| cell.glyph.is_some() || cell.dots != 0).map_or(0, |at| at + 1);
            row[..used]
                .iter()
                .map(show)
                .map(
                    |(c, color)| {
                        if c == ' ' { " ".to_owned() } else { terminal.paint(color, &c.to_string()) }
                    },
                )
                .collect::<String>()
        };
        self.cells.chunks(self.columns).map(line).collect()
    }
}
