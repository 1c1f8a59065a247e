//! What the grammar did not expect, in words.
//!
//! Pest tells how far it came and which rules it tried there. Here that becomes one sentence with what
//! was found and what may stand there. [`super::habits`] knows what people coming from other
//! languages meant.

use mlc_diag::{Diagnostic, Span};
use pest::Parser as _;
use pest::error::{Error, ErrorVariant, InputLocation};
use pest::iterators::Pair;

use super::ast::Name;
use super::grammar::{Grammar, Rule};
use super::habits;
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
    let d = match cx.keeps_more().then(|| Grammar::parse(alone, pair.as_str())) {
        Some(Err(e)) => syntax_error(cx, &e, start, pair.as_str()),
        // Alone it can be read, so what follows it is wrong.
        Some(Ok(_)) => unexpected(cx, pair.as_span().end(), &[Rule::EOI]),
        None => Diagnostic::error("E0101", "unexpected text").label(cx.span(pair), ""),
    };
    cx.report(d);
    true
}

/// The names that a broken line would have bound: what uses them is no mistake of its own.
pub(super) fn bound_names<'i>(cx: &Cx<'i>, pair: &Pair<'i, Rule>) -> Vec<Name> {
    let start = cx.position(pair.as_span().start()) as u32;
    let first = cx.tokens.partition_point(|t| t.start < start);
    let mut names = vec![];
    for pair in cx.tokens[first..].chunks(2) {
        let [name, sign] = pair else { break };
        if name.kind != TokenKind::Word {
            break;
        }
        names.push(Name { text: name.text(cx.text).to_owned(), span: name.span(cx.source) });
        match sign.text(cx.text) {
            "," => {}
            "=" | ":" => return names,
            _ => break,
        }
    }
    vec![]
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

/// Something after a whole item, on its line. The item itself may be what is broken (`x = f(,)` is `x = f`
/// and more), so it is read again with nothing after it.
pub(super) fn after_item<'i>(cx: &Cx<'i>, junk: &Pair<'i, Rule>) -> Diagnostic {
    let text = junk.as_span().get_input();
    match Grammar::parse(Rule::whole_item, text) {
        Err(e) => syntax_error(cx, &e, 0, text),
        Ok(_) => unexpected(cx, junk.as_span().start(), &[Rule::EOI]),
    }
}

/// The tokens around a mistake.
pub(super) struct Around<'i> {
    text: &'i str,
    /// Up to the mistake, on its line and back to its statement's beginning.
    line: &'i [Token],
    /// What was not expected; `None` at the end of the file.
    pub found: Option<Token>,
    /// What follows that.
    pub next: Option<Token>,
    pub expected: &'i [Rule],
}

impl Around<'_> {
    pub fn text_of(&self, token: Option<Token>) -> &str {
        token.map_or("", |t| t.text(self.text))
    }

    pub fn found(&self) -> &str {
        self.text_of(self.found)
    }

    pub fn next(&self) -> &str {
        self.text_of(self.next)
    }

    /// The word or sign before what was found, on its line.
    pub fn before(&self) -> &str {
        self.text_of(self.line.last().copied())
    }

    /// The first word of the statement, and how many tokens it and what follows are before the mistake.
    pub fn first(&self) -> (&str, usize) {
        (self.text_of(self.line.first().copied()), self.line.len())
    }

    /// The word or sign at this place of the line so far.
    pub fn line_text(&self, at: usize) -> Option<&str> {
        self.line.get(at).map(|t| t.text(self.text))
    }

    pub fn first_token(&self) -> Option<Token> {
        self.line.first().copied()
    }

    /// Whether the line so far has this word or sign.
    pub fn line_has(&self, word: &str) -> bool {
        self.line.iter().any(|t| t.text(self.text) == word)
    }

    /// Nothing stands between the token before and what was found.
    pub fn touches(&self) -> bool {
        matches!((self.line.last(), self.found), (Some(a), Some(b)) if a.end == b.start)
    }

    /// What was found and the sign that it touches, as one.
    pub fn touching(&self) -> &str {
        match (self.found, self.next) {
            (Some(a), Some(b)) if a.end == b.start => {
                self.text.get(a.start as usize..b.end as usize).unwrap_or("")
            }
            _ => "",
        }
    }

    /// The sign before what was found follows a number.
    pub fn touches_number(&self) -> bool {
        matches!(self.line, [.., number, _] if number.kind == TokenKind::Number)
    }

    pub fn expects(&self, rule: Rule) -> bool {
        self.expected.contains(&rule)
    }

    /// An operand stands before: an operator could follow.
    pub fn after_operand(&self) -> bool {
        self.expects(Rule::op_add) || self.expects(Rule::op_pow)
    }
}

/// How many tokens before a mistake are looked at.
const LOOK_BACK: usize = 200;

fn unexpected(cx: &Cx<'_>, at: usize, expected: &[Rule]) -> Diagnostic {
    let at = cx.position(at) as u32;
    let i = cx.tokens.partition_point(|t| t.end <= at);
    let mut ahead =
        cx.tokens[i..].iter().filter(|t| !matches!(t.kind, TokenKind::Comment | TokenKind::Doc)).copied();
    let (found, next) = (ahead.next(), ahead.next());
    let before = &cx.tokens[i.saturating_sub(LOOK_BACK)..i];
    let starts = |t: &Token| t.kind == TokenKind::Newline || matches!(t.text(cx.text), ";" | "{" | "}");
    let line = &before[before.iter().rposition(starts).map_or(0, |n| n + 1)..];
    let around = Around { text: cx.text, line, found, next, expected };
    let span = match (found, before.iter().rfind(|t| t.is_real())) {
        (Some(t), _) if t.is_real() => t.span(cx.source),
        // At a line's end point behind the last thing on it.
        (_, Some(t)) => Span { source: cx.source, start: t.end, end: t.end },
        _ => Span { source: cx.source, start: at, end: at },
    };
    if let Some(d) = habits::recognise(&around, span, cx) {
        return d;
    }
    let what = describe(&around);
    let wanted = wanted(&around);
    let d = match wanted.is_empty() {
        true => Diagnostic::error("E0101", format!("unexpected {what}")).label(span, "not expected here"),
        false => Diagnostic::error("E0101", format!("expected {wanted}, found {what}"))
            .label(span, format!("expected {wanted}")),
    };
    match habits::hint(&around) {
        Some(hint) => d.hint(hint),
        None => d,
    }
}

/// What was found, for a sentence.
pub(super) fn describe(around: &Around<'_>) -> String {
    let Some(token) = around.found else { return "the end of the file".to_owned() };
    match token.kind {
        TokenKind::Newline => "the end of the line".to_owned(),
        TokenKind::Str | TokenKind::OpenStr => "a string".to_owned(),
        // Runs of garbage can be long.
        _ => match around.found().char_indices().nth(30) {
            Some((cut, _)) => format!("`{}...`", &around.found()[..cut]),
            None => format!("`{}`", around.found()),
        },
    }
}

/// What may stand there: `a name`, `` `,` or `)` ``; empty where the rules tell nothing useful.
fn wanted(around: &Around<'_>) -> String {
    let any = |rules: &[Rule]| rules.iter().any(|r| around.expects(*r));
    if any(&[Rule::lone_item, Rule::whole_item]) {
        return "an item: `model`, `fn`, `dataset`, `optimizer`, `schedule`, `train`, `test`, `use`, `device` or a binding"
            .to_owned();
    }
    let mut words: Vec<&str> = vec![];
    let mut add = |word| {
        if !words.contains(&word) {
            words.push(word);
        }
    };
    let expression = any(&[Rule::expr, Rule::number, Rule::tuple, Rule::list]);
    if expression {
        add("an expression");
    }
    for rule in around.expected {
        match word(*rule) {
            Some("a name" | "a string" | "a dtype" | "a device" | "a number") if expression => {}
            Some(word) => add(word),
            None => {}
        }
    }
    if around.after_operand() {
        after_operand(&mut words);
    }
    // `model {`: a binding could have this name too, but is not what was meant.
    if words.contains(&"a name") {
        words.retain(|w| !matches!(*w, "`:`" | "`=`"));
    }
    list(&words)
}

/// After an operand many things may follow; keep those that say what the brackets around it want.
fn after_operand(words: &mut Vec<&str>) {
    let closes = |w: &&str| matches!(*w, "`)`" | "`]`" | "`{`" | "`in`");
    if words.iter().any(&closes) {
        words.retain(|w| closes(w) || *w == "`,`");
    } else if words.contains(&"the end of the line") {
        *words = vec!["an operator", "the end of the line"];
    }
}

fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [head @ .., last] if head.len() < 5 => format!("{} or {last}", head.join(", ")),
        _ => String::new(),
    }
}

/// What a rule is called in messages; `None` for what goes without saying.
fn word(rule: Rule) -> Option<&'static str> {
    use Rule::*;
    Some(match rule {
        name | word | names => "a name",
        string => "a string",
        number => "a number",
        dtype => "a dtype",
        device_literal => "a device",
        expr => "an expression",
        type_ | tensor_type | tuple_type | list_type | named_type => "a type",
        params => "`(`",
        block | open_brace => "`{`",
        close_brace => "`}`",
        close_paren => "`)`",
        close_square => "`]`",
        comma => "`,`",
        colon => "`:`",
        equals => "`=`",
        left_arrow => "`<-`",
        returns | arrow => "`->`",
        kw_in => "`in`",
        kw_as => "`as`",
        kw_per => "`per`",
        op_le => "`<=`",
        transfers_mode => "`explicit`",
        updates | kw_updates => "`updates`",
        method => "a method",
        lone_stmt => "a statement",
        lone_model_member => "a submodel, `param`, `buffer` or method",
        lone_dataset_member => "a field",
        lone_optimizer_member => "`state` or a method",
        lone_train_member => "a binding, `fn`, `loss` or `metric`",
        EOI => "the end of the line",
        _ => return None,
    })
}
