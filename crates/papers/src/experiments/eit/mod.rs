//! EIT (arXiv 2203.07116): its patches and its convolution beside attention, each alone and together, against ViT and
//! ResNet at the same number of epochs. The paper's tables of this are not available: its claims are what is tested.

mod claims;
mod exact;
mod tables;

use inductive_schedule::Duration;
use inductive_train::{Choice, Keep, Recipe, SubsetSpec, Synthetic};

use super::{Cell, CellResult, Preset, Protocol, Request, Result, percent};
use crate::Report;

/// Everything: the exact part, and the trained comparison.
pub(super) const CLAIMS: Protocol = Protocol {
    paper: "eit",
    table: "claims",
    about: "EIT, its parts and other splits against ViT and a ResNet of 5.7 times the parameters; exact numbers",
    cells,
    report,
    exact: Some(|report, _| exact::add(report)),
};

/// The exact part alone.
pub(super) const EXACT: Protocol = Protocol {
    paper: "eit",
    table: "exact",
    about: "parameters, operations, channels, grids, learning rates of the authors; trains nothing",
    cells: |_| Ok(Vec::new()),
    report: |_, _| Ok(exact::report()),
    exact: Some(|report, _| exact::add(report)),
};

/// One side of the comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Arm {
    /// Name of its runs.
    variant: &'static str,
    /// Registry name.
    model: &'static str,
    /// What it is, in words.
    label: &'static str,
}

const fn arm(variant: &'static str, model: &'static str, label: &'static str) -> Arm {
    Arm { variant, model, label }
}

const EIT: Arm = arm("eit", "eit_micro", "EIT (P and T)");
const EIT_POS: Arm = arm("eit-pos", "eit_micro_pos", "EIT with positions");
const P: Arm = arm("p", "eit_micro_p", "P alone");
const P_POS: Arm = arm("p-pos", "eit_micro_p_pos", "P with positions");
const T: Arm = arm("t", "eit_micro_t", "T alone");
const T_POS: Arm = arm("t-pos", "eit_micro_t_pos", "T with positions");
const VIT: Arm = arm("vit", "eit_micro_vit", "ViT without positions");
const VIT_POS: Arm = arm("vit-pos", "eit_micro_vit_pos", "ViT");
const MEAN: Arm = arm("constant-mean", "eit_micro_mean", "constant split, EIT's mean share");
const HALF: Arm = arm("constant-half", "eit_micro_half", "constant split, half");
const INCREASING: Arm = arm("increasing", "eit_micro_increasing", "increasing convolution");
const RESNET: Arm = arm("resnet", "resnet_micro", "ResNet");

/// All sides; the more important ones first, since a study that is stopped has those.
const ARMS: [Arm; 12] = [EIT, VIT_POS, VIT, P, T, EIT_POS, MEAN, INCREASING, HALF, P_POS, T_POS, RESNET];

/// Sizes of a preset.
struct Scale {
    /// Length of every run.
    epochs: f64,
    batch_size: usize,
    /// Share of the training images.
    fraction: f64,
    seeds: u64,
    synthetic: Synthetic,
    arms: &'static [Arm],
}

fn scale(preset: Preset) -> Scale {
    match preset {
        Preset::Smoke => Scale {
            epochs: 1.0,
            batch_size: 32,
            fraction: 0.5,
            seeds: 2,
            synthetic: Synthetic { train: 200, test: 60, seed: 0 },
            arms: &ARMS,
        },
        Preset::Quick => Scale {
            epochs: 10.0,
            batch_size: 64,
            fraction: 0.5,
            seeds: 2,
            synthetic: Synthetic { train: 4_000, test: 1_000, seed: 0 },
            arms: &[EIT, VIT_POS, VIT, P, T, EIT_POS, MEAN, INCREASING, HALF, RESNET],
        },
        Preset::Small => Scale {
            epochs: 20.0,
            batch_size: 64,
            fraction: 0.1,
            seeds: 3,
            synthetic: Synthetic { train: 20_000, test: 4_000, seed: 0 },
            arms: &ARMS,
        },
    }
}

fn cells(request: &Request) -> Result<Vec<Cell>> {
    let scale = scale(request.preset);
    let mut cells = Vec::new();
    // Seed by seed: a study that is stopped early has whole pairs.
    for seed in 0..request.seeds_or(scale.seeds)? {
        for arm in scale.arms {
            let recipe = Recipe {
                model: arm.model.to_owned(),
                seed,
                data: request.data.clone(),
                subset: SubsetSpec::Part {
                    choice: Choice::First,
                    amount: scale.fraction * 100.0,
                    percent: true,
                },
                batch_size: scale.batch_size,
                epochs: Duration::Epochs(scale.epochs),
                eval_every: Duration::Percent(50.0),
                warmup_epochs: Duration::Percent(5.0),
                lr: Some(1e-3),
                synthetic: scale.synthetic,
                keep: Keep { last: true, best: false, state: false },
                ..Recipe::default()
            };
            let name = format!("{}-{}", arm.variant, percent(scale.fraction).replace('%', "pct"));
            cells.push(Cell { name, variant: arm.variant, fraction: scale.fraction, seed, recipe });
        }
    }
    Ok(cells)
}

fn report(request: &Request, results: &[CellResult]) -> Result<Report> {
    let scale = scale(request.preset);
    let measured = tables::Measured::new(request, &scale, results)?;
    let mut report = Report::new("EIT: overlapping patches and decreasing convolution");
    report.ran(format!(
        "EIT (`{}`: 4 layers, 96 channels, 4 heads, patches 3/1/4) with and without its patches (P), its convolution (T) and \
         a position embedding, with other splits between convolution and attention, and a ResNet, on `{}`, preset `{}`.",
        EIT.model, request.data, request.preset
    ));
    report.ran(format!(
        "Every run: the first {} of the training images of each class, {} epochs in batches of {}, AdamW, learning rate \
         1e-3, crop and flip; the same order of images for all models of a seed. Accuracy is that of the last weights.",
        percent(scale.fraction),
        scale.epochs,
        scale.batch_size
    ));
    measured.add(&mut report);
    claims::add(&mut report, &measured)?;
    let data = request.data.split(':').next().unwrap_or_default();
    report.differs("tables: those of the paper's small data sets are not available, nor are the data sets' names; nothing here \
                    reproduces a published table");
    report.differs(format!(
        "data: {} of {data} at 32 pixels; the paper's small data sets are not known, its large one is ImageNet-1k at 224",
        percent(scale.fraction)
    ));
    report.differs("model: 4 layers and 96 channels; the paper's small models are not known, its released ones have 3.5 to 25 \
                    million parameters");
    report.differs(
        "recipe: crop and flip instead of RandAugment, mixup, cutmix, erasing and repeated augmentation; no dropout; \
         stochastic depth 0.1 in the transformers, none in the ResNet",
    );
    report.differs(
        "ViT and ResNet: which ones the paper compares with is not known; here ViT is EIT without P and T and with a \
         position embedding, the ResNet is ResNet-18 with a 3x3 first layer and 28 instead of 64 channels",
    );
    report.differs(
        "splits: constant and increasing ones convolve channels of the last layer too, where that does nothing for the logits, \
         and the constant ones have up to 8 % fewer parameters",
    );
    report.differs("weight decay: not on class token and position embedding (timm's rule); the authors' code decays both");
    report.differs("high-frequency share and head diversity: the paper's definitions are not available; both are proxies");
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Verdict, experiments::results::finished};

    fn request(preset: Preset) -> Request {
        Request {
            paper: "eit".to_owned(),
            table: None,
            data: "synthetic".to_owned(),
            preset,
            seeds: Some(3),
            runs: "runs".into(),
            command: String::new(),
        }
    }

    #[test]
    fn runs_of_a_seed_differ_in_the_model_alone() {
        for preset in Preset::ALL {
            let cells = cells(&request(preset)).unwrap();
            assert_eq!(cells.len(), 3 * scale(preset).arms.len());
            for cell in &cells {
                cell.recipe.validate().unwrap();
                let first = cells.iter().find(|c| c.seed == cell.seed).unwrap();
                let same = Recipe { model: first.recipe.model.clone(), ..cell.recipe.clone() };
                assert_eq!(same, first.recipe);
            }
            let names: std::collections::HashSet<_> = cells.iter().map(|c| (&c.name, c.seed)).collect();
            assert_eq!(names.len(), cells.len(), "every cell has its own folder");
        }
    }

    /// A report of finished runs whose accuracy is `top1` of the arm, with a little noise.
    fn report_of(top1: impl Fn(&str) -> f64) -> Report {
        let request = request(Preset::Small);
        let results: Vec<CellResult> = cells(&request)
            .unwrap()
            .into_iter()
            .enumerate()
            .map(|(i, cell)| {
                let noise = 0.1 * cell.seed as f64 + 0.001 * (i * i % 97) as f64;
                let top1 = top1(cell.variant) + noise;
                finished(cell, top1)
            })
            .collect();
        let mut report = report(&request, &results).unwrap();
        exact::add(&mut report).unwrap();
        report
    }

    fn verdict(report: &Report, id: &str) -> Verdict {
        report.claims.iter().find(|claim| claim.id == id).unwrap().verdict
    }

    const TRAINED: [&str; 6] = ["eit.C1", "eit.C2", "eit.C3", "eit.C4", "eit.C5", "eit.C6"];

    #[test]
    fn results_as_the_paper_claims_them_make_every_claim_hold() {
        let report = report_of(|variant| match variant {
            "eit" => 60.0,
            "eit-pos" => 60.1,
            "p" | "t" => 50.0,
            "constant-mean" | "constant-half" => 55.0,
            "increasing" | "p-pos" | "t-pos" => 52.0,
            "resnet" => 58.0,
            "vit-pos" => 45.0,
            "vit" => 40.0,
            other => panic!("{other}"),
        });
        for id in TRAINED {
            assert_eq!(verdict(&report, id), Verdict::Holds, "{id}: {:#?}", report.claims);
        }
    }

    #[test]
    fn results_the_other_way_round_make_every_claim_fail() {
        let report = report_of(|variant| match variant {
            "eit" => 40.0,
            "eit-pos" => 50.0,
            "p" | "t" => 45.0,
            "vit" | "vit-pos" => 60.0,
            _ => 55.0,
        });
        for id in TRAINED {
            assert_eq!(verdict(&report, id), Verdict::Fails, "{id}");
        }
    }

    #[test]
    fn the_report_names_what_is_not_available_and_what_is_a_proxy() {
        let text = report_of(|_| 50.0).markdown();
        let ratio = "17.4 % of the parameters of this ResNet, which has 5.73 times EIT's; the paper names 17.7 (arXiv";
        for part in ["not available", "proxies", "70.026", ratio] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
