//! Stretches of the x axis that are marked behind the lines.

/// A stretch of the x axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Band {
    /// What it marks, as the legend has it; bands of one name look alike. Its first letter marks it in the terminal.
    pub name: String,
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// Index of its colour.
    pub hue: usize,
}

/// Light colours behind lines: grey, blue, orange, green.
const COLORS: [&str; 4] = ["#d9dbe0", "#bfdcf5", "#fbe0c3", "#cfead6"];

impl Band {
    pub(super) fn color(&self) -> &'static str {
        COLORS[self.hue % COLORS.len()]
    }

    pub(super) fn letter(&self) -> char {
        self.name.chars().next().unwrap_or(' ')
    }
}

/// The first band of each name.
pub(super) fn kinds(bands: &[Band]) -> impl Iterator<Item = &Band> {
    let is_first = |(at, band): &(usize, &Band)| bands[..*at].iter().all(|before| before.name != band.name);
    bands.iter().enumerate().filter(is_first).map(|(_, band)| band)
}
