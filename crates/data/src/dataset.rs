//! Indexable labelled images of one size.

use crate::Error;
use std::sync::Arc;

/// What is common to all samples of a set.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetInfo {
    /// The `--data` string that names the set.
    pub spec: String,
    /// Image height in pixels.
    pub height: usize,
    /// Image width in pixels.
    pub width: usize,
    /// Name of each class; the position is the label.
    pub class_names: Vec<String>,
    /// Mean of each channel (red, green, blue) over the training images, pixels in [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation of each channel over the training images, pixels in [0, 1].
    pub std: [f32; 3],
}

/// Labelled RGB images of one size, by index.
pub trait Dataset: Send + Sync {
    /// What is common to all samples.
    fn info(&self) -> &DatasetInfo;

    /// Number of samples.
    fn len(&self) -> usize;

    /// Pixels of a sample, [3, height, width], red plane first, row by row.
    ///
    /// # Panics
    /// If `index` is not less than [`len`](Self::len).
    fn image(&self, index: usize) -> &[u8];

    /// Class of a sample, less than [`num_classes`](Self::num_classes).
    ///
    /// # Panics
    /// If `index` is not less than [`len`](Self::len).
    fn label(&self, index: usize) -> u32;

    /// Whether there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `--data` string that names the set.
    fn spec(&self) -> &str {
        &self.info().spec
    }

    /// Name of each class; the position is the label.
    fn class_names(&self) -> &[String] {
        &self.info().class_names
    }

    /// Number of classes.
    fn num_classes(&self) -> usize {
        self.info().class_names.len()
    }

    /// Image height in pixels.
    fn height(&self) -> usize {
        self.info().height
    }

    /// Image width in pixels.
    fn width(&self) -> usize {
        self.info().width
    }
}

/// A set whose pixels are in memory: 3 bytes per pixel and 4 per label.
#[derive(Clone, Debug)]
pub struct ImageSet {
    info: DatasetInfo,
    pixels: Vec<u8>,
    labels: Vec<u32>,
}

impl ImageSet {
    /// A set of `pixels` [labels.len(), 3, height, width] and their `labels`.
    ///
    /// # Errors
    /// [`Error::Inconsistent`] if the number of pixels does not follow from the number of labels, an image would have
    /// no pixels, or a label names no class.
    pub fn new(info: DatasetInfo, pixels: Vec<u8>, labels: Vec<u32>) -> Result<Self, Error> {
        let inconsistent = |reason| Err(Error::Inconsistent { spec: info.spec.clone(), reason });
        let (height, width, classes) = (info.height, info.width, info.class_names.len());
        let expected =
            [3, height, width].iter().try_fold(labels.len(), |size, &factor| size.checked_mul(factor));
        if height == 0 || width == 0 {
            return inconsistent(format!("images of {height}x{width} pixels"));
        }
        if expected != Some(pixels.len()) {
            let (bytes, images) = (pixels.len(), labels.len());
            return inconsistent(format!("{bytes} bytes for {images} images of 3x{height}x{width}"));
        }
        if let Some(index) = labels.iter().position(|&label| label as usize >= classes) {
            return inconsistent(format!(
                "label {} of image {index} is not less than {classes}",
                labels[index]
            ));
        }
        Ok(Self { info, pixels, labels })
    }
}

impl Dataset for ImageSet {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn image(&self, index: usize) -> &[u8] {
        let size = 3 * self.info.height * self.info.width;
        &self.pixels[index * size..][..size]
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }
}

/// The training and the test set of one data set.
#[derive(Clone)]
pub struct Split {
    /// Images to learn from.
    pub train: Arc<dyn Dataset>,
    /// Images to measure on: the official test set, or the validation set of a folder.
    pub test: Arc<dyn Dataset>,
    /// What the user should be told about the data, a sentence each; for example that it is only a part.
    pub notices: Vec<String>,
}

impl std::fmt::Debug for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Split");
        out.field("spec", &self.train.spec())
            .field("train", &self.train.len())
            .field("test", &self.test.len());
        out.field("notices", &self.notices).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(classes: usize) -> DatasetInfo {
        let class_names = (0..classes).map(|class| class.to_string()).collect();
        DatasetInfo { spec: "test".into(), height: 1, width: 2, class_names, mean: [0.5; 3], std: [0.5; 3] }
    }

    #[test]
    fn images_and_labels_are_found_by_index() {
        let set = ImageSet::new(info(5), (0..12).collect(), vec![4, 0]).unwrap();
        assert_eq!((set.len(), set.num_classes(), set.height(), set.width()), (2, 5, 1, 2));
        assert_eq!(set.image(1), [6, 7, 8, 9, 10, 11]);
        assert_eq!((set.label(0), set.label(1)), (4, 0));
    }

    #[test]
    fn inconsistent_parts_are_refused() {
        assert!(
            ImageSet::new(info(5), vec![0; 11], vec![4, 0]).unwrap_err().to_string().contains("11 bytes")
        );
        assert!(ImageSet::new(info(4), vec![0; 12], vec![3, 4]).unwrap_err().to_string().contains("image 1"));
        let flat = DatasetInfo { height: 0, ..info(4) };
        assert!(ImageSet::new(flat, vec![], vec![]).is_err());
    }
}
