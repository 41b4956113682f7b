//! Attention maps to look at: one per head.

use inductive_nn::AttentionRecord;

/// The attention map of each head, `[tokens, tokens]` (rows are queries), averaged over the batch; a class token comes first.
pub fn mean_maps(record: &AttentionRecord<f32>) -> Vec<Vec<f32>> {
    let size = record.layout.tokens().pow(2);
    let mut sums = vec![vec![0.0f64; size]; record.heads];
    for sample in record.map.chunks_exact((record.heads * size).max(1)) {
        for (sum, map) in sums.iter_mut().zip(sample.chunks_exact(size)) {
            sum.iter_mut().zip(map).for_each(|(sum, value)| *sum += f64::from(*value));
        }
    }
    let mean = |sum: f64| (sum / record.batch.max(1) as f64) as f32;
    sums.into_iter().map(|map| map.into_iter().map(mean).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use inductive_nn::Layout;
    use inductive_ops::Grid;

    #[test]
    fn samples_are_averaged_and_heads_are_not() {
        let layout = Layout::with_class_token(Grid { rows: 1, cols: 1 });
        let map = vec![
            1.0, 0.0, 0.5, 0.5, /* head 1 */ 0.0, 1.0, 1.0, 0.0, //
            0.0, 1.0, 0.5, 0.5, /* head 1 */ 0.0, 1.0, 0.5, 0.5,
        ];
        let record = AttentionRecord { map, batch: 2, heads: 2, layout, gates: None };
        assert_eq!(mean_maps(&record), [[0.5, 0.5, 0.5, 0.5], [0.0, 1.0, 0.75, 0.25]]);
    }
}
