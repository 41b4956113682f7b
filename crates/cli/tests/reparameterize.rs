//! `inductive reparameterize`: what it refuses, and that what it writes computes what the network computed.

mod common;

use std::{fs, path::Path};

use common::{FAILURE, USAGE, inductive, refuses, succeeded, succeeds, text, write_recipe};
use inductive_checkpoint::{TensorFile, TensorWriter};

/// What it prints, and what it says beside that.
#[track_caller]
fn both(folder: &Path, args: &[&str]) -> [String; 2] {
    let output = inductive(folder, args);
    [succeeded(&output), text(&output.stderr)]
}

#[track_caller]
fn refused(folder: &Path, args: &[&str], code: i32, says: &[&str]) {
    refuses(folder, &[&["reparameterize"], args].concat(), code, says);
    assert!(!folder.join("out.safetensors").exists(), "{args:?} wrote a file");
}

/// The weights of a short run in `folder/RUN/last.safetensors`.
fn train(folder: &Path, model: &str) -> String {
    write_recipe(folder, model, 12, "batch_size = 16\nlr = 0.003\ndrop_path = 0.0\n");
    succeeds(folder, &["train", "recipe.toml", "--out", model]);
    format!("{model}/last.safetensors")
}

/// What `eval` says after the model's name.
fn accuracy(folder: &Path, model: &str, weights: &str) -> String {
    let out = succeeds(folder, &["eval", model, "--weights", weights, "--data", "synthetic"]);
    out.split_once(" on ").unwrap().1.to_owned()
}

#[test]
fn a_run_is_looked_at_with_its_own_images() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let recipe =
        "model = \"prs_nano\"\nepochs = \"1 steps\"\nbatch_size = 4\n[synthetic]\ntrain = 20\ntest = 20\n";
    fs::write(d.join("recipe.toml"), recipe).unwrap();
    succeeds(d, &["train", "recipe.toml", "--out", "run"]);
    let args = ["reparameterize", "run", "--layers", "all", "--out", "out.safetensors"];
    assert!(succeeds(d, &args).contains("logits of 20 test images of synthetic,"));
    // Any 32 of the usual ones.
    let others = [&args[..], &["--data", "synthetic-parity"]].concat();
    assert!(succeeds(d, &others).contains(" test images of synthetic-parity,"));
}

/// The largest difference that the output tells.
fn apart(out: &str) -> f64 {
    let rest = out.split_once("the largest difference is ").unwrap().1;
    rest.split_once(',').unwrap().0.parse().unwrap()
}

#[test]
fn trained_networks_compute_the_same_as_attention_with_both_borders() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for (model, target, part) in
        [("resnet_micro", "resnet_micro_switch", "layer4"), ("prs_nano", "prs_nano", "stages.1")]
    {
        let weights = train(d, model);
        let args =
            ["reparameterize", model, "--weights", &weights, "--out", "some.safetensors", "--layers", part];
        let [out, errors] = both(d, &args);
        assert!(apart(&out) < 1e-4, "{out}");
        assert!(!errors.contains("warning"), "{errors}");
        assert!(out.contains("convolution") && out.contains("attention, linear gate"), "{out}");
        let next = format!("next: inductive eval {target} --weights some.safetensors --data synthetic\n");
        assert!(out.contains(&next), "{out}");
        assert_eq!(accuracy(d, target, "some.safetensors"), accuracy(d, model, &weights));

        // The file says its model: the rest of the layers, alpha 16. Those that are attention keep what they have.
        let args = [
            "reparameterize",
            "some.safetensors",
            "--out",
            "all.safetensors",
            "--layers",
            "all",
            "--alpha",
            "16",
        ];
        let [out, errors] = both(d, &args);
        assert!(apart(&out) < 1e-4, "{out}");
        assert!(errors.contains("left as they are, attention already"), "{errors}");
        assert_eq!(out.matches(" convolution ").count(), if model == "prs_nano" { 3 } else { 4 }, "{out}");
        let file = TensorFile::open(d.join("all.safetensors")).unwrap();
        let operators: Vec<f32> = file
            .entries()
            .filter(|it| it.name.ends_with(".operator"))
            .flat_map(|it| file.values::<f32>(it.name).unwrap())
            .collect();
        assert_eq!(operators, vec![2.0; if model == "prs_nano" { 6 } else { 8 }]);
        let said = file.metadata();
        assert_eq!(said["reparameterized"].split(',').count(), operators.len());
        assert!(said.contains_key("step"), "what the run said of itself stays: {said:?}");
        let positions = |layer: &str| file.values::<f32>(&format!("{layer}.pos_proj.weight")).unwrap()[2];
        let (early, late) = if model == "prs_nano" {
            ("stages.0.blocks.0.mixer", "stages.1.blocks.0.mixer")
        } else {
            ("layer3.0.conv1", "layer4.0.conv1")
        };
        assert_eq!([early, late].map(positions), [-16.0, -20.0]);
        let again = ["all.safetensors", "--layers", "all", "--out", "out.safetensors"];
        refused(d, &again, USAGE, &["attention already"]);

        let soft = ["--gate", "sigmoid:1", "--alpha", "1"];
        let args =
            ["reparameterize", model, "--weights", &weights, "--out", "soft.safetensors", "--layers", "all"];
        let [out, errors] = both(d, &[&args[..], &soft].concat());
        assert!(apart(&out) > 1e-3 && errors.contains("does not compute what it computed"), "{out}{errors}");
    }
}

#[test]
fn requests_that_cannot_be_meant_write_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let weights = train(d, "resnet_micro");
    let from = |more: &[&'static str]| -> Vec<String> {
        let start = ["resnet_micro", "--weights", &weights].map(str::to_owned);
        start.into_iter().chain(more.iter().map(|it| (*it).to_owned())).collect()
    };
    let usage = |more: &[&'static str], says: &[&str]| {
        let args = from(more);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        refused(d, &args, USAGE, says);
    };
    usage(&[], &["--layers", "layer3.0.conv1", "layer4.1.conv2", "--out FILE"]);
    usage(&["--layers", "all"], &["--out FILE"]);
    let out = ["--out", "out.safetensors"];
    usage(&["--layers", "layer1", out[0], out[1]], &["--layers layer1", "layer3.0.conv1"]);
    usage(&["--layers", "layer4,layer", out[0], out[1]], &["--layers layer:"]);
    usage(&["--layers", "layer4.0.conv3", out[0], out[1]], &["did you mean `layer4.0.conv1`?"]);
    usage(&["--layers", "all", "--gate", "open", out[0], out[1]], &["linear:SHARE"]);
    usage(&["--layers", "all", "--gate", "linear:1.5", out[0], out[1]], &["1.5", "0 to 1"]);
    usage(&["--layers", "all", "--alpha", "-2", out[0], out[1]], &["alpha is -2"]);
    let all = ["--layers", "all", out[0], out[1]];
    refused(
        d,
        &[&["resnet_mikro", "--weights", "x"], &all[..]].concat(),
        USAGE,
        &["did you mean `resnet_micro`?"],
    );
    refused(d, &[&["resnet_micro"], &all[..]].concat(), USAGE, &["--weights FILE"]);
    refused(
        d,
        &[&["deit_micro", "--weights", &weights], &all[..]].concat(),
        USAGE,
        &["deit_micro", "prs_micro"],
    );
    refused(d, &[&["resnet_micro", "--weights", "none"], &all[..]].concat(), FAILURE, &["none"]);
    refused(
        d,
        &[&["resnet20_cifar", "--weights", &weights], &all[..]].concat(),
        FAILURE,
        &["resnet_micro/last"],
    );

    fs::write(d.join("torn.safetensors"), &fs::read(d.join(&weights)).unwrap()[..5000]).unwrap();
    refused(d, &[&["torn.safetensors"], &all[..]].concat(), FAILURE, &["torn.safetensors"]);
    let mut bare = TensorWriter::new();
    bare.add("conv1.weight", &[1], &[1.0_f32]).unwrap();
    bare.write(d.join("bare.safetensors")).unwrap();
    refused(
        d,
        &[&["bare.safetensors"], &all[..]].concat(),
        USAGE,
        &["which model", "--weights bare.safetensors"],
    );
    refused(
        d,
        &[&["resnet_micro", "--weights", "bare.safetensors"], &all[..]].concat(),
        USAGE,
        &["number of classes"],
    );
    // A head without a number in it, which claims more classes than there is memory for.
    for shape in [&[1 << 50, 0][..], &[1 << 20, 1, 0]] {
        let mut hollow = TensorWriter::new();
        hollow.add::<f32>("fc.weight", shape, &[]).unwrap();
        hollow.write(d.join("hollow.safetensors")).unwrap();
        let args = [&["resnet_micro", "--weights", "hollow.safetensors"], &all[..]].concat();
        refused(d, &args, USAGE, &["number of classes"]);
    }
    usage(&["--layers", ",", out[0], out[1]], &["names no layer"]);
    usage(&["--layers", "all", "--alpha", "1e39", out[0], out[1]], &["alpha is 1", "1000000"]);
    refused(d, &["resnet18"], USAGE, &["--weights FILE", "layer3.0.conv1", "--out FILE"]);

    // Wrapped, and with a weight that is no number.
    let file = TensorFile::open(d.join(&weights)).unwrap();
    let rewrite = |name: &str, prefix: &str, spoil: bool| {
        let mut writer = TensorWriter::new();
        for entry in file.entries() {
            let mut values = file.values::<f32>(entry.name).unwrap();
            if spoil && entry.name == "fc.bias" {
                values[0] = f32::NAN;
            }
            writer.add(&format!("{prefix}{}", entry.name), entry.shape, &values).unwrap();
        }
        writer.write(d.join(name)).unwrap();
    };
    rewrite("wrapped.safetensors", "model.", false);
    let args = [
        "reparameterize",
        "resnet_micro",
        "--weights",
        "wrapped.safetensors",
        "--layers",
        "all",
        "--out",
        "w.safetensors",
    ];
    assert!(apart(&succeeds(d, &args)) < 1e-4);
    rewrite("broken.safetensors", "", true);
    refused(
        d,
        &[&["resnet_micro", "--weights", "broken.safetensors"], &all[..]].concat(),
        FAILURE,
        &["no numbers"],
    );

    let folder = ["--layers", "all", "--out", "no/such/folder.safetensors"];
    refused(d, &[&["resnet_micro", "--weights", &weights], &folder[..]].concat(), FAILURE, &["no/such"]);
}
