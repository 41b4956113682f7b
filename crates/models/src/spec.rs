//! What a model is in numbers, and what follows from them: its grid of patches. `macs.rs` counts its operations.

use inductive_nn::Overlap;
use inductive_ops::Grid;
use serde::{Deserialize, Serialize};

use crate::ResnetSpec;

/// What a model is, in numbers: what all have, and what its family adds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Registry name.
    pub name: String,
    /// Height and width of the images, pixels.
    pub image: (usize, usize),
    /// Side of a patch, pixels; of overlapping patches and a ResNet's last grid, the distance from one to the next.
    pub patch: usize,
    /// Channels of a token; of a ResNet, of its features; of a staged network, of its last stage.
    pub embed_dim: usize,
    /// Blocks; of a staged network, of all stages.
    pub depth: usize,
    /// Classes.
    pub classes: usize,
    /// Architecture.
    pub family: Family,
}

/// Architecture, with what only models of its kind have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// ViT and DeiT, with class token or pooled.
    Vit(Attention),
    /// ConViT.
    Convit(ConvitSpec),
    /// EIT.
    Eit(EitSpec),
    /// SimpleViT with positions in queries and keys.
    SimpleVit(Attention),
    /// ResNet.
    Resnet(ResnetSpec),
    /// ConvMixer.
    ConvMixer(ConvMixerSpec),
    /// The staged network whose layers can leave convolution.
    Prs(StagesSpec),
    /// One from outside this crate, by its name. What is asked of a family's own fields is then unknown: operations are not counted, and
    /// [`ModelSpec::heads`] is 0. What its layers can do, they say themselves ([`inductive_nn::Layer`]): heads, gates, leaving convolution.
    Other(String),
}

impl Default for Family {
    fn default() -> Self {
        Self::Vit(Attention::default())
    }
}

/// The blocks of a vision transformer, and what is read out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attention {
    /// Attention heads.
    pub heads: usize,
    /// Hidden channels of the MLP per channel.
    pub mlp_ratio: f64,
    /// Bias in the query, key and value projections.
    pub qkv_bias: bool,
    /// What the head sees.
    pub pool: Pool,
}

impl Default for Attention {
    /// One head, 4 hidden channels of the MLP per channel, no bias, a class token.
    fn default() -> Self {
        Self { heads: 1, mlp_ratio: 4.0, qkv_bias: false, pool: Pool::Token }
    }
}

/// What a ConViT is beyond patches, width and depth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConvitSpec {
    /// Of all blocks.
    pub attention: Attention,
    /// Blocks with gated positional attention, from the first.
    pub local_up_to_layer: usize,
}

/// What a ConvMixer is beyond patches, width and depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvMixerSpec {
    /// Side of the depthwise filters, patches.
    pub kernel: usize,
    /// ReLU instead of GELU.
    pub relu: bool,
}

/// What becomes of the tokens after the last block; timm's `global_pool`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// The head sees the class token.
    #[default]
    Token,
    /// There is no class token; the head sees the mean of the patches.
    Average,
}

/// What an EIT is beyond patches, width and depth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EitSpec {
    /// Of all blocks.
    pub attention: Attention,
    /// How patches overlap; `None`: ViT's patches, which do not.
    pub overlap: Option<Overlap>,
    /// Channels of each layer that go through the convolution; the others go through attention.
    pub conv_channels: Vec<usize>,
    /// Whether tokens get a learned position embedding.
    pub position_embedding: bool,
    /// Width of the representation layer before the head, if there is one.
    pub representation: Option<usize>,
}

/// What a staged network is beyond patches: its stages, each on half the rows and columns of the one before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StagesSpec {
    /// Channels of each stage.
    pub widths: Vec<usize>,
    /// Blocks of each stage.
    pub blocks: Vec<usize>,
    /// Hidden channels of the MLP per channel.
    pub mlp_ratio: f64,
}

impl ModelSpec {
    /// Blocks of a vision transformer, if it is one.
    pub fn attention(&self) -> Option<&Attention> {
        match &self.family {
            Family::Vit(attention) | Family::SimpleVit(attention) => Some(attention),
            Family::Convit(convit) => Some(&convit.attention),
            Family::Eit(eit) => Some(&eit.attention),
            Family::Resnet(_) | Family::ConvMixer(_) | Family::Prs(_) | Family::Other(_) => None,
        }
    }

    /// Attention heads; 0 for what is no vision transformer of this crate: `heads` of a built model asks its layers. Layers that can leave
    /// convolution have 9 once they are attention.
    pub fn heads(&self) -> usize {
        self.attention().map_or(0, |attention| attention.heads)
    }

    /// Blocks with gated positional attention, from the first; `None` for what is no ConViT.
    pub fn local_up_to_layer(&self) -> Option<usize> {
        match &self.family {
            Family::Convit(convit) => Some(convit.local_up_to_layer),
            _ => None,
        }
    }

    /// What only an EIT has.
    pub fn eit(&self) -> Option<&EitSpec> {
        match &self.family {
            Family::Eit(eit) => Some(eit),
            _ => None,
        }
    }

    /// What only a ResNet has.
    pub fn resnet(&self) -> Option<&ResnetSpec> {
        match &self.family {
            Family::Resnet(resnet) => Some(resnet),
            _ => None,
        }
    }

    /// What only a staged network has.
    pub fn stages(&self) -> Option<&StagesSpec> {
        match &self.family {
            Family::Prs(stages) => Some(stages),
            _ => None,
        }
    }

    /// Whether it has layers that can leave convolution for attention.
    pub fn can_switch(&self) -> bool {
        match &self.family {
            Family::Prs(_) => true,
            Family::Resnet(resnet) => resnet.switchable > 0,
            _ => false,
        }
    }

    /// Whether images of `(height, width)` pixels are covered by its patches.
    pub fn covers(&self, (height, width): (usize, usize)) -> bool {
        match &self.family {
            Family::Resnet(_) | Family::Other(_) => height > 0 && width > 0,
            Family::Eit(EitSpec { overlap: Some(overlap), .. }) => {
                overlap.grids((height, width)).is_ok_and(|(_, patches)| patches.tokens() > 0)
            }
            _ => {
                let side = self.multiple();
                side > 0
                    && height > 0
                    && width > 0
                    && height.is_multiple_of(side)
                    && width.is_multiple_of(side)
            }
        }
    }

    /// Pixels of which height and width of an image are multiples, where patches lie side by side.
    pub(crate) fn multiple(&self) -> usize {
        // Every stage after the first has half the rows and columns.
        let halves = self.stages().map_or(0, |stages| stages.blocks.len().saturating_sub(1).min(16));
        self.patch.checked_mul(1 << halves).unwrap_or(0)
    }

    /// Patches of an image: rows and columns of tokens; the last grid of a ResNet.
    pub fn grid(&self) -> Grid {
        if let Some(resnet) = self.resnet() {
            return resnet.grid(self.image);
        }
        let plain = Grid { rows: self.image.0 / self.patch.max(1), cols: self.image.1 / self.patch.max(1) };
        self.overlap()
            .and_then(|overlap| overlap.grids(self.image).ok())
            .map_or(plain, |(_, patches)| patches)
    }

    /// How patches overlap, where they do.
    pub fn overlap(&self) -> Option<Overlap> {
        self.eit().and_then(|eit| eit.overlap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_of_overlapping_patches_is_what_the_windows_leave() {
        let spec = |image, kernel, stride, pool| ModelSpec {
            image,
            patch: stride * pool,
            family: Family::Eit(EitSpec {
                overlap: Some(Overlap { kernel, stride, pool }),
                ..EitSpec::default()
            }),
            ..ModelSpec::default()
        };
        for (spec, rows, cols) in [
            (spec((224, 224), 16, 4, 3), 19, 19),
            (spec((32, 32), 16, 4, 3), 3, 3),
            (spec((64, 64), 16, 4, 3), 5, 5),
            (spec((32, 32), 3, 1, 4), 8, 8),
            (spec((32, 24), 3, 1, 4), 8, 6),
        ] {
            assert_eq!(spec.grid(), Grid { rows, cols });
        }
    }
}
