//! Tokens of the text form and the cursor that both parsers share.

use std::fmt;

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextError {
    /// 1-based.
    pub line: u32,
    pub message: String,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for TextError {}

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    Word(String),
    /// As written; may have a point or an exponent, or be hexadecimal.
    Number(String),
    Text(String),
    Sign(char),
}

/// Reads tokens one after another.
pub struct Cursor {
    tokens: Vec<(Token, u32)>,
    at: usize,
    /// Programs in programs around this place.
    depth: u32,
}

/// Programs in programs beyond this depth are refused, so that no text overflows the stack.
const DEPTH: u32 = 32;

pub type Read<T> = Result<T, TextError>;

impl Cursor {
    pub fn new(text: &str) -> Read<Cursor> {
        let mut tokens = Vec::new();
        for (i, line) in text.lines().enumerate() {
            scan(line, i as u32 + 1, &mut tokens)?;
        }
        Ok(Cursor { tokens, at: 0, depth: 0 })
    }

    pub fn fail<T>(&self, message: impl Into<String>) -> Read<T> {
        let line = self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.1);
        Err(TextError { line, message: message.into() })
    }

    /// Reads something that may hold itself.
    pub fn nested<T>(&mut self, read: impl FnOnce(&mut Cursor) -> Read<T>) -> Read<T> {
        if self.depth == DEPTH {
            return self.fail("programs nest too deep");
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    pub fn done(&self) -> bool {
        self.at == self.tokens.len()
    }

    pub fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|t| &t.0)
    }

    pub fn next(&mut self) -> Read<Token> {
        match self.peek().cloned() {
            Some(t) => {
                self.at += 1;
                Ok(t)
            }
            None => self.fail("the text ends too early"),
        }
    }

    /// Takes a sign if it comes next.
    pub fn take(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    /// Takes a word if it comes next.
    pub fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(w)) if w == word);
        self.at += usize::from(found);
        found
    }

    pub fn sign(&mut self, sign: char) -> Read<()> {
        if self.take(sign) { Ok(()) } else { self.fail(format!("`{sign}` is missing")) }
    }

    pub fn keyword(&mut self, word: &str) -> Read<()> {
        if self.take_word(word) { Ok(()) } else { self.fail(format!("`{word}` is missing")) }
    }

    pub fn word(&mut self) -> Read<String> {
        match self.peek() {
            Some(Token::Word(w)) => {
                let w = w.clone();
                self.at += 1;
                Ok(w)
            }
            _ => self.fail("a word is missing"),
        }
    }

    pub fn text(&mut self) -> Read<String> {
        match self.next()? {
            Token::Text(t) => Ok(t),
            _ => self.fail("a quoted text is missing"),
        }
    }

    /// A number as written, with its sign.
    pub fn number_text(&mut self) -> Read<String> {
        let minus = if self.take('-') { "-" } else { "" };
        match self.next()? {
            Token::Number(n) => Ok(format!("{minus}{n}")),
            Token::Word(w) if w == "inf" => Ok(format!("{minus}{w}")),
            _ => self.fail("a number is missing"),
        }
    }

    pub fn number<T: std::str::FromStr>(&mut self) -> Read<T> {
        let n = self.number_text()?;
        n.parse().or_else(|_| self.fail(format!("`{n}` does not fit here")))
    }

    /// The number of a word like `c12` or of a sign and number like `%12`.
    pub fn numbered(&mut self, prefix: &str) -> Read<u32> {
        if prefix.len() == 1 && !prefix.starts_with(char::is_alphabetic) {
            prefix.chars().try_for_each(|c| self.sign(c))?;
            return self.number();
        }
        let w = self.word()?;
        let n = w.strip_prefix(prefix).and_then(|n| n.parse().ok());
        n.map_or_else(|| self.fail(format!("`{prefix}` and a number are missing before `{w}`")), Ok)
    }

    /// Items between the signs, separated by commas.
    pub fn list<T>(
        &mut self,
        open: char,
        close: char,
        mut item: impl FnMut(&mut Cursor) -> Read<T>,
    ) -> Read<Vec<T>> {
        self.sign(open)?;
        let mut items = Vec::new();
        while !self.take(close) {
            if !items.is_empty() {
                self.sign(',')?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }
}

fn scan(line: &str, number: u32, tokens: &mut Vec<(Token, u32)>) -> Read<()> {
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let len;
        let token = if c.is_whitespace() {
            rest = &rest[c.len_utf8()..];
            continue;
        } else if rest.starts_with("//") {
            break;
        } else if c.is_ascii_digit() {
            len = number_len(rest);
            Token::Number(rest[..len].to_string())
        } else if c.is_ascii_alphabetic() || c == '_' {
            len = rest.find(|c| !word(c)).unwrap_or(rest.len());
            Token::Word(rest[..len].to_string())
        } else if c == '"' {
            let Some(end) = rest[1..].find('"') else {
                return Err(TextError { line: number, message: "a quote is not closed".into() });
            };
            len = end + 2;
            Token::Text(rest[1..=end].to_string())
        } else {
            len = c.len_utf8();
            Token::Sign(c)
        };
        tokens.push((token, number));
        rest = &rest[len..];
    }
    Ok(())
}

/// Digits, hexadecimal digits after `0x`, or a float; a point belongs to the number if a digit follows.
fn number_len(s: &str) -> usize {
    let b = s.as_bytes();
    if s.starts_with("0x") {
        return 2 + b[2..].iter().take_while(|c| c.is_ascii_hexdigit()).count();
    }
    let digits = |from: usize| b[from.min(b.len())..].iter().take_while(|c| c.is_ascii_digit()).count();
    let mut len = digits(0);
    if b.get(len) == Some(&b'.') && digits(len + 1) > 0 {
        len += 1 + digits(len + 1);
    }
    if b.get(len) == Some(&b'e') {
        let sign = usize::from(matches!(b.get(len + 1), Some(b'-' | b'+')));
        let exponent = digits(len + 1 + sign);
        if exponent > 0 {
            len += 1 + sign + exponent;
        }
    }
    len
}
