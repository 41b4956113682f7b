//! Drop path rates over depth.

use crate::{Result, error::setting};

/// The drop path rate of each layer: `linspace(0, rate, depth)`, the first layer never dropped.
///
/// timm equivalent: `[x.item() for x in torch.linspace(0, drop_path_rate, depth)]`. Computed in `f32` as torch's
/// kernel for the CPU is written: from the start in the first half, from the end in the second, to which the middle of an odd
/// depth belongs. (A compiler that fuses its multiplication and subtraction may round the second half otherwise.)
///
/// # Errors
/// When `rate` is not in `0 <= rate < 1`.
pub fn drop_path_rates(rate: f32, depth: usize) -> Result<Vec<f32>> {
    setting("drop path", "rate", rate.into(), (0.0..1.0).contains(&rate), "0 or more, and less than 1")?;
    let last = depth.saturating_sub(1);
    let step = if last == 0 { 0.0 } else { rate / last as f32 };
    Ok((0..depth)
        .map(|layer| {
            if last == 0 || layer < depth / 2 {
                step * layer as f32
            } else {
                rate - step * (last - layer) as f32
            }
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
    fn the_middle_of_an_odd_depth_is_counted_from_the_end() {
        // end - step (steps - i - 1) where i is not below steps / 2, worked out in exact arithmetic, rounded after each operation.
        for (depth, bits) in [(7, 0x3d4c_cccc), (11, 0x3d4c_ccce), (13, 0x3d4c_cccc), (21, 0x3d4c_ccce)] {
            assert_eq!(drop_path_rates(0.1, depth).unwrap()[depth / 2].to_bits(), bits, "{depth} layers");
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
