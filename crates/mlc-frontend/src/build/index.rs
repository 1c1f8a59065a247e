//! Indexing: `x[.., 0, a:b, None, i]`, and rebinding `x[.., a:b] = y`.
//!
//! Integers, slices and new axes become slices and reshapes. Integer tensors become one gather: where
//! they are separated by other axes, the result has their axes at the place of the first.

use std::rc::Rc;

use mlc_diag::Span;
use mlc_ir::graph::ValueId;
use mlc_ir::op::Slice;
use mlc_ir::types::{Fact, Relation, Shape};
use mlc_ir::{DType, Dim};

use super::env::Env;
use super::expr::MAX_LIST;
use super::fail::{Fail, R, error, fail};
use super::interp::Interp;
use super::stmt::list_position;
use super::value::Value;
use crate::syntax::ast::{IndexItem, IndexKind};

/// An evaluated index item, with its place in the source.
enum Item {
    NewAxis,
    At(Dim, Span),
    Slice {
        start: Bound,
        end: Bound,
        step: i64,
        span: Span,
    },
    Tensor(ValueId),
    /// An axis that no item names.
    Whole,
}

enum Bound {
    None,
    Dim(Dim),
    /// A run-time start: only where the length is known, in `x[a : a + n]`.
    Tensor(ValueId),
}

impl<'a> Interp<'a> {
    pub fn index(
        &mut self,
        env: &mut Env<'a>,
        v: Value<'a>,
        items: &'a [IndexItem],
        span: Span,
    ) -> R<Value<'a>> {
        match v {
            Value::Poison => Err(Fail::Silent),
            Value::List(ref list) | Value::Tuple(ref list) => self.index_list(env, &v, list, items, span),
            Value::Tensor(t) => {
                let plan = self.index_plan(env, t, items, span)?;
                self.index_tensor(t, plan, span).map(Value::Tensor)
            }
            Value::Source(s) => {
                let mut s = (*s).clone();
                for item in items {
                    let IndexKind::At(e) = &item.kind else {
                        return fail("E0202", item.span, "a data source takes integer indices");
                    };
                    let v = self.unplaced(env, e)?;
                    s.index.push(self.to_int(&v, e.span)?);
                }
                Ok(Value::Source(Rc::new(s)))
            }
            v => fail("E0305", span, format!("{} cannot be indexed", v.kind())),
        }
    }

    fn index_list(
        &mut self,
        env: &mut Env<'a>,
        whole: &Value<'a>,
        list: &Rc<Vec<Value<'a>>>,
        items: &'a [IndexItem],
        span: Span,
    ) -> R<Value<'a>> {
        let [item] = items else {
            return fail("E0202", span, format!("{} takes one index", whole.kind()));
        };
        match &item.kind {
            IndexKind::At(e) => {
                let v = self.unplaced(env, e)?;
                let i = self.to_int(&v, e.span)?;
                let at = list_position(list.len(), i, e.span)?;
                let v = list[at].clone();
                if matches!(v, Value::Poison) { Err(Fail::Silent) } else { Ok(v) }
            }
            IndexKind::Slice { start, end, step } => {
                let mut bounds = [0, list.len() as i64, 1];
                for (b, e) in bounds.iter_mut().zip([start, end, step]) {
                    if let Some(e) = e {
                        let v = self.unplaced(env, e)?;
                        *b = self.to_int(&v, e.span)?;
                    }
                }
                let n = list.len() as i64;
                let [mut a, mut b, step] = bounds;
                a += if a < 0 { n } else { 0 };
                b += if b < 0 { n } else { 0 };
                if a < 0 || b > n || a > b || step < 1 {
                    return fail(
                        "E0205",
                        item.span,
                        format!("slice {a}:{b} is out of range for a list of {n}"),
                    );
                }
                let out: Vec<Value<'a>> =
                    list[a as usize..b as usize].iter().step_by(step as usize).cloned().collect();
                Ok(if matches!(whole, Value::Tuple(_)) { Value::tuple(out) } else { Value::list(out) })
            }
            _ => fail("E0202", item.span, format!("{} takes an integer or a slice", whole.kind())),
        }
    }

    /// One item for each axis of the tensor, and the new axes.
    fn index_plan(
        &mut self,
        env: &mut Env<'a>,
        t: ValueId,
        items: &'a [IndexItem],
        span: Span,
    ) -> R<Vec<Item>> {
        let ty = self.ty(t);
        let named = items.iter().filter(|i| !matches!(i.kind, IndexKind::NewAxis | IndexKind::Rest)).count();
        if named > ty.rank() {
            return fail("E0202", span, format!("{named} indices for {ty}, which has rank {}", ty.rank()));
        }
        if items.iter().filter(|i| matches!(i.kind, IndexKind::Rest)).count() > 1 {
            return fail("E0202", span, "`..` stands once in an index");
        }
        let mut free = ty.rank() - named;
        let mut axis = 0;
        let mut plan = vec![];
        for item in items {
            match &item.kind {
                IndexKind::NewAxis => plan.push(Item::NewAxis),
                IndexKind::Rest => {
                    axis += free;
                    plan.extend((0..free).map(|_| Item::Whole));
                    free = 0;
                }
                IndexKind::At(e) => {
                    let v = self.unplaced(env, e)?;
                    plan.push(self.at_item(v, &ty, axis, e.span)?);
                    axis += 1;
                }
                IndexKind::Slice { start, end, step } => {
                    let dim = ty.shape[axis].clone();
                    let step = match step {
                        None => 1,
                        Some(e) => {
                            let v = self.unplaced(env, e)?;
                            self.to_int(&v, e.span)?
                        }
                    };
                    if step < 1 {
                        return Err(error(
                            "E0205",
                            item.span,
                            format!("a slice's step must be positive, this is {step}"),
                        )
                        .hint("use `.flip([axis])` to reverse an axis")
                        .into());
                    }
                    let start = self.bound(env, start.as_ref(), &dim)?;
                    let end = self.bound(env, end.as_ref(), &dim)?;
                    plan.push(Item::Slice { start, end, step, span: item.span });
                    axis += 1;
                }
            }
        }
        plan.extend((0..free).map(|_| Item::Whole));
        Ok(plan)
    }

    fn at_item(&mut self, v: Value<'a>, ty: &mlc_ir::Type, axis: usize, span: Span) -> R<Item> {
        match v {
            Value::Int(d) => Ok(Item::At(from_end(d, &ty.shape[axis]), span)),
            Value::Tensor(i) if self.ty(i).dtype.is_int() => Ok(Item::Tensor(i)),
            Value::Tensor(i) => {
                let have = self.ty(i);
                let d = error("E0203", span, format!("an index must be an integer tensor, this is {have}"));
                Err(if have.dtype == DType::Bool {
                    d.hint("the result's shape would depend on values; use `where(mask, x, 0)`")
                } else {
                    d.hint("cast it: `i.cast(i64)`")
                }
                .into())
            }
            Value::List(ref items) if items.iter().all(|v| v.as_int().is_some()) => {
                let values: Vec<f64> = items.iter().filter_map(Value::as_f64).collect();
                let lit = mlc_ir::op::Literal::from_f64(DType::I64, vec![values.len() as u64], &values);
                let Some(lit) = lit else { return fail("E0202", span, "this index list is too long") };
                Ok(Item::Tensor(self.b().constant(lit)?))
            }
            v => fail(
                "E0202",
                span,
                format!("an index must be an integer, a slice or an integer tensor, this is {}", v.kind()),
            ),
        }
    }

    fn bound(&mut self, env: &mut Env<'a>, e: Option<&'a crate::syntax::ast::Expr>, dim: &Dim) -> R<Bound> {
        let Some(e) = e else { return Ok(Bound::None) };
        match self.unplaced(env, e)? {
            Value::Int(d) => Ok(Bound::Dim(from_end(d, dim))),
            Value::Tensor(t) if self.ty(t).rank() == 0 && self.ty(t).dtype.is_int() => Ok(Bound::Tensor(t)),
            v => fail(
                "E0205",
                e.span,
                format!("a slice's bound must be an integer, this is {}", self.text(&v)),
            ),
        }
    }

    fn index_tensor(&mut self, t: ValueId, plan: Vec<Item>, span: Span) -> R<ValueId> {
        let ty = self.ty(t);
        let (mut starts, mut limits) = (vec![], vec![]);
        let mut steps = vec![];
        let mut dynamic: Vec<(usize, ValueId, Dim)> = vec![];
        let mut axis = 0;
        for item in &plan {
            let dim = || ty.shape.get(axis).cloned().unwrap_or(Dim::ZERO);
            let (start, limit, step) = match item {
                Item::NewAxis => continue,
                Item::Whole | Item::Tensor(..) => (Dim::ZERO, dim(), 1),
                Item::At(i, at) => {
                    let d = dim();
                    self.in_range(i, &d, &ty, axis, *at)?;
                    (i.clone(), i + &Dim::ONE, 1)
                }
                Item::Slice { start: Bound::Tensor(s), end, step, span } => {
                    let n = self.dynamic_length(*s, end, *step, *span)?;
                    dynamic.push((axis, *s, n));
                    (Dim::ZERO, dim(), 1)
                }
                Item::Slice { start, end, step, span } => {
                    let pick = |b: &Bound, default: Dim| match b {
                        Bound::None => Ok(default),
                        Bound::Dim(d) => Ok(d.clone()),
                        Bound::Tensor(_) => {
                            fail("E0205", *span, "a slice's length must be known: write `a : a + n`")
                        }
                    };
                    let (from, to) = (pick(start, Dim::ZERO)?, pick(end, dim())?);
                    self.slice_in_range(&from, &to, &ty, axis, *span)?;
                    (from, to, *step)
                }
            };
            starts.push(start);
            limits.push(limit);
            steps.push(step);
            axis += 1;
        }
        let whole = starts.iter().all(|d| d.is_const(0))
            && limits.iter().eq(ty.shape.iter())
            && steps.iter().all(|&s| s == 1);
        let mut v = if whole { t } else { self.b().op(Slice { starts, limits, steps }, &[t])? };
        for (axis, start, n) in dynamic {
            v = self.dynamic_slice(v, axis, start, n)?;
        }
        self.reshape_indexed(v, &plan, span)
    }

    /// `n` elements from a run-time start: a gather at `start + iota`.
    fn dynamic_slice(&mut self, v: ValueId, axis: usize, start: ValueId, n: Dim) -> R<ValueId> {
        let dtype = self.ty(start).dtype;
        let shape: Shape = [n].into_iter().collect();
        let i = self.b().iota(dtype, shape.clone(), 0)?;
        let s = self.b().broadcast_to(start, &shape)?;
        let i = self.b().add(i, s)?;
        Ok(self.b().gather(v, vec![axis], &[i], false)?)
    }

    /// The length of `a : b` with a run-time `a`, where `b` was computed as `a + n`.
    fn dynamic_length(&mut self, start: ValueId, end: &Bound, step: i64, span: Span) -> R<Dim> {
        let Bound::Tensor(end) = end else {
            return fail("E0205", span, "a slice's length must be known: write `a : a + n`");
        };
        let node = self.g.graph.node(end.node).clone();
        let is_add = matches!(&node.op, mlc_ir::op::Op::Elementwise(e) if e.f == mlc_ir::op::ScalarFn::Add);
        if is_add && step == 1 {
            for (this, other) in [(0, 1), (1, 0)] {
                if node.operands[this] == start
                    && let Some(n) = self.known_scalar(node.operands[other])
                {
                    return Ok(n);
                }
            }
        }
        Err(error("E0205", span, "the length of this slice is not known")
            .hint("write it as `a : a + n`, where n is a compile-time integer")
            .into())
    }

    /// The compile-time integer that a scalar was made from.
    fn known_scalar(&self, v: ValueId) -> Option<Dim> {
        match &self.g.graph.node(v.node).op {
            mlc_ir::op::Op::Constant(c) => c.value.as_scalar().map(|x| Dim::from(x as i64)),
            mlc_ir::op::Op::DimScalar(d) => Some(d.dim.clone()),
            mlc_ir::op::Op::Cast(_) => self.known_scalar(self.g.graph.node(v.node).operands[0]),
            _ => None,
        }
    }

    fn in_range(&mut self, i: &Dim, dim: &Dim, ty: &mlc_ir::Type, axis: usize, span: Span) -> R<()> {
        let title = format!("index {i} is out of range at axis {axis} of {ty}");
        for fact in [
            Fact { lhs: Dim::ZERO, rel: Relation::Le, rhs: i.clone(), span },
            Fact { lhs: i.clone(), rel: Relation::Lt, rhs: dim.clone(), span },
        ] {
            self.require_range(fact, |_| error("E0205", span, title.clone()))?;
        }
        Ok(())
    }

    /// 0 <= from <= to <= dim.
    fn slice_in_range(&mut self, from: &Dim, to: &Dim, ty: &mlc_ir::Type, axis: usize, span: Span) -> R<()> {
        for (lhs, rhs) in [(&Dim::ZERO, from), (from, to), (to, &ty.shape[axis])] {
            let fact = Fact { lhs: lhs.clone(), rel: Relation::Le, rhs: rhs.clone(), span };
            self.require_range(fact, |_| out_of_range(from, to, axis, ty, span))?;
        }
        Ok(())
    }

    /// Gathers at index tensors, drops indexed axes and inserts new ones.
    fn reshape_indexed(&mut self, mut v: ValueId, plan: &[Item], span: Span) -> R<ValueId> {
        // Axes of `v` are those of the plan without new axes.
        let mut tensors = vec![];
        let mut axis = 0;
        for item in plan {
            match item {
                Item::NewAxis => continue,
                Item::Tensor(i) => tensors.push((axis, *i)),
                _ => {}
            }
            axis += 1;
        }
        let mut index_rank = 0;
        if !tensors.is_empty() {
            let ids: Vec<ValueId> = tensors.iter().map(|t| t.1).collect();
            let ids = self.broadcast_all("indices", &ids, span)?;
            index_rank = self.ty(ids[0]).rank();
            let axes = tensors.iter().map(|t| t.0).collect();
            v = self.b().gather(v, axes, &ids, true)?;
        }
        let ty = self.ty(v);
        let mut shape = Shape::new();
        let mut at = 0;
        let mut first = true;
        for item in plan {
            match item {
                Item::NewAxis => shape.push(Dim::ONE),
                Item::At(..) => at += 1,
                Item::Tensor(..) => {
                    if first {
                        shape.extend(ty.shape[at..at + index_rank].iter().cloned());
                        at += index_rank;
                        first = false;
                    }
                }
                Item::Slice { .. } | Item::Whole => {
                    shape.push(ty.shape[at].clone());
                    at += 1;
                }
            }
        }
        Ok(self.b().reshape(v, shape)?)
    }

    /// `old[items] = new` as a value.
    pub fn replace_index(
        &mut self,
        env: &mut Env<'a>,
        old: Value<'a>,
        items: &'a [IndexItem],
        new: Value<'a>,
        span: Span,
        value_span: Span,
    ) -> R<Value<'a>> {
        match old {
            Value::List(list) => {
                let [IndexItem { kind: IndexKind::At(e), .. }] = items else {
                    return fail("E0202", span, "an element of a list is replaced by one integer index");
                };
                let i = self.unplaced(env, e)?;
                let i = self.to_int(&i, e.span)?;
                self.replace_element(&list, i, new, e.span)
            }
            Value::Tensor(t) => {
                let plan = self.index_plan(env, t, items, span)?;
                self.replace_slice(t, plan, &new, span, value_span).map(Value::Tensor)
            }
            v => fail("E0307", span, format!("{} has no parts to assign", v.kind())),
        }
    }

    /// Every axis of the slice is `start : start + length`; the new value is moved to its place by pads
    /// (known starts) or gathers (run-time starts), and chosen where the slice is.
    fn replace_slice(
        &mut self,
        t: ValueId,
        plan: Vec<Item>,
        new: &Value<'a>,
        span: Span,
        value_span: Span,
    ) -> R<ValueId> {
        let ty = self.ty(t);
        let mut parts: Vec<(Bound, Dim)> = vec![];
        let mut shape = Shape::new();
        for item in plan {
            let dim = ty.shape.get(parts.len()).cloned().unwrap_or(Dim::ZERO);
            match item {
                Item::NewAxis => return fail("E0202", span, "a new axis has no place in an assignment"),
                // One run-time integer: a slice of length 1 whose axis the new value has not.
                Item::Tensor(i) if self.ty(i).rank() == 0 => parts.push((Bound::Tensor(i), Dim::ONE)),
                Item::Tensor(..) => {
                    return Err(error("E0202", span, "index tensors cannot be assigned to")
                        .hint("use `scatter_add(x, index, src)` or `index_add`")
                        .into());
                }
                Item::Whole => {
                    shape.push(dim.clone());
                    parts.push((Bound::None, dim));
                }
                Item::At(i, at) => {
                    self.in_range(&i, &dim, &ty, parts.len(), at)?;
                    parts.push((Bound::Dim(i), Dim::ONE));
                }
                Item::Slice { step, span, .. } if step != 1 => {
                    return fail("E0205", span, "an assigned slice has no step");
                }
                Item::Slice { start: Bound::Tensor(s), end, step, span } => {
                    let n = self.dynamic_length(s, &end, step, span)?;
                    shape.push(n.clone());
                    parts.push((Bound::Tensor(s), n));
                }
                Item::Slice { start, end, span, .. } => {
                    let start = match start {
                        Bound::Dim(d) => d,
                        _ => Dim::ZERO,
                    };
                    let end = match end {
                        Bound::Dim(d) => d,
                        Bound::Tensor(_) => return fail("E0205", span, "write the slice as `a : a + n`"),
                        Bound::None => dim.clone(),
                    };
                    let axis = parts.len();
                    self.slice_in_range(&start, &end, &ty, axis, span)?;
                    let n = &end - &start;
                    shape.push(n.clone());
                    parts.push((Bound::Dim(start), n));
                }
            }
        }
        let want = mlc_ir::Type::new(ty.dtype, shape);
        let value = match new {
            Value::Tensor(v) if self.ty(*v).rank() < want.rank() => {
                let v = self.tensor_of(new, ty.dtype, value_span)?;
                self.b().broadcast_to(v, &want.shape)?
            }
            new => self.fit(new, &want, "the slice", value_span)?,
        };
        let kept: Shape = parts.iter().map(|p| p.1.clone()).collect();
        let value = self.b().reshape(value, kept)?;
        self.place_slice(t, value, parts, span)
    }

    fn place_slice(
        &mut self,
        t: ValueId,
        value: ValueId,
        parts: Vec<(Bound, Dim)>,
        span: Span,
    ) -> R<ValueId> {
        let ty = self.ty(t);
        let mut placed = value;
        let mut inside: Option<ValueId> = None;
        for (axis, (start, n)) in parts.into_iter().enumerate() {
            let dim = ty.shape[axis].clone();
            let rank = ty.rank();
            match start {
                Bound::None => {}
                Bound::Dim(s) if s.is_const(0) && n == dim => {}
                Bound::Dim(s) => {
                    let (mut low, mut high) = (vec![Dim::ZERO; rank], vec![Dim::ZERO; rank]);
                    low[axis] = s.clone();
                    high[axis] = &(&dim - &s) - &n;
                    let fact = Fact { lhs: &s + &n, rel: Relation::Le, rhs: dim.clone(), span };
                    let end = &s + &n;
                    self.require_range(fact, |_| out_of_range(&s, &end, axis, &ty, span))?;
                    let fill = self.b().scalar(ty.dtype, 0.0)?;
                    placed = self.b().pad(placed, low, high, fill)?;
                    let i = self.axis_iota(DType::I64, &dim)?;
                    let from = self.axis_scalar(&s, &dim)?;
                    let to = self.axis_scalar(&end, &dim)?;
                    let m = self.between(i, from, to)?;
                    inside = Some(self.and_along(inside, m, axis, &ty.shape)?);
                }
                Bound::Tensor(s) => {
                    // Element j of the result is element j - s of the value; where that is outside, any
                    // element in range will do, as it is not chosen.
                    let dtype = self.ty(s).dtype;
                    let shape: Shape = [dim.clone()].into_iter().collect();
                    let i = self.axis_iota(dtype, &dim)?;
                    let s = self.b().broadcast_to(s, &shape)?;
                    let from = self.b().sub(i, s)?;
                    let zero = self.b().full_like(from, 0.0)?;
                    let len = self.b().dim(n.clone())?;
                    let len = self.b().cast(len, dtype)?;
                    let len = self.b().broadcast_to(len, &shape)?;
                    let m = self.between(from, zero, len)?;
                    let at = self.b().select(m, from, zero)?;
                    placed = self.b().gather(placed, vec![axis], &[at], false)?;
                    inside = Some(self.and_along(inside, m, axis, &ty.shape)?);
                }
            }
        }
        match inside {
            None => Ok(placed),
            Some(m) => Ok(self.b().select(m, placed, t)?),
        }
    }

    fn axis_iota(&mut self, dtype: DType, dim: &Dim) -> R<ValueId> {
        Ok(self.b().iota(dtype, [dim.clone()].into_iter().collect(), 0)?)
    }

    fn axis_scalar(&mut self, d: &Dim, dim: &Dim) -> R<ValueId> {
        let v = self.tensor_of(&Value::Int(d.clone()), DType::I64, self.span)?;
        Ok(self.b().broadcast_to(v, &[dim.clone()].into_iter().collect())?)
    }

    /// low <= i < high, elementwise.
    fn between(&mut self, i: ValueId, low: ValueId, high: ValueId) -> R<ValueId> {
        let a = self.b().map(mlc_ir::op::ScalarFn::Le, &[low, i])?;
        let b = self.b().map(mlc_ir::op::ScalarFn::Lt, &[i, high])?;
        Ok(self.b().map(mlc_ir::op::ScalarFn::And, &[a, b])?)
    }

    /// A mask along one axis, stretched and combined with what there is.
    fn and_along(&mut self, have: Option<ValueId>, m: ValueId, axis: usize, shape: &Shape) -> R<ValueId> {
        let m = self.b().broadcast(m, shape.clone(), vec![axis])?;
        match have {
            None => Ok(m),
            Some(h) => Ok(self.b().map(mlc_ir::op::ScalarFn::And, &[h, m])?),
        }
    }

    /// A list of known length from a range.
    pub fn range_list(&mut self, a: &Dim, b: &Dim, span: Span) -> R<Vec<Value<'a>>> {
        let items = self.iterate(&Value::Range(a.clone(), b.clone()), span)?;
        debug_assert!(items.len() as i64 <= MAX_LIST);
        Ok(items)
    }
}

fn out_of_range(from: &Dim, to: &Dim, axis: usize, ty: &mlc_ir::Type, span: Span) -> mlc_diag::Diagnostic {
    let title = format!("slice {from}:{to} is out of range at axis {axis} of {ty}; slices never clamp");
    let d = error("E0205", span, title);
    match (to.as_const(), ty.shape[axis].as_const()) {
        (Some(_), Some(_)) => d,
        _ => d.hint(format!("state that it fits: `where {to} <= {}`", ty.shape[axis])),
    }
}

/// A negative index counts from the end.
fn from_end(i: Dim, dim: &Dim) -> Dim {
    match i.as_const() {
        Some(n) if n < 0 => dim + &i,
        _ => i,
    }
}
