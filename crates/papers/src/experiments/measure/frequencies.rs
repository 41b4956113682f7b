//! What operators do to high frequencies (Park & Kim, arXiv 2202.06709).

use inductive_nn::OperatorKind;
use inductive_train::{FourierPoint, Metrics};

use super::{At, Measures};

/// Adds `stream`, the highest frequency of the stream after each operator, and of each kind of operator the mean change of the
/// stream across it (`attention_change`) and what it adds alone less the stream before (`attention_branch`).
pub(super) fn add(all: &mut Measures) {
    all.layers("stream", |at| Some(at.metrics()?.fourier.iter().map(|point| point.stream).collect()));
    for kind in [OperatorKind::Convolution, OperatorKind::Attention, OperatorKind::Mlp] {
        let mut change = |what: &str, of: fn(&FourierPoint) -> Option<f64>| {
            all.number(format!("{}_{what}", kind.name()), move |at: &At<'_>| {
                Some(mean(at.metrics()?, kind, of))
            });
        };
        change("change", |point| point.change);
        change("branch", FourierPoint::branch_change);
    }
}

/// Mean of what `of` gives for the operators of one kind; NaN where there is none.
fn mean(metrics: &Metrics, kind: OperatorKind, of: fn(&FourierPoint) -> Option<f64>) -> f64 {
    // What changes the grid has another highest frequency after it.
    let points = metrics.fourier.iter().filter(|point| point.kind == kind && !point.downsamples);
    let values: Vec<f64> = points.filter_map(of).collect();
    values.iter().sum::<f64>() / values.len() as f64
}
