//! Reading fixtures and comparing with them.

use std::{collections::BTreeMap, path::PathBuf};

use inductive_analysis::Spectra;
use inductive_checkpoint::TensorFile;
use inductive_nn::{OperatorKind, Point};
use serde::Deserialize;

/// Path of a file under `tests/fixtures`.
pub fn fixture_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A fixture in one or two parts (`NAME.safetensors`, `NAME.attn.safetensors` or `NAME.grad.safetensors`).
pub struct Fixture {
    parts: Vec<TensorFile>,
}

impl Fixture {
    /// Opens all parts.
    pub fn open(name: &str) -> Self {
        let parts = [".safetensors", ".attn.safetensors", ".grad.safetensors"]
            .map(|suffix| fixture_path(&format!("{name}{suffix}")));
        let parts = parts.into_iter().filter(|p| p.exists()).map(|p| TensorFile::open(p).unwrap());
        Self { parts: parts.collect() }
    }

    /// The main part.
    pub fn main(&self) -> &TensorFile {
        &self.parts[0]
    }

    /// A tensor's values, if it is there.
    pub fn get(&self, key: &str) -> Option<Vec<f32>> {
        self.parts.iter().find(|p| p.entry(key).is_ok()).map(|p| p.to_f32(key).unwrap())
    }

    /// A tensor's values.
    pub fn tensor(&self, key: &str) -> Vec<f32> {
        self.get(key).unwrap_or_else(|| panic!("no {key} in the fixture"))
    }

    /// 64-bit integers.
    pub fn integers(&self, key: &str) -> Vec<i64> {
        let entry = self.main().entry(key).unwrap();
        entry.bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

/// `|got - want| <= atol + rtol * |want|` everywhere; returns the largest difference.
#[track_caller]
pub fn assert_close(what: &str, got: &[f32], want: &[f32], rtol: f32, atol: f32) -> f32 {
    assert_eq!(got.len(), want.len(), "{what}: number of elements");
    let mut worst = 0.0f32;
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let difference = (g - w).abs();
        assert!(difference <= atol + rtol * w.abs(), "{what}[{i}]: {g}, want {w}, difference {difference:e}");
        worst = worst.max(difference);
    }
    worst
}

/// `||got - want|| / ||want||`
pub fn relative_error(got: &[f32], want: &[f32]) -> f64 {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut got.iter().zip(want).map(|(g, w)| (g - w) as f64));
    difference / norm(&mut want.iter().map(|w| *w as f64))
}

/// Of one point in `fourier_points.json`: relative log amplitudes from frequency 0 to the highest.
#[derive(Deserialize)]
struct PointFixture {
    name: String,
    kind: OperatorKind,
    stream: Vec<f64>,
    branch: Option<Vec<f64>>,
    /// Of the stream's last, by this operator.
    change: Option<f64>,
}

/// Compares the frequencies of a model's points with those of the same modules in PyTorch, computed by numpy's `fft2`; `false`
/// for a model that has none in `fourier_points.json`. The file is rounded to 1e-7.
#[track_caller]
pub fn assert_points(name: &str, points: &[Point<f32>]) -> bool {
    let text = std::fs::read_to_string(fixture_path("fourier_points.json")).unwrap();
    let mut all: BTreeMap<String, Vec<PointFixture>> = serde_json::from_str(&text).unwrap();
    let Some(want) = all.remove(name) else { return false };
    let mut spectra = Spectra::default();
    spectra.add(points);
    let got = spectra.measured();
    assert_eq!(got.len(), want.len(), "{name}: points");
    let single = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<_>>();
    for (got, want) in got.iter().zip(&want) {
        assert_eq!((&got.name, got.kind), (&want.name, want.kind));
        let what = format!("{name} {}", want.name);
        assert_close(&what, &single(&got.after.values), &single(&want.stream), 0.0, 1e-3);
        assert_eq!(
            (got.branch.is_some(), got.change().is_some()),
            (want.branch.is_some(), want.change.is_some())
        );
        if let (Some(got), Some(want)) = (&got.branch, &want.branch) {
            assert_close(&format!("{what}: branch"), &single(&got.values), &single(want), 0.0, 1e-3);
        }
        if let (Some(got), Some(want)) = (got.change(), want.change) {
            assert_close(&format!("{what}: change"), &[got as f32], &[want as f32], 0.0, 1e-3);
        }
    }
    true
}
