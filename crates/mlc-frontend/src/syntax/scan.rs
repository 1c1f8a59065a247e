//! Text to tokens: the cheap first look at a source, before the grammar.
//!
//! Tokens cover the text but for blanks; comments and newlines are tokens too. The scanner never
//! fails: what is no token of the language becomes [`TokenKind::Bad`]. Brackets, the item index, the
//! comment table, error messages and the formatter all read this list, so that they agree on
//! where strings and comments begin.
//!
//! Linear time; nothing here recurses.

use mlc_diag::{SourceId, Span};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A name or keyword.
    Word,
    /// A number with its unit, or what began like one.
    Number,
    Str,
    /// A string that its line's end cuts off.
    OpenStr,
    /// `(`, `[`, `{`
    Open,
    /// `)`, `]`, `}`
    Close,
    /// An operator or punctuation.
    Op,
    Newline,
    /// `// ...`, without its newline.
    Comment,
    /// `/// ...`
    Doc,
    /// A run of characters that begin no token.
    Bad,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    pub start: u32,
    pub end: u32,
}

impl Token {
    pub fn text<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.start as usize..self.end as usize).unwrap_or("")
    }

    pub fn span(&self, source: SourceId) -> Span {
        Span { source, start: self.start, end: self.end }
    }

    /// Part of the program: no comment and no newline.
    pub fn is_real(&self) -> bool {
        !matches!(self.kind, TokenKind::Newline | TokenKind::Comment | TokenKind::Doc)
    }
}

/// All tokens of `text`, in order. Offsets are bytes.
pub fn scan(text: &str) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(text.len() / 4);
    let bytes = text.as_bytes();
    // Some editors begin a file with a mark of its byte order.
    let mut at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    while let Some(&b) = bytes.get(at) {
        if matches!(b, b' ' | b'\t' | b'\r') {
            at += 1;
            continue;
        }
        let (kind, len) = token_at(&bytes[at..]);
        let token = Token { kind, start: at as u32, end: (at + len) as u32 };
        at += len;
        match tokens.last_mut() {
            Some(Token { kind: TokenKind::Bad, end, .. })
                if kind == TokenKind::Bad && *end == token.start =>
            {
                *end = token.end;
            }
            _ => tokens.push(token),
        }
    }
    tokens
}

/// The kind and length (at least 1) of the token that `s` begins with; `s` is not empty.
fn token_at(s: &[u8]) -> (TokenKind, usize) {
    let second = s.get(1).copied().unwrap_or(0);
    match s[0] {
        b'\n' => (TokenKind::Newline, 1),
        b'/' if second == b'/' => {
            let kind = if s.get(2) == Some(&b'/') && s.get(3) != Some(&b'/') {
                TokenKind::Doc
            } else {
                TokenKind::Comment
            };
            (kind, comment_len(s))
        }
        b'"' => string(s),
        b'(' | b'[' | b'{' => (TokenKind::Open, 1),
        b')' | b']' | b'}' => (TokenKind::Close, 1),
        b if is_word_start(b) => (TokenKind::Word, word_len(s)),
        b if b.is_ascii_digit() => (TokenKind::Number, number_len(s)),
        b => match (b, second) {
            (b'.', b'.') | (b'*', b'*') | (b'<' | b'>' | b'=' | b'!', b'=') | (b'<', b'-') | (b'-', b'>') => {
                (TokenKind::Op, 2)
            }
            (b'.' | b'*' | b'<' | b'>' | b'=' | b'-' | b'+' | b'/' | b'@' | b'%' | b',' | b':' | b';', _) => {
                (TokenKind::Op, 1)
            }
            _ => (TokenKind::Bad, 1),
        },
    }
}

fn comment_len(s: &[u8]) -> usize {
    let len = s.iter().position(|&b| b == b'\n').unwrap_or(s.len());
    s[..len].iter().rposition(|&b| b != b'\r').map_or(len, |last| last + 1)
}

fn is_word_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_'
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// A word; `cuda:1` and `cpu:0` are one.
fn word_len(s: &[u8]) -> usize {
    let len = run(s, 0, is_word);
    if matches!(&s[..len], b"cuda" | b"cpu") && s.get(len) == Some(&b':') {
        let end = run(s, len + 1, |b| b.is_ascii_digit());
        if end > len + 1 && !s.get(end).copied().is_some_and(is_word) {
            return end;
        }
    }
    len
}

fn number_len(s: &[u8]) -> usize {
    let digit = |b: u8| b.is_ascii_digit() || b == b'_';
    let digit_at = |i: usize| s.get(i).is_some_and(u8::is_ascii_digit);
    let mut at = run(s, 0, digit);
    if s.get(at) == Some(&b'.') && digit_at(at + 1) {
        at = run(s, at + 1, digit);
    }
    if matches!(s.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(s.get(at + 1), Some(b'+' | b'-')));
        if digit_at(at + 1 + sign) {
            at = run(s, at + 1 + sign, digit);
        }
    }
    run(s, at, is_word)
}

/// A string ends at its quote; without one, before its line's end.
fn string(s: &[u8]) -> (TokenKind, usize) {
    let mut at = 1;
    while let Some(&b) = s.get(at) {
        match b {
            b'"' => return (TokenKind::Str, at + 1),
            b'\n' => break,
            b'\\' if !matches!(s.get(at + 1), None | Some(b'\n')) => at += 2,
            _ => at += 1,
        }
    }
    let end = at.min(s.len());
    (TokenKind::OpenStr, s[..end].iter().rposition(|b| !b" \t\r".contains(b)).map_or(1, |last| last + 1))
}

/// The first position from `at` on whose byte does not satisfy `is`.
fn run(s: &[u8], at: usize, is: impl Fn(u8) -> bool) -> usize {
    s.get(at..).and_then(|rest| rest.iter().position(|&b| !is(b))).map_or(s.len(), |n| at + n)
}

/// Whether an expression cannot end before this token's end: a newline after it is no statement's end.
pub fn continues_after(token: &Token, text: &str) -> bool {
    match token.kind {
        TokenKind::Op => !matches!(token.text(text), ":" | ";" | "." | "->"),
        TokenKind::Word => matches!(token.text(text), "and" | "or"),
        _ => false,
    }
}

/// Whether a line that begins with this token goes on with the one before.
pub fn continues_before(token: &Token, text: &str) -> bool {
    match token.kind {
        TokenKind::Op => matches!(token.text(text), "." | "->"),
        TokenKind::Word => token.text(text) == "else",
        _ => false,
    }
}
