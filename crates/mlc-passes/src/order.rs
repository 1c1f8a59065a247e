//! Order: puts the calls of a program into an order that needs less memory.
//!
//! List scheduling: of the calls that are ready, the one that frees most and allocates least; among equals the
//! first. Every forward call, and any other that does not free memory, stays within `WINDOW` places of the first
//! call that is still open, so that nothing is computed long before it is needed and a forward stays as it is
//! written. A later call that frees memory runs as soon as it can: the update of a weight follows its gradient.
//! The new order is kept only if its peak is lower.
//!
//! Input: a program whose calls are in a valid order. Output: the same calls, in an order in which every pair
//! of calls that touch the same elements, at least one of them writing, is as before; so are the pairs in
//! [`Call::after`]. Time O(n log n) in calls and arguments.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use mlc_ir::loops::{BufferSlice, Call, CallId, LoopProgram, Mode, Phase, Role};

use mlc_ir::mutate::{Mutation, on};

use crate::plan_memory::live_peak;

/// How far ahead of the first open call a call may run.
const WINDOW: usize = 64;

/// Reorders the calls; true if that lowered the peak of temporaries.
pub fn order(program: &mut LoopProgram) -> bool {
    let order = Scheduler::new(program).run();
    if order.iter().copied().eq(0..program.calls.len()) {
        return false;
    }
    let before = live_peak(program);
    let scheduled = reordered(&program.calls, &order);
    let canonical = std::mem::replace(&mut program.calls, scheduled);
    let lower = live_peak(program) < before;
    if !lower {
        program.calls = canonical;
    }
    lower
}

/// For each call: the calls that must come before it. Reads follow the writes they see, writes the reads and
/// writes of what they replace; what a later write replaced is not looked at again, so that the edges are few.
fn dependencies(program: &LoopProgram) -> Vec<Vec<usize>> {
    #[derive(Default, Clone)]
    struct Touched {
        writers: Vec<(usize, BufferSlice)>,
        readers: Vec<(usize, BufferSlice)>,
    }
    let overlaps =
        |a: &BufferSlice, b: &BufferSlice| a.offset < b.offset + b.len && b.offset < a.offset + a.len;
    let covers =
        |a: &BufferSlice, b: &BufferSlice| a.offset <= b.offset && b.offset + b.len <= a.offset + a.len;
    let mut touched = vec![Touched::default(); program.buffers.len()];
    let mut deps = Vec::with_capacity(program.calls.len());
    for (i, call) in program.calls.iter().enumerate() {
        let mut before: Vec<usize> = call.after.iter().map(|c| c.ix()).collect();
        let args = || call.args.iter().zip(&program.kernel_of(call).args);
        for (slice, arg) in args() {
            let t = &touched[slice.buffer.ix()];
            let readers =
                t.readers.iter().filter(|_| arg.mode != Mode::Read && !on(Mutation::WriteBeforeRead));
            before.extend(t.writers.iter().chain(readers).filter(|(_, s)| overlaps(s, slice)).map(|t| t.0));
        }
        for (slice, arg) in args() {
            let t = &mut touched[slice.buffer.ix()];
            if arg.mode == Mode::Read {
                t.readers.push((i, *slice));
            } else {
                t.writers.retain(|(_, s)| !covers(slice, s));
                t.readers.retain(|(_, s)| !covers(slice, s));
                t.writers.push((i, *slice));
            }
        }
        before.sort_unstable();
        before.dedup();
        before.retain(|&b| b != i);
        deps.push(before);
    }
    deps
}

struct Scheduler<'p> {
    program: &'p LoopProgram,
    /// The temporaries each call touches, each once.
    temps: Vec<Vec<usize>>,
    /// For each buffer: the calls that touch it, and how many of them are still open.
    users: Vec<Vec<usize>>,
    left: Vec<usize>,
    successors: Vec<Vec<usize>>,
    /// Calls that must still run before each call.
    waiting: Vec<usize>,
    /// Bytes that running the call now would free, less those it would allocate.
    gain: Vec<i128>,
    done: Vec<bool>,
    /// Every call before this one is done.
    first_open: usize,
    /// Ready calls that may run, by gain. An entry whose gain is not the call's any more is void.
    eligible: BinaryHeap<(i128, Reverse<usize>)>,
    /// Ready calls that are too far ahead.
    ahead: BinaryHeap<Reverse<usize>>,
}

impl Scheduler<'_> {
    fn new(program: &LoopProgram) -> Scheduler<'_> {
        let n = program.calls.len();
        let mut users = vec![vec![]; program.buffers.len()];
        let mut temps = Vec::with_capacity(n);
        for (i, call) in program.calls.iter().enumerate() {
            let mut of: Vec<usize> = call.args.iter().map(|s| s.buffer.ix()).collect();
            of.retain(|&b| program.buffers[b].role == Role::Temp);
            of.sort_unstable();
            of.dedup();
            of.iter().for_each(|&b| users[b].push(i));
            temps.push(of);
        }
        let deps = dependencies(program);
        let mut successors = vec![vec![]; n];
        for (i, before) in deps.iter().enumerate() {
            before.iter().for_each(|&b| successors[b].push(i));
        }
        let bytes = |b: usize| i128::from(program.buffers[b].bytes());
        // A buffer that one call alone touches is allocated and freed at once.
        let allocates =
            |of: &Vec<usize>| of.iter().filter(|&&b| users[b].len() > 1).map(|&b| bytes(b)).sum::<i128>();
        let gain = temps.iter().map(|of| -allocates(of)).collect();
        let left = users.iter().map(Vec::len).collect();
        Scheduler {
            program,
            temps,
            left,
            users,
            successors,
            waiting: deps.iter().map(Vec::len).collect(),
            gain,
            done: vec![false; n],
            first_open: 0,
            eligible: BinaryHeap::new(),
            ahead: BinaryHeap::new(),
        }
    }

    fn run(mut self) -> Vec<usize> {
        let n = self.program.calls.len();
        let mut order = Vec::with_capacity(n);
        (0..n).filter(|&i| self.waiting[i] == 0).collect::<Vec<_>>().into_iter().for_each(|i| self.offer(i));
        while let Some((gain, Reverse(i))) = self.eligible.pop() {
            if self.done[i] || gain != self.gain[i] {
                continue;
            }
            order.push(i);
            self.finish(i);
        }
        debug_assert_eq!(order.len(), n, "the first open call is always eligible");
        order
    }

    /// Makes a ready call a candidate, now or when it is near enough.
    fn offer(&mut self, i: usize) {
        let bound = self.program.calls[i].prov.phase == Phase::Forward || self.gain[i] <= 0;
        if bound && i > self.first_open + WINDOW {
            self.ahead.push(Reverse(i));
        } else {
            self.eligible.push((self.gain[i], Reverse(i)));
        }
    }

    fn finish(&mut self, i: usize) {
        self.done[i] = true;
        for b in std::mem::take(&mut self.temps[i]) {
            let bytes = i128::from(self.program.buffers[b].bytes());
            let first = self.left[b] == self.users[b].len();
            self.left[b] -= 1;
            let last = self.left[b] == 1;
            if !first && !last {
                continue;
            }
            // Once a buffer is there, its other users do not allocate it; the last one frees it.
            let gained = bytes * (i128::from(first) + i128::from(last));
            for u in 0..self.users[b].len() {
                let user = self.users[b][u];
                if !self.done[user] {
                    self.gain[user] += gained;
                    if self.waiting[user] == 0 {
                        self.offer(user);
                    }
                }
            }
        }
        for s in std::mem::take(&mut self.successors[i]) {
            self.waiting[s] -= 1;
            if self.waiting[s] == 0 {
                self.offer(s);
            }
        }
        while self.first_open < self.done.len() && self.done[self.first_open] {
            self.first_open += 1;
        }
        while let Some(&Reverse(next)) = self.ahead.peek()
            && next <= self.first_open + WINDOW
        {
            self.ahead.pop();
            if !self.done[next] {
                self.eligible.push((self.gain[next], Reverse(next)));
            }
        }
    }
}

fn reordered(calls: &[Call], order: &[usize]) -> Vec<Call> {
    let mut new = vec![CallId(0); order.len()];
    for (at, &i) in order.iter().enumerate() {
        new[i] = CallId(at as u32);
    }
    let mut calls: Vec<Call> = order.iter().map(|&i| calls[i].clone()).collect();
    for call in &mut calls {
        call.after.iter_mut().for_each(|c| *c = new[c.ix()]);
        call.after.sort();
    }
    calls
}

#[cfg(test)]
mod tests {
    use mlc_ir::DType::{Bool, F32, I64};
    use mlc_ir::eval;
    use mlc_ir::loops::interp::run_program;
    use mlc_ir::testing::{GraphShape, Rng, random_graph};

    use super::*;
    use crate::lower::tests::{bound, feeds, layout_of, random_feed};
    use crate::{Fusion, lower_entry_with};

    /// Also where no edge of the program says so: calls of its own text.
    #[test]
    fn a_write_waits_for_the_reads_before_it() {
        let seeds = 0..40;
        let mut overwritten = 0;
        for seed in seeds {
            let dtypes = vec![F32, I64];
            let mut g = random_graph(seed, &GraphShape { symbols: false, nodes: 20, dtypes, loops: 0 });
            let layout = layout_of(&g);
            bound(&mut g);
            let l = lower_entry_with(&g, &layout, &|_| 0, Fusion { fuse: false });
            let mut program = l.unwrap_or_else(|e| panic!("seed {seed}: {e}")).program().clone();
            program.calls.iter_mut().for_each(|c| c.after.clear());
            let deps = dependencies(&program);
            for (i, call) in program.calls.iter().enumerate() {
                let kernel = program.kernel_of(call);
                let written = call.args.iter().zip(&kernel.args).filter(|(_, a)| a.mode != Mode::Read);
                for (slice, _) in written {
                    let reads = |c: &Call| {
                        let args = c.args.iter().zip(&program.kernel_of(c).args);
                        args.into_iter().any(|(s, a)| a.mode == Mode::Read && s.buffer == slice.buffer)
                    };
                    for (j, _) in program.calls[..i].iter().enumerate().filter(|(_, c)| reads(c)) {
                        overwritten += 1;
                        assert!(deps[i].contains(&j), "seed {seed}: call {i} overwrites what call {j} reads");
                    }
                }
            }
        }
        assert!(overwritten > 10, "only {overwritten} reads of what is overwritten later");
    }

    /// Whatever order the dependencies allow, all bits are the same: so no heuristic can change them.
    #[test]
    fn any_order_gives_the_same_bits() {
        let mut moved = 0;
        for seed in 0..60 {
            let dtypes = vec![F32, F32, I64, Bool];
            let shape = GraphShape { symbols: false, nodes: 6 + seed as usize % 40, dtypes, loops: 0 };
            let mut g = random_graph(seed, &shape);
            let (layout, (inputs, states)) = (layout_of(&g), random_feed(&g, seed));
            bound(&mut g);
            if eval::run(&g, &inputs, &states, &mlc_ir::Binding::new()).is_err() {
                continue;
            }
            // One kernel an op, so that there is much to order.
            let l = lower_entry_with(&g, &layout, &|_| 0, Fusion { fuse: false });
            let l = l.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            let mut want = feeds(l.program(), &layout, &inputs, &states);
            let start = want.clone();
            run_program(l.program(), &mut want).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            let deps = dependencies(l.program());
            let mut after = vec![vec![]; deps.len()];
            deps.iter().enumerate().for_each(|(i, d)| d.iter().for_each(|&d: &usize| after[d].push(i)));
            let mut rng = Rng(seed ^ 0x0d3);
            for _ in 0..2 {
                let mut waiting: Vec<usize> = deps.iter().map(Vec::len).collect();
                let mut ready: Vec<usize> = (0..deps.len()).filter(|&i| waiting[i] == 0).collect();
                let mut order = vec![];
                while !ready.is_empty() {
                    let next = ready.swap_remove(rng.below(ready.len()));
                    order.push(next);
                    for &after in &after[next] {
                        waiting[after] -= 1;
                        if waiting[after] == 0 {
                            ready.push(after);
                        }
                    }
                }
                moved += usize::from(!order.is_sorted());
                let mut program = l.program().clone();
                program.calls = reordered(&program.calls, &order);
                let mut got = start.clone();
                run_program(&program, &mut got).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                assert_eq!(got, want, "seed {seed}: {order:?}");
            }
        }
        assert!(moved > 60, "only {moved} orders differ from the first");
    }
}
