//! Blocks and statements: pairs of the grammar to AST.

use mlc_diag::{Diagnostic, Span};
use pest::iterators::Pair;

use super::ast::*;
use super::explain;
use super::grammar::Rule;
use super::parse::{Cx, Parts};

impl<'i> Cx<'i> {
    pub(super) fn block_part(&mut self, parts: &mut Parts<'i>, span: Span) -> Block {
        match parts.take(Rule::block) {
            Some(pair) => self.block(pair),
            None => Block { stmts: vec![], span },
        }
    }

    fn block(&mut self, pair: Pair<'i, Rule>) -> Block {
        let span = self.span(&pair);
        let stmts = Parts::of(pair).map(|s| self.stmt(s)).collect();
        Block { stmts, span }
    }

    fn stmt(&mut self, pair: Pair<'i, Rule>) -> Stmt {
        let span = self.span(&pair);
        if explain::broken(self, &pair) {
            return Stmt { kind: self.broken_stmt(&pair, span), span };
        }
        let mut expect = false;
        let (mut left, mut ty, mut op, mut value) = (vec![], None, None, None);
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::kw_expect => expect = true,
                Rule::type_ => ty = Some(self.ty(part)),
                Rule::equals | Rule::left_arrow => op = Some((part.as_rule(), self.span(&part))),
                Rule::expr if op.is_some() => value = Some(self.expr(part)),
                Rule::expr => left.push(self.expr(part)),
                _ => {}
            }
        }
        let kind = match (op, value) {
            (Some((rule, op_span)), Some(value)) => self.assignment(left, ty, rule, op_span, value),
            _ => self.plain(left, ty, expect),
        };
        Stmt { kind: kind.unwrap_or(StmtKind::Error), span }
    }

    /// What could not be read still binds its names.
    fn broken_stmt(&self, pair: &Pair<'i, Rule>, span: Span) -> StmtKind {
        let place = |name: Name| Place { span: name.span, name, path: vec![], index: vec![] };
        let targets: Vec<Place> = explain::bound_names(self, pair).into_iter().map(place).collect();
        match targets.is_empty() {
            true => StmtKind::Error,
            false => StmtKind::Assign { targets, ty: None, value: Expr { kind: ExprKind::Error, span } },
        }
    }

    /// A statement without `=` or `<-`.
    fn plain(&mut self, mut left: Vec<Expr>, ty: Option<Type>, expect: bool) -> Option<StmtKind> {
        if let Some(ty) = ty {
            self.report(
                Diagnostic::error("E0101", "a name with a type needs a value")
                    .label(ty.span, "expected `=` and a value after this type"),
            );
            return None;
        }
        let all = left.first()?.span.to(left.last()?.span);
        if left.len() > 1 {
            self.report(
                Diagnostic::error("E0101", "values with commas between them need parentheses")
                    .label(all, "not a statement")
                    .hint("write `(a, b)` for a tuple, or `a, b = ..` to bind names"),
            );
            return None;
        }
        let expr = left.pop()?;
        Some(if expect { StmtKind::Expect(expr) } else { StmtKind::Expr(expr) })
    }

    fn assignment(
        &mut self,
        left: Vec<Expr>,
        ty: Option<Type>,
        rule: Rule,
        op_span: Span,
        value: Expr,
    ) -> Option<StmtKind> {
        let mut targets = vec![];
        for expr in left {
            targets.push(self.place(expr, op_span)?);
        }
        if rule == Rule::equals {
            return Some(StmtKind::Assign { targets, ty, value });
        }
        let target = targets.pop()?;
        if let Some(first) = targets.first() {
            self.report(
                Diagnostic::error("E0109", "`<-` writes one state at a time")
                    .label(op_span, "several places stand before this")
                    .label(first.span, "the first of them")
                    .hint("bind the values to names first, then write each with a `<-` of its own"),
            );
            return None;
        }
        if let Some(ty) = ty {
            self.report(
                Diagnostic::error("E0109", "a write to state takes no type")
                    .label(ty.span, "the state's declaration has its type"),
            );
            return None;
        }
        Some(StmtKind::Write { target, value })
    }

    /// An expression as a place to assign to: a name, then `.name`s, then at most one index.
    fn place(&mut self, expr: Expr, op_span: Span) -> Option<Place> {
        let span = expr.span;
        let (base, index) = match expr.kind {
            ExprKind::Index { base, items } => (*base, items),
            _ => (expr, vec![]),
        };
        let mut path = vec![];
        let mut at = base;
        loop {
            match at.kind {
                ExprKind::Field { base, name } => {
                    path.push(name);
                    at = *base;
                }
                ExprKind::Name(text) => {
                    path.reverse();
                    return Some(Place { name: Name { text, span: at.span }, path, index, span });
                }
                ExprKind::Error => return None,
                kind => {
                    let d = not_a_place(&kind, span, op_span);
                    self.report(d);
                    return None;
                }
            }
        }
    }
}

fn not_a_place(kind: &ExprKind, span: Span, op_span: Span) -> Diagnostic {
    let d = Diagnostic::error("E0109", "this cannot be assigned to")
        .label(span, "not a name, a member or an indexed value")
        .label(op_span, "assigned here");
    match kind {
        ExprKind::Binary { op, .. } if op.is_comparison() => d.hint("did you mean `==` instead of `=`?"),
        ExprKind::Tuple(_) => d.hint("write the names without parentheses: `a, b = ..`"),
        ExprKind::Index { .. } => {
            d.hint("bind the inner value to a name, then index that once: `row = x[i]`")
        }
        _ => d.hint("bind it to a name: `y = ..`"),
    }
}
