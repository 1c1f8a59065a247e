//! Order: puts the calls of a program into an order that needs less memory.
//!
//! List scheduling: of the calls that are ready, the one that frees most and allocates least; among equals the
//! first. A call never overtakes one that is more than `WINDOW` places ahead in the canonical order, so the
//! program stays recognisable and the search linear. The new order is kept only if its peak is lower.
//!
//! Input: a program whose calls are in a valid order. Every pair of calls that touch one buffer, at least one
//! of them writing, keeps its order; so do the pairs in [`Call::after`].

use mlc_ir::loops::{Call, CallId, LoopProgram, Mode, Role};

/// How far a call may move ahead.
const WINDOW: usize = 64;

/// Reorders the calls; true if that lowered the peak of temporaries.
pub fn order(program: &mut LoopProgram) -> bool {
    let deps = dependencies(program);
    let canonical: Vec<usize> = (0..program.calls.len()).collect();
    let scheduled = schedule(program, &deps);
    if peak(program, &scheduled) >= peak(program, &canonical) {
        return false;
    }
    apply(program, &scheduled);
    true
}

/// For each call: the calls that must come before it. Reads follow the last writes and writes follow the
/// reads since, so that the edges are few.
fn dependencies(program: &LoopProgram) -> Vec<Vec<usize>> {
    #[derive(Default, Clone)]
    struct Touched {
        writers: Vec<usize>,
        readers: Vec<usize>,
    }
    let mut touched = vec![Touched::default(); program.buffers.len()];
    let mut deps = Vec::with_capacity(program.calls.len());
    for (i, call) in program.calls.iter().enumerate() {
        let mut before: Vec<usize> = call.after.iter().map(|c| c.ix()).collect();
        let kernel = program.kernel_of(call);
        let args = || call.args.iter().zip(&kernel.args);
        for (slice, arg) in args() {
            let t = &touched[slice.buffer.ix()];
            before.extend(&t.writers);
            if arg.mode != Mode::Read {
                before.extend(&t.readers);
            }
        }
        for (slice, arg) in args() {
            let t = &mut touched[slice.buffer.ix()];
            if arg.mode == Mode::Read {
                t.readers.push(i);
            } else {
                let whole = slice.len == program.buffers[slice.buffer.ix()].len;
                if whole {
                    t.writers.clear();
                    t.readers.clear();
                }
                t.writers.push(i);
            }
        }
        before.sort_unstable();
        before.dedup();
        before.retain(|&b| b != i);
        deps.push(before);
    }
    deps
}

/// Which temporaries each call touches, and how often each is touched in all.
struct Use {
    of_call: Vec<Vec<usize>>,
    total: Vec<usize>,
}

fn uses(program: &LoopProgram) -> Use {
    let mut total = vec![0; program.buffers.len()];
    let of_call = program
        .calls
        .iter()
        .map(|call| {
            let mut temps: Vec<usize> = call.args.iter().map(|s| s.buffer.ix()).collect();
            temps.retain(|&b| program.buffers[b].role == Role::Temp);
            temps.sort_unstable();
            temps.dedup();
            temps.iter().for_each(|&b| total[b] += 1);
            temps
        })
        .collect();
    Use { of_call, total }
}

fn schedule(program: &LoopProgram, deps: &[Vec<usize>]) -> Vec<usize> {
    let n = program.calls.len();
    let Use { of_call, total } = uses(program);
    let mut left = total.clone();
    let mut waiting: Vec<usize> = deps.iter().map(Vec::len).collect();
    let mut successors = vec![vec![]; n];
    for (i, before) in deps.iter().enumerate() {
        before.iter().for_each(|&b| successors[b].push(i));
    }
    let mut ready: std::collections::BTreeSet<usize> = (0..n).filter(|&i| waiting[i] == 0).collect();
    let mut first_open = 0;
    let mut done = vec![false; n];
    let mut out = Vec::with_capacity(n);
    while !ready.is_empty() {
        while first_open < n && done[first_open] {
            first_open += 1;
        }
        let gain = |i: usize| -> i128 {
            of_call[i]
                .iter()
                .map(|&b| {
                    let bytes = i128::from(program.buffers[b].bytes());
                    let allocated = if left[b] == total[b] { bytes } else { 0 };
                    let freed = if left[b] == 1 { bytes } else { 0 };
                    freed - allocated
                })
                .sum()
        };
        let near = ready.iter().copied().take_while(|&i| i <= first_open + WINDOW);
        let Some(next) = near.map(|i| (gain(i), std::cmp::Reverse(i))).max() else { break };
        let next = next.1.0;
        ready.remove(&next);
        done[next] = true;
        out.push(next);
        of_call[next].iter().for_each(|&b| left[b] -= 1);
        for &s in &successors[next] {
            waiting[s] -= 1;
            if waiting[s] == 0 {
                ready.insert(s);
            }
        }
    }
    out
}

/// The most bytes of temporaries alive at once.
fn peak(program: &LoopProgram, order: &[usize]) -> u64 {
    let Use { of_call, total } = uses(program);
    let mut left = total.clone();
    let (mut live, mut peak) = (0u64, 0u64);
    for &i in order {
        for &b in of_call[i].iter().filter(|&&b| left[b] == total[b]) {
            live = live.saturating_add(program.buffers[b].bytes());
        }
        peak = peak.max(live);
        for &b in &of_call[i] {
            left[b] -= 1;
            if left[b] == 0 {
                live = live.saturating_sub(program.buffers[b].bytes());
            }
        }
    }
    peak
}

fn apply(program: &mut LoopProgram, order: &[usize]) {
    let mut new = vec![CallId(0); order.len()];
    for (at, &i) in order.iter().enumerate() {
        new[i] = CallId(at as u32);
    }
    let mut calls: Vec<Call> = order.iter().map(|&i| program.calls[i].clone()).collect();
    for call in &mut calls {
        call.after.iter_mut().for_each(|c| *c = new[c.ix()]);
        call.after.sort();
    }
    program.calls = calls;
}
