//! Depthwise filters of a convolutional mixer: random, impulses, boxes, Gaussian bumps (ConvMixer experiments of arXiv 2401.12511
//! and 2404.01139, by their code).
//!
//! ```text
//! random     each number uniform on +-1 / K: PyTorch's default, expected squared norm 1 / 3
//! softmax    softmax over the K^2 numbers of such a filter
//! box        a at b distinct random places, 0 elsewhere     impulse: b = 1
//! gaussian   exp(-distance^2 / (2 std^2)) around a random place, times what makes the mean squared norm 1 / 3
//! bias       uniform on +-1 / K
//! ```
//!
//! A box of all `K^2` places is constant: all its filters span one direction, the control that cannot tell places apart.

use rand::{Rng, seq::SliceRandom};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    random::{Purpose, stream, uniform},
};

/// Depthwise filters of a layer.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    /// What one filter looks like.
    pub shape: FilterShape,
    /// How large impulses and boxes are; other filters have their own size.
    #[serde(default)]
    pub amplitude: Amplitude,
    /// Filters drawn per layer: the first channels get these, each further channel one of them at random. Not given, and more
    /// than there are channels: each channel its own (`heads` of 0 in the published code). Biases are always drawn per channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<usize>,
}

/// What one filter looks like.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FilterShape {
    /// PyTorch's default.
    Random,
    /// Softmax over the numbers of a random filter: positive, of sum 1.
    Softmax,
    /// One random place: a box of one.
    Impulse,
    /// Equal numbers at distinct random places.
    Box {
        /// How many, from 1 to `K^2`; not given: all, a constant filter.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        places: Option<usize>,
    },
    /// A Gaussian bump around a random place of the filter, cut off at its border: those near it are smaller, since all that
    /// are drawn for a layer get one factor.
    Gaussian {
        /// Its standard deviation, in places.
        std: f64,
    },
}

/// The squared norm of an impulse or a box of `b` places; the two agree for `K = 3`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Amplitude {
    /// 1 / 3, what random filters have on average: each place `sqrt(1 / (3 b))` (code of arXiv 2401.12511).
    Third,
    /// 1 / K: each place `sqrt(1 / (b K))` (code of arXiv 2404.01139).
    #[default]
    Side,
}

/// A depthwise convolution's initial weights.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterInit {
    /// `[channels, 1, K, K]`
    pub weight: Vec<f32>,
    /// `[channels]`
    pub bias: Vec<f32>,
}

impl Filters {
    /// The names [`Filters::named`] knows.
    pub const NAMES: [&str; 4] = ["random", "softmax", "impulse", "box"];

    /// Filters by name, one per channel with the amplitude of arXiv 2404.01139; `box` has all places.
    pub fn named(name: &str) -> Option<Self> {
        let shape = match name {
            "random" => FilterShape::Random,
            "softmax" => FilterShape::Softmax,
            "impulse" => FilterShape::Impulse,
            "box" => FilterShape::Box { places: None },
            _ => return None,
        };
        Some(Self { shape, amplitude: Amplitude::Side, distinct: None })
    }

    /// [`Filters::draw`] with the random numbers of layer `layer` of a model; biases have numbers of their own, so that they are
    /// the same whatever the filters.
    ///
    /// # Errors
    /// As [`Filters::draw`].
    pub fn of_layer(&self, channels: usize, kernel: usize, seed: u64, layer: u64) -> Result<FilterInit> {
        let mut drawn = self.draw(channels, kernel, &mut stream(Purpose::Filters, seed, layer, 0))?;
        drawn.bias = bias(channels, kernel, &mut stream(Purpose::Filters, seed, layer, 1));
        Ok(drawn)
    }

    /// Draws a layer's `kernel` x `kernel` filters, `kernel` odd, and its biases.
    ///
    /// # Errors
    /// [`Error::Constant`] for an even kernel, no filters at all, a box of no place or of more than there are, a deviation
    /// that is not positive.
    pub fn draw(&self, channels: usize, kernel: usize, rng: &mut impl Rng) -> Result<FilterInit> {
        if kernel.is_multiple_of(2) {
            return Err(constant("side of a filter", "an odd number", kernel));
        }
        if self.distinct == Some(0) {
            return Err(constant("distinct filters of a layer", "1 or more, or none given", 0));
        }
        let drawn = self.distinct.map_or(channels, |distinct| distinct.min(channels));
        let filters = self.filters(drawn, kernel, rng)?;
        let mut weight = Vec::with_capacity(channels * kernel * kernel);
        for channel in 0..channels {
            let index = if channel < drawn { channel } else { rng.gen_range(0..drawn) };
            weight.extend(filters[index].iter().map(|v| *v as f32));
        }
        Ok(FilterInit { weight, bias: bias(channels, kernel, rng) })
    }

    fn squared_norm(&self, kernel: usize) -> f64 {
        match self.amplitude {
            Amplitude::Third => 1.0 / 3.0,
            Amplitude::Side => 1.0 / kernel as f64,
        }
    }

    /// `count` filters of `kernel^2` numbers.
    fn filters(&self, count: usize, kernel: usize, rng: &mut impl Rng) -> Result<Vec<Vec<f64>>> {
        let area = kernel * kernel;
        let mut random = || uniform(1, area, (kernel as f64).recip(), rng).values().to_vec();
        match self.shape {
            FilterShape::Random => Ok((0..count).map(|_| random()).collect()),
            FilterShape::Softmax => Ok((0..count).map(|_| softmax(random())).collect()),
            FilterShape::Impulse => Ok(boxes(count, area, 1, self.squared_norm(kernel), rng)),
            FilterShape::Box { places } => {
                let places = places.unwrap_or(area);
                if !(1..=area).contains(&places) {
                    return Err(constant("places of a box filter", "from 1 to all of the filter's", places));
                }
                Ok(boxes(count, area, places, self.squared_norm(kernel), rng))
            }
            FilterShape::Gaussian { std } if !(std.is_finite() && std > 0.0) => {
                let what = "std of a Gaussian filter";
                Err(Error::Constant { what, expected: "a positive number", got: std })
            }
            FilterShape::Gaussian { std } => {
                let mut bumps: Vec<_> =
                    (0..count).map(|_| bump(rng.gen_range(0..area), kernel, std)).collect();
                let sum: f64 = bumps.iter().flatten().map(|v| v * v).sum();
                let factor = (count as f64 / (3.0 * sum)).sqrt();
                bumps.iter_mut().flatten().for_each(|v| *v *= factor);
                Ok(bumps)
            }
        }
    }
}

/// PyTorch's: uniform on +-1 / K.
fn bias(channels: usize, kernel: usize, rng: &mut impl Rng) -> Vec<f32> {
    uniform(1, channels, (kernel as f64).recip(), rng).to_f32()
}

fn constant(what: &'static str, expected: &'static str, got: usize) -> Error {
    Error::Constant { what, expected, got: got as f64 }
}

fn softmax(filter: Vec<f64>) -> Vec<f64> {
    let exp: Vec<f64> = filter.into_iter().map(f64::exp).collect();
    let sum: f64 = exp.iter().sum();
    exp.into_iter().map(|v| v / sum).collect()
}

/// Filters of `area` numbers, of which `places` are the same and the others 0.
fn boxes(count: usize, area: usize, places: usize, squared_norm: f64, rng: &mut impl Rng) -> Vec<Vec<f64>> {
    let height = (squared_norm / places as f64).sqrt();
    let all: Vec<usize> = (0..area).collect();
    let filter = |_| {
        let mut filter = vec![0.0; area];
        all.choose_multiple(rng, places).for_each(|place| filter[*place] = height);
        filter
    };
    (0..count).map(filter).collect()
}

/// A Gaussian bump of height 1 around place `centre`.
fn bump(centre: usize, kernel: usize, std: f64) -> Vec<f64> {
    let along = |a: usize, b: usize| (a.abs_diff(b) as f64 / std).powi(2);
    let square =
        |place: usize| along(place / kernel, centre / kernel) + along(place % kernel, centre % kernel);
    (0..kernel * kernel).map(|place| (-0.5 * square(place)).exp()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn of(shape: FilterShape) -> Filters {
        Filters { shape, amplitude: Amplitude::Third, distinct: None }
    }

    fn draw(filters: Filters, channels: usize, kernel: usize) -> FilterInit {
        filters.draw(channels, kernel, &mut ChaCha8Rng::seed_from_u64(7)).unwrap()
    }

    fn squared_norms(init: &FilterInit, kernel: usize) -> Vec<f64> {
        let norm = |filter: &[f32]| filter.iter().map(|v| f64::from(*v).powi(2)).sum();
        init.weight.chunks_exact(kernel * kernel).map(norm).collect()
    }

    fn different(init: &FilterInit, kernel: usize) -> usize {
        let bits = |filter: &[f32]| filter.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        init.weight.chunks_exact(kernel * kernel).map(bits).collect::<HashSet<_>>().len()
    }

    #[test]
    fn biases_of_a_layer_do_not_depend_on_the_filters() {
        let of = |name: &str, layer| Filters::named(name).unwrap().of_layer(6, 3, 1, layer).unwrap();
        let biases = Filters::NAMES.map(|name| of(name, 2).bias);
        assert!(biases.iter().all(|bias| *bias == biases[0]));
        assert_ne!(of("random", 3).bias, biases[0]);
        assert_ne!(of("random", 2).weight, of("impulse", 2).weight);
    }

    #[test]
    fn random_filters_and_all_biases_are_uniform_by_the_side() {
        for kernel in [3, 5] {
            let init = draw(of(FilterShape::Random), 2000, kernel);
            let bound = 1.0 / kernel as f32;
            for values in [&init.weight, &init.bias, &draw(of(FilterShape::Impulse), 2000, kernel).bias] {
                let largest = values.iter().fold(0.0f32, |most, v| most.max(v.abs()));
                assert!(largest <= bound && largest > 0.99 * bound, "{largest}");
                let mean = values.iter().sum::<f32>() / values.len() as f32;
                assert!(mean.abs() < 0.05 * bound, "{mean}");
            }
            let mean = squared_norms(&init, kernel).iter().sum::<f64>() / 2000.0;
            assert!((mean - 1.0 / 3.0).abs() < 0.01, "{mean}");
        }
    }

    #[test]
    fn softmax_filters_are_positive_of_sum_1_and_near_constant() {
        let init = draw(of(FilterShape::Softmax), 100, 3);
        for filter in init.weight.chunks_exact(9) {
            assert!((filter.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            // Exponents are within +-1 / 3 of 0.
            let ratio = (2.0f32 / 3.0).exp();
            assert!(filter.iter().all(|v| *v > 1.0 / 9.0 / ratio && *v < ratio / 9.0), "{filter:?}");
        }
        assert_eq!(different(&init, 3), 100);
    }

    #[test]
    fn boxes_have_the_published_height_at_as_many_places_as_asked() {
        for (kernel, places) in [(3, 1), (3, 4), (3, 9), (5, 1), (5, 7), (5, 25)] {
            for (amplitude, height) in [
                (Amplitude::Third, (1.0 / (3 * places) as f64).sqrt()),
                (Amplitude::Side, (1.0 / (places * kernel) as f64).sqrt()),
            ] {
                let shape = FilterShape::Box { places: Some(places) };
                let init = draw(Filters { amplitude, ..of(shape) }, 500, kernel);
                let mut hits = vec![0; kernel * kernel];
                for filter in init.weight.chunks_exact(kernel * kernel) {
                    let at: Vec<usize> = (0..filter.len()).filter(|i| filter[*i] != 0.0).collect();
                    assert_eq!(at.len(), places);
                    assert!(at.iter().all(|i| (f64::from(filter[*i]) - height).abs() < 1e-7), "{filter:?}");
                    at.into_iter().for_each(|i| hits[i] += 1);
                }
                // Each place is hit 500 places / K^2 times, 20 times at least, with a deviation of 4.4 to 11.
                let want = (500 * places / (kernel * kernel)) as i32;
                assert!(hits.iter().all(|hit: &i32| (hit - want).abs() <= 19.max(want / 3)), "{hits:?}");
            }
        }
    }

    #[test]
    fn an_impulse_is_a_box_of_one_and_the_box_by_name_is_constant() {
        let one = FilterShape::Box { places: Some(1) };
        assert_eq!(draw(of(FilterShape::Impulse), 50, 5), draw(of(one), 50, 5));
        let init = draw(Filters::named("box").unwrap(), 50, 5);
        assert_eq!(different(&init, 5), 1);
        assert!(init.weight.iter().all(|v| *v == init.weight[0]) && init.weight[0] > 0.0);
        // sqrt(1 / 5): the facts' .447 for arXiv 2404.01139.
        let init = draw(Filters::named("impulse").unwrap(), 50, 5);
        assert!(init.weight.iter().all(|v| *v == 0.0 || (v - 0.447_213_6).abs() < 1e-6));
    }

    #[test]
    fn gaussian_bumps_have_their_deviation_and_their_mean_squared_norm() {
        for amplitude in [Amplitude::Third, Amplitude::Side] {
            let init = draw(Filters { amplitude, ..of(FilterShape::Gaussian { std: 0.8 }) }, 400, 5);
            let third = 1.0 / 3.0;
            let norms = squared_norms(&init, 5);
            assert!((norms.iter().sum::<f64>() / 400.0 - third).abs() < 1e-6);
            assert!(norms.iter().any(|norm| (norm - third).abs() > 0.05), "all bumps have one norm");
            let top = init.weight.iter().fold(0.0f32, |most, v| most.max(*v));
            for filter in init.weight.chunks_exact(25) {
                let centre = (0..25).find(|i| (filter[*i] - top).abs() < 1e-6).expect("bumps of one height");
                for (place, value) in filter.iter().enumerate() {
                    let (dy, dx) = ((place / 5).abs_diff(centre / 5), (place % 5).abs_diff(centre % 5));
                    let want = top * (-((dy * dy + dx * dx) as f32) / (2.0 * 0.64)).exp();
                    assert!((value - want).abs() < 1e-6, "{value} {want}");
                }
            }
            assert_eq!(different(&init, 5), 25, "every centre");
        }
        // As narrow as can be: an impulse; as wide: constant.
        let narrow = draw(of(FilterShape::Gaussian { std: 1e-200 }), 20, 3);
        assert_eq!(narrow.weight.iter().filter(|v| **v != 0.0).count(), 20);
        let wide = draw(of(FilterShape::Gaussian { std: 1e9 }), 20, 3);
        assert_eq!(different(&wide, 3), 1);
    }

    #[test]
    fn channels_share_as_few_filters_as_asked() {
        for distinct in [1, 3, 16] {
            let filters = Filters { distinct: Some(distinct), ..of(FilterShape::Random) };
            let init = draw(filters, 64, 3);
            assert_eq!(different(&init, 3), distinct);
            let (first, rest) = init.weight.split_at(9 * distinct);
            assert!(rest.chunks_exact(9).all(|filter| first.chunks_exact(9).any(|f| f == filter)));
            // The others are drawn, not dealt out in turn.
            let in_turn =
                rest.chunks_exact(9).enumerate().all(|(i, f)| f == &first[9 * (i % distinct)..][..9]);
            assert!(distinct == 1 || !in_turn);
            assert_eq!(HashSet::<u32>::from_iter(init.bias.iter().map(|b| b.to_bits())).len(), 64);
        }
        let own = draw(of(FilterShape::Random), 64, 3);
        assert_eq!(different(&own, 3), 64);
        assert_eq!(draw(Filters { distinct: Some(65), ..of(FilterShape::Random) }, 64, 3), own);
    }

    #[test]
    fn the_seed_decides_every_number() {
        for name in Filters::NAMES {
            let filters = Filters { distinct: Some(5), ..Filters::named(name).unwrap() };
            let draw = |seed| filters.draw(32, 3, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
            assert_eq!(draw(1), draw(1), "{name}");
            assert_ne!(draw(1).bias, draw(2).bias, "{name}");
            assert_eq!(draw(1).weight != draw(2).weight, name != "box", "{name}");
            assert_eq!((draw(1).weight.len(), draw(1).bias.len()), (32 * 9, 32));
        }
    }

    #[test]
    fn filters_survive_a_recipe_file_and_misspelt_fields_do_not() {
        let gaussian = Filters { distinct: Some(8), ..of(FilterShape::Gaussian { std: 0.5 }) };
        let some = of(FilterShape::Box { places: Some(4) });
        for filters in
            Filters::NAMES.map(|name| Filters::named(name).unwrap()).into_iter().chain([gaussian, some])
        {
            let text = toml::to_string(&filters).unwrap();
            assert_eq!(toml::from_str::<Filters>(&text).unwrap(), filters, "{text}");
            let text = serde_json::to_string(&filters).unwrap();
            assert_eq!(serde_json::from_str::<Filters>(&text).unwrap(), filters, "{text}");
        }
        assert_eq!(Filters::named("train"), None);
        let read = |text: &str| toml::from_str::<Filters>(text);
        assert_eq!(read("shape = \"impulse\"").unwrap(), Filters::named("impulse").unwrap());
        assert!(read("shape = \"impulse\"\nheads = 3").is_err());
        assert!(read("shape = { box = { place = 3 } }").is_err());
        assert!(read("shape = { gaussian = {} }").is_err());
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let error = |filters: Filters, kernel| {
            filters.draw(8, kernel, &mut ChaCha8Rng::seed_from_u64(0)).unwrap_err().to_string()
        };
        assert!(error(of(FilterShape::Random), 4).contains("expected an odd number, got 4"));
        assert!(error(of(FilterShape::Box { places: Some(10) }), 3).contains("got 10"));
        assert!(error(of(FilterShape::Box { places: Some(0) }), 3).contains("got 0"));
        for std in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(error(of(FilterShape::Gaussian { std }), 3).contains("a positive number"));
        }
        let none = Filters { distinct: Some(0), ..of(FilterShape::Random) };
        assert!(error(none, 3).contains("1 or more"));
    }
}
