//! Run-time loops: `scan i in 0..n { .. }`, `scan x in xs, axis: 1 { .. }`.
//!
//! The body is evaluated once, among the nodes around it, with nodes that stand for what a trip is given: its
//! number, its slices, and the carries (see [`carry`]). What depends on those nodes is then moved into a region
//! of its own ([`Graph::outline`](mlc_ir::graph::Graph::outline)), so that what does not change from trip to
//! trip is computed once.
//!
//! Random numbers in a loop are keyed by the loop's index: in each trip the seed is a key of that trip, two
//! random words of the loop's own site.

mod carry;

use mlc_diag::Span;
use mlc_ir::graph::{NodeId, ValueId};
use mlc_ir::op::{Literal, Op, Port, RandomBits, ScalarFn, Scan, ScanBody};
use mlc_ir::program::system;
use mlc_ir::types::{Fact, Relation, Shape};
use mlc_ir::{DType, Dim, Type};

use super::builtins::{axis_at, random_site};
use super::env::Env;
use super::fail::{Fail, R, error, fail};
use super::interp::Interp;
use super::later;
use super::value::Value;
use crate::syntax::ast::{self, Block, Expr, Name};
use carry::{Carry, flatten, refill};

/// A loop whose body is being evaluated.
#[derive(Debug)]
pub struct OpenLoop {
    trips: Dim,
    /// Where its keys come from.
    site: u32,
    /// Tensors along whose first axis the trips go, and what stands for a trip's slice.
    each: Vec<(ValueId, ValueId)>,
    /// The key of this trip, once something random is asked for.
    key: Option<ValueId>,
}

/// What a `scan` runs over.
struct Over {
    trips: Dim,
    /// What is sliced, with the loop's axis in front; none for a range.
    xs: Vec<ValueId>,
    /// Of a range.
    start: Dim,
    span: Span,
}

/// A body after its evaluation; the carried names have their new values in the environment.
struct Body<'a> {
    trip: ValueId,
    carries: Vec<Carry<'a>>,
    value: Value<'a>,
}

impl<'a> Interp<'a> {
    pub fn scan_expr(
        &mut self,
        env: &mut Env<'a>,
        (names, iter): (&'a [Name], &'a Expr),
        options: &'a [ast::Arg],
        body: &'a Block,
        span: Span,
    ) -> R<Value<'a>> {
        let axis = self.scan_axis(env, options)?;
        let over = self.unplaced(env, iter)?;
        let over = self.scan_over(&over, axis, names, iter.span)?;
        let site = random_site(self, "loop", span)?;
        self.g.loops.push(OpenLoop { trips: over.trips.clone(), site, each: vec![], key: None });
        let result = self.scan_body(env, names, over, body, span);
        let Some(open) = self.g.loops.pop() else { return Err(Fail::Silent) };
        self.close_loop(env, open, result?, axis, span)
    }

    /// The one option there is.
    fn scan_axis(&mut self, env: &mut Env<'a>, options: &'a [ast::Arg]) -> R<i64> {
        let mut axis = 0;
        for o in options {
            match o.name.as_ref() {
                Some(n) if n.text == "axis" => {
                    let v = self.unplaced(env, &o.value)?;
                    axis = self.to_int(&v, o.value.span)?;
                }
                n => {
                    let at = n.map_or(o.value.span, |n| n.span);
                    return fail("E0308", at, "`scan` has one option, `axis`");
                }
            }
        }
        Ok(axis)
    }

    fn scan_over(&mut self, over: &Value<'a>, axis: i64, names: &[Name], span: Span) -> R<Over> {
        let xs = match over {
            Value::Poison => return Err(Fail::Silent),
            Value::Range(a, b) => {
                let fact = Fact { lhs: a.clone(), rel: Relation::Le, rhs: b.clone(), span };
                let title = format!("the range {a}..{b} ends before it starts");
                self.require(fact, |_| error("E0211", span, title))?;
                return Ok(Over { trips: b - a, xs: vec![], start: a.clone(), span });
            }
            Value::Tensor(t) => vec![*t],
            Value::Tuple(items) | Value::List(items)
                if !items.is_empty() && items.iter().all(|v| matches!(v, Value::Tensor(_))) =>
            {
                items.iter().map(|v| self.any_tensor(v, span)).collect::<R<_>>()?
            }
            v => {
                let title =
                    format!("`scan` runs over a range or along an axis of tensors, this is {}", self.text(v));
                return Err(error("E0305", span, title).hint("over a compile-time list write `for`").into());
            }
        };
        if xs.len() != names.len() {
            return fail("E0306", span, format!("{} tensors for {} names", xs.len(), names.len()));
        }
        let trips = self.common_trips(&xs, axis, span)?;
        let xs = xs.into_iter().map(|x| self.axis_first(x, axis, span)).collect::<R<_>>()?;
        Ok(Over { trips, xs, start: Dim::ZERO, span })
    }

    /// The extent of the axis that all tensors are sliced along.
    fn common_trips(&mut self, xs: &[ValueId], axis: i64, span: Span) -> R<Dim> {
        let mut trips: Option<Dim> = None;
        for &x in xs {
            let ty = self.ty(x);
            let n = ty.shape[axis_at(axis, ty.rank(), "scan", span)?].clone();
            match &trips {
                None => trips = Some(n),
                Some(first) => self.same_dim(first, &n, span, |_| {
                    let title =
                        format!("the tensors of a `scan` differ along axis {axis}: {first} against {n}");
                    error("E0201", span, title)
                })?,
            }
        }
        Ok(trips.unwrap_or(Dim::ZERO))
    }

    fn axis_first(&mut self, x: ValueId, axis: i64, span: Span) -> R<ValueId> {
        let rank = self.ty(x).rank();
        let at = axis_at(axis, rank, "scan", span)?;
        let perm = std::iter::once(at).chain((0..rank).filter(|&a| a != at)).collect();
        Ok(self.b().transpose(x, perm)?)
    }

    /// The inverse: axis 0 becomes `axis`.
    fn first_to(&mut self, x: ValueId, axis: i64, span: Span) -> R<ValueId> {
        let rank = self.ty(x).rank();
        let at = axis_at(axis, rank, "scan", span)?;
        let perm = (1..=at).chain([0]).chain(at + 1..rank).collect();
        Ok(self.b().transpose(x, perm)?)
    }

    fn scan_body(
        &mut self,
        env: &mut Env<'a>,
        names: &'a [Name],
        over: Over,
        body: &'a Block,
        span: Span,
    ) -> R<Body<'a>> {
        let trip = self.port(Port::Trip, Type::scalar(DType::I64));
        let carries = self.open_carries(env, body)?;
        let states = self.g.current.clone();
        let mark = env.vars.len();
        if over.xs.is_empty() {
            let mut index = trip;
            if !over.start.is_const(0) {
                let start = self.tensor_of(&Value::Int(over.start), DType::I64, over.span)?;
                index = self.b().add(trip, start)?;
            }
            self.bind_names(env, names, Value::Tensor(index), over.span)?;
        }
        for (name, x) in names.iter().zip(over.xs) {
            let slice = self.slice_of(x);
            env.declare(&name.text, Value::Tensor(slice), name.span);
        }
        let result = self.block(env, body);
        env.vars.truncate(mark);
        let value = result?;
        let wrote = |w: &&(_, Span)| self.g.current.get(&w.0) != states.get(&w.0);
        if let Some((_, at)) = self.g.written.iter().rev().find(wrote) {
            let d = later::construct("writing state in a run-time loop", *at);
            return Err(d.label(span, "in this loop").into());
        }
        Ok(Body { trip, carries, value })
    }

    /// A node that stands for what a trip is given.
    fn port(&mut self, port: Port, ty: Type) -> ValueId {
        let prov = self.prov();
        port.insert(&mut self.g.graph, ty, prov)
    }

    /// The slice of a tensor that a trip of the innermost loop sees.
    fn slice_of(&mut self, x: ValueId) -> ValueId {
        let ty = self.ty(x);
        let slice = ty.with_shape(ty.shape.iter().skip(1).cloned());
        let number = self.g.loops.last().map_or(0, |l| l.each.len());
        let param = self.port(Port::Each(number), slice);
        if let Some(open) = self.g.loops.last_mut() {
            open.each.push((x, param));
        }
        param
    }

    /// Makes the node of a loop whose body is evaluated, and gives the carried names their last values.
    fn close_loop(
        &mut self,
        env: &mut Env<'a>,
        open: OpenLoop,
        body: Body<'a>,
        axis: i64,
        span: Span,
    ) -> R<Value<'a>> {
        let Body { trip, carries, value } = body;
        let next = self.close_carries(env, &carries)?;
        let mut outs = vec![];
        if !matches!(value, Value::None) {
            flatten(&value, &mut |v| {
                outs.push(self.any_tensor(v, span)?);
                Ok(())
            })?;
        }
        let params = || carries.iter().flat_map(|c| c.params.iter().copied());
        let given: Vec<NodeId> =
            params().chain(open.each.iter().map(|e| e.1)).chain([trip]).map(|v| v.node).collect();
        self.check_grads(&given, span)?;
        let roots: Vec<ValueId> = next.iter().chain(&outs).copied().collect();
        let outlined = self.g.graph.outline(&given, &roots, &|i| Port::Kept(i).name().into());
        let mut region = ScanBody { graph: outlined.graph };
        let (next, outs) = outlined.roots.split_at(next.len());
        next.iter().for_each(|&v| region.carry(v, span));
        outs.iter().for_each(|&v| region.output(v, span));
        let operands: Vec<ValueId> = (open.each.iter().map(|e| e.0))
            .chain(carries.iter().flat_map(|c| c.first.iter().copied()))
            .chain(outlined.kept)
            .collect();
        let op =
            Scan { trips: open.trips, each: open.each.len(), carries: next.len(), body: region.finish() };
        let results = self.scan_node(op, &operands)?;
        let (last, stacks) = results.split_at(next.len());
        let mut last = last.iter().copied();
        for c in &carries {
            let value = refill(&c.before, &mut last);
            env.assign(c.name, value, c.bound);
        }
        let stacks: Vec<ValueId> = stacks.iter().map(|&v| self.first_to(v, axis, span)).collect::<R<_>>()?;
        Ok(refill(&value, &mut stacks.into_iter()))
    }

    fn scan_node(&mut self, op: Scan, operands: &[ValueId]) -> R<Vec<ValueId>> {
        let (prov, device) = (self.prov(), self.g.device);
        let id = self.g.graph.add(op.into(), operands, prov)?;
        let results: Vec<ValueId> = (0..self.g.graph.node(id).results.len()).map(|i| id.result(i)).collect();
        for &v in results.iter().filter(|_| device.is_some()) {
            let ty = self.ty(v);
            self.g.graph.set_type(v, ty.on(device));
        }
        Ok(results)
    }

    /// In a loop, `grad` differentiates what the trip itself computes: by a value of the trip.
    fn check_grads(&mut self, given: &[NodeId], span: Span) -> R<()> {
        let inside = self.g.graph.dependents(given);
        for &id in &inside {
            let node = self.g.graph.node(id);
            let outside = |v: &&ValueId| !inside.contains(&v.node);
            if let (Op::Grad(_), Some(x)) = (&node.op, node.operands.iter().skip(1).find(outside)) {
                let what = "a gradient in a run-time loop by a value from outside it";
                let d = later::construct(what, node.prov.span);
                return Err(d.label(self.g.graph.span(*x), "the value").label(span, "the loop").into());
            }
        }
        Ok(())
    }

    /// The key of random numbers here: the run's seed; in a loop, one for each trip.
    pub fn random_key(&mut self) -> R<ValueId> {
        let Some(open) = self.g.loops.pop() else {
            let seed = self.system(system::SEED);
            return self.read_state(seed);
        };
        if let Some(key) = open.key {
            self.g.loops.push(open);
            return Ok(key);
        }
        let (trips, site) = (open.trips.clone(), open.site);
        // Made outside of this loop, for all its trips at once.
        let keys = self.trip_keys(trips, site);
        self.g.loops.push(open);
        let key = self.slice_of(keys?);
        if let Some(open) = self.g.loops.last_mut() {
            open.key = Some(key);
        }
        Ok(key)
    }

    /// `u64[trips]`: two random words of the site for each trip, the first one low.
    fn trip_keys(&mut self, trips: Dim, site: u32) -> R<ValueId> {
        let (around, iteration) = (self.random_key()?, self.random_iteration()?);
        let shape: Shape = [trips.clone(), Dim::from(2i64)].into_iter().collect();
        let mut b = self.b();
        let words = b.op(RandomBits { site, shape }, &[around, iteration])?;
        let words = b.cast(words, DType::U64)?;
        let one = |b: &mut mlc_ir::graph::GraphBuilder<'_>, i: i64| {
            let word = b.slice_axis(words, 1, Dim::from(i), Dim::from(i + 1))?;
            b.reshape(word, [trips.clone()].into_iter().collect())
        };
        let (low, high) = (one(&mut b, 0)?, one(&mut b, 1)?);
        let by = b.constant(Literal::int(DType::U64, 32))?;
        let by = b.broadcast(by, [trips.clone()].into_iter().collect(), vec![])?;
        let high = b.map(ScalarFn::Shl, &[high, by])?;
        Ok(b.map(ScalarFn::Or, &[low, high])?)
    }

    /// Runs `f` as no part of the loops around: a binding has one value, whichever trip reads it.
    pub fn outside_loops<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let loops = std::mem::take(&mut self.g.loops);
        let result = f(self);
        self.g.loops = loops;
        result
    }

    /// The counter of random numbers: `init` draws those of iteration 0.
    pub fn random_iteration(&mut self) -> R<ValueId> {
        if self.g.fixed_iteration {
            return Ok(self.b().constant(Literal::int(DType::U32, 0))?);
        }
        let id = self.system(system::ITERATION);
        self.read_state(id)
    }
}
