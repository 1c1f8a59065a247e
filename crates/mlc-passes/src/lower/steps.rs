//! The calls of a program in the making: a graph of steps with data and hazard edges.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use mlc_diag::{Diagnostic, Diagnostics};
use mlc_ir::DType;
use mlc_ir::graph::{NodeId, ValueId};
use mlc_ir::loops::{Arg, ArgId, AxisId, BufferId, CopyMap, Index, Kernel, Kind, Mode, Prov};
use mlc_ir::lower::{Cx, Draft, Form, Homes, Inside, alias, build, copy_kernel, prov, segments};
use mlc_ir::op::Op;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::{SmallVec, smallvec};

use crate::Decision;
use crate::form_kernels::{Fusion, KernelGraph};

/// One call of a kernel.
#[derive(Debug, Clone)]
pub struct Step {
    pub kernel: Kernel,
    /// For each of the first arguments.
    pub reads: Vec<Place>,
    /// For each of the others.
    pub writes: Vec<Place>,
    pub prov: Prov,
    /// Steps that made what this one reads or goes on writing.
    pub deps: Vec<usize>,
    /// Steps that read what this one overwrites.
    pub hazards: Vec<usize>,
    /// Arguments that a written one takes over.
    taken: FxHashSet<ArgId>,
}

impl Step {
    /// A step without hazards.
    pub fn new(kernel: Kernel, reads: Vec<Place>, writes: Vec<Place>, prov: Prov, deps: Vec<usize>) -> Step {
        let taken = kernel.args.iter().filter_map(|a| a.may_alias).collect();
        Step { kernel, reads, writes, prov, deps, hazards: vec![], taken }
    }

    /// The values it reads. A step that reads a buffer of no value's reads nothing else.
    pub fn values(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.reads.iter().filter_map(|p| match p {
            Place::Value(v) => Some(*v),
            Place::Buffer(_) => None,
        })
    }

    /// The argument of the written place `i`.
    pub fn written(&self, i: usize) -> ArgId {
        ArgId((self.reads.len() + i) as u32)
    }

    /// Lets a written argument take over a read one, if it may and no other does.
    pub fn alias(&mut self, written: ArgId, read: ArgId) -> bool {
        let fits = !self.taken.contains(&read) && alias::candidates(&self.kernel, written).contains(&read);
        if fits {
            self.unalias(written);
            self.kernel.args[written.ix()].may_alias = Some(read);
            self.taken.insert(read);
        }
        fits
    }

    /// Lets a written argument take over nothing.
    pub fn unalias(&mut self, written: ArgId) {
        if let Some(read) = self.kernel.args[written.ix()].may_alias.take() {
            self.taken.remove(&read);
        }
    }
}

/// What an argument stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The value's own buffer, wherever that is in the end.
    Value(ValueId),
    /// This buffer: a copy.
    Buffer(BufferId),
}

/// All steps; the list is in an order that respects `deps`.
#[derive(Debug, Default)]
pub struct Steps {
    pub list: Vec<Step>,
    /// By node: the steps after which a value lies in its buffer.
    makers: Vec<SmallVec<[usize; 1]>>,
}

impl Steps {
    /// One step for each group (two for what starts as a copy of another value).
    pub fn build(
        formed: &KernelGraph<'_>,
        fusion: Fusion,
        decisions: &mut Vec<Decision>,
    ) -> Result<Steps, Diagnostics> {
        let homes = &formed.homes;
        let mut steps = Steps { makers: vec![SmallVec::new(); homes.home.len()], ..Steps::default() };
        let mut part_of = FxHashMap::default();
        for (i, j) in formed.joined.iter().enumerate() {
            part_of.extend(j.parts.iter().map(|p| (p.0, i)));
        }
        for group in &formed.groups {
            if let [part] = &group.parts[..]
                && let Form::Own(v) = part.recipe.form
                && let Op::Scan(scan) = &homes.graph.node(v.node).op
            {
                steps.push_scan(homes, v.node, scan, fusion, decisions)?;
                continue;
            }
            let mut drafts = vec![];
            for part in &group.parts {
                drafts.push(build(Cx::new(homes, &part.inside), &part.recipe)?);
            }
            let draft = match drafts.len() {
                1 => drafts.remove(0),
                _ => segments(drafts),
            };
            if let (Some(x), Some(&v)) = (draft.starts_as, draft.writes.first()) {
                let nothing = Inside::default();
                steps.push_draft(homes, copy_kernel(Cx::new(homes, &nothing), x, v, None)?);
            }
            let made: Vec<ValueId> =
                draft.writes.iter().copied().filter(|v| part_of.contains_key(v)).collect();
            steps.push_draft(homes, draft);
            // Whoever reads the whole waits for all parts.
            for v in made {
                let whole = formed.joined[part_of[&v]].whole;
                steps.makers[whole.node.0 as usize].push(steps.list.len() - 1);
            }
        }
        Ok(steps)
    }

    fn push_draft(&mut self, cx: &Homes<'_>, draft: Draft) {
        let before = draft.reads.iter().chain(&draft.writes).flat_map(|&v| self.makers(v).iter().copied());
        let mut deps: Vec<usize> = before.collect();
        deps.sort_unstable();
        deps.dedup();
        let first = draft.writes.first().map_or(0, |v| v.node.0);
        let prov = prov(cx.graph, NodeId(first));
        for v in &draft.writes {
            self.makers[v.node.0 as usize] = smallvec![self.list.len()];
        }
        let places = |values: Vec<ValueId>| values.into_iter().map(Place::Value).collect();
        let (reads, writes) = (places(draft.reads), places(draft.writes));
        self.list.push(Step::new(draft.kernel, reads, writes, prov, deps));
    }

    /// Adds the step that makes all results of a node.
    pub(super) fn push(&mut self, step: Step, makes: NodeId) {
        self.makers[makes.0 as usize] = smallvec![self.list.len()];
        self.list.push(step);
    }

    /// The last steps that make a value: several for a concat, none for what is there at entry.
    pub fn makers(&self, v: ValueId) -> &[usize] {
        self.makers.get(v.node.0 as usize).map_or(&[], |m| m)
    }

    /// Adds a copy of a value's whole buffer.
    pub fn push_copy(
        &mut self,
        from: ValueId,
        (dtype, len): (DType, u64),
        to: BufferId,
        prov: Prov,
    ) -> usize {
        let kernel = whole_copy(dtype, len, &prov);
        let deps = self.makers(from).to_vec();
        let (reads, writes) = (vec![Place::Value(from)], vec![Place::Buffer(to)]);
        self.list.push(Step::new(kernel, reads, writes, prov, deps));
        self.list.len() - 1
    }

    /// Adds a copy of what the copy `writer` wrote to a buffer of no value's.
    pub fn push_copy_of(&mut self, writer: usize, from: BufferId, to: BufferId) -> usize {
        let first = &self.list[writer];
        let (reads, writes) = (vec![Place::Buffer(from)], vec![Place::Buffer(to)]);
        let step = Step::new(first.kernel.clone(), reads, writes, first.prov.clone(), vec![writer]);
        self.list.push(step);
        self.list.len() - 1
    }

    /// All edges, data and hazards, as the steps before each step.
    fn before(&self) -> Vec<Vec<usize>> {
        self.list.iter().map(|s| s.deps.iter().chain(&s.hazards).copied().collect()).collect()
    }

    pub fn hazards_before(&self) -> Vec<Vec<usize>> {
        self.list.iter().map(|s| s.hazards.clone()).collect()
    }

    /// The steps after each step.
    fn successors(&self) -> Vec<Vec<usize>> {
        let mut out = vec![vec![]; self.list.len()];
        for (i, before) in self.before().into_iter().enumerate() {
            for b in before {
                out[b].push(i);
            }
        }
        out
    }

    /// A topological order: among ready steps the one built first.
    ///
    /// # Errors
    /// A bug where the steps have a cycle.
    pub fn order(&self) -> Result<Vec<usize>, Diagnostic> {
        let successors = self.successors();
        let mut waiting: Vec<usize> = self.list.iter().map(|s| s.deps.len() + s.hazards.len()).collect();
        let ready = waiting.iter().enumerate().filter(|(_, n)| **n == 0);
        let mut ready: BinaryHeap<Reverse<usize>> = ready.map(|(i, _)| Reverse(i)).collect();
        let mut order = Vec::with_capacity(self.list.len());
        while let Some(Reverse(i)) = ready.pop() {
            order.push(i);
            for &s in &successors[i] {
                waiting[s] -= 1;
                if waiting[s] == 0 {
                    ready.push(Reverse(s));
                }
            }
        }
        if order.len() < self.list.len() {
            return Err(Diagnostic::bug("the calls of a program wait for each other"));
        }
        Ok(order)
    }
}

fn whole_copy(dtype: DType, len: u64, prov: &Prov) -> Kernel {
    let index = || if len == 1 { Index::default() } else { Index::axis(AxisId(0)) };
    Kernel {
        name: "copy".into(),
        args: vec![Arg::new("a0", dtype, len, Mode::Read), Arg::new("out", dtype, len, Mode::Write)],
        kind: Kind::Copy(CopyMap { src: index(), dst: index(), extents: vec![len], transfer: None }),
        prov: vec![prov.clone()],
    }
}
