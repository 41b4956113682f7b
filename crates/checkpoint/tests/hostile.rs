//! Files that lie, are cut short, or are something else: each is an error that names the file, none a panic.

mod common;

use std::fs;

use common::toy;
use inductive_checkpoint::{Error, TensorFile, TensorWriter, describe};
use proptest::prelude::*;

/// A file with that header and that many bytes of data.
fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn lying_headers_are_errors_that_name_file_and_byte() {
    let f32s = |shape: &str, offsets: &str| {
        format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let max = u64::MAX;
    // Eight tensors of the largest size whose bits fit a u64: their sum overflows in `safetensors` itself.
    let huge = (1_u64 << 61) - 8;
    let overflowing = (0..8_u64).map(|i| {
        let (begin, end) = (i * huge, (i + 1) * huge);
        format!(r#""t{i}":{{"dtype":"U64","shape":[{}],"data_offsets":[{begin},{end}]}}"#, huge / 8)
    });
    let overflowing = format!("{{{}}}", overflowing.collect::<Vec<_>>().join(","));
    let two = |a: &str, b: &str| {
        format!(
            r#"{{"a":{{"dtype":"F32","shape":[1],"data_offsets":{a}}},"b":{{"dtype":"F32","shape":[1],"data_offsets":{b}}}}}"#
        )
    };
    let same = r#""w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    #[rustfmt::skip]
    let table: Vec<(&str, String, usize, &str)> = vec![
        ("empty header",        String::new(), 0, "malformed"),
        ("no JSON",             "hello you".into(), 0, "byte 8"),
        ("unfinished JSON",     r#"{"w":{"dtype":"F32""#.into(), 0, "malformed"),
        ("a list",              "[1,2]".into(), 0, "map from tensor names"),
        ("control character",   "{\"\u{0}\":1}".into(), 0, "malformed"),
        ("deep nesting",        "[".repeat(100_000), 0, "malformed"),
        ("deep entry",          format!(r#"{{"w":{}"#, r#"{"x":"#.repeat(100_000)), 0, "malformed"),
        ("entry is a number",   r#"{"w":7}"#.into(), 0, "malformed"),
        ("field missing",       r#"{"w":{"dtype":"F32","shape":[1]}}"#.into(), 4, "data_offsets"),
        ("field twice",         r#"{"w":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.into(), 4, "duplicate"),
        ("name twice",          format!("{{{same},{same}}}"), 4, "given twice"),
        ("metadata twice",      r#"{"__metadata__":{},"__metadata__":{}}"#.into(), 0, "given twice"),
        ("metadata key twice",  r#"{"__metadata__":{"a":"1","a":"2"}}"#.into(), 0, "given twice"),
        ("metadata not text",   r#"{"__metadata__":{"a":1}}"#.into(), 0, "malformed"),
        ("unknown dtype",       r#"{"w":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}}"#.into(), 4, "unknown dtype \"F7\""),
        ("negative shape",      f32s("[-1]", "[0,4]"), 4, "malformed"),
        ("fractional shape",    f32s("[1.0]", "[0,4]"), 4, "malformed"),
        ("shape beyond u64",    f32s("[18446744073709551616]", "[0,4]"), 4, "malformed"),
        ("shape overflows",     f32s("[4294967296,4294967296,4294967296]", "[0,4]"), 4, "overflows"),
        ("bits overflow",       f32s(&format!("[{}]", max / 4), "[0,4]"), 4, "overflows"),
        ("offsets backwards",   f32s("[1]", "[4,0]"), 4, "outside"),
        ("offsets beyond",      f32s("[2]", "[0,8]"), 4, "outside the 4 bytes"),
        ("offsets far beyond",  f32s("[1]", &format!("[{},{max}]", max - 4)), 4, "outside"),
        ("offsets too wide",    f32s("[1]", "[0,8]"), 8, "needs 4 bytes"),
        ("offsets too narrow",  f32s("[2]", "[0,4]"), 4, "needs 8 bytes"),
        ("three offsets",       f32s("[1]", "[0,4,8]"), 4, "malformed"),
        ("gap at the start",    f32s("[1]", "[4,8]"), 8, "leave a gap"),
        ("gap between",         two("[0,4]", "[8,12]"), 12, "leave a gap"),
        ("overlap",             two("[0,4]", "[2,6]"), 6, "overlap"),
        ("the same data twice", two("[0,4]", "[0,4]"), 4, "overlap"),
        ("bytes left over",     f32s("[1]", "[0,4]"), 5, "1 bytes follow"),
        ("half a byte",         r#"{"w":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}"#.into(), 2, "needs 2 bytes"),
        ("sums overflow",       overflowing, 0, "outside"),
    ];
    for (what, header, data, expected) in table {
        let error = TensorFile::from_bytes(&with_header(&header, data), "evil.safetensors").unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Format { .. }), "{what}: {text}");
        assert!(text.starts_with("evil.safetensors: ") && text.contains(expected), "{what}: {text}");
        assert!(text.contains("at byte "), "{what}: {text}");
    }
}

#[test]
fn the_reported_byte_is_where_the_fault_is() {
    let byte = |header: &str, data| match TensorFile::from_bytes(&with_header(header, data), "x") {
        Err(Error::Format { offset, .. }) => offset,
        other => panic!("expected a format error, got {other:?}"),
    };
    assert_eq!(byte("{\"a\":!", 0), 8 + 5);
    assert_eq!(byte("{\n\"a\":!", 0), 8 + 6);
    let header = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    assert_eq!(byte(header, 8), 8 + header.len() as u64 + 4);
}

#[test]
fn files_that_end_early_or_hold_no_text_are_errors() {
    for (bytes, expected) in [
        (vec![], "the file has 0"),
        (vec![1, 0, 0], "the file has 3"),
        (vec![0xff; 64], "the file has 64 in all"),
        (vec![4, 0, 0, 0, 0, 0, 0, 0, b'{', b'"', 0xff, b'"'], "malformed"),
        (100_u64.to_le_bytes().to_vec(), "the file has 8 in all"),
    ] {
        let error = TensorFile::from_bytes(&bytes, "short.safetensors").unwrap_err().to_string();
        assert!(error.starts_with("short.safetensors: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn a_header_beyond_100_mb_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big.safetensors");
    fs::write(&path, 100_000_001_u64.to_le_bytes()).unwrap();
    // Sparse: it takes no space.
    fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    for error in [TensorFile::open(&path).unwrap_err(), describe(&path).unwrap_err()] {
        assert!(error.to_string().contains("100000000 is the limit"), "{error}");
    }
}

#[test]
fn every_truncation_of_a_valid_file_is_an_error() {
    let mut writer = TensorWriter::new();
    let bytes = writer.add_model("", &toy::<4, 2>(1)).unwrap().to_bytes().unwrap();
    assert!(TensorFile::from_bytes(&bytes, "whole").is_ok());
    for len in 0..bytes.len() {
        assert!(TensorFile::from_bytes(&bytes[..len], "cut").is_err(), "{len} of {}", bytes.len());
    }
}

#[test]
fn other_formats_are_recognised_and_say_what_to_do() {
    #[rustfmt::skip]
    let table: [(&[u8], &str); 6] = [
        (b"PK\x03\x04\x00\x00\x08\x08\x00\x00archive/data.pkl", "safetensors.torch"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "torch.load('model.pth'"),
        (b"\x80\x02}q\x00", "a Python pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "gzip"),
    ];
    for (bytes, expected) in table {
        let error = TensorFile::from_bytes(bytes, "model.pth").unwrap_err();
        assert!(matches!(error, Error::NotSafetensors { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    // A name that a shell would take apart is not put into a command.
    let error = TensorFile::from_bytes(table[0].0, "a'; rm -rf ~.pth").unwrap_err().to_string();
    assert!(error.contains("torch.load('FILE.pth'"), "{error}");
}

#[test]
fn folders_devices_and_absent_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("absent"), "/dev/zero".into(), "".into()] {
        let error = TensorFile::open(&path).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
        assert!(describe(&path).is_err());
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = TensorFile::from_bytes(&bytes, "random");
        let mut framed = (bytes.len() as u64).to_le_bytes().to_vec();
        framed.extend(&bytes);
        let _ = TensorFile::from_bytes(&framed, "random");
    }

    #[test]
    fn mutated_files_never_panic_and_never_change_a_model_half(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        partial in any::<bool>(),
    ) {
        let mut writer = TensorWriter::new();
        writer.add_model("", &toy::<9, 2>(1)).unwrap().add_metadata("a", "b");
        let mut bytes = writer.to_bytes().unwrap();
        for (index, byte) in edits {
            // Two in three hit the header.
            let end = if byte % 3 == 0 { bytes.len() } else { 8 + bytes[0] as usize + 256 * bytes[1] as usize };
            let i = index.index(end.min(bytes.len()).max(1));
            bytes[i] = byte;
        }
        if let Ok(file) = TensorFile::from_bytes(&bytes, "mutated") {
            let mut model = toy::<4, 2>(2);
            let before = common::bits(&model);
            let mut options = inductive_checkpoint::LoadOptions::new();
            options.partial = partial;
            match inductive_checkpoint::load_tensors(&mut model, &file, &options) {
                Ok(report) => prop_assert!(partial || report.is_complete()),
                Err(error) => {
                    prop_assert!(!error.to_string().is_empty());
                    prop_assert_eq!(common::bits(&model), before);
                }
            }
        }
    }

    #[test]
    fn headers_with_random_numbers_never_panic(
        numbers in prop::collection::vec(prop_oneof![0..64_u64, any::<u64>(), Just(u64::MAX)], 6),
        dtype in prop_oneof![Just("F32"), Just("F4"), Just("U8"), Just("F64"), Just("X")],
    ) {
        let [a, b, c, d, e, f] = numbers[..] else { unreachable!() };
        let header = format!(
            r#"{{"a":{{"dtype":"{dtype}","shape":[{a},{b}],"data_offsets":[0,{c}]}},"b":{{"dtype":"F32","shape":[{d}],"data_offsets":[{e},{f}]}}}}"#
        );
        let _ = TensorFile::from_bytes(&with_header(&header, 32), "numbers");
    }
}

#[test]
fn names_from_a_file_do_not_steer_the_terminal_or_forge_lines() {
    let name = "w\u{1b}[31m\nerror: x\r\u{202e}";
    let escaped = r"w\u{1b}[31m\nerror: x\r\u{202e}";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("{name}.safetensors"));
    let mut writer = TensorWriter::new();
    writer.add(name, &[1], &[1.0_f32]).unwrap();
    writer.add_metadata(name, name).write(&path).unwrap();
    let file = TensorFile::open(&path).unwrap();
    let listed = describe(&path).unwrap().to_string();
    assert_eq!(listed.lines().count(), 4, "{listed:?}");
    let refused = inductive_checkpoint::load(&mut toy::<16, 3>(1), &path, &Default::default()).unwrap_err();
    let says = [
        listed,
        refused.to_string(),
        file.entry("x").unwrap_err().to_string(),
        file.values::<u64>(name).unwrap_err().to_string(),
        TensorFile::open(folder.path().join(name)).unwrap_err().to_string(),
        TensorFile::from_bytes(b"PK\x03\x04", &path).unwrap_err().to_string(),
    ];
    for text in says {
        assert!(text.contains(escaped), "{text:?}");
        assert!(!text.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("error")), "{text:?}");
    }
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_no_weights_and_are_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.safetensors");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (path, what) in [(pipe.as_path(), "a pipe"), (std::path::Path::new("/dev/zero"), "a device")] {
        for error in [TensorFile::open(path).unwrap_err(), describe(path).unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains(what) && text.contains(path.to_str().unwrap()), "{text}");
        }
    }
}
