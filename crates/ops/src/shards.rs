//! Sums over rows or samples that do not depend on the threads: a fixed number of shards, each with sums of its own,
//! added up in order.

use std::ops::Range;

use rayon::prelude::*;

use crate::residual;

/// Elements that one task adds up.
const CHUNK: usize = 1 << 14;

/// Number of shards for `rows` rows: enough for many threads where there is work for them, few copies of the sums else.
pub(crate) fn count(rows: usize) -> usize {
    if rows >= 8192 { 16 } else { 8 }
}

/// The part of `total` items that shard `index` of `count` takes; parts differ by one item at most.
pub(crate) fn part(total: usize, count: usize, index: usize) -> Range<usize> {
    total * index / count..total * (index + 1) / count
}

/// Adds the shards' sums to `gradients`, whose arrays lie one after the other in each shard; an empty shard is skipped.
pub(crate) fn reduce(shards: &[Vec<f32>], gradients: Vec<&mut [f32]>) {
    let mut tasks = Vec::new();
    let mut first = 0;
    for gradient in gradients {
        for part in gradient.chunks_mut(CHUNK) {
            let len = part.len();
            tasks.push((first, part));
            first += len;
        }
    }
    for shard in shards.iter().filter(|shard| !shard.is_empty()) {
        assert_eq!(shard.len(), first, "a shard has the sums of all gradients");
    }
    let add = |(first, part): (usize, &mut [f32])| {
        for shard in shards.iter().filter(|shard| !shard.is_empty()) {
            residual::add(&shard[first..][..part.len()], part);
        }
    };
    tasks.into_par_iter().for_each(add);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_everything_once() {
        for total in [0, 1, 7, 8, 9, 100] {
            let parts: Vec<_> = (0..8).flat_map(|i| part(total, 8, i)).collect();
            assert_eq!(parts, (0..total).collect::<Vec<_>>());
        }
    }

    #[test]
    fn sums_of_all_shards_reach_their_gradients() {
        let long = CHUNK + 5;
        let shards = [vec![1.0; long + 3], Vec::new(), (0..long + 3).map(|i| i as f32).collect()];
        let (mut a, mut b) = (vec![10.0; long], vec![20.0; 3]);
        reduce(&shards, vec![&mut a, &mut b]);
        assert!(a.iter().enumerate().all(|(i, v)| *v == 11.0 + i as f32));
        assert_eq!(b, [0, 1, 2].map(|i| 21.0 + (long + i) as f32));
    }
}
