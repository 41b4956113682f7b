//! Where the heads of layers that have left convolution look by position (Cordonnier et al., ICLR 2020).

use std::collections::BTreeSet;

use super::{At, Measures, Moment};

/// Layers that are measured: those of the first stage.
const FIRST: usize = 3;
/// How near an offset a head has to be, patches.
const NEAR: f64 = 0.5;

/// `dx`, `dy`, `alpha` of the heads of each layer.
type Places = Vec<Vec<[f64; 3]>>;

/// Adds the share of heads at the offsets of a grid, the mean distance and sharpness of heads, and where those of the first layer
/// are.
pub(super) fn add(all: &mut Measures) {
    for (name, reach) in [("heads_on_3x3", 1.0), ("heads_on_5x5", 2.0)] {
        all.number(name, move |at| Some(100.0 * share(&places(at), reach)));
    }
    all.number("head_distance", |at| Some(mean(&places(at), |[dx, dy, _]| dx.hypot(*dy))));
    all.number("head_alpha", |at| Some(mean(&places(at), |[_, _, alpha]| *alpha)));
    for (name, which) in [("head_dx", 0), ("head_dy", 1)] {
        all.layers(name, move |at| Some(places(at).first()?.iter().map(|head| head[which]).collect()));
    }
}

/// Where the heads of a run look at that moment.
fn places(at: &At<'_>) -> Places {
    if at.moment != Moment::Start {
        return at.metrics().map(|metrics| metrics.head_positions.clone()).unwrap_or_default();
    }
    let recipe = &at.run.cell.recipe;
    let Some(switch) = &recipe.switch else { return Vec::new() };
    let how = switch.how(recipe.seed);
    let rows = |layer| how.positions.rows(3, layer).unwrap_or_default();
    let place = |row: &[f64]| [row[0] / (-2.0 * row[2]), row[1] / (-2.0 * row[2]), -row[2]];
    (0..FIRST).map(|layer| rows(layer).chunks_exact(3).map(place).collect()).collect()
}

/// The share of a layer's heads that are within [`NEAR`] of an offset of the grid up to `reach` patches away which no
/// other head is counted for, mean over the first layers; NaN without layers.
fn share(places: &Places, reach: f64) -> f64 {
    let found = |heads: &Vec<[f64; 3]>| {
        let near = heads.iter().filter(|[dx, dy, alpha]| {
            let (ox, oy) = (dx.round(), dy.round());
            *alpha > 0.0 && ox.abs().max(oy.abs()) <= reach && (dx - ox).hypot(dy - oy) <= NEAR
        });
        let offsets: BTreeSet<_> = near.map(|[dx, dy, _]| (dx.round() as i64, dy.round() as i64)).collect();
        offsets.len() as f64 / heads.len() as f64
    };
    let shares: Vec<f64> = places.iter().take(FIRST).map(found).collect();
    shares.iter().sum::<f64>() / shares.len() as f64
}

/// The mean of `measure` over all heads of the first layers.
fn mean(places: &Places, measure: impl Fn(&[f64; 3]) -> f64) -> f64 {
    let heads: Vec<f64> = places.iter().take(FIRST).flatten().map(measure).collect();
    heads.iter().sum::<f64>() / heads.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nine heads at the places of a 3 x 3 kernel, a little beside them.
    fn kernel(beside: f64) -> Vec<[f64; 3]> {
        (0..9).map(|h| [f64::from(h / 3 - 1) + beside, f64::from(h % 3 - 1), 1.0]).collect()
    }

    #[test]
    fn an_offset_counts_once_and_only_from_near() {
        assert!((share(&vec![kernel(0.3); 3], 1.0) - 1.0).abs() < 1e-12);
        let between = vec![vec![[0.4, 0.4, 1.0]; 9]; 3];
        assert_eq!(share(&between, 2.0), 0.0);
        let far = vec![vec![[2.0, 0.0, 1.0]; 9]; 3];
        assert!(share(&far, 1.0) == 0.0 && share(&far, 2.0) > 0.0);
        let crowd = vec![vec![[0.1, 0.1, 1.0]; 9]; 3];
        assert!((share(&crowd, 2.0) - 1.0 / 9.0).abs() < 1e-12);
        let none = vec![vec![[0.0, 0.0, -1.0]; 9]; 3];
        assert_eq!(share(&none, 2.0), 0.0);
        assert!(share(&Vec::new(), 1.0).is_nan());
    }
}
