//! Operators on compile-time values and on tensors.
//!
//! Compile-time numbers take the dtype of the tensor they meet, if it can hold them. Tensors widen
//! among integers and among floats, and broadcast by NumPy's rule, except that only a literal 1
//! stretches.

use mlc_diag::{Diagnostic, Span};
use mlc_ir::graph::{Check, ValueId};
use mlc_ir::op::{Literal, ScalarFn};
use mlc_ir::types::{DTypeKind, Fact, Proof, Relation, Shape};
use mlc_ir::{DType, Dim, Type};

use super::fail::{Fail, R, error, fail};
use super::interp::Interp;
use super::value::Value;
use crate::syntax::ast::{BinaryOp, UnaryOp};

impl<'a> Interp<'a> {
    pub fn unary(&mut self, op: UnaryOp, v: Value<'a>, span: Span) -> R<Value<'a>> {
        match (op, v) {
            (_, Value::Poison) => Err(Fail::Silent),
            (UnaryOp::Neg, Value::Int(d)) => Ok(Value::Int(&Dim::ZERO - &d)),
            (UnaryOp::Neg, Value::Float(x)) => Ok(Value::Float(-x)),
            (UnaryOp::Neg, Value::Tensor(t)) => Ok(Value::Tensor(self.b().neg(t)?)),
            (UnaryOp::Not, Value::Bool(b)) => Ok(Value::Bool(!b)),
            (UnaryOp::Not, Value::Tensor(t)) if self.ty(t).dtype == DType::Bool => {
                Ok(Value::Tensor(self.b().map(ScalarFn::Not, &[t])?))
            }
            (UnaryOp::Not, Value::Tensor(t)) => {
                Err(error("E0203", span, format!("`not` takes bools, this is {}", self.ty(t)))
                    .hint("compare it: `x == 0`")
                    .into())
            }
            (op, v) => fail("E0203", span, format!("`{}` does not take {}", op.symbol(), v.kind())),
        }
    }

    /// `spans`: of the expression and its two sides.
    pub fn binary(&mut self, op: BinaryOp, a: Value<'a>, b: Value<'a>, spans: [Span; 3]) -> R<Value<'a>> {
        if matches!(a, Value::Poison) || matches!(b, Value::Poison) {
            return Err(Fail::Silent);
        }
        if matches!(a, Value::Tensor(_)) || matches!(b, Value::Tensor(_)) {
            return self.tensor_binary(op, a, b, spans);
        }
        match (&a, &b) {
            (Value::Int(x), Value::Int(y)) => self.int_binary(op, x, y, spans),
            (x, y) if x.is_number() && y.is_number() => match (x.as_f64(), y.as_f64()) {
                (Some(x), Some(y)) => float_binary(op, x, y, spans[0]),
                // A dim that is bound later with a fraction: a run-time scalar.
                _ => {
                    let a = Value::Tensor(self.tensor_of(&a, DType::F32, spans[1])?);
                    self.tensor_binary(op, a, b, spans)
                }
            },
            (Value::Bool(x), Value::Bool(y)) if matches!(op, BinaryOp::And | BinaryOp::Or) => {
                Ok(Value::Bool(if op == BinaryOp::And { *x && *y } else { *x || *y }))
            }
            (Value::List(x), Value::List(y)) if op == BinaryOp::Add => {
                if x.len() + y.len() > super::expr::MAX_LIST as usize {
                    return fail("E0313", spans[0], "this list is too long");
                }
                Ok(Value::list(x.iter().chain(y.iter()).cloned().collect()))
            }
            (Value::Str(x), Value::Str(y)) if op == BinaryOp::Add => Ok(Value::str(format!("{x}{y}"))),
            _ if matches!(op, BinaryOp::Eq | BinaryOp::Ne) => {
                let eq = self.same_values(&a, &b, spans)?;
                Ok(Value::Bool(eq == (op == BinaryOp::Eq)))
            }
            _ => Err(no_operator(op, &a, &b, spans).into()),
        }
    }

    fn int_binary(&mut self, op: BinaryOp, x: &Dim, y: &Dim, spans: [Span; 3]) -> R<Value<'a>> {
        let span = spans[0];
        let value = match op {
            BinaryOp::Add => x + y,
            BinaryOp::Sub => x - y,
            BinaryOp::Mul => x * y,
            BinaryOp::Div => return self.int_divide(x, y, span),
            BinaryOp::Rem if y.is_const(0) => return fail("E0211", span, "remainder by zero"),
            BinaryOp::Rem => x.rem(y),
            BinaryOp::Pow => match y.as_const() {
                Some(n) if n < 0 => match x.as_const() {
                    Some(x) => return Ok(Value::Float((x as f64).powi(n.max(-1_000_000) as i32))),
                    None => return fail("E0211", span, "a negative power of a dim is no integer"),
                },
                Some(n) => power(x, n),
                None => return fail("E0312", span, "an exponent must be known at compile time"),
            },
            _ if op.is_comparison() => return self.int_compare(op, x, y, spans),
            _ => return Err(no_operator(op, &Value::Int(x.clone()), &Value::Int(y.clone()), spans).into()),
        };
        if value.is_overflow() {
            return fail("E0211", span, "this integer does not fit in 64 bits");
        }
        Ok(Value::Int(value))
    }

    /// `/` of integers: an integer where it comes out, a number where both are known, else exact by a
    /// fact or a check when the dims are bound.
    fn int_divide(&mut self, x: &Dim, y: &Dim, span: Span) -> R<Value<'a>> {
        if y.is_const(0) {
            return fail("E0211", span, "division by zero");
        }
        if let (Some(a), Some(b)) = (x.as_const(), y.as_const()) {
            let exact = a.checked_rem(b) == Some(0);
            return Ok(if exact { Value::Int(x.floor_div(y)) } else { Value::Float(a as f64 / b as f64) });
        }
        if let Some(q) = x.div_exact(y) {
            return Ok(Value::Int(q));
        }
        let rest = x.rem(y);
        let holds = self.g.graph.dims.prove(&rest, Relation::Eq, &Dim::ZERO) == Proof::Holds;
        let given = self
            .g
            .graph
            .dims
            .facts
            .iter()
            .any(|f| f.rel == Relation::Eq && f.lhs == rest && f.rhs.is_const(0));
        if !holds && !given {
            let check = error("E0211", self.span, format!("{x} / {y} does not come out exactly"))
                .hint(format!("state it: `where ({x}) % ({y}) == 0`, or use floor_div"));
            let fact = Fact::eq(rest, Dim::ZERO, span);
            self.check(fact.clone(), check);
            self.g.graph.dims.assume(fact);
        }
        Ok(Value::Int(x.floor_div(y)))
    }

    /// Comparison of integers: decided where it can be, else a run-time bool.
    fn int_compare(&mut self, op: BinaryOp, x: &Dim, y: &Dim, spans: [Span; 3]) -> R<Value<'a>> {
        let (rel, a, b) = relation(op, x, y);
        let (negated, na, nb) = match rel {
            Relation::Eq => (Relation::Ne, a, b),
            Relation::Ne => (Relation::Eq, a, b),
            Relation::Le => (Relation::Lt, b, a),
            Relation::Lt => (Relation::Le, b, a),
        };
        if self.g.graph.dims.prove(a, rel, b) == Proof::Holds {
            return Ok(Value::Bool(true));
        }
        if a.as_const().is_some() && b.as_const().is_some()
            || self.g.graph.dims.prove(na, negated, nb) == Proof::Holds
        {
            return Ok(Value::Bool(false));
        }
        let a = Value::Tensor(self.tensor_of(&Value::Int(x.clone()), DType::I64, spans[1])?);
        self.tensor_binary(op, a, Value::Int(y.clone()), spans)
    }

    fn same_values(&mut self, a: &Value<'a>, b: &Value<'a>, spans: [Span; 3]) -> R<bool> {
        Ok(match (a, b) {
            (Value::None, Value::None) => true,
            (Value::None, _) | (_, Value::None) => false,
            (Value::Bool(x), Value::Bool(y)) => x == y,
            (Value::Str(x), Value::Str(y)) => x == y,
            (Value::Type(x), Value::Type(y)) => x == y,
            (Value::Device(x), Value::Device(y)) => x == y,
            (Value::Instance(x), Value::Instance(y)) => x == y,
            (Value::List(x), Value::List(y)) | (Value::Tuple(x), Value::Tuple(y)) => {
                if x.len() != y.len() {
                    return Ok(false);
                }
                for (x, y) in x.iter().zip(y.iter()) {
                    let v = self.binary(BinaryOp::Eq, x.clone(), y.clone(), spans)?;
                    if !self.static_bool(&v, spans[0])? {
                        return Ok(false);
                    }
                }
                true
            }
            (x, y) => return Err(no_operator(BinaryOp::Eq, x, y, spans).into()),
        })
    }

    fn tensor_binary(&mut self, op: BinaryOp, a: Value<'a>, b: Value<'a>, spans: [Span; 3]) -> R<Value<'a>> {
        if matches!(a, Value::None) || matches!(b, Value::None) {
            return match op {
                BinaryOp::Eq => Ok(Value::Bool(false)),
                BinaryOp::Ne => Ok(Value::Bool(true)),
                _ => Err(no_operator(op, &a, &b, spans).into()),
            };
        }
        if op == BinaryOp::MatMul {
            return self.matmul(&a, &b, spans);
        }
        if let (BinaryOp::Pow, Value::Tensor(x)) = (op, &a)
            && let Some(n) = b.as_f64()
            && let Some(v) = self.const_power(*x, n)?
        {
            return Ok(v);
        }
        let (x, y) = self.operands(op, &a, &b, spans)?;
        let dtype = self.ty(x).dtype;
        let (f, x, y) = match op {
            BinaryOp::Add => (ScalarFn::Add, x, y),
            BinaryOp::Sub => (ScalarFn::Sub, x, y),
            BinaryOp::Mul => (ScalarFn::Mul, x, y),
            BinaryOp::Div if !dtype.is_float() => {
                let title = format!("`/` does not take {dtype}: {} against {}", self.text(&a), self.text(&b));
                return Err(error("E0203", spans[0], title)
                    .hint("cast first, `x.cast(f32) / y`, or round down with `floor_div(x, y)`")
                    .into());
            }
            BinaryOp::Div => (ScalarFn::Div, x, y),
            BinaryOp::Rem => (ScalarFn::Rem, x, y),
            BinaryOp::Pow => (ScalarFn::Pow, x, y),
            BinaryOp::Eq => (ScalarFn::Eq, x, y),
            BinaryOp::Ne => (ScalarFn::Ne, x, y),
            BinaryOp::Lt => (ScalarFn::Lt, x, y),
            BinaryOp::Le => (ScalarFn::Le, x, y),
            BinaryOp::Gt => (ScalarFn::Lt, y, x),
            BinaryOp::Ge => (ScalarFn::Le, y, x),
            BinaryOp::And => (ScalarFn::And, x, y),
            BinaryOp::Or => (ScalarFn::Or, x, y),
            BinaryOp::MatMul => return Err(Diagnostic::bug("`@` among elementwise operators").into()),
        };
        if matches!(op, BinaryOp::And | BinaryOp::Or) && dtype != DType::Bool {
            return Err(error("E0203", spans[0], format!("`{}` takes bools, this is {dtype}", op.symbol()))
                .hint("compare first: `x != 0`")
                .into());
        }
        if matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Rem | BinaryOp::Pow)
            && dtype == DType::Bool
        {
            return Err(error("E0203", spans[0], format!("`{}` does not take bool", op.symbol()))
                .hint("cast first: `x.cast(i64)`")
                .into());
        }
        Ok(Value::Tensor(self.b().map(f, &[x, y])?))
    }

    /// `x ** n` for a small whole or half n, by multiplication and square root as PyTorch does.
    fn const_power(&mut self, x: ValueId, n: f64) -> R<Option<Value<'a>>> {
        let ty = self.ty(x);
        if ty.dtype == DType::Bool {
            return Ok(None);
        }
        if n == 0.5 && ty.dtype.is_float() {
            return Ok(Some(Value::Tensor(self.b().map(ScalarFn::Sqrt, &[x])?)));
        }
        if n.fract() != 0.0 || n.abs() > 16.0 || (n < 0.0 && !ty.dtype.is_float()) {
            return Ok(None);
        }
        let mut result: Option<ValueId> = None;
        for _ in 0..n.abs() as u32 {
            result = Some(match result {
                None => x,
                Some(r) => self.b().mul(r, x)?,
            });
        }
        let one = |cx: &mut Self| cx.b().full_like(x, 1.0);
        let value = match result {
            None => one(self)?,
            Some(r) if n < 0.0 => {
                let one = one(self)?;
                self.b().div(one, r)?
            }
            Some(r) => r,
        };
        Ok(Some(Value::Tensor(value)))
    }

    /// Both sides as tensors of one dtype and shape.
    fn operands(
        &mut self,
        op: BinaryOp,
        a: &Value<'a>,
        b: &Value<'a>,
        spans: [Span; 3],
    ) -> R<(ValueId, ValueId)> {
        let dtype = self.common_dtype(&format!("`{}`", op.symbol()), a, b, spans)?;
        let (x, y) = (self.tensor_of(a, dtype, spans[1])?, self.tensor_of(b, dtype, spans[2])?);
        let v = self.broadcast_all(&format!("`{}`", op.symbol()), &[x, y], spans[0])?;
        Ok((v[0], v[1]))
    }

    /// The dtype in which two values meet.
    pub fn common_dtype(&self, what: &str, a: &Value<'a>, b: &Value<'a>, spans: [Span; 3]) -> R<DType> {
        let of = |v: &Value<'a>| match v {
            Value::Tensor(t) => Some(self.g.graph.ty(*t).dtype),
            _ => None,
        };
        match (of(a), of(b)) {
            (Some(x), Some(y)) => x.promote(y).ok_or_else(|| {
                let title = format!("{what} of {x} and {y}: these dtypes do not mix");
                let (int, float) = if x.is_float() { (2, x) } else { (1, y) };
                let mut d = error("E0203", spans[0], title)
                    .label(spans[1], format!("this is {}", self.text(a)))
                    .label(spans[2], format!("this is {}", self.text(b)));
                let cast_to = if float.is_float() { float } else { DType::F32 };
                d = d.hint(format!(
                    "cast the {} side: `.cast({cast_to})`",
                    if int == 1 { "left" } else { "right" }
                ));
                d.into()
            }),
            (Some(x), None) | (None, Some(x)) => Ok(x),
            (None, None) => match (a, b) {
                (Value::Bool(_), Value::Bool(_)) => Ok(DType::Bool),
                (Value::Int(_), Value::Int(_)) => Ok(DType::I64),
                _ => Ok(DType::F32),
            },
        }
    }

    /// A value as a tensor of `dtype`: tensors widen, numbers become constants if representable.
    pub fn tensor_of(&mut self, v: &Value<'a>, dtype: DType, span: Span) -> R<ValueId> {
        match v {
            Value::Poison => Err(Fail::Silent),
            Value::Tensor(t) => Ok(self.b().cast(*t, dtype)?),
            Value::State(id) => {
                let t = self.read_state(*id)?;
                Ok(self.b().cast(t, dtype)?)
            }
            Value::Bool(b) if dtype == DType::Bool => Ok(self.b().constant(Literal::bool(*b))?),
            Value::Int(d) => match d.as_const() {
                Some(n) => {
                    representable(dtype, n as f64, Some(n), span)?;
                    let lit = if dtype.is_int() {
                        Literal::int(dtype, n)
                    } else {
                        Literal::scalar(dtype, n as f64)
                    };
                    Ok(self.b().constant(lit)?)
                }
                None if dtype == DType::Bool => fail("E0203", span, "a dim is no bool"),
                None => {
                    let t = self.b().dim(d.clone())?;
                    Ok(self.b().cast(t, dtype)?)
                }
            },
            Value::Float(x) => {
                representable(dtype, *x, None, span)?;
                Ok(self.b().scalar(dtype, *x)?)
            }
            v => fail("E0203", span, format!("a tensor is needed here, this is {}", v.kind())),
        }
    }

    /// Any value that can be one as a tensor with a dtype of its own: whole numbers are i64, others f32.
    pub fn any_tensor(&mut self, v: &Value<'a>, span: Span) -> R<ValueId> {
        let dtype = match v {
            Value::Tensor(t) => return Ok(*t),
            Value::Bool(_) => DType::Bool,
            Value::Int(_) => DType::I64,
            _ => DType::F32,
        };
        self.tensor_of(v, dtype, span)
    }

    /// Stretches tensors to their common shape.
    pub fn broadcast_all(&mut self, what: &str, values: &[ValueId], span: Span) -> R<Vec<ValueId>> {
        let mut shape: Shape = Shape::new();
        for &v in values {
            shape = self.common_shape(what, &shape, &self.ty(v).shape, values, span)?;
        }
        values.iter().map(|&v| Ok(self.b().broadcast_to(v, &shape)?)).collect()
    }

    pub fn common_shape(
        &mut self,
        what: &str,
        a: &Shape,
        b: &Shape,
        values: &[ValueId],
        span: Span,
    ) -> R<Shape> {
        let rank = a.len().max(b.len());
        let get = |s: &Shape, i: usize| (i + s.len()).checked_sub(rank).map(|j| s[j].clone());
        let mut out = Shape::new();
        for i in 0..rank {
            out.push(match (get(a, i), get(b, i)) {
                (Some(x), None) | (None, Some(x)) => x,
                (Some(x), Some(y)) if x.is_const(1) => y,
                (Some(x), Some(y)) if y.is_const(1) => x,
                (Some(x), Some(y)) => {
                    let from_end = rank - i;
                    self.same_dim(&x, &y, span, |cx| {
                        let types: Vec<String> = values.iter().map(|&v| cx.ty(v).to_string()).collect();
                        let title = format!("{what} of {}: {x} against {y}", types.join(" and "));
                        let mut d = error("E0201", span, title).note(format!(
                            "the dims at axis -{from_end} differ, and only a dim of 1 stretches"
                        ));
                        for &v in values {
                            let at = cx.g.graph.span(v);
                            if at != span {
                                d = d.label(at, format!("this is {}", cx.ty(v)));
                            }
                        }
                        d
                    })?;
                    x
                }
                (None, None) => continue,
            });
        }
        Ok(out)
    }

    /// Requires equal dims: proven, refuted by an error with a counterexample, or checked when bound.
    pub fn same_dim(&mut self, a: &Dim, b: &Dim, span: Span, d: impl FnOnce(&Self) -> Diagnostic) -> R<()> {
        self.require(Fact::eq(a.clone(), b.clone(), span), d)
    }

    /// Requires a condition on dims.
    pub fn require(&mut self, fact: Fact, d: impl FnOnce(&Self) -> Diagnostic) -> R<()> {
        match self.g.graph.dims.prove(&fact.lhs, fact.rel, &fact.rhs) {
            Proof::Holds => Ok(()),
            Proof::Fails(binding) => {
                let mut d = d(self);
                if !binding.is_empty() {
                    let values: Vec<String> = binding.iter().map(|(n, v)| format!("{n} = {v}")).collect();
                    let show = |x: &Dim| x.eval(&binding).map_or("overflow".to_owned(), |n| n.to_string());
                    let (l, r) = (show(&fact.lhs), show(&fact.rhs));
                    let rel = fact.rel.symbol();
                    d = d.note(format!(
                        "{} {rel} {} does not hold for {}: {l} against {r}",
                        fact.lhs,
                        fact.rhs,
                        values.join(", ")
                    ));
                }
                Err(d.into())
            }
            Proof::Unknown => {
                let d = d(self);
                self.check(fact, d);
                Ok(())
            }
        }
    }

    /// As [`Interp::require`], for conditions that empty tensors alone break (`x[-1]`, `max` over an
    /// axis): where every counterexample has a dim of 0, the condition is left for when dims are bound
    /// and holds from here on.
    pub fn require_range(&mut self, fact: Fact, d: impl FnOnce(&Self) -> Diagnostic) -> R<()> {
        let dims = &self.g.graph.dims;
        let fails = match dims.prove(&fact.lhs, fact.rel, &fact.rhs) {
            Proof::Holds => return Ok(()),
            Proof::Unknown => false,
            Proof::Fails(_) => {
                let mut filled = dims.clone();
                filled.symbols.iter_mut().for_each(|s| s.min = s.min.max(1));
                let known = fact.lhs.as_const().is_some() && fact.rhs.as_const().is_some();
                known || matches!(filled.prove(&fact.lhs, fact.rel, &fact.rhs), Proof::Fails(_))
            }
        };
        if fails {
            return self.require(fact, d);
        }
        let d = d(self);
        self.check(fact.clone(), d);
        self.g.graph.dims.assume(fact);
        Ok(())
    }

    /// Leaves a condition for when dims are bound.
    pub fn check(&mut self, fact: Fact, d: Diagnostic) {
        let d = self.blame(d);
        if !self.g.graph.checks.iter().any(|c| c.fact == fact) {
            self.g.graph.checks.push(Check { fact, error: d });
        }
    }

    /// A value as a tensor of exactly this type, for state writes and results.
    pub fn fit(&mut self, v: &Value<'a>, ty: &Type, what: &str, span: Span) -> R<ValueId> {
        let t = match v {
            Value::Tensor(t) => *t,
            v => {
                let t = self.tensor_of(v, ty.dtype, span)?;
                return Ok(self.b().broadcast_to(t, &ty.shape)?);
            }
        };
        let have = self.ty(t);
        let float = have.dtype.is_float() && ty.dtype.is_float();
        if have.rank() != ty.rank() || (have.dtype != ty.dtype && !float) {
            return fail("E0201", span, format!("{what} is {ty}, this is {have}"));
        }
        for (a, b) in have.shape.iter().zip(&ty.shape) {
            self.same_dim(a, b, span, |_| {
                error("E0201", span, format!("{what} is {ty}, this is {have}: {a} against {b}"))
            })?;
        }
        Ok(self.b().cast(t, ty.dtype)?)
    }

    /// A value in a message: a tensor's type, else what it is.
    pub fn text(&self, v: &Value<'a>) -> String {
        match v {
            Value::Tensor(t) => self.ty(*t).to_string(),
            Value::State(id) => self.states[id.0].ty.to_string(),
            Value::Int(d) => format!("the integer {d}"),
            Value::Float(x) => format!("the number {x}"),
            v => v.kind().to_owned(),
        }
    }
}

pub fn no_operator(op: BinaryOp, a: &Value<'_>, b: &Value<'_>, spans: [Span; 3]) -> Diagnostic {
    let title = format!("`{}` does not take {} and {}", op.symbol(), a.kind(), b.kind());
    error("E0203", spans[0], title)
        .label(spans[1], format!("this is {}", a.kind()))
        .label(spans[2], format!("this is {}", b.kind()))
}

/// A comparison as a relation of dims, sides swapped where that takes it.
pub fn relation<'d>(op: BinaryOp, x: &'d Dim, y: &'d Dim) -> (Relation, &'d Dim, &'d Dim) {
    match op {
        BinaryOp::Ne => (Relation::Ne, x, y),
        BinaryOp::Le => (Relation::Le, x, y),
        BinaryOp::Lt => (Relation::Lt, x, y),
        BinaryOp::Ge => (Relation::Le, y, x),
        BinaryOp::Gt => (Relation::Lt, y, x),
        _ => (Relation::Eq, x, y),
    }
}

fn power(x: &Dim, n: i64) -> Dim {
    match x.as_const() {
        Some(base) => {
            u32::try_from(n).ok().and_then(|n| base.checked_pow(n)).map_or(Dim::overflow(), Dim::from)
        }
        None => u32::try_from(n).map_or(Dim::overflow(), |n| x.pow(n)),
    }
}

fn float_binary<'a>(op: BinaryOp, x: f64, y: f64, span: Span) -> R<Value<'a>> {
    Ok(match op {
        BinaryOp::Add => Value::Float(x + y),
        BinaryOp::Sub => Value::Float(x - y),
        BinaryOp::Mul => Value::Float(x * y),
        BinaryOp::Div if y == 0.0 => return fail("E0211", span, "division by zero"),
        BinaryOp::Div => Value::Float(x / y),
        BinaryOp::Rem if y == 0.0 => return fail("E0211", span, "remainder by zero"),
        BinaryOp::Rem => Value::Float(x - y * (x / y).floor()),
        BinaryOp::Pow => Value::Float(x.powf(y)),
        BinaryOp::Eq => Value::Bool(x == y),
        BinaryOp::Ne => Value::Bool(x != y),
        BinaryOp::Lt => Value::Bool(x < y),
        BinaryOp::Le => Value::Bool(x <= y),
        BinaryOp::Gt => Value::Bool(x > y),
        BinaryOp::Ge => Value::Bool(x >= y),
        BinaryOp::And | BinaryOp::Or | BinaryOp::MatMul => {
            return fail("E0203", span, format!("`{}` does not take numbers", op.symbol()));
        }
    })
}

/// Can a dtype hold a number? Floats round, but do not overflow; integers and bools must be exact.
fn representable(dtype: DType, x: f64, int: Option<i64>, span: Span) -> R<()> {
    let ok = match (dtype.kind(), int) {
        (DTypeKind::Bool, _) => false,
        (DTypeKind::Float, _) => x.is_nan() || x.is_infinite() || x.abs() <= max_of(dtype),
        (DTypeKind::Int, Some(n)) => {
            let (low, high) = range_of(dtype);
            i128::from(n) >= low && i128::from(n) <= high
        }
        (DTypeKind::Int, None) => {
            x.fract() == 0.0 && x >= range_of(dtype).0 as f64 && x <= range_of(dtype).1 as f64
        }
    };
    if ok {
        return Ok(());
    }
    let number = int.map_or_else(|| x.to_string(), |n| n.to_string());
    let d = error("E0212", span, format!("{dtype} cannot hold {number}"));
    Err(match dtype.kind() {
        DTypeKind::Int if int.is_none() => d.hint("cast the tensor to a float dtype first: `x.cast(f32)`"),
        DTypeKind::Int => d.hint("cast the tensor to a wider dtype first: `x.cast(i64)`"),
        DTypeKind::Bool => d.hint("cast the tensor first: `x.cast(f32)`"),
        DTypeKind::Float => d.hint("cast the tensor to a wider dtype first: `x.cast(f32)`"),
    }
    .into())
}

fn max_of(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 65_504.0,
        DType::F64 => f64::MAX,
        _ => f64::from(f32::MAX),
    }
}

fn range_of(dtype: DType) -> (i128, i128) {
    match dtype {
        DType::I64 => (i64::MIN.into(), i64::MAX.into()),
        DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DType::U8 => (0, u8::MAX.into()),
        DType::U32 => (0, u32::MAX.into()),
        _ => (0, u64::MAX.into()),
    }
}
