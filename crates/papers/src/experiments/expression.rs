//! What a table, a figure or a claim computes from runs, as it is written in a file: `top1(eit) - top1(vit)`.
//!
//! | written | what it is |
//! |---|---|
//! | `3`, `1e6` | a number |
//! | `eit`, `arm` | an arm, or a word of the row that names one; alone it stands for the experiment's measure of it |
//! | `top1(eit)`, `top1(eit, early)` | a measure of an arm's runs, by seed, at the end or at another moment |
//! | `mean(gates(eit))` | a function of values |
//! | `a + b`, `a - b`, `a * b`, `a / b` | value by value: what has seeds is paired by seed |
//!
//! Names may have dashes in them, so operators stand between spaces.

use std::fmt;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression {
    /// A number.
    Number(f64),
    /// An arm, a word of the row.
    Name(String),
    /// A measure or a function.
    Call(String, Vec<Expression>),
    /// Two values.
    Binary(char, Box<Expression>, Box<Expression>),
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
            Self::Call(name, of) => {
                let of: Vec<_> = of.iter().map(Self::to_string).collect();
                write!(f, "{name}({})", of.join(", "))
            }
            Self::Binary(operator, left, right) => write!(f, "{left} {operator} {right}"),
        }
    }
}

/// One statement or several in a row: `a > b`, `a > b > c`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statement {
    /// What is compared, from the left.
    pub sides: Vec<Expression>,
    /// Whether the left sides are to be smaller (`<`).
    pub less: bool,
}

impl Statement {
    /// Reads `left > right`, `left < right` or a chain of one kind.
    pub fn parse(text: &str) -> Result<Self, String> {
        let less = text.split_whitespace().any(|word| word == "<");
        let sides = text.split(if less { " < " } else { " > " }).map(Expression::parse);
        let sides = sides.collect::<Result<Vec<_>, _>>()?;
        match sides.len() {
            0 | 1 => Err(format!("`{text}` compares nothing; write `left > right`")),
            _ => Ok(Self { sides, less }),
        }
    }
}

/// How tightly operators bind.
const LEVELS: [&[char]; 2] = [&['+', '-'], &['*', '/']];

/// Words of an expression at most, and brackets within each other: many times those of any here, and few enough for every stack.
const MAX_WORDS: usize = 256;
const MAX_DEPTH: usize = 32;

/// A text in its words.
struct Words<'a> {
    text: &'a str,
    /// Brackets that are open.
    depth: usize,
    words: std::iter::Peekable<std::vec::IntoIter<&'a str>>,
}

impl Expression {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Self, String> {
        let split = split(text);
        if split.len() > MAX_WORDS {
            return Err(format!("an expression of {} words; give at most {MAX_WORDS}", split.len()));
        }
        let mut words = Words { text, depth: 0, words: split.into_iter().peekable() };
        let expression = words.level(0)?;
        match words.words.next() {
            None => Ok(expression),
            Some(word) => Err(words.unexpected(word)),
        }
    }
}

/// Names, numbers, operators, brackets and commas.
fn split(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for spaced in text.split_whitespace() {
        let mut rest = spaced;
        while let Some(at) = rest.find(['(', ')', ',']) {
            words.extend((at > 0).then_some(&rest[..at]));
            words.push(&rest[at..=at]);
            rest = &rest[at + 1..];
        }
        words.extend((!rest.is_empty()).then_some(rest));
    }
    words
}

impl Words<'_> {
    fn unexpected(&self, word: &str) -> String {
        format!("`{}`: `{word}` is not expected there; operators stand between spaces: `a - b`", self.text)
    }

    /// What binds at least as tightly as `level`.
    fn level(&mut self, level: usize) -> Result<Expression, String> {
        let Some(operators) = LEVELS.get(level) else { return self.one() };
        let mut left = self.level(level + 1)?;
        loop {
            let next = self.words.peek().and_then(|word| one_character(word));
            let Some(operator) = next.filter(|operator| operators.contains(operator)) else {
                return Ok(left);
            };
            self.words.next();
            left = Expression::Binary(operator, Box::new(left), Box::new(self.level(level + 1)?));
        }
    }

    /// A number, a name, a call, something in brackets.
    fn one(&mut self) -> Result<Expression, String> {
        let Some(word) = self.words.next() else { return Err(format!("`{}` ends too early", self.text)) };
        if word == "(" {
            let inside = self.inside()?;
            return self.expect(")").map(|()| inside);
        }
        if let Ok(number) = word.parse::<f64>() {
            return Ok(Expression::Number(number));
        }
        if !word.starts_with(|c: char| c.is_alphanumeric()) {
            return Err(self.unexpected(word));
        }
        if self.words.peek() != Some(&"(") {
            return Ok(Expression::Name(word.to_owned()));
        }
        self.words.next();
        let mut of = vec![self.inside()?];
        while self.words.peek() == Some(&",") {
            self.words.next();
            of.push(self.inside()?);
        }
        self.expect(")").map(|()| Expression::Call(word.to_owned(), of))
    }

    /// What stands within brackets.
    fn inside(&mut self) -> Result<Expression, String> {
        if self.depth == MAX_DEPTH {
            return Err(format!("an expression with more than {MAX_DEPTH} brackets within each other"));
        }
        self.depth += 1;
        let inside = self.level(0);
        self.depth -= 1;
        inside
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        match self.words.next() {
            Some(it) if it == word => Ok(()),
            Some(it) => Err(self.unexpected(it)),
            None => Err(format!("`{}`: `{word}` is missing at its end", self.text)),
        }
    }
}

fn one_character(word: &str) -> Option<char> {
    let mut characters = word.chars();
    characters.next().filter(|_| characters.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_dashes_and_digits_and_operators_bind_as_usual() {
        let parsed = Expression::parse("top1(64k3-box) - 2 * (vit-pos + 1.5)").unwrap();
        let Expression::Binary('-', left, right) = &parsed else { panic!("{parsed:?}") };
        assert_eq!(**left, Expression::Call("top1".into(), vec![Expression::Name("64k3-box".into())]));
        let Expression::Binary('*', two, sum) = &**right else { panic!("{right:?}") };
        assert_eq!(**two, Expression::Number(2.0));
        assert!(matches!(**sum, Expression::Binary('+', ..)));
    }

    #[test]
    fn what_stands_on_one_level_is_read_from_the_left() {
        let parsed = Expression::parse("a - b - c").unwrap();
        let Expression::Binary('-', left, _) = parsed else { panic!() };
        assert_eq!(left.to_string(), "a - b");
    }

    #[test]
    fn statements_may_be_chains() {
        let chain = Statement::parse("a > b > c").unwrap();
        assert_eq!((chain.sides.len(), chain.less), (3, false));
        assert!(Statement::parse("a < b").unwrap().less);
        assert!(Statement::parse("a").unwrap_err().contains("left > right"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, said) in [
            ("top1(a", "`)` is missing"),
            ("a +", "ends too early"),
            ("a b", "`b` is not"),
            ("(a))", "`)` is not"),
        ] {
            let error = Expression::parse(text).unwrap_err();
            assert!(error.contains(said) && error.contains(text), "{error}");
        }
    }
}
