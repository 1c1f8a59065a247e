//! Programs and plans: P1-P8.

use std::collections::BTreeMap;

use mlc_diag::Span;

use super::memory::{covers, elements_written};
use super::{Violation, verify_kernel};
use crate::Device;
use crate::loops::kernel::{ArgId, Kernel, Kind, Mode, Segment};
use crate::loops::program::{
    Arena, ArenaKind, BufferId, BufferSlice, Call, CallId, LoopProgram, Place, Plan, Role,
};

/// All violations of a program and its kernels.
pub fn verify_program(program: &LoopProgram) -> Vec<Violation> {
    let mut v = Checker { program, found: Vec::new() };
    program.kernels.iter().for_each(|k| v.found.extend(verify_kernel(k)));
    v.names();
    if v.found.is_empty() {
        v.args();
        v.written();
        v.hazards();
    }
    v.found
}

/// All violations of a plan and its program.
pub fn verify_plan(plan: &Plan) -> Vec<Violation> {
    let mut found = verify_program(&plan.program);
    if found.is_empty() {
        let mut v = Checker { program: &plan.program, found };
        v.places(plan);
        found = v.found;
    }
    found
}

struct Checker<'a> {
    program: &'a LoopProgram,
    found: Vec<Violation>,
}

fn overlap(a: &BufferSlice, b: &BufferSlice) -> bool {
    a.buffer == b.buffer && a.offset < b.offset + b.len && b.offset < a.offset + a.len
}

/// (argument, slice) pairs of a call, with the argument's mode.
fn uses<'a>(k: &'a Kernel, call: &'a Call) -> impl Iterator<Item = (ArgId, Mode, &'a BufferSlice)> {
    k.args.iter().zip(&call.args).enumerate().map(|(i, (a, s))| (ArgId(i as u32), a.mode, s))
}

impl Checker<'_> {
    fn fail(&mut self, rule: &'static str, span: Span, message: String) {
        self.found.push(Violation { rule, message, span });
    }

    fn call_name(&self, i: usize) -> String {
        let call = &self.program.calls[i];
        let kernel = self.program.kernels.get(call.kernel.ix()).map_or("?", |k| &k.name);
        format!("call {i} of @{kernel}")
    }

    fn names(&mut self) {
        let p = self.program;
        let mut seen = rustc_hash::FxHashSet::default();
        for b in &p.buffers {
            if !super::body::is_identifier(&b.name) || !seen.insert(&b.name) {
                self.fail("P1", b.prov.span, format!("`{}` is no name for a buffer here", b.name));
            }
            if let Role::Const(c) = b.role
                && !p
                    .consts
                    .get(c.ix())
                    .is_some_and(|c| c.dtype == b.dtype && c.bytes.len() as u64 == b.bytes())
            {
                self.fail("P1", b.prov.span, format!("{} has no contents of its size", b.name));
            }
        }
        for (i, call) in p.calls.iter().enumerate() {
            if call.kernel.ix() >= p.kernels.len()
                || call.args.iter().any(|s| s.buffer.ix() >= p.buffers.len())
            {
                self.fail("P1", call.prov.span, format!("call {i} names what is not there"));
            }
            if call.after.iter().any(|a| a.ix() >= i) {
                self.fail("P1", call.prov.span, format!("call {i} is to run after a later one"));
            }
        }
    }

    fn args(&mut self) {
        let p = self.program;
        for (i, call) in p.calls.iter().enumerate() {
            let k = p.kernel_of(call);
            if k.args.len() != call.args.len() {
                self.fail(
                    "P6",
                    call.prov.span,
                    format!("{} passes {} slices", self.call_name(i), call.args.len()),
                );
                continue;
            }
            for (a, s) in k.args.iter().zip(&call.args) {
                let b = p.buffer(s.buffer);
                let inside = s.offset.checked_add(s.len).is_some_and(|end| end <= b.len);
                if a.dtype != b.dtype || a.len != s.len || !inside {
                    let m =
                        format!("{}: {} of {} does not fit {}", self.call_name(i), b.name, b.dtype, a.name);
                    self.fail("P6", call.prov.span, m);
                }
                let written = a.mode != Mode::Read;
                if written && matches!(b.role, Role::Input | Role::Const(_)) {
                    self.fail("P6", call.prov.span, format!("{} writes {}", self.call_name(i), b.name));
                }
            }
            if let Kind::Segments(segments) = &k.kind {
                self.independent(i, call, k, segments);
            }
            self.devices(i, call, k);
        }
    }

    /// What one segment writes no other touches.
    fn independent(&mut self, i: usize, call: &Call, k: &Kernel, segments: &[Segment]) {
        let mut owner: BTreeMap<BufferId, (usize, bool)> = BTreeMap::new();
        for (n, s) in segments.iter().enumerate() {
            for a in &s.args {
                let buffer = call.args[a.ix()].buffer;
                let written = k.arg(*a).mode != Mode::Read;
                let (first, before) = *owner.entry(buffer).or_insert((n, written));
                if first != n && (written || before) {
                    let name = &self.program.buffer(buffer).name;
                    let m = format!("{}: two segments touch {name}", self.call_name(i));
                    self.fail("P6", call.prov.span, m);
                }
                owner.insert(buffer, (if written { n } else { first }, before || written));
            }
        }
    }

    fn devices(&mut self, i: usize, call: &Call, k: &Kernel) {
        let of = |s: &BufferSlice| self.program.buffer(s.buffer).device;
        let ok = match &k.kind {
            Kind::Copy(c) if c.transfer.is_some() => {
                c.transfer == Some((of(&call.args[0]), of(&call.args[1])))
            }
            _ => call.args.windows(2).all(|w| of(&w[0]) == of(&w[1])),
        };
        if !ok {
            self.fail("P7", call.prov.span, format!("{} crosses devices", self.call_name(i)));
        }
    }

    /// P2: slices written in full, or as many elements as the buffer has.
    fn written(&mut self) {
        let p = self.program;
        let ready = |b: &BufferId| !matches!(p.buffer(*b).role, Role::Temp | Role::Output);
        let mut ranges: Vec<Vec<(u64, u64)>> = vec![Vec::new(); p.buffers.len()];
        let mut counts = vec![0u64; p.buffers.len()];
        for (i, call) in p.calls.iter().enumerate() {
            if p.kernel_of(call).args.len() != call.args.len() {
                continue;
            }
            let k = p.kernel_of(call);
            for (_, mode, s) in uses(k, call) {
                let b = s.buffer.ix();
                let full = counts[b] >= p.buffers[b].len || contains(&ranges[b], s.offset, s.len);
                if mode != Mode::Write && !ready(&s.buffer) && s.len > 0 && !full {
                    let m = format!("{} reads {} before it is written", self.call_name(i), p.buffers[b].name);
                    self.fail("P2", call.prov.span, m);
                }
            }
            for (arg, mode, s) in uses(k, call) {
                if mode == Mode::Write {
                    let b = s.buffer.ix();
                    if covers(k, arg) {
                        insert(&mut ranges[b], s.offset, s.len);
                    }
                    counts[b] = counts[b].saturating_add(elements_written(k, arg));
                }
            }
        }
        for (i, b) in p.buffers.iter().enumerate() {
            if b.role == Role::Output && counts[i] < b.len && !contains(&ranges[i], 0, b.len) {
                self.fail("P2", b.prov.span, format!("the output {} is not written in full", b.name));
            }
        }
    }

    /// P3: for each write of a state, its earlier readers are among the call's ancestors.
    fn hazards(&mut self) {
        let p = self.program;
        if p.calls.iter().any(|c| p.kernel_of(c).args.len() != c.args.len()) {
            return;
        }
        let deps = dependencies(p);
        let mut readers: Vec<Vec<(usize, BufferSlice)>> = vec![Vec::new(); p.buffers.len()];
        for (i, call) in p.calls.iter().enumerate() {
            let k = p.kernel_of(call);
            for (_, mode, s) in uses(k, call) {
                if mode == Mode::Read || !matches!(p.buffer(s.buffer).role, Role::State(_)) {
                    continue;
                }
                let before: Vec<usize> = readers[s.buffer.ix()]
                    .iter()
                    .filter(|(r, read)| *r != i && overlap(read, s))
                    .map(|(r, _)| *r)
                    .collect();
                if let Some(r) = not_ancestor(&deps, i, &before) {
                    let name = &p.buffer(s.buffer).name;
                    let m = format!(
                        "{} may overwrite {name} before {} reads it",
                        self.call_name(i),
                        self.call_name(r)
                    );
                    self.fail("P3", call.prov.span, m);
                }
            }
            for (_, mode, s) in uses(k, call) {
                if mode != Mode::Write {
                    readers[s.buffer.ix()].push((i, *s));
                }
            }
        }
    }

    fn places(&mut self, plan: &Plan) {
        let p = self.program;
        if plan.places.len() != p.buffers.len() || plan.scratch.len() != p.calls.len() {
            return self.fail("P4", Span::NONE, "not every buffer and call is planned".into());
        }
        for (b, place) in p.buffers.iter().zip(&plan.places) {
            let arena = plan.arenas.get(place.arena.ix());
            let fits = arena.is_some_and(|a| {
                place.offset.checked_add(place.bytes).is_some_and(|end| end <= a.bytes)
                    && a.device == b.device
                    && a.kind == arena_of(b.role)
            });
            if !fits || place.bytes < b.bytes() {
                self.fail("P4", b.prov.span, format!("{} does not fit its place in {}", b.name, place.arena));
            }
        }
        if self.found.is_empty() {
            self.lives(plan);
            self.sharing(plan);
            self.alignment(plan);
            self.scratch(plan);
        }
    }

    /// Lives span uses; donations are allowed and real.
    fn lives(&mut self, plan: &Plan) {
        let p = self.program;
        for (i, call) in p.calls.iter().enumerate() {
            let k = p.kernel_of(call);
            for s in &call.args {
                let place = &plan.places[s.buffer.ix()];
                let temp = plan.arenas[place.arena.ix()].kind == ArenaKind::Temp;
                let alive = place.live.is_some_and(|(a, b)| a.ix() <= i && i <= b.ix());
                if temp && !alive && s.len > 0 {
                    let m =
                        format!("{} uses {} outside of its life", self.call_name(i), p.buffer(s.buffer).name);
                    self.fail("P4", call.prov.span, m);
                }
            }
            for (r, w) in &call.donates {
                if k.args.get(w.ix()).is_none_or(|a| a.may_alias != Some(*r)) {
                    self.fail("P4", call.prov.span, format!("{} donates against L10", self.call_name(i)));
                }
            }
        }
    }

    fn sharing(&mut self, plan: &Plan) {
        let p = self.program;
        let mut order: Vec<usize> =
            (0..p.buffers.len()).filter(|&b| plan.places[b].bytes > 0 && used(plan, b)).collect();
        order.sort_by_key(|&b| (plan.places[b].arena, plan.places[b].offset));
        // Places that reach beyond the current offset.
        let mut open: Vec<usize> = Vec::new();
        for &b in &order {
            let place = &plan.places[b];
            open.retain(|&o| {
                let q = &plan.places[o];
                q.arena == place.arena && q.offset + q.bytes > place.offset
            });
            for &o in &open {
                if together(plan, o, b) {
                    let m = format!(
                        "{} and {} share bytes while both are alive",
                        p.buffers[o].name, p.buffers[b].name
                    );
                    self.fail("P4", p.buffers[b].prov.span, m);
                }
            }
            open.push(b);
        }
    }

    fn alignment(&mut self, plan: &Plan) {
        let p = self.program;
        for (i, call) in p.calls.iter().enumerate() {
            for (a, s) in p.kernel_of(call).args.iter().zip(&call.args) {
                let place = &plan.places[s.buffer.ix()];
                let at = place.offset + s.offset * a.dtype.size() as u64;
                let base = plan.arenas[place.arena.ix()].align;
                if !at.is_multiple_of(a.align.into()) || base < a.align {
                    let m = format!("{}: {} is not aligned to {}", self.call_name(i), a.name, a.align);
                    self.fail("P5", call.prov.span, m);
                }
            }
        }
    }

    fn scratch(&mut self, plan: &Plan) {
        for (i, call) in self.program.calls.iter().enumerate() {
            let Some(first) = call.args.first() else { continue };
            let device = self.program.buffer(first.buffer).device;
            if plan.scratch[i] > scratch_bytes(&plan.arenas, device) {
                self.fail(
                    "P8",
                    call.prov.span,
                    format!("{} needs more scratch than there is", self.call_name(i)),
                );
            }
        }
    }
}

fn scratch_bytes(arenas: &[Arena], device: Device) -> u64 {
    arenas
        .iter()
        .filter(|a| a.device == device && a.kind == ArenaKind::Scratch)
        .map(|a| a.bytes)
        .max()
        .unwrap_or(0)
}

fn arena_of(role: Role) -> ArenaKind {
    match role {
        Role::Input | Role::Output => ArenaKind::Io,
        Role::State(_) => ArenaKind::State,
        Role::Const(_) => ArenaKind::Const,
        Role::Temp => ArenaKind::Temp,
    }
}

/// Temporaries without a life occupy nothing.
fn used(plan: &Plan, b: usize) -> bool {
    plan.program.buffers[b].role != Role::Temp || plan.places[b].live.is_some()
}

/// Whether two buffers that share bytes are alive in one call, except for a donation at the boundary.
fn together(plan: &Plan, a: usize, b: usize) -> bool {
    let live = |p: &Place| p.live.unwrap_or((CallId(0), CallId(u32::MAX)));
    let (x, y) = (live(&plan.places[a]), live(&plan.places[b]));
    if x.1 < y.0 || y.1 < x.0 {
        return false;
    }
    let (first, second, call) = if x.1 == y.0 {
        (a, b, x.1)
    } else if y.1 == x.0 {
        (b, a, y.1)
    } else {
        return true;
    };
    let Some(call) = plan.program.calls.get(call.ix()) else { return true };
    let buffer = |arg: ArgId| call.args.get(arg.ix()).map(|s| s.buffer.ix());
    let donated = call.donates.iter().any(|(r, w)| buffer(*r) == Some(first) && buffer(*w) == Some(second));
    !(donated && plan.places[a].offset == plan.places[b].offset)
}

/// For each call the earlier calls it waits for: writers of what it reads, and `after`.
fn dependencies(p: &LoopProgram) -> Vec<Vec<usize>> {
    let mut writers: Vec<Vec<(usize, BufferSlice)>> = vec![Vec::new(); p.buffers.len()];
    let mut deps = Vec::with_capacity(p.calls.len());
    for (i, call) in p.calls.iter().enumerate() {
        let mut of: Vec<usize> = call.after.iter().map(|a| a.ix()).collect();
        let k = p.kernel_of(call);
        for (_, mode, s) in uses(k, call) {
            if mode != Mode::Write {
                of.extend(writers[s.buffer.ix()].iter().filter(|(_, w)| overlap(w, s)).map(|(w, _)| *w));
            }
        }
        for (_, mode, s) in uses(k, call) {
            if mode != Mode::Read {
                writers[s.buffer.ix()].push((i, *s));
            }
        }
        deps.push(of);
    }
    deps
}

/// One of `wanted` that `call` does not wait for, directly or not.
fn not_ancestor(deps: &[Vec<usize>], call: usize, wanted: &[usize]) -> Option<usize> {
    let least = *wanted.iter().min()?;
    let mut seen = vec![false; call + 1 - least];
    let mut todo = vec![call];
    while let Some(c) = todo.pop() {
        for &d in &deps[c] {
            if d >= least && !std::mem::replace(&mut seen[d - least], true) {
                todo.push(d);
            }
        }
    }
    wanted.iter().copied().find(|w| !seen[w - least])
}

/// Adds a range to a sorted list of disjoint ones.
fn insert(ranges: &mut Vec<(u64, u64)>, offset: u64, len: u64) {
    ranges.push((offset, offset + len));
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
    for &(a, b) in ranges.iter() {
        match joined.last_mut() {
            Some(last) if a <= last.1 => last.1 = last.1.max(b),
            _ => joined.push((a, b)),
        }
    }
    *ranges = joined;
}

fn contains(ranges: &[(u64, u64)], offset: u64, len: u64) -> bool {
    len == 0 || ranges.iter().any(|&(a, b)| a <= offset && offset + len <= b)
}
