//! Brackets and layout: splits a source into items, checks that brackets match and that nothing
//! nests too deep, and proposes repairs so that the grammar can read the rest of a file with a
//! bracket missing.
//!
//! In: the tokens. Out: one [`Chunk`] an item, whose text with its [`Patch`]es applied has balanced
//! brackets and closed strings. In a source without mistakes a chunk ends where a newline or `;`
//! stands outside all brackets; in one with mistakes also where an unindented line begins like an
//! item. Linear time, and no recursion: a hundred thousand open brackets are only counted.

use mlc_diag::{Diagnostic, SourceId, Span};

use super::scan::{Token, TokenKind, continues_after, continues_before};

/// How deep brackets and operators may nest together. The grammar, the checker and all later walks
/// over expressions recurse; this bounds their stack.
pub const MAX_NESTING: u32 = 256;

/// One item: a range of the token list, never empty of real tokens.
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    /// First and one past the last token, comments between items left out.
    pub tokens: std::ops::Range<usize>,
    /// Sorted by position.
    pub patches: Vec<Patch>,
    /// Too deep to be parsed; has been reported.
    pub too_deep: bool,
    /// Where this chunk's first bracket or string mistake is: what the grammar finds wrong from there
    /// on is its consequence.
    pub suspect_from: Option<u32>,
}

/// A change to the text that the grammar reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patch {
    pub at: u32,
    pub with: char,
    /// Take the place of the character there instead of standing before it.
    pub replace: bool,
}

#[derive(Debug, Default)]
pub struct Layout {
    pub chunks: Vec<Chunk>,
    pub problems: Vec<Diagnostic>,
    /// Problems found, those beyond the kept ones included.
    pub problem_count: usize,
}

/// Splits `tokens` (of the whole `text`) into items; keeps at most `max_problems` diagnostics.
pub fn layout(source: SourceId, text: &str, tokens: &[Token], max_problems: usize) -> Layout {
    let mut walk = Walk::new(source, text, tokens, max_problems, false);
    walk.run();
    if walk.out.problem_count > 0 {
        walk = Walk::new(source, text, tokens, max_problems, true);
        walk.run();
    }
    for chunk in &mut walk.out.chunks {
        chunk.patches.sort_by_key(|p| p.at);
    }
    walk.out
}

/// An open bracket.
struct Open {
    token: usize,
    ch: char,
    /// Operators met so far in the enclosing statement or argument.
    outer_ops: u32,
    /// Columns before its line's first token.
    indent: u32,
}

/// How far down the stack of open brackets a closing one looks for its partner.
const REACH: usize = MAX_NESTING as usize;

struct Walk<'a> {
    source: SourceId,
    text: &'a str,
    tokens: &'a [Token],
    max_problems: usize,
    /// There are mistakes: use indentation to find out where.
    repair: bool,
    open: Vec<Open>,
    /// Operators since the last separator at this level, and over all open levels.
    ops: u32,
    depth: u32,
    /// The chunk being read, if its first real token was met.
    chunk: Option<Chunk>,
    /// Last real token.
    prev: Option<usize>,
    line_start: u32,
    line_indent: u32,
    first_on_line: bool,
    /// A newline stood before the token being read.
    after_newline: bool,
    out: Layout,
}

impl<'a> Walk<'a> {
    fn new(source: SourceId, text: &'a str, tokens: &'a [Token], max_problems: usize, repair: bool) -> Self {
        Walk {
            source,
            text,
            tokens,
            max_problems,
            repair,
            open: vec![],
            ops: 0,
            depth: 0,
            chunk: None,
            prev: None,
            line_start: 0,
            line_indent: 0,
            first_on_line: true,
            after_newline: false,
            out: Layout::default(),
        }
    }

    fn run(&mut self) {
        for i in 0..self.tokens.len() {
            let token = self.tokens[i];
            match token.kind {
                TokenKind::Newline => {
                    self.first_on_line = true;
                    self.after_newline = true;
                    self.line_start = token.end;
                }
                TokenKind::Comment | TokenKind::Doc => {}
                _ => self.real(i, token),
            }
        }
        let end = self.text.len();
        self.close_all(Span::new(self.source, end, end), "the file ends here");
        self.end_chunk();
    }

    fn real(&mut self, i: usize, token: Token) {
        if std::mem::take(&mut self.after_newline) {
            self.newline_before(&token);
        }
        if self.first_on_line {
            self.line_indent = token.start - self.line_start;
            if self.repair && self.line_indent == 0 && !self.open.is_empty() && self.begins_item(i) {
                self.close_all(token.span(self.source), "a new item begins here");
                self.end_chunk();
            }
        }
        let text = token.text(self.text);
        if token.kind == TokenKind::Op && text == ";" && self.open.is_empty() {
            self.end_chunk();
        } else {
            let chunk = self.chunk.get_or_insert_with(|| Chunk { tokens: i..i, ..Chunk::default() });
            chunk.tokens.end = i + 1;
            match token.kind {
                TokenKind::Open => self.open(i, token),
                TokenKind::Close => self.close(i, token),
                TokenKind::OpenStr => self.unclosed_string(token),
                TokenKind::Op if matches!(text, "," | ";") => self.separator(),
                TokenKind::Op if !matches!(text, "=" | ":" | "->" | "<-") => self.deeper(token),
                TokenKind::Word if matches!(text, "and" | "or" | "not" | "on") => self.deeper(token),
                _ => {}
            }
        }
        self.first_on_line = false;
        self.prev = Some(i);
    }

    /// A newline before `token` ends the statement, unless one of the two lines goes on in the other.
    fn newline_before(&mut self, token: &Token) {
        if self.open.last().is_some_and(|o| o.ch != '{') {
            return;
        }
        // A line of facts goes on with its header; inside a body `where` is a function.
        let facts = self.open.is_empty() && token.text(self.text) == "where";
        let goes_on = self.prev.is_some_and(|p| continues_after(&self.tokens[p], self.text));
        if goes_on || facts || continues_before(token, self.text) {
            return;
        }
        self.separator();
        if self.open.is_empty() {
            self.end_chunk();
        }
    }

    fn begins_item(&self, i: usize) -> bool {
        const WORDS: [&str; 10] = [
            "model",
            "fn",
            "dataset",
            "optimizer",
            "schedule",
            "train",
            "test",
            "device",
            "use",
            "transfers",
        ];
        let next = self.tokens.get(i + 1);
        self.tokens[i].kind == TokenKind::Word
            && WORDS.contains(&self.tokens[i].text(self.text))
            && next.is_some_and(|n| {
                matches!(n.kind, TokenKind::Word | TokenKind::Str) || n.text(self.text) == "{"
            })
    }

    fn end_chunk(&mut self) {
        self.out.chunks.extend(self.chunk.take());
        self.ops = 0;
        self.depth = 0;
    }

    fn separator(&mut self) {
        self.depth -= self.ops;
        self.ops = 0;
    }

    fn deeper(&mut self, token: Token) {
        self.ops += 1;
        self.depth += 1;
        let Some(chunk) = &mut self.chunk else { return };
        if self.depth <= MAX_NESTING || chunk.too_deep {
            return;
        }
        chunk.too_deep = true;
        let span = token.span(self.source);
        self.problem(|| {
            Diagnostic::error("E0104", format!("this nests more than {MAX_NESTING} levels deep"))
                .label(span, "brackets and operators around this, counted together")
                .hint("give parts of it names of their own, or write a loop")
        });
    }

    fn open(&mut self, i: usize, token: Token) {
        self.deeper(token);
        let ch = self.char_at(token);
        self.open.push(Open { token: i, ch, outer_ops: self.ops, indent: self.line_indent });
        self.ops = 0;
    }

    fn pop(&mut self) -> Option<Open> {
        let open = self.open.pop()?;
        self.depth -= self.ops;
        self.ops = open.outer_ops;
        Some(open)
    }

    fn close(&mut self, i: usize, token: Token) {
        let ch = self.char_at(token);
        let here = token.span(self.source);
        if self.repair && ch == '}' && self.first_on_line {
            self.close_indented(token);
        }
        let Some(top) = self.open.last() else {
            self.extra(token, ch);
            return;
        };
        if closer(top.ch) == ch {
            self.pop();
            return;
        }
        let near = self.open.len().saturating_sub(REACH);
        match self.open[near..].iter().rposition(|o| closer(o.ch) == ch).map(|n| near + n) {
            // `{ ( }`: the round bracket is not closed.
            Some(below) if ch == '}' || self.open[below + 1..].iter().all(|o| o.ch != '{') => {
                while self.open.len() > below + 1 {
                    self.unclosed(here, &format!("`{ch}` stands here"), Some(i));
                }
                self.pop();
            }
            None if top.ch != '{' && ch != '}' => self.mismatched(token, ch),
            _ => self.extra(token, ch),
        }
    }

    /// A `}` that begins its line, further out than the line of the `{` it would close: if an outer `{`
    /// stands at just that depth, it is that one's.
    fn close_indented(&mut self, token: Token) {
        let at = self.line_indent;
        let near = self.open.len().saturating_sub(REACH);
        let blocks = || self.open.iter().enumerate().skip(near).rev().filter(|(_, o)| o.ch == '{');
        if blocks().next().is_none_or(|(_, top)| top.indent <= at) {
            return;
        }
        let Some((mine, outer)) = blocks().find(|(_, o)| o.indent <= at) else { return };
        if outer.indent != at {
            return;
        }
        while self.open.len() > mine + 1 {
            self.unclosed(token.span(self.source), "this `}` is indented like an outer block's", None);
        }
    }

    fn close_all(&mut self, at: Span, label: &str) {
        while !self.open.is_empty() {
            self.unclosed(at, label, None);
        }
    }

    /// Reports and repairs the innermost open bracket.
    fn unclosed(&mut self, at: Span, label: &str, closed_by: Option<usize>) {
        let Some(open) = self.pop() else { return };
        let token = self.tokens[open.token];
        // Past the cap only the count matters; searching each line's end would be quadratic.
        let line_end = if self.is_full() { open.token } else { self.line_end(open.token) };
        // `foo(a, b` on a line of its own is closed there; else as late as possible.
        let last = closed_by.map_or(self.prev, |i| i.checked_sub(1));
        let at_line_end =
            open.ch != '{' && line_end > open.token && self.tokens[line_end].text(self.text) != ",";
        let after = if at_line_end { last.map(|i| i.min(line_end)) } else { last };
        let position = after.map_or(token.end, |i| self.tokens[i].end).max(token.end);
        self.patch(Patch { at: position, with: closer(open.ch), replace: false }, token.start);
        if self.tokens[line_end].kind == TokenKind::OpenStr {
            return; // the closing bracket is in the string, most likely
        }
        let (span, ch) = (token.span(self.source), open.ch);
        let comment = self.closed_in_comment(line_end, closer(ch));
        self.problem(|| {
            let d = Diagnostic::error("E0102", format!("this `{ch}` is never closed"))
                .label(span, format!("no `{}` for this one", closer(ch)));
            match comment {
                Some(c) => d.label(c, "`//` begins a comment").hint("whole division is `floor_div(a, b)`"),
                None => d.label(at, label),
            }
        });
    }

    /// The comment behind token `i`, if the closing bracket stands in it: `(x // 2)`.
    fn closed_in_comment(&self, i: usize, closing: char) -> Option<Span> {
        let comment = self.tokens.get(i + 1).filter(|t| t.kind == TokenKind::Comment)?;
        let operand = matches!(self.tokens[i].kind, TokenKind::Word | TokenKind::Number | TokenKind::Close);
        (operand && comment.text(self.text).contains(closing)).then(|| comment.span(self.source))
    }

    /// The last real token on the line of token `i`.
    fn line_end(&self, i: usize) -> usize {
        let mut last = i;
        for (j, t) in self.tokens.iter().enumerate().skip(i + 1) {
            match t.kind {
                TokenKind::Newline => break,
                _ if t.is_real() => last = j,
                _ => {}
            }
        }
        last
    }

    fn extra(&mut self, token: Token, ch: char) {
        self.patch(Patch { at: token.start, with: ' ', replace: true }, token.start);
        let span = token.span(self.source);
        let enclosing = self.open.last().map(|o| (self.tokens[o.token].span(self.source), o.ch));
        self.problem(|| {
            let d = Diagnostic::error("E0102", format!("this `{ch}` closes nothing"));
            let d = d.label(span, format!("no open `{}` before it", opener(ch)));
            match enclosing {
                Some((open, open_ch)) => {
                    d.label(open, format!("the innermost open bracket is this `{open_ch}`"))
                }
                None => d,
            }
        });
    }

    fn mismatched(&mut self, token: Token, ch: char) {
        let Some(open) = self.pop() else { return };
        let open_token = self.tokens[open.token];
        self.patch(Patch { at: token.start, with: closer(open.ch), replace: true }, token.start);
        let (span, open_span) = (token.span(self.source), open_token.span(self.source));
        self.problem(|| {
            Diagnostic::error("E0102", format!("`{}` is closed by `{ch}`", open.ch))
                .label(span, format!("expected `{}` here", closer(open.ch)))
                .label(open_span, format!("this `{}` is the one to close", open.ch))
        });
    }

    fn unclosed_string(&mut self, token: Token) {
        self.patch(Patch { at: token.end, with: '"', replace: false }, token.start);
        let span = token.span(self.source);
        self.problem(|| {
            Diagnostic::error("E0103", "this string is never closed")
                .label(span, "no closing `\"` on this line")
                .hint("strings end on the line where they begin; write `\\n` for a line break")
        });
    }

    fn patch(&mut self, patch: Patch, suspect: u32) {
        if let Some(chunk) = &mut self.chunk {
            chunk.patches.push(patch);
            chunk.suspect_from = Some(chunk.suspect_from.map_or(suspect, |s| s.min(suspect)));
        }
    }

    fn problem(&mut self, make: impl FnOnce() -> Diagnostic) {
        self.out.problem_count += 1;
        if !self.is_full() {
            self.out.problems.push(make());
        }
    }

    fn is_full(&self) -> bool {
        self.out.problems.len() >= self.max_problems
    }

    fn char_at(&self, token: Token) -> char {
        token.text(self.text).chars().next().unwrap_or(' ')
    }
}

fn closer(open: char) -> char {
    match open {
        '(' => ')',
        '[' => ']',
        _ => '}',
    }
}

fn opener(close: char) -> char {
    match close {
        ')' => '(',
        ']' => '[',
        _ => '{',
    }
}
