//! Drop path rates over depth.

use crate::{Result, error::setting};

/// The drop path rate of each layer: `linspace(0, rate, depth)`, the first layer never dropped.
///
/// timm equivalent: `[x.item() for x in torch.linspace(0, drop_path_rate, depth)]`. Computed in `f32` from both ends to
/// the middle, as torch does, so that the rates have torch's bits.
///
/// # Errors
/// When `rate` is not in `0 <= rate < 1`.
pub fn drop_path_rates(rate: f32, depth: usize) -> Result<Vec<f32>> {
    setting("drop path", "rate", rate.into(), (0.0..1.0).contains(&rate), "0 or more, and less than 1")?;
    let last = depth.saturating_sub(1);
    let step = if last == 0 { 0.0 } else { rate / last as f32 };
    Ok((0..depth)
        .map(|layer| {
            if layer < depth.div_ceil(2) { step * layer as f32 } else { rate - step * (last - layer) as f32 }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_exact_and_rates_grow() {
        for depth in 2..40 {
            let rates = drop_path_rates(0.3, depth).unwrap();
            assert_eq!((rates[0], rates[depth - 1], rates.len()), (0.0, 0.3, depth));
            assert!(rates.is_sorted());
        }
    }

    #[test]
    fn one_layer_is_never_dropped_and_no_layers_have_no_rates() {
        assert_eq!(drop_path_rates(0.1, 1).unwrap(), [0.0]);
        assert_eq!(drop_path_rates(0.1, 0).unwrap(), [0.0; 0]);
    }

    #[test]
    fn rates_that_drop_everything_or_less_than_nothing_are_refused() {
        for rate in [1.0, -0.1, f32::NAN] {
            assert!(drop_path_rates(rate, 4).is_err());
        }
    }
}
