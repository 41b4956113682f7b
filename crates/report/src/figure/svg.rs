//! A figure as SVG: own white background, so that it reads the same in light and dark viewers.

use std::fmt::Write as _;

use super::{Entry, Figure, Origin, Point, Series, axis::Placed, even_columns, maps::colour};
use crate::text::{on_one_line, width, wrap};

/// Colours that colour-blind readers tell apart (Okabe and Ito), dark enough on white.
const COLORS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#b0508c", "#a67c00", "#4d4d4d"];

/// How every figure begins, and what stands in its first tag: what [`is_figure`] knows them by.
const OPENING: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"";
const STYLE: &str = "role=\"img\" font-size=\"13\" fill=\"#1f2937\" \
                     font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif\"";

/// Whether this is a figure that [`Figure::svg`] drew: another one in its place loses nothing of anybody's.
pub fn is_figure(svg: &[u8]) -> bool {
    let tag = svg.split(|byte| *byte == b'>').next().unwrap_or_default();
    tag.starts_with(OPENING.as_bytes()) && tag.ends_with(STYLE.as_bytes())
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 68.0;
const RIGHT: f64 = 24.0;
const PLOT_HEIGHT: f64 = 320.0;
/// Mean width of a character of the 13 px labels; only places things, nothing is cut by it.
const CHARACTER: f64 = 7.0;

/// The plot's rectangle with both axes.
struct Frame {
    top: f64,
    x: Placed,
    y: Placed,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.fraction(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + (1.0 - self.y.fraction(value)) * PLOT_HEIGHT
    }

    fn bottom(&self) -> f64 {
        self.top + PLOT_HEIGHT
    }
}

impl Figure {
    /// The figure as a complete SVG document.
    pub fn svg(&self) -> String {
        let (legend, legend_height) = self.legend(62.0);
        let (x, y) = self.placed();
        let frame = Frame { top: 62.0 + legend_height, x, y };
        let caption = wrap(&self.caption, 92, "");
        let lines: Vec<&str> = caption.lines().collect();
        let height = frame.bottom() + 66.0 + 16.0 * lines.len() as f64;

        let mut out = String::new();
        let _ =
            writeln!(out, "{OPENING}{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" {STYLE}>");
        let _ = writeln!(out, "<title>{}</title>", escape(&self.title));
        let _ = writeln!(out, "<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>");
        out += &text(LEFT, 32.0, "font-size=\"17\" font-weight=\"600\"", &self.title);
        out += &legend;
        out += &self.draw_bands(&frame);
        out += &self.grid(&frame);
        let _ = writeln!(
            out,
            "<clipPath id=\"plot\"><rect x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"{PLOT_HEIGHT}\"/></clipPath>\n\
             <g clip-path=\"url(#plot)\">",
            frame.top,
            WIDTH - LEFT - RIGHT
        );
        if let Some(guide) = &self.guide {
            let (y, right) = (frame.y(guide.at), WIDTH - RIGHT);
            let _ = writeln!(out, "<path d=\"M{LEFT} {y:.2}H{right}\" {GUIDE}/>");
        }
        for series in self.back_to_front() {
            out += &self.draw(series, &frame);
        }
        out += "</g>\n";
        for (at, line) in lines.iter().enumerate() {
            let y = frame.bottom() + 70.0 + 16.0 * at as f64;
            out += &text(LEFT, y, "font-size=\"12\" fill=\"#6b7280\"", line);
        }
        out + "</svg>\n"
    }

    /// The legend in even columns, and its height.
    fn legend(&self, top: f64) -> (String, f64) {
        let entries = self.entries();
        let widest = entries.iter().map(|entry| width(&entry.name())).max().unwrap_or(0);
        let column = 44.0 + CHARACTER * widest as f64 + 18.0;
        let per_row = even_columns(entries.len(), ((WIDTH - LEFT - RIGHT) / column) as usize);
        let mut out = String::new();
        for (at, entry) in entries.iter().enumerate() {
            let x = LEFT + column * (at % per_row) as f64;
            let y = top - 5.0 + 20.0 * (at / per_row) as f64;
            match entry {
                Entry::Series(series) => {
                    let _ = writeln!(out, "<path d=\"M{x:.2} {y:.2}h34\" {}/>", stroke(series));
                    out += &marker(series, x + 17.0, y);
                }
                Entry::Ranked(..) => out += &scale(x, y),
                Entry::Guide(_) => {
                    let _ = writeln!(out, "<path d=\"M{x:.2} {y:.2}h34\" {GUIDE}/>");
                }
                Entry::Band(band) => {
                    let _ = writeln!(
                        out,
                        "<path d=\"M{x:.2} {:.2}h34v14h-34z\" fill=\"{}\"/>",
                        y - 7.0,
                        band.color()
                    );
                }
            }
            out += &text(x + 42.0, y + 4.5, "", &entry.name());
        }
        (out, 20.0 * entries.len().div_ceil(per_row) as f64)
    }

    /// What lies behind grid and lines, cut to the frame.
    fn draw_bands(&self, frame: &Frame) -> String {
        let mut out = String::new();
        for band in &self.bands {
            let [from, to] = [band.from, band.to].map(|at| frame.x(at).clamp(LEFT, WIDTH - RIGHT));
            if to > from {
                let _ = writeln!(
                    out,
                    "<path d=\"M{from:.2} {}H{to:.2}v{PLOT_HEIGHT}H{from:.2}z\" fill=\"{}\"><title>{}</title></path>",
                    frame.top,
                    band.color(),
                    escape(&band.name)
                );
            }
        }
        out
    }

    /// Grid lines, ticks, tick labels, axis labels and the two axes.
    fn grid(&self, frame: &Frame) -> String {
        let (bottom, right) = (frame.bottom(), WIDTH - RIGHT);
        let mut out = String::new();
        for tick in &frame.y.ticks {
            let y = frame.y(tick.at);
            let _ = writeln!(out, "<path d=\"M{LEFT} {y:.2}H{right}\" stroke=\"#e5e7eb\"/>");
            out += &text(LEFT - 8.0, y + 4.5, "text-anchor=\"end\"", &tick.label);
        }
        for tick in &frame.x.ticks {
            let x = frame.x(tick.at);
            let _ = writeln!(out, "<path d=\"M{x:.2} {}V{bottom}\" stroke=\"#f3f4f6\"/>", frame.top);
            let _ = writeln!(out, "<path d=\"M{x:.2} {bottom}v5\" stroke=\"#6b7280\"/>");
            out += &text(x, bottom + 20.0, "text-anchor=\"middle\"", &tick.label);
        }
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {}V{bottom}H{right}\" stroke=\"#6b7280\" fill=\"none\"/>",
            frame.top
        );
        out += &text((LEFT + right) / 2.0, bottom + 44.0, "text-anchor=\"middle\"", &self.x.label);
        let middle = frame.top + PLOT_HEIGHT / 2.0;
        let turned = format!("text-anchor=\"middle\" transform=\"rotate(-90 18 {middle:.2})\"");
        out += &text(18.0, middle, &turned, &self.y.label);
        out
    }

    /// Line, error bars and markers of one series.
    fn draw(&self, series: &Series, frame: &Frame) -> String {
        let points: Vec<Point> = self.drawable(series).collect();
        let mut out = String::new();
        let path =
            points.iter().map(|p| format!("{:.2} {:.2}", frame.x(p.x), frame.y(p.y))).collect::<Vec<_>>();
        if path.len() > 1 {
            let (path, stroke) = (path.join("L"), stroke(series));
            // The legend does not name a ranked line: the viewer does, where the mouse points.
            let _ = match series.rank {
                None => writeln!(out, "<path d=\"M{path}\" {stroke}/>"),
                Some(_) => {
                    let name = escape(&series.name);
                    writeln!(out, "<path d=\"M{path}\" {stroke}><title>{name}</title></path>")
                }
            };
        }
        for point in points.iter().filter(|_| series.rank.is_none()) {
            let x = frame.x(point.x);
            if let Some(error) = point.error.filter(|e| e.is_finite() && *e > 0.0) {
                // The lower end may have no place on a logarithmic axis: the bar then runs to the frame.
                let end =
                    |value: f64, edge: f64| Some(frame.y(value)).filter(|y| y.is_finite()).unwrap_or(edge);
                let (low, high) = (end(point.y - error, frame.bottom()), end(point.y + error, frame.top));
                let left = x - 5.0;
                let _ = writeln!(
                    out,
                    "<path d=\"M{left:.2} {high:.2}h10M{left:.2} {low:.2}h10M{x:.2} {low:.2}V{high:.2}\" \
                     stroke=\"{}\" stroke-width=\"1.5\" fill=\"none\"/>",
                    color(series)
                );
            }
            out += &marker(series, x, frame.y(point.y));
        }
        out
    }
}

/// How a guide is drawn.
const GUIDE: &str = "stroke=\"#6b7280\" stroke-width=\"1.5\" stroke-dasharray=\"2 4\" fill=\"none\"";

fn color(series: &Series) -> &'static str {
    COLORS[series.hue % COLORS.len()]
}

/// The colour of a ranked line: the part of the scale that is dark enough on white.
fn ranked_color(rank: f64) -> String {
    let [r, g, b] = colour::of((0.12 + 0.56 * rank.clamp(0.0, 1.0)) as f32);
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// The colours of ranked lines, side by side.
fn scale(x: f64, y: f64) -> String {
    let parts = (0..17).map(|part| {
        let (x, color) = (x + 2.0 * f64::from(part), ranked_color(f64::from(part) / 16.0));
        format!("<path d=\"M{x:.2} {:.2}h2.2v8h-2.2z\" fill=\"{color}\"/>\n", y - 4.0)
    });
    parts.collect()
}

fn stroke(series: &Series) -> String {
    if let Some(rank) = series.rank {
        return format!("stroke=\"{}\" stroke-width=\"1.5\" fill=\"none\"", ranked_color(rank));
    }
    let dashes = if series.origin == Origin::Published { " stroke-dasharray=\"6 4\"" } else { "" };
    let wide = if series.origin == Origin::Published { 1.5 } else { 2.0 };
    format!("stroke=\"{}\" stroke-width=\"{wide}\"{dashes} fill=\"none\"", color(series))
}

/// A marker around a place: its shape follows the hue, so that colour is not needed to tell series apart.
fn marker(series: &Series, x: f64, y: f64) -> String {
    let fill = if series.origin == Origin::Published { "#ffffff" } else { color(series) };
    let style = format!("fill=\"{fill}\" stroke=\"{}\" stroke-width=\"1.5\"", color(series));
    let path = match series.hue % 5 {
        0 => return format!("<circle cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"4\" {style}/>\n"),
        1 => format!("M{:.2} {:.2}h7.2v7.2h-7.2z", x - 3.6, y - 3.6),
        2 => format!("M{x:.2} {:.2}l4.6 8h-9.2z", y - 5.0),
        3 => format!("M{x:.2} {:.2}l5 5l-5 5l-5 -5z", y - 5.0),
        _ => format!("M{x:.2} {:.2}l4.6 -8h-9.2z", y + 5.0),
    };
    format!("<path d=\"{path}\" {style}/>\n")
}

fn text(x: f64, y: f64, attributes: &str, text: &str) -> String {
    format!("<text x=\"{x:.2}\" y=\"{y:.2}\" {attributes}>{}</text>\n", escape(text))
}

/// `text` as XML character data, on one line and without control characters, which XML cannot hold.
fn escape(text: &str) -> String {
    on_one_line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
