//! The executor for plans whose memory is the host's: a flat array of calls with pointers resolved once.
//!
//! Invariants: every pointer in `args` lies in an arena that the session owns or shares; calls run in plan
//! order; [`HostSession::run`] allocates nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mlc_diag::Diagnostic;
use mlc_ir::loops::{ArenaKind, BufferId, FaultRecord, Mode, Plan, Role};

use super::backend::{CompileStats, Executable, Session};
use super::block::{Bases, Block, Run};
use super::code::{Code, Consts, KernelCode, const_arenas};
use super::fault::Fault;
use super::float_mode::FloatMode;
use super::kernel::HostKernel;
use super::memory::HostMemory;
use super::poison;
use super::pool::{Pool, WorkerPanicked};
use super::state::StateStore;

/// A plan with the code of its kernels.
pub struct HostExecutable {
    plan: Arc<Plan>,
    kernels: Code,
    consts: Consts,
    writes_state: bool,
    stats: CompileStats,
    pool: Arc<Pool>,
}

impl HostExecutable {
    /// `kernels`: the code of [`leaf_kernels`](mlc_ir::loops::LoopProgram::leaf_kernels), in their order.
    /// `pool`: the threads that share the work; the plan's scratch was asked for as many.
    pub fn new(
        plan: Arc<Plan>,
        kernels: Vec<Arc<dyn HostKernel>>,
        stats: CompileStats,
        pool: Arc<Pool>,
    ) -> Result<HostExecutable, Diagnostic> {
        let kernels = Code::new(&plan, &mut kernels.into_iter())?;
        check(&plan)
            .and_then(|()| check_scratch(&plan, &kernels, pool.threads()))
            .map_err(|what| Diagnostic::bug(format!("plan {}: {what}", plan.program.name)))?;
        let consts = const_arenas(&plan)?;
        let writes_state = plan.program.calls.iter().any(|call| {
            let kernel = plan.program.kernel_of(call);
            call.args.iter().zip(&kernel.args).any(|(slice, arg)| {
                arg.mode != Mode::Read && matches!(plan.program.buffer(slice.buffer).role, Role::State(_))
            })
        });
        Ok(HostExecutable { plan, kernels, consts, writes_state, stats, pool })
    }
}

/// P8 as the executor sees it: each call's kernel needs what the plan has counted for it.
fn check_scratch(plan: &Plan, code: &Code, threads: usize) -> Result<(), String> {
    for (call, &planned) in plan.program.calls.iter().zip(&plan.scratch) {
        let name = &plan.program.kernel_of(call).name;
        let needed = match (code.of(call.kernel), plan.bodies.get(&call.kernel)) {
            (Some(KernelCode::Kernel(k)), _) => k.scratch().bytes_for(k.phases(), threads),
            (Some(KernelCode::Repeat(r)), Some(body)) => {
                check_scratch(body, &r.code, threads)?;
                body.working_memory().bytes
            }
            _ => return Err(format!("{name} has no code")),
        };
        if needed != planned {
            return Err(format!("P8: {name} needs {needed} bytes of scratch, the plan has {planned}"));
        }
        let device = call.args.first().map(|s| plan.program.buffer(s.buffer).device);
        let mut arenas =
            plan.arenas.iter().filter(|a| a.kind == ArenaKind::Scratch && Some(a.device) == device);
        if planned > 0 && !arenas.any(|a| a.bytes >= planned) {
            return Err(format!("P8: no scratch arena holds the {planned} bytes of a call"));
        }
    }
    Ok(())
}

/// P5, P6 and bounds, because what follows goes by raw pointers.
fn check(plan: &Plan) -> Result<(), String> {
    let p = &plan.program;
    if plan.places.len() != p.buffers.len() || plan.scratch.len() != p.calls.len() {
        return Err("places are missing".into());
    }
    plan.bodies.values().try_for_each(check)?;
    for (buffer, place) in p.buffers.iter().zip(&plan.places) {
        let arena = plan.arenas.get(place.arena.ix()).ok_or("no such arena")?;
        let end = place.offset.checked_add(place.bytes).ok_or("offset overflow")?;
        if end > arena.bytes || buffer.bytes() > place.bytes {
            return Err(format!("{} does not fit its place", buffer.name));
        }
    }
    for call in &p.calls {
        let kernel = p.kernels.get(call.kernel.ix()).ok_or("no such kernel")?;
        if kernel.args.len() != call.args.len() {
            return Err(format!("P6: {} is called with {} arguments", kernel.name, call.args.len()));
        }
        for (arg, slice) in kernel.args.iter().zip(&call.args) {
            let buffer = p.buffers.get(slice.buffer.ix()).ok_or("no such buffer")?;
            let end = slice.offset.checked_add(slice.len).ok_or("slice overflow")?;
            // Inputs may lie in memory that is only lent.
            if buffer.role == Role::Input && arg.mode != Mode::Read {
                return Err(format!("input {} is written by {}", buffer.name, kernel.name));
            }
            if buffer.dtype != arg.dtype || slice.len != arg.len || end > buffer.len {
                return Err(format!(
                    "P6: {} does not fit argument {} of {}",
                    buffer.name, arg.name, kernel.name
                ));
            }
            let at = plan.places[slice.buffer.ix()].offset + slice.offset * arg.dtype.size() as u64;
            if !at.is_multiple_of(u64::from(arg.align.max(1))) {
                return Err(format!("P5: {} is not aligned for {}", buffer.name, kernel.name));
            }
        }
    }
    Ok(())
}

impl Executable for HostExecutable {
    fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    fn bytes(&self) -> u64 {
        self.consts.iter().flatten().map(|m| m.len() as u64).sum()
    }

    fn stats(&self) -> &CompileStats {
        &self.stats
    }

    fn session(self: Arc<Self>, state: Arc<StateStore>) -> Result<Box<dyn Session>, Diagnostic> {
        Ok(Box::new(HostSession::new(self, state)?))
    }
}

/// A session of a [`HostExecutable`].
pub struct HostSession {
    code: Arc<HostExecutable>,
    state: Arc<StateStore>,
    calls: Block,
    /// For each arena of the plan: own memory (Io, Temp, Scratch) or none (State, Const).
    arenas: Vec<Option<HostMemory>>,
    /// Holds the [`FaultRecord`].
    fault: HostMemory,
    /// Inputs that lie elsewhere during a run.
    lent: Vec<BufferId>,
}

// SAFETY: the pointers go into memory that the session owns or holds by `Arc`; access to the shared state is
// under its lock, constants are only read.
unsafe impl Send for HostSession {}

impl HostSession {
    pub fn new(code: Arc<HostExecutable>, state: Arc<StateStore>) -> Result<HostSession, Diagnostic> {
        let plan = code.plan.clone();
        let mut arenas = Vec::with_capacity(plan.arenas.len());
        let mut bases = Vec::with_capacity(plan.arenas.len());
        for (arena, consts) in plan.arenas.iter().zip(&code.consts) {
            let (own, base) = match (arena.kind, consts) {
                (_, Some(c)) => (None, c.base()),
                (ArenaKind::State, _) => {
                    let memory = state.memory(arena.device, arena.bytes);
                    (None, memory.ok_or_else(|| Diagnostic::bug("a session without its state"))?.base())
                }
                _ => {
                    let own = HostMemory::zeroed(arena.bytes, arena.align as usize)?;
                    let base = own.base();
                    (Some(own), base)
                }
            };
            arenas.push(own);
            bases.push(base);
        }
        if code.kernels.shares_work() {
            code.pool.start();
        }
        let fault = HostMemory::zeroed(size_of::<FaultRecord>() as u64, super::ALIGN)?;
        let calls = Block::new(&plan, &code.kernels, &Bases { arenas: &bases, fault: fault.base() }, 0)?;
        Ok(HostSession { calls, fault, arenas, state, code, lent: vec![] })
    }

    fn run_calls(&mut self, poison: bool, mut after: impl FnMut(&mut Self, usize)) -> Result<(), Diagnostic> {
        let _mode = FloatMode::enter();
        let state = self.state.clone();
        let _alone = self.code.writes_state.then(|| state.alone());
        let _shared = (!self.code.writes_state).then(|| state.shared());
        let record: *mut FaultRecord = self.fault.base().cast();
        // SAFETY: the block is as large as a record and aligned; nothing runs yet.
        unsafe { record.write(FaultRecord::default()) };
        let pool = self.code.pool.clone();
        let with = Run { pool: &pool, fault: record, poison };
        for i in 0..self.calls.len() {
            // SAFETY: the pointers are laid out as the kernels' arguments ask and `check` proved the bounds; the
            // planner's verifier proved that lives do not overlap; the state's lock is held. The working memory
            // is as large as the largest need.
            let done = unsafe { self.calls.run(i, with) };
            done.map_err(|WorkerPanicked| self.panicked(i))?;
            after(self, i);
        }
        Ok(())
    }

    fn panicked(&self, call: usize) -> Diagnostic {
        let program = &self.code.plan.program;
        let name = &program.kernel_of(&program.calls[call]).name;
        Diagnostic::bug(format!("a thread panicked in kernel {name} of {}", program.name))
    }

    /// Runs with poison wherever nothing is alive: see the module `poison`.
    ///
    /// # Errors
    /// As [`Session::run`]; a bug where a call wrote to memory that nothing alive occupies.
    pub fn run_poisoned(&mut self) -> Result<(), Diagnostic> {
        let plan = self.code.plan.clone();
        let watched = |kind| matches!(kind, ArenaKind::Temp | ArenaKind::Scratch);
        for (arena, memory) in plan.arenas.iter().zip(&mut self.arenas) {
            if let (true, Some(memory)) = (watched(arena.kind), memory) {
                memory.as_mut_slice().fill(poison::POISON);
            }
        }
        let mut wrong = None;
        self.run_calls(true, |session, i| {
            for (arena, memory) in session.arenas.iter_mut().enumerate() {
                if let (true, Some(memory)) = (watched(plan.arenas[arena].kind), memory) {
                    let found = poison::after_call(&plan, i, arena, memory.as_mut_slice());
                    wrong = wrong.take().or(found.err());
                }
            }
        })?;
        wrong.map_or(Ok(()), |what| Err(Diagnostic::bug(format!("{}: {what}", plan.program.name))))
    }

    /// Own memory of an input that is `len` bytes long if that is said.
    fn input(&mut self, input: BufferId, len: Option<usize>) -> Result<&mut [u8], Diagnostic> {
        let own = self.code.plan.program.buffers.get(input.ix()).map_or(0, |b| b.bytes() as usize);
        self.bytes_of(input, &[Role::Input], len.unwrap_or(own))
    }

    fn lend_all(&mut self, inputs: &mut dyn Iterator<Item = (BufferId, &[u8])>) -> Result<(), Diagnostic> {
        for (input, bytes) in inputs {
            self.lend(input, bytes)?;
        }
        Ok(())
    }

    /// Lets an input be read where it lies, or copies it where kernels ask for more alignment.
    fn lend(&mut self, input: BufferId, bytes: &[u8]) -> Result<(), Diagnostic> {
        self.input(input, Some(bytes.len()))?;
        if self.calls.place_input(input, bytes.as_ptr()) {
            self.lent.push(input);
            return Ok(());
        }
        self.write(input, bytes)
    }

    /// The bytes of an input or output.
    fn bytes_of(&mut self, id: BufferId, roles: &[Role], len: usize) -> Result<&mut [u8], Diagnostic> {
        let plan = &self.code.plan;
        let wrong = |what: &str| Diagnostic::bug(format!("{id} of {} {what}", plan.program.name));
        let buffer = plan.program.buffers.get(id.ix()).ok_or_else(|| wrong("does not exist"))?;
        if !roles.contains(&buffer.role) {
            return Err(wrong("is not accessible from outside"));
        }
        if buffer.bytes() != len as u64 {
            return Err(wrong(&format!("has {} bytes, not {len}", buffer.bytes())));
        }
        let place = plan.places[id.ix()];
        let memory = self.arenas[place.arena.ix()].as_mut();
        let at = place.offset as usize;
        let bytes = memory.and_then(|m| m.as_mut_slice().get_mut(at..at + len));
        bytes.ok_or_else(|| Diagnostic::bug(format!("{id} has no memory of its own")))
    }
}

impl Session for HostSession {
    fn plan(&self) -> &Arc<Plan> {
        &self.code.plan
    }

    fn bytes(&self) -> u64 {
        self.arenas.iter().flatten().map(|m| m.len() as u64).sum()
    }

    fn write(&mut self, input: BufferId, bytes: &[u8]) -> Result<(), Diagnostic> {
        self.bytes_of(input, &[Role::Input], bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn run(&mut self) -> Result<(), Diagnostic> {
        self.run_calls(false, |_, _| {})
    }

    fn run_on(&mut self, inputs: &mut dyn Iterator<Item = (BufferId, &[u8])>) -> Result<(), Diagnostic> {
        let run = self.lend_all(inputs).and_then(|()| self.run());
        // The bytes are borrowed for this call only.
        while let Some(input) = self.lent.pop() {
            let own = self.input(input, None)?.as_ptr();
            self.calls.place_input(input, own);
        }
        run
    }

    fn fault(&mut self) -> Option<Fault> {
        // SAFETY: the block holds a record, zero before the first run; no kernel runs.
        let record = unsafe { self.fault.base().cast::<FaultRecord>().read() };
        Fault::from_record(&self.code.plan, &record)
    }

    fn read(&mut self, output: BufferId, out: &mut [u8]) -> Result<(), Diagnostic> {
        out.copy_from_slice(self.bytes_of(output, &[Role::Output, Role::Input], out.len())?);
        Ok(())
    }

    fn run_timed(&mut self, times: &mut [Duration]) -> Result<(), Diagnostic> {
        let mut last = Instant::now();
        self.run_calls(false, |_, i| {
            let now = Instant::now();
            if let Some(t) = times.get_mut(i) {
                *t += now - last;
            }
            last = now;
        })
    }
}
