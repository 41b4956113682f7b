//! What a model is in numbers, and what follows from them: its grid of patches, its operations.

use inductive_nn::Overlap;
use inductive_ops::Grid;
use serde::{Deserialize, Serialize};

use crate::{ResnetSpec, StagesSpec};

/// What a model is, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Registry name.
    pub name: String,
    /// Architecture: `vit`, `convit`, `eit`, `simple_vit`, `resnet`, `convmixer` or `prs`.
    pub family: String,
    /// Height and width of the images, pixels.
    pub image: (usize, usize),
    /// Side of a patch, pixels; of overlapping patches and a ResNet's last grid, the distance from one to the next.
    pub patch: usize,
    /// Channels of a token; of a ResNet, of its features.
    pub embed_dim: usize,
    /// Attention heads; 0 for a ResNet or ConvMixer, and for a `prs_*`, whose layers have 9 once they are attention.
    pub heads: usize,
    /// Blocks.
    pub depth: usize,
    /// Blocks with gated positional attention, from the first (ConViT).
    pub local_up_to_layer: usize,
    /// Hidden channels of the MLP per channel.
    pub mlp_ratio: f64,
    /// Bias in the query, key and value projections.
    pub qkv_bias: bool,
    /// What the head sees.
    #[serde(default)]
    pub pool: Pool,
    /// Classes.
    pub classes: usize,
    /// What EIT adds; `None` for the other families.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eit: Option<EitSpec>,
    /// What a ResNet is; `None` for the other families. Of the fields above it has name, family, image, patch, width, depth and classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resnet: Option<ResnetSpec>,
    /// What a ConvMixer is; `None` for the other families. Of the fields above it has those that a ResNet has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convmixer: Option<ConvMixerSpec>,
    /// The stages of a `prs_*`; `None` for the other families. Width is the last stage's, depth all blocks', the grid the first's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stages: Option<StagesSpec>,
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

/// What an EIT is beyond a vision transformer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EitSpec {
    /// How patches overlap; `None`: ViT's patches, which do not.
    pub overlap: Option<Overlap>,
    /// Channels of each layer that go through the convolution; the others go through attention.
    pub conv_channels: Vec<usize>,
    /// Whether tokens get a learned position embedding.
    pub position_embedding: bool,
    /// Width of the representation layer before the head, if there is one.
    pub representation: Option<usize>,
}

/// Multiplications and additions (pairs) of a block of a transformer or a ConvMixer.
struct BlockMacs {
    /// All of them.
    all: u64,
    /// The products of queries with keys and of attention with values.
    attention_products: u64,
    /// Those that the class token after the block does not depend on; 0 without class token.
    not_of_class_token: u64,
}

impl ModelSpec {
    /// Whether it has layers that can leave convolution for attention.
    pub fn can_switch(&self) -> bool {
        self.stages.is_some() || self.resnet.as_ref().is_some_and(|resnet| resnet.switchable > 0)
    }

    /// Whether images of `(height, width)` pixels are covered by its patches.
    pub fn covers(&self, (height, width): (usize, usize)) -> bool {
        if self.resnet.is_some() {
            return height > 0 && width > 0;
        }
        if let Some(overlap) = self.overlap() {
            return overlap.grids((height, width)).is_ok_and(|(_, patches)| patches.tokens() > 0);
        }
        // Every stage after the first has half the rows and columns.
        let stages = self.stages.as_ref().map_or(1, |stages| stages.blocks.len());
        let side = self.patch.checked_mul(1 << stages.saturating_sub(1).min(16)).unwrap_or(0);
        side > 0 && height > 0 && width > 0 && height.is_multiple_of(side) && width.is_multiple_of(side)
    }

    /// Patches of an image: rows and columns of tokens; the last grid of a ResNet.
    pub fn grid(&self) -> Grid {
        if let Some(resnet) = &self.resnet {
            return resnet.grid(self.image);
        }
        let plain = Grid { rows: self.image.0 / self.patch.max(1), cols: self.image.1 / self.patch.max(1) };
        self.overlap()
            .and_then(|overlap| overlap.grids(self.image).ok())
            .map_or(plain, |(_, patches)| patches)
    }

    /// Multiplications and additions (pairs) of one image's forward pass, attention products included: what the
    /// reference implementation computes. Norms, activations, pooling and biases are not counted. Layers that can leave
    /// convolution count as convolutions: [`StagesSpec::attention_macs`] says what is added.
    pub fn macs(&self) -> u64 {
        if let Some(resnet) = &self.resnet {
            return resnet.macs(self.image, self.classes);
        }
        if let Some(stages) = &self.stages {
            return self.patch_macs() + stages.macs(self.grid().tokens(), self.mlp_ratio) + self.head_macs();
        }
        let blocks: u64 = (0..self.depth).map(|layer| self.block_macs(layer).all).sum();
        self.patch_macs() + blocks + self.head_macs()
    }

    /// [`ModelSpec::macs`] without the products of queries with keys and of attention with values: what counters that look
    /// at layers alone report, biases and pooling apart (EIT publishes ptflops' count, which adds those).
    pub fn macs_of_layers(&self) -> u64 {
        let products = |layer| self.block_macs(layer).attention_products;
        self.macs() - (0..self.counted_blocks()).map(products).sum::<u64>()
    }

    /// Those of [`ModelSpec::macs`] that the logits depend on: in the last block, after keys and values, the class
    /// token's alone, if there is one.
    pub fn macs_of_logits(&self) -> u64 {
        let last = self.counted_blocks().checked_sub(1);
        self.macs() - last.map_or(0, |last| self.block_macs(last).not_of_class_token)
    }

    /// Those that [`ModelSpec::block_macs`] tells of; those of a ResNet and of stages are counted as a whole.
    fn counted_blocks(&self) -> usize {
        if self.resnet.is_some() || self.stages.is_some() { 0 } else { self.depth }
    }

    /// Those of the patch embedding, or a ResNet's first convolution.
    pub fn patch_macs(&self) -> u64 {
        if let Some(resnet) = &self.resnet {
            return resnet.stem_macs(self.image);
        }
        let (side, places) = match self.overlap() {
            Some(overlap) => (overlap.kernel, overlap.grids(self.image).map_or(0, |(map, _)| map.tokens())),
            None => (self.patch, self.grid().tokens()),
        };
        let width = self.stages.as_ref().and_then(|it| it.widths.first()).unwrap_or(&self.embed_dim);
        (places * width * 3 * side * side) as u64
    }

    fn overlap(&self) -> Option<Overlap> {
        self.eit.as_ref().and_then(|eit| eit.overlap)
    }

    /// Those of block `layer`: attention over `a` of the channels, a 3x3 depthwise convolution over the rest, the MLP; of a
    /// ConvMixer a depthwise convolution and a linear layer.
    fn block_macs(&self, layer: usize) -> BlockMacs {
        let (c, patches) = (self.embed_dim as u64, self.grid().tokens() as u64);
        if let Some(ConvMixerSpec { kernel, .. }) = self.convmixer {
            let all = patches * c * ((kernel * kernel) as u64 + c);
            return BlockMacs { all, attention_products: 0, not_of_class_token: 0 };
        }
        let conv = self.eit.as_ref().and_then(|eit| eit.conv_channels.get(layer)).map_or(0, |e| *e as u64);
        let (a, mlp) = (c - conv, 2 * c * (self.mlp_ratio * c as f64) as u64);
        let class_token = self.pool == Pool::Token && layer >= self.local_up_to_layer;
        let tokens = patches + u64::from(class_token);
        let convolution = 9 * conv * patches;
        let of_others = || (tokens - 1) * (2 * a * a + mlp + 2 * tokens * a) + convolution;
        BlockMacs {
            all: tokens * (4 * a * a + mlp) + 2 * tokens * tokens * a + convolution,
            attention_products: 2 * tokens * tokens * a,
            not_of_class_token: if class_token { of_others() } else { 0 },
        }
    }

    /// Those of the representation layer and the head.
    fn head_macs(&self) -> u64 {
        let (c, classes) = (self.embed_dim, self.classes);
        let macs = match self.eit.as_ref().and_then(|eit| eit.representation) {
            Some(width) => width * (c + classes),
            None => c * classes,
        };
        macs as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logits_need_less_than_all_tokens_of_the_last_block() {
        // 2 patches and a class token, one block of 4 channels, 8 hidden: counted by hand.
        let spec = ModelSpec {
            image: (2, 4),
            patch: 2,
            embed_dim: 4,
            heads: 1,
            depth: 1,
            mlp_ratio: 2.0,
            classes: 10,
            ..ModelSpec::default()
        };
        let (patches, head) = (2 * 4 * 12, 40);
        assert_eq!(spec.patch_macs(), patches);
        // q, k, v, scores, product with v, projection, MLP.
        assert_eq!(spec.macs(), patches + 3 * 3 * 16 + 3 * 3 * 4 * 2 + 3 * 16 + 3 * 64 + head);
        assert_eq!(spec.macs_of_logits(), patches + 16 + 2 * 3 * 16 + 3 * 4 * 2 + 16 + 64 + head);
        assert_eq!(spec.macs_of_layers(), spec.macs() - 3 * 3 * 4 * 2);
    }

    #[test]
    fn without_class_token_there_are_patches_alone_and_all_are_needed() {
        let token = ModelSpec {
            image: (2, 4),
            patch: 2,
            embed_dim: 4,
            heads: 1,
            depth: 1,
            mlp_ratio: 2.0,
            classes: 10,
            ..ModelSpec::default()
        };
        let spec = ModelSpec { pool: Pool::Average, ..token.clone() };
        assert_eq!(spec.macs(), 2 * 4 * 12 + 2 * 3 * 16 + 2 * 2 * 4 * 2 + 2 * 16 + 2 * 64 + 40);
        assert_eq!(spec.macs_of_logits(), spec.macs());
        assert!(spec.macs() < token.macs());
    }

    #[test]
    fn a_convmixer_has_the_macs_counted_by_hand() {
        // 2 x 3 patches of 4 x 4 pixels, two blocks of 5 channels with 3 x 3 filters.
        let spec = ModelSpec {
            image: (8, 12),
            patch: 4,
            embed_dim: 5,
            depth: 2,
            classes: 10,
            convmixer: Some(ConvMixerSpec { kernel: 3, relu: false }),
            ..ModelSpec::default()
        };
        assert_eq!(spec.grid(), Grid { rows: 2, cols: 3 });
        let patches = 6 * 5 * 3 * 16;
        assert_eq!(spec.patch_macs(), patches);
        assert_eq!(spec.macs(), patches + 2 * 6 * (5 * 9 + 5 * 5) + 50);
        assert_eq!([spec.macs_of_layers(), spec.macs_of_logits()], [spec.macs(); 2]);
    }

    #[test]
    fn stages_have_the_macs_counted_by_hand() {
        // 4 x 4 patches of 2 x 2 pixels, then 2 x 2: one block of 5 channels, two of 7.
        let spec = ModelSpec {
            image: (8, 8),
            patch: 2,
            embed_dim: 7,
            depth: 3,
            mlp_ratio: 4.0,
            classes: 10,
            stages: Some(StagesSpec { widths: vec![5, 7], blocks: vec![1, 2] }),
            ..ModelSpec::default()
        };
        let patches = 16 * 5 * 12;
        assert_eq!(spec.patch_macs(), patches);
        let blocks = 16 * 17 * 25 + 4 * 4 * 5 * 7 + 2 * 4 * 17 * 49;
        assert_eq!(spec.macs(), patches + blocks + 70);
        assert_eq!([spec.macs_of_layers(), spec.macs_of_logits()], [spec.macs(); 2]);
        // 9 heads of 16: aggregation, scores, queries and keys
        let attention = |n: u64, c: u64| 9 * n * n * c + 9 * n * n * 16 + 2 * 9 * n * c * 16;
        assert_eq!(spec.stages.unwrap().attention_macs(16, 9, 16), attention(16, 5) + 2 * attention(4, 7));
    }

    #[test]
    fn the_grid_of_overlapping_patches_is_what_the_windows_leave() {
        let spec = |image, kernel, stride, pool| ModelSpec {
            image,
            patch: stride * pool,
            eit: Some(EitSpec {
                overlap: Some(Overlap { kernel, stride, pool }),
                conv_channels: Vec::new(),
                position_embedding: false,
                representation: None,
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
