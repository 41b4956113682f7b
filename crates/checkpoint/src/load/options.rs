//! What [`load`](crate::load) may do when a file does not fit as it is.

use std::collections::BTreeSet;

/// What happens to a classifier (`head` or `fc`) with another number of classes than the model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Head {
    /// It is a wrong shape, as any other.
    #[default]
    Keep,
    /// The model keeps its own, weight and bias, for training on other classes. A file without a classifier, or a
    /// model without one, is accepted as well. With the same number of classes the file's classifier is loaded.
    Replace,
}

/// Options of [`load`](crate::load). The default is strict, except that position embeddings are resampled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Apply what fits and report the rest, instead of refusing all. Default: false.
    pub partial: bool,
    /// What to do with another number of classes. Default: [`Head::Keep`].
    pub head: Head,
    /// Resample a `pos_embed` of another grid as timm does. Default: true.
    pub resample: bool,
    /// The model's token grid (rows, columns). Default: square, inferred from the shape of `pos_embed`.
    pub grid: Option<(usize, usize)>,
    /// The file's token grid (rows, columns). Default: square.
    pub file_grid: Option<(usize, usize)>,
    /// Parameters that keep the model's own values where the file has none: those that have no effect. Default: none.
    pub optional: BTreeSet<String>,
    /// Load only tensors whose names begin with this, which is taken off: `"ema/"`, `"weight/"`. Default: all.
    pub section: String,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            partial: false,
            head: Head::Keep,
            resample: true,
            grid: None,
            file_grid: None,
            optional: BTreeSet::new(),
            section: String::new(),
        }
    }
}

impl LoadOptions {
    /// Strict, see [`LoadOptions`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`LoadOptions::partial`].
    pub fn partial(mut self) -> Self {
        self.partial = true;
        self
    }

    /// Sets [`LoadOptions::head`] to [`Head::Replace`].
    pub fn replace_head(mut self) -> Self {
        self.head = Head::Replace;
        self
    }

    /// Sets [`LoadOptions::resample`].
    pub fn resample(mut self, resample: bool) -> Self {
        self.resample = resample;
        self
    }

    /// Sets [`LoadOptions::grid`].
    pub fn grid(mut self, rows: usize, columns: usize) -> Self {
        self.grid = Some((rows, columns));
        self
    }

    /// Sets [`LoadOptions::file_grid`].
    pub fn file_grid(mut self, rows: usize, columns: usize) -> Self {
        self.file_grid = Some((rows, columns));
        self
    }

    /// Sets [`LoadOptions::optional`].
    pub fn optional(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.optional = names.into_iter().collect();
        self
    }

    /// Sets [`LoadOptions::section`].
    pub fn section(mut self, section: impl Into<String>) -> Self {
        self.section = section.into();
        self
    }
}
