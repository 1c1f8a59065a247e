//! Numbers, strings, dtypes and devices.

use mlc_diag::{Diagnostic, Span};
use mlc_ir::{DType, Device};
use pest::iterators::Pair;

use super::ast::*;
use super::grammar::Rule;
use super::parse::{Cx, Parts};

/// Units of memory sizes, in bytes.
const UNITS: [(&str, i64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

impl<'i> Cx<'i> {
    /// `Int`, `Float` or, reported, `Error`.
    pub(super) fn number(&mut self, pair: &Pair<'i, Rule>) -> ExprKind {
        let written = pair.as_str();
        let span = self.span(pair);
        let unit = UNITS.iter().find(|(name, _)| written.ends_with(name));
        let digits = unit.map_or(written, |(name, _)| &written[..written.len() - name.len()]);
        let plain = digits.replace('_', "");
        let whole = !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit());
        if whole {
            let value = plain.parse::<i64>().ok().and_then(|n| n.checked_mul(unit.map_or(1, |u| u.1)));
            return value.map(ExprKind::Int).unwrap_or_else(|| {
                self.bad_number(
                    span,
                    format!("`{written}` is too large"),
                    format!("the largest integer is {}", i64::MAX),
                )
            });
        }
        match plain.parse::<f64>() {
            Ok(value) if value.is_finite() && is_decimal(&plain) => match unit {
                // `1.5GiB`
                Some((_, bytes)) => ExprKind::Int((value * *bytes as f64) as i64),
                None => ExprKind::Float(value),
            },
            Ok(value) if !value.is_finite() && is_decimal(&plain) => self.bad_number(
                span,
                format!("`{written}` is too large"),
                format!("the largest number is {:e}", f64::MAX),
            ),
            _ => {
                self.bad_number(span, format!("`{written}` is not a number"), "no such number or unit".into())
            }
        }
    }

    fn bad_number(&mut self, span: Span, title: String, label: String) -> ExprKind {
        let d = Diagnostic::error("E0105", title).label(span, label).hint(
            "numbers are written 42, 100_000, 0.5 and 1e-4, memory sizes 64KiB, 16MiB and 2GiB; \
             a product has its `*`, and names begin with a letter",
        );
        self.report(d);
        ExprKind::Error
    }

    pub(super) fn string_part(&mut self, parts: &mut Parts<'i>, span: Span) -> Str {
        match parts.take(Rule::string) {
            Some(pair) => self.string(&pair),
            None => Str { parts: vec![], span },
        }
    }

    /// Resolves escapes and splits out `{name}`.
    pub(super) fn string(&mut self, pair: &Pair<'i, Rule>) -> Str {
        let span = self.span(pair);
        let written = pair.as_str();
        let inner = written.strip_prefix('"').and_then(|s| s.strip_suffix('"')).unwrap_or("");
        let mut parts = vec![];
        let mut text = String::new();
        let mut chars = inner.char_indices();
        while let Some((i, c)) = chars.next() {
            let at =
                |from: usize, to: usize| (pair.as_span().start() + 1 + from, pair.as_span().start() + 1 + to);
            match c {
                '\\' => {
                    let escaped = chars.next().map_or(' ', |(_, e)| e);
                    match escape(escaped) {
                        Some(c) => text.push(c),
                        None => self.bad_escape(at(i, i + 1 + escaped.len_utf8()), escaped),
                    }
                }
                '{' => {
                    let rest = &inner[i + 1..];
                    let len = rest.find('}').unwrap_or(0);
                    let name = rest[..len].trim();
                    if !is_name(name) {
                        self.bad_interpolation(at(i, (i + len + 2).min(inner.len())));
                        continue;
                    }
                    let start = i + 1 + (rest.len() - rest.trim_start().len());
                    let (from, to) = at(start, start + name.len());
                    let name = Name { text: name.to_owned(), span: self.span_between(from, to) };
                    if !text.is_empty() {
                        parts.push(StrPart::Text(std::mem::take(&mut text)));
                    }
                    parts.push(StrPart::Name(name));
                    // Up to and with the brace.
                    for _ in rest[..=len].chars() {
                        chars.next();
                    }
                }
                c => text.push(c),
            }
        }
        if !text.is_empty() {
            parts.push(StrPart::Text(text));
        }
        Str { parts, span }
    }

    fn bad_escape(&mut self, (from, to): (usize, usize), c: char) {
        let d = Diagnostic::error("E0106", format!("`\\{c}` is no escape"))
            .label(self.span_between(from, to), "unknown escape")
            .hint("there are \\n \\t \\\" \\\\ \\{ and \\}");
        self.report(d);
    }

    fn bad_interpolation(&mut self, (from, to): (usize, usize)) {
        let d = Diagnostic::error("E0106", "only a name may stand in braces in a string")
            .label(self.span_between(from, to), "expected `{name}`")
            .hint("bind the value to a name first; for a plain brace write `\\{`");
        self.report(d);
    }

    pub(super) fn dtype_part(&mut self, parts: &mut Parts<'i>, span: Span) -> (DType, Span) {
        let pair = parts.take(Rule::dtype);
        let span = pair.as_ref().map_or(span, |p| self.span(p));
        (pair.and_then(|p| p.as_str().parse().ok()).unwrap_or(DType::F32), span)
    }

    pub(super) fn device(&mut self, pair: &Pair<'i, Rule>) -> (Device, Span) {
        let span = self.span(pair);
        let device = pair.as_str().parse().unwrap_or_else(|why: String| {
            self.report(Diagnostic::error("E0105", why).label(span, "the index is too large"));
            Device::CPU
        });
        (device, span)
    }

    pub(super) fn device_part(&mut self, parts: &mut Parts<'i>, span: Span) -> (Device, Span) {
        match parts.take(Rule::device_literal) {
            Some(pair) => self.device(&pair),
            None => (Device::CPU, span),
        }
    }
}

/// Digits, a point and an exponent only: no `inf`, `nan` or hexadecimal.
fn is_decimal(s: &str) -> bool {
    s.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
}

fn is_name(s: &str) -> bool {
    s.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn escape(c: char) -> Option<char> {
    Some(match c {
        'n' => '\n',
        't' => '\t',
        '"' | '\\' | '{' | '}' => c,
        _ => return None,
    })
}
