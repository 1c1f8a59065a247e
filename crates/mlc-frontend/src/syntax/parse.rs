//! The driver: items one at a time through the grammar, and what all of its readers share.

use std::ops::Range;

use mlc_diag::{Diagnostic, Diagnostics, SourceId, Span};
use pest::Parser as _;
use pest::iterators::{Pair, Pairs};

use super::ast::*;
use super::brackets::{Chunk, layout};
use super::explain;
use super::grammar::{Grammar, Rule};
use super::scan::{Token, TokenKind, scan};

/// Diagnostics kept of one file; a note on the last tells how many more there were.
pub const MAX_ERRORS: usize = 20;

/// Bytes that are still read for counting once [`MAX_ERRORS`] is reached.
const COUNTED_BYTES: usize = 1 << 16;

/// The largest source; spans are 32 bits wide.
const MAX_BYTES: usize = 1 << 30;

/// The largest item. The grammar's cost is linear, but garbage may be one item of many megabytes.
const MAX_ITEM_BYTES: usize = 1 << 19;

/// A file as far as it could be read.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    pub file: File,
    pub diagnostics: Diagnostics,
    pub comments: Vec<Comment>,
}

/// A comment, for tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comment {
    /// From its slashes to its last character.
    pub span: Span,
    /// `///`
    pub doc: bool,
    /// No program text stands before it on its line.
    pub own_line: bool,
}

/// What an item is, by its first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ItemWord {
    Use,
    Model,
    Fn,
    Dataset,
    Optimizer,
    Schedule,
    Train,
    Test,
    Device,
    Transfers,
    Binding,
}

/// An item's place in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    pub word: ItemWord,
    /// What it declares; `None` for `use` without alias, `transfers` and unnamed train blocks.
    pub name: Option<String>,
    /// Bytes of the item with the doc comment above it, for [`parse_item`].
    pub range: Range<usize>,
}

/// Reads a whole file. Never fails: what is wrong is in the diagnostics, the rest in the tree.
pub fn parse(source: SourceId, text: &str) -> Parsed {
    if text.len() > MAX_BYTES {
        let d = Diagnostic::error(
            "E0111",
            format!("the file has {} bytes; at most {MAX_BYTES} are read", text.len()),
        );
        return Parsed { diagnostics: d.into(), ..Parsed::default() };
    }
    let tokens = scan(text);
    let layout = layout(source, text, &tokens, MAX_ERRORS);
    let mut cx = Cx::new(source, text, &tokens);
    for d in layout.problems {
        cx.report(d);
    }
    cx.errors += layout.problem_count - cx.errors.min(layout.problem_count);
    let mut file = File::default();
    let mut counted = 0;
    for chunk in &layout.chunks {
        if cx.errors >= MAX_ERRORS {
            counted += chunk_range(chunk, &tokens).len();
        }
        if counted > COUNTED_BYTES {
            cx.stopped_early = true;
            break;
        }
        // The body of an item whose `{` begins a new line: the missing `{` has been reported.
        let body_alone = tokens.get(chunk.tokens.start).is_some_and(|t| t.text(text) == "{");
        if body_alone && matches!(file.items.last(), Some(Item { kind: ItemKind::Error, .. })) {
            continue;
        }
        file.items.extend(cx.chunk(chunk));
    }
    let comments = comments(source, &tokens);
    let mut diagnostics = cx.finish();
    if !diagnostics.has_errors() {
        diagnostics.extend(quotients(source, text, &tokens));
    }
    Parsed { file, diagnostics, comments }
}

/// Comments that look like the divisor of Python's `//`: `h = dim // 2`. One blank before the comment, an
/// operand before that, and nothing in it but a number or a name of the file.
fn quotients(source: SourceId, text: &str, tokens: &[Token]) -> Diagnostics {
    let mut out = Diagnostics::new();
    for (i, c) in tokens.iter().enumerate().skip(1).filter(|(_, t)| t.kind == TokenKind::Comment) {
        let before = tokens[i - 1];
        let operand = matches!(before.kind, TokenKind::Word | TokenKind::Number | TokenKind::Close)
            && before.text(text) != "}"
            && c.start - before.end <= 1;
        let divisor = c.text(text).trim_start_matches('/').trim();
        let number = divisor.bytes().all(|b| b.is_ascii_digit()) && !divisor.is_empty();
        let name = || tokens[..i].iter().any(|t| t.kind == TokenKind::Word && t.text(text) == divisor);
        if operand && (number || name()) {
            let title = format!("`// {divisor}` is a comment, not a division");
            let d = Diagnostic::warning("W0101", title).label(c.span(source), "`//` begins a comment");
            out.push(d.hint(format!(
                "whole division is `floor_div(.., {divisor})`, of dims and compile-time integers `.. / {divisor}`; \
                 for a comment put two blanks before it"
            )));
        }
    }
    out
}

/// [`parse`] of a file's bytes; what is not UTF-8 is an error that says where.
pub fn parse_bytes(source: SourceId, bytes: &[u8]) -> Parsed {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(source, text),
        Err(e) => {
            let line = bytes[..e.valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
            let d = Diagnostic::error("E0111", format!("this is not a text file: line {line} is not UTF-8"))
                .note(format!("the first byte that fits no character is byte {}", e.valid_up_to()))
                .hint("save the file as UTF-8");
            Parsed { diagnostics: d.into(), ..Parsed::default() }
        }
    }
}

/// Reads one item, given its range from [`index`]; spans are positions in the whole `text`.
pub fn parse_item(source: SourceId, text: &str, range: Range<usize>) -> (Option<Item>, Diagnostics) {
    let Some(part) = text.get(range.clone()) else { return (None, Diagnostics::new()) };
    let mut tokens = scan(part);
    for t in &mut tokens {
        t.start += range.start as u32;
        t.end += range.start as u32;
    }
    let layout = layout(source, text, &tokens, MAX_ERRORS);
    let mut cx = Cx::new(source, text, &tokens);
    for d in layout.problems {
        cx.report(d);
    }
    let item = layout.chunks.iter().filter_map(|c| cx.chunk(c)).next();
    (item, cx.finish())
}

/// Lists a file's items without parsing them. Items that do not begin like one are left out.
pub fn index(text: &str) -> Vec<IndexEntry> {
    if text.len() > MAX_BYTES {
        return vec![];
    }
    let tokens = scan(text);
    let layout = layout(SourceId(0), text, &tokens, 0);
    layout.chunks.iter().filter_map(|c| index_entry(c, &tokens, text)).collect()
}

fn index_entry(chunk: &Chunk, tokens: &[Token], text: &str) -> Option<IndexEntry> {
    let mut real = tokens[chunk.tokens.clone()].iter().filter(|t| t.is_real());
    let (first, second) = (real.next()?, real.next());
    let named = second.filter(|t| t.kind == TokenKind::Word).map(|t| t.text(text).to_owned());
    let starts =
        second.is_some_and(|t| matches!(t.kind, TokenKind::Word | TokenKind::Str) || t.text(text) == "{");
    if first.kind != TokenKind::Word {
        return None;
    }
    let (word, name) = match first.text(text) {
        "use" => {
            let alias = real.nth(1).filter(|t| t.kind == TokenKind::Word);
            (ItemWord::Use, alias.map(|t| t.text(text).to_owned()))
        }
        "test" if starts => {
            let name = second.map(|t| t.text(text).trim_matches('"').to_owned());
            (ItemWord::Test, name)
        }
        "train" if starts => (ItemWord::Train, named),
        "model" if named.is_some() => (ItemWord::Model, named),
        "fn" if named.is_some() => (ItemWord::Fn, named),
        "dataset" if named.is_some() => (ItemWord::Dataset, named),
        "optimizer" if named.is_some() => (ItemWord::Optimizer, named),
        "schedule" if named.is_some() => (ItemWord::Schedule, named),
        "device" if named.is_some() => (ItemWord::Device, named),
        "transfers" if second.is_some_and(|t| !matches!(t.text(text), "=" | ":")) => {
            (ItemWord::Transfers, None)
        }
        name if second.is_some_and(|t| matches!(t.text(text), "=" | ":")) => {
            (ItemWord::Binding, Some(name.to_owned()))
        }
        _ => return None,
    };
    let mut range = chunk_range(chunk, tokens);
    if let Some(doc) = docs_before(text, tokens, chunk.tokens.start).next_back() {
        range.start = doc.start as usize;
    }
    Some(IndexEntry { word, name, range })
}

/// The bytes from a chunk's first to its last token.
fn chunk_range(chunk: &Chunk, tokens: &[Token]) -> Range<usize> {
    let tokens = &tokens[chunk.tokens.clone()];
    match (tokens.first(), tokens.last()) {
        (Some(first), Some(last)) => first.start as usize..last.end as usize,
        _ => 0..0,
    }
}

/// The doc comments directly above token `i`, from the last to the first.
fn docs_before<'t>(text: &str, tokens: &'t [Token], i: usize) -> impl DoubleEndedIterator<Item = &'t Token> {
    let above = &tokens[..i.min(tokens.len())];
    let start = above.iter().rposition(|t| {
        !(matches!(t.kind, TokenKind::Newline | TokenKind::Doc)
            || t.kind == TokenKind::Op && t.text(text) == ";")
    });
    // A doc comment at the end of a line belongs to that line, not to what follows.
    let start = start
        .map_or(0, |s| above[s..].iter().position(|t| t.kind == TokenKind::Newline).map_or(i, |n| s + n));
    above[start..].iter().rev().filter(|t| t.kind == TokenKind::Doc)
}

fn comments(source: SourceId, tokens: &[Token]) -> Vec<Comment> {
    let mut own_line = true;
    let mut found = vec![];
    for t in tokens {
        match t.kind {
            TokenKind::Newline => own_line = true,
            TokenKind::Comment | TokenKind::Doc => {
                found.push(Comment { span: t.span(source), doc: t.kind == TokenKind::Doc, own_line });
            }
            _ => own_line = false,
        }
    }
    found
}

/// What the readers of pairs share: positions, tokens and the diagnostics so far.
pub(super) struct Cx<'i> {
    pub source: SourceId,
    /// The whole source; token and span positions index it.
    pub text: &'i str,
    pub tokens: &'i [Token],
    /// Ends of the real tokens, sorted.
    ends: Vec<u32>,
    /// Where the text that the grammar reads begins in the source.
    base: usize,
    /// Positions, in the text that the grammar reads, of characters that the source has not.
    inserted: Vec<usize>,
    /// Mistakes from here on follow from one that was reported.
    suspect_from: Option<u32>,
    /// Errors found, kept or not.
    errors: usize,
    stopped_early: bool,
    diagnostics: Diagnostics,
}

impl<'i> Cx<'i> {
    fn new(source: SourceId, text: &'i str, tokens: &'i [Token]) -> Self {
        Cx {
            source,
            text,
            tokens,
            ends: tokens.iter().filter(|t| t.is_real()).map(|t| t.end).collect(),
            base: 0,
            inserted: vec![],
            suspect_from: None,
            errors: 0,
            stopped_early: false,
            diagnostics: Diagnostics::new(),
        }
    }

    /// One chunk as an item; `None` only for an empty chunk.
    fn chunk(&mut self, chunk: &Chunk) -> Option<Item> {
        let range = chunk_range(chunk, self.tokens);
        let span = Span::new(self.source, range.start, range.end);
        let broken = Documented { doc: None, span, kind: ItemKind::Error };
        if chunk.too_deep || range.is_empty() {
            return (!range.is_empty()).then_some(broken);
        }
        if range.len() > MAX_ITEM_BYTES {
            let start = Span::new(self.source, range.start, range.start);
            let title = format!("this item has {} bytes; at most {MAX_ITEM_BYTES} are read", range.len());
            self.report(Diagnostic::error("E0111", title).label(start, "it begins here"));
            return Some(broken);
        }
        let original = self.text.get(range.clone()).unwrap_or("");
        self.base = range.start;
        self.suspect_from = chunk.suspect_from;
        self.inserted.clear();
        if chunk.patches.is_empty() {
            return self.item_text(original).or(Some(broken));
        }
        let (patched, inserted) = patch(original, range.start, chunk);
        // A repair may be wrong; what still does not balance would cost the grammar too much.
        let tokens = scan(&patched);
        if layout(self.source, &patched, &tokens, 0).problem_count > 0 {
            return Some(broken);
        }
        self.inserted = inserted;
        // The pairs borrow the patched text, so they need a context of its lifetime.
        let mut cx = Cx {
            source: self.source,
            text: self.text,
            tokens: self.tokens,
            ends: std::mem::take(&mut self.ends),
            base: self.base,
            inserted: std::mem::take(&mut self.inserted),
            suspect_from: self.suspect_from,
            errors: self.errors,
            stopped_early: false,
            diagnostics: std::mem::take(&mut self.diagnostics),
        };
        let item = cx.item_text(&patched);
        self.ends = cx.ends;
        self.errors = cx.errors;
        self.diagnostics = cx.diagnostics;
        item.or(Some(broken))
    }

    fn item_text(&mut self, text: &'i str) -> Option<Item> {
        match Grammar::parse(Rule::lone_item, text) {
            Ok(pairs) => pairs.into_iter().next().and_then(|p| self.lone_item(p)),
            Err(e) if self.keeps_more() => {
                let d = explain::syntax_error(self, &e, 0, text);
                self.report(d);
                None
            }
            Err(_) => {
                let span = Span::new(self.source, self.base, self.base);
                self.report(Diagnostic::error("E0101", "unexpected text").label(span, ""));
                None
            }
        }
    }

    /// Keeps a diagnostic, unless it follows from an earlier one or there are too many.
    pub fn report(&mut self, d: Diagnostic) {
        let bracket = matches!(d.code, "E0102" | "E0103" | "E0104");
        if !bracket && self.suspect_from.is_some_and(|from| d.span().start >= from) {
            return;
        }
        self.errors += 1;
        if self.diagnostics.0.len() < MAX_ERRORS {
            self.diagnostics.push(d);
        }
    }

    /// Whether another diagnostic would be kept; else only its existence counts.
    pub fn keeps_more(&self) -> bool {
        self.diagnostics.0.len() < MAX_ERRORS
    }

    fn finish(mut self) -> Diagnostics {
        let more = self.errors - self.errors.min(self.diagnostics.0.len());
        self.diagnostics.sort();
        if let (Some(last), true) = (self.diagnostics.0.last_mut(), more > 0) {
            let least = if self.stopped_early { "at least " } else { "" };
            last.notes.push(format!("{least}{more} more errors are not shown"));
        }
        self.diagnostics
    }

    /// A position of the text that the grammar reads, in the source.
    pub fn position(&self, at: usize) -> usize {
        self.base + at - self.inserted.partition_point(|&i| i < at)
    }

    pub fn span_between(&self, start: usize, end: usize) -> Span {
        let (start, end) = (self.position(start), self.position(end));
        Span::new(self.source, start, end.max(start))
    }

    /// From the first to the last real token: pairs may end in blanks and comments.
    pub fn span(&self, pair: &Pair<'i, Rule>) -> Span {
        let span = self.span_between(pair.as_span().start(), pair.as_span().end());
        let last = self.ends.partition_point(|&e| e <= span.end);
        let end = last.checked_sub(1).map_or(span.end, |i| self.ends[i]);
        Span { end: end.max(span.start), ..span }
    }

    /// The doc comment above what begins at `span`, without slashes.
    pub fn doc_before(&self, span: Span) -> Option<String> {
        let i = self.tokens.partition_point(|t| t.start < span.start);
        let mut lines: Vec<&str> = docs_before(self.text, self.tokens, i)
            .map(|t| {
                let line = t.text(self.text).trim_start_matches('/');
                line.strip_prefix(' ').unwrap_or(line).trim_end()
            })
            .collect();
        lines.reverse();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    pub fn name(&self, pair: &Pair<'i, Rule>) -> Name {
        Name { text: pair.as_str().to_owned(), span: self.span(pair) }
    }

    pub fn try_name(&self, parts: &mut Parts<'i>) -> Option<Name> {
        let pair = parts.next_if(|p| matches!(p.as_rule(), Rule::name | Rule::word))?;
        Some(self.name(&pair))
    }

    /// The name that the grammar guarantees here.
    pub fn name_part(&self, parts: &mut Parts<'i>, span: Span) -> Name {
        self.try_name(parts).unwrap_or(Name { text: String::new(), span })
    }

    pub fn try_expr(&mut self, parts: &mut Parts<'i>) -> Option<Expr> {
        let pair = parts.take(Rule::expr)?;
        Some(self.expr(pair))
    }
}

/// A chunk's text with its patches, and where in it characters were inserted.
fn patch(text: &str, base: usize, chunk: &Chunk) -> (String, Vec<usize>) {
    let mut out = String::with_capacity(text.len() + chunk.patches.len());
    let mut inserted = vec![];
    let mut done = 0;
    for p in &chunk.patches {
        let at = (p.at as usize).saturating_sub(base).clamp(done, text.len());
        out.push_str(text.get(done..at).unwrap_or(""));
        done = at;
        if p.replace {
            done = (at + 1).min(text.len());
        } else {
            inserted.push(out.len());
        }
        out.push(p.with);
    }
    out.push_str(text.get(done..).unwrap_or(""));
    (out, inserted)
}

/// The pairs in a pair, to be taken from the front; words and punctuation left out.
pub(super) struct Parts<'i> {
    pairs: Pairs<'i, Rule>,
    punctuation: bool,
}

impl<'i> Parts<'i> {
    pub fn of(pair: Pair<'i, Rule>) -> Self {
        let mut parts = Parts { pairs: pair.into_inner(), punctuation: false };
        parts.pass();
        parts
    }

    /// With words and punctuation.
    pub fn all(pair: Pair<'i, Rule>) -> Self {
        Parts { pairs: pair.into_inner(), punctuation: true }
    }

    pub fn peek(&self) -> Option<Pair<'i, Rule>> {
        self.pairs.peek()
    }

    pub fn take(&mut self, rule: Rule) -> Option<Pair<'i, Rule>> {
        self.next_if(|p| p.as_rule() == rule)
    }

    pub fn next_if(&mut self, is: impl Fn(&Pair<'i, Rule>) -> bool) -> Option<Pair<'i, Rule>> {
        if self.pairs.peek().is_some_and(|p| is(&p)) { self.next() } else { None }
    }

    fn pass(&mut self) {
        while !self.punctuation && self.pairs.peek().is_some_and(|p| is_punctuation(p.as_rule())) {
            self.pairs.next();
        }
    }
}

impl<'i> Iterator for Parts<'i> {
    type Item = Pair<'i, Rule>;

    fn next(&mut self) -> Option<Pair<'i, Rule>> {
        let pair = self.pairs.next();
        self.pass();
        pair
    }
}

/// Rules that stand in the grammar for messages only: their presence follows from the pair around them.
/// Not `kw_shared`, which tells two fields apart.
fn is_punctuation(rule: Rule) -> bool {
    use Rule::*;
    matches!(
        rule,
        EOI | comma
            | colon
            | equals
            | arrow
            | left_arrow
            | open_brace
            | close_brace
            | close_paren
            | close_square
            | kw_as
            | kw_dataset
            | kw_device
            | kw_else
            | kw_expect
            | kw_fn
            | kw_for
            | kw_if
            | kw_in
            | kw_keep
            | kw_loss
            | kw_metric
            | kw_model
            | kw_on
            | kw_optimizer
            | kw_per
            | kw_scan
            | kw_schedule
            | kw_test
            | kw_train
            | kw_transfers
            | kw_updates
            | kw_use
            | kw_where
            | kw_while
    )
}
