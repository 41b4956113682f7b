//! Claim si.1: over frozen f x f filters, channel mixing alone reaches everything once `D >= k f^2`.

use inductive_analysis::{Filters, Mixing, NO_RESIDUAL};

use super::{super::super::Result, Scale};
use crate::{
    Published, Report, Seeded,
    published::PublishedClaim,
    verdict::{Check, ClaimVerdict, judge_exact},
};
use inductive_report::{
    figure::{Axis, Figure, Series},
    table::{Cell, Column, Table},
};

/// Rank of the input and side of the filters; 36, 72 and 50 dimensions, all below the 256 places of a map.
const SIZES: [(usize, usize); 3] = [(4, 3), (8, 3), (2, 5)];
/// Side of the maps.
const SIDE: usize = 16;
/// Channels of the wanted output.
const OUTPUTS: usize = 16;
/// Up to how many times `k f^2` channels are tried.
const MOST: usize = 8;
/// The least residual that counts as one: a missing direction of 72 costs about 1 / sqrt(72).
const RESIDUAL: f64 = 0.01;

const KINDS: [(Filters, &str); 4] = [
    (Filters::Gaussian, "Gaussian"),
    (Filters::BalancedImpulse, "impulses, dealt evenly"),
    (Filters::RandomImpulse, "impulses, drawn"),
    (Filters::Box, "constant box"),
];

/// What was found for one kind of filter at one size.
#[derive(Clone)]
struct Found {
    filters: Filters,
    kind: &'static str,
    mixing: Mixing,
    /// Channels needed, by seed.
    needed: Vec<Option<usize>>,
    /// Least residual over the seeds with `k f^2 - k` channels.
    before: f64,
    /// Largest residual with `k f^2`.
    at: f64,
    /// Least residual with `8 k f^2`.
    most: f64,
}

impl Found {
    fn measure(filters: Filters, kind: &'static str, (rank, kernel): (usize, usize), seeds: u64) -> Self {
        let mixing = Mixing { side: SIDE, rank, kernel, outputs: OUTPUTS };
        let dimensions = mixing.dimensions();
        let residuals =
            |channels| (0..seeds).map(move |seed| mixing.measure(filters, channels, seed).residual);
        let needed =
            (0..seeds).map(|seed| mixing.channels_needed(filters, MOST * dimensions, seed)).collect();
        // not f64::min, which would hide a NaN
        let least = |values: &mut dyn Iterator<Item = f64>| {
            values.fold(f64::INFINITY, |least, v| if v < least || v.is_nan() { v } else { least })
        };
        let largest = |values: &mut dyn Iterator<Item = f64>| -least(&mut values.map(|v| -v));
        Self {
            filters,
            kind,
            mixing,
            needed,
            before: least(&mut residuals(dimensions - rank)),
            at: largest(&mut residuals(dimensions)),
            most: least(&mut residuals(MOST * dimensions)),
        }
    }

    fn needed_text(&self) -> String {
        let text = |needed: &Option<usize>| needed.map_or("none".to_owned(), |needed| needed.to_string());
        self.needed.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    /// What the proposition says of this kind.
    fn checks(&self) -> Vec<Check> {
        let (k, f, dimensions) = (self.mixing.rank, self.mixing.kernel, self.mixing.dimensions());
        let of = |what: &str| format!("{what}, {}, k {k}, f {f}", self.kind);
        let everywhere = |value: &str| vec![value; self.needed.len()].join(" ");
        match self.filters {
            Filters::Gaussian | Filters::BalancedImpulse => vec![
                Check::equal(
                    of("fewest channels without residual"),
                    self.needed_text(),
                    everywhere(&dimensions.to_string()),
                ),
                Check::within(of("largest residual at D = k f^2"), self.at, NO_RESIDUAL),
                Check::at_least(of("least residual at D = k f^2 - k"), self.before, RESIDUAL),
            ],
            Filters::RandomImpulse => {
                let count = |needed: &Option<usize>| needed.map_or(f64::NAN, |needed| needed as f64);
                let least =
                    self.needed.iter().map(count).fold(f64::INFINITY, |a, b| if b < a { b } else { a });
                vec![
                    Check::at_least(of("fewest channels without residual"), least, (dimensions + 1) as f64),
                    Check::equal(
                        of(&format!("seeds for which {MOST} k f^2 channels suffice")),
                        self.needed.iter().flatten().count(),
                        self.needed.len(),
                    ),
                ]
            }
            Filters::Box => vec![
                Check::equal(of("fewest channels without residual"), self.needed_text(), everywhere("none")),
                Check::at_least(of(&format!("least residual at D = {MOST} k f^2")), self.most, RESIDUAL),
            ],
        }
    }
}

/// Adds tables, figure and the verdict.
pub(super) fn add(report: &mut Report, scale: &Scale) -> Result<()> {
    let sizes = if scale.long_solves { &SIZES[..] } else { &SIZES[..1] };
    let kinds = sizes.iter().flat_map(|size| KINDS.map(|(filters, kind)| (*size, filters, kind)));
    let found: Vec<_> =
        kinds.map(|(size, filters, kind)| Found::measure(filters, kind, size, scale.seeds)).collect();
    let mut needed = Table::new(
        "Channels that leave no residual when only their mixing is learned",
        [
            Column::left("frozen filters"),
            Column::right("k"),
            Column::right("f"),
            Column::right("k f^2"),
            Column::right("fewest channels, by seed"),
        ],
    );
    for it in &found {
        needed.row([
            Cell::text(it.kind),
            Cell::count(it.mixing.rank),
            Cell::count(it.mixing.kernel),
            Cell::count(it.mixing.dimensions()),
            Cell::text(it.needed_text()),
        ]);
    }
    needed.note(format!(
        "Maps of {SIDE} x {SIDE} with zeros beyond the border; relative residual below 1e-6; none: not with {MOST} k f^2 \
         channels either. Drawn impulses need k channels for every one of the f^2 shifts."
    ));
    let (table, figure) = residuals(scale.seeds);
    report.table("channels-needed", needed).table("residuals", table).figure("residuals", figure);
    report.claim(judge(Published::embedded()?.claim("si.1")?, &found));
    report.differs(
        "Proposition 1 is about linear layers: activations, norms and residual connections are left out there and here",
    );
    Ok(())
}

fn judge(claim: &PublishedClaim, found: &[Found]) -> ClaimVerdict {
    judge_exact(claim, found.iter().flat_map(Found::checks).collect())
}

/// Residuals over the number of channels, at the first size.
fn residuals(seeds: u64) -> (Table, Figure) {
    let (rank, kernel) = SIZES[0];
    let mixing = Mixing { side: SIDE, rank, kernel, outputs: OUTPUTS };
    let dimensions = mixing.dimensions();
    let counts = [
        rank,
        dimensions / 4,
        dimensions / 2,
        dimensions - rank,
        dimensions - 1,
        dimensions,
        dimensions + rank,
        dimensions * 3 / 2,
        dimensions * 2,
        dimensions * 3,
        dimensions * 4,
    ];
    let mut table = Table::new(
        format!("Relative residual by channels D, k {rank}, f {kernel}"),
        [Column::right("D"), Column::right("D / (k f^2)")]
            .into_iter()
            .chain(KINDS.map(|(_, kind)| Column::right(kind))),
    );
    let mut series = KINDS.map(|(_, kind)| (kind, Vec::new()));
    for channels in counts {
        let ratio = channels as f64 / dimensions as f64;
        let mut row = vec![Cell::count(channels), Cell::number(ratio, 2)];
        for ((filters, _), (_, points)) in KINDS.iter().zip(&mut series) {
            let residual = |seed| (seed, mixing.measure(*filters, channels, seed).residual);
            let values: Seeded = (0..seeds).map(residual).collect();
            let mean = values.summary().map_or(f64::NAN, |summary| summary.mean);
            row.push(Cell::text(format!("{mean:.1e}")));
            points.push((ratio, mean));
        }
        table.row(row);
    }
    table.note(format!("Mean of {seeds} seeds. Residuals of 1e-10 and less are rounding errors."));
    let figure = Figure::new(
        "Residual of learned channel mixing over frozen filters",
        Axis::linear("D / (k f^2)"),
        Axis::log("relative residual"),
    )
    .caption(format!("k = {rank}, f = {kernel}, mean of {seeds} seeds; what lies below 1e-10 is rounding."));
    let figure = series.into_iter().enumerate().fold(figure, |figure, (hue, (kind, points))| {
        let points = points.into_iter();
        figure.series(points.fold(Series::measured(kind, hue), |series, (x, y)| series.point(x, y)))
    });
    (table, figure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;

    fn verdict(found: &[Found]) -> Verdict {
        judge(Published::embedded().unwrap().claim("si.1").unwrap(), found).verdict
    }

    #[test]
    fn one_number_that_is_off_fails_the_claim() {
        let all = KINDS.map(|(filters, kind)| Found::measure(filters, kind, SIZES[0], 2));
        assert_eq!(verdict(&all), Verdict::Holds);
        let changes: [fn(&mut [Found; 4]); 8] = [
            |found| found[0].needed[1] = Some(37),
            |found| found[0].at = 1e-3,
            |found| found[1].before = 1e-3,
            |found| found[1].needed[0] = None,
            |found| found[2].needed[0] = Some(36),
            |found| found[2].needed[1] = None,
            |found| found[3].needed[0] = Some(280),
            |found| found[3].most = f64::NAN,
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut found = all.clone();
            change(&mut found);
            assert_eq!(verdict(&found), Verdict::Fails, "change {index}");
        }
    }
}
