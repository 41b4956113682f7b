//! A line of `metrics.jsonl`.

use std::{collections::BTreeMap, io, path::Path};

use inductive_checkpoint::write_atomic;
use serde::{Deserialize, Serialize};

use crate::{Error, Evaluation, FourierPoint, Result};

/// What is measured at the end of each epoch (of each `eval_every`), one JSON object per line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Epochs so far.
    pub epoch: f64,
    /// Updates so far.
    pub step: u64,
    /// Mean training loss since the line before, smoothed targets and drop path included.
    pub train_loss: f64,
    /// Training accuracy since the line before, in percent, on augmented images with drop path.
    pub train_top1: f64,
    /// Test loss, nats.
    pub test_loss: f64,
    /// Test top-1 accuracy, percent.
    pub test_top1: f64,
    /// Test top-5 accuracy, percent.
    pub test_top5: f64,
    /// The same three of the averaged weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<Evaluation>,
    /// Learning rate of the last update.
    pub lr: f64,
    /// Training images per second since the line before, evaluation left out.
    pub images_per_s: f64,
    /// Seconds since the start, evaluation included, pauses between kill and resume left out.
    pub seconds: f64,
    /// The share of position in each gated layer's attention, mean over heads: `sigma(gating_param)` in ConViT; 1 for a layer
    /// that has not left convolution.
    pub gates: Vec<f64>,
    /// The updates before each layer left convolution, `null` for one that has not; empty where none has and the recipe switches none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub switched: Vec<Option<u64>>,
    /// Where the heads of each layer that can leave convolution look by position, and how sharply: `[dx, dy, alpha]`, in
    /// patches and per squared patch. Of a convolution none; empty where no layer has left it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub head_positions: Vec<Vec<[f64; 3]>>,
    /// Non-locality of each layer in patches, mean over heads and a fixed batch of test images, class token left out
    /// ([`inductive_analysis::nonlocality`]).
    pub nonlocality: Vec<f64>,
    /// Spread of the heads' distances in each layer of attention, in patches ([`inductive_analysis::head_diversity`]).
    #[serde(default)]
    pub head_diversity: Vec<f64>,
    /// Share of high frequencies in each block's output ([`inductive_analysis::high_frequency_share`]).
    #[serde(default)]
    pub high_frequency: Vec<f64>,
    /// Attention of each layer to what its initial weights aim at ([`inductive_analysis::target_mass`]); empty without a
    /// design.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_mass: Vec<f64>,
    /// Stable rank of the patches in each block's output, sum of squared singular values over the largest
    /// ([`inductive_analysis::StableRank::sr2`]), mean over a few of the images; empty for large models, where it takes long.
    #[serde(default)]
    pub stable_rank: Vec<f64>,
    /// The same of the singular values themselves ([`inductive_analysis::StableRank::sr1`]).
    #[serde(default)]
    pub nuclear_rank: Vec<f64>,
    /// Frequencies around each operator, from the stem on ([`inductive_analysis::PointSpectrum`]), mean over up to 32 fixed
    /// images and channels; empty where one is not finite.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fourier: Vec<FourierPoint>,
    /// What the run's own measures gave, by name ([`Gauge`](crate::Gauge)).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measures: BTreeMap<String, f64>,
}

impl Metrics {
    /// The accuracy that decides which weights are the best: the average's where there is one, as in timm.
    pub fn top1(&self) -> f64 {
        self.ema.map_or(self.test_top1, |ema| ema.top1)
    }

    /// This line without what depends on the machine: two runs of one recipe agree in the rest.
    pub fn without_timing(&self) -> Self {
        Self { images_per_s: 0.0, seconds: 0.0, ..self.clone() }
    }
}

/// Reads the lines of a file that were made by the first `steps` updates; a file that is not there has none.
///
/// Later lines, and the rest of the file from a line that is torn, are what a killed run wrote after its last
/// checkpoint; they will be made again.
pub fn read_metrics(path: impl AsRef<Path>, steps: u64) -> Result<Vec<Metrics>> {
    let path = path.as_ref();
    let text = match inductive_files::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(Error::io("read the metrics", path))?,
    };
    let lines = text.lines().map_while(|line| serde_json::from_str::<Metrics>(line).ok());
    Ok(lines.take_while(|metrics| metrics.step <= steps).collect())
}

/// Replaces the file by these lines.
pub(crate) fn write_metrics(path: &Path, lines: &[Metrics]) -> Result<()> {
    let mut text = String::new();
    for metrics in lines {
        let line = serde_json::to_string(metrics)
            .map_err(|error| Error::io("write the metrics", path)(io::Error::other(error)))?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(write_atomic(path, text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn line(step: u64) -> Metrics {
        let point = FourierPoint {
            name: "blocks.0.attn".to_owned(),
            kind: inductive_nn::OperatorKind::Attention,
            downsamples: false,
            stream: -0.1,
            branch: Some(-4.0 / 3.0),
            change: Some(0.2),
        };
        Metrics {
            epoch: step as f64 / 3.0,
            step,
            train_loss: 0.1 + 0.2,
            train_top1: 50.0,
            test_loss: 1e-300,
            test_top1: 100.0 / 3.0,
            test_top5: 100.0,
            ema: (step > 1).then_some(Evaluation { loss: 1.0, top1: 40.0, top5: 90.0 }),
            lr: 1e-3,
            images_per_s: 1.0,
            seconds: 2.0,
            gates: vec![0.731],
            switched: vec![None, Some(1)],
            head_positions: vec![vec![], vec![[-1.0, 0.5, 20.0]]],
            nonlocality: vec![1.0, 4.1],
            head_diversity: vec![0.5, 0.25],
            high_frequency: vec![0.3, 0.2],
            target_mass: vec![0.9],
            stable_rank: vec![1.5, 2.0],
            nuclear_rank: vec![3.5, 4.0],
            fourier: vec![point],
            measures: BTreeMap::from([("norm".to_owned(), 0.1 + 0.7)]),
        }
    }

    #[test]
    fn lines_come_back_bit_by_bit_and_later_ones_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let lines: Vec<Metrics> = (1..4).map(line).collect();
        write_metrics(&path, &lines).unwrap();
        assert_eq!(read_metrics(&path, 3).unwrap(), lines);
        assert_eq!(read_metrics(&path, 2).unwrap(), lines[..2]);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 3);
    }

    #[test]
    fn a_line_from_before_frequencies_were_measured_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let old = Metrics { fourier: Vec::new(), ..line(1) };
        write_metrics(&path, std::slice::from_ref(&old)).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains("fourier"));
        assert_eq!(read_metrics(&path, 9).unwrap(), [old]);
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_a_missing_file_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        assert!(read_metrics(&path, 9).unwrap().is_empty());
        write_metrics(&path, &[line(1), line(2)]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 5]).unwrap();
        assert_eq!(read_metrics(&path, 9).unwrap(), [line(1)]);
    }

    #[test]
    fn the_average_decides_what_is_best_where_there_is_one() {
        assert_eq!((line(1).top1(), line(2).top1()), (100.0 / 3.0, 40.0));
    }
}
