//! A judged claim as a table.

use crate::verdict::{ClaimVerdict, Judged};
use inductive_report::{
    table::{Cell, Column, Table},
    text::signed,
};

impl Judged {
    /// The 95 % interval as text, `[+1.02, +5.40]`; `None` where there is none.
    pub fn interval_text(&self) -> Option<String> {
        self.interval.map(|interval| format!("[{}, {}]", signed(interval.low, 2), signed(interval.high, 2)))
    }

    /// The mean difference with its unit, `+3.21 points`; `None` where there is none.
    pub fn difference_text(&self) -> Option<String> {
        self.difference.map(|difference| format!("{} {}", signed(difference, 2), self.unit))
    }
}

impl ClaimVerdict {
    /// The pieces of this claim, one per row, with the verdict, n, mean difference and interval of each; where those do
    /// not say why, a note does.
    pub fn table(&self) -> Table {
        if self.pieces.is_empty() && !self.checks.is_empty() {
            return self.table_of_checks();
        }
        let columns = [
            Column::left("piece"),
            Column::left("verdict"),
            Column::right("n"),
            Column::right("mean difference"),
            Column::right("95 % interval"),
        ];
        let mut table = Table::new(format!("{}: {}", self.id, self.verdict), columns);
        let text = |text: Option<String>| text.map_or(Cell::Empty, Cell::text);
        for piece in &self.pieces {
            table.row([
                Cell::text(&piece.statement),
                Cell::text(piece.verdict.to_string()),
                Cell::count(piece.n),
                text(piece.difference_text()),
                text(piece.interval_text()),
            ]);
            if !piece.interval_says_why() {
                table.note(format!("{}: {}.", piece.statement, piece.reason));
            }
        }
        for check in &self.checks {
            let agrees = if check.agrees { "yes" } else { "no" };
            table.note(format!(
                "Computed: {}: {agrees} ({}; {}).",
                check.statement, check.computed, check.expected
            ));
        }
        self.note_observations(&mut table);
        table
    }

    fn note_observations(&self, table: &mut Table) {
        for observation in &self.observations {
            let seen = match observation.seen {
                Some(true) => "yes",
                Some(false) => "no",
                None => "cannot say",
            };
            table.note(format!("Observed, not judged: {}: {seen}.", observation.statement));
        }
    }

    fn table_of_checks(&self) -> Table {
        let columns = ["number", "computed", "expected", "agrees"].map(Column::left);
        let mut table = Table::new(format!("{}: {}", self.id, self.verdict), columns);
        for check in &self.checks {
            let agrees = if check.agrees { "yes" } else { "no" };
            table.row([&check.statement, &check.computed, &check.expected, agrees].map(Cell::text));
        }
        self.note_observations(&mut table);
        table
    }
}
