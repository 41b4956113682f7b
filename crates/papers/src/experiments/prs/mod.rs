//! Progressive reparameterization scheduling (PRS, arXiv 2210.01370): layers that leave convolution for attention, and when.
//!
//! The paper's text, tables and hyperparameters were not available, so nothing here repeats a table of it. What is measured
//! are the statements of its abstract, and of the work it stands on, with a PRS-style schedule of our own.

mod ablation;
mod arms;
mod claims;
mod correlation;
mod exact;
mod fourier;
mod fractions;
mod gates;
mod offsets;
mod tables;
#[cfg(test)]
mod tests;

use inductive_schedule::Duration;
use inductive_train::Synthetic;

pub(super) use self::{ablation::ABLATION, fractions::FRACTIONS, gates::GATES, offsets::OFFSETS};
use self::{
    arms::{Arm, Scale},
    tables::Measured,
};
use super::{CellResult, Preset, Protocol, Request, Result};
use crate::{Published, Report, published::Effort};
use inductive_report::table::{Cell as Entry, Column, Table};

/// When layers leave convolution.
pub(super) const SCHEDULE: Protocol = Protocol {
    paper: "prs",
    table: "schedule",
    about: "layers that leave convolution early, late, in order of depth, or never, on a tenth of the data; controls",
    cells: |request| arms::cells(request, &schedule(request.preset)),
    report: |request, results| trained(request, &schedule(request.preset), results),
    exact: Some(exact::add),
};

/// The exact part: what a switch keeps.
pub(super) const EXACT: Protocol = Protocol {
    paper: "prs",
    table: "exact",
    about: "a convolution becomes attention with the same function: layers, trained networks, gradients; no study",
    cells: |_| Ok(Vec::new()),
    report: |_, _| Ok(exact::report()),
    exact: Some(exact::add),
};

/// Epochs of the main study at preset `small`: nine arms and five seeds are about an hour on two cores.
const SMALL_EPOCHS: f64 = 20.0;

/// Sizes of the main study.
fn schedule(preset: Preset) -> Scale {
    let epochs = match preset {
        Preset::Smoke => 1.0,
        // Every seed has left guessing far behind by then; at half of it some have not.
        Preset::Quick => 10.0,
        Preset::Small => SMALL_EPOCHS,
    };
    Scale {
        model: arms::STAGED,
        length: Duration::Epochs(epochs),
        batch_size: if preset == Preset::Smoke { 8 } else { 64 },
        fractions: &[0.1],
        seeds: if preset == Preset::Small { 5 } else { 2 },
        synthetic: match preset {
            Preset::Smoke => Synthetic { train: 640, test: 60, seed: 0 },
            Preset::Quick => Synthetic { train: 20_000, test: 1_000, seed: 0 },
            Preset::Small => Synthetic { train: 50_000, test: 4_000, seed: 0 },
        },
        arms: if preset == Preset::Quick { &arms::MAIN } else { &arms::SCHEDULES },
        evaluations: 2,
    }
}

/// Sizes of a study beside the main one, with fewer seeds.
fn side_study(preset: Preset, arms: &'static [Arm]) -> Scale {
    let main = schedule(preset);
    Scale {
        model: arms::STAGED,
        seeds: if preset == Preset::Small { 3 } else { 2 },
        synthetic: Synthetic { train: main.synthetic.train.min(20_000), ..main.synthetic },
        arms,
        ..main
    }
}

/// What the runs of the main study say.
fn trained(request: &Request, scale: &Scale, results: &[CellResult]) -> Result<Report> {
    let measured = Measured { results, scale };
    let mut report = Report::new(
        "PRS-style schedule (project choice of first and last switch time, alpha, gate): when layers leave convolution",
    );
    report.ran(
        "Asked: is it better on little data if late layers leave convolution for attention before early ones (arXiv \
         2210.01370, abstract), and is an intermediate switch better than none and than attention from the start?",
    );
    report.ran(arms::network(request, scale));
    report.ran(arms::how(request, scale));
    report.ran(
        "A layer that leaves convolution keeps its function: the kernel's slices become the output weights of 9 heads, \
         sharp positions (alpha 20) select one patch each, and the gate is 1. From then on positions, gates, queries and \
         keys are trained too.",
    );
    measured.add(&mut report);
    fourier::add(&mut report, &measured)?;
    claims::add(&mut report, &measured)?;
    report.table("not-tested", not_tested()?);
    let data = request.data.split(':').next().unwrap_or_default();
    report.differs(format!(
        "data: {data} at 32 pixels, a tenth of the images; the abstract names CIFAR-100, its protocol is not \
         known"
    ));
    for line in arms::DIFFERENCES {
        report.differs(line);
    }
    report.differs(format!("length: {}, so that all of it is early training", scale.length));
    Ok(report)
}

/// Claims that no run on a CPU can test.
fn not_tested() -> Result<Table> {
    let columns = [Column::left("claim"), Column::left("statement"), Column::left("why")];
    let mut table = Table::new("Claims that are not tested", columns);
    for claim in Published::embedded()?.claims_of("prs").filter(|claim| claim.testable == Effort::Gpu) {
        table.row([&claim.id, &claim.text, &claim.expected].map(Entry::text));
    }
    Ok(table)
}
