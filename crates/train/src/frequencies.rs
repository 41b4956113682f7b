//! The frequencies of a model's feature maps, operator by operator, on test images.

use std::ops::Range;

use inductive_analysis::{PointSpectrum, Spectra};
use inductive_data::Dataset;
use inductive_models::{Model, Record};
use inductive_nn::OperatorKind;
use inductive_ops::Backend;
use serde::{Deserialize, Serialize};

use crate::{Result, evaluate::to_device, spread::Spread};

/// The most numbers that points of one batch hold; large models get smaller batches.
const NUMBERS: usize = 1 << 24;
/// The most images of a batch.
const BATCH: usize = 32;

/// Delta log amplitudes at the highest frequency around one operator, in nats ([`PointSpectrum`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FourierPoint {
    /// Which operator: `blocks.3.attn`, `layer2.0`.
    pub name: String,
    /// What it is.
    pub kind: OperatorKind,
    /// Whether the stream has fewer patches after it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub downsamples: bool,
    /// Of the stream after it.
    pub stream: f64,
    /// Of what it adds to the stream alone; `None` without a residual connection, and where it adds nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<f64>,
    /// `stream` less that before the operator, negative for a low-pass filter; `None` for the first. The branch's own is
    /// [`FourierPoint::branch_change`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<f64>,
}

impl FourierPoint {
    /// Of the branch alone less that of the stream before: what the operator does, undiluted by the residual connection.
    pub fn branch_change(&self) -> Option<f64> {
        self.branch.zip(self.change).map(|(branch, change)| branch - (self.stream - change))
    }

    fn is_finite(&self) -> bool {
        [Some(self.stream), self.branch, self.change].into_iter().flatten().all(f64::is_finite)
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

impl From<&PointSpectrum> for FourierPoint {
    fn from(point: &PointSpectrum) -> Self {
        Self {
            name: point.name.clone(),
            kind: point.kind,
            downsamples: point.downsamples(),
            stream: point.stream(),
            branch: point.branch(),
            change: point.change(),
        }
    }
}

/// Those of all points; none if one is not finite, which JSON cannot hold.
pub(crate) fn highest(spectra: &[PointSpectrum]) -> Vec<FourierPoint> {
    let points: Vec<FourierPoint> = spectra.iter().map(FourierPoint::from).collect();
    if points.iter().all(FourierPoint::is_finite) { points } else { Vec::new() }
}

/// The frequencies of every operator of `model` on `images` images spread over `set`, means over all of them; of a set with
/// fewer, all. Each pixel is repeated where the model takes images that are a whole multiple as large.
///
/// What a batch keeps takes 64 MiB, or what one image needs. heard: images so far, after each batch.
///
/// # Errors
/// [`Error::ImageSize`](crate::Error::ImageSize) for images of another size; as [`Model::forward`].
pub fn frequencies<D: Backend<f32>>(
    device: &D,
    model: &dyn Model<f32, D>,
    set: &dyn Dataset,
    images: usize,
    heard: &mut dyn FnMut(usize),
) -> Result<Vec<PointSpectrum>> {
    let spread = Spread::new(set, model.spec(), images)?;
    measure(device, model, spread.count(), &|range| spread.images(range), heard)
}

/// images: normalised, `[range.len(), 3, height, width]`, of `0..count`.
pub(crate) fn measure<D: Backend<f32>>(
    device: &D,
    model: &dyn Model<f32, D>,
    count: usize,
    images: &dyn Fn(Range<usize>) -> Vec<f32>,
    heard: &mut dyn FnMut(usize),
) -> Result<Vec<PointSpectrum>> {
    let mut spectra = Spectra::default();
    // How much an image keeps is known after the first.
    let (mut done, mut batch) = (0, 1);
    while done < count {
        let range = done..count.min(done + batch);
        done = range.end;
        let images_now = range.len();
        let input = to_device(device, images(range), images_now, model.spec().image)?;
        let mut record = Record::of_points();
        model.forward(input, Some(&mut record))?;
        let points = record.points.unwrap_or_default();
        spectra.add(&points);
        let maps = points.iter().flat_map(|point| std::iter::once(&point.after).chain(&point.branch));
        let numbers: usize = maps.map(|map| map.values.len()).sum();
        batch = (NUMBERS / (numbers / images_now).max(1)).clamp(1, BATCH);
        heard(done);
    }
    Ok(spectra.measured())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfdx::prelude::Cpu;
    use inductive_analysis::Curve;
    use inductive_data::{SyntheticConfig, synthetic};
    use inductive_models::{BuildOptions, build};
    use inductive_ops::Grid;

    #[test]
    fn parts_of_the_images_make_the_mean_of_all() {
        let set = synthetic(&SyntheticConfig { train: 10, test: 40, seed: 0 }).unwrap().test;
        let device = Cpu::seed_from_u64(0);
        let options = BuildOptions { classes: 10, ..Default::default() };
        let model = build(&device, "convit_micro", &options).unwrap().model;
        let mut heard = Vec::new();
        let all = frequencies(&device, &*model, &*set, 40, &mut |done| heard.push(done)).unwrap();
        assert_eq!(heard, [1, 33, 40]);
        assert_eq!(all.len(), 1 + 2 * model.spec().depth);
        let spread = Spread::new(&*set, model.spec(), 40).unwrap();
        let half = |from: usize| {
            measure(&device, &*model, 20, &|r| spread.images(from + r.start..from + r.end), &mut |_| {})
                .unwrap()
        };
        for ((all, a), b) in all.iter().zip(half(0)).zip(half(20)) {
            assert!((all.stream() - (a.stream() + b.stream()) / 2.0).abs() < 1e-9);
            assert!((a.stream() - b.stream()).abs() > 1e-9, "{}", all.name);
        }
    }

    #[test]
    fn what_is_not_finite_is_not_written_and_the_rest_comes_back() {
        let point = |stream: f64| FourierPoint {
            name: "layer2.0".to_owned(),
            kind: OperatorKind::Convolution,
            downsamples: true,
            stream,
            branch: Some(-1.5),
            change: Some(0.25),
        };
        let spectrum = |before: Option<f64>, after: f64, branch: Option<f64>| {
            let curve = |side: usize, value: f64| Curve {
                grid: Grid { rows: side, cols: side },
                values: vec![0.0, value],
            };
            PointSpectrum {
                name: "layer2.0".to_owned(),
                kind: OperatorKind::Convolution,
                before: before.map(|value| curve(4, value)),
                after: curve(2, after),
                branch: branch.map(|value| curve(2, value)),
            }
        };
        let fine = spectrum(Some(0.75), 1.0, Some(-1.5));
        let two = [fine.clone(), fine.clone()];
        assert_eq!(highest(&two), [point(1.0), point(1.0)]);
        for bad in [
            spectrum(Some(0.75), f64::NAN, Some(-1.5)),
            spectrum(Some(f64::NEG_INFINITY), 1.0, None),
            spectrum(None, 1.0, Some(f64::NAN)),
        ] {
            assert!(highest(&[fine.clone(), bad.clone()]).is_empty(), "{bad:?}");
        }
        assert_eq!(point(-2.0).branch_change(), Some(-1.5 + 2.25));
        let text = serde_json::to_string(&point(0.1)).unwrap();
        assert_eq!(serde_json::from_str::<FourierPoint>(&text).unwrap(), point(0.1));
        let stem = r#"{"name":"stem","kind":"stem","stream":-1.0}"#;
        let read: FourierPoint = serde_json::from_str(stem).unwrap();
        assert_eq!((read.branch_change(), serde_json::to_string(&read).unwrap()), (None, stem.to_owned()));
    }
}
