//! A kernel that repeats a program: its calls in order, once a trip.

use super::Numbered;
use super::memory::{InterpError, Memory, Slot};
use super::program::{Base, arenas, constants, run_calls};
use crate::loops::kernel::FaultRecord;
use crate::loops::program::{BufferId, Role};
use crate::loops::repeat::{Link, Repeat};

/// Runs all trips. Temporaries are poisoned before each: nothing but states goes from one trip to the next.
pub fn run(
    r: &Repeat,
    call: Numbered<'_>,
    slots: &[Slot],
    mem: &mut Memory,
    fault: &mut FaultRecord,
) -> Result<(), InterpError> {
    let outside = mem.spaces();
    let result = trips(r, call, slots, mem, fault);
    mem.truncate(outside);
    result
}

fn trips(
    r: &Repeat,
    call: Numbered<'_>,
    slots: &[Slot],
    mem: &mut Memory,
    fault: &mut FaultRecord,
) -> Result<(), InterpError> {
    if slots.len() != r.links.len() {
        return Err(InterpError("L17: not every argument is linked".into()));
    }
    for (first, state) in r.states() {
        let (from, to) = (&slots[first], &slots[state]);
        mem.copy((from.space, from.offset), (to.space, to.offset), bytes(to));
    }
    let mut bases = match call.plan {
        Some(plan) => arenas(plan, mem)?,
        None => r.body.buffers.iter().map(|b| (mem.add_poisoned(b.bytes() as usize), 0)).collect(),
    };
    constants(&r.body, &bases, mem)?;
    let trip_space = mem.add_poisoned(size_of::<i64>());
    let program = call.plan.map_or(&r.body, |p| &p.program);
    for trip in 0..r.trips {
        mem.fill(trip_space, 0, &(trip as i64).to_le_bytes());
        link(r, slots, trip, &mut bases);
        if let Some(t) = r.trip {
            bases[t.ix()] = (trip_space, 0);
        }
        poison_temporaries(r, &bases, mem);
        run_calls(program, call.plan, call.number + 1, &bases, mem, fault)?;
    }
    Ok(())
}

/// Where the arguments lie in this trip.
fn link(r: &Repeat, slots: &[Slot], trip: u64, bases: &mut [Base]) {
    for (slot, link) in slots.iter().zip(&r.links) {
        let base = &mut bases[link.buffer().ix()];
        match link {
            Link::Kept(_) | Link::State(_) => *base = (slot.space, slot.offset),
            Link::Slice(b) => *base = (slot.space, slot.offset + trip as usize * part(r, *b)),
            Link::First(_) => {}
        }
    }
}

fn part(r: &Repeat, b: BufferId) -> usize {
    r.body.buffer(b).bytes() as usize
}

fn poison_temporaries(r: &Repeat, bases: &[Base], mem: &mut Memory) {
    for (b, &(space, offset)) in r.body.buffers.iter().zip(bases) {
        if b.role == Role::Temp {
            mem.poison(space, offset, b.bytes() as usize);
        }
    }
}

fn bytes(slot: &Slot) -> usize {
    slot.len as usize * slot.dtype.size()
}
