//! What is written is read back bit by bit, by us and by the `safetensors` crate.

mod common;

use std::fs;

use common::{bits, file, toy};
use inductive_checkpoint::{
    Dtype, Error, LoadOptions, Metadata, TensorFile, TensorWriter, describe, load, load_tensors, save,
};
use safetensors::{SafeTensors, tensor::TensorView};

#[test]
fn a_saved_model_loads_bit_by_bit_under_timm_names_and_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    let saved = toy::<16, 3>(1);
    save(&saved, &path, &Metadata::from([("epoch".into(), "7".into())])).unwrap();
    let mut loaded = toy::<16, 3>(2);
    assert_ne!(bits(&loaded), bits(&saved));
    let report = load(&mut loaded, &path, &LoadOptions::new()).unwrap();
    assert_eq!(bits(&loaded), bits(&saved));
    assert_eq!((report.applied.len(), report.parameters), (5, 5));
    assert!(report.is_complete() && report.adapted.is_empty());

    let file = TensorFile::open(&path).unwrap();
    assert_eq!(file.entry("blocks.0.attn.qkv.weight").unwrap().shape, [12, 4]);
    assert_eq!(file.metadata()["epoch"], "7");
    assert_eq!(file.metadata()["format"], "pt");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn state_of_every_element_type_survives_and_bytes_depend_on_contents_only() {
    let mut one = TensorWriter::new();
    one.add("step", &[], &[u64::MAX]).unwrap().add("rng", &[3], &[0_u8, 128, 255]).unwrap();
    one.add("loss", &[2], &[0.1_f64, f64::MIN_POSITIVE]).unwrap();
    one.add("exp_avg/head.bias", &[1, 2], &[1.5_f32, -0.0])
        .unwrap()
        .add("empty", &[0, 7], &[0.0_f32; 0])
        .unwrap();
    for key in ["a", "b", "c", "d", "e"] {
        one.add_metadata(key, "value \"quoted\"\n");
    }
    let mut two = TensorWriter::new();
    for key in ["e", "b", "d", "a", "c"] {
        two.add_metadata(key, "value \"quoted\"\n");
    }
    two.add("empty", &[0, 7], &[0.0_f32; 0])
        .unwrap()
        .add("exp_avg/head.bias", &[1, 2], &[1.5_f32, -0.0])
        .unwrap();
    two.add("rng", &[3], &[0_u8, 128, 255])
        .unwrap()
        .add("loss", &[2], &[0.1_f64, f64::MIN_POSITIVE])
        .unwrap();
    two.add("step", &[], &[u64::MAX]).unwrap();
    assert_eq!(one.to_bytes().unwrap(), two.to_bytes().unwrap());

    let file = TensorFile::from_bytes(&one.to_bytes().unwrap(), "state").unwrap();
    assert_eq!(file.values::<u64>("step").unwrap(), [u64::MAX]);
    assert_eq!(file.values::<u8>("rng").unwrap(), [0, 128, 255]);
    assert_eq!(file.values::<f64>("loss").unwrap(), [0.1, f64::MIN_POSITIVE]);
    let average = file.values::<f32>("exp_avg/head.bias").unwrap();
    assert_eq!(average.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), [1.5_f32.to_bits(), 1 << 31]);
    assert_eq!(file.entry("empty").unwrap().shape, [0, 7]);
    assert_eq!(file.metadata().len(), 5);
    assert_eq!(file.metadata()["c"], "value \"quoted\"\n");
    assert_eq!(
        file.entries().map(|e| e.name).collect::<Vec<_>>(),
        ["empty", "exp_avg/head.bias", "loss", "rng", "step"]
    );
}

#[test]
fn the_reference_implementation_writes_the_same_bytes_and_reads_ours() {
    let (a, b, c) = ([1.0_f32, 2.0], [3_u64], [9_u8, 8, 7]);
    let mut writer = TensorWriter::new();
    writer.add("c", &[3], &c).unwrap().add("a", &[2, 1], &a).unwrap().add("b", &[], &b).unwrap();
    writer.add_metadata("format", "pt");
    let ours = writer.to_bytes().unwrap();

    let bytes = |v: &[f32]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    let (a, b) = (bytes(&a), b[0].to_le_bytes());
    let theirs = safetensors::serialize(
        [
            ("a", TensorView::new(Dtype::F32, vec![2, 1], &a).unwrap()),
            ("b", TensorView::new(Dtype::U64, vec![], &b).unwrap()),
            ("c", TensorView::new(Dtype::U8, vec![3], &c).unwrap()),
        ],
        Some([("format".to_owned(), "pt".to_owned())].into()),
    );
    assert_eq!(ours, theirs.unwrap());
    assert_eq!(SafeTensors::deserialize(&ours).unwrap().tensor("a").unwrap().data(), a);
}

#[test]
fn half_and_double_precision_files_load_as_f32() {
    // 1.0, -2.0, 0.5, 0.25, then zeros; each is exact in every type.
    let values = [1.0, -2.0, 0.5, 0.25];
    type Encode = fn(f64) -> Vec<u8>;
    let encodings: [(Dtype, Encode); 3] = [
        (Dtype::F16, |v| half::f16::from_f64(v).to_le_bytes().to_vec()),
        (Dtype::BF16, |v| half::bf16::from_f64(v).to_le_bytes().to_vec()),
        (Dtype::F64, |v| v.to_le_bytes().to_vec()),
    ];
    for (dtype, encode) in encodings {
        let mut tensors = Vec::new();
        for (name, shape, _) in bits(&toy::<16, 3>(0)) {
            let numel: usize = shape.iter().product();
            let data: Vec<u8> = (0..numel).flat_map(|i| encode(*values.get(i).unwrap_or(&0.0))).collect();
            tensors.push((name, shape, data));
        }
        let views = tensors.iter().map(|(n, s, d)| (n, TensorView::new(dtype, s.clone(), d).unwrap()));
        let bytes = safetensors::serialize(views, None).unwrap();
        let mut model = toy::<16, 3>(1);
        let file = TensorFile::from_bytes(&bytes, "half").unwrap();
        load_tensors(&mut model, &file, &LoadOptions::new()).unwrap();
        assert_eq!(model.head.weight.as_vec()[..4], [1.0, -2.0, 0.5, 0.25], "{dtype}");
        assert_eq!(model.head.weight.as_vec()[4..], [0.0; 8], "{dtype}");
        assert_eq!(file.to_f32("bn.running_mean").unwrap(), [1.0, -2.0, 0.5, 0.25], "{dtype}");
    }
}

#[test]
fn a_model_in_a_section_of_a_state_file_loads_from_there() {
    let (model, average) = (toy::<16, 3>(1), toy::<16, 3>(2));
    let state = file(|w| {
        w.add_model("model/", &model).unwrap().add_model("ema/", &average).unwrap();
        w.add("step", &[], &[3_u64]).unwrap();
    });
    let mut loaded = toy::<16, 3>(3);
    load_tensors(&mut loaded, &state, &LoadOptions::new().section("ema/")).unwrap();
    assert_eq!(bits(&loaded), bits(&average));
    let outcome = load_tensors(&mut loaded, &state, &LoadOptions::new().section("emma/"));
    assert!(matches!(outcome, Err(Error::NoSection { section, .. }) if section == "emma/"));
}

#[test]
fn tensors_that_cannot_be_written_are_refused_by_name() {
    let mut writer = TensorWriter::new();
    writer.add("a", &[2], &[1.0_f32, 2.0]).unwrap();
    for (name, shape) in
        [("a", vec![1]), ("__metadata__", vec![1]), ("b", vec![2]), ("b", vec![usize::MAX, 2])]
    {
        let error = writer.add(name, &shape, &[1.0_f32]).unwrap_err();
        assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
    }
    assert_eq!(TensorFile::from_bytes(&writer.to_bytes().unwrap(), "x").unwrap().entries().count(), 1);
}

#[test]
fn absent_and_mistyped_tensors_are_errors_that_help() {
    let state = file(|w| {
        w.add("progress/step", &[], &[3_u64]).unwrap();
    });
    let error = state.values::<u64>("progress/steps").unwrap_err().to_string();
    assert!(error.contains("did you mean \"progress/step\"?"), "{error}");
    let error = state.values::<f32>("progress/step").unwrap_err().to_string();
    assert_eq!(error, "toy.safetensors: tensor \"progress/step\": expected F32, got U64");
    assert!(state.to_f32("progress/step").unwrap_err().to_string().contains("expected a float"));
}

#[test]
fn description_counts_what_the_file_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let mut writer = TensorWriter::new();
    writer.add("b.weight", &[2, 3], &[0.0_f32; 6]).unwrap().add("a\u{1b}[2J", &[], &[1_u64]).unwrap();
    writer.add_metadata("format", "pt").write(&path).unwrap();
    let found = describe(&path).unwrap();
    assert_eq!((found.numel(), found.bytes(), found.tensors.len()), (7, 32, 2));
    assert_eq!(found.file_bytes, fs::metadata(&path).unwrap().len());
    insta::assert_snapshot!(found.to_string(), @r"
    name        dtype  shape                 numbers
    a\u{1b}[2J  U64    []                          1
    b.weight    F32    [2, 3]                      6
    2 tensors, 7 numbers, 32 bytes of data, 200 bytes in all
    format: pt
    ");
}

#[test]
fn writing_into_a_missing_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("a.safetensors");
    let error = save(&toy::<16, 3>(1), &path, &Metadata::new()).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && error.to_string().contains("missing"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
