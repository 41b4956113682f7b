//! What a ResNet computes, in numbers.

use inductive_ops::Grid;

use super::layers::strided;

/// What a ResNet is in numbers, the size of the images apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ResnetSpec {
    /// Bottlenecks, which give four times their width, instead of basic blocks.
    pub bottleneck: bool,
    /// The stem for ImageNet instead of the one for CIFAR.
    pub imagenet_stem: bool,
    /// Blocks of each stage.
    pub blocks: Vec<usize>,
    /// Width of each stage: channels of its 3x3 convolutions. The stem has that of the first.
    pub widths: Vec<usize>,
    /// How many of the last stages have 3x3 convolutions that can become attention.
    #[serde(default)]
    pub switchable: usize,
}

impl ResnetSpec {
    /// A ResNet of basic blocks.
    pub fn basic(imagenet_stem: bool, blocks: &[usize], widths: &[usize]) -> Self {
        let (blocks, widths) = (blocks.to_vec(), widths.to_vec());
        Self { bottleneck: false, imagenet_stem, blocks, widths, switchable: 0 }
    }

    /// A ResNet of bottlenecks with the stem for ImageNet.
    pub fn bottleneck(blocks: &[usize], widths: &[usize]) -> Self {
        Self { bottleneck: true, ..Self::basic(true, blocks, widths) }
    }

    /// The same with 3x3 convolutions in the last `stages` stages that can become attention.
    pub fn switching(self, stages: usize) -> Self {
        Self { switchable: stages, ..self }
    }

    /// Channels of the features.
    pub fn features(&self) -> usize {
        self.expansion() * self.widths.last().copied().unwrap_or(0)
    }

    /// The last grid, of which the features are the mean. image: height and width in pixels.
    pub fn grid(&self, image: (usize, usize)) -> Grid {
        self.walk(image).1
    }

    /// Multiplications and additions (pairs) of one image's forward pass: convolutions and head. Batch normalisation is
    /// not counted, as is usual: in inference it can be folded into the convolutions.
    pub fn macs(&self, image: (usize, usize), classes: usize) -> u64 {
        self.walk(image).0 + (self.features() * classes) as u64
    }

    /// Those of [`ResnetSpec::macs`] in the first convolution, whose input needs no gradient.
    pub fn stem_macs(&self, image: (usize, usize)) -> u64 {
        let (kernel, stride) = if self.imagenet_stem { (7, 2) } else { (3, 1) };
        let grid = strided(Grid { rows: image.0, cols: image.1 }, stride);
        macs(grid, 3, self.widths.first().copied().unwrap_or(0), kernel)
    }

    fn expansion(&self) -> usize {
        if self.bottleneck { 4 } else { 1 }
    }

    /// MACs of all convolutions, and the last grid.
    fn walk(&self, image: (usize, usize)) -> (u64, Grid) {
        let mut total = self.stem_macs(image);
        let mut grid = strided(Grid { rows: image.0, cols: image.1 }, if self.imagenet_stem { 4 } else { 1 });
        let mut input = self.widths.first().copied().unwrap_or(0);
        for (stage, (blocks, width)) in self.blocks.iter().zip(&self.widths).enumerate() {
            let output = self.expansion() * width;
            for block in 0..*blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let before = grid;
                grid = strided(grid, stride);
                total += if self.bottleneck {
                    macs(before, input, *width, 1)
                        + macs(grid, *width, *width, 3)
                        + macs(grid, *width, output, 1)
                } else {
                    macs(grid, input, *width, 3) + macs(grid, *width, *width, 3)
                };
                if stride > 1 || input != output {
                    total += macs(grid, input, output, 1);
                }
                input = output;
            }
        }
        (total, grid)
    }
}

/// Of a convolution that gives `output` channels on `grid`.
fn macs(grid: Grid, input: usize, output: usize, kernel: usize) -> u64 {
    (grid.tokens() * input * output * kernel * kernel) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTHS: [usize; 4] = [64, 128, 256, 512];

    #[test]
    fn macs_agree_with_the_published_numbers() {
        // GMACs at 224 pixels, 1000 classes: torchvision's table of models (it says GFLOPS, and counts pairs).
        for (spec, want) in [
            (ResnetSpec::basic(true, &[2, 2, 2, 2], &WIDTHS), 1.81),
            (ResnetSpec::basic(true, &[3, 4, 6, 3], &WIDTHS), 3.66),
            (ResnetSpec::bottleneck(&[3, 4, 6, 3], &WIDTHS), 4.09),
        ] {
            let got = spec.macs((224, 224), 1000) as f64 / 1e9;
            assert!((got / want - 1.0).abs() < 0.01, "{spec:?}: {got} GMACs, want {want}");
            assert_eq!(spec.grid((224, 224)), Grid::square(7));
        }
    }

    #[test]
    fn a_small_network_has_the_macs_counted_by_hand() {
        let spec = ResnetSpec::basic(false, &[1, 2], &[4, 6]);
        let stem = 64 * 3 * 4 * 9;
        let first = 64 * 2 * 4 * 4 * 9;
        let second = 16 * (4 * 6 * 9 + 6 * 6 * 9 + 4 * 6) + 16 * 2 * 6 * 6 * 9;
        assert_eq!(spec.stem_macs((8, 8)), stem);
        assert_eq!(spec.macs((8, 8), 10), stem + first + second + 60);
        assert_eq!(spec.grid((8, 7)), Grid { rows: 4, cols: 4 });
        assert_eq!(spec.features(), 6);
    }
}
