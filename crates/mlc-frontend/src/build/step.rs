//! The graphs of a train block: its passes (forward, gradients, updates) and validation.
//!
//! A pass is one graph: every state is read at entry and written at the end; in between all is SSA.
//! Losses run in text order, each on the parameters that the ones before it left. Metrics read the
//! starting state with the random sites of the first loss, so that their forward is the loss's.
//! Which losses share a pass, and what else is in it, `mlc_ir::program::Update` decides.

use mlc_diag::Span;
use mlc_ir::graph::{Output, Phase, StateWrite, ValueId};
use mlc_ir::op::{Grad, Literal, Op, ReduceKind, StopGradient};
use mlc_ir::program::{Entry, EntryKind, InputDecl, Pass, PassEnd, StateKind, Update, system};
use mlc_ir::{DType, Dim};
use std::collections::HashSet;

use super::env::{Env, Owner};
use super::fail::{Fail, R, error, fail};
use super::interp::{GraphCx, Interp};
use super::suggest;
use super::types::Matching;
use super::value::{StateId, Value};
use crate::syntax::ast;

/// The values of the data's fields, by name.
type Fields = Vec<(String, ValueId)>;

/// What a graph of a train block is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'p> {
    Pass(&'p Pass),
    Validate,
}

impl Purpose<'_> {
    /// Does a loss run, and is it a result?
    fn runs(self, loss: usize) -> bool {
        match self {
            Purpose::Pass(p) => p.losses.contains(&loss),
            Purpose::Validate => true,
        }
    }

    fn has_metrics(self) -> bool {
        match self {
            Purpose::Pass(p) => p.metrics,
            Purpose::Validate => true,
        }
    }
}

impl<'a> Interp<'a> {
    /// All entries of a block.
    pub fn train_entries(&mut self, i: usize, out: &mut Vec<Entry>) {
        let losses = self.trains[i].losses();
        let every: Vec<u64> = losses.iter().map(|l| self.loss_every(i, l)).collect();
        let accumulate = self.accumulate(i);
        if accumulate > 1 {
            self.declare_gradients(i);
        }
        if !losses.is_empty() && !self.trains[i].groups.is_empty() {
            let (updates, complete) = Update::all(&every, accumulate, !self.trains[i].metrics().is_empty());
            if !complete {
                let span = self.trains[i].span;
                let title = format!("the `every` of the losses give more than {} kinds of step", Update::MAX);
                self.report(error("E0313", span, title));
            }
            for pass in Update::passes(&updates) {
                let name = self.pass_name(i, pass);
                self.train_entry(i, name, Purpose::Pass(pass), out);
            }
        }
        if self.trains[i].data("validate").is_some() {
            let name = format!("{}.validate", self.trains[i].name);
            self.train_entry(i, name, Purpose::Validate, out);
        }
    }

    /// Micro-batches in one update.
    pub fn accumulate(&self, i: usize) -> u64 {
        let n = self.trains[i].value("accumulate").and_then(Value::as_int);
        n.and_then(|n| u64::try_from(n).ok()).unwrap_or(1).max(1)
    }

    /// `train.step`; where not all losses run, the names of those that do: `train.step.critic+generator`. Where
    /// losses run apart, those that evaluate metrics are told from those that do not.
    fn pass_name(&self, i: usize, pass: &Pass) -> String {
        let t = &self.trains[i];
        let losses = t.losses();
        let end = match pass.end {
            PassEnd::Micro => "micro",
            PassEnd::Update => "update",
            PassEnd::Step => "step",
        };
        if pass.losses.len() == losses.len() {
            return format!("{}.{end}", t.name);
        }
        let name =
            |&k: &usize| losses[k].name.as_ref().map_or_else(|| format!("loss{k}"), |n| n.text.clone());
        let mut which: Vec<String> = pass.losses.iter().map(name).collect();
        if which.is_empty() {
            which.push("none".to_owned());
        } else if pass.metrics && self.accumulate(i) > 1 {
            which.push("metrics".to_owned());
        }
        format!("{}.{end}.{}", t.name, which.join("+"))
    }

    fn train_entry(&mut self, i: usize, name: String, purpose: Purpose, out: &mut Vec<Entry>) {
        let mut g = GraphCx::new(&name);
        g.training = purpose != Purpose::Validate;
        let kind = match purpose {
            Purpose::Pass(pass) => EntryKind::Pass { train: i, pass: pass.clone() },
            Purpose::Validate => EntryKind::Validate { train: i },
        };
        let (result, g) = self.in_graph(g, |cx| cx.fill_train_graph(i, purpose));
        match result {
            Ok(inputs) => {
                let span = self.trains[i].span;
                out.push(Entry { name, kind, inputs, graph: g.graph, span });
            }
            Err(f) => self.report_fail(f),
        }
    }

    fn fill_train_graph(&mut self, i: usize, purpose: Purpose) -> R<Vec<InputDecl>> {
        let losses = self.trains[i].losses();
        let data = match purpose {
            Purpose::Validate => self.trains[i].data("validate"),
            _ => self.trains[i].data("data"),
        };
        if self.trains[i].value("data").is_some_and(|v| matches!(v, Value::Poison)) {
            return Err(Fail::Silent);
        }
        let (inputs, fields) = self.field_values(i, data.as_deref(), purpose)?;
        let train = self.trains[i].name.clone();
        let stream = |l: Option<&ast::Loss>| {
            let name = l.and_then(|l| l.name.as_ref()).map_or("loss", |n| n.text.as_str());
            let stream = if purpose == Purpose::Validate { "validate." } else { "" };
            format!("{train}.{stream}{name}")
        };
        let several = losses.len() > 1;
        let mut failed = false;
        // What bindings are before any update.
        let mut start = None;
        let running = losses.iter().enumerate().filter(|l| purpose.runs(l.0));
        for (nth, (_, &l)) in running.enumerate() {
            if nth > 0 {
                // They may be computed from what the loss before has updated.
                let bindings = (std::mem::take(&mut self.g.bindings), std::mem::take(&mut self.g.lazy));
                start.get_or_insert(bindings);
            }
            self.settle(l.body.span)?;
            self.start_stream(stream(Some(l)));
            if let Err(f) = self.loss(i, l, &fields, purpose, several) {
                failed = true;
                self.report_fail(f);
            }
        }
        if let Some(bindings) = start {
            (self.g.bindings, self.g.lazy) = bindings;
        }
        let metrics = if purpose.has_metrics() { self.trains[i].metrics() } else { vec![] };
        for m in metrics {
            self.start_stream(stream(losses.first().copied()));
            if let Err(f) = self.metric(i, m, &fields) {
                failed = true;
                self.report_fail(f);
            }
        }
        if failed {
            return Err(Fail::Silent);
        }
        match purpose {
            Purpose::Validate => self.g.written.clear(),
            Purpose::Pass(pass) => self.end_pass(i, pass)?,
        }
        self.commit_writes();
        Ok(inputs)
    }

    /// What earlier losses of the pass left is constant for the next: its gradient does not go through their updates.
    fn settle(&mut self, span: Span) -> R<()> {
        for (id, _) in self.g.written.clone() {
            let left = self.g.current.get(&id).copied();
            if let (Some(v), StateKind::Param | StateKind::Buffer) = (left, &self.states[id.0].kind) {
                let v = self.at(span, |cx| cx.b().op(StopGradient, &[v]))?;
                self.g.current.insert(id, v);
            }
        }
        Ok(())
    }

    /// What follows the losses of a pass.
    fn end_pass(&mut self, i: usize, pass: &Pass) -> R<()> {
        let mut counters = vec![(system::ITERATION, DType::U32)];
        match pass.end {
            PassEnd::Micro if pass.losses.is_empty() => {}
            PassEnd::Micro => counters.push((system::MICRO, DType::F32)),
            PassEnd::Update => {}
            PassEnd::Step => {
                self.learning_rates(i)?;
                self.averages(i)?;
                counters.push((system::STEP, DType::F32));
            }
        }
        self.count_up(&counters)
    }

    /// Random sites of a loss or metric start anew, in its own stream.
    fn start_stream(&mut self, stream: String) {
        self.g.stream = stream;
        self.g.ordinals.clear();
    }

    /// The inputs of the entry: the fields that its losses and metrics name.
    fn field_values(
        &mut self,
        i: usize,
        data: Option<&mlc_ir::program::DataSpec>,
        purpose: Purpose,
    ) -> R<(Vec<InputDecl>, Fields)> {
        let (fields, batch) = data.map_or((vec![], None), |d| self.field_inputs(d));
        let mut used: Vec<&ast::Param> = vec![];
        for l in self.trains[i].losses() {
            used.extend(l.params.iter());
        }
        for m in self.trains[i].metrics() {
            used.extend(m.params.iter());
        }
        let mut missing = false;
        for p in &used {
            if fields.iter().any(|f| f.name == p.name.text) {
                continue;
            }
            missing = true;
            let names: Vec<&str> = fields.iter().map(|f| f.name.as_str()).collect();
            let what = match purpose {
                Purpose::Validate => "`validate`",
                _ => "the data",
            };
            let d = match data {
                None => error(
                    "E0413",
                    p.name.span,
                    format!("`{}` is no field: the block has no data", p.name.text),
                )
                .hint("bind `data = ..`"),
                Some(_) => {
                    let d = error("E0413", p.name.span, format!("{what} has no field `{}`", p.name.text));
                    let all = format!("its fields are {}", names.join(", "));
                    suggest::hint(d, &p.name.text, names.iter().copied(), &all)
                }
            };
            self.report(d);
        }
        if missing {
            return Err(Fail::Silent);
        }
        let mut inputs = vec![];
        let mut values = vec![];
        for f in fields {
            if used.iter().any(|p| p.name.text == f.name) {
                let v = self.add_input(&f.name, f.ty.clone(), f.span, 1)?;
                inputs.push(InputDecl {
                    name: f.name.as_str().into(),
                    ty: f.ty,
                    default: None,
                    span: f.span,
                });
                values.push((f.name, v));
            }
        }
        if let Some(b) = batch {
            self.g.graph.dims.declare(b.clone(), Span::NONE, 1);
            self.g.batch = Some(Dim::sym(b));
        }
        Ok((inputs, values))
    }

    /// Evaluates the body of a loss or metric with its fields.
    fn body(
        &mut self,
        i: usize,
        params: &'a [ast::Param],
        body: &'a ast::Block,
        fields: &[(String, ValueId)],
    ) -> R<Value<'a>> {
        let mut env = Env::new(self.trains[i].file, Owner::Train(i));
        for p in params {
            let Some((_, v)) = fields.iter().find(|f| f.0 == p.name.text) else { return Err(Fail::Silent) };
            let mut v = Value::Tensor(*v);
            if let Some(ty) = &p.ty {
                let what = format!("the field `{}`", p.name.text);
                v = self.match_type(
                    &mut env,
                    ty,
                    v,
                    &Matching { what: &what, span: p.span, introduce: true },
                )?;
            }
            env.declare(&p.name.text, v, p.name.span);
        }
        let v = self.placed(None, |cx| cx.block(&mut env, body))?;
        match v {
            Value::Poison => Err(Fail::Silent),
            v => Ok(v),
        }
    }

    fn loss(
        &mut self,
        i: usize,
        l: &'a ast::Loss,
        fields: &[(String, ValueId)],
        purpose: Purpose,
        several: bool,
    ) -> R<()> {
        let v = self.body(i, &l.params, &l.body, fields)?;
        let span = l.body.value().map_or(l.body.span, |e| e.span);
        let scalar = match &v {
            Value::Tensor(t) => self.ty(*t).rank() == 0 && self.ty(*t).dtype.is_float(),
            _ => false,
        };
        let (Value::Tensor(y), true) = (&v, scalar) else {
            let title = format!("a loss is one float, this is {}", self.text(&v));
            return Err(error("E0414", span, title).hint("reduce it: `mean(..)`").into());
        };
        let name = match (&l.name, several) {
            (Some(n), true) => format!("loss.{}", n.text),
            (None, true) => "loss.loss".to_owned(),
            _ => "loss".to_owned(),
        };
        let weight = Some(self.g.batch.clone().unwrap_or(Dim::ONE));
        let out = self.b().cast(*y, DType::F32)?;
        self.g.graph.outputs.push(Output { name, value: out, weight, span });
        let Purpose::Pass(pass) = purpose else { return Ok(()) };
        let grads = self.at(span, |cx| cx.gradients(i, l, *y))?;
        self.g.phase = Phase::Update;
        let result = self.at(span, |cx| cx.apply(i, l, grads, pass.end));
        self.g.phase = Phase::Forward;
        result
    }

    /// The gradients of a loss by the parameters that it updates and depends on.
    fn gradients(&mut self, i: usize, l: &'a ast::Loss, y: ValueId) -> R<Vec<(StateId, ValueId)>> {
        let targets = self.loss_targets(i, l)?;
        let live = self.ancestors(y);
        let mut chosen = vec![];
        for g in 0..self.trains[i].groups.len() {
            for t in 0..self.trains[i].groups[g].params.len() {
                let p = self.trains[i].groups[g].params[t].param;
                if targets.contains(&p) {
                    let v = self.read_state(p)?;
                    if live.contains(&v) {
                        chosen.push((p, v));
                    }
                }
            }
        }
        chosen.sort();
        if chosen.is_empty() {
            let d = error("E0415", self.span, "this loss depends on no parameter that it updates");
            return Err(d.hint("compute it from the output of a model that is trained").into());
        }
        let operands: Vec<ValueId> = std::iter::once(y).chain(chosen.iter().map(|c| c.1)).collect();
        self.g.phase = Phase::Backward;
        let g = self.b().op(Op::Grad(Grad { allow_unused: true }), &operands);
        self.g.phase = Phase::Forward;
        let g = g?;
        Ok(chosen.iter().enumerate().map(|(k, c)| (c.0, g.node.result(k))).collect())
    }

    /// All values that `y` is computed from, other than through `stop_gradient`.
    fn ancestors(&self, y: ValueId) -> HashSet<ValueId> {
        let mut seen = HashSet::new();
        let mut work = vec![y];
        while let Some(v) = work.pop() {
            if !seen.insert(v) {
                continue;
            }
            let node = self.g.graph.node(v.node);
            if !matches!(node.op, Op::StopGradient(_)) {
                work.extend(node.operands.iter().copied());
            }
        }
        seen
    }

    /// A metric: its value, or the mean of its elements.
    fn metric(&mut self, i: usize, m: &'a ast::Metric, fields: &[(String, ValueId)]) -> R<()> {
        let current = std::mem::take(&mut self.g.current);
        let written = self.g.written.clone();
        let v = self.body(i, &m.params, &m.body, fields);
        self.g.current = current;
        self.g.written = written;
        let v = v?;
        let span = m.body.value().map_or(m.body.span, |e| e.span);
        let t = match &v {
            Value::Tensor(t) => *t,
            v if v.is_number() || matches!(v, Value::Bool(_)) => self.any_tensor(v, span)?,
            v => {
                return fail(
                    "E0414",
                    span,
                    format!("a metric is a tensor or a number, this is {}", self.text(v)),
                );
            }
        };
        let (value, weight) = self.at(span, |cx| cx.mean(t))?;
        let name = format!("metric.{}", m.name.text);
        self.g.graph.outputs.push(Output { name, value, weight: Some(weight), span });
        Ok(())
    }

    /// The mean in f32, and how many elements (or rows, for a scalar) it is a mean of.
    fn mean(&mut self, t: ValueId) -> R<(ValueId, Dim)> {
        let ty = self.ty(t);
        let wide = if ty.dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let v = self.b().cast(t, wide)?;
        if ty.rank() == 0 {
            let weight = self.g.batch.clone().unwrap_or(Dim::ONE);
            return Ok((self.b().cast(v, DType::F32)?, weight));
        }
        let count = ty.count();
        let sum = self.b().reduce(ReduceKind::Sum, v, (0..ty.rank()).collect())?;
        let n = self.tensor_of(&Value::Int(count.clone()), wide, self.span)?;
        let mean = self.b().div(sum, n)?;
        Ok((self.b().cast(mean, DType::F32)?, count))
    }

    fn count_up(&mut self, counters: &[(&'static str, DType)]) -> R<()> {
        self.g.phase = Phase::Infra;
        for (path, dtype) in counters {
            let id = self.system(path);
            let old = self.read_state(id)?;
            let lit = if dtype.is_int() { Literal::int(*dtype, 1) } else { Literal::scalar(*dtype, 1.0) };
            let one = self.b().constant(lit)?;
            let new = self.b().add(old, one)?;
            self.write_state(id, new, Span::NONE);
        }
        self.g.phase = Phase::Forward;
        Ok(())
    }

    /// The state writes of the graph: those of training steps are kept.
    pub fn commit_writes(&mut self) {
        let written = std::mem::take(&mut self.g.written);
        for (id, span) in written {
            let Some(&value) = self.g.current.get(&id) else { continue };
            let state = self.state_path(id).into();
            self.g.graph.writes.push(StateWrite { state, value, span });
        }
    }
}
