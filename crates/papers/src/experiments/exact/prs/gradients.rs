//! Which gradients a layer has right after the switch: why the gate is linear, and why sharp positions hardly move.

use dfdx::prelude::*;
use inductive_nn::{Gate, Positions, Reparameterization, SwitchLayer};

use super::{
    super::super::Result,
    toy::{GRID, Toy, failed},
};
use crate::{Report, verdict::Check};
use inductive_report::table::{Cell, Column, Table};

/// Norms of the gradients of gate and positions.
struct Norms {
    /// 0 for a gate that is held, which has none.
    gate: f64,
    positions: f64,
}

/// Of the sum of squares of the layer's output, which is enough to have a gradient everywhere.
fn norms(alpha: f64, gate: Gate) -> Result<Norms> {
    let mut toy = Toy::<false>::new(0)?;
    let how = Reparameterization { positions: Positions::Kernel { alpha }, gate };
    toy.layer.reparameterize(&how, 0).map_err(failed)?;
    let (y, _) = toy.layer.apply(toy.x.leaky_trace(), GRID).map_err(failed)?;
    let gradients = y.square().sum().backward();
    let norm = |values: Vec<f64>| values.iter().map(|v| v * v).sum::<f64>().sqrt();
    let of_gate = || norm(gradients.get(&toy.layer.gate).as_vec());
    Ok(Norms {
        gate: if gate == Gate::Held { 0.0 } else { of_gate() },
        positions: norm(gradients.get(&toy.layer.pos_proj).as_vec()),
    })
}

/// Locality strengths at which the gradient of the positions is compared.
const ALPHAS: [f64; 4] = [8.0, 12.0, 16.0, 20.0];

/// Adds the table. Claim prs.C1 is about the function, so it is not judged by this.
pub(super) fn add(report: &mut Report) -> Result<()> {
    let columns = ["gradient right after the switch", "computed", "expected", "agrees"];
    let mut table = Table::new("What can move after the switch", columns.map(Column::left));
    for check in checks()? {
        let agrees = if check.agrees { "yes" } else { "no" };
        table.row([&check.statement, &check.computed, &check.expected, agrees].map(Cell::text));
    }
    table.note(
        "Norms over the heads, of the sum of squares of the toy layer's output. A linear gate of 1 keeps the function and \
         still has a gradient; a sigmoid near 1 has next to none. Sharp positions have gradients of the order of what \
         leaks, so that a layer that keeps its function leaves convolution by its gates first. AdamW divides by the \
         gradient's size, which its eps of 1e-8 ends.",
    );
    report.table("gradients", table);
    Ok(())
}

fn checks() -> Result<Vec<Check>> {
    let sigmoid = |lambda: f64| 1.0 / (1.0 + (-lambda).exp());
    let at_one = norms(20.0, Gate::Linear(1.0))?.gate;
    let half = norms(20.0, Gate::Linear(0.5))?.gate;
    let share = sigmoid(10.0);
    let slope = norms(20.0, Gate::Sigmoid(10.0))?.gate / norms(20.0, Gate::Linear(share))?.gate;
    let expected = share * (1.0 - share);
    let mut checks = vec![
        Check::at_least("a linear gate of 1, over that of 0.5", at_one / half, 0.5),
        Check {
            statement: "a sigmoid gate of lambda 10, over a linear gate of the same share".to_owned(),
            computed: format!("{slope:.2e}"),
            expected: format!("{expected:.2e}, the sigmoid's slope (reference 4.5e-5)"),
            agrees: (slope / expected - 1.0).abs() < 1e-6,
        },
    ];
    for pair in ALPHAS.windows(2) {
        let (near, far) = (norms(pair[0], Gate::Held)?.positions, norms(pair[1], Gate::Held)?.positions);
        let (fall, expected) = (far / near, (pair[0] - pair[1]).exp());
        checks.push(Check {
            statement: format!("positions at alpha {}, over alpha {}", pair[1], pair[0]),
            computed: format!("{fall:.2e}"),
            expected: format!("exp({}) = {expected:.2e}, within a tenth", pair[0] - pair[1]),
            agrees: (fall / expected - 1.0).abs() < 0.1,
        });
    }
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_move_where_they_are_linear_and_positions_as_much_as_leaks() {
        let checks = checks().unwrap();
        assert_eq!(checks.len(), 5);
        assert!(checks.iter().all(|check| check.agrees), "{checks:#?}");
    }
}
