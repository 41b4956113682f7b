//! Whether a position embedding of another grid can be resampled, and from which grid to which.

use super::{
    Adaptation, LoadOptions,
    resample::{cells, resample_abs_pos_embed},
};
use crate::Result;

/// From one grid (rows, columns) to another, behind `prefix` positions that are copied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Change {
    prefix: usize,
    from: (usize, usize),
    to: (usize, usize),
}

impl Change {
    /// The values of a parameter of that shape.
    pub fn apply(&self, values: &[f32], shape: &[usize]) -> Result<Vec<f32>> {
        let channels = shape.last().copied().unwrap_or(0);
        resample_abs_pos_embed(values, channels, self.prefix, self.from, self.to)
    }
}

impl From<Change> for Adaptation {
    fn from(Change { prefix, from, to }: Change) -> Self {
        Self::Resampled { from, to, prefix }
    }
}

/// What a tensor `file: [1, tokens, channels]` needs to become a parameter `model: [1, tokens, channels]`.
/// `None` if it is no position embedding, or needs nothing; an error says what to do.
///
/// With equal shapes the values are taken as they are unless both grids are given and differ: a rectangular model
/// reads its own checkpoints back. (timm would take the file's grid for a square one.)
pub(super) fn fit(
    name: &str,
    file: &[usize],
    model: &[usize],
    options: &LoadOptions,
) -> Result<Option<Change>, String> {
    let (&[1, file_tokens, file_channels], &[1, tokens, channels]) = (file, model) else { return Ok(None) };
    if name.rsplit('.').next() != Some("pos_embed") || file_channels != channels {
        return Ok(None);
    }
    let same_grid = match (options.grid, options.file_grid) {
        (Some(grid), Some(file_grid)) => grid == file_grid,
        _ => true,
    };
    if file_tokens == tokens && same_grid {
        return Ok(None);
    }
    if !options.resample {
        return Err(
            "it is of another grid; allow resampling, or build the model for the file's grid".to_owned()
        );
    }
    let (prefix, to) = match options.grid {
        Some(grid) => {
            let prefix = cells(grid).and_then(|n| tokens.checked_sub(n));
            (
                prefix.ok_or_else(|| {
                    format!("the grid {grid:?} given for the model is not one of {tokens} tokens")
                })?,
                grid,
            )
        }
        None => infer(tokens).ok_or_else(|| {
            format!("the model's {tokens} tokens are no square grid; give its rows and columns")
        })?,
    };
    let patches = file_tokens.checked_sub(prefix);
    let from = match options.file_grid {
        Some(grid) => Some(grid).filter(|g| cells(*g) == patches),
        None => patches.and_then(square),
    };
    let from = from.ok_or_else(|| {
        let of = options.file_grid.map_or_else(|| "a square grid".to_owned(), |g| format!("a grid of {g:?}"));
        format!(
            "the file's {file_tokens} tokens are not {prefix} prefix token(s) and {of}; give the file's rows and columns"
        )
    })?;
    Ok(Some(Change { prefix, from, to }))
}

/// Prefix tokens and grid of `tokens` positions: a square grid, or a class token and a square grid.
fn infer(tokens: usize) -> Option<(usize, (usize, usize))> {
    let behind = |prefix: usize| Some((prefix, square(tokens.checked_sub(prefix)?)?));
    behind(0).or_else(|| behind(1))
}

/// The square grid of that many cells.
fn square(cells: usize) -> Option<(usize, usize)> {
    let side = cells.isqrt();
    (side > 0 && side * side == cells).then_some((side, side))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(file: usize, model: usize, options: &LoadOptions) -> Result<Option<Change>, String> {
        fit("pos_embed", &[1, file, 8], &[1, model, 8], options)
    }

    #[test]
    fn square_grids_and_a_class_token_are_inferred() {
        let options = LoadOptions::new();
        let want = |prefix, from, to| Ok(Some(Change { prefix, from: (from, from), to: (to, to) }));
        assert_eq!(change(196, 64, &options), want(0, 14, 8));
        assert_eq!(change(197, 65, &options), want(1, 14, 8));
        assert_eq!(change(17, 577, &options), want(1, 4, 24));
        assert_eq!(change(64, 64, &options), Ok(None));
    }

    #[test]
    fn rectangles_need_to_be_told() {
        let options = LoadOptions::new();
        assert!(change(16, 6, &options).unwrap_err().contains("6 tokens are no square grid; give"));
        assert!(change(6, 16, &options).unwrap_err().contains("give the file's rows and columns"));
        assert_eq!(
            change(7, 13, &options.clone().grid(3, 4).file_grid(2, 3)),
            Ok(Some(Change { prefix: 1, from: (2, 3), to: (3, 4) }))
        );
        assert!(change(7, 13, &options.clone().grid(4, 4)).unwrap_err().contains("(4, 4)"));
        assert!(change(7, 13, &options.clone().grid(0, 4)).is_err());
        assert!(change(7, 13, &options.grid(3, 4).file_grid(3, 3)).unwrap_err().contains("(3, 3)"));
    }

    #[test]
    fn equal_shapes_are_resampled_only_between_two_known_grids() {
        let rectangle = LoadOptions::new().grid(2, 8);
        assert_eq!(change(16, 16, &rectangle), Ok(None));
        let turned = rectangle.clone().file_grid(8, 2);
        assert_eq!(change(16, 16, &turned), Ok(Some(Change { prefix: 0, from: (8, 2), to: (2, 8) })));
        assert_eq!(change(16, 16, &rectangle.file_grid(2, 8)), Ok(None));
    }

    #[test]
    fn a_class_position_on_one_side_only_is_refused_with_the_reason() {
        let help = change(197, 64, &LoadOptions::new()).unwrap_err();
        assert!(help.contains("197 tokens are not 0 prefix token(s)"), "{help}");
        assert!(change(196, 65, &LoadOptions::new()).is_err());
    }

    #[test]
    fn only_position_embeddings_of_the_same_width_are_resampled() {
        let options = LoadOptions::new();
        assert_eq!(fit("cls_token", &[1, 4, 8], &[1, 9, 8], &options), Ok(None));
        assert_eq!(fit("pos_embed", &[1, 4, 8], &[1, 9, 6], &options), Ok(None));
        assert_eq!(fit("pos_embed", &[4, 8], &[1, 9, 8], &options), Ok(None));
        assert!(matches!(fit("encoder.pos_embed", &[1, 4, 8], &[1, 9, 8], &options), Ok(Some(_))));
    }
}
