//! Loops: a scan's region is lowered as a program of its own, one trip, and becomes one step that repeats it.
//!
//! The region is an entry in small: its carries are states, which the trip updates in place where that is safe
//! and through a temporary where it is not, by the same rules as any entry's.

use std::sync::Arc;

use mlc_diag::{Diagnostic, Diagnostics};
use mlc_ir::graph::{Graph, NodeId, ValueId};
use mlc_ir::loops::{Arg, ArgId, BufferId, Kernel, Kind, Link, LoopProgram, Mode, Repeat, Role};
use mlc_ir::lower::{Homes, count, prov};
use mlc_ir::op::{Port, Scan};
use mlc_ir::program::StateLayout;

use super::steps::{Place, Step, Steps};
use crate::Decision;
use crate::form_kernels::Fusion;

impl Steps {
    /// Adds the step of a scan. Every result gets its memory, used or not.
    pub(super) fn push_scan(
        &mut self,
        cx: &Homes<'_>,
        id: NodeId,
        scan: &Scan,
        fusion: Fusion,
        decisions: &mut Vec<Decision>,
    ) -> Result<(), Diagnostics> {
        let node = cx.graph.node(id);
        let Some(body) = cx.graph.region(id) else { return Ok(()) };
        let mut lowered = super::lower(&body, &carries(&body), fusion)?;
        decisions.append(&mut lowered.decisions);
        crate::order::order(&mut lowered.program);
        let links = Links::new(scan, &lowered.program)?;
        let mut kernel = Kernel {
            name: Arc::from("scan"),
            args: vec![],
            kind: Kind::Repeat(Box::default()),
            prov: vec![prov(cx.graph, id)],
        };
        let mut repeat =
            Repeat { trips: trips(scan)?, trip: links.trip, links: vec![], body: lowered.program };
        let mut add = |v: ValueId, name: String, link: Link, mode: Mode| {
            let len = count(&cx.shape(v)?);
            kernel.args.push(Arg::new(name, cx.graph.ty(v).dtype, len, mode));
            repeat.links.push(link);
            Ok::<_, Diagnostic>(())
        };
        let mut reads = vec![];
        for (i, link) in links.reads {
            let v = node.operands[i];
            add(v, format!("{}{i}", link.word()), link, Mode::Read)?;
            reads.push(
                cx.of(v)
                    .ok_or_else(|| Diagnostic::bug(format!("{v} is read by a loop and nowhere stored")))?,
            );
        }
        let mut writes = vec![];
        for (i, link) in links.writes.into_iter().enumerate() {
            add(id.result(i), format!("out{i}"), link, Mode::Write)?;
            writes.push(Place::Value(id.result(i)));
        }
        for (first, state) in repeat.states() {
            kernel.args[state].may_alias = Some(ArgId(first as u32));
        }
        kernel.kind = Kind::Repeat(Box::new(repeat));
        let deps = reads.iter().flat_map(|&r| self.makers(r)).copied().collect();
        let reads = reads.into_iter().map(Place::Value).collect();
        let prov = prov(cx.graph, id);
        self.push(Step::new(kernel, reads, writes, prov, deps), id);
        Ok(())
    }
}

fn trips(scan: &Scan) -> Result<u64, Diagnostic> {
    let n = scan.trips.as_const().and_then(|n| u64::try_from(n).ok());
    n.ok_or_else(|| Diagnostic::bug(format!("a loop of {} trips is lowered", scan.trips)))
}

/// The carries as a program's states.
fn carries(body: &Graph) -> StateLayout {
    let mut layout = StateLayout::default();
    for w in &body.writes {
        layout.add(w.state.clone(), body.ty(w.value));
    }
    layout
}

/// What operands and results are to the lowered body.
struct Links {
    trip: Option<BufferId>,
    /// With the position of the operand.
    reads: Vec<(usize, Link)>,
    /// One for each result.
    writes: Vec<Link>,
}

impl Links {
    fn new(scan: &Scan, body: &LoopProgram) -> Result<Links, Diagnostic> {
        let (mut trip, mut reads) = (None, vec![]);
        let mut states = vec![None; scan.carries];
        let mut outs = vec![None; scan.body.graph().outputs.len()];
        for (i, buffer) in body.buffers.iter().enumerate() {
            let b = BufferId(i as u32);
            let port = match buffer.role {
                Role::Const(_) | Role::Temp => continue,
                _ => Port::of(&buffer.name),
            };
            let operand = port.and_then(|p| scan.operand(p));
            match (port, operand) {
                (Some(Port::Trip), _) => trip = Some(b),
                (Some(Port::Each(_)), Some(at)) => reads.push((at, Link::Slice(b))),
                (Some(Port::Kept(_)), Some(at)) => reads.push((at, Link::Kept(b))),
                (Some(Port::Carry(k)), Some(at)) if k < states.len() => {
                    reads.push((at, Link::First(b)));
                    states[k] = Some(Link::State(b));
                }
                (Some(Port::Out(k)), _) if k < outs.len() => outs[k] = Some(Link::Slice(b)),
                _ => {
                    return Err(Diagnostic::bug(format!("a loop's body has no place for `{}`", buffer.name)));
                }
            }
        }
        reads.sort_by_key(|r| r.0);
        let writes: Option<Vec<Link>> = states.into_iter().chain(outs).collect();
        let writes = writes.ok_or_else(|| Diagnostic::bug("a result of a loop has no buffer in its body"))?;
        Ok(Links { trip, reads, writes })
    }
}
