//! Expressions and blocks.

use mlc_diag::Span;
use mlc_ir::{Device, Dim};

use super::env::Env;
use super::fail::{Fail, R, error, fail};
use super::interp::Interp;
use super::later;
use super::suggest;
use super::value::{MapEntry, Value};
use crate::syntax::ast::{self, BinaryOp, Expr, ExprKind, StrPart};

/// Elements of one compile-time list, and rounds of one loop.
pub const MAX_LIST: i64 = 65_536;

/// Bytes of a string.
const MAX_STRING: usize = 1 << 16;

impl<'a> Interp<'a> {
    /// The value of an expression, with states read.
    pub fn expr(&mut self, env: &mut Env<'a>, e: &'a Expr) -> R<Value<'a>> {
        self.at(e.span, |cx| {
            let v = cx.raw(env, e)?;
            cx.read(v)
        })
    }

    /// A state as its value now, a binding that holds tensors as its value in this graph.
    pub fn read(&mut self, v: Value<'a>) -> R<Value<'a>> {
        match v {
            Value::Poison => Err(Fail::Silent),
            Value::State(id) => self.read_state(id).map(Value::Tensor),
            Value::Lazy(thunk) => self.read_lazy(&thunk),
            v => Ok(v),
        }
    }

    fn raw(&mut self, env: &mut Env<'a>, e: &'a Expr) -> R<Value<'a>> {
        Ok(match &e.kind {
            ExprKind::Int(n) => Value::int(*n),
            ExprKind::Float(x) => Value::Float(*x),
            ExprKind::Bool(b) => Value::Bool(*b),
            ExprKind::None => Value::None,
            ExprKind::Str(s) => Value::str(self.string(env, s)?),
            ExprKind::Name(name) => self.lookup(env, name, e.span)?,
            ExprKind::Type(t) => Value::Type(self.tensor_type(env, t)?),
            ExprKind::Device(d) => Value::Device(self.remapped(*d, None)),
            ExprKind::List(items) => Value::list(self.items(env, items)?),
            ExprKind::ListFor(l) => self.list_for(env, l, e.span)?,
            ExprKind::PathMap(entries) => self.path_map(env, entries)?,
            ExprKind::Tuple(items) => Value::tuple(self.items(env, items)?),
            ExprKind::Unary { op, operand } => {
                let v = self.unplaced(env, operand)?;
                self.unary(*op, v, e.span)?
            }
            ExprKind::Binary { op, lhs, rhs, .. } => self.binary_expr(env, *op, lhs, rhs, e.span)?,
            ExprKind::Range { start, end } => {
                let (a, b) = (self.int_expr(env, start)?, self.int_expr(env, end)?);
                Value::Range(a, b)
            }
            ExprKind::Call { callee, args } => self.call_expr(env, e, callee, args)?,
            ExprKind::Index { base, items } => {
                let v = self.expr(env, base)?;
                self.index(env, v, items, e.span)?
            }
            ExprKind::Field { base, name } => {
                let v = self.at(base.span, |cx| cx.raw(env, base))?;
                self.field(env, v, name)?
            }
            ExprKind::On { value, device } => {
                let d = self.device_ref(env, device)?;
                self.on_device(d, |cx| cx.raw(env, value))?
            }
            ExprKind::If { branches, otherwise } => self.if_expr(env, branches, otherwise.as_ref())?,
            ExprKind::For { names, iter, body } => self.for_expr(env, names, iter, body)?,
            ExprKind::OnBlock { device, body } => {
                let d = self.device_ref(env, device)?;
                self.on_device(d, |cx| cx.block(env, body))?
            }
            ExprKind::Scan { names, iter, options, body } => {
                self.scan_expr(env, (names, iter), options, body, e.span)?
            }
            ExprKind::While { .. } => return Err(later::construct("`while`", e.span).into()),
            ExprKind::Keep { .. } => return Err(later::construct("`keep`", e.span).into()),
            ExprKind::Error => return Err(Fail::Silent),
        })
    }

    /// An operand: instances cannot be built there.
    pub fn unplaced(&mut self, env: &mut Env<'a>, e: &'a Expr) -> R<Value<'a>> {
        self.placed(None, |cx| cx.expr(env, e))
    }

    /// Elements of a list or tuple; instances built there are named by their index.
    fn items(&mut self, env: &mut Env<'a>, items: &'a [Expr]) -> R<Vec<Value<'a>>> {
        let mut out = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let place = self.place_below(&i.to_string());
            out.push(self.placed(place, |cx| cx.expr(env, item))?);
        }
        Ok(out)
    }

    fn string(&mut self, env: &mut Env<'a>, s: &'a ast::Str) -> R<String> {
        let mut out = String::new();
        for part in &s.parts {
            match part {
                StrPart::Text(t) => out.push_str(t),
                StrPart::Name(n) => {
                    let v = self.lookup(env, &n.text, n.span)?;
                    let text = match self.read(v)? {
                        Value::Str(s) => s.to_string(),
                        Value::Int(d) => d.to_string(),
                        Value::Float(x) => x.to_string(),
                        Value::Bool(b) => b.to_string(),
                        Value::Type(t) => t.to_string(),
                        v => {
                            let title = format!("`{}` is {}, which has no text", n.text, v.kind());
                            return Err(error("E0305", n.span, title)
                                .hint(
                                    "strings take numbers, bools and strings that are known at compile time",
                                )
                                .into());
                        }
                    };
                    out.push_str(&text);
                }
            }
            if out.len() > MAX_STRING {
                return fail("E0313", s.span, format!("this string is longer than {MAX_STRING} bytes"));
            }
        }
        Ok(out)
    }

    fn binary_expr(
        &mut self,
        env: &mut Env<'a>,
        op: BinaryOp,
        lhs: &'a Expr,
        rhs: &'a Expr,
        span: Span,
    ) -> R<Value<'a>> {
        let a = self.unplaced(env, lhs)?;
        // `a and b` with a known `a` decides without `b`, as everywhere.
        match (op, &a) {
            (BinaryOp::And, Value::Bool(false)) => return Ok(Value::Bool(false)),
            (BinaryOp::Or, Value::Bool(true)) => return Ok(Value::Bool(true)),
            _ => {}
        }
        let b = self.unplaced(env, rhs)?;
        self.binary(op, a, b, [span, lhs.span, rhs.span])
    }

    fn if_expr(
        &mut self,
        env: &mut Env<'a>,
        branches: &'a [ast::Branch],
        otherwise: Option<&'a ast::Block>,
    ) -> R<Value<'a>> {
        for b in branches {
            let cond = self.unplaced(env, &b.cond)?;
            if self.static_bool(&cond, b.cond.span)? {
                return self.block(env, &b.body);
            }
        }
        otherwise.map_or(Ok(Value::None), |b| self.block(env, b))
    }

    /// A condition that decides what is built.
    pub fn static_bool(&mut self, v: &Value<'a>, span: Span) -> R<bool> {
        match v {
            Value::Bool(b) => Ok(*b),
            Value::Tensor(t) => {
                let ty = self.ty(*t);
                Err(error(
                    "E0312",
                    span,
                    format!("this condition is {ty}, which is not known at compile time"),
                )
                .hint("`if` decides what is built; use `where(c, a, b)` to choose between values")
                .into())
            }
            v => Err(error("E0305", span, format!("a condition must be a bool, this is {}", v.kind()))
                .hint("compare it: `n != 0`")
                .into()),
        }
    }

    fn for_expr(
        &mut self,
        env: &mut Env<'a>,
        names: &'a [ast::Name],
        iter: &'a Expr,
        body: &'a ast::Block,
    ) -> R<Value<'a>> {
        let over = self.unplaced(env, iter)?;
        for item in self.iterate(&over, iter.span)? {
            self.tick(iter.span)?;
            let mark = env.vars.len();
            self.bind_names(env, names, item, iter.span)?;
            let result = self.block(env, body);
            env.vars.truncate(mark);
            result?;
        }
        Ok(Value::None)
    }

    fn list_for(&mut self, env: &mut Env<'a>, l: &'a ast::ListFor, span: Span) -> R<Value<'a>> {
        let over = self.unplaced(env, &l.iter)?;
        let mut out = vec![];
        for item in self.iterate(&over, l.iter.span)? {
            self.tick(span)?;
            let mark = env.vars.len();
            self.bind_names(env, &l.names, item, l.iter.span)?;
            let keep = match &l.cond {
                None => true,
                Some(c) => {
                    let cond = self.unplaced(env, c)?;
                    self.static_bool(&cond, c.span)?
                }
            };
            if keep {
                let place = self.place_below(&out.len().to_string());
                let v = self.placed(place, |cx| cx.expr(env, &l.element));
                env.vars.truncate(mark);
                out.push(v?);
            }
            env.vars.truncate(mark);
        }
        Ok(Value::list(out))
    }

    pub fn bind_names(
        &mut self,
        env: &mut Env<'a>,
        names: &'a [ast::Name],
        item: Value<'a>,
        span: Span,
    ) -> R<()> {
        if let [one] = names {
            env.declare(&one.text, item, one.span);
            return Ok(());
        }
        let parts = self.parts(&item, names.len(), span)?;
        for (name, v) in names.iter().zip(parts) {
            env.declare(&name.text, v, name.span);
        }
        Ok(())
    }

    /// The elements of a tuple or list, of which there must be `n`.
    pub fn parts(&mut self, v: &Value<'a>, n: usize, span: Span) -> R<Vec<Value<'a>>> {
        match v {
            Value::Poison => Err(Fail::Silent),
            Value::List(items) | Value::Tuple(items) if items.len() == n => Ok(items.to_vec()),
            Value::List(items) | Value::Tuple(items) => {
                fail("E0306", span, format!("{} values for {n} names", items.len()))
            }
            Value::Tensor(t) => {
                Err(error("E0306", span, format!("a tensor ({}) cannot be taken apart", self.ty(*t)))
                    .hint("use `.unstack(axis: 0)` or `.chunk(n, axis: ..)`")
                    .into())
            }
            v => fail("E0306", span, format!("{} cannot be taken apart into {n} names", v.kind())),
        }
    }

    /// What a `for` runs over.
    pub fn iterate(&mut self, v: &Value<'a>, span: Span) -> R<Vec<Value<'a>>> {
        match v {
            Value::List(items) | Value::Tuple(items) => Ok(items.to_vec()),
            Value::Range(a, b) => {
                let (Some(start), Some(end)) = (a.as_const(), b.as_const()) else {
                    return Err(error(
                        "E0312",
                        span,
                        format!("the range {a}..{b} is not known at compile time"),
                    )
                    .hint("`for` is unrolled; a run-time loop is `scan i in 0..n { .. }`")
                    .into());
                };
                let n = end.saturating_sub(start);
                if n > MAX_LIST {
                    return Err(error(
                        "E0313",
                        span,
                        format!("{n} rounds are too many for a loop that is unrolled"),
                    )
                    .note(format!("the limit is {MAX_LIST}"))
                    .into());
                }
                Ok((start..end).map(Value::int).collect())
            }
            Value::Tensor(t) => {
                let title = format!("`for` runs over compile-time lists and ranges, this is {}", self.ty(*t));
                Err(error("E0305", span, title)
                    .hint("use `x.unstack(axis: 0)` for a list of its slices")
                    .into())
            }
            Value::Poison => Err(Fail::Silent),
            v => fail("E0305", span, format!("`for` runs over lists and ranges, this is {}", v.kind())),
        }
    }

    /// A block's value: its last expression. Locals end with it.
    pub fn block(&mut self, env: &mut Env<'a>, b: &'a ast::Block) -> R<Value<'a>> {
        let mark = env.vars.len();
        let result = self.stmts(env, b);
        env.vars.truncate(mark);
        result
    }

    fn path_map(&mut self, env: &mut Env<'a>, entries: &'a [ast::PathEntry]) -> R<Value<'a>> {
        let mut out = vec![];
        for e in entries {
            let mut globs = vec![];
            for k in &e.keys {
                globs.push((self.string(env, k)?, k.span));
            }
            let value = self.expr(env, &e.value)?;
            out.push(MapEntry { globs, value, span: e.span });
        }
        Ok(Value::PathMap(std::rc::Rc::new(out)))
    }

    /// `base.name` without a call.
    pub fn field(&mut self, env: &mut Env<'a>, base: Value<'a>, name: &'a ast::Name) -> R<Value<'a>> {
        match base {
            Value::Poison => Err(Fail::Silent),
            Value::Module(file) => match self.lookup_file(file, &name.text)? {
                Some(v) => Ok(v),
                None => {
                    let known: Vec<&str> = self.files.get(file).map_or(vec![], |u| u.names().collect());
                    let d = error("E0301", name.span, format!("the file has no `{}`", name.text));
                    Err(suggest::hint(d, &name.text, known, "").into())
                }
            },
            Value::Instance(id) => {
                let inner = Env::new(self.instances[id.0].file, super::env::Owner::Instance(id));
                let found = self.instance_name(id, &name.text);
                found.ok_or_else(|| self.unknown_member(&inner, id, &name.text, name.span).into())
            }
            other => {
                let v = self.read(other)?;
                self.property(env, v, name)
            }
        }
    }

    fn property(&mut self, env: &Env<'a>, v: Value<'a>, name: &ast::Name) -> R<Value<'a>> {
        let ty = match &v {
            Value::Tensor(t) => Some(self.ty(*t)),
            Value::Type(t) => Some(t.clone()),
            _ => None,
        };
        match (name.text.as_str(), ty) {
            ("shape", Some(t)) => Ok(Value::list(t.shape.iter().cloned().map(Value::Int).collect())),
            ("shape", None) if v.is_number() => Ok(Value::list(vec![])),
            ("dtype", Some(t)) => Ok(Value::Type(mlc_ir::Type::scalar(t.dtype))),
            (n, _) => {
                let d = error("E0303", name.span, format!("{} has no `{n}`", v.kind()));
                let callable = self.lookup(env, n, name.span).is_ok();
                Err(match callable {
                    true => suggest::hint(d, n, ["shape", "dtype"], &format!("call it: `.{n}()`")),
                    false => suggest::unknown(d, n, ["shape", "dtype"]),
                }
                .into())
            }
        }
    }

    /// A compile-time integer, possibly symbolic.
    pub fn int_expr(&mut self, env: &mut Env<'a>, e: &'a Expr) -> R<Dim> {
        let v = self.unplaced(env, e)?;
        self.to_dim(&v, e.span)
    }

    pub fn to_dim(&self, v: &Value<'a>, span: Span) -> R<Dim> {
        match v {
            Value::Int(d) if d.is_overflow() => fail("E0211", span, "this integer does not fit in 64 bits"),
            Value::Int(d) => Ok(d.clone()),
            Value::Poison => Err(Fail::Silent),
            Value::Float(x) => Err(error("E0211", span, format!("an integer is needed here, this is {x:?}"))
                .hint("a quotient of dims must come out exactly")
                .into()),
            Value::Tensor(t) => {
                let title = format!("a compile-time integer is needed here, this is {}", self.ty(*t));
                Err(error("E0312", span, title).hint("sizes must be known before anything runs").into())
            }
            v => fail("E0305", span, format!("an integer is needed here, this is {}", v.kind())),
        }
    }

    /// A known integer.
    pub fn to_int(&self, v: &Value<'a>, span: Span) -> R<i64> {
        let d = self.to_dim(v, span)?;
        d.as_const().ok_or_else(|| {
            error("E0312", span, format!("this integer must be known at compile time; `{d}` is bound later"))
                .into()
        })
    }

    pub fn device_ref(&mut self, env: &Env<'a>, d: &'a ast::DeviceRef) -> R<Device> {
        match d {
            ast::DeviceRef::Literal(d, _) => Ok(self.remapped(*d, None)),
            ast::DeviceRef::Name(n) => match self.lookup(env, &n.text, n.span)? {
                Value::Device(d) => Ok(d),
                Value::Poison => Err(Fail::Silent),
                v => Err(error("E0510", n.span, format!("`{}` is {}, not a device", n.text, v.kind()))
                    .hint(format!("declare it: `device {} = cuda:0`", n.text))
                    .into()),
            },
        }
    }

    /// A device after `--device left=cpu:1` or `--device cuda:1=cpu:1`.
    pub fn remapped(&self, device: Device, name: Option<&str>) -> Device {
        let text = device.to_string();
        let by = |key: &str| self.options.devices.iter().find(|(k, _)| k == key).map(|(_, d)| *d);
        name.and_then(by).or_else(|| by(&text)).unwrap_or(device)
    }

    /// Runs `f` with nodes and instances on a device.
    pub fn on_device<T>(&mut self, d: Device, f: impl FnOnce(&mut Self) -> T) -> T {
        let saved = self.g.device.replace(d);
        let result = f(self);
        self.g.device = saved;
        result
    }
}
