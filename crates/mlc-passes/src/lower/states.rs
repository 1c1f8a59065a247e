//! Buffers of outputs and states, and the order of their readers and writers.
//!
//! A state's new value is written straight into the state where that is safe: the kernel that computes it
//! reads the old value, if at all, only at the element that it writes (L10), and no other reader of the old
//! value has to come after it. Every other reader then gets a hazard edge to the writer. Where it is not
//! safe (`a <- b, b <- a`), the value goes to a temporary and is copied when all readers are done. Such a
//! copy waits for others and none waits for it, so there is never a cycle.

use mlc_diag::{Diagnostic, Span};
use mlc_ir::graph::{Graph, StateWrite, ValueId};
use mlc_ir::loops::{ArgId, BufferId, Kind, Mode, Prov, Role};
use mlc_ir::lower::{Homes, Rule, alias::candidates, prov};
use mlc_ir::mutate::{Mutation, on};
use mlc_ir::op::Op;
use rustc_hash::FxHashMap;

use super::Buffers;
use super::order::Order;
use super::steps::{Place, Steps};
use crate::Decision;

/// Gives outputs and written states their steps and all values their final buffers.
pub fn assign(
    graph: &Graph,
    homes: &Homes<'_>,
    steps: &mut Steps,
    buffers: &mut Buffers<'_>,
    decisions: &mut Vec<Decision>,
) -> Result<(), Diagnostic> {
    let (order, readers, places) = (Order::default(), FxHashMap::default(), FxHashMap::default());
    let mut a = Assign { graph, homes, steps, buffers, decisions, order, readers, places };
    a.prefer_temporaries();
    let mut pending = vec![];
    for w in &graph.writes {
        a.write(w, &mut pending)?;
    }
    a.outputs()?;
    a.order = Order::of(a.steps);
    a.find_readers()?;
    for p in pending {
        a.resolve(p)?;
    }
    Ok(())
}

struct Assign<'a, 'g, 'b> {
    graph: &'a Graph,
    homes: &'a Homes<'g>,
    steps: &'a mut Steps,
    buffers: &'a mut Buffers<'b>,
    decisions: &'a mut Vec<Decision>,
    order: Order,
    /// Steps that read a state's value at entry.
    readers: FxHashMap<BufferId, Vec<usize>>,
    /// Of each step that was asked for: a kernel of segments may have thousands of arguments.
    places: FxHashMap<usize, Places>,
}

/// Where a step's places are.
struct Places {
    /// Arguments that read what lies in a buffer at entry.
    sources: FxHashMap<BufferId, Vec<ArgId>>,
    /// The written place of a value.
    outs: FxHashMap<ValueId, usize>,
}

/// A state that the step `writer` shall write in place, as its written place `out`: what makes `value`, or a
/// copy of it.
struct Pending {
    state: BufferId,
    writer: usize,
    out: usize,
    value: ValueId,
    name: String,
    span: Span,
}

impl Assign<'_, '_, '_> {
    /// A kernel's result may take over the memory of a temporary that dies: of the arguments that qualify,
    /// the first temporary that no other result takes over.
    fn prefer_temporaries(&mut self) {
        for step in &mut self.steps.list {
            for i in 0..step.writes.len() {
                let written = step.written(i);
                let temp = |a: &ArgId| match step.reads[a.ix()] {
                    Place::Value(v) => !is_source(self.graph, v),
                    Place::Buffer(_) => false,
                };
                let fitting: Vec<ArgId> =
                    candidates(&step.kernel, written).into_iter().filter(temp).collect();
                let _ = fitting.into_iter().any(|arg| step.alias(written, arg));
            }
        }
    }

    fn home(&self, v: ValueId) -> Result<ValueId, Diagnostic> {
        self.homes.of(v).ok_or_else(|| Diagnostic::bug(format!("{v} is a result and nowhere stored")))
    }

    /// Has the value no other place than a temporary yet?
    fn unsettled(&mut self, home: ValueId) -> Result<bool, Diagnostic> {
        let slice = self.buffers.of(home)?;
        let buffer = &self.buffers.list[slice.buffer.ix()];
        Ok(buffer.role == Role::Temp && buffer.len == slice.len)
    }

    fn write(&mut self, w: &StateWrite, pending: &mut Vec<Pending>) -> Result<(), Diagnostic> {
        let home = self.home(w.value)?;
        let state = self.buffers.state(&w.state, w.value)?;
        let same = is_source(self.graph, home) && self.buffers.of(home)?.buffer == state;
        if self.buffers.list[state.ix()].len == 0 || same {
            return Ok(());
        }
        let made = match *self.steps.makers(home) {
            [writer] => Some((writer, self.out_of(writer, home)?)),
            _ => None,
        };
        let (writer, out) = match made {
            Some((writer, out)) if self.unsettled(home)? && self.may_overwrite(writer, out, state)? => {
                self.buffers.settle(home, state);
                (writer, out)
            }
            _ => (self.copy(home, state, w.span)?, 0),
        };
        pending.push(Pending { state, writer, out, value: home, name: w.state.to_string(), span: w.span });
        Ok(())
    }

    /// Which of the places that a step writes is this value's.
    fn out_of(&mut self, writer: usize, v: ValueId) -> Result<usize, Diagnostic> {
        Ok(self.places_of(writer)?.outs.get(&v).copied().unwrap_or(0))
    }

    fn places_of(&mut self, step: usize) -> Result<&Places, Diagnostic> {
        if !self.places.contains_key(&step) {
            let of = &self.steps.list[step];
            let mut places = Places { sources: FxHashMap::default(), outs: FxHashMap::default() };
            for (i, v) in of.values().enumerate().filter(|p| is_source(self.graph, p.1)) {
                places.sources.entry(self.buffers.of(v)?.buffer).or_default().push(ArgId(i as u32));
            }
            for (i, place) in of.writes.iter().enumerate() {
                if let Place::Value(v) = place {
                    places.outs.entry(*v).or_insert(i);
                }
            }
            self.places.insert(step, places);
        }
        Ok(&self.places[&step])
    }

    /// The arguments of a step that read a state's old value.
    fn reads_of(&mut self, step: usize, state: BufferId) -> Result<Vec<ArgId>, Diagnostic> {
        Ok(self.places_of(step)?.sources.get(&state).cloned().unwrap_or_default())
    }

    fn copy(&mut self, home: ValueId, to: BufferId, span: Span) -> Result<usize, Diagnostic> {
        let prov = Prov { span, ..prov(self.graph, home.node) };
        let from = self.buffers.of(home)?;
        let dtype = self.buffers.list[from.buffer.ix()].dtype;
        Ok(self.steps.push_copy(home, (dtype, from.len), to, prov))
    }

    /// Could the step write the state although it reads it? A scatter into a copy may not: its copying is
    /// another step.
    fn may_overwrite(&mut self, writer: usize, out: usize, state: BufferId) -> Result<bool, Diagnostic> {
        let step = &self.steps.list[writer];
        let written = step.written(out);
        if step.kernel.arg(written).mode != Mode::Write {
            return Ok(false);
        }
        let old = self.reads_of(writer, state)?;
        let may = candidates(&self.steps.list[writer].kernel, written);
        Ok(old.iter().all(|arg| may.contains(arg)))
    }

    fn outputs(&mut self) -> Result<(), Diagnostic> {
        for out in &self.graph.outputs {
            let home = self.home(out.value)?;
            let buffer = self.buffers.output(&out.name, out.value)?;
            if self.buffers.list[buffer.ix()].len == 0 {
                continue;
            }
            if !is_source(self.graph, home) && self.unsettled(home)? {
                self.buffers.settle(home, buffer);
            } else if self.store_again(home, buffer)? {
                let reason = "its kernel stores it once more: its value lives in a state or another output";
                self.decide(&out.name, "stored", reason, out.span);
            } else {
                self.copy(home, buffer, out.span)?;
                self.decide(
                    &out.name,
                    "copied",
                    "its value lives in a state, an input or another output",
                    out.span,
                );
            }
        }
        Ok(())
    }

    /// Lets the kernel that makes a value store it in one more buffer, where that is possible: no call of its own,
    /// and nothing is read again.
    fn store_again(&mut self, home: ValueId, to: BufferId) -> Result<bool, Diagnostic> {
        let [writer] = *self.steps.makers(home) else { return Ok(false) };
        let out = self.out_of(writer, home)?;
        let step = &mut self.steps.list[writer];
        let again = step.writes[out] == Place::Value(home) && step.kernel.store_again(step.written(out));
        if again {
            step.writes.push(Place::Buffer(to));
        }
        Ok(again)
    }

    fn find_readers(&mut self) -> Result<(), Diagnostic> {
        for (i, step) in self.steps.list.iter().enumerate() {
            for v in step.values() {
                if matches!(self.graph.node(v.node).op, Op::State(_)) {
                    self.readers.entry(self.buffers.of(v)?.buffer).or_default().push(i);
                }
            }
        }
        Ok(())
    }

    /// Orders the readers of a state before its writer, or lets the writer write a temporary.
    fn resolve(&mut self, p: Pending) -> Result<(), Diagnostic> {
        let mut readers = self.readers.get(&p.state).cloned().unwrap_or_default();
        readers.retain(|&r| r != p.writer);
        if self.order.reaches(p.writer, &readers) {
            return self.detour(p, readers);
        }
        let omitted = usize::from(on(Mutation::OmitHazard));
        for reader in readers.into_iter().skip(omitted) {
            self.steps.list[p.writer].hazards.push(reader);
            self.order.add(reader, p.writer);
        }
        let copied = matches!(self.steps.list[p.writer].kernel.kind, Kind::Copy(_));
        self.alias_state(&p)?;
        let (verdict, reason) = match copied {
            true => ("copied", "its new value lies in memory that it cannot take over"),
            false => ("in place", "nothing reads the old value after its new one is computed"),
        };
        self.decide(&p.name, verdict, reason, p.span);
        Ok(())
    }

    /// A step that reads the state that it writes does so in place.
    fn alias_state(&mut self, p: &Pending) -> Result<(), Diagnostic> {
        let old = self.reads_of(p.writer, p.state)?;
        let step = &mut self.steps.list[p.writer];
        let written = step.written(p.out);
        step.unalias(written);
        for arg in old {
            step.alias(written, arg);
        }
        Ok(())
    }

    /// The writer writes a temporary, which is copied once all readers are done.
    fn detour(&mut self, p: Pending, readers: Vec<usize>) -> Result<(), Diagnostic> {
        let temp = self.buffers.temp(p.value)?;
        let (dtype, len) = (self.buffers.list[temp.ix()].dtype, self.buffers.list[temp.ix()].len);
        let prov = Prov { span: p.span, ..prov(self.graph, p.value.node) };
        let copy = if self.steps.list[p.writer].writes[p.out] == Place::Value(p.value) {
            self.buffers.settle(p.value, temp);
            self.steps.push_copy(p.value, (dtype, len), p.state, prov)
        } else {
            // The writer is a copy of something else: out of the way first, then into the state.
            self.steps.list[p.writer].writes[p.out] = Place::Buffer(temp);
            self.steps.push_copy_of(p.writer, temp, p.state)
        };
        self.steps.list[copy].hazards.extend(readers);
        self.order.push(&self.steps.list[copy]);
        self.decide(&p.name, "copied", "its old value is read after its new one is computed", p.span);
        Ok(())
    }

    fn decide(&mut self, subject: &str, verdict: &'static str, reason: &str, span: Span) {
        let spans = if span.is_none() { vec![] } else { vec![span] };
        self.decisions.push(Decision {
            pass: "lower",
            subject: subject.into(),
            verdict,
            reason: reason.into(),
            spans,
        });
    }
}

/// Does the value lie in memory at entry?
fn is_source(graph: &Graph, v: ValueId) -> bool {
    matches!(graph.node(v.node).op.lowering().rule(), Rule::Stored)
}
