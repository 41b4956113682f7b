//! Axes: scale, range, ticks.

/// How values are spread along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm; values must be positive.
    Log,
}

impl Scale {
    /// Whether a value has a place on this scale.
    pub(super) fn contains(self, value: f64) -> bool {
        value.is_finite() && (self == Self::Linear || value > 0.0)
    }

    fn to_line(self, value: f64) -> f64 {
        if self == Self::Log { value.log10() } else { value }
    }

    fn to_value(self, line: f64) -> f64 {
        if self == Self::Log { 10_f64.powf(line) } else { line }
    }
}

/// A labelled place on an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// Where.
    pub at: f64,
    /// What is written there.
    pub label: String,
}

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Quantity and unit.
    pub label: String,
    /// How values are spread.
    pub scale: Scale,
    /// Ticks in place of the computed ones.
    pub ticks: Option<Vec<Tick>>,
    /// Range in place of that of the data; points outside are cut off.
    pub range: Option<(f64, f64)>,
}

impl Axis {
    /// A linear axis over the range of the data.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), scale: Scale::Linear, ticks: None, range: None }
    }

    /// A logarithmic axis over the range of the data.
    pub fn log(label: impl Into<String>) -> Self {
        Self { scale: Scale::Log, ..Self::linear(label) }
    }

    /// With these ticks.
    pub fn with_ticks<L: Into<String>>(mut self, ticks: impl IntoIterator<Item = (f64, L)>) -> Self {
        self.ticks = Some(ticks.into_iter().map(|(at, label)| Tick { at, label: label.into() }).collect());
        self
    }

    /// With this range.
    pub fn with_range(mut self, low: f64, high: f64) -> Self {
        self.range = Some((low, high));
        self
    }

    /// The axis with a range that shows all `values` (or the given range, where it can be used).
    pub(super) fn place(&self, values: impl Iterator<Item = f64>) -> Placed {
        let usable = |&(low, high): &(f64, f64)| {
            self.scale.contains(low) && self.scale.contains(high) && low < high && (high - low).is_finite()
        };
        let (low, high) = match self.range.filter(usable) {
            Some((low, high)) => (self.scale.to_line(low), self.scale.to_line(high)),
            None => {
                let lines = values.filter(|&v| self.scale.contains(v)).map(|v| self.scale.to_line(v));
                let (low, high) = lines
                    .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
                // A margin keeps markers off the frame; a single value gets one of its own size.
                let margin = match high - low {
                    span if span > 0.0 => 0.06 * span,
                    _ => (0.1 * high.abs()).max(0.1),
                };
                if low <= high && (high - low).is_finite() {
                    (low - margin, high + margin)
                } else {
                    (0.0, 1.0)
                }
            }
        };
        let mut placed = Placed { scale: self.scale, low, high, ticks: Vec::new() };
        let ticks = self.ticks.clone().unwrap_or_else(|| placed.nice_ticks());
        placed.ticks = ticks.into_iter().filter(|t| (0.0..=1.0).contains(&placed.fraction(t.at))).collect();
        placed
    }
}

/// An axis with a range and ticks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    scale: Scale,
    low: f64,
    high: f64,
    /// Ticks within the range.
    pub(super) ticks: Vec<Tick>,
}

impl Placed {
    /// Where a value lies, 0 at the low end and 1 at the high end; NaN where it has no place.
    pub(super) fn fraction(&self, value: f64) -> f64 {
        if self.scale.contains(value) {
            (self.scale.to_line(value) - self.low) / (self.high - self.low)
        } else {
            f64::NAN
        }
    }

    /// Ticks at round values: 1, 2 or 5 times a power of ten.
    fn nice_ticks(&self) -> Vec<Tick> {
        if self.scale == Scale::Log && self.high - self.low > 0.9 {
            let steps: &[f64] = if self.high - self.low > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let decades = (self.low.floor() as i32)..=(self.high.ceil() as i32);
            let values = decades.flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
            return values.map(|at| Tick { at, label: label(at, at) }).collect();
        }
        // Less than a decade is marked like a linear axis.
        let (low, high) = (self.scale.to_value(self.low), self.scale.to_value(self.high));
        let raw = (high - low) / 6.0;
        let power = 10_f64.powf(raw.log10().floor());
        let step = power * [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= raw).unwrap_or(10.0);
        let first = (low / step).ceil();
        (0..12)
            .map(|i| (first + f64::from(i)) * step)
            .filter(|at| *at <= high)
            .map(|at| Tick { at, label: label(at, step) })
            .collect()
    }
}

/// A tick's value with as many decimals as its step has.
fn label(at: f64, step: f64) -> String {
    if at.abs() >= 1e6 || (at != 0.0 && at.abs() < 1e-4) {
        return format!("{at:e}");
    }
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let text = format!("{at:.decimals$}");
    if text.trim_start_matches('-').bytes().all(|b| matches!(b, b'0' | b'.')) { "0".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis, values: &[f64]) -> Vec<String> {
        axis.place(values.iter().copied()).ticks.into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_round_and_cover_the_range() {
        assert_eq!(labels(Axis::linear(""), &[34.7, 81.4]), ["40", "50", "60", "70", "80"]);
        assert_eq!(labels(Axis::linear(""), &[-0.3, 0.31]), ["-0.2", "0", "0.2"]);
        assert_eq!(labels(Axis::log(""), &[1.0, 120.0]), ["1", "2", "5", "10", "20", "50", "100"]);
        assert_eq!(labels(Axis::log(""), &[0.001, 100.0]), ["0.001", "0.01", "0.1", "1", "10", "100"]);
        assert_eq!(labels(Axis::log(""), &[50.0, 90.0]), ["50", "60", "70", "80", "90"]);
    }

    #[test]
    fn every_value_has_a_place_off_the_frame() {
        let placed = Axis::log("").place([2.0, 10.0, 100.0].into_iter());
        for value in [2.0, 10.0, 100.0] {
            assert!((0.01..0.99).contains(&placed.fraction(value)));
        }
        assert!(placed.fraction(0.0).is_nan());
    }

    #[test]
    fn one_value_no_value_and_impossible_ranges_still_give_an_axis() {
        assert_eq!(Axis::linear("").place([5.0].into_iter()).fraction(5.0), 0.5);
        assert!(Axis::linear("").place([].into_iter()).fraction(0.5).is_finite());
        assert!(Axis::log("").with_range(-1.0, 5.0).place([3.0, 4.0].into_iter()).fraction(3.0) > 0.0);
        assert!(Axis::linear("").with_range(5.0, 5.0).place([3.0, 4.0].into_iter()).fraction(3.0) > 0.0);
        assert!(Axis::linear("").place([f64::MIN, f64::MAX].into_iter()).fraction(0.0).is_finite());
    }

    #[test]
    fn ticks_outside_the_range_are_left_out() {
        let ticks = [(1.0, "1%"), (10.0, "10%"), (1000.0, "far"), (-1.0, "never")];
        assert_eq!(labels(Axis::log("").with_ticks(ticks), &[1.0, 100.0]), ["1%", "10%"]);
    }
}
