//! The bit-exact interpreter: the oracle of every back end. Slow, and literal: it follows the primitive table,
//! the function expansions and the reduction trees (R4-R8) word for word, checks every access against its
//! argument and refuses to read what was not written.
//!
//! [`run_kernel`] runs one kernel, [`run_program`] a program over separate buffers, [`run_plan`] a program over
//! its planned arenas, where freed bytes are poisoned: the memory planner's oracle.

mod body;
mod contract;
mod memory;
mod program;
mod scalar;
mod trees;

use super::ArgId;
use super::index::{AxisId, Index};
use super::kernel::{CopyMap, FaultRecord, Init, Kernel, Kind, Mode, Scatter, Segment};
use body::Eval;
pub use memory::{InterpError, Memory, Slot};
pub use program::{Feeds, run_plan, run_program};
pub use scalar::{cast, eval_prim, eval_scalar};
pub use trees::{Partial, Reducer, Runs};

/// Runs a kernel over its arguments' bytes (little endian, one vector an argument, exactly as long). Contents
/// of `Write` arguments are ignored.
pub fn run_kernel(kernel: &Kernel, args: &mut [Vec<u8>]) -> Result<FaultRecord, InterpError> {
    if args.len() != kernel.args.len() {
        return Err(InterpError(format!("{} arguments for @{}", args.len(), kernel.name)));
    }
    let mut mem = Memory::default();
    let mut slots = Vec::new();
    for (arg, bytes) in kernel.args.iter().zip(args.iter_mut()) {
        let want = arg.len as usize * arg.dtype.size();
        if bytes.len() != want {
            return Err(InterpError(format!("P6: {} has {} bytes, not {want}", arg.name, bytes.len())));
        }
        let space =
            if arg.mode == Mode::Write { mem.add_poisoned(want) } else { mem.add(std::mem::take(bytes)) };
        slots.push(Slot { space, offset: 0, len: arg.len, dtype: arg.dtype, name: arg.name.to_string() });
    }
    let mut fault = FaultRecord::default();
    let result = run_in(kernel, &slots, &mut mem, &mut fault);
    for (bytes, space) in args.iter_mut().zip(mem.into_spaces()) {
        *bytes = space;
    }
    result.map(|()| fault)
}

/// Runs a kernel whose arguments are slots of a memory; they may share bytes as far as the kernel allows.
pub fn run_in(
    kernel: &Kernel,
    slots: &[Slot],
    mem: &mut Memory,
    fault: &mut FaultRecord,
) -> Result<(), InterpError> {
    let run = match &kernel.kind {
        Kind::Loop(body) => body::run(body, 0, slots, mem, fault),
        Kind::Contract(c) => contract::run(c, slots, mem, fault),
        Kind::Segments(segments) => run_segments(kernel, segments, slots, mem, fault),
        Kind::ScatterAdd(s) => scatter(s, slots, mem, fault),
        Kind::Copy(c) => copy(c, slots, mem),
    };
    run.map_err(|e| InterpError(format!("@{}: {}", kernel.name, e.0)))
}

/// One after another; no other order would show.
fn run_segments(
    kernel: &Kernel,
    segments: &[Segment],
    slots: &[Slot],
    mem: &mut Memory,
    fault: &mut FaultRecord,
) -> Result<(), InterpError> {
    let mut site = 0;
    for s in segments {
        let own = s.args.iter().map(|&a| slot(slots, a).cloned()).collect::<Result<Vec<_>, _>>()?;
        body::run(&s.body, site, &own, mem, fault)?;
        site += kernel.segment(s).fault_sites().len() as u64;
    }
    Ok(())
}

/// R8: sources in row-major order, one after another.
fn scatter(
    s: &Scatter,
    slots: &[Slot],
    mem: &mut Memory,
    fault: &mut FaultRecord,
) -> Result<(), InterpError> {
    let dest = slot(slots, s.dest)?;
    if s.init == Init::Zero {
        for i in 0..dest.len {
            mem.write(dest, i as i64, 0)?;
        }
    }
    let prim = s.op.prim().ok_or_else(|| InterpError("L8: a scatter cannot take positions".into()))?;
    let mut eval = Eval::new(&s.body, 0, slots, mem, fault);
    let all: Vec<usize> = (0..s.body.exprs.len()).collect();
    let site = eval.sites_end();
    let extents: Vec<u64> = s.body.axes().map(|a| a.extent).collect();
    for_each_point(&extents, |point| {
        eval.set_point(0, point);
        eval.run(&all)?;
        if s.guard.is_some_and(|g| eval.value(g) == 0) {
            return Ok(());
        }
        let at = eval.index(&s.index, site)?;
        let old = eval.mem().read(dest, at)?;
        let new = eval_prim(prim, dest.dtype, dest.dtype, [old, eval.value(s.value), 0]);
        eval.mem().write(dest, at, new)
    })
}

fn copy(c: &CopyMap, slots: &[Slot], mem: &mut Memory) -> Result<(), InterpError> {
    let (src, dst) = (slot(slots, ArgId(0))?, slot(slots, ArgId(1))?);
    for_each_point(&c.extents, |point| {
        let v = mem.read(src, affine(&c.src, point))?;
        mem.write(dst, affine(&c.dst, point), v)
    })
}

/// The value of an index without data at a point of the domain.
pub fn affine(index: &Index, point: &[i64]) -> i64 {
    use super::Atom;
    index.terms.iter().fold(index.offset, |sum, (c, atom)| {
        let v = match atom {
            Atom::Axis(AxisId(a)) => point[*a as usize],
            Atom::Quot { of, div, modulo } => quot(affine(of, point), *div, *modulo),
            Atom::Data(..) => 0,
        };
        sum.wrapping_add(c.wrapping_mul(v))
    })
}

fn quot(v: i64, div: u64, modulo: Option<u64>) -> i64 {
    let q = v.div_euclid(div.max(1) as i64);
    modulo.map_or(q, |m| q.rem_euclid(m.max(1) as i64))
}

fn slot(slots: &[Slot], arg: ArgId) -> Result<&Slot, InterpError> {
    slots.get(arg.ix()).ok_or_else(|| InterpError(format!("L2: there is no {arg}")))
}

/// Calls `f` on every point of a domain, last axis fastest.
pub fn for_each_point<E>(extents: &[u64], mut f: impl FnMut(&[i64]) -> Result<(), E>) -> Result<(), E> {
    if extents.contains(&0) {
        return Ok(());
    }
    let mut point = vec![0i64; extents.len()];
    loop {
        f(&point)?;
        let mut axis = extents.len();
        loop {
            if axis == 0 {
                return Ok(());
            }
            axis -= 1;
            point[axis] += 1;
            if (point[axis] as u64) < extents[axis] {
                break;
            }
            point[axis] = 0;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
