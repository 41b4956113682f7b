//! An experiment, a measure and a computed part from outside, by the public API alone.

use std::{path::Path, sync::Arc};

use dfdx::prelude::Cpu;
use inductive_papers::{
    Report,
    experiments::{At, Ended, Experiment, Measure, Moment, Preset, Registry, Request, Study, run},
};
use inductive_report::table::Cell as Entry;
use inductive_train::{Silent, TrainOptions};

fn complete(study: &Study) -> Report {
    match run(&Cpu::default(), study, &TrainOptions::default(), &mut Silent).unwrap() {
        Ended::Complete { report, .. } => *report,
        Ended::Interrupted { .. } => panic!("nobody stopped it"),
    }
}

/// How far the gates have moved from where they begin, layer by layer.
struct Moved;

impl Measure for Moved {
    fn layered(&self) -> bool {
        true
    }

    fn of(&self, at: &At<'_>) -> Option<Vec<f64>> {
        let first = At { moment: Moment::Evaluation(0), ..*at }.metrics()?;
        Some(at.metrics()?.gates.iter().zip(&first.gates).map(|(now, then)| now - then).collect())
    }
}

const OWN: &str = r#"
paper = "mine"
name = "movement"
about = "how far gates move"
title = "Movement"
compute = ["sum"]
recipe = { epochs = "2 steps", eval_every = "50%", batch_size = 8, synthetic = { train = 40, test = 20 } }
preset = { smoke = { seeds = 2 } }
arm = [{ name = "gated", label = "gated" }]

[[table]]
name = "movement"
title = "Movement"
rows = "arms"
columns = [{ head = "layers", value = "moved(arm)", digits = 6 }, { head = "loss per image", value = "loss_each(arm)", digits = 4 }]
"#;

#[test]
fn a_measure_and_a_part_of_ones_own_are_called_by_name_in_an_experiment_that_trains() {
    let mut registry = Registry::builtin().unwrap();
    registry.measures.add("moved", Moved);
    registry.measures.number("loss_each", |at| {
        let last = At { moment: Moment::End, ..*at }.metrics()?;
        Some(last.test_loss / at.run.cell.recipe.synthetic.test as f64)
    });
    registry.part("sum", |report, request| {
        report.remark(format!("computed for {}", request.paper));
        Ok(())
    });
    registry.add(Experiment::from_toml(OWN, "movement.toml").unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let request = Request { preset: Preset::Smoke, runs: folder.path().to_owned(), ..Request::new("mine") };
    let study = Arc::new(registry).study(request).unwrap();
    assert_eq!(study.cells.len(), 2);
    let report = complete(&study);
    assert!(report.remarks.iter().any(|it| it == "computed for mine"), "{:?}", report.remarks);
    let row = &report.tables[0].table.rows[0];
    let Entry::Text { text } = &row[0] else { panic!("{row:?}") };
    let moved: Vec<f64> = text.split(' ').map(|it| it.parse().unwrap()).collect();
    assert!(
        moved.len() == 3 && moved.iter().all(|it| it.abs() < 0.1) && moved.iter().any(|it| *it != 0.0),
        "{text}"
    );
    let Entry::Measured { summary, .. } = &row[1] else { panic!("{row:?}") };
    // About ln 10 of 20 images each.
    assert!(summary.n == 2 && (summary.mean - 2.3 / 20.0).abs() < 0.02, "{summary:?}");
}

#[test]
fn a_file_is_run_by_its_path_and_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/own-experiment.toml");
    let mut request = Request::new(file.to_string_lossy());
    request.preset = Preset::Smoke;
    request.runs = folder.path().to_owned();
    let study = Study::new(request).unwrap();
    assert_eq!(study.folder, folder.path().join("mine-gates-smoke-synthetic"));
    let report = complete(&study);
    let names: Vec<_> = report.tables.iter().map(|it| it.name.as_str()).collect();
    assert_eq!((names, report.figures.len(), study.cells.len()), (vec!["accuracy", "questions"], 1, 8));
    assert_eq!(report.tables[0].table.rows.len(), 4, "a row for every share and arm");
    let again = complete(&study);
    assert_eq!(again.tables, report.tables, "finished runs are kept");
}
