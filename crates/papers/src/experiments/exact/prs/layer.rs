//! How far the toy layer's attention is from the convolution it came from.

use inductive_nn::{Gate, SwitchLayer};

use super::{
    super::super::Result,
    Scale, largest,
    toy::{GRID, OUTER, SIDE, Toy, failed},
};
use crate::{Report, Seeded, verdict::Check};
use inductive_report::table::{Cell, Column, Table};

/// Locality strength, reference error inside the map, and over the whole map against zero padding.
const LOCALITY: [(f64, f64, f64); 7] = [
    (1.0, 7.5e-1, 0.78),
    (2.0, 4.3e-1, 0.55),
    (4.0, 7.9e-2, 0.44),
    (8.0, 1.5e-3, 0.45),
    (12.0, 2.8e-5, 0.45),
    (16.0, 5.1e-7, 0.45),
    (20.0, 9.4e-9, 0.45),
];

/// The parameter of a sigmoid gate, its share, reference error.
const GATES: [(f64, f64, f64); 7] = [
    (0.0, 0.5, 4.9e-1),
    (1.0, 0.731, 2.65e-1),
    (2.0, 0.881, 1.2e-1),
    (4.0, 0.982, 1.8e-2),
    (6.0, 0.9975, 2.4e-3),
    (10.0, 0.99995, 4.5e-5),
    (14.0, 1.0, 8.2e-7),
];

/// How far outside the range of the draws a reference value with another kernel may lie, as a factor.
const WIDER: f64 = 1.25;

/// `|got - want| / |want|` over the places that count.
fn relative(got: &[f64], want: &[f64], counts: impl Fn(usize) -> bool) -> f64 {
    let places = || got.iter().zip(want).enumerate().filter(|(i, _)| counts(i / OUTER)).map(|(_, pair)| pair);
    let of: f64 = places().map(|(_, w)| w * w).sum();
    (places().map(|(g, w)| (g - w).powi(2)).sum::<f64>() / of).sqrt()
}

fn inside(place: usize) -> bool {
    let within = |at: usize| (1..SIDE - 1).contains(&at);
    within(place / SIDE) && within(place % SIDE)
}

fn everywhere(_: usize) -> bool {
    true
}

/// Adds the tables; returns what claim prs.C1 is judged by.
pub(super) fn add(report: &mut Report, scale: &Scale) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    let locality = locality(scale, &mut checks)?;
    let gate = gate(scale, &mut checks)?;
    let borders = borders(scale, &mut checks)?;
    report.table("locality", locality).table("gate", gate).table("borders", borders);
    Ok(checks)
}

/// A reference value of another kernel, beside the draws.
fn near(statement: String, values: &Seeded, reference: f64) -> Check {
    let (low, high) = range(values);
    Check {
        statement,
        computed: format!("{low:.2e} to {high:.2e}"),
        expected: format!("{reference:.2e}, at most a factor of {WIDER} outside"),
        agrees: low / WIDER <= reference && reference <= high * WIDER,
    }
}

fn range(values: &Seeded) -> (f64, f64) {
    let values = values.values();
    let high = largest(values.iter().copied());
    // What is no number is neither below nor above anything.
    (values.iter().copied().fold(high, f64::min), high)
}

fn range_text(values: &Seeded) -> Cell {
    let (low, high) = range(values);
    Cell::text(format!("{low:.2e} to {high:.2e}"))
}

fn mean_text(values: &Seeded) -> Cell {
    values.summary().map_or(Cell::Empty, |summary| Cell::text(format!("{:.2e}", summary.mean)))
}

/// The error against the locality strength, positions alone.
fn locality(scale: &Scale, checks: &mut Vec<Check>) -> Result<Table> {
    let mut table = Table::new(
        "The layer as attention by position, against the convolution: relative L2 error",
        [
            Column::right("alpha"),
            Column::right("on the target"),
            Column::right("each neighbour"),
            Column::right("4 exp(-alpha)"),
            Column::right("inside, mean"),
            Column::right("range"),
            Column::right("reference"),
            Column::right("largest error"),
            Column::right("whole map, zero padding, mean"),
            Column::right("reference"),
        ],
    );
    for (alpha, reference, reference_zero) in LOCALITY {
        let (mut errors, mut most, mut against_zero) = (Seeded::new(), Seeded::new(), Seeded::new());
        let mut mass = (0.0, 0.0);
        for draw in 0..scale.draws {
            let mut toy = Toy::<false>::new(draw)?;
            let got = toy.attended(alpha, Gate::Held)?;
            errors.insert(draw, relative(&got, &toy.convolved, inside));
            let apart = got.iter().zip(&toy.convolved).enumerate().filter(|(i, _)| inside(i / OUTER));
            most.insert(draw, largest(apart.map(|(_, (g, w))| (g - w).abs())));
            against_zero.insert(draw, relative(&got, &Toy::<true>::new(draw)?.convolved, everywhere));
            mass = masses(&toy)?;
        }
        table.row([
            Cell::number(alpha, 0),
            Cell::number(mass.0, 4),
            Cell::text(format!("{:.2e}", mass.1)),
            Cell::text(format!("{:.2e}", 4.0 * (-alpha).exp())),
            mean_text(&errors),
            range_text(&errors),
            Cell::text(format!("{reference:.1e}")),
            mean_text(&most),
            against_zero.summary().map_or(Cell::Empty, |summary| Cell::number(summary.mean, 2)),
            Cell::number(reference_zero, 2),
        ]);
        checks.push(near(format!("error inside, alpha {alpha}"), &errors, reference));
        checks.push(near(
            format!("error of the whole map against zero padding, alpha {alpha}"),
            &against_zero,
            reference_zero,
        ));
        // Each of the four nearest has exp(-alpha) of the target's, whatever the kernel.
        let leak = (mass.1 / mass.0 / (-alpha).exp() - 1.0).abs();
        checks.push(Check::within(
            format!("neighbour over target against exp(-alpha), alpha {alpha}"),
            leak,
            1e-9,
        ));
        if alpha == 1.0 {
            checks.push(Check::equal("mass on the target, alpha 1", format!("{:.3}", mass.0), "0.318"));
            checks.push(Check::equal("mass on each neighbour, alpha 1", format!("{:.3}", mass.1), "0.117"));
        }
    }
    table.note(format!(
        "{} kernels and inputs of normal numbers, 3 to 4 channels on 8x8 places, f64, no gate. Masses and leak do not \
         depend on them and are judged as they are. Errors do: a reference value, of one other kernel, is judged by lying \
         within a factor of {WIDER} of the draws' range. The largest error depends on the scale of the kernel, which is \
         not known of the reference's (3.6e-8 at alpha 20); shown, not judged.",
        scale.draws
    ));
    Ok(table)
}

/// What the middle head of a query in the middle gives to its target, and to the patch beside it.
fn masses(toy: &Toy<false>) -> Result<(f64, f64)> {
    let maps = toy.layer.map(&toy.x, GRID).map_err(failed)?;
    let query = (SIDE / 2) * SIDE + SIDE / 2;
    let row = &maps[(4 * SIDE * SIDE + query) * SIDE * SIDE..][..SIDE * SIDE];
    Ok((row[query], row[query + 1]))
}

/// The error against a sigmoid gate, of sharp positions.
fn gate(scale: &Scale, checks: &mut Vec<Check>) -> Result<Table> {
    let mut table = Table::new(
        "The layer with a sigmoid gate, alpha 40, content the mean of the map: relative L2 error against replicate padding",
        [
            Column::right("lambda"),
            Column::right("share of position"),
            Column::right("reference"),
            Column::right("error, mean"),
            Column::right("range"),
            Column::right("reference"),
        ],
    );
    for (lambda, share, reference) in GATES {
        let (mut errors, mut gates) = (Seeded::new(), Vec::new());
        for draw in 0..scale.draws {
            let mut toy = Toy::<false>::new(draw)?;
            let got = toy.attended(40.0, Gate::Sigmoid(lambda))?;
            errors.insert(draw, relative(&got, &toy.convolved, everywhere));
            gates = toy.layer.gates().map_err(failed)?;
        }
        let worst = largest(gates.iter().map(|gate| (gate - share).abs()));
        table.row([
            Cell::number(lambda, 0),
            Cell::number(gates[0], 6),
            Cell::text(share.to_string()),
            mean_text(&errors),
            range_text(&errors),
            Cell::text(format!("{reference:.2e}")),
        ]);
        // The notes round to three digits, and near 1 to the first that differs.
        let rounding = if share < 0.99 { 5e-4 } else { 5e-5 };
        checks.push(Check::within(
            format!("share of position, lambda {lambda}, from {share}"),
            worst,
            rounding,
        ));
        checks.push(near(format!("error, lambda {lambda}"), &errors, reference));
    }
    table.note(
        "The error is the share of content, 1 - sigmoid(lambda), times a number near 1: 27 % at ConViT's initial gate.",
    );
    Ok(table)
}

/// Sharp positions against both paddings, with and without the ring.
fn borders(scale: &Scale, checks: &mut Vec<Check>) -> Result<Table> {
    let mut table = Table::new(
        "The border: largest relative L2 error of the whole map, alpha 30",
        [Column::left("attention"), Column::right("replicate padding"), Column::right("zero padding")],
    );
    let (mut plain, mut ring) = ((0.0_f64, 0.0_f64), (0.0_f64, 0.0_f64));
    for draw in 0..scale.draws {
        let (mut on_map, mut with_ring) = (Toy::<false>::new(draw)?, Toy::<true>::new(draw)?);
        let (a, b) =
            (on_map.attended(30.0, Gate::Linear(1.0))?, with_ring.attended(30.0, Gate::Linear(1.0))?);
        let (replicate, zero) = (&on_map.convolved, &with_ring.convolved);
        let error = |got: &[f64], want: &[f64]| relative(got, want, everywhere);
        plain = (plain.0.max(error(&a, replicate)), plain.1.max(error(&a, zero)));
        ring = (ring.0.max(error(&b, replicate)), ring.1.max(error(&b, zero)));
    }
    for (name, (replicate, zero)) in [("over the map alone", plain), ("with a ring of zeros", ring)] {
        let number = |value: f64| Cell::text(format!("{value:.1e}"));
        table.row([Cell::text(name), number(replicate), number(zero)]);
    }
    checks.push(Check::within("attention over the map against replicate padding, alpha 30", plain.0, 1e-11));
    checks.push(Check::within(
        "attention with a ring of zeros against zero padding, alpha 30",
        ring.1,
        1e-11,
    ));
    checks.push(Check::at_least("attention over the map against zero padding", plain.1, 0.3));
    table.note(
        "Over the map alone the softmax has nothing else to look at beyond the border than the nearest patch: that is \
         replicate padding.",
    );
    Ok(table)
}
