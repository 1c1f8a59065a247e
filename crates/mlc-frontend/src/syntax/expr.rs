//! Expressions: the grammar's flat rows of operands and operators to trees.
//!
//! Precedence, low to high: `..`; `or`; `and`; `not`; comparisons; `+ -`; `* @ / %`; unary `-`; `**`
//! (to the right); then calls, indices, `.name` and `on device`. So `-x ** 2` is `-(x ** 2)`, `2 ** -1`
//! is legal and `not a == b` is `not (a == b)`. Comparisons and ranges do not chain.

use mlc_diag::{Diagnostic, Span};
use pest::iterators::Pair;

use super::ast::*;
use super::grammar::Rule;
use super::parse::{Cx, Parts};

/// How strongly an operator binds.
const RANGE: u8 = 1;
const OR: u8 = 2;
const AND: u8 = 3;
const NOT: u8 = 4;
const COMPARISON: u8 = 5;
const SUM: u8 = 6;
const PRODUCT: u8 = 7;
const NEGATION: u8 = 8;
const POWER: u8 = 9;

/// What an infix token is; `None` is the range.
fn infix(rule: Rule) -> Option<(Option<BinaryOp>, u8)> {
    Some(match rule {
        Rule::op_range => (None, RANGE),
        Rule::kw_or => (Some(BinaryOp::Or), OR),
        Rule::kw_and => (Some(BinaryOp::And), AND),
        Rule::op_eq => (Some(BinaryOp::Eq), COMPARISON),
        Rule::op_ne => (Some(BinaryOp::Ne), COMPARISON),
        Rule::op_lt => (Some(BinaryOp::Lt), COMPARISON),
        Rule::op_le => (Some(BinaryOp::Le), COMPARISON),
        Rule::op_gt => (Some(BinaryOp::Gt), COMPARISON),
        Rule::op_ge => (Some(BinaryOp::Ge), COMPARISON),
        Rule::op_add => (Some(BinaryOp::Add), SUM),
        Rule::op_sub => (Some(BinaryOp::Sub), SUM),
        Rule::op_mul => (Some(BinaryOp::Mul), PRODUCT),
        Rule::op_matmul => (Some(BinaryOp::MatMul), PRODUCT),
        Rule::op_div => (Some(BinaryOp::Div), PRODUCT),
        Rule::op_rem => (Some(BinaryOp::Rem), PRODUCT),
        Rule::op_pow => (Some(BinaryOp::Pow), POWER),
        _ => return None,
    })
}

impl<'i> Cx<'i> {
    /// An `expr` pair.
    pub(super) fn expr(&mut self, pair: Pair<'i, Rule>) -> Expr {
        let span = self.span(&pair);
        let mut row = Parts::all(pair);
        self.climb(&mut row, RANGE).unwrap_or(Expr { kind: ExprKind::Error, span })
    }

    /// The expression that the row begins with, as far as operators bind at least as `min`.
    fn climb(&mut self, row: &mut Parts<'i>, min: u8) -> Option<Expr> {
        let mut lhs = self.operand(row, min)?;
        // The last operator at this level that does not chain.
        let mut compared: Option<(u8, Span)> = None;
        while let Some((op, level)) = row.peek().and_then(|p| infix(p.as_rule())).filter(|(_, l)| *l >= min) {
            let Some(op_pair) = row.next() else { break };
            let op_span = self.span(&op_pair);
            let rhs_min = if level == POWER { NEGATION } else { level + 1 };
            let rhs = self.climb(row, rhs_min)?;
            if matches!(level, RANGE | COMPARISON) {
                match compared.replace((level, op_span)) {
                    Some((l, first)) if l == level => {
                        self.chained(level, first, op_span);
                        lhs = Expr { span: lhs.span.to(rhs.span), kind: ExprKind::Error };
                        continue;
                    }
                    _ => {}
                }
            }
            let span = lhs.span.to(rhs.span);
            let (lhs_box, rhs) = (Box::new(lhs), Box::new(rhs));
            let kind = match op {
                Some(op) => ExprKind::Binary { op, op_span, lhs: lhs_box, rhs },
                None => ExprKind::Range { start: lhs_box, end: rhs },
            };
            lhs = Expr { kind, span };
        }
        Some(lhs)
    }

    fn chained(&mut self, level: u8, first: Span, second: Span) {
        let d = if level == RANGE {
            Diagnostic::error("E0107", "ranges do not chain")
                .label(second, "a second `..`")
                .label(first, "the first one")
                .hint("a range has a start and an end: `0..n`")
        } else {
            Diagnostic::error("E0107", "comparisons do not chain")
                .label(second, "compares the result of a comparison")
                .label(first, "the first comparison")
                .hint("join two comparisons with `and` (`a < b and b < c`), or use parentheses")
        };
        self.report(d);
    }

    /// A prefix operator with what it applies to, or a primary with its postfixes.
    fn operand(&mut self, row: &mut Parts<'i>, min: u8) -> Option<Expr> {
        let pair = row.next()?;
        let (op, level) = match pair.as_rule() {
            Rule::op_neg => (UnaryOp::Neg, NEGATION),
            Rule::kw_not => (UnaryOp::Not, NOT),
            _ => return Some(self.postfixed(pair, row)),
        };
        let op_span = self.span(&pair);
        if op == UnaryOp::Not && min > NOT {
            self.report(
                Diagnostic::error("E0101", "`not` needs parentheses here")
                    .label(op_span, "binds less than the operator before it")
                    .hint("write `(not x)`"),
            );
        }
        let operand = self.climb(row, level)?;
        let span = op_span.to(operand.span);
        Some(Expr { kind: ExprKind::Unary { op, operand: Box::new(operand) }, span })
    }

    fn postfixed(&mut self, primary: Pair<'i, Rule>, row: &mut Parts<'i>) -> Expr {
        let mut expr = self.primary(primary);
        while let Some(pair) = row.next_if(is_postfix) {
            let span = expr.span.to(self.span(&pair));
            let base = Box::new(expr);
            let rule = pair.as_rule();
            let mut parts = Parts::of(pair);
            let kind = match rule {
                Rule::call => ExprKind::Call { callee: base, args: self.args(parts) },
                Rule::index => ExprKind::Index { base, items: parts.map(|p| self.index_item(p)).collect() },
                Rule::dot => {
                    let name = self.name_part(&mut parts, span);
                    // What follows `self.` is what was meant.
                    match self.refuse_self(&base) {
                        true => ExprKind::Name(name.text),
                        false => ExprKind::Field { base, name },
                    }
                }
                _ => ExprKind::On { value: base, device: self.device_ref(&mut parts, span) },
            };
            expr = Expr { kind, span };
        }
        expr
    }

    fn refuse_self(&mut self, base: &Expr) -> bool {
        let refused = matches!(&base.kind, ExprKind::Name(n) if n == "self");
        if refused {
            self.report(
                Diagnostic::error("E0108", "there is no `self`")
                    .label(base.span, "not needed here")
                    .hint("members are in scope by their names: `fc1(x)`, not `self.fc1(x)`"),
            );
        }
        refused
    }

    fn args(&mut self, parts: Parts<'i>) -> Vec<Arg> {
        parts.map(|p| self.arg(p)).collect()
    }

    /// A `named_arg`, or an `expr`.
    pub(super) fn arg(&mut self, pair: Pair<'i, Rule>) -> Arg {
        if pair.as_rule() != Rule::named_arg {
            let value = self.expr(pair);
            return Arg { name: None, span: value.span, value };
        }
        let span = self.span(&pair);
        let parts = &mut Parts::of(pair);
        let name = self.name_part(parts, span);
        let value = self.try_expr(parts).unwrap_or(Expr { kind: ExprKind::Error, span });
        Arg { name: Some(name), value, span }
    }

    fn index_item(&mut self, pair: Pair<'i, Rule>) -> IndexItem {
        let span = self.span(&pair);
        let mut bounds = [None, None, None];
        let mut colons = 0;
        for part in Parts::all(pair) {
            match part.as_rule() {
                Rule::rest_index => return IndexItem { kind: IndexKind::Rest, span },
                Rule::colon => colons += 1,
                _ => {
                    let value = self.expr(part);
                    if let Some(bound) = bounds.get_mut(colons) {
                        *bound = Some(value);
                    }
                }
            }
        }
        let [start, end, step] = bounds;
        let kind = match (colons, start) {
            (0, Some(Expr { kind: ExprKind::None, .. })) => IndexKind::NewAxis,
            (0, Some(at)) => IndexKind::At(at),
            (_, start) => IndexKind::Slice { start, end, step },
        };
        IndexItem { kind, span }
    }

    fn device_ref(&mut self, parts: &mut Parts<'i>, span: Span) -> DeviceRef {
        match parts.take(Rule::device_literal) {
            Some(pair) => {
                let (device, span) = self.device(&pair);
                DeviceRef::Literal(device, span)
            }
            None => DeviceRef::Name(self.name_part(parts, span)),
        }
    }

    fn primary(&mut self, pair: Pair<'i, Rule>) -> Expr {
        let span = self.span(&pair);
        let rule = pair.as_rule();
        let kind = match rule {
            Rule::name => self.name_expr(pair.as_str(), span),
            Rule::number => self.number(&pair),
            Rule::string => ExprKind::Str(self.string(&pair)),
            Rule::boolean => ExprKind::Bool(pair.as_str() == "true"),
            Rule::none => ExprKind::None,
            Rule::device_literal => ExprKind::Device(self.device(&pair).0),
            Rule::tensor_type => ExprKind::Type(self.tensor_type(pair)),
            Rule::list => self.list(pair),
            Rule::tuple => self.tuple(pair),
            Rule::if_expr => self.if_expr(pair, span),
            _ => self.block_expr(rule, &mut Parts::of(pair), span),
        };
        Expr { kind, span }
    }

    fn name_expr(&mut self, text: &str, span: Span) -> ExprKind {
        if let "True" | "False" = text {
            let lower = text.to_ascii_lowercase();
            self.report(
                Diagnostic::error("E0108", format!("`{text}` is written `{lower}`"))
                    .label(span, "no such name")
                    .hint(format!("write `{lower}`")),
            );
            return ExprKind::Bool(text == "True");
        }
        ExprKind::Name(text.to_owned())
    }

    fn tuple(&mut self, pair: Pair<'i, Rule>) -> ExprKind {
        let (mut elements, mut trailing) = (vec![], false);
        for part in Parts::of(pair) {
            match part.as_rule() {
                Rule::trailing_comma => trailing = true,
                _ => elements.push(self.expr(part)),
            }
        }
        match elements.pop() {
            Some(only) if elements.is_empty() && !trailing => only.kind,
            last => ExprKind::Tuple(elements.into_iter().chain(last).collect()),
        }
    }

    fn list(&mut self, pair: Pair<'i, Rule>) -> ExprKind {
        let (mut entries, mut comprehension) = (vec![], None);
        for part in Parts::of(pair) {
            let parts = &mut Parts::of(part.clone());
            if part.as_rule() == Rule::comprehension {
                let (names, iter) = (self.names(parts), self.try_expr(parts));
                comprehension = Some((names, iter, self.try_expr(parts)));
            } else {
                entries.push((self.try_expr(parts), self.try_expr(parts)));
            }
        }
        if let Some((names, Some(iter), cond)) = comprehension {
            return match entries.pop() {
                Some((Some(element), None)) => {
                    ExprKind::ListFor(Box::new(ListFor { element, names, iter, cond }))
                }
                Some((Some(key), Some(_))) => {
                    self.mixed_map(key.span, "an entry of a path map in a comprehension")
                }
                _ => ExprKind::Error,
            };
        }
        if entries.iter().any(|(_, value)| value.is_some()) {
            return self.path_map(entries);
        }
        ExprKind::List(entries.into_iter().filter_map(|(e, _)| e).collect())
    }

    /// Keys without a value of their own share the next entry's.
    fn path_map(&mut self, entries: Vec<(Option<Expr>, Option<Expr>)>) -> ExprKind {
        let mut map = vec![];
        let mut keys: Vec<Str> = vec![];
        for (key, value) in entries {
            let Some(key) = key else { continue };
            match key.kind {
                ExprKind::Str(s) => keys.push(s),
                ExprKind::Error => return ExprKind::Error,
                _ => return self.mixed_map(key.span, "not a string"),
            }
            if let Some(value) = value {
                let first = keys.first().map_or(key.span, |k| k.span);
                map.push(PathEntry { keys: std::mem::take(&mut keys), span: first.to(value.span), value });
            }
        }
        match keys.last() {
            Some(key) => self.mixed_map(key.span, "this key has no value"),
            None => ExprKind::PathMap(map),
        }
    }

    fn mixed_map(&mut self, span: Span, label: &str) -> ExprKind {
        self.report(
            Diagnostic::error(
                "E0110",
                "a list with `:` in it is a path map: each entry is `\"glob\": value`",
            )
            .label(span, label)
            .hint("write every entry as `\"glob\": value`, or `\"a\", \"b\": value` where globs share one"),
        );
        ExprKind::Error
    }

    fn if_expr(&mut self, pair: Pair<'i, Rule>, span: Span) -> ExprKind {
        let mut parts = Parts::of(pair);
        let mut branches = vec![];
        while let Some(cond) = self.try_expr(&mut parts) {
            branches.push(Branch { cond, body: self.block_part(&mut parts, span) });
        }
        let otherwise = matches!(parts.peek(), Some(p) if p.as_rule() == Rule::block);
        let otherwise = otherwise.then(|| self.block_part(&mut parts, span));
        ExprKind::If { branches, otherwise }
    }

    /// `for`, `scan`, `while`, `on`, `keep`.
    fn block_expr(&mut self, rule: Rule, parts: &mut Parts<'i>, span: Span) -> ExprKind {
        let missing = || Box::new(Expr { kind: ExprKind::Error, span });
        let names = self.names(parts);
        match rule {
            Rule::for_expr => {
                let iter = self.try_expr(parts).map_or_else(missing, Box::new);
                ExprKind::For { names, iter, body: self.block_part(parts, span) }
            }
            Rule::scan_expr => {
                let iter = self.try_expr(parts).map_or_else(missing, Box::new);
                let options = self.options(parts);
                ExprKind::Scan { names, iter, options, body: self.block_part(parts, span) }
            }
            Rule::while_expr => {
                let cond = self.try_expr(parts).map_or_else(missing, Box::new);
                let options = self.options(parts);
                ExprKind::While { cond, options, body: self.block_part(parts, span) }
            }
            Rule::on_block => {
                let device = self.device_ref(parts, span);
                ExprKind::OnBlock { device, body: self.block_part(parts, span) }
            }
            Rule::keep_block => {
                let (dtype, dtype_span) = self.dtype_part(parts, span);
                ExprKind::Keep { dtype, dtype_span, body: self.block_part(parts, span) }
            }
            _ => ExprKind::Error,
        }
    }

    fn options(&mut self, parts: &mut Parts<'i>) -> Vec<Arg> {
        let mut options = vec![];
        while let Some(pair) = parts.take(Rule::named_arg) {
            options.push(self.arg(pair));
        }
        options
    }

    fn names(&mut self, parts: &mut Parts<'i>) -> Vec<Name> {
        parts.take(Rule::names).into_iter().flat_map(Parts::of).map(|n| self.name(&n)).collect()
    }
}

fn is_postfix(pair: &Pair<'_, Rule>) -> bool {
    matches!(pair.as_rule(), Rule::call | Rule::index | Rule::dot | Rule::on_device)
}
