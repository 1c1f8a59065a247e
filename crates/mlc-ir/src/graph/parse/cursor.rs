//! A position in the text, with the tokens that the text form is made of.

use std::fmt;

/// Where and why a text is not a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub message: String,
}

pub(super) type Result<T> = std::result::Result<T, ParseError>;

pub(super) struct Cursor<'t> {
    text: &'t str,
    at: usize,
    /// Parentheses open around a dim: a bound on the recursion.
    pub(super) depth: usize,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Cursor { text, at: 0, depth: 0 }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Skips blanks and `//` comments.
    fn skip(&mut self) {
        loop {
            let rest = self.rest().trim_start();
            self.at = self.text.len() - rest.len();
            if !rest.starts_with("//") {
                return;
            }
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
    }

    pub(super) fn at_end(&mut self) -> bool {
        self.skip();
        self.at == self.text.len()
    }

    /// The position of the next token, for [`Cursor::error_at`] and [`Cursor::back`].
    pub(super) fn mark(&mut self) -> usize {
        self.skip();
        self.at
    }

    pub(super) fn back(&mut self, mark: usize) {
        self.at = mark;
    }

    pub(super) fn error(&mut self, message: impl Into<String>) -> ParseError {
        let at = self.mark();
        self.error_at(at, message)
    }

    pub(super) fn error_at(&self, at: usize, message: impl Into<String>) -> ParseError {
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        ParseError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.into(),
        }
    }

    /// `expected X, found Y` at the next token.
    pub(super) fn expected(&mut self, what: &str) -> ParseError {
        self.skip();
        let found: String =
            self.rest().split_whitespace().next().unwrap_or("the end").chars().take(30).collect();
        self.error(format!("expected {what}, found `{found}`"))
    }

    /// Does the token stand next? Moves over the blanks before it only if it does.
    pub(super) fn peek(&mut self, token: &str) -> bool {
        let before = self.at;
        self.skip();
        let found = self.rest().starts_with(token);
        if !found {
            self.at = before;
        }
        found
    }

    pub(super) fn eat(&mut self, token: &str) -> bool {
        let found = self.peek(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// As [`Cursor::eat`], without going to the next line: `%` there begins a node.
    pub(super) fn eat_on_line(&mut self, token: &str) -> bool {
        let blanks = self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
        let found = self.rest()[blanks..].starts_with(token);
        if found {
            self.at += blanks + token.len();
        }
        found
    }

    /// As [`Cursor::eat`], with no blank before the token.
    pub(super) fn eat_tight(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    pub(super) fn expect(&mut self, token: &str) -> Result<()> {
        if self.eat(token) { Ok(()) } else { Err(self.expected(&format!("`{token}`"))) }
    }

    /// A name: a letter or `_`, then letters, digits, `_` and inner `.`, `'`, `$`.
    fn word_here(&mut self) -> &'t str {
        self.skip();
        let rest = self.rest();
        let first = rest.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
        let inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '\'' | '$');
        let end = if first { rest.find(|c| !inside(c)).unwrap_or(rest.len()) } else { 0 };
        rest[..end].trim_end_matches('.')
    }

    pub(super) fn word(&mut self, what: &str) -> Result<&'t str> {
        let word = self.word_here();
        if word.is_empty() {
            return Err(self.expected(what));
        }
        self.at += word.len();
        Ok(word)
    }

    pub(super) fn peek_word(&mut self, word: &str) -> bool {
        self.word_here() == word
    }

    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = self.peek_word(word);
        if found {
            self.at += word.len();
        }
        found
    }

    pub(super) fn keyword(&mut self, word: &str) -> Result<()> {
        if self.eat_word(word) { Ok(()) } else { Err(self.expected(&format!("`{word}`"))) }
    }

    /// The name at the cursor, if there is one, without moving.
    pub(super) fn next_word(&mut self) -> Option<&'t str> {
        Some(self.word_here()).filter(|w| !w.is_empty())
    }

    pub(super) fn natural(&mut self) -> Result<u64> {
        self.skip();
        let rest = self.rest();
        let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
        let Ok(n) = digits.parse() else { return Err(self.expected("a number")) };
        self.at += digits.len();
        Ok(n)
    }

    pub(super) fn integer(&mut self) -> Result<i64> {
        let at = self.mark();
        let negative = self.eat("-");
        let n = i128::from(self.natural()?);
        i64::try_from(if negative { -n } else { n })
            .map_err(|_| self.error_at(at, "this number does not fit 64 bits"))
    }

    /// The text up to the next `end`, which is taken too.
    pub(super) fn until(&mut self, end: char) -> Result<&'t str> {
        let rest = self.rest();
        let Some(len) = rest.find(end) else { return Err(self.expected(&format!("`{end}`"))) };
        self.at += len + end.len_utf8();
        Ok(&rest[..len])
    }

    /// A string with Rust's escapes, as `{:?}` writes it.
    pub(super) fn string(&mut self) -> Result<String> {
        let start = self.mark();
        self.expect("\"")?;
        let mut out = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else {
                return Err(self.error_at(start, "this string does not end"));
            };
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(out),
                '\\' => out.push(self.escape(start)?),
                c => out.push(c),
            }
        }
    }

    fn escape(&mut self, start: usize) -> Result<char> {
        let bad = |c: &Self| c.error_at(start, "this string has an unknown escape");
        let c = self.rest().chars().next().ok_or_else(|| bad(self))?;
        self.at += c.len_utf8();
        Ok(match c {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '0' => '\0',
            '"' | '\\' | '\'' => c,
            'u' => {
                let code = self.eat_tight("{").then(|| self.until('}')).ok_or_else(|| bad(self))??;
                let code = u32::from_str_radix(code, 16).ok().and_then(char::from_u32);
                code.ok_or_else(|| bad(self))?
            }
            _ => return Err(bad(self)),
        })
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}
