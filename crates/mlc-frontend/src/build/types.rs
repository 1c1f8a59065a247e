//! Type annotations: evaluated where all names are known, matched against values where they introduce
//! dim names.

use mlc_diag::{Diagnostic, Span};
use mlc_ir::types::{Fact, Proof, Relation, Shape};
use mlc_ir::{Dim, Type};

use super::env::{Env, Owner};
use super::fail::{Fail, R, error};
use super::files::FileId;
use super::interp::Interp;
use super::ops::relation;
use super::value::Value;
use crate::prelude;
use crate::syntax::ast::{self, BinaryOp, ExprKind, TypeKind};

impl<'a> Interp<'a> {
    /// A type literal all of whose names are known.
    pub fn tensor_type(&mut self, env: &mut Env<'a>, t: &'a ast::TensorType) -> R<Type> {
        let mut shape = Shape::new();
        for d in &t.dims {
            match d {
                ast::Dim::Rest(name) => shape.extend(self.rest_dims(env, name)?),
                ast::Dim::Expr(e) => {
                    let d = self.int_expr(env, e)?;
                    let fact = Fact { lhs: Dim::ZERO, rel: Relation::Le, rhs: d.clone(), span: e.span };
                    self.require_range(fact, |_| error("E0211", e.span, format!("a dim cannot be {d}")))?;
                    shape.push(d);
                }
            }
        }
        Ok(Type::new(t.dtype, shape))
    }

    fn rest_dims(&mut self, env: &Env<'a>, name: &ast::Name) -> R<Vec<Dim>> {
        match env.dim(&name.text) {
            Some(Value::List(items)) => items.iter().map(|v| self.to_dim(v, name.span)).collect(),
            _ => Err(error("E0301", name.span, format!("there are no dims `..{}` here", name.text))
                .hint("`..s` is introduced by the type of a parameter")
                .into()),
        }
    }

    /// Checks a value against an annotation whose names are known; without one it passes.
    pub fn check_annotation(
        &mut self,
        env: &mut Env<'a>,
        ty: Option<&'a ast::Type>,
        v: Value<'a>,
        span: Span,
    ) -> R<Value<'a>> {
        match ty {
            None => Ok(v),
            Some(ty) => self.match_type(env, ty, v, &Matching { what: "the value", span, introduce: false }),
        }
    }

    /// Matches a value against a type, introducing names where `m` allows it.
    pub fn match_type(
        &mut self,
        env: &mut Env<'a>,
        ty: &'a ast::Type,
        v: Value<'a>,
        m: &Matching<'_>,
    ) -> R<Value<'a>> {
        let v = self.read(v)?;
        let wrong = |cx: &Self, want: &str| -> Fail {
            let title = format!("{} must be {want}, this is {}", m.what, cx.text(&v));
            cx.label_type(error("E0305", m.span, title), ty.span, want).into()
        };
        match &ty.kind {
            TypeKind::Tensor(t) if t.dims.is_empty() => self.match_scalar(t, v, ty.span, m),
            TypeKind::Tensor(t) => self.match_tensor(env, t, v, ty.span, m),
            TypeKind::Int => match &v {
                Value::Int(_) => Ok(v),
                Value::Float(x) => {
                    let d = error("E0211", m.span, format!("{} must be an integer, this is {x:?}", m.what));
                    Err(d
                        .hint("write it without a point; a quotient of integers must come out exactly")
                        .into())
                }
                Value::Tensor(t) => {
                    let title = format!("{} must be known at compile time, this is {}", m.what, self.ty(*t));
                    Err(error("E0312", m.span, title)
                        .hint("`int` is a compile-time number; a run-time one is `i64`")
                        .into())
                }
                _ => Err(wrong(self, "an integer")),
            },
            TypeKind::Str if matches!(v, Value::Str(_)) => Ok(v),
            TypeKind::Str => Err(wrong(self, "a string")),
            TypeKind::Fn
                if matches!(v, Value::Fn(_) | Value::Builtin(_) | Value::Method(..) | Value::Instance(_)) =>
            {
                Ok(v)
            }
            TypeKind::Fn => Err(wrong(self, "a fn")),
            TypeKind::Model if matches!(v, Value::Model(_) | Value::Instance(_)) => Ok(v),
            TypeKind::Model => Err(wrong(self, "a model")),
            TypeKind::Tuple(types) => match &v {
                Value::Tuple(items) | Value::List(items) if items.len() == types.len() => {
                    let mut out = vec![];
                    for (t, v) in types.iter().zip(items.iter()) {
                        out.push(self.match_type(env, t, v.clone(), m)?);
                    }
                    Ok(Value::tuple(out))
                }
                Value::Tuple(items) => {
                    let title = format!("{} must be {} values, this is {}", m.what, types.len(), items.len());
                    Err(self.label_type(error("E0306", m.span, title), ty.span, "").into())
                }
                _ => Err(wrong(self, "a tuple")),
            },
            TypeKind::List(t) => match &v {
                Value::List(items) => {
                    let mut out = vec![];
                    for v in items.iter() {
                        out.push(self.match_type(env, t, v.clone(), m)?);
                    }
                    Ok(Value::list(out))
                }
                _ => Err(wrong(self, "a list")),
            },
            TypeKind::Named(n) => Err(unknown_type(n).into()),
        }
    }

    fn match_scalar(
        &mut self,
        t: &ast::TensorType,
        v: Value<'a>,
        at: Span,
        m: &Matching<'_>,
    ) -> R<Value<'a>> {
        let ok = match &v {
            Value::Int(_) => t.dtype.is_int() || t.dtype.is_float(),
            Value::Float(_) => t.dtype.is_float(),
            Value::Bool(_) => t.dtype == mlc_ir::DType::Bool,
            Value::Tensor(x) => {
                let have = self.ty(*x);
                have.rank() == 0 && have.dtype == t.dtype
            }
            _ => false,
        };
        if ok {
            return Ok(v);
        }
        let title = format!("{} must be {}, this is {}", m.what, t.dtype, self.text(&v));
        let code = if matches!(v, Value::Tensor(_)) { "E0203" } else { "E0305" };
        let mut d = self.label_type(error(code, m.span, title), at, &t.dtype.to_string());
        if let Value::Tensor(x) = &v {
            let have = self.ty(*x);
            d = match have.rank() {
                0 => d.hint(format!("cast it: `.cast({})`", t.dtype)),
                _ => d.hint("it takes one number: reduce or index the tensor first"),
            };
        }
        Err(d.into())
    }

    fn match_tensor(
        &mut self,
        env: &mut Env<'a>,
        t: &'a ast::TensorType,
        v: Value<'a>,
        at: Span,
        m: &Matching<'_>,
    ) -> R<Value<'a>> {
        let Value::Tensor(x) = v else {
            // A number stands for a tensor only where the dims are known.
            if !m.introduce && (v.is_number() || matches!(v, Value::Bool(_))) {
                let want = self.tensor_type(env, t)?;
                return Ok(Value::Tensor(self.fit(&v, &want, m.what, m.span)?));
            }
            let title = format!("{} must be {}, this is {}", m.what, self.written(t), self.text(&v));
            return Err(self.label_type(error("E0305", m.span, title), at, self.written(t)).into());
        };
        let have = self.ty(x);
        if have.dtype != t.dtype {
            let title = format!("{} must be {}, this is {have}", m.what, self.written(t));
            let d = self.label_type(error("E0203", m.span, title), at, self.written(t));
            return Err(d.hint(format!("cast it: `.cast({})`", t.dtype)).into());
        }
        let rest = t.dims.iter().filter(|d| matches!(d, ast::Dim::Rest(_))).count();
        let fixed = t.dims.len() - rest;
        let fits = if rest == 0 { have.rank() == fixed } else { have.rank() >= fixed };
        if !fits || rest > 1 {
            let title = format!(
                "{} must be {}, of rank {}{fixed}; this is {have}, of rank {}",
                m.what,
                self.written(t),
                if rest == 0 { "" } else { "at least " },
                have.rank()
            );
            let d = self.label_type(error("E0201", m.span, title), at, self.written(t));
            let one_more = rest == 0 && fixed > 0 && have.rank() == fixed + 1;
            if one_more && may_be(&t.dims, &have.shape[1..]) {
                let written = self.written(t).replacen('[', "[..s, ", 1);
                return Err(d
                    .hint(format!("`{written}` takes any number of leading dims, such as a batch"))
                    .into());
            }
            return Err(d.into());
        }
        let extra = have.rank() - fixed;
        let mut axis = 0;
        // Plain names first, so that `f32[2 * n], f32[n]` may come in any order of dims.
        let mut later = vec![];
        for d in &t.dims {
            match d {
                ast::Dim::Rest(name) => {
                    let dims = &have.shape[axis..axis + extra];
                    self.match_rest(env, name, dims, &have, t, at, m)?;
                    axis += extra;
                }
                ast::Dim::Expr(e) => {
                    let actual = have.shape[axis].clone();
                    match &e.kind {
                        ExprKind::Name(name) if m.introduce && self.signature_dim(env, name).is_none() => {
                            env.dims.push((name, Value::Int(actual)));
                        }
                        _ => later.push((axis, e, actual)),
                    }
                    axis += 1;
                }
            }
        }
        for (axis, e, actual) in later {
            let want = match &e.kind {
                ExprKind::Name(name) => match self.signature_dim(env, name) {
                    Some(d) => d,
                    None => self.int_expr(env, e)?,
                },
                _ => self.at(e.span, |cx| cx.int_expr(env, e))?,
            };
            let env = &*env;
            self.same_dim(&actual, &want, m.span, |cx| {
                let title = format!(
                    "{} must be {}, this is {have}: {actual} against {want} at axis {axis}",
                    m.what,
                    cx.written(t)
                );
                let d = cx.label_type(error("E0201", m.span, title), at, cx.written(t));
                cx.label_origins(d, env, e)
            })?;
        }
        Ok(Value::Tensor(x))
    }

    #[expect(clippy::too_many_arguments, reason = "one use; what it says in the error is all of these")]
    fn match_rest(
        &mut self,
        env: &mut Env<'a>,
        name: &'a ast::Name,
        dims: &[Dim],
        have: &Type,
        t: &ast::TensorType,
        at: Span,
        m: &Matching<'_>,
    ) -> R<()> {
        if env.dim(&name.text).is_none() && m.introduce {
            env.dims.push((&name.text, Value::list(dims.iter().cloned().map(Value::Int).collect())));
            return Ok(());
        }
        let known = self.rest_dims(env, name)?;
        let wrong = |cx: &Self| {
            let title = format!("{} must be {}, this is {have}", m.what, cx.written(t));
            cx.label_type(error("E0201", m.span, title), at, cx.written(t))
        };
        if known.len() != dims.len() {
            return Err(wrong(self).into());
        }
        for (a, b) in dims.iter().zip(&known) {
            self.same_dim(a, b, m.span, wrong)?;
        }
        Ok(())
    }

    /// What a name in a signature's dims already means: an earlier dim, an integer parameter, config, a
    /// file's number. `None`: the signature introduces it.
    pub fn signature_dim(&mut self, env: &Env<'a>, name: &str) -> Option<Dim> {
        let int = |v: &Value<'a>| match v {
            Value::Int(d) => Some(d.clone()),
            _ => None,
        };
        if let Some(d) = env.dim(name).and_then(int) {
            return Some(d);
        }
        if let Some(d) = env.var(name).and_then(|v| int(&v.value)) {
            return Some(d);
        }
        match &env.owner {
            Owner::Instance(id) => {
                let inst = &self.instances[id.0];
                let found = inst.members.iter().rev().chain(&inst.config).find(|m| m.0 == name);
                if let Some(d) = found.and_then(|m| int(&m.1)) {
                    return Some(d);
                }
            }
            Owner::Train(_) => {
                if name == "batch"
                    && let Some(d) = &self.g.batch
                {
                    return Some(d.clone());
                }
            }
            Owner::Config(c) => {
                if let Some(d) = c.iter().find(|c| c.0 == name).and_then(|c| int(&c.1)) {
                    return Some(d);
                }
            }
            _ => {}
        }
        self.file_int(env.file, name)
    }

    fn file_int(&mut self, file: FileId, name: &str) -> Option<Dim> {
        let (_, item) = self.find_item(file, name)?;
        let ast::ItemKind::Binding(_) = &item.kind else { return None };
        match self.lookup_file(file, name) {
            Ok(Some(Value::Int(d))) => Some(d),
            _ => None,
        }
    }

    /// Labels a declared type, where it is the user's; else says what it is.
    pub fn label_type(&self, d: Diagnostic, at: Span, text: &str) -> Diagnostic {
        if prelude::contains(at) || at.is_none() {
            d
        } else {
            d.label(at, format!("declared {text}").trim_end())
        }
    }

    /// Labels where the config values in a dim come from.
    fn label_origins(&self, mut d: Diagnostic, env: &Env<'a>, e: &ast::Expr) -> Diagnostic {
        let Owner::Instance(id) = &env.owner else { return d };
        let inst = &self.instances[id.0];
        let mut names = vec![];
        expr_names(e, &mut names);
        let values: Vec<String> = names
            .iter()
            .filter_map(|n| inst.config.iter().find(|c| c.0 == *n).map(|c| (n, &c.1)))
            .filter_map(|(n, v)| v.as_int().map(|v| format!("`{n}` is {v}")))
            .collect();
        if !values.is_empty() {
            d = d.label(inst.span, format!("{} here", values.join(", ")));
        }
        d
    }

    /// A tensor type as it was written: `f32[.., 784]`.
    fn written(&self, t: &ast::TensorType) -> &str {
        self.sources.snippet(t.span)
    }

    /// A `where` fact as a condition on dims.
    pub fn fact(&mut self, env: &mut Env<'a>, e: &'a ast::Expr) -> R<Fact> {
        let ExprKind::Binary { op, lhs, rhs, .. } = &e.kind else { return self.not_a_fact(e) };
        if !op.is_comparison() {
            return self.not_a_fact(e);
        }
        let (x, y) = (self.int_expr(env, lhs)?, self.int_expr(env, rhs)?);
        let (rel, a, b) = relation(*op, &x, &y);
        Ok(Fact { lhs: a.clone(), rel, rhs: b.clone(), span: e.span })
    }

    fn not_a_fact<T>(&self, e: &ast::Expr) -> R<T> {
        Err(error("E0213", e.span, "a `where` fact compares dims")
            .hint("write for example `where h % 4 == 0, time <= limit`")
            .into())
    }

    /// Facts of a called signature: proven, refuted, or checked when dims are bound.
    pub fn require_facts(
        &mut self,
        env: &mut Env<'a>,
        facts: &'a [ast::Expr],
        name: &str,
        span: Span,
    ) -> R<()> {
        for e in facts {
            for part in conjuncts(e) {
                let fact = self.fact(env, part)?;
                let given = self.g.graph.dims.facts.iter().any(|f| {
                    f.lhs == fact.lhs && f.rhs == fact.rhs && (f.rel == fact.rel || fact.rel == Relation::Le)
                });
                if given || self.g.graph.dims.prove(&fact.lhs, fact.rel, &fact.rhs) == Proof::Holds {
                    continue;
                }
                let text = self.sources.snippet(part.span).to_owned();
                let (l, r) = (fact.lhs.clone(), fact.rhs.clone());
                let rel = fact.rel.symbol();
                self.require(Fact { span, ..fact }, |cx| {
                    let d = error(
                        "E0213",
                        span,
                        format!("`{name}` requires `{text}`: {l} {rel} {r} does not hold"),
                    );
                    cx.label_fact(d, part.span)
                })?;
            }
        }
        Ok(())
    }

    fn label_fact(&self, d: Diagnostic, at: Span) -> Diagnostic {
        if prelude::contains(at) { d } else { d.label(at, "required here") }
    }
}

/// How [`Interp::match_type`] is used.
pub struct Matching<'m> {
    /// "`x` of `forward`", for messages.
    pub what: &'m str,
    /// The value's place.
    pub span: Span,
    /// May names be introduced? In parameter types only.
    pub introduce: bool,
}

/// `a and b` as its parts.
pub fn conjuncts(e: &ast::Expr) -> Vec<&ast::Expr> {
    match &e.kind {
        ExprKind::Binary { op: BinaryOp::And, lhs, rhs, .. } => {
            let mut parts = conjuncts(lhs);
            parts.extend(conjuncts(rhs));
            parts
        }
        _ => vec![e],
    }
}

/// All plain names in an expression of dims.
pub fn expr_names<'e>(e: &'e ast::Expr, out: &mut Vec<&'e str>) {
    match &e.kind {
        ExprKind::Name(n) => out.push(n),
        ExprKind::Unary { operand, .. } => expr_names(operand, out),
        ExprKind::Binary { lhs, rhs, .. } => {
            expr_names(lhs, out);
            expr_names(rhs, out);
        }
        ExprKind::Tuple(items) => items.iter().for_each(|i| expr_names(i, out)),
        _ => {}
    }
}

/// The error for a name that is no type.
pub fn unknown_type(n: &ast::Name) -> Diagnostic {
    const KNOWN: [&str; 14] =
        ["f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8", "u8", "bool", "int", "str", "fn", "model"];
    let d = error("E0301", n.span, format!("there is no type `{}`", n.text));
    match crate::syntax::foreign_type(&n.text) {
        Some(instead) => d.hint(instead),
        None => {
            let all = "types are dtypes with dims, int, str, fn, model, tuples and lists";
            super::suggest::hint(d, &n.text, KNOWN, all)
        }
    }
}

/// Whether dims could be what is declared, as far as numbers tell.
fn may_be(declared: &[ast::Dim], dims: &[Dim]) -> bool {
    declared.iter().zip(dims).all(|(want, have)| match want {
        ast::Dim::Expr(ast::Expr { kind: ExprKind::Int(n), .. }) => have.as_const().is_none_or(|h| h == *n),
        _ => true,
    })
}
