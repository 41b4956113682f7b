//! How far attention reaches, in patches.

use inductive_nn::{AttentionRecord, Layout};

/// Non-locality of each head, in patches, averaged over the batch (ConViT, arXiv 2103.10697, section 4):
///
/// ```text
/// D_h = mean_batch 1/N sum_ij A_hij |r_i - r_j|      i, j over the N patches
/// ```
///
/// Rows and columns of a class token are left out and the rest is not renormalised. Uniform attention on 14 x 14
/// patches has 7.2808, on 8 x 8 patches 4.1365. Empty where the record holds no sample.
pub fn nonlocality(record: &AttentionRecord<f32>) -> Vec<f64> {
    per_head(record, dot)
}

/// Mean distance in patches between a patch and what it attends to, of each head (ViT, arXiv 2010.11929, figure 7).
///
/// As [`nonlocality`], but a patch's attention to the other patches is scaled to sum 1, so that what goes to the class
/// token does not make a head look local. A patch that attends to the class token alone counts as distance 0.
pub fn mean_attention_distance(record: &AttentionRecord<f32>) -> Vec<f64> {
    per_head(record, |row, distances| {
        let total: f64 = row.iter().map(|a| f64::from(*a)).sum();
        if total > 0.0 { dot(row, distances) / total } else { 0.0 }
    })
}

/// How differently the heads of a layer look, in patches: the standard deviation over heads (divided by their number) of
/// [`mean_attention_distance`], which is averaged over the batch first.
///
/// A **proxy**: EIT (arXiv 2203.07116) speaks of the diversity of heads, but its definition was not available to us, so
/// the result must not be set beside that paper's figures. Heads that look equally far in different directions count
/// as alike. 0 for one head, and where the record holds no sample.
pub fn head_diversity(record: &AttentionRecord<f32>) -> f64 {
    let heads = mean_attention_distance(record);
    // an empty record has no mean
    let count = heads.len().max(1) as f64;
    let mean = heads.iter().sum::<f64>() / count;
    (heads.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / count).sqrt()
}

fn dot(row: &[f32], distances: &[f64]) -> f64 {
    row.iter().zip(distances).map(|(a, d)| f64::from(*a) * d).sum()
}

/// The mean of `measure(attention of a patch to all patches, distances to them)` over patches and batch, per head.
fn per_head(record: &AttentionRecord<f32>, measure: impl Fn(&[f32], &[f64]) -> f64) -> Vec<f64> {
    let Layout { prefix, grid } = record.layout;
    let (tokens, patches) = (record.layout.tokens(), grid.tokens());
    if record.batch == 0 || patches == 0 {
        return Vec::new();
    }
    let distances = distances(grid.rows, grid.cols);
    let mut sums = vec![0.0; record.heads];
    for sample in record.map.chunks_exact(record.heads * tokens * tokens).take(record.batch) {
        for (sum, map) in sums.iter_mut().zip(sample.chunks_exact(tokens * tokens)) {
            let rows = map.chunks_exact(tokens).skip(prefix).zip(distances.chunks_exact(patches));
            *sum += rows.map(|(row, distances)| measure(&row[prefix..], distances)).sum::<f64>();
        }
    }
    sums.into_iter().map(|sum| sum / (record.batch * patches) as f64).collect()
}

/// Euclidean distances between all pairs of patches: `[patches, patches]`.
fn distances(rows: usize, cols: usize) -> Vec<f64> {
    let places = || (0..rows).flat_map(|y| (0..cols).map(move |x| (y as f64, x as f64)));
    places().flat_map(|(y, x)| places().map(move |(v, u)| (y - v).hypot(x - u))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use inductive_ops::Grid;

    fn record(side: usize, prefix: usize, map: Vec<f32>, heads: usize) -> AttentionRecord<f32> {
        let layout = Layout { grid: Grid { rows: side, cols: side }, prefix };
        let batch = map.len() / (heads * layout.tokens().pow(2));
        AttentionRecord { map, batch, heads, layout, gates: None }
    }

    fn uniform(side: usize, prefix: usize) -> AttentionRecord<f32> {
        let tokens = side * side + prefix;
        record(side, prefix, vec![1.0 / tokens as f32; tokens * tokens], 1)
    }

    /// `softmax_j(-alpha |x_j - x_i - centre|^2)` of the four heads of ConViT's local initialisation.
    fn positional(side: usize) -> Vec<f32> {
        let place = |n: usize| ((n / side) as f64, (n % side) as f64);
        let mut map = Vec::new();
        for (down, right) in [(-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)] {
            for i in 0..side * side {
                let (y, x) = place(i);
                let score = |j| {
                    let (v, u) = place(j);
                    (-((v - y - down).powi(2) + (u - x - right).powi(2))).exp()
                };
                let total: f64 = (0..side * side).map(score).sum();
                map.extend((0..side * side).map(|j| (score(j) / total) as f32));
            }
        }
        map
    }

    fn assert_close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-4, "{got} {want}");
    }

    /// Golden values of ConViT's nonlocality (arXiv 2103.10697, section 4).
    #[test]
    fn uniform_attention_has_the_known_values() {
        assert_close(nonlocality(&uniform(14, 0))[0], 7.2808);
        assert_close(nonlocality(&uniform(8, 0))[0], 4.1365);
    }

    #[test]
    fn positional_attention_at_initialisation_has_the_known_values() {
        for (side, want) in [(14, 0.9860), (8, 0.9374)] {
            let heads = nonlocality(&record(side, 0, positional(side), 4));
            assert_eq!(heads.len(), 4);
            heads.into_iter().for_each(|got| assert_close(got, want));
        }
    }

    /// ConViT-Ti at initialisation with uniform content: gate sigma(1).
    #[test]
    fn a_gated_mixture_has_the_known_values() {
        let gate = 1.0 / (1.0 + (-1.0_f32).exp());
        for (side, want) in [(14, 2.6789), (8, 1.7977)] {
            let content = 1.0 / (side * side) as f32;
            let map = positional(side).into_iter().map(|p| gate * p + (1.0 - gate) * content).collect();
            assert_close(nonlocality(&record(side, 0, map, 4))[0], want);
        }
    }

    #[test]
    fn the_class_token_is_left_out_with_and_without_renormalising() {
        let record = uniform(8, 1);
        assert_close(nonlocality(&record)[0], 4.1365 * 64.0 / 65.0);
        assert_close(mean_attention_distance(&record)[0], 4.1365);
    }

    #[test]
    fn samples_are_averaged_and_heads_are_not() {
        let identity: Vec<f32> = (0..16).map(|n| f32::from(u8::from(n % 5 == 0))).collect();
        let even = vec![0.25; 16];
        // two samples of two heads on 2 x 2 patches
        let map = [identity.clone(), even.clone(), even, identity.clone()].concat();
        let far = nonlocality(&uniform(2, 0))[0];
        assert_eq!(nonlocality(&record(2, 0, map, 2)), [far / 2.0, far / 2.0]);
        assert_eq!(nonlocality(&record(2, 0, identity, 1)), [0.0]);
    }

    #[test]
    fn heads_that_look_equally_far_have_no_diversity() {
        let one = uniform(8, 1).map;
        assert_eq!(head_diversity(&record(8, 1, one.clone(), 1)), 0.0);
        assert!(head_diversity(&record(8, 1, one.repeat(4), 4)) < 1e-12);
        assert_eq!(head_diversity(&record(8, 1, Vec::new(), 4)), 0.0);
    }

    #[test]
    fn a_local_and_a_uniform_head_differ_by_half_the_uniform_distance() {
        let local: Vec<f32> = (0..64 * 64).map(|n| f32::from(u8::from(n % 65 == 0))).collect();
        let both = [local, uniform(8, 0).map].concat();
        assert_close(head_diversity(&record(8, 0, both.clone(), 2)), 4.1365 / 2.0);
        // the population's: a second pair of the same heads changes nothing
        assert_close(head_diversity(&record(8, 0, both.repeat(2), 4)), 4.1365 / 2.0);
    }

    /// Each sample by itself has two heads that differ; on average over the batch they do not.
    #[test]
    fn heads_are_compared_after_averaging_over_the_batch() {
        let identity: Vec<f32> = (0..16).map(|n| f32::from(u8::from(n % 5 == 0))).collect();
        let even = vec![0.25; 16];
        let map = [identity.clone(), even.clone(), even, identity].concat();
        assert_eq!(head_diversity(&record(2, 0, map, 2)), 0.0);
    }

    #[test]
    fn distances_on_rectangular_grids_follow_rows_and_columns() {
        assert_eq!(distances(1, 3), [0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0]);
        assert_eq!(distances(2, 1), [0.0, 1.0, 1.0, 0.0]);
    }
}
