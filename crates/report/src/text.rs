//! How text is set: character set, colour and width of the terminal, fixed-width lines.

/// The characters an output may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Charset {
    /// Rules, braille and markers from Unicode.
    #[default]
    Unicode,
    /// ASCII only, for terminals and logs that show nothing else.
    Ascii,
}

/// What a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Which characters.
    pub charset: Charset,
    /// Whether ANSI colours are understood and wanted.
    pub color: bool,
    /// Columns that plots and paragraphs may fill; tables are as wide as their cells.
    pub width: usize,
}

impl Default for Terminal {
    fn default() -> Self {
        Self { charset: Charset::Unicode, color: false, width: 80 }
    }
}

impl Terminal {
    /// `text` in this terminal's characters.
    pub fn spell(&self, text: &str) -> String {
        self.charset.spell(text)
    }

    /// `text` in an ANSI colour, where there are colours.
    pub fn paint(&self, ansi: &str, text: &str) -> String {
        if self.color { format!("\u{1b}[{ansi}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

impl Charset {
    /// `text` in these characters: what ASCII lacks is spelled out or becomes `?`.
    pub fn spell(self, text: &str) -> String {
        // What stands in a folder's or model's name must not steer the terminal.
        let text = on_one_line(text);
        if self == Self::Unicode || text.is_ascii() {
            return text;
        }
        let spell = |c: char| match c {
            '±' => "+-".to_owned(),
            '–' | '—' | '−' | '─' => "-".to_owned(),
            '×' => "x".to_owned(),
            '≥' => ">=".to_owned(),
            '≤' => "<=".to_owned(),
            '…' => "...".to_owned(),
            'Δ' => "Delta".to_owned(),
            'π' => "pi".to_owned(),
            c if c.is_ascii() => c.to_string(),
            _ => "?".to_owned(),
        };
        text.chars().map(spell).collect()
    }
}

/// `text` without line breaks and tabs, which become spaces, and with what else is harmful escaped ([`inductive_files::shown`]).
pub fn on_one_line(text: &str) -> String {
    inductive_files::shown(text.replace(['\n', '\r', '\t'], " ")).to_string()
}

/// Columns that `text` takes; every character counts as one.
pub fn width(text: &str) -> usize {
    text.chars().count()
}

/// `text` broken at spaces into lines of at most `width` columns; every line after the first starts with `indent`.
/// Words longer than a line stay whole.
pub fn wrap(text: &str, columns: usize, indent: &str) -> String {
    let mut out = String::new();
    let mut line = 0;
    for word in text.split_whitespace() {
        if line == 0 {
            out.push_str(word);
            line = width(word);
        } else if line + 1 + width(word) > columns {
            out.push('\n');
            out.push_str(indent);
            out.push_str(word);
            line = width(indent) + width(word);
        } else {
            out.push(' ');
            out.push_str(word);
            line += 1 + width(word);
        }
    }
    out
}

/// What there is to choose from, in words: `a, b or c`.
pub fn one_of<T: std::fmt::Display>(choices: impl IntoIterator<Item = T>) -> String {
    let mut choices: Vec<String> = choices.into_iter().map(|it| it.to_string()).collect();
    let last = choices.pop().unwrap_or_default();
    if choices.is_empty() { last } else { format!("{} or {last}", choices.join(", ")) }
}

/// `value` with a sign and `decimals` decimals; what rounds to zero is `0.0`, without a sign.
pub fn signed(value: f64, decimals: usize) -> String {
    let text = format!("{value:+.decimals$}");
    if text.bytes().any(|b| (b'1'..=b'9').contains(&b)) || !value.is_finite() {
        text
    } else {
        text[1..].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_has_no_other_characters_and_nothing_steers_the_terminal() {
        assert_eq!(Charset::Ascii.spell("1 ± 2 – α"), "1 +- 2 - ?");
        assert_eq!(Charset::Unicode.spell("1 ± 2"), "1 ± 2");
        assert_eq!(Charset::Ascii.spell("a\u{1b}[31m\nb\u{202e}"), r"a\u{1b}[31m b\u{202e}");
        assert_eq!(Charset::Unicode.spell("a\u{9b}2J\rb\u{202e}"), r"a\u{9b}2J b\u{202e}");
    }

    #[test]
    fn wrapped_lines_keep_every_word_and_the_width() {
        let text = "a claim that is longer than the line it is printed on";
        let wrapped = wrap(text, 20, "  ");
        assert!(wrapped.lines().all(|line| width(line) <= 20), "{wrapped}");
        assert_eq!(
            wrapped.split_whitespace().collect::<Vec<_>>(),
            text.split_whitespace().collect::<Vec<_>>()
        );
        assert!(wrapped.lines().skip(1).all(|line| line.starts_with("  ")));
    }

    #[test]
    fn the_last_choice_is_joined_by_or() {
        assert_eq!(one_of(["a", "b", "c"]), "a, b or c");
        assert_eq!([one_of(["a", "b"]), one_of(["a"]), one_of([""; 0])], ["a or b", "a", ""]);
    }

    #[test]
    fn zero_has_no_sign() {
        assert_eq!([1.25, -1.25, 0.0, -0.001].map(|x| signed(x, 2)), ["+1.25", "-1.25", "0.00", "0.00"]);
    }
}
