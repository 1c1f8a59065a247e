//! What the grammar did not expect, in words.
//!
//! Pest tells how far it came and which rules it tried there. Here that becomes one sentence with what
//! was found, what may stand there, and a hint for habits from other languages.

use mlc_diag::{Diagnostic, Span};
use pest::Parser as _;
use pest::error::{Error, ErrorVariant, InputLocation};
use pest::iterators::Pair;

use super::grammar::{Grammar, Rule};
use super::parse::Cx;
use super::scan::{Token, TokenKind};

/// If `pair` is a broken line, says why. Its text is read again alone: the whole file's error would
/// be about the furthest mistake only.
pub(super) fn broken<'i>(cx: &mut Cx<'i>, pair: &Pair<'i, Rule>) -> bool {
    let alone = match pair.as_rule() {
        Rule::broken_model_member => Rule::lone_model_member,
        Rule::broken_dataset_member => Rule::lone_dataset_member,
        Rule::broken_optimizer_member => Rule::lone_optimizer_member,
        Rule::broken_train_member => Rule::lone_train_member,
        Rule::broken_stmt => Rule::lone_stmt,
        _ => return false,
    };
    let start = pair.as_span().start();
    let d = match Grammar::parse(alone, pair.as_str()) {
        _ if !cx.keeps_more() => unexpected(cx, start, &[]),
        Err(e) => syntax_error(cx, &e, start, pair.as_str()),
        Ok(_) => unexpected(cx, pair.as_span().end(), &[]),
    };
    cx.report(d);
    true
}

/// The diagnostic of a failed parse of `text`, which begins at `offset` of what the grammar reads.
pub(super) fn syntax_error(cx: &Cx<'_>, e: &Error<Rule>, offset: usize, text: &str) -> Diagnostic {
    let at = match e.location {
        InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
    };
    // The grammar stops before blanks as often as after them.
    let rest = text.get(at..).unwrap_or("");
    let at = at + (rest.len() - rest.trim_start_matches([' ', '\t', '\r']).len());
    let expected = match &e.variant {
        ErrorVariant::ParsingError { positives, .. } => positives.as_slice(),
        ErrorVariant::CustomError { .. } => &[],
    };
    unexpected(cx, offset + at, expected)
}

/// Something after a whole item, on its line.
pub(super) fn after_item(cx: &Cx<'_>, at: usize) -> Diagnostic {
    unexpected(cx, at, &[Rule::EOI])
}

/// The tokens around a mistake.
struct Around<'i> {
    before: Option<Token>,
    found: Option<Token>,
    text: &'i str,
}

impl Around<'_> {
    fn before(&self) -> &str {
        self.before.map_or("", |t| t.text(self.text))
    }

    fn found(&self) -> &str {
        self.found.map_or("", |t| t.text(self.text))
    }
}

fn unexpected(cx: &Cx<'_>, at: usize, expected: &[Rule]) -> Diagnostic {
    let at = cx.position(at) as u32;
    let i = cx.tokens.partition_point(|t| t.end <= at);
    let found =
        cx.tokens[i..].iter().find(|t| !matches!(t.kind, TokenKind::Comment | TokenKind::Doc)).copied();
    let before = cx.tokens[..i].iter().rfind(|t| t.is_real()).copied();
    let around = Around { before, found, text: cx.text };
    let span = match (found, before) {
        (Some(t), _) if t.is_real() => t.span(cx.source),
        // At a line's end point behind the last thing on it.
        (_, Some(t)) => Span { source: cx.source, start: t.end, end: t.end },
        _ => Span { source: cx.source, start: at, end: at },
    };
    let what = describe(&around);
    let wanted = wanted(expected);
    let title = if wanted.is_empty() {
        format!("unexpected {what}")
    } else {
        format!("expected {wanted}, found {what}")
    };
    let label = if wanted.is_empty() { "not expected here".to_owned() } else { format!("expected {wanted}") };
    let d = Diagnostic::error("E0101", title).label(span, label);
    d
}

fn describe(around: &Around<'_>) -> String {
    match around.found {
        None => "the end of the file".to_owned(),
        Some(t) => match t.kind {
            TokenKind::Newline => "the end of the line".to_owned(),
            TokenKind::Str | TokenKind::OpenStr => "a string".to_owned(),
            _ => format!("`{}`", around.found()),
        },
    }
}

fn wanted(_expected: &[Rule]) -> String {
    String::new()
}
