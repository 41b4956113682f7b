//! How much of the attention goes where its initial weights aim.

use inductive_init::Target;
use inductive_nn::AttentionRecord;

/// Attention to the target, averaged over the batch, the heads and the queries that have one: 1 if each patch attends to its
/// head's target alone, 1 / tokens for uniform attention.
///
/// targets: one per head. Rows and columns of a class token are left out and the rest is not renormalised. NaN where the
/// record holds no sample or the targets are not those of its heads and patches.
pub fn target_mass(record: &AttentionRecord<f32>, targets: &[Target]) -> f64 {
    let (tokens, patches) = (record.layout.tokens(), record.layout.grid.tokens());
    if targets.len() != record.heads || targets.iter().any(|target| target.tokens() != patches) {
        return f64::NAN;
    }
    let prefix = record.layout.prefix;
    let of_head = |map: &[f32], target: &Target| {
        let pairs = target.keys().iter().enumerate().filter_map(|(query, key)| Some((query, (*key)?)));
        let (sum, count) = pairs.fold((0.0, 0), |(sum, count), (query, key)| {
            (sum + f64::from(map[(prefix + query) * tokens + prefix + key]), count + 1)
        });
        sum / f64::from(count)
    };
    let maps = record.map.chunks_exact((tokens * tokens).max(1)).take(record.batch * record.heads);
    let masses: Vec<f64> =
        maps.zip(targets.iter().cycle()).map(|(map, target)| of_head(map, target)).collect();
    masses.iter().sum::<f64>() / masses.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use inductive_init::Offset;
    use inductive_nn::Layout;
    use inductive_ops::Grid;

    fn target(right: i32) -> Target {
        Target::impulse(Grid { rows: 1, cols: 3 }, Offset { down: 0, right }).unwrap()
    }

    fn record(prefix: usize, map: Vec<f32>, batch: usize, heads: usize) -> AttentionRecord<f32> {
        let layout = Layout { grid: Grid { rows: 1, cols: 3 }, prefix };
        AttentionRecord { map, batch, heads, layout, gates: None }
    }

    #[test]
    fn queries_without_target_and_the_class_token_do_not_count() {
        // Rows: class token, then three patches. Targets: the patch to the right, which the last has none of.
        let map = vec![
            1.0, 0.0, 0.0, 0.0, //
            0.0, 0.2, 0.6, 0.2, //
            0.5, 0.1, 0.2, 0.2, //
            0.0, 0.0, 0.0, 1.0,
        ];
        assert!((target_mass(&record(1, map, 1, 1), &[target(1)]) - 0.4).abs() < 1e-7);
    }

    #[test]
    fn heads_have_their_own_targets_in_every_sample() {
        let (here, right) = (
            [1.0f32, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
            [0.0f32, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0],
        );
        let twice = [here, right, here, right].concat();
        assert_eq!(target_mass(&record(0, twice.clone(), 2, 2), &[target(0), target(1)]), 1.0);
        assert_eq!(target_mass(&record(0, twice.clone(), 2, 2), &[target(1), target(0)]), 0.0);
        assert!(target_mass(&record(0, twice, 2, 2), &[target(1)]).is_nan());
        assert!(target_mass(&record(0, Vec::new(), 0, 1), &[target(1)]).is_nan());
    }
}
