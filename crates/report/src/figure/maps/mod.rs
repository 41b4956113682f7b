//! Square maps of numbers, such as attention, in rows and columns of one PNG.
//!
//! Every map has its own range: black is 0, the lightest colour its largest value, which stands above it beside its label. So
//! uniform attention is an evenly light square and sharp attention is light on black, however many tokens there are.

pub(super) mod colour;
mod label;

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

use crate::{Error, Result};
use label::Canvas;

/// A map is at least so many pixels wide; larger ones have one pixel per number.
const MIN_SIDE: usize = 150;
/// Between two maps, and around all.
const GAP: usize = 8;
/// Around each map.
const BORDER: usize = 1;
/// Between a label and its map.
const UNDER_LABEL: usize = 3;

/// A square map.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// What stands above it; the letters H and L, digits and points are drawn, others are left blank.
    pub label: String,
    /// Its rows and columns.
    pub side: usize,
    /// Numbers of 0 or more, row by row: `[side, side]`.
    pub values: Vec<f32>,
}

impl Map {
    fn largest(&self) -> f32 {
        self.values.iter().copied().fold(0.0, f32::max)
    }
}

/// Maps in rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Maps {
    /// Rows from top to bottom, their maps from left to right.
    pub rows: Vec<Vec<Map>>,
}

impl Maps {
    /// Width and height of the picture in pixels.
    pub fn size(&self) -> (usize, usize) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let [across, down] = self.pitch();
        (GAP + columns * across, GAP + self.rows.len() * down)
    }

    /// The picture as a PNG.
    ///
    /// # Errors
    /// [`Error::Picture`] if it is too large to be encoded.
    pub fn png(&self) -> Result<Vec<u8>> {
        let (width, height) = self.size();
        let mut canvas = Canvas::new(width, height);
        let [across, down] = self.pitch();
        for (row, maps) in self.rows.iter().enumerate() {
            for (column, map) in maps.iter().enumerate() {
                self.draw(map, &mut canvas, (GAP + column * across, GAP + row * down));
            }
        }
        let mut png = Vec::new();
        let refuse =
            |message: &dyn std::fmt::Display| Error::Picture { width, height, message: message.to_string() };
        let side = |pixels: usize| u32::try_from(pixels).map_err(|error| refuse(&error));
        PngEncoder::new(&mut png)
            .write_image(canvas.pixels(), side(width)?, side(height)?, ExtendedColorType::Rgb8)
            .map_err(|error| refuse(&error))?;
        Ok(png)
    }

    fn largest_side(&self) -> usize {
        self.rows.iter().flatten().map(|map| map.side).max().unwrap_or(0)
    }

    /// Pixels per number in both directions, the same for all maps.
    fn scale(&self) -> usize {
        MIN_SIDE.div_ceil(self.largest_side().max(1))
    }

    /// From one map to the next: across and down.
    fn pitch(&self) -> [usize; 2] {
        let framed = self.largest_side() * self.scale() + 2 * BORDER;
        [framed + GAP, label::HEIGHT + UNDER_LABEL + framed + GAP]
    }

    /// `x`, `y`: the upper left corner of the label.
    fn draw(&self, map: &Map, canvas: &mut Canvas, (x, y): (usize, usize)) {
        let (scale, largest) = (self.scale(), map.largest());
        canvas.text(x, y, &format!("{} {largest:.3}", map.label));
        let y = y + label::HEIGHT + UNDER_LABEL;
        let framed = map.side * scale + 2 * BORDER;
        canvas.fill((x, y), (framed, framed), label::INK);
        for (at, value) in map.values.iter().enumerate().take(map.side * map.side) {
            let (row, column) = (at / map.side, at % map.side);
            let corner = (x + BORDER + column * scale, y + BORDER + row * scale);
            canvas.fill(corner, (scale, scale), colour::of(value / largest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(label: &str, side: usize, values: impl Fn(usize, usize) -> f32) -> Map {
        let values = (0..side * side).map(|at| values(at / side, at % side)).collect();
        Map { label: label.to_owned(), side, values }
    }

    fn decoded(maps: &Maps) -> image::RgbImage {
        image::load_from_memory(&maps.png().unwrap()).unwrap().to_rgb8()
    }

    #[test]
    fn every_number_is_a_square_of_its_colour_in_the_place_of_its_row_and_column() {
        let diagonal = map("L0 H0", 10, |row, column| if row == column { 0.5 } else { 0.0 });
        let one = map("L0 H1", 10, |row, column| if (row, column) == (2, 7) { 1.0 } else { 0.25 });
        let maps = Maps { rows: vec![vec![diagonal, one]] };
        let picture = decoded(&maps);
        assert_eq!((picture.width() as usize, picture.height() as usize), maps.size());
        // 15 pixels per number; a label of 10 pixels
        assert_eq!(maps.size(), (8 + 2 * (150 + 2 + 8), 8 + 10 + 3 + 152 + 8));
        for row in 0..10u32 {
            for column in 0..10 {
                for (within, down) in [(0, 0), (14, 14), (7, 3)] {
                    let (x, y) = (9 + column * 15 + within, 22 + row * 15 + down);
                    let share = if row == column { 1.0 } else { 0.0 };
                    assert_eq!(picture.get_pixel(x, y).0, colour::of(share), "{row} {column}");
                    let share = if (row, column) == (2, 7) { 1.0 } else { 0.25 };
                    assert_eq!(picture.get_pixel(x + 160, y).0, colour::of(share), "{row} {column}");
                }
            }
        }
        let frame = [(8, 21), (8, 172), (159, 21), (159, 172)];
        assert!(frame.iter().all(|(x, y)| picture.get_pixel(*x, *y).0 == label::INK));
    }

    #[test]
    fn large_maps_have_one_pixel_per_number_and_smaller_ones_beside_them_too() {
        let maps = Maps { rows: vec![vec![map("", 197, |_, _| 1.0)], vec![map("", 196, |_, _| 1.0)]] };
        assert_eq!(maps.size(), (8 + 207, 8 + 2 * (10 + 3 + 207)));
        let picture = decoded(&maps);
        assert_eq!(picture.get_pixel(9 + 196, 22 + 196).0, colour::of(1.0));
        let second = 22 + 220;
        assert_eq!(picture.get_pixel(9 + 195, second + 195).0, colour::of(1.0));
        assert_eq!(picture.get_pixel(9 + 196, second + 196).0, label::INK);
    }

    #[test]
    fn maps_of_zeros_and_pictures_without_maps_are_drawn() {
        let zero = Maps { rows: vec![vec![map("", 3, |_, _| 0.0)]] };
        assert_eq!(decoded(&zero).get_pixel(20, 40).0, colour::of(0.0));
        assert_eq!(decoded(&Maps::default()).dimensions(), (8, 8));
    }
}
