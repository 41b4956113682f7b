//! Words from outside, as they may be printed.

use std::fmt::{self, Write as _};

/// `text` with every harmful character escaped ([`is_harmful`]), line breaks too: what stands in a file's name, a tensor's name, a
/// recipe or another program's message can neither steer the terminal nor begin a line of its own.
pub fn shown<T: fmt::Display>(text: T) -> Shown<T> {
    Shown { text, keeps_lines: false }
}

/// [`shown`] for a text whose line breaks are our own: they stay.
pub fn shown_lines<T: fmt::Display>(text: T) -> Shown<T> {
    Shown { text, keeps_lines: true }
}

/// Displays a text with its harmful characters escaped: see [`shown`].
#[derive(Clone, Copy, Debug)]
pub struct Shown<T> {
    text: T,
    keeps_lines: bool,
}

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping { to: f, keeps_lines: self.keeps_lines }, "{}", self.text)
    }
}

/// Whether a character does something to a terminal or to the text around it, instead of being one of its signs: control
/// characters, line breaks of all kinds, marks that turn the direction of writing around, and signs without width that are part of
/// no script's spelling.
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

struct Escaping<'a, 'b> {
    to: &'a mut fmt::Formatter<'b>,
    keeps_lines: bool,
}

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        let harmful = |c: char| is_harmful(c) && !(self.keeps_lines && c == '\n');
        while let Some(at) = rest.find(harmful) {
            let (before, from) = rest.split_at(at);
            self.to.write_str(before)?;
            let mut from = from.chars();
            if let Some(c) = from.next() {
                write!(self.to, "{}", c.escape_default())?;
            }
            rest = from.as_str();
        }
        self.to.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_or_forges_a_line_is_escaped() {
        for (text, says) in [
            ("a\u{1b}[31mb", r"a\u{1b}[31mb"),
            ("a\u{9b}2Jb", r"a\u{9b}2Jb"),
            ("a\nerror: b", r"a\nerror: b"),
            ("a\rb\tc\u{7f}", r"a\rb\tc\u{7f}"),
            ("gnp.\u{202e}exe\u{2066}", r"gnp.\u{202e}exe\u{2066}"),
            ("a\u{2028}b\u{200b}\u{feff}\u{e0041}", r"a\u{2028}b\u{200b}\u{feff}\u{e0041}"),
        ] {
            assert_eq!(shown(text).to_string(), says);
        }
        assert_eq!(shown_lines("a\nb\u{1b}\r\nc").to_string(), "a\nb\\u{1b}\\r\nc");
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        for text in [
            "",
            "a b-c_d.e",
            r"C:\data\x",
            "it's \"so\"",
            "Größe",
            "e\u{301}te\u{301}",
            "画像",
            "تصویر",
            "½ ± µ",
        ] {
            assert_eq!(shown(text).to_string(), text);
        }
    }
}
