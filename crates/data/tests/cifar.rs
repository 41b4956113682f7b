//! The CIFAR readers on small sets in the official layout: sound, truncated, mislabelled, mistaken and hostile ones.

mod common;

#[cfg(unix)]
use common::in_time;
use flate2::{Compression, write::GzEncoder};
use inductive_data::{Dataset, Error, Split, cifar10, cifar100};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};
use tempfile::TempDir;

const RECORD10: usize = 1 + 3072;
const RECORD100: usize = 2 + 3072;

/// `cifar100_sample.bin` has the first 40 test images of CIFAR-100; see fixtures/readers/expected.json.
const SAMPLE: &[u8] = include_bytes!("fixtures/cifar100_sample.bin");
const SAMPLE_FINE: [u32; 40] = [
    49, 33, 72, 51, 71, 92, 15, 14, 23, 0, 71, 75, 81, 69, 40, 43, 92, 97, 70, 53, 70, 49, 75, 29, 21, 16,
    39, 8, 8, 70, 20, 61, 41, 93, 56, 73, 58, 11, 25, 37,
];

/// Records of CIFAR-10 with labels 0, 1, .. and pixels that follow from `salt`.
fn records10(count: usize, salt: usize) -> Vec<u8> {
    let record = |index| {
        (0..RECORD10).map(move |at| if at == 0 { index as u8 % 10 } else { (at * 7 + index + salt) as u8 })
    };
    (0..count).flat_map(record).collect()
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn file(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

fn all_pixels(set: &dyn Dataset) -> Vec<u8> {
    (0..set.len()).flat_map(|index| set.image(index).to_vec()).collect()
}

fn labels(set: &dyn Dataset) -> Vec<u32> {
    (0..set.len()).map(|index| set.label(index)).collect()
}

/// The message of an error, which must contain all of `parts`.
fn refused(result: Result<Split, Error>, parts: &[&str]) -> Error {
    let error = result.expect_err("must be refused");
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is missing in: {message}");
    }
    error
}

#[test]
fn cifar100_records_are_read_byte_for_byte() {
    let folder = folder(&[("train.bin", SAMPLE), ("test.bin", SAMPLE)]);
    let split = cifar100(folder.path()).unwrap();
    assert_eq!(labels(&*split.test), SAMPLE_FINE);
    assert_eq!((split.test.num_classes(), split.test.height(), split.test.width()), (100, 32, 32));
    assert_eq!(split.test.class_names()[49], "mountain");
    let image = split.train.image(0);
    assert_eq!([image[0], image[1024], image[2048]], [199, 215, 249]);
    assert_eq!([image[1023], image[2047], image[3071]], [176, 164, 183]);
    let pixels: Vec<u8> = SAMPLE.chunks_exact(RECORD100).flat_map(|record| record[2..].to_vec()).collect();
    assert_eq!(all_pixels(&*split.train), pixels);
    assert!(split.notices[0].contains("40 of 50000 training images"), "{:?}", split.notices);
}

#[test]
fn the_sample_is_the_one_the_fixtures_describe() {
    let sum: String = Sha256::digest(SAMPLE).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(sum, "3b0384d6bc2ea50323734b34003d1fb88aec94afbf7a9606ce19845860276afa");
}

#[test]
fn cifar10_is_the_same_from_folder_parent_tar_and_gzip() {
    let (one, three, test) = (records10(12, 0), records10(7, 3), records10(5, 9));
    let names = b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    let files: [(&str, &[u8]); 4] = [
        ("cifar-10-batches-bin/test_batch.bin", &test),
        ("cifar-10-batches-bin/data_batch_3.bin", &three), // Out of order, as in the official archive.
        ("cifar-10-batches-bin/data_batch_1.bin", &one),
        ("cifar-10-batches-bin/batches.meta.txt", names),
    ];
    let parent = folder(&files);
    let tar = file(&parent, "plain.tar", &tar_of(&files));
    let gz = file(&parent, "cifar-10-binary.tar.gz", &gzip(&tar_of(&files)));
    for path in [parent.path().into(), parent.path().join("cifar-10-batches-bin"), tar, gz] {
        let split = cifar10(&path).unwrap();
        let expected: Vec<u8> =
            [&one[..], &three].concat().chunks_exact(RECORD10).flat_map(|r| r[1..].to_vec()).collect();
        assert_eq!(all_pixels(&*split.train), expected);
        assert_eq!(labels(&*split.test), [0, 1, 2, 3, 4]);
        assert_eq!(split.train.class_names()[9], "truck");
        assert_eq!(split.train.spec(), format!("cifar10:{}", path.display()));
        assert!(split.notices[0].contains("data_batch_1.bin, data_batch_3.bin"), "{:?}", split.notices);
    }
}

#[test]
fn broken_records_are_refused_with_file_and_offset() {
    let cases: [(&[u8], &[&str]); 4] = [
        (
            include_bytes!("fixtures/broken_cifar100_truncated.bin"),
            &["record 4", "byte 12296", "2074 of 3074"],
        ),
        (
            include_bytes!("fixtures/broken_cifar100_fine_200.bin"),
            &["record 3", "fine label 200", "byte 9223", "100"],
        ),
        (
            include_bytes!("fixtures/broken_cifar100_coarse_20.bin"),
            &["record 2", "coarse label 20", "byte 6148"],
        ),
        (include_bytes!("fixtures/broken_empty.bin"), &["empty", "3074"]),
    ];
    for (content, parts) in cases {
        let folder = folder(&[("train.bin", SAMPLE), ("test.bin", content)]);
        refused(cifar100(folder.path()), &[parts, &["test.bin"]].concat());
        let tar = tar_of(&[("cifar-100-binary/train.bin", SAMPLE), ("cifar-100-binary/test.bin", content)]);
        let tar = file(&folder, "c.tar.gz", &gzip(&tar));
        refused(cifar100(&tar), &[parts, &["c.tar.gz:cifar-100-binary/test.bin"]].concat());
    }
}

#[test]
fn archives_cut_anywhere_are_refused() {
    let tar = tar_of(&[
        ("cifar-100-binary/test.bin", &SAMPLE[..RECORD100]),
        ("cifar-100-binary/train.bin", SAMPLE),
    ]);
    let gz = gzip(&tar);
    let folder = TempDir::new().unwrap();
    for (content, content_end) in [(&tar, tar.len() - 1024), (&gz, gz.len())] {
        for cut in (0..40).map(|step| content_end * step / 40).chain([content_end - 1]) {
            let path = file(&folder, "cut", &content[..cut]);
            let error = refused(cifar100(&path), &[&path.display().to_string()]);
            assert!(!matches!(error, Error::WrongDataset { .. }), "cut at {cut}: {error}");
        }
    }
    let path = file(&folder, "cut.tar.gz", &gz[..gz.len() / 2]);
    refused(cifar100(&path), &["damaged or incomplete", "download it again"]);
}

#[test]
fn a_flipped_bit_is_found_by_the_checksum_of_gzip() {
    let tar = tar_of(&[("test.bin", SAMPLE), ("train.bin", SAMPLE)]);
    let mut gz = gzip(&tar);
    let checksum = gz.len() - 8;
    gz[checksum] ^= 1;
    let folder = TempDir::new().unwrap();
    refused(cifar100(&file(&folder, "c.tar.gz", &gz)), &["damaged"]);
}

#[test]
fn another_version_or_data_set_is_named() {
    let (ten, folder10) = (records10(3, 0), TempDir::new().unwrap());
    let cases: [(&str, &[(&str, &[u8])], &[&str]); 6] = [
        (
            "100",
            &[("cifar-100-python/train", b"x"), ("cifar-100-python/meta", b"x")],
            &["pickle", "cifar-100-binary.tar.gz"],
        ),
        (
            "10",
            &[("cifar-10-batches-py/data_batch_1", b"x")],
            &["pickle", "cifar-10-binary.tar.gz", "https://"],
        ),
        ("10", &[("data.pickle", b"x")], &["pickle", "cifar-10-binary.tar.gz"]),
        ("10", &[("cifar-10-batches-mat/data_batch_1.mat", b"x")], &["Matlab", "cifar-10-binary.tar.gz"]),
        (
            "100",
            &[("cifar-10-batches-bin/data_batch_1.bin", &ten), ("cifar-10-batches-bin/test_batch.bin", &ten)],
            &["use `cifar10:"],
        ),
        (
            "10",
            &[("cifar-100-binary/train.bin", SAMPLE), ("cifar-100-binary/test.bin", SAMPLE)],
            &["use `cifar100:"],
        ),
    ];
    for (which, files, parts) in cases {
        let read = |path: &Path| if which == "10" { cifar10(path) } else { cifar100(path) };
        let archive = file(&folder10, "download.tar.gz", &gzip(&tar_of(files)));
        refused(read(&archive), parts);
        let unpacked = folder(files);
        let inner = unpacked.path().join(files[0].0).parent().unwrap().to_path_buf();
        refused(read(&inner), parts);
        refused(read(unpacked.path()), if inner == unpacked.path() { parts } else { &[] });
    }
}

#[test]
fn missing_files_and_foreign_formats_are_refused_with_what_to_do() {
    let folder = folder(&[
        ("train.bin", SAMPLE),
        ("a.xz", b"\xfd7zXZ\0.."),
        ("error.html", b"<!DOCTYPE html>"),
        ("zero", b""),
    ]);
    let at = |name: &str| folder.path().join(name);
    refused(cifar100(&at("absent")), &["absent does not exist", "cifar-100-binary.tar.gz"]);
    refused(cifar100(folder.path()), &["no test.bin", "cifar-100-binary"]);
    refused(cifar100(&at("a.xz")), &["tar -xf", "give DIR"]);
    refused(cifar100(&at("error.html")), &["no archive", "download cifar-100-binary.tar.gz again"]);
    refused(cifar100(&at("zero")), &["empty"]);
    refused(cifar100(&at("train.bin")), &["give the folder"]);
    file(&folder, "cifar-100-binary.tar.gz", b"");
    fs::remove_file(at("train.bin")).unwrap();
    refused(cifar100(folder.path()), &["give the archive itself"]);
}

#[test]
fn wrong_class_names_are_refused() {
    let folder =
        folder(&[("train.bin", SAMPLE), ("test.bin", SAMPLE), ("fine_label_names.txt", b"apple\nbear\n")]);
    refused(cifar100(folder.path()), &["fine_label_names.txt", "2 classes", "100"]);
}

#[test]
fn declared_sizes_allocate_nothing() {
    let folder = TempDir::new().unwrap();
    let declare = |name: &str, size: u64, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        gzip(&[header.as_bytes(), content].concat())
    };
    let path =
        file(&folder, "huge.tar.gz", &declare("cifar-100-binary/train.bin", u64::MAX >> 1, &[0; 1024]));
    refused(cifar100(&path), &["huge.tar.gz:cifar-100-binary/train.bin", "at most 153700000"]);
    let path = file(&folder, "names.tar.gz", &declare("fine_label_names.txt", 1 << 40, &[0; 1024]));
    refused(cifar100(&path), &["fine_label_names.txt", "65536"]);
    let path = file(&folder, "skipped.tar.gz", &declare("readme.html", 1 << 40, &[0; 1024]));
    refused(cifar100(&path), &["damaged"]);
}

#[test]
fn an_archive_that_unpacks_without_end_is_given_up() {
    let folder = TempDir::new().unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(500_000_000);
    header.set_cksum();
    let mut encoder =
        GzEncoder::new(fs::File::create(folder.path().join("bomb.tar.gz")).unwrap(), Compression::fast());
    encoder.write_all(header.as_bytes()).unwrap();
    let zeros = vec![0; 10_000_000];
    (0..50).for_each(|_| encoder.write_all(&zeros).unwrap());
    encoder.finish().unwrap();
    refused(cifar100(&folder.path().join("bomb.tar.gz")), &["more than 400000000 bytes"]);
}

#[test]
fn the_same_file_twice_is_refused() {
    let folder = TempDir::new().unwrap();
    let tar = tar_of(&[("a/test.bin", SAMPLE), ("b/test.bin", SAMPLE), ("a/train.bin", SAMPLE)]);
    refused(cifar100(&file(&folder, "c.tar", &tar)), &["test.bin more than once"]);
}

#[test]
#[ignore = "needs CIFAR-100: INDUCTIVE_CIFAR100=PATH cargo test -p inductive-data --test cifar -- --ignored"]
fn the_whole_of_cifar100_has_its_published_statistics() {
    let path =
        env::var_os("INDUCTIVE_CIFAR100").expect("INDUCTIVE_CIFAR100 is the official archive or its folder");
    let split = cifar100(Path::new(&path)).unwrap();
    assert_eq!((split.train.len(), split.test.len(), split.notices.len()), (50_000, 10_000, 0));
    for class in 0..100 {
        assert_eq!(labels(&*split.train).iter().filter(|&&label| label == class).count(), 500);
    }
    assert_eq!(labels(&*split.test)[..40], SAMPLE_FINE);
    for channel in 0..3 {
        let (mut sum, mut squares) = (0u64, 0u64);
        for index in 0..split.train.len() {
            for &pixel in &split.train.image(index)[channel * 1024..][..1024] {
                sum += u64::from(pixel);
                squares += u64::from(pixel).pow(2);
            }
        }
        let count = 50_000.0 * 1024.0 * 255.0;
        let (mean, square) = (sum as f64 / count, squares as f64 / (count * 255.0));
        let info = split.train.info();
        assert!((mean - f64::from(info.mean[channel])).abs() < 1e-5, "mean {mean}");
        assert!(((square - mean * mean).sqrt() - f64::from(info.std[channel])).abs() < 1e-5);
    }
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_no_archive_and_no_member_of_one() {
    let device = in_time(|| cifar10(Path::new("/dev/zero"))).unwrap_err().to_string();
    assert!(device.contains("/dev/zero") && device.contains("a device"), "{device}");
    let set = folder(&[("data_batch_1.bin", &records10(20, 0)), ("test_batch.bin", &records10(10, 1))]);
    let fifo = |name: &str| {
        let path = set.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    };
    // Of no interest here.
    let archive = fifo("archive.tar.gz");
    assert_eq!(cifar10(set.path()).unwrap().train.len(), 20);
    let pipe = in_time(move || cifar10(&archive)).unwrap_err().to_string();
    assert!(pipe.contains("archive.tar.gz") && pipe.contains("a pipe"), "{pipe}");
    fifo("data_batch_2.bin");
    let root = set.path().to_owned();
    let member = in_time(move || cifar10(&root)).unwrap_err().to_string();
    assert!(member.contains("data_batch_2.bin") && member.contains("a pipe"), "{member}");
}

#[test]
fn names_in_an_archive_do_not_steer_the_terminal() {
    let name = "cifar\u{1b}[2J\nerror: x\r\u{202e}/test_batch.bin";
    let dir = TempDir::new().unwrap();
    let archive = file(&dir, "a.tar", &tar_of(&[(name, &[200; RECORD10])]));
    let error = cifar10(&archive).unwrap_err().to_string();
    assert!(error.contains(r"cifar\u{1b}[2J\nerror: x\r\u{202e}/test_batch.bin"), "{error:?}");
    assert!(!error.contains(|c: char| c.is_control() || c == '\u{202e}'), "{error:?}");
}
