//! A folder of images: `train/<class>/*.{jpg,jpeg,png}` and `val/<class>/*` or `test/<class>/*`.

use crate::archive::sorted_entries;
use crate::{DatasetInfo, Error, ImageSet, Split};
use image::imageops::FilterType;
use image::{DynamicImage, ImageReader, Limits, RgbImage};
use inductive_files::shown;
use rayon::prelude::*;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest side that images are resized to.
const MAX_SIDE: usize = 4096;
/// Memory that decoding one image may take, in bytes; refuses files that declare absurd sizes.
const MAX_DECODED: u64 = 512 << 20;
/// The ImageNet values in common use: a folder's own statistics are not computed.
const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Reads `root/train/<class>/*` and `root/val/<class>/*` (or `root/test/<class>/*`), JPEG and PNG, into memory.
///
/// Images are expanded to RGB, resized (Catmull-Rom) so that they just cover `(height, width)` pixels, and cut to the central
/// `height` x `width`. Transparency is ignored. Classes are the folder names in order; images of a class are in order of
/// file name. Mean and standard deviation are ImageNet's.
///
/// # Errors
/// If a folder is missing or has no image, the splits differ in classes, or an image cannot be decoded: the message
/// names the file.
pub fn image_folder(root: &Path, (height, width): (usize, usize)) -> Result<Split, Error> {
    if ![height, width].iter().all(|side| (1..=MAX_SIDE).contains(side)) {
        return Err(Error::ImageSize { height, width, limit: MAX_SIDE });
    }
    let missing = |missing: &str| Error::MissingFile {
        path: root.into(),
        missing: missing.into(),
        advice: "expected train/<class>/*.{jpg,jpeg,png} and val/<class>/* or test/<class>/*".into(),
    };
    if !root.exists() {
        return Err(Error::NotFound {
            path: root.into(),
            what: "a folder with train/<class>/* and val/<class>/*".into(),
        });
    }
    let train =
        Some(root.join("train")).filter(|folder| folder.is_dir()).ok_or_else(|| missing("folder train"))?;
    let test = ["val", "test"].map(|name| root.join(name)).into_iter().find(|folder| folder.is_dir());
    let test = test.ok_or_else(|| missing("folder val or test"))?;

    let class_names = folder_names(&train)?;
    let test_names = folder_names(&test)?;
    for (names, others, has, lacks) in
        [(&class_names, &test_names, &train, &test), (&test_names, &class_names, &test, &train)]
    {
        if let Some(class) = names.iter().find(|name| !others.contains(name)) {
            return Err(Error::ClassMismatch {
                class: class.clone(),
                has: has.clone(),
                lacks: lacks.clone(),
            });
        }
    }
    let info = DatasetInfo {
        spec: format!("folder:{}", root.display()),
        height,
        width,
        class_names,
        mean: IMAGENET_MEAN,
        std: IMAGENET_STD,
    };
    let mut notices = Vec::new();
    if let [class] = &info.class_names[..] {
        notices
            .push(format!("all images are of one class, {}: there is nothing to tell apart", shown(class)));
    }
    let mut read = |folder| {
        let (images, left_out) = read_split(folder, info.clone())?;
        notices.extend(left_out);
        Ok(Arc::new(images))
    };
    let (train, test) = (read(&train)?, read(&test)?);
    Ok(Split { train, test, notices })
}

/// Number of classes of [`image_folder`], of which no image is read; `None` where there is no such folder.
pub(crate) fn folder_classes(root: &Path) -> Option<usize> {
    folder_names(&root.join("train")).ok().map(|names| names.len())
}

fn folder_names(folder: &Path) -> Result<Vec<String>, Error> {
    let folders = sorted_entries(folder)?.into_iter().filter(|path| path.is_dir());
    let names = folders.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    Ok(names.filter(|name| !name.starts_with('.')).collect())
}

/// The images of a folder, and what is to be said of files that are none.
fn read_split(folder: &Path, info: DatasetInfo) -> Result<(ImageSet, Option<String>), Error> {
    let (mut files, mut labels, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for (label, class) in (0..).zip(&info.class_names) {
        let visible = sorted_entries(&folder.join(class))?.into_iter().filter(|path| !is_hidden(path));
        let (images, left): (Vec<PathBuf>, Vec<PathBuf>) = visible.partition(|path| is_image(path));
        others.extend(left);
        if images.is_empty() {
            let advice =
                "put *.jpg, *.jpeg or *.png files there, or remove the class from both splits".into();
            return Err(Error::MissingFile { path: folder.join(class), missing: "image".into(), advice });
        }
        labels.extend(std::iter::repeat_n(label, images.len()));
        files.extend(images);
    }
    if files.is_empty() {
        let advice = "expected a folder per class with *.jpg, *.jpeg or *.png files".into();
        return Err(Error::MissingFile { path: folder.into(), missing: "class".into(), advice });
    }
    let size = (info.height, info.width);
    let decoded: Result<Vec<_>, Error> = files.par_iter().map(|file| decode(file, size)).collect();
    let left_out = others.first().map(|first| {
        let (count, all, first) = (others.len(), others.len() + files.len(), shown(first.display()));
        format!(
            "{}: left out {count} of {all} entries, neither JPEG nor PNG, such as {first}",
            shown(folder.display())
        )
    });
    Ok((ImageSet::new(info, decoded?.concat(), labels)?, left_out))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Decodes a JPEG or PNG file to [3, height, width].
///
/// The file's first bytes decide the format: photographs in ImageNet are not all what their extension says.
fn decode(path: &Path, size: (usize, usize)) -> Result<Vec<u8>, Error> {
    let file = inductive_files::open(path).map(BufReader::new);
    let reader = file.and_then(|file| ImageReader::new(file).with_guessed_format());
    let mut reader = reader.map_err(|reason| Error::io("read", path, reason))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED);
    reader.limits(limits);
    let decoded =
        reader.decode().map_err(|reason| Error::Image { path: path.into(), reason: reason.to_string() })?;
    Ok(planar(&resize_and_crop(decoded, size)))
}

fn resize_and_crop(image: DynamicImage, (height, width): (usize, usize)) -> RgbImage {
    let image = image.into_rgb8();
    let (of_height, of_width) = (u64::from(image.height()), u64::from(image.width()));
    let (height, width) = (height as u64, width as u64);
    // At extreme ratios the strip is cut before it is resized, so that a hostile image of 1 x 65,535 pixels does not become one of
    // size x 65,535 * size.
    let cut_height = of_height.min((4 * of_width * height / width).max(1));
    let cut_width = of_width.min((4 * of_height * width / height).max(1));
    let (top, left) = ((of_height - cut_height) / 2, (of_width - cut_width) / 2);
    let view =
        image::imageops::crop_imm(&image, left as u32, top as u32, cut_width as u32, cut_height as u32);
    // torchvision's Resize(size) where height and width are the same: the side that is cut off is rounded down.
    let (new_height, new_width) = if height * cut_width >= width * cut_height {
        (height, cut_width * height / cut_height)
    } else {
        (cut_height * width / cut_width, width)
    };
    let resized =
        image::imageops::resize(&*view, new_width as u32, new_height as u32, FilterType::CatmullRom);
    let (top, left) = ((new_height - height) / 2, (new_width - width) / 2);
    image::imageops::crop_imm(&resized, left as u32, top as u32, width as u32, height as u32).to_image()
}

/// [height, width, 3] to [3, height, width].
fn planar(image: &RgbImage) -> Vec<u8> {
    (0..3).flat_map(|channel| image.as_raw().iter().skip(channel).step_by(3).copied()).collect()
}
