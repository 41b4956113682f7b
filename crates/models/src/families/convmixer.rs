//! The names of ConvMixers.

use inductive_ops::Backend;

use super::with_head;
use crate::{ConvMixerSpec, Family, convmixer::ConvMixer, entry::Entry, registry::Named};

/// One table: name, channels, side of the filters, depth, patch, side of the image, whether ReLU takes the place of GELU.
macro_rules! zoo {
    ($($name:literal: $c:literal, $k:literal, $depth:literal, $p:literal, $side:literal, $relu:literal;)*) => {
        pub(super) fn models<D: Backend<f32>>() -> Vec<Named<D>> {
            vec![$(Named::new(entry($name, [$c, $p, $side / $p, $depth], $k, $relu), |device, spec, options| {
                let trunk = ConvMixer::<$c, $k, $p, $relu, f32, D>::new(device, spec.depth, spec.image)?;
                with_head::<_, $c, D>(device, trunk, spec, options)
            })),*]
        }
    };
}

fn entry(name: &str, sizes: [usize; 4], kernel: usize, relu: bool) -> Entry {
    Entry::new(super::spec(name, sizes, Family::ConvMixer(ConvMixerSpec { kernel, relu })))
}

zoo! {
    // the released ones
    "convmixer_1536_20": 1536, 9, 20, 7, 224, false;
    "convmixer_768_32": 768, 7, 32, 7, 224, true;
    "convmixer_1024_20_ks9_p14": 1024, 9, 20, 14, 224, false;
    // for CIFAR: the authors' own, and those of the studies of initial filters (arXiv 2404.01139)
    "convmixer_256_8_k5_p2": 256, 5, 8, 2, 32, false;
    "convmixer_256_8_k3_p2": 256, 3, 8, 2, 32, false;
    "convmixer_512_6_k3_p2": 512, 3, 6, 2, 32, false;
    "convmixer_512_6_k5_p2": 512, 5, 6, 2, 32, false;
    // for two CPU cores: three widths, and wider filters
    "convmixer_micro": 64, 3, 4, 4, 32, false;
    "convmixer_micro_32": 32, 3, 4, 4, 32, false;
    "convmixer_micro_128": 128, 3, 4, 4, 32, false;
    "convmixer_micro_k5": 64, 5, 4, 4, 32, false;
}
