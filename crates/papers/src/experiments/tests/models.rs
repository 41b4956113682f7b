//! What an expression says of an arm's model: of the one that the preset trains.

use inductive_train::Initial;

use super::{super::facts, *};
use inductive_report::table::Cell as Entry;

const SIZES: &str = r#"
paper = "mine"
name = "sizes"
about = "x"
title = "{classes} classes"
recipe = { model = "convit_micro" }
[[arm]]
name = "own"
label = "as the preset has it"
[[arm]]
name = "deep"
label = "deeper, smaller images"
recipe = { depth = 6, image_size = [24, 16], local_up_to_layer = 4 }
[preset.smoke]
recipe = { model = "vit_micro_gap", epochs = "2 steps" }
[preset.quick]
recipe = { depth = 3, local_up_to_layer = 1, epochs = "2 steps" }
[[table]]
name = "t"
title = "T"
rows = "arms"
columns = [
    { head = "", value = "parameters(arm)" },
    { head = "", value = "macs(arm)" },
    { head = "", value = "tokens(arm)" },
    { head = "", value = "width(arm)" },
]
"#;

/// The study at `preset` on a folder of three classes, and a file that is none.
fn study_of(preset: Preset, data: String) -> Result<Study> {
    let mut registry = Registry::builtin()?;
    let arms =
        if preset == Preset::Smoke { SIZES.replace(", local_up_to_layer = 4", "") } else { SIZES.to_owned() };
    registry.add(Experiment::from_toml(&arms, "sizes.toml")?)?;
    std::sync::Arc::new(registry).study(Request { preset, data, ..Request::new("mine") })
}

#[test]
fn numbers_of_a_model_are_those_of_the_model_that_the_preset_trains() {
    let folder = tempfile::tempdir().unwrap();
    for class in ["train/a", "train/b", "train/c", "train/.hidden", "val/a", "val/b", "val/c"] {
        std::fs::create_dir_all(folder.path().join(class)).unwrap();
    }
    std::fs::write(folder.path().join("train/readme.txt"), "no class").unwrap();
    let data = format!("folder:{}", folder.path().display());
    let mut all = std::collections::HashSet::new();
    for preset in [Preset::Smoke, Preset::Quick] {
        let study = study_of(preset, data.clone()).unwrap();
        let report = study.measured(&[]).unwrap();
        assert_eq!(report.title, "3 classes");
        for (row, arm) in report.tables[0].table.rows.iter().zip(["own", "deep"]) {
            let cell = study.cells.iter().find(|cell| cell.variant == arm).unwrap();
            let model = Initial::new(&cell.recipe, 3, &|_| ()).unwrap().model;
            let (spec, parameters) = (model.spec(), inductive_nn::ModuleExt::num_params(&model));
            let numbers =
                [parameters, spec.macs() as usize, spec.grid().tokens(), spec.embed_dim].map(|it| it as f64);
            let shown: Vec<f64> = row
                .iter()
                .map(|cell| match cell {
                    Entry::Number { value, .. } => *value,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(shown, numbers, "{preset} {arm}");
            all.insert(parameters);
        }
    }
    assert_eq!(all.len(), 4, "depths, images and models differ");
}

#[test]
fn without_a_known_number_of_classes_nothing_is_counted() {
    let report = study_of(Preset::Quick, "folder:nowhere".to_owned()).unwrap().measured(&[]).unwrap();
    let row = &report.tables[0].table.rows[0];
    assert_eq!((&row[0], &row[1]), (&Entry::Empty, &Entry::Empty));
    assert!(matches!(row[2], Entry::Number { value, .. } if value == 64.0), "{:?}", row[2]);
}

#[test]
fn the_classes_of_named_data_are_known() {
    let data = ["synthetic", "synthetic-parity", "cifar10:x", "cifar100:x", "folder:x"];
    assert_eq!(data.map(facts::classes), [Some(10), Some(10), Some(10), Some(100), None]);
}
