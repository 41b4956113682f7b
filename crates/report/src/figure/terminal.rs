//! A figure in the terminal: braille lines, markers, error bars; plain characters in ASCII.

use super::{Band, Entry, Figure, Origin, Point, Series, axis::Placed, canvas::Canvas, even_columns};
use crate::text::{Charset, Terminal, width, wrap};

/// Markers by hue: measured and published, in Unicode and in ASCII.
const MARKERS: [[char; 4]; 6] = [
    ['●', '○', '@', 'o'],
    ['■', '□', '#', 'n'],
    ['▲', '△', 'A', '^'],
    ['◆', '◇', '$', 'v'],
    ['▼', '▽', '%', 'u'],
    ['★', '☆', '*', 'x'],
];

/// ANSI colours by hue, near those of the SVG: blue, red, green, magenta, yellow, cyan.
const COLORS: [&str; 6] = ["34", "31", "32", "35", "33", "36"];

/// The colour of a guide: grey.
const GUIDE: &str = "90";

impl Figure {
    /// The figure as lines for a terminal; `rows` is the height of the plot without labels and legend.
    pub fn terminal(&self, terminal: &Terminal, rows: usize) -> String {
        let (x, y) = self.placed();
        let labels = y.ticks.iter().map(|tick| width(&tick.label)).max().unwrap_or(0);
        let columns = terminal.width.clamp(24, 200).saturating_sub(labels + 3).max(16);
        let mut canvas = Canvas::new(columns, rows.clamp(4, 100), terminal.charset);
        if let Some(guide) = &self.guide {
            let at = y.fraction(guide.at);
            canvas.line((0.0, at), (1.0, at), true, GUIDE);
        }
        // In layers over all series, so that no line or bar hides another series' marker.
        for draw in [Self::draw_line, Self::draw_errors, Self::draw_markers] {
            for series in self.back_to_front() {
                draw(self, series, (&x, &y), &mut canvas);
            }
        }

        let (axis, tick, corner, rule) = match terminal.charset {
            Charset::Unicode => ('│', '┤', '└', '─'),
            Charset::Ascii => ('|', '+', '+', '-'),
        };
        let set = |text: &str| wrap(&terminal.spell(text), terminal.width.max(24) - 1, "");
        let title = set(&self.title);
        let mut out: String = title.lines().map(|line| format!(" {}\n", terminal.paint("1", line))).collect();
        out += &format!(" {}\n", set(&self.y.label).replace('\n', "\n "));
        for (row, line) in canvas.lines(terminal).into_iter().enumerate() {
            let here = y.ticks.iter().find(|t| canvas.row(y.fraction(t.at)) == row);
            let (label, mark) = here.map_or(("", axis), |t| (&t.label, tick));
            let label = format!("{:>labels$}", terminal.spell(label));
            out += format!(" {label} {mark}{line}").trim_end();
            out.push('\n');
        }
        if !self.bands.is_empty() {
            out += format!(" {} {axis}{}", " ".repeat(labels), self.strip(&x, columns, terminal)).trim_end();
            out.push('\n');
        }
        let (marks, names) = x_ticks(&x, columns, terminal);
        let marks: String =
            marks.into_iter().map(|marked| if marked { under(terminal.charset) } else { rule }).collect();
        out += &format!(" {} {corner}{marks}\n", " ".repeat(labels));
        out += format!(" {}  {names}", " ".repeat(labels)).trim_end();
        let label = terminal.spell(&self.x.label);
        let indent = labels + 3 + columns.saturating_sub(width(&label)) / 2;
        out += &format!("\n{}{label}\n", " ".repeat(indent));
        out += &self.terminal_legend(terminal);
        if !self.caption.is_empty() {
            out += &format!(" {}\n", wrap(&terminal.spell(&self.caption), terminal.width.max(24) - 1, " "));
        }
        out
    }

    /// The letters of the bands, each in the columns where it lies.
    fn strip(&self, x: &Placed, columns: usize, terminal: &Terminal) -> String {
        let letter = |column: usize| {
            let middle = (column as f64 + 0.5) / columns as f64;
            let covers = |band: &&Band| (x.fraction(band.from)..x.fraction(band.to)).contains(&middle);
            self.bands.iter().rfind(covers).map_or(' ', Band::letter)
        };
        terminal.spell(&(0..columns).map(letter).collect::<String>())
    }

    fn draw_line(&self, series: &Series, (x, y): (&Placed, &Placed), canvas: &mut Canvas) {
        let places: Vec<_> = self.drawable(series).map(|p| (x.fraction(p.x), y.fraction(p.y))).collect();
        for pair in places.windows(2) {
            canvas.line(pair[0], pair[1], series.origin == Origin::Published, color(series));
        }
    }

    fn draw_errors(&self, series: &Series, (x, y): (&Placed, &Placed), canvas: &mut Canvas) {
        let (bar, low_cap, high_cap) =
            if canvas.is_ascii() { ('|', '-', '-') } else { ('│', '┴', '┬') };
        for Point { x: at, y: mean, error } in self.drawable(series) {
            let Some((column, _)) = canvas.cell(x.fraction(at), y.fraction(mean)) else { continue };
            let Some(error) = error.filter(|e| e.is_finite()) else { continue };
            // The lower end may have no place on a logarithmic axis: the bar then runs to the frame.
            let end =
                |value: f64, edge: f64| Some(y.fraction(value)).filter(|f| f.is_finite()).unwrap_or(edge);
            let (high, low) = (canvas.row(end(mean + error, 1.0)), canvas.row(end(mean - error, 0.0)));
            for row in high..=low {
                let glyph = match row {
                    row if row == high => high_cap,
                    row if row == low => low_cap,
                    _ => bar,
                };
                canvas.glyph(column, row, glyph, color(series));
            }
        }
    }

    fn draw_markers(&self, series: &Series, (x, y): (&Placed, &Placed), canvas: &mut Canvas) {
        let marker = marker(series, canvas.is_ascii());
        if series.rank.is_some() {
            return;
        }
        for point in self.drawable(series) {
            if let Some((column, row)) = canvas.cell(x.fraction(point.x), y.fraction(point.y)) {
                canvas.glyph(column, row, marker, color(series));
            }
        }
    }

    /// Marker and name of every series, in even columns.
    fn terminal_legend(&self, terminal: &Terminal) -> String {
        let entries = self.entries();
        let widest = entries.iter().map(|entry| width(&entry.name())).max().unwrap_or(0);
        let per_row = even_columns(entries.len(), terminal.width / (widest + 5));
        let entry = |entry: &Entry<'_>| {
            let mark = match entry {
                Entry::Series(series) => {
                    let marker = marker(series, terminal.charset == Charset::Ascii).to_string();
                    terminal.paint(color(series), &marker)
                }
                Entry::Ranked(..) => "-".to_owned(),
                Entry::Guide(_) => {
                    terminal.paint(GUIDE, if terminal.charset == Charset::Ascii { "-" } else { "┄" })
                }
                Entry::Band(band) => terminal.spell(&band.letter().to_string()),
            };
            format!(" {mark} {:<widest$}  ", terminal.spell(&entry.name()))
        };
        let row = |row: &[Entry<'_>]| row.iter().map(entry).collect::<String>().trim_end().to_owned() + "\n";
        entries.chunks(per_row).map(row).collect()
    }
}

fn under(charset: Charset) -> char {
    if charset == Charset::Unicode { '┬' } else { '+' }
}

fn color(series: &Series) -> &'static str {
    COLORS[series.hue % COLORS.len()]
}

fn marker(series: &Series, ascii: bool) -> char {
    let published = series.origin == Origin::Published;
    MARKERS[series.hue % MARKERS.len()][usize::from(published) + 2 * usize::from(ascii)]
}

/// Which columns carry a tick of the x axis, and the line of their labels; labels that would touch are left out.
fn x_ticks(x: &Placed, columns: usize, terminal: &Terminal) -> (Vec<bool>, String) {
    let mut marks = vec![false; columns];
    let mut names = String::new();
    for tick in &x.ticks {
        let column = ((x.fraction(tick.at) * columns as f64) as usize).min(columns - 1);
        let label = terminal.spell(&tick.label);
        let start = column.saturating_sub(width(&label) / 2);
        let used = width(&names);
        marks[column] = true;
        if used == 0 || start > used {
            names.push_str(&" ".repeat(start.saturating_sub(used)));
            names.push_str(&label);
        }
    }
    (marks, names)
}
