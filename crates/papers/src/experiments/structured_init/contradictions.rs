//! Where the published numbers contradict each other, or the claim.

use super::super::Result;
use crate::Published;
use inductive_report::table::{Cell as Entry, Column, Table};

/// The published sides of "impulse is best", of which several say otherwise. Cells are looked up by table, row and column of
/// the registry; `None` where a source has no such number.
pub(super) fn table() -> Result<Table> {
    let published = Published::embedded()?;
    let columns = [
        Column::left("source and data"),
        Column::right("default"),
        Column::right("mimetic"),
        Column::right("impulse"),
    ];
    let mut table =
        Table::new("Published: impulse against mimetic, where sources contradict each other", columns);
    let figure = |column| {
        let place = move |row| Some(("2505.19985-fig-5seeds", row, column));
        [place("ViT-T default"), place("ViT-T mimetic"), place("ViT-T impulse")]
    };
    let logs = |row: &'static str| {
        let place = move |column| Some(("repro-lushen", row, column));
        [place("default best top1"), place("mimetic best top1"), place("impulse best top1")]
    };
    let table1 = |column| {
        let place = move |row| Some(("2404.01139-table1", row, column));
        [None, place("ViT-T/h3 mimetic"), place("ViT-T/h3 impulse f=5")]
    };
    let rows = [
        ("arXiv 2404.01139, SVHN: mimetic in front", table1("SVHN top1")),
        ("arXiv 2404.01139, CIFAR-100: no difference", table1("CIFAR-100 top1")),
        ("arXiv 2505.19985, Food-101, 5 seeds: mimetic in front", figure("Food-101 top1")),
        ("arXiv 2505.19985, CIFAR-10, 5 seeds: impulse in front", figure("CIFAR-10 top1")),
        ("arXiv 2505.19985, CIFAR-100, 5 seeds: impulse in front", figure("CIFAR-100 top1")),
        ("reproduction, CIFAR-10, 3 seeds", logs("CIFAR-10 full, 250 epochs, mean of 3 seeds")),
        ("reproduction, CIFAR-100", logs("CIFAR-100 full, 250 epochs, seed 0")),
        ("reproduction, CIFAR-10 at 10 %", logs("CIFAR-10 10%, 150 epochs")),
        ("reproduction, CIFAR-10 at 25 %", logs("CIFAR-10 25%, 150 epochs")),
        ("reproduction, CIFAR-100 at 10 %", logs("CIFAR-100 10%")),
        ("reproduction, CIFAR-100 at 25 %", logs("CIFAR-100 25%")),
    ];
    for (what, places) in rows {
        table.row(std::iter::once(Entry::text(what)).chain(places.map(|place| match place {
            Some((table, row, column)) => {
                Entry::published(published.value("structured_init", table, row, column))
            }
            None => Entry::Empty,
        })));
    }
    let printed = |row| {
        let column = "impulse top1 as printed (manual override, not in the logs)";
        let values = published.value("structured_init", "repro-lushen-report", row, column);
        values.iter().map(|it| format!("{row} {}", it.value)).collect::<Vec<_>>().join(", ")
    };
    let overrides =
        ["CIFAR-100 full", "CIFAR-10 10%", "CIFAR-100 10%", "CIFAR-100 25%"].map(printed).join("; ");
    let cell = |table, row, column| {
        let values = published.value("structured_init", table, row, column);
        values.iter().map(|it| it.value.to_string()).collect::<Vec<_>>().join(", ")
    };
    let (main, figure) = ("2505.19985-main-table", "2505.19985-fig-5seeds");
    table.note(format!(
        "Within one paper: ViT-T with impulses of 3x3 on CIFAR-10 has {} and {} (arXiv 2404.01139, Table 1 and its ablation); \
         impulse on CIFAR-10 {} and {}, on CIFAR-100 {} and {} (arXiv 2505.19985, main table and figure); ViT-B by default on \
         ImageNet {} as submitted, {} corrected, {} in timm.",
        cell("2404.01139-table1", "ViT-T/h3 impulse f=3", "CIFAR-10 top1"),
        cell("2404.01139-pseudo-input", "ViT-T/h3 impulse f=3, PE/PE, same Q,K", "CIFAR-10 top1"),
        cell(main, "ViT-T impulse", "CIFAR-10 top1"),
        cell(figure, "ViT-T impulse", "CIFAR-10 top1"),
        cell(main, "ViT-T impulse", "CIFAR-100 top1"),
        cell(figure, "ViT-T impulse", "CIFAR-100 top1"),
        cell("2505.19985-table2", "ViT-B default (as submitted)", "ImageNet-1K top1"),
        cell("2505.19985-table2", "ViT-B default (corrected setting)", "ImageNet-1K top1"),
        cell("2505.19985-table2", "ViT-B default (timm value quoted by a reviewer)", "ImageNet-1K top1"),
    ));
    table.note(
        "Top-1, %. The reproduction ran the official code of arXiv 2505.19985; these are its logs, best epoch on the test set, \
         one seed where no number is given.",
    );
    table.note(format!(
        "Its report prints larger numbers for impulse alone ({overrides}), which are manual overrides and in no log."
    ));
    Ok(table)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_number_that_is_looked_up_is_there() {
        let table = super::table().unwrap();
        let empty = |row: &Vec<super::Entry>| row.iter().filter(|cell| **cell == super::Entry::Empty).count();
        // Only the first two rows have no default.
        assert_eq!(table.rows.iter().map(empty).collect::<Vec<_>>(), [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for number in ["91.62 and 90.75", "94.67 and 94.6", "77.02 and 76.5", "76.25 as submitted, 81.24"] {
            assert!(table.notes.iter().any(|note| note.contains(number)), "{number}: {:?}", table.notes);
        }
    }
}
