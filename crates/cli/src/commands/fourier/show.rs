//! What `fourier` prints and draws.

use std::path::Path;

use inductive_analysis::{PointSpectrum, WHITE_NOISE};
use inductive_files::shown;
use inductive_nn::OperatorKind;
use inductive_papers::frequencies::{over_depth, over_frequency};
use inductive_report::{
    figure::Figure,
    table::{Cell, Column, Table},
};
use inductive_train::FourierPoint;

use crate::{
    error::Result,
    output::{say, say_set, terminal},
};

/// Rows of the plot in the terminal.
const ROWS: usize = 16;

/// What they show, and the figures: over depth, over frequency of the stream and of the branches. title: of weights and
/// images, which stands in the captions, where it has room.
pub fn figures(model: &str, title: &str, spectra: &[PointSpectrum]) -> [(&'static str, Figure); 3] {
    let points: Vec<FourierPoint> = spectra.iter().map(FourierPoint::from).collect();
    let stream = spectra.iter().map(|point| (point.name.as_str(), &point.after));
    let branch = spectra.iter().filter_map(|point| Some((point.name.as_str(), point.branch.as_ref()?)));
    let told = |figure: Figure| {
        let caption = format!("{title}. {}", figure.caption);
        figure.caption(caption)
    };
    let figures = [
        ("the highest frequency over depth", over_depth(format!("{model} over depth"), &points)),
        (
            "all frequencies of the residual stream",
            over_frequency(format!("{model}: residual stream"), stream),
        ),
        ("all frequencies of what is added", over_frequency(format!("{model}: what is added"), branch)),
    ];
    figures.map(|(what, figure)| (what, told(figure)))
}

/// A line per point, and the mean of each kind of operator.
pub fn tables(title: &str, spectra: &[PointSpectrum]) -> Result<()> {
    say_set(points(title, spectra).terminal(&terminal()))?;
    say("")?;
    say_set(kinds(spectra).terminal(&terminal()))
}

fn points(title: &str, spectra: &[PointSpectrum]) -> Table {
    let numbers = ["stream", "branch", "change", "of the branch"].map(Column::right);
    let words = [Column::left("point"), Column::left("operator"), Column::right("grid")];
    let mut table = Table::new(
        format!("Delta log amplitude at the highest frequency: {title}"),
        words.into_iter().chain(numbers),
    );
    for point in spectra {
        let grid = point.after.grid;
        let kind = if point.downsamples() {
            format!("{}, downsampling", point.kind)
        } else {
            point.kind.to_string()
        };
        table.row([
            Cell::text(&point.name),
            Cell::text(kind),
            Cell::text(format!("{} x {}", grid.rows, grid.cols)),
            Cell::number(point.stream(), 3),
            number(point.branch()),
            number(point.change()),
            number(point.branch_change()),
        ]);
    }
    table.note(format!(
        "ln amplitude of the highest frequency of the grid less that of frequency 0, mean over images and channels; white \
         noise has {WHITE_NOISE:.2}."
    ));
    table.note(
        "stream: after the operator; branch: what it adds, alone, – if nothing; change: stream after less before, negative for a low-pass \
         filter; of the branch: branch less stream before.",
    );
    if spectra.iter().any(|point| point.after.grid.rows.min(point.after.grid.cols) <= 2) {
        table.note("Grids of one or two patches a side have no frequency above 0: their numbers are 0.");
    }
    table
}

/// The sign of attention and of convolutions is what is asked about.
fn kinds(spectra: &[PointSpectrum]) -> Table {
    use OperatorKind::{Attention, Convolution, Mixed, Mlp};
    let numbers = ["operators", "change", "of the branch"].map(Column::right);
    let columns = [Column::left("operator")].into_iter().chain(numbers);
    let mut table = Table::new("Mean of each kind, where the grid stays", columns);
    for kind in [Attention, Convolution, Mixed, Mlp] {
        let of: Vec<_> = spectra.iter().filter(|point| point.kind == kind && !point.downsamples()).collect();
        if !of.is_empty() {
            let mean = |what: fn(&PointSpectrum) -> Option<f64>| {
                let values: Vec<f64> = of.iter().filter_map(|point| what(point)).collect();
                number((!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64))
            };
            let (change, branch) = (mean(PointSpectrum::change), mean(PointSpectrum::branch_change));
            table.row([Cell::text(kind.name()), Cell::count(of.len()), change, branch]);
        }
    }
    table
}

fn number(value: Option<f64>) -> Cell {
    value.map_or(Cell::Empty, |value| Cell::number(value, 3))
}

/// The first of the figures.
pub fn plot(figures: &[(&str, Figure)]) -> Result<()> {
    match figures.first() {
        Some((_, figure)) => say_set(format!("\n{}", figure.terminal(&terminal(), ROWS))),
        None => Ok(()),
    }
}

pub fn written(path: &Path, what: &str) -> Result<()> {
    say(format!("written: {} ({what})", shown(path.display())))
}
