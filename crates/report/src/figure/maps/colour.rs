//! From 0 to 1 to a colour that grows lighter all the way: black, violet, red, orange, pale yellow.

/// Colours with their lightness (CIE L* divided by that of the last), between which red, green and blue are interpolated.
const STOPS: [(f32, [u8; 3]); 7] = [
    (0.0, [0, 0, 0]),
    (0.139, [40, 20, 90]),
    (0.280, [110, 25, 120]),
    (0.443, [190, 45, 100]),
    (0.622, [240, 110, 60]),
    (0.813, [250, 190, 80]),
    (1.0, [255, 255, 220]),
];

/// The colour of a share of the largest value; what is no number is black.
pub(in crate::figure) fn of(share: f32) -> [u8; 3] {
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    let above = STOPS.iter().position(|(at, _)| share <= *at).unwrap_or(STOPS.len() - 1).max(1);
    let ((low, from), (high, to)) = (STOPS[above - 1], STOPS[above]);
    let along = (share - low) / (high - low);
    std::array::from_fn(|channel| {
        let (from, to) = (f32::from(from[channel]), f32::from(to[channel]));
        (from + along * (to - from)).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CIE L* of an sRGB colour.
    fn lightness(colour: [u8; 3]) -> f64 {
        let linear = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        let [r, g, b] = colour.map(linear);
        let y = 0.2126 * r + 0.7152 * g + 0.0722 * b;
        if y > 0.008856 { 116.0 * y.cbrt() - 16.0 } else { 903.3 * y }
    }

    #[test]
    fn lightness_grows_with_the_share_and_evenly() {
        let steps: Vec<f64> = (0..=100).map(|step| lightness(of(step as f32 / 100.0))).collect();
        assert!(steps.windows(2).all(|pair| pair[1] > pair[0]), "{steps:?}");
        let last = steps[100];
        for (step, lightness) in steps.iter().enumerate() {
            let even = last * step as f64 / 100.0;
            assert!((lightness - even).abs() < 4.0, "{step}: {lightness}, evenly {even}");
        }
    }

    #[test]
    fn what_lies_outside_has_the_colour_of_the_nearer_end() {
        assert_eq!([of(-1.0), of(f32::NAN)], [[0, 0, 0]; 2]);
        assert_eq!(of(2.0), [255, 255, 220]);
    }
}
