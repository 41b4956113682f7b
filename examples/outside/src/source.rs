//! A data set: stripes whose width and colour tell the class.

use std::sync::Arc;

use inductive_data::{DatasetInfo, Error, Form, ImageSet, LoadOptions, Source, Split, sources};

/// Images of each class to train on, and to measure on.
const TRAIN: usize = 8;
const TEST: usize = 2;

/// So many classes, of any size.
#[derive(Debug)]
struct Stripes(usize);

impl Stripes {
    fn set(&self, each: usize, (height, width): (usize, usize)) -> Result<Arc<ImageSet>, Error> {
        let class_names = (0..self.0).map(|class| format!("stripes {class}")).collect();
        let spec = self.id();
        let info = DatasetInfo { spec, height, width, class_names, mean: [0.5; 3], std: [0.3; 3] };
        let labels: Vec<u32> = (0..each * self.0).map(|index| (index % self.0) as u32).collect();
        let mut pixels = Vec::with_capacity(labels.len() * 3 * height * width);
        for (index, class) in labels.iter().map(|label| *label as usize).enumerate() {
            let (period, shift) = (2 + class % 4, index / self.0);
            for channel in 0..3 {
                let level = 40 + 215 * (class * (channel + 3) % 7) / 6;
                let lit = (0..height * width).map(|at| (at % width + shift) / period % 2 == 0);
                pixels.extend(lit.map(|lit| if lit { level as u8 } else { 20 }));
            }
        }
        Ok(Arc::new(ImageSet::new(info, pixels, labels)?))
    }
}

impl Source for Stripes {
    fn id(&self) -> String {
        format!("stripes:{}", self.0)
    }

    fn classes(&self) -> Option<usize> {
        Some(self.0)
    }

    fn load(&self, options: &LoadOptions) -> Result<Split, Error> {
        let set = |each| self.set(each, options.image_size);
        Ok(Split { train: set(TRAIN)?, test: set(TEST)?, notices: Vec::new() })
    }
}

/// From then on `stripes:N` is data like any other.
pub fn add() -> Result<(), Error> {
    let form = Form::new("stripes").with_argument("N", "the number of classes, 1 to 1000");
    sources().add(form, |argument| match argument.parse() {
        Ok(classes @ 1..=1000) => Ok(Arc::new(Stripes(classes))),
        _ => Err(Error::source(format!("stripes:{argument}"), "give a number of classes, 1 to 1000")),
    })
}
