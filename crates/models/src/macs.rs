//! Multiplications and additions of a model, counted from its numbers.

use crate::{ConvMixerSpec, Family, ModelSpec, Pool, StagesSpec};

/// Multiplications and additions (pairs) of a block of a transformer or a ConvMixer.
#[derive(Default)]
struct BlockMacs {
    /// All of them.
    all: u64,
    /// The products of queries with keys and of attention with values.
    attention_products: u64,
    /// Those that the class token after the block does not depend on; 0 without class token.
    not_of_class_token: u64,
}

impl ModelSpec {
    /// Multiplications and additions (pairs) of one image's forward pass, attention products included: what the
    /// reference implementation computes. Norms, activations, pooling and biases are not counted. Layers that can leave
    /// convolution count as convolutions: [`StagesSpec::attention_macs`] says what is added. 0 for [`Family::Other`].
    pub fn macs(&self) -> u64 {
        match &self.family {
            Family::Other(_) => 0,
            Family::Resnet(resnet) => resnet.macs(self.image, self.classes),
            Family::Prs(stages) => self.patch_macs() + stages.macs(self.grid().tokens()) + self.head_macs(),
            _ => {
                let blocks: u64 = (0..self.depth).map(|layer| self.block_macs(layer).all).sum();
                self.patch_macs() + blocks + self.head_macs()
            }
        }
    }

    /// [`ModelSpec::macs`] without the products of queries with keys and of attention with values: what counters that look
    /// at layers alone report, biases and pooling apart (EIT publishes ptflops' count, which adds those).
    pub fn macs_of_layers(&self) -> u64 {
        let products = |layer| self.block_macs(layer).attention_products;
        self.macs() - (0..self.depth).map(products).sum::<u64>()
    }

    /// Those of [`ModelSpec::macs`] that the logits depend on: in the last block, after keys and values, the class
    /// token's alone, if there is one.
    pub fn macs_of_logits(&self) -> u64 {
        let last = self.depth.checked_sub(1);
        self.macs() - last.map_or(0, |last| self.block_macs(last).not_of_class_token)
    }

    /// Those of the patch embedding, or a ResNet's first convolution.
    pub fn patch_macs(&self) -> u64 {
        let width = match &self.family {
            Family::Other(_) => return 0,
            Family::Resnet(resnet) => return resnet.stem_macs(self.image),
            Family::Prs(stages) => stages.widths.first().copied().unwrap_or(self.embed_dim),
            _ => self.embed_dim,
        };
        let (side, places) = match self.overlap() {
            Some(overlap) => (overlap.kernel, overlap.grids(self.image).map_or(0, |(map, _)| map.tokens())),
            None => (self.patch, self.grid().tokens()),
        };
        (places * width * 3 * side * side) as u64
    }

    /// Those of block `layer`: attention over `a` of the channels, a 3x3 depthwise convolution over the rest, the MLP; of a
    /// ConvMixer a depthwise convolution and a linear layer. Those of ResNets and stages are counted as a whole.
    fn block_macs(&self, layer: usize) -> BlockMacs {
        let (c, patches) = (self.embed_dim as u64, self.grid().tokens() as u64);
        let conv = match &self.family {
            Family::ConvMixer(ConvMixerSpec { kernel, .. }) => {
                return BlockMacs {
                    all: patches * c * ((kernel * kernel) as u64 + c),
                    ..BlockMacs::default()
                };
            }
            Family::Eit(eit) => eit.conv_channels.get(layer).map_or(0, |channels| *channels as u64),
            _ => 0,
        };
        let Some(attention) = self.attention() else { return BlockMacs::default() };
        let (a, mlp) = (c - conv, 2 * c * (attention.mlp_ratio * c as f64) as u64);
        let class_token =
            attention.pool == Pool::Token && layer >= self.local_up_to_layer().unwrap_or_default();
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
        let macs = match self.eit().and_then(|eit| eit.representation) {
            Some(width) => width * (c + classes),
            None => c * classes,
        };
        macs as u64
    }
}

impl StagesSpec {
    /// Multiplications and additions (pairs) of all blocks, their mixers as 3x3 convolutions, and of the 2x2 convolutions
    /// between the stages. tokens: of the first stage.
    pub fn macs(&self, tokens: usize) -> u64 {
        let blocks =
            self.sum(tokens, |n, c| 9 * n * c * c + 2 * n * c * (self.mlp_ratio * c as f64) as usize);
        let between = self.widths.windows(2).enumerate().map(|(stage, widths)| {
            let places = tokens >> (2 * (stage + 1));
            (4 * places * widths[0] * widths[1]) as u64
        });
        blocks + between.sum::<u64>()
    }

    /// What is added when all layers are attention with this many heads and numbers in a query: aggregation over the
    /// tokens, scores, projections of queries and keys. Attention by position alone has only the first, and of sharp
    /// positions one product per head and token.
    pub fn attention_macs(&self, tokens: usize, heads: usize, query: usize) -> u64 {
        self.sum(tokens, |n, c| heads * (n * n * c + n * n * query + 2 * n * c * query))
    }

    /// Over all blocks, of their tokens and channels.
    fn sum(&self, tokens: usize, of: impl Fn(usize, usize) -> usize) -> u64 {
        let stages = self.widths.iter().zip(&self.blocks).enumerate();
        stages.map(|(stage, (width, blocks))| (blocks * of(tokens >> (2 * stage), *width)) as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Attention;
    use inductive_ops::Grid;

    /// 2 patches, one block of 4 channels, 8 hidden: few enough to be counted by hand.
    fn vit(pool: Pool) -> ModelSpec {
        ModelSpec {
            image: (2, 4),
            patch: 2,
            embed_dim: 4,
            depth: 1,
            classes: 10,
            family: Family::Vit(Attention { mlp_ratio: 2.0, pool, ..Default::default() }),
            ..ModelSpec::default()
        }
    }

    #[test]
    fn the_logits_need_less_than_all_tokens_of_the_last_block() {
        let spec = vit(Pool::Token);
        let (patches, head) = (2 * 4 * 12, 40);
        assert_eq!(spec.patch_macs(), patches);
        // q, k, v, scores, product with v, projection, MLP.
        assert_eq!(spec.macs(), patches + 3 * 3 * 16 + 3 * 3 * 4 * 2 + 3 * 16 + 3 * 64 + head);
        assert_eq!(spec.macs_of_logits(), patches + 16 + 2 * 3 * 16 + 3 * 4 * 2 + 16 + 64 + head);
        assert_eq!(spec.macs_of_layers(), spec.macs() - 3 * 3 * 4 * 2);
    }

    #[test]
    fn without_class_token_there_are_patches_alone_and_all_are_needed() {
        let (token, spec) = (vit(Pool::Token), vit(Pool::Average));
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
            family: Family::ConvMixer(ConvMixerSpec { kernel: 3, relu: false }),
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
            classes: 10,
            family: Family::Prs(StagesSpec { widths: vec![5, 7], blocks: vec![1, 2], mlp_ratio: 4.0 }),
            ..ModelSpec::default()
        };
        let patches = 16 * 5 * 12;
        assert_eq!(spec.patch_macs(), patches);
        let blocks = 16 * 17 * 25 + 4 * 4 * 5 * 7 + 2 * 4 * 17 * 49;
        assert_eq!(spec.macs(), patches + blocks + 70);
        assert_eq!([spec.macs_of_layers(), spec.macs_of_logits()], [spec.macs(); 2]);
        // 9 heads of 16: aggregation, scores, queries and keys
        let attention = |n: u64, c: u64| 9 * n * n * c + 9 * n * n * 16 + 2 * 9 * n * c * 16;
        assert_eq!(spec.stages().unwrap().attention_macs(16, 9, 16), attention(16, 5) + 2 * attention(4, 7));
    }
}
