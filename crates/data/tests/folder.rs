//! Image folders: decoding, resizing and cropping, order, and what is refused.

mod common;

#[cfg(unix)]
use common::in_time;
use image::{GrayImage, Luma, Rgb, RgbImage};
use inductive_data::{Dataset, Error, image_folder};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn save(root: &Path, name: &str, image: &RgbImage) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(path).unwrap();
}

fn plain(width: u32, height: u32, colour: [u8; 3]) -> RgbImage {
    RgbImage::from_pixel(width, height, Rgb(colour))
}

/// Two classes, one image each in train and val.
fn small() -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, colour) in
        [("train/b/1.png", 10), ("train/a/1.png", 20), ("val/a/x.png", 30), ("val/b/x.png", 40)]
    {
        save(folder.path(), name, &plain(8, 8, [colour; 3]));
    }
    folder
}

fn firsts(set: &dyn Dataset) -> Vec<(u32, u8)> {
    (0..set.len()).map(|index| (set.label(index), set.image(index)[0])).collect()
}

#[test]
fn classes_and_files_are_in_order_of_name() {
    let folder = small();
    save(folder.path(), "train/a/0.PNG", &plain(8, 8, [50; 3]));
    fs::write(folder.path().join("train/a/notes.txt"), "not an image").unwrap();
    fs::write(folder.path().join("train/a/._0.png"), "a Macintosh resource fork").unwrap();
    let split = image_folder(folder.path(), (8, 8)).unwrap();
    assert_eq!(split.train.class_names(), ["a", "b"]);
    assert_eq!(firsts(&*split.train), [(0, 50), (0, 20), (1, 10)]);
    assert_eq!(firsts(&*split.test), [(0, 30), (1, 40)]);
    assert_eq!((split.train.height(), split.train.width()), (8, 8));
    let [notice] = &split.notices[..] else { panic!("{:?}", split.notices) };
    assert!(notice.contains("left out 1 of 4 entries") && notice.contains("notes.txt"), "{notice}");
}

#[test]
fn one_class_alone_is_told() {
    let folder = TempDir::new().unwrap();
    ["train/a/1.png", "val/a/1.png"].iter().for_each(|name| save(folder.path(), name, &plain(8, 8, [9; 3])));
    let split = image_folder(folder.path(), (8, 8)).unwrap();
    assert!(split.notices[0].contains("one class, a:"), "{:?}", split.notices);
    assert!(image_folder(small().path(), (8, 8)).unwrap().notices.is_empty());
}

#[test]
fn images_are_planar_and_grey_is_expanded() {
    let folder = small();
    save(folder.path(), "train/a/1.png", &plain(8, 8, [1, 2, 3]));
    GrayImage::from_pixel(8, 8, Luma([77])).save(folder.path().join("train/b/1.png")).unwrap();
    let split = image_folder(folder.path(), (8, 8)).unwrap();
    assert_eq!(split.train.image(0), [[1; 64], [2; 64], [3; 64]].concat());
    assert_eq!(split.train.image(1), [77; 192]);
}

#[test]
fn the_centre_of_a_wide_or_tall_image_is_kept() {
    for (width, height) in [(24, 8), (8, 24), (400, 8)] {
        let folder = small();
        let centre = (width / 2, height / 2);
        let image = RgbImage::from_fn(width, height, |x, y| {
            Rgb(if x.abs_diff(centre.0) <= 8 && y.abs_diff(centre.1) <= 8 { [200; 3] } else { [0; 3] })
        });
        save(folder.path(), "train/a/1.png", &image);
        let split = image_folder(folder.path(), (4, 4)).unwrap();
        assert_eq!(split.train.image(0), [200; 48], "{width}x{height}");
    }
}

#[test]
fn rectangular_images_are_covered_and_cut_around_the_centre() {
    // Columns of 4 pixels, a colour each; 12 rows of them.
    let columns = |width: u32| RgbImage::from_fn(width, 12, |x, _| Rgb([(x / 4 * 20) as u8; 3]));
    let firsts = |width, size| {
        let folder = small();
        save(folder.path(), "train/a/1.png", &columns(width));
        let split = image_folder(folder.path(), size).unwrap();
        assert_eq!((split.train.height(), split.train.width()), size);
        split.train.image(0)[..size.1].to_vec()
    };
    // 12 x 24 pixels become 12 x 8 by losing 8 columns on either side, and 12 x 24 by nothing.
    assert_eq!(firsts(24, (12, 8)), [vec![40; 4], vec![60; 4]].concat());
    assert_eq!(firsts(24, (12, 24))[..5], [0, 0, 0, 0, 20]);
    // 12 x 24 at 6 x 24: rows are cut, columns stay.
    assert_eq!(firsts(24, (6, 24)), firsts(24, (12, 24)));
    // A strip that is far too long is cut to its middle.
    assert_eq!(firsts(244, (12, 4)), [(120 / 4 * 20) as u8; 4]);
}

#[test]
fn small_images_are_enlarged() {
    let folder = small();
    save(folder.path(), "train/a/1.png", &plain(1, 1, [9, 8, 7]));
    let split = image_folder(folder.path(), (16, 16)).unwrap();
    assert_eq!(split.train.image(0), [[9; 256], [8; 256], [7; 256]].concat());
}

#[test]
fn what_cannot_be_decoded_is_named() {
    let folder = small();
    let path = folder.path().join("val/b/x.png");
    let whole = fs::read(&path).unwrap();
    for content in [&whole[..whole.len() / 2], b"", b"GIF89a....", b"no image"] {
        fs::write(&path, content).unwrap();
        let error = image_folder(folder.path(), (8, 8)).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
    // A header that declares 100,000 x 100,000 pixels must not allocate them.
    let mut hostile = whole.clone();
    hostile[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0]);
    let crc = crc32(&hostile[12..29]).to_be_bytes();
    hostile[29..33].copy_from_slice(&crc);
    fs::write(&path, hostile).unwrap();
    let error = image_folder(folder.path(), (8, 8)).unwrap_err();
    assert!(matches!(error, Error::Image { .. }), "{error}");
}

/// The checksum of a PNG chunk.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[test]
fn incomplete_folders_are_refused_with_what_is_missing() {
    let refused = |change: &dyn Fn(&Path), part: &str| {
        let folder = small();
        change(folder.path());
        let error = image_folder(folder.path(), (8, 8)).unwrap_err().to_string();
        assert!(error.contains(part), "`{part}` is missing in: {error}");
    };
    refused(&|root| fs::remove_dir_all(root).unwrap(), "does not exist");
    refused(&|root| fs::remove_dir_all(root.join("train")).unwrap(), "no folder train");
    refused(&|root| fs::remove_dir_all(root.join("val")).unwrap(), "no folder val or test");
    refused(&|root| fs::remove_dir_all(root.join("val/b")).unwrap(), "class `b`");
    refused(&|root| fs::create_dir(root.join("val/c")).unwrap(), "class `c`");
    refused(&|root| fs::remove_file(root.join("train/a/1.png")).unwrap(), "no image");
    let folder = small();
    for size in [(0, 8), (8, 5000)] {
        assert!(matches!(image_folder(folder.path(), size), Err(Error::ImageSize { .. })));
    }
}

#[test]
fn test_serves_where_there_is_no_val() {
    let folder = small();
    fs::rename(folder.path().join("val"), folder.path().join("test")).unwrap();
    assert_eq!(firsts(&*image_folder(folder.path(), (8, 8)).unwrap().test), [(0, 30), (1, 40)]);
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_no_images() {
    for (make, what) in [(&["mkfifo"][..], "a pipe"), (&["ln", "-s", "/dev/zero"], "a device")] {
        let folder = small();
        let path = folder.path().join("train/a/2.png");
        let made = std::process::Command::new(make[0]).args(&make[1..]).arg(&path).status();
        assert!(made.unwrap().success());
        let root = folder.path().to_owned();
        let error = in_time(move || image_folder(&root, (8, 8))).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("2.png"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn names_of_files_and_classes_do_not_steer_the_terminal() {
    const NAME: &str = "a\u{1b}[31m\nerror: b\r\u{202e}";
    const SHOWN: &str = r"a\u{1b}[31m\nerror: b\r\u{202e}";
    let folder = small();
    fs::write(folder.path().join("train/a").join(format!("{NAME}.png")), "no image").unwrap();
    let image = image_folder(folder.path(), (8, 8)).unwrap_err();
    assert!(matches!(image, Error::Image { .. }));
    let folder = small();
    fs::create_dir(folder.path().join("train").join(NAME)).unwrap();
    let class = image_folder(folder.path(), (8, 8)).unwrap_err();
    assert!(matches!(class, Error::ClassMismatch { .. }));
    for error in [image.to_string(), class.to_string()] {
        assert!(
            error.contains(SHOWN) && !error.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{error:?}"
        );
    }
}
