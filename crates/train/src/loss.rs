//! Targets of the loss, and what logits are worth on the host.

/// `(1 - smoothing) one-hot + smoothing / classes`: `[labels.len() * classes]`, row-major.
///
/// timm equivalent: the targets of `LabelSmoothingCrossEntropy(smoothing)` and of `mixup_target` with one image.
pub fn smooth_targets(labels: &[u32], classes: usize, smoothing: f64) -> Vec<f32> {
    let off = smoothing / classes as f64;
    let mut targets = vec![off as f32; labels.len() * classes];
    for (row, label) in targets.chunks_exact_mut(classes.max(1)).zip(labels) {
        if let Some(on) = row.get_mut(*label as usize) {
            *on = (1.0 - smoothing + off) as f32;
        }
    }
    targets
}

/// `-log softmax(logits)[label]`, in `f64`.
pub(crate) fn cross_entropy(logits: &[f32], label: u32) -> f64 {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |m, l| m.max(f64::from(*l)));
    let sum: f64 = logits.iter().map(|l| (f64::from(*l) - largest).exp()).sum();
    largest + sum.ln() - logits.get(label as usize).map_or(f64::NAN, |l| f64::from(*l))
}

/// Place of the label among the logits, 0 for the largest; equal logits rank by class, as in a stable sort. Last where a logit
/// is no number, so that a broken network has no accuracy.
pub(crate) fn rank(logits: &[f32], label: u32) -> usize {
    let label = label as usize;
    let Some(own) = logits.get(label).filter(|_| logits.iter().all(|l| !l.is_nan())) else {
        return logits.len();
    };
    logits.iter().enumerate().filter(|(class, l)| *l > own || (*l == own && *class < label)).count()
}

/// How many rows of `logits [labels.len(), classes]` have their label among the first `k`.
pub(crate) fn count_top(logits: &[f32], labels: &[u32], k: usize) -> usize {
    let classes = (logits.len() / labels.len().max(1)).max(1);
    logits.chunks_exact(classes).zip(labels).filter(|(row, label)| rank(row, **label) < k).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_sums_to_one_and_keeps_most_for_its_label() {
        // timm: smoothing 0.1 of 10 classes is 0.91 on and 0.01 off
        let targets = smooth_targets(&[2, 0], 10, 0.1);
        assert_eq!((targets[2], targets[3], targets[10]), (0.91, 0.01, 0.91));
        assert!((targets[..10].iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(smooth_targets(&[1], 3, 0.0), [0.0, 1.0, 0.0]);
    }

    #[test]
    fn ranks_count_larger_logits_and_break_ties_by_class() {
        let logits = [1.0, 3.0, 3.0, -1.0];
        assert_eq!([0, 1, 2, 3].map(|label| rank(&logits, label)), [2, 0, 1, 3]);
        assert_eq!(count_top(&[1.0, 2.0, 2.0, 1.0], &[1, 1], 1), 1);
        assert_eq!(count_top(&[1.0, 2.0, 2.0, 1.0], &[1, 1], 2), 2);
    }

    #[test]
    fn cross_entropy_survives_large_logits() {
        assert!((cross_entropy(&[0.0, 0.0], 1) - 2_f64.ln()).abs() < 1e-12);
        assert_eq!(cross_entropy(&[1000.0, 0.0], 1), 1000.0);
        assert!(cross_entropy(&[f32::NAN, 0.0], 1).is_nan());
        assert!(!cross_entropy(&[f32::INFINITY, 0.0], 1).is_finite());
    }
}
