//! Programs and plans: calls in order.

use std::collections::BTreeMap;

use super::memory::{InterpError, Memory, Slot};
use super::{Numbered, run_numbered};
use crate::loops::kernel::FaultRecord;
use crate::loops::program::{
    ArenaKind, Buffer, BufferId, BufferSlice, Call, CallId, LoopProgram, Plan, Role,
};

/// Bytes of buffers (little endian). In: every input and state. Out: also every output; states as updated.
pub type Feeds = BTreeMap<BufferId, Vec<u8>>;

/// Where a buffer lies: space and byte offset.
pub type Base = (usize, usize);

/// Runs a program, each buffer in memory of its own.
pub fn run_program(program: &LoopProgram, feeds: &mut Feeds) -> Result<FaultRecord, InterpError> {
    let mut mem = Memory::default();
    let mut bases: Vec<Base> = Vec::new();
    for b in &program.buffers {
        bases.push((mem.add_poisoned(b.bytes() as usize), 0));
    }
    run_over(program, None, &bases, &mut mem, feeds)
}

/// Runs a program over its planned arenas. A buffer's bytes are poisoned when its life ends, so a plan that
/// reuses them too early shows as a read of unwritten memory or a different result.
pub fn run_plan(plan: &Plan, feeds: &mut Feeds) -> Result<FaultRecord, InterpError> {
    let mut mem = Memory::default();
    let bases = arenas(plan, &mut mem)?;
    run_over(&plan.program, Some(plan), &bases, &mut mem, feeds)
}

/// Adds a space for each arena of a plan: where each buffer lies.
pub fn arenas(plan: &Plan, mem: &mut Memory) -> Result<Vec<Base>, InterpError> {
    let program = &plan.program;
    let first = mem.spaces();
    for a in &plan.arenas {
        mem.add_poisoned(a.bytes as usize);
    }
    let mut bases: Vec<Base> = Vec::new();
    for (b, p) in program.buffers.iter().zip(&plan.places) {
        let room = plan.arenas.get(p.arena.ix()).map_or(0, |a| a.bytes);
        if p.offset.saturating_add(b.bytes()) > room {
            return Err(InterpError(format!("P4: {} lies outside {}", b.name, p.arena)));
        }
        bases.push((first + p.arena.ix(), p.offset as usize));
    }
    if bases.len() != program.buffers.len() {
        return Err(InterpError("P4: not every buffer has a place".into()));
    }
    Ok(bases)
}

fn run_over(
    program: &LoopProgram,
    plan: Option<&Plan>,
    bases: &[Base],
    mem: &mut Memory,
    feeds: &mut Feeds,
) -> Result<FaultRecord, InterpError> {
    feed(program, bases, mem, feeds)?;
    let mut fault = FaultRecord::default();
    run_calls(program, plan, 0, bases, mem, &mut fault)?;
    fetch(program, bases, mem, feeds)?;
    Ok(fault)
}

/// Runs all calls, which are numbered from `first`.
pub fn run_calls(
    program: &LoopProgram,
    plan: Option<&Plan>,
    first: u64,
    bases: &[Base],
    mem: &mut Memory,
    fault: &mut FaultRecord,
) -> Result<(), InterpError> {
    let mut number = first;
    for (i, call) in program.calls.iter().enumerate() {
        let body = plan.and_then(|p| p.bodies.get(&call.kernel));
        run_call(program, Numbered { number, plan: body }, call, bases, mem, fault)?;
        if let Some(plan) = plan {
            free(plan, CallId(i as u32), call, bases, mem);
        }
        number += program.kernel_of(call).call_numbers();
    }
    Ok(())
}

/// Poisons temporaries whose life ends with this call, except bytes that an output of it took over.
fn free(plan: &Plan, id: CallId, call: &Call, bases: &[Base], mem: &mut Memory) {
    let given: Vec<BufferId> =
        call.donates.iter().filter_map(|(from, _)| call.args.get(from.ix())).map(|s| s.buffer).collect();
    for (i, (b, p)) in plan.program.buffers.iter().zip(&plan.places).enumerate() {
        let ends = p.live.is_some_and(|(_, last)| last == id) && b.role == Role::Temp;
        let temp = plan.arenas[p.arena.ix()].kind == ArenaKind::Temp;
        if ends && temp && !given.contains(&BufferId(i as u32)) {
            mem.poison(bases[i].0, bases[i].1, b.bytes() as usize);
        }
    }
}

fn feed(program: &LoopProgram, bases: &[Base], mem: &mut Memory, feeds: &Feeds) -> Result<(), InterpError> {
    for (i, b) in program.buffers.iter().enumerate() {
        let contents: &[u8] = match b.role {
            Role::Input | Role::State(_) => feeds
                .get(&BufferId(i as u32))
                .ok_or_else(|| InterpError(format!("nothing is fed to {}", b.name)))?,
            Role::Const(_) | Role::Output | Role::Temp => continue,
        };
        contents_fit(b, contents)?;
        mem.fill(bases[i].0, bases[i].1, contents);
    }
    constants(program, bases, mem)
}

/// Puts the constants in their places.
pub fn constants(program: &LoopProgram, bases: &[Base], mem: &mut Memory) -> Result<(), InterpError> {
    for (b, &(space, offset)) in program.buffers.iter().zip(bases) {
        let Role::Const(c) = b.role else { continue };
        let data = program.consts.get(c.ix());
        let data = &data.ok_or_else(|| InterpError(format!("{} has no {c}", b.name)))?.bytes;
        contents_fit(b, data)?;
        mem.fill(space, offset, data);
    }
    Ok(())
}

fn contents_fit(b: &Buffer, contents: &[u8]) -> Result<(), InterpError> {
    if contents.len() as u64 == b.bytes() {
        return Ok(());
    }
    Err(InterpError(format!("{} takes {} bytes, got {}", b.name, b.bytes(), contents.len())))
}

fn fetch(program: &LoopProgram, bases: &[Base], mem: &Memory, feeds: &mut Feeds) -> Result<(), InterpError> {
    for (i, b) in program.buffers.iter().enumerate() {
        if matches!(b.role, Role::Output | Role::State(_)) {
            let (space, offset) = bases[i];
            if !mem.all_written(space, offset, b.bytes() as usize) {
                return Err(InterpError(format!("P2: {} is not fully written", b.name)));
            }
            feeds.insert(BufferId(i as u32), mem.bytes(space, offset, b.bytes() as usize).to_vec());
        }
    }
    Ok(())
}

fn run_call(
    program: &LoopProgram,
    which: Numbered<'_>,
    call: &Call,
    bases: &[Base],
    mem: &mut Memory,
    fault: &mut FaultRecord,
) -> Result<(), InterpError> {
    let number = which.number;
    let kernel = program
        .kernels
        .get(call.kernel.ix())
        .ok_or_else(|| InterpError(format!("call {number}: there is no {}", call.kernel)))?;
    if kernel.args.len() != call.args.len() {
        return Err(InterpError(format!(
            "P6: call {number} of @{} has {} arguments",
            kernel.name,
            call.args.len()
        )));
    }
    let slots = call
        .args
        .iter()
        .map(|s| slot_of(program, s, bases))
        .collect::<Result<Vec<Slot>, _>>()
        .map_err(|e| InterpError(format!("call {number} of @{}: {}", kernel.name, e.0)))?;
    run_numbered(kernel, which, &slots, mem, fault)
        .map_err(|e| InterpError(format!("call {number}: {}", e.0)))?;
    if fault.site != 0 && fault.call == 0 {
        fault.call = number + 1;
    }
    Ok(())
}

fn slot_of(program: &LoopProgram, s: &BufferSlice, bases: &[Base]) -> Result<Slot, InterpError> {
    let b = program.buffers.get(s.buffer.ix()).ok_or_else(|| InterpError(format!("no {}", s.buffer)))?;
    if s.offset.saturating_add(s.len) > b.len {
        return Err(InterpError(format!("P6: slice {}+{} of {} exceeds {}", s.offset, s.len, b.name, b.len)));
    }
    let (space, base) = bases[s.buffer.ix()];
    let offset = base + s.offset as usize * b.dtype.size();
    Ok(Slot { space, offset, len: s.len, dtype: b.dtype, name: b.name.to_string() })
}
