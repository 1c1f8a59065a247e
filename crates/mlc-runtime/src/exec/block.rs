//! The calls of a plan with their pointers, and of the programs that its kernels repeat.
//!
//! A [`Block`] is a flat list of calls whose pointers are resolved once. A call that repeats a program has a
//! block of its own for it; what the program shares with the arguments of the call is resolved anew in each
//! trip, which takes a few additions, and everything else stays where it is. Running a block allocates nothing.

use std::sync::Arc;

use mlc_diag::Diagnostic;
use mlc_ir::loops::{ArenaKind, BufferId, Call as PlannedCall, FaultRecord, Kind, Link, Plan, Repeat, Role};

use super::code::{Code, KernelCode, RepeatCode};
use super::kernel::{Call, HostKernel, Phase};
use super::memory::HostMemory;
use super::pool::{Pool, WorkerPanicked};

/// Calls in order.
#[derive(Default)]
pub struct Block {
    instrs: Vec<Instr>,
    args: Vec<*mut u8>,
    /// Pointers into inputs.
    inputs: Vec<InputUse>,
}

/// A pointer into an input.
struct InputUse {
    input: BufferId,
    /// Position in the block's pointers.
    at: usize,
    offset: usize,
    align: usize,
}

/// One call: where its pointers start.
struct Instr {
    work: Work,
    args: usize,
    /// Working memory of the call's device.
    scratch: *mut u8,
    /// Its number in the program ([`LoopProgram::call_numbered`](mlc_ir::loops::LoopProgram::call_numbered)).
    number: u64,
}

enum Work {
    Kernel { kernel: Arc<dyn HostKernel>, faults: bool },
    Repeat(Box<Trips>),
}

/// A repeated program.
struct Trips {
    count: u64,
    body: Block,
    /// First values of states: position of the argument, of the state's, bytes.
    first: Vec<(usize, usize, usize)>,
    linked: Vec<Linked>,
    /// The number of the trip, where the program reads it.
    trip: HostMemory,
    /// Its temporaries and scratch, and how many bytes they are.
    memory: *mut u8,
    bytes: usize,
}

/// A pointer of the body that lies in an argument of the call.
struct Linked {
    /// Position in the body's pointers.
    at: usize,
    arg: usize,
    offset: usize,
    /// How far it moves from trip to trip.
    step: usize,
}

/// Where a plan's arenas begin.
pub struct Bases<'b> {
    pub arenas: &'b [*mut u8],
    /// The [`FaultRecord`].
    pub fault: *mut u8,
}

/// What running a block takes.
#[derive(Clone, Copy)]
pub struct Run<'r> {
    pub pool: &'r Pool,
    pub fault: *mut FaultRecord,
    /// Fill working memory with ones before each trip, so that a wrong plan shows.
    pub poison: bool,
}

impl Block {
    /// Resolves the calls of a plan, which are numbered from `first`.
    ///
    /// # Errors
    /// A bug where the code or the plan of a repeated program is missing.
    pub fn new(plan: &Plan, code: &Code, bases: &Bases<'_>, first: u64) -> Result<Block, Diagnostic> {
        let mut block = Block::default();
        let mut number = first;
        for call in &plan.program.calls {
            let kernel = plan.program.kernel_of(call);
            let args = block.args.len();
            let scratch = scratch_of(plan, call, bases.arenas);
            block.push_args(plan, call, bases.arenas);
            let work = match (&kernel.kind, code.of(call.kernel)) {
                (Kind::Repeat(r), Some(KernelCode::Repeat(body))) => {
                    let missing =
                        || Diagnostic::bug(format!("the program of {} is not planned", kernel.name));
                    let inner = plan.bodies.get(&call.kernel).ok_or_else(missing)?;
                    Work::Repeat(Box::new(Trips::new(r, (inner, body), scratch, bases.fault, number + 1)?))
                }
                (_, Some(KernelCode::Kernel(code))) => {
                    let faults = !kernel.fault_sites().is_empty();
                    if faults {
                        block.args.push(bases.fault);
                    }
                    Work::Kernel { kernel: code.clone(), faults }
                }
                _ => return Err(Diagnostic::bug(format!("{} has no code", kernel.name))),
            };
            block.instrs.push(Instr { work, args, scratch, number });
            number += kernel.call_numbers();
        }
        Ok(block)
    }

    fn push_args(&mut self, plan: &Plan, call: &PlannedCall, arenas: &[*mut u8]) {
        for (slice, arg) in call.args.iter().zip(&plan.program.kernel_of(call).args) {
            let place = &plan.places[slice.buffer.ix()];
            let buffer = plan.program.buffer(slice.buffer);
            let offset = slice.offset as usize * buffer.dtype.size();
            if buffer.role == Role::Input {
                let (at, align) = (self.args.len(), arg.align.max(1) as usize);
                self.inputs.push(InputUse { input: slice.buffer, at, offset, align });
            }
            self.args.push(arenas[place.arena.ix()].wrapping_add(place.offset as usize + offset));
        }
    }

    /// Lets an input lie at `base` from now on. False, and nothing is changed, where a kernel asks for more
    /// alignment.
    pub fn place_input(&mut self, input: BufferId, base: *const u8) -> bool {
        let mut uses = self.inputs.iter().filter(|u| u.input == input);
        let aligned = uses.all(|u| base.addr().wrapping_add(u.offset).is_multiple_of(u.align));
        if aligned {
            for u in self.inputs.iter().filter(|u| u.input == input) {
                self.args[u.at] = base.cast_mut().wrapping_add(u.offset);
            }
        }
        aligned
    }

    pub fn len(&self) -> usize {
        self.instrs.len()
    }

    /// Runs one call.
    ///
    /// # Safety
    /// The bases that the block was made for are as its plan's verifier and the executor's checks ask, and
    /// nobody else writes what the calls read or reads what they write.
    ///
    /// # Errors
    /// If a worker panicked.
    pub unsafe fn run(&mut self, i: usize, with: Run<'_>) -> Result<(), WorkerPanicked> {
        let Instr { work, args, scratch, number } = &mut self.instrs[i];
        let args = self.args[*args..].as_ptr();
        match work {
            Work::Kernel { kernel, faults } => {
                // SAFETY: the caller's promise: pointers as the kernel's arguments ask, working memory as large as
                // the largest need.
                unsafe { Call::new(&**kernel, args, *scratch) }.run(with.pool, Phase::is_shared)?;
                if *faults {
                    // SAFETY: the caller's promise; the kernel has returned.
                    unsafe { note_call(with.fault, *number) };
                }
                Ok(())
            }
            // SAFETY: the caller's promise.
            Work::Repeat(trips) => unsafe { trips.run(args, with) },
        }
    }
}

/// The base of the scratch arena of a call's device; null where no call of the device needs any.
fn scratch_of(plan: &Plan, call: &PlannedCall, arenas: &[*mut u8]) -> *mut u8 {
    let device = call.args.first().map(|s| plan.program.buffer(s.buffer).device);
    let mut of_device = plan.arenas.iter().zip(arenas).filter(|(a, _)| Some(a.device) == device);
    of_device.find(|(a, _)| a.kind == ArenaKind::Scratch).map_or(std::ptr::null_mut(), |(_, &base)| base)
}

/// Says which call left a fault site.
///
/// # Safety
/// The record is valid and nobody else uses it.
unsafe fn note_call(record: *mut FaultRecord, number: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*record).site != 0 && (*record).call == 0 {
            (*record).call = number + 1;
        }
    }
}

impl Trips {
    fn new(
        r: &Repeat,
        (plan, code): (&Plan, &RepeatCode),
        memory: *mut u8,
        fault: *mut u8,
        first: u64,
    ) -> Result<Trips, Diagnostic> {
        let layout = plan.working_memory();
        let arenas: Vec<*mut u8> = plan
            .arenas
            .iter()
            .zip(&code.consts)
            .map(|(arena, consts)| match (arena.kind, consts) {
                (_, Some(c)) => c.base(),
                (ArenaKind::Temp, _) => memory,
                (ArenaKind::Scratch, _) => memory.wrapping_add(layout.scratch as usize),
                // Inputs, outputs and states are the call's arguments.
                _ => std::ptr::null_mut(),
            })
            .collect();
        let bases = Bases { arenas: &arenas, fault };
        let mut trips = Trips {
            count: r.trips,
            body: Block::new(plan, &code.code, &bases, first)?,
            first: vec![],
            linked: vec![],
            trip: HostMemory::zeroed(size_of::<i64>() as u64, super::ALIGN)?,
            memory,
            bytes: layout.bytes as usize,
        };
        trips.link(r, plan);
        let bytes = |k: usize| r.links.get(k).map_or(0, |l| r.body.buffer(l.buffer()).bytes() as usize);
        trips.first = r.states().map(|(first, state)| (first, state, bytes(state))).collect();
        Ok(trips)
    }

    /// Which pointers of the body's calls lie in arguments.
    fn link(&mut self, r: &Repeat, plan: &Plan) {
        for (call, instr) in plan.program.calls.iter().zip(&self.body.instrs) {
            for (i, slice) in call.args.iter().enumerate() {
                let at = instr.args + i;
                let buffer = r.body.buffer(slice.buffer);
                let offset = slice.offset as usize * buffer.dtype.size();
                if r.trip == Some(slice.buffer) {
                    self.body.args[at] = self.trip.base();
                }
                let to_it = |l: &Link| l.buffer() == slice.buffer && !matches!(l, Link::First(_));
                if let Some(arg) = r.links.iter().position(to_it) {
                    let sliced = matches!(r.links[arg], Link::Slice(_));
                    let step = if sliced { buffer.bytes() as usize } else { 0 };
                    self.linked.push(Linked { at, arg, offset, step });
                }
            }
        }
    }

    /// # Safety
    /// As [`Block::run`]; `args` are the call's.
    unsafe fn run(&mut self, args: *const *mut u8, with: Run<'_>) -> Result<(), WorkerPanicked> {
        // SAFETY: the caller's promise: there is a pointer for each link.
        let arg = |i: usize| unsafe { *args.add(i) };
        for &(first, state, bytes) in &self.first {
            if arg(first) != arg(state) {
                // SAFETY: both are that long; the kernel's aliases allow the same bytes or none in common.
                unsafe { std::ptr::copy_nonoverlapping(arg(first), arg(state), bytes) };
            }
        }
        for trip in 0..self.count {
            for l in &self.linked {
                self.body.args[l.at] = arg(l.arg).wrapping_add(l.offset + trip as usize * l.step);
            }
            if with.poison {
                // SAFETY: the call's working memory is that long, and no call of this trip has run.
                unsafe { std::ptr::write_bytes(self.memory, 0xff, self.bytes) };
            }
            // SAFETY: the block is as large as a number and aligned; no call runs, and only this body's calls read it.
            unsafe { self.trip.base().cast::<i64>().write(trip as i64) };
            for i in 0..self.body.len() {
                // SAFETY: the caller's promise; L17 says that the linked parts lie within the arguments.
                unsafe { self.body.run(i, with)? };
            }
        }
        Ok(())
    }
}
