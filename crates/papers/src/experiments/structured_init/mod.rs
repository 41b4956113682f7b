//! Structured initialization (arXiv 2401.12511, 2404.01139, 2505.19985): impulse attention maps against mimetic and plain
//! initial weights, and the controls that nobody ran.

mod arms;
mod claims;
mod contradictions;
mod convmixer;
mod exact;
mod heads;
mod tables;

use inductive_train::Synthetic;

use self::arms::Scale;
pub(super) use self::{convmixer::CONVMIXER, heads::HEADS};
use super::{CellResult, Preset, Protocol, Request, Result};
use crate::Report;

/// The trained comparison on a tenth of the data.
pub(super) const CLAIMS: Protocol = Protocol {
    paper: "structured-init",
    table: "claims",
    about: "ViTs that begin with plain, mimetic and impulse weights, on a tenth of the data; controls; exact numbers",
    cells: |request| arms::cells(request, &scale(request.preset)),
    report: |request, results| trained(request, &scale(request.preset), results),
    exact: Some(exact::add),
};

/// The same on all data.
pub(super) const FULL: Protocol = Protocol {
    paper: "structured-init",
    table: "full",
    about: "the main models of `claims` on all training images",
    cells: |request| arms::cells(request, &full(request.preset)),
    report: |request, results| trained(request, &full(request.preset), results),
    exact: None,
};

/// The exact part: linear algebra and solvers.
pub(super) const EXACT: Protocol = Protocol {
    paper: "structured-init",
    table: "exact",
    about: "channels over frozen filters, what initial weights reach, ranks at initialisation; trains nothing",
    cells: |_| Ok(Vec::new()),
    report: |_, _| Ok(exact::report()),
    exact: Some(exact::add),
};

/// Sizes of the comparison on a tenth of the data.
fn scale(preset: Preset) -> Scale {
    let epochs = match preset {
        Preset::Smoke => 1.0,
        Preset::Quick => 6.0,
        Preset::Small => 9.0,
    };
    Scale {
        epochs,
        batch_size: if preset == Preset::Smoke { 16 } else { 64 },
        fraction: 0.1,
        seeds: if preset == Preset::Small { 5 } else { 2 },
        synthetic: match preset {
            Preset::Smoke => Synthetic { train: 600, test: 60, seed: 0 },
            Preset::Quick => Synthetic { train: 40_000, test: 1_000, seed: 0 },
            Preset::Small => Synthetic { train: 50_000, test: 4_000, seed: 0 },
        },
        arms: if preset == Preset::Quick { &arms::MAIN } else { &arms::ALL },
    }
}

/// Sizes of the comparison on all data.
fn full(preset: Preset) -> Scale {
    let small = scale(preset);
    Scale {
        fraction: 1.0,
        arms: &arms::MAIN,
        epochs: if preset == Preset::Small { 6.0 } else { 1.0 },
        ..small
    }
}

/// Sizes of a study beside the main one, with fewer seeds.
fn side_study(preset: Preset, arms: &'static [arms::Arm]) -> Scale {
    let main = scale(preset);
    Scale {
        seeds: if preset == Preset::Small { 3 } else { 2 },
        synthetic: Synthetic { train: main.synthetic.train.min(20_000), ..main.synthetic },
        arms,
        ..main
    }
}

/// What the runs of a comparison say.
fn trained(request: &Request, scale: &Scale, results: &[CellResult]) -> Result<Report> {
    let measured = tables::Measured { results, scale };
    let mut report = Report::new("Structured initialization: impulse, mimetic and plain initial weights");
    report.ran(format!(
        "Two ViTs (4 layers, 96 channels, 4 heads, 8x8 patches of 4 pixels) with different initial weights on `{}`, preset \
         `{}`: `vit_micro_gap`, as in arXiv 2404.01139, has fixed positions of sines and cosines, no class token and an average \
         over the patches; `deit_micro`, as in arXiv 2505.19985, has learned positions and a class token.",
        request.data, request.preset
    ));
    report.ran(arms::how(request, scale));
    measured.add(&mut report);
    report.table("contradictions", contradictions::table()?);
    claims::add(&mut report, &measured)?;
    let data = request.data.split(':').next().unwrap_or_default();
    report.differs(format!(
        "data: {data} at 32 pixels; arXiv 2404.01139 has patches of 2 pixels there, arXiv 2505.19985 resizes to 224"
    ));
    report.differs("model: 4 layers and 96 channels in 4 heads; the papers' ViT-T has 12, 192 and 3");
    for line in arms::DIFFERENCES {
        report.differs(line);
    }
    report.differs(
        "target mass: measured on images, where content blurs what was solved for on positions alone; the papers show pictures",
    );
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Verdict, experiments::results::finished};
    use inductive_train::Recipe;

    fn request(preset: Preset, data: &str) -> Request {
        Request {
            paper: "structured-init".to_owned(),
            table: None,
            data: data.to_owned(),
            preset,
            seeds: Some(3),
            runs: "runs".into(),
            command: String::new(),
        }
    }

    #[test]
    fn runs_of_a_seed_differ_in_model_and_initial_weights_alone() {
        for preset in Preset::ALL {
            for scale in [scale(preset), full(preset)] {
                let cells = arms::cells(&request(preset, "synthetic"), &scale).unwrap();
                assert_eq!(cells.len(), 3 * scale.arms.len());
                for cell in &cells {
                    cell.recipe.validate().unwrap();
                    let first = cells.iter().find(|c| c.seed == cell.seed).unwrap().recipe.clone();
                    let same = Recipe {
                        model: first.model.clone(),
                        init: first.init.clone(),
                        ..cell.recipe.clone()
                    };
                    assert_eq!(same, first);
                }
                let names: std::collections::HashSet<_> = cells.iter().map(|c| (&c.name, c.seed)).collect();
                assert_eq!(names.len(), cells.len(), "every cell has its own folder");
            }
        }
    }

    #[test]
    fn a_tenth_of_cifar_is_five_thousand_images_wherever_the_rest_is() {
        let subset = |data: &str| {
            let cells = arms::cells(&request(Preset::Small, data), &scale(Preset::Small)).unwrap();
            cells[0].recipe.subset.to_string()
        };
        assert_eq!(subset("cifar10:x"), "first 500");
        assert_eq!(subset("cifar100:x"), "first 50");
        assert_eq!(subset("folder:x"), "first 10%");
    }

    /// A report of finished runs whose accuracy is `top1` of the arm, with a little noise.
    fn report_of(top1: impl Fn(&str) -> f64) -> Report {
        let request = request(Preset::Small, "synthetic");
        let scale = scale(Preset::Small);
        let results: Vec<CellResult> = arms::cells(&request, &scale)
            .unwrap()
            .into_iter()
            .enumerate()
            .map(|(i, cell)| {
                let noise = 0.1 * cell.seed as f64 + 0.004 * (i.pow(3) % 89) as f64;
                let top1 = top1(cell.variant) + noise;
                finished(cell, top1)
            })
            .collect();
        trained(&request, &scale, &results).unwrap()
    }

    fn verdict(report: &Report, id: &str) -> Verdict {
        report.claims.iter().find(|claim| claim.id == id).unwrap().verdict
    }

    #[test]
    fn results_as_the_papers_claim_them_make_the_claims_hold() {
        let report = report_of(|variant| match variant {
            v if v.ends_with("-default") || v.ends_with("-trunc-normal") => 40.0,
            "token-default-mimetic-v" | "token-default-scaled-position" => 45.0,
            _ => 50.0,
        });
        assert!(report.claims.iter().any(|it| it.id == "si.3"));
        for id in ["si.5", "si.7, V and projection", "si.7, positions x 18"] {
            assert_eq!(verdict(&report, id), Verdict::Holds, "{id}: {:#?}", report.claims);
        }
    }

    #[test]
    fn plain_weights_in_front_make_the_claims_fail() {
        let report = report_of(|variant| match variant {
            v if v.ends_with("-default") || v.ends_with("-trunc-normal") => 60.0,
            _ => 50.0,
        });
        for id in ["si.5", "si.7, V and projection", "si.7, positions x 18"] {
            assert_eq!(verdict(&report, id), Verdict::Fails, "{id}");
        }
    }

    #[test]
    fn one_confound_alone_is_told_from_the_other() {
        let report = report_of(|variant| if variant == "token-default-mimetic-v" { 55.0 } else { 50.0 });
        assert_eq!(verdict(&report, "si.7, V and projection"), Verdict::Holds);
        assert_ne!(verdict(&report, "si.7, positions x 18"), Verdict::Holds);
    }

    #[test]
    fn impulse_clearly_above_mimetic_contradicts_what_was_expected() {
        let report = report_of(|variant| match variant {
            v if v.ends_with("-default") || v.ends_with("-trunc-normal") => 40.0,
            v if v.ends_with("-impulse") => 55.0,
            _ => 50.0,
        });
        assert_eq!(verdict(&report, "si.5"), Verdict::Fails);
        let text = report.markdown();
        for part in ["manual overrides", "SVHN", "Food-101", "impulse (closed form) > mimetic"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
